//! `/v1/keys` over a real Redis: what the embedded engine cannot do.

use crate::env::{TestGateway, TestRedis};

#[test]
fn a_key_lives_and_dies() {
    let redis = TestRedis::start();
    let gateway = TestGateway::over(&redis);
    assert_eq!(gateway.put("/v1/keys/k?nx", b"1").status, 204);
    gateway
        .put("/v1/keys/k?nx", b"2")
        .assert_problem(412, "there");
    assert_eq!(redis.cli(&["GET", "k"]), "1");
    let answer = gateway.post("/v1/keys/k/increment", br#"{"by":41}"#);
    assert_eq!(answer.json()["value"], 42);
    let answer = gateway.post("/v1/keys/k/increment", br#"{"by":0.5}"#);
    assert_eq!(answer.json()["value"], 42.5);
    assert_eq!(
        gateway.get("/v1/keys/k/ttl").json()["ttl_ms"],
        serde_json::Value::Null
    );
    assert_eq!(
        gateway.put("/v1/keys/k/ttl", br#"{"seconds":60}"#).status,
        204
    );
    assert!(
        gateway.get("/v1/keys/k/ttl").json()["ttl_ms"]
            .as_u64()
            .unwrap()
            > 50_000
    );
    assert_eq!(gateway.request("DELETE", "/v1/keys/k/ttl", b"").status, 204);
    assert_eq!(redis.cli(&["TTL", "k"]), "-1");
    assert_eq!(gateway.put("/v1/keys/k?get", b"new").body, b"42.5");
    assert_eq!(gateway.put("/v1/keys/k?xx&ex=100", b"newer").status, 204);
    assert_eq!(gateway.put("/v1/keys/k?keepttl", b"newest").status, 204);
    assert!(redis.cli(&["TTL", "k"]).parse::<i64>().unwrap() > 50);
    assert_eq!(
        gateway.get("/v1/keys").json()["keys"],
        serde_json::json!(["k"])
    );
    assert_eq!(gateway.request("DELETE", "/v1/keys/k", b"").status, 204);
    gateway
        .request("DELETE", "/v1/keys/k", b"")
        .assert_problem(404, "no such key");
    gateway
        .put("/v1/keys/k?xx", b"1")
        .assert_problem(412, "no such key");
}

#[test]
fn a_number_is_added_as_it_is_written() {
    let redis = TestRedis::start();
    let gateway = TestGateway::over(&redis);
    let by = |by: &str| {
        redis.cli(&["SET", "k", "1"]);
        let body = format!(r#"{{"by":{by}}}"#);
        let answer = gateway.post("/v1/keys/k/increment", body.as_bytes());
        assert_eq!(answer.status, 200, "{by}: {answer:?}");
        redis.cli(&["GET", "k"])
    };
    assert_eq!(by("9223372036854775806"), "9223372036854775807");
    assert_eq!(by("-0"), "1");
    // With a fraction or an exponent a number need not be whole: by INCRBYFLOAT.
    for (written, sum) in [
        ("1.0", "2"),
        ("1e2", "101"),
        ("-2.50", "-1.5"),
        ("9007199254740993.0", "9007199254740994"),
    ] {
        assert_eq!(by(written), sum, "{written}");
    }
    redis.cli(&["SET", "k", "0.5"]);
    let whole = gateway.post("/v1/keys/k/increment", br#"{"by":1}"#);
    whole.assert_problem(400, "");
    let written = gateway.post("/v1/keys/k/increment", br#"{"by":1.0}"#);
    assert_eq!(written.json(), serde_json::json!({"value": 1.5}));
}

#[test]
fn errors_of_redis_have_their_status_and_words() {
    let redis = TestRedis::start();
    let gateway = TestGateway::over(&redis);
    redis.cli(&["LPUSH", "list", "a"]);
    let answer = gateway.get("/v1/keys/list");
    answer.assert_problem(409, "in the way");
    let words = answer.json()["redis_error"].as_str().unwrap().to_owned();
    assert!(words.starts_with("WRONGTYPE "), "{words}");
    redis.cli(&["SET", "text", "a"]);
    gateway
        .post("/v1/keys/text/increment", b"")
        .assert_problem(400, "refused");
}

#[test]
fn keys_may_be_any_bytes() {
    let redis = TestRedis::start();
    let gateway = TestGateway::over(&redis);
    assert_eq!(gateway.put("/v1/keys/%FF%00%0A", b"\xFE").status, 204);
    assert_eq!(gateway.get("/v1/keys/%FF%00%0A").body, b"\xFE");
    let listed = gateway.get("/v1/keys").json();
    assert_eq!(listed["keys"][0]["key"], "/wAK");
    assert_eq!(listed["keys"][0]["key_encoding"], "base64");
}
