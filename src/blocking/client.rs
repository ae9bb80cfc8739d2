//! A connection to Redis whose commands block the calling thread until they are answered.
//!
//! The async client does the talking; this adds the runtime that drives it. The runtime is of the
//! `current_thread` kind: one command is under way at a time, so threads of its own would have
//! nothing to do. It runs on the caller's thread, and only while a call lasts.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use mini_redis::client::{self, Client};
use tokio::net::ToSocketAddrs;
use tokio::runtime::{Builder, Runtime};

use super::Error;
use super::subscriber::{self, BlockingSubscriber};

/// The shortest expiry [`BlockingClient::set_expires`] sends: the protocol counts in whole
/// milliseconds, and mini-redis takes a zero that Redis refuses.
pub const SHORTEST_EXPIRY: Duration = Duration::from_millis(1);

/// The longest expiry [`BlockingClient::set_expires`] sends: ten years of 365 days. mini-redis adds
/// an expiry to its clock without a check, and an overflow there breaks its store for every client.
pub const LONGEST_EXPIRY: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// A connection to Redis, for use outside of async code.
///
/// Each method sends one command and blocks until its answer has come; there is no time limit other
/// than the operating system's. After [`Error::Closed`] or [`Error::Io`] the connection is of no
/// further use.
///
/// # Panics
///
/// Every method, and dropping the client, panics on a thread that is running async code.
pub struct BlockingClient {
    /// The async client. It is registered with `runtime` and makes progress only there.
    inner: Client,

    /// Drives `inner`, on the calling thread, while a method waits for it.
    runtime: Runtime,
}

impl BlockingClient {
    /// Connects to the Redis server at `addr`: a socket address, a `"host:port"`, or whatever else
    /// tokio can resolve.
    ///
    /// # Errors
    ///
    /// [`Error::Connect`] if `addr` cannot be resolved or does not accept the connection,
    /// [`Error::Io`] if the operating system has no means left for a runtime.
    ///
    /// # Examples
    ///
    /// ```
    /// use redis_http_gateway::BlockingClient;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = tokio::runtime::Runtime::new()?;
    /// # let listener = server.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
    /// # let addr = listener.local_addr()?;
    /// # server.spawn(mini_redis::server::run(listener, std::future::pending::<()>()));
    /// let mut client = BlockingClient::connect(addr)?;
    /// assert_eq!(client.get("nothing here yet")?, None);
    /// # Ok(())
    /// # }
    /// ```
    pub fn connect<A: ToSocketAddrs>(addr: A) -> Result<BlockingClient, Error> {
        // Without the drivers that this enables, the first use of a socket or a timer would panic.
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let inner =
            runtime
                .block_on(client::connect(addr))
                .map_err(|error| match error.downcast() {
                    Ok(error) => Error::Connect(*error),
                    Err(error) => Error::from_client(error),
                })?;

        Ok(BlockingClient { inner, runtime })
    }

    /// Returns the value of `key`, or `None` if there is no such key.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] and [`Error::Io`] if the connection fails, [`Error::Server`] if the server
    /// refuses, as Redis does for a key that holds something other than a string.
    ///
    /// # Examples
    ///
    /// ```
    /// # use redis_http_gateway::BlockingClient;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = tokio::runtime::Runtime::new()?;
    /// # let listener = server.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
    /// # let addr = listener.local_addr()?;
    /// # server.spawn(mini_redis::server::run(listener, std::future::pending::<()>()));
    /// # let mut client = BlockingClient::connect(addr)?;
    /// client.set("colour", "blue".into())?;
    ///
    /// assert_eq!(client.get("colour")?, Some("blue".into()));
    /// assert_eq!(client.get("weight")?, None);
    /// # Ok(())
    /// # }
    /// ```
    pub fn get(&mut self, key: &str) -> Result<Option<Bytes>, Error> {
        self.runtime
            .block_on(self.inner.get(key))
            .map_err(Error::from_client)
    }

    /// Sets `key` to `value`, any bytes, until it is set anew. What the key held before, and when
    /// that was to expire, is forgotten.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] and [`Error::Io`] if the connection fails, in which case the key may have
    /// been set; [`Error::Server`] if the server refuses.
    ///
    /// # Examples
    ///
    /// ```
    /// # use redis_http_gateway::BlockingClient;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = tokio::runtime::Runtime::new()?;
    /// # let listener = server.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
    /// # let addr = listener.local_addr()?;
    /// # server.spawn(mini_redis::server::run(listener, std::future::pending::<()>()));
    /// # let mut client = BlockingClient::connect(addr)?;
    /// use bytes::Bytes;
    ///
    /// let pixel = Bytes::from_static(&[0x00, 0xff, 0x0d, 0x0a]);
    /// client.set("pixel", pixel.clone())?;
    /// assert_eq!(client.get("pixel")?, Some(pixel));
    /// # Ok(())
    /// # }
    /// ```
    pub fn set(&mut self, key: &str, value: Bytes) -> Result<(), Error> {
        self.runtime
            .block_on(self.inner.set(key, value))
            .map_err(Error::from_client)
    }

    /// Sets `key` to `value` and has the server remove it after `expiration`, counted in whole
    /// milliseconds; a fraction of one is dropped.
    ///
    /// # Errors
    ///
    /// [`Error::Expiry`], before anything is sent, if `expiration` is shorter than
    /// [`SHORTEST_EXPIRY`] or longer than [`LONGEST_EXPIRY`]; otherwise as for
    /// [`set`](BlockingClient::set). A Redis server, unlike mini-redis, refuses the form in which
    /// the expiry is sent.
    ///
    /// # Examples
    ///
    /// ```
    /// # use redis_http_gateway::BlockingClient;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = tokio::runtime::Runtime::new()?;
    /// # let listener = server.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
    /// # let addr = listener.local_addr()?;
    /// # server.spawn(mini_redis::server::run(listener, std::future::pending::<()>()));
    /// # let mut client = BlockingClient::connect(addr)?;
    /// use std::time::Duration;
    ///
    /// client.set_expires("session", "ada".into(), Duration::from_millis(20))?;
    /// while client.get("session")?.is_some() {
    ///     // The key goes away by itself.
    /// }
    ///
    /// assert!(client.set_expires("session", "ada".into(), Duration::ZERO).is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_expires(
        &mut self,
        key: &str,
        value: Bytes,
        expiration: Duration,
    ) -> Result<(), Error> {
        if !(SHORTEST_EXPIRY..=LONGEST_EXPIRY).contains(&expiration) {
            return Err(Error::Expiry(expiration));
        }

        self.runtime
            .block_on(self.inner.set_expires(key, value, expiration))
            .map_err(Error::from_client)
    }

    /// Sends `message` to everyone who is subscribed to `channel`, and returns how many that were.
    /// Whether it reached them is not known: each may be about to disconnect.
    ///
    /// The message may be any bytes, but a [`BlockingSubscriber`] cannot take in all of them: see
    /// [`Message::content`](super::Message::content).
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] and [`Error::Io`] if the connection fails, in which case the message may
    /// have been sent; [`Error::Server`] if the server refuses.
    ///
    /// # Examples
    ///
    /// ```
    /// # use redis_http_gateway::BlockingClient;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = tokio::runtime::Runtime::new()?;
    /// # let listener = server.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
    /// # let addr = listener.local_addr()?;
    /// # server.spawn(mini_redis::server::run(listener, std::future::pending::<()>()));
    /// # let mut client = BlockingClient::connect(addr)?;
    /// assert_eq!(client.publish("news", "nobody hears this".into())?, 0);
    ///
    /// let subscriber = BlockingClient::connect(addr)?.subscribe(vec!["news".into()])?;
    /// assert_eq!(client.publish("news", "one does".into())?, 1);
    /// # drop(subscriber);
    /// # Ok(())
    /// # }
    /// ```
    pub fn publish(&mut self, channel: &str, message: Bytes) -> Result<u64, Error> {
        self.runtime
            .block_on(self.inner.publish(channel, message))
            .map_err(Error::from_client)
    }

    /// Subscribes to `channels` and returns when the server has confirmed each of them.
    ///
    /// The client is used up, because the server takes no other commands on a connection that is
    /// subscribed. A channel given twice counts once.
    ///
    /// # Errors
    ///
    /// [`Error::NoChannel`], before anything is sent, if `channels` is empty; [`Error::Closed`] and
    /// [`Error::Io`] if the connection fails, [`Error::Server`] if the server refuses.
    ///
    /// # Examples
    ///
    /// ```
    /// # use redis_http_gateway::BlockingClient;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = tokio::runtime::Runtime::new()?;
    /// # let listener = server.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
    /// # let addr = listener.local_addr()?;
    /// # server.spawn(mini_redis::server::run(listener, std::future::pending::<()>()));
    /// # let client = BlockingClient::connect(addr)?;
    /// let subscriber = client.subscribe(vec!["news".into(), "weather".into()])?;
    /// assert_eq!(subscriber.get_subscribed(), ["news", "weather"]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn subscribe(self, channels: Vec<String>) -> Result<BlockingSubscriber, Error> {
        let channels = subscriber::not_in(&[], channels);
        // mini-redis hangs up on a SUBSCRIBE without channels, and its client, which then waits for
        // no confirmation, would take that for success.
        if channels.is_empty() {
            return Err(Error::NoChannel);
        }

        let inner = self
            .runtime
            .block_on(self.inner.subscribe(channels))
            .map_err(Error::from_client)?;

        Ok(BlockingSubscriber::new(inner, self.runtime))
    }
}

impl fmt::Debug for BlockingClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The async client has nothing to show.
        f.debug_struct("BlockingClient").finish_non_exhaustive()
    }
}
