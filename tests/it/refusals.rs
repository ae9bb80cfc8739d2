//! What `/v1` and its neighbours refuse, with which status, and what they say about it: parameters, methods,
//! media types, bodies, and what the embedded engine cannot do.

use crate::env::{TestGateway, TestRedis};

/// Every problem that tells of the embedded engine's limits tells the way out.
const WAY_OUT: &str = "--upstream redis://";

#[test]
fn a_bad_expiry_is_named() {
    let gateway = TestGateway::start();
    for (query, named) in [
        ("ex=0", "ex"),
        ("ex=-1", "ex"),
        ("ex=1.5", "ex"),
        ("ex=", "ex"),
        ("ex", "ex"),
        ("ex=soon", "ex"),
        ("ex=%2B1", "ex"),
        ("ex=99999999999999999999", "ex"),
        ("px=0", "px"),
        ("px=1s", "px"),
        ("ex=9223372036854775807", "10 years"),
        ("ex=18446744073709551615", "10 years"),
        ("ex=315360001", "10 years"),
        ("px=315360000001", "10 years"),
        ("ex=1&px=1", "at most one"),
        ("px=1&keepttl", "at most one"),
        ("ex=1&exat=1", "at most one"),
        ("nx&xx", "exclude"),
        ("nx=maybe", "nx"),
        ("nx=yes", "without a value, true, 1 or false"),
        ("keepttl=0", "without a value, true, 1 or false"),
    ] {
        let answer = gateway.put(&format!("/v1/keys/a?{query}"), b"value");
        answer.assert_problem(400, named);
    }
    // Nothing was written, and the engine is well.
    gateway.get("/v1/keys/a").assert_problem(404, "no such key");
}

#[test]
fn an_unknown_parameter_is_named() {
    let gateway = TestGateway::start();
    for (method, path) in [
        ("GET", "/v1/keys/a?exx=1"),
        ("PUT", "/v1/keys/a?ex=1&exx=1"),
        ("DELETE", "/v1/keys/a?exx"),
        ("POST", "/v1/keys/a/increment?exx="),
        ("GET", "/v1/keys/a/ttl?exx=1"),
        ("PUT", "/v1/keys/a/ttl?exx=1"),
        ("DELETE", "/v1/keys/a/ttl?exx=1"),
        ("GET", "/v1/keys?match=a&exx=1"),
        ("POST", "/v1/channels/a/messages?exx=1"),
        ("GET", "/v1/channels/a/events?format=raw&exx=1"),
        ("GET", "/v1/events?channel=a&exx=1"),
        ("GET", "/v1/events?exx=a"),
        ("GET", "/v1/keys/a?EXX=1&e%78x=1"),
    ] {
        let answer = gateway.request(method, path, b"");
        assert_eq!(answer.status, 400, "{method} {path}");
        assert!(
            answer.text().to_lowercase().contains("exx"),
            "{method} {path}: {answer:?}"
        );
    }
    // A token may be given anywhere.
    assert_eq!(
        gateway.put("/v1/keys/a?_token=secret", b"value").status,
        204
    );
}

#[test]
fn a_repeated_parameter_is_named() {
    let gateway = TestGateway::start();
    for (method, path, named) in [
        ("PUT", "/v1/keys/a?ex=1&ex=1", "ex"),
        ("PUT", "/v1/keys/a?nx&nx", "nx"),
        ("GET", "/v1/keys?match=a&match=b", "match"),
        (
            "GET",
            "/v1/channels/a/events?format=raw&format=json",
            "format",
        ),
        (
            "GET",
            "/v1/events?channel=a&last_event_id=1&last_event_id=2",
            "last_event_id",
        ),
    ] {
        let answer = gateway.request(method, path, b"");
        answer.assert_problem(400, named);
        answer.assert_problem(400, "more than once");
    }
}

#[test]
fn a_bad_escape_is_told_of() {
    let gateway = TestGateway::start();
    for path in [
        "/v1/keys/100%",
        "/v1/keys/%2",
        "/v1/keys/%zz",
        "/v1/channels/%/messages",
    ] {
        let method = if path.ends_with('s') { "POST" } else { "GET" };
        gateway
            .request(method, path, b"")
            .assert_problem(400, "%25");
    }
    gateway
        .put("/v1/keys/a?ex=%zz", b"")
        .assert_problem(400, "%25");
}

#[test]
fn there_is_nothing_at_other_paths() {
    let gateway = TestGateway::start();
    for path in [
        "/v1",
        "/v1/",
        "/v1/keys/a/b",
        "/v1/keys/a/ttl/",
        "/v1/Keys/a",
        "///",
        "/healthz/",
    ] {
        gateway.get(path).assert_problem(404, "/openapi.yaml");
    }
}

#[test]
fn a_method_that_is_not_there_is_told_which_are() {
    let gateway = TestGateway::start();
    let mut client = gateway.connect();
    for (path, wrong, allow) in [
        ("/", "PUT", "GET, HEAD, POST, OPTIONS"),
        ("/healthz", "DELETE", "GET, HEAD, OPTIONS"),
        ("/v1/keys", "PUT", "GET, HEAD, OPTIONS"),
        ("/v1/keys/a", "POST", "GET, HEAD, PUT, DELETE, OPTIONS"),
        ("/v1/keys/a", "PATCH", "GET, HEAD, PUT, DELETE, OPTIONS"),
        ("/v1/keys/a", "get", "GET, HEAD, PUT, DELETE, OPTIONS"),
        ("/v1/keys/a", "BREW", "GET, HEAD, PUT, DELETE, OPTIONS"),
        ("/v1/keys/a/increment", "GET", "POST, OPTIONS"),
        ("/v1/keys/a/ttl", "POST", "GET, HEAD, PUT, DELETE, OPTIONS"),
        ("/v1/channels/a/messages", "GET", "POST, OPTIONS"),
        ("/v1/channels/a/events", "POST", "GET, HEAD, OPTIONS"),
        ("/v1/events", "DELETE", "GET, HEAD, OPTIONS"),
    ] {
        let refused = client.request(wrong, path, &[], b"");
        refused.assert_problem(405, wrong);
        assert_eq!(refused.header("allow"), Some(allow), "{wrong} {path}");
        let options = client.request("OPTIONS", path, &[], b"");
        assert_eq!(options.status, 204, "{path}");
        assert_eq!(options.header("allow"), Some(allow), "{path}");
    }
    let server = client.request("OPTIONS", "*", &[], b"");
    assert_eq!(server.status, 204);
    assert!(server.header("allow").unwrap().contains("PUT"));
    let nowhere = client.request("OPTIONS", "/v1/nowhere", &[], b"");
    nowhere.assert_problem(404, "nothing at this path");
}

#[test]
fn forms_that_are_not_there_are_406() {
    let gateway = TestGateway::start();
    gateway.put("/v1/keys/a", b"value");
    let mut client = gateway.connect();
    for (path, accept) in [
        ("/v1/keys/a", "image/png"),
        ("/v1/keys/a", "*/*;q=0"),
        ("/v1/channels/a/events", "text/html"),
        ("/v1/events?channel=a", "text/event-stream;q=0, */*"),
    ] {
        let answer = client.request("GET", path, &[("Accept", accept)], b"");
        answer.assert_problem(406, "this comes as");
    }
    // No preference.
    let answer = client.request("GET", "/v1/keys/a", &[("Accept", "")], b"");
    assert_eq!(answer.text(), "value");
}

#[test]
fn an_encoded_body_is_415() {
    let gateway = TestGateway::start();
    let mut client = gateway.connect();
    for (method, path) in [("PUT", "/v1/keys/a"), ("POST", "/v1/channels/a/messages")] {
        for coding in ["gzip", "br", "identity, gzip"] {
            let headers = [("Content-Encoding", coding)];
            let answer = client.request(method, path, &headers, b"body");
            answer.assert_problem(415, "Content-Encoding");
        }
    }
    // Where no body is taken at all, its form does not matter.
    for (path, status) in [("/v1/keys", 405), ("/v1/nowhere", 404)] {
        let gzip = [("Content-Encoding", "gzip")];
        let answer = client.request("PUT", path, &gzip, b"body");
        assert_eq!(answer.status, status, "{path}");
    }
    for coding in ["Identity", ""] {
        let headers = [("Content-Encoding", coding)];
        let answer = client.request("PUT", "/v1/keys/a", &headers, b"body");
        assert_eq!(answer.status, 204, "{coding:?}");
    }
}

#[test]
fn a_key_that_is_not_utf8_harms_nobody_beside_it() {
    let gateway = TestGateway::start();
    let mut client = gateway.connect();
    let request = |method: &str, path: &str, body: &str| {
        let length = body.len();
        format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}"
        )
    };
    let mut pipeline = String::new();
    for n in 0..20 {
        pipeline += &request("PUT", &format!("/v1/keys/k{n}"), &format!("v{n}"));
        pipeline += &request("GET", "/v1/keys/%FF", "");
        pipeline += &request("PUT", "/v1/keys/%C0%AF", "value");
        pipeline += &request("POST", "/v1/channels/%FF/messages", "message");
        pipeline += &request("DELETE", "/v1/keys/k0", "");
        pipeline += &request("GET", &format!("/v1/keys/k{n}"), "");
    }
    client.send(pipeline.as_bytes());
    for n in 0..20 {
        assert_eq!(client.receive().status, 204);
        client.receive().assert_problem(400, WAY_OUT);
        client.receive().assert_problem(400, "key is not UTF-8");
        client.receive().assert_problem(400, "channel is not UTF-8");
        client.receive().assert_problem(501, WAY_OUT);
        assert_eq!(client.receive().text(), format!("v{n}"));
    }
    for path in [
        "/v1/channels/%FF/events",
        "/v1/events?channel=a&channel=%FF",
    ] {
        gateway.get(path).assert_problem(400, WAY_OUT);
        assert_eq!(gateway.request("HEAD", path, b"").status, 400, "{path}");
    }
}

#[test]
fn what_cannot_be_listened_to_has_no_head_either() {
    let gateway = TestGateway::start();
    for path in [
        "/v1/events?pattern=a",
        "/v1/events?channel=a&stream=b",
        "/v1/streams/a/events",
        "/v1/channels/a/events?sharded",
        "/psubscribe/a",
        "/monitor",
    ] {
        for method in ["GET", "HEAD"] {
            let status = gateway.request(method, path, b"").status;
            assert_eq!(status, 501, "{method} {path}");
        }
    }
    for path in [
        "/v1/channels/a/events",
        "/v1/events?channel=a",
        "/subscribe/a",
    ] {
        let head = gateway.request("HEAD", path, b"");
        assert_eq!(head.status, 200, "{path}");
        assert_eq!(head.header("content-type"), Some("text/event-stream"));
    }
}

#[test]
fn what_mini_redis_lacks_is_501_with_the_way_out() {
    let gateway = TestGateway::start();
    gateway.put("/v1/keys/a", b"1");
    let mut client = gateway.connect();
    for (method, path, body) in [
        ("DELETE", "/v1/keys/a", ""),
        ("GET", "/v1/keys/a/ttl", ""),
        ("PUT", "/v1/keys/a/ttl", r#"{"seconds":60}"#),
        ("PUT", "/v1/keys/a/ttl", r#"{"milliseconds":1500}"#),
        ("DELETE", "/v1/keys/a/ttl", ""),
        ("POST", "/v1/keys/a/increment", ""),
        ("POST", "/v1/keys/a/increment", r#"{"by":10}"#),
        ("POST", "/v1/keys/a/increment", r#"{"by":-0.5}"#),
        ("GET", "/v1/keys", ""),
        ("GET", "/v1/keys?match=u*&type=string&count=10&cursor=5", ""),
        ("PUT", "/v1/keys/a?nx", "new"),
        ("PUT", "/v1/keys/a?xx", "new"),
        ("PUT", "/v1/keys/a?get", "new"),
        ("PUT", "/v1/keys/a?keepttl", "new"),
        ("PUT", "/v1/keys/a?exat=4000000000", "new"),
        ("PUT", "/v1/keys/a?pxat=4000000000000", "new"),
        ("PUT", "/v1/keys/a?ex=60&nx", "new"),
    ] {
        let answer = client.request(method, path, &[], body.as_bytes());
        answer.assert_problem(501, WAY_OUT);
    }
    for (method, path, named) in [
        ("PUT", "/v1/keys/a?ex=60&get", "not SET with GET;"),
        ("PUT", "/v1/keys/a?px=60&nx", "not SET with NX;"),
        (
            "PUT",
            "/v1/keys/a?exat=4000000000&get",
            "not SET with EXAT;",
        ),
        ("DELETE", "/v1/keys/a/ttl", "not PERSIST;"),
    ] {
        let answer = client.request(method, path, &[], b"");
        answer.assert_problem(501, named);
    }
    for (name, value) in [("If-Match", "*"), ("If-None-Match", "*")] {
        let answer = client.request("PUT", "/v1/keys/a", &[(name, value)], b"new");
        answer.assert_problem(501, WAY_OUT);
        // Compare and set takes a script.
        let answer = client.request("PUT", "/v1/keys/a", &[(name, "\"tag\"")], b"new");
        answer.assert_problem(501, WAY_OUT);
        let answer = client.request("DELETE", "/v1/keys/a", &[(name, "\"tag\"")], b"");
        assert_eq!(answer.status, 501, "{name}");
    }
    let any = client.request("DELETE", "/v1/keys/a", &[("If-Match", "*")], b"");
    any.assert_problem(501, WAY_OUT);
    assert_eq!(gateway.get("/v1/keys/a").body, b"1");
}

#[test]
fn where_a_body_breaks_the_rules_of_json_is_told() {
    let redis = TestRedis::start();
    let gateway = TestGateway::over(&redis);
    for (path, body, place) in [
        ("/", "[\"SET\",\"k\",\"a\nb\"]", "line 1 column 13"),
        ("/pipeline", "[[\"GET\",\n\"k\"],]", "line 2 column 6"),
        ("/v1/streams/s/entries", "{\"a\":1,\n}", "line 2 column 1"),
    ] {
        let answer = gateway.post(path, body.as_bytes());
        assert_eq!(answer.status, 400, "{path}");
        let told = answer.text();
        assert!(told.contains(place), "{path}: {told}");
    }
    // What is JSON, but not the one wanted, is at fault as a whole.
    for path in ["/", "/pipeline", "/v1/streams/s/entries"] {
        let told = gateway.post(path, b"1").text().to_owned();
        assert!(told.contains("must be") && !told.contains("line"), "{told}");
    }
}

#[test]
fn a_body_that_is_not_the_json_wanted_is_400() {
    let gateway = TestGateway::start();
    for body in [
        "{",
        "1",
        "[]",
        "null",
        "{\"by\":\"1\"}",
        "{\"by\":null}",
        "{\"by\":1,\"x\":2}",
        "{\"to\":1}",
        "{\"by\":18446744073709551615}",
        "{\"by\":9223372036854775808}",
        "{\"by\":99999999999999999999}",
        "{\"by\":-99999999999999999999}",
        "{\"by\":1,\"by\":2}",
        "by=1",
        "\u{FEFF}{}",
    ] {
        let answer = gateway.post("/v1/keys/a/increment", body.as_bytes());
        answer.assert_problem(400, "\"by\"");
    }
    for body in [
        "",
        "{}",
        "60",
        "{\"seconds\":0}",
        "{\"seconds\":-1}",
        "{\"seconds\":1.5}",
        "{\"seconds\":\"60\"}",
        "{\"seconds\":1,\"milliseconds\":1}",
        "{\"minutes\":1}",
        "{\"seconds\":1,\"seconds\":1}",
        "{\"seconds\":18446744073709551615}",
    ] {
        let answer = gateway.put("/v1/keys/a/ttl", body.as_bytes());
        answer.assert_problem(400, "\"seconds\"");
    }
    for (query, named) in [
        ("count=0", "count"),
        ("count=many", "count"),
        ("count=10001", "count"),
        ("cursor=-1", "cursor"),
    ] {
        let answer = gateway.get(&format!("/v1/keys?{query}"));
        answer.assert_problem(400, named);
    }
}
