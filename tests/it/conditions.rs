//! `If-Match`, `If-None-Match` and `Content-Range` on requests that write: kept, or refused, and never ignored.

use crate::env::{TestGateway, TestRedis};

/// What names no tag.
const EMPTY: [&str; 4] = ["", ",", " , ", ",,"];

fn fields() -> impl Iterator<Item = (&'static str, &'static str)> {
    let names = ["If-Match", "If-None-Match"].into_iter();
    names.flat_map(|name| EMPTY.map(|value| (name, value)))
}

#[test]
fn an_empty_condition_does_not_write() {
    let redis = TestRedis::start();
    for gateway in [TestGateway::start(), TestGateway::over(&redis)] {
        gateway.put("/v1/keys/a", b"before");
        let mut client = gateway.connect();
        for field in fields() {
            let put = client.request("PUT", "/v1/keys/a", &[field], b"new");
            put.assert_problem(400, "must be * or entity tags");
            put.assert_problem(400, field.0);
            let delete = client.request("DELETE", "/v1/keys/a", &[field], b"");
            delete.assert_problem(400, "must be * or entity tags");
        }
        // Who reads knows nothing by it.
        let read = client.request("GET", "/v1/keys/a", &[("If-None-Match", "")], b"");
        assert_eq!(read.text(), "before");
    }
}

#[test]
fn where_no_condition_can_be_kept_there_is_none() {
    let redis = TestRedis::start();
    let gateway = TestGateway::over(&redis);
    redis.cli(&["SET", "n", "1", "EX", "1000"]);
    redis.cli(&["HSET", "h", "f", "before"]);
    let mut client = gateway.connect();
    let values = EMPTY.into_iter().chain(["*", "\"a\"", "nonsense"]);
    for value in values {
        for (method, path, body) in [
            ("POST", "/v1/keys/n/increment", ""),
            ("PUT", "/v1/keys/n/ttl", r#"{"seconds":1}"#),
            ("DELETE", "/v1/keys/n/ttl", ""),
            ("POST", "/v1/channels/c/messages", "message"),
            ("POST", "/v1/channels/c/messages?sharded", "message"),
            ("POST", "/v1/streams/s/entries", r#"{"a":1}"#),
            ("PATCH", "/v1/hashes/h", r#"{"f":1}"#),
            ("DELETE", "/v1/hashes/h", ""),
            ("PUT", "/v1/hashes/h/f", "new"),
            ("DELETE", "/v1/hashes/h/f", ""),
        ] {
            for name in ["If-Match", "If-None-Match"] {
                let answer = client.request(method, path, &[(name, value)], body.as_bytes());
                answer.assert_problem(501, name);
            }
        }
    }
    assert_eq!(redis.cli(&["GET", "n"]), "1");
    assert!(redis.cli(&["TTL", "n"]).parse::<i64>().unwrap() > 900);
    assert_eq!(redis.cli(&["HGET", "h", "f"]), "before");
    assert_eq!(redis.cli(&["EXISTS", "s"]), "0");
}

#[test]
fn a_comma_may_be_in_a_tag() {
    let gateway = TestGateway::start();
    gateway.put("/v1/keys/a", b"value");
    let mut client = gateway.connect();
    let tag = client.request("GET", "/v1/keys/a", &[], b"");
    let tag = tag.header("etag").unwrap().to_owned();
    let mut ask = |value: &str| {
        let headers = [("If-None-Match", value)];
        client.request("GET", "/v1/keys/a", &headers, b"").status
    };
    assert_eq!(ask("\"a,b\""), 200);
    assert_eq!(ask(&format!("\"a,b\", W/\",\" ,{tag}")), 304);
    assert_eq!(ask("\"a\" \"b\""), 400);
}

#[test]
fn a_part_does_not_replace_the_whole() {
    let redis = TestRedis::start();
    for gateway in [TestGateway::start(), TestGateway::over(&redis)] {
        gateway.put("/v1/keys/a", b"before");
        let mut client = gateway.connect();
        let headers = [("Content-Range", "bytes 2-3/6")];
        for path in ["/v1/keys/a", "/v1/keys/a/ttl", "/v1/hashes/h/f"] {
            let answer = client.request("PUT", path, &headers, b"new");
            answer.assert_problem(400, "Content-Range");
        }
        let answer = client.request("PUT", "/set/a", &headers, b"new");
        assert_eq!(answer.status, 400);
        assert_eq!(gateway.get("/v1/keys/a").text(), "before");
    }
}
