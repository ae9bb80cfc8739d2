//! The work on the connections that are ready: all their requests, one pipeline, all their answers.
//!
//! The first halves of many requests are gathered into one list of commands, which goes to Redis as one
//! pipeline; each request's second half takes its share of the outcomes. If Redis is slower than it pays to
//! wait for, the batch is left with the runtime and finished when it has been answered (`http::finished`).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::budget::{Reservation, SMALL};
use super::connection::Next;
use super::connection_table::Ready;
use super::event_loop::Shared;
use super::latency::PATIENCE;
use super::panics::contain_in_connection;
use super::work::{Answered, Remaining, Work, size};
use crate::bridge::run_or_leave;
use crate::command::Command;
use crate::error::Error;
use crate::upstream::{NodeNumber, Outcome, Pump, Route, Sent, Share};

/// Bytes of replies from which on they are large.
const LARGE: usize = 128 * 1024;

/// Connections that are read, or sent to, one right after the other: system calls and the code between them push each
/// other out of the processor's caches. (Measured beside one by one: 0.93 to 0.97 of the CPU time a request.)
const AT_A_TIME: usize = 32;

/// The connections whose requests need Redis, and what they want of it.
pub(super) struct Batch {
    shared: Arc<Shared>,
    work: Vec<Work>,
    commands: Vec<Command>,
    /// Where the commands go.
    route: Route,
}

/// Serves connections that are ready.
///
/// Usually all of them share one pipeline. If Redis is far, so that no thread waits for it, they are divided among several:
/// the first pipeline is on its way while the connections of the next are still being read. (Measured beside one for all: with Redis 5 ms away and 256 clients
/// a twentieth more requests a second, with 1 ms and 16 clients a tenth, for a seventh more CPU time a request.)
pub(super) fn serve(shared: &Arc<Shared>, ready: Vec<Ready>, scratch: &mut [u8], now: Instant) {
    let portion = if shared.latency.is_far() {
        (ready.len() / 4).clamp(4, 16)
    } else {
        ready.len()
    };
    let mut ready = ready.into_iter();
    while ready.len() > 0 {
        let together = ready.by_ref().take(portion);
        serve_together(shared, together, scratch, now);
    }
}

/// Serves connections with one pipeline for all of them; on a Cluster, with one for each node.
fn serve_together(
    shared: &Arc<Shared>,
    mut ready: impl ExactSizeIterator<Item = Ready>,
    scratch: &mut [u8],
    now: Instant,
) {
    let mut batch = Batch {
        shared: Arc::clone(shared),
        work: Vec::with_capacity(ready.len()),
        commands: Vec::with_capacity(ready.len()),
        route: Route::default(),
    };
    // On a Cluster, a batch for each further node, so that no client waits for a node that its commands do not go to.
    let mut others = Vec::new();
    while ready.len() > 0 {
        let some = ready.by_ref().take(AT_A_TIME);
        let read = some.filter_map(|ready| {
            let key = ready.key;
            contain_in_connection(shared, key, || Work::receive(shared, ready, scratch, now))
                .flatten()
        });
        let mut answered = Vec::new();
        for mut work in read.collect::<Vec<_>>() {
            let before = batch.commands.len();
            let gathered = contain_in_connection(shared, work.key, || {
                work.gather(shared, &mut batch.commands, now);
                work
            });
            match gathered {
                // Its connection is gone, and nobody would take the outcomes.
                None => batch.commands.truncate(before),
                Some(work) if batch.commands.len() > before => {
                    batch.take(work, before, &mut others);
                }
                // Nothing to wait for.
                Some(work) => answered.extend(finish(shared, work, VecDeque::new(), now)),
            }
        }
        send(shared, answered);
    }
    if batch.commands.is_empty() {
        return;
    }
    // All are under way before any is waited for.
    let (first, others) = (batch.send(), others.into_iter().map(Batch::send));
    let others: Vec<_> = others.collect();
    let by = Instant::now() + PATIENCE;
    first.wait(by);
    others.into_iter().for_each(|other| other.wait(by));
}

impl Batch {
    /// A batch of a single connection.
    fn of_one(shared: &Arc<Shared>, work: Work, commands: Vec<Command>) -> Self {
        Self {
            shared: Arc::clone(shared),
            work: vec![work],
            route: shared.upstream.route(&commands),
            commands,
        }
    }

    /// Takes up the work whose commands begin at `place`. If they go to another node than those before them, they are moved
    /// to the batch of that node among `others`.
    fn take(&mut self, work: Work, place: usize, others: &mut Vec<Self>) {
        let route = self.shared.upstream.route(&self.commands[place..]);
        let node = route.node();
        let is_same = |batch: &Self| node.is_some() && batch.route.node() == node;
        if self.work.is_empty() {
            self.work.push(work);
            self.route = route;
        } else if is_same(self) {
            self.work.push(work);
            self.route.append(place, route);
        } else {
            let commands = self.commands.split_off(place);
            match others.iter_mut().find(|other| is_same(other)) {
                Some(other) => {
                    other.work.push(work);
                    other.route.append(other.commands.len(), route);
                    other.commands.extend(commands);
                }
                None => others.push(Self {
                    shared: Arc::clone(&self.shared),
                    work: vec![work],
                    commands,
                    route,
                }),
            }
        }
    }

    /// Sends the commands.
    fn send(mut self) -> UnderWay<impl Future<Output = Sent> + Send + 'static> {
        let commands = std::mem::take(&mut self.commands);
        let route = std::mem::take(&mut self.route);
        let node = route.node();
        let (pump, sent) = self.shared.upstream.send_together(commands, route);
        UnderWay {
            batch: self,
            node,
            pump,
            sent,
            since: Instant::now(),
        }
    }

    /// Leaves the batch with the runtime until its commands have their outcomes.
    fn leave(self, sent: impl Future<Output = Sent> + Send + 'static) {
        let runtime = self.shared.runtime.clone();
        let late = |batch: Self, sent| Arc::clone(&batch.shared).leave_finished(batch, sent);
        let none = Duration::ZERO;
        if let Some((batch, sent)) = run_or_leave(&runtime, sent, |_, _| {}, self, none, late) {
            batch.finish(sent);
        }
    }

    /// Takes its requests through the second halves of their routes, and sends the answers.
    pub(super) fn finish(mut self, mut sent: Sent) {
        let now = Instant::now();
        let shared = Arc::clone(&self.shared);
        let mut work = std::mem::take(&mut self.work).into_iter();
        while work.len() > 0 {
            let some = work.by_ref().take(AT_A_TIME);
            // Each takes its own share of the outcomes, even if it has no use for it.
            let answered = some.filter_map(|work| match sent.share(work.commands()) {
                Share::Done(outcomes) => finish(&shared, work, outcomes, now),
                Share::Open(rest) => {
                    Self::of_one(&shared, work, Vec::new()).leave(rest);
                    None
                }
            });
            send(&shared, answered.collect::<Vec<_>>());
        }
    }
}

/// A batch whose commands are under way.
struct UnderWay<F> {
    batch: Batch,
    /// The node that all of them go to; `None` if there are several.
    node: Option<NodeNumber>,
    pump: Pump,
    sent: F,
    /// When they were sent.
    since: Instant,
}

impl<F: Future<Output = Sent> + Send + 'static> UnderWay<F> {
    /// Waits for the outcomes until a point in time, if that is likely to be worth it, and then leaves the batch with the
    /// runtime.
    fn wait(self, by: Instant) {
        let Self {
            batch,
            node,
            pump,
            sent,
            since,
        } = self;
        let shared = Arc::clone(&batch.shared);
        let begin = Instant::now();
        let patience = if shared.latency.is_near(node) {
            by.saturating_duration_since(begin)
        } else {
            Duration::ZERO
        };
        let pump = |by, is_done: &mut dyn FnMut() -> bool| pump.run(by, is_done);
        let late = move |batch: Batch, sent| {
            let shared = Arc::clone(&batch.shared);
            shared.latency.note(node, since.elapsed());
            shared.leave_finished(batch, sent);
        };
        match run_or_leave(&shared.runtime, sent, pump, batch, patience, late) {
            Some((batch, sent)) => {
                // Counted from when the wait began: outcomes that were there before it cost nobody any time.
                shared.latency.note(node, begin.elapsed());
                batch.finish(sent);
            }
            None if patience > Duration::ZERO => shared.latency.note_vain_wait(node),
            None => {}
        }
    }

    /// Leaves it with the runtime.
    fn leave(self) {
        drop(self.pump);
        self.batch.leave(self.sent);
    }
}

/// Answers a connection's requests: on this thread, or on another one of the pool if their outcomes are large. Making
/// answers of those takes a while, for which no other connection should wait.
fn finish(
    shared: &Arc<Shared>,
    mut work: Work,
    mut outcomes: VecDeque<Outcome>,
    now: Instant,
) -> Option<Answered> {
    let size = size(&outcomes) + size(work.ready_outcomes().map(|outcome| &*outcome));
    if size < LARGE {
        return finish_here(shared, work, outcomes, None, now);
    }
    // An answer may take several times as much, but it is made only if there is memory for at least this.
    let Some(held) = shared.budget.reserve(size) else {
        for outcome in outcomes.iter_mut().chain(work.ready_outcomes()) {
            give_up_large(outcome);
        }
        return finish_here(shared, work, outcomes, None, now);
    };
    let own = Arc::clone(shared);
    shared.pool.execute(move || {
        let now = Instant::now();
        send(&own, finish_here(&own, work, outcomes, Some(held), now));
    });
    None
}

/// Replaces a large reply by the error that there is no memory for it.
fn give_up_large(outcome: &mut Outcome) {
    if outcome.as_ref().is_ok_and(|reply| reply.size() > SMALL) {
        *outcome = Err(Error::TooLarge);
    }
}

/// Answers a connection's requests on this thread. If more commands have to be sent for that, they are sent and left with
/// the runtime; a request with a long body is planned by another thread of the pool.
fn finish_here(
    shared: &Arc<Shared>,
    work: Work,
    outcomes: VecDeque<Outcome>,
    held: Option<Reservation>,
    now: Instant,
) -> Option<Answered> {
    let remaining = contain_in_connection(shared, work.key, || {
        work.finish(shared, outcomes, held, now)
    });
    match remaining.flatten()? {
        Remaining::Send(answered) => return Some(answered),
        Remaining::Ask(work, commands) => Batch::of_one(shared, work, commands).send().leave(),
        Remaining::Plan(work, next) => {
            let own = Arc::clone(shared);
            shared.pool.execute(move || plan(&own, work, next));
        }
    }
    None
}

/// Sends answers, and puts their connections back to rest.
fn send(shared: &Shared, answered: impl IntoIterator<Item = Answered>) {
    for answered in answered {
        contain_in_connection(shared, answered.key(), || answered.send(shared));
    }
}

/// Plans a request by itself, and sends what it asks.
fn plan(shared: &Arc<Shared>, mut work: Work, next: Box<Next>) {
    let planned = contain_in_connection(shared, work.key, || {
        let commands = work.plan(shared, *next);
        (work, commands)
    });
    match planned {
        None => {}
        Some((work, commands)) if commands.is_empty() => {
            let now = Instant::now();
            send(shared, finish(shared, work, VecDeque::new(), now));
        }
        Some((work, commands)) => Batch::of_one(shared, work, commands).send().leave(),
    }
}

impl Drop for Batch {
    /// Frees the slots of connections whose batch was dropped before it was finished, as when the runtime ends.
    fn drop(&mut self) {
        for work in &self.work {
            self.shared.table.remove(work.key);
        }
    }
}
