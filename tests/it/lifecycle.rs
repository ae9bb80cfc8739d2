//! The life of event streams: how many there may be, how long they last, and how they end.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use crate::env::{Client, EventStream, Program, TestGateway, TestRedis, wait_until};

const PATH: &str = "/v1/channels/a/events";

/// Time that no test takes.
const FOR_EVER: Duration = Duration::from_secs(3600);

fn publish(gateway: &TestGateway, message: &str) {
    let answer = gateway.post("/v1/channels/a/messages", message.as_bytes());
    assert_eq!(answer.status, 200);
}

fn subscribers(gateway: &TestGateway) -> usize {
    gateway
        .gateway()
        .streams()
        .subscribers
        .load(Ordering::Relaxed)
}

/// What a client from another address of this machine is answered.
fn listen_from(gateway: &TestGateway, last: u8) -> Client {
    let from = IpAddr::from(Ipv4Addr::new(127, 0, 0, last));
    let mut client = Client::connect_from(from, gateway.address);
    client.send_request("GET", PATH, &[], b"");
    client
}

#[test]
fn one_stream_too_many_is_refused_with_what_that_means() {
    let gateway = TestGateway::with(|config| {
        config.max_subscribers = Some(2);
        config.retry = FOR_EVER;
    });
    let first = gateway.listen(PATH);
    let _second = gateway.listen(PATH);
    let refused = gateway.get(PATH);
    refused.assert_problem(503, "EventSource");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(refused.header("connection"), Some("close"));
    // Requests have places of their own.
    assert_eq!(gateway.get("/healthz").status, 200);
    drop(first);
    wait_until("the first is gone", || subscribers(&gateway) == 1);
    gateway.listen(PATH);
    let stats = gateway.gateway().streams();
    assert_eq!(stats.turned_away.load(Ordering::Relaxed), 1);
}

#[test]
fn the_oldest_makes_room_and_misses_nothing() {
    let gateway = TestGateway::with(|config| {
        config.max_subscribers = Some(1);
        config.retry = Duration::ZERO;
        config.linger = FOR_EVER;
    });
    let mut first = gateway.listen(PATH);
    publish(&gateway, "1");
    assert_eq!(first.event().data, "1");
    let mut second = gateway.listen(PATH);
    first.wait_for_end();
    publish(&gateway, "2");
    assert_eq!(second.event().data, "2");
    let mut back = EventStream::open(gateway.address, PATH, &[("Last-Event-ID", &first.last_id)]);
    assert_eq!(back.event().data, "2");
    second.wait_for_end();
    let stats = gateway.gateway().streams();
    assert_eq!(stats.made_room.load(Ordering::Relaxed), 2);
}

#[test]
fn an_address_has_no_more_than_its_share() {
    let gateway = TestGateway::with(|config| {
        config.max_subscribers_per_address = Some(2);
        config.retry = FOR_EVER;
    });
    let _first = EventStream::of(listen_from(&gateway, 1));
    let _second = EventStream::of(listen_from(&gateway, 1));
    let refused = listen_from(&gateway, 1).receive();
    refused.assert_problem(429, "this address");
    assert_eq!(refused.header("retry-after"), Some("1"));
    let _other = EventStream::of(listen_from(&gateway, 2));
}

#[test]
fn streams_end_at_an_age_that_is_each_ones_own() {
    let age = Duration::from_secs(1);
    let gateway = TestGateway::with(|config| config.max_stream_age = Some(age));
    let begun = Instant::now();
    // These clients do not come back by themselves.
    let mut stays = gateway.listen("/subscribe/a");
    let mut streams: Vec<_> = (0..50).map(|_| gateway.listen(PATH)).collect();
    let opened = begun.elapsed();
    let ended = thread::scope(|scope| {
        let ends = streams.iter_mut().map(|stream| {
            scope.spawn(|| {
                stream.wait_for_end();
                begun.elapsed()
            })
        });
        let ends: Vec<_> = ends.collect();
        let ended = ends.into_iter().map(|end| end.join().unwrap());
        ended.collect::<Vec<_>>()
    });
    let (first, last) = (ended.iter().min().unwrap(), ended.iter().max().unwrap());
    assert!(*first >= age.mul_f32(0.8), "{first:?}");
    // Not all at once.
    assert!(*last - *first > Duration::from_millis(20), "{ended:?}");
    assert!(*last < opened + age * 3, "{last:?}");
    publish(&gateway, "still");
    stays.event();
    assert_eq!(stays.event().data, "message,a,still");
}

#[test]
fn at_the_end_streams_end_one_by_one_and_go_on_until_then() {
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    const COUNT: usize = 1_000;
    let redis = TestRedis::start();
    let args = ["--upstream", &redis.url(), "--shutdown-timeout", "10s"];
    let mut program = Program::start(&args);
    let mut clients: Vec<_> = (0..COUNT).map(|_| program.connect()).collect();
    for client in &mut clients {
        client.send_request("GET", PATH, &[], b"");
    }
    let streams = clients.into_iter().map(EventStream::of);
    let mut streams: Vec<_> = streams.collect();
    for stream in &mut streams {
        stream.wait_for("\n\n");
    }
    let descriptors = program.descriptors();
    program.signal("TERM");
    wait_until("some have ended", || {
        program.descriptors() < descriptors - 50
    });
    redis.cli(&["PUBLISH", "a", "late"]);
    assert_eq!(program.wait().code(), Some(0));
    // Every body has its last chunk, or reading it would fail.
    let events = streams.iter_mut().map(EventStream::next);
    let late = events.filter(|event| event.as_ref().is_some_and(|event| event.data == "late"));
    let late = late.count();
    assert!((1..COUNT).contains(&late), "{late} got the message");
    streams.iter_mut().for_each(EventStream::wait_for_end);
}

#[test]
fn who_takes_nothing_is_not_waited_for_at_the_end() {
    let redis = TestRedis::start();
    let times = ["--shutdown-timeout", "1s", "--subscriber-buffer", "64MiB"];
    let mut program = Program::start(&[&["--upstream", &redis.url()], &times[..]].concat());
    let mut slow = program.connect();
    slow.send_request("GET", PATH, &[], b"");
    slow.receive_head();
    let mut quick = EventStream::open(program.address, PATH, &[]);
    // More than the kernel takes for it.
    let message = "x".repeat(900 * 1024);
    for _ in 0..8 {
        let path = "/v1/channels/a/messages";
        let answer = program
            .connect()
            .request("POST", path, &[], message.as_bytes());
        assert_eq!(answer.status, 200);
        assert!(quick.event().data == message);
    }
    program.signal("TERM");
    quick.wait_for_end();
    assert_eq!(program.wait().code(), Some(0));
}
