//! Event streams of one Redis stream's entries, whose ids are the entries' own: any gateway can resume them, at
//! any time, from what the Redis stream itself keeps.
//!
//! Such a stream begins at an entry. If everything behind that is at hand, because the Redis stream is being
//! read and its last entries are kept, it is sent that and joins the others. Otherwise it catches up first
//! (`entries::catch_up`), until what it has reaches what is at hand.

mod opening;

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;

use super::actor::Actor;
use super::entries::{Entry, EntryId, Loss, News, Page, Reason, What, encode};
use super::event::{self, Encoded, Format, Shape};
use super::fanout::Order;
use super::losses::Losses;
use super::replay::Replay;
use super::roster::{Channel, State};
use super::{SubscriberId, Topic};
use crate::upstream::Upstream;

/// Pages that are read, and may wait for the hub, at the same time.
const MAX_READING: usize = 16;

/// Where a stream of entries begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// With the next entry.
    Now,
    /// Behind an entry, or wherever that would be.
    Behind(EntryId),
    /// Behind an entry that the client has seen, so that it misses nothing.
    Seen(EntryId),
    /// The client has seen something that is no entry.
    Unknown,
}

impl Begin {
    /// Whether it begins with whatever comes next, when this is the last entry that has come.
    fn is_now(self, end: EntryId) -> bool {
        match self {
            Self::Now | Self::Unknown => true,
            Self::Behind(chosen) => chosen > end,
            Self::Seen(_) => false,
        }
    }
}

/// What a stream of entries is to have of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Where it begins.
    pub begin: Begin,
    /// Whether it is over for good when the Redis stream is gone. Otherwise that is waited for.
    pub until_gone: bool,
}

/// How far a stream of entries is.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) begin: Begin,
    pub(super) until_gone: bool,
    /// Whether it is to be known first whether the Redis stream is there.
    pub(super) awaits_check: bool,
    /// Reads up on what it has missed.
    pub(super) catching_up: Option<Abort>,
    /// What it has been sent while it is catching up: everything up to here.
    pub(super) covered: EntryId,
    /// Whether it was to begin with what comes next when it was not known what that would be.
    pub(super) was_interrupted: bool,
}

/// Ends a task with whoever it is for.
#[derive(Debug)]
pub(super) struct Abort(AbortHandle);

impl Drop for Abort {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Own {
    pub(super) fn new(span: Span) -> Self {
        Self {
            begin: span.begin,
            until_gone: span.until_gone,
            awaits_check: span.until_gone,
            catching_up: None,
            covered: EntryId::ZERO,
            was_interrupted: false,
        }
    }
}

/// What those who catch up have read.
pub(super) struct Pages {
    upstream: Upstream,
    readers: Arc<Semaphore>,
    tell: mpsc::Sender<Page>,
    pages: mpsc::Receiver<Page>,
}

impl Pages {
    pub(super) fn new(upstream: Upstream) -> Self {
        let (tell, pages) = mpsc::channel(MAX_READING);
        Self {
            upstream,
            readers: Arc::new(Semaphore::new(MAX_READING)),
            tell,
            pages,
        }
    }

    /// Waits for the next one. Nothing is lost when the wait is given up.
    pub(super) async fn next(&mut self) -> Option<Page> {
        self.pages.recv().await
    }
}

impl Actor {
    /// Takes up what there is to tell of a Redis stream.
    pub(super) fn on_news(&mut self, news: News) {
        let topic = Topic::Stream(news.key);
        let Some(channel) = self.channels.get_mut(&topic) else {
            return;
        };
        if channel.key != news.channel {
            // Of a time when somebody else listened.
            return;
        }
        match news.what {
            What::Begins(at) => {
                channel.state = State::Standing;
                self.sequence += 1;
                channel.replay.begins_behind(self.sequence, at);
                channel.ends_at(at);
                self.stands(&topic);
            }
            What::Refused(error) => {
                tracing::debug!(%error, "a stream cannot be read");
                let farewell = "Redis refused to let this stream be read";
                self.refuse_topic(&topic, Some(&error), farewell);
            }
            What::Entries(entries) => {
                for entry in entries {
                    self.deliver_entry(&topic, entry);
                }
            }
            What::Gone(loss) => {
                self.gone(&topic);
                if let Some(loss) = loss {
                    self.elsewhere(&topic, &loss);
                }
            }
            What::Checked(id, is_gone) => self.checked(id, is_gone),
            What::Lost(loss) => self.lost_entries(&topic, &loss),
            What::Elsewhere(loss) => self.elsewhere(&topic, &loss),
        }
    }

    /// A Redis stream was begun anew, or set back.
    fn elsewhere(&mut self, topic: &Topic, loss: &Loss) {
        if let Some(channel) = self.channels.get_mut(topic) {
            // What is kept is of before.
            self.memory.forget(&channel.replay);
            channel.replay = Replay::default();
            channel.losses = Losses::default();
            channel.ends_at(loss.up_to);
        }
        self.lost_entries(topic, loss);
        self.go_on_elsewhere(topic, loss);
    }

    fn deliver_entry(&mut self, topic: &Topic, entry: Entry) {
        let name = entry.id.to_string().into();
        self.hand_on(topic.clone(), name, entry.fields, Some(entry.id));
        if let Some(channel) = self.channels.get_mut(topic) {
            channel.ends_at(entry.id);
        }
    }

    /// Tells all who listen to a Redis stream of entries that were gone before they were read. Those who read up on it find
    /// out themselves what is missing behind what they had seen.
    fn lost_entries(&mut self, topic: &Topic, loss: &Loss) {
        self.tell_of_gaps();
        let Some(channel) = self.channels.get_mut(topic) else {
            return;
        };
        self.sequence += 1;
        channel.replay.begins_behind(self.sequence, loss.up_to);
        channel.losses.found(loss);
        channel.ends_at(loss.up_to.max(channel.end()));
        let reason = loss.reason.text();
        let (key, topics) = (channel.key, std::slice::from_ref(topic));
        let gap = |shape: Shape| match shape.format {
            Format::Entry => encode::gap(loss, reason, topic.name()),
            _ => event::gap(
                self.position(self.sequence),
                shape,
                reason,
                topics,
                loss.missing,
            ),
        };
        let gaps = Arc::new(Shape::all().map(|shape| Some(gap(shape))));
        if !self.fanout.deliver(key, &gaps) {
            self.tell_later_of_losses(topic.clone());
        }
        self.tell_who_reads_up(topic);
    }

    /// Has those who read up on a Redis stream go on where it was begun anew: what they have seen is of another.
    fn go_on_elsewhere(&mut self, topic: &Topic, loss: &Loss) {
        let Some(channel) = self.channels.get(topic) else {
            return;
        };
        for id in channel.listeners.clone() {
            let listener = self.subscribers.get_mut(&id);
            if let Some(own) = listener.and_then(|listener| listener.own.as_mut())
                && own.catching_up.take().is_some()
            {
                own.begin = Begin::Behind(loss.up_to);
                let gap = encode::gap(loss, loss.reason.text(), topic.name());
                self.fanout.order(Order::Send(id, vec![gap]));
                self.open_own(id);
            }
        }
    }

    /// What tells who listens to a Redis stream that entries up to the last are missing.
    pub(super) fn gap_at_end(&self, topic: &Topic, reason: &str) -> Encoded {
        let end = self.channels.get(topic).map(Channel::end);
        let loss = Loss::new(Reason::NotKept, end.unwrap_or_default());
        encode::gap(&loss, reason, topic.name())
    }

    /// Nobody listens to a Redis stream any more.
    pub(super) fn leave_stream(&mut self, topic: &Topic) {
        if let Some(channel) = self.channels.remove(topic) {
            self.memory.forget(&channel.replay);
            self.tails.leave(topic.name(), channel.key);
        }
    }

    /// Sends a stream a page of what it has missed; with the last of them it joins the others.
    pub(super) fn take_page(&mut self, page: Page) {
        let Some(listener) = self.subscribers.get_mut(&page.subscriber) else {
            return;
        };
        let (Some(own), Some(topic)) = (&mut listener.own, listener.topics.first()) else {
            return;
        };
        if own.catching_up.is_none() {
            // It has been read before the stream was begun anew.
            return;
        }
        let id = page.subscriber;
        if page.refused.is_some() {
            let farewell = event::farewell("Redis refused to let this stream be read");
            self.fanout.order(Order::End(id, vec![farewell]));
            return;
        }
        let entry = |entry: &Entry| encode::entry(entry.id, &entry.fields);
        let mut events: Vec<_> = page.entries.iter().map(entry).collect();
        if let Some((place, loss)) = page.loss {
            events.insert(place, encode::gap(&loss, loss.reason.text(), topic.name()));
        }
        own.covered = page.covered;
        if page.is_gone {
            return self.over(id, events);
        }
        let Some(channel) = self.channels.get_mut(topic) else {
            return;
        };
        let is_at_hand = channel.stands() && channel.replay.entry_floor() <= page.covered;
        let (replay, room) = (&mut channel.replay, self.subscriber_buffer / 2);
        if is_at_hand && let Some(rest) = self.memory.rest(replay, page.covered, room) {
            events.extend(rest);
            return self.join_others(id, events);
        }
        if events.is_empty() {
            // Something to go out, after which it is read on.
            events.push(event::heartbeat());
        }
        let events = Encoded::joined(&events);
        self.fanout.order(Order::Page(id, events, page.gone_out));
    }

    /// Sends a stream something, and from then on what all others get.
    fn join_others(&mut self, id: SubscriberId, events: Vec<Encoded>) {
        let Some(listener) = self.subscribers.get_mut(&id) else {
            return;
        };
        let topics = listener.topics.iter();
        let channels = topics.filter_map(|topic| self.channels.get(topic));
        let keys = channels.map(|channel| channel.key).collect();
        if let Some(own) = &mut listener.own {
            own.catching_up = None;
        }
        self.fanout.order(Order::Open(id, events, keys));
        self.drop_surplus();
    }
}

#[cfg(test)]
mod tests;
