//! The work on the connections that are ready: all their requests, one pipeline, all their answers.
//!
//! The first halves of many requests are gathered into one list of commands, which goes to Redis as one
//! pipeline; each request's second half takes its share of the outcomes. If Redis is slower than it pays to
//! wait for, the batch is left with the runtime and finished when it has been answered (`http::finished`).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::budget::Reservation;
use super::connection::Connection;
use super::entry::{Answer, Entry, any_unknown, plan};
use super::handover::hand_over;
use super::panics::{guarded, unwinding};
use super::plan::{Apart, Ask, Lane, Step};
use super::problem::Problem;
use super::response::Form;
use super::service::{Trim, send_apart};
use super::table::Ready;
use super::turn::Shared;
use super::waiting::Waiting;
use crate::bridge::run_or_leave;
use crate::command::Command;
use crate::upstream::{NodeNumber, Outcome, Sent, Share, Ticket};

/// Requests of one connection in one batch; its others have to wait for their turn.
const MAX_REQUESTS: usize = 128;

/// The connections whose requests need Redis, and what they want of it.
pub(super) struct Batch {
    shared: Arc<Shared>,
    work: Vec<Work>,
    commands: Vec<Command>,
    /// The one that all the commands go to; `None` if there are several.
    node: Option<NodeNumber>,
    began: Instant,
}

/// A connection and its requests, in order.
struct Work {
    key: usize,
    connection: Box<Connection>,
    entries: Vec<Entry>,
    /// Whether more whole requests may have been received.
    more: bool,
}

/// Serves connections that are ready.
///
/// Where Redis is not waited for, many connections make several pipelines: in one for all, the first would wait for the
/// last to be read, with nobody busy on them meanwhile. (Measured beside one for all: with Redis 5 ms away and 256 clients
/// a twentieth more requests a second, with 1 ms and 16 clients a tenth, for a seventh more CPU time a request.)
pub(super) fn serve(shared: &Arc<Shared>, ready: Vec<Ready>, scratch: &mut [u8], now: Instant) {
    let patience = shared.pace.patience();
    let portion = if patience.is_zero() {
        (ready.len() / 4).clamp(4, 16)
    } else {
        ready.len()
    };
    let mut ready = ready.into_iter();
    while ready.len() > 0 {
        let together = ready.by_ref().take(portion);
        serve_together(shared, together, scratch, now, patience);
    }
}

/// The same, with one pipeline for all of them, which is waited for as long as `patience`.
fn serve_together(
    shared: &Arc<Shared>,
    ready: impl Iterator<Item = Ready>,
    scratch: &mut [u8],
    now: Instant,
    patience: Duration,
) {
    let mut batch = Batch {
        shared: Arc::clone(shared),
        work: Vec::new(),
        commands: Vec::new(),
        node: None,
        began: now,
    };
    // On a Cluster, one for each further node, so that nobody waits for a node that is not theirs.
    let mut others = Vec::new();
    for ready in ready {
        let before = batch.commands.len();
        let key = ready.key;
        let gathered = guarded(shared, key, || {
            gather(shared, ready, scratch, &mut batch.commands, now)
        });
        if gathered.is_none() {
            // Nobody is left to take their outcomes.
            batch.commands.truncate(before);
        }
        if let Some(work) = gathered.flatten() {
            if batch.commands.len() > before {
                batch.take(work, before, &mut others);
            } else {
                // Nothing to wait for.
                guarded(shared, key, || {
                    work.finish(shared, &mut VecDeque::new(), now)
                });
            }
        }
    }
    for other in others {
        other.send(Duration::ZERO);
    }
    if !batch.commands.is_empty() {
        batch.send(patience);
    }
}

/// Reads a connection and plans its requests. `None` if it broke.
fn gather(
    shared: &Shared,
    ready: Ready,
    scratch: &mut [u8],
    commands: &mut Vec<Command>,
    now: Instant,
) -> Option<Work> {
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
    let mut work = Work {
        key,
        connection,
        entries: Vec::new(),
        more: false,
    };
    if let Some((waiting, outcomes)) = work.connection.take_done() {
        let entry = Entry::done(*waiting, outcomes);
        let last = !entry.form.keep_alive;
        work.entries.push(entry);
        if last {
            return Some(work);
        }
    } else if work.connection.has_given_up() {
        shared.table.remove(key);
        return None;
    }
    while let Some(next) = work
        .connection
        .next(shared.limits, &shared.budget, &shared.service, now)
    {
        let entry = plan(&shared.service, next, commands);
        let takes_over = matches!(entry.answer, Answer::Stream(_) | Answer::Apart(..));
        // What is behind it is taken up when it has been answered.
        let goes_on = matches!(entry.answer, Answer::Between(..));
        work.more |= goes_on;
        let last = !entry.form.keep_alive || takes_over || goes_on;
        work.entries.push(entry);
        if last {
            break;
        }
        if work.entries.len() == MAX_REQUESTS.min(work.connection.window()) {
            work.more = true;
            break;
        }
    }
    work.connection.release_received();
    Some(work)
}

impl Batch {
    /// Takes work whose commands have been added from a place on; or has another take it, if they go
    /// elsewhere than those before them.
    fn take(&mut self, work: Work, place: usize, others: &mut Vec<Self>) {
        let node = self.shared.upstream.only_node(&self.commands[place..]);
        if self.work.is_empty() {
            self.node = node;
        } else if node.is_none() || node != self.node {
            let commands = self.commands.split_off(place);
            let same = |other: &&mut Self| node.is_some() && other.node == node;
            match others.iter_mut().find(same) {
                Some(other) => {
                    other.commands.extend(commands);
                    other.work.push(work);
                }
                None => others.push(Self {
                    shared: Arc::clone(&self.shared),
                    work: vec![work],
                    commands,
                    node,
                    began: self.began,
                }),
            }
            return;
        }
        self.work.push(work);
    }

    /// Sends the commands.
    fn send(mut self, patience: Duration) {
        let shared = Arc::clone(&self.shared);
        // Packed, they are not needed any more.
        let commands = std::mem::take(&mut self.commands);
        let (pump, sent) = shared.upstream.send_together(&commands);
        drop(commands);
        self.wait(sent, |by, is_done| pump.run(by, is_done), patience);
    }

    /// Waits as long as it pays.
    fn wait(
        self,
        sent: impl Future<Output = Sent> + Send + 'static,
        pump: impl FnOnce(Instant, &mut dyn FnMut() -> bool),
        patience: Duration,
    ) {
        let shared = Arc::clone(&self.shared);
        let late = |batch: Self, sent| {
            let shared = Arc::clone(&batch.shared);
            shared.leave_finished(batch, sent);
        };
        if let Some((batch, sent)) = run_or_leave(&shared.runtime, sent, pump, self, patience, late)
        {
            batch.finish(sent);
        }
    }

    /// The second halves.
    pub(super) fn finish(mut self, mut sent: Sent) {
        let now = Instant::now();
        self.shared.pace.note(now - self.began);
        for work in std::mem::take(&mut self.work) {
            let key = work.key;
            // Its own share, whatever it does with it.
            match sent.share(work.commands()) {
                Share::Done(mut outcomes) => {
                    guarded(&self.shared, key, || {
                        work.finish(&self.shared, &mut outcomes, now)
                    });
                }
                Share::Open(rest) => {
                    let alone = Self {
                        shared: Arc::clone(&self.shared),
                        work: vec![work],
                        commands: Vec::new(),
                        node: None,
                        began: now,
                    };
                    alone.wait(rest, |_, _| {}, Duration::ZERO);
                }
            }
        }
    }
}

impl Drop for Batch {
    /// Frees the slots of connections that were not finished: their batch was dropped on its way.
    fn drop(&mut self) {
        for work in &self.work {
            self.shared.table.remove(work.key);
        }
    }
}

/// The outcomes of a request's commands. They have to be taken whether or not they are answered.
///
/// After an outcome that nobody knows the connection ends, and what was pipelined behind it is not taken up: it
/// could overtake.
fn take_share(outcomes: &mut VecDeque<Outcome>, count: usize, form: &mut Form) -> Vec<Outcome> {
    let share: Vec<_> = outcomes.drain(..count.min(outcomes.len())).collect();
    form.keep_alive &= !any_unknown(&share);
    share
}

impl Work {
    /// How many commands it has in the batch.
    fn commands(&self) -> usize {
        self.entries.iter().map(Entry::commands).sum()
    }

    fn finish(mut self, shared: &Arc<Shared>, outcomes: &mut VecDeque<Outcome>, now: Instant) {
        let mut endless = None;
        // Whether the connection has been given its last answer.
        let mut closed = false;
        let mut entries = std::mem::take(&mut self.entries).into_iter().peekable();
        while let Some(entry) = entries.next() {
            let Entry {
                mut form,
                trim,
                answer,
                body,
            } = entry;
            let response = match answer {
                Answer::Here(response) => response,
                Answer::Asked(count, respond, ticket) => {
                    let share = take_share(outcomes, count, &mut form);
                    ticket.note(&share);
                    drop(ticket);
                    if closed {
                        continue;
                    }
                    let responded = unwinding(&trim, || respond(share)).unwrap_or_else(Err);
                    responded.unwrap_or_else(|problem| trim.problem(problem))
                }
                Answer::Between(count, decide, ticket) => {
                    let share = take_share(outcomes, count, &mut form);
                    drop(ticket);
                    if closed {
                        continue;
                    }
                    let step = unwinding(&trim, || decide(share)).unwrap_or_else(Err);
                    match step {
                        Ok(Step::Done(response)) => response,
                        Ok(Step::Ask(ask)) => match shared.upstream.admit(&ask.commands) {
                            Ok(ticket) => {
                                let rest = (form, trim, body);
                                return self.ask_again(shared, ask, ticket, rest, now);
                            }
                            Err(error) => trim.problem(error.into()),
                        },
                        Err(problem) => trim.problem(problem),
                    }
                }
                Answer::Stream(_) | Answer::Apart(..) if closed => continue,
                Answer::Apart(..) if shared.is_stopping() => {
                    let problem =
                        Problem::new(503, "the gateway is shutting down; nothing was done");
                    trim.problem(problem)
                }
                Answer::Apart(apart, ticket) => {
                    return self.wait_for(shared, apart, (form, trim), (ticket, body), now);
                }
                Answer::Stream(stream) => {
                    endless = Some((stream, form, trim));
                    continue;
                }
            };
            if closed {
                continue;
            }
            form.keep_alive &= !(shared.is_stopping() && entries.peek().is_none());
            closed = !form.keep_alive;
            self.connection
                .answer(response, &trim, &form, &shared.budget);
        }
        if closed {
            self.connection.last_answer();
            self.more = false;
        }
        self.connection.invite_body();
        match endless {
            Some((stream, form, trim)) => {
                hand_over(shared, self.key, *self.connection, stream, form, trim, now);
            }
            None => self.put_back(shared, now),
        }
    }

    /// Sends what the last request still asks for, and leaves it with the runtime. What has been answered
    /// before waits with it.
    fn ask_again(
        mut self,
        shared: &Arc<Shared>,
        ask: Ask,
        ticket: Ticket,
        (form, trim, body): (Form, Trim, Option<Reservation>),
        now: Instant,
    ) {
        self.entries.push(Entry {
            form,
            trim,
            answer: Answer::Asked(ask.commands.len(), ask.respond, ticket),
            body,
        });
        let batch = Batch {
            shared: Arc::clone(shared),
            work: vec![self],
            commands: ask.commands,
            node: None,
            began: now,
        };
        batch.send(Duration::ZERO);
    }

    /// Sends what there is to send, and puts the connection back to rest.
    fn put_back(mut self, shared: &Shared, now: Instant) {
        let broken = self.connection.send(now).is_err();
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
        let waiting = Waiting::start(parts, held, commands, arrived, &shared.runtime);
        self.connection.wait_for(waiting, blocks);
        self.more = false;
        self.put_back(shared, now);
    }
}
