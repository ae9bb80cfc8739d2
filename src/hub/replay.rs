//! The messages of a topic that are kept for a while, so that who comes back by its last id has missed
//! nothing.
//!
//! Bounded by number, bytes and age for each topic, and by bytes over all of them. What is dropped raises the
//! topic's floor: an id below that cannot be resumed from without a gap.
//!
//! A message that somebody comes back for is encoded then, and kept in that form too, for all others who come: however
//! many are sent it, it is there once for each shape. That counts among the bytes over all topics.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::Topic;
use super::entries::{EntryId, encode};
use super::event::{Encoded, Format, Shape};
use crate::config::Config;

/// What a message takes besides its channel's name and its payload, and one of its events besides its bytes.
const OVERHEAD: usize = 128;

/// The shape of entries under their own ids.
const OWN: Shape = Shape {
    format: Format::Entry,
    named: false,
};

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    events: usize,
    bytes: usize,
    age: Duration,
    /// Over all topics.
    memory: usize,
}

impl Bounds {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            events: config.replay_events,
            bytes: config.replay_bytes,
            age: config.replay_age,
            memory: config.replay_memory,
        }
    }
}

/// A message that is kept.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) sequence: u64,
    pub(super) channel: Bytes,
    pub(super) payload: Bytes,
    /// Of a stream: the entry's id.
    pub(super) entry: Option<EntryId>,
    /// The topic's floor when it came.
    floor: u64,
    at: Instant,
    /// As an event, in the shapes in which somebody has come back for it.
    encoded: Vec<(Shape, Encoded)>,
}

impl Kept {
    pub(super) fn new(sequence: u64, channel: Bytes, payload: Bytes) -> Self {
        Self {
            sequence,
            channel,
            payload,
            entry: None,
            floor: 0,
            at: Instant::now(),
            encoded: Vec::new(),
        }
    }

    /// The same as the entry of a stream.
    pub(super) fn of_entry(self, id: EntryId) -> Self {
        Self {
            entry: Some(id),
            ..self
        }
    }

    pub(super) fn size(&self) -> usize {
        self.channel.len() + self.payload.len() + OVERHEAD
    }

    fn size_encoded(&self) -> usize {
        self.encoded.iter().map(|(_, event)| size_of(event)).sum()
    }
}

fn size_of(event: &Encoded) -> usize {
    event.len() + OVERHEAD
}

/// What is kept of one topic, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Replay {
    kept: VecDeque<Kept>,
    bytes: usize,
    /// The same of what is kept as events.
    bytes_encoded: usize,
    /// Every message behind this number is kept.
    floor: u64,
    /// The last message that was dropped.
    dropped: u64,
    /// The floor as the id of an entry, where these are a stream's.
    entry_floor: EntryId,
}

impl Replay {
    /// Where something may be missing for who has seen an event: the numbers behind each of which nothing is, up to the
    /// next. Messages up to a number do not count as kept. What is missing behind the last one is left out if that
    /// goes on.
    pub(super) fn floors(&self, last: u64, unkept: u64, goes_on: bool) -> Vec<u64> {
        let dropped = self.dropped.max(unkept);
        let kept = self.after(last.max(unkept)).map(|kept| kept.floor);
        let end = (!goes_on).then_some(self.floor);
        let mut floors = vec![last];
        for floor in kept.chain(end).map(|floor| floor.max(dropped)) {
            if floors.last().is_some_and(|before| *before < floor) {
                floors.push(floor);
            }
        }
        floors.split_off(1)
    }

    /// From here on nothing is missing: the subscription stands, at this number, which no event has had before.
    pub(super) fn begins_at(&mut self, sequence: u64) {
        self.floor = sequence;
    }

    /// The same for a stream's entries, which are kept from behind this one on.
    pub(super) fn begins_behind(&mut self, sequence: u64, entry: EntryId) {
        self.begins_at(sequence);
        self.entry_floor = entry;
    }

    /// Every entry behind this one is kept, as far as the stream has been read.
    pub(super) fn entry_floor(&self) -> EntryId {
        self.entry_floor
    }

    /// The entries behind one that are kept.
    pub(super) fn after_entry(&self, seen: EntryId) -> impl Iterator<Item = (EntryId, &Kept)> {
        let place = self.kept.partition_point(|kept| kept.entry <= Some(seen));
        let kept = self.kept.range(place..);
        kept.filter_map(|kept| Some((kept.entry?, kept)))
    }

    /// Whether an entry is kept.
    pub(super) fn has_entry(&self, id: EntryId) -> bool {
        let place = self.kept.partition_point(|kept| kept.entry < Some(id));
        self.kept
            .get(place)
            .is_some_and(|kept| kept.entry == Some(id))
    }

    /// Whether a message of this topic is still kept.
    pub(super) fn has(&self, sequence: u64) -> bool {
        // Only the oldest are dropped.
        self.kept
            .front()
            .is_some_and(|oldest| oldest.sequence <= sequence)
    }

    /// The messages behind a number that are kept, also those before a gap.
    pub(super) fn after(&self, sequence: u64) -> impl Iterator<Item = &Kept> {
        let place = self.kept.partition_point(|kept| kept.sequence <= sequence);
        self.kept.range(place..)
    }

    fn drop_oldest(&mut self) -> usize {
        let Some(oldest) = self.kept.pop_front() else {
            return 0;
        };
        self.bytes -= oldest.size();
        self.bytes_encoded -= oldest.size_encoded();
        self.dropped = oldest.sequence;
        self.floor = self.floor.max(oldest.sequence);
        self.entry_floor = self.entry_floor.max(oldest.entry.unwrap_or_default());
        oldest.size() + oldest.size_encoded()
    }
}

/// The bookkeeping over all topics.
#[derive(Debug)]
pub(super) struct Memory {
    bounds: Bounds,
    bytes: usize,
    /// How many messages are kept.
    count: usize,
    /// All of them by age, and some that have been dropped since.
    by_age: VecDeque<(u64, Topic)>,
}

/// Entries of `by_age` whose messages have been dropped are removed when there are this many more of them than of messages
/// that are kept.
const MOST_STALE: usize = 4096;

impl Memory {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            bytes: 0,
            count: 0,
            by_age: VecDeque::new(),
        }
    }

    /// Keeps a message of a topic, dropping what its bounds do not allow any more.
    pub(super) fn keep(&mut self, topic: &Topic, replay: &mut Replay, mut message: Kept) {
        message.floor = replay.floor;
        let (sequence, size) = (message.sequence, message.size());
        replay.kept.push_back(message);
        replay.bytes += size;
        self.bytes += size;
        self.count += 1;
        self.by_age.push_back((sequence, topic.clone()));
        while replay.kept.len() > self.bounds.events || replay.bytes > self.bounds.bytes {
            self.drop_oldest(replay);
        }
        self.forget_old(replay);
    }

    /// Drops what is too old of a topic.
    pub(super) fn forget_old(&mut self, replay: &mut Replay) {
        let age = self.bounds.age;
        let is_old = |kept: &Kept| kept.at.elapsed() > age;
        while replay.kept.front().is_some_and(is_old) {
            self.drop_oldest(replay);
        }
    }

    fn drop_oldest(&mut self, replay: &mut Replay) {
        self.bytes -= replay.drop_oldest();
        self.count -= 1;
    }

    /// Drops a topic's messages.
    pub(super) fn forget(&mut self, replay: &Replay) {
        self.bytes -= replay.bytes + replay.bytes_encoded;
        self.count -= replay.kept.len();
    }

    /// A message that is kept as an event, which is made if there is none.
    pub(super) fn event(
        &mut self,
        replay: &mut Replay,
        sequence: u64,
        shape: Shape,
        encode: impl FnOnce(&Kept) -> Encoded,
    ) -> Option<Encoded> {
        let place = replay.kept.partition_point(|kept| kept.sequence < sequence);
        let kept = replay.kept.get_mut(place)?;
        if kept.sequence != sequence {
            return None;
        }
        if let Some((_, event)) = kept.encoded.iter().find(|(of, _)| *of == shape) {
            return Some(event.clone());
        }
        let event = encode(kept);
        kept.encoded.push((shape, event.clone()));
        replay.bytes_encoded += size_of(&event);
        self.bytes += size_of(&event);
        Some(event)
    }

    /// All entries of a stream that are kept behind one, under their own ids. `None` if their fields take more than `room`
    /// bytes: that is too much to be sent at once.
    pub(super) fn rest(
        &mut self,
        replay: &mut Replay,
        seen: EntryId,
        mut room: usize,
    ) -> Option<Vec<Encoded>> {
        let mut rest = Vec::new();
        for (id, kept) in replay.after_entry(seen) {
            room = room.checked_sub(kept.payload.len())?;
            rest.push((id, kept.sequence));
        }
        let event = |(id, sequence)| {
            let encode = |kept: &Kept| encode::entry(id, &kept.payload);
            self.event(replay, sequence, OWN, encode)
        };
        rest.into_iter().map(event).collect()
    }

    /// If more is kept than may be over all topics: takes the oldest message off the list by age, and gives its number and
    /// topic.
    pub(super) fn take_surplus(&mut self) -> Option<(u64, Topic)> {
        if self.bytes > self.bounds.memory {
            self.by_age.pop_front()
        } else {
            None
        }
    }

    /// Removes messages that have been dropped from the list by age, if most of it are such.
    pub(super) fn forget_dropped(&mut self, is_kept: impl Fn(u64, &Topic) -> bool) {
        if self.by_age.len() > 2 * self.count + MOST_STALE {
            self.by_age
                .retain(|(sequence, topic)| is_kept(*sequence, topic));
        }
    }

    /// Drops a message, if it is still its topic's oldest.
    pub(super) fn drop_message(&mut self, replay: &mut Replay, sequence: u64) {
        if replay
            .kept
            .front()
            .is_some_and(|kept| kept.sequence == sequence)
        {
            self.drop_oldest(replay);
        }
    }
}

#[cfg(test)]
mod tests;
