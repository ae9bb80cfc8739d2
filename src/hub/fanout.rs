//! A fan-out: a thread that writes events to its share of the subscribers (`writer`), and the orders it
//! takes.
//!
//! An order never waits for a subscriber: what a socket does not take at once is kept for it, up to a bound,
//! and one that exceeds it is disconnected (it can resume by its last id).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use mio::{Poll, Token, Waker};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use super::event::{Encoded, Shape};
use super::writer::Worker;
use super::{Seat, Stats, SubscriberId};

/// The poller's token of the orders; subscribers have smaller ones.
pub(super) const ORDERS: Token = Token(usize::MAX);

/// Bytes of events under way to this thread. More means that it cannot keep up; the hub then drops
/// messages and tells the subscribers of the gap.
const MAX_BACKLOG: usize = 64 * 1024 * 1024;

/// Names a channel between the hub and its fan-outs.
pub(super) type ChannelKey = u64;

/// A message in the shapes that somebody wants, by their index.
pub(super) type Shapes = Box<[Option<Encoded>; Shape::COUNT]>;

/// What the hub has a fan-out do.
#[derive(Debug)]
pub(super) enum Order {
    /// Watch a new subscriber, who is not sent anything yet.
    Add(SubscriberId, Seat),
    /// Send its head and this, and from now on the messages of these channels.
    Open(SubscriberId, Encoded, Vec<ChannelKey>),
    /// Deliver a message to all subscribers of a channel, encoded in the shapes that they want.
    Deliver(ChannelKey, Shapes),
    /// Send one subscriber something.
    Send(SubscriberId, Encoded),
    /// Send one subscriber something, and tell when it has gone out.
    Page(SubscriberId, Encoded, oneshot::Sender<()>),
    /// Send one subscriber this instead of an event stream.
    Refuse(SubscriberId, Bytes),
    /// Send one subscriber something and end its stream.
    End(SubscriberId, Encoded),
    /// End every stream and the thread.
    Close,
}

/// The hub's side.
#[derive(Debug)]
pub(super) struct Fanout {
    orders: Sender<Order>,
    bell: Arc<Bell>,
    thread: JoinHandle<()>,
}

/// Wakes the thread, once for however many orders.
#[derive(Debug)]
pub(super) struct Bell {
    waker: Waker,
    rung: AtomicBool,
    /// Bytes of events in orders that have not been carried out.
    backlog: AtomicUsize,
}

/// What a fan-out goes by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) subscriber_buffer: usize,
    pub(super) write_timeout: Duration,
    pub(super) heartbeat: Duration,
}

impl Fanout {
    /// Starts the thread. It tells `gone` of every subscriber that is no more.
    pub(super) fn start(
        rules: Rules,
        stats: Arc<Stats>,
        gone: UnboundedSender<SubscriberId>,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let bell = Arc::new(Bell {
            waker: Waker::new(poll.registry(), ORDERS)?,
            rung: AtomicBool::new(false),
            backlog: AtomicUsize::new(0),
        });
        let (orders, receiver) = mpsc::channel();
        let worker = Worker::new(rules, stats, gone, poll, Arc::clone(&bell), receiver);
        let thread = std::thread::Builder::new()
            .name("gateway-fanout".into())
            .spawn(move || worker.run())?;
        Ok(Self {
            orders,
            bell,
            thread,
        })
    }

    /// Gives an order. Those for single subscribers are bounded by the number of connections.
    pub(super) fn order(&self, order: Order) {
        // The thread ends only after Close, when nobody is left to serve.
        let _ = self.orders.send(order);
        if !self.bell.rung.swap(true, Ordering::AcqRel)
            && let Err(error) = self.bell.waker.wake()
        {
            tracing::error!(%error, "cannot wake the fan-out");
        }
    }

    /// Orders a delivery, unless the thread is too far behind: then this is false, and the message lost.
    pub(super) fn deliver(&self, channel: ChannelKey, shapes: Shapes) -> bool {
        let bytes = weight(&shapes);
        let before = self.bell.backlog.fetch_add(bytes, Ordering::Relaxed);
        if before > 0 && before + bytes > MAX_BACKLOG {
            self.bell.backlog.fetch_sub(bytes, Ordering::Relaxed);
            return false;
        }
        self.order(Order::Deliver(channel, shapes));
        true
    }

    /// Whether the thread is not so far behind that what can wait elsewhere should.
    pub(super) fn has_room(&self) -> bool {
        self.bell.backlog.load(Ordering::Relaxed) < MAX_BACKLOG / 2
    }

    /// Waits until the thread has ended, which [`Order::Close`] has it do.
    pub(super) fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!("the fan-out panicked");
        }
    }
}

impl Bell {
    /// Notes that the thread looks for orders now.
    pub(super) fn answered(&self) {
        self.rung.swap(false, Ordering::AcqRel);
    }

    /// Notes that a delivery has been carried out.
    pub(super) fn delivered(&self, shapes: &Shapes) {
        self.backlog.fetch_sub(weight(shapes), Ordering::Relaxed);
    }
}

fn weight(shapes: &Shapes) -> usize {
    shapes.iter().flatten().map(Encoded::len).sum()
}
