//! Coming back by the id of the last event: what could be kept is not missed, and what could not is told of.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use redis_http_gateway::BlockingClient;

use crate::env::{Event, EventStream, TestGateway, TestRedis, wait_until};

/// A gateway that keeps channels for those who come back.
fn keeping() -> TestGateway {
    TestGateway::with(|config| config.linger = Duration::from_secs(300))
}

fn again(gateway: &TestGateway, path: &str, last: &str) -> EventStream {
    EventStream::open(gateway.address, path, &[("Last-Event-ID", last)])
}

fn publish(gateway: &TestGateway, channel: &str, message: &str) {
    let path = format!("/v1/channels/{channel}/messages");
    assert_eq!(gateway.post(&path, message.as_bytes()).status, 200);
}

fn data(stream: &mut EventStream, count: usize) -> Vec<String> {
    (0..count).map(|_| stream.event().data).collect()
}

#[test]
fn who_comes_back_gets_what_it_has_missed_once_and_in_order() {
    let gateway = keeping();
    let path = "/v1/channels/a/events";
    let mut first = gateway.listen(path);
    publish(&gateway, "a", "1");
    publish(&gateway, "a", "2");
    assert_eq!(data(&mut first, 1), ["1"]);
    let last = first.last_id.clone();
    drop(first);
    publish(&gateway, "a", "3");
    let mut second = again(&gateway, path, &last);
    publish(&gateway, "a", "4");
    assert_eq!(data(&mut second, 3), ["2", "3", "4"]);
    // The same by the query, for those who cannot set a header.
    let mut third = gateway.listen(&format!("{path}?last_event_id={last}"));
    assert_eq!(data(&mut third, 3), ["2", "3", "4"]);
    // Who has seen everything is sent nothing, and keeps its place.
    let mut fourth = again(&gateway, path, &third.last_id);
    publish(&gateway, "a", "5");
    assert_eq!(data(&mut fourth, 1), ["5"]);
}

#[test]
fn a_stream_that_was_cut_before_it_caught_up_comes_back_to_where_it_was() {
    let gateway = keeping();
    let path = "/v1/channels/a/events";
    let mut first = gateway.listen(path);
    publish(&gateway, "a", "1");
    assert_eq!(data(&mut first, 1), ["1"]);
    publish(&gateway, "a", "2");
    let mut second = again(&gateway, path, &first.last_id);
    second.wait_for("retry");
    second.wait_for("\n\n");
    // Its opening does not claim more than it had.
    let event = second.event();
    assert_eq!(event.data, "2");
    assert_ne!(event.id, first.last_id);
}

#[test]
fn several_channels_are_resumed_at_once() {
    let redis = TestRedis::start();
    let gateway = TestGateway::over_with(&redis, |config| config.linger = Duration::from_secs(300));
    let path = "/v1/events?channel=a&channel=b&pattern=p*";
    let mut first = gateway.listen(path);
    publish(&gateway, "a", "1");
    let last = first.event().id;
    drop(first);
    for (channel, message) in [("b", "2"), ("pq", "3"), ("a", "4"), ("b", "5")] {
        publish(&gateway, channel, message);
    }
    let mut second = again(&gateway, path, &last);
    let expected = [
        r#"{"channel":"b","message":"2"}"#,
        r#"{"channel":"pq","pattern":"p*","message":"3"}"#,
        r#"{"channel":"a","message":"4"}"#,
        r#"{"channel":"b","message":"5"}"#,
    ];
    assert_eq!(data(&mut second, 4), expected);
}

#[test]
fn a_gap_names_only_what_it_concerns_and_stands_where_its_id_says() {
    let gateway = keeping();
    let mut first = gateway.listen("/v1/events?channel=a");
    publish(&gateway, "a", "1");
    publish(&gateway, "a", "2");
    let last = first.event().id;
    // To b nobody has listened so far.
    let mut second = again(&gateway, "/v1/events?channel=a&channel=b", &last);
    assert_eq!(second.event().data, r#"{"channel":"a","message":"2"}"#);
    let gap = second.event();
    let told = r#"{"reason":"not-kept","channels":["b"]}"#;
    assert_eq!((&*gap.name, &*gap.data), ("gap", told));
    publish(&gateway, "a", "3");
    let mut third = again(&gateway, "/v1/events?channel=a&channel=b", &gap.id);
    for stream in [&mut second, &mut third] {
        assert_eq!(stream.event().data, r#"{"channel":"a","message":"3"}"#);
    }
}

#[test]
fn what_is_larger_as_events_than_may_wait_is_sent_all_the_same() {
    let gateway = TestGateway::with(|config| {
        config.linger = Duration::from_secs(300);
        config.subscriber_buffer = 64 * 1024;
    });
    let path = "/v1/channels/a/events?format=json";
    let mut first = gateway.listen(path);
    publish(&gateway, "a", "first");
    let last = first.event().id;
    // Each of these bytes takes six in JSON.
    let message = "\u{1}".repeat(1000);
    for _ in 0..50 {
        publish(&gateway, "a", &message);
        first.event();
    }
    let mut streams: Vec<_> = (0..4).map(|_| again(&gateway, path, &last)).collect();
    publish(&gateway, "a", "last");
    assert!(first.event().data.contains("last"));
    for stream in &mut streams {
        for _ in 0..50 {
            let event = stream.event();
            assert!(event.data.len() > 6000, "{event:?}");
        }
        assert!(stream.event().data.contains("last"));
    }
    assert_eq!(gateway.evicted(), 0);
}

#[test]
fn an_empty_header_names_no_event() {
    let gateway = keeping();
    let path = "/v1/channels/a/events";
    let mut first = gateway.listen(path);
    publish(&gateway, "a", "1");
    publish(&gateway, "a", "2");
    let last = first.event().id;
    let mut second = again(&gateway, &format!("{path}?last_event_id={last}"), "");
    assert_eq!(data(&mut second, 1), ["2"]);
}

#[test]
fn what_was_not_kept_is_told_of_before_what_was() {
    let gateway = TestGateway::with(|config| {
        config.linger = Duration::from_secs(300);
        config.replay_events = 3;
    });
    let path = "/v1/channels/a/events";
    let mut first = gateway.listen(path);
    for n in 1..=10 {
        publish(&gateway, "a", &n.to_string());
    }
    let last = first.event().id;
    let seen: Vec<Event> = (2..=10).map(|_| first.event()).collect();
    let mut second = again(&gateway, path, &last);
    let gap = second.event();
    assert_eq!(gap.name, "gap");
    assert_eq!(gap.data, r#"{"reason":"not-kept","channels":["a"]}"#);
    // It names the last event that was not kept: from there on nothing is missing.
    assert_eq!(gap.id, seen[5].id);
    assert_eq!(data(&mut second, 3), ["8", "9", "10"]);
    let mut third = again(&gateway, path, &gap.id);
    assert_eq!(data(&mut third, 3), ["8", "9", "10"]);
}

#[test]
fn what_was_not_kept_of_a_channel_is_told_of_before_what_was_of_it() {
    let gateway = TestGateway::with(|config| {
        config.linger = Duration::from_secs(300);
        config.replay_events = 2;
    });
    let path = "/v1/events?channel=a&channel=b&format=raw";
    let mut first = gateway.listen(path);
    let messages = ["a1", "a2", "a3", "a4", "b1", "b2", "b3"];
    for message in messages {
        publish(&gateway, &message[..1], message);
    }
    let seen: Vec<Event> = messages.iter().map(|_| first.event()).collect();
    let mut second = again(&gateway, path, &seen[0].id);
    let of_a = second.event();
    assert_eq!(of_a.data, r#"{"reason":"not-kept","channels":["a"]}"#);
    assert_eq!(of_a.id, seen[1].id);
    assert_eq!(data(&mut second, 2), ["a3", "a4"]);
    let of_b = second.event();
    assert_eq!(of_b.data, r#"{"reason":"not-kept","channels":["b"]}"#);
    assert_eq!(of_b.id, seen[4].id);
    assert_eq!(data(&mut second, 2), ["b2", "b3"]);
    // What has been told is not told again, and the rest is.
    for (last, rest) in [(&of_a.id, &["a3", "a4"][..]), (&seen[2].id, &["a4"])] {
        let mut third = again(&gateway, path, last);
        assert_eq!(data(&mut third, rest.len()), rest);
        assert_eq!(third.event().data, of_b.data);
        assert_eq!(data(&mut third, 2), ["b2", "b3"]);
    }
    // With nothing in between it is one gap.
    let mut fourth = again(&gateway, path, &seen[3].id);
    assert_eq!(fourth.event().data, of_b.data);
}

#[test]
fn an_unknown_id_is_one_gap() {
    let gateway = keeping();
    let path = "/v1/channels/a/events";
    let stream = gateway.listen(path);
    let epoch = wait_for_id(stream);
    for last in [
        "nonsense",
        "otherepoch-1",
        &format!("{epoch}-99999999"),
        &format!("{epoch}-x"),
    ] {
        let mut stream = again(&gateway, path, last);
        let gap = stream.event();
        assert_eq!(
            (gap.name.as_str(), gap.data.contains("unknown-id")),
            ("gap", true),
            "{last}"
        );
        publish(&gateway, "a", last);
        assert_eq!(stream.event().data, last);
    }
}

fn wait_for_id(mut stream: EventStream) -> String {
    stream.wait_for("id: ");
    stream.wait_for("\n\n");
    stream
        .text()
        .split("id: ")
        .nth(1)
        .unwrap()
        .split('-')
        .next()
        .unwrap()
        .to_owned()
}

#[test]
fn a_channel_is_kept_for_a_while_and_no_longer() {
    let gateway = TestGateway::with(|config| config.linger = Duration::from_millis(200));
    let redis = gateway.gateway().upstream().embedded_address().unwrap();
    let mut redis = BlockingClient::connect(redis).unwrap();
    let path = "/v1/channels/a/events";
    let mut first = gateway.listen(path);
    publish(&gateway, "a", "1");
    let last = first.event().id;
    drop(first);
    let stats = gateway.gateway().streams();
    wait_until("the channel is left", || {
        stats.channels.load(Ordering::Relaxed) == 0
    });
    assert_eq!(redis.publish("a", "unheard".into()).unwrap(), 0);
    let mut second = again(&gateway, path, &last);
    assert_eq!(second.event().name, "gap");
    publish(&gateway, "a", "2");
    assert_eq!(data(&mut second, 1), ["2"]);
}

#[test]
fn a_message_is_kept_for_a_while_where_nothing_follows_too() {
    let gateway = TestGateway::with(|config| config.replay_age = Duration::from_millis(200));
    let path = "/v1/channels/a/events";
    let mut first = gateway.listen(path);
    publish(&gateway, "a", "1");
    publish(&gateway, "a", "2");
    let (last, next) = (first.event().id, first.event().id);
    wait_until("the message is too old", || {
        again(&gateway, path, &last).event().name == "gap"
    });
    // It is what was missed last.
    let mut second = again(&gateway, path, &last);
    assert_eq!(second.event().id, next);
    publish(&gateway, "a", "3");
    assert_eq!(data(&mut second, 1), ["3"]);
}

#[test]
fn an_interruption_upstream_is_a_gap_for_those_who_come_back_too() {
    let mut redis = TestRedis::start();
    let gateway = TestGateway::over(&redis);
    let path = "/v1/channels/a/events";
    let mut stays = gateway.listen(path);
    let mut leaves = gateway.listen(path);
    publish(&gateway, "a", "1");
    let last = leaves.event().id;
    drop(leaves);
    publish(&gateway, "a", "2");
    assert_eq!(data(&mut stays, 2), ["1", "2"]);
    redis.kill();
    redis.restart();
    assert_eq!(stays.event().name, "gap");
    redis.cli(&["PUBLISH", "a", "3"]);
    assert_eq!(stays.event().data, "3");
    let mut back = again(&gateway, path, &last);
    assert_eq!(back.event().data, "2");
    assert_eq!(back.event().name, "gap");
    assert_eq!(back.event().data, "3");
}

#[test]
fn who_had_seen_everything_before_an_interruption_is_told_of_it_too() {
    let mut redis = TestRedis::start();
    let gateway = TestGateway::over(&redis);
    let path = "/v1/channels/a/events";
    let mut stays = gateway.listen(path);
    publish(&gateway, "a", "1");
    let last = stays.event().id;
    redis.kill();
    redis.restart();
    assert_eq!(stays.event().name, "gap");
    let mut back = again(&gateway, path, &last);
    let gap = back.event();
    assert_eq!(gap.name, "gap");
    // From there on nothing is missing.
    redis.cli(&["PUBLISH", "a", "2"]);
    assert_eq!(back.event().data, "2");
    let mut once_more = again(&gateway, path, &gap.id);
    assert_eq!(once_more.event().data, "2");
}

#[test]
fn many_come_and_go_while_messages_pour_in() {
    let redis = TestRedis::start();
    let gateway = TestGateway::over_with(&redis, |config| {
        config.linger = Duration::from_secs(300);
        config.replay_events = 100_000;
        config.replay_bytes = 64 * 1024 * 1024;
    });
    const CHANNELS: usize = 10;
    const MESSAGES: usize = 300;
    let published = AtomicBool::new(false);
    thread::scope(|scope| {
        let mut streams = Vec::new();
        for n in 0..40 {
            let path = format!("/v1/channels/c{}/events", n % CHANNELS);
            streams.push((gateway.listen(&path), path));
        }
        scope.spawn(|| {
            let mut client = gateway.connect();
            for message in 0..MESSAGES {
                for channel in 0..CHANNELS {
                    let path = format!("/v1/channels/c{channel}/messages");
                    let answer = client.request("POST", &path, &[], message.to_string().as_bytes());
                    assert_eq!(answer.status, 200);
                }
            }
            published.store(true, Ordering::Release);
        });
        for (n, (mut stream, path)) in streams.into_iter().enumerate() {
            let gateway = &gateway;
            scope.spawn(move || {
                for expected in 0..MESSAGES {
                    // Each leaves at other messages, some of them often.
                    if expected > 0 && expected % (n + 3) == 0 {
                        stream = again(gateway, &path, &stream.last_id);
                    }
                    let event = stream.event();
                    assert_eq!(
                        (event.name.as_str(), event.data),
                        ("message", expected.to_string()),
                        "{path}"
                    );
                }
            });
        }
    });
    assert!(published.load(Ordering::Acquire));
}
