//! Event streams together: many of them, slow ones, those that leave, and what is given back then.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use redis_http_gateway::BlockingClient;
use redis_http_gateway::hub::Stats;

use crate::env::{Client, EventStream, Program, TestGateway, wait_until};

/// Subscribers in the tests of many.
const MANY: usize = 9_000;

/// Messages that each of them gets.
const MESSAGES: usize = 20;

fn redis_behind(gateway: &TestGateway) -> BlockingClient {
    let address = gateway.gateway().upstream().embedded_address().unwrap();
    BlockingClient::connect(address).unwrap()
}

/// Opens many streams at once, and waits until all are.
fn listen_often(program: &Program, path: impl Fn(usize) -> String, count: usize) -> Vec<Client> {
    let mut clients: Vec<_> = (0..count).map(|_| program.connect()).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.send_request("GET", &path(n), &[], b"");
    }
    for client in &mut clients {
        let head = client.receive_head();
        assert_eq!(head.status, 200, "{head:?}");
        let opening = client.receive_chunk().unwrap();
        assert!(opening.starts_with(b": connected\n"));
    }
    clients
}

/// Publishes over a connection to the gateway; says how many received it.
fn publish(client: &mut Client, channel: &str, message: &str) -> u64 {
    let path = format!("/v1/channels/{channel}/messages");
    let answer = client.request("POST", &path, &[], message.as_bytes());
    answer.json()["receivers"].as_u64().unwrap()
}

fn subscribers(stats: &Stats) -> usize {
    stats.subscribers.load(Ordering::Relaxed)
}

fn channels(stats: &Stats) -> usize {
    stats.channels.load(Ordering::Relaxed)
}

fn evicted(stats: &Stats) -> u64 {
    stats.evicted.load(Ordering::Relaxed)
}

#[test]
fn nine_thousand_subscribers_get_everything_in_order_and_cost_a_descriptor_each() {
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let program = Program::start(&["--linger", "50ms"]);
    let threads = program.threads();
    let mut clients = listen_often(&program, |_| "/v1/channels/a/events".into(), MANY);
    assert_eq!(program.threads(), threads);
    assert!(program.descriptors() + MANY < 20_000);
    let mut publisher = program.connect();
    for n in 0..MESSAGES {
        assert_eq!(publish(&mut publisher, "a", &format!("message {n}")), 1);
    }
    // One subscriber is looked at closely, and all others have got the same bytes.
    let mut expected = Vec::new();
    for n in 0..MESSAGES {
        let chunk = clients[0].receive_chunk().unwrap();
        let text = String::from_utf8(chunk).unwrap();
        assert!(
            text.ends_with(&format!("\ndata: message {n}\n\n")),
            "{text:?}"
        );
        expected.extend(format!("{:x}\r\n{text}\r\n", text.len()).into_bytes());
    }
    for client in &mut clients[1..] {
        assert!(client.receive_bytes(expected.len()) == expected);
    }
    assert_eq!(program.threads(), threads);
}

#[test]
fn when_all_are_gone_everything_is_as_it_was() {
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let program = Program::start(&["--linger", "50ms"]);
    // What is made at the first command and kept is not what is looked for.
    assert_eq!(publish(&mut program.connect(), "nobody", "message"), 0);
    let mut descriptors = 0;
    wait_until("it has settled", || {
        let before = std::mem::replace(&mut descriptors, program.descriptors());
        before == descriptors
    });
    let threads = program.threads();
    for _ in 0..2 {
        let path = |n| format!("/v1/events?channel=shared&channel=own-{n}");
        let clients = listen_often(&program, path, 500);
        assert_eq!(program.threads(), threads);
        assert!(program.descriptors() >= descriptors + 500);
        let mut publisher = program.connect();
        for channel in ["shared", "own-0", "own-499"] {
            assert_eq!(publish(&mut publisher, channel, "message"), 1);
        }
        // As when the clients are killed: some connections with unread messages, hence with a reset.
        drop(clients);
        for channel in ["shared", "own-0", "own-499"] {
            wait_until("the channel is left", || {
                publish(&mut publisher, channel, "message") == 0
            });
        }
        drop(publisher);
        wait_until("the descriptors are closed", || {
            program.descriptors() == descriptors
        });
        assert_eq!(program.threads(), threads);
    }
}

#[test]
fn a_channel_is_subscribed_with_its_first_listener_and_left_with_its_last() {
    let gateway = TestGateway::start();
    let mut redis = redis_behind(&gateway);
    let stats = gateway.gateway().streams();
    let mut receivers = |channel: &str| redis.publish(channel, "message".into()).unwrap();
    assert_eq!(receivers("a"), 0);
    let first = gateway.listen("/v1/channels/a/events");
    assert_eq!((receivers("a"), receivers("b")), (1, 0));
    let second = gateway.listen("/v1/events?channel=a&channel=b");
    assert_eq!((receivers("a"), receivers("b")), (1, 1));
    assert_eq!((subscribers(stats), channels(stats)), (2, 2));
    drop(first);
    wait_until("the first is gone", || subscribers(stats) == 1);
    assert_eq!((receivers("a"), receivers("b")), (1, 1));
    let third = gateway.listen("/v1/channels/a/events");
    drop(second);
    wait_until("b is left", || receivers("b") == 0);
    assert_eq!(receivers("a"), 1);
    drop(third);
    wait_until("a is left", || receivers("a") == 0);
    wait_until("nothing is left", || {
        (subscribers(stats), channels(stats)) == (0, 0)
    });
}

#[test]
fn a_channel_that_is_left_and_wanted_again_stands() {
    let gateway = TestGateway::start();
    let mut redis = redis_behind(&gateway);
    // Another channel keeps the connection up, so that the channel is left and asked for on the same one.
    let _other = gateway.listen("/v1/channels/other/events");
    for _ in 0..100 {
        drop(gateway.listen("/v1/channels/a/events"));
        let mut stream = gateway.listen("/v1/channels/a/events");
        assert_eq!(redis.publish("a", "message".into()).unwrap(), 1);
        assert_eq!(stream.event().data, "message");
    }
}

#[test]
fn one_who_never_reads_is_disconnected_and_delays_nobody() {
    let gateway = TestGateway::with(|config| config.subscriber_buffer = 64 * 1024);
    let stats = gateway.gateway().streams();
    let mut slow = gateway.connect();
    slow.send_request("GET", "/v1/channels/a/events", &[], b"");
    slow.receive_head();
    let mut quick = gateway.listen("/v1/channels/a/events");
    let message = "x".repeat(256 * 1024);
    let mut redis = redis_behind(&gateway);
    let mut published = 0;
    wait_until("the slow one is disconnected", || {
        redis.publish("a", message.clone().into()).unwrap();
        published += 1;
        // The other one gets each message while the slow one's wait.
        assert!(quick.event().data == message);
        evicted(stats) == 1
    });
    wait_until("its slot is free", || subscribers(stats) == 1);
    // What it has got is cut off within an event, or behind one.
    let received = slow.rest();
    assert!(!received.ends_with(b"\r\n0\r\n\r\n"));
    assert!(received.len() < published * (message.len() + 100));
    redis.publish("a", "more".into()).unwrap();
    assert_eq!(quick.event().data, "more");
    assert_eq!(evicted(stats), 1);
}

#[test]
fn one_who_takes_nothing_for_long_is_disconnected() {
    let gateway = TestGateway::with(|config| {
        config.write_timeout = Duration::from_millis(300);
        config.heartbeat = Duration::from_millis(200);
        config.subscriber_buffer = usize::MAX / 2;
    });
    let stats = gateway.gateway().streams();
    let _idle = gateway.listen("/v1/channels/quiet/events");
    let mut slow = gateway.connect();
    slow.send_request("GET", "/v1/channels/a/events", &[], b"");
    slow.receive_head();
    let mut redis = redis_behind(&gateway);
    // More than the kernel takes for it.
    for _ in 0..3 {
        redis.publish("a", vec![b'x'; 8 << 20].into()).unwrap();
    }
    wait_until("the slow one is disconnected", || evicted(stats) == 1);
    wait_until("its slot is free", || subscribers(stats) == 1);
}

#[test]
fn a_message_larger_than_the_buffer_still_arrives() {
    let gateway = TestGateway::with(|config| config.subscriber_buffer = 1024);
    let mut stream = gateway.listen("/v1/channels/a/events");
    let message = "x".repeat(5 << 20);
    redis_behind(&gateway)
        .publish("a", message.clone().into())
        .unwrap();
    assert!(stream.event().data == message);
}

#[test]
fn a_hang_up_frees_its_slot_within_a_second() {
    let gateway = TestGateway::start();
    let stats = gateway.gateway().streams();
    // The quickest counts: it shows that no heartbeat was waited for, and the machine may be busy.
    let quickest = (0..5).map(|_| {
        let stream = gateway.listen("/v1/channels/a/events");
        wait_until("it is counted", || subscribers(stats) == 1);
        let left = Instant::now();
        drop(stream);
        wait_until("it is gone", || subscribers(stats) == 0);
        left.elapsed()
    });
    let quickest = quickest.min().unwrap();
    assert!(quickest < Duration::from_secs(1), "{quickest:?}");
}

#[test]
fn a_stream_takes_a_place_and_gives_it_back() {
    let gateway = TestGateway::with(|config| config.max_connections = 1);
    let stream = gateway.listen("/v1/channels/a/events");
    let full = gateway.get("/healthz");
    full.assert_problem(503, "");
    assert!(full.header("retry-after").is_some(), "{full:?}");
    drop(stream);
    wait_until("the place is free", || {
        gateway.get("/healthz").status == 200
    });
}

#[test]
fn streams_that_come_and_go_disturb_nobody() {
    let gateway = TestGateway::start();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let comers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut count = 0;
                    while !over.load(Ordering::Relaxed) {
                        let stream = gateway.listen("/v1/events?channel=a&channel=b");
                        // Now and then without a word having been read.
                        if count % 2 == 0 {
                            drop(stream);
                        } else {
                            let mut stream = stream;
                            stream.event();
                        }
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        let mut stays = gateway.listen("/v1/channels/a/events");
        let mut redis = redis_behind(&gateway);
        for n in 0..2_000 {
            redis.publish("a", n.to_string().into()).unwrap();
            assert_eq!(stays.event().data, n.to_string());
        }
        over.store(true, Ordering::Relaxed);
        // Those who wait for an event get it.
        while !comers.iter().all(|comer| comer.is_finished()) {
            redis.publish("a", "end".into()).unwrap();
        }
        assert!(comers.into_iter().all(|comer| comer.join().unwrap() > 10));
    });
    let stats = gateway.gateway().streams();
    wait_until("all are gone", || subscribers(stats) == 0);
    assert_eq!(
        (evicted(stats), stats.dropped.load(Ordering::Relaxed)),
        (0, 0)
    );
}

#[test]
fn the_program_ends_its_streams_cleanly() {
    let mut program = Program::start(&["--linger", "50ms"]);
    let mut streams: Vec<_> = (0..20)
        .map(|_| EventStream::open(program.address, "/v1/channels/a/events", &[]))
        .collect();
    program.signal("TERM");
    streams.iter_mut().for_each(EventStream::wait_for_end);
    assert_eq!(program.wait().code(), Some(0));
}
