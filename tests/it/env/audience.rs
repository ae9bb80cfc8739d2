//! Many event streams that one thread reads, each checked as it is read.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::PATIENCE;

/// Streams by their numbers.
pub(crate) struct Audience {
    address: SocketAddr,
    poll: Poll,
    pub(crate) seats: Vec<Seat>,
    buffer: Vec<u8>,
}

/// One stream, over as many connections as it takes.
pub(crate) struct Seat {
    path: String,
    stream: Option<TcpStream>,
    /// The begin of a line whose end has not arrived.
    rest: Vec<u8>,
    /// The id of the last event that has arrived as a whole.
    pub(crate) last_id: String,
    /// What has arrived of an event.
    id: String,
    name: String,
    data: Option<String>,
    /// Whether this connection's stream has begun.
    pub(crate) open: bool,
    pub(crate) messages: Vec<String>,
    pub(crate) gaps: usize,
}

impl Audience {
    /// Opens a stream for each path, and waits until all have begun.
    pub(crate) fn open(address: SocketAddr, paths: impl Iterator<Item = String>) -> Self {
        rlimit::increase_nofile_limit(u64::MAX).unwrap();
        let seats = paths.map(|path| Seat {
            path,
            stream: None,
            rest: Vec::new(),
            last_id: String::new(),
            id: String::new(),
            name: String::new(),
            data: None,
            open: false,
            messages: Vec::new(),
            gaps: 0,
        });
        let mut audience = Self {
            address,
            poll: Poll::new().unwrap(),
            seats: seats.collect(),
            buffer: vec![0; 64 * 1024],
        };
        for number in 0..audience.seats.len() {
            audience.connect(number);
        }
        audience.read_until("all streams have begun", |seats| {
            seats.iter().all(|seat| seat.open)
        });
        audience
    }

    /// Gives a stream's connection up, whatever is on its way, and has it come back by its last id.
    pub(crate) fn connect(&mut self, number: usize) {
        let mut stream = std::net::TcpStream::connect(self.address).unwrap();
        let seat = &mut self.seats[number];
        let mut request = format!("GET {} HTTP/1.1\r\nHost: localhost\r\n", seat.path);
        if !seat.last_id.is_empty() {
            request += &format!("Last-Event-ID: {}\r\n", seat.last_id);
        }
        request += "\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        stream.set_nonblocking(true).unwrap();
        let mut stream = TcpStream::from_std(stream);
        let registry = self.poll.registry();
        registry
            .register(&mut stream, Token(number), Interest::READABLE)
            .unwrap();
        seat.stream = Some(stream);
        seat.rest.clear();
        seat.id.clear();
        seat.name.clear();
        seat.data = None;
        seat.open = false;
    }

    /// Reads what comes until a condition holds; fails, saying what was waited for, if it does not in time.
    pub(crate) fn read_until(&mut self, what: &str, mut condition: impl FnMut(&[Seat]) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition(&self.seats) {
            assert!(Instant::now() < deadline, "waited in vain until {what}");
            self.read(Duration::from_millis(10));
        }
    }

    /// Reads what comes within a time.
    pub(crate) fn read(&mut self, time: Duration) {
        let mut events = Events::with_capacity(1024);
        // A poll that a signal ends has no events.
        let _ = self.poll.poll(&mut events, Some(time));
        for event in &events {
            self.seats[event.token().0].read(&mut self.buffer);
        }
    }
}

impl Seat {
    fn read(&mut self, buffer: &mut [u8]) {
        while let Some(stream) = &mut self.stream {
            match stream.read(buffer) {
                Ok(0) => panic!("{} has ended", self.path),
                Ok(count) => {
                    self.rest.extend_from_slice(&buffer[..count]);
                    self.take_lines();
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("{}: {error}", self.path),
            }
        }
    }

    /// Takes the lines that are whole. Those of the head and of the chunks' frames mean nothing here.
    fn take_lines(&mut self) {
        let rest = std::mem::take(&mut self.rest);
        let end = memchr::memrchr(b'\n', &rest).map_or(0, |last| last + 1);
        for line in rest[..end].split(|&byte| byte == b'\n') {
            let line = std::str::from_utf8(line).unwrap();
            if let Some(id) = line.strip_prefix("id: ") {
                self.id = id.to_owned();
            } else if let Some(name) = line.strip_prefix("event: ") {
                self.name = name.to_owned();
            } else if let Some(data) = line.strip_prefix("data: ") {
                assert!(self.data.is_none(), "one line each");
                self.data = Some(data.to_owned());
            } else if line.starts_with(':') {
                self.open = true;
            } else if line.is_empty() {
                self.dispatch();
            } else if let Some(status) = line.strip_prefix("HTTP/1.1 ") {
                assert!(status.starts_with("200"), "{}: {line}", self.path);
            }
        }
        self.rest = rest[end..].to_vec();
    }

    fn dispatch(&mut self) {
        if !self.id.is_empty() {
            self.last_id = std::mem::take(&mut self.id);
        }
        let name = std::mem::take(&mut self.name);
        match (self.data.take(), &*name) {
            (Some(_), "gap") => self.gaps += 1,
            (Some(data), "") => self.messages.push(data),
            (Some(data), name) => panic!("{name}: {data}"),
            (None, _) => {}
        }
    }
}
