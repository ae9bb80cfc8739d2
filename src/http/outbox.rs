//! The answers that wait to be sent on a connection.
//!
//! What the kernel does not take stays here, with the place in it, so that no byte is sent twice.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::TcpStream;
use std::time::Instant;

use super::budget::{Budget, Reservation, SMALL};
use super::problem::Problem;
use super::response::{Form, Response};
use super::service::Trim;

/// Answers that may wait for a client before no more of its requests are taken up.
pub(super) const WRITE_BEHIND: usize = 256 * 1024;

/// Requests of a new connection that are taken up at once, before it is known how large its answers are.
const FIRST_ANSWERS: usize = 32;

pub(super) struct Outbox {
    bytes: Vec<u8>,
    /// How much of them the kernel has taken.
    sent: usize,
    /// When it last did, while some are left.
    sent_at: Option<Instant>,
    /// What large answers take of the memory budget, and where each ends.
    held: VecDeque<(usize, Reservation)>,
    /// The size of the largest of the last answers.
    answer_size: usize,
}

impl Outbox {
    pub(super) fn new() -> Self {
        Self {
            bytes: Vec::new(),
            sent: 0,
            sent_at: None,
            held: VecDeque::new(),
            answer_size: WRITE_BEHIND / FIRST_ANSWERS,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes that have not been sent.
    pub(super) fn waiting(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// Since when the client has taken nothing, if something waits for it.
    pub(super) fn stalled_since(&self) -> Option<Instant> {
        self.sent_at
    }

    /// How many requests to take up before their answers are sent, going by the size of the last answers.
    pub(super) fn window(&self) -> usize {
        (WRITE_BEHIND / self.answer_size.max(1)).max(1)
    }

    /// Appends an answer. A large one that there is no memory for is replaced.
    pub(super) fn answer(&mut self, response: Response, trim: &Trim, form: &Form, budget: &Budget) {
        let size = response.body.len();
        // Falls slowly, rises at once.
        self.answer_size = size.max(self.answer_size - self.answer_size / 8);
        let large = size > SMALL && !form.head_only;
        let held = large.then(|| budget.reserve(size));
        let response = match held {
            Some(None) => trim.problem(no_memory_for_answer()),
            Some(Some(_)) | None => response,
        };
        trim.apply(response).write(&mut self.bytes, form);
        if let Some(Some(held)) = held {
            self.held.push_back((self.bytes.len(), held));
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
        while self.sent < self.bytes.len() {
            match stream.write(&self.bytes[self.sent..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.sent += count;
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
        self.sent_at = None;
        self.bytes.clear();
        // An idle connection holds no more than it must.
        self.bytes.shrink_to(1024);
        self.held.clear();
        Ok(())
    }

    /// Gives back what sent answers took, while others wait behind them.
    fn forget_sent(&mut self) {
        if self.sent < SMALL || self.sent < self.bytes.len() / 2 {
            return;
        }
        self.bytes.drain(..self.sent);
        self.bytes.shrink_to(self.bytes.len() * 2);
        let sent = std::mem::take(&mut self.sent);
        self.held.retain_mut(|(end, _)| {
            *end = end.saturating_sub(sent);
            *end > 0
        });
    }

    /// What is left.
    pub(super) fn into_bytes(mut self) -> Vec<u8> {
        self.bytes.drain(..self.sent);
        self.bytes
    }
}

/// What is said instead of an answer that there is no memory for.
fn no_memory_for_answer() -> Problem {
    let detail =
        "the reply is too large to hold now, while others are under way; the command has run";
    Problem::new(502, detail)
}

/// The answer to a body where the memory budget is spent.
pub(super) fn no_memory() -> Problem {
    Problem::new(
        503,
        "too many large bodies are under way; nothing was done, try again",
    )
}
