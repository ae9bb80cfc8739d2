//! The Redis behind the gateway: commands travel to it as pipelines, subscriptions over a connection of
//! their own.
//!
//! Embedded or not, it is reached over RESP with the same client, so there is one code path; an embedded
//! server is an address that the gateway itself serves. Nothing here knows HTTP.

mod apart;
pub mod classes;
mod connector;
pub mod embedded;
mod link;
mod lists;
mod sentinel;
mod server;
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
use link::Link;
pub use sentinel::Lead;
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
    connector: Connector,
    link: Link,
    /// For commands whose replies may break a connection. `None` with the embedded server, which has none.
    guarded: Option<Link>,
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
            UpstreamUrl::Embedded => Connector::Embedded(embedded::Embedded::start().await?),
            UpstreamUrl::Redis(server) => {
                let server = RedisServer::new(*server.clone(), config.connect_timeout)?;
                Connector::Redis(server)
            }
        };
        let guarded = async {
            match &connector {
                Connector::Embedded(_) => None,
                Connector::Redis(_) => Some(Link::start(connector.clone(), config).await),
            }
        };
        // At once: a Redis that is away is waited for no longer than for one of them.
        let (link, guarded) = tokio::join!(Link::start(connector.clone(), config), guarded);
        let shared = Shared {
            connector,
            link,
            guarded,
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
        match &self.shared.connector {
            Connector::Embedded(server) => server.failed().await,
            Connector::Redis(_) => std::future::pending().await,
        }
    }

    /// Where the embedded server listens at the moment; `None` if there is none.
    #[must_use]
    pub fn embedded_address(&self) -> Option<std::net::SocketAddr> {
        match &self.shared.connector {
            Connector::Embedded(server) => Some(server.address()),
            Connector::Redis(_) => None,
        }
    }

    /// Checks commands before they are sent, and counts them as under way for as long as the ticket lives.
    ///
    /// # Errors
    /// [`Error::Refused`] or [`Error::Unsupported`] for a command that this upstream cannot take, and
    /// [`Error::Full`] when too many are under way.
    pub fn admit(&self, commands: &[Command]) -> Result<Ticket, Error> {
        if let Connector::Embedded(_) = self.shared.connector {
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
        if let Connector::Embedded(_) = self.shared.connector {
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
        match self.shared.connector {
            Connector::Embedded(_) => embedded::admit_text("channel", channel),
            Connector::Redis(_) => Ok(()),
        }
    }

    /// Checks that patterns can be subscribed to.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where they cannot.
    pub fn admit_patterns(&self) -> Result<(), Error> {
        match self.shared.connector {
            Connector::Embedded(_) => Err(embedded::unsupported("PSUBSCRIBE")),
            Connector::Redis(_) => Ok(()),
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
        self.send_over(|shared| &shared.link, commands)
    }

    /// The same over the connection for commands whose replies may break it.
    pub fn send_guarded(
        &self,
        commands: &[Command],
    ) -> impl Future<Output = Vec<Outcome>> + Send + 'static {
        self.send_over(
            |shared| shared.guarded.as_ref().unwrap_or(&shared.link),
            commands,
        )
    }

    fn send_over(
        &self,
        link: impl Fn(&Shared) -> &Link + Send + 'static,
        commands: &[Command],
    ) -> impl Future<Output = Vec<Outcome>> + Send + 'static {
        let count = commands.len();
        let pipeline = pack(commands);
        let upstream = self.clone();
        async move {
            let shared = &upstream.shared;
            let Some(mut live) = link(shared).live() else {
                return vec![Err(Error::Unreachable); count];
            };
            let replies = live.connection.send_packed_commands(&pipeline, 0, count);
            let failure = match tokio::time::timeout(shared.command_timeout, replies).await {
                Ok(Ok(values)) if values.len() == count => {
                    let left_behind = |value| shared.connector.is_left_behind(value);
                    if values.iter().any(left_behind) {
                        // After a failover: the keeper asks for the new master.
                        link(shared).suspect(live.number);
                    }
                    return values.into_iter().map(|value| Ok(value.into())).collect();
                }
                Ok(_) => Error::BrokenOff,
                Err(_) => Error::TimedOut,
            };
            link(shared).suspect(live.number);
            vec![Err(failure); count]
        }
    }

    /// What is known of the server's commands.
    #[must_use]
    pub fn classes(&self) -> Arc<Classes> {
        self.shared.link.classes()
    }

    /// The command that makes one round trip and changes nothing.
    #[must_use]
    pub fn probe(&self) -> Command {
        self.shared.connector.probe()
    }

    /// Opens a connection for subscriptions; the other part tells when it should lead elsewhere.
    ///
    /// # Errors
    /// Why there is none, for the log.
    pub async fn subscriber(&self) -> redis::RedisResult<(redis::aio::PubSub, Lead)> {
        self.shared.connector.subscriber().await
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

fn pack(commands: &[Command]) -> redis::Pipeline {
    let mut pipeline = redis::Pipeline::with_capacity(commands.len());
    for command in commands {
        let parts = command.parts();
        let bytes = parts.iter().map(bytes::Bytes::len).sum();
        let mut packed = redis::Cmd::with_capacity(parts.len(), bytes);
        for part in parts {
            packed.arg(part.as_ref());
        }
        pipeline.add_command(packed);
    }
    pipeline
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
