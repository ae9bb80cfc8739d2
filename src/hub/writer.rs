//! The thread of a fan-out: it waits in a poller of its own for room in full sockets, for hang-ups and for
//! orders, and writes. What it does by the clock is in `timers`.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use slab::Slab;
use tokio::sync::mpsc::UnboundedSender;

use super::event::{self, Encoded};
use super::fanout::{ChannelKey, Departure, Order, Rules, Shapes};
use super::lane::{Bell, ORDERS};
use super::subscriber::{Sent, Subscriber};
use super::{Seat, Stats, SubscriberId};

/// Orders carried out before what they brought is sent.
const ORDERS_AT_ONCE: usize = 256;

/// The thread's side of a fan-out.
pub(super) struct Worker {
    pub(super) rules: Rules,
    pub(super) stats: Arc<Stats>,
    gone: UnboundedSender<Departure>,
    poll: Poll,
    bell: Arc<Bell>,
    orders: Receiver<Order>,
    /// By token.
    pub(super) subscribers: Slab<Subscriber>,
    pub(super) places: HashMap<SubscriberId, usize>,
    channels: HashMap<ChannelKey, Audience>,
    /// Who has something waiting and is not blocked.
    to_send: Vec<usize>,
    /// When to look at whom for silence or a stall; every subscriber is in it once.
    pub(super) checks: BinaryHeap<Reverse<(Instant, usize, SubscriberId)>>,
    pub(super) heartbeat: Encoded,
    /// Once all streams are to end: when the last must have.
    pub(super) closing: Option<Instant>,
    /// Whether no more orders can come.
    pub(super) left_alone: bool,
}

/// The subscribers of a channel in the order they came. Those who left stay until they are half of it.
#[derive(Debug, Default)]
struct Audience {
    members: Vec<(usize, SubscriberId)>,
    left: usize,
}

impl Worker {
    pub(super) fn new(
        rules: Rules,
        stats: Arc<Stats>,
        gone: UnboundedSender<Departure>,
        poll: Poll,
        bell: Arc<Bell>,
        orders: Receiver<Order>,
    ) -> Self {
        Self {
            rules,
            stats,
            gone,
            poll,
            bell,
            orders,
            subscribers: Slab::new(),
            places: HashMap::new(),
            channels: HashMap::new(),
            to_send: Vec::new(),
            checks: BinaryHeap::new(),
            heartbeat: event::heartbeat(),
            closing: None,
            left_alone: false,
        }
    }

    /// Runs until no more orders can come, and every stream has ended.
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(1024);
        let mut more = false;
        while !(self.left_alone && self.subscribers.is_empty()) {
            // However many orders there are, the sockets have their turn in between.
            let timeout = if more {
                Some(Duration::ZERO)
            } else {
                self.until_next_check()
            };
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
                    let subscriber = self.subscribers.get(place);
                    if subscriber.is_some_and(Subscriber::was_given_up) {
                        self.stats.evicted.fetch_add(1, Ordering::Relaxed);
                    }
                    self.drop_subscriber(place);
                } else if event.is_writable() {
                    self.room(place);
                }
            }
            more = self.carry_out_orders();
            self.check_the_silent();
        }
    }

    /// Carries out what was ordered, up to a number; true if there may be more.
    fn carry_out_orders(&mut self) -> bool {
        // Whoever orders after this rings again.
        self.bell.answered();
        for _ in 0..ORDERS_AT_ONCE {
            match self.orders.try_recv() {
                Ok(order) => self.carry_out(order),
                Err(TryRecvError::Empty) => {
                    self.send_all();
                    return false;
                }
                Err(TryRecvError::Disconnected) => {
                    self.left_alone = true;
                    self.end_all_now();
                    return false;
                }
            }
        }
        self.send_all();
        true
    }

    fn carry_out(&mut self, order: Order) {
        match order {
            Order::Add(id, seat) => self.add(id, seat),
            Order::Open(id, opening, channels) => {
                let Some(&place) = self.places.get(&id) else {
                    return;
                };
                self.subscribers[place].open();
                for channel in &channels {
                    let audience = self.channels.entry(*channel).or_default();
                    audience.members.push((place, id));
                }
                self.subscribers[place].channels = channels;
                self.push_missed(place, &opening);
            }
            Order::Deliver(channel, shapes) => {
                self.deliver(channel, &shapes);
                self.bell.delivered(&shapes);
            }
            Order::Send(id, events) => {
                if let Some(&place) = self.places.get(&id) {
                    self.push_missed(place, &events);
                }
            }
            Order::Page(id, events, gone_out) => {
                if let Some(&place) = self.places.get(&id) {
                    self.subscribers[place].gone_out = Some(gone_out);
                    self.push(place, &events);
                }
            }
            Order::Refuse(id, answer) => {
                if let Some(&place) = self.places.get(&id) {
                    self.subscribers[place].refuse(answer);
                    self.list(place);
                }
            }
            Order::End(id, events) => {
                if let Some(&place) = self.places.get(&id) {
                    self.subscribers[place].open();
                    self.push_missed(place, &events);
                    self.end(place);
                }
            }
            Order::Close(within) => self.end_all_within(within),
        }
    }

    fn add(&mut self, id: SubscriberId, seat: Seat) {
        let now = Instant::now();
        let entry = self.subscribers.vacant_entry();
        let place = entry.key();
        // Those who do not come back are left alone.
        let max_age = self.rules.max_age.filter(|_| seat.shape.comes_back());
        let mut subscriber = Subscriber::new(id, seat, now, self.rules.write_timeout);
        // Streams that began together shall not end together.
        subscriber.ends_at = max_age.map(|age| now + age.mul_f32(1.0 - fastrand::f32() / 5.0));
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
        if self.closing.is_some() {
            self.end(place);
        }
    }

    fn deliver(&mut self, channel: ChannelKey, shapes: &Shapes) {
        let Some(audience) = self.channels.get_mut(&channel) else {
            return;
        };
        // Whoever is disconnected on the way is counted off from what is put back.
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
            self.tidy(channel);
        }
    }

    /// Forgets those who left a channel, if they are half of it, and the channel with the last of them.
    fn tidy(&mut self, channel: ChannelKey) {
        let Some(audience) = self.channels.get_mut(&channel) else {
            return;
        };
        if audience.left * 2 > audience.members.len() {
            let places = &self.places;
            audience.members.retain(|(_, id)| places.contains_key(id));
            audience.left = 0;
        }
        if audience.members.is_empty() {
            self.channels.remove(&channel);
        }
    }

    /// Has events sent to a subscriber, or disconnects it if too much waits for it.
    pub(super) fn push(&mut self, place: usize, events: &Encoded) {
        let subscriber = &mut self.subscribers[place];
        if subscriber.ending {
            return;
        }
        let limit = self.rules.subscriber_buffer.max(events.len() + 1024);
        subscriber.push(events);
        if subscriber.backlog() > limit && !subscriber.blocked {
            // It was not asked to take anything since the last orders came.
            self.send(place, Instant::now());
        }
        let Some(subscriber) = self.subscribers.get(place) else {
            return;
        };
        if subscriber.backlog() > limit {
            tracing::debug!(id = subscriber.id, "a subscriber is too slow");
            self.stats.evicted.fetch_add(1, Ordering::Relaxed);
            self.drop_subscriber(place);
            return;
        }
        self.list(place);
    }

    /// Has what a subscriber has missed sent to it, however much that is.
    fn push_missed(&mut self, place: usize, events: &[Encoded]) {
        let subscriber = &mut self.subscribers[place];
        if subscriber.ending {
            return;
        }
        for events in events {
            subscriber.push_missed(events);
        }
        self.list(place);
    }

    /// Ends a stream behind what waits.
    pub(super) fn end(&mut self, place: usize) {
        if let Some(subscriber) = self.subscribers.get_mut(place) {
            subscriber.end();
            self.list(place);
        }
    }

    fn list(&mut self, place: usize) {
        let subscriber = &mut self.subscribers[place];
        if !subscriber.listed && !subscriber.blocked {
            subscriber.listed = true;
            self.to_send.push(place);
        }
    }

    pub(super) fn send_all(&mut self) {
        let now = Instant::now();
        let mut places = std::mem::take(&mut self.to_send);
        for place in places.drain(..) {
            self.send(place, now);
        }
        self.to_send = places;
    }

    pub(super) fn send(&mut self, place: usize, now: Instant) {
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
            Sent::All | Sent::Blocked => {}
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

    pub(super) fn drop_subscriber(&mut self, place: usize) {
        drop(self.take(place));
    }

    fn take(&mut self, place: usize) -> Option<Subscriber> {
        let subscriber = self.subscribers.try_remove(place)?;
        self.places.remove(&subscriber.id);
        for channel in &subscriber.channels {
            if let Some(audience) = self.channels.get_mut(channel) {
                audience.left += 1;
                // Not while its members are being gone through.
                if !audience.members.is_empty() {
                    self.tidy(*channel);
                }
            }
        }
        // Closing the socket takes it out of the poller. The hub may be gone at the end.
        let _ = self.gone.send(Departure::Subscriber(subscriber.id));
        Some(subscriber)
    }
}
