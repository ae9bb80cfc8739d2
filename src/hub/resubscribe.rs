//! Topics that have to be asked for again: their connection is gone, or they belong to another server by now.

use std::collections::HashSet;

use super::Topic;
use super::actor::Actor;
use super::roster::State;
use super::source::Home;

impl Actor {
    /// Asks for every topic that is down.
    pub(super) fn ask_for_all(&mut self) {
        let topics: Vec<_> = self.channels.keys().cloned().collect();
        for topic in topics {
            self.ask_for(&topic);
        }
    }

    /// A topic that is not subscribed to any more is asked for anew if somebody wants it.
    pub(super) fn ask_again(&mut self, topic: &Topic) {
        let Some(channel) = self.channels.get_mut(topic) else {
            return;
        };
        channel.state = State::Down;
        channel.home = None;
        if channel.listeners.is_empty() {
            self.leave_channel(topic);
        } else {
            self.ask_for(topic);
        }
    }

    /// A topic has to be asked for elsewhere.
    pub(super) fn misplaced(&mut self, topic: &Topic) {
        let state = self.channels.get(topic).map(|channel| channel.state);
        if matches!(state, Some(State::Subscribing | State::Leaving)) {
            self.ask_again(topic);
        }
    }

    /// Everything that was subscribed over a connection is no longer, until it is confirmed anew.
    pub(super) fn lost(&mut self, home: &Home) {
        let memory = &mut self.memory;
        let mut concerned = HashSet::new();
        self.channels.retain(|_, channel| {
            if channel.home.as_ref() != Some(home) {
                return true;
            }
            channel.state = State::Down;
            channel.home = None;
            concerned.extend(channel.listeners.iter().copied());
            let stays = !channel.listeners.is_empty();
            if !stays {
                memory.forget(&channel.replay);
            }
            stays
        });
        for id in concerned {
            let Some(subscriber) = self.subscribers.get_mut(&id) else {
                continue;
            };
            let stands = |topic: &&Topic| {
                let channel = self.channels.get(*topic);
                channel.is_some_and(|channel| channel.state == State::Standing)
            };
            let standing = subscriber.topics.iter().filter(stands).count();
            subscriber.missing = subscriber.topics.len() - standing;
            if subscriber.open {
                subscriber.gap = subscriber.gap.or(Some("interrupted"));
            }
        }
        // What belongs to another server by now need not wait.
        self.ask_for_all();
        self.sources.close_unused(&self.channels);
    }
}
