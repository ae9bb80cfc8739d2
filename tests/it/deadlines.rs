//! What a client may take its time with, and until when.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use redis_http_gateway::config::Config;
use socket2::{Domain, Socket, Type};

use crate::env::{Client, TestGateway, TestRedis, wait_until};

/// The deadline under test.
const SHORT: Duration = Duration::from_millis(300);

/// Longer than any test waits.
const NEVER: Duration = Duration::from_secs(300);

/// A gateway with one short deadline.
fn gateway_with(short: impl FnOnce(&mut Config)) -> TestGateway {
    TestGateway::with(|config| {
        config.head_timeout = NEVER;
        config.body_timeout = NEVER;
        config.idle_timeout = NEVER;
        config.write_timeout = NEVER;
        short(config);
    })
}

/// Fails unless a client is told that its time is up, not before it is, and the connection then ends.
#[track_caller]
fn assert_timed_out(client: &mut Client, began: Instant, detail: &str) {
    let answer = client.receive();
    let took = began.elapsed();
    answer.assert_problem(408, detail);
    assert!(took >= SHORT, "too early, after {took:?}");
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(client.rest(), b"");
}

#[test]
fn a_head_that_stalls_is_answered_408() {
    let gateway = gateway_with(|config| config.head_timeout = SHORT);
    for start in [
        "G",
        "GET /healthz",
        "GET /healthz HTTP/1.1\r\nHost: loc",
        "\r\n\r",
    ] {
        let began = Instant::now();
        let mut client = gateway.connect();
        client.send(start.as_bytes());
        assert_timed_out(&mut client, began, "head");
    }
    // The same behind a request that was served.
    let mut client = gateway.connect();
    assert_eq!(client.request("GET", "/healthz", &[], b"").status, 200);
    let began = Instant::now();
    client.send(b"GET /healthz HTTP/1.1\r\n");
    assert_timed_out(&mut client, began, "head");
    // And pipelined with it.
    let mut client = gateway.connect();
    let began = Instant::now();
    client.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /he");
    assert_eq!(client.receive().status, 200);
    assert_timed_out(&mut client, began, "head");
}

#[test]
fn a_head_that_drips_is_answered_408() {
    let gateway = gateway_with(|config| config.head_timeout = SHORT);
    let mut client = gateway.connect();
    let began = Instant::now();
    client.send(b"GET /healthz HTTP/1.1\r\n");
    drip(&mut client, b"X-Drip: drop\r\n");
    assert_timed_out(&mut client, began, "head");
}

#[test]
fn a_body_that_never_comes_is_answered_408() {
    let gateway = gateway_with(|config| config.body_timeout = SHORT);
    for rest in [
        "Content-Length: 5\r\n\r\n",
        "Content-Length: 5\r\n\r\nvalu",
        "Transfer-Encoding: chunked\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nvalue\r\n0\r\n",
    ] {
        let began = Instant::now();
        let mut client = gateway.connect();
        client.send(b"PUT /v1/keys/never HTTP/1.1\r\nHost: localhost\r\n");
        client.send(rest.as_bytes());
        assert_timed_out(&mut client, began, "body");
    }
    assert_eq!(gateway.get("/v1/keys/never").status, 404);
}

#[test]
fn a_body_that_drips_is_answered_408() {
    let gateway = gateway_with(|config| config.body_timeout = SHORT);
    let mut client = gateway.connect();
    let began = Instant::now();
    client.send(b"PUT /v1/keys/drip HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n");
    drip(&mut client, b"v");
    assert_timed_out(&mut client, began, "body");
    let mut client = gateway.connect();
    let began = Instant::now();
    client.send(
        b"PUT /v1/keys/drip HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    drip(&mut client, b"1\r\nv\r\n");
    assert_timed_out(&mut client, began, "body");
}

#[test]
fn a_body_that_never_pauses_is_answered_408_too() {
    let gateway = gateway_with(|config| config.body_timeout = SHORT);
    let mut client = gateway.connect();
    let began = Instant::now();
    client
        .send(b"PUT /v1/keys/k HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    // Thousands of bytes for each that counts against the limit.
    let chunk = format!("1;{}\r\nv\r\n", "e".repeat(4000)).repeat(20);
    let mut stream = client.stream().try_clone().unwrap();
    std::thread::spawn(move || while stream.write_all(chunk.as_bytes()).is_ok() {});
    let answer = client.receive();
    answer.assert_problem(408, "body");
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!(client.rest(), b"");
}

/// Sends a little again and again, until the server has said something.
fn drip(client: &mut Client, drop: &[u8]) {
    let pace = Duration::from_millis(20);
    client.stream().set_read_timeout(Some(pace)).unwrap();
    while client.stream().peek(&mut [0]).is_err() {
        client.send(drop);
    }
    client
        .stream()
        .set_read_timeout(Some(crate::env::PATIENCE))
        .unwrap();
}

#[test]
fn an_idle_connection_closes_without_a_byte() {
    let gateway = gateway_with(|config| config.idle_timeout = SHORT);
    let began = Instant::now();
    let mut fresh = gateway.connect();
    assert_eq!(fresh.rest(), b"");
    assert!(began.elapsed() >= SHORT);

    let mut used = gateway.connect();
    assert_eq!(used.request("GET", "/healthz", &[], b"").status, 200);
    let began = Instant::now();
    assert_eq!(used.rest(), b"");
    assert!(began.elapsed() >= SHORT - Duration::from_millis(50));

    // Line ends alone are no request.
    let mut lines = gateway.connect();
    lines.send(b"\r\n\r\n");
    assert_eq!(lines.rest(), b"");
}

#[test]
fn line_ends_before_a_head_do_not_keep_a_connection() {
    let gateway = gateway_with(|config| config.idle_timeout = SHORT);
    let client = gateway.connect();
    let mut stream = client.stream().try_clone().unwrap();
    let began = Instant::now();
    // It is tried again and again, much sooner than the idle time.
    wait_until("the connection is closed", || {
        stream.write_all(b"\r\n").is_err()
    });
    assert!(began.elapsed() >= SHORT);
    // They are passed over all the same.
    let mut client = gateway.connect();
    client.send(b"\r\n\r\nGET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(client.receive().status, 200);
}

#[test]
fn a_request_starts_the_idle_time_anew() {
    let gateway = gateway_with(|config| config.idle_timeout = Duration::from_millis(700));
    let mut client = gateway.connect();
    let began = Instant::now();
    let mut count = 0;
    while began.elapsed() < Duration::from_millis(1100) {
        assert_eq!(client.request("GET", "/healthz", &[], b"").status, 200);
        count += 1;
    }
    assert!(count > 1);
    assert_eq!(client.rest(), b"");
}

/// A connection that takes little before it is full.
fn narrow(gateway: &TestGateway) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&gateway.address.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(crate::env::PATIENCE)).unwrap();
    stream
}

#[test]
fn a_client_that_takes_nothing_of_its_answer_is_dropped() {
    let gateway = gateway_with(|config| config.write_timeout = SHORT);
    let value = vec![b'v'; 8 * 1024 * 1024];
    gateway.put("/v1/keys/large", &value);
    let mut stream = narrow(&gateway);
    stream
        .write_all(b"GET /v1/keys/large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    // What a connection that is gone is sent is answered with a reset.
    wait_until("the connection is dropped", || {
        stream.write_all(b"\r\n").is_err()
    });
    let mut taken = Vec::new();
    let _ = stream.read_to_end(&mut taken);
    assert!(taken.len() < value.len());
}

#[test]
fn a_client_that_takes_its_answer_slowly_gets_it_whole() {
    let gateway = gateway_with(|config| config.write_timeout = Duration::from_secs(3));
    let value: Vec<u8> = (0..6 * 1024 * 1024_u32).map(|n| (n % 251) as u8).collect();
    gateway.put("/v1/keys/large", &value);
    let mut stream = narrow(&gateway);
    stream
        .write_all(b"GET /v1/keys/large HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .unwrap();
    let began = Instant::now();
    let mut taken = Vec::new();
    let mut piece = vec![0; 64 * 1024];
    loop {
        let count = stream.read(&mut piece).unwrap();
        if count == 0 {
            break;
        }
        taken.extend_from_slice(&piece[..count]);
        // The whole takes longer than the deadline, which is for its parts.
        if began.elapsed() < Duration::from_millis(4500) {
            std::thread::sleep(Duration::from_millis(30));
        }
    }
    assert!(began.elapsed() > Duration::from_secs(3));
    assert!(taken.ends_with(&value), "{} bytes came", taken.len());
}

#[test]
fn what_a_command_takes_when_its_time_is_up_is_not_lost() {
    let redis = TestRedis::start();
    let gateway = TestGateway::over_with(&redis, |config| config.blocking_timeout = SHORT);
    let mut client = gateway.connect();
    let began = Instant::now();
    client.send_request("GET", "/blpop/list/0", &[], b"");
    wait_until("it waits", || {
        redis.cli(&["CLIENT", "LIST"]).contains("cmd=blpop")
    });
    let mut other = TcpStream::connect(redis.address()).unwrap();
    redis.signal("STOP");
    other.write_all(b"RPUSH list element\r\n").unwrap();
    // It has a second for its reply, and another for what ends it, of which most is left.
    thread::sleep((SHORT + Duration::from_millis(1150)).saturating_sub(began.elapsed()));
    redis.signal("CONT");
    let answer = client.receive();
    assert_eq!(answer.text(), r#"{"result":["list","element"]}"#);
}
