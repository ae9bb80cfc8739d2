//! Scripts that reply what no command does, or keep Redis busy: who asks beside them is not disturbed, or is told so in
//! Redis' own words, and can kill them.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::env::{KEYS, TestCluster, TestGateway, TestGroup, TestRedis, wait_until};

const ENDLESS: &[u8] = br#"["EVAL","while true do end",0]"#;

/// The server says that it is busy only after longer than the gateway waits for a reply: so the connections are
/// given up, and new ones are made to a busy server.
const BUSY_AFTER: &str = "700";
const PATIENCE: Duration = Duration::from_millis(200);

fn over(url: &str) -> TestGateway {
    TestGateway::at_with(url, |config| config.command_timeout = PATIENCE)
}

fn start(database: &str) -> (TestRedis, TestGateway) {
    let redis = TestRedis::with(&["--busy-reply-threshold", BUSY_AFTER]);
    let gateway = over(&format!("{}{database}", redis.url()));
    (redis, gateway)
}

/// Sends a script that does not end, and what times out beside it.
fn keep_busy(gateway: &TestGateway, script: &[u8]) {
    let mut beside = [gateway.connect(), gateway.connect()];
    let mut client = gateway.connect();
    client.send_request("POST", "/", &[], script);
    let large = vec![b'x'; 200_000];
    beside[0].send_request("PUT", "/v1/keys/large", &[], &large);
    beside[1].send_request("GET", "/v1/keys/small", &[], b"");
    assert_eq!(client.receive().status, 504);
    assert_eq!(beside.map(|mut client| client.receive().status), [504; 2]);
}

fn ask(gateway: &TestGateway, path: &str, command: &Value) -> (u16, String) {
    let answer = gateway.post(path, command.to_string().as_bytes());
    (answer.status, answer.text().to_owned())
}

/// Everything is answered in the server's own words until the script is killed.
#[track_caller]
fn check_busy(gateway: &TestGateway, killed_by: &Value) {
    let large = "x".repeat(200_000);
    for command in [
        json!(["GET", "small"]),
        json!(["EVAL", "return 1", 0]),
        json!(["SET", "large", large]),
        json!(["BLPOP", "list", 1]),
    ] {
        wait_until("the server's own error comes", || {
            let (status, text) = ask(gateway, "/", &command);
            status == 400 && text.starts_with(r#"{"error":"BUSY "#)
        });
    }
    let answer = gateway.get("/v1/keys/small");
    answer.assert_problem(503, "nothing was done");
    let (status, text) = ask(gateway, "/multi-exec", &json!([["SET", "small", "1"]]));
    assert!(status == 400 && text.contains("BUSY"), "{status} {text}");
    assert_eq!(gateway.get("/readyz").status, 503);
    assert_eq!(
        ask(gateway, "/", killed_by),
        (200, r#"{"result":"OK"}"#.to_owned())
    );
    for command in [
        json!(["SET", "small", "2"]),
        json!(["EVAL", "return redis.status_reply('OK')", 0]),
        json!(["SET", "large", large]),
    ] {
        wait_until("all is as before", || {
            ask(gateway, "/", &command) == (200, r#"{"result":"OK"}"#.to_owned())
        });
    }
}

#[test]
fn a_script_without_end_can_be_killed() {
    let (redis, gateway) = start("");
    keep_busy(&gateway, ENDLESS);
    check_busy(&gateway, &json!(["script", "kill"]));
    let (status, text) = ask(&gateway, "/", &json!(["SCRIPT", "KILL"]));
    assert!(status == 400 && text.contains("NOTBUSY"), "{text}");
    assert_eq!(redis.cli(&["GET", "small"]), "2");
}

#[test]
fn a_function_without_end_can_be_killed_in_another_database() {
    let (redis, gateway) = start("/5");
    let library = "#!lua name=lib\nredis.register_function('f', function() while true do end end)";
    assert_eq!(redis.cli(&["FUNCTION", "LOAD", library]), "lib");
    keep_busy(&gateway, br#"["FCALL","f",0]"#);
    check_busy(&gateway, &json!(["FUNCTION", "KILL"]));
    assert_eq!(redis.cli(&["-n", "5", "GET", "small"]), "2");
    assert_eq!(redis.cli(&["GET", "small"]), "");
}

#[test]
fn what_is_known_of_commands_stays_known_and_is_learned_as_soon_as_it_can_be() {
    let redis = TestRedis::with(&["--busy-reply-threshold", BUSY_AFTER]);
    let start = || {
        TestGateway::over_with(&redis, |config| {
            config.command_timeout = PATIENCE;
            config.readonly_tokens = vec!["reader".parse().unwrap()];
        })
    };
    // Whether a reader may do this only the server's own table says.
    let read = |gateway: &TestGateway| {
        let headers = [("Authorization", "Bearer reader")];
        let mut client = gateway.connect();
        client.request("POST", "/", &headers, br#"["LLEN","list"]"#)
    };
    let before = start();
    assert_eq!(read(&before).text(), r#"{"result":0}"#);
    let mut other = TcpStream::connect(redis.address()).unwrap();
    other.write_all(b"EVAL 'while true do end' 0\r\n").unwrap();
    wait_until("it is busy", || read(&before).text().contains("BUSY"));
    let meanwhile = start();
    assert_eq!(read(&meanwhile).status, 403);
    assert_eq!(redis.cli(&["SCRIPT", "KILL"]), "OK");
    for gateway in [&before, &meanwhile] {
        wait_until("it is as before", || {
            read(gateway).text() == r#"{"result":0}"#
        });
    }
}

#[test]
fn a_script_is_killed_on_whichever_node_of_a_cluster_it_is() {
    let cluster = TestCluster::start(&["--busy-reply-threshold", BUSY_AFTER]);
    let gateway = over(&cluster.url());
    for key in KEYS {
        let script = json!(["EVAL", "while true do end", 1, key]).to_string();
        assert_eq!(gateway.post("/", script.as_bytes()).status, 504);
        wait_until("its node is busy", || {
            ask(&gateway, "/", &json!(["GET", key])).1.contains("BUSY")
        });
        let (_, all) = ask(&gateway, "/", &json!(["DBSIZE"]));
        assert!(all.contains("BUSY"), "{all}");
        let killed = ask(&gateway, "/", &json!(["SCRIPT", "KILL"]));
        assert_eq!(killed, (200, r#"{"result":"OK"}"#.to_owned()));
        wait_until("it is as before", || {
            ask(&gateway, "/", &json!(["GET", key])).0 == 200
        });
    }
}

#[test]
fn the_script_of_a_master_that_sentinels_watch_can_be_killed() {
    let group = TestGroup::start(1, None);
    // They kill scripts themselves after that long.
    group.tell_sentinels(&[
        "SENTINEL",
        "SET",
        "main",
        "down-after-milliseconds",
        "60000",
    ]);
    let busy_after = ["CONFIG", "SET", "busy-reply-threshold", BUSY_AFTER];
    assert_eq!(group.master().cli(&busy_after), "OK");
    let gateway = over(&format!("redis+sentinel://{}/main", group.sentinels()));
    keep_busy(&gateway, ENDLESS);
    check_busy(&gateway, &json!(["SCRIPT", "KILL"]));
}

#[test]
fn no_reply_breaks_the_connection_that_it_comes_over() {
    let redis = TestRedis::start();
    let gateway = TestGateway::over(&redis);
    let send = |path: &str, body: &Value| gateway.post(path, body.to_string().as_bytes());
    let connected = || redis.cli(&["INFO", "stats"]);
    let connections = |info: &str| {
        let mut lines = info.lines();
        let counted = lines.find_map(|line| line.strip_prefix("total_connections_received:"));
        counted.unwrap().trim().parse::<u32>().unwrap()
    };
    let before = connections(&connected());
    // Arrays nested without end, alone and among others, and error lines that are not UTF-8.
    let nested = "local t = {} for i = 1, 200 do t = {t, 'x'} end return t";
    let answer = send("/", &json!(["EVAL", nested, 0]));
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("(100 levels)"), "{answer:?}");
    let among = json!([["GET", "a"], ["EVAL", nested, 0], ["EVAL", "return 1", 0]]);
    let answer = send("/pipeline", &among).json();
    assert_eq!(
        (&answer[0], &answer[2]),
        (&json!({"result": null}), &json!({"result": 1}))
    );
    assert!(
        answer[1]["error"]
            .as_str()
            .unwrap()
            .contains("(100 levels)")
    );
    let answer = send("/multi-exec", &among);
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("the command has run"), "{answer:?}");
    let line = json!(["EVAL", "return redis.error_reply(string.char(255))", 0]);
    assert_eq!(send("/", &line).status, 400);
    assert_eq!(gateway.get("/xpending/%FF/group").status, 400);
    let answer = send("/", &json!(["EVAL", "return 1", 0]));
    assert_eq!(answer.text(), r#"{"result":1}"#);
    // The other one is that of redis-cli.
    assert_eq!(connections(&connected()), before + 1);
}
