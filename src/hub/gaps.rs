//! What event streams may have missed while topics of theirs did not stand upstream. They are told of it by one `gap` event
//! when all of their topics stand again.
//!
//! If messages come before, those who wait are told first of the topics that stand by then: by an id behind these,
//! nobody could tell that it has not been told.

use std::collections::HashMap;

use super::actor::Actor;
use super::event::{self, Format};
use super::fanout::Order;
use super::roster::{Channel, Gap};
use super::{SubscriberId, Topic};

fn stands(channels: &HashMap<Topic, Channel>, topic: &Topic) -> bool {
    let channel = channels.get(topic);
    channel.is_some_and(Channel::stands)
}

impl Actor {
    /// A topic stands now; so may all topics of some who listen to it.
    pub(super) fn stands(&mut self, topic: &Topic) {
        let Some(channel) = self.channels.get(topic) else {
            return;
        };
        for id in channel.listeners.clone() {
            let Some(subscriber) = self.subscribers.get_mut(&id) else {
                continue;
            };
            subscriber.missing -= 1;
            let (stands, is_own) = (subscriber.missing == 0, subscriber.own.is_some());
            if subscriber.open && !is_own {
                self.untold.insert(id);
                if stands {
                    self.tell_of_gap(id);
                }
            } else if stands {
                self.open(id);
            }
        }
    }

    /// Counts the topics of a stream that do not stand. If it is open it is to be told of them.
    pub(super) fn count_missing(&mut self, id: SubscriberId) {
        let Some(subscriber) = self.subscribers.get_mut(&id) else {
            return;
        };
        let is_missing = |topic: &&Topic| !stands(&self.channels, topic);
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

    /// Something with an id is about to be sent: before it, streams are told of what they may have missed.
    pub(super) fn tell_of_gaps(&mut self) {
        for id in std::mem::take(&mut self.untold) {
            self.tell_of_gap(id);
        }
    }

    /// Tells a stream of what it may have missed of the topics that stand.
    pub(super) fn tell_of_gap(&mut self, id: SubscriberId) {
        self.untold.remove(&id);
        let stands = |topic: &Topic| stands(&self.channels, topic);
        let Some(subscriber) = self.subscribers.get_mut(&id) else {
            return;
        };
        let Some(gap) = subscriber.gap.take() else {
            return;
        };
        let (told, untold): (Vec<_>, Vec<_>) = gap.topics.into_iter().partition(stands);
        subscriber.gap = (!untold.is_empty()).then_some(Gap {
            topics: untold,
            ..gap
        });
        if told.is_empty() {
            return;
        }
        let shape = subscriber.shape;
        if shape.format == Format::Upstash {
            let topics = subscriber.topics.iter().filter(|topic| stands(topic));
            let topics: Vec<_> = topics.cloned().collect();
            let confirmed = event::opening(None, shape, &topics, self.retry);
            self.fanout.order(Order::Send(id, vec![confirmed]));
        }
        let here = self.position(self.sequence);
        let gap = event::gap(here, shape, gap.reason, &told, None);
        self.fanout.order(Order::Send(id, vec![gap]));
    }
}

#[cfg(test)]
mod tests;
