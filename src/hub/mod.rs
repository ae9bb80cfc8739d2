//! The hub: one upstream subscription for all, fanned out to every event stream.
//!
//! [`Hub`] is what threads hold: they hand a connection over, and never hear of it again. Behind it a task
//! owns the upstream subscriber connection (`source`) and knows who listens to what (`actor`, `roster`);
//! threads of their own write to the sockets (`fanout`, `lane`, `writer`, `subscriber`). Events are encoded once for
//! all who get them (`event`). Entries of Redis streams come by another way (`entries`), and may keep their own ids
//! (`own_ids`); those streams may be over for good (`until_gone`). The hub does not know HTTP: the head that a stream begins with comes
//! ready-made.

mod actor;
mod admission;
mod closing;
mod delivery;
mod entries;
mod event;
mod fanout;
mod gaps;
#[cfg(test)]
mod harness;
mod lane;
mod losses;
mod monitor;
mod noperm;
mod opening;
mod own_ids;
mod replay;
mod resubscribe;
mod roster;
mod source;
mod sources;
mod subscriber;
mod timers;
mod topic;
mod until_gone;
mod waits;
mod writer;

use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::config::Config;
use crate::reply::ServerError;
use crate::upstream::Upstream;
use actor::Actor;
use fanout::{Fanout, Rules};
use monitor::Monitors;

pub use admission::Crowded;
pub(crate) use admission::network;
pub use entries::EntryId;
pub use event::{Format, Shape};
pub use monitor::Watch;
pub use own_ids::{Begin, Span};
pub use topic::Topic;

/// The length of a message as an event stream carries it: what the benchmarks measure, no part of the API.
#[doc(hidden)]
#[must_use]
pub fn measured_event(shape: Shape, topic: &Topic, payload: &[u8]) -> usize {
    let position = event::Position {
        epoch: "benchmark",
        sequence: 1_000_000,
    };
    event::message(position, shape, topic, topic.name(), payload).len()
}

/// A mailbox cannot be larger.
const MAX_MAILBOX: usize = tokio::sync::Semaphore::MAX_PERMITS;

/// Names a subscriber between the hub's parts.
type SubscriberId = u64;

/// What a client wants to be told of.
#[derive(Debug)]
pub struct Subscription {
    /// What it listens to, each once.
    pub topics: Vec<Topic>,
    /// The id of the last event the client has seen, if it says so.
    pub last_event_id: Option<String>,
    /// Set if it is the entries of one Redis stream, under their own ids.
    pub span: Option<Span>,
    /// The connection that the events go to.
    pub seat: Seat,
}

/// A connection that becomes an event stream.
pub struct Seat {
    /// The socket, non-blocking, with nothing left to be sent but the head.
    pub stream: TcpStream,
    /// What goes before the first event.
    pub head: Bytes,
    /// Whether the body is sent in chunks (HTTP/1.1), or ends with the connection.
    pub chunked: bool,
    /// How events are to look.
    pub shape: Shape,
    /// Makes the answer that is sent instead of the head if the stream is refused before that has left. Without it
    /// a stream only ends.
    pub refuse: Option<Refuse>,
    /// Whatever is to be given back when the stream is over.
    pub place: Box<dyn Send>,
}

/// Makes the answer, head and all, to a client whose stream is refused.
pub type Refuse = Box<dyn FnOnce(Refused) -> Bytes + Send>;

/// Why a stream is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// There are too many.
    Crowded(Crowded),
    /// The upstream does not let the gateway have this topic, for this reason.
    Upstream(Topic, ServerError),
    /// What it listens to is gone, and it listens until then.
    Over,
}

impl std::fmt::Debug for Seat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { stream, shape, .. } = self;
        f.debug_struct("Seat")
            .field("stream", stream)
            .field("shape", shape)
            .finish_non_exhaustive()
    }
}

/// Counts of the hub.
#[derive(Debug, Default)]
pub struct Stats {
    /// Event streams at the moment.
    pub subscribers: AtomicUsize,
    /// Channels, patterns and Redis streams that are listened to upstream, or about to be.
    pub channels: AtomicUsize,
    /// Streams that ended for new ones.
    pub made_room: AtomicU64,
    /// Streams that were refused because there were too many.
    pub turned_away: AtomicU64,
    /// Subscribers that were disconnected because they were too slow.
    pub evicted: AtomicU64,
    /// Messages that were dropped because the fan-out could not keep up.
    pub dropped: AtomicU64,
}

/// A way to the hub; clones lead to the same one.
#[derive(Debug, Clone)]
pub struct Hub {
    mailbox: mpsc::Sender<Message>,
    monitors: Arc<Monitors>,
    stats: Arc<Stats>,
}

/// What threads tell the hub's task.
#[derive(Debug)]
enum Message {
    Join(Subscription),
    /// End every stream, and say when it is done.
    Close(tokio::sync::oneshot::Sender<()>),
}

impl Hub {
    /// Starts the hub's task on the runtime, and its fan-out.
    ///
    /// # Errors
    /// When the operating system gives no thread or poller.
    pub fn start(config: &Config, upstream: Upstream, runtime: &Handle) -> io::Result<Self> {
        let stats = Arc::new(Stats::default());
        // There is room for every connection: when thousands of browsers come back at once, after a restart, a
        // refusal would end their streams for good.
        let (mailbox, messages) = mpsc::channel(config.max_connections.min(MAX_MAILBOX));
        // Unbounded, but no more than one for each connection.
        let (gone, departures) = mpsc::unbounded_channel();
        let rules = Rules {
            subscriber_buffer: config.subscriber_buffer,
            write_timeout: config.write_timeout,
            heartbeat: config.heartbeat,
            max_age: config.max_stream_age,
        };
        let fanout = Fanout::start(config.fanout_threads, rules, &stats, &gone)?;
        let monitors = Monitors::new(
            config,
            upstream.clone(),
            runtime.clone(),
            Arc::clone(&stats),
        );
        let actor = Actor::new(upstream, fanout, Arc::clone(&stats), config);
        runtime.spawn(actor.run(messages, departures));
        Ok(Self {
            mailbox,
            monitors: Arc::new(monitors),
            stats,
        })
    }

    /// Hands a connection over. Everything else, its end included, is the hub's.
    ///
    /// # Errors
    /// The subscription itself, when too many others wait to be taken up, or the hub [has ended](Self::has_ended).
    pub fn join(&self, subscription: Subscription) -> Result<(), Box<Subscription>> {
        match self.mailbox.try_reserve() {
            Ok(place) => {
                place.send(Message::Join(subscription));
                Ok(())
            }
            Err(_) => Err(Box::new(subscription)),
        }
    }

    /// Hands a connection over that is to be told of every command. Everything else, its end included, is the
    /// hub's.
    pub fn watch(&self, watch: Watch) {
        self.monitors.start(watch);
    }

    /// Whether the hub takes nobody up any more, because it is at its end.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.mailbox.is_closed()
    }

    /// Resolves when the hub's task has ended, asked or not.
    pub async fn ended(&self) {
        self.mailbox.closed().await;
    }

    /// Ends all streams, cleanly where the client still reads, and resolves when that is done. Many are spread
    /// over most of the time that a shutdown may take, so that not all of them come back at once.
    pub async fn close(&self) {
        tokio::join!(self.monitors.close(), self.close_streams());
    }

    async fn close_streams(&self) {
        let (done, closed) = tokio::sync::oneshot::channel();
        if self.mailbox.send(Message::Close(done)).await.is_ok() {
            // An error means that the task has ended, which is what is waited for.
            let _ = closed.await;
        }
    }

    /// The hub's counts.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.stats
    }
}
