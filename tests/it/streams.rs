//! `/v1/streams` over a real Redis.

use serde_json::{Value, json};

use crate::env::{TestGateway, TestRedis};

fn start() -> (TestRedis, TestGateway) {
    let redis = TestRedis::start();
    let gateway = TestGateway::over(&redis);
    (redis, gateway)
}

/// The ids of a list of entries.
fn ids(entries: &Value) -> Vec<&str> {
    let entries = entries.as_array().unwrap().iter();
    entries.map(|entry| entry["id"].as_str().unwrap()).collect()
}

#[test]
fn an_entry_is_added_and_found_where_it_is_said_to_be() {
    let (redis, gateway) = start();
    let body = br#"{"z":"a b","n":1e+21,"yes":true,"a":-0}"#;
    let answer = gateway.post("/v1/streams/a%2Fb%20%FF%3F/entries", body);
    assert_eq!(answer.status, 201);
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    let location = answer.header("location").unwrap();
    let expected = format!("/v1/streams/a%2Fb%20%FF%3F/entries?start={id}&end={id}");
    assert_eq!(location, expected);
    let found = gateway.get(location).json();
    let fields = json!({"z": "a b", "n": "1e+21", "yes": "true", "a": "-0"});
    assert_eq!(found, json!([{"id": id, "fields": fields}]));
    assert_eq!(redis.cli(&["DBSIZE"]), "1");
}

#[test]
fn fields_keep_their_order_and_ids_are_taken() {
    let (redis, gateway) = start();
    let path = "/v1/streams/s/entries";
    let answer = gateway.post(&format!("{path}?id=5-1"), br#"{"b":"1","a":"2"}"#);
    assert_eq!(answer.json(), json!({"id": "5-1"}));
    let shown = redis.cli(&["XRANGE", "s", "-", "+"]);
    assert_eq!(
        shown.lines().collect::<Vec<_>>(),
        ["5-1", "b", "1", "a", "2"]
    );
    let answer = gateway.post(&format!("{path}?id=5-*"), br#"{"a":""}"#);
    assert_eq!(answer.json(), json!({"id": "5-2"}));
    let answer = gateway.post(&format!("{path}?id=5-2"), br#"{"a":"1"}"#);
    answer.assert_problem(409, "in the way");
    for id in ["MAXLEN", "", "1-2-3", "1%202", "18446744073709551616-0"] {
        let answer = gateway.post(&format!("{path}?id={id}"), br#"{"a":"1"}"#);
        assert_eq!(answer.status, 400, "{id}: {}", answer.text());
    }
    assert_eq!(redis.cli(&["XLEN", "s"]), "2");
}

#[test]
fn a_stream_is_kept_short() {
    let (redis, gateway) = start();
    for _ in 0..10 {
        let answer = gateway.post("/v1/streams/s/entries?maxlen=3", br#"{"a":1}"#);
        assert_eq!(answer.status, 201);
    }
    assert_eq!(redis.cli(&["XLEN", "s"]), "3");
    gateway
        .post("/v1/streams/s/entries?maxlen=-1", br#"{"a":1}"#)
        .assert_problem(400, "maxlen");
}

#[test]
fn what_is_no_entry_is_named() {
    let (redis, gateway) = start();
    for (body, said) in [
        ("", "JSON object"),
        ("{}", "at least one"),
        ("[]", "JSON object"),
        (r#"{"a":1,"b":null}"#, "\"b\" is null"),
        (r#"{"a":1,"b":{}}"#, "\"b\" is an object"),
        (r#"{"a":[1]}"#, "\"a\" is an array"),
    ] {
        let answer = gateway.post("/v1/streams/s/entries", body.as_bytes());
        answer.assert_problem(400, said);
    }
    gateway
        .post("/v1/streams/s/entries?max=1", br#"{"a":1}"#)
        .assert_problem(400, "max");
    assert_eq!(redis.cli(&["EXISTS", "s"]), "0");
    redis.cli(&["SET", "text", "a"]);
    for answer in [
        gateway.post("/v1/streams/text/entries", br#"{"a":1}"#),
        gateway.get("/v1/streams/text/entries"),
    ] {
        answer.assert_problem(409, "in the way");
    }
}

#[test]
fn a_range_is_read() {
    let (redis, gateway) = start();
    for id in ["1-0", "2-0", "3-0", "3-1", "4-0"] {
        redis.cli(&["XADD", "s", id, "a", id]);
    }
    let read = |query: &str| {
        let entries = gateway.get(&format!("/v1/streams/s/entries{query}")).json();
        ids(&entries).join(" ")
    };
    assert_eq!(read(""), "1-0 2-0 3-0 3-1 4-0");
    assert_eq!(read("?start=2&end=3"), "2-0 3-0 3-1");
    assert_eq!(read("?start=(2-0&count=2"), "3-0 3-1");
    assert_eq!(read("?rev"), "4-0 3-1 3-0 2-0 1-0");
    assert_eq!(read("?start=2&end=3&rev&count=2"), "3-1 3-0");
    assert_eq!(read("?start=9"), "");
    let none = gateway.get("/v1/streams/none/entries");
    assert_eq!((none.status, none.json()), (200, json!([])));
    let head = gateway.request("HEAD", "/v1/streams/s/entries?count=1", b"");
    assert_eq!(head.status, 200);
    for (query, said) in [
        ("?start=x", "refused"),
        ("?count=0", "count"),
        ("?count=x", "count"),
        ("?rev=2", "rev"),
        ("?from=0", "from"),
    ] {
        let answer = gateway.get(&format!("/v1/streams/s/entries{query}"));
        answer.assert_problem(400, said);
    }
}

#[test]
fn bytes_and_repeated_fields_are_shown() {
    let (redis, gateway) = start();
    redis.cli(&["XADD", "s", "1-1", "a", "1", "a", "2"]);
    let script = "return redis.call('XADD', KEYS[1], '2-1', 'b', '\\255', '\\254', 'x')";
    redis.cli(&["EVAL", script, "1", "s"]);
    let expected = json!([
        {"id": "1-1", "fields": {"a": "1", "": [{"field": "a", "value": "2"}]}},
        {"id": "2-1", "fields": {
            "b": {"value": "/w==", "encoding": "base64"},
            "": [{"field": "/g==", "field_encoding": "base64", "value": "x"}],
        }},
    ]);
    assert_eq!(gateway.get("/v1/streams/s/entries").json(), expected);
}
