//! What event streams may have missed while topics of theirs did not stand upstream. They are told of it by one `gap` event
//! when all of their topics stand again.
//!
//! Until then a stream is sent messages of those topics that stand already. To a client that came back by the id of one of
//! these, nothing would seem to be missing. So the topics that were interrupted begin anew (their floor is raised, see
//! `replay`) when the `gap` is sent, because it may not arrive, and when the stream ends before that.

use super::actor::Actor;
use super::event::{self, Format};
use super::fanout::Order;
use super::roster::{Gap, State};
use super::{SubscriberId, Topic};

impl Actor {
    /// A topic stands now; so may all topics of some who listen to it.
    pub(super) fn stands(&mut self, topic: &Topic) {
        let Some(channel) = self.channels.get(topic) else {
            return;
        };
        // First those who are told of a gap: that raises floors, by which others are opened.
        let is_open = |id: &SubscriberId| self.subscribers.get(id).is_some_and(|s| s.open);
        let listeners = channel.listeners.iter().copied();
        let (open, others): (Vec<_>, Vec<_>) = listeners.partition(is_open);
        for id in open.into_iter().chain(others) {
            let Some(subscriber) = self.subscribers.get_mut(&id) else {
                continue;
            };
            subscriber.missing -= 1;
            if subscriber.missing > 0 {
                continue;
            }
            if subscriber.open && subscriber.own.is_none() {
                if let Some(gap) = subscriber.gap.take() {
                    self.begin_here(&gap.topics);
                    self.tell_of_gap(id, &gap);
                }
            } else {
                self.open(id);
            }
        }
    }

    /// Counts the topics of a stream that do not stand. If it is open it is to be told of them.
    pub(super) fn count_missing(&mut self, id: SubscriberId) {
        let Some(subscriber) = self.subscribers.get_mut(&id) else {
            return;
        };
        let is_missing = |topic: &&Topic| {
            let channel = self.channels.get(*topic);
            channel.is_none_or(|channel| channel.state != State::Standing)
        };
        let missing: Vec<_> = subscriber.topics.iter().filter(is_missing).collect();
        subscriber.missing = missing.len();
        if !subscriber.open {
            return;
        }
        let gap = subscriber.gap.get_or_insert_with(|| Gap {
            reason: "interrupted",
            topics: Vec::new(),
        });
        for topic in missing {
            if !gap.topics.contains(topic) {
                gap.topics.push(topic.clone());
            }
        }
    }

    /// Has these topics begin anew at the last event: whoever comes back by an earlier one is told of a gap.
    pub(super) fn begin_here(&mut self, topics: &[Topic]) {
        for topic in topics {
            if let Some(channel) = self.channels.get_mut(topic)
                && channel.state == State::Standing
            {
                channel.replay.begins_at(self.sequence);
            }
        }
    }

    /// Tells a stream of what it may have missed.
    pub(super) fn tell_of_gap(&self, id: SubscriberId, gap: &Gap) {
        let Some(subscriber) = self.subscribers.get(&id) else {
            return;
        };
        let shape = subscriber.shape;
        if shape.format == Format::Upstash {
            let topics = &subscriber.topics;
            let confirmed = event::opening(self.position(0), shape, topics, self.retry);
            self.fanout.order(Order::Send(id, vec![confirmed]));
        }
        let here = self.position(self.sequence);
        let gap = event::gap(here, shape, gap.reason, &gap.topics, None);
        self.fanout.order(Order::Send(id, vec![gap]));
    }
}

#[cfg(test)]
mod tests;
