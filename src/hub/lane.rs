//! One of the threads that share the subscribers, as the hub sees it: it is given orders, and told that there
//! are some.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread::JoinHandle;

use mio::{Poll, Token, Waker};
use tokio::sync::mpsc::UnboundedSender;

use super::event::Encoded;
use super::fanout::{ChannelKey, Order, Rules, SharedShapes};
use super::writer::Worker;
use super::{Stats, SubscriberId};

/// The poller's token of the orders; subscribers have smaller ones.
pub(super) const ORDERS: Token = Token(usize::MAX);

/// Bytes of events under way to a thread. More means that it cannot keep up; the hub then drops
/// messages and tells the subscribers of the gap.
const MAX_BACKLOG: usize = 64 * 1024 * 1024;

/// The hub's side.
#[derive(Debug)]
pub(super) struct Lane {
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

impl Lane {
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
        // The thread ends only when no more orders can come.
        let _ = self.orders.send(order);
        if !self.bell.rung.swap(true, Ordering::AcqRel)
            && let Err(error) = self.bell.waker.wake()
        {
            tracing::error!(%error, "cannot wake the fan-out");
        }
    }

    /// Orders a delivery, unless the thread is too far behind: then this is false, and the message lost.
    pub(super) fn deliver(&self, channel: ChannelKey, shapes: SharedShapes) -> bool {
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

    /// Has the thread end every stream that is left, and waits until it has ended itself.
    pub(super) fn join(self) {
        drop(self.orders);
        if let Err(error) = self.bell.waker.wake() {
            tracing::error!(%error, "cannot wake the fan-out");
        }
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
    pub(super) fn delivered(&self, shapes: &SharedShapes) {
        self.backlog.fetch_sub(weight(shapes), Ordering::Relaxed);
    }
}

fn weight(shapes: &SharedShapes) -> usize {
    shapes.iter().flatten().map(Encoded::len).sum()
}
