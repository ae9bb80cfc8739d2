//! Tokens as settings: where they come from, when the program makes one, and that none is told.

use std::fs;
use std::net::TcpListener;
use std::process::Command;

use redis_http_gateway::config::{Config, Token};
use redis_http_gateway::gateway::Gateway;

use crate::env::{Client, Program, TestFolder, wait_until};

/// The headers that show the token which may do everything, and the one which may read.
const FULL: (&str, &str) = ("Authorization", "Bearer s3cret");
const READER: (&str, &str) = ("Authorization", "Bearer re4der");

/// The token that a program has printed on stderr.
fn printed_token(program: &Program) -> String {
    let token = |said: String| {
        let mut tokens = said.lines().filter_map(|line| line.strip_prefix("token: "));
        tokens.next().map(str::to_owned)
    };
    wait_until("a token is printed", || {
        program.said().ends_with('\n') && token(program.said()).is_some()
    });
    token(program.said()).unwrap()
}

fn put(client: &mut Client, shown: &[(&str, &str)]) -> u16 {
    client.request("PUT", "/v1/keys/a", shown, b"value").status
}

#[test]
fn a_gateway_for_all_makes_a_token() {
    // However little is logged.
    let program = Program::start_for_all(&["--log", "off"]);
    let token = printed_token(&program);
    assert_eq!(program.said(), format!("token: {token}\n"));
    assert_eq!(token.len(), 32);
    let mut client = program.connect();
    assert_eq!(put(&mut client, &[]), 401);
    let bearer = format!("Bearer {token}");
    assert_eq!(put(&mut client, &[("Authorization", &bearer)]), 204);
    let other = Program::start_for_all(&[]);
    assert_ne!(printed_token(&other), token);
}

#[test]
fn a_gateway_for_all_takes_the_token_it_is_given() {
    let program = Program::start_for_all(&["--token", "s3cret", "--log", "trace"]);
    let mut client = program.connect();
    assert_eq!(put(&mut client, &[]), 401);
    assert_eq!(put(&mut client, &[FULL]), 204);
    assert_eq!(
        client
            .request("GET", "/v1/keys/a?_token=s3cret", &[], b"")
            .status,
        200
    );
    let wrong = ("Authorization", "Bearer wr0ng");
    assert_eq!(put(&mut client, &[wrong]), 401);
    drop(client);
    let said = program.said();
    assert!(!said.is_empty());
    for secret in ["s3cret", "wr0ng", "token: "] {
        assert!(!said.contains(secret), "{said}");
    }
}

#[test]
fn a_gateway_for_this_machine_asks_if_it_has_a_token() {
    let open = Program::start(&[]);
    assert_eq!(put(&mut open.connect(), &[]), 204);
    // Clients that show one all the same are welcome.
    assert_eq!(put(&mut open.connect(), &[FULL]), 204);
    assert!(!open.said().contains("token"), "{}", open.said());
    let closed = Program::start(&["--token", "first,s3cret", "--token=third"]);
    assert_eq!(put(&mut closed.connect(), &[]), 401);
    assert_eq!(put(&mut closed.connect(), &[FULL]), 204);
    let readers_only = Program::start(&["--readonly-token", "re4der"]);
    assert_eq!(put(&mut readers_only.connect(), &[]), 401);
    assert_eq!(put(&mut readers_only.connect(), &[READER]), 403);
}

#[test]
fn no_auth_is_loud() {
    let program = Program::start_for_all(&["--no-auth"]);
    assert_eq!(put(&mut program.connect(), &[]), 204);
    wait_until("it is warned of", || program.said().contains("EVERYBODY"));
    assert!(!program.said().contains("token: "), "{}", program.said());
}

#[test]
fn tokens_come_from_files_and_variables() {
    let files = TestFolder::new();
    let full = files.write("full", "# of the shop\n\n  s3cret \r\nother\n");
    let reader = files.write("reader", "re4der");
    let mut command = Command::new(Program::path());
    command
        .args(["--listen", "127.0.0.1:0", "--token-file", &full])
        .env("GATEWAY_READONLY_TOKEN_FILE", &reader)
        .env("GATEWAY_TOKEN", "from,variable");
    let program = Program::spawn(&mut command);
    let mut client = program.connect();
    for token in ["s3cret", "other", "from", "variable"] {
        let bearer = format!("Bearer {token}");
        let shown = [("Authorization", &*bearer)];
        assert_eq!(put(&mut client, &shown), 204, "{token}");
    }
    assert_eq!(put(&mut client, &[READER]), 403);
    for wrong in ["#", "# of the shop", "", "from,variable"] {
        let bearer = format!("Bearer {wrong}");
        let shown = [("Authorization", &*bearer)];
        assert_eq!(put(&mut client, &shown), 401, "{wrong}");
    }
}

#[test]
fn a_wrong_token_is_a_usage_error_that_keeps_it() {
    let files = TestFolder::new();
    let bad = files.write("bad", "good\ns3cret word\n");
    let empty = files.write("empty", "# none\n\n");
    let bytes = files.write("bytes", b"s3cret\xFF\n");
    let missing = files.write("s3cret", "x");
    fs::remove_file(&missing).unwrap();
    for (args, named) in [
        (&["--token", "s3cret word"][..], "--token"),
        (&["--token", "good,s3cret\u{e9}"], "--token"),
        (&["--readonly-token", "s3cret\t"], "--readonly-token"),
        (&["--token="], "--token"),
        (&["--token-file", &bad], "line 2"),
        (&["--token-file", &empty], "--token-file"),
        (&["--token-file", &bytes], "--token-file"),
        (
            &["--readonly-token-file", &missing],
            "--readonly-token-file",
        ),
        (&["--token=s3cret", "--no-auth"], "--no-auth"),
        (&["--readonly-token=s3cret", "--no-auth"], "--no-auth"),
        (
            &["--token=s3cret", "--readonly-token=a,s3cret"],
            "--readonly-token",
        ),
    ] {
        let said = Program::usage_error(args);
        assert!(said.contains(named), "{args:?}: {said}");
        assert!(!said.contains("s3cret"), "{args:?}: {said}");
    }
}

#[test]
fn the_library_does_not_serve_others_by_mistake() {
    let start = |change: fn(&mut Config)| {
        let mut config = Config::default();
        change(&mut config);
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        Gateway::start(config, listener).map(Gateway::shutdown)
    };
    let error = start(|_| {}).expect_err("nobody would be asked");
    assert!(error.to_string().contains("token"), "{error}");
    let one = |config: &mut Config| config.tokens = vec!["s3cret".parse().unwrap()];
    start(one).expect("everybody is asked");
    start(|config| config.no_auth = true).expect("it was said");
    let shown = format!("{:?}", "s3cret".parse::<Token>());
    assert!(!shown.contains("s3cret"), "{shown}");
}
