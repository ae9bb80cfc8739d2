//! The fan-out: a thread that writes events to its share of the subscribers.
//!
//! It waits in a poller of its own for room in full sockets, for hang-ups and for orders. An order never
//! waits for a subscriber: what a socket does not take at once is kept for it, up to a bound, and one that
//! exceeds it is disconnected (it can resume by its last id).

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use slab::Slab;

use super::event::{self, Encoded, Shape};
use super::subscriber::{Sent, Subscriber};
use super::{Seat, Stats, SubscriberId};

/// The poller's token of the orders; subscribers have smaller ones.
const ORDERS: Token = Token(usize::MAX);

/// Orders carried out before what they brought is sent.
const ORDERS_AT_ONCE: usize = 256;

/// Bytes of events under way to this thread. More means that it cannot keep up; the hub then drops
/// messages and tells the subscribers of the gap.
const MAX_BACKLOG: usize = 64 * 1024 * 1024;

/// Names a channel between the hub and its fan-outs.
pub(super) type ChannelKey = u64;

/// What the hub has a fan-out do.
#[derive(Debug)]
pub(super) enum Order {
    /// Watch a new subscriber, who is not sent anything yet.
    Add(SubscriberId, Seat),
    /// Send its head and this, and from now on the messages of these channels.
    Open(SubscriberId, Encoded, Vec<ChannelKey>),
    /// Deliver a message to all subscribers of a channel, encoded in the shapes that they want.
    Deliver(ChannelKey, [Option<Encoded>; Shape::COUNT]),
    /// Send one subscriber something.
    Send(SubscriberId, Encoded),
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
struct Bell {
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
        gone: tokio::sync::mpsc::UnboundedSender<SubscriberId>,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let bell = Arc::new(Bell {
            waker: Waker::new(poll.registry(), ORDERS)?,
            rung: AtomicBool::new(false),
            backlog: AtomicUsize::new(0),
        });
        let (orders, receiver) = mpsc::channel();
        let worker = Worker {
            rules,
            stats,
            gone,
            poll,
            bell: Arc::clone(&bell),
            orders: receiver,
            subscribers: Slab::new(),
            places: HashMap::new(),
            channels: HashMap::new(),
            to_send: Vec::new(),
            checks: BinaryHeap::new(),
            heartbeat: event::heartbeat(),
            closing: false,
        };
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
    pub(super) fn deliver(
        &self,
        channel: ChannelKey,
        shapes: [Option<Encoded>; Shape::COUNT],
    ) -> bool {
        let bytes = weight(&shapes);
        let before = self.bell.backlog.fetch_add(bytes, Ordering::Relaxed);
        if before > 0 && before + bytes > MAX_BACKLOG {
            self.bell.backlog.fetch_sub(bytes, Ordering::Relaxed);
            return false;
        }
        self.order(Order::Deliver(channel, shapes));
        true
    }

    /// Waits until the thread has ended, which [`Order::Close`] has it do.
    pub(super) fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!("the fan-out panicked");
        }
    }
}

fn weight(shapes: &[Option<Encoded>; Shape::COUNT]) -> usize {
    shapes.iter().flatten().map(Encoded::len).sum()
}

/// The thread's side.
struct Worker {
    rules: Rules,
    stats: Arc<Stats>,
    gone: tokio::sync::mpsc::UnboundedSender<SubscriberId>,
    poll: Poll,
    bell: Arc<Bell>,
    orders: Receiver<Order>,
    /// By token.
    subscribers: Slab<Subscriber>,
    places: HashMap<SubscriberId, usize>,
    channels: HashMap<ChannelKey, Audience>,
    /// Who has something waiting and is not blocked.
    to_send: Vec<usize>,
    /// When to look at whom for silence or a stall; every subscriber is in it once.
    checks: BinaryHeap<Reverse<(Instant, usize, SubscriberId)>>,
    heartbeat: Encoded,
    closing: bool,
}

/// The subscribers of a channel in the order they came. Those who left stay until they are half of it.
#[derive(Debug, Default)]
struct Audience {
    /// Empty while a message is being delivered.
    members: Vec<(usize, SubscriberId)>,
    /// How many of them left.
    left: usize,
}

impl Worker {
    fn run(mut self) {
        let mut events = Events::with_capacity(1024);
        while !(self.closing && self.subscribers.is_empty()) {
            let timeout = self.until_next_check();
            if let Err(error) = self.poll.poll(&mut events, timeout)
                && error.kind() != io::ErrorKind::Interrupted
            {
                tracing::error!(%error, "the fan-out cannot poll");
                return;
            }
            for event in &events {
                let Token(place) = event.token();
                if event.token() == ORDERS {
                    continue;
                }
                if event.is_read_closed() || event.is_error() {
                    self.drop_subscriber(place);
                } else if event.is_writable() {
                    self.room(place);
                }
            }
            self.carry_out_orders();
            self.check_the_silent();
        }
    }

    fn until_next_check(&self) -> Option<Duration> {
        let Reverse((due, ..)) = self.checks.peek()?;
        let left = due.saturating_duration_since(Instant::now());
        // A little later is early enough, and many checks fall together.
        Some(left + Duration::from_millis(10))
    }

    fn carry_out_orders(&mut self) {
        // Whoever orders after this rings again.
        self.bell.rung.store(false, Ordering::Release);
        loop {
            let mut count = 0;
            while count < ORDERS_AT_ONCE
                && let Ok(order) = self.orders.try_recv()
            {
                self.carry_out(order);
                count += 1;
            }
            self.send_all();
            if count < ORDERS_AT_ONCE {
                return;
            }
        }
    }

    fn carry_out(&mut self, order: Order) {
        match order {
            Order::Add(id, seat) => self.add(id, seat),
            Order::Open(id, opening, channels) => {
                let Some(&place) = self.places.get(&id) else {
                    return;
                };
                self.subscribers[place].open();
                for &channel in &channels {
                    let audience = self.channels.entry(channel).or_default();
                    audience.members.push((place, id));
                }
                self.subscribers[place].channels = channels;
                self.push(place, &opening);
            }
            Order::Deliver(channel, shapes) => {
                self.deliver(channel, &shapes);
                let bytes = weight(&shapes);
                self.bell.backlog.fetch_sub(bytes, Ordering::Relaxed);
            }
            Order::Send(id, events) => {
                if let Some(&place) = self.places.get(&id) {
                    self.push(place, &events);
                }
            }
            Order::End(id, events) => {
                if let Some(&place) = self.places.get(&id) {
                    self.subscribers[place].open();
                    self.subscribers[place].push(&events);
                    self.end(place);
                }
            }
            Order::Close => {
                self.closing = true;
                let places: Vec<_> = self.places.values().copied().collect();
                for place in places {
                    self.end(place);
                }
            }
        }
    }

    fn add(&mut self, id: SubscriberId, seat: Seat) {
        let now = Instant::now();
        let entry = self.subscribers.vacant_entry();
        let place = entry.key();
        let subscriber = Subscriber::new(id, seat, now);
        let fd = subscriber.stream.as_raw_fd();
        entry.insert(subscriber);
        self.places.insert(id, place);
        let interest = Interest::READABLE | Interest::WRITABLE;
        let watched = self
            .poll
            .registry()
            .register(&mut SourceFd(&fd), Token(place), interest);
        if let Err(error) = watched {
            tracing::error!(%error, "cannot watch a subscriber");
            self.drop_subscriber(place);
            return;
        }
        self.plan_check(place, id, now);
        if self.closing {
            self.end(place);
        }
    }

    fn deliver(&mut self, channel: ChannelKey, shapes: &[Option<Encoded>; Shape::COUNT]) {
        let Some(audience) = self.channels.get_mut(&channel) else {
            return;
        };
        let members = std::mem::take(&mut audience.members);
        for &(place, id) in &members {
            let subscriber = self.subscribers.get(place);
            if let Some(subscriber) = subscriber.filter(|subscriber| subscriber.id == id)
                && let Some(events) = &shapes[subscriber.shape.index()]
            {
                self.push(place, events);
            }
        }
        if let Some(audience) = self.channels.get_mut(&channel) {
            audience.members = members;
        }
        self.compact(channel);
    }

    /// Forgets those who left a channel, if they are many, and the channel if nobody is left.
    fn compact(&mut self, channel: ChannelKey) {
        let Some(audience) = self.channels.get_mut(&channel) else {
            return;
        };
        if audience.left * 2 > audience.members.len() && !audience.members.is_empty() {
            let places = &self.places;
            audience.members.retain(|(_, id)| places.contains_key(id));
            audience.left = 0;
            if audience.members.is_empty() {
                self.channels.remove(&channel);
            }
        }
    }

    /// Has events sent to a subscriber, or disconnects it if too much waits for it.
    fn push(&mut self, place: usize, events: &Encoded) {
        let subscriber = &mut self.subscribers[place];
        if subscriber.ending {
            return;
        }
        if subscriber.push(events) > self.rules.subscriber_buffer.max(events.len() + 1024) {
            tracing::debug!(id = subscriber.id, "a subscriber is too slow");
            self.stats.evicted.fetch_add(1, Ordering::Relaxed);
            self.drop_subscriber(place);
            return;
        }
        self.list(place);
    }

    fn end(&mut self, place: usize) {
        self.subscribers[place].end();
        self.list(place);
    }

    fn list(&mut self, place: usize) {
        let subscriber = &mut self.subscribers[place];
        if !subscriber.listed && !subscriber.blocked {
            subscriber.listed = true;
            self.to_send.push(place);
        }
    }

    fn send_all(&mut self) {
        let now = Instant::now();
        let mut places = std::mem::take(&mut self.to_send);
        for place in places.drain(..) {
            self.send(place, now);
        }
        self.to_send = places;
    }

    fn send(&mut self, place: usize, now: Instant) {
        // It may have been dropped since it was listed.
        let Some(subscriber) = self.subscribers.get_mut(place) else {
            return;
        };
        subscriber.listed = false;
        match subscriber.send(now) {
            Sent::All if subscriber.ending => {
                if let Some(subscriber) = self.take(place) {
                    subscriber.hang_up();
                }
            }
            Sent::All => {}
            // At the end nobody is waited for.
            Sent::Blocked if self.closing => self.drop_subscriber(place),
            Sent::Blocked => {}
            Sent::Broken => self.drop_subscriber(place),
        }
    }

    /// The poller says that a socket has room.
    fn room(&mut self, place: usize) {
        if self
            .subscribers
            .get(place)
            .is_some_and(|subscriber| subscriber.blocked)
        {
            self.send(place, Instant::now());
        }
    }

    fn drop_subscriber(&mut self, place: usize) {
        drop(self.take(place));
    }

    fn take(&mut self, place: usize) -> Option<Subscriber> {
        let subscriber = self.subscribers.try_remove(place)?;
        self.places.remove(&subscriber.id);
        for &channel in &subscriber.channels {
            if let Some(audience) = self.channels.get_mut(&channel) {
                audience.left += 1;
            }
            self.compact(channel);
        }
        // Closing the socket takes it out of the poller. The hub may be gone at the end.
        let _ = self.gone.send(subscriber.id);
        Some(subscriber)
    }

    /// Sends a comment to those who were sent nothing for long, and disconnects those who take nothing.
    fn check_the_silent(&mut self) {
        let now = Instant::now();
        while let Some(&Reverse((due, place, id))) = self.checks.peek()
            && due <= now
        {
            self.checks.pop();
            let Some(subscriber) = self.subscribers.get(place).filter(|s| s.id == id) else {
                continue;
            };
            let silence = now.duration_since(subscriber.last_sent);
            let (blocked, open) = (subscriber.blocked, subscriber.is_open());
            if blocked && silence >= self.rules.write_timeout {
                self.stats.evicted.fetch_add(1, Ordering::Relaxed);
                self.drop_subscriber(place);
                continue;
            }
            if !blocked && open && silence >= self.least_silence() {
                let heartbeat = self.heartbeat.clone();
                self.push(place, &heartbeat);
            }
            self.plan_check(place, id, now);
        }
        self.send_all();
    }

    /// Events that reached everybody at once shall not have everybody's heartbeat due at once: the checks
    /// are spread over the last fifth of the time.
    fn plan_check(&mut self, place: usize, id: SubscriberId, now: Instant) {
        let Some(subscriber) = self.subscribers.get(place) else {
            return;
        };
        let spread = self.least_silence() + self.rules.heartbeat.mul_f32(fastrand::f32() / 5.0);
        let mut due = subscriber.last_sent + spread;
        if due <= now {
            due = now + spread;
        }
        self.checks.push(Reverse((due, place, id)));
    }

    fn least_silence(&self) -> Duration {
        self.rules.heartbeat.mul_f32(0.8)
    }
}
