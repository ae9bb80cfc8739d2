//! A Redis some way off, and commands that take their time: who waits for nothing but the way does not wait for
//! those.

use std::io::ErrorKind;
use std::thread;
use std::time::{Duration, Instant};

use crate::env::{Client, Delays, Relay, TestGateway, TestRedis, wait_until};

/// To Redis, for every byte.
const AWAY: Duration = Duration::from_millis(5);

/// Clients that ask for small values, and how often each does.
const CLIENTS: usize = 50;
const GETS: usize = 20;

const LARGE: usize = 10 * 1024 * 1024;

/// More than an answer takes, and less than any time-out of the gateway.
const QUICK: Duration = Duration::from_secs(1);

fn far_gateway(redis: &TestRedis) -> TestGateway {
    let delays = Delays {
        commands: AWAY,
        ..Delays::default()
    };
    TestGateway::at(&Relay::to(redis.address(), delays).url())
}

/// Whether nothing has come.
fn waits(client: &Client) -> bool {
    let stream = client.stream();
    stream.set_nonblocking(true).unwrap();
    let seen = stream.peek(&mut [0]);
    stream.set_nonblocking(false).unwrap();
    matches!(seen, Err(error) if error.kind() == ErrorKind::WouldBlock)
}

/// All clients ask, each for a value of its own, one time after another. Gives how many answers were right.
fn ask(gateway: &TestGateway) -> usize {
    let address = gateway.address;
    let asking = (0..CLIENTS).map(|number| {
        thread::spawn(move || {
            let mut client = Client::connect(address);
            let path = format!("/v1/keys/small:{number}");
            let answers = (0..GETS).map(|_| client.request("GET", &path, &[], b""));
            let own = number.to_string();
            answers.filter(|answer| answer.text() == own).count()
        })
    });
    let asking: Vec<_> = asking.collect();
    asking.into_iter().map(|one| one.join().unwrap()).sum()
}

/// How many of Redis' clients are in this command, and blocked.
fn in_command(redis: &TestRedis, name: &str) -> usize {
    let list = redis.cli(&["CLIENT", "LIST"]);
    let name = format!(" cmd={name} ");
    let blocked = |line: &&str| line.contains(&name) && line.contains(" flags=b ");
    list.lines().filter(blocked).count()
}

#[test]
fn commands_that_take_their_time_hold_nobody_else_up() {
    let redis = TestRedis::start();
    let gateway = far_gateway(&redis);
    for number in 0..CLIENTS {
        redis.cli(&["SET", &format!("small:{number}"), &number.to_string()]);
    }
    assert_eq!(
        gateway.put("/v1/keys/large", &vec![b'x'; LARGE]).status,
        204
    );

    // More of each kind than the gateway has threads.
    let start = |command: String| {
        let mut client = gateway.connect();
        client.send_request("POST", "/", &[], command.as_bytes());
        client
    };
    let popping: Vec<_> = (0..8)
        .map(|number| start(format!(r#"["BLPOP","list:{number}","0"]"#)))
        .collect();
    let reading: Vec<_> = (0..8)
        .map(|number| {
            start(format!(
                r#"["XREAD","BLOCK","0","STREAMS","stream:{number}","$"]"#
            ))
        })
        .collect();
    wait_until("all of them are in Redis", || {
        in_command(&redis, "blpop") == popping.len() && in_command(&redis, "xread") == reading.len()
    });
    let mut fetching: Vec<_> = (0..6).map(|_| gateway.connect()).collect();
    for client in &mut fetching {
        client.send_request("GET", "/v1/keys/large", &[], b"");
    }

    let began = Instant::now();
    assert_eq!(ask(&gateway), CLIENTS * GETS);
    let took = began.elapsed();
    // Behind each other they would take 5 ms each, and behind the others for ever.
    let in_a_row = AWAY * u32::try_from(CLIENTS * GETS).unwrap();
    assert!(took < in_a_row, "{took:?}");
    // Those who were there before are answered after them.
    assert!(popping.iter().chain(&reading).all(waits));

    for (number, mut client) in popping.into_iter().enumerate() {
        let list = format!("list:{number}");
        redis.cli(&["RPUSH", &list, "here"]);
        let expected = serde_json::json!({ "result": [list, "here"] });
        assert_eq!(client.receive().json(), expected);
    }
    for (number, mut client) in reading.into_iter().enumerate() {
        let id = redis.cli(&["XADD", &format!("stream:{number}"), "*", "a", "here"]);
        assert!(client.receive().text().contains(&id));
    }
    for mut client in fetching {
        assert_eq!(client.receive().body.len(), LARGE);
    }
}

#[test]
fn what_is_large_holds_nothing_small_up() {
    let redis = TestRedis::start();
    let relay = Relay::to(redis.address(), Delays::default());
    let gateway = TestGateway::at(&relay.url());
    redis.cli(&["SET", "small", "here"]);
    redis.cli(&["SETRANGE", "large", &(LARGE - 1).to_string(), "x"]);
    let is_quick = || {
        let mut client = gateway.connect();
        client.send_request("GET", "/v1/keys/small", &[], b"");
        client.stream().set_read_timeout(Some(QUICK)).unwrap();
        let answered = client.stream().peek(&mut [0]).is_ok();
        client.stream().set_read_timeout(None).unwrap();
        answered
    };
    let mut client = gateway.connect();

    // Nobody knows that this will be large, until its beginning has come.
    relay.stop_large();
    client.send_request("GET", "/v1/keys/large", &[], b"");
    relay.wait_for_stopped(1);
    wait_until("small values go another way", is_quick);
    assert!((0..10).all(|_| is_quick()));
    relay.let_go();
    assert_eq!(client.receive().body.len(), LARGE);

    // Now it is known. And two of them do not take up what is there for small ones, either.
    relay.stop_large();
    let mut other = gateway.connect();
    for client in [&mut client, &mut other] {
        client.send_request("GET", "/v1/keys/large", &[], b"");
        assert!((0..10).all(|_| is_quick()));
    }
    relay.wait_for_stopped(1);
    assert!((0..10).all(|_| is_quick()));
    relay.let_go();
    for client in [&mut client, &mut other] {
        assert_eq!(client.receive().body.len(), LARGE);
    }

    // A large command can be seen to be one.
    relay.stop_large();
    let body = vec![b'y'; LARGE];
    client.send_request("PUT", "/v1/keys/large", &[], &body);
    relay.wait_for_stopped(1);
    assert!((0..10).all(|_| is_quick()));
    relay.let_go();
    assert_eq!(client.receive().status, 204);
    assert_eq!(redis.cli(&["STRLEN", "large"]), LARGE.to_string());

    // So can one that follows on another.
    relay.stop_large();
    let unless = [("If-None-Match", "\"other\"")];
    client.send_request("PUT", "/v1/keys/small", &unless, &body);
    relay.wait_for_stopped(1);
    assert!((0..10).all(|_| is_quick()));
    relay.let_go();
    assert_eq!(client.receive().status, 204);
    assert_eq!(redis.cli(&["STRLEN", "small"]), LARGE.to_string());
}
