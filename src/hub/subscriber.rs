//! One subscriber's socket and what waits for it.
//!
//! The socket is non-blocking. What the kernel does not take stays here, with the place in it, so that no
//! byte is sent twice and no event is torn.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::event::{Encoded, Shape};
use super::fanout::ChannelKey;
use super::{Seat, SubscriberId};

/// What the kernel holds for one subscriber (it doubles the number), besides what waits here. By default it
/// would take up to 4 MiB before a stalled one is noticed.
const SEND_BUFFER: usize = 64 * 1024;

/// Pieces in one system call.
const MAX_PIECES: usize = 64;

pub(super) struct Subscriber {
    pub(super) id: SubscriberId,
    pub(super) stream: TcpStream,
    /// What the stream begins with; taken when it is opened.
    head: Option<Bytes>,
    chunked: bool,
    pub(super) shape: Shape,
    /// What it is sent the messages of, once it is open.
    pub(super) channels: Vec<ChannelKey>,
    queue: VecDeque<Bytes>,
    /// How much of the first piece has been taken by the kernel.
    taken: usize,
    /// Bytes in the queue that have not been taken.
    waiting: usize,
    /// How many of them it had missed before.
    missed: usize,
    /// Whether the kernel took no more at the last attempt; the poller tells when it will.
    pub(super) blocked: bool,
    /// Whether this is on the list of those to be written to.
    pub(super) listed: bool,
    /// Whether the connection ends when the queue is empty.
    pub(super) ending: bool,
    /// When its stream is to end.
    pub(super) ends_at: Option<Instant>,
    /// When the kernel last took anything.
    pub(super) last_sent: Instant,
    /// Told when nothing waits any more; dropped if that never comes.
    pub(super) gone_out: Option<oneshot::Sender<()>>,
    /// The connection's place among all, given back when this is dropped.
    _place: Box<dyn Send>,
}

/// What became of an attempt to send what waits.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// Everything.
    All,
    /// Something is left; the poller tells when there is room.
    Blocked,
    /// The connection is broken.
    Broken,
}

impl Subscriber {
    pub(super) fn new(id: SubscriberId, seat: Seat, now: Instant, write_timeout: Duration) -> Self {
        let socket = socket2::SockRef::from(&seat.stream);
        // Without them a subscriber costs more, or is given up later; it is served all the same.
        let _ = socket.set_send_buffer_size(SEND_BUFFER);
        #[cfg(target_os = "linux")]
        let _ = socket.set_tcp_user_timeout(Some(write_timeout));
        Self {
            id,
            stream: seat.stream,
            head: Some(seat.head),
            chunked: seat.chunked,
            shape: seat.shape,
            channels: Vec::new(),
            queue: VecDeque::new(),
            taken: 0,
            waiting: 0,
            missed: 0,
            blocked: false,
            listed: false,
            ending: false,
            ends_at: None,
            last_sent: now,
            gone_out: None,
            _place: seat.place,
        }
    }

    /// Whether the kernel has ended the connection because nothing was taken for too long.
    pub(super) fn was_given_up(&self) -> bool {
        let error = self.stream.take_error().ok().flatten();
        error.is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
    }

    /// Has the head sent, if it has not been.
    pub(super) fn open(&mut self) {
        if let Some(head) = self.head.take() {
            self.push_bytes(head);
        }
    }

    /// Whether the head has been sent or is waiting to be.
    pub(super) fn is_open(&self) -> bool {
        self.head.is_none()
    }

    /// Appends events.
    pub(super) fn push(&mut self, events: &Encoded) {
        self.push_bytes(events.bytes(self.chunked));
    }

    /// Appends events that it has missed, which are no backlog.
    pub(super) fn push_missed(&mut self, events: &Encoded) {
        self.missed += events.bytes(self.chunked).len();
        self.push(events);
    }

    /// Appends the end of the body; the connection ends behind it.
    pub(super) fn end(&mut self) {
        self.open();
        if self.chunked && !self.ending {
            self.push_bytes(Bytes::from_static(b"0\r\n\r\n"));
        }
        self.ending = true;
    }

    /// Appends an answer that is no event stream; the connection ends behind it.
    pub(super) fn refuse(&mut self, answer: Bytes) {
        if self.ending {
            return;
        }
        self.head = None;
        self.push_bytes(answer);
        self.ending = true;
    }

    /// How much waits besides what it has missed.
    pub(super) fn backlog(&self) -> usize {
        self.waiting.saturating_sub(self.missed)
    }

    fn push_bytes(&mut self, bytes: Bytes) {
        self.waiting += bytes.len();
        self.queue.push_back(bytes);
    }

    /// Gives the kernel as much as it takes.
    pub(super) fn send(&mut self, now: Instant) -> Sent {
        self.blocked = false;
        while self.waiting > 0 {
            match self.write() {
                Ok(0) => return Sent::Broken,
                Ok(written) => {
                    self.last_sent = now;
                    self.advance(written);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.blocked = true;
                    return Sent::Blocked;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Sent::Broken,
            }
        }
        if let Some(gone_out) = self.gone_out.take() {
            // Nobody may want to know any more.
            let _ = gone_out.send(());
        }
        if self.queue.capacity() > MAX_PIECES {
            // A backlog that is over shall not be paid for ever after.
            self.queue.shrink_to_fit();
        }
        Sent::All
    }

    /// One system call's worth. For a single piece, which is the rule, `send` costs a tenth less than `writev`.
    fn write(&mut self) -> io::Result<usize> {
        if let ([piece], []) = self.queue.as_slices() {
            return self.stream.write(&piece[self.taken..]);
        }
        let mut pieces = [IoSlice::new(&[]); MAX_PIECES];
        let mut count = 0;
        for (place, piece) in pieces.iter_mut().zip(&self.queue) {
            let from = if count == 0 { self.taken } else { 0 };
            *place = IoSlice::new(&piece[from..]);
            count += 1;
        }
        self.stream.write_vectored(&pieces[..count])
    }

    fn advance(&mut self, written: usize) {
        self.waiting -= written;
        // It is in front.
        self.missed = self.missed.saturating_sub(written);
        self.taken += written;
        while let Some(first) = self.queue.front() {
            if self.taken < first.len() {
                break;
            }
            self.taken -= first.len();
            self.queue.pop_front();
        }
    }

    /// Ends the connection behind what was sent. What the client may have sent is read, or the kernel would
    /// reset the connection and with it what is still on its way.
    pub(super) fn hang_up(mut self) {
        let mut waste = [0; 1024];
        let mut rounds = 0;
        while rounds < 16 && self.stream.read(&mut waste).is_ok_and(|count| count > 0) {
            rounds += 1;
        }
        // It may be gone already.
        let _ = self.stream.shutdown(Shutdown::Write);
    }
}
