//! The command face over a real Redis: any command, alone, in pipelines and in transactions.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::env::{Answer, TestGateway, TestRedis, wait_until};

fn start() -> (TestRedis, TestGateway) {
    let redis = TestRedis::start();
    let gateway = TestGateway::over(&redis);
    (redis, gateway)
}

fn send(gateway: &TestGateway, path: &str, body: &serde_json::Value) -> Answer {
    gateway.post(path, body.to_string().as_bytes())
}

#[test]
fn a_command_is_an_array() {
    let (redis, gateway) = start();
    let answer = send(&gateway, "/", &json!(["set", "k", "hello 🎈"]));
    assert_eq!((answer.status, answer.text()), (200, r#"{"result":"OK"}"#));
    assert_eq!(redis.cli(&["GET", "k"]), "hello 🎈");
    let answer = send(&gateway, "/", &json!(["GET", "k"]));
    assert_eq!(answer.json(), json!({"result": "hello 🎈"}));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let answer = gateway.post("/", br#"["SET","n",9007199254740993]"#);
    assert_eq!(answer.status, 200);
    assert_eq!(
        send(&gateway, "/", &json!(["INCR", "n"])).text(),
        r#"{"result":9007199254740994}"#
    );
    assert_eq!(
        send(&gateway, "/", &json!(["GET", "none"])).text(),
        r#"{"result":null}"#
    );
    assert_eq!(
        send(&gateway, "/", &json!(["HGETALL", "none"])).text(),
        r#"{"result":[]}"#
    );
}

#[test]
fn a_command_is_a_path() {
    let (redis, gateway) = start();
    assert_eq!(gateway.get("/set/k/v").text(), r#"{"result":"OK"}"#);
    assert_eq!(gateway.post("/set/k", b"\xFF\x00").status, 200);
    assert_eq!(gateway.get("/v1/keys/k").body, b"\xFF\x00");
    assert_eq!(gateway.put("/set/k", b"").status, 200);
    assert_eq!(redis.cli(&["STRLEN", "k"]), "0");
    assert_eq!(gateway.put("/set/a%2Fb?EX=100&NX", b"v").status, 200);
    assert!(redis.cli(&["TTL", "a/b"]).parse::<i64>().unwrap() > 90);
    let head = gateway.request("HEAD", "/get/k", b"");
    assert_eq!(head.status, 200);
    assert_eq!(gateway.request("DELETE", "/get/k", b"").status, 405);
    assert_eq!(
        gateway.post("//pipeline", br#"[["PING"]]"#).text(),
        r#"[{"result":"PONG"}]"#
    );
}

#[test]
fn errors_are_told_in_the_form_of_this_face() {
    let (redis, gateway) = start();
    redis.cli(&["LPUSH", "list", "a"]);
    for (body, status, error) in [
        (
            r#"["GET","list"]"#,
            400,
            "WRONGTYPE Operation against a key holding the wrong kind of value",
        ),
        (
            r#"["GET"]"#,
            400,
            "ERR wrong number of arguments for 'get' command",
        ),
        (r#"["SET","k",null]"#, 400, "argument 2 is null"),
        (r#"{"a":1}"#, 400, "must be a JSON array"),
        ("nonsense", 400, "must be a JSON array"),
        (r#"["SELECT",1]"#, 403, "SELECT is not served here"),
        (r#"["MULTI"]"#, 403, "/multi-exec"),
        (r#"["SUBSCRIBE","a"]"#, 403, "/subscribe"),
        (r#"["SHUTDOWN"]"#, 403, "--allow-command 'SHUTDOWN'"),
        (
            r#"["client","reply","off"]"#,
            403,
            "CLIENT REPLY is not served here",
        ),
        (
            r#"["config","get","requirepass"]"#,
            403,
            "CONFIG GET is not served here: it could stop the server, change it for everybody or tell its \
             secrets (--allow-command 'CONFIG GET' allows it)",
        ),
    ] {
        let answer = gateway.post("/", body.as_bytes());
        assert_eq!(answer.status, status, "{body}: {answer:?}");
        let told = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(told.contains(error), "{body}: {told}");
    }
    let answer = gateway.request("DELETE", "/get/k", b"");
    assert!(answer.json()["error"].is_string());
}

#[test]
fn what_is_dangerous_is_served_where_it_is_allowed_by_name() {
    let redis = TestRedis::start();
    let gateway = TestGateway::over_with(&redis, |config| {
        config.allow_command = vec!["CONFIG GET".to_owned(), "DEBUG".to_owned()];
    });
    let status = |command: &str| gateway.get(&format!("/{command}")).status;
    assert_eq!(status("config/get/maxmemory"), 200);
    assert_eq!(status("debug/jmap"), 400);
    for command in [
        "config/set/maxmemory/0",
        "restore/k/0/x",
        "client/unblock/1",
    ] {
        assert_eq!(status(command), 403, "{command}");
    }
}

#[test]
fn strings_are_base64_where_asked_for() {
    let (_redis, gateway) = start();
    gateway.put("/v1/keys/k", b"\xFF\x00");
    let ask = |path: &str, body: &str| {
        let encoding = [("Upstash-Encoding", "base64")];
        gateway
            .connect()
            .request("POST", path, &encoding, body.as_bytes())
    };
    assert_eq!(ask("/", r#"["GET","k"]"#).text(), r#"{"result":"/wA="}"#);
    assert_eq!(ask("/", r#"["SET","k","OK"]"#).text(), r#"{"result":"OK"}"#);
    assert_eq!(
        ask("/", r#"["MGET","k","none"]"#).text(),
        r#"{"result":["T0s=",null]}"#
    );
    let answer = ask("/pipeline", r#"[["GET","k"],["NOSUCH"]]"#);
    assert_eq!(answer.json()[0], json!({"result": "T0s="}));
    assert!(
        answer.json()[1]["error"]
            .as_str()
            .unwrap()
            .starts_with("ERR unknown command")
    );
    let format = [("Upstash-Response-Format", "resp2")];
    let answer = gateway
        .connect()
        .request("POST", "/", &format, br#"["MGET","k","none"]"#);
    assert_eq!(answer.text(), "*2\r\n$2\r\nOK\r\n$-1\r\n");
}

#[test]
fn a_pipeline_answers_each_command() {
    let (_redis, gateway) = start();
    let body = json!([
        ["SET", "a", 1],
        ["INCR", "a"],
        ["SELECT", 1],
        ["BLPOP", "q", 1],
        ["GET"],
        7,
        ["GET", "a"]
    ]);
    let answer = send(&gateway, "/pipeline", &body);
    assert_eq!(answer.status, 200);
    let items = answer.json();
    assert_eq!(items[0], json!({"result": "OK"}));
    assert_eq!(items[1], json!({"result": 2}));
    for index in 2..6 {
        assert!(items[index]["error"].is_string(), "{items}");
    }
    assert_eq!(items[6], json!({"result": "2"}));
    assert_eq!(gateway.post("/pipeline", b"[]").text(), "[]");
    assert_eq!(gateway.post("/pipeline", b"{}").status, 400);
}

#[test]
fn a_transaction_is_all_or_nothing() {
    let (redis, gateway) = start();
    let answer = send(
        &gateway,
        "/multi-exec",
        &json!([["SET", "a", 1], ["LPUSH", "a", 2], ["INCR", "a"]]),
    );
    assert_eq!(answer.status, 200);
    let items = answer.json();
    assert_eq!(items[0], json!({"result": "OK"}));
    assert!(items[1]["error"].as_str().unwrap().starts_with("WRONGTYPE"));
    assert_eq!(items[2], json!({"result": 2}));
    let answer = send(
        &gateway,
        "/multi-exec",
        &json!([["SET", "a", 7], ["NOSUCH"]]),
    );
    assert_eq!(answer.status, 400);
    let told = answer.json()["error"].as_str().unwrap().to_owned();
    assert!(told.starts_with("EXECABORT"), "{told}");
    assert_eq!(redis.cli(&["GET", "a"]), "2");
    let answer = send(
        &gateway,
        "/multi-exec",
        &json!([["SET", "a", 7], ["SELECT", 1]]),
    );
    assert_eq!(answer.status, 403);
    assert_eq!(redis.cli(&["GET", "a"]), "2");
    // The shared connection is as before.
    assert_eq!(
        send(&gateway, "/", &json!(["GET", "a"])).text(),
        r#"{"result":"2"}"#
    );
}

#[test]
fn what_a_transaction_is_discarded_for_is_told() {
    let (_redis, gateway) = start();
    let commands = json!([
        ["CLIENT", "SETINFO", "LIB-NAME", "x"],
        ["GET", "a"],
        ["GET"],
        ["NOSUCH"]
    ]);
    let answer = send(&gateway, "/multi-exec", &commands);
    assert_eq!(answer.status, 400);
    let told = answer.json()["error"].as_str().unwrap().to_owned();
    assert!(told.starts_with("EXECABORT"), "{told}");
    let why = "Command 2 of the transaction: ERR wrong number of arguments for 'get' command";
    assert!(told.ends_with(why), "{told}");
}

#[test]
fn every_answer_has_a_sync_token_of_its_own() {
    let (_redis, gateway) = start();
    let mut tokens = std::collections::HashSet::new();
    for path in ["/", "/pipeline", "/multi-exec", "/"] {
        let body = if path == "/" {
            r#"["PING"]"#
        } else {
            r#"[["PING"]]"#
        };
        let answer = gateway.post(path, body.as_bytes());
        let token = answer
            .header("upstash-sync-token")
            .unwrap_or_default()
            .to_owned();
        assert!(!token.is_empty() && tokens.insert(token), "{path}");
    }
}

#[test]
fn a_blocking_command_blocks_nobody_else() {
    let (redis, gateway) = start();
    let mut blocked: Vec<_> = (0..8).map(|_| gateway.connect()).collect();
    for client in &mut blocked {
        client.send_request("POST", "/", &[], br#"["BLPOP","queue",20]"#);
    }
    wait_until("eight clients are blocked", || {
        redis.cli(&["CLIENT", "LIST"]).matches("cmd=blpop").count() == 8
    });
    let began = Instant::now();
    assert_eq!(
        send(&gateway, "/", &json!(["PING"])).text(),
        r#"{"result":"PONG"}"#
    );
    assert!(began.elapsed() < Duration::from_secs(5));
    redis.cli(&["RPUSH", "queue", "1", "2", "3", "4", "5", "6", "7", "8"]);
    for client in &mut blocked {
        assert_eq!(client.receive().json()["result"][0], "queue");
        client.send_request("POST", "/", &[], br#"["BLPOP","queue",20]"#);
    }
    wait_until("they are blocked again", || {
        redis.cli(&["CLIENT", "LIST"]).matches("cmd=blpop").count() == 8
    });
    // Whoever hangs up leaves nothing waiting.
    drop(blocked);
    wait_until("nobody is blocked", || {
        !redis.cli(&["CLIENT", "LIST"]).contains("cmd=blpop")
    });
    assert_eq!(redis.cli(&["RPUSH", "queue", "9"]), "1");
}

#[test]
fn who_asks_to_wait_and_hangs_up_in_one_breath_leaves_nothing_waiting() {
    let (redis, gateway) = start();
    for _ in 0..20 {
        let mut client = gateway.connect();
        client.send_request("GET", "/v1/keys/none", &[], b"");
        assert_eq!(client.receive().status, 404);
        client.send_request("POST", "/", &[], br#"["BLPOP","queue",30]"#);
        client.finish_sending();
        // The answer to that is the end.
        assert_eq!(String::from_utf8_lossy(&client.rest()), "");
    }
    wait_until("nobody is blocked", || {
        !redis.cli(&["CLIENT", "LIST"]).contains("cmd=blpop")
    });
    assert_eq!(redis.cli(&["RPUSH", "queue", "1"]), "1");
}

#[test]
fn what_is_pipelined_behind_a_blocking_command_waits_for_it() {
    let (redis, gateway) = start();
    let mut client = gateway.connect();
    client.send_request("GET", "/set/before/1", &[], b"");
    client.send_request("GET", "/blpop/queue/20", &[], b"");
    client.send_request("GET", "/set/after/1", &[], b"");
    assert_eq!(client.receive().text(), r#"{"result":"OK"}"#);
    wait_until("the client is blocked", || {
        redis.cli(&["CLIENT", "LIST"]).contains("cmd=blpop")
    });
    assert_eq!(redis.cli(&["EXISTS", "before", "after"]), "1");
    redis.cli(&["RPUSH", "queue", "v"]);
    assert_eq!(client.receive().text(), r#"{"result":["queue","v"]}"#);
    assert_eq!(client.receive().text(), r#"{"result":"OK"}"#);
    assert_eq!(redis.cli(&["EXISTS", "after"]), "1");
}

#[test]
fn blocking_commands_are_bounded_in_number_and_time() {
    let redis = TestRedis::start();
    let gateway = TestGateway::over_with(&redis, |config| {
        config.max_blocking = 1;
        config.blocking_timeout = Duration::from_millis(100);
    });
    let mut first = gateway.connect();
    first.send_request("GET", "/blpop/queue/0", &[], b"");
    wait_until("the client is blocked", || {
        redis.cli(&["CLIENT", "LIST"]).contains("cmd=blpop")
    });
    let second = gateway.get("/blpop/queue/0");
    assert_eq!(second.status, 503, "{second:?}");
    assert_eq!(second.header("retry-after"), Some("1"));
    assert_eq!(first.receive().status, 504);
}

#[test]
fn scripts_with_upstashs_own_flag_run() {
    let (redis, gateway) = start();
    let script = "#!lua flags=allow-key-locking\nreturn redis.call('INCRBY', KEYS[1], ARGV[1])";
    let digest = sha1_smol::Sha1::from(script).digest().to_string();
    let by_digest = json!(["EVALSHA", digest, 1, "n", 2]);
    let told = send(&gateway, "/", &by_digest).json();
    assert!(
        told["error"].as_str().unwrap().starts_with("NOSCRIPT"),
        "{told}"
    );
    let answer = send(&gateway, "/", &json!(["EVAL", script, 1, "n", 2]));
    assert_eq!(answer.text(), r#"{"result":2}"#);
    assert_eq!(send(&gateway, "/", &by_digest).text(), r#"{"result":4}"#);
    let answer = send(
        &gateway,
        "/pipeline",
        &json!([
            ["SCRIPT", "LOAD", script],
            ["SCRIPT", "EXISTS", digest],
            by_digest
        ]),
    );
    assert_eq!(
        answer.json(),
        json!([{"result": digest}, {"result": [1]}, {"result": 6}])
    );
    redis.cli(&["SCRIPT", "FLUSH"]);
    assert!(send(&gateway, "/", &by_digest).text().contains("NOSCRIPT"));
}

#[test]
fn a_client_that_has_said_all_gets_the_answer_to_its_script() {
    let (_redis, gateway) = start();
    for _ in 0..20 {
        let mut client = gateway.connect();
        client.send_request("POST", "/", &[], br#"["EVAL","return 7",0]"#);
        client.finish_sending();
        assert_eq!(client.receive().text(), r#"{"result":7}"#);
        assert_eq!(client.rest(), b"");
    }
}
