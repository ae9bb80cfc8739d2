//! The subscribers: many connections in one thread, which does as little as it can for each event.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

/// A pause after what was ready has been read. Without it this thread falls asleep after every event, and
/// the contender pays for waking it, which it does not where subscribers are on other machines.
const GATHERING: Duration = Duration::from_micros(500);

/// Connections that listen.
pub(crate) struct Subscribers {
    poll: Poll,
    connections: Vec<Connection>,
    buffer: Vec<u8>,
    origin: Instant,
    opened: usize,
    ended: usize,
    /// How long each message took to each subscriber, in microseconds.
    pub(crate) latencies: Vec<u32>,
}

struct Connection {
    stream: TcpStream,
    open: bool,
    /// The begin of a line whose end has not arrived.
    rest: Vec<u8>,
}

impl Subscribers {
    /// Connects, and waits until every stream has begun.
    pub(crate) fn open(address: SocketAddr, path: &str, count: usize, origin: Instant) -> Self {
        let poll = Poll::new().unwrap();
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n");
        let connections = (0..count).map(|number| {
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            stream.set_nonblocking(true).unwrap();
            let mut stream = TcpStream::from_std(stream);
            let registry = poll.registry();
            registry
                .register(&mut stream, Token(number), Interest::READABLE)
                .unwrap();
            Connection {
                stream,
                open: false,
                rest: Vec::new(),
            }
        });
        let mut subscribers = Self {
            connections: connections.collect(),
            poll,
            buffer: vec![0; 64 * 1024],
            origin,
            opened: 0,
            ended: 0,
            latencies: Vec::new(),
        };
        let deadline = Instant::now() + Duration::from_secs(30);
        subscribers.read_until(deadline, |all| all.opened == count);
        assert_eq!(subscribers.opened, count, "not all streams have begun");
        subscribers
    }

    /// Reads until this many messages have arrived, over all, or it takes too long.
    pub(crate) fn receive(&mut self, messages: usize, limit: Duration) {
        let deadline = Instant::now() + limit;
        self.read_until(deadline, |all| {
            all.latencies.len() >= messages || all.ended == all.connections.len()
        });
    }

    fn read_until(&mut self, deadline: Instant, done: impl Fn(&Self) -> bool) {
        let mut events = Events::with_capacity(1024);
        while !done(self) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            // A poll that a signal ends has no events.
            let _ = self.poll.poll(&mut events, Some(left));
            for event in &events {
                self.read(event.token().0);
            }
            std::thread::sleep(GATHERING);
        }
    }

    fn read(&mut self, number: usize) {
        let connection = &mut self.connections[number];
        loop {
            match connection.stream.read(&mut self.buffer) {
                Ok(0) => {
                    self.ended += 1;
                    return;
                }
                Ok(count) => {
                    let now = self.origin.elapsed().as_nanos();
                    let mut taken = 0;
                    for end in memchr::memchr_iter(b'\n', &self.buffer[..count]) {
                        let line = &self.buffer[taken..end];
                        taken = end + 1;
                        if connection.rest.is_empty() {
                            line_came(line, now, connection.open, &mut self.latencies);
                            self.opened += connection.opens_with(line);
                        } else {
                            let mut whole = std::mem::take(&mut connection.rest);
                            whole.extend_from_slice(line);
                            line_came(&whole, now, connection.open, &mut self.latencies);
                            self.opened += connection.opens_with(&whole);
                        }
                    }
                    connection
                        .rest
                        .extend_from_slice(&self.buffer[taken..count]);
                    // There was no more; should more have come since, the poller says so.
                    if count < self.buffer.len() {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    self.ended += 1;
                    return;
                }
            }
        }
    }
}

impl Connection {
    /// Whether this line, a comment, is what the stream begins with: 1 or 0.
    fn opens_with(&mut self, line: &[u8]) -> usize {
        let opens = !self.open && line.starts_with(b":");
        self.open |= opens;
        usize::from(opens)
    }
}

/// A line of data begins with the time at which its message was due.
fn line_came(line: &[u8], now: u128, open: bool, latencies: &mut Vec<u32>) {
    if !open {
        return;
    }
    let Some(data) = line.strip_prefix(b"data: ") else {
        return;
    };
    let digits = data.iter().take_while(|byte| byte.is_ascii_digit());
    let due = digits.fold(0, |due, digit| due * 10 + u128::from(digit - b'0'));
    let late = now.saturating_sub(due) / 1000;
    latencies.push(u32::try_from(late).unwrap_or(u32::MAX));
}
