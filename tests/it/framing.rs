//! Request lines and header fields as a picky client sends them: forms of the target, versions, `Connection`,
//! methods, pieces. RFC 9112, 2, 3 and 9; RFC 9110, 9.

use crate::env::Answer;
use crate::faults::patient_gateway;

#[test]
fn lines_before_a_request_are_passed_over() {
    let gateway = patient_gateway();
    let mut client = gateway.connect();
    // Some old clients send a line end behind a body; also in pieces.
    client.send(b"\r\n\r\nGET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n\r\n\r");
    assert_eq!(client.receive().status, 200);
    client.send(b"\nGET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(client.receive().status, 200);
}

#[test]
fn a_target_may_be_a_whole_url() {
    let gateway = patient_gateway();
    let mut client = gateway.connect();
    client.request("PUT", "http://localhost/v1/keys/a%20b", &[], b"value");
    for target in [
        "http://localhost/v1/keys/a%20b",
        "HTTP://127.0.0.1:8080/v1/keys/a%20b",
        "https://[::1]/v1/keys/a%20b?",
    ] {
        let answer = client.request("GET", target, &[], b"");
        assert_eq!(answer.text(), "value", "{target}");
    }
    for target in ["http://localhost", "http://localhost?"] {
        let answer = client.request("GET", target, &[], b"");
        assert_eq!(answer.status, 200, "{target}");
    }
    // Its host counts, not that of the field beside it.
    let evil = client.request("GET", "http://evil.example/v1/keys/a%20b", &[], b"");
    evil.assert_problem(403, "evil.example");
}

#[test]
fn options_says_what_is_allowed() {
    let gateway = patient_gateway();
    let mut client = gateway.connect();
    for (target, allowed) in [
        ("*", "GET"),
        ("/v1/keys/k", "PUT"),
        ("/v1/channels/c/messages", "POST"),
    ] {
        let answer = client.request("OPTIONS", target, &[], b"");
        assert_eq!(answer.status, 204, "{target}");
        let allow = answer.header("allow").unwrap();
        let mut methods = allow.split(", ");
        assert!(methods.any(|method| method == allowed), "{target}: {allow}");
        assert_eq!(answer.header("content-length"), None);
    }
}

#[test]
fn a_method_is_case_sensitive() {
    let gateway = patient_gateway();
    let mut client = gateway.connect();
    for method in ["get", "Get", "FOO", "TRACE", "M-SEARCH", "PRI"] {
        let answer = client.request(method, "/healthz", &[], b"");
        answer.assert_problem(405, method);
        assert_eq!(answer.header("allow"), Some("GET, HEAD, OPTIONS"));
    }
    let answer = client.request("options", "/healthz", &[], b"");
    answer.assert_problem(405, "options");
}

#[test]
fn http_1_0_ends_the_connection_unless_asked_to_keep_it() {
    let gateway = patient_gateway();
    let mut client = gateway.connect();
    client.send(b"GET /healthz HTTP/1.0\r\n\r\n");
    let answer = client.receive();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(client.rest(), b"");

    let mut client = gateway.connect();
    for _ in 0..2 {
        client.send(b"GET /healthz HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n");
        let answer = client.receive();
        assert_eq!(answer.header("connection"), Some("keep-alive"));
        assert_eq!(answer.header("transfer-encoding"), None);
    }
    client.send(b"GET /healthz HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n");
    assert_eq!(client.receive().header("connection"), Some("close"));
    assert_eq!(client.rest(), b"");
}

#[test]
fn close_is_obeyed_and_nothing_behind_it_is_run() {
    let gateway = patient_gateway();
    for close in ["close", "Close", "foo, CLOSE", "keep-alive, close"] {
        let mut client = gateway.connect();
        client.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n");
        client.send(format!("Connection: {close}\r\n\r\n").as_bytes());
        client.send_request("PUT", "/v1/keys/behind", &[], b"1");
        assert_eq!(client.receive().header("connection"), Some("close"));
        assert_eq!(client.rest(), b"", "{close}");
    }
    assert_eq!(gateway.get("/v1/keys/behind").status, 404);
}

#[test]
fn head_is_get_without_the_body() {
    let gateway = patient_gateway();
    let value = vec![b'v'; 100_000];
    gateway.put("/v1/keys/large", &value);
    let mut client = gateway.connect();
    for path in [
        "/healthz",
        "/v1/keys/large",
        "/v1/keys/none",
        "/v1/nowhere",
        "/",
    ] {
        let of = |answer: &Answer, name| answer.header(name).map(str::to_owned);
        let get = client.request("GET", path, &[], b"");
        let head = client.request("HEAD", path, &[], b"");
        assert_eq!(head.status, get.status, "{path}");
        for name in ["content-length", "content-type", "etag", "vary"] {
            assert_eq!(of(&head, name), of(&get, name), "{path} {name}");
        }
    }
    // Nothing came behind the last head.
    client.finish_sending();
    assert_eq!(client.rest(), b"");
}

#[test]
fn a_request_may_come_a_byte_at_a_time() {
    let gateway = patient_gateway();
    let mut client = gateway.connect();
    let put = "PUT /v1/keys/slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nvalue";
    let chunked = "PUT /v1/keys/slow HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n\
                   3;a=b\r\nval\r\n2\r\nue\r\n0\r\nX-Trailer: 1\r\n\r\n";
    for request in [put, chunked] {
        for byte in request.as_bytes() {
            client.send(std::slice::from_ref(byte));
        }
        assert_eq!(client.receive().status, 204);
        assert_eq!(
            client.request("GET", "/v1/keys/slow", &[], b"").text(),
            "value"
        );
    }
}
