//! The whole: the runtime, the upstream, the hub and the HTTP server, put together and taken apart.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use crate::auth;
use crate::bridge::Bridge;
use crate::config::{Config, Place, UpstreamUrl};
use crate::http::server::{Capacity, Server};
use crate::hub::{Hub, Stats};
use crate::upstream::Upstream;

/// File descriptors that are no clients' connections: standard streams, pollers and their wakers, the listeners, the
/// connections to Redis (both ends of them with the embedded server, and those that are being replaced), and
/// some to spare.
const RESERVED: u64 = 38;

/// File descriptors for the nodes of a Cluster. Few have more than 16; each has three connections, and each of these takes
/// three: the socket, its place at the runtime's poller and what watches for its end.
const RESERVED_FOR_NODES: u64 = 16 * 3 * 3;

/// The most connections over the limit that are being turned away at the same time.
const MOST_TURNED_AWAY: usize = 64;

/// One in this many connections is kept free of event streams.
const FOR_REQUESTS: usize = 16;

/// How long the runtime's tasks may take to end.
const RUNTIME_END: Duration = Duration::from_secs(1);

/// A running gateway.
///
/// ```
/// use std::net::TcpListener;
/// use redis_http_gateway::config::Config;
/// use redis_http_gateway::gateway::Gateway;
///
/// # fn main() -> std::io::Result<()> {
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let gateway = Gateway::start(Config::default(), listener)?;
/// println!("listening on http://{}", gateway.address());
/// gateway.shutdown();
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Gateway {
    bridge: Bridge,
    upstream: Upstream,
    hub: Hub,
    server: Server,
    shutdown_timeout: Duration,
}

impl Gateway {
    /// Starts everything, to serve on a bound listener. It serves from the moment this returns. That is after a
    /// first attempt to connect to Redis, `connect_timeout` at most; whether a Redis server is there yet does
    /// not matter.
    ///
    /// # Errors
    /// When the operating system does not give what is needed: threads, a port for the embedded server,
    /// descriptors. And when others than this machine reach the listener and nobody would be asked for a
    /// token, unless the configuration says that this is meant.
    pub fn start(mut config: Config, listener: TcpListener) -> io::Result<Self> {
        if auth::lacks_token(&config, listener.local_addr()?.ip()) {
            let message = "a gateway that others can reach needs a token";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let capacity = capacity(&config)?;
        // However many event streams there are, other requests find a connection.
        let streams = capacity.welcome - capacity.welcome / FOR_REQUESTS;
        config.max_subscribers = Some(config.max_subscribers.unwrap_or(streams).min(streams));
        let bridge = Bridge::new(config.runtime_threads)?;
        let upstream = bridge.block_on(Upstream::start(&config))?;
        let hub = Hub::start(&config, upstream.clone(), bridge.handle())?;
        let shutdown_timeout = config.shutdown_timeout;
        let runtime = bridge.handle().clone();
        let server = Server::start(
            config,
            listener,
            capacity,
            upstream.clone(),
            hub.clone(),
            runtime,
        )?;
        Ok(Self {
            bridge,
            upstream,
            hub,
            server,
            shutdown_timeout,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// What runs the gateway's async part; for waiting for something beside it.
    #[must_use]
    pub fn bridge(&self) -> &Bridge {
        &self.bridge
    }

    /// The Redis behind it.
    #[must_use]
    pub fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// Resolves with the reason if the gateway cannot go on: its embedded server, or a part of its own, is
    /// gone for good.
    pub async fn failed(&self) -> String {
        tokio::select! {
            reason = self.upstream.failed() => reason,
            () = self.hub.ended() => "the event hub has ended; this is a defect".into(),
        }
    }

    /// Counts of event streams.
    #[must_use]
    pub fn streams(&self) -> &Stats {
        self.hub.stats()
    }

    /// Ends it, in this order:
    ///
    /// 1. no new connections; idle ones are closed; event streams end, so that browsers reconnect, and find
    ///    another gateway if there is one;
    /// 2. requests in progress are answered, for as long as the configuration gives them;
    /// 3. the runtime ends, and with it the connections to Redis and the embedded server.
    pub fn shutdown(self) {
        let deadline = Instant::now() + self.shutdown_timeout;
        let hub = self.hub.clone();
        let closed = self.bridge.handle().spawn(async move { hub.close().await });
        self.server.stop(self.shutdown_timeout);
        let left = deadline
            .saturating_duration_since(Instant::now())
            .max(RUNTIME_END);
        let closed = self
            .bridge
            .block_on(async { tokio::time::timeout(left, closed).await });
        if closed.is_err() {
            tracing::warn!("event streams were still open at the end");
        }
        self.bridge.shutdown(RUNTIME_END);
    }
}

/// How many file descriptors are not for connections of clients.
fn reserved(config: &Config) -> u64 {
    let UpstreamUrl::Redis(server) = &config.upstream else {
        return RESERVED;
    };
    // Each has a connection of its own.
    let blocking = u64::try_from(config.max_blocking).unwrap_or(u64::MAX);
    let nodes = match server.place {
        Place::Cluster(_) => RESERVED_FOR_NODES,
        Place::Tcp(_) | Place::Unix(_) | Place::Sentinel(_) => 0,
    };
    RESERVED.saturating_add(blocking).saturating_add(nodes)
}

/// How many connections there may be: as many as are configured, or as many as there are file descriptors for, if those
/// are fewer. Some descriptors are for connections that are turned away.
fn capacity(config: &Config) -> io::Result<Capacity> {
    let (soft, _) = rlimit::Resource::NOFILE.get()?;
    let reserved = reserved(config);
    let left = usize::try_from(soft.saturating_sub(reserved)).unwrap_or(usize::MAX);
    let turned_away = (left / 8).min(MOST_TURNED_AWAY);
    let welcome = (left - turned_away).min(config.max_connections);
    if turned_away == 0 {
        let least = reserved.saturating_add(8);
        let message = format!(
            "a limit of {soft} open files is too low; {least} is the least, or fewer with a lower --max-blocking"
        );
        return Err(io::Error::other(message));
    }
    if welcome < config.max_connections {
        tracing::warn!(
            places = welcome,
            wanted = config.max_connections,
            "fewer connections than configured: the limit of open files is {soft}"
        );
    }
    Ok(Capacity {
        welcome,
        turned_away,
        each_address: config.max_connections_per_address,
    })
}
