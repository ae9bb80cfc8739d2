//! Commands on their way: each node is sent its share, and what is sent on is sent again, until all have an
//! outcome.

use std::future::Future;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio::time::Instant;

use super::routing::{Errand, To};
use super::slot_map::{Member, SlotMap};
use super::{Cluster, ROUNDS};
use crate::command::Command;
use crate::error::Error;
use crate::upstream::node::Line;
use crate::upstream::pipe::Pump;
use crate::upstream::{Outcome, Packed, Route};

/// Commands on their way.
#[derive(Debug)]
pub(in crate::upstream) struct Dispatch {
    cluster: Arc<Cluster>,
    line: Line,
    commands: Vec<Command>,
    /// One for each command; it counts when no errand is open for it.
    outcomes: Vec<Outcome>,
    /// What has to be sent, or sent on.
    open: Vec<Errand>,
    /// How many of the commands have been taken away.
    taken: usize,
    /// The view by which cursors are read, whatever comes later.
    first_slot_map: Arc<SlotMap>,
    round: u32,
    deadline: Instant,
}

/// What one node is sent, and whose each reply is. Replies of nobody are those to ASKING.
struct Parcel {
    member: Member,
    commands: Vec<Command>,
    whose: Vec<Option<usize>>,
}

/// What one node replied, and whose each reply is.
struct Received {
    whose: Vec<Option<usize>>,
    replies: Vec<Outcome>,
}

impl Dispatch {
    /// Nothing is sent yet.
    pub(in crate::upstream) fn new(
        cluster: &Arc<Cluster>,
        line: Line,
        commands: Vec<Command>,
        route: Route,
        deadline: Instant,
    ) -> Self {
        Self {
            cluster: Arc::clone(cluster),
            line,
            outcomes: vec![Err(Error::Unreachable); commands.len()],
            open: route.errands,
            commands,
            taken: 0,
            first_slot_map: cluster.slot_map(),
            round: 0,
            deadline,
        }
    }

    /// Whether something has to be sent on.
    pub(in crate::upstream) fn is_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// One outcome for each command, in the same order.
    pub(in crate::upstream) fn outcomes(self) -> Vec<Outcome> {
        self.outcomes
    }

    /// Takes the next so many commands, which go on alone, with their outcomes. No errand may be for others too.
    pub(in crate::upstream) fn take_next(&mut self, count: usize) -> Self {
        let end = (self.taken + count).min(self.commands.len());
        let own = self.taken..end;
        self.taken = end;
        let is_own = |errand: &Errand| own.contains(&errand.places.start);
        let (mut open, others): (Vec<_>, Vec<_>) = self.open.drain(..).partition(is_own);
        self.open = others;
        for errand in &mut open {
            errand.places = errand.places.start - own.start..errand.places.end - own.start;
        }
        let outcomes = self.outcomes[own.clone()].iter_mut();
        let taken = Err(Error::Unreachable);
        Self {
            cluster: Arc::clone(&self.cluster),
            line: self.line,
            commands: self.commands[own].to_vec(),
            outcomes: outcomes
                .map(|outcome| std::mem::replace(outcome, taken.clone()))
                .collect(),
            open,
            taken: 0,
            first_slot_map: Arc::clone(&self.first_slot_map),
            round: self.round,
            deadline: self.deadline,
        }
    }

    /// Sends all for the first time: it is on its way when this returns. What ends with the first replies has its
    /// outcomes when the future is done. If all goes to one node, the pump is that of the way there.
    pub(in crate::upstream) fn begin(self) -> (Pump, impl Future<Output = Self> + Send + 'static) {
        let slot_map = Arc::clone(&self.first_slot_map);
        self.round(&slot_map)
    }

    /// Sends what is open once, and takes up the replies.
    fn round(
        mut self,
        slot_map: &SlotMap,
    ) -> (Pump, impl Future<Output = Self> + Send + 'static + use<>) {
        let (pump, replies) = self.send(slot_map);
        let taken_up = async move {
            let replies = replies.await;
            self.take_up(replies);
            self
        };
        (pump, taken_up)
    }

    /// Sends on what is open until nothing is.
    pub(in crate::upstream) async fn finish(mut self) -> Vec<Outcome> {
        while self.is_open() {
            let redirects = self
                .open
                .iter()
                .filter_map(|errand| errand.redirect.as_ref());
            let round = self.round - 1;
            let ready = self.cluster.get_ready(redirects, round, self.deadline);
            if ready.await {
                for errand in &mut self.open {
                    errand.redirect.take_if(|redirect| redirect.is_ask());
                }
            }
            if Instant::now() >= self.deadline {
                // What was said last stands: nothing has run.
                self.settle(true);
                break;
            }
            let slot_map = self.cluster.slot_map();
            let (pump, taken_up) = self.round(&slot_map);
            // No thread waits here.
            drop(pump);
            self = taken_up.await;
        }
        self.outcomes
    }

    /// Sends every open errand once.
    fn send(
        &mut self,
        slot_map: &SlotMap,
    ) -> (
        Pump,
        impl Future<Output = Vec<Received>> + Send + 'static + use<>,
    ) {
        let parcels = self.parcels(slot_map);
        let left = self.deadline.saturating_duration_since(Instant::now());
        let mut pump = Pump::idle();
        let alone = parcels.len() == 1;
        let sent: Vec<_> = parcels
            .into_iter()
            .map(|parcel| {
                let packed = Packed::all(&parcel.commands);
                let (own, replies) = parcel.member.node.send_pumped(self.line, packed, left);
                if alone {
                    pump = own;
                }
                replies.map(|replies| Received {
                    whose: parcel.whose,
                    replies,
                })
            })
            .collect();
        (pump, join_all(sent))
    }

    /// What each node is to be sent. Errands that no node can be sent have their replies.
    fn parcels(&mut self, slot_map: &SlotMap) -> Vec<Parcel> {
        let mut parcels = Vec::new();
        for (at, errand) in self.open.iter_mut().enumerate() {
            errand.replies.clear();
            if let To::All(_) = errand.to {
                let lacking = slot_map
                    .masters()
                    .iter()
                    .find(|member| !member.node.is_live());
                match lacking {
                    Some(lacking) => errand.replies.push(lacking.node.unsent()),
                    None if slot_map.masters().is_empty() => {
                        errand.replies.push(Err(slot_map.lack()));
                    }
                    None => {
                        for member in slot_map.masters() {
                            let words = errand.worded(slot_map, &self.commands);
                            parcel_for(&mut parcels, member).put(at, words);
                        }
                    }
                }
                continue;
            }
            match self.cluster.destination(errand, slot_map, &self.commands) {
                Ok((member, asking)) => {
                    let parcel = parcel_for(&mut parcels, &member);
                    if asking {
                        parcel.put_asking();
                    }
                    parcel.put(at, errand.worded(slot_map, &self.commands));
                }
                Err(outcome) => errand.take_unsent(outcome),
            }
        }
        parcels
    }

    /// Takes up the replies to what was sent.
    fn take_up(&mut self, received: Vec<Received>) {
        for Received { whose, replies } in received {
            for (whose, reply) in whose.into_iter().zip(replies) {
                if let Some(errand) = whose.and_then(|at| self.open.get_mut(at)) {
                    errand.replies.push(reply);
                }
            }
        }
        for errand in &mut self.open {
            if let To::All(_) = errand.to {
                tell_half_done(&mut errand.replies);
            }
        }
        let last = self.round == ROUNDS || Instant::now() >= self.deadline;
        self.round += 1;
        self.settle(last);
    }

    /// Takes the outcomes from the replies that there are. Unless these are the last, what they send on stays open.
    fn settle(&mut self, last: bool) {
        for mut errand in std::mem::take(&mut self.open) {
            match errand.redirected() {
                Some(redirect) if !last => {
                    errand.redirect = Some(redirect);
                    self.open.push(errand);
                }
                _ => {
                    let places = errand.places.clone();
                    let done = errand.outcomes(&self.first_slot_map, &self.commands);
                    for (place, outcome) in places.zip(done) {
                        if outcome.is_err() {
                            self.cluster.wish();
                        }
                        self.outcomes[place] = outcome;
                    }
                }
            }
        }
    }
}

/// What this node is sent.
fn parcel_for<'a>(parcels: &'a mut Vec<Parcel>, member: &Member) -> &'a mut Parcel {
    let same = |parcel: &Parcel| Arc::ptr_eq(&parcel.member.node, &member.node);
    let place = parcels.iter().position(same).unwrap_or_else(|| {
        parcels.push(Parcel {
            member: member.clone(),
            commands: Vec::new(),
            whose: Vec::new(),
        });
        parcels.len() - 1
    });
    &mut parcels[place]
}

impl Parcel {
    /// Adds the commands of an errand, which is known by its place.
    fn put(&mut self, at: usize, commands: Vec<Command>) {
        self.whose.extend(commands.iter().map(|_| Some(at)));
        self.commands.extend(commands);
    }

    /// Tells the node that it is asked for a slot that is on its way there.
    fn put_asking(&mut self) {
        self.commands.push(Command::new("ASKING"));
        self.whose.push(None);
    }
}

/// Where a command for all nodes reached some, none can be told that nothing was done.
fn tell_half_done(replies: &mut [Outcome]) {
    let unsent = |reply: &Outcome| matches!(reply, Err(Error::NotLetIn(_) | Error::Unreachable));
    if replies.iter().any(|reply| !unsent(reply)) {
        for reply in replies.iter_mut().filter(|reply| unsent(reply)) {
            *reply = Err(Error::BrokenOff);
        }
    }
}
