//! With `--client-cache`: many clients at once, and none reads anything older than what it wrote.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::env::{Client, Delays, Relay, TestGateway, TestRedis};

/// How long clients write and read at the same time.
const WHILE: Duration = Duration::from_secs(3);

/// Writes a value to a key in one of many ways.
fn write(client: &mut Client, way: usize, key: &str, value: u64) {
    let set = format!(r#"["SET","{key}","{value}"]"#);
    let post = |client: &mut Client, path: &str, body: String| {
        let answer = client.request("POST", path, &[], body.as_bytes());
        assert_eq!(answer.status, 200, "{body}: {answer:?}");
        assert!(!answer.text().contains("error"), "{body}: {answer:?}");
    };
    match way % 10 {
        0 => {
            let path = format!("/v1/keys/{key}");
            let answer = client.request("PUT", &path, &[], value.to_string().as_bytes());
            assert_eq!(answer.status, 204);
        }
        1 => post(client, "/", set),
        2 => post(client, "/pipeline", format!(r#"[["PING"],{set}]"#)),
        3 => post(client, "/multi-exec", format!(r#"[["TIME"],{set}]"#)),
        4 => {
            // A key of which the server is not told.
            let script = format!("return redis.call('SET','{key}','{value}')");
            post(client, "/", format!(r#"["EVAL","{script}","0"]"#));
        }
        5 => {
            let rename = format!(r#"["RENAME","from:{key}","{key}"]"#);
            let body = format!(r#"[["SET","from:{key}","{value}"],{rename}]"#);
            post(client, "/pipeline", body);
        }
        6 => post(
            client,
            "/",
            format!(r#"["MSET","x:{key}","0","{key}","{value}"]"#),
        ),
        7 => post(client, &format!("/set/{key}/{value}"), String::new()),
        8 => {
            let copy = format!(r#"["COPY","from:{key}","{key}","REPLACE"]"#);
            let body = format!(r#"[["SET","from:{key}","{value}"],{copy}]"#);
            post(client, "/multi-exec", body);
        }
        _ => {
            // The read right behind the write, before that is answered.
            let put = format!(
                "PUT /v1/keys/{key} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{value}",
                value.to_string().len()
            );
            let get = format!("GET /v1/keys/{key} HTTP/1.1\r\nHost: localhost\r\n\r\n");
            client.send(format!("{put}{get}").as_bytes());
            assert_eq!(client.receive().status, 204);
            assert_eq!(client.receive().text(), value.to_string());
        }
    }
}

/// Has clients write and read, each its own keys, while others read them all; no client may read anything but
/// what it wrote last.
fn nobody_reads_their_own_old_value(gateway: &TestGateway) {
    const WRITERS: usize = 3;
    let over = AtomicBool::new(false);
    let end = Instant::now() + WHILE;
    thread::scope(|scope| {
        for reader in 0..2 {
            let over = &over;
            scope.spawn(move || {
                let mut client = gateway.connect();
                while !over.load(Ordering::Relaxed) {
                    for writer in 0..WRITERS {
                        let path = format!("/v1/keys/own:{}", (writer + reader) % WRITERS);
                        client.request("GET", &path, &[], b"");
                    }
                    let answer = client.request("GET", "/v1/keys/shared", &[], b"");
                    assert!(matches!(answer.status, 200 | 404));
                }
            });
        }
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                scope.spawn(move || {
                    let key = format!("own:{writer}");
                    let path = format!("/v1/keys/{key}");
                    // Not the one that it writes over.
                    let (mut first, mut second) = (gateway.connect(), gateway.connect());
                    let mut value = 0;
                    while Instant::now() < end {
                        value += 1;
                        let way = usize::try_from(value).unwrap() + writer;
                        write(&mut first, way, &key, value);
                        for look in 0..30 {
                            let answer = second.request("GET", &path, &[], b"");
                            let read = answer.text();
                            assert_eq!(read, value.to_string(), "way {}, look {look}", way % 10);
                        }
                        // Of a key that all write, nobody reads less than it has seen.
                        let answer = first.request("POST", "/", &[], br#"["INCR","shared"]"#);
                        let mine = answer.json()["result"].as_u64().unwrap();
                        for _ in 0..3 {
                            let answer = second.request("GET", "/v1/keys/shared", &[], b"");
                            let read: u64 = answer.text().parse().unwrap();
                            assert!(read >= mine, "{read} after {mine}");
                        }
                    }
                })
            })
            .collect();
        let ends: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
        over.store(true, Ordering::Relaxed);
        for end in ends {
            end.unwrap();
        }
    });
    assert!(gateway.cache_hits() > 100, "{} hits", gateway.cache_hits());
}

#[test]
fn nobody_reads_their_own_old_value_next_to_redis() {
    let redis = TestRedis::start();
    nobody_reads_their_own_old_value(&TestGateway::with_cache(&redis.url()));
}

#[test]
fn nobody_reads_their_own_old_value_far_from_redis() {
    let redis = TestRedis::start();
    // What the server tells of changes comes long after the replies to the commands that made them, and a
    // command can be overtaken by a fill that was begun after it.
    let relay = Relay::to(
        redis.address(),
        Delays {
            commands: Duration::from_millis(3),
            tracking: Duration::from_millis(10),
        },
    );
    nobody_reads_their_own_old_value(&TestGateway::with_cache(&relay.url()));
}
