//! The ways to a Redis server: TLS, passwords, Unix sockets, Sentinels.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::env::{
    EventStream, PATIENCE, Program, SHARED_CONNECTIONS, TestAuthority, TestFolder, TestGateway,
    TestGroup, TestRedis, wait_until,
};

/// A request to the program that needs Redis to be answered.
fn put(program: &Program) -> u16 {
    let mut client = program.connect();
    client.request("PUT", "/v1/keys/a", &[], b"value").status
}

/// A server that speaks TLS only, with a certificate of this authority.
fn redis_with_tls(authority: &TestAuthority, args: &[&str]) -> TestRedis {
    let tls = authority.server_args();
    let tls = tls.iter().map(String::as_str);
    TestRedis::with(&tls.chain(args.iter().copied()).collect::<Vec<_>>())
}

#[test]
fn tls_with_an_authority_of_ones_own() {
    let authority = TestAuthority::new();
    let redis = redis_with_tls(&authority, &["--tls-auth-clients", "no"]);
    let url = format!("rediss://{}", redis.address());
    let by_name = format!("rediss://localhost:{}/2", redis.address().port());
    for url in [url, by_name] {
        let ca = authority.path("ca.pem");
        let program = Program::start(&["--upstream", &url, "--upstream-ca", &ca]);
        assert_eq!(put(&program), 204, "{}", program.said());
        let mut stream = EventStream::open(program.address, "/v1/events?channel=c", &[]);
        let mut client = program.connect();
        let large = vec![b'x'; 300_000];
        client.request("POST", "/v1/channels/c/messages", &[], &large);
        assert!(stream.event().data.contains("xxx"));
        let popped = client.request("POST", "/", &[], br#"["BLPOP","none","0.01"]"#);
        assert_eq!(popped.status, 200);
    }
}

#[test]
fn tls_with_another_authority_is_refused() {
    let (authority, other) = (TestAuthority::new(), TestAuthority::new());
    let redis = redis_with_tls(&authority, &["--tls-auth-clients", "no"]);
    let url = format!("rediss://{}", redis.address());
    let ca = other.path("ca.pem");
    for args in [&["--upstream-ca", &*ca][..], &[]] {
        // Without a file the system's authorities are asked; there may be none at all.
        if args.is_empty() && !std::path::Path::new("/etc/ssl/certs/ca-certificates.crt").exists() {
            continue;
        }
        let begun = Instant::now();
        let program = Program::start(&[&["--upstream", &url], args].concat());
        assert_eq!(put(&program), 503);
        assert_eq!(program.get("/readyz").status, 503);
        assert!(begun.elapsed() < Duration::from_secs(10));
        wait_until("it is logged", || {
            program.said().contains("invalid peer certificate")
        });
    }
    // A server without TLS.
    let plain = TestRedis::start();
    let url = format!("rediss://{}", plain.address());
    let program = Program::start(&["--upstream", &url, "--upstream-ca", &ca]);
    assert_eq!(put(&program), 503);
    // And the other way round.
    let program = Program::start(&["--upstream", &redis.url()]);
    assert_eq!(put(&program), 503);
}

#[test]
fn a_client_certificate_is_shown_where_it_is_asked_for() {
    let authority = TestAuthority::new();
    let redis = redis_with_tls(&authority, &["--tls-auth-clients", "yes"]);
    let url = format!("rediss://{}", redis.address());
    let file = |name| authority.path(name);
    let args = ["--upstream", &url, "--upstream-ca", &file("ca.pem")];
    let program = Program::start(&args);
    assert_eq!(put(&program), 503);
    let identity = [
        "--upstream-cert",
        &file("client.pem"),
        "--upstream-key",
        &file("client.key"),
    ];
    let program = Program::start(&[&args[..], &identity].concat());
    assert_eq!(put(&program), 204, "{}", program.said());
}

#[test]
fn passwords_come_by_url_or_by_file() {
    let redis = TestRedis::with(&["--requirepass", "s3cret/"]);
    let acl = ["ACL", "SETUSER", "app", "on", ">app-s3cret", "~*", "+@all"];
    redis.cli(&[&["-a", "s3cret/"], &acl[..]].concat());
    let folder = TestFolder::new();
    let default = folder.write("default", "s3cret/\n");
    let app = folder.write("app", "app-s3cret\r\n");
    let address = redis.address();
    let plain = redis.url();
    let with = |login: &str| format!("redis://{login}@{address}/3");
    for args in [
        &["--upstream", &with(":s3cret%2F")][..],
        &["--upstream", &with("default:s3cret%2F")],
        &["--upstream", &with("app:app-s3cret")],
        &["--upstream", &plain, "--upstream-password-file", &default],
        &[
            "--upstream",
            &plain,
            "--upstream-username",
            "app",
            "--upstream-password-file",
            &app,
        ],
        &["--upstream", &with("app"), "--upstream-password-file", &app],
    ] {
        let program = Program::start(&[args, &["--log", "trace"]].concat());
        assert_eq!(put(&program), 204, "{args:?}: {}", program.said());
        assert!(!program.said().contains("s3cret"), "{}", program.said());
    }
    assert_eq!(
        redis.cli(&["-a", "s3cret/", "-n", "3", "GET", "a"]),
        "value"
    );
}

#[test]
fn a_wrong_password_is_503_and_in_no_output() {
    let redis = TestRedis::with(&["--requirepass", "right"]);
    // A server that does not know AUTH repeats what it was given.
    let without_auth = TestRedis::with(&["--rename-command", "AUTH", ""]);
    for address in [redis.address(), without_auth.address()] {
        for user in ["", "app"] {
            let url = format!("redis://{user}:wr0ng@{address}");
            let program = Program::start(&["--upstream", &url, "--log", "trace"]);
            assert_eq!(put(&program), 503);
            let ready = program.get("/readyz");
            assert_eq!(ready.status, 503);
            assert!(!String::from_utf8_lossy(&ready.body).contains("wr0ng"));
            wait_until("it is logged", || program.said().contains("cannot connect"));
            assert!(!program.said().contains("wr0ng"), "{}", program.said());
        }
    }
}

#[test]
fn a_user_may_have_few_rights() {
    let redis = TestRedis::start();
    let acl = ["ACL", "SETUSER", "app", "on", ">pw", "~a*", "+get", "+set"];
    redis.cli(&acl);
    let gateway = TestGateway::at(&format!("redis://app:pw@{}", redis.address()));
    assert_eq!(gateway.put("/v1/keys/a", b"value").status, 204);
    assert_eq!(gateway.get("/v1/keys/a").body, b"value");
    assert_eq!(gateway.get("/readyz").status, 200);
    let refused = gateway.put("/v1/keys/b", b"value");
    assert!((400..500).contains(&refused.status), "{refused:?}");
}

#[test]
fn a_unix_socket() {
    let folder = TestFolder::new();
    let socket = folder.path("redis.sock");
    let redis = TestRedis::with(&["--unixsocket", &socket, "--requirepass", "p+w"]);
    for scheme in ["redis+unix", "unix"] {
        let gateway = TestGateway::at(&format!("{scheme}://{socket}?db=5&password=p+w"));
        assert_eq!(gateway.put("/v1/keys/a", scheme.as_bytes()).status, 204);
        assert_eq!(redis.cli(&["-a", "p+w", "-n", "5", "GET", "a"]), scheme);
        let mut stream = gateway.listen("/v1/events?channel=c");
        gateway.post("/v1/channels/c/messages", b"hello");
        assert!(stream.event().data.contains("hello"));
    }
}

#[test]
fn flags_that_do_not_go_together_are_named() {
    let authority = TestAuthority::new();
    let (ca, cert) = (authority.path("ca.pem"), authority.path("client.pem"));
    let (key, other) = (authority.path("client.key"), authority.path("server.key"));
    for (args, named) in [
        (&["--upstream-ca", &*ca][..], "--upstream-ca"),
        (&["--upstream-username", "app"], "--upstream-username"),
        (
            &["--upstream=redis://h", "--upstream-ca", &ca],
            "--upstream-ca",
        ),
        (
            &["--upstream=rediss://h", "--upstream-cert", &cert],
            "--upstream-key",
        ),
        (
            &["--upstream=rediss://h", "--upstream-key", &key],
            "--upstream-cert",
        ),
        (
            &[
                "--upstream=rediss://h",
                "--upstream-cert",
                &cert,
                "--upstream-key",
                &other,
            ],
            "--upstream-key",
        ),
        (
            &["--upstream=rediss://h", "--upstream-ca", &key],
            "--upstream-ca",
        ),
        (
            &["--upstream=rediss://h", "--upstream-key", &cert],
            "--upstream-key",
        ),
        (
            &[
                "--upstream=redis://:s3cret@h",
                "--upstream-password-file",
                &key,
            ],
            "--upstream-password-file",
        ),
        (
            &[
                "--upstream=redis://u:s3cret@h",
                "--upstream-username=s3cret",
            ],
            "--upstream-username",
        ),
        (
            &["--upstream=redis://h", "--upstream-username=s3cret"],
            "--upstream-username",
        ),
        (&["--upstream=redis://s3cret@h"], "--upstream"),
        (&["--upstream=redis://:s3cret@h/x"], "--upstream"),
        (&["--upstream=redis+cluster://:s3cret@h/1"], "--upstream"),
        (
            &["--upstream=redis://h", "--upstream-password-file=s3cret"],
            "--upstream-password-file",
        ),
    ] {
        let said = Program::usage_error(args);
        assert!(said.contains(named), "{args:?}: {said}");
        assert!(!said.contains("s3cret"), "{args:?}: {said}");
    }
}

#[test]
fn a_subscriber_connection_that_went_dead_is_noticed() {
    let redis = TestRedis::start();
    let times = ["--heartbeat", "100ms", "--command-timeout", "500ms"];
    let program = Program::start(&[&["--upstream", &redis.url()], &times[..]].concat());
    let mut stream = EventStream::open(program.address, "/v1/channels/c/events", &[]);
    redis.cli(&["PUBLISH", "c", "before"]);
    assert_eq!(stream.event().data, "before");
    // Several checks pass while all is well.
    stream.wait_for(":\n\n:\n\n");
    redis.signal("STOP");
    wait_until("it is noticed", || {
        program
            .said()
            .contains("the subscriber connection to the upstream ended")
    });
    redis.signal("CONT");
    let gap = stream.event();
    assert_eq!(gap.name, "gap");
    redis.cli(&["PUBLISH", "c", "after"]);
    assert_eq!(stream.event().data, "after");
}

#[test]
fn a_connection_that_does_not_come_about_is_closed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, closed) = mpsc::channel();
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let tell = tell.clone();
            thread::spawn(move || {
                let mut piece = [0; 4096];
                while let Ok(length @ 1..) = client.read(&mut piece) {
                    // What it is asked behind the introduction it does not answer.
                    if piece[..length].windows(7).any(|word| word == b"SETINFO") {
                        client.write_all(b"+OK\r\n").unwrap();
                    }
                }
                let _ = tell.send(());
            });
        }
    });
    let _gateway = TestGateway::at_with(&format!("redis://{address}"), |config| {
        config.connect_timeout = Duration::from_millis(200);
    });
    for _ in 0..SHARED_CONNECTIONS {
        closed.recv_timeout(PATIENCE).unwrap();
    }
}

#[test]
fn sentinels_are_followed_through_a_failover() {
    let group = TestGroup::start(1, None);
    let url = format!("redis+sentinel://{}/main/1", group.sentinels());
    let gateway = TestGateway::at(&url);
    let mut stream = gateway.listen("/v1/channels/c/events");
    assert_eq!(gateway.put("/v1/keys/a", b"first").status, 204);
    assert_eq!(group.master().cli(&["-n", "1", "GET", "a"]), "first");
    let old = group.master();
    group.fail_over();
    let gap = stream.event();
    assert_eq!(gap.name, "gap");
    // Nothing in its behaviour tells yet: it is a replica only after some 8 seconds.
    assert!(old.cli(&["ROLE"]).starts_with("master"));
    let master = group.master();
    assert_ne!(master.address(), old.address());
    wait_until("writes go to the new master", || {
        gateway.put("/v1/keys/b", b"second").status == 204
            && master.cli(&["-n", "1", "GET", "b"]) == "second"
    });
    master.cli(&["PUBLISH", "c", "after"]);
    let event = stream.event();
    assert_eq!((&*event.name, &*event.data), ("message", "after"));
    // Blocking commands have connections of their own.
    let answer = gateway.post("/", br#"["BLMOVE","none","none","LEFT","LEFT","0.01"]"#);
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[test]
fn sentinels_are_asked_in_turn_and_with_a_password() {
    let mut group = TestGroup::start(3, Some("s3cret"));
    // Nobody is at the first, and the second does not answer.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = listener.local_addr().unwrap();
    let sentinels = group.sentinels();
    let url = format!("redis+sentinel://:s3cret@127.0.0.1:1,{silent},{sentinels}/main");
    let gateway = TestGateway::at(&url);
    let mut stream = gateway.listen("/v1/channels/c/events");
    assert_eq!(gateway.put("/v1/keys/a", b"first").status, 204);
    group.lose_master();
    wait_until("the new master is found", || {
        gateway.put("/v1/keys/a", b"second").status == 204
    });
    assert_eq!(stream.event().name, "gap");
    let master = group.master();
    assert_eq!(master.cli(&["-a", "s3cret", "GET", "a"]), "second");
    master.cli(&["-a", "s3cret", "PUBLISH", "c", "after"]);
    assert_eq!(stream.event().data, "after");
}

#[test]
fn an_unknown_master_is_503() {
    let group = TestGroup::start(1, None);
    let url = format!("redis+sentinel://{}/other", group.sentinels());
    let program = Program::start(&["--upstream", &url]);
    assert_eq!(put(&program), 503);
    wait_until("it is logged", || {
        program.said().contains("it knows no master of this name")
    });
}

#[test]
fn a_gateway_starts_however_many_nodes_are_silent() {
    // The kernel takes the connections; nobody answers.
    let nodes: [TcpListener; 20] =
        std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    let seeds = nodes
        .each_ref()
        .map(|node| node.local_addr().unwrap().to_string())
        .join(",");
    let connect_timeout = Duration::from_millis(500);
    let started = Instant::now();
    let gateway = TestGateway::at_with(&format!("redis+cluster://{seeds}"), |config| {
        config.connect_timeout = connect_timeout;
    });
    assert!(started.elapsed() < connect_timeout * 10);
    assert_eq!(gateway.get("/healthz").status, 200);
}
