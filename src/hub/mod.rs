//! The hub: one upstream subscription for all, fanned out to every event stream.
//!
//! [`Hub`] is what threads hold: they hand a connection over, and never hear of it again. Behind it a task
//! owns the upstream subscriber connection (`source`) and knows who listens to what (`actor`, `roster`);
//! a thread of its own writes to the sockets (`fanout`, `writer`, `subscriber`). Events are encoded once for
//! all who get them (`event`). The hub does not know HTTP: the head that a stream begins with comes
//! ready-made.

mod actor;
mod delivery;
mod event;
mod fanout;
mod opening;
mod replay;
mod roster;
mod source;
mod subscriber;
mod topic;
mod writer;

use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::config::Config;
use crate::upstream::Upstream;
use actor::Actor;
use fanout::{Fanout, Rules};

pub use event::{Format, Shape};
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

/// Requests to the hub that may wait.
const MAILBOX: usize = 1024;

/// Names a subscriber between the hub's parts.
type SubscriberId = u64;

/// What a client wants to be told of.
#[derive(Debug)]
pub struct Subscription {
    /// What it listens to, each once.
    pub topics: Vec<Topic>,
    /// The id of the last event the client has seen, if it says so.
    pub last_event_id: Option<String>,
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
    /// Whatever is to be given back when the stream is over.
    pub place: Box<dyn Send>,
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

/// Counts of the hub, for whoever wants to know.
#[derive(Debug, Default)]
pub struct Stats {
    /// Event streams at the moment.
    pub subscribers: AtomicUsize,
    /// Channels that are subscribed to upstream, or about to be.
    pub channels: AtomicUsize,
    /// Subscribers that were disconnected because they were too slow.
    pub evicted: AtomicU64,
    /// Messages that were dropped because the fan-out could not keep up.
    pub dropped: AtomicU64,
}

/// A way to the hub; clones lead to the same one.
#[derive(Debug, Clone)]
pub struct Hub {
    mailbox: mpsc::Sender<Message>,
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
        let (mailbox, messages) = mpsc::channel(MAILBOX);
        // Unbounded, but no more than one for each connection.
        let (gone, departures) = mpsc::unbounded_channel();
        let rules = Rules {
            subscriber_buffer: config.subscriber_buffer,
            write_timeout: config.write_timeout,
            heartbeat: config.heartbeat,
        };
        let fanout = Fanout::start(rules, Arc::clone(&stats), gone)?;
        let actor = Actor::new(upstream, fanout, Arc::clone(&stats), config);
        runtime.spawn(actor.run(messages, departures));
        Ok(Self { mailbox, stats })
    }

    /// Hands a connection over. Everything else, its end included, is the hub's.
    ///
    /// # Errors
    /// The subscription itself, when too many others wait to be taken up.
    pub fn join(&self, subscription: Subscription) -> Result<(), Box<Subscription>> {
        use mpsc::error::TrySendError::{Closed, Full};
        match self.mailbox.try_send(Message::Join(subscription)) {
            Ok(()) => Ok(()),
            Err(Full(Message::Join(back)) | Closed(Message::Join(back))) => Err(Box::new(back)),
            Err(Full(Message::Close(_)) | Closed(Message::Close(_))) => Ok(()),
        }
    }

    /// Resolves when the hub's task has ended, asked or not.
    pub async fn ended(&self) {
        self.mailbox.closed().await;
    }

    /// Ends all streams, cleanly where the client still reads, and resolves when that is done.
    pub async fn close(&self) {
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
