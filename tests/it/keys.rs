//! `/v1/keys` over the embedded engine, looked at from the other side too: values, names, representations
//! and conditions. What is refused is in `refusals`.

use std::time::Duration;

use redis_http_gateway::BlockingClient;
use serde_json::json;

use crate::env::{Answer, TestGateway, wait_until};

/// A client of the Redis behind the gateway.
fn redis_behind(gateway: &TestGateway) -> BlockingClient {
    let address = gateway.gateway().upstream().embedded_address().unwrap();
    BlockingClient::connect(address).unwrap()
}

/// GET with headers.
fn get_with(gateway: &TestGateway, path: &str, headers: &[(&str, &str)]) -> Answer {
    gateway.connect().request("GET", path, headers, b"")
}

#[test]
fn a_value_comes_back_byte_for_byte() {
    let gateway = TestGateway::start();
    let large: Vec<u8> = (0..5 * 1024 * 1024_u32).map(|n| (n % 251) as u8).collect();
    let values: [&[u8]; 6] = [b"", b"a", b"\x00", b"\xFF", b"a\r\nb\r\n", &large];
    for value in values {
        assert_eq!(gateway.put("/v1/keys/value", value).status, 204);
        let answer = gateway.get("/v1/keys/value");
        assert_eq!(answer.status, 200);
        assert!(answer.body == value, "{} bytes went in", value.len());
    }
}

#[test]
fn both_sides_see_the_same_data() {
    let gateway = TestGateway::start();
    let mut redis = redis_behind(&gateway);
    gateway.put("/v1/keys/from%20http", b"\x00\xFF");
    assert_eq!(redis.get("from http").unwrap().unwrap(), &b"\x00\xFF"[..]);
    redis.set("from redis", "value".into()).unwrap();
    assert_eq!(gateway.get("/v1/keys/from%20redis").body, b"value");
}

#[test]
fn a_path_segment_is_a_key_decoded_once() {
    let gateway = TestGateway::start();
    let mut redis = redis_behind(&gateway);
    for (path, key) in [
        ("two%20words", "two words"),
        ("a%2Fb%2fc", "a/b/c"),
        ("100%25", "100%"),
        ("%2525", "%25"),
        ("%F0%9F%94%91", "🔑"),
        ("", ""),
        ("a+b", "a+b"),
        ("%3Fex=1%26%23", "?ex=1&#"),
        ("%00%0D%0A", "\0\r\n"),
        ("..", ".."),
        ("user:1;v=(2),'x'!*$&@~", "user:1;v=(2),'x'!*$&@~"),
    ] {
        let path = format!("/v1/keys/{path}");
        assert_eq!(gateway.put(&path, key.as_bytes()).status, 204, "{path}");
        let stored = redis.get(key).unwrap();
        assert_eq!(stored.as_deref(), Some(key.as_bytes()), "{path}");
        assert_eq!(gateway.get(&path).body, key.as_bytes(), "{path}");
    }
}

#[test]
fn text_and_bytes_are_told_apart() {
    let gateway = TestGateway::start();
    gateway.put("/v1/keys/text", "schön".as_bytes());
    gateway.put("/v1/keys/bytes", b"\xFF\xFE");
    for (key, media_type) in [
        ("text", "text/plain; charset=utf-8"),
        ("bytes", "application/octet-stream"),
    ] {
        let answer = gateway.get(&format!("/v1/keys/{key}"));
        assert_eq!(answer.header("content-type"), Some(media_type));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("vary"), Some("Accept"));
    }
}

#[test]
fn a_value_can_be_had_as_json() {
    let gateway = TestGateway::start();
    gateway.put("/v1/keys/a%22%2Fb", "\"quoted\"\n".as_bytes());
    gateway.put("/v1/keys/bytes", b"\x00\xFF");
    for (path, object) in [
        (
            "/v1/keys/a%22%2Fb",
            json!({"key": "a\"/b", "value": "\"quoted\"\n"}),
        ),
        (
            "/v1/keys/bytes",
            json!({"key": "bytes", "value": "AP8=", "encoding": "base64"}),
        ),
    ] {
        let answer = get_with(&gateway, path, &[("Accept", "application/json")]);
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("vary"), Some("Accept"));
        assert_eq!(answer.json(), object);
    }
}

#[test]
fn each_form_of_each_value_has_a_tag_of_its_own() {
    let gateway = TestGateway::start();
    let json = [("Accept", "application/json")];
    let tag = |answer: Answer| answer.header("etag").unwrap().to_owned();
    gateway.put("/v1/keys/a", b"one");
    gateway.put("/v1/keys/b", b"one");
    let raw = tag(gateway.get("/v1/keys/a"));
    assert!(raw.starts_with('"') && raw.ends_with('"'), "{raw}");
    assert_eq!(tag(gateway.get("/v1/keys/b")), raw);
    let as_json = tag(get_with(&gateway, "/v1/keys/a", &json));
    assert_ne!(as_json, raw);
    gateway.put("/v1/keys/a", b"two");
    assert_ne!(tag(gateway.get("/v1/keys/a")), raw);

    // A tag of the one form says nothing about the other.
    let cached = [("Accept", "application/json"), ("If-None-Match", &*raw)];
    assert_eq!(get_with(&gateway, "/v1/keys/b", &cached).status, 200);
    let cached = [("Accept", "application/json"), ("If-None-Match", &*as_json)];
    assert_eq!(get_with(&gateway, "/v1/keys/b", &cached).status, 304);
}

#[test]
fn what_the_client_has_is_not_sent_again() {
    let gateway = TestGateway::start();
    gateway.put("/v1/keys/a", b"value");
    let tag = gateway.get("/v1/keys/a").header("etag").unwrap().to_owned();
    let mut client = gateway.connect();
    for (condition, status) in [
        (tag.clone(), 304),
        (format!("W/{tag}"), 304),
        (format!("\"other\", {tag}"), 304),
        (format!("\"other\",W/{tag} , \"another\""), 304),
        ("*".into(), 304),
        ("\"other\"".into(), 200),
        ("W/\"other\", \"another\"".into(), 200),
    ] {
        for method in ["GET", "HEAD"] {
            let headers = [("If-None-Match", condition.as_str())];
            let answer = client.request(method, "/v1/keys/a", &headers, b"");
            assert_eq!(answer.status, status, "{method} {condition}");
            assert_eq!(answer.header("etag"), Some(&*tag), "{method} {condition}");
            assert_eq!(answer.header("vary"), Some("Accept"));
            if status == 304 {
                assert_eq!(answer.header("content-length"), None);
                assert_eq!(answer.header("content-type"), None);
            }
        }
    }
    // Where there is no value, none is the same.
    let absent = get_with(&gateway, "/v1/keys/absent", &[("If-None-Match", "*")]);
    absent.assert_problem(404, "no such key");
    let malformed = get_with(&gateway, "/v1/keys/a", &[("If-None-Match", "untagged")]);
    malformed.assert_problem(400, "If-None-Match");
}

#[test]
fn a_cache_on_the_way_asks_each_time() {
    let gateway = TestGateway::start();
    gateway.put("/v1/keys/a", b"value");
    let tag = gateway.get("/v1/keys/a").header("etag").unwrap().to_owned();
    let mut client = gateway.connect();
    for (path, status, expected) in [
        ("/v1/keys/a", 200, "no-cache"),
        ("/v1/keys/absent", 404, "no-cache"),
        ("/v1/hashes/a", 501, "no-cache"),
        ("/get/a", 200, "no-cache"),
        ("/healthz", 200, "no-store"),
    ] {
        for method in ["GET", "HEAD"] {
            let answer = client.request(method, path, &[], b"");
            assert_eq!(answer.status, status, "{method} {path}");
            let said = answer.header("cache-control");
            assert_eq!(said, Some(expected), "{method} {path}");
        }
    }
    let known = client.request("GET", "/v1/keys/a", &[("If-None-Match", &tag)], b"");
    assert_eq!(
        (known.status, known.header("cache-control")),
        (304, Some("no-cache"))
    );
}

#[test]
fn a_get_can_ask_for_one_value_only() {
    let gateway = TestGateway::start();
    gateway.put("/v1/keys/a", b"value");
    let tag = gateway.get("/v1/keys/a").header("etag").unwrap().to_owned();
    for (path, condition, status) in [
        ("/v1/keys/a", tag.clone(), 200),
        ("/v1/keys/a", "*".into(), 200),
        ("/v1/keys/a", format!("\"other\", {tag}"), 200),
        // Strong comparison: a weak tag matches nothing.
        ("/v1/keys/a", format!("W/{tag}"), 412),
        ("/v1/keys/a", "\"other\"".into(), 412),
        ("/v1/keys/absent", tag.clone(), 412),
        ("/v1/keys/absent", "*".into(), 412),
    ] {
        let answer = get_with(&gateway, path, &[("If-Match", &condition)]);
        assert_eq!(answer.status, status, "{path} {condition}");
        if status == 412 {
            answer.assert_problem(412, "If-Match");
        }
    }
}

#[test]
fn head_is_get_without_the_body() {
    let gateway = TestGateway::start();
    gateway.put("/v1/keys/text", b"value");
    gateway.put("/v1/keys/empty", b"");
    gateway.put("/v1/keys/large", &vec![b'a'; 300 * 1024]);
    let mut client = gateway.connect();
    let json: &[(&str, &str)] = &[("Accept", "application/json")];
    for (path, headers) in [
        ("/v1/keys/text", &[][..]),
        ("/v1/keys/text", json),
        ("/v1/keys/empty", &[]),
        ("/v1/keys/large", &[]),
        ("/v1/keys/absent", &[]),
        ("/v1/keys/text?unknown", &[]),
        ("/v1/keys/text/ttl", &[]),
        ("/v1/keys", &[]),
        ("/", &[]),
        ("/healthz", &[]),
        ("/readyz", &[]),
        ("/openapi.yaml", &[]),
        ("/v1/nowhere", &[]),
    ] {
        let get = client.request("GET", path, headers, b"");
        // That the connection is still in step shows that no body came.
        let head = client.request("HEAD", path, headers, b"");
        let lasting = |answer: &Answer| {
            let changing = ["date", "x-request-id"];
            let mut headers = answer.headers.clone();
            headers.retain(|(name, _)| !changing.contains(&&**name));
            (answer.status, headers)
        };
        assert_eq!(lasting(&head), lasting(&get), "{path}");
        let length = get.body.len().to_string();
        assert_eq!(head.header("content-length"), Some(&*length), "{path}");
    }
}

#[test]
fn values_expire() {
    let gateway = TestGateway::start();
    for (path, lasts) in [
        ("/v1/keys/milliseconds?px=300", false),
        ("/v1/keys/seconds?ex=1", false),
        ("/v1/keys/long?ex=3600", true),
        ("/v1/keys/ten-years?ex=315360000", true),
        ("/v1/keys/long-too?px=315360000000", true),
    ] {
        assert_eq!(gateway.put(path, b"value").status, 204, "{path}");
        let path = path.split('?').next().unwrap();
        if lasts {
            assert_eq!(gateway.get(path).status, 200, "{path}");
        } else {
            wait_until("the value is gone", || gateway.get(path).status == 404);
        }
    }
    // A new value has no expiry of the old one.
    gateway.put("/v1/keys/a?px=200", b"old");
    gateway.put("/v1/keys/a", b"new");
    gateway.put("/v1/keys/b?px=400", b"value");
    wait_until("the later one is gone", || {
        gateway.get("/v1/keys/b").status == 404
    });
    assert_eq!(gateway.get("/v1/keys/a").body, b"new");
}

#[test]
fn a_request_is_named_by_its_own_id_also_where_its_body_is_at_fault() {
    let gateway = TestGateway::with(|config| config.body_timeout = Duration::from_millis(200));
    let head = "PUT /v1/keys/a HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: mine\r\n";
    for (rest, status) in [
        ("Transfer-Encoding: chunked\r\n\r\nno size\r\n", 400),
        ("Transfer-Encoding: chunked\r\n\r\nFFFFFFFF\r\n", 413),
        ("Content-Length: 5\r\n\r\nlate", 408),
    ] {
        let mut client = gateway.connect();
        client.send([head, rest].concat().as_bytes());
        let answer = client.receive();
        answer.assert_problem(status, "body");
        assert_eq!(answer.header("x-request-id"), Some("mine"), "{status}");
        assert_eq!(client.rest(), b"");
    }
}

#[test]
fn every_answer_names_its_request() {
    let gateway = TestGateway::start();
    let mut client = gateway.connect();
    let longest = "x".repeat(128);
    for path in ["/v1/keys/absent", "/healthz", "/v1/nowhere", "/v1/keys?bad"] {
        for sane in ["a", "0af7651916cd43dd8448eb211c80319c", "{!~}", &longest] {
            let answer = client.request("GET", path, &[("X-Request-Id", sane)], b"");
            assert_eq!(answer.header("x-request-id"), Some(sane), "{path}");
        }
        let long = "x".repeat(129);
        let mut seen = vec![];
        for insane in ["", "two words", "schön", &long] {
            let answer = client.request("GET", path, &[("X-Request-Id", insane)], b"");
            let own = answer.header("x-request-id").unwrap().to_owned();
            assert_ne!(own, insane);
            assert!(own.len() >= 8 && !own.contains(' '), "{own:?}");
            assert!(!seen.contains(&own), "{own} was given twice");
            seen.push(own);
        }
    }
}
