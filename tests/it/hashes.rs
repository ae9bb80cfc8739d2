//! `/v1/hashes` over a real Redis.

use serde_json::json;

use crate::env::{TestGateway, TestRedis};

fn start() -> (TestRedis, TestGateway) {
    let redis = TestRedis::start();
    let gateway = TestGateway::over(&redis);
    (redis, gateway)
}

#[test]
fn a_field_is_written_read_and_removed() {
    let (redis, gateway) = start();
    let path = "/v1/hashes/user%2F7/na%20me";
    gateway.get(path).assert_problem(404, "no such field");
    assert_eq!(gateway.put(path, b"Ada").status, 201);
    assert_eq!(gateway.put(path, b"Ada\0\xFF").status, 204);
    let shown = redis.cli(&["--no-raw", "HGET", "user/7", "na me"]);
    assert_eq!(shown, r#""Ada\x00\xff""#);
    let answer = gateway.get(path);
    assert_eq!(answer.body, b"Ada\0\xFF");
    assert_eq!(
        answer.header("content-type"),
        Some("application/octet-stream")
    );
    let head = gateway.request("HEAD", path, b"");
    assert_eq!(head.header("content-length"), Some("5"));
    assert_eq!(head.header("etag"), answer.header("etag"));
    assert_eq!(gateway.request("DELETE", path, b"").status, 204);
    assert_eq!(redis.cli(&["EXISTS", "user/7"]), "0");
    gateway
        .request("DELETE", path, b"")
        .assert_problem(404, "no such field");
    assert_eq!(gateway.put("/v1/hashes/user%2F7/", b"").status, 201);
    assert_eq!(gateway.get("/v1/hashes/user%2F7/").body, b"");
}

#[test]
fn a_field_has_a_json_form_and_tags() {
    let (_redis, gateway) = start();
    let mut client = gateway.connect();
    gateway.put("/v1/hashes/%FE/f", b"\xFF");
    let as_json = ("Accept", "application/json");
    let answer = client.request("GET", "/v1/hashes/%FE/f", &[as_json], b"");
    let expected = json!({"key": "/g==", "key_encoding": "base64", "field": "f",
        "value": "/w==", "encoding": "base64"});
    assert_eq!(answer.json(), expected);
    assert_eq!(answer.header("vary"), Some("Accept"));
    let tag = answer.header("etag").unwrap().to_owned();
    let raw = gateway.get("/v1/hashes/%FE/f");
    assert_ne!(raw.header("etag"), Some(&tag[..]));
    let known = [as_json, ("If-None-Match", &tag)];
    let answer = client.request("GET", "/v1/hashes/%FE/f", &known, b"");
    assert_eq!(answer.status, 304);
    gateway.put("/v1/hashes/%FE/f", b"new");
    let answer = client.request("GET", "/v1/hashes/%FE/f", &known, b"");
    assert_eq!(answer.json()["value"], "new");
    let answer = client.request("GET", "/v1/hashes/%FE/f", &[("If-Match", &tag)], b"");
    answer.assert_problem(412, "If-Match");
    let answer = client.request("GET", "/v1/hashes/none/f", &[("If-Match", "*")], b"");
    answer.assert_problem(412, "If-Match");
}

#[test]
fn a_patch_merges() {
    let (redis, gateway) = start();
    let path = "/v1/hashes/user";
    let patch = |body: &str| gateway.request("PATCH", path, body.as_bytes());
    let body = r#"{"name":"Ada \u00e9","age":36,"big":9007199254740993,"odd":1e+21,"yes":true,"gone":null}"#;
    assert_eq!(patch(body).status, 204);
    let expected = json!({"name": "Ada é", "age": "36", "big": "9007199254740993",
        "odd": "1e+21", "yes": "true"});
    assert_eq!(gateway.get(path).json(), expected);
    assert_eq!(patch(r#"{"age":null,"big":null,"name":"Bob"}"#).status, 204);
    assert_eq!(redis.cli(&["HGET", "user", "name"]), "Bob");
    assert_eq!(redis.cli(&["HLEN", "user"]), "3");
    assert_eq!(patch("{}").status, 204);
    assert_eq!(redis.cli(&["HLEN", "user"]), "3");
    patch(r#"{"a":1,"a":2}"#).assert_problem(400, "\"a\" is given more than once");
    let all_gone = r#"{"name":null,"odd":null,"yes":null}"#;
    assert_eq!(patch(all_gone).status, 204);
    gateway.get(path).assert_problem(404, "no such key");

    patch(r#"{"a":1,"deep":{"b":1}}"#).assert_problem(400, "\"deep\" is an object");
    patch(r#"{"a":1,"many":[]}"#).assert_problem(400, "\"many\" is an array");
    for body in ["", "[]", "null", r#""a""#, "{", r#"{"a":NaN}"#] {
        patch(body).assert_problem(400, "JSON object");
    }
    let many: Vec<_> = (0..100_001).map(|n| format!("\"{n}\":1")).collect();
    patch(&format!("{{{}}}", many.join(","))).assert_problem(413, "100000 fields");
    assert_eq!(redis.cli(&["EXISTS", "user"]), "0");
}

#[test]
fn a_patch_is_seen_as_a_whole_or_not_at_all() {
    let (_redis, gateway) = start();
    let path = "/v1/hashes/h";
    gateway.request("PATCH", path, br#"{"a":1}"#);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..200 {
                gateway.request("PATCH", path, br#"{"a":null,"b":1}"#);
                gateway.request("PATCH", path, br#"{"a":1,"b":null}"#);
            }
        });
        for _ in 0..400 {
            let fields = gateway.get(path).json();
            assert_eq!(fields.as_object().unwrap().len(), 1, "{fields}");
        }
    });
}

#[test]
fn an_object_shows_every_byte_and_has_a_tag() {
    let (redis, gateway) = start();
    gateway.put("/v1/hashes/h/a", b"\xFF");
    gateway.put("/v1/hashes/h/%FE", b"1");
    redis.cli(&["HSET", "h", "", "empty"]);
    let answer = gateway.get("/v1/hashes/h");
    let expected = json!({
        "a": {"value": "/w==", "encoding": "base64"},
        "": [
            {"field": "", "value": "empty"},
            {"field": "/g==", "field_encoding": "base64", "value": "1"},
        ],
    });
    assert_eq!(answer.json(), expected);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let tag = answer.header("etag").unwrap().to_owned();
    let head = gateway.request("HEAD", "/v1/hashes/h", b"");
    assert_eq!(head.header("etag"), Some(&tag[..]));
    // The order in which fields were written is no part of it.
    redis.cli(&["HDEL", "h", "a"]);
    gateway.put("/v1/hashes/h/a", b"\xFF");
    let mut client = gateway.connect();
    let known = [("If-None-Match", &tag[..])];
    let answer = client.request("GET", "/v1/hashes/h", &known, b"");
    assert_eq!(answer.status, 304);
    gateway.put("/v1/hashes/h/a", b"\xFE");
    let answer = client.request("GET", "/v1/hashes/h", &known, b"");
    assert_eq!(answer.status, 200);
    let other = client.request("GET", "/v1/hashes/h", &[("Accept", "text/plain")], b"");
    other.assert_problem(406, "application/json");
}

#[test]
fn a_hash_is_removed_and_nothing_else_is() {
    let (redis, gateway) = start();
    redis.cli(&["HSET", "h", "a", "1"]);
    redis.cli(&["SET", "text", "a"]);
    assert_eq!(gateway.request("DELETE", "/v1/hashes/h", b"").status, 204);
    gateway
        .request("DELETE", "/v1/hashes/h", b"")
        .assert_problem(404, "no such key");
    gateway
        .request("DELETE", "/v1/hashes/text", b"")
        .assert_problem(409, "something else");
    assert_eq!(redis.cli(&["GET", "text"]), "a");
}

#[test]
fn another_type_is_in_the_way() {
    let (redis, gateway) = start();
    redis.cli(&["SET", "text", "a"]);
    for (method, path, body) in [
        ("GET", "/v1/hashes/text", ""),
        ("PATCH", "/v1/hashes/text", r#"{"a":1}"#),
        ("PATCH", "/v1/hashes/text", r#"{"a":1,"b":null}"#),
        ("PATCH", "/v1/hashes/text", r#"{"b":null}"#),
        ("PATCH", "/v1/hashes/text", "{}"),
        ("GET", "/v1/hashes/text/a", ""),
        ("PUT", "/v1/hashes/text/a", "1"),
        ("DELETE", "/v1/hashes/text/a", ""),
    ] {
        let answer = gateway.request(method, path, body.as_bytes());
        answer.assert_problem(409, "in the way");
        let words = answer.json()["redis_error"].as_str().unwrap().to_owned();
        assert!(words.starts_with("WRONGTYPE "), "{method} {path}: {words}");
    }
    assert_eq!(redis.cli(&["GET", "text"]), "a");
}

#[test]
fn a_condition_on_a_write_is_never_ignored() {
    let (redis, gateway) = start();
    redis.cli(&["HSET", "h", "a", "1"]);
    let mut client = gateway.connect();
    for (name, value) in [("If-Match", "\"x\""), ("If-None-Match", "*")] {
        for (method, path) in [
            ("PUT", "/v1/hashes/h/a"),
            ("DELETE", "/v1/hashes/h/a"),
            ("PATCH", "/v1/hashes/h"),
            ("DELETE", "/v1/hashes/h"),
        ] {
            let answer = client.request(method, path, &[(name, value)], b"{}");
            answer.assert_problem(501, name);
        }
    }
    assert_eq!(redis.cli(&["HGET", "h", "a"]), "1");
}

#[test]
fn a_reader_may_read() {
    let redis = TestRedis::start();
    redis.cli(&["HSET", "h", "a", "1"]);
    let gateway = TestGateway::over_with(&redis, |config| {
        config.readonly_tokens = vec!["reader".parse().unwrap()];
    });
    let mut client = gateway.connect();
    let token = [("Authorization", "Bearer reader")];
    for (method, path, status) in [
        ("GET", "/v1/hashes/h", 200),
        ("GET", "/v1/hashes/h/a", 200),
        ("GET", "/v1/streams/s/entries", 200),
        ("PUT", "/v1/hashes/h/a", 403),
        ("DELETE", "/v1/hashes/h/a", 403),
        ("DELETE", "/v1/hashes/h", 403),
        ("PATCH", "/v1/hashes/h", 403),
        ("POST", "/v1/streams/s/entries", 403),
    ] {
        let answer = client.request(method, path, &token, br#"{"a":2,"b":"c"}"#);
        assert_eq!(answer.status, status, "{method} {path}");
    }
    assert_eq!(redis.cli(&["HGET", "h", "a"]), "1");
}

#[test]
fn the_methods_are_told() {
    let gateway = TestGateway::start();
    let all = gateway.request("OPTIONS", "*", b"");
    assert!(all.header("allow").unwrap().contains("PATCH"));
    let one = gateway.request("OPTIONS", "/v1/hashes/h", b"");
    assert_eq!(
        one.header("allow"),
        Some("GET, HEAD, PATCH, DELETE, OPTIONS")
    );
}

#[test]
fn what_was_no_transaction_is_not_called_undone() {
    let redis = TestRedis::start();
    let acl = ["ACL", "SETUSER", "app", "on", ">pw", "~*", "+@hash"];
    redis.cli(&[&acl[..], &["+ping", "+command"]].concat());
    redis.cli(&["HSET", "h", "old", "1"]);
    let url = redis.url().replace("redis://", "redis://app:pw@");
    let gateway = TestGateway::at(&url);
    let body = json!({"new": 1, "old": null}).to_string();
    let patched = gateway.request("PATCH", "/v1/hashes/h", body.as_bytes());
    patched.assert_problem(502, "may have run one by one");
    patched.assert_problem(502, "NOPERM");
    assert_eq!(redis.cli(&["HKEYS", "h"]), "new");
    let body = json!([["HDEL", "h", "new"]]).to_string();
    let answer = gateway.post("/multi-exec", body.as_bytes());
    assert_eq!(answer.status, 502);
    let told = answer.json()["error"].as_str().unwrap().to_owned();
    assert!(told.contains("may have run one by one"), "{told}");
}
