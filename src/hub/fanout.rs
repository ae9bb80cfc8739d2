//! The fan-out: threads that share the subscribers, each writing events to its own (`lane`, `writer`), and the
//! orders they take.
//!
//! An order never waits for a subscriber: what a socket does not take at once is kept for it, up to a bound,
//! and one that exceeds it is disconnected (it can resume by its last id).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use super::event::{Encoded, Shape};
use super::lane::Lane;
use super::{Seat, Stats, SubscriberId};

/// Names a channel between the hub and its fan-outs.
pub(super) type ChannelKey = u64;

/// A message in the shapes that somebody wants, by their index.
pub(super) type Shapes = Arc<[Option<Encoded>; Shape::COUNT]>;

/// What the hub has a fan-out do.
#[derive(Debug)]
pub(super) enum Order {
    /// Watch a new subscriber, who is not sent anything yet.
    Add(SubscriberId, Seat),
    /// Send its head and this, and from now on the messages of these channels.
    Open(SubscriberId, Vec<Encoded>, Vec<ChannelKey>),
    /// Deliver a message to all subscribers of a channel, encoded in the shapes that they want.
    Deliver(ChannelKey, Shapes),
    /// Send one subscriber something.
    Send(SubscriberId, Vec<Encoded>),
    /// Send one subscriber something, and tell when it has gone out.
    Page(SubscriberId, Encoded, oneshot::Sender<()>),
    /// Send one subscriber this instead of an event stream.
    Refuse(SubscriberId, Bytes),
    /// Send one subscriber something and end its stream.
    End(SubscriberId, Vec<Encoded>),
    /// End every stream within this time. Whoever gives orders no more ends the thread.
    Close(Duration),
}

/// What the hub is told by a fan-out.
#[derive(Debug)]
pub(super) enum Departure {
    /// A subscriber is no more.
    Subscriber(SubscriberId),
    /// A thread has ended, and with it the streams of its subscribers.
    Thread,
}

/// The hub's side.
#[derive(Debug)]
pub(super) struct Fanout {
    lanes: Vec<Lane>,
}

/// What a fan-out goes by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) subscriber_buffer: usize,
    pub(super) write_timeout: Duration,
    pub(super) heartbeat: Duration,
    pub(super) max_age: Option<Duration>,
}

impl Order {
    /// Whom it concerns, if it is one subscriber.
    fn subscriber(&self) -> Option<SubscriberId> {
        match self {
            Self::Add(id, _)
            | Self::Open(id, ..)
            | Self::Send(id, _)
            | Self::Page(id, ..)
            | Self::Refuse(id, _)
            | Self::End(id, _) => Some(*id),
            Self::Deliver(..) | Self::Close(_) => None,
        }
    }
}

impl Fanout {
    /// Starts the threads. They tell `gone` of every subscriber that is no more, and of their own end.
    pub(super) fn start(
        threads: usize,
        rules: Rules,
        stats: &Arc<Stats>,
        gone: &UnboundedSender<Departure>,
    ) -> io::Result<Self> {
        let lanes = (0..threads).map(|_| Lane::start(rules, Arc::clone(stats), gone.clone()));
        Ok(Self {
            lanes: lanes.collect::<io::Result<_>>()?,
        })
    }

    /// Gives an order for a single subscriber. They are bounded by the number of connections.
    pub(super) fn order(&self, order: Order) {
        // All for one subscriber go the same way, so they are carried out as they are given.
        if let Some(id) = order.subscriber() {
            let lane = usize::try_from(id).unwrap_or_default() % self.lanes.len();
            self.lanes[lane].order(order);
        }
    }

    /// Orders a delivery. If a thread is too far behind, its subscribers do not get it, and this is false.
    pub(super) fn deliver(&self, channel: ChannelKey, shapes: &Shapes) -> bool {
        let lanes = self.lanes.iter();
        let taken = lanes.map(|lane| lane.deliver(channel, Arc::clone(shapes)));
        // Every thread gets it, whatever becomes of it in the others.
        taken.fold(true, |all, taken| all & taken)
    }

    /// Whether no thread is so far behind that what can wait elsewhere should.
    pub(super) fn has_room(&self) -> bool {
        self.lanes.iter().all(Lane::has_room)
    }

    /// Has every stream end within a time.
    pub(super) fn close(&self, within: Duration) {
        for lane in &self.lanes {
            lane.order(Order::Close(within));
        }
    }

    /// Has the threads end every stream that is left, and waits until they have ended themselves.
    pub(super) fn join(self) {
        self.lanes.into_iter().for_each(Lane::join);
    }
}
