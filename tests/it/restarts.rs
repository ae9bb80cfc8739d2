//! A Redis server that goes and comes back under a gateway.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;

use crate::env::{EventStream, SHARED_CONNECTIONS, TestGateway, TestRedis, wait_until};

#[test]
fn under_load_nothing_hangs_and_nothing_runs_that_was_refused() {
    let mut redis = TestRedis::with(&["--appendonly", "no"]);
    let gateway = TestGateway::over(&redis);
    let stop = AtomicBool::new(false);
    // What is counted before the restart is a key of its own: an answer may be late.
    let life = AtomicUsize::new(0);
    let applied = [AtomicU64::new(0), AtomicU64::new(0)];
    let unknown = [AtomicU64::new(0), AtomicU64::new(0)];
    let (life, applied, unknown, stop) = (&life, &applied, &unknown, &stop);
    thread::scope(|scope| {
        for _ in 0..4 {
            let gateway = &gateway;
            scope.spawn(move || {
                let mut client = gateway.connect();
                while !stop.load(Ordering::SeqCst) {
                    let life = life.load(Ordering::SeqCst);
                    let body = format!(r#"["INCR","n{life}"]"#);
                    let answer = client.request("POST", "/", &[], body.as_bytes());
                    match answer.status {
                        200 => applied[life].fetch_add(1, Ordering::SeqCst),
                        502 | 504 => unknown[life].fetch_add(1, Ordering::SeqCst),
                        503 => 0,
                        other => panic!("{other}: {answer:?}"),
                    };
                    if answer.header("connection") == Some("close") {
                        client = gateway.connect();
                    }
                }
            });
        }
        let ran = |life: usize| applied[life].load(Ordering::SeqCst);
        wait_until("some have run", || ran(0) > 100);
        redis.kill();
        wait_until("it is noticed", || gateway.get("/readyz").status == 503);
        life.store(1, Ordering::SeqCst);
        redis.restart();
        wait_until("it serves again", || ran(1) > 100);
        // Once it is back there are no errors.
        assert_eq!(gateway.get("/readyz").status, 200);
        stop.store(true, Ordering::SeqCst);
    });
    // Everything that was answered has run, and nothing that was refused.
    let counted: u64 = redis.cli(&["GET", "n1"]).parse().unwrap();
    let answered = applied[1].load(Ordering::SeqCst);
    let doubtful = unknown[1].load(Ordering::SeqCst);
    assert!(
        (answered..=answered + doubtful).contains(&counted),
        "{answered} were answered, of {doubtful} nobody knows, {counted} have run"
    );
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
        redis.clients() == SHARED_CONNECTIONS
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
