//! Request bodies: lengths, chunks (RFC 9112, 6 and 7), `100 Continue` (RFC 9110, 10.1.1), `Upgrade`.

use std::io::Read;
use std::process::Command;
use std::time::Duration;

use crate::env::{Client, TestGateway};
use crate::faults::{assert_refused, patient_gateway};

/// The head of a PUT whose body comes in chunks.
const CHUNKED: &str =
    "PUT /v1/keys/chunked HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";

#[test]
fn a_length_may_be_repeated_if_it_is_the_same() {
    let gateway = patient_gateway();
    let mut client = gateway.connect();
    for fields in [
        "Content-Length: 5, 5\r\n",
        "Content-Length: 5\r\ncontent-length: 5\r\n",
        "Content-Length: 0005\r\n",
        "Content-Length:5\r\n",
        "Content-Length: \t5 \r\n",
    ] {
        let head = format!("PUT /v1/keys/length HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
        client.send(head.as_bytes());
        client.send(b"value");
        assert_eq!(client.receive().status, 204, "{fields:?}");
        let value = client.request("GET", "/v1/keys/length", &[], b"");
        assert_eq!(value.text(), "value", "{fields:?}");
    }
}

#[test]
fn a_body_that_is_not_wanted_is_not_taken_for_the_next_request() {
    let gateway = patient_gateway();
    let mut client = gateway.connect();
    let smuggled =
        b"PUT /v1/keys/smuggled HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n1";
    for method in ["GET", "HEAD", "OPTIONS"] {
        let answer = client.request(method, "/healthz", &[], smuggled);
        assert!(matches!(answer.status, 200 | 204), "{method}: {answer:?}");
    }
    let behind = client.request("GET", "/v1/keys/smuggled", &[], b"");
    assert_eq!(behind.status, 404);
}

#[test]
fn chunks_are_put_together() {
    let gateway = patient_gateway();
    let mut client = gateway.connect();
    let extension = format!("5;{}=\"x;y\"\r\nvalue\r\n0\r\n\r\n", "e".repeat(3000));
    let trailers = format!(
        "5\r\nvalue\r\n0\r\nX-A: {}\r\nX-B: b\r\n\r\n",
        "t".repeat(3000)
    );
    for body in [
        "5\r\nvalue\r\n0\r\n\r\n",
        "1\r\nv\r\n3\r\nalu\r\n1\r\ne\r\n0\r\n\r\n",
        "00000005\r\nvalue\r\n000\r\n\r\n",
        "5;a;b=c\r\nvalue\r\n0;last\r\n\r\n",
        "5 ; a = \"\\\";\" ;b\r\nvalue\r\n0\r\n\r\n",
        // Padded, as some send them.
        "5   \r\nvalue\r\n0  \r\n\r\n",
        "5\r\nvalue\r\n0\r\nX-A:\r\nX-B: \tb \r\n\r\n",
        extension.as_str(),
        trailers.as_str(),
    ] {
        client.send(CHUNKED.as_bytes());
        client.send(body.as_bytes());
        assert_eq!(client.receive().status, 204, "{body:?}");
        let value = client.request("GET", "/v1/keys/chunked", &[], b"");
        assert_eq!(value.text(), "value", "{body:?}");
    }
    // Sizes are hexadecimal, in either case; a body may be empty, and its bytes are any.
    for body in [
        "A\r\n0\r\n1\r\n2\r\n3\r\n0\r\n\r\n",
        "a\r\n0\r\n1\r\n2\r\n3\r\n0\r\n\r\n",
    ] {
        client.send(&[CHUNKED.as_bytes(), body.as_bytes()].concat());
        assert_eq!(client.receive().status, 204, "{body:?}");
        let value = client.request("GET", "/v1/keys/chunked", &[], b"");
        assert_eq!(value.text(), "0\r\n1\r\n2\r\n3");
    }
    client.send(&[CHUNKED.as_bytes(), b"0\r\n\r\n"].concat());
    assert_eq!(client.receive().status, 204);
    assert_eq!(
        client.request("GET", "/v1/keys/chunked", &[], b"").text(),
        ""
    );
}

#[test]
fn malformed_chunks_are_refused_at_once() {
    let gateway = patient_gateway();
    gateway.put("/v1/keys/chunked", b"before");
    let extension = format!("5;{}", "e".repeat(70_000));
    let trailers = format!("0\r\n{}", "X-T: t\r\n".repeat(10_000));
    for (status, body) in [
        // Sizes.
        (400, "\r\n"),
        (400, "\r\nvalue\r\n"),
        (400, ";a=b\r\n"),
        (400, " 5\r\nvalue\r\n"),
        (400, "x\r\n"),
        (400, "0x5\r\n"),
        (400, "+5\r\n"),
        (400, "-1\r\n"),
        (400, "5 5\r\n"),
        (400, "10000000000000000\r\n"),
        (400, "fffffffffffffffffffffff\r\n"),
        (413, "ffffffffffffffff\r\n"),
        (413, "7fffffffffffffff\r\n"),
        (413, "5\r\nvalue\r\nfffffffffffffffb\r\n"),
        // Line ends.
        (400, "5\nvalue\r\n"),
        (400, "5;a\nvalue\r\n"),
        (400, "5;a\n0\r\n"),
        (400, "5\rvalue\r\n"),
        (400, "5\r\nvalue\n0\r\n\r\n"),
        (400, "5\r\nvalue0\r\n\r\n"),
        (400, "5\r\nvalues\r\n"),
        (400, "0\r\n\n"),
        (400, "0\r\nX-A: a\n\r\n"),
        // Extensions and trailers.
        (400, "5;\r\nvalue\r\n"),
        (400, "5;a;\r\nvalue\r\n"),
        (400, "5;=b\r\nvalue\r\n"),
        (400, "5;a=\r\nvalue\r\n"),
        (400, "5;a=\"b\r\nvalue\r\n"),
        (400, "5;a b\r\nvalue\r\n"),
        (400, "0\r\nnonsense\r\n\r\n"),
        (400, "0\r\n: nameless\r\n\r\n"),
        (400, "0\r\nX-A : a\r\n\r\n"),
        (400, "0\r\n X-A: a\r\n\r\n"),
        (400, "0\r\nX-A: a\rb\r\n\r\n"),
        // Without end.
        (400, extension.as_str()),
        (400, trailers.as_str()),
    ] {
        let answer = assert_refused(
            &gateway,
            &[CHUNKED.as_bytes(), body.as_bytes()].concat(),
            status,
        );
        answer.assert_problem(status, "");
    }
    assert_eq!(gateway.get("/v1/keys/chunked").text(), "before");
}

#[test]
fn an_unfinished_body_has_no_effect() {
    let gateway = patient_gateway();
    for unfinished in [
        "PUT /v1/keys/half HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6\r\n\r\nvalue",
        "PUT /v1/keys/half HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nvalue\r\n",
        "PUT /v1/keys/half HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nvalue\r\n0\r\n",
    ] {
        let mut client = gateway.connect();
        client.send(unfinished.as_bytes());
        client.finish_sending();
        // The client has ended the connection; there is nobody to tell.
        assert_eq!(String::from_utf8_lossy(&client.rest()), "");
    }
    assert_eq!(gateway.get("/v1/keys/half").status, 404);
}

/// Sends a PUT's head that expects to be invited to send the body.
fn expect_to_continue(client: &mut Client, path: &str, version: &str, length: &str) {
    let head = format!(
        "PUT {path} HTTP/{version}\r\nHost: localhost\r\nConnection: keep-alive\r\n\
         Expect: 100-Continue\r\nContent-Length: {length}\r\n\r\n"
    );
    client.send(head.as_bytes());
}

#[test]
fn a_body_that_will_be_read_is_invited() {
    let gateway = patient_gateway();
    let mut client = gateway.connect();
    for _ in 0..2 {
        expect_to_continue(&mut client, "/v1/keys/invited", "1.1", "5");
        assert_eq!(client.line(), "HTTP/1.1 100 Continue");
        assert_eq!(client.line(), "");
        client.send(b"value");
        assert_eq!(client.receive().status, 204);
    }
    // Behind the answers to what was pipelined before it.
    client.send(b"GET /v1/keys/invited HTTP/1.1\r\nHost: localhost\r\n\r\n");
    expect_to_continue(&mut client, "/v1/keys/invited", "1.1", "5");
    assert_eq!(client.receive().text(), "value");
    assert_eq!(client.receive_head().status, 100);
    client.send(b"other");
    assert_eq!(client.receive().status, 204);
    assert_eq!(
        client.request("GET", "/v1/keys/invited", &[], b"").text(),
        "other"
    );
}

#[test]
fn a_body_that_is_there_or_empty_is_not_invited() {
    let gateway = patient_gateway();
    let mut client = gateway.connect();
    let head = "PUT /v1/keys/k HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n";
    client.send(format!("{head}Content-Length: 5\r\n\r\nvalue").as_bytes());
    assert_eq!(client.receive_head().status, 204);
    client.send(format!("{head}Content-Length: 0\r\n\r\n").as_bytes());
    assert_eq!(client.receive_head().status, 204);
}

#[test]
fn http_1_0_is_not_invited() {
    let gateway = patient_gateway();
    let mut client = gateway.connect();
    expect_to_continue(&mut client, "/v1/keys/old", "1.0", "5");
    // An invitation would be sent by now, and would be found before the answer.
    client
        .stream()
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    assert!(client.stream().read(&mut [0]).is_err(), "nothing may come");
    client
        .stream()
        .set_read_timeout(Some(crate::env::PATIENCE))
        .unwrap();
    client.send(b"value");
    assert_eq!(client.receive_head().status, 204);
}

#[test]
fn a_body_that_is_refused_is_not_invited() {
    let gateway = patient_gateway();
    for (status, path, length) in [
        (413, "/v1/keys/k", "99999999999999"),
        (405, "/healthz", "5"),
        (404, "/v1/nowhere", "5"),
        (400, "/v1/keys/%zz", "5"),
    ] {
        let mut client = gateway.connect();
        expect_to_continue(&mut client, path, "1.1", length);
        let answer = client.receive();
        answer.assert_problem(status, "");
        assert_eq!(answer.header("connection"), Some("close"), "{path}");
        assert_eq!(client.rest(), b"", "{path}");
    }
}

#[test]
fn an_upgrade_is_ignored() {
    let gateway = patient_gateway();
    let mut client = gateway.connect();
    let upgrades = [
        ("Connection", "Upgrade, HTTP2-Settings"),
        ("Upgrade", "h2c"),
        ("HTTP2-Settings", "AAMAAABkAAQCAAAAAAIAAAAA"),
    ];
    assert_eq!(
        client
            .request("PUT", "/v1/keys/up", &upgrades, b"graded")
            .status,
        204
    );
    assert_eq!(
        client.request("GET", "/v1/keys/up", &upgrades, b"").text(),
        "graded"
    );
    let websocket = [("Connection", "upgrade"), ("Upgrade", "websocket")];
    assert_eq!(
        client.request("GET", "/v1/keys/up", &websocket, b"").text(),
        "graded"
    );
}

#[test]
fn curl_gets_through_whatever_version_it_offers() {
    let gateway = TestGateway::start();
    let url = format!("http://{}/v1/keys/curl", gateway.address);
    let curl = |args: &[&str]| {
        let common = [
            "--silent",
            "--show-error",
            "--max-time",
            "20",
            "--write-out",
            "%{http_code}",
        ];
        let done = Command::new("curl")
            .args(common)
            .args(args)
            .arg(&url)
            .output();
        let done = done.expect("curl is needed: apt-get install curl");
        String::from_utf8(done.stdout).unwrap()
    };
    let large = "x".repeat(100_000);
    assert_eq!(curl(&["--http2", "--upload-file", file!()]), "204");
    assert_eq!(
        curl(&["--http1.0", "--request", "PUT", "--data-binary", "old"]),
        "204"
    );
    assert_eq!(curl(&["--http1.0"]), "old200");
    assert_eq!(
        curl(&[
            "--http2",
            "--request",
            "PUT",
            "--header",
            "Expect: 100-continue",
            "--data-binary",
            &large
        ]),
        "204"
    );
    assert_eq!(curl(&["--http2"]), large.clone() + "200");
    let chunked = [
        "--request",
        "PUT",
        "--header",
        "Transfer-Encoding: chunked",
        "--data-binary",
        "chunks",
    ];
    assert_eq!(curl(&chunked), "204");
    assert_eq!(curl(&[]), "chunks200");
    assert_eq!(curl(&["--head", "--output", "/dev/null"]), "200");
    // Its answer is not one of HTTP/2: curl gives up, and does not hang.
    assert_eq!(curl(&["--http2-prior-knowledge"]), "000");
}
