//! Event streams that end with their Redis stream (`?until=gone`): who listens is told, who comes back is answered 204.

use std::time::Duration;

use redis_http_gateway::config::AllowedOrigin;
use serde_json::json;

use crate::env::entries::{FAREWELL, PATH, add, again, ends, gap, ids, start};
use crate::env::{Answer, EventStream, TestGateway, TestRedis, wait_until};

const UNTIL: &str = "/v1/streams/s/events?until=gone";

/// Comes back by the id of the last event, whatever the answer.
fn back(gateway: &TestGateway, last: &str) -> Answer {
    let headers = [("Last-Event-ID", last)];
    gateway.connect().request("GET", UNTIL, &headers, b"")
}

#[test]
fn a_deleted_key_ends_those_who_listen_until_it_is_gone() {
    let (redis, gateway) = start();
    add(&redis, &["5-0", "6-0"]);
    let mut until = gateway.listen(UNTIL);
    let mut all = gateway.listen(&format!("{UNTIL}&from=0"));
    let mut others = gateway.listen(PATH);
    assert_eq!(ids(&mut all, 2), ["5-0", "6-0"]);
    redis.cli(&["DEL", "s"]);
    ends(&mut until);
    assert_eq!(until.last_id, "");
    ends(&mut all);
    let told = json!({"reason": "recreated", "streams": ["s"]});
    assert_eq!(gap(&mut others), ("0-0".into(), told));
    // The others are served as ever.
    add(&redis, &["1-0"]);
    assert_eq!(ids(&mut others, 1), ["1-0"]);
}

#[test]
fn who_comes_back_to_what_is_gone_is_answered_204() {
    let redis = TestRedis::start();
    let gateway = TestGateway::over_with(&redis, |config| {
        config.allow_origin = vec![AllowedOrigin::Site("http://page.example".into())];
    });
    add(&redis, &["5-0"]);
    let mut others = gateway.listen(PATH);
    redis.cli(&["UNLINK", "s"]);
    // Whether or not anybody has found out yet, and by any name of an entry that there may have been.
    for last in ["5-0", "1-0", "9-9"] {
        let headers = [("Last-Event-ID", last), ("Origin", "http://page.example")];
        let mut client = gateway.connect();
        let answer = client.request("GET", UNTIL, &headers, b"");
        assert_eq!((answer.status, answer.text()), (204, ""), "{answer:?}");
        let header = |name| answer.header(name);
        assert_eq!(
            header("access-control-allow-origin"),
            Some("http://page.example")
        );
        assert_eq!(header("cache-control"), Some("no-store"));
        assert_eq!(
            (header("content-type"), header("content-length")),
            (None, None)
        );
        assert!(header("x-request-id").is_some());
    }
    let query = format!("{UNTIL}&last_event_id=5-0");
    assert_eq!(gateway.get(&query).status, 204);
    // At a gateway that has never seen it, too.
    let elsewhere = TestGateway::over(&redis);
    assert_eq!(back(&elsewhere, "5-0").status, 204);
    // Who did not ask for that waits for it.
    let mut waits = again(&elsewhere, "5-0");
    assert_eq!(gap(&mut waits).1["reason"], "recreated");
    assert_eq!(gap(&mut others).1["reason"], "recreated");
    // Begun anew it is not over.
    add(&redis, &["7-0"]);
    let headers = [("Last-Event-ID", "5-0")];
    let mut anew = EventStream::open(gateway.address, UNTIL, &headers);
    assert_eq!(gap(&mut anew).1["reason"], "recreated");
    assert_eq!(ids(&mut anew, 1), ["7-0"]);
    assert_eq!(ids(&mut waits, 1), ["7-0"]);
}

#[test]
fn what_has_not_begun_is_waited_for_and_ends_once_it_was_there() {
    let (redis, gateway) = start();
    let mut first = gateway.listen(UNTIL);
    first.wait_for("id: 0-0\n\n");
    let headers = [("Last-Event-ID", "0-0")];
    let mut second = EventStream::open(gateway.address, UNTIL, &headers);
    let mut third = gateway.listen(&format!("{UNTIL}&from=3-0"));
    add(&redis, &["5-0"]);
    for stream in [&mut first, &mut second, &mut third] {
        assert_eq!(ids(stream, 1), ["5-0"]);
    }
    redis.cli(&["RENAME", "s", "elsewhere"]);
    for stream in [&mut first, &mut second, &mut third] {
        ends(stream);
    }
    // Who comes without an id waits for the next one, and is not ended for what went before he came.
    let mut others = gateway.listen(PATH);
    redis.cli(&["RENAME", "elsewhere", "s"]);
    assert_eq!(ids(&mut others, 1), ["5-0"]);
    redis.cli(&["DEL", "s"]);
    let mut next = gateway.listen(UNTIL);
    next.wait_for("id: 0-0\n\n");
    assert_eq!(gap(&mut others).1["reason"], "recreated");
    add(&redis, &["1-0"]);
    assert_eq!(ids(&mut next, 1), ["1-0"]);
    redis.cli(&["FLUSHALL"]);
    ends(&mut next);
}

#[test]
fn an_expired_key_is_gone_and_so_is_one_that_never_had_an_entry() {
    let (redis, gateway) = start();
    add(&redis, &["1-0"]);
    let mut stream = gateway.listen(UNTIL);
    redis.cli(&["XGROUP", "CREATE", "empty", "group", "$", "MKSTREAM"]);
    let mut empty = gateway.listen("/v1/streams/empty/events?until=gone");
    redis.cli(&["PEXPIRE", "s", "20"]);
    ends(&mut stream);
    redis.cli(&["DEL", "empty"]);
    ends(&mut empty);
}

#[test]
fn what_was_added_right_before_comes_before_the_end() {
    let (redis, gateway) = start();
    for round in 1..=3 {
        let mut stream = gateway.listen(UNTIL);
        let (first, last) = (format!("{round}-1"), format!("{round}-2"));
        add(&redis, &[&first, &last]);
        redis.cli(&["DEL", "s"]);
        assert_eq!(ids(&mut stream, 2), [first, last]);
        ends(&mut stream);
    }
}

#[test]
fn a_stream_begun_anew_between_two_looks_goes_on() {
    let (redis, gateway) = start();
    add(&redis, &["5-0"]);
    let mut stream = gateway.listen(UNTIL);
    redis.transaction(&["DEL s", "XADD s 1-0 n 1-0"]);
    assert_eq!(gap(&mut stream).1["reason"], "recreated");
    assert_eq!(ids(&mut stream, 1), ["1-0"]);
    redis.cli(&["DEL", "s"]);
    ends(&mut stream);
}

#[test]
fn who_catches_up_gets_what_was_read_and_is_told_of_the_rest() {
    let redis = TestRedis::start();
    let gateway = TestGateway::over_with(&redis, |config| {
        // Nothing is at hand for who is behind.
        config.replay_events = 1;
    });
    let script = "for n = 1, 100 do redis.call('XADD', KEYS[1], n .. '-0', 'n', n .. '-0', \
                  'x', string.rep('x', 40000)) end";
    redis.cli(&["EVAL", script, "1", "s"]);
    let mut stream = gateway.listen(&format!("{UNTIL}&from=0"));
    assert_eq!(stream.event().id, "1-0");
    redis.cli(&["DEL", "s"]);
    let mut next = 2;
    let gap = loop {
        let event = stream.event();
        if event.name == "gap" {
            break event;
        }
        assert_eq!(event.id, format!("{next}-0"));
        next += 1;
    };
    assert!(next < 100, "everything was read before it was deleted");
    // By this id it is over, and not to be waited for.
    assert_eq!(gap.id, "100-0");
    assert_eq!(gap.data, r#"{"reason":"not-kept","streams":["s"]}"#);
    ends(&mut stream);
    assert_eq!(back(&gateway, &gap.id).status, 204);
}

#[test]
fn a_lost_redis_is_not_gone() {
    let mut redis = TestRedis::durable();
    let gateway = TestGateway::over(&redis);
    add(&redis, &["1-0", "2-0"]);
    let mut stream = gateway.listen(UNTIL);
    redis.kill();
    wait_until("it is noticed", || gateway.get("/readyz").status == 503);
    // Who comes back now is not told that it is over, and gets what he has missed.
    let headers = [("Last-Event-ID", "1-0")];
    let mut early = EventStream::open(gateway.address, UNTIL, &headers);
    redis.restart();
    assert_eq!(ids(&mut early, 1), ["2-0"]);
    add(&redis, &["3-0"]);
    assert_eq!(ids(&mut early, 1), ["3-0"]);
    assert_eq!(ids(&mut stream, 1), ["3-0"]);
    // Who was let in without an answer of Redis is ended when there is one.
    redis.cli(&["DEL", "s"]);
    redis.kill();
    wait_until("it is noticed", || gateway.get("/readyz").status == 503);
    let headers = [("Last-Event-ID", "3-0")];
    let mut late = EventStream::open(gateway.address, UNTIL, &headers);
    redis.restart();
    late.wait_for(FAREWELL);
    late.wait_for_end();
}

#[test]
fn only_a_master_that_may_be_asked_is_believed() {
    let redis = TestRedis::start();
    add(&redis, &["1-0"]);
    let port = redis.address().port().to_string();
    // As one that is cut off, and has nothing yet.
    let replica = TestRedis::with(&["--replicaof", "127.0.0.1", "1"]);
    let gateway = TestGateway::over_with(&replica, |config| {
        // What a replica is given at once is seen by the next look.
        config.heartbeat = Duration::from_millis(300);
    });
    let headers = [("Last-Event-ID", "1-0")];
    let mut stream = EventStream::open(gateway.address, UNTIL, &headers);
    assert_eq!(gap(&mut stream).1["reason"], "recreated");
    replica.cli(&["REPLICAOF", "127.0.0.1", &port]);
    assert_eq!(ids(&mut stream, 1), ["1-0"]);
    let gateway = TestGateway::as_user(&redis, &["~*", "+@all", "-role"]);
    redis.cli(&["DEL", "s"]);
    let mut stream = EventStream::open(gateway.address, UNTIL, &headers);
    assert_eq!(gap(&mut stream).1["reason"], "recreated");
    // As soon as it may be asked.
    redis.cli(&["ACL", "SETUSER", "gateway", "+role"]);
    assert_eq!(back(&gateway, "1-0").status, 204);
}

#[test]
fn until_is_for_streams_and_has_one_value() {
    let (_redis, gateway) = start();
    for value in ["", "deleted", "gone&until=gone"] {
        let path = format!("{PATH}?until={value}");
        gateway.get(&path).assert_problem(400, "until");
    }
    let wrong = gateway.get(&format!("{PATH}?until=end"));
    wrong.assert_problem(400, "must be one of: gone");
    for path in [
        "/v1/channels/a/events?until=gone",
        "/v1/events?stream=s&until=gone",
    ] {
        gateway
            .get(path)
            .assert_problem(400, "/v1/streams/{key}/events");
    }
    assert_eq!(gateway.request("HEAD", UNTIL, b"").status, 200);
}

#[test]
fn streams_are_looked_at_more_often_only_while_that_is_wanted() {
    let (redis, gateway) = start();
    let looks = || {
        let stats = redis.cli(&["INFO", "commandstats"]);
        let xinfo = stats
            .lines()
            .find_map(|line| line.strip_prefix("cmdstat_xinfo|stream:calls="));
        let calls = xinfo.and_then(|calls| calls.split(',').next());
        calls.map_or(0, |calls| calls.parse::<u32>().unwrap())
    };
    add(&redis, &["1-0"]);
    let stream = gateway.listen(UNTIL);
    let mut others = gateway.listen(PATH);
    others.wait_for("id: 1-0");
    let before = looks();
    wait_until("it is looked at again and again", || looks() > before + 2);
    drop(stream);
    // Redis knows for how many seconds nobody has looked.
    let idle = || redis.cli(&["OBJECT", "IDLETIME", "s"]);
    wait_until("it is left alone", || idle().parse::<u32>().unwrap() >= 3);
    add(&redis, &["2-0"]);
    assert_eq!(ids(&mut others, 1), ["2-0"]);
}
