//! Channels, patterns and Redis streams together on `/v1/events`, under the gateway's own ids.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::env::{EventStream, TestGateway, TestRedis, wait_until};

const PATH: &str = "/v1/events?channel=a&pattern=p*&stream=s";

/// A gateway that keeps what it carries for those who come back.
fn start() -> (TestRedis, TestGateway) {
    let redis = TestRedis::start();
    let gateway = TestGateway::over_with(&redis, |config| config.linger = Duration::from_secs(300));
    (redis, gateway)
}

fn again(gateway: &TestGateway, last: &str) -> EventStream {
    EventStream::open(gateway.address, PATH, &[("Last-Event-ID", last)])
}

fn data(stream: &mut EventStream) -> Value {
    serde_json::from_str(&stream.event().data).unwrap()
}

fn entry(n: &str) -> Value {
    json!({"stream": "s", "id": format!("{n}-0"), "fields": {"n": n}})
}

fn add(redis: &TestRedis, n: &str) {
    redis.cli(&["XADD", "s", &format!("{n}-0"), "n", n]);
}

#[test]
fn one_connection_carries_all_kinds() {
    let (redis, gateway) = start();
    add(&redis, "1");
    let mut stream = gateway.listen(PATH);
    let mut named = gateway.listen(&format!("{PATH}&format=raw&event=channel"));
    redis.cli(&["PUBLISH", "a", "in a"]);
    assert_eq!(
        data(&mut stream),
        json!({"channel": "a", "message": "in a"})
    );
    add(&redis, "2");
    assert_eq!(data(&mut stream), entry("2"));
    redis.cli(&["PUBLISH", "pq", "in pq"]);
    assert_eq!(
        data(&mut stream),
        json!({"channel": "pq", "pattern": "p*", "message": "in pq"})
    );
    let named: Vec<_> = (0..3).map(|_| named.event()).collect();
    let named: Vec<_> = named
        .iter()
        .map(|event| (&*event.name, &*event.data))
        .collect();
    assert_eq!(
        named,
        [("a", "in a"), ("s", r#"{"n":"2"}"#), ("pq", "in pq")]
    );
}

#[test]
fn all_kinds_are_resumed_in_the_order_in_which_they_came() {
    let (redis, gateway) = start();
    let mut stream = gateway.listen(PATH);
    add(&redis, "1");
    assert_eq!(data(&mut stream), entry("1"));
    let last = stream.last_id.clone();
    // Somebody else sees when each has come.
    let mut stays = gateway.listen(PATH);
    drop(stream);
    redis.cli(&["PUBLISH", "a", "1"]);
    data(&mut stays);
    add(&redis, "2");
    data(&mut stays);
    redis.cli(&["PUBLISH", "pq", "3"]);
    data(&mut stays);
    let mut back = again(&gateway, &last);
    assert_eq!(data(&mut back), json!({"channel": "a", "message": "1"}));
    assert_eq!(data(&mut back), entry("2"));
    assert_eq!(
        data(&mut back),
        json!({"channel": "pq", "pattern": "p*", "message": "3"})
    );
    add(&redis, "4");
    assert_eq!(data(&mut back), entry("4"));
}

#[test]
fn another_gateway_does_not_know_the_ids() {
    let (redis, gateway) = start();
    let mut stream = gateway.listen(PATH);
    add(&redis, "1");
    data(&mut stream);
    let (other_redis, other) = start();
    let mut back = again(&other, &stream.last_id);
    let gap = back.event();
    assert_eq!(gap.name, "gap");
    let told: Value = serde_json::from_str(&gap.data).unwrap();
    assert_eq!(
        told,
        json!({"reason": "unknown-id", "channels": ["a", "p*"], "streams": ["s"]})
    );
    add(&other_redis, "2");
    assert_eq!(data(&mut back), entry("2"));
}

#[test]
fn a_lost_connection_is_a_gap_of_channels_and_loses_no_entry() {
    let (redis, gateway) = start();
    let mut stream = gateway.listen(PATH);
    let mut entries = gateway.listen("/v1/events?stream=s");
    add(&redis, "1");
    assert_eq!(data(&mut stream), entry("1"));
    assert_eq!(data(&mut entries), entry("1"));
    redis.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    redis.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
    add(&redis, "2");
    let mut seen = [stream.event(), stream.event()];
    seen.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!((&*seen[0].name, &*seen[1].name), ("gap", "message"));
    assert_eq!(data(&mut entries), entry("2"));
    redis.cli(&["PUBLISH", "a", "after"]);
    assert_eq!(
        data(&mut stream),
        json!({"channel": "a", "message": "after"})
    );
}

#[test]
fn what_comes_after_an_interruption_comes_behind_its_gap() {
    let redis = TestRedis::start();
    let gateway = TestGateway::over_with(&redis, |config| config.subscriber_buffer = 1 << 30);
    let mut stream = gateway.listen("/v1/channels/n/events");
    let stop = AtomicBool::new(false);
    let mut out_of_order = None;
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut connection = TcpStream::connect(redis.address()).unwrap();
            let mut answers = [0; 20 * ":1\r\n".len()];
            for first in (1..).step_by(20) {
                let commands = (first..first + 20).map(|n| format!("PUBLISH n {n}\r\n"));
                let commands: String = commands.collect();
                connection.write_all(commands.as_bytes()).unwrap();
                connection.read_exact(&mut answers).unwrap();
                if stop.load(Ordering::SeqCst) {
                    return;
                }
            }
        });
        let mut last: u64 = stream.event().data.parse().unwrap();
        for _ in 0..15 {
            redis.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]);
            loop {
                let event = stream.event();
                if event.name == "gap" {
                    break;
                }
                let next = event.data.parse().unwrap();
                if next != last + 1 {
                    out_of_order.get_or_insert((last, next));
                }
                last = next;
            }
            last = stream.event().data.parse().unwrap();
        }
        stop.store(true, Ordering::SeqCst);
    });
    assert_eq!(out_of_order, None);
}

#[test]
fn streams_alone_take_no_subscriber_connection() {
    let redis = TestRedis::start();
    let gateway = TestGateway::over(&redis);
    let before = redis.clients();
    let streams: Vec<_> = (0..5)
        .map(|_| gateway.listen("/v1/events?stream=s&stream=t"))
        .collect();
    wait_until("they are read", || redis.clients() == before + 1);
    assert!(
        !redis
            .cli(&["CLIENT", "LIST", "TYPE", "pubsub"])
            .contains("addr=")
    );
    drop(streams);
    wait_until("they are read no more", || redis.clients() == before);
    // As many as are configured, and no more.
    let many: Vec<_> = (0..=100).map(|n| format!("stream=s{n}")).collect();
    let many = format!("/v1/events?{}", many.join("&"));
    gateway.get(&many).assert_problem(400, "100 times");
}

#[test]
fn how_much_one_stream_carries_is_configured() {
    let gateway = TestGateway::with(|config| config.max_topics = 2);
    gateway.listen("/v1/events?channel=a&channel=b&channel=a");
    let three = "/v1/events?channel=a&channel=b&channel=c";
    gateway.get(three).assert_problem(400, "2 times");
    assert_eq!(gateway.get("/subscribe/a/b/c").status, 400);
}

#[test]
fn a_message_comes_once_for_each_rule_that_it_matches() {
    let (redis, gateway) = start();
    let mut stream = gateway.listen("/v1/events?channel=pa&pattern=p*&pattern=*a");
    redis.cli(&["PUBLISH", "pa", "hi"]);
    let mut came: Vec<_> = (0..3).map(|_| data(&mut stream).to_string()).collect();
    came.sort();
    let expected = [
        json!({"channel": "pa", "message": "hi"}),
        json!({"channel": "pa", "pattern": "*a", "message": "hi"}),
        json!({"channel": "pa", "pattern": "p*", "message": "hi"}),
    ];
    let mut expected = expected.map(|event| event.to_string());
    expected.sort();
    assert_eq!(came, expected);
}
