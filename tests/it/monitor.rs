//! `/monitor`: who may see every command, what is seen, and what ends with whom.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::env::{Answer, EventStream, KEYS, TestCluster, TestGateway, TestRedis, wait_until};

fn start() -> (TestRedis, TestGateway) {
    let redis = TestRedis::start();
    let gateway = TestGateway::over(&redis);
    (redis, gateway)
}

/// Whether the server has somebody who is told of every command.
fn is_watched(redis: &TestRedis) -> bool {
    redis.cli(&["CLIENT", "LIST"]).contains("cmd=monitor")
}

/// Reads on until a command is told of, and gives the line.
fn wait_for(stream: &mut EventStream, command: &str) -> String {
    loop {
        let event = stream.event();
        assert_eq!((&*event.name, &*event.id), ("message", ""));
        if event.data.contains(command) {
            return event.data;
        }
    }
}

#[track_caller]
fn assert_error(answer: &Answer, status: u16, told: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    let json = answer.json();
    let error = json["error"].as_str().unwrap_or_default();
    assert!(error.contains(told), "{told:?} is not in {error:?}");
}

#[test]
fn every_command_is_told_of_whoever_sends_it() {
    let (redis, gateway) = start();
    let mut by_post = gateway.connect();
    by_post.send_request("POST", "/monitor", &[], b"[]");
    for mut stream in [gateway.listen("/monitor"), EventStream::of(by_post)] {
        assert_eq!(stream.event().data, "\"OK\"");
        redis.cli(&["SET", "a key", "line\nend"]);
        let line = wait_for(&mut stream, "a key");
        // As redis-cli shows it: the time, the database and the client, the arguments in quotes.
        assert!(line.ends_with(r#"] "SET" "a key" "line\nend""#), "{line}");
        assert!(line.contains(" [0 127.0.0.1:"), "{line}");
        assert_eq!(gateway.put("/v1/keys/by-http", b"\xFF").status, 204);
        let line = wait_for(&mut stream, "by-http");
        assert!(line.ends_with(r#"] "SET" "by-http" "\xff""#), "{line}");
    }
}

#[test]
fn no_secret_is_shown() {
    let redis = TestRedis::with(&["--requirepass", "pa55word"]);
    let url = format!("redis://:pa55word@{}", redis.address());
    let gateway = TestGateway::at_with(&url, |config| {
        config.tokens = vec!["full-t0ken".parse().unwrap()];
    });
    let token = [("Authorization", "Bearer full-t0ken")];
    let mut stream = EventStream::open(gateway.address, "/monitor", &token);
    let mut client = gateway.connect();
    let body = br#"["AUTH","pa55word"]"#;
    assert_eq!(client.request("POST", "/", &token, body).status, 403);
    // Both of these log in.
    let other = EventStream::open(gateway.address, "/monitor?_token=full-t0ken", &[]);
    redis.cli(&["-a", "pa55word", "--no-auth-warning", "GET", "k"]);
    let mut lines = String::new();
    while !lines.contains(r#""GET" "k""#) {
        lines += &stream.event().data;
    }
    assert!(!lines.contains("pa55word"), "{lines}");
    assert!(!lines.contains("t0ken"), "{lines}");
    drop(other);
}

#[test]
fn it_ends_with_its_client() {
    let (redis, gateway) = start();
    let stream = gateway.listen("/monitor");
    assert!(is_watched(&redis));
    drop(stream);
    wait_until("its connection is closed", || !is_watched(&redis));
    assert_eq!(gateway.get("/ping").text(), r#"{"result":"PONG"}"#);
}

#[test]
fn it_ends_with_its_server() {
    let (mut redis, gateway) = start();
    let mut stream = gateway.listen("/monitor");
    redis.kill();
    stream.wait_for_end();
    assert!(stream.text().contains("Redis"), "{}", stream.text());
    let answer = gateway.get("/monitor");
    assert_error(&answer, 503, "unreachable");
}

#[test]
fn it_ends_with_the_gateway() {
    let (redis, gateway) = start();
    let mut stream = gateway.listen("/monitor");
    gateway.shutdown();
    stream.wait_for_end();
    assert!(!is_watched(&redis));
}

#[test]
fn there_are_not_too_many() {
    let redis = TestRedis::start();
    let gateway = TestGateway::over_with(&redis, |config| config.max_blocking = 1);
    let stream = gateway.listen("/monitor");
    let second = gateway.get("/monitor");
    assert_error(&second, 503, "too many");
    assert_eq!(second.header("retry-after"), Some("1"));
    assert_eq!(gateway.get("/blpop/queue/1").status, 503);
    drop(stream);
    wait_until("there is room for another", || {
        let mut client = gateway.connect();
        client.send_request("GET", "/monitor", &[], b"");
        client.receive_head().status == 200
    });
}

#[test]
fn a_client_that_takes_nothing_is_disconnected() {
    let redis = TestRedis::start();
    let gateway = TestGateway::over_with(&redis, |config| config.subscriber_buffer = 64 * 1024);
    let stream = gateway.listen("/monitor");
    let commands = vec![json!(["ECHO", "x".repeat(60_000)]); 100];
    let body = json!(commands).to_string();
    wait_until("it is given up", || {
        assert_eq!(gateway.post("/pipeline", body.as_bytes()).status, 200);
        !is_watched(&redis)
    });
    assert_eq!(gateway.evicted(), 1);
    drop(stream);
}

#[test]
fn silence_is_broken_by_heartbeats() {
    let redis = TestRedis::start();
    let gateway = TestGateway::over_with(&redis, |config| {
        config.heartbeat = Duration::from_millis(50);
    });
    let mut stream = gateway.listen("/monitor");
    stream.wait_for("\n\n:\n\n:\n\n");
    redis.cli(&["ECHO", "after"]);
    wait_for(&mut stream, "after");
}

#[test]
fn one_that_takes_nothing_holds_up_no_other_stream_at_the_end() {
    let mut redis = TestRedis::durable();
    let gateway = TestGateway::over_with(&redis, |config| {
        config.subscriber_buffer = 1 << 30;
        config.write_timeout = Duration::from_secs(600);
        config.shutdown_timeout = Duration::from_secs(20);
    });
    let mut other = gateway.listen("/v1/channels/a/events");
    let mut stalled = gateway.listen("/monitor");
    assert_eq!(stalled.event().data, "\"OK\"");
    // More than all sockets on the way take.
    let script = "for n = 1, 32 do redis.call('SET', 'large', string.rep('x', 1048576)) end";
    redis.cli(&["EVAL", script, "0"]);
    wait_until("the gateway has read it all", || {
        let clients = redis.cli(&["CLIENT", "LIST"]);
        let mut lines = clients.lines();
        let watches = lines.find(|line| line.contains("cmd=monitor"));
        watches.is_some_and(|line| line.contains(" omem=0 "))
    });
    redis.kill();
    wait_until("it is noticed", || gateway.get("/readyz").status == 503);
    let began = Instant::now();
    gateway.shutdown();
    other.wait_for_end();
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn it_is_not_for_everybody() {
    let redis = TestRedis::start();
    let gateway = TestGateway::over_with(&redis, |config| {
        config.tokens = vec!["full".parse().unwrap()];
        config.readonly_tokens = vec!["reading".parse().unwrap()];
    });
    let mut client = gateway.connect();
    for (method, path) in [
        ("GET", "/monitor?_token=reading"),
        ("POST", "/monitor?_token=reading"),
    ] {
        assert_error(&client.request(method, path, &[], b""), 403, "MONITOR");
    }
    assert_eq!(
        gateway
            .request("HEAD", "/monitor?_token=reading", b"")
            .status,
        403
    );
    assert_error(&gateway.get("/monitor"), 401, "token");
    let head = gateway.request("HEAD", "/monitor?_token=full", b"");
    assert_eq!(head.status, 200);
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    assert!(!is_watched(&redis));
}

#[test]
fn no_link_opens_it() {
    let (redis, gateway) = start();
    let headers = [("Host", "192.0.2.1:8080")];
    let answer = gateway.connect().request("GET", "/monitor", &headers, b"");
    assert_error(&answer, 403, "MONITOR by GET");
    assert!(!is_watched(&redis));
}

#[test]
fn a_server_that_refuses_says_so_itself() {
    let (redis, gateway) = start();
    redis.cli(&["ACL", "SETUSER", "default", "-monitor"]);
    assert_error(&gateway.get("/monitor"), 400, "NOPERM");
}

#[test]
fn elsewhere_the_command_is_refused_and_says_where_it_is_served() {
    let (_redis, gateway) = start();
    assert_error(&gateway.post("/", br#"["monitor"]"#), 403, "/monitor");
    assert_error(&gateway.get("/monitor/x"), 403, "/monitor");
    let items = gateway
        .post("/pipeline", br#"[["MONITOR"],["PING"]]"#)
        .json();
    assert!(items[0]["error"].as_str().unwrap().contains("/monitor"));
    assert_eq!(items[1], json!({"result": "PONG"}));
}

#[test]
fn the_embedded_engine_has_none() {
    let gateway = TestGateway::start();
    assert_error(&gateway.get("/monitor"), 501, "MONITOR");
    assert_error(&gateway.post("/monitor", b""), 501, "MONITOR");
    assert_eq!(gateway.request("HEAD", "/monitor", b"").status, 501);
}

#[test]
fn of_a_cluster_all_nodes_tell() {
    let cluster = TestCluster::start(&[]);
    let gateway = TestGateway::at(&cluster.url());
    let mut stream = gateway.listen("/monitor");
    assert_eq!(stream.event().data, "\"OK\"");
    for (at, key) in KEYS.iter().enumerate() {
        assert!(is_watched(cluster.master(at)));
        assert_eq!(gateway.put(&format!("/v1/keys/{key}"), b"x").status, 204);
        wait_for(&mut stream, &format!(r#""SET" "{key}" "x""#));
    }
    // Another one would not be told of.
    let joined = cluster.join();
    let slot = cluster.slot(KEYS[0]);
    cluster.begin_to_move(slot, cluster.master(0), &joined);
    cluster.move_key(KEYS[0], cluster.master(0), &joined);
    cluster.end_move(slot, &joined);
    let get = format!("/v1/keys/{}", KEYS[0]);
    wait_until("the new one is known", || {
        gateway.get(&get).status == 200 && !is_watched(cluster.master(1))
    });
    while stream.next().is_some() {}
    assert!(!is_watched(cluster.master(0)));
}
