//! Opening a stream: its head, what it has missed, and the gap where that is not known.

use super::SubscriberId;
use super::Topic;
use super::actor::Actor;
use super::event::{self, Encoded, Format, Position, Shape};
use super::fanout::Order;
use super::replay::Kept;
use super::roster::State;

impl Actor {
    /// The number of an event of this gateway's life, by its id. `None` for any other id.
    pub(super) fn number_of(&self, id: &str) -> Option<u64> {
        let (epoch, number) = id.split_once('-')?;
        let number = number.parse().ok()?;
        (epoch == self.epoch && number <= self.sequence).then_some(number)
    }

    /// Sends a stream's head, and what it has missed; its topics' messages follow.
    pub(super) fn open(&mut self, id: SubscriberId) {
        let Some(subscriber) = self.subscribers.get_mut(&id) else {
            return;
        };
        if subscriber.own.is_some() {
            return self.open_own(id);
        }
        subscriber.open = true;
        subscriber.refusal = None;
        let stands = subscriber.missing == 0;
        if !stands {
            subscriber.gap = subscriber.gap.or(Some("interrupted"));
        }
        let resume = subscriber.resume.take();
        let (shape, topics) = (subscriber.shape, subscriber.topics.clone());
        let retry = self.retry.mul_f32(1.0 + fastrand::f32() / 2.0);
        // Not the position of now: if the connection ends before the rest arrives, the client must come back
        // to where it was.
        let position = self.position(resume.unwrap_or(self.sequence));
        // What is said to be confirmed is.
        let confirmed: &[Topic] = if stands { &topics } else { &[] };
        let opening = event::opening(position, shape, confirmed, retry);
        let keys = topics.iter().filter_map(|topic| self.channels.get(topic));
        let keys = keys.map(|channel| channel.key).collect();
        self.fanout.order(Order::Open(id, opening, keys));
        if let Some(missed) = resume.and_then(|last| self.missed(shape, &topics, last)) {
            self.fanout.order(Order::Send(id, missed));
        }
        if stands {
            self.tell_of_gap(id);
        }
    }

    /// What a stream is sent to catch up from an event that it has seen: everything that is kept behind it,
    /// in order, and a gap where not everything is.
    fn missed(&self, shape: Shape, topics: &[Topic], last: u64) -> Option<Encoded> {
        let mut kept: Vec<(&Topic, &Kept)> = Vec::new();
        // From here on nothing is missing. Topics that do not stand are told of when they do.
        let mut floor = last;
        for topic in topics {
            if let Some(channel) = self.channels.get(topic) {
                kept.extend(channel.replay.after(last).map(|message| (topic, message)));
                if channel.state == State::Standing {
                    floor = floor.max(channel.replay.floor());
                }
            }
        }
        kept.sort_by_key(|(_, message)| message.sequence);
        // No more than may wait for a subscriber anyway.
        let mut room = self.subscriber_buffer;
        let fits = kept.iter().rev().take_while(|(_, message)| {
            let fits = message.size() <= room;
            room = room.saturating_sub(message.size());
            fits
        });
        let left_out = kept.len() - fits.count();
        if let Some((_, newest)) = kept[..left_out].last() {
            floor = floor.max(newest.sequence);
        }
        let encode = |(topic, message): &(&Topic, &Kept)| {
            let position = self.position(message.sequence);
            event::message(position, shape, topic, &message.channel, &message.payload)
        };
        let kept = &kept[left_out..];
        let before = kept.partition_point(|(_, message)| message.sequence <= floor);
        let mut events: Vec<_> = kept[..before].iter().map(encode).collect();
        if floor > last {
            events.push(event::gap(self.position(floor), shape, "not-kept", topics));
        }
        events.extend(kept[before..].iter().map(encode));
        (!events.is_empty()).then(|| Encoded::joined(&events))
    }

    /// Tells a stream of what it may have missed, if it has not been told.
    pub(super) fn tell_of_gap(&mut self, id: SubscriberId) {
        let Some(subscriber) = self.subscribers.get_mut(&id) else {
            return;
        };
        if let Some(reason) = subscriber.gap.take() {
            let (shape, topics) = (subscriber.shape, subscriber.topics.clone());
            if shape.format == Format::Upstash {
                let confirmed = event::opening(self.position(0), shape, &topics, self.retry);
                self.fanout.order(Order::Send(id, confirmed));
            }
            let gap = event::gap(self.position(self.sequence), shape, reason, &topics);
            self.fanout.order(Order::Send(id, gap));
        }
    }

    pub(super) fn position(&self, sequence: u64) -> Position<'_> {
        Position {
            epoch: &self.epoch,
            sequence,
        }
    }
}
