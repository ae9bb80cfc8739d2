//! A Redis that takes connections, and does not let the gateway in: what is said of it, to clients and in the log.

use std::io::Write;
use std::net::TcpListener;
use std::thread;

use crate::env::{Program, TestAuthority, TestGateway, TestRedis, wait_until};

/// Every way to ask is answered that nothing was done, and why: in Redis' words.
fn assert_unwelcome(gateway: &TestGateway, words: &str) {
    let told = format!("Redis does not let the gateway in: {words}");
    let answer = gateway.get("/v1/keys/a");
    answer.assert_problem(503, &told);
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
    gateway.get("/readyz").assert_problem(503, &told);
    for command in [
        r#"["GET","a"]"#,
        r#"["BLPOP","a",1]"#,
        r#"["EVAL","return 1",0]"#,
    ] {
        let answer = gateway.post("/", command.as_bytes());
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(answer.text().contains(&told), "{answer:?}");
    }
    for path in ["/pipeline", "/multi-exec"] {
        let answer = gateway.post(path, br#"[["GET","a"],["GET","b"]]"#);
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(answer.text().contains(&told), "{answer:?}");
    }
}

#[test]
fn a_database_that_is_not_there_is_told() {
    let redis = TestRedis::start();
    let gateway = TestGateway::at(&format!("{}/99", redis.url()));
    assert_unwelcome(&gateway, "ERR DB index is out of range");
}

#[test]
fn a_wrong_password_is_told() {
    let redis = TestRedis::with(&["--requirepass", "s3cret"]);
    let gateway = TestGateway::at(&redis.url());
    assert_unwelcome(&gateway, "NOAUTH Authentication required.");
    let gateway = TestGateway::at(&format!("redis://:wr0ng@{}", redis.address()));
    let words = "WRONGPASS invalid username-password pair or user is disabled.";
    assert_unwelcome(&gateway, words);
    // It comes in as soon as it may.
    redis.cli(&["CONFIG", "SET", "requirepass", "wr0ng"]);
    wait_until("it is let in", || gateway.get("/readyz").status == 200);
    assert_eq!(gateway.put("/v1/keys/a", b"value").status, 204);
}

#[test]
fn a_full_redis_is_told() {
    // Redis keeps some descriptors back, and at least one connection.
    let redis = TestRedis::with(&["--maxclients", "3"]);
    let gateway = TestGateway::at(&redis.url());
    assert_eq!(gateway.put("/v1/keys/a", b"value").status, 204);
    let full = "ERR max number of clients reached";
    // It needs a connection of its own.
    let answer = gateway.post("/", br#"["BLPOP","a",1]"#);
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.text().contains(full), "{answer:?}");
    let late = TestGateway::at(&redis.url());
    assert_unwelcome(&late, full);
}

#[test]
fn nodes_of_a_cluster_say_it_too() {
    let redis = TestRedis::with(&["--cluster-enabled", "yes", "--requirepass", "s3cret"]);
    let gateway = TestGateway::at(&format!("redis+cluster://:wr0ng@{}", redis.address()));
    let words = "WRONGPASS invalid username-password pair or user is disabled.";
    gateway.get("/v1/keys/a").assert_problem(503, words);
}

/// Starts the program with these arguments; it logs this, and once only however often it tries.
fn logs_once(args: &[&str], words: &str) {
    let program = Program::start(&[args, &["--log", "debug"]].concat());
    wait_until("it has been tried a few times", || {
        program.said().matches("it is still so").count() >= 3
    });
    let said = program.said();
    let warnings = said.lines().filter(|line| line.contains(" WARN "));
    let warnings: Vec<_> = warnings.collect();
    assert!(
        warnings.len() == 1 && warnings[0].contains(words),
        "{words}: {said}"
    );
}

#[test]
fn the_log_says_what_is_in_the_way() {
    let redis = TestRedis::with(&["--requirepass", "s3cret"]);
    let at = redis.address();
    let wrongpass = "WRONGPASS invalid username-password pair or user is disabled.";
    for (url, words) in [
        (
            format!("redis://:s3cret@{at}/99"),
            "ERR DB index is out of range",
        ),
        (redis.url(), "NOAUTH Authentication required."),
        (format!("redis://:wr0ng@{at}"), wrongpass),
        (format!("redis+cluster://:wr0ng@{at}"), wrongpass),
        (
            format!("redis+cluster://:s3cret@{at}"),
            "ERR This instance has cluster support disabled",
        ),
        ("redis://127.0.0.1:1".to_owned(), "Connection refused"),
        (format!("rediss://{at}"), "no answer in time over TLS"),
    ] {
        logs_once(&["--upstream", &url, "--connect-timeout", "300ms"], words);
    }
}

#[test]
fn what_is_no_redis_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            // Whoever is there may be gone already.
            let _ = stream.unwrap().write_all(b"SSH-2.0-OpenSSH_9.2\r\n");
        }
    });
    let url = format!("redis://{address}");
    logs_once(
        &["--upstream", &url],
        "what answers there is no Redis server",
    );
}

#[test]
fn a_redis_that_wants_tls_is_told() {
    let authority = TestAuthority::new();
    let args = authority.server_args();
    let redis = TestRedis::with(&args.iter().map(String::as_str).collect::<Vec<_>>());
    let words =
        "it closed the connection without an answer (a server that wants TLS does: rediss://)";
    logs_once(&["--upstream", &redis.url()], words);
}
