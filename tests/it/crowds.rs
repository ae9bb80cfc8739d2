//! Many connections at once: all served, none at the cost of a thread, and what happens when there are more
//! than there may be.

use std::io::Write;
use std::net::Ipv4Addr;
use std::time::Duration;

use crate::env::{Client, EventStream, Program, TestGateway, TestRedis, wait_until};
use crate::faults::FAULTS;

/// So many connections of this process to a server.
fn crowd(count: usize, connect: impl Fn() -> Client) -> Vec<Client> {
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    (0..count).map(|_| connect()).collect()
}

/// Has each client ask, and only then reads what each is answered.
fn all_ask(clients: &mut [Client], path: &str, expected: &[u8]) {
    for client in &mut *clients {
        client.send_request("GET", path, &[], b"");
    }
    for client in clients {
        let answer = client.receive();
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.body, expected);
    }
}

/// Whether a server has closed a connection without a word.
fn is_closed(client: &Client) -> bool {
    client.stream().set_nonblocking(true).unwrap();
    let seen = client.stream().peek(&mut [0]);
    client.stream().set_nonblocking(false).unwrap();
    seen.is_ok_and(|count| count == 0)
}

#[test]
fn five_hundred_connections_at_once_are_all_served_while_they_are_held() {
    let program = Program::start(&[]);
    program.put("/v1/keys/k", b"value");
    let mut clients = crowd(500, || program.connect());
    all_ask(&mut clients, "/v1/keys/k", b"value");
}

#[test]
fn a_thousand_kept_connections_are_served_again_and_again() {
    let program = Program::start(&[]);
    program.put("/v1/keys/k", b"value");
    let mut clients = crowd(1000, || program.connect());
    let threads = program.threads();
    for _ in 0..5 {
        all_ask(&mut clients, "/v1/keys/k", b"value");
    }
    assert!(
        program.threads() <= threads,
        "{} threads",
        program.threads()
    );
}

#[test]
fn five_thousand_idle_connections_cost_no_thread_and_little_memory() {
    let program = Program::start(&[]);
    assert_eq!(program.get("/healthz").status, 200);
    let (threads, memory) = (program.threads(), program.memory());
    let mut clients = crowd(5000, || program.connect());
    for client in &mut clients {
        assert_eq!(client.request("GET", "/healthz", &[], b"").status, 200);
    }
    assert!(program.descriptors() > 5000);
    assert!(
        program.threads() <= threads,
        "{} threads",
        program.threads()
    );
    let grown = program.memory().saturating_sub(memory);
    assert!(grown < 5000 * 4, "{grown} KiB for 5,000 idle connections");
    assert_eq!(program.get("/healthz").status, 200);
    drop(clients);
    wait_until("they are gone", || program.descriptors() < 100);
}

#[test]
fn one_connection_too_many_is_told_so_while_all_are_busy() {
    let gateway = TestGateway::with(|config| config.max_connections = 50);
    let mut busy = occupy(|| gateway.connect());
    assert_eq!(busy.len(), 50);
    for _ in 0..200 {
        let mut client = gateway.connect();
        send_if_open(&client, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let answer = client.receive();
        answer.assert_problem(503, "connections");
        assert_eq!(answer.header("retry-after"), Some("1"));
        assert_eq!(answer.header("connection"), Some("close"));
        assert_eq!(client.rest(), b"");
    }
    for client in &mut busy {
        client.send(b"2");
        assert_eq!(client.receive().status, 204);
    }
    // A place is free again as soon as one of them is idle.
    assert_eq!(gateway.get("/healthz").status, 200);
}

#[test]
fn an_address_has_no_more_connections_than_its_share() {
    let gateway = TestGateway::with(|config| config.max_connections_per_address = Some(2));
    let from = |last| {
        let address = Ipv4Addr::new(127, 0, 0, last).into();
        Client::connect_from(address, gateway.address)
    };
    let mut stream = from(1);
    stream.send_request("GET", "/v1/channels/news/events", &[], b"");
    let stream = EventStream::of(stream);
    let mut idle = from(1);
    assert_eq!(idle.request("GET", "/healthz", &[], b"").status, 200);
    // Nobody who has a place loses it to another of the same address.
    for _ in 0..10 {
        let mut third = from(1);
        send_if_open(&third, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let answer = third.receive();
        answer.assert_problem(429, "this address has as many connections");
        assert_eq!(answer.header("retry-after"), Some("1"));
        assert_eq!(answer.header("connection"), Some("close"));
        assert_eq!(third.rest(), b"");
    }
    assert_eq!(idle.request("GET", "/healthz", &[], b"").status, 200);
    let mut other = from(2);
    assert_eq!(other.request("GET", "/healthz", &[], b"").status, 200);
    // An event stream has given its place back when it is gone.
    drop(stream);
    wait_until("there is room again", || {
        let mut again = from(1);
        send_if_open(&again, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
        again.receive().status == 200
    });
}

/// Connections that are each within a request's body, until one more is turned away.
fn occupy(connect: impl Fn() -> Client) -> Vec<Client> {
    let mut busy = Vec::new();
    loop {
        let mut client = connect();
        // With the answer to the first it is known that the second has begun.
        let request = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n\
                       PUT /v1/keys/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n1";
        send_if_open(&client, request.as_bytes());
        match client.receive().status {
            200 => busy.push(client),
            503 => return busy,
            other => panic!("a {other}"),
        }
    }
}

#[test]
fn the_one_that_was_idle_for_longest_makes_room() {
    let gateway = TestGateway::with(|config| config.max_connections = 100);
    let mut clients = crowd(100, || gateway.connect());
    // One after the other, so that their order is known; the first again, so that it is the last.
    for client in &mut clients {
        assert_eq!(client.request("GET", "/healthz", &[], b"").status, 200);
    }
    assert_eq!(clients[0].request("GET", "/healthz", &[], b"").status, 200);
    let mut newcomers = crowd(10, || gateway.connect());
    for client in &mut newcomers {
        assert_eq!(client.request("GET", "/healthz", &[], b"").status, 200);
    }
    // The ten that had been idle for longest, and nobody else.
    let closed: Vec<usize> = (0..100).filter(|&n| is_closed(&clients[n])).collect();
    assert_eq!(closed, (1..=10).collect::<Vec<_>>());
}

#[test]
fn heads_that_do_not_come_make_room() {
    let gateway = TestGateway::with(|config| config.max_connections = 50);
    for _ in 0..3 {
        let mut beginning: Vec<_> = (0..50)
            .map(|_| {
                let mut client = gateway.connect();
                // With the answer to the first it is known that the second has begun.
                client.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /healthz HTT");
                assert_eq!(client.receive().status, 200);
                client
            })
            .collect();
        for _ in 0..20 {
            assert_eq!(gateway.get("/healthz").status, 200);
        }
        // Those that are left may go on.
        let mut last = beginning.pop().unwrap();
        last.send(b"P/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(last.receive().status, 200);
    }
}

#[test]
fn answers_that_nobody_takes_make_room() {
    let gateway = TestGateway::with(|config| {
        config.max_connections = 20;
        config.write_timeout = Duration::from_secs(600);
    });
    let request = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(20);
    let stalled = crowd(20, || gateway.connect());
    for client in &stalled {
        client.stream().set_nonblocking(true).unwrap();
        send_if_open(client, &request);
    }
    wait_until("somebody else is served", || {
        gateway.get("/healthz").status == 200
    });
    drop(stalled);
}

#[test]
fn few_descriptors_are_enough_to_answer_everybody() {
    let program = Program::start_with_files(64, &[]);
    let is_ready = || is_served(&mut program.connect(), "/readyz");
    assert!(is_ready());
    let descriptors = program.descriptors();
    // Far more than there are descriptors; the idle make room.
    let mut clients = crowd(300, || program.connect());
    let served = clients
        .iter_mut()
        .map(|client| is_served(client, "/healthz"))
        .filter(|is_served| *is_served)
        .count();
    assert!(served >= 10, "{served} were served");
    drop(clients);
    wait_until("they are gone", || program.descriptors() <= descriptors);

    let busy = occupy(|| program.connect());
    assert!(busy.len() >= 10, "there is room for {}", busy.len());
    drop(busy);
    storm(|| program.connect());
    wait_until("the descriptors are given back", || {
        program.descriptors() <= descriptors
    });
    // The last of the storm may still have to be accepted.
    wait_until("it serves as before", is_ready);
}

#[test]
fn commands_that_block_have_descriptors_however_many_clients_there_are() {
    let redis = TestRedis::start();
    let upstream = ["--upstream", &redis.url(), "--max-blocking", "30"];
    let program = Program::start_with_files(128, &upstream);
    let mut busy = occupy(|| program.connect());
    assert!(busy.len() > 30, "there is room for {}", busy.len());
    let descriptors = program.descriptors();
    busy.truncate(busy.len() - 30);
    wait_until("there is room", || {
        program.descriptors() + 30 <= descriptors
    });
    let mut waiting = crowd(30, || program.connect());
    for client in &mut waiting {
        client.send_request("POST", "/", &[], br#"["BLPOP","list",20]"#);
    }
    wait_until("all wait", || {
        redis
            .cli(&["INFO", "clients"])
            .contains("blocked_clients:30")
    });
    for _ in &waiting {
        redis.cli(&["RPUSH", "list", "value"]);
    }
    for mut client in waiting {
        assert_eq!(client.receive().text(), r#"{"result":["list","value"]}"#);
    }
}

/// Whether a client that may have been closed to make room is served.
fn is_served(client: &mut Client, path: &str) -> bool {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    send_if_open(client, request.as_bytes());
    client.rest().starts_with(b"HTTP/1.1 200")
}

/// Sends to a server that may have ended the connection already.
fn send_if_open(client: &Client, bytes: &[u8]) {
    // What it had to say, if anything, can still be read.
    let _ = client.stream().write_all(bytes);
}

#[test]
fn a_storm_of_faults_leaves_nothing_behind() {
    let program = Program::start(&["--body-timeout", "300ms", "--head-timeout", "300ms"]);
    // What is made once and kept is not what is looked for.
    storm(|| program.connect());
    let mut descriptors = 0;
    wait_until("it has settled", || {
        let before = std::mem::replace(&mut descriptors, program.descriptors());
        before == descriptors && descriptors < 60
    });
    let (threads, memory) = (program.threads(), program.memory());
    for _ in 0..5 {
        storm(|| program.connect());
    }
    wait_until("the descriptors are given back", || {
        program.descriptors() <= descriptors
    });
    assert!(
        program.threads() <= threads,
        "{} threads",
        program.threads()
    );
    let grown = program.memory().saturating_sub(memory);
    assert!(grown < 20 * 1024, "{grown} KiB more");
    let mut client = program.connect();
    assert_eq!(
        client.request("PUT", "/v1/keys/after", &[], b"all").status,
        204
    );
    assert_eq!(
        client.request("GET", "/v1/keys/after", &[], b"").text(),
        "all"
    );
}

/// Every fault there is, from several clients at once, and every way to leave in the middle.
fn storm(connect: impl Fn() -> Client) {
    let send = |bytes: &[u8]| {
        let client = connect();
        send_if_open(&client, bytes);
        client
    };
    for &(_, fault) in FAULTS {
        let mut clients: Vec<_> = (0..3).map(|_| send(fault.as_bytes())).collect();
        let rest = clients[0].rest();
        assert!(rest.is_empty() || rest.starts_with(b"HTTP/1."), "{fault:?}");
    }
    let gone: [&[u8]; 6] = [
        b"",
        b"GET /hea",
        b"PUT /v1/keys/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000000\r\n\r\nvalu",
        b"PUT /v1/keys/k HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n400000\r\nvalu",
        b"GET /v1/keys/k HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /openapi.yaml HTTP/1.1\r\nHost: localhost\r\n\r\nGET /openapi.yaml HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ];
    for bytes in gone {
        for _ in 0..5 {
            drop(send(bytes));
            // With a reset instead of an end.
            let client = send(bytes);
            let socket = socket2::SockRef::from(client.stream());
            socket.set_linger(Some(Duration::ZERO)).unwrap();
        }
    }
}
