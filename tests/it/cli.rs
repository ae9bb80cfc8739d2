//! The program as a command: its help, its settings, what it prints, how it ends.

use std::io::Read;
use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};

use clap::CommandFactory;
use redis_http_gateway::config::Cli;

use crate::env::{EventStream, Program, wait_until};

/// The program with arguments and environment variables, before it is started.
fn command(args: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(Program::path());
    // Whatever the variables of whoever runs the tests are.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("GATEWAY_")) {
        command.env_remove(name);
    }
    command.args(args).envs(variables.iter().copied());
    command
}

/// Runs the program to its end, which must come by itself.
fn run(args: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = command(args, variables);
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    wait_for(child.unwrap())
}

/// Waits for the end of a program, which is killed if it does not come.
fn wait_for(child: Child) -> Output {
    let mut child = Killed(Some(child));
    wait_until("the program ends", || {
        child.0.as_mut().unwrap().try_wait().unwrap().is_some()
    });
    child.0.take().unwrap().wait_with_output().unwrap()
}

/// A program that does not outlive its test.
struct Killed(Option<Child>);

impl Drop for Killed {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn help_tells_every_flag_with_its_variable_and_its_default() {
    let help = run(&["--help"], &[]);
    assert_eq!(help.status.code(), Some(0));
    // Words, since long lines are wrapped.
    let help = text(&help.stdout).split_whitespace().collect::<Vec<_>>();
    let help = help.join(" ");
    let cli = Cli::command();
    let mut flags = 0;
    for flag in cli.get_arguments() {
        let Some(name) = flag
            .get_long()
            .filter(|name| !["help", "version"].contains(name))
        else {
            continue;
        };
        flags += 1;
        let is_switch = !flag.get_action().takes_values();
        let shown = if is_switch { "" } else { " <" };
        assert!(
            help.contains(&format!("--{name}{shown}")),
            "--{name} is not there"
        );
        let variable = format!("GATEWAY_{}", name.replace('-', "_").to_uppercase());
        assert!(
            help.contains(&format!("[env: {variable}")),
            "--{name} without {variable}: {help}"
        );
        let defaults: Vec<_> = flag.get_default_values().iter().collect();
        match defaults[..] {
            [] => assert!(
                is_switch
                    || ["allow-", "upstream-", "max-subscribers", "max-stream-age"]
                        .iter()
                        .any(|begin| name.starts_with(begin))
                    || name.ends_with("-per-address")
                    || name.contains("token"),
                "--{name} has no default"
            ),
            [default] => {
                let default = format!("[default: {}]", default.to_str().unwrap());
                assert!(help.contains(&default), "--{name} without {default}");
            }
            _ => panic!("--{name} has several defaults"),
        }
    }
    assert!(flags >= 20, "{flags} flags");
    assert!(help.contains("healthcheck"), "{help}");
}

#[test]
fn help_keeps_secrets() {
    let variables = [
        ("GATEWAY_UPSTREAM", "redis://:s3cret@localhost"),
        ("GATEWAY_TOKEN", "s3cret"),
        ("GATEWAY_READONLY_TOKEN", "s3cret-too"),
    ];
    let help = run(&["--help"], &variables);
    assert!(!text(&help.stdout).contains("s3cret"));
}

#[test]
fn version_is_the_packages() {
    let version = run(&["--version"], &[]);
    assert_eq!(version.status.code(), Some(0));
    let wanted = concat!("redis-http-gateway ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(text(&version.stdout), wanted);
}

#[test]
fn a_wrong_value_is_a_usage_error_that_names_the_flag() {
    for (flag, value) in [
        ("--listen", "8080"),
        ("--listen", "localhost:http"),
        ("--listen", "127.0.0.1:65536"),
        ("--upstream", "http://127.0.0.1"),
        ("--upstream", "redis://"),
        ("--upstream", "redis+cluster://127.0.0.1/1"),
        ("--upstream-username", "app"),
        ("--upstream-password-file", "/"),
        ("--upstream-ca", "/"),
        ("--upstream-cert", "Cargo.toml"),
        ("--upstream-key", "Cargo.toml"),
        ("--threads", "0"),
        ("--threads", "many"),
        ("--runtime-threads", "-1"),
        ("--max-connections", "0"),
        ("--max-commands", "1.5"),
        ("--max-head", "ten"),
        ("--max-body", "-1"),
        ("--max-buffered", ""),
        ("--subscriber-buffer", "1 parsec"),
        ("--head-timeout", "10"),
        ("--body-timeout", "0s"),
        ("--idle-timeout", "-5s"),
        ("--write-timeout", "soon"),
        ("--command-timeout", ""),
        ("--connect-timeout", "1ns"),
        ("--shutdown-timeout", "5 fortnights"),
        ("--heartbeat", "0"),
        ("--retry", "0ms"),
        ("--allow-origin", "example.com"),
        ("--allow-origin", "https://example.com/path"),
        ("--allow-host", "example.com:80"),
        ("--log", "info=what=this"),
        ("--log", "warning"),
        ("--log", "nonsense="),
        ("--token", ""),
        ("--token", "a,,b"),
        ("--token", "two words"),
        ("--readonly-token", "t\u{f6}ken"),
        ("--token-file", ""),
        ("--readonly-token-file", "/"),
        ("--no-auth", "perhaps"),
    ] {
        let variable = format!("GATEWAY_{}", flag[2..].replace('-', "_").to_uppercase());
        for (args, variables) in [
            (&[&*format!("{flag}={value}")][..], &[][..]),
            (&[][..], &[(&*variable, value)][..]),
        ] {
            let ended = run(args, variables);
            let said = text(&ended.stderr);
            assert_eq!(
                ended.status.code(),
                Some(2),
                "{args:?} {variables:?}: {said}"
            );
            assert!(said.contains(flag), "{args:?} {variables:?}: {said}");
            assert_eq!(text(&ended.stdout), "");
        }
    }
}

#[test]
fn an_address_that_is_none_is_told_what_one_is() {
    for value in ["localhost:8080", ":8080", "8080", "127.0.0.1"] {
        let ended = run(&["--listen", value], &[]);
        let said = text(&ended.stderr);
        assert_eq!(ended.status.code(), Some(2), "{value}: {said}");
        assert!(said.contains("such as 127.0.0.1:8080"), "{value}: {said}");
    }
}

#[test]
fn a_size_that_is_none_is_told_what_one_is() {
    for flag in [
        "--max-body",
        "--max-buffered",
        "--subscriber-buffer",
        "--replay-bytes",
        "--replay-memory",
    ] {
        for value in ["5XB", "ten", "-1"] {
            let ended = run(&[flag, value], &[]);
            let said = text(&ended.stderr);
            assert_eq!(ended.status.code(), Some(2), "{flag} {value}: {said}");
            assert!(
                said.contains(flag) && said.contains("10MiB"),
                "{flag} {value}: {said}"
            );
        }
    }
    for (flag, wanted) in [
        ("--max-head", "from 256B to 64KiB"),
        ("--client-cache", "from 1MiB up"),
    ] {
        let ended = run(&[flag, "5XB"], &[]);
        let said = text(&ended.stderr);
        assert!(said.contains(wanted), "{flag}: {said}");
    }
}

#[test]
fn what_is_no_flag_is_a_usage_error() {
    for args in [&["--lisen", "127.0.0.1:0"][..], &["serve"], &["--threads"]] {
        let ended = run(args, &[]);
        assert_eq!(ended.status.code(), Some(2), "{args:?}");
        assert!(text(&ended.stderr).contains(args[0]), "{args:?}");
    }
}

#[test]
fn variables_are_taken_and_flags_win() {
    let variables = [
        ("GATEWAY_LISTEN", "127.0.0.1:0"),
        ("GATEWAY_MAX_BODY", "10B"),
        ("GATEWAY_ALLOW_HOST", "a.example,B.example"),
        ("GATEWAY_MAX_HEAD", "1B"),
        ("GATEWAY_LOG", "off"),
    ];
    let program = Program::spawn(&mut command(&["--max-head", "8KiB"], &variables));
    let mut client = program.connect();
    let put = |client: &mut crate::env::Client, host, body: &[u8]| {
        let answer = client.request("PUT", "/v1/keys/a", &[("Host", host)], body);
        answer.status
    };
    assert_eq!(put(&mut client, "a.example", b"0123456789"), 204);
    assert_eq!(put(&mut client, "b.example:80", b"0123456789"), 204);
    assert_eq!(put(&mut client, "c.example", b"0123456789"), 403);
    assert_eq!(put(&mut client, "a.example", b"0123456789+"), 413);
}

#[test]
fn the_address_is_alone_on_stdout() {
    let mut command = command(&["--listen", "127.0.0.1:0", "--log", "trace"], &[]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = Killed(Some(child.unwrap()));
    let running = child.0.as_mut().unwrap();
    let mut stdout = running.stdout.take().unwrap();
    let mut line = vec![];
    while !line.ends_with(b"\n") {
        let mut byte = [0];
        stdout.read_exact(&mut byte).unwrap();
        line.extend(byte);
    }
    let address = text(&line).strip_prefix("listening on http://127.0.0.1:");
    let port: u16 = address.unwrap().trim_end_matches('\n').parse().unwrap();
    assert_ne!(port, 0);
    let address = (std::net::Ipv4Addr::LOCALHOST, port).into();
    let health = crate::env::Client::connect(address).request("GET", "/healthz", &[], b"");
    assert_eq!(health.status, 200);
    running.kill().unwrap();
    let mut more = String::new();
    stdout.read_to_string(&mut more).unwrap();
    assert_eq!(more, "");
}

#[test]
fn a_port_in_use_is_an_error_that_names_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ended = run(&["--listen", &address], &[]);
    assert_eq!(ended.status.code(), Some(1));
    assert_eq!(text(&ended.stdout), "");
    let said = text(&ended.stderr);
    assert!(said.contains(&address), "{said}");
    assert!(said.contains("in use"), "{said}");
}

#[test]
fn healthcheck_tells_by_its_exit_code() {
    let program = Program::start(&[]);
    let address = program.address.to_string();
    let everywhere = format!("0.0.0.0:{}", program.address.port());
    for (args, variables) in [
        (&["healthcheck", "--listen", &address][..], &[][..]),
        (&["--listen", &address, "healthcheck"], &[]),
        (&["healthcheck"], &[("GATEWAY_LISTEN", &*address)]),
        // As in a container.
        (&["healthcheck"], &[("GATEWAY_LISTEN", &everywhere)]),
    ] {
        let ended = run(args, variables);
        assert_eq!(
            ended.status.code(),
            Some(0),
            "{args:?} {variables:?}: {ended:?}"
        );
        assert_eq!(text(&ended.stdout), "");
    }
    drop(program);
    let ended = run(&["healthcheck", "--listen", &address], &[]);
    assert_eq!(ended.status.code(), Some(1));
    let said = text(&ended.stderr);
    assert!(
        said.contains(&format!("{address}: Connection refused")),
        "{said}"
    );
    let ended = run(&["healthcheck", "--listen", "nowhere"], &[]);
    assert_eq!(ended.status.code(), Some(2));
}

#[test]
fn healthcheck_is_not_pleased_by_anything_that_answers() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    let answerer = std::thread::spawn(move || {
        let (mut stream, _) = other.accept().unwrap();
        let mut request = [0; 1024];
        let _ = stream.read(&mut request).unwrap();
        let answer = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
        std::io::Write::write_all(&mut stream, answer).unwrap();
    });
    let ended = run(&["healthcheck", "--listen", &address], &[]);
    assert_eq!(ended.status.code(), Some(1));
    assert!(text(&ended.stderr).contains("503"), "{ended:?}");
    answerer.join().unwrap();
}

#[test]
fn either_signal_ends_it_with_success() {
    for signal in ["TERM", "INT"] {
        let mut program = Program::start(&[]);
        let mut idle = program.connect();
        assert_eq!(idle.request("GET", "/healthz", &[], b"").status, 200);
        let mut stream = EventStream::open(program.address, "/v1/channels/a/events", &[]);
        program.signal(signal);
        assert_eq!(program.wait().code(), Some(0), "{signal}");
        stream.wait_for_end();
        assert_eq!(idle.rest(), b"");
    }
}
