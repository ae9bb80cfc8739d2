//! The task that owns the upstream subscription and knows who listens to what.
//!
//! A channel is subscribed upstream with its first listener and left with its last. A stream's head leaves
//! when the upstream has confirmed all its channels, or after a second at the latest; whatever it may have
//! missed by then, or while the upstream was away, it is told of with one `gap` event when all its channels
//! stand again, or sooner if something comes before.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::admission::{Admission, Limits};
use super::entries::Tails;
use super::event::Shape;
use super::fanout::{ChannelKey, Departure, Fanout, Order};
use super::own_ids::{Own, Pages};
use super::replay::{Bounds, Memory};
use super::roster::{Channel, Gap, Listener, State};
use super::source::Happening;
use super::sources::Sources;
use super::waits::sleep_until;
use super::{Message, Stats, SubscriberId, Subscription, Topic};
use crate::config::Config;
use crate::upstream::Upstream;

/// How long a stream's head waits for the upstream. After that a browser should rather see an open stream
/// that tells of a gap than none.
const PATIENCE: Duration = Duration::from_secs(1);

/// How soon after the fan-out fell behind it is looked whether it has room again.
const WAIT_FOR_ROOM: Duration = Duration::from_millis(10);

/// Topics that are kept at once for those who come back.
const MAX_LINGERING: usize = 10_000;

/// How much of a shutdown's time the streams may take to end.
const CLOSING_SHARE: f32 = 0.8;

pub(super) struct Actor {
    pub(super) retry: Duration,
    /// How long a topic is kept after its last listener.
    linger: Duration,
    /// What a stream may be sent at once to catch up.
    pub(super) subscriber_buffer: usize,
    pub(super) fanout: Fanout,
    pub(super) stats: Arc<Stats>,
    /// Names this gateway's life in event ids.
    pub(super) epoch: String,
    /// The last event's number.
    pub(super) sequence: u64,
    pub(super) admission: Admission,
    /// What the end of all streams may take.
    closing_time: Duration,
    last_subscriber: SubscriberId,
    last_channel: ChannelKey,
    pub(super) subscribers: HashMap<SubscriberId, Listener>,
    pub(super) channels: HashMap<Topic, Channel>,
    pub(super) memory: Memory,
    /// Topics that nobody listens to any more, in the order they were left.
    lingering: VecDeque<(Instant, Topic)>,
    pub(super) sources: Sources,
    pub(super) tails: Tails,
    pub(super) pages: Pages,
    /// Open streams that are to be told of a gap before anything else.
    pub(super) untold: HashSet<SubscriberId>,
    /// Who joined when and may still be unopened, in that order.
    unopened: VecDeque<(Instant, SubscriberId)>,
    /// Channels with messages that were dropped, whose listeners have not been told.
    pub(super) lossy: HashSet<Topic>,
    /// When to look whether they can be told.
    pub(super) next_loss_check: Option<Instant>,
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
            retry: config.retry,
            linger: config.linger,
            subscriber_buffer: config.subscriber_buffer,
            fanout,
            stats,
            epoch,
            sequence: 0,
            admission: Admission::new(Limits::of(config)),
            closing_time: config.shutdown_timeout.mul_f32(CLOSING_SHARE),
            last_subscriber: 0,
            last_channel: 0,
            subscribers: HashMap::new(),
            channels: HashMap::new(),
            memory: Memory::new(Bounds::new(config)),
            lingering: VecDeque::new(),
            sources: Sources::new(upstream.clone(), config),
            tails: Tails::new(upstream.clone(), config),
            pages: Pages::new(upstream),
            untold: HashSet::new(),
            unopened: VecDeque::new(),
            lossy: HashSet::new(),
            next_loss_check: None,
        }
    }

    /// Runs until it is told to close, or a thread of its fan-out is gone.
    pub(super) async fn run(
        mut self,
        mut mailbox: mpsc::Receiver<Message>,
        mut departures: mpsc::UnboundedReceiver<Departure>,
    ) {
        let mut closing = None;
        loop {
            if closing.is_some() && self.subscribers.is_empty() {
                return self.end(mailbox, closing).await;
            }
            let patience_ends = self.unopened.front().map(|(joined, _)| *joined + PATIENCE);
            let has_room = self.fanout.has_room();
            let linger_ends = self.lingering.front().map(|(left, _)| *left + self.linger);
            tokio::select! {
                message = mailbox.recv() => match message {
                    Some(Message::Join(subscription)) => self.join(subscription),
                    // Until they have ended, streams go on.
                    Some(Message::Close(done)) => {
                        self.fanout.close(self.closing_time);
                        closing = Some(done);
                    }
                    None => return self.end(mailbox, closing).await,
                },
                Some(departure) = departures.recv() => match departure {
                    Departure::Subscriber(id) => self.leave(id),
                    Departure::Thread => {
                        tracing::error!("a thread of the fan-out has ended, and with it the hub");
                        return self.end(mailbox, closing).await;
                    }
                },
                happening = self.sources.next() => self.on_happening(happening),
                // Entries can wait in their streams: none is dropped because the fan-out cannot keep up.
                news = self.tails.next(), if has_room => self.on_news(news),
                () = tokio::time::sleep(WAIT_FOR_ROOM), if !has_room => {}
                Some(page) = self.pages.next() => self.take_page(page),
                () = sleep_until(patience_ends) => self.open_the_patient(),
                () = sleep_until(linger_ends) => self.end_lingering(),
                () = sleep_until(self.next_loss_check) => self.tell_of_losses(),
            }
            self.stats
                .subscribers
                .store(self.subscribers.len(), Ordering::Relaxed);
            self.stats
                .channels
                .store(self.channels.len(), Ordering::Relaxed);
        }
    }

    pub(super) fn join(&mut self, subscription: Subscription) {
        let Subscription {
            topics,
            last_event_id,
            span,
            seat,
        } = subscription;
        self.last_subscriber += 1;
        let id = self.last_subscriber;
        let shape = seat.shape;
        let Some(mut seat) = self.admit(id, seat) else {
            return;
        };
        let refuse = seat.refuse.take();
        // From here on a hang-up is noticed.
        self.fanout.order(Order::Add(id, seat));
        let missing = self.add_listener(id, &topics, shape);
        // The ids of a stream of entries are Redis' own, and none of these numbers.
        let last = last_event_id.filter(|last| !last.is_empty() && span.is_none());
        let resume = last.as_deref().and_then(|last| self.number_of(last));
        let gap = (last.is_some() && resume.is_none()).then(|| Gap {
            reason: "unknown-id",
            topics: topics.clone(),
        });
        let subscriber = Listener {
            topics: topics.clone(),
            shape,
            missing,
            open: false,
            resume,
            gap,
            own: span.map(|span| Box::new(Own::new(span))),
            refuse,
        };
        self.subscribers.insert(id, subscriber);
        let until_gone = span.is_some_and(|span| span.until_gone);
        if missing == 0 && !until_gone {
            self.open(id);
            return;
        }
        self.unopened.push_back((Instant::now(), id));
        self.catch_up_with(id);
        if until_gone {
            topics.iter().for_each(|topic| self.until_gone(topic, id));
        }
    }

    /// Counts a new subscriber among the listeners of its topics. Gives how many of these do not stand.
    fn add_listener(&mut self, id: SubscriberId, topics: &[Topic], shape: Shape) -> usize {
        let mut missing = 0;
        for topic in topics {
            let channel = self.channels.entry(topic.clone()).or_insert_with(|| {
                self.last_channel += 1;
                Channel::new(self.last_channel)
            });
            channel.listeners.insert(id);
            channel.lingers_since = None;
            channel.shapes[shape.index()] += 1;
            let stands = channel.stands();
            missing += usize::from(!stands);
            if stands && !topic.is_subscribed() {
                self.tails.look_soon(topic.name());
            }
        }
        missing
    }

    /// Asks upstream for what a new subscriber misses.
    fn catch_up_with(&mut self, id: SubscriberId) {
        let topics = self.subscribers.get(&id).map(|s| s.topics.clone());
        for topic in topics.unwrap_or_default() {
            self.ask_for(&topic);
        }
    }

    fn leave(&mut self, id: SubscriberId) {
        self.admission.left(id);
        self.stop_listening(id);
    }

    /// Removes a subscriber from its topics.
    pub(super) fn stop_listening(&mut self, id: SubscriberId) {
        let Some(subscriber) = self.subscribers.remove(&id) else {
            return;
        };
        self.untold.remove(&id);
        let is_own = subscriber.own.is_some();
        let until_gone = subscriber.own.is_some_and(|own| own.until_gone);
        for topic in subscriber.topics {
            if until_gone {
                self.no_more_until_gone(&topic);
            }
            let Some(channel) = self.channels.get_mut(&topic) else {
                continue;
            };
            if channel.listeners.remove(&id) {
                channel.shapes[subscriber.shape.index()] -= 1;
            }
            if is_own {
                channel.losses.left(channel.end());
            }
            if channel.listeners.is_empty() {
                self.linger(topic);
            }
        }
    }

    /// Keeps a topic that nobody listens to for those who come back, if there is anything to come back to.
    fn linger(&mut self, topic: Topic) {
        let now = Instant::now();
        match self.channels.get_mut(&topic) {
            Some(channel) if channel.stands() => channel.lingers_since = Some(now),
            _ => return self.leave_channel(&topic),
        }
        self.lingering.push_back((now, topic));
        if self.lingering.len() > MAX_LINGERING {
            self.end_oldest_linger();
        }
    }

    fn end_lingering(&mut self) {
        let now = Instant::now();
        while let Some((left, _)) = self.lingering.front()
            && *left + self.linger <= now
        {
            self.end_oldest_linger();
        }
    }

    fn end_oldest_linger(&mut self) {
        if let Some((left, topic)) = self.lingering.pop_front() {
            // Somebody may have come since, and gone again.
            let channel = self.channels.get(&topic);
            if channel.is_some_and(|channel| channel.lingers_since == Some(left)) {
                self.leave_channel(&topic);
            }
        }
    }

    pub(super) fn leave_channel(&mut self, topic: &Topic) {
        let Some(channel) = self.channels.get_mut(topic) else {
            return;
        };
        match channel.state {
            _ if !topic.is_subscribed() => self.leave_stream(topic),
            State::Standing if self.sources.unsubscribe(topic, channel.home.as_ref()) => {
                channel.state = State::Leaving;
            }
            // It is looked at again when what is under way is confirmed.
            State::Subscribing | State::Leaving => {}
            State::Standing | State::Down => {
                if let Some(channel) = self.channels.remove(topic) {
                    self.memory.forget(&channel.replay);
                }
            }
        }
        self.sources.close_unused(&self.channels);
    }

    pub(super) fn ask_for(&mut self, topic: &Topic) {
        let Some(channel) = self.channels.get_mut(topic) else {
            return;
        };
        if channel.state != State::Down {
            return;
        }
        if let Topic::Stream(key) = topic {
            self.tails.watch(key, channel.key);
            channel.state = State::Subscribing;
        } else if let Some(home) = self.sources.subscribe(topic) {
            channel.state = State::Subscribing;
            channel.home = Some(home);
        }
    }

    fn on_happening(&mut self, happening: Happening) {
        match happening {
            Happening::Message(topic, message) => self.deliver(topic, &message),
            Happening::Up => self.ask_for_all(),
            Happening::Unreachable(home) => {
                self.ask_for_all();
                self.sources.give_up(&home, &self.channels);
            }
            Happening::Confirmed(topic) => self.confirmed(&topic),
            Happening::Refused(topic, error) => self.refused_channel(&topic, &error),
            Happening::Misplaced(topic) => self.misplaced(&topic),
            Happening::Lost(home) => self.lost(&home),
        }
    }

    pub(super) fn confirmed(&mut self, topic: &Topic) {
        let Some(channel) = self.channels.get_mut(topic) else {
            return;
        };
        match channel.state {
            State::Subscribing => {
                channel.state = State::Standing;
                // Clients that have seen the last event so far may have missed what came before this.
                self.sequence += 1;
                channel.replay.begins_at(self.sequence);
                if channel.listeners.is_empty() {
                    self.leave_channel(topic);
                }
                self.stands(topic);
            }
            State::Leaving => {
                self.ask_again(topic);
            }
            State::Down | State::Standing => {}
        }
    }

    /// Opens streams that have waited long enough for the upstream.
    fn open_the_patient(&mut self) {
        let now = Instant::now();
        while let Some(&(joined, id)) = self.unopened.front()
            && joined + PATIENCE <= now
        {
            self.unopened.pop_front();
            if let Some(subscriber) = self.subscribers.get_mut(&id)
                && !subscriber.open
            {
                if let Some(own) = &mut subscriber.own {
                    own.awaits_check = false;
                }
                self.open(id);
            }
        }
    }
}
