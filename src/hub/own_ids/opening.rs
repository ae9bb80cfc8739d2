//! How a stream of entries under their own ids begins: with what comes next, with what is kept in memory, or by catching
//! up from Redis.

use std::sync::Arc;

use super::{Abort, Begin};
use crate::hub::SubscriberId;
use crate::hub::actor::Actor;
use crate::hub::entries::{CatchUp, EntryId, Loss, Reason, encode};
use crate::hub::event::Encoded;
use crate::hub::fanout::Order;

impl Actor {
    /// Sends a stream's head, if it has not been, and goes on from where it begins, if that can be told.
    pub(in crate::hub) fn open_own(&mut self, id: SubscriberId) {
        let retry = self.retry.mul_f32(1.0 + fastrand::f32() / 2.0);
        let Some(listener) = self.subscribers.get_mut(&id) else {
            return;
        };
        let (Some(own), Some(topic)) = (&mut listener.own, listener.topics.first()) else {
            return;
        };
        let Some(channel) = self.channels.get(topic) else {
            return;
        };
        if own.awaits_check {
            return;
        }
        let is_new = !std::mem::replace(&mut listener.open, true);
        listener.refuse = None;
        let opening = |id| is_new.then(|| encode::opening(id, retry));
        let gap = |loss: Loss, reason| encode::gap(&loss, reason, topic.name());
        let end = channel.end();
        match own.begin {
            begin if !channel.stands() => {
                let seen = match begin {
                    Begin::Seen(seen) => Some(seen),
                    Begin::Now | Begin::Behind(_) | Begin::Unknown => None,
                };
                own.was_interrupted |= begin == Begin::Now;
                if let Some(opening) = opening(seen) {
                    let order = Order::Open(id, vec![opening], Vec::new());
                    self.fanout.order(order);
                }
            }
            begin if begin.is_now(end) => {
                let reason = match begin {
                    Begin::Unknown => Some("unknown-id"),
                    _ => own.was_interrupted.then_some("interrupted"),
                };
                let gap = reason.map(|reason| gap(Loss::new(Reason::NotKept, end), reason));
                let events = opening(Some(end)).into_iter().chain(gap).collect();
                self.join_others(id, events);
            }
            Begin::Seen(seen) => {
                // A client that left before a loss was told may have seen what came behind it.
                let untold = channel.losses.untold(seen);
                let gap = untold.map(|reason| gap(Loss::new(reason, seen), reason.text()));
                let events = opening(Some(seen)).into_iter().chain(gap).collect();
                self.go_on_behind(id, seen, true, events);
            }
            Begin::Behind(chosen) => {
                let events = opening(None).into_iter().collect();
                self.go_on_behind(id, chosen, false, events);
            }
            // Both begin now.
            Begin::Now | Begin::Unknown => {}
        }
    }

    /// Sends a stream these events and what is kept behind an entry, which joins it to the others; or has it catch up from
    /// there, if not all of that is kept. `is_seen` is whether its client has seen the entry, or only chosen to begin
    /// behind it.
    fn go_on_behind(
        &mut self,
        id: SubscriberId,
        entry: EntryId,
        is_seen: bool,
        mut events: Vec<Encoded>,
    ) {
        let Some(listener) = self.subscribers.get_mut(&id) else {
            return;
        };
        let (Some(own), Some(topic)) = (&mut listener.own, listener.topics.first()) else {
            return;
        };
        let Some(channel) = self.channels.get_mut(topic) else {
            return;
        };
        let (end, replay) = (channel.end(), &mut channel.replay);
        let is_at_hand = replay.entry_floor() <= entry && entry <= end;
        // An entry that is not known here may be of a stream that was there before this one.
        let is_known =
            !is_seen || entry == end || entry == replay.entry_floor() || replay.has_entry(entry);
        let room = self.subscriber_buffer / 2;
        if is_at_hand
            && is_known
            && let Some(rest) = self.memory.rest(replay, entry, room)
        {
            events.extend(rest);
            return self.join_others(id, events);
        }
        let Some(end) = &channel.end else {
            return;
        };
        let catch_up = CatchUp {
            subscriber: id,
            key: topic.name().clone(),
            seen: entry,
            must_be_complete: is_seen,
            until_gone: own.until_gone,
            end: end.subscribe(),
            upstream: self.pages.upstream.clone(),
            pages: self.pages.tell.clone(),
            readers: Arc::clone(&self.pages.readers),
        };
        own.covered = entry;
        own.catching_up = Some(Abort(tokio::spawn(catch_up.run()).abort_handle()));
        self.fanout.order(Order::Open(id, events, Vec::new()));
    }
}
