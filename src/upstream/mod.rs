//! The Redis behind the gateway: commands travel to it as pipelines, subscriptions over a connection of
//! their own.
//!
//! Embedded or not, it is reached over RESP with the same client, so there is one code path; an embedded
//! server is an address that the gateway itself serves. Nothing here knows HTTP.

mod apart;
mod cache;
pub mod classes;
mod cluster;
mod connector;
pub mod embedded;
mod keys;
mod lead;
mod learned;
mod link;
mod lists;
mod monitor;
mod node;
mod packed;
mod reader;
mod sent;
mod sentinel;
mod server;
mod sharded;
mod spread;
mod stream;
mod written;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use backon::BackoffBuilder;
use futures_util::FutureExt;
use futures_util::future::{Either, join_all};

use crate::command::Command;
use crate::config::{Config, Place, UpstreamUrl};
use crate::error::Error;
use crate::reply::Reply;
use cache::Cache;
pub use cache::CacheStats;
use classes::{Class, Classes};
use cluster::{Cluster, Delivery};
use connector::Connector;
use embedded::Embedded;
pub use lead::Lead;
use learned::Learned;
pub use monitor::{Monitor, NoMonitor, Told};
use node::{Line, Node};
use packed::Packed;
pub use reader::{Reader, Reading};
pub(crate) use sent::{Sent, Share};
use server::RedisServer;
pub use sharded::{Shard, ShardedSink, ShardedStream};

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
    learned: Arc<Learned>,
    /// Commands that hold a [`Ticket`].
    under_way: AtomicUsize,
    max_commands: usize,
    command_timeout: Duration,
    connect_timeout: Duration,
    blocking_timeout: Duration,
    /// For commands that have a connection of their own.
    blocking: Arc<tokio::sync::Semaphore>,
}

/// What answers commands.
#[derive(Debug)]
enum Engine {
    /// One server at a time, the embedded one or another.
    One(Arc<Node>),
    /// The nodes of a Cluster.
    Cluster(Arc<Cluster>),
}

/// Tells the nodes of a Cluster apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeNumber(usize);

impl Upstream {
    /// Starts what the configuration asks for and a task that keeps a connection to it. Returns as soon as
    /// the embedded server listens; a Redis server may come later.
    ///
    /// # Errors
    /// When the embedded server finds no port to listen on, there are no certificates for TLS, or a client cache is
    /// asked for with something that is not one Redis server.
    pub async fn start(config: &Config) -> std::io::Result<Self> {
        let (learned, limit) = (
            Learned::nothing(config.allow_command.clone()),
            config.connect_timeout,
        );
        let engine = match &config.upstream {
            UpstreamUrl::Embedded => {
                let connector = Connector::Embedded(Embedded::start().await?);
                Engine::One(Arc::new(Node::start(connector, limit, &learned)))
            }
            UpstreamUrl::Redis(settings) => {
                let server = RedisServer::new(*settings.clone(), limit)?;
                match &settings.place {
                    Place::Cluster(seeds) => {
                        let cluster = Cluster::start(server, seeds.clone(), limit, &learned);
                        Engine::Cluster(Arc::new(cluster))
                    }
                    Place::Tcp(_) | Place::Unix(_) | Place::Sentinel(_) => {
                        let connector = Connector::Redis(server);
                        Engine::One(Arc::new(Node::start(connector, limit, &learned)))
                    }
                }
            }
        };
        let cache = match (config.client_cache, &engine) {
            (None, _) => None,
            (Some(size), Engine::One(node)) if config.upstream.is_one_server() => {
                Some(Cache::start(size, node, limit, config.command_timeout))
            }
            (Some(_), _) => {
                let message = "a client cache is for one Redis server";
                let kind = std::io::ErrorKind::InvalidInput;
                return Err(std::io::Error::new(kind, message));
            }
        };
        match &engine {
            Engine::One(node) => node.tried().await,
            Engine::Cluster(cluster) => cluster.tried().await,
        }
        let shared = Shared {
            engine,
            cache,
            learned,
            under_way: AtomicUsize::new(0),
            max_commands: config.max_commands,
            command_timeout: config.command_timeout,
            connect_timeout: config.connect_timeout,
            blocking_timeout: config.blocking_timeout,
            blocking: Arc::new(tokio::sync::Semaphore::new(config.max_blocking)),
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

    /// Checks commands before they are sent, and counts them as under way for as long as the ticket lives.
    ///
    /// # Errors
    /// [`Error::Refused`] or [`Error::Unsupported`] for a command that this upstream cannot take, and
    /// [`Error::Full`] when too many are under way.
    pub fn admit(&self, commands: &[Command]) -> Result<Ticket, Error> {
        if self.embedded().is_some() {
            commands.iter().try_for_each(embedded::admit)?;
        }
        let count = commands.len();
        if count > self.shared.max_commands {
            let most = self.shared.max_commands;
            let message =
                format!("{count} commands are more than may be under way at all ({most})");
            return Err(Error::Refused(message));
        }
        let before = self.shared.under_way.fetch_add(count, Ordering::Relaxed);
        // From here on dropping the ticket takes the count back.
        let ticket = Ticket {
            shared: Arc::clone(&self.shared),
            count,
            _write: self.shared.begin_write(commands),
        };
        if before + count > self.shared.max_commands {
            return Err(Error::Full);
        }
        Ok(ticket)
    }

    /// The reply to a command, where it is known without asking.
    pub fn known(&self, command: &Command) -> Option<Reply> {
        self.shared.cache.as_ref()?.known(command)
    }

    /// What there is to say of the client cache, if there is one.
    #[must_use]
    pub fn cache_stats(&self) -> Option<CacheStats> {
        self.shared.cache.as_ref().map(Cache::stats)
    }

    /// How a command is to be sent, if at all.
    ///
    /// # Errors
    /// [`Error::Refused`] or [`Error::Unsupported`] for a command that this upstream cannot take.
    pub fn class(&self, command: &Command) -> Result<Class, Error> {
        if self.embedded().is_some() {
            embedded::admit(command)?;
            return Ok(Class::Pooled);
        }
        Ok(self.classes().of(command))
    }

    /// Checks a channel before it is subscribed to.
    ///
    /// # Errors
    /// [`Error::Refused`] for a name that this upstream cannot take.
    pub fn admit_channel(&self, channel: &[u8]) -> Result<(), Error> {
        match self.embedded() {
            Some(_) => embedded::admit_text("channel", channel),
            None => Ok(()),
        }
    }

    /// Checks that patterns can be subscribed to.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where they cannot.
    pub fn admit_patterns(&self) -> Result<(), Error> {
        match self.embedded() {
            Some(_) => Err(embedded::unsupported("PSUBSCRIBE")),
            None => Ok(()),
        }
    }

    /// Checks that streams can be read.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where they cannot.
    pub fn admit_streams(&self) -> Result<(), Error> {
        match self.embedded() {
            Some(_) => Err(embedded::unsupported("XREAD")),
            None => Ok(()),
        }
    }

    /// Sends commands as one pipeline, in order, over the shared connection; gives one outcome for each, in
    /// the same order. The commands have been admitted before.
    ///
    /// The deadline is inside: the future ends within the command time-out.
    pub fn send(
        &self,
        commands: &[Command],
    ) -> impl Future<Output = Vec<Outcome>> + Send + 'static {
        self.send_over(Line::Common, commands)
    }

    /// The same for the commands of several clients: none waits until those of others have been sent on, as
    /// those of a Cluster may be.
    pub(crate) fn send_together(
        &self,
        commands: &[Command],
    ) -> impl Future<Output = Sent> + Send + 'static {
        match &self.shared.engine {
            Engine::One(_) => Either::Left(self.send(commands).map(Sent::done)),
            Engine::Cluster(cluster) => {
                let mut delivery = self.delivery(cluster, Line::Common, commands);
                Either::Right(async move {
                    delivery.step().await;
                    Sent::part(delivery)
                })
            }
        }
    }

    fn delivery(&self, cluster: &Arc<Cluster>, line: Line, commands: &[Command]) -> Delivery {
        let deadline = tokio::time::Instant::now() + self.shared.command_timeout;
        Delivery::new(cluster, line, commands.to_vec(), deadline)
    }

    /// The same over the connection for commands whose replies may break it.
    pub fn send_guarded(
        &self,
        commands: &[Command],
    ) -> impl Future<Output = Vec<Outcome>> + Send + 'static {
        self.send_over(Line::Guarded, commands)
    }

    fn send_over(
        &self,
        line: Line,
        commands: &[Command],
    ) -> impl Future<Output = Vec<Outcome>> + Send + 'static {
        let limit = self.shared.command_timeout;
        match &self.shared.engine {
            Engine::One(node) => {
                let (node, packed) = (Arc::clone(node), Packed::all(commands));
                Either::Left(async move { node.send(line, packed, limit).await })
            }
            Engine::Cluster(cluster) => {
                let delivery = self.delivery(cluster, line, commands);
                Either::Right(delivery.finish())
            }
        }
    }

    /// The node that all of these commands go to; `None` if there are several, or none. What goes to one node
    /// does not wait for another.
    #[must_use]
    pub fn only_node(&self, commands: &[Command]) -> Option<NodeNumber> {
        match &self.shared.engine {
            Engine::One(_) => Some(NodeNumber(0)),
            Engine::Cluster(cluster) => cluster.only_node(commands).map(NodeNumber),
        }
    }

    /// Whether the upstream has several nodes.
    #[must_use]
    pub fn is_cluster(&self) -> bool {
        matches!(self.shared.engine, Engine::Cluster(_))
    }

    /// Asks every node of a Cluster for a sign of life: a list of lists, of each node's address and its reply,
    /// which is nil if it gave none within the command time-out. Of one server the list is empty.
    pub fn probe_nodes(&self) -> impl Future<Output = Reply> + Send + 'static {
        let nodes = match &self.shared.engine {
            Engine::One(_) => Vec::new(),
            Engine::Cluster(cluster) => cluster.nodes(),
        };
        let (probe, limit) = (self.probe(), self.shared.command_timeout);
        async move {
            let asked = nodes.into_iter().map(|(address, node)| {
                let packed = Packed::one(&probe);
                async move {
                    let outcomes = node.send(Line::Common, packed, limit).await;
                    let reply = outcomes.into_iter().next().and_then(Result::ok);
                    let address = Reply::Bulk(address.into());
                    Reply::Array(vec![address, reply.unwrap_or(Reply::Nil)])
                }
            });
            Reply::Array(join_all(asked).await)
        }
    }

    /// What is known of the server's commands.
    #[must_use]
    pub fn classes(&self) -> Arc<Classes> {
        self.shared.learned.classes()
    }

    /// The command that makes one round trip and changes nothing.
    #[must_use]
    pub fn probe(&self) -> Command {
        match &self.shared.engine {
            Engine::One(node) => node.connector().probe(),
            Engine::Cluster(_) => Command::new("PING"),
        }
    }

    /// Opens a connection for subscriptions; the other part tells when it should lead elsewhere.
    ///
    /// # Errors
    /// Why there is none, for the log.
    pub async fn subscriber(&self) -> redis::RedisResult<(redis::aio::PubSub, Lead)> {
        match &self.shared.engine {
            Engine::One(node) => node.connector().subscriber().await,
            Engine::Cluster(cluster) => cluster.subscriber().await,
        }
    }
}

impl Shared {
    /// Has the cache know of what these commands may write.
    fn begin_write(&self, commands: &[Command]) -> Option<cache::Write> {
        let cache = self.cache.as_ref()?;
        cache.begin_write(self.learned.classes().written(commands))
    }
}

/// Commands under way; they are counted, and what they write is not read from the cache, until this is dropped.
/// That has to be after their replies, and before anybody is told of these.
#[derive(Debug)]
pub struct Ticket {
    shared: Arc<Shared>,
    count: usize,
    _write: Option<cache::Write>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.shared
            .under_way
            .fetch_sub(self.count, Ordering::Relaxed);
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
