//! How a connection to the upstream is made.

use std::time::Duration;

use redis::aio::{MultiplexedConnection, PubSub};
use redis::{AsyncConnectionConfig, ConnectionAddr, ConnectionInfo, RedisConnectionInfo};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::embedded::Embedded;
use crate::command::Command;

/// Makes connections to the upstream.
#[derive(Debug, Clone)]
pub(super) enum Connector {
    Embedded(Embedded),
    Redis(Box<ConnectionInfo>),
}

/// How long a TCP connection may be silent before the kernel asks whether the other end is still there, and
/// how often it asks then. Four unanswered questions end the connection.
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

impl Connector {
    /// A connection for pipelines of commands, and the task that moves its bytes: it ends when the
    /// connection does.
    pub(super) async fn connect(
        &self,
    ) -> redis::RedisResult<(MultiplexedConnection, JoinHandle<()>)> {
        let stream = self.open().await?;
        // The gateway's own deadlines rule, not the client's default of 500 ms.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None);
        let handshake = self.handshake();
        let (connection, driver) =
            MultiplexedConnection::new_with_config(&handshake, stream, config).await?;
        Ok((connection, tokio::spawn(driver)))
    }

    /// A connection for subscriptions.
    pub(super) async fn subscriber(&self) -> redis::RedisResult<PubSub> {
        let stream = self.open().await?;
        PubSub::new(&self.handshake(), stream).await
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

    /// Tells an embedded server that it did not answer as a sound one would.
    pub(super) fn report_fault(&self) {
        match self {
            Self::Embedded(server) => server.report_fault(),
            Self::Redis(_) => {}
        }
    }

    /// Who the gateway says it is, and the database it asks for.
    fn handshake(&self) -> RedisConnectionInfo {
        match self {
            // mini-redis knows no command that a handshake could use.
            Self::Embedded(_) => RedisConnectionInfo::default().set_skip_set_lib_name(),
            Self::Redis(info) => info.redis_settings().clone(),
        }
    }

    async fn open(&self) -> redis::RedisResult<TcpStream> {
        let stream = match self {
            Self::Embedded(server) => TcpStream::connect(server.address()).await?,
            Self::Redis(info) => match info.addr() {
                ConnectionAddr::Tcp(host, port) => {
                    TcpStream::connect((host.as_str(), *port)).await?
                }
                other => {
                    let other = other.to_string();
                    let kind = redis::ErrorKind::InvalidClientConfig;
                    return Err((kind, "this kind of address is not supported", other).into());
                }
            },
        };
        stream.set_nodelay(true)?;
        let keepalive = socket2::TcpKeepalive::new()
            .with_time(KEEPALIVE)
            .with_interval(KEEPALIVE_INTERVAL)
            .with_retries(4);
        let socket = socket2::SockRef::from(&stream);
        socket.set_tcp_keepalive(&keepalive)?;
        // Keepalive does not count while something is on its way; this does.
        #[cfg(target_os = "linux")]
        socket.set_tcp_user_timeout(Some(KEEPALIVE))?;
        Ok(stream)
    }
}
