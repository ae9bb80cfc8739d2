//! The answers that wait to be sent on a connection.
//!
//! What the kernel does not take at once stays here, together with how much of it has been taken, so that no byte is sent
//! twice. Large bodies are sent from the memory that they were received in. Of each connection's answers only so much is
//! sent before other connections have their turn. (Measured with 64 clients beside one who gets 10 MiB again and again: five times the requests, 0.4 of the p99.)

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};
use std::net::TcpStream;
use std::time::Instant;

use bytes::{Buf, Bytes};

use super::budget::{Budget, Reservation, SMALL};
use super::problem::Problem;
use super::response::{Form, Response};
use super::response_context::ResponseContext;
use crate::error::Error;

/// Answers that may wait for a client before no more of its requests are taken up.
pub(super) const WRITE_BEHIND: usize = 256 * 1024;

/// Requests of a new connection that are taken up at once, before it is known how large its answers are. They may be just
/// short of what goes apart from those of others.
const FIRST_ANSWERS: usize = 4;

/// What is sent of one connection's answers before others have their turn.
const SEND_AT_ONCE: usize = 64 * 1024;

pub(super) struct Outbox {
    /// Heads and small bodies.
    bytes: Vec<u8>,
    /// How many of these the kernel has taken.
    sent: usize,
    /// What these take of the memory budget, if they are not small together.
    held: Option<Reservation>,
    /// While something waits: when the kernel last took anything.
    sent_at: Option<Instant>,
    /// The large bodies, in order.
    large: VecDeque<Large>,
    /// Whether sending was interrupted to give other connections their turn, although the kernel might have taken more.
    paused: bool,
    /// About the size of the largest of the last answers.
    answer_size: usize,
}

/// A body that is kept apart from the others' bytes.
struct Large {
    /// The place among [`Outbox::bytes`] where it belongs.
    at: usize,
    /// What has not been sent of it.
    body: Bytes,
    /// What it takes of the memory budget.
    _held: Option<Reservation>,
}

impl Outbox {
    pub(super) fn new() -> Self {
        Self {
            bytes: Vec::new(),
            sent: 0,
            held: None,
            sent_at: None,
            large: VecDeque::new(),
            paused: false,
            answer_size: WRITE_BEHIND / FIRST_ANSWERS,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.large.is_empty()
    }

    /// Bytes that have not been sent.
    pub(super) fn waiting(&self) -> usize {
        let large: usize = self.large.iter().map(|large| large.body.len()).sum();
        self.bytes.len() - self.sent + large
    }

    /// Whether to go on sending without a further word of the poller.
    pub(super) fn is_paused(&self) -> bool {
        self.paused
    }

    /// Since when the client has taken nothing, if something waits for it.
    pub(super) fn stalled_since(&self) -> Option<Instant> {
        self.sent_at
    }

    /// How many requests to take up before their answers are sent, going by the size of the last answers.
    pub(super) fn window(&self) -> usize {
        (WRITE_BEHIND / self.answer_size.max(1)).max(1)
    }

    /// Appends an answer. `held` is what has been taken of the memory budget for it. If more is needed and not there, because
    /// the answer is large or many wait, it is replaced by an error.
    pub(super) fn answer(
        &mut self,
        response: Response,
        context: ResponseContext,
        form: &Form,
        budget: &Budget,
        mut held: Option<Reservation>,
    ) {
        let size = if form.head_only {
            0
        } else {
            response.body.len()
        };
        // A larger answer counts at once, smaller ones only little by little.
        self.answer_size = size.max(self.answer_size - self.answer_size / 8);
        let room = if size > SMALL {
            budget.cover(&mut held, size, size)
        } else {
            held = None;
            let together = self.bytes.len() + size;
            together <= SMALL || budget.cover(&mut self.held, together, usize::MAX)
        };
        let response = if room {
            response
        } else {
            context.problem(Error::TooLarge.into())
        };
        let response = context.complete(response);
        if let Some(body) = response.write_all_but(SMALL, &mut self.bytes, form) {
            self.large.push_back(Large {
                at: self.bytes.len(),
                body,
                _held: held,
            });
        }
    }

    /// Appends what has been written elsewhere.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Sends what the kernel takes.
    ///
    /// # Errors
    /// When the connection is broken.
    pub(super) fn send(&mut self, mut stream: &TcpStream, now: Instant) -> io::Result<()> {
        let mut taken = 0;
        self.paused = false;
        while self.sent < self.bytes.len() || !self.large.is_empty() {
            if taken >= SEND_AT_ONCE {
                self.paused = true;
                self.forget_sent();
                return Ok(());
            }
            let written = match self.large.front() {
                None => stream.write(&self.bytes[self.sent..]),
                Some(Large { at, body, .. }) => {
                    let body = &body[..body.len().min(SEND_AT_ONCE)];
                    let head = &self.bytes[self.sent..*at];
                    stream.write_vectored(&[IoSlice::new(head), IoSlice::new(body)])
                }
            };
            match written {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.advance(count);
                    taken += count;
                    self.sent_at = Some(now);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.sent_at.get_or_insert(now);
                    self.forget_sent();
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.sent = 0;
        self.held = None;
        self.sent_at = None;
        self.bytes.clear();
        // An idle connection holds no more than it must.
        self.bytes.shrink_to(1024);
        Ok(())
    }

    /// Notes what the kernel has taken: of the bytes up to the next large body, and of that.
    fn advance(&mut self, count: usize) {
        let Some(Large { at, body, .. }) = self.large.front_mut() else {
            self.sent += count;
            return;
        };
        let before = count.min(*at - self.sent);
        self.sent += before;
        body.advance(count - before);
        if body.is_empty() {
            self.large.pop_front();
        }
    }

    /// Frees the memory of what has been sent, while other answers still wait behind it.
    fn forget_sent(&mut self) {
        if self.sent < SMALL || self.sent < self.bytes.len() / 2 {
            return;
        }
        self.bytes.drain(..self.sent);
        self.bytes.shrink_to(self.bytes.len() * 2);
        let sent = std::mem::take(&mut self.sent);
        for large in &mut self.large {
            large.at -= sent;
        }
    }
}

/// The answer to a body where the memory budget is spent.
pub(super) fn no_memory() -> Problem {
    Problem::new(
        503,
        "too many large bodies are under way; nothing was done, try again",
    )
}
