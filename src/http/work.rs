//! A connection and its requests in a batch: what they ask, and (`answering`) the answers that come of it.

mod answering;

use std::ops::ControlFlow;
use std::time::Instant;

use tiny_http::Method;

use super::connection::{Connection, Next};
use super::connection_table::Ready;
use super::event_loop::Shared;
use super::exchange::{Answer, Exchange, plan};
use crate::command::Command;
use crate::reply::Reply;
use crate::upstream::Outcome;

/// Requests of one connection in one batch; its others have to wait for their turn.
const MAX_REQUESTS: usize = 128;

/// To parse a longer body takes a while, for which other connections should not wait.
const LONG_BODY: usize = 16 * 1024;

/// Bytes of one connection's requests in one batch, besides the last of them. Many long heads and bodies take a while too.
const TAKEN_AT_ONCE: usize = LONG_BODY;

/// A connection and its requests, in order.
pub(super) struct Work {
    pub(super) key: usize,
    connection: Box<Connection>,
    exchanges: Vec<Exchange>,
    /// The request behind them, if that has to wait until they have been answered.
    behind: Option<Behind>,
    /// Whether more whole requests may have been received.
    more: bool,
}

/// A request that has to wait for those before it, and why.
enum Behind {
    /// Its commands may change something. They must not run if it is unknown whether those before them have.
    Asks(Box<Exchange>, Vec<Command>),
    /// Its body is long. Those before it are not to wait until it has been parsed.
    Long(Box<Next>),
}

/// What remains to be done before a connection goes back to rest.
pub(super) enum Remaining {
    /// To send the answers.
    Send(Answered),
    /// To send these commands, and to finish the connection's work with their outcomes.
    Ask(Work, Vec<Command>),
    /// To plan this request.
    Plan(Work, Box<Next>),
}

/// A connection whose requests have been answered, and when.
pub(super) struct Answered(Work, Instant);

impl Work {
    /// Reads a connection. `None` if it broke.
    pub(super) fn receive(
        shared: &Shared,
        ready: Ready,
        scratch: &mut [u8],
        now: Instant,
    ) -> Option<Self> {
        let Ready {
            key,
            mut connection,
            signal,
        } = ready;
        connection.note(signal);
        let alive = connection
            .send(now)
            .and_then(|()| connection.receive(scratch, now));
        if alive.is_err() {
            shared.table.remove(key);
            return None;
        }
        Some(Self {
            key,
            connection,
            // Most bring one request.
            exchanges: Vec::with_capacity(1),
            behind: None,
            more: false,
        })
    }

    /// Plans the requests that it has brought, as far as they are to be answered in one batch. Their commands are appended
    /// to `commands`.
    pub(super) fn gather(&mut self, shared: &Shared, commands: &mut Vec<Command>, now: Instant) {
        if let Some((waiting, outcomes)) = self.connection.take_done() {
            if self.push(Exchange::done(*waiting, outcomes)).is_break() {
                return;
            }
        } else if self.connection.has_given_up() {
            // What was answered before may still be on its way.
            self.connection.last_answer();
        }
        let first = commands.len();
        let received = self.connection.received();
        while let Some(next) =
            self.connection
                .next(shared.limits, &shared.budget, &shared.service, now)
        {
            if is_long(&next) {
                self.behind = Some(Behind::Long(Box::new(next)));
                self.more = true;
                break;
            }
            let before = commands.len();
            let exchange = plan(&shared.service, next, commands);
            if before > first && !shared.service.only_read(&commands[before..]) {
                let asked = commands.split_off(before);
                self.behind = Some(Behind::Asks(Box::new(exchange), asked));
                self.more = true;
                break;
            }
            if self.push(exchange).is_break() {
                break;
            }
            let taken = received.saturating_sub(self.connection.received());
            if self.exchanges.len() >= MAX_REQUESTS.min(self.connection.window())
                || taken >= TAKEN_AT_ONCE
            {
                self.more = true;
                break;
            }
        }
        self.connection.release_received();
    }

    /// Adds a request to those of this batch. Breaks off if it has to be the last of them.
    fn push(&mut self, exchange: Exchange) -> ControlFlow<()> {
        let ends_connection = !exchange.asker.form.keep_alive;
        let takes_over = matches!(exchange.answer, Answer::Stream(_) | Answer::Apart(..));
        // Requests behind it are taken up when it has been answered.
        let may_ask_again = exchange.may_ask_again();
        self.more |= may_ask_again;
        self.exchanges.push(exchange);
        if ends_connection || takes_over || may_ask_again {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    /// How many commands it has in the batch.
    pub(super) fn commands(&self) -> usize {
        self.exchanges.iter().map(Exchange::commands).sum()
    }

    /// The outcomes that its requests have besides those of the batch.
    pub(super) fn ready_outcomes(&mut self) -> impl Iterator<Item = &mut Outcome> {
        self.exchanges.iter_mut().flat_map(Exchange::ready_outcomes)
    }

    /// Plans a request of it, and gives what that asks of Redis.
    pub(super) fn plan(&mut self, shared: &Shared, next: Next) -> Vec<Command> {
        let mut commands = Vec::new();
        self.exchanges
            .push(plan(&shared.service, next, &mut commands));
        commands
    }
}

impl Answered {
    pub(super) fn key(&self) -> usize {
        self.0.key
    }

    /// Sends what there is to send, and puts the connection back to rest.
    pub(super) fn send(self, shared: &Shared) {
        let Self(work, now) = self;
        work.put_back(shared, now);
    }
}

/// Whether it takes a while to plan a request: its body is long, and perhaps JSON.
fn is_long(next: &Next) -> bool {
    match next {
        Next::Request(request, _) => {
            request.body.len() > LONG_BODY && request.method != Method::Put
        }
        Next::Refused(..) | Next::Fault(..) => false,
    }
}

/// What outcomes take of memory, in bytes.
pub(super) fn size<'a>(outcomes: impl IntoIterator<Item = &'a Outcome>) -> usize {
    let replies = outcomes.into_iter().flatten();
    replies.map(Reply::size).sum()
}
