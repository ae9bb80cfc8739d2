//! The Redis behind the gateway: commands travel to it as pipelines, subscriptions over a connection of
//! their own.
//!
//! Embedded or not, it is reached over RESP with the same client, so there is one code path; an embedded
//! server is an address that the gateway itself serves. Nothing here knows HTTP.

mod admission;
pub mod bench;
mod bulky;
mod cache;
pub mod classes;
mod cluster;
mod command_lists;
mod command_table;
mod connector;
mod dedicated;
mod demotion;
pub mod embedded;
mod failover;
mod failure;
mod keys;
mod link;
mod monitor;
mod node;
mod pace;
mod pipe;
mod policies;
mod refusal;
mod resp;
mod resp_encode;
pub(crate) mod role;
mod route;
mod sending;
mod sent;
mod sentinel;
mod server;
mod sharded;
mod stream_reader;
mod transport;
mod unblocking;
mod write_buffer;
mod write_set;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use backon::BackoffBuilder;
use redis::aio::PubSubSink;

use crate::command::Command;
use crate::config::{Config, Place, UpstreamUrl};
use crate::error::Error;
use crate::reply::Reply;
pub use admission::Ticket;
use bulky::Bulky;
use cache::Cache;
pub use cache::CacheStats;
use classes::Classes;
use cluster::Cluster;
use command_table::CommandTable;
use connector::Connector;
use embedded::Embedded;
pub use failover::FailoverWatch;
pub use monitor::{Monitor, NoMonitor, Told};
use node::{Limits, Node};
pub use pace::Messages;
pub(crate) use pipe::Pump;
pub use refusal::Refusal;
use resp_encode::Packed;
pub(crate) use route::Route;
pub(crate) use sent::{Sent, Share, take_first};
use server::RedisServer;
pub use sharded::{Shard, ShardedSink, ShardedStream};
pub use stream_reader::{Reader, Reading};

/// What became of one command: Redis' reply (an error of Redis' own is one too), or why there is none.
pub type Outcome = Result<Reply, Error>;

/// The upstream, shared by all threads and tasks; clones are cheap.
#[derive(Debug, Clone)]
pub struct Upstream {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    engine: Engine,
    /// `None` unless it is wanted.
    cache: Option<Cache>,
    command_table: Arc<CommandTable>,
    bulky: Bulky,
    /// Commands that hold a [`Ticket`]: of requests with few, and of those with many.
    under_way: [AtomicUsize; 2],
    max_commands: usize,
    command_timeout: Duration,
    connect_timeout: Duration,
    blocking_timeout: Duration,
    /// For commands that have a connection of their own.
    blocking: Arc<tokio::sync::Semaphore>,
    /// Whether no command may wait any more.
    no_more_waiting: tokio::sync::watch::Sender<bool>,
}

/// What answers commands.
#[derive(Debug)]
enum Engine {
    /// One server at a time, the embedded one or another.
    One(Arc<Node>),
    /// The nodes of a Cluster.
    Cluster(Arc<Cluster>),
}

impl Engine {
    /// Starts what the configuration names, and the tasks that keep connections to it.
    async fn start(config: &Config, command_table: &Arc<CommandTable>) -> std::io::Result<Self> {
        let limits = Limits {
            connect_timeout: config.connect_timeout,
            room: config.max_buffered,
        };
        let connector = match &config.upstream {
            UpstreamUrl::Embedded => Connector::Embedded(Embedded::start().await?),
            UpstreamUrl::Redis(settings) => {
                let server = RedisServer::new(*settings.clone(), config.connect_timeout)?;
                if let Place::Cluster(seeds) = &settings.place {
                    let cluster = Cluster::start(server, seeds.clone(), limits, command_table);
                    return Ok(Self::Cluster(Arc::new(cluster)));
                }
                Connector::Redis(server)
            }
        };
        let node = Node::start(connector, limits, command_table);
        Ok(Self::One(Arc::new(node)))
    }

    /// Starts a client cache, if one is wanted.
    fn start_cache(&self, config: &Config) -> std::io::Result<Option<Cache>> {
        let Some(size) = config.client_cache else {
            return Ok(None);
        };
        match self {
            Self::One(node) if config.upstream.is_one_server() => Ok(Some(Cache::start(
                size,
                node,
                config.connect_timeout,
                config.command_timeout,
            ))),
            Self::One(_) | Self::Cluster(_) => Err(std::io::Error::new(
                std::io::ErrorKind::InvalidInput,
                "a client cache is for one Redis server",
            )),
        }
    }

    /// Resolves when the first attempt to connect has succeeded or failed.
    async fn tried(&self) {
        match self {
            Self::One(node) => node.tried().await,
            Self::Cluster(cluster) => cluster.tried().await,
        }
    }

    fn news(&self) -> FailoverWatch {
        match self {
            Self::One(node) => node.connector().news(),
            Self::Cluster(_) => FailoverWatch::fixed(),
        }
    }
}

/// Tells servers apart. No number is given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeNumber(usize);

impl NodeNumber {
    pub(crate) fn next() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// A place among so many. Servers that came one after another have different ones.
    pub(crate) fn place(self, count: usize) -> usize {
        self.0 % count
    }
}

impl Upstream {
    /// Starts what the configuration asks for and a task that keeps a connection to it. Waits for the first attempt
    /// to connect, `connect_timeout` at most; a Redis server may come later.
    ///
    /// # Errors
    /// When the embedded server finds no port to listen on, there are no certificates for TLS, or a client cache is
    /// asked for with something that is not one Redis server.
    pub async fn start(config: &Config) -> std::io::Result<Self> {
        let command_table = CommandTable::nothing(config.allow_command.clone());
        let engine = Engine::start(config, &command_table).await?;
        let cache = engine.start_cache(config)?;
        // The nodes of a Cluster are tried one after another, each for as long: nobody waits for all of them.
        let _ = tokio::time::timeout(config.connect_timeout, engine.tried()).await;
        let shared = Shared {
            engine,
            cache,
            command_table,
            bulky: Bulky::default(),
            under_way: Default::default(),
            max_commands: config.max_commands,
            command_timeout: config.command_timeout,
            connect_timeout: config.connect_timeout,
            blocking_timeout: config.blocking_timeout,
            blocking: Arc::new(tokio::sync::Semaphore::new(config.max_blocking)),
            no_more_waiting: tokio::sync::watch::Sender::default(),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Resolves if the upstream is gone for good (an embedded server that cannot be started anew), with the
    /// reason. The process has to end then.
    pub async fn failed(&self) -> String {
        match self.embedded() {
            Some(server) => server.failed().await,
            None => std::future::pending().await,
        }
    }

    /// Where the embedded server listens at the moment; `None` if there is none.
    #[must_use]
    pub fn embedded_address(&self) -> Option<std::net::SocketAddr> {
        self.embedded().map(Embedded::address)
    }

    fn embedded(&self) -> Option<&Embedded> {
        match &self.shared.engine {
            Engine::One(node) => match node.connector() {
                Connector::Embedded(server) => Some(server),
                Connector::Redis(_) => None,
            },
            Engine::Cluster(_) => None,
        }
    }

    /// The reply to a command from the client cache, if it is there.
    pub fn cached(&self, command: &Command) -> Option<Reply> {
        self.shared.cache.as_ref()?.get(command)
    }

    /// What there is to say of the client cache, if there is one.
    #[must_use]
    pub fn cache_stats(&self) -> Option<CacheStats> {
        self.shared.cache.as_ref().map(Cache::stats)
    }

    /// Whether the upstream has several nodes.
    #[must_use]
    pub fn is_cluster(&self) -> bool {
        matches!(self.shared.engine, Engine::Cluster(_))
    }

    /// What is known of the server's commands.
    #[must_use]
    pub fn classes(&self) -> Arc<Classes> {
        self.shared.command_table.classes()
    }

    /// The command that makes one round trip and changes nothing.
    #[must_use]
    pub fn probe(&self) -> Command {
        match &self.shared.engine {
            Engine::One(node) => node.connector().probe(),
            Engine::Cluster(_) => Command::new("PING"),
        }
    }

    /// What tells that it is worth trying to connect again, whenever that was to be.
    pub(crate) fn news(&self) -> FailoverWatch {
        self.shared.engine.news()
    }

    /// Opens a connection for subscriptions; the last part tells when it should lead elsewhere.
    ///
    /// # Errors
    /// Why there is none, for the log.
    pub async fn subscriber(&self) -> redis::RedisResult<(PubSubSink, Messages, FailoverWatch)> {
        match &self.shared.engine {
            Engine::One(node) => node.connector().subscriber().await,
            Engine::Cluster(cluster) => cluster.subscriber().await,
        }
    }
}

/// How long to wait before each further attempt to reach a Redis that is away: doubling from 50 ms to 3 s,
/// with jitter so that many gateways do not come back in step. It never ends.
pub(crate) fn reconnect_pauses() -> impl Iterator<Item = Duration> + Send {
    backon::ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(Duration::from_secs(3))
        .with_jitter()
        .without_max_times()
        .build()
}
