//! Who listens to what: the streams and the channels, as the hub's task sees them.

use std::collections::HashSet;

use tokio::sync::watch;
use tokio::time::Instant;

use super::entries::EntryId;
use super::event::Shape;
use super::fanout::ChannelKey;
use super::losses::Losses;
use super::own_ids::Own;
use super::replay::Replay;
use super::source::Home;
use super::{Refuse, SubscriberId, Topic};

/// A stream, as this task sees it.
pub(super) struct Listener {
    pub(super) topics: Vec<Topic>,
    pub(super) shape: Shape,
    /// How many of its topics do not stand.
    pub(super) missing: usize,
    pub(super) open: bool,
    /// The number of the last event that it has seen, until it is open.
    pub(super) resume: Option<u64>,
    /// What it may have missed and has not been told of.
    pub(super) gap: Option<Gap>,
    /// Of a stream of one Redis stream's entries, under their own ids: where it is.
    pub(super) own: Option<Box<Own>>,
    /// Makes the answer if the stream is refused; `None` once its client has been answered.
    pub(super) refuse: Option<Refuse>,
}

/// What a stream may have missed.
pub(super) struct Gap {
    pub(super) reason: &'static str,
    /// Of which of its topics.
    pub(super) topics: Vec<Topic>,
}

/// A topic with listeners, or one about to be left.
pub(super) struct Channel {
    pub(super) key: ChannelKey,
    pub(super) listeners: HashSet<SubscriberId>,
    /// How many of the listeners have their streams end when the Redis stream is gone.
    pub(super) until_gone: usize,
    /// How many of the listeners want each shape.
    pub(super) shapes: [usize; Shape::COUNT],
    pub(super) state: State,
    /// Over which connection it was asked for, unless it is down.
    pub(super) home: Option<Home>,
    /// What is kept for those who come back.
    pub(super) replay: Replay,
    /// Since when nobody listens, while it is kept for those who come back.
    pub(super) lingers_since: Option<Instant>,
    /// Of a stream: the last entry that was handed to the fan-out.
    pub(super) end: Option<watch::Sender<EntryId>>,
    /// The same for what was found to be missing.
    pub(super) losses: Losses,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing is known upstream.
    Down,
    /// Asked for.
    Subscribing,
    /// Confirmed.
    Standing,
    /// Being left.
    Leaving,
}

impl Channel {
    /// A topic that nobody listens to yet.
    pub(super) fn new(key: ChannelKey) -> Self {
        Self {
            key,
            listeners: HashSet::new(),
            until_gone: 0,
            shapes: [0; Shape::COUNT],
            state: State::Down,
            home: None,
            replay: Replay::default(),
            lingers_since: None,
            end: None,
            losses: Losses::default(),
        }
    }

    /// Whether it is listened to upstream, so that nothing of it is missed at the moment.
    pub(super) fn stands(&self) -> bool {
        self.state == State::Standing
    }

    /// The last entry of a Redis stream that was handed to the fan-out.
    pub(super) fn end(&self) -> EntryId {
        self.end
            .as_ref()
            .map(|end| *end.borrow())
            .unwrap_or_default()
    }

    /// Notes the last entry that was handed to the fan-out.
    pub(super) fn ends_at(&mut self, id: EntryId) {
        let end = self.end.get_or_insert_with(|| watch::Sender::new(id));
        end.send_replace(id);
    }
}
