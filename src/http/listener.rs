//! Accepting connections, and what happens when there are too many.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::connection::Connection;
use super::connection_limit::{Full, Place, Places};
use super::connection_table::ConnectionTable;
use super::problem::Problem;
use super::response::Form;
use super::server::Capacity;
use super::service::Service;

/// Connections accepted before those that are ready have their turn.
const AT_ONCE: usize = 64;

/// What the kernel takes of a connection's answers before they are on their way to the client. Without
/// this it takes megabytes, and tells of room only when a third of that is gone: a slow client would seem
/// to take nothing for longer than the write time-out.
const UNSENT: u32 = 128 * 1024;

/// How long not to accept when the system cannot give a connection.
const PAUSE: Duration = Duration::from_millis(100);

/// The listening socket and the places for what it accepts.
pub(super) struct Listener {
    socket: TcpListener,
    places: Places,
    extra: Places,
    /// Whether there may be more to accept.
    ready: bool,
    paused_until: Option<Instant>,
}

impl Listener {
    pub(super) fn new(socket: TcpListener, capacity: Capacity) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            places: Places::new(capacity.welcome, capacity.each_address),
            extra: Places::new(capacity.turned_away, None),
            ready: true,
            paused_until: None,
        })
    }

    pub(super) fn socket(&self) -> &TcpListener {
        &self.socket
    }

    /// Notes that the poller named the listening socket.
    pub(super) fn note(&mut self) {
        self.ready = true;
    }

    /// When there may be something to accept although the poller has said nothing since.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        self.ready.then(|| self.paused_until.unwrap_or(now))
    }

    /// Accepts what waits, up to a number.
    pub(super) fn accept(
        &mut self,
        table: &ConnectionTable,
        service: &Service,
        now: Instant,
        arrivals: &mut Vec<Connection>,
    ) {
        if self.paused_until.is_some_and(|until| until > now) {
            return;
        }
        self.paused_until = None;
        for _ in 0..AT_ONCE {
            if !self.ready {
                return;
            }
            match self.socket.accept() {
                Ok((stream, client)) => {
                    // It may be gone already.
                    let usable = stream
                        .set_nonblocking(true)
                        .and_then(|()| stream.set_nodelay(true))
                        .and_then(|()| SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT));
                    if usable.is_ok() {
                        arrivals.extend(self.seat(stream, client.ip(), table, service, now));
                    }
                }
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => self.ready = false,
                    ErrorKind::Interrupted | ErrorKind::ConnectionAborted => {}
                    _ => {
                        tracing::error!(%error, "cannot accept connections");
                        self.paused_until = Some(now + PAUSE);
                        return;
                    }
                },
            }
        }
    }

    /// Finds a place for a connection: a free one, or that of a connection that can be spared. If there is none, the
    /// connection is turned away, for which there are places of their own.
    fn seat(
        &self,
        stream: TcpStream,
        client: IpAddr,
        table: &ConnectionTable,
        service: &Service,
        now: Instant,
    ) -> Option<Connection> {
        let mut place = self.places.take(client);
        if let Err(Full::Everywhere) = place {
            drop(table.take_spare());
            place = self.places.take(client);
        }
        let full = match place {
            Ok(place) => return Some(Connection::new(stream, place, now)),
            Err(full) => no_room(full, service),
        };
        if let Ok(place) = self.extra.take(client) {
            return Some(turn_away(stream, place, &full, now));
        }
        turn_away_briefly(stream, &full);
        None
    }
}

/// The answer to a connection for which there is no place.
fn no_room(full: Full, service: &Service) -> Vec<u8> {
    let problem = match full {
        Full::Everywhere => Problem::new(
            503,
            "the gateway has as many connections as it may; try again",
        ),
        Full::Address => Problem::new(
            429,
            "this address has as many connections as one may have; close some, or try again",
        ),
    };
    let response = service.context_without_request().complete(problem.into());
    response.into_bytes(&Form::of_a_fault())
}

fn turn_away(stream: TcpStream, place: Place, answer: &[u8], now: Instant) -> Connection {
    let mut connection = Connection::new(stream, place, now);
    connection.last_answer();
    connection.push(answer);
    connection
}

/// Turns a connection away for which there is no place of either kind.
fn turn_away_briefly(mut stream: TcpStream, answer: &[u8]) {
    let mut waste = [0; 4096];
    // What has arrived is taken, or the kernel would reset the connection; whether the answer arrives
    // cannot be known.
    let _ = stream.read(&mut waste);
    let _ = stream.write(answer);
    let _ = stream.shutdown(Shutdown::Write);
}
