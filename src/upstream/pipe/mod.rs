//! A connection that many share: what they send goes out in the order in which it came, and each gets the
//! replies to what it sent.
//!
//! A sender writes to the socket itself, if that can be written to from any thread and nobody else is writing. Otherwise the
//! connection's driver, a task, would have to be woken for it. What the socket does not take at once, the driver writes. The
//! driver also reads: over a plain socket whenever no thread does (`socket`), over TLS always (`tls`). (Measured beside the client library's connection, with 16 and 64 clients: a
//! fifth to a tenth less CPU time a request.)

mod poller;
mod pump;
mod socket;
#[cfg(test)]
mod tests;
mod tls;

use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, IoSlice, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use futures_util::future::Either;
use redis::RedisResult;
use tokio::sync::{Notify, oneshot};

use super::Outcome;
use super::resp::{Malformed, Reader};
use super::resp_encode::Packed;
use super::transport::Stream;
use super::write_buffer::WriteBuffer;
use crate::command::Command;
use crate::error::Error;
use crate::reply::Reply;
pub(crate) use pump::Pump;
use socket::Socket;

/// What is read at once.
const READ_SIZE: usize = 64 * 1024;

/// More bytes than this are left to the driver, since other connections wait for the thread that sends. (Measured with 64 clients beside one who
/// sends 10 MiB again and again: 0.8 of the p99.)
const WRITE_AT_ONCE: usize = 128 * 1024;

/// Replies up to this size are kept even if there is no room left: it may be other replies that took it.
const TINY: usize = 1024;

/// How many pieces are written at once.
const SLICES: usize = 8;

/// The end that is sent to; clones lead to the same connection. When the last is dropped, the driver ends after
/// what is still to be answered.
#[derive(Debug, Clone)]
pub(super) struct Pipe {
    end: Arc<SendingEnd>,
}

#[derive(Debug)]
struct SendingEnd {
    shared: Arc<Shared>,
    /// The socket, if it is one that takes bytes as they are.
    direct: Option<Arc<Socket>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Whether much is still to come of the reply that is being read.
    laden: AtomicBool,
    /// Told when the driver has something to write, or nobody will send any more.
    to_write: Notify,
    /// Told when somebody's time is up earlier than the driver expects.
    to_hurry: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// To be written.
    out: WriteBuffer,
    /// Whether somebody is writing what was taken out of `out`.
    writing: bool,
    /// Who waits for replies, in order.
    waiting: VecDeque<Waiting>,
    /// When the driver looks next whose time is up.
    looks_at: Option<Instant>,
    /// Whether nobody will send any more.
    closing: bool,
    /// Whether the connection has ended.
    over: bool,
}

#[derive(Debug)]
struct Waiting {
    /// How many replies are still to come.
    missing: usize,
    /// The replies that have come.
    replies: Vec<Outcome>,
    /// How many bytes of memory further replies may take.
    room: usize,
    /// By when all have to be there.
    by: Instant,
    /// `None` once the time was up: the replies may still come, and have to be skipped.
    whole: Option<Whole>,
}

/// Tells whoever waits.
type Whole = oneshot::Sender<Result<Vec<Outcome>, Late>>;

/// The replies did not come in time.
#[derive(Debug)]
pub(super) struct Late;

/// The replies, once all are there; in place of one that there was no room for, the error that it is too large. An error of
/// the channel means that the connection ended first.
pub(super) type Replies = oneshot::Receiver<Result<Vec<Outcome>, Late>>;

impl Pipe {
    /// A pipe over a stream on which nothing is under way, and what drives it.
    pub(super) fn new(stream: Stream) -> (Self, impl Future<Output = ()> + Send) {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            laden: AtomicBool::new(false),
            to_write: Notify::new(),
            to_hurry: Notify::new(),
        });
        let direct = stream.direct().and_then(|socket| Socket::new(socket).ok());
        let direct = direct.map(Arc::new);
        let end = SendingEnd {
            direct: direct.clone(),
            shared: Arc::clone(&shared),
        };
        let driver = match direct {
            Some(socket) => Either::Left(socket::drive(shared, socket)),
            None => Either::Right(tls::drive(shared, stream)),
        };
        (Self { end: Arc::new(end) }, driver)
    }

    /// Sends commands: they are under way when this returns. Gives the way to their replies, which come by a point in time or
    /// not at all, and a pump by which a thread that waits for them can read them itself. `None` if the connection has ended.
    pub(super) fn send(&self, packed: Packed, by: Instant, room: usize) -> Option<(Replies, Pump)> {
        let Packed { buffer, count } = packed;
        let (whole, replies) = oneshot::channel();
        if count == 0 {
            // It is waited for.
            let _ = whole.send(Ok(Vec::new()));
            return Some((replies, Pump::idle()));
        }
        let shared = &self.end.shared;
        let mut state = shared.lock();
        if state.over {
            return None;
        }
        state.waiting.push_back(Waiting {
            missing: count,
            replies: Vec::with_capacity(count),
            room,
            by,
            whole: Some(whole),
        });
        if state.looks_at.is_none_or(|at| by < at) {
            shared.to_hurry.notify_one();
        }
        state.out.append(buffer);
        match &self.end.direct {
            // Whoever is writing goes on with this.
            _ if state.writing => {}
            Some(socket) => self.write_to(&socket.stream, state),
            None => {
                drop(state);
                shared.to_write.notify_one();
            }
        }
        let socket = self.end.direct.as_ref();
        let way = socket.map(|socket| (Arc::clone(shared), Arc::clone(socket)));
        Some((replies, Pump::new(way)))
    }

    /// Sends one command, and gives its reply within this time.
    pub(super) async fn ask(&self, command: &Command, limit: Duration) -> RedisResult<Reply> {
        let ended = || io::Error::from(io::ErrorKind::BrokenPipe);
        let sent = self.send(Packed::one(command), Instant::now() + limit, usize::MAX);
        let (replies, pump) = sent.ok_or_else(ended)?;
        // No thread waits here.
        drop(pump);
        let replies = replies.await.map_err(|_| ended())?;
        let replies = replies.map_err(|Late| io::Error::from(io::ErrorKind::TimedOut))?;
        let first = replies.into_iter().next().and_then(Result::ok);
        Ok(first.ok_or_else(ended)?)
    }

    /// Whether a reply is being read of which so much is still to come that others should not wait behind it.
    pub(super) fn is_laden(&self) -> bool {
        self.end.shared.laden.load(Ordering::Relaxed)
    }

    /// Writes what there is to write, and what others add meanwhile.
    fn write_to<'a>(&'a self, socket: &socket2::Socket, mut state: MutexGuard<'a, State>) {
        let shared = &self.end.shared;
        while !state.out.is_empty() {
            state.writing = true;
            let mut out = std::mem::take(&mut state.out);
            drop(state);
            let taken = if out.remaining() > WRITE_AT_ONCE {
                0
            } else {
                write(socket, &out).unwrap_or(0)
            };
            state = shared.lock();
            state.writing = false;
            out.advance(taken);
            if !out.is_empty() {
                // The driver has the time, waits for room, or finds out what is wrong.
                out.append(std::mem::take(&mut state.out));
                state.out = out;
                drop(state);
                shared.to_write.notify_one();
                return;
            }
        }
    }
}

/// Writes what the socket takes at once.
fn write(mut socket: &socket2::Socket, out: &WriteBuffer) -> io::Result<usize> {
    let mut slices = [IoSlice::new(&[]); SLICES];
    match out.chunks_vectored(&mut slices) {
        // That is the rule, and costs less.
        1 => socket.write(out.chunk()),
        count => socket.write_vectored(&slices[..count]),
    }
}

impl Drop for SendingEnd {
    fn drop(&mut self) {
        self.shared.lock().closing = true;
        self.shared.to_write.notify_one();
    }
}

fn log(ended: io::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke");
    }
}

/// Tells those whose time is up. One timer serves all, and stays set when they are answered: setting it anew for each
/// pipeline would wake the runtime each time.
async fn keep_time(shared: &Shared) {
    loop {
        let (late, next) = shared.lock().give_up_overdue(Instant::now());
        for whole in late {
            // Whoever asked may have given up.
            let _ = whole.send(Err(Late));
        }
        let time_is_up = async {
            match next {
                Some(next) => tokio::time::sleep_until(next.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = time_is_up => {}
            () = shared.to_hurry.notified() => {}
        }
    }
}

fn malformed(_: Malformed) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "what came is not RESP2")
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the connection has ended.
    fn end(&self) {
        let mut state = self.lock();
        state.over = true;
        let waiting = std::mem::take(&mut state.waiting);
        // Not under the lock: whoever is woken may drop the last pipe.
        drop(state);
        // Those who wait are told by that.
        drop(waiting);
    }

    /// Whether there is something for the driver to do when no thread reads any more.
    fn needs_driver(&self) -> bool {
        let state = self.lock();
        state.closing || !state.waiting.is_empty()
    }

    /// Waits for bytes that senders have left to the driver, and takes them; from then on the driver is the one that writes.
    /// `None` when nobody needs the connection any more.
    async fn next_out(&self) -> Option<WriteBuffer> {
        loop {
            {
                let mut state = self.lock();
                if state.is_done() {
                    return None;
                }
                if !state.writing && !state.out.is_empty() {
                    state.writing = true;
                    return Some(std::mem::take(&mut state.out));
                }
            }
            self.to_write.notified().await;
        }
    }

    /// Hands out the replies that have been received as a whole.
    fn hand_out_whole(&self, reader: &mut Reader, received: &mut BytesMut) -> io::Result<()> {
        while let Some(reply) = reader.next(received).map_err(malformed)? {
            self.hand_out(reply)?;
        }
        self.laden.store(reader.lacks_much(), Ordering::Relaxed);
        Ok(())
    }

    /// Gives a reply to whoever waits for it.
    fn hand_out(&self, reply: Reply) -> io::Result<()> {
        let mut state = self.lock();
        let Some(first) = state.waiting.front_mut() else {
            return Err(malformed(Malformed));
        };
        let unwanted = first.take(reply);
        let last = if first.missing == 0 {
            state.waiting.pop_front()
        } else {
            None
        };
        // What is large takes a while to be dropped.
        drop(state);
        drop(unwanted);
        if let Some(Waiting { replies, whole, .. }) = last {
            // Whoever asked may have given up.
            let _ = whole.map(|whole| whole.send(Ok(replies)));
        }
        Ok(())
    }
}

impl Waiting {
    /// Takes the next reply, or gives back what is not kept of it.
    fn take(&mut self, reply: Reply) -> Option<Reply> {
        self.missing -= 1;
        if self.whole.as_ref().is_none_or(oneshot::Sender::is_closed) {
            self.replies.clear();
            return Some(reply);
        }
        let size = reply.size();
        if size > self.room && size > TINY {
            self.replies.push(Err(Error::TooLarge));
            return Some(reply);
        }
        self.room = self.room.saturating_sub(size);
        self.replies.push(Ok(reply));
        None
    }
}

/// Notes that the connection has ended when its driver does, be it that its runtime ends.
struct EndedOnDrop(Arc<Shared>);

impl Drop for EndedOnDrop {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl State {
    /// Gives up what has not been answered in time. Gives whom to tell of that once the lock is released, and when to look
    /// again.
    fn give_up_overdue(&mut self, now: Instant) -> (Vec<Whole>, Option<Instant>) {
        let overdue = self.waiting.iter_mut().filter(|waiting| waiting.by <= now);
        let late = overdue.filter_map(|waiting| waiting.whole.take()).collect();
        let asked = self
            .waiting
            .iter()
            .filter(|waiting| waiting.whole.is_some());
        self.looks_at = asked.map(|waiting| waiting.by).min();
        (late, self.looks_at)
    }

    /// Whether nobody needs the connection any more.
    fn is_done(&self) -> bool {
        self.closing && self.out.is_empty() && self.waiting.is_empty()
    }
}
