//! The gateway at rest: how soon it answers after its start, and what it uses while nobody asks.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use super::common::median::median;
use super::common::{gateway, redis};

pub(crate) const NAME: &str = "rest";

const STARTS: usize = 5;

/// How long it is left alone, first to come to rest and then to be looked at.
const QUIET: Duration = Duration::from_secs(2);

/// The table as Markdown.
pub(crate) fn table() -> String {
    let redis = redis::start();
    let mut first_answers = Vec::new();
    for _ in 0..STARTS {
        let began = Instant::now();
        let server = gateway::start(redis.address, &[]);
        ask(server.address);
        first_answers.push(began.elapsed().as_secs_f64() * 1e3);
        drop(server);
    }
    let server = gateway::start(redis.address, &[]);
    ask(server.address);
    thread::sleep(QUIET);
    let before = server.context_switches();
    thread::sleep(QUIET);
    let woken = server.context_switches() - before;
    let seconds = QUIET.as_secs();
    format!(
        "| | |\n|---|---|\n\
         | start to first answer, ms | {:.0} |\n\
         | resident memory when idle, MB | {:.1} |\n\
         | context switches in {seconds} s when idle | {woken} |",
        median(first_answers.into_iter()),
        server.memory() as f64 / 1e6,
    )
}

fn ask(address: SocketAddr) {
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}
