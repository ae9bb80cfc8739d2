//! How much a client may send: heads, targets, fields, bodies, and all bodies together.

use std::io::{ErrorKind, Read, Write};
use std::thread;

use crate::env::{Program, TestGateway, TestRedis, wait_until};
use crate::faults::{assert_refused, patient_gateway};

/// The default limit of a head.
const MAX_HEAD: usize = 16 * 1024;

#[test]
fn a_head_over_the_limit_is_431_and_one_at_it_is_not() {
    let gateway = patient_gateway();
    let frame = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-A: \r\n\r\n".len();
    let head = |size: usize| {
        let padding = "a".repeat(size - frame);
        format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-A: {padding}\r\n\r\n")
    };
    let mut client = gateway.connect();
    client.send(head(MAX_HEAD).as_bytes());
    assert_eq!(client.receive().status, 200);
    let answer = assert_refused(&gateway, head(MAX_HEAD + 1).as_bytes(), 431);
    answer.assert_problem(431, "16384");
    // Also if it never ends.
    assert_refused(&gateway, &head(MAX_HEAD + 3).as_bytes()[..=MAX_HEAD], 431);
    assert_refused(&gateway, head(1_000_000).as_bytes(), 431);
}

#[test]
fn a_target_over_the_limit_is_414() {
    let gateway = patient_gateway();
    let target = "k".repeat(MAX_HEAD);
    let line = format!("GET /v1/keys/{target}");
    assert_refused(&gateway, line.as_bytes(), 414);
    let whole = format!("{line} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_refused(&gateway, whole.as_bytes(), 414);
    // A long one within the limit is a key like any other.
    let fits = "k".repeat(MAX_HEAD - 200);
    let mut client = gateway.connect();
    client.request("PUT", &format!("/v1/keys/{fits}"), &[], b"value");
    let answer = client.request("GET", &format!("/v1/keys/{fits}"), &[], b"");
    assert_eq!(answer.text(), "value");
}

#[test]
fn more_than_a_hundred_fields_are_431() {
    let gateway = patient_gateway();
    let head = |fields: usize| {
        let fields = "A: a\r\n".repeat(fields - 1);
        format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n")
    };
    let mut client = gateway.connect();
    client.send(head(100).as_bytes());
    assert_eq!(client.receive().status, 200);
    assert_refused(&gateway, head(101).as_bytes(), 431).assert_problem(431, "100");
}

#[test]
fn a_head_may_be_as_long_as_it_is_configured() {
    let gateway = TestGateway::with(|config| config.max_head = 64 * 1024);
    let mut client = gateway.connect();
    let padding = "a".repeat(60 * 1024);
    let answer = client.request("GET", "/healthz", &[("X-A", &padding)], b"");
    assert_eq!(answer.status, 200);
}

/// Sends without end, or until the server has had enough.
fn pour(mut stream: std::net::TcpStream, start: Vec<u8>, piece: Vec<u8>) {
    thread::spawn(move || {
        let mut part = start.as_slice();
        while stream.write_all(part).is_ok() {
            part = &piece;
        }
    });
}

#[test]
fn a_body_over_the_limit_is_413_at_once_and_a_client_that_still_sends_sees_it() {
    let gateway = TestGateway::with(|config| config.max_body = 100_000);
    let head = "PUT /v1/keys/k HTTP/1.1\r\nHost: localhost\r\n";
    let by_length = format!("{head}Content-Length: 100001\r\n\r\n").into_bytes();
    assert_refused(&gateway, &by_length, 413).assert_problem(413, "100000");
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
    let too_large = [&chunked[..], b"186A1\r\n"].concat();
    assert_refused(&gateway, &too_large, 413).assert_problem(413, "100000");

    let piece = [b"2710\r\n".to_vec(), vec![b'v'; 10_000], b"\r\n".to_vec()].concat();
    for start in [by_length, chunked] {
        let mut client = gateway.connect();
        pour(client.stream().try_clone().unwrap(), start, piece.clone());
        let answer = client.receive();
        answer.assert_problem(413, "100000");
        assert_eq!(client.rest(), b"");
    }
    // At the limit it is none.
    assert_eq!(gateway.put("/v1/keys/k", &vec![b'v'; 100_000]).status, 204);
    assert_eq!(gateway.get("/v1/keys/k").body.len(), 100_000);
}

#[test]
fn a_client_that_sends_on_after_its_refusal_does_not_do_so_for_ever() {
    let gateway = patient_gateway();
    let client = gateway.connect();
    let mut stream = client.stream().try_clone().unwrap();
    stream.write_all(b"NONSENSE\r\n").unwrap();
    let piece = vec![b'v'; 64 * 1024];
    wait_until("the connection is cut", || {
        stream.write_all(&piece).is_err()
    });
}

#[test]
fn large_bodies_beyond_the_memory_there_is_for_them_are_503() {
    let gateway = TestGateway::with(|config| {
        config.max_buffered = 1_000_000;
        config.body_timeout = std::time::Duration::from_secs(300);
    });
    let mut first = gateway.connect();
    let head = |length: usize| {
        format!("PUT /v1/keys/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n")
    };
    // What is announced takes nothing; what has come does.
    first.send(head(800_000).as_bytes());
    assert_eq!(gateway.put("/v1/keys/k", &vec![b'w'; 800_000]).status, 204);
    first.send(&vec![b'v'; 790_000]);
    // Each of these takes a turn of the server, in which it reads on.
    for _ in 0..50 {
        assert_eq!(gateway.get("/healthz").status, 200);
    }
    let answer = gateway.put("/v1/keys/k", &vec![b'w'; 800_000]);
    answer.assert_problem(503, "large");
    assert_eq!(answer.header("retry-after"), Some("1"));
    // Nor in chunks.
    let chunked =
        "PUT /v1/keys/k HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nC3500\r\n";
    let chunks = [chunked.as_bytes(), &vec![b'v'; 0xC3500]].concat();
    let mut client = gateway.connect();
    pour(
        client.stream().try_clone().unwrap(),
        chunks,
        b"\r\n".to_vec(),
    );
    client.receive().assert_problem(503, "");
    // Small ones are served all the while.
    assert_eq!(gateway.put("/v1/keys/small", b"1").status, 204);

    // What is taken is given back.
    first.send(&vec![b'v'; 10_000]);
    assert_eq!(first.receive().status, 204);
    // (The client may have its answer a moment before that.)
    for _ in 0..5 {
        wait_until("a body has been given back", || {
            gateway.put("/v1/keys/k", &vec![b'w'; 900_000]).status == 204
        });
        wait_until("an answer has been given back", || {
            gateway.get("/v1/keys/k").status == 200
        });
    }
    let mut aborted = gateway.connect();
    aborted.send(head(900_000).as_bytes());
    aborted.send(&vec![b'v'; 800_000]);
    drop(aborted);
    wait_until("a body that was given up is given back", || {
        gateway.put("/v1/keys/k", &vec![b'w'; 900_000]).status == 204
    });
}

#[test]
fn a_body_that_there_is_never_memory_for_is_413() {
    for (buffered, longest) in [(1_000_000, 1_000_000), (0, 64 * 1024)] {
        let gateway = TestGateway::with(|config| config.max_buffered = buffered);
        assert_eq!(gateway.put("/v1/keys/k", &vec![b'v'; longest]).status, 204);
        let answer = gateway.put("/v1/keys/k", &vec![b'v'; longest + 1]);
        answer.assert_problem(413, &format!("longer than {longest} bytes"));
    }
}

#[test]
fn a_body_that_is_still_on_its_way_to_redis_takes_its_memory() {
    let redis = TestRedis::start();
    let gateway = TestGateway::over_with(&redis, |config| {
        config.max_body = 20_000_000;
        config.max_buffered = 30_000_000;
        config.command_timeout = std::time::Duration::from_millis(300);
    });
    // More than the kernel takes for somebody who does not read.
    let body = vec![b'v'; 20_000_000];
    redis.signal("STOP");
    let given_up = gateway.put("/v1/keys/k", &body);
    given_up.assert_problem(504, "");
    let answer = gateway.put("/v1/keys/k", &body);
    answer.assert_problem(503, "large");
    redis.signal("CONT");
    wait_until("the memory is given back", || {
        gateway.put("/v1/keys/k", &body).status == 204
    });
}

#[test]
fn a_body_that_is_written_under_a_condition_takes_its_memory() {
    let redis = TestRedis::start();
    let gateway = TestGateway::over_with(&redis, |config| {
        config.max_body = 6_000_000;
        config.max_buffered = 10_000_000;
    });
    let body = vec![b'v'; 6_000_000];
    // The value is small at first, and large, as the gateway knows, the second time.
    for old in [&b"small"[..], &body[..1_000_000]] {
        assert_eq!(gateway.put("/v1/keys/k", old).status, 204);
        let read = gateway.get("/v1/keys/k");
        redis.cli(&["CLIENT", "PAUSE", "60000", "WRITE"]);
        let mut client = gateway.connect();
        let condition = ("If-Match", read.header("etag").unwrap());
        client.send_request("PUT", "/v1/keys/k", &[condition], &body);
        wait_until("the script that writes it is held", || {
            redis.cli(&["CLIENT", "LIST"]).contains("cmd=eval ")
        });
        let answer = gateway.put("/v1/keys/other", &body);
        answer.assert_problem(503, "large");
        redis.cli(&["CLIENT", "UNPAUSE"]);
        assert_eq!(client.receive().status, 204);
    }
}

#[test]
fn a_value_that_a_condition_is_about_takes_its_memory() {
    let redis = TestRedis::start();
    let gateway = TestGateway::over_with(&redis, |config| {
        config.max_body = 6_000_000;
        config.max_buffered = 10_000_000;
    });
    let value = vec![b'v'; 6_000_000];
    assert_eq!(gateway.put("/v1/keys/k", &value).status, 204);
    redis.cli(&["CLIENT", "PAUSE", "60000", "WRITE"]);
    let mut client = gateway.connect();
    // It is read, and sent back to be compared.
    client.send_request("PUT", "/v1/keys/k", &[("If-None-Match", "\"x\"")], b"new");
    wait_until("the script that compares it is held", || {
        redis.cli(&["CLIENT", "LIST"]).contains("cmd=eval ")
    });
    let answer = gateway.put("/v1/keys/other", &value);
    answer.assert_problem(503, "large");
    redis.cli(&["CLIENT", "UNPAUSE"]);
    assert_eq!(client.receive().status, 204);
    wait_until("the memory is given back", || {
        gateway.put("/v1/keys/other", &value).status == 204
    });
}

#[test]
fn a_write_whose_condition_needs_more_memory_than_there_is_has_not_run() {
    let redis = TestRedis::start();
    let gateway = TestGateway::over_with(&redis, |config| config.max_buffered = 1_000_000);
    redis.cli(&["SETRANGE", "k", "2999999", "x"]);
    let mut client = gateway.connect();
    for method in ["PUT", "DELETE", "PUT"] {
        let answer = client.request(method, "/v1/keys/k", &[("If-Match", "\"x\"")], b"new");
        answer.assert_problem(503, "nothing was done");
    }
    assert_eq!(redis.cli(&["STRLEN", "k"]), "3000000");
}

#[test]
fn a_large_answer_beyond_the_memory_there_is_for_them_is_502() {
    let gateway = TestGateway::with(|config| config.max_buffered = 20_000_000);
    assert_eq!(
        gateway.put("/v1/keys/k", &vec![b'v'; 9_000_000]).status,
        204
    );
    let mut hoarders: Vec<_> = (0..2).map(|_| gateway.connect()).collect();
    for client in &mut hoarders {
        client.send_request("GET", "/v1/keys/k", &[], b"");
        // It has its answer's head, and takes no more of it.
        assert_eq!(client.receive_head().status, 200);
    }
    let refused = gateway.get("/v1/keys/k");
    refused.assert_problem(502, "the command has run");
    drop(hoarders);
    wait_until("the memory is given back", || {
        gateway.get("/v1/keys/k").status == 200
    });
}

#[test]
fn connections_that_sent_much_hold_nothing_once_they_are_idle() {
    let program = Program::start(&[]);
    let value = vec![b'v'; 4 * 1024 * 1024];
    let mut clients: Vec<_> = (0..50).map(|_| program.connect()).collect();
    assert_eq!(
        clients[0].request("PUT", "/v1/keys/k", &[], &value).status,
        204
    );
    let before = program.memory();
    for client in &mut clients {
        assert_eq!(client.request("PUT", "/v1/keys/k", &[], &value).status, 204);
    }
    let grown = program.memory().saturating_sub(before);
    assert!(
        grown < 60 * 1024,
        "{grown} KiB are held by 50 idle connections"
    );
}

#[test]
fn a_head_without_end_takes_no_memory() {
    let program = Program::start(&[]);
    let before = program.memory();
    let mut streams = Vec::new();
    for _ in 0..50 {
        let client = program.connect();
        let stream = client.stream().try_clone().unwrap();
        stream
            .set_write_timeout(Some(std::time::Duration::from_millis(200)))
            .unwrap();
        let mut poured = &stream;
        let head = vec![b'G'; 1024 * 1024];
        match poured.write_all(&head) {
            Ok(()) => {}
            Err(error) => assert_ne!(error.kind(), ErrorKind::InvalidInput),
        }
        let mut answer = [0; 12];
        (&stream).read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 414");
        streams.push(client);
    }
    let grown = program.memory().saturating_sub(before);
    assert!(grown < 30 * 1024, "{grown} KiB more");
}
