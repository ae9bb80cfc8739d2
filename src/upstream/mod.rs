//! The Redis behind the gateway: commands travel to it as pipelines, subscriptions over a connection of
//! their own.
//!
//! Embedded or not, it is reached over RESP with the same client, so there is one code path; an embedded
//! server is an address that the gateway itself serves. Nothing here knows HTTP.

mod apart;
pub mod classes;
mod connector;
pub mod embedded;
mod keys;
mod lead;
mod learned;
mod link;
mod lists;
mod node;
mod packed;
mod pipe;
mod resp;
mod sentinel;
mod server;
mod spread;
mod stream;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use backon::BackoffBuilder;

use crate::command::Command;
use crate::config::{Config, UpstreamUrl};
use crate::error::Error;
use crate::reply::Reply;
use classes::{Class, Classes};
use connector::Connector;
use embedded::Embedded;
pub use lead::Lead;
use learned::Learned;
use node::{Line, Node};
use packed::Packed;
use server::RedisServer;

/// What became of one command: Redis' reply (an error of Redis' own is one too), or why there is none.
pub type Outcome = Result<Reply, Error>;

/// The upstream, shared by all threads and tasks; clones are cheap.
#[derive(Debug, Clone)]
pub struct Upstream {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    node: Node,
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

impl Upstream {
    /// Starts what the configuration asks for and a task that keeps a connection to it. Returns as soon as
    /// the embedded server listens; a Redis server may come later.
    ///
    /// # Errors
    /// When the embedded server finds no port to listen on, or there are no certificates for TLS.
    pub async fn start(config: &Config) -> std::io::Result<Self> {
        let connector = match &config.upstream {
            UpstreamUrl::Embedded => Connector::Embedded(Embedded::start().await?),
            UpstreamUrl::Redis(server) => {
                let server = RedisServer::new(*server.clone(), config.connect_timeout)?;
                Connector::Redis(server)
            }
        };
        let learned = Learned::nothing(config.allow_command.clone());
        let node = Node::start(connector, config.connect_timeout, &learned);
        node.tried().await;
        let shared = Shared {
            node,
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
        match self.shared.node.connector() {
            Connector::Embedded(server) => Some(server),
            Connector::Redis(_) => None,
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
        };
        if before + count > self.shared.max_commands {
            return Err(Error::Full);
        }
        Ok(ticket)
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
        let shared = &self.shared;
        let packed = Packed::all(commands);
        shared.node.send(line, packed, shared.command_timeout)
    }

    /// What is known of the server's commands.
    #[must_use]
    pub fn classes(&self) -> Arc<Classes> {
        self.shared.learned.classes()
    }

    /// The command that makes one round trip and changes nothing.
    #[must_use]
    pub fn probe(&self) -> Command {
        self.shared.node.connector().probe()
    }

    /// Opens a connection for subscriptions; the other part tells when it should lead elsewhere.
    ///
    /// # Errors
    /// Why there is none, for the log.
    pub async fn subscriber(&self) -> redis::RedisResult<(redis::aio::PubSub, Lead)> {
        self.shared.node.connector().subscriber().await
    }
}

/// Commands under way; they are counted until this is dropped.
#[derive(Debug)]
pub struct Ticket {
    shared: Arc<Shared>,
    count: usize,
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
