//! Large audiences: that come and go while messages pour in, that have members who never read, and whose Redis
//! goes away.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::env::{Audience, Program, TestRedis, wait_until};

/// Messages that are published at a rate, over a connection to Redis of their own; each as channel and message.
fn publish(redis: &TestRedis, messages: impl Iterator<Item = (String, String)>, a_second: u32) {
    let mut connection = TcpStream::connect(redis.address()).unwrap();
    let begin = Instant::now();
    let mut count = 0;
    for (channel, message) in messages {
        let due = begin + Duration::from_secs(1) * count / a_second;
        // Now, or a few at once when it is late.
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let command = format!("PUBLISH {channel} {message}\r\n");
        connection.write_all(command.as_bytes()).unwrap();
        count += 1;
    }
    // Each is answered `:1`, by the gateway's one subscription.
    let mut answers = vec![0; 4 * count as usize];
    connection.read_exact(&mut answers).unwrap();
    assert_eq!(answers, ":1\r\n".repeat(count as usize).into_bytes());
}

#[test]
fn a_tenth_comes_back_every_second_and_nobody_misses_anything() {
    const CHANNELS: usize = 100;
    const SUBSCRIBERS: usize = 1_000;
    const EACH: usize = 50;
    let redis = TestRedis::start();
    let program = Program::start(&["--upstream", &redis.url(), "--fanout-threads", "3"]);
    let paths = (0..SUBSCRIBERS).map(|n| format!("/v1/channels/c{}/events", n % CHANNELS));
    let mut audience = Audience::open(program.address, paths);
    let complete: Vec<_> = (0..EACH).map(|n| n.to_string()).collect();
    thread::scope(|scope| {
        let messages = (0..EACH).flat_map(|n| (0..CHANNELS).map(move |c| (c, n)));
        let messages = messages.map(|(c, n)| (format!("c{c}"), n.to_string()));
        let publisher = scope.spawn(|| publish(&redis, messages, 1_000));
        let begin = Instant::now();
        let mut reconnected = 0;
        while !publisher.is_finished() {
            audience.read(Duration::from_millis(5));
            let due = begin.elapsed().as_millis() as usize * SUBSCRIBERS / 10 / 1_000;
            while reconnected < due {
                audience.connect(reconnected * 7 % SUBSCRIBERS);
                reconnected += 1;
            }
        }
        assert!(reconnected >= SUBSCRIBERS / 10, "{reconnected} came back");
    });
    audience.read_until("everybody has everything", |seats| {
        seats.iter().all(|seat| seat.messages.len() >= EACH)
    });
    for seat in &audience.seats {
        assert_eq!((&seat.messages, seat.gaps), (&complete, 0));
    }
}

#[test]
fn a_hundred_who_never_read_are_gone_in_time_and_cost_the_others_nothing() {
    let redis = TestRedis::start();
    let bounds = ["--subscriber-buffer", "128KiB", "--write-timeout", "2s"];
    let program = Program::start(&[&["--upstream", &redis.url()], &bounds[..]].concat());
    let before = program.descriptors();
    let silent: Vec<_> = (0..100)
        .map(|_| {
            let mut client = program.connect();
            client.send_request("GET", "/v1/channels/a/events", &[], b"");
            client.receive_head();
            client
        })
        .collect();
    let paths = (0..10).map(|_| "/v1/channels/a/events".to_owned());
    let mut audience = Audience::open(program.address, paths);
    assert!(program.descriptors() >= before + 110);
    let memory = program.memory();
    const MESSAGES: usize = 600;
    let padding = "x".repeat(4_000);
    let messages: Vec<_> = (0..MESSAGES).map(|n| format!("{n}-{padding}")).collect();
    thread::scope(|scope| {
        let named = messages.iter().map(|message| ("a".into(), message.clone()));
        scope.spawn(|| publish(&redis, named, 300));
        audience.read_until("the others have everything", |seats| {
            seats.iter().all(|seat| seat.messages.len() >= MESSAGES)
        });
    });
    for seat in &audience.seats {
        assert!(seat.messages == messages);
        assert_eq!(seat.gaps, 0);
    }
    wait_until("the silent are gone", || {
        program.descriptors() < before + 100
    });
    // What waited for them was shared, and is given back.
    let grown = program.memory().saturating_sub(memory);
    assert!(grown < 30 * 1024, "{grown} KiB");
    drop(silent);
}

#[test]
fn a_redis_that_goes_is_one_gap_for_each_and_silence_for_nobody() {
    let mut redis = TestRedis::start();
    let program = Program::start(&["--upstream", &redis.url()]);
    let paths = (0..300).map(|n| match n % 3 {
        0 => format!("/v1/channels/c{}/events", n % 20),
        1 => format!("/v1/events?format=raw&channel=c{}&channel=other", n % 20),
        _ => format!("/v1/events?format=raw&pattern=c{}", n % 20),
    });
    let mut audience = Audience::open(program.address, paths);
    let mut outages = 0;
    let mut heard = |redis: &TestRedis, outages: usize| {
        if outages > 0 {
            audience.read_until("everybody is told of the gap", |seats| {
                seats.iter().all(|seat| seat.gaps >= outages)
            });
        }
        for channel in 0..20 {
            redis.cli(&["PUBLISH", &format!("c{channel}"), &outages.to_string()]);
        }
        audience.read_until("everybody hears again", |seats| {
            seats.iter().all(|seat| seat.messages.len() > outages)
        });
        let expected: Vec<_> = (0..=outages).map(|outage| outage.to_string()).collect();
        for seat in &audience.seats {
            assert_eq!((&seat.messages, seat.gaps), (&expected, outages));
        }
    };
    heard(&redis, outages);
    for _ in 0..2 {
        redis.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        outages += 1;
        heard(&redis, outages);
    }
    redis.kill();
    redis.restart();
    let back = Instant::now();
    outages += 1;
    heard(&redis, outages);
    assert!(
        back.elapsed() < Duration::from_secs(10),
        "{:?}",
        back.elapsed()
    );
}
