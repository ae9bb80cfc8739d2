//! The README: what it shows works as pasted, and what it says is so.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use redis_http_gateway::config::{AllowedOrigin, Cli};

use crate::env::{Chromium, Program, TestGateway, wait_until};

fn readme() -> String {
    fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap()
}

/// The code blocks of a language.
fn blocks(language: &str) -> Vec<String> {
    let text = readme();
    let mut blocks = Vec::new();
    for part in text.split(&format!("```{language}\n")).skip(1) {
        blocks.push(part.split("```").next().unwrap().to_owned());
    }
    blocks
}

/// Runs a line in a shell, the gateway's address put in.
fn shell(line: &str, program: &Program) -> Command {
    let line = line.replace("127.0.0.1:8080", &program.address.to_string());
    let mut command = Command::new("bash");
    command.args(["-c", &line]);
    command
}

#[test]
fn the_curl_sessions_show_what_happens() {
    let program = Program::start(&[]);
    let listen = blocks("console")
        .into_iter()
        .find(|block| block.contains("curl -N"))
        .unwrap();
    let mut listener = shell(&format!("exec {listen}"), &program)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut events = BufReader::new(listener.stdout.take().unwrap()).lines();
    // The first line comes when the channel is listened to.
    assert_eq!(events.next().unwrap().unwrap(), ": connected");

    // What the session with this token needs.
    let closed = Program::start(&["--token", "s3cret"]);
    let mut shown = 0;
    for block in blocks("console")
        .iter()
        .filter(|block| block.starts_with("$ curl"))
    {
        let program = if block.contains("s3cret") {
            &closed
        } else {
            &program
        };
        for step in block.split("$ ").skip(1) {
            let (line, expected) = step.split_once('\n').unwrap();
            let output = shell(line, program).stderr(Stdio::null()).output().unwrap();
            let printed = String::from_utf8(output.stdout).unwrap();
            assert_eq!(printed.trim_end(), expected.trim_end(), "{line}");
            shown += 1;
        }
    }
    assert!(shown >= 10, "only {shown} lines were tried");
    let data = events
        .map(Result::unwrap)
        .find(|line| line.starts_with("data"));
    assert_eq!(data.as_deref(), Some("data: it works"));
    listener.kill().unwrap();
    listener.wait().unwrap();
}

/// Tells the test what the page shows, whenever that changes.
const REPORTER: &str = r#"<script>
  const list = document.getElementById("news");
  new MutationObserver(() => fetch("/shown", { method: "POST", body: list.innerText }))
    .observe(list, { childList: true, subtree: true, characterData: true });
</script>"#;

#[test]
fn the_page_shows_what_curl_publishes() {
    let site = Arc::new(tiny_http::Server::http("127.0.0.1:0").unwrap());
    let origin = format!(
        "http://localhost:{}",
        site.server_addr().to_ip().unwrap().port()
    );
    let gateway = TestGateway::with(|config| {
        config.allow_origin = vec![AllowedOrigin::Site(origin.clone())];
    });
    let page = blocks("html")
        .concat()
        .replace("127.0.0.1:8080", &gateway.address.to_string());
    let (sender, shown) = std::sync::mpsc::channel();
    let serving = Arc::clone(&site);
    let server = std::thread::spawn(move || {
        for mut request in serving.incoming_requests() {
            let mut body = String::new();
            request.as_reader().read_to_string(&mut body).unwrap();
            let html = tiny_http::Header::from_bytes("Content-Type", "text/html").unwrap();
            let response =
                tiny_http::Response::from_string(page.clone() + REPORTER).with_header(html);
            // The browser may have been killed, and the test may have seen enough.
            let _ = request.respond(response);
            let _ = sender.send(body);
        }
    });
    let browser = Chromium::open("readme", &format!("{origin}/news.html"));
    // What is published before the page listens is not for it.
    wait_until("the page shows it", || {
        gateway.post("/v1/channels/news/messages", b"it works");
        let shown = shown.recv_timeout(Duration::from_millis(200));
        shown.is_ok_and(|shown| shown.contains("it works"))
    });
    gateway.shutdown();
    wait_until(
        "the page shows that the stream has ended, as it is written",
        || {
            let shown = shown.recv_timeout(Duration::from_millis(200));
            shown.is_ok_and(|shown| shown.contains("connecting again …"))
        },
    );
    drop(browser);
    site.unblock();
    server.join().unwrap();
}

#[test]
fn the_configuration_table_is_that_of_help() {
    let command = <Cli as clap::CommandFactory>::command();
    let mut rows = Vec::new();
    for arg in command
        .get_arguments()
        .filter(|arg| arg.get_env().is_some())
    {
        let flag = arg.get_long().unwrap();
        let variable = arg.get_env().unwrap().to_str().unwrap();
        let default = arg
            .get_default_values()
            .first()
            .map(|value| value.to_str().unwrap());
        let default = default.map_or("none".to_owned(), |value| format!("`{value}`"));
        rows.push(format!("| `--{flag}` | `{variable}` | {default} |"));
    }
    let table: Vec<_> = readme()
        .lines()
        .filter(|line| line.starts_with("| `--"))
        .map(str::to_owned)
        .collect();
    assert_eq!(table, rows);
}
