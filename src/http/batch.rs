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
use super::panics::guarded;
use super::work::{Rest, Work, size};
use crate::bridge::run_or_leave;
use crate::command::Command;
use crate::error::Error;
use crate::upstream::{NodeNumber, Outcome, Pump, Sent, Share};

/// Replies that take so much of memory are large.
const LARGE: usize = 128 * 1024;

/// The connections whose requests need Redis, and what they want of it.
pub(super) struct Batch {
    shared: Arc<Shared>,
    work: Vec<Work>,
    commands: Vec<Command>,
    /// The one that all the commands go to; `None` if there are several.
    node: Option<NodeNumber>,
}

/// Serves connections that are ready.
///
/// Where Redis is not waited for, many connections make several pipelines: in one for all, the first would wait for the
/// last to be read, with nobody busy on them meanwhile. (Measured beside one for all: with Redis 5 ms away and 256 clients
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

/// The same, with one pipeline for all of them.
fn serve_together(
    shared: &Arc<Shared>,
    ready: impl ExactSizeIterator<Item = Ready>,
    scratch: &mut [u8],
    now: Instant,
) {
    let mut batch = Batch {
        shared: Arc::clone(shared),
        work: Vec::with_capacity(ready.len()),
        commands: Vec::with_capacity(ready.len()),
        node: None,
    };
    // On a Cluster, one for each further node, so that no client waits for a node that is not theirs.
    let mut others = Vec::new();
    for ready in ready {
        let before = batch.commands.len();
        let key = ready.key;
        let gathered = guarded(shared, key, || {
            Work::gather(shared, ready, scratch, &mut batch.commands, now)
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
                finish(shared, work, VecDeque::new(), now);
            }
        }
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
    /// One of a single connection.
    fn of_one(shared: &Arc<Shared>, work: Work, commands: Vec<Command>) -> Self {
        Self {
            shared: Arc::clone(shared),
            work: vec![work],
            commands,
            node: None,
        }
    }

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
                }),
            }
            return;
        }
        self.work.push(work);
    }

    /// Sends the commands.
    fn send(mut self) -> UnderWay<impl Future<Output = Sent> + Send + 'static> {
        // Packed, they are not needed any more.
        let commands = std::mem::take(&mut self.commands);
        let (pump, sent) = self.shared.upstream.send_together(&commands);
        drop(commands);
        UnderWay {
            batch: self,
            pump,
            sent,
            since: Instant::now(),
        }
    }

    /// Leaves it with the runtime until this is there.
    fn leave(self, sent: impl Future<Output = Sent> + Send + 'static) {
        let runtime = self.shared.runtime.clone();
        let late = |batch: Self, sent| Arc::clone(&batch.shared).leave_finished(batch, sent);
        let none = Duration::ZERO;
        if let Some((batch, sent)) = run_or_leave(&runtime, sent, |_, _| {}, self, none, late) {
            batch.finish(sent);
        }
    }

    /// The second halves.
    pub(super) fn finish(mut self, mut sent: Sent) {
        let now = Instant::now();
        for work in std::mem::take(&mut self.work) {
            // Its own share, whatever it does with it.
            match sent.share(work.commands()) {
                Share::Done(outcomes) => finish(&self.shared, work, outcomes, now),
                Share::Open(rest) => {
                    Self::of_one(&self.shared, work, Vec::new()).leave(rest);
                }
            }
        }
    }
}

/// A batch whose commands are on their way since then.
struct UnderWay<F> {
    batch: Batch,
    pump: Pump,
    sent: F,
    since: Instant,
}

impl<F: Future<Output = Sent> + Send + 'static> UnderWay<F> {
    /// Waits until this point in time, if it pays at all, and leaves it then.
    fn wait(self, by: Instant) {
        let Self {
            batch,
            pump,
            sent,
            since,
        } = self;
        let (shared, node) = (Arc::clone(&batch.shared), batch.node);
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
                // What was there before it was waited for did not take long.
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

/// Answers a connection's requests: on this thread, or on another one of the pool if what they are made of is large. To
/// make that an answer takes a while, for which nobody else is to wait.
fn finish(shared: &Arc<Shared>, mut work: Work, mut outcomes: VecDeque<Outcome>, now: Instant) {
    let size = size(&outcomes) + size(work.come().map(|outcome| &*outcome));
    if size < LARGE {
        return finish_here(shared, work, outcomes, None, now);
    }
    // An answer may be several times as large, but that it is made only if there is memory for this.
    let Some(held) = shared.budget.reserve(size) else {
        { outcomes.iter_mut() }
            .chain(work.come())
            .for_each(give_up_large);
        return finish_here(shared, work, outcomes, None, now);
    };
    let own = Arc::clone(shared);
    shared.pool.execute(move || {
        let now = Instant::now();
        finish_here(&own, work, outcomes, Some(held), now);
    });
}

/// Gives a large reply up.
fn give_up_large(outcome: &mut Outcome) {
    if outcome.as_ref().is_ok_and(|reply| reply.size() > SMALL) {
        *outcome = Err(Error::TooLarge);
    }
}

/// Answers a connection's requests. If it needs more for that, that is sent and left with the runtime, or planned by
/// another thread of the pool.
fn finish_here(
    shared: &Arc<Shared>,
    work: Work,
    outcomes: VecDeque<Outcome>,
    held: Option<Reservation>,
    now: Instant,
) {
    let rest = guarded(shared, work.key, || {
        work.finish(shared, outcomes, held, now)
    });
    match rest.flatten() {
        None => {}
        Some(Rest::Ask(work, commands)) => Batch::of_one(shared, work, commands).send().leave(),
        Some(Rest::Plan(work, next)) => {
            let own = Arc::clone(shared);
            shared.pool.execute(move || plan(&own, work, next));
        }
    }
}

/// Plans a request by itself, and sends what it asks.
fn plan(shared: &Arc<Shared>, mut work: Work, next: Box<Next>) {
    let planned = guarded(shared, work.key, || {
        let commands = work.plan(shared, *next);
        (work, commands)
    });
    match planned {
        None => {}
        Some((work, commands)) if commands.is_empty() => {
            finish(shared, work, VecDeque::new(), Instant::now());
        }
        Some((work, commands)) => Batch::of_one(shared, work, commands).send().leave(),
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
