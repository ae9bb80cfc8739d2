//! One of the threads that share the subscribers, as the hub sees it: it is given orders, and told that there
//! are some.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread::JoinHandle;

use mio::{Poll, Token, Waker};
use tokio::sync::mpsc::UnboundedSender;

use super::Stats;
use super::event::Encoded;
use super::fanout::{ChannelKey, Departure, Order, Rules, Shapes};
use super::writer::Worker;

/// The poller's token of the orders; subscribers have smaller ones.
pub(super) const ORDERS: Token = Token(usize::MAX);

/// Bytes under way to a thread. More means that it cannot keep up; the hub then drops
/// messages and tells the subscribers of the gap.
const MAX_BACKLOG: usize = 64 * 1024 * 1024;

/// What a message under way takes besides the bytes of its events.
const OVERHEAD: usize = 512;

/// The hub's side.
#[derive(Debug)]
pub(super) struct Lane {
    /// There until this is dropped, and so is the thread's handle.
    orders: Option<Sender<Order>>,
    bell: Arc<Bell>,
    thread: Option<JoinHandle<()>>,
}

/// Says that the thread is no more, however it ends.
struct Ended(UnboundedSender<Departure>);

impl Drop for Ended {
    fn drop(&mut self) {
        // The hub may be gone at the end.
        let _ = self.0.send(Departure::Thread);
    }
}

/// Wakes the thread, once for however many orders.
#[derive(Debug)]
pub(super) struct Bell {
    waker: Waker,
    rung: AtomicBool,
    /// Bytes of deliveries that have not been carried out.
    backlog: AtomicUsize,
}

impl Lane {
    /// Starts the thread. It tells `gone` of every subscriber that is no more, and at last of its own end.
    pub(super) fn start(
        rules: Rules,
        stats: Arc<Stats>,
        gone: UnboundedSender<Departure>,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let bell = Arc::new(Bell {
            waker: Waker::new(poll.registry(), ORDERS)?,
            rung: AtomicBool::new(false),
            backlog: AtomicUsize::new(0),
        });
        let (orders, receiver) = mpsc::channel();
        let ended = Ended(gone.clone());
        let worker = Worker::new(rules, stats, gone, poll, Arc::clone(&bell), receiver);
        let thread = std::thread::Builder::new()
            .name("gateway-fanout".into())
            .spawn(move || {
                let _ended = ended;
                worker.run();
            })?;
        Ok(Self {
            orders: Some(orders),
            bell,
            thread: Some(thread),
        })
    }

    /// Gives an order. Those for single subscribers are bounded by the number of connections.
    pub(super) fn order(&self, order: Order) {
        if let Some(orders) = &self.orders {
            // A thread that ends before no more orders can come says so, and the hub ends with it.
            let _ = orders.send(order);
        }
        if !self.bell.rung.swap(true, Ordering::AcqRel) {
            self.bell.wake();
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

    /// Has the thread end every stream that is left, and waits until it has ended itself.
    pub(super) fn join(mut self) {
        let thread = self.thread.take();
        drop(self);
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the fan-out panicked");
        }
    }
}

impl Drop for Lane {
    /// No more orders can come: the thread is told, and ends.
    fn drop(&mut self) {
        self.orders = None;
        self.bell.wake();
    }
}

impl Bell {
    fn wake(&self) {
        if let Err(error) = self.waker.wake() {
            tracing::error!(%error, "cannot wake the fan-out");
        }
    }

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
    let bytes: usize = shapes.iter().flatten().map(Encoded::len).sum();
    bytes + OVERHEAD
}
