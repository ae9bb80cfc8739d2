//! Clients that want much: the others go on, and what they are given takes no more memory than there is for it.

use std::io::{ErrorKind, Write};
use std::thread;
use std::time::{Duration, Instant};

use super::env::{Client, PATIENCE, Program, TestGateway, TestRedis, wait_until};

fn start(redis: &TestRedis, args: &[&str]) -> Program {
    let url = redis.url();
    Program::start(&[&["--upstream", &url, "--log", "warn"], args].concat())
}

/// How many small values somebody is given for each request of a client that always has the next one ready.
fn small_for_each(program: &Program, request: impl Fn(&mut Client) + Send + 'static) -> usize {
    let mut greedy = program.connect();
    request(&mut greedy);
    let rounds = 5;
    let asking = thread::spawn(move || (0..rounds).for_each(|_| request(&mut greedy)));
    let mut quick = program.connect();
    let mut served = 0;
    while !asking.is_finished() {
        assert_eq!(quick.request("GET", "/v1/keys/small", &[], b"").body, b"1");
        served += 1;
    }
    asking.join().unwrap();
    served / rounds
}

#[test]
fn nobody_waits_for_an_answer_that_takes_long_to_make() {
    let redis = TestRedis::start();
    redis.cli(&["SET", "small", "1"]);
    let fill = "for i=1,100000 do redis.call('HSET',KEYS[1],i,i) end";
    redis.cli(&["EVAL", fill, "1", "large"]);
    let program = start(&redis, &[]);
    let served = small_for_each(&program, |client| {
        let answer = client.request("HEAD", "/v1/hashes/large", &[], b"");
        assert_eq!(answer.status, 200);
    });
    assert!(served > 20, "{served} were served for each large one");
}

#[test]
fn nobody_waits_for_a_body_that_takes_long_to_read() {
    let redis = TestRedis::start();
    redis.cli(&["SET", "small", "1"]);
    let program = start(&redis, &[]);
    let body = format!("[{}[]]", r#"["GET"],"#.repeat(90_000)).into_bytes();
    let served = small_for_each(&program, move |client| {
        let answer = client.request("POST", "/multi-exec", &[], &body);
        assert_eq!(answer.status, 400, "{answer:?}");
    });
    assert!(served > 20, "{served} were served for each long one");
}

#[test]
fn who_sends_as_many_commands_as_there_may_be_turns_away_nobody_who_sends_few() {
    let redis = TestRedis::start();
    redis.cli(&["SET", "small", "1"]);
    let program = start(&redis, &["--max-commands", "2000"]);
    let body = format!("[{}]", vec![r#"["GET","small"]"#; 2000].join(",")).into_bytes();
    let served = small_for_each(&program, move |client| {
        let answer = client.request("POST", "/pipeline", &[], &body);
        assert_eq!(answer.status, 200, "{answer:?}");
    });
    assert!(served > 0);
}

/// How much the program's memory grows, in KiB at most, until this has been done.
fn growth(program: &Program, done: impl FnOnce() + Send) -> usize {
    let before = program.memory();
    thread::scope(|scope| {
        let doing = scope.spawn(done);
        let mut most = 0;
        while !doing.is_finished() {
            most = most.max(program.memory());
            thread::sleep(Duration::from_millis(5));
        }
        doing.join().unwrap();
        most.max(program.memory()).saturating_sub(before)
    })
}

#[test]
fn of_the_replies_to_one_request_no_more_is_kept_than_there_is_memory_for() {
    let redis = TestRedis::start();
    redis.cli(&["SETRANGE", "large", "1048575", "x"]);
    let program = start(&redis, &["--max-buffered", "8MiB"]);
    let gets = vec![r#"["GET","large"]"#; 200].join(",");
    let pipeline = format!(r#"[["SET","before","1"],{gets},["SET","behind","2"]]"#);
    let grown = growth(&program, || {
        let mut client = program.connect();
        let answer = client.request("POST", "/pipeline", &[], pipeline.as_bytes());
        // All of them together are too large for an answer, too.
        assert_eq!(answer.status, 502, "{}", answer.body.len());
        assert!(answer.text().contains("the command has run"));
    });
    assert!(grown < 64 * 1024, "{grown} KiB for 8 MiB");
    assert_eq!(redis.cli(&["MGET", "before", "behind"]), "1\n2");
}

#[test]
fn many_small_answers_that_nobody_takes_are_no_more_than_there_is_memory_for() {
    let redis = TestRedis::start();
    redis.cli(&["SETRANGE", "value", "59999", "x"]);
    let program = start(&redis, &["--max-buffered", "8MiB"]);
    let request = |method: &str, path: &str| {
        format!("{method} /v1/keys/{path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
    };
    let mut clients: Vec<_> = (0..20).map(|_| program.connect()).collect();
    let grown = growth(&program, || {
        for client in &mut clients {
            // Its answers seem to be small.
            client.send(request("HEAD", "none").repeat(100).as_bytes());
            for _ in 0..100 {
                assert_eq!(client.receive_head().status, 404);
            }
            client.send(request("GET", "value").repeat(128).as_bytes());
        }
        // Each of them has been taken up.
        for client in &mut clients {
            assert_eq!(client.receive_head().status, 200);
        }
    });
    assert!(grown < 64 * 1024, "{grown} KiB for 8 MiB");
    let mut other = program.connect();
    let began = Instant::now();
    assert_eq!(
        other.request("PUT", "/v1/keys/small", &[], b"1").status,
        204
    );
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[test]
fn behind_a_command_that_blocks_no_more_is_taken_up_than_elsewhere() {
    let redis = TestRedis::start();
    redis.cli(&["SETRANGE", "larger", "199999", "x"]);
    redis.cli(&["SETRANGE", "large", "99999", "x"]);
    let program = start(&redis, &["--max-buffered", "8MiB"]);
    let mut client = program.connect();
    // From here on its answers are known to be large.
    assert_eq!(
        client.request("GET", "/v1/keys/larger", &[], b"").status,
        200
    );
    client.send_request("POST", "/", &[], br#"["BLPOP","list","0"]"#);
    let get = "GET /v1/keys/large HTTP/1.1\r\nHost: localhost\r\n\r\n";
    client.send(get.repeat(200).as_bytes());
    redis.cli(&["RPUSH", "list", "1"]);
    assert_eq!(client.receive().status, 200);
    for n in 0..200 {
        let answer = client.receive();
        assert_eq!(answer.status, 200, "{n}: {}", answer.text());
        assert_eq!(answer.body.len(), 100_000);
    }
}

#[test]
fn who_takes_no_answers_cannot_have_a_body_held_either() {
    let redis = TestRedis::start();
    redis.cli(&["SETRANGE", "large", "99999", "x"]);
    let program = start(&redis, &[]);
    let mut client = program.connect();
    let body = vec![b'v'; 10 * 1024 * 1024];
    let get = "GET /v1/keys/large HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(30);
    let length = body.len();
    let put =
        format!("PUT /v1/keys/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n");
    client.send((get + &put).as_bytes());
    let mut sender = client.stream().try_clone().unwrap();
    let a_while = Some(Duration::from_secs(1));
    sender.set_write_timeout(a_while).unwrap();
    let mut sent = 0;
    let stalled = loop {
        match sender.write(&body[sent..]) {
            Ok(0) => panic!("all of it has been taken"),
            Ok(count) => sent += count,
            Err(error) => break error.kind(),
        }
    };
    assert_eq!(stalled, ErrorKind::WouldBlock);
    let sending = thread::spawn(move || {
        sender.set_write_timeout(Some(PATIENCE)).unwrap();
        sender.write_all(&body[sent..]).unwrap();
    });
    for _ in 0..30 {
        assert_eq!(client.receive().status, 200);
    }
    assert_eq!(client.receive().status, 204);
    sending.join().unwrap();
}

#[test]
fn what_is_answered_before_a_stream_arrives_whole() {
    let redis = TestRedis::start();
    redis.cli(&["SETRANGE", "once", "2999999", "x"]);
    let program = start(&redis, &[]);
    let mut client = program.connect();
    client.send_request("POST", "/", &[], br#"["GETDEL","once"]"#);
    client.send_request("GET", "/v1/channels/c/events", &[], b"");
    let answer = client.receive();
    assert_eq!(
        answer.json()["result"].as_str().map(str::len),
        Some(3_000_000)
    );
    assert_eq!(client.receive_head().status, 200);
    redis.cli(&["PUBLISH", "c", "hello"]);
    let event = std::iter::from_fn(|| client.receive_chunk())
        .find(|chunk| String::from_utf8_lossy(chunk).contains("data: hello"));
    assert!(event.is_some());
}

#[test]
fn a_pipeline_of_what_cannot_be_sent_is_refused_as_a_whole() {
    let redis = TestRedis::start();
    let program = start(&redis, &[]);
    let mut client = program.connect();
    let mut post = |count: usize| {
        let body = format!(r#"[["SET","k","v"]{}]"#, ",0".repeat(count));
        client.request("POST", "/pipeline", &[], body.as_bytes())
    };
    let refused = post(1001);
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("command 1001 is not an array"));
    assert_eq!(redis.cli(&["EXISTS", "k"]), "0");
    let answers = post(1000).json();
    assert_eq!(answers[0]["result"], "OK");
    assert_eq!(answers[1000]["error"], "ERR command 1000 is not an array");
}

#[test]
fn a_new_connection_is_not_given_much_before_it_has_taken_any() {
    let redis = TestRedis::start();
    redis.cli(&["SETRANGE", "value", "99999", "x"]);
    let program = start(&redis, &[]);
    let request = b"GET /v1/keys/value HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(40);
    let mut clients: Vec<_> = (0..30).map(|_| program.connect()).collect();
    let grown = growth(&program, || {
        for client in &mut clients {
            client.send(&request);
        }
        for client in &mut clients {
            assert_eq!(client.receive().body.len(), 100_000);
        }
    });
    assert!(grown < 48 * 1024, "{grown} KiB for 30 clients");
}

/// How often a server has read something that was sent to it.
fn reads(redis: &TestRedis) -> usize {
    let stats = redis.cli(&["INFO", "stats"]);
    let mut lines = stats.lines();
    let count = lines.find_map(|line| line.strip_prefix("total_reads_processed:"));
    count.unwrap().trim().parse().unwrap()
}

#[test]
fn long_requests_of_one_client_are_taken_up_one_by_one() {
    let redis = TestRedis::start();
    let program = start(&redis, &["--max-head", "32KiB"]);
    let padding = "x".repeat(20_000);
    let request =
        format!("GET /v1/keys/none HTTP/1.1\r\nHost: localhost\r\nX-Padding: {padding}\r\n\r\n");
    let mut client = program.connect();
    let before = reads(&redis);
    client.send(request.repeat(24).as_bytes());
    for _ in 0..24 {
        assert_eq!(client.receive().status, 404);
    }
    let batches = reads(&redis) - before;
    assert!(batches >= 24, "24 requests in {batches} batches");
}

#[test]
fn many_arguments_take_no_more_memory_than_there_is_for_a_body() {
    let redis = TestRedis::start();
    let program = start(&redis, &["--max-buffered", "16MiB"]);
    let large = format!(r#"["EXISTS"{}]"#, ",1".repeat(240_000));
    let several = format!("[{}]", [&*large; 8].join(","));
    let one = format!("[{}]", ["1"; 500_000].join(","));
    for (path, body) in [
        ("/pipeline", &several),
        ("/multi-exec", &several),
        ("/", &one),
    ] {
        let grown = growth(&program, || {
            let answer = program
                .connect()
                .request("POST", path, &[], body.as_bytes());
            assert_eq!(answer.status, 400, "{answer:?}");
            assert!(answer.text().contains("250000 arguments"), "{answer:?}");
        });
        assert!(grown < 64 * 1024, "{path}: {grown} KiB for {}", body.len());
    }
    let answer = program
        .connect()
        .request("POST", "/", &[], large.as_bytes());
    assert_eq!(answer.status, 200);
}

#[test]
fn what_is_under_way_counts_until_redis_has_answered_though_its_client_is_gone() {
    let redis = TestRedis::start();
    let gateway = TestGateway::over_with(&redis, |config| config.max_commands = 1);
    redis.signal("STOP");
    let mut gone = gateway.connect();
    let script =
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 21\r\n\r\n[\"EVAL\",\"return 1\",0]";
    let before = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    gone.send(format!("{before}{script}").as_bytes());
    // By the answer to the first the second is under way.
    assert_eq!(gone.receive().status, 200);
    let socket = socket2::SockRef::from(gone.stream());
    socket.set_linger(Some(Duration::ZERO)).unwrap();
    drop(gone);
    let another = || gateway.post("/", br#"["EVAL","return 2",0]"#);
    let refused = another();
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.text().contains("too many commands"), "{refused:?}");
    redis.signal("CONT");
    wait_until("it has been answered", || another().status == 200);
}
