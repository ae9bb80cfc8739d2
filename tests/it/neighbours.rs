//! Clients that take their time, and those beside them; the gateway when nobody asks.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use super::env::{Client, Program, TestRedis, wait_until};

/// More than any answer takes on a busy machine, and less than any time-out of the gateway: whoever has to wait
/// for one of the slow waits longer.
const QUICK: Duration = Duration::from_secs(2);

const LARGE: usize = 10 * 1024 * 1024;

/// The longest that a small value took of some hundred.
fn slowest_get(client: &mut Client) -> Duration {
    let times = (0..300).map(|_| {
        let began = Instant::now();
        let answer = client.request("GET", "/v1/keys/small", &[], b"");
        assert_eq!(answer.body, b"a small value");
        began.elapsed()
    });
    times.max().unwrap()
}

fn program(redis: &TestRedis) -> Program {
    Program::start(&["--upstream", &redis.url(), "--log", "warn"])
}

#[test]
fn a_slow_client_holds_nobody_else_up() {
    let redis = TestRedis::start();
    let gateway = program(&redis);
    let mut quick = gateway.connect();
    let put = |client: &mut Client, key: &str, value: &[u8]| {
        let answer = client.request("PUT", &format!("/v1/keys/{key}"), &[], value);
        assert_eq!(answer.status, 204);
    };
    put(&mut quick, "small", b"a small value");
    put(&mut quick, "large", &vec![b'x'; LARGE]);

    // Several of each kind, more than the gateway has threads: a large body of which half is there, a large
    // value of which nothing is read, and many requests for large values by one who reads as it pleases.
    let slow: Vec<_> = (0..6)
        .map(|_| {
            let mut sender = gateway.connect();
            let head = format!(
                "PUT /v1/keys/sent HTTP/1.1\r\nHost: localhost\r\nContent-Length: {LARGE}\r\n\r\n"
            );
            sender.send(head.as_bytes());
            sender.send(&vec![b'y'; LARGE / 2]);
            let mut reader = gateway.connect();
            reader.send_request("GET", "/v1/keys/large", &[], b"");
            reader.receive_head();
            (sender, reader)
        })
        .collect();
    assert!(slowest_get(&mut quick) < QUICK);

    let greedy = thread::spawn({
        let mut client = gateway.connect();
        move || {
            for _ in 0..10 {
                let answer = client.request("GET", "/v1/keys/large", &[], b"");
                assert_eq!(answer.body.len(), LARGE);
            }
        }
    });
    while !greedy.is_finished() {
        assert!(slowest_get(&mut quick) < QUICK);
    }
    greedy.join().unwrap();

    // They were slow, not lost.
    for (mut sender, mut reader) in slow {
        sender.send(&vec![b'y'; LARGE - LARGE / 2]);
        assert_eq!(sender.receive().status, 204);
        assert_eq!(reader.receive_bytes(LARGE).len(), LARGE);
    }
}

/// How often the program's threads have been put to sleep, which is how often they were awake.
fn sleeps(program: &Program) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{}/task", program.pid())).unwrap();
    let of_task = |task: std::io::Result<fs::DirEntry>| {
        let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let mut lines = status.lines();
        let count = lines.find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        count.unwrap().trim().parse::<u64>().unwrap()
    };
    tasks.map(of_task).sum()
}

#[test]
fn an_idle_gateway_sleeps_and_is_small() {
    let redis = TestRedis::start();
    let gateway = program(&redis);
    let mut client = gateway.connect();
    assert_eq!(client.request("GET", "/readyz", &[], b"").status, 200);
    // What the request set off has to come to rest: until nothing has happened for a while.
    let mut before = sleeps(&gateway);
    wait_until("nothing happens for half a second", || {
        thread::sleep(Duration::from_millis(500));
        let now = sleeps(&gateway);
        std::mem::replace(&mut before, now) == now
    });
    // What it has taken for itself. The program's own pages, which the kernel can drop, are three times as many in
    // a debug build; `cargo bench --bench peers -- rest` shows all of a release build.
    let status = fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let mut lines = status.lines();
    let line = lines.find_map(|line| line.strip_prefix("RssAnon:"));
    let taken: usize = { line.unwrap().trim_end_matches("kB").trim() }
        .parse()
        .unwrap();
    assert!(taken < 5 * 1024, "{taken} KiB");
}
