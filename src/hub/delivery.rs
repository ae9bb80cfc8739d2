//! From the upstream to the fan-out: a message is kept, encoded and handed on; and where the fan-out cannot
//! keep up, its loss is told, before anything else of the same topic.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::Topic;
use super::actor::Actor;
use super::entries::EntryId;
use super::event::{self, Format, Position, Shape};
use super::replay::Kept;

/// How soon after the fan-out fell behind it is looked whether it has caught up.
const LOSS_CHECK: Duration = Duration::from_millis(100);

/// Why messages are missing that were dropped.
pub(super) const OVERFLOW: &str = "overflow";

impl Actor {
    /// Keeps a message, and hands it to the fan-out, encoded once for each shape that somebody wants.
    pub(super) fn deliver(&mut self, topic: Topic, message: &redis::Msg) {
        let name = match &topic {
            Topic::Channel(name) | Topic::Sharded(name) => name.clone(),
            Topic::Pattern(_) | Topic::Stream(_) => match message.get_channel::<Vec<u8>>() {
                Ok(name) => Bytes::from(name),
                Err(_) => return,
            },
        };
        let payload = Bytes::copy_from_slice(message.get_payload_bytes());
        self.hand_on(topic, name, payload, None);
    }

    /// The same for a message of a channel (`name`), or for an entry of a stream: then `name` is its id as text, and
    /// `payload` its fields.
    pub(super) fn hand_on(
        &mut self,
        topic: Topic,
        name: Bytes,
        payload: Bytes,
        entry: Option<EntryId>,
    ) {
        if self.lossy.contains(&topic) && self.fanout.has_room() && self.tell_of_loss(&topic) {
            self.lossy.remove(&topic);
        }
        self.tell_of_gaps();
        // Not sent before the loss has been told: to a client that came back by its id, nothing would seem to be missing.
        let is_lossy = self.lossy.contains(&topic);
        let Some(channel) = self.channels.get_mut(&topic) else {
            return;
        };
        self.sequence += 1;
        let position = Position {
            epoch: &self.epoch,
            sequence: self.sequence,
        };
        let shapes = Shape::all().map(|shape| {
            let wanted = channel.shapes[shape.index()] > 0 && !is_lossy;
            wanted.then(|| event::message(position, shape, &topic, &name, &payload))
        });
        let (key, heard) = (channel.key, !channel.listeners.is_empty());
        let mut kept = Kept::new(self.sequence, name, payload);
        if let Some(id) = entry {
            kept = kept.of_entry(id);
        }
        self.memory.keep(&topic, &mut channel.replay, kept);
        self.drop_surplus();
        if heard && (is_lossy || !self.fanout.deliver(key, &Arc::new(shapes))) {
            self.stats.dropped.fetch_add(1, Ordering::Relaxed);
            self.tell_later_of_losses(topic);
        }
    }

    /// Drops the oldest messages while more is kept than may be.
    pub(super) fn drop_surplus(&mut self) {
        while let Some((sequence, oldest)) = self.memory.take_surplus() {
            if let Some(channel) = self.channels.get_mut(&oldest) {
                self.memory.drop_message(&mut channel.replay, sequence);
            }
        }
        let channels = &self.channels;
        self.memory.forget_dropped(|sequence, topic| {
            let channel = channels.get(topic);
            channel.is_some_and(|channel| channel.replay.has(sequence))
        });
    }

    /// The listeners of a topic are to be told that they have missed something.
    pub(super) fn tell_later_of_losses(&mut self, topic: Topic) {
        if self.lossy.insert(topic) {
            tracing::warn!("the fan-out cannot keep up; messages are dropped");
        }
        self.next_loss_check
            .get_or_insert_with(|| Instant::now() + LOSS_CHECK);
    }

    /// Tells the listeners of channels with dropped messages, if the fan-out takes deliveries again.
    pub(super) fn tell_of_losses(&mut self) {
        self.next_loss_check = None;
        for topic in std::mem::take(&mut self.lossy) {
            if !self.tell_of_loss(&topic) {
                self.lossy.insert(topic);
                self.next_loss_check = Some(Instant::now() + LOSS_CHECK);
            }
        }
    }

    /// Tells the listeners of a topic that something was dropped. False if the fan-out does not take that either.
    fn tell_of_loss(&mut self, topic: &Topic) -> bool {
        self.tell_of_gaps();
        let Some(channel) = self.channels.get_mut(topic) else {
            return true;
        };
        // Clients that come back by an event of another topic, sent in between, are told too.
        self.sequence += 1;
        channel.replay.begins_at(self.sequence);
        let (key, topics) = (channel.key, std::slice::from_ref(topic));
        let gap = |shape: Shape| match shape.format {
            Format::Entry => self.gap_at_end(topic, OVERFLOW),
            _ => event::gap(self.position(self.sequence), shape, OVERFLOW, topics, None),
        };
        let gaps = Shape::all().map(|shape| Some(gap(shape)));
        self.fanout.deliver(key, &Arc::new(gaps))
    }
}

#[cfg(test)]
mod tests;
