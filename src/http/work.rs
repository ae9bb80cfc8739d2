//! A connection and its requests in a batch: what they ask, and (`answering`) the answers that come of it.

mod answering;

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

/// A body of this size takes a while to be parsed: others should not wait for that.
const LONG_BODY: usize = 16 * 1024;

/// A connection and its requests, in order.
pub(super) struct Work {
    pub(super) key: usize,
    connection: Box<Connection>,
    exchanges: Vec<Exchange>,
    /// The request behind them, if it has to wait until they are answered.
    behind: Option<Behind>,
    /// Whether more whole requests may have been received.
    more: bool,
}

/// A request that is not among others, and why.
enum Behind {
    /// What it asks is not to run if nobody knows what became of what was asked before.
    Asks(Box<Exchange>, Vec<Command>),
    /// To read it takes a while.
    Long(Box<Next>),
}

/// What is left to do before a connection goes back to rest.
pub(super) enum Rest {
    /// To send the answers.
    Send(Answered),
    /// To send these commands. Their outcomes finish it.
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

    /// Plans the requests that it has brought.
    pub(super) fn gather(&mut self, shared: &Shared, commands: &mut Vec<Command>, now: Instant) {
        if let Some((waiting, outcomes)) = self.connection.take_done() {
            let exchange = Exchange::done(*waiting, outcomes);
            let goes_on = exchange.may_go_on();
            self.more |= goes_on;
            let last = !exchange.asker.form.keep_alive || goes_on;
            self.exchanges.push(exchange);
            if last {
                return;
            }
        } else if self.connection.has_given_up() {
            // What was answered before may still be on its way.
            self.connection.last_answer();
        }
        let first = commands.len();
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
            let takes_over = matches!(exchange.answer, Answer::Stream(_) | Answer::Apart(..));
            // What is behind it is taken up when it has been answered.
            let goes_on = exchange.may_go_on();
            self.more |= goes_on;
            let last = !exchange.asker.form.keep_alive || takes_over || goes_on;
            self.exchanges.push(exchange);
            if last {
                break;
            }
            if self.exchanges.len() >= MAX_REQUESTS.min(self.connection.window()) {
                self.more = true;
                break;
            }
        }
        self.connection.release_received();
    }

    /// How many commands it has in the batch.
    pub(super) fn commands(&self) -> usize {
        self.exchanges.iter().map(Exchange::commands).sum()
    }

    /// Outcomes that it has already.
    pub(super) fn come(&mut self) -> impl Iterator<Item = &mut Outcome> {
        self.exchanges.iter_mut().flat_map(Exchange::come)
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
