//! How a connection to the upstream is made.

use std::sync::Arc;

use redis::aio::{AsyncPushSender, MultiplexedConnection, PubSub, PubSubSink};
use redis::{AsyncConnectionConfig, ProtocolVersion, RedisConnectionInfo, RedisResult};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::embedded::Embedded;
use super::failover::FailoverWatch;
use super::pace::{Messages, Paced};
use super::pipe::Pipe;
use super::sentinel::Sentinel;
use super::server::{RedisServer, tcp};
use super::sharded::{ShardedSink, ShardedStream};
use super::transport::{Stream, ask, wrong};
use crate::command::Command;

/// The code of a server's errors while a script keeps it busy: to nearly everything, until the script has ended or is
/// killed.
pub(super) const BUSY: &str = "BUSY";

/// Makes connections to the upstream.
#[derive(Debug, Clone)]
pub(super) enum Connector {
    Embedded(Embedded),
    Redis(Arc<RedisServer>),
}

/// A connection for pipelines of commands.
pub(super) struct Connected {
    pub(super) connection: MultiplexedConnection,
    pub(super) driver: Driver,
    pub(super) failover: FailoverWatch,
}

/// A connection that many share.
pub(super) struct Piped {
    pub(super) pipe: Pipe,
    pub(super) driver: Driver,
    pub(super) failover: FailoverWatch,
}

/// The task that moves the bytes of a connection. It ends when the connection does; when this is dropped, both end,
/// whatever is still to be answered.
#[derive(Debug)]
pub(super) struct Driver(JoinHandle<()>);

impl Driver {
    pub(super) fn start(driver: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(driver))
    }

    /// Resolves when the connection has ended.
    pub(super) async fn ended(&mut self) {
        // However it ended.
        let _ = (&mut self.0).await;
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Connector {
    /// A connection that many share.
    pub(super) async fn pipe(&self) -> RedisResult<Piped> {
        let (mut stream, failover) = self.enter_database().await?;
        if let Self::Redis(_) = self {
            // For who looks at the server's clients. Servers before 7.2 do not know it, and some users may not.
            let attributes = [
                ("LIB-NAME", env!("CARGO_PKG_NAME")),
                ("LIB-VER", env!("CARGO_PKG_VERSION")),
            ];
            for (attribute, value) in attributes {
                let mut command = redis::cmd("CLIENT");
                ask(
                    &mut stream,
                    command.arg("SETINFO").arg(attribute).arg(value),
                )
                .await?;
            }
        }
        let (pipe, driver) = Pipe::new(stream);
        Ok(Piped {
            pipe,
            driver: Driver::start(driver),
            failover,
        })
    }

    /// A connection of one's own.
    pub(super) async fn connect(&self) -> RedisResult<Connected> {
        let way = self.enter_database().await?;
        self.make(way, handshake(), config()).await
    }

    /// A connection of one's own that a busy server grants too: it is in no database.
    pub(super) async fn connect_to_busy(&self) -> RedisResult<Connected> {
        self.make(self.enter().await?, handshake(), config()).await
    }

    /// A connection over which the server pushes what it has to tell.
    pub(super) async fn tracking(&self, told: impl AsyncPushSender) -> RedisResult<Connected> {
        let config = config().set_push_sender(told);
        // Its first question is HELLO.
        let mut connected = self.make(self.enter().await?, in_resp3(), config).await?;
        if let Self::Redis(server) = self
            && let Some(select) = server.selection()
        {
            let () = select.query_async(&mut connected.connection).await?;
        }
        Ok(connected)
    }

    /// A connection over a way that is there.
    async fn make(
        &self,
        (stream, failover): (
            impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
            FailoverWatch,
        ),
        handshake: RedisConnectionInfo,
        config: AsyncConnectionConfig,
    ) -> RedisResult<Connected> {
        let made = MultiplexedConnection::new_with_config(&handshake, stream, config).await;
        let (connection, driver) = made.map_err(|error| self.without_secrets(error))?;
        Ok(Connected {
            connection,
            driver: Driver::start(driver),
            failover,
        })
    }

    /// A connection for subscriptions.
    pub(super) async fn subscriber(&self) -> RedisResult<(PubSubSink, Messages, FailoverWatch)> {
        let (stream, failover) = self.enter_database().await?;
        let (stream, pace) = Paced::new(stream);
        let made = PubSub::new(&handshake(), stream).await;
        let connection = made.map_err(|error| self.without_secrets(error))?;
        let (sink, messages) = connection.split();
        Ok((sink, Messages::new(messages, pace), failover))
    }

    /// A connection for sharded channels.
    pub(super) async fn sharded_subscriber(
        &self,
    ) -> RedisResult<(ShardedSink, ShardedStream, FailoverWatch)> {
        let (tell, pushes) = mpsc::unbounded_channel();
        let (stream, failover) = self.enter().await?;
        let (stream, pace) = Paced::new(stream);
        let config = config().set_push_sender(tell);
        let made = self.make((stream, failover), in_resp3(), config).await?;
        let Connected {
            connection,
            driver,
            failover,
        } = made;
        let (sink, stream) = ShardedStream::new(connection, driver, pushes, pace);
        Ok((sink, stream, failover))
    }

    /// A way to the server, to which the gateway has said who it is.
    pub(super) async fn enter(&self) -> RedisResult<(Stream, FailoverWatch)> {
        let (mut stream, failover) = self.open().await?;
        if let Self::Redis(server) = self {
            let said = server.log_in(&mut stream).await;
            said.map_err(|error| self.without_secrets(error))?;
        }
        Ok((stream, failover))
    }

    /// The same, in the right database, if the server takes the connection at all.
    async fn enter_database(&self) -> RedisResult<(Stream, FailoverWatch)> {
        let (mut stream, failover) = self.enter().await?;
        if let Self::Redis(server) = self {
            // A server that is full says so in place of its first answer.
            let answer = ask(&mut stream, &redis::cmd("PING")).await?;
            match answer.extract_error() {
                Err(error) if !is_about_ping(&error) => return Err(error),
                _ => server.select(&mut stream).await?,
            }
        }
        Ok((stream, failover))
    }

    /// The command that makes one round trip and changes nothing.
    pub(super) fn probe(&self) -> Command {
        match self {
            Self::Embedded(_) => Command::get(bytes::Bytes::new()),
            Self::Redis(_) => Command::new("PING"),
        }
    }

    /// The command that asks for the server's commands, if it has one.
    pub(super) fn command_table(&self) -> Option<Command> {
        match self {
            Self::Embedded(_) => None,
            Self::Redis(_) => Some(Command::new("COMMAND")),
        }
    }

    /// Looks whether a connection that is made now leads to a master. If so, those from before it should not be used
    /// any more, which their [`FailoverWatch`] says.
    pub(super) async fn look_for_master(&self) -> RedisResult<()> {
        match self {
            Self::Embedded(_) => Ok(()),
            Self::Redis(server) => {
                let looked = server.look_for_master().await;
                looked.map_err(|error| self.without_secrets(error))
            }
        }
    }

    /// What tells that it is worth trying to connect again, whenever that was to be: Sentinels name another master than
    /// at the moment.
    pub(super) fn news(&self) -> FailoverWatch {
        match self {
            Self::Embedded(_) => FailoverWatch::fixed(),
            Self::Redis(server) => server
                .sentinel()
                .map_or_else(FailoverWatch::fixed, Sentinel::news),
        }
    }

    /// Tells an embedded server that it did not answer as a sound one would.
    pub(super) fn report_fault(&self) {
        match self {
            Self::Embedded(server) => server.report_fault(),
            Self::Redis(_) => {}
        }
    }

    /// What it was that did not answer in time.
    pub(super) fn late(&self) -> redis::RedisError {
        let over_tls = match self {
            Self::Embedded(_) => false,
            Self::Redis(server) => server.is_over_tls(),
        };
        let way = if over_tls { " over TLS" } else { "" };
        wrong(format!("no answer in time{way}"))
    }

    async fn open(&self) -> RedisResult<(Stream, FailoverWatch)> {
        match self {
            Self::Embedded(server) => {
                let stream = Box::new(tcp(server.address()).await?);
                Ok((stream, FailoverWatch::fixed()))
            }
            Self::Redis(server) => {
                let opened = server.open().await;
                opened.map_err(|error| self.without_secrets(error))
            }
        }
    }

    fn without_secrets(&self, error: redis::RedisError) -> redis::RedisError {
        match self {
            Self::Embedded(_) => error,
            Self::Redis(server) => server.without_secrets(error),
        }
    }
}

/// Whether an error says no more than that there is no PING, or not for this user, who may send other things.
fn is_about_ping(error: &redis::RedisError) -> bool {
    let is_unknown = |detail: &str| detail.starts_with("unknown command");
    error.code() == Some("NOPERM") || error.detail().is_some_and(is_unknown)
}

/// What is left to say once the gateway has entered: the client library does not tell why it was refused.
fn handshake() -> RedisConnectionInfo {
    RedisConnectionInfo::default().set_skip_set_lib_name()
}

/// The same in the protocol in which a server pushes.
fn in_resp3() -> RedisConnectionInfo {
    handshake().set_protocol(ProtocolVersion::RESP3)
}

/// The gateway's own deadlines rule, not the client's default of 500 ms.
fn config() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(None)
}

impl std::fmt::Display for Connector {
    /// Where it leads, for the log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Embedded(_) => f.write_str("embedded"),
            Self::Redis(server) => server.place().fmt(f),
        }
    }
}
