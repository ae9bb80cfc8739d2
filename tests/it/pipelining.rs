//! Many requests on one connection: their order, what a fault among them does, and clients that send without
//! reading.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use redis_http_gateway::config::UpstreamUrl;

use crate::env::{Client, Program, TestGateway, TestRedis, wait_until};
use crate::faults::patient_gateway;

/// A GET as it goes over the wire.
fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

/// A PUT as it goes over the wire.
fn put(path: &str, value: &str) -> String {
    let length = value.len();
    format!("PUT {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{value}")
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let gateway = patient_gateway();
    let mut client = gateway.connect();
    let mut pipeline = String::new();
    for n in 0..200 {
        assert_eq!(
            gateway
                .put(&format!("/v1/keys/{n}"), n.to_string().as_bytes())
                .status,
            204
        );
        pipeline += &get(&format!("/v1/keys/{n}"));
        if n % 10 == 0 {
            // One that needs nothing of Redis does not overtake, nor does one that fails.
            pipeline += &get("/healthz");
            pipeline += &get("/v1/nowhere");
        }
    }
    client.send(pipeline.as_bytes());
    for n in 0..200 {
        assert_eq!(client.receive().text(), n.to_string());
        if n % 10 == 0 {
            assert_eq!(client.receive().status, 200);
            client.receive().assert_problem(404, "path");
        }
    }
}

#[test]
fn pipelined_requests_see_what_those_before_them_did() {
    let gateway = patient_gateway();
    let mut client = gateway.connect();
    let mut pipeline = String::new();
    for n in 0..300 {
        pipeline += &put("/v1/keys/counter", &n.to_string());
        pipeline += &get("/v1/keys/counter");
    }
    client.send(pipeline.as_bytes());
    for n in 0..300 {
        assert_eq!(client.receive().status, 204);
        assert_eq!(client.receive().text(), n.to_string());
    }
}

#[test]
fn request_ids_tell_pipelined_requests_apart() {
    let gateway = patient_gateway();
    let mut client = gateway.connect();
    for n in 0..50 {
        let id = format!("id-{n}");
        client.send_request("GET", "/healthz", &[("X-Request-Id", &id)], b"");
    }
    for n in 0..50 {
        let id = format!("id-{n}");
        assert_eq!(client.receive().header("x-request-id"), Some(id.as_str()));
    }
}

#[test]
fn a_fault_in_the_middle_ends_a_pipeline_behind_the_answers_before_it() {
    let gateway = patient_gateway();
    for (status, fault) in [
        (400, "NONSENSE\r\n\r\n".to_owned()),
        (400, "GET / HTTP/1.1\r\n\r\n".to_owned()),
        (505, "GET / HTTP/2.0\r\nHost: localhost\r\n\r\n".to_owned()),
        (413, "PUT /v1/keys/bad HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n".to_owned()),
        (400, "PUT /v1/keys/bad HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n".to_owned()),
    ] {
        let mut client = gateway.connect();
        let before = (0..60).map(|n| put("/v1/keys/before", &n.to_string())).collect::<String>();
        let pipeline = before + &get("/v1/keys/before") + &fault + &put("/v1/keys/behind", "1");
        client.send(pipeline.as_bytes());
        for _ in 0..60 {
            assert_eq!(client.receive().status, 204);
        }
        assert_eq!(client.receive().text(), "59");
        let answer = client.receive();
        answer.assert_problem(status, "");
        assert_eq!(answer.header("connection"), Some("close"));
        assert_eq!(client.rest(), b"", "{fault}");
        assert_eq!(gateway.get("/v1/keys/behind").status, 404);
    }
}

#[test]
fn the_last_request_of_a_connection_is_answered_whatever_is_before_it() {
    let redis = TestRedis::start();
    let gateway = TestGateway::over(&redis);
    let long = format!(r#"["SET","key","{}"]"#, "v".repeat(64 * 1024));
    for (method, path, body, status) in [
        ("GET", "/v1/keys/key", "", 200),
        ("PUT", "/v1/keys/key", "2", 204),
        ("POST", "/", long.as_str(), 200),
        ("POST", "/", r#"["BLPOP","none","0.1"]"#, 200),
        ("GET", "/healthz", "", 200),
    ] {
        for before in [put("/v1/keys/key", "1"), get("/v1/keys/key")] {
            gateway.put("/v1/keys/key", b"0");
            let mut client = gateway.connect();
            let length = body.len();
            let last = format!(
                "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
            );
            client.send((before + &last).as_bytes());
            assert!(client.receive().status < 300);
            let answer = client.receive();
            assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
            assert_eq!(answer.header("connection"), Some("close"));
            assert_eq!(client.rest(), b"");
        }
    }
}

#[test]
fn a_client_that_has_ended_its_side_still_gets_its_answers() {
    let gateway = patient_gateway();
    let value = vec![b'v'; 1024 * 1024];
    gateway.put("/v1/keys/large", &value);
    let mut client = gateway.connect();
    let pipeline =
        (put("/v1/keys/small", "1") + &get("/v1/keys/small") + &get("/v1/keys/large")).repeat(8);
    client.send(pipeline.as_bytes());
    client.finish_sending();
    for _ in 0..8 {
        assert_eq!(client.receive().status, 204);
        assert_eq!(client.receive().text(), "1");
        assert!(client.receive().body == value);
    }
    assert_eq!(client.rest(), b"");
}

#[test]
fn a_client_that_sends_and_does_not_read_is_held_back() {
    const REQUESTS: usize = 2000;
    let program = Program::start(&[]);
    let value: Vec<u8> = (0..100 * 1024_u32).map(|n| (n % 251) as u8).collect();
    program.put("/v1/keys/large", &value);
    let before = program.memory();
    let mut client = program.connect();
    let mut sender = client.stream().try_clone().unwrap();
    let sending = thread::spawn(move || {
        let request = get("/v1/keys/large");
        (0..REQUESTS).for_each(|_| sender.write_all(request.as_bytes()).unwrap());
    });
    // Meanwhile others are served, though 200 MB have been asked for.
    let mut answered = 0;
    wait_until("it has answered what it will", || {
        let waiting = waiting_bytes(client.stream());
        let is_quiet = waiting > 0 && waiting == answered;
        answered = waiting;
        let elsewhere = program.get("/v1/keys/large");
        assert!(elsewhere.body == value);
        is_quiet
    });
    let grown = program.memory().saturating_sub(before);
    assert!(grown < 80 * 1024, "{grown} KiB more for one client");
    for n in 0..REQUESTS {
        let answer = client.receive();
        assert_eq!(answer.status, 200, "{n}: {:?}", answer.text());
        assert!(answer.body == value, "{n}");
    }
    sending.join().unwrap();
    // It is one like any other again.
    assert_eq!(client.request("GET", "/healthz", &[], b"").status, 200);
}

/// How much can be read at once.
fn waiting_bytes(stream: &TcpStream) -> usize {
    let mut buffer = vec![0; 8 * 1024 * 1024];
    stream.peek(&mut buffer).unwrap()
}

#[test]
fn a_client_that_reads_slower_than_it_asks_never_makes_the_server_hold_more() {
    const REQUESTS: usize = 1500;
    let program = Program::start(&["--max-buffered", "16MiB"]);
    let value = vec![b'v'; 100 * 1024];
    program.put("/v1/keys/large", &value);
    let before = program.memory();
    let mut client = program.connect();
    let mut sender = client.stream().try_clone().unwrap();
    let sending = thread::spawn(move || {
        let request = get("/v1/keys/large");
        (0..REQUESTS).for_each(|_| sender.write_all(request.as_bytes()).unwrap());
    });
    // It takes all that it is sent, so something is always under way, and more is always asked for.
    for n in 0..REQUESTS {
        let answer = client.receive();
        assert_eq!(answer.status, 200, "{n}: {:?}", answer.text());
        assert!(answer.body == value, "{n}");
    }
    sending.join().unwrap();
    let grown = program.memory().saturating_sub(before);
    assert!(grown < 80 * 1024, "{grown} KiB more for one client");
}

/// A Redis that never replies to a GET.
fn silent_redis() -> UpstreamUrl {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || greet(stream.unwrap()));
        }
    });
    format!("redis://{address}").parse().unwrap()
}

/// Accepts whatever a client introduces itself with.
fn greet(mut stream: TcpStream) {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => {
                let text = String::from_utf8_lossy(&buffer[..count]);
                let greetings: usize = ["CLIENT", "PING", "COMMAND"]
                    .map(|name| text.matches(name).count())
                    .iter()
                    .sum();
                let _ = stream.write_all("+OK\r\n".repeat(greetings).as_bytes());
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

#[test]
fn nothing_is_answered_behind_an_unknown_outcome() {
    let gateway = TestGateway::with(|config| {
        config.upstream = silent_redis();
        config.command_timeout = Duration::from_millis(200);
    });
    let mut client = gateway.connect();
    let pipeline = get("/healthz") + &get("/v1/keys/a") + &get("/healthz") + &get("/v1/keys/b");
    client.send(pipeline.as_bytes());
    assert_eq!(client.receive().status, 200);
    let answer = client.receive();
    answer.assert_problem(504, "may or may not have run");
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(String::from_utf8_lossy(&client.rest()), "");
}

#[test]
fn no_write_overtakes_an_unknown_outcome() {
    let redis = TestRedis::start();
    let gateway = TestGateway::over_with(&redis, |config| {
        config.command_timeout = Duration::from_millis(300);
    });
    redis.signal("STOP");
    let mut client = gateway.connect();
    let pipeline = put("/v1/keys/first", "1") + &put("/v1/keys/behind", "2");
    client.send(pipeline.as_bytes());
    client
        .receive()
        .assert_problem(504, "may or may not have run");
    assert_eq!(String::from_utf8_lossy(&client.rest()), "");
    redis.signal("CONT");
    wait_until("the first has run", || redis.cli(&["GET", "first"]) == "1");
    assert_eq!(redis.cli(&["EXISTS", "behind"]), "0");
}

#[test]
fn a_slow_pipeline_holds_nobody_else_up() {
    let gateway = TestGateway::with(|config| {
        config.upstream = silent_redis();
        config.command_timeout = Duration::from_secs(60);
    });
    let mut waiting: Vec<Client> = (0..20).map(|_| gateway.connect()).collect();
    for client in &mut waiting {
        client.send(get("/v1/keys/a").as_bytes());
    }
    // Those would wait for as long as the test does.
    for _ in 0..100 {
        assert_eq!(gateway.get("/healthz").status, 200);
    }
}
