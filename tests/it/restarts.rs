//! A Redis server that goes and comes back under a gateway.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crate::env::{EventStream, TestGateway, TestRedis, wait_until};

#[test]
fn under_load_nothing_hangs_and_nothing_runs_that_was_refused() {
    let mut redis = TestRedis::with(&["--appendonly", "no"]);
    let gateway = TestGateway::over(&redis);
    let stop = AtomicBool::new(false);
    let (applied, unknown) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = gateway.connect();
                while !stop.load(Ordering::Relaxed) {
                    let answer = client.request("POST", "/", &[], br#"["INCR","n"]"#);
                    match answer.status {
                        200 => applied.fetch_add(1, Ordering::Relaxed),
                        502 | 504 => unknown.fetch_add(1, Ordering::Relaxed),
                        503 => 0,
                        other => panic!("{other}: {answer:?}"),
                    };
                    if answer.header("connection") == Some("close") {
                        client = gateway.connect();
                    }
                }
            });
        }
        wait_until("some have run", || applied.load(Ordering::Relaxed) > 100);
        redis.kill();
        // What ran before is gone with the data; what runs from now on is counted anew.
        wait_until("it is noticed", || gateway.get("/readyz").status == 503);
        let (before, unknown_before) = (
            applied.load(Ordering::Relaxed),
            unknown.load(Ordering::Relaxed),
        );
        redis.restart();
        wait_until("it serves again", || {
            applied.load(Ordering::Relaxed) > before + 100
        });
        stop.store(true, Ordering::Relaxed);
        // Once it is back there are no errors.
        assert_eq!(gateway.get("/readyz").status, 200);
        wait_until("the last are answered", || {
            let counted = redis.cli(&["GET", "n"]).parse::<u64>().unwrap();
            let answered = applied.load(Ordering::Relaxed) - before;
            let doubtful = unknown.load(Ordering::Relaxed) - unknown_before;
            counted >= answered && counted <= answered + doubtful
        });
    });
}

#[test]
fn listeners_are_told_of_the_gap_and_hear_again() {
    let mut redis = TestRedis::start();
    let gateway = TestGateway::over(&redis);
    let mut stream = gateway.listen("/v1/events?channel=a&pattern=b*");
    redis.cli(&["PUBLISH", "a", "before"]);
    assert_eq!(stream.event().data, r#"{"channel":"a","message":"before"}"#);
    redis.kill();
    redis.restart();
    let gap = stream.event();
    assert_eq!(gap.name, "gap");
    assert_eq!(
        gap.data,
        r#"{"reason":"interrupted","channels":["a","b*"]}"#
    );
    redis.cli(&["PUBLISH", "bc", "after"]);
    assert_eq!(
        stream.event().data,
        r#"{"channel":"bc","pattern":"b*","message":"after"}"#
    );
    assert_eq!(redis.cli(&["PUBSUB", "NUMSUB", "a"]), "a\n1");
    drop(stream);
    wait_until("the channel is left", || {
        redis.cli(&["PUBSUB", "NUMSUB", "a"]) == "a\n0"
    });
    wait_until("the subscriber connection is closed", || {
        redis.clients() == 2
    });
}

#[test]
fn upstash_streams_speak_their_own_form() {
    let redis = TestRedis::start();
    let gateway = TestGateway::over(&redis);
    let mut client = gateway.connect();
    client.send_request("POST", "/subscribe/news%20a/b?ignored=1", &[], b"[]");
    let mut stream = EventStream::of(client);
    assert_eq!(stream.event().data, "subscribe,b,1");
    assert_eq!(stream.event().data, "subscribe,news a,2");
    redis.cli(&["PUBLISH", "news a", r#"{"n":1,"m":2}"#]);
    assert_eq!(stream.event().data, r#"message,news a,{"n":1,"m":2}"#);
    let mut patterns = gateway.listen("/psubscribe/news*");
    assert_eq!(patterns.event().data, "psubscribe,news*,1");
    redis.cli(&["PUBLISH", "news b", "hi"]);
    assert_eq!(patterns.event().data, "pmessage,news*,news b,hi");
}
