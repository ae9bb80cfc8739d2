//! The end: SIGTERM and SIGINT, with connections in every state.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::env::{Client, Program, TestCluster, TestGroup, TestRedis, wait_until};

/// A PUT of which the body's second half is missing.
fn half_sent(program: &Program) -> Client {
    let mut client = program.connect();
    client.send(b"PUT /v1/keys/half HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6\r\n\r\nval");
    // Whatever came before this has been read when this is answered.
    assert_eq!(program.get("/healthz").status, 200);
    client
}

fn wait_until_refusing(program: &Program) {
    wait_until("new connections are refused", || {
        TcpStream::connect(program.address).is_err()
    });
}

#[track_caller]
fn assert_ends_well(program: &mut Program, within: Duration) {
    let began = Instant::now();
    let status = program.wait();
    assert!(status.success(), "{status}");
    assert!(began.elapsed() < within, "after {:?}", began.elapsed());
}

#[test]
fn an_idle_program_ends_at_once() {
    for signal in ["TERM", "INT"] {
        let mut program = Program::start(&[]);
        let mut fresh = program.connect();
        let mut used = program.connect();
        assert_eq!(used.request("GET", "/healthz", &[], b"").status, 200);
        program.signal(signal);
        assert_eq!(fresh.rest(), b"");
        assert_eq!(used.rest(), b"");
        assert_ends_well(&mut program, Duration::from_secs(3));
    }
}

#[test]
fn a_request_in_progress_is_finished_while_new_connections_are_refused() {
    let mut program = Program::start(&["--shutdown-timeout", "15s"]);
    let mut idle = program.connect();
    assert_eq!(idle.request("GET", "/healthz", &[], b"").status, 200);
    let mut client = half_sent(&program);
    program.signal("TERM");
    assert_eq!(idle.rest(), b"");
    wait_until_refusing(&program);
    assert!(program.is_running());
    client.send(b"ued");
    let answer = client.receive();
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(client.rest(), b"");
    drop(client);
    assert_ends_well(&mut program, Duration::from_secs(3));
}

#[test]
fn a_request_whose_head_is_under_way_is_finished_too() {
    let mut program = Program::start(&["--shutdown-timeout", "15s"]);
    let mut client = program.connect();
    client.send(b"GET /healthz HTTP/1.1\r\nHo");
    assert_eq!(program.get("/healthz").status, 200);
    program.signal("INT");
    wait_until_refusing(&program);
    // What is pipelined together in the end is answered together.
    client.send(b"st: localhost\r\n\r\nGET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(client.receive().status, 200);
    let answer = client.receive();
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(client.rest(), b"");
    drop(client);
    assert_ends_well(&mut program, Duration::from_secs(3));
}

#[test]
fn an_answer_that_is_being_taken_is_finished() {
    let mut program = Program::start(&["--shutdown-timeout", "15s"]);
    let value = vec![b'v'; 10 * 1024 * 1024];
    program.put("/v1/keys/large", &value);
    let mut client = program.connect();
    client.send_request("GET", "/v1/keys/large", &[], b"");
    client.stream().peek(&mut [0]).unwrap();
    program.signal("TERM");
    wait_until_refusing(&program);
    assert!(client.receive().body == value);
    drop(client);
    assert_ends_well(&mut program, Duration::from_secs(3));
}

#[test]
fn an_end_is_forced_when_the_time_is_up() {
    let mut program = Program::start(&["--shutdown-timeout", "700ms"]);
    let mut client = half_sent(&program);
    let began = Instant::now();
    program.signal("TERM");
    let status = program.wait();
    let took = began.elapsed();
    assert!(status.success(), "{status}");
    assert!(
        took >= Duration::from_millis(650),
        "too early, after {took:?}"
    );
    assert!(took < Duration::from_secs(5), "after {took:?}");
    assert_eq!(String::from_utf8_lossy(&client.rest()), "");
}

#[test]
fn event_streams_end_with_the_program() {
    let mut program = Program::start(&[]);
    let mut stream = crate::env::EventStream::open(program.address, "/v1/channels/c/events", &[]);
    program.signal("TERM");
    stream.wait_for_end();
    assert_ends_well(&mut program, Duration::from_secs(4));
}

/// Somebody who waits for an element of a list at one of these servers, before the program is told to end.
fn told_while_somebody_waits(program: &Program, servers: &[&TestRedis]) -> Client {
    let mut client = program.connect();
    client.send_request("POST", "/", &[], br#"["BLPOP","list",0]"#);
    wait_until("it waits", || {
        let waits = |redis: &&TestRedis| redis.cli(&["CLIENT", "LIST"]).contains("cmd=blpop");
        servers.iter().any(waits)
    });
    program.signal("TERM");
    client
}

#[test]
fn who_waits_is_answered_as_if_the_time_were_up() {
    let redis = TestRedis::start();
    let group = TestGroup::start(1, None);
    let cluster = TestCluster::start(&[]);
    let sentinels = format!("redis+sentinel://{}/main", group.sentinels());
    let nodes = [0, 1, 2].map(|at| cluster.master(at));
    for (url, servers) in [
        (format!("{}/1", redis.url()), &[&redis][..]),
        (sentinels, &[group.master()]),
        (cluster.url(), &nodes),
    ] {
        let mut program = Program::start(&["--upstream", &url, "--shutdown-timeout", "15s"]);
        let mut client = told_while_somebody_waits(&program, servers);
        let answer = client.receive();
        assert_eq!((answer.status, answer.text()), (200, r#"{"result":null}"#));
        assert_eq!(answer.header("connection"), Some("close"));
        drop(client);
        assert_ends_well(&mut program, Duration::from_secs(3));
    }
}

#[test]
fn who_waits_is_cut_off_in_the_end_where_redis_does_not_let_the_gateway_end_that() {
    for lacks in ["-client|info", "-client|list", "-client|unblock"] {
        let redis = TestRedis::start();
        let user = ["ACL", "SETUSER", "app", "on", ">pw", "~*", "+@all", lacks];
        redis.cli(&user);
        let url = format!("redis://app:pw@{}", redis.address());
        let mut program = Program::start(&["--upstream", &url, "--shutdown-timeout", "700ms"]);
        let mut client = told_while_somebody_waits(&program, &[&redis]);
        assert_eq!(client.rest(), b"", "{lacks}");
        assert_ends_well(&mut program, Duration::from_secs(5));
    }
}
