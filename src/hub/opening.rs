//! Opening a stream: its head, what it has missed, and the gap where that is not known.

use std::collections::{BTreeMap, HashMap};

use super::SubscriberId;
use super::Topic;
use super::actor::Actor;
use super::event::{self, Encoded, Position, Shape};
use super::fanout::Order;
use super::replay::Kept;

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
        subscriber.refuse = None;
        let stands = subscriber.missing == 0;
        let resume = subscriber.resume.take();
        let (shape, topics) = (subscriber.shape, subscriber.topics.clone());
        let retry = self.retry.mul_f32(1.0 + fastrand::f32() / 2.0);
        // Not the latest position: if the connection ends before what was missed has arrived, the client must come back by
        // the position that it had. Who is to be told that this is not known keeps the id that it has.
        let is_known = subscriber.gap.is_none();
        let position = is_known.then(|| self.position(resume.unwrap_or(self.sequence)));
        // Only topics that stand are said to be subscribed.
        let confirmed: &[Topic] = if stands { &topics } else { &[] };
        let opening = event::opening(position, shape, confirmed, retry);
        let keys = topics.iter().filter_map(|topic| self.channels.get(topic));
        let keys = keys.map(|channel| channel.key).collect();
        self.fanout.order(Order::Open(id, vec![opening], keys));
        if let Some(last) = resume {
            let missed = self.missed(shape, &topics, last);
            self.fanout.order(Order::Send(id, missed));
        }
        if stands {
            self.tell_of_gap(id);
        } else {
            self.count_missing(id);
            self.untold.insert(id);
        }
    }

    /// What a stream is sent to catch up from the last event that its client has seen: the messages of its topics that are
    /// kept since then, in order, and a `gap` for topics of which not all are kept.
    ///
    /// The id of a `gap` is the highest floor of the topics that it names: behind that number nothing of them is missing. It
    /// stands where that number does in the order of messages. If it stood before some of a lower number, a client that came
    /// back by its id would not be sent those. If it stood behind some of a higher number, a client that came back by one of
    /// these would not learn that something is missing.
    fn missed(&mut self, shape: Shape, topics: &[Topic], last: u64) -> Vec<Encoded> {
        let mut kept = Vec::new();
        for topic in topics {
            if let Some(channel) = self.channels.get_mut(topic) {
                self.memory.forget_old(&mut channel.replay);
                let messages = channel.replay.after(last);
                kept.extend(messages.map(|message| (message.sequence, message.size(), topic)));
            }
        }
        kept.sort_unstable_by_key(|(sequence, ..)| *sequence);
        // No more than may wait for a subscriber anyway.
        let mut room = self.subscriber_buffer;
        let fits = kept.iter().rev().take_while(|(_, size, _)| {
            let fits = *size <= room;
            room = room.saturating_sub(*size);
            fits
        });
        let kept_back = kept.drain(..kept.len() - fits.count());
        let kept_back: HashMap<_, _> = kept_back.map(|(at, _, topic)| (topic, at)).collect();
        let mut gaps: BTreeMap<usize, (u64, Vec<Topic>)> = BTreeMap::new();
        for topic in topics {
            let Some(channel) = self.channels.get(topic) else {
                continue;
            };
            let unkept = kept_back.get(topic).copied().unwrap_or_default();
            // Those that do not stand are told of when they do.
            let goes_on = !channel.stands();
            for floor in channel.replay.floors(last, unkept, goes_on) {
                let place = kept.partition_point(|(sequence, ..)| *sequence <= floor);
                let (up_to, topics) = gaps.entry(place).or_default();
                *up_to = floor.max(*up_to);
                topics.push(topic.clone());
            }
        }
        let kept = kept.into_iter();
        let events = kept.filter_map(|(sequence, _, topic)| self.replayed(topic, shape, sequence));
        let mut events: Vec<_> = events.collect();
        for (place, (up_to, topics)) in gaps.into_iter().rev() {
            let gap = event::gap(self.position(up_to), shape, "not-kept", &topics, None);
            events.insert(place, gap);
        }
        self.drop_surplus();
        events
    }

    /// A message that is kept, as an event.
    fn replayed(&mut self, topic: &Topic, shape: Shape, sequence: u64) -> Option<Encoded> {
        let channel = self.channels.get_mut(topic)?;
        let position = Position {
            epoch: &self.epoch,
            sequence,
        };
        let encode =
            |kept: &Kept| event::message(position, shape, topic, &kept.channel, &kept.payload);
        self.memory
            .event(&mut channel.replay, sequence, shape, encode)
    }

    pub(super) fn position(&self, sequence: u64) -> Position<'_> {
        Position {
            epoch: &self.epoch,
            sequence,
        }
    }
}
