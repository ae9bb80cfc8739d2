//! Writes that happen only if the value is the one that the client knows.

use std::thread;

use redis_http_gateway::bridge::Bridge;
use redis_http_gateway::config::Config;
use redis_http_gateway::http::request::Request;
use redis_http_gateway::http::service::Service;
use redis_http_gateway::upstream::Upstream;
use tiny_http::Method;

use crate::env::{Answer, Client, TestGateway, TestRedis, wait_until};

const PATH: &str = "/v1/keys/k";

fn start() -> (TestRedis, TestGateway) {
    let redis = TestRedis::start();
    let gateway = TestGateway::over(&redis);
    (redis, gateway)
}

/// The tag of the value that is there.
fn tag(client: &mut Client, path: &str) -> String {
    let answer = client.request("GET", path, &[], b"");
    answer.header("etag").unwrap().to_owned()
}

fn put_if(client: &mut Client, condition: (&str, &str), body: &[u8]) -> Answer {
    client.request("PUT", PATH, &[condition], body)
}

#[test]
fn a_value_is_replaced_if_it_is_the_one_of_if_match() {
    let (redis, gateway) = start();
    let mut client = gateway.connect();
    put_if(&mut client, ("If-Match", "\"a\""), b"no").assert_problem(412, "If-Match");
    assert_eq!(redis.cli(&["EXISTS", "k"]), "0");
    let values: [&[u8]; 5] = [b"old", b"\xFF\0\r\n", b"", b"-1", &[b'\xFE'; 1 << 20]];
    for old in values {
        gateway.put(PATH, old);
        let tag = tag(&mut client, PATH);
        let stale = format!("\"x\", W/{tag}");
        put_if(&mut client, ("If-Match", &stale), b"no").assert_problem(412, "If-Match");
        assert_eq!(gateway.get(PATH).body, old);
        let list = format!("\"x\", {tag}");
        assert_eq!(
            put_if(&mut client, ("If-Match", &list), b"n\xFF\0").status,
            204
        );
        let shown = redis.cli(&["--no-raw", "GET", "k"]);
        assert_eq!(shown, r#""n\xff\x00""#);
        put_if(&mut client, ("If-Match", &tag), b"no").assert_problem(412, "If-Match");
    }
    let as_json = client.request("GET", PATH, &[("Accept", "application/json")], b"");
    let tag = as_json.header("etag").unwrap();
    assert_eq!(put_if(&mut client, ("If-Match", tag), b"new").status, 204);
    assert_eq!(redis.cli(&["GET", "k"]), "new");
}

#[test]
fn a_value_is_left_alone_if_it_is_the_one_of_if_none_match() {
    let (redis, gateway) = start();
    let mut client = gateway.connect();
    assert_eq!(
        put_if(&mut client, ("If-None-Match", "\"a\""), b"1").status,
        204
    );
    let tag = format!("W/{}", tag(&mut client, PATH));
    let answer = put_if(&mut client, ("If-None-Match", &tag), b"2");
    answer.assert_problem(412, "If-None-Match");
    assert_eq!(redis.cli(&["GET", "k"]), "1");
    assert_eq!(
        put_if(&mut client, ("If-None-Match", "\"a\""), b"3").status,
        204
    );
    assert_eq!(redis.cli(&["GET", "k"]), "3");
    let both = [("If-Match", "*"), ("If-None-Match", &tag[..])];
    let answer = client.request("PUT", PATH, &both, b"4");
    assert_eq!(answer.status, 204);
    redis.cli(&["DEL", "k"]);
    let answer = client.request("PUT", PATH, &both, b"5");
    answer.assert_problem(412, "If-Match");
    assert_eq!(redis.cli(&["EXISTS", "k"]), "0");
}

#[test]
fn the_options_of_a_write_go_with_it() {
    let (redis, gateway) = start();
    let mut client = gateway.connect();
    let mut put = |path: &str, body: &[u8]| {
        let tag = tag(&mut client, PATH);
        client.request("PUT", path, &[("If-Match", &tag)], body)
    };
    gateway.put(PATH, b"0");
    assert_eq!(put("/v1/keys/k?ex=100", b"1").status, 204);
    assert_eq!(put("/v1/keys/k?keepttl&xx", b"2").status, 204);
    let ttl: i64 = redis.cli(&["TTL", "k"]).parse().unwrap();
    assert!((50..=100).contains(&ttl), "{ttl}");
    let answer = put("/v1/keys/k?get", b"3");
    assert_eq!((answer.status, &answer.body[..]), (200, &b"2"[..]));
    assert_eq!(redis.cli(&["TTL", "k"]), "-1");
    put("/v1/keys/k?nx", b"4").assert_problem(412, "is there");
    put("/v1/keys/k?exat=99999999999999999", b"5").assert_problem(400, "refused");
    assert_eq!(redis.cli(&["GET", "k"]), "3");
}

#[test]
fn a_key_is_removed_if_it_has_the_value() {
    let (redis, gateway) = start();
    let mut client = gateway.connect();
    gateway.put(PATH, b"\xFF");
    let old = tag(&mut client, PATH);
    gateway.put(PATH, b"\xFE");
    let answer = client.request("DELETE", PATH, &[("If-Match", &old)], b"");
    answer.assert_problem(412, "If-Match");
    assert_eq!(redis.cli(&["EXISTS", "k"]), "1");
    let new = tag(&mut client, PATH);
    let answer = client.request("DELETE", PATH, &[("If-Match", &new)], b"");
    assert_eq!(answer.status, 204);
    assert_eq!(redis.cli(&["EXISTS", "k"]), "0");
    let answer = client.request("DELETE", PATH, &[("If-Match", &new)], b"");
    answer.assert_problem(412, "If-Match");
}

#[test]
fn another_type_is_in_the_way() {
    let (redis, gateway) = start();
    redis.cli(&["LPUSH", "k", "a"]);
    let mut client = gateway.connect();
    for method in ["PUT", "DELETE"] {
        let answer = client.request(method, PATH, &[("If-Match", "\"a\"")], b"");
        answer.assert_problem(409, "in the way");
    }
    assert_eq!(redis.cli(&["LLEN", "k"]), "1");
}

#[test]
fn an_answer_does_not_wait_for_the_second_round_behind_it() {
    let (redis, gateway) = start();
    let mut client = gateway.connect();
    gateway.put(PATH, b"old");
    let tag = tag(&mut client, PATH);
    redis.cli(&["CLIENT", "PAUSE", "60000", "WRITE"]);
    let pipeline = format!(
        "GET {PATH} HTTP/1.1\r\nHost: localhost\r\n\r\n\
         PUT {PATH} HTTP/1.1\r\nHost: localhost\r\nIf-Match: {tag}\r\nContent-Length: 3\r\n\r\nnew"
    );
    client.send(pipeline.as_bytes());
    assert_eq!(client.receive().text(), "old");
    redis.cli(&["CLIENT", "UNPAUSE"]);
    assert_eq!(client.receive().status, 204);
    assert_eq!(redis.cli(&["GET", "k"]), "new");
}

#[test]
fn a_write_between_the_rounds_is_not_lost() {
    let (redis, gateway) = start();
    let mut client = gateway.connect();
    for (between, left) in [(&["SET", "k", "theirs"][..], "theirs"), (&["DEL", "k"], "")] {
        gateway.put(PATH, b"old");
        let tag = tag(&mut client, PATH);
        redis.cli(&["CLIENT", "PAUSE", "60000", "WRITE"]);
        let is_held = |name: &str| {
            let list = redis.cli(&["CLIENT", "LIST"]);
            list.contains(&format!("cmd={name} "))
        };
        let answer = thread::scope(|scope| {
            let theirs = scope.spawn(|| redis.cli(between));
            wait_until("their write is held", || {
                is_held(&between[0].to_lowercase())
            });
            let ours = scope.spawn(|| put_if(&mut client, ("If-Match", &tag), b"ours"));
            wait_until("our script is held", || is_held("eval"));
            redis.cli(&["CLIENT", "UNPAUSE"]);
            theirs.join().unwrap();
            ours.join().unwrap()
        });
        answer.assert_problem(412, "meanwhile");
        assert_eq!(redis.cli(&["GET", "k"]), left);
    }
}

#[test]
fn no_increment_of_many_writers_is_lost() {
    const WRITERS: u32 = 8;
    const TIMES: u32 = 50;
    let (redis, gateway) = start();
    gateway.put(PATH, b"0");
    let increment = || {
        let mut client = gateway.connect();
        for _ in 0..TIMES {
            loop {
                let read = client.request("GET", PATH, &[], b"");
                let next = (read.text().parse::<u32>().unwrap() + 1).to_string();
                let tag = read.header("etag").unwrap();
                match put_if(&mut client, ("If-Match", tag), next.as_bytes()).status {
                    204 => break,
                    status => assert_eq!(status, 412),
                }
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(increment);
        }
    });
    assert_eq!(redis.cli(&["GET", "k"]), (WRITERS * TIMES).to_string());
}

#[test]
fn what_is_pipelined_behind_it_waits() {
    let (_redis, gateway) = start();
    let mut client = gateway.connect();
    let tags = ["0", "1", "2"].map(|value| {
        gateway.put(PATH, value.as_bytes());
        tag(&mut client, PATH)
    });
    for round in 0..50 {
        gateway.put(PATH, b"0");
        client.send_request("GET", PATH, &[], b"");
        client.send_request("PUT", PATH, &[("If-Match", &tags[0])], b"1");
        client.send_request("GET", PATH, &[], b"");
        client.send_request("PUT", PATH, &[("If-Match", &tags[1])], b"2");
        client.send_request("PUT", PATH, &[("If-Match", &tags[1])], b"no");
        client.send_request("DELETE", PATH, &[("If-Match", &tags[2])], b"");
        client.send_request("GET", PATH, &[], b"");
        let answers: Vec<_> = (0..7).map(|_| client.receive()).collect();
        let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
        assert_eq!(statuses, [200, 204, 200, 204, 412, 204, 404], "{round}");
        assert_eq!((answers[0].text(), answers[2].text()), ("0", "1"));
    }
}

#[test]
fn a_large_value_is_compared_apart_from_what_is_small() {
    let (redis, gateway) = start();
    let mut client = gateway.connect();
    let value = vec![b'x'; 1 << 20];
    gateway.put(PATH, &value);
    // Whose reply was large the last time is remembered.
    let tag = tag(&mut client, PATH);
    let count_last = |name: &str| {
        let list = redis.cli(&["CLIENT", "LIST"]);
        list.matches(&format!(" cmd={name} ")).count()
    };
    assert_eq!(gateway.post("/v1/keys/n/increment", b"").status, 200);
    put_if(&mut client, ("If-Match", "\"no\""), b"no").assert_problem(412, "If-Match");
    assert_eq!((count_last("get"), count_last("incrby")), (1, 1));
    // What is behind it waits all the same, and so does who asks for a last answer.
    client.send_request("PUT", PATH, &[("If-Match", &tag)], &value[1..]);
    client.send_request("GET", PATH, &[], b"");
    client.send_request("DELETE", PATH, &[("If-Match", &tag)], b"");
    let headers = [("If-None-Match", &tag[..]), ("Connection", "close")];
    client.send_request("PUT", PATH, &headers, b"small");
    assert_eq!(client.receive().status, 204);
    assert!(client.receive().body == value[1..]);
    client.receive().assert_problem(412, "If-Match");
    assert_eq!(client.receive().status, 204);
    assert_eq!(client.rest(), b"");
    assert_eq!(redis.cli(&["GET", "k"]), "small");
}

#[test]
fn the_connection_ends_when_it_was_the_last_request() {
    let (redis, gateway) = start();
    gateway.put(PATH, b"0");
    let mut client = gateway.connect();
    let tag = tag(&mut client, PATH);
    client.send_request("GET", PATH, &[], b"");
    let headers = [("If-Match", &tag[..]), ("Connection", "close")];
    client.send_request("PUT", PATH, &headers, b"1");
    assert_eq!(client.receive().body, b"0");
    let answer = client.receive();
    assert_eq!(
        (answer.status, answer.header("connection")),
        (204, Some("close"))
    );
    assert_eq!(client.rest(), b"");
    assert_eq!(redis.cli(&["GET", "k"]), "1");

    // The client has no more to say, and waits for its answer.
    let mut client = gateway.connect();
    client.send_request("PUT", PATH, &[("If-None-Match", &tag)], b"2");
    client.finish_sending();
    assert_eq!(client.receive().status, 204);
    assert_eq!(client.rest(), b"");
}

#[test]
fn a_reader_may_not_and_learns_nothing() {
    let redis = TestRedis::start();
    redis.cli(&["SET", "k", "1"]);
    let gateway = TestGateway::over_with(&redis, |config| {
        config.readonly_tokens = vec!["reader".parse().unwrap()];
    });
    let mut client = gateway.connect();
    for method in ["PUT", "DELETE"] {
        let headers = [("Authorization", "Bearer reader"), ("If-Match", "\"x\"")];
        let answer = client.request(method, PATH, &headers, b"2");
        answer.assert_problem(403, "may only read");
    }
    assert_eq!(redis.cli(&["GET", "k"]), "1");
}

#[test]
fn a_server_of_ones_own_can_do_it_too() {
    let redis = TestRedis::start();
    let config = Config {
        upstream: redis.url().parse().unwrap(),
        ..Config::default()
    };
    let bridge = Bridge::new(1).unwrap();
    let upstream = bridge.block_on(Upstream::start(&config)).unwrap();
    let service = Service::new(&config, upstream);
    let answer = |method, name: &str, value: &str, body: &'static str| {
        let request = Request::new(method, PATH).with_header("Host", "localhost");
        let request = request.with_header(name, value).with_body(body);
        service.answer(&request, bridge.handle())
    };
    wait_until("the upstream is connected", || {
        answer(Method::Put, "X-None", "", "1").status == 204
    });
    let read = answer(Method::Get, "X-None", "", "");
    let tag = read.headers.iter().find(|(name, _)| *name == "ETag");
    let tag = tag.unwrap().1.clone();
    assert_eq!(answer(Method::Put, "If-Match", &tag, "2").status, 204);
    assert_eq!(answer(Method::Put, "If-Match", &tag, "3").status, 412);
    assert_eq!(redis.cli(&["GET", "k"]), "2");
}
