//! The task that owns the upstream subscription and knows who listens to what.
//!
//! A channel is subscribed upstream with its first listener and left with its last. A stream's head leaves
//! when the upstream has confirmed all its channels, or after a second at the latest; whatever it may have
//! missed by then, or while the upstream was away, it is told of with one `gap` event when all its channels
//! stand again.

use std::collections::{HashMap, HashSet, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use redis::aio::{PubSubSink, PubSubStream};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::event::{self, Position, Shape};
use super::fanout::{ChannelKey, Fanout, Order};
use super::{Message, Stats, SubscriberId, Subscription};
use crate::config::Config;
use crate::upstream::{Upstream, reconnect_pauses};

/// How long a stream's head waits for the upstream. After that a browser should rather see an open stream
/// that tells of a gap than none.
const PATIENCE: Duration = Duration::from_secs(1);

/// How soon after the fan-out fell behind it is looked whether it has caught up.
const LOSS_CHECK: Duration = Duration::from_millis(100);

pub(super) struct Actor {
    upstream: Upstream,
    connect_timeout: Duration,
    retry: Duration,
    fanout: Fanout,
    stats: Arc<Stats>,
    /// Names this gateway's life in event ids.
    epoch: String,
    /// The last event's number.
    sequence: u64,
    last_subscriber: SubscriberId,
    last_channel: ChannelKey,
    subscribers: HashMap<SubscriberId, Subscriber>,
    channels: HashMap<Bytes, Channel>,
    connection: Connection,
    /// How long to wait before each further attempt to connect.
    pauses: Box<dyn Iterator<Item = Duration> + Send>,
    /// Requests to the upstream that it has not confirmed. At most one for each channel, so their order
    /// does not matter.
    requests: FuturesUnordered<Pin<Box<dyn Future<Output = Confirmation> + Send>>>,
    /// Who joined when and may still be unopened, in that order.
    unopened: VecDeque<(Instant, SubscriberId)>,
    /// Channels with messages that were dropped, whose listeners have not been told.
    lossy: Vec<Bytes>,
}

/// A stream, as this task sees it.
struct Subscriber {
    channels: Vec<Bytes>,
    shape: Shape,
    /// How many of its channels do not stand.
    missing: usize,
    open: bool,
    /// Why it may have missed something that it has not been told of.
    gap: Option<&'static str>,
}

/// A channel with listeners, or one about to be left.
struct Channel {
    key: ChannelKey,
    listeners: HashSet<SubscriberId>,
    /// How many of the listeners want each shape.
    shapes: [usize; Shape::COUNT],
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing is known upstream.
    Down,
    /// Asked for.
    Subscribing,
    /// Confirmed.
    Standing,
    /// Being left.
    Leaving,
}

/// The subscriber connection.
enum Connection {
    /// Nobody listens.
    None,
    /// On its way.
    Opening(Pin<Box<dyn Future<Output = redis::RedisResult<redis::aio::PubSub>> + Send>>),
    Up(PubSubSink, PubSubStream),
}

/// The upstream's answer to a request.
struct Confirmation {
    channel: Bytes,
    result: redis::RedisResult<()>,
}

impl Actor {
    pub(super) fn new(
        upstream: Upstream,
        fanout: Fanout,
        stats: Arc<Stats>,
        config: &Config,
    ) -> Self {
        let epoch = std::iter::repeat_with(fastrand::alphanumeric)
            .take(10)
            .collect();
        Self {
            upstream,
            connect_timeout: config.connect_timeout,
            retry: config.retry,
            fanout,
            stats,
            epoch,
            sequence: 0,
            last_subscriber: 0,
            last_channel: 0,
            subscribers: HashMap::new(),
            channels: HashMap::new(),
            connection: Connection::None,
            pauses: Box::new(reconnect_pauses()),
            requests: FuturesUnordered::new(),
            unopened: VecDeque::new(),
            lossy: Vec::new(),
        }
    }

    /// Runs until it is told to close.
    pub(super) async fn run(
        mut self,
        mut mailbox: mpsc::Receiver<Message>,
        mut departures: mpsc::UnboundedReceiver<SubscriberId>,
    ) {
        loop {
            let patience_ends = self.unopened.front().map(|(joined, _)| *joined + PATIENCE);
            tokio::select! {
                message = mailbox.recv() => match message {
                    Some(Message::Join(subscription)) => self.join(subscription),
                    Some(Message::Close(done)) => {
                        self.close().await;
                        // Whoever asked may have given up.
                        let _ = done.send(());
                        return;
                    }
                    None => return self.close().await,
                },
                Some(id) = departures.recv() => self.leave(id),
                event = self.connection.next() => self.on_connection(event),
                Some(confirmation) = self.requests.next() => self.confirm(confirmation),
                () = sleep_until(patience_ends) => self.open_the_patient(),
                () = tokio::time::sleep(LOSS_CHECK), if !self.lossy.is_empty() => self.tell_of_losses(),
            }
            self.stats
                .subscribers
                .store(self.subscribers.len(), Ordering::Relaxed);
            self.stats
                .channels
                .store(self.channels.len(), Ordering::Relaxed);
        }
    }

    async fn close(self) {
        self.fanout.order(Order::Close);
        // The thread ends as soon as it has tried to write to everybody.
        let fanout = self.fanout;
        let ended = tokio::task::spawn_blocking(move || fanout.join());
        if let Err(error) = ended.await {
            tracing::error!(%error, "the fan-out was not waited for");
        }
    }

    fn join(&mut self, subscription: Subscription) {
        let Subscription {
            channels,
            last_event_id,
            seat,
        } = subscription;
        self.last_subscriber += 1;
        let id = self.last_subscriber;
        let shape = seat.shape;
        // From here on a hang-up is noticed.
        self.fanout.order(Order::Add(id, seat));
        let mut missing = 0;
        for name in &channels {
            let channel = self.channels.entry(name.clone()).or_insert_with(|| {
                self.last_channel += 1;
                Channel::new(self.last_channel)
            });
            channel.listeners.insert(id);
            channel.shapes[shape.index()] += 1;
            missing += usize::from(channel.state != State::Standing);
        }
        // Nothing is kept yet that an older id could be resumed from.
        let gap = last_event_id
            .filter(|last| !last.is_empty())
            .map(|_| "unknown-id");
        let subscriber = Subscriber {
            channels,
            shape,
            missing,
            open: false,
            gap,
        };
        self.subscribers.insert(id, subscriber);
        if missing == 0 {
            self.open(id);
        } else {
            self.unopened.push_back((Instant::now(), id));
            self.catch_up_with(id);
        }
    }

    /// Asks upstream for what a new subscriber misses.
    fn catch_up_with(&mut self, id: SubscriberId) {
        if let Connection::None = self.connection {
            self.connect(Duration::ZERO);
        }
        let channels = self.subscribers.get(&id).map(|s| s.channels.clone());
        for name in channels.unwrap_or_default() {
            self.ask_for(&name);
        }
    }

    fn leave(&mut self, id: SubscriberId) {
        let Some(subscriber) = self.subscribers.remove(&id) else {
            return;
        };
        for name in subscriber.channels {
            let Some(channel) = self.channels.get_mut(&name) else {
                continue;
            };
            if channel.listeners.remove(&id) {
                channel.shapes[subscriber.shape.index()] -= 1;
            }
            if channel.listeners.is_empty() {
                self.leave_channel(&name);
            }
        }
    }

    fn leave_channel(&mut self, name: &Bytes) {
        let Some(channel) = self.channels.get_mut(name) else {
            return;
        };
        match (channel.state, &self.connection) {
            (State::Standing, Connection::Up(sink, _)) => {
                channel.state = State::Leaving;
                let (mut sink, channel) = (sink.clone(), name.clone());
                self.requests.push(Box::pin(async move {
                    let result = sink.unsubscribe(&channel[..]).await;
                    Confirmation { channel, result }
                }));
            }
            // What is under way is looked at when it is confirmed.
            (State::Subscribing | State::Leaving, Connection::Up(..)) => {}
            _ => {
                self.channels.remove(name);
            }
        }
        if self.channels.is_empty() {
            self.connection = Connection::None;
        }
    }

    fn ask_for(&mut self, name: &Bytes) {
        if let (Some(channel), Connection::Up(sink, _)) =
            (self.channels.get_mut(name), &self.connection)
            && channel.state == State::Down
        {
            channel.state = State::Subscribing;
            let (mut sink, channel) = (sink.clone(), name.clone());
            self.requests.push(Box::pin(async move {
                let result = sink.subscribe(&channel[..]).await;
                Confirmation { channel, result }
            }));
        }
    }

    fn confirm(&mut self, confirmation: Confirmation) {
        let name = confirmation.channel;
        let Some(channel) = self.channels.get_mut(&name) else {
            return;
        };
        match (channel.state, confirmation.result) {
            (State::Subscribing, Ok(())) => {
                channel.state = State::Standing;
                let listeners = channel.listeners.clone();
                if listeners.is_empty() {
                    self.leave_channel(&name);
                }
                for id in listeners {
                    self.one_more_stands(id);
                }
            }
            (State::Leaving, Ok(())) => {
                channel.state = State::Down;
                if channel.listeners.is_empty() {
                    self.leave_channel(&name);
                } else {
                    self.ask_for(&name);
                }
            }
            // A broken connection is dealt with as such.
            (_, Err(error)) if error.is_unrecoverable_error() => {}
            (_, Err(error)) => {
                tracing::warn!(%error, "the upstream refused a subscription");
                channel.state = State::Down;
                let farewell = event::farewell("the upstream refused the subscription");
                for id in channel.listeners.clone() {
                    self.fanout.order(Order::End(id, farewell.clone()));
                }
            }
            (State::Down | State::Standing, Ok(())) => {}
        }
    }

    fn one_more_stands(&mut self, id: SubscriberId) {
        let Some(subscriber) = self.subscribers.get_mut(&id) else {
            return;
        };
        subscriber.missing -= 1;
        if subscriber.missing == 0 {
            if subscriber.open {
                self.tell_of_gap(id);
            } else {
                self.open(id);
            }
        }
    }

    /// Opens streams that have waited long enough for the upstream.
    fn open_the_patient(&mut self) {
        let now = Instant::now();
        while let Some(&(joined, id)) = self.unopened.front()
            && joined + PATIENCE <= now
        {
            self.unopened.pop_front();
            if self
                .subscribers
                .get(&id)
                .is_some_and(|subscriber| !subscriber.open)
            {
                self.open(id);
            }
        }
    }

    /// Sends a stream's head; its channels' messages follow.
    fn open(&mut self, id: SubscriberId) {
        let Some(subscriber) = self.subscribers.get_mut(&id) else {
            return;
        };
        subscriber.open = true;
        let stands = subscriber.missing == 0;
        if !stands {
            subscriber.gap = subscriber.gap.or(Some("interrupted"));
        }
        let retry = self.retry.mul_f32(1.0 + fastrand::f32() / 2.0);
        let opening = event::opening(self.position(), retry);
        let channels = self
            .subscribers
            .get(&id)
            .into_iter()
            .flat_map(|s| &s.channels);
        let keys = channels.filter_map(|name| self.channels.get(name));
        let keys = keys.map(|channel| channel.key).collect();
        self.fanout.order(Order::Open(id, opening, keys));
        if stands {
            self.tell_of_gap(id);
        }
    }

    fn tell_of_gap(&mut self, id: SubscriberId) {
        if let Some(subscriber) = self.subscribers.get_mut(&id)
            && let Some(reason) = subscriber.gap.take()
        {
            let position = Position {
                epoch: &self.epoch,
                sequence: self.sequence,
            };
            let gap = event::gap(position, reason, &subscriber.channels);
            self.fanout.order(Order::Send(id, gap));
        }
    }

    fn position(&self) -> Position<'_> {
        Position {
            epoch: &self.epoch,
            sequence: self.sequence,
        }
    }

    fn connect(&mut self, pause: Duration) {
        let upstream = self.upstream.clone();
        let limit = self.connect_timeout;
        self.connection = Connection::Opening(Box::pin(async move {
            tokio::time::sleep(pause).await;
            let late =
                |_| redis::RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut));
            tokio::time::timeout(limit, upstream.subscriber())
                .await
                .map_err(late)?
        }));
    }

    fn on_connection(&mut self, event: ConnectionEvent) {
        match event {
            ConnectionEvent::Message(message) => self.deliver(&message),
            ConnectionEvent::Opened(Ok(connection)) => {
                let (sink, stream) = connection.split();
                self.connection = Connection::Up(sink, stream);
                self.pauses = Box::new(reconnect_pauses());
                let names: Vec<_> = self.channels.keys().cloned().collect();
                for name in names {
                    self.ask_for(&name);
                }
            }
            ConnectionEvent::Opened(Err(error)) => {
                tracing::warn!(%error, "cannot connect for subscriptions");
                // The pauses never end.
                let pause = self.pauses.next().unwrap_or_default();
                self.connect(pause);
            }
            ConnectionEvent::Lost => {
                tracing::warn!("the subscriber connection to the upstream ended");
                self.lost();
            }
        }
    }

    /// Everything that was subscribed is no longer, until it is confirmed anew.
    fn lost(&mut self) {
        self.requests.clear();
        self.channels.retain(|_, channel| {
            channel.state = State::Down;
            !channel.listeners.is_empty()
        });
        for subscriber in self.subscribers.values_mut() {
            subscriber.missing = subscriber.channels.len();
            if subscriber.open {
                subscriber.gap = subscriber.gap.or(Some("interrupted"));
            }
        }
        if self.channels.is_empty() {
            self.connection = Connection::None;
        } else {
            // A server that takes connections only to close them shall not be asked without a pause.
            let pause = reconnect_pauses().next().unwrap_or_default();
            self.connect(pause);
        }
    }

    /// Hands a message to the fan-out, encoded once for each shape that somebody wants.
    fn deliver(&mut self, message: &redis::Msg) {
        let Ok(name) = message.get_channel::<Vec<u8>>() else {
            return;
        };
        let Some(channel) = self.channels.get(&name[..]) else {
            return;
        };
        self.sequence += 1;
        let position = Position {
            epoch: &self.epoch,
            sequence: self.sequence,
        };
        let payload = message.get_payload_bytes();
        let shapes = Shape::all().map(|shape| {
            let wanted = channel.shapes[shape.index()] > 0;
            wanted.then(|| event::message(position, shape, &name, payload))
        });
        if !self.fanout.deliver(channel.key, shapes) {
            self.stats.dropped.fetch_add(1, Ordering::Relaxed);
            let name = Bytes::from(name);
            if !self.lossy.contains(&name) {
                tracing::warn!("the fan-out cannot keep up; messages are dropped");
                self.lossy.push(name);
            }
        }
    }

    /// Tells the listeners of channels with dropped messages, if the fan-out takes deliveries again.
    fn tell_of_losses(&mut self) {
        for name in std::mem::take(&mut self.lossy) {
            let Some(channel) = self.channels.get(&name) else {
                continue;
            };
            let gap = event::gap(self.position(), "overflow", std::slice::from_ref(&name));
            let shapes = [(); Shape::COUNT].map(|()| Some(gap.clone()));
            if !self.fanout.deliver(channel.key, shapes) {
                self.lossy.push(name);
            }
        }
    }
}

impl Channel {
    fn new(key: ChannelKey) -> Self {
        Self {
            key,
            listeners: HashSet::new(),
            shapes: [0; Shape::COUNT],
            state: State::Down,
        }
    }
}

/// What happened to the subscriber connection.
enum ConnectionEvent {
    Opened(redis::RedisResult<redis::aio::PubSub>),
    Message(redis::Msg),
    Lost,
}

impl Connection {
    /// Waits for the next thing to happen; for ever while there is no connection.
    async fn next(&mut self) -> ConnectionEvent {
        match self {
            Self::None => std::future::pending().await,
            Self::Opening(connection) => ConnectionEvent::Opened(connection.await),
            Self::Up(_, messages) => match messages.next().await {
                Some(message) => ConnectionEvent::Message(message),
                None => ConnectionEvent::Lost,
            },
        }
    }
}

async fn sleep_until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
