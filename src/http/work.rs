//! A connection and its requests in a batch: what they ask, and the answers that come of it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use tiny_http::Method;

use super::budget::Reservation;
use super::connection::{Connection, Next};
use super::connection_table::Ready;
use super::event_loop::Shared;
use super::exchange::{Answer, Exchange, any_unknown, plan};
use super::handover::hand_over;
use super::panics::{respond_to, unwinding};
use super::plan::{Apart, Lane, Step};
use super::problem::Problem;
use super::response::Form;
use super::service::{Trim, send_apart};
use super::waiting::Waiting;
use crate::command::Command;
use crate::reply::Reply;
use crate::upstream::{Outcome, Ticket, take_first};

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
    /// To send these commands. Their outcomes finish it.
    Ask(Work, Vec<Command>),
    /// To plan this request.
    Plan(Work, Box<Next>),
}

impl Work {
    /// Reads a connection and plans its requests. `None` if it broke.
    pub(super) fn gather(
        shared: &Shared,
        ready: Ready,
        scratch: &mut [u8],
        commands: &mut Vec<Command>,
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
        let mut work = Self {
            key,
            connection,
            // Most bring one request.
            exchanges: Vec::with_capacity(1),
            behind: None,
            more: false,
        };
        if let Some((waiting, outcomes)) = work.connection.take_done() {
            let exchange = Exchange::done(*waiting, outcomes);
            let last = !exchange.form.keep_alive;
            work.exchanges.push(exchange);
            if last {
                return Some(work);
            }
        } else if work.connection.has_given_up() {
            // What was answered before may still be on its way.
            work.connection.last_answer();
        }
        let first = commands.len();
        while let Some(next) =
            work.connection
                .next(shared.limits, &shared.budget, &shared.service, now)
        {
            if is_long(&next) {
                work.behind = Some(Behind::Long(Box::new(next)));
                work.more = true;
                break;
            }
            let before = commands.len();
            let exchange = plan(&shared.service, next, commands);
            if before > first && !shared.service.only_read(&commands[before..]) {
                let asked = commands.split_off(before);
                work.behind = Some(Behind::Asks(Box::new(exchange), asked));
                work.more = true;
                break;
            }
            let takes_over = matches!(exchange.answer, Answer::Stream(_) | Answer::Apart(..));
            // What is behind it is taken up when it has been answered.
            let goes_on = matches!(exchange.answer, Answer::Between(..));
            work.more |= goes_on;
            let last = !exchange.form.keep_alive || takes_over || goes_on;
            work.exchanges.push(exchange);
            if last {
                break;
            }
            if work.exchanges.len() == MAX_REQUESTS.min(work.connection.window()) {
                work.more = true;
                break;
            }
        }
        work.connection.release_received();
        Some(work)
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

    /// Answers the requests, in order, as far as that can be done. What the outcomes take of the memory budget, the answers
    /// take over.
    pub(super) fn finish(
        mut self,
        shared: &Arc<Shared>,
        mut outcomes: VecDeque<Outcome>,
        held: Option<Reservation>,
        now: Instant,
    ) -> Option<Rest> {
        // Whether the connection has been given its last answer.
        let mut closed = false;
        let mut exchanges = std::mem::take(&mut self.exchanges).into_iter().peekable();
        let hold = |outcomes: &[Outcome]| held.as_ref().map(|held| held.split(size(outcomes)));
        while let Some(exchange) = exchanges.next() {
            let Exchange {
                mut form,
                trim,
                answer,
                body,
            } = exchange;
            let (response, held) = match answer {
                Answer::Here(response) => (response, None),
                Answer::Come(come, respond) => {
                    let held = hold(&come);
                    (respond_to(&trim, respond, come), held)
                }
                Answer::Asked(count, respond, ticket) => {
                    let share = take_share(&mut outcomes, count, ticket, &mut form);
                    if closed {
                        continue;
                    }
                    let held = hold(&share);
                    (respond_to(&trim, respond, share), held)
                }
                Answer::Between(count, decide, ticket) => {
                    let share = take_share(&mut outcomes, count, ticket, &mut form);
                    if closed {
                        continue;
                    }
                    let held = hold(&share);
                    let step = unwinding(&trim, || decide(share)).unwrap_or_else(Err);
                    let response = match step {
                        Ok(Step::Done(response)) => response,
                        Ok(Step::Ask(ask)) => match shared.upstream.admit(&ask.commands) {
                            Ok(ticket) if ticket.is_bulky() => {
                                let held = (ticket, body);
                                self.wait_for(shared, Apart::bulky(ask), (form, trim), held, now);
                                return None;
                            }
                            Ok(ticket) => {
                                let count = ask.commands.len();
                                self.exchanges.push(Exchange {
                                    form,
                                    trim,
                                    answer: Answer::Asked(count, ask.respond, ticket),
                                    body,
                                });
                                return Some(Rest::Ask(self, ask.commands));
                            }
                            Err(error) => trim.problem(error.into()),
                        },
                        Err(problem) => trim.problem(problem),
                    };
                    (response, held)
                }
                Answer::Stream(_) | Answer::Apart(..) if closed => continue,
                Answer::Apart(..) if shared.is_stopping() => {
                    let problem =
                        Problem::new(503, "the gateway is shutting down; nothing was done");
                    (trim.problem(problem), None)
                }
                Answer::Apart(apart, _)
                    if apart.lane == Lane::Own && self.connection.has_hung_up() =>
                {
                    // Nobody is there for what it would take.
                    closed = true;
                    continue;
                }
                Answer::Apart(apart, ticket) => {
                    self.wait_for(shared, apart, (form, trim), (ticket, body), now);
                    return None;
                }
                stream @ Answer::Stream(_) => {
                    self.connection.turn(Exchange {
                        form,
                        trim,
                        answer: stream,
                        body,
                    });
                    continue;
                }
            };
            if closed {
                continue;
            }
            form.keep_alive &= !(shared.is_stopping() && exchanges.peek().is_none());
            closed = !form.keep_alive;
            self.connection
                .answer(response, trim, &form, &shared.budget, held);
        }
        if closed {
            self.connection.last_answer();
            self.more = false;
            self.behind = None;
        }
        self.connection.invite_body();
        // To make what is large an answer has taken a while.
        let now = held.map_or(now, |_| Instant::now());
        if let Some(behind) = self.behind.take() {
            return self.go_on(shared, behind, now);
        }
        self.put_back(shared, now);
        None
    }

    /// Takes up the request behind those that have been answered.
    fn go_on(mut self, shared: &Shared, behind: Behind, now: Instant) -> Option<Rest> {
        if self.connection.send(now).is_err() {
            shared.table.remove(self.key);
            return None;
        }
        Some(match behind {
            Behind::Asks(exchange, commands) => {
                self.exchanges.push(*exchange);
                Rest::Ask(self, commands)
            }
            Behind::Long(next) => Rest::Plan(self, next),
        })
    }

    /// Sends what there is to send, and puts the connection back to rest.
    fn put_back(mut self, shared: &Shared, now: Instant) {
        let broken = self.connection.send(now).is_err();
        if !broken && let Some(exchange) = self.connection.take_turned() {
            return hand_over(shared, self.key, *self.connection, exchange);
        }
        let more = self.more || self.connection.has_more();
        if broken || (self.connection.is_over() && !more) {
            shared.table.remove(self.key);
            return;
        }
        let deadline = self.connection.deadline(&shared.config);
        if shared
            .table
            .put_back(self.key, self.connection, deadline, more)
        {
            shared.wake();
        }
    }

    /// Sends commands apart from those of others, and lets the connection wait for them.
    fn wait_for(
        mut self,
        shared: &Arc<Shared>,
        apart: Apart,
        (form, trim): (Form, Trim),
        held: (Ticket, Option<Reservation>),
        now: Instant,
    ) {
        let commands = send_apart(&shared.upstream, &apart);
        let (key, table) = (self.key, Arc::clone(shared));
        let arrived = move || {
            table.table.look_at(key);
            table.wake();
        };
        // Only what may block is given up with its client; all else has run, and may be asked for by one that
        // has merely said all it has to say.
        let blocks = apart.lane == Lane::Own;
        let parts = (form, trim, apart.respond);
        let waiting = Waiting::start(parts, held, blocks, commands, arrived, &shared.runtime);
        self.connection.wait_for(waiting, blocks);
        self.more = false;
        self.put_back(shared, now);
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

/// The outcomes of a request's commands. They have to be taken whether or not they are answered.
///
/// After an outcome that nobody knows the connection ends, and what was pipelined behind it is not taken up: it
/// could overtake.
fn take_share(
    outcomes: &mut VecDeque<Outcome>,
    count: usize,
    ticket: Ticket,
    form: &mut Form,
) -> Vec<Outcome> {
    let share: Vec<_> = take_first(outcomes, count).into();
    ticket.note(&share);
    // Before anybody is told.
    drop(ticket);
    form.keep_alive &= !any_unknown(&share);
    share
}
