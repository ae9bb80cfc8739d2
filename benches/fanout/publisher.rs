//! Publishes by HTTP at a rate, whatever the rate at which it is answered.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Bytes of a message.
const SIZE: usize = 100;

/// Publishes this many messages this far apart. Each begins with the time at which it was due, in nanoseconds
/// since `origin`: being late counts as latency.
pub(crate) fn publish(
    address: SocketAddr,
    path: &str,
    messages: usize,
    apart: Duration,
    origin: Instant,
) {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut replies = BufReader::new(stream);
    let begin = Instant::now();
    for number in 0..messages {
        let due = begin + apart * u32::try_from(number).unwrap();
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let message = format!("{} ", due.duration_since(origin).as_nanos());
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {SIZE}\r\n\r\n{message:x<SIZE$}"
        );
        replies.get_mut().write_all(request.as_bytes()).unwrap();
        take_reply(&mut replies);
    }
}

fn take_reply(replies: &mut BufReader<TcpStream>) {
    let mut length = 0;
    let mut line = String::new();
    replies.read_line(&mut line).unwrap();
    assert!(line.starts_with("HTTP/1.1 2"), "publishing: {line}");
    while line != "\r\n" {
        line.clear();
        assert!(replies.read_line(&mut line).unwrap() > 0, "publishing: cut");
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    replies.read_exact(&mut body).unwrap();
}
