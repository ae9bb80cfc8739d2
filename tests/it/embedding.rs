//! The routes behind another server: they do not depend on the connection loop.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use crate::env::{Client, example};

/// An example that serves; killed when dropped.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the example with these variables, and a client of it.
fn serve(variables: &[(&str, &str)]) -> (Serving, Client) {
    let program = Command::new(example("tiny_http_server"))
        .arg("127.0.0.1:0")
        .envs(variables.iter().copied())
        .stdout(Stdio::piped())
        .spawn();
    let mut program = Serving(program.unwrap());
    let mut line = String::new();
    let stdout = program.0.stdout.as_mut().unwrap();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    let address = line
        .trim_end()
        .strip_prefix("listening on http://")
        .unwrap();
    let client = Client::connect(address.parse().unwrap());
    (program, client)
}

#[test]
fn the_routes_answer_behind_a_plain_tiny_http_server() {
    let (_program, mut client) = serve(&[]);
    let put = client.request("PUT", "/v1/keys/greeting", &[], b"hello");
    assert_eq!(put.status, 204);
    let get = client.request("GET", "/v1/keys/greeting", &[], b"");
    assert_eq!((get.status, get.text()), (200, "hello"));
    assert!(get.header("etag").is_some());
    let known = [("If-None-Match", get.header("etag").unwrap())];
    let unchanged = client.request("GET", "/v1/keys/greeting", &known, b"");
    assert_eq!(unchanged.status, 304);
    client
        .request("GET", "/v1/keys/absent", &[], b"")
        .assert_problem(404, "no such key");
    let stream = client.request("GET", "/v1/channels/a/events", &[], b"");
    stream.assert_problem(501, "own server");
}

#[test]
fn variables_of_the_program_are_not_for_the_library() {
    let variables = [("GATEWAY_TOKEN", "s3cret"), ("GATEWAY_THREADS", "none")];
    let (_program, mut client) = serve(&variables);
    let index = client.request("GET", "/", &[], b"");
    assert_eq!(index.status, 200);
}
