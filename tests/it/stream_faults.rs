//! Redis streams as events where something goes wrong: a Redis that goes, comes back or falls silent, and
//! subscribers that do not read.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::env::entries::{PATH, add, again, gap, ids, start};
use crate::env::{TestGateway, TestRedis, wait_until};

#[test]
fn a_redis_that_comes_back_with_its_data_is_no_gap() {
    let mut redis = TestRedis::durable();
    let gateway = TestGateway::over(&redis);
    let mut stream = gateway.listen(PATH);
    add(&redis, &["1-0"]);
    assert_eq!(ids(&mut stream, 1), ["1-0"]);
    redis.kill();
    // Those who come while it is away wait.
    let mut early = again(&gateway, "0-0");
    let mut now = gateway.listen(PATH);
    // Of this one nobody knows where it ended when it was asked for.
    let mut other = gateway.listen("/v1/streams/other/events");
    redis.restart();
    let told = json!({"reason": "interrupted", "streams": ["other"]});
    assert_eq!(gap(&mut other), ("0-0".into(), told));
    add(&redis, &["2-0"]);
    assert_eq!(ids(&mut stream, 1), ["2-0"]);
    assert_eq!(ids(&mut early, 2), ["1-0", "2-0"]);
    assert_eq!(ids(&mut now, 1), ["2-0"]);
}

#[test]
fn a_redis_that_comes_back_empty_is_one_gap() {
    let (mut redis, gateway) = start();
    add(&redis, &["1-0"]);
    let mut stream = gateway.listen(PATH);
    redis.kill();
    redis.restart();
    assert_eq!(gap(&mut stream).1["reason"], "recreated");
    add(&redis, &["1-0", "2-0"]);
    assert_eq!(ids(&mut stream, 2), ["1-0", "2-0"]);
}

#[test]
fn a_silent_redis_is_given_up_and_nothing_is_lost() {
    let redis = TestRedis::start();
    let gateway = TestGateway::over_with(&redis, |config| {
        config.heartbeat = Duration::from_millis(100);
        config.command_timeout = Duration::from_millis(300);
    });
    let mut stream = gateway.listen(PATH);
    add(&redis, &["1-0"]);
    assert_eq!(ids(&mut stream, 1), ["1-0"]);
    redis.signal("STOP");
    wait_until("it is noticed", || gateway.get("/readyz").status == 503);
    // Who comes now waits, and is answered all the same.
    let mut early = again(&gateway, "0-0");
    redis.signal("CONT");
    add(&redis, &["2-0"]);
    assert_eq!(ids(&mut stream, 1), ["2-0"]);
    assert_eq!(ids(&mut early, 2), ["1-0", "2-0"]);
}

#[test]
fn who_does_not_read_is_disconnected_and_can_come_back() {
    let (redis, gateway) = start();
    let mut reads = gateway.listen(PATH);
    let mut stalled = gateway.listen(PATH);
    add(&redis, &["1-0"]);
    assert_eq!(ids(&mut stalled, 1), ["1-0"]);
    let add_large = |n: u64| {
        let large = "x".repeat(100_000);
        redis.cli(&[
            "XADD",
            "s",
            &format!("{n}-0"),
            "n",
            &format!("{n}-0"),
            "x",
            &large,
        ]);
    };
    assert_eq!(ids(&mut reads, 1), ["1-0"]);
    let mut last = 1;
    wait_until("it is disconnected", || {
        last += 1;
        add_large(last);
        // The other one gets each entry while those of the stalled one wait.
        assert_eq!(reads.event().id, format!("{last}-0"));
        gateway.evicted() == 1
    });
    let mut back = again(&gateway, &stalled.last_id);
    for n in 2..=last {
        assert_eq!(back.event().id, format!("{n}-0"));
    }
}

#[test]
fn who_catches_up_and_does_not_read_holds_nothing_up() {
    let redis = TestRedis::start();
    // However long this takes, nobody is given up for taking nothing.
    let gateway = TestGateway::over_with(&redis, |config| {
        config.write_timeout = Duration::from_secs(600);
    });
    let script = "for n = 1, 60 do redis.call('XADD', KEYS[1], n .. '-0', 'n', n .. '-0', \
                  'x', string.rep('x', 40000)) end";
    redis.cli(&["EVAL", script, "1", "s"]);
    // More than are read from Redis at the same time.
    let path = format!("{PATH}?from=0");
    let stalled: Vec<_> = (0..24).map(|_| gateway.listen(&path)).collect();
    let mut reads = gateway.listen(&path);
    for n in 1..=60 {
        assert_eq!(reads.event().id, format!("{n}-0"));
    }
    add(&redis, &["61-0"]);
    assert_eq!(ids(&mut reads, 1), ["61-0"]);
    // They are waited for: none has more under way than it may have.
    assert_eq!(gateway.evicted(), 0);
    for mut stream in stalled.into_iter().take(4) {
        for n in 1..=61 {
            assert_eq!(stream.event().id, format!("{n}-0"));
        }
    }
}

#[test]
fn streams_end_with_the_gateway_and_leave_nothing_behind() {
    let (redis, gateway) = start();
    let mut streams: Vec<_> = (0..10)
        .map(|_| gateway.listen(&format!("{PATH}?from=0")))
        .collect();
    add(&redis, &["1-0"]);
    gateway.shutdown();
    for stream in &mut streams {
        assert_eq!(ids(stream, 1), ["1-0"]);
        stream.wait_for_end();
    }
    wait_until("its connections are closed", || redis.clients() == 0);
}

#[test]
fn what_redis_does_not_allow_is_refused() {
    let redis = TestRedis::start();
    let gateway = TestGateway::as_user(&redis, &["~allowed*", "+@all"]);
    gateway.get(PATH).assert_problem(403, "does not allow");
    let mut allowed = gateway.listen("/v1/streams/allowed/events");
    redis.cli(&["XADD", "allowed", "1-0", "n", "1-0"]);
    assert_eq!(ids(&mut allowed, 1), ["1-0"]);
    // Who may look at streams and not read them is not left listening to nothing.
    redis.cli(&[
        "ACL", "SETUSER", "reader", "on", ">secret", "~*", "+@all", "-xread",
    ]);
    let gateway = TestGateway::at(&format!("redis://reader:secret@{}", redis.address()));
    let mut stream = gateway.listen(PATH);
    stream.wait_for("refused");
    stream.wait_for_end();
}

#[test]
fn what_is_allowed_no_more_ends_and_nothing_beside_it() {
    let redis = TestRedis::start();
    let gateway = TestGateway::as_user(&redis, &["~a", "~b", "+@all"]);
    let [mut stays, mut ends] =
        ["a", "b"].map(|key| gateway.listen(&format!("/v1/streams/{key}/events")));
    let add = |key: &str, id: &str| redis.cli(&["XADD", key, id, "n", id]);
    add("a", "1-0");
    assert_eq!(ids(&mut stays, 1), ["1-0"]);
    redis.cli(&["ACL", "SETUSER", "gateway", "resetkeys", "~a"]);
    // What is being read is read to its end.
    add("a", "2-0");
    ends.wait_for("refused");
    ends.wait_for_end();
    add("a", "3-0");
    assert_eq!(ids(&mut stays, 2), ["2-0", "3-0"]);
}

#[test]
fn what_has_become_something_else_is_found_out_when_somebody_comes() {
    let (redis, gateway) = start();
    add(&redis, &["1-0"]);
    let mut first = gateway.listen(PATH);
    first.wait_for("id: 1-0");
    redis.cli(&["SET", "s", "text"]);
    let began = Instant::now();
    let mut second = gateway.listen(PATH);
    for stream in [&mut first, &mut second] {
        stream.wait_for("refused");
        stream.wait_for_end();
    }
    // By itself it would be noticed at a heartbeat.
    assert!(began.elapsed() < Duration::from_secs(8));
    gateway.get(PATH).assert_problem(409, "in the way");
}

#[test]
fn what_is_trimmed_while_somebody_catches_up_is_one_gap() {
    let (redis, gateway) = start();
    let script = "for n = 1, 100 do redis.call('XADD', KEYS[1], n .. '-0', 'n', n .. '-0', \
                  'x', string.rep('x', 40000)) end";
    redis.cli(&["EVAL", script, "1", "s"]);
    // It takes only what its socket takes until the stream has been trimmed.
    let mut stream = gateway.listen(&format!("{PATH}?from=0"));
    assert_eq!(stream.event().id, "1-0");
    redis.cli(&["XTRIM", "s", "MAXLEN", "5"]);
    let mut next = 2;
    let gap = loop {
        let event = stream.event();
        if event.name == "gap" {
            break event;
        }
        assert_eq!(event.id, format!("{next}-0"));
        next += 1;
    };
    assert!(next < 96, "nothing was trimmed before it was sent");
    assert_eq!(gap.data, r#"{"reason":"not-kept","streams":["s"]}"#);
    for n in 96..=100 {
        let event = stream.event();
        assert_eq!((&*event.name, event.id), ("message", format!("{n}-0")));
    }
    add(&redis, &["101-0"]);
    assert_eq!(ids(&mut stream, 1), ["101-0"]);
}
