//! `compose.yaml` and the Dockerfile, without a container: they are sound, they hang together, and the program
//! and the server do with their settings what the comments say.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use yaml_rust2::{Yaml, YamlLoader};

use crate::env::{Program, TestFolder, TestRedis, wait_until};

fn project(name: &str) -> String {
    fs::read_to_string(format!("{}/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn parse(text: &str) -> Yaml {
    let documents = YamlLoader::load_from_str(text).unwrap();
    let [document] = &documents[..] else {
        panic!("{} documents", documents.len());
    };
    document.clone()
}

fn compose() -> Yaml {
    parse(&project("compose.yaml"))
}

/// The file with its choices made: every line that holds nothing but a setting behind a `#`.
fn with_secrets() -> Yaml {
    let text = project("compose.yaml");
    let lines = text.lines().map(|line| {
        let (before, setting) = line.split_once("# ").unwrap_or((line, ""));
        let key = setting.trim_start().split(':').next().unwrap();
        let is_setting = setting.contains(':') && !key.is_empty() && !key.contains(' ');
        if before.trim().is_empty() && is_setting {
            format!("{before}{setting}\n")
        } else {
            format!("{line}\n")
        }
    });
    parse(&lines.collect::<String>())
}

fn keys(yaml: &Yaml) -> BTreeSet<String> {
    let keys = yaml.as_hash().unwrap().keys();
    keys.map(|key| key.as_str().unwrap().to_owned()).collect()
}

fn list(yaml: &Yaml) -> Vec<String> {
    let all = yaml.as_vec().unwrap().iter();
    all.map(|item| item.as_str().unwrap().to_owned()).collect()
}

/// The words of a text that name one of the gateway's variables.
fn variables(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("GATEWAY_"))
        .collect()
}

/// What `--help` says.
fn help() -> String {
    let output = Command::new(Program::path()).arg("--help").output();
    String::from_utf8(output.unwrap().stdout).unwrap()
}

#[test]
fn every_variable_is_one_of_the_programs() {
    let (help, mut found) = (help(), 0);
    let known = variables(&help);
    assert!(known.contains("GATEWAY_LISTEN"), "{known:?}");
    for file in ["compose.yaml", "Dockerfile", "README.md"] {
        for variable in variables(&project(file)) {
            assert!(known.contains(variable), "{file}: {variable}");
            found += 1;
        }
    }
    assert!(found > 5, "only {found}");
}

#[test]
fn its_services_know_each_other() {
    let compose = compose();
    let services = keys(&compose["services"]);
    let gateway = &compose["services"]["gateway"];
    let upstream = gateway["environment"]["GATEWAY_UPSTREAM"].as_str().unwrap();
    let host = upstream.strip_prefix("redis://").unwrap();
    assert!(services.contains(host), "{upstream}: {services:?}");
    for needed in list(&gateway["depends_on"]) {
        assert!(services.contains(&needed), "{needed}: {services:?}");
    }
    // Nobody else's machine reaches the gateway, and nobody's the server.
    let port = listening_port();
    assert_eq!(list(&gateway["ports"]), [format!("127.0.0.1:8080:{port}")]);
    assert!(compose["services"][host]["ports"].is_badvalue());
    let declared = keys(&compose["volumes"]);
    for volume in list(&compose["services"][host]["volumes"]) {
        let (name, _) = volume.split_once(':').unwrap();
        assert!(declared.contains(name), "{volume}: {declared:?}");
    }
}

/// Where the image has the program listen.
fn listening_port() -> u16 {
    let dockerfile = project("Dockerfile");
    let listen = dockerfile.split("GATEWAY_LISTEN=").nth(1).unwrap();
    let address = listen.split([' ', '\n']).next().unwrap();
    let port = address.rsplit(':').next().unwrap().parse().unwrap();
    assert!(dockerfile.contains(&format!("EXPOSE {port}\n")));
    port
}

#[test]
fn its_secret_is_where_the_program_looks() {
    let compose = with_secrets();
    let gateway = &compose["services"]["gateway"];
    let secrets = list(&gateway["secrets"]);
    let [secret] = &secrets[..] else {
        panic!("{secrets:?}");
    };
    let file = gateway["environment"]["GATEWAY_TOKEN_FILE"].as_str();
    assert_eq!(file, Some(&*format!("/run/secrets/{secret}")));
    let source = compose["secrets"][secret.as_str()]["file"].as_str();
    assert!(source.unwrap().starts_with("./"), "{source:?}");
    // It is in no image, and in no repository.
    assert!(project(".gitignore").contains(source.unwrap().trim_start_matches("./")));
}

#[test]
fn the_program_starts_with_its_settings_and_serves() {
    let compose = compose();
    let services = &compose["services"];
    let command = list(&services["valkey"]["command"]);
    assert_eq!(command[0], "valkey-server");
    let folder = TestFolder::new();
    let mut args: Vec<_> = command[1..].iter().map(String::as_str).collect();
    let path = folder.path("");
    args.extend(["--dir", &path]);
    let mut server = TestRedis::with(&args);
    let mut program = Command::new(Program::path());
    program.args(["--listen", "0.0.0.0:0"]);
    let environment = services["gateway"]["environment"].as_hash().unwrap();
    for (name, value) in environment {
        let value = value.as_str().unwrap();
        let value = value.replace("valkey", &server.address().to_string());
        program.env(name.as_str().unwrap(), value);
    }
    let program = Program::spawn(&mut program);
    // As `docker compose logs gateway | grep token:` finds it.
    let mut token = String::new();
    wait_until("it prints the token that it made", || {
        let said = program.said();
        let line = said.lines().find_map(|line| line.strip_prefix("token: "));
        token = line.unwrap_or_default().to_owned();
        !token.is_empty()
    });
    let bearer = format!("Bearer {token}");
    let headers = [("Authorization", &*bearer)];
    let put = |value: &[u8]| {
        let mut client = program.connect();
        client.request("PUT", "/v1/keys/a", &headers, value).status
    };
    assert_eq!(program.get("/v1/keys/a").status, 401);
    assert_eq!(put(b"kept"), 204, "{}", program.said());
    // What was written a second ago is on disk.
    wait_until("it is on disk", || {
        fs::read_dir(&path)
            .unwrap()
            .flatten()
            .flat_map(|entry| fs::read_dir(entry.path()).into_iter().flatten().flatten())
            .any(|file| {
                fs::read(file.path()).is_ok_and(|data| data.windows(4).any(|w| w == b"kept"))
            })
    });
    server.kill();
    server.restart();
    wait_until("the data is there again", || {
        server.cli(&["GET", "a"]) == "kept"
    });
    wait_until("the gateway serves again", || put(b"more") == 204);
}
