//! Event streams as the HTML standard has them: the head, the opening, data, names, ids, gaps, heartbeats.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use redis_http_gateway::BlockingClient;
use serde_json::{Value, json};

use crate::env::{Answer, Client, Event, EventStream, TestGateway};

/// Publishes over HTTP; says how many received it.
fn publish(gateway: &TestGateway, channel: &str, message: &[u8]) -> u64 {
    let answer = gateway.post(&format!("/v1/channels/{channel}/messages"), message);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["receivers"].as_u64().unwrap()
}

fn json_of(event: &Event) -> Value {
    serde_json::from_str(&event.data).unwrap()
}

/// An id's number among its gateway's.
fn number(id: &str) -> u64 {
    id.rsplit('-').next().unwrap().parse().unwrap()
}

fn assert_stream_head(head: &Answer) {
    assert_eq!(head.status, 200);
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    assert_eq!(head.header("cache-control"), Some("no-store, no-transform"));
    assert_eq!(head.header("x-accel-buffering"), Some("no"));
    assert_eq!(head.header("content-length"), None);
    assert_eq!(head.header("content-encoding"), None);
    assert!(head.header("x-request-id").is_some());
}

#[test]
fn the_head_is_that_of_an_event_stream() {
    let gateway = TestGateway::start();
    for path in ["/v1/channels/a/events", "/v1/events?channel=a&channel=b"] {
        let stream = gateway.listen(path);
        assert_stream_head(&stream.head);
        assert_eq!(stream.head.header("transfer-encoding"), Some("chunked"));
        assert_eq!(stream.head.header("connection"), Some("close"));
    }
    // As browsers ask for it, and with an id of their own.
    let headers = [
        ("Accept", "text/event-stream"),
        ("Cache-Control", "no-cache"),
        ("X-Request-Id", "mine"),
    ];
    let stream = EventStream::open(gateway.address, "/v1/channels/a/events", &headers);
    assert_eq!(stream.head.header("x-request-id"), Some("mine"));
}

#[test]
fn head_gives_the_head_and_subscribes_to_nothing() {
    let gateway = TestGateway::start();
    let mut client = gateway.connect();
    for path in ["/v1/channels/a/events", "/v1/events?channel=a"] {
        let head = client.request("HEAD", path, &[], b"");
        assert_stream_head(&head);
    }
    // The connection goes on, and nobody listens.
    let answer = client.request("POST", "/v1/channels/a/messages", &[], b"message");
    assert_eq!(answer.json(), json!({"receivers": 0}));
}

#[test]
fn the_opening_is_a_comment_a_retry_with_jitter_and_an_id() {
    let gateway = TestGateway::start();
    let retries: HashSet<u64> = (0..30)
        .map(|_| {
            let mut stream = gateway.listen("/v1/channels/a/events");
            stream.wait_for("\n\n");
            stream.wait_for(": connected\n");
            publish(&gateway, "a", b"message");
            stream.event();
            assert!(!stream.last_id.is_empty());
            stream.retry.unwrap()
        })
        .collect();
    assert!(
        retries.iter().all(|retry| (2000..=3000).contains(retry)),
        "{retries:?}"
    );
    assert!(retries.len() > 5, "there is no jitter: {retries:?}");
}

#[test]
fn data_arrives_as_the_standard_says() {
    let gateway = TestGateway::start();
    let mut stream = gateway.listen("/v1/channels/a/events");
    let mut as_json = gateway.listen("/v1/channels/a/events?format=json");
    for (message, data) in [
        ("plain", "plain"),
        ("", ""),
        ("a\nb", "a\nb"),
        ("a\rb", "a\nb"),
        ("a\r\nb", "a\nb"),
        ("a\n\rb", "a\n\nb"),
        ("a\r\rb\r\n\r\n\nc", "a\n\nb\n\n\nc"),
        ("a\n", "a\n"),
        ("a\r\n", "a\n"),
        ("\n", "\n"),
        ("\r", "\n"),
        ("\n\n\n", "\n\n\n"),
        (" one space", " one space"),
        ("   three", "   three"),
        ("\n  indented", "\n  indented"),
        ("trailing  ", "trailing  "),
        ("a\0b", "a\0b"),
        ("\0", "\0"),
        (": no comment", ": no comment"),
        (
            "id: 7\nevent: x\nretry: 1\ndata: y",
            "id: 7\nevent: x\nretry: 1\ndata: y",
        ),
        ("\n\ndata: forged\n\n", "\n\ndata: forged\n\n"),
        ("\u{FEFF}schön 🔑 \u{2028}", "\u{FEFF}schön 🔑 \u{2028}"),
    ] {
        publish(&gateway, "a", message.as_bytes());
        let event = stream.event();
        assert_eq!(event.data, data, "{message:?}");
        assert_eq!(event.name, "message");
        // The JSON form keeps what the raw form cannot.
        let event = as_json.event();
        let object = json!({"channel": "a", "message": message});
        assert_eq!(json_of(&event), object);
        assert!(!event.data.contains('\n'), "{event:?}");
    }
    let long = "0123456789\r\n".repeat(50_000);
    publish(&gateway, "a", long.as_bytes());
    assert!(stream.event().data == long.replace("\r\n", "\n"));
}

#[test]
fn what_is_not_utf8_is_base64_in_either_form() {
    let gateway = TestGateway::start();
    let mut streams = [
        gateway.listen("/v1/channels/a%20b/events"),
        gateway.listen("/v1/channels/a%20b/events?format=json"),
        gateway.listen("/v1/events?channel=a+b&format=raw"),
    ];
    for message in [&b"\xFF"[..], b"text\xC3", b"\xF0\x9F\x94"] {
        publish(&gateway, "a%20b", message);
        let objects = streams.each_mut().map(|stream| json_of(&stream.event()));
        assert_eq!(objects[0]["encoding"], "base64");
        assert_eq!(objects[0]["channel"], "a b");
        assert_eq!(objects[0], objects[1]);
        assert_eq!(objects[0], objects[2]);
    }
    publish(&gateway, "a%20b", b"\xFF\x00");
    assert_eq!(json_of(&streams[0].event())["message"], "/wA=");
}

#[test]
fn several_channels_share_a_stream() {
    let gateway = TestGateway::start();
    let both = "/v1/events?channel=a&channel=b%2Fc&channel=a";
    let mut json = gateway.listen(both);
    let mut raw = gateway.listen(&format!("{both}&format=raw"));
    let mut named = gateway.listen(&format!("{both}&format=raw&event=channel"));
    let mut one = gateway.listen("/v1/channels/b%2Fc/events?event=channel&format=json");
    for (path, channel, message) in [
        ("a", "a", "1"),
        ("b%2Fc", "b/c", "2"),
        ("a", "a", "3"),
        ("b%2Fc", "b/c", "4"),
    ] {
        // One connection to Redis for all of them.
        assert_eq!(publish(&gateway, path, message.as_bytes()), 1);
        let event = json.event();
        let object = json!({"channel": channel, "message": message});
        assert_eq!((&*event.name, json_of(&event)), ("message", object));
        let event = raw.event();
        assert_eq!((&*event.name, &*event.data), ("message", message));
        let event = named.event();
        assert_eq!((&*event.name, &*event.data), (channel, message));
        if channel == "b/c" {
            let event = one.event();
            let object = json!({"channel": channel, "message": message});
            assert_eq!((&*event.name, json_of(&event)), (channel, object));
        }
    }
}

#[test]
fn a_name_cannot_break_out_of_its_line() {
    let gateway = TestGateway::start();
    let mut stream =
        gateway.listen("/v1/channels/a%0D%0Adata%3A%20x%0A%0A%00b/events?event=channel");
    publish(&gateway, "a%0D%0Adata%3A%20x%0A%0A%00b", b"message");
    let event = stream.event();
    assert_eq!(event.name, "adata: xb");
    assert_eq!(event.data, "message");
}

#[test]
fn ids_are_safe_and_increase() {
    let gateway = TestGateway::start();
    let mut one = gateway.listen("/v1/channels/a/events");
    let mut both = gateway.listen("/v1/events?channel=a&channel=b");
    let mut last = None;
    for n in 0..50 {
        let channel = if n % 2 == 0 { "a" } else { "b" };
        publish(&gateway, channel, b"message");
        let id = both.event().id;
        let safe = |b: u8| b.is_ascii_alphanumeric() || b == b'.' || b == b'-';
        assert!((1..=64).contains(&id.len()) && id.bytes().all(safe), "{id}");
        assert!(last < Some(number(&id)), "{id} after {last:?}");
        last = Some(number(&id));
        if channel == "a" {
            assert_eq!(one.event().id, id);
        }
    }
    // A later stream begins where the others are.
    let mut late = gateway.listen("/v1/channels/a/events");
    publish(&gateway, "a", b"message");
    let event = late.event();
    assert!(Some(number(&event.id)) > last, "{event:?}");
}

#[test]
fn whoever_has_seen_something_is_told_of_one_gap() {
    let gateway = TestGateway::start();
    let header = |id| [("Last-Event-ID", id)];
    let open = |path, headers: &[_]| EventStream::open(gateway.address, path, headers);
    let one = "/v1/channels/a/events";
    for (mut stream, channels) in [
        (open(one, &header("earlier-7")), json!(["a"])),
        (open(one, &header("<strange>")), json!(["a"])),
        (
            open("/v1/channels/a/events?last_event_id=x-1", &[]),
            json!(["a"]),
        ),
        (
            open(
                "/v1/events?channel=b&channel=a&last_event_id=x",
                &header("y"),
            ),
            json!(["a", "b"]),
        ),
    ] {
        let gap = stream.event();
        assert_eq!(gap.name, "gap");
        assert_eq!(json_of(&gap)["channels"], channels);
        assert!(json_of(&gap)["reason"].is_string(), "{gap:?}");
        publish(&gateway, "a", b"1");
        publish(&gateway, "a", b"2");
        let events = [stream.event(), stream.event()];
        assert_eq!(events.each_ref().map(|event| &*event.name), ["message"; 2]);
        assert!(number(&events[0].id) > number(&gap.id));
    }
    // Who has seen nothing misses nothing.
    for mut stream in [
        open(one, &[]),
        open(one, &header("")),
        open("/v1/channels/a/events?last_event_id=", &[]),
    ] {
        publish(&gateway, "a", b"message");
        assert_eq!(stream.event().name, "message");
    }
}

#[test]
fn silence_is_broken_by_comments() {
    let gateway = TestGateway::with(|config| config.heartbeat = Duration::from_millis(200));
    let opened = Instant::now();
    let mut stream = gateway.listen("/v1/channels/a/events");
    stream.wait_for("\n\n:\n\n:\n\n");
    assert!(
        opened.elapsed() >= Duration::from_millis(300),
        "two comments after {:?}",
        opened.elapsed()
    );
    // They are no events.
    publish(&gateway, "a", b"message");
    assert_eq!(stream.event().data, "message");
}

#[test]
fn what_is_published_once_the_head_has_arrived_is_delivered() {
    let gateway = TestGateway::start();
    let redis = gateway.gateway().upstream().embedded_address().unwrap();
    let mut redis = BlockingClient::connect(redis).unwrap();
    for n in 0..100 {
        let channel = format!("channel-{n}");
        let mut stream = gateway.listen(&format!("/v1/events?channel={channel}&channel=b"));
        assert_eq!(redis.publish(&channel, "message".into()).unwrap(), 1);
        assert_eq!(json_of(&stream.event())["channel"], channel);
    }
}

#[test]
fn the_head_and_the_opening_come_at_once() {
    let gateway = TestGateway::start();
    let slowest = (0..10).map(|_| {
        let asked = Instant::now();
        gateway.listen("/v1/channels/a/events").wait_for("\n\n");
        asked.elapsed()
    });
    // The wait for an upstream that is away would be a second; the heartbeat fifteen.
    let quickest = slowest.min().unwrap();
    assert!(quickest < Duration::from_millis(500), "{quickest:?}");
}

#[test]
fn http_1_0_gets_a_body_that_ends_with_the_connection() {
    let gateway = TestGateway::start();
    let mut old = Client::connect(gateway.address);
    old.send(b"GET /v1/channels/a/events HTTP/1.0\r\n\r\n");
    let head = old.receive_head();
    assert_stream_head(&head);
    assert_eq!(head.header("transfer-encoding"), None);
    assert_eq!(head.header("connection"), Some("close"));
    // Whoever came later is served later: then the first has been as well.
    let mut new = gateway.listen("/v1/channels/a/events");
    publish(&gateway, "a", b"two\nlines");
    let event = new.event();
    gateway.shutdown();
    let body = String::from_utf8(old.rest()).unwrap();
    assert!(body.starts_with(": connected\nretry: "), "{body:?}");
    let expected = format!("\n\nid: {}\ndata: two\ndata: lines\n\n", event.id);
    assert!(body.ends_with(&expected), "{body:?}");
}

#[test]
fn shutdown_ends_streams_with_the_last_chunk() {
    let gateway = TestGateway::start();
    let mut streams: Vec<_> = (0..50)
        .map(|n| gateway.listen(&format!("/v1/channels/{n}/events")))
        .collect();
    publish(&gateway, "7", b"the last message");
    assert_eq!(streams[7].event().data, "the last message");
    gateway.shutdown();
    // Anything but a whole chunk or the last one would fail here.
    streams.iter_mut().for_each(EventStream::wait_for_end);
}

#[test]
fn a_stream_needs_channels() {
    let gateway = TestGateway::start();
    let too_many: String = (0..101).map(|n| format!("&channel={n}")).collect();
    for (path, named) in [
        ("/v1/events".to_owned(), "channel"),
        ("/v1/events?format=raw".into(), "channel"),
        (format!("/v1/events?{}", &too_many[1..]), "100"),
        ("/v1/events?channel=a&format=xml".into(), "raw, json"),
        ("/v1/channels/a/events?event=name".into(), "event"),
        ("/v1/channels/a/events?channel=b".into(), "channel"),
    ] {
        gateway.get(&path).assert_problem(400, named);
    }
}
