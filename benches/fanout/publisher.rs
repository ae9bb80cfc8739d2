//! Publishes at a rate, whatever the rate at which it is answered.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::contender::Way;

/// So many messages, so far apart.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Messages {
    pub(crate) count: usize,
    pub(crate) apart: Duration,
    /// Bytes of each.
    pub(crate) size: usize,
}

/// Publishes. Each message begins with the time at which it was due, in nanoseconds since `origin`: being late
/// counts as latency.
pub(crate) fn publish(way: Way, messages: Messages, origin: Instant) {
    let (Way::Http(address, _) | Way::Redis(address)) = way;
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut answers = BufReader::new(stream);
    let begin = Instant::now();
    let size = messages.size;
    for number in 0..messages.count {
        let due = begin + messages.apart * u32::try_from(number).unwrap();
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let message = format!("{} ", due.duration_since(origin).as_nanos());
        let request = match way {
            Way::Http(_, path) => format!(
                "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n{message:x<size$}"
            ),
            Way::Redis(_) => {
                format!("*3\r\n$7\r\nPUBLISH\r\n$1\r\na\r\n${size}\r\n{message:x<size$}\r\n")
            }
        };
        answers.get_mut().write_all(request.as_bytes()).unwrap();
        match way {
            Way::Http(..) => take_http(&mut answers),
            Way::Redis(_) => assert!(line(&mut answers).starts_with(':'), "publishing"),
        }
    }
}

fn take_http(answers: &mut BufReader<TcpStream>) {
    let mut length = 0;
    let status = line(answers);
    assert!(status.starts_with("HTTP/1.1 2"), "publishing: {status}");
    loop {
        let header = line(answers);
        if header == "\r\n" {
            break;
        }
        if let Some((name, value)) = header.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    answers.read_exact(&mut body).unwrap();
}

fn line(answers: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    assert!(answers.read_line(&mut line).unwrap() > 0, "publishing: cut");
    line
}
