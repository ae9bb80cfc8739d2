//! Every command that the server says it has, and every subcommand, through the command face: each answer is
//! a reply or a stated refusal, and whatever was sent leaves the gateway's connection as it was.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::env::{Answer, SHARED_CONNECTIONS, TestGateway, TestRedis, wait_until};

/// A command as the server's table describes it.
struct Entry {
    /// The name, and the subcommand's if it is one.
    names: Vec<String>,
    /// How many words it takes, the names among them; a negative number is the least.
    arity: i64,
    blocks: bool,
}

impl Entry {
    /// The command with so many words, the names among them.
    fn with_words(&self, words: usize, filler: &str) -> Vec<String> {
        let mut command = self.names.clone();
        command.resize(words, filler.to_owned());
        command
    }

    fn right(&self, filler: &str) -> Vec<String> {
        self.with_words(self.arity.unsigned_abs().try_into().unwrap(), filler)
    }

    /// With a word too few, or, where none can be left out, one too many; `None` if the command takes any
    /// number of them.
    fn wrong(&self) -> Option<Vec<String>> {
        let least: usize = self.arity.unsigned_abs().try_into().unwrap();
        if least > self.names.len() {
            return Some(self.with_words(least - 1, "1"));
        }
        (self.arity > 0).then(|| self.with_words(least + 1, "1"))
    }
}

/// What the server's COMMAND says, by another client than the gateway's.
fn table(redis: &TestRedis) -> Vec<Entry> {
    let told: Value = serde_json::from_str(&redis.cli(&["--json", "COMMAND"])).unwrap();
    let mut table = Vec::new();
    let mut left: Vec<&Value> = told.as_array().unwrap().iter().collect();
    while let Some(entry) = left.pop() {
        let names = entry[0].as_str().unwrap().split('|').map(str::to_owned);
        let flags = entry[2].as_array().unwrap();
        table.push(Entry {
            names: names.collect(),
            arity: entry[1].as_i64().unwrap(),
            blocks: flags.iter().any(|flag| flag == "blocking"),
        });
        // Servers before 7 do not list subcommands.
        left.extend(entry.get(9).and_then(Value::as_array).into_iter().flatten());
    }
    assert!(table.len() > 200, "only {} commands", table.len());
    table
}

/// The answer to one command has to be one that a client can understand.
#[track_caller]
fn check(command: &[String], answer: &Answer) {
    assert_eq!(
        answer.header("content-type"),
        Some("application/json"),
        "{command:?}: {}",
        answer.text()
    );
    let json = answer.json();
    let (result, error) = (json.get("result"), json.get("error"));
    let fits = match answer.status {
        200 => result.is_some() && error.is_none(),
        400 | 403 => result.is_none() && error.is_some_and(Value::is_string),
        _ => false,
    };
    assert!(fits, "{command:?}: {}", answer.text());
}

/// Nothing of what was sent has changed the connection that all share.
#[track_caller]
fn assert_untouched(redis: &TestRedis, gateway: &TestGateway, id: &Value) {
    assert_eq!(gateway.get("/client/id").json()["result"], *id);
    let info = gateway.get("/client/info").json();
    let info = info["result"].as_str().unwrap().trim_end();
    for field in [
        "db=0",
        "sub=0",
        "psub=0",
        "resp=2",
        "flags=N",
        "name=",
        "user=default",
        "redir=-1",
    ] {
        assert!(
            info.split(' ').any(|told| told == field),
            "{field} is not in {info}"
        );
    }
    assert_eq!(gateway.get("/set/after/all").text(), r#"{"result":"OK"}"#);
    assert_eq!(gateway.get("/get/after").text(), r#"{"result":"all"}"#);
    assert_eq!(gateway.get("/readyz").status, 200);
    wait_until("the connections of blocking commands are closed", || {
        redis.clients() == SHARED_CONNECTIONS
    });
}

/// A folder for a server whose commands write files; removed when dropped.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left behind is in the way of nothing.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A server in a folder of its own, a gateway, and what the server calls the gateway's connection.
fn start() -> ((TestRedis, Folder), TestGateway, Value) {
    let name = format!("server-{:016x}", fastrand::u64(..));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir(&folder).unwrap();
    let redis = TestRedis::with(&["--dir", folder.to_str().unwrap()]);
    let gateway = TestGateway::over_with(&redis, |config| {
        config.blocking_timeout = Duration::from_millis(300);
    });
    let id = gateway.get("/client/id").json()["result"].clone();
    assert!(id.is_i64());
    ((redis, Folder(folder)), gateway, id)
}

#[test]
fn every_command_is_answered_alone() {
    let ((redis, _folder), gateway, id) = start();
    let table = table(&redis);
    let mut client = gateway.connect();
    let mut blocked = Vec::new();
    for entry in &table {
        let mut commands = vec![entry.right("1"), entry.right("k")];
        commands.extend(entry.wrong());
        for (index, command) in commands.into_iter().enumerate() {
            let body = json!(command).to_string();
            if entry.blocks {
                // All of these wait at once.
                let mut client = gateway.connect();
                client.send_request("POST", "/", &[], body.as_bytes());
                blocked.push((command, client, Instant::now()));
                continue;
            }
            let answer = client.request("POST", "/", &[], body.as_bytes());
            check(&command, &answer);
            if index == 2 {
                let told = answer.json();
                let told = told["error"].as_str();
                let told = told.unwrap_or_else(|| panic!("{command:?}: {}", answer.text()));
                let fits = answer.status == 403 || told.contains("wrong number of arguments");
                assert!(fits, "{command:?}: {told}");
            }
        }
    }
    for (command, mut client, since) in blocked {
        check(&command, &client.receive());
        assert!(since.elapsed() < Duration::from_secs(15), "{command:?}");
    }
    assert_untouched(&redis, &gateway, &id);
}

#[test]
fn every_command_is_answered_among_others() {
    let ((redis, _folder), gateway, id) = start();
    let mut commands = Vec::new();
    for entry in table(&redis) {
        commands.extend([entry.right("1"), entry.right("k")]);
        commands.extend(entry.wrong());
    }
    let answer = gateway.post("/pipeline", json!(commands).to_string().as_bytes());
    assert_eq!(answer.status, 200);
    let items = answer.json();
    let items = items.as_array().unwrap();
    assert_eq!(items.len(), commands.len());
    for (command, item) in commands.iter().zip(items) {
        let item = item.as_object().unwrap();
        let fits = item.contains_key("result") != item.get("error").is_some_and(Value::is_string);
        assert!(fits && item.len() == 1, "{command:?}: {item:?}");
    }
    assert_untouched(&redis, &gateway, &id);
}

#[test]
fn every_command_is_answered_in_a_transaction() {
    let ((redis, _folder), gateway, id) = start();
    let mut client = gateway.connect();
    for entry in table(&redis) {
        for command in [Some(entry.right("1")), entry.wrong()]
            .into_iter()
            .flatten()
        {
            let body = json!([command, ["GET", "k"]]).to_string();
            let answer = client.request("POST", "/multi-exec", &[], body.as_bytes());
            let json = answer.json();
            let fits = match answer.status {
                200 => json.as_array().is_some_and(|items| items.len() == 2),
                400 | 403 => json["error"].is_string(),
                _ => false,
            };
            assert!(fits, "{command:?}: {}", answer.text());
        }
    }
    assert_untouched(&redis, &gateway, &id);
}
