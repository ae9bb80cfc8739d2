//! Heads that break a rule of RFC 9112, and what is no request at all. Every fault is answered at once, in
//! full, and ends its connection.

use std::time::Duration;

use crate::env::{Answer, Client, TestGateway};

/// What is no request, by the status it gets. None of them is whole in a way that would let a server wait.
pub(crate) const FAULTS: &[(u16, &str)] = &[
    // The request line.
    (400, "GET\r\n\r\n"),
    (400, "GET /healthz\r\n\r\n"),
    (400, "GET  /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    (400, "GET /healthz  HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    (400, "GET /healthz HTTP/1.1 \r\nHost: localhost\r\n\r\n"),
    (400, " GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    (400, "\tGET /healthz HTTP/1.1\r\n"),
    (400, "(GET) /healthz HTTP/1.1\r\n"),
    (400, "G\u{e9}T /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    (400, "GET healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    (400, "GET * HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    (
        400,
        "GET ftp://localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ),
    (
        400,
        "CONNECT localhost:80 HTTP/1.1\r\nHost: localhost:80\r\n\r\n",
    ),
    (400, "GET /heal\x00thz HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    (400, "GET /heal\x7fthz HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    (400, "\x00\x00\x00\x00"),
    (400, "{\"json\": true}\r\n"),
    // What is not HTTP/1.
    (400, "\x16\x03\x01\x02\x00\x01\x00\x01\u{fc}\x03\x03"),
    (400, "GET / http/1.1\r\n"),
    (400, "GET / HTTPS/1.1\r\n"),
    (505, "GET / HTTP/2.0\r\n"),
    (505, "GET / HTTP/3.0\r\n"),
    (505, "GET / HTTP/0.9\r\n"),
    (505, "GET / HTTP/2\r\n"),
    (505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    // Line ends.
    (400, "GET /healthz HTTP/1.1\n"),
    (400, "GET /healthz HTTP/1.1\r\nHost: localhost\n"),
    (400, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\n"),
    (400, "GET /healthz HTTP/1.1\r\nHost: localhost\n\r\n"),
    (400, "\nGET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    (400, "GET /healthz HTTP/1.1\rHost: localhost\r\r\r\n\r\n"),
    // Field lines.
    (
        400,
        "GET / HTTP/1.1\r\nHost: localhost\r\nX-A: a\r\n b\r\n\r\n",
    ),
    (
        400,
        "GET / HTTP/1.1\r\nHost: localhost\r\nX-A: a\r\n\tb\r\n\r\n",
    ),
    (400, "GET / HTTP/1.1\r\n Host: localhost\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost : localhost\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost\t: localhost\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost: localhost\r\nnonsense\r\n\r\n"),
    (
        400,
        "GET / HTTP/1.1\r\nHost: localhost\r\n: nameless\r\n\r\n",
    ),
    (400, "GET / HTTP/1.1\r\nHost: localhost\r\nX(A): a\r\n\r\n"),
    (
        400,
        "GET / HTTP/1.1\r\nHost: localhost\r\nX-A: a\x00b\r\n\r\n",
    ),
    (
        400,
        "GET / HTTP/1.1\r\nHost: localhost\r\nX-A: a\rb\r\n\r\n",
    ),
    (
        400,
        "GET / HTTP/1.1\r\nHost: localhost\r\nX-A: a\x1bb\r\n\r\n",
    ),
    // Host.
    (400, "GET / HTTP/1.1\r\n\r\n"),
    (
        400,
        "GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
    ),
    (
        400,
        "GET / HTTP/1.1\r\nHost: localhost\r\nhost: evil.example\r\n\r\n",
    ),
    (
        400,
        "GET / HTTP/1.0\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
    ),
    (400, "GET / HTTP/1.1\r\nHost: local host\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost: user@localhost\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost: localhost/path\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost: localhost, localhost\r\n\r\n"),
    (
        400,
        "GET http://user@localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ),
    // Lengths.
    (
        413,
        "PUT /v1/keys/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999\r\n\r\n",
    ),
    (
        413,
        "PUT /v1/keys/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999999\r\n\r\n",
    ),
    (
        413,
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999\r\n\r\n",
    ),
    (
        400,
        "PUT /v1/keys/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: abc\r\n\r\n",
    ),
    (
        400,
        "PUT /v1/keys/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: +5\r\n\r\n",
    ),
    (
        400,
        "PUT /v1/keys/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
    ),
    (
        400,
        "PUT /v1/keys/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0x5\r\n\r\n",
    ),
    (
        400,
        "PUT /v1/keys/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5.0\r\n\r\n",
    ),
    (
        400,
        "PUT /v1/keys/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1 2\r\n\r\n",
    ),
    (
        400,
        "PUT /v1/keys/k HTTP/1.1\r\nHost: localhost\r\nContent-Length:\r\n\r\n",
    ),
    (
        400,
        "PUT /v1/keys/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5,\r\n\r\n",
    ),
    (
        400,
        "PUT /v1/keys/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5, 6\r\n\r\n",
    ),
    (
        400,
        "PUT /v1/keys/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
    ),
    (
        400,
        "PUT /v1/keys/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    ),
    (
        400,
        "PUT /v1/keys/k HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
    ),
    // Transfer codings.
    (
        400,
        "PUT /v1/keys/k HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
    ),
    (
        400,
        "PUT /v1/keys/k HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: identity\r\n\r\n",
    ),
    (
        400,
        "PUT /v1/keys/k HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: xchunked\r\n\r\n",
    ),
    (
        400,
        "PUT /v1/keys/k HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
    ),
    (
        400,
        "PUT /v1/keys/k HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding:\r\n\r\n",
    ),
    (
        400,
        "PUT /v1/keys/k HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
    ),
    (
        501,
        "PUT /v1/keys/k HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    ),
    // Expectations.
    (
        417,
        "PUT /v1/keys/k HTTP/1.1\r\nHost: localhost\r\nExpect: a-miracle\r\nContent-Length: 5\r\n\r\n",
    ),
];

/// A gateway without deadlines that could pass for an answer at once: they are longer than tests wait.
pub(crate) fn patient_gateway() -> TestGateway {
    TestGateway::with(|config| {
        config.head_timeout = Duration::from_secs(300);
        config.body_timeout = Duration::from_secs(300);
        config.idle_timeout = Duration::from_secs(300);
    })
}

/// Sends something that has to be refused at once, with a problem document, and to end the connection.
#[track_caller]
pub(crate) fn assert_refused(gateway: &TestGateway, request: &[u8], status: u16) -> Answer {
    let mut client = gateway.connect();
    client.send(request);
    let answer = client.receive();
    answer.assert_problem(status, "");
    assert_eq!(answer.header("connection"), Some("close"), "{answer:?}");
    assert_eq!(String::from_utf8_lossy(&client.rest()), "");
    answer
}

#[test]
fn every_fault_has_its_status_at_once_and_ends_the_connection() {
    let gateway = patient_gateway();
    for &(status, request) in FAULTS {
        let mut client = gateway.connect();
        client.send(request.as_bytes());
        let answer = client.receive();
        assert_eq!(answer.status, status, "{request:?} got {answer:?}");
        answer.assert_problem(status, "");
        assert_eq!(answer.header("connection"), Some("close"), "{answer:?}");
        let rest = client.rest();
        assert_eq!(String::from_utf8_lossy(&rest), "", "after {request:?}");
    }
    assert_eq!(gateway.get("/healthz").status, 200);
}

#[test]
fn a_fault_says_what_is_wrong() {
    let gateway = patient_gateway();
    for (status, request, detail) in [
        (400, "\x16\x03\x01", "TLS"),
        (505, "GET / HTTP/2.0\r\n", "HTTP/1.1"),
        (400, "GET / HTTP/1.1\n", "CR"),
        (400, "GET / HTTP/1.1\r\n\r\n", "Host"),
    ] {
        let answer = assert_refused(&gateway, request.as_bytes(), status);
        answer.assert_problem(status, detail);
    }
}

#[test]
fn a_head_that_is_a_fault_has_no_body_either() {
    let gateway = patient_gateway();
    let mut client = gateway.connect();
    client.send(b"HEAD /healthz HTTP/1.1\r\n\r\n");
    assert_eq!(client.receive_head().status, 400);
    assert_eq!(String::from_utf8_lossy(&client.rest()), "");
}

#[test]
fn a_fault_of_a_request_is_told_in_the_form_of_what_it_was_for() {
    let gateway = patient_gateway();
    for (status, fields) in [
        (413, "Content-Length: 99999999999999\r\n"),
        (400, "Content-Length: abc\r\n"),
        (501, "Transfer-Encoding: gzip, chunked\r\n"),
        (417, "Expect: a-miracle\r\nContent-Length: 5\r\n"),
    ] {
        for path in ["/v1/keys/a", "/", "/pipeline", "/set/a"] {
            let mut client = gateway.connect();
            let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: mine\r\n");
            client.send(format!("{head}{fields}\r\n").as_bytes());
            let answer = client.receive();
            assert_eq!(answer.status, status, "{path}: {answer:?}");
            assert_eq!(answer.header("x-request-id"), Some("mine"));
            assert_eq!(answer.header("connection"), Some("close"));
            let member = if path.starts_with("/v1") {
                "detail"
            } else {
                "error"
            };
            assert!(answer.json()[member].is_string(), "{path}: {answer:?}");
            assert_eq!(client.rest(), b"");
        }
    }
    // And in its version of HTTP.
    let mut old = gateway.connect();
    old.send(b"GET / HTTP/1.0\r\nHost: localhost\r\nHost: localhost\r\n\r\n");
    let rest = old.rest();
    assert!(
        rest.starts_with(b"HTTP/1.0 400 "),
        "{}",
        String::from_utf8_lossy(&rest)
    );
}

#[test]
fn random_bytes_neither_hang_nor_kill() {
    let gateway = TestGateway::with(|config| {
        config.head_timeout = Duration::from_millis(300);
        config.body_timeout = Duration::from_millis(300);
    });
    let mut random = fastrand::Rng::with_seed(9112);
    let start = b"PUT /v1/keys/k HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    let mut clients: Vec<Client> = Vec::new();
    for round in 0..200 {
        let mut bytes = vec![0; random.usize(1..3000)];
        random.fill(&mut bytes);
        match round % 3 {
            0 => {}
            // Random behind what is well formed up to there.
            1 => drop(bytes.splice(0..0, start[..random.usize(..start.len())].iter().copied())),
            // What is well formed, with one byte changed.
            _ => {
                bytes = start.to_vec();
                bytes[random.usize(..start.len())] = random.u8(..);
            }
        }
        let mut client = gateway.connect();
        client.send(&bytes);
        clients.push(client);
    }
    for mut client in clients {
        let rest = client.rest();
        let rest = String::from_utf8_lossy(&rest);
        // Whatever was understood of it, the last answer says that it is the last.
        let is_ended = rest.contains("\r\nConnection: close\r\n");
        assert!(rest.starts_with("HTTP/1.") && is_ended, "{rest}");
    }
    assert_eq!(gateway.get("/healthz").status, 200);
}
