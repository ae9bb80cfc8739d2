//! CLIENT SETINFO, with which clients introduce themselves: answered by the gateway, wherever it stands, and
//! never sent.

use serde_json::{Value, json};

use crate::env::{EventStream, TestGateway, TestRedis};

fn start() -> (TestRedis, TestGateway) {
    let redis = TestRedis::start();
    let gateway = TestGateway::over(&redis);
    (redis, gateway)
}

fn send(gateway: &TestGateway, path: &str, body: &Value) -> (u16, Value) {
    let answer = gateway.post(path, body.to_string().as_bytes());
    (answer.status, answer.json())
}

/// Everything but the end of it that a server is sent until it is sent this.
fn told_until(stream: &mut EventStream, end: &str) -> String {
    let mut told = String::new();
    loop {
        let line = stream.event().data;
        if line.contains(end) {
            return told;
        }
        told += &line;
    }
}

#[test]
fn an_introduction_is_answered_and_never_sent() {
    let (redis, gateway) = start();
    let mut monitor = gateway.listen("/monitor");
    let ok = json!({"result": "OK"});
    let introduction = json!(["client", "SetInfo", "lib-name", "an-sdk"]);
    assert_eq!(send(&gateway, "/", &introduction), (200, ok.clone()));
    let by_path = gateway.get("/client/setinfo/LIB-VER/1.2.3");
    assert_eq!((by_path.status, by_path.json()), (200, ok.clone()));
    let many = json!([["SET", "a", "1"], introduction, ["INCR", "a"]]);
    let items = json!([ok, ok, {"result": 2}]);
    assert_eq!(send(&gateway, "/pipeline", &many), (200, items.clone()));
    assert_eq!(send(&gateway, "/multi-exec", &many), (200, items));
    for path in ["/pipeline", "/multi-exec"] {
        let alone = json!([introduction]);
        assert_eq!(send(&gateway, path, &alone), (200, json!([ok])));
    }
    redis.cli(&["ECHO", "the end"]);
    let told = told_until(&mut monitor, "the end");
    assert!(told.contains(r#""INCR" "a""#), "{told}");
    assert!(!told.to_lowercase().contains("setinfo"), "{told}");
}

#[test]
fn it_is_encoded_as_any_reply() {
    let (_redis, gateway) = start();
    let body = br#"["CLIENT","SETINFO","LIB-NAME","x"]"#;
    let mut client = gateway.connect();
    for (header, answer) in [
        (("Upstash-Encoding", "base64"), r#"{"result":"OK"}"#),
        (("Upstash-Response-Format", "resp2"), "+OK\r\n"),
    ] {
        let told = client.request("POST", "/", &[header], body);
        assert_eq!(told.text(), answer, "{header:?}");
    }
}

#[test]
fn one_that_redis_would_not_take_is_answered_so() {
    let (_redis, gateway) = start();
    let odd = json!(["CLIENT", "SETINFO", "LIB-COLOR", "x"]);
    let wrong = json!(["CLIENT", "SETINFO", "LIB-NAME"]);
    for (command, error) in [
        (&odd, "ERR Unrecognized option 'LIB-COLOR'"),
        (
            &json!(["CLIENT", "SETINFO", "lib-ver", "1 2"]),
            "ERR lib-ver cannot contain spaces, newlines or special characters.",
        ),
        (
            &wrong,
            "ERR wrong number of arguments for 'client|setinfo' command",
        ),
    ] {
        let error = json!({"error": error});
        assert_eq!(send(&gateway, "/", command), (400, error.clone()));
        let items = send(&gateway, "/pipeline", &json!([command, ["PING"]]));
        assert_eq!(items, (200, json!([error, {"result": "PONG"}])));
    }
    // As with Redis: what cannot be queued discards the transaction, what fails in it does not.
    let (status, items) = send(&gateway, "/multi-exec", &json!([odd, ["INCR", "a"]]));
    assert_eq!((status, &items[1]), (200, &json!({"result": 1})));
    assert!(items[0]["error"].is_string(), "{items}");
    let (status, error) = send(&gateway, "/multi-exec", &json!([["INCR", "a"], wrong]));
    assert_eq!(status, 400);
    assert!(error["error"].is_string(), "{error}");
    assert_eq!(gateway.get("/get/a").text(), r#"{"result":"1"}"#);
}

#[test]
fn others_that_would_change_the_connection_are_refused() {
    let (_redis, gateway) = start();
    for command in [
        "/client/setname/x",
        "/client/no-touch/on",
        "/client/reply/off",
    ] {
        assert_eq!(gateway.get(command).status, 403, "{command}");
    }
}

#[test]
fn whoever_may_only_read_may_introduce_itself() {
    let redis = TestRedis::start();
    let gateway = TestGateway::over_with(&redis, |config| {
        config.readonly_tokens = vec!["reading".parse().unwrap()];
    });
    let introduction = json!(["CLIENT", "SETINFO", "LIB-NAME", "an-sdk"]);
    let ok = json!({"result": "OK"});
    let answer = send(&gateway, "/?_token=reading", &introduction);
    assert_eq!(answer, (200, ok.clone()));
    let many = send(&gateway, "/pipeline?_token=reading", &json!([introduction]));
    assert_eq!(many, (200, json!([ok])));
    let unknown = send(&gateway, "/", &introduction);
    assert_eq!(unknown.0, 401);
}
