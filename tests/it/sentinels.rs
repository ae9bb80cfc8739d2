//! Sentinel groups: behind locks (TLS to all of them, passwords of the Sentinels' own), and when their master moves.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use redis_http_gateway::config::Config;

use crate::env::{
    EventStream, Locks, Program, SHARED_CONNECTIONS, TestAuthority, TestGateway, TestGroup,
    TestRedis, wait_until,
};

fn put(program: &Program, value: &[u8]) -> u16 {
    let mut client = program.connect();
    client.request("PUT", "/v1/keys/a", &[], value).status
}

/// The group is there, and its master is known, also after a failover.
#[track_caller]
fn check(group: &TestGroup, program: &Program) {
    assert_eq!(put(program, b"first"), 204, "{}", program.said());
    assert_eq!(group.master().cli(&["GET", "a"]), "first");
    let mut stream = EventStream::open(program.address, "/v1/channels/c/events", &[]);
    let path = "/v1/channels/c/events?sharded=true";
    let mut sharded = EventStream::open(program.address, path, &[]);
    group.fail_over();
    assert_eq!(stream.event().name, "gap");
    assert_eq!(sharded.event().name, "gap");
    let master = group.master();
    wait_until("writes go to the new master", || {
        put(program, b"second") == 204 && master.cli(&["GET", "a"]) == "second"
    });
    assert_eq!(master.cli(&["PUBLISH", "c", "after"]), "1");
    assert_eq!(stream.event().data, "after");
    assert_eq!(master.cli(&["SPUBLISH", "c", "after too"]), "1");
    assert_eq!(sharded.event().data, "after too");
    // Connections of one's own.
    let mut client = program.connect();
    let popped = client.request("POST", "/", &[], br#"["BLPOP","none","0.01"]"#);
    assert_eq!(popped.text(), r#"{"result":null}"#);
    let mut monitor = EventStream::open(program.address, "/monitor", &[]);
    assert_eq!(monitor.event().data, "\"OK\"");
}

/// Nothing is there, and why is logged without the password.
#[track_caller]
fn check_locked(args: &[&str], reason: &str) {
    let program = Program::start(args);
    assert_eq!(put(&program, b"value"), 503);
    let ready = program.get("/readyz");
    assert_eq!(ready.status, 503);
    wait_until("it is logged", || program.said().contains(reason));
    assert!(!program.said().contains("s3cret"), "{}", program.said());
}

#[test]
fn tls_is_spoken_with_sentinels_and_servers() {
    let (authority, other) = (TestAuthority::new(), TestAuthority::new());
    let locks = Locks {
        authority: Some(&authority),
        password: Some("pa55"),
        sentinel_password: Some("pa55"),
    };
    let group = TestGroup::locked(1, &locks);
    let url = |scheme: &str| format!("{scheme}://:pa55@{}/main", group.sentinels());
    let (with_tls, without) = (url("rediss+sentinel"), url("redis+sentinel"));
    let [ca, wrong] = [&authority, &other].map(|authority| authority.path("ca.pem"));
    let wrong = ["--upstream", &with_tls, "--upstream-ca", &wrong];
    check_locked(&wrong, "invalid peer certificate");
    check_locked(&["--upstream", &without], "cannot connect");
    let program = Program::start(&["--upstream", &with_tls, "--upstream-ca", &ca]);
    check(&group, &program);
}

#[test]
fn sentinels_have_a_password_of_their_own() {
    let locks = Locks {
        password: Some("of-servers-s3cret"),
        sentinel_password: Some("of-sentinels/s3cret"),
        ..Locks::default()
    };
    let group = TestGroup::locked(3, &locks);
    let url = |rest: &str| {
        let sentinels = group.sentinels();
        format!("redis+sentinel://:of-servers-s3cret@{sentinels}/main{rest}")
    };
    // The servers' own password is no good there.
    check_locked(&["--upstream", &url(""), "--log", "trace"], "WRONGPASS");
    let wrong = url("?sentinel_password=another-s3cret");
    check_locked(&["--upstream", &wrong, "--log", "trace"], "WRONGPASS");
    let right = url("?sentinel_password=of-sentinels%2Fs3cret");
    let program = Program::start(&["--upstream", &right, "--log", "trace"]);
    check(&group, &program);
    assert!(!program.said().contains("s3cret"), "{}", program.said());
}

#[test]
fn sentinels_have_users_of_their_own() {
    let group = TestGroup::locked(1, &Locks::default());
    let user = [
        "ACL",
        "SETUSER",
        "watcher",
        "on",
        ">w4tch-s3cret",
        "+sentinel",
    ];
    group.tell_sentinels(&user);
    group.tell_sentinels(&[
        "ACL",
        "SETUSER",
        "default",
        "-sentinel|get-master-addr-by-name",
    ]);
    let url = |rest: &str| format!("redis+sentinel://{}/main{rest}", group.sentinels());
    check_locked(
        &["--upstream", &url(""), "--log", "debug"],
        "no permissions",
    );
    let right = url("?sentinel_user=watcher&sentinel_password=w4tch-s3cret");
    let program = Program::start(&["--upstream", &right]);
    assert_eq!(put(&program, b"value"), 204, "{}", program.said());
}

#[test]
fn a_command_that_waits_does_not_stay_at_the_old_master() {
    let group = TestGroup::start(1, None);
    let program = Program::start(&[
        "--upstream",
        &format!("redis+sentinel://{}/main", group.sentinels()),
    ]);
    let old = group.master();
    let mut client = program.connect();
    client.send_request("POST", "/", &[], br#"["BLPOP","list",0]"#);
    let waiting = || old.cli(&["CLIENT", "LIST"]).contains("cmd=blpop");
    wait_until("it waits", waiting);
    group.fail_over();
    let answer = client.receive();
    assert_eq!(answer.status, 502);
    assert!(answer.text().contains("may or may not have run"));
    // The server itself has not ended it.
    assert!(old.cli(&["ROLE"]).starts_with("master"));
    wait_until("it waits no more", || !waiting());
}

#[test]
fn a_script_cannot_have_connections_replaced() {
    let group = TestGroup::start(1, None);
    let gateway = TestGateway::at(&format!("redis+sentinel://{}/main", group.sentinels()));
    let run = |script: &str| {
        let script = format!(r#"["EVAL","{script}",0]"#);
        gateway.post("/", script.as_bytes())
    };
    assert_eq!(run("return 1").status, 200);
    let ids = || {
        let list = group.master().cli(&["CLIENT", "LIST"]);
        let scripts = list.lines().filter(|line| line.contains("cmd=eval"));
        scripts
            .map(|line| line.split(' ').next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let before = ids();
    assert_eq!(before.len(), 1);
    for _ in 0..10 {
        let answer = run("return redis.error_reply('READONLY says the script')");
        assert!(answer.text().contains("says the script"), "{answer:?}");
    }
    assert_eq!(run("return 1").status, 200);
    assert_eq!(ids(), before);
}

#[test]
fn servers_have_a_password_and_sentinels_none() {
    let locks = Locks {
        password: Some("of-servers"),
        ..Locks::default()
    };
    let group = TestGroup::locked(1, &locks);
    let url = format!("redis+sentinel://:of-servers@{}/main", group.sentinels());
    let program = Program::start(&["--upstream", &url]);
    check(&group, &program);
}

#[test]
fn sentinels_have_a_password_and_servers_none() {
    let locks = Locks {
        sentinel_password: Some("of-sentinels"),
        ..Locks::default()
    };
    let group = TestGroup::locked(1, &locks);
    let sentinels = group.sentinels();
    let url = format!("redis+sentinel://{sentinels}/main?sentinel_password=of-sentinels");
    let program = Program::start(&["--upstream", &url]);
    check(&group, &program);
}

#[test]
fn all_connections_are_made_where_the_same_sentinel_says() {
    let group = TestGroup::start(1, None);
    // Another one, which may say something else, is not to be asked while the first one knows.
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    other.set_nonblocking(true).unwrap();
    let address = other.local_addr().unwrap();
    let url = format!("redis+sentinel://{},{address}/main", group.sentinels());
    for _ in 0..5 {
        let program = Program::start(&["--upstream", &url]);
        let mut client = program.connect();
        // Over each of the shared connections.
        assert_eq!(put(&program, b"small"), 204);
        assert_eq!(put(&program, &[b'x'; 200_000]), 204);
        let script = br#"["EVAL","return 1",0]"#;
        assert_eq!(client.request("POST", "/", &[], script).status, 200);
        drop(program);
        let asked = other.accept().map(|_| ()).map_err(|error| error.kind());
        assert_eq!(asked, Err(ErrorKind::WouldBlock));
    }
}

/// Answers as a Sentinel does: the master is wherever it is told to say. Counts its connections.
#[derive(Clone)]
struct ToldSentinel {
    master: Arc<Mutex<SocketAddr>>,
    /// The port that it named last, and since when.
    named: Arc<Mutex<Option<(u16, Instant)>>>,
    connections: Arc<AtomicUsize>,
}

impl ToldSentinel {
    /// The Sentinel and where it is. It goes on for as long as the process.
    fn start(master: SocketAddr) -> (Self, SocketAddr) {
        let sentinel = Self {
            master: Arc::new(Mutex::new(master)),
            named: Arc::default(),
            connections: Arc::default(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let own = sentinel.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                own.connections.fetch_add(1, Ordering::Relaxed);
                let own = own.clone();
                thread::spawn(move || own.answer(client.unwrap()));
            }
        });
        (sentinel, address)
    }

    fn answer(&self, mut client: TcpStream) {
        let mut question = [0; 1024];
        while client.read(&mut question).is_ok_and(|count| count > 0) {
            let port = self.master.lock().unwrap().port();
            let mut named = self.named.lock().unwrap();
            if named.is_none_or(|(last, _)| last != port) {
                *named = Some((port, Instant::now()));
            }
            drop(named);
            let port = port.to_string();
            let answer = format!("*2\r\n$9\r\n127.0.0.1\r\n${}\r\n{port}\r\n", port.len());
            // It may be gone.
            let _ = client.write_all(answer.as_bytes());
        }
    }
}

/// What a gateway with listeners has at the master: one connection for channels, and one for streams.
const CONNECTIONS: usize = SHARED_CONNECTIONS + 2;

/// A gateway that somebody listens at, with its master, and the Sentinel that it believes.
fn listening(
    change: impl FnOnce(&mut Config),
) -> (TestRedis, ToldSentinel, TestGateway, [EventStream; 2]) {
    let master = TestRedis::start();
    let (sentinel, address) = ToldSentinel::start(master.address());
    let gateway = TestGateway::with(|config| {
        config.upstream = format!("redis+sentinel://{address}/main").parse().unwrap();
        change(config);
    });
    let paths = ["/v1/channels/c/events", "/v1/streams/s/events"];
    let listeners = paths.map(|path| gateway.listen(path));
    wait_until("all connections are there", || {
        master.clients() == CONNECTIONS
    });
    (master, sentinel, gateway, listeners)
}

/// All connections are there, and of use.
fn wait_for_all(redis: &TestRedis, gateway: &TestGateway) {
    wait_until("all connections are there", || {
        redis.cli(&["PUBLISH", "c", "message"]) == "1"
            && redis.clients() == CONNECTIONS
            && gateway.put("/v1/keys/a", b"value").status == 204
    });
}

#[test]
fn a_new_master_is_gone_to_when_it_is_named_and_not_when_it_is_time_to_try_again() {
    let (mut old, sentinel, gateway, _listeners) = listening(|_| {});
    old.kill();
    let attempts = sentinel.connections.load(Ordering::Relaxed) + 8 * CONNECTIONS;
    wait_until(
        "attempts are seconds apart, and the wait for one has begun",
        || sentinel.connections.load(Ordering::Relaxed) >= attempts,
    );
    let redis = TestRedis::start();
    *sentinel.master.lock().unwrap() = redis.address();
    wait_for_all(&redis, &gateway);
    let (_, named) = sentinel.named.lock().unwrap().unwrap();
    assert!(named.elapsed() < Duration::from_secs(2));
}

#[test]
fn an_old_master_that_answers_nothing_holds_nobody_up_when_a_new_one_is_named() {
    let (old, sentinel, gateway, _listeners) = listening(|config| {
        config.command_timeout = Duration::from_millis(200);
        // Longer than anything is waited for.
        config.connect_timeout = Duration::from_secs(600);
    });
    old.signal("STOP");
    let attempts = sentinel.connections.load(Ordering::Relaxed) + 1;
    assert_eq!(gateway.put("/v1/keys/a", b"value").status, 504);
    wait_until("the old one is gone to again", || {
        sentinel.connections.load(Ordering::Relaxed) >= attempts
    });
    let redis = TestRedis::start();
    *sentinel.master.lock().unwrap() = redis.address();
    wait_for_all(&redis, &gateway);
}
