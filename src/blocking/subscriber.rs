//! A connection to Redis that receives what is published on the channels it is subscribed to.
//!
//! It comes from [`BlockingClient::subscribe`](super::BlockingClient::subscribe), which hands over
//! the connection and the runtime. The server takes no other commands on such a connection, so no
//! other methods exist here.
//!
//! mini-redis' client is particular about the order in which things arrive, and about channels
//! named twice. What can be checked beforehand is checked here, so that a mistake is refused or
//! has no effect where it would otherwise put the two sides out of step.

use std::fmt;
use std::iter::FusedIterator;

use bytes::Bytes;
use mini_redis::client::Subscriber;
use tokio::runtime::Runtime;

use super::Error;

/// What somebody has published on a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The channel it was published on.
    pub channel: String,

    /// What was published, if that is text in UTF-8. Of other bytes mini-redis' client leaves only
    /// an escaped rendering, such as `b"\xff"`; the bytes themselves cannot be had from it.
    pub content: Bytes,
}

/// A connection that is subscribed to channels, for use outside of async code.
///
/// Messages come one by one from [`next_message`](BlockingSubscriber::next_message), or from the
/// iterator that the subscriber turns into. What arrives while nobody asks waits in the socket;
/// when that is full too, mini-redis keeps about a thousand messages a channel and drops the oldest
/// after that.
///
/// After an error the subscriber should be dropped: an answer may still be under way, and would be
/// taken for the answer to the next call.
///
/// # Panics
///
/// Every method other than `get_subscribed` and `into_iter`, and dropping the subscriber, panics on
/// a thread that is running async code.
pub struct BlockingSubscriber {
    /// The async subscriber. It is registered with `runtime` and makes progress only there.
    inner: Subscriber,

    /// Drives `inner`, on the calling thread, while a method waits for it.
    runtime: Runtime,
}

/// The messages of a [`BlockingSubscriber`], as they arrive; made by its `into_iter`.
///
/// `next` blocks until there is a message. The iteration is over when the server ends the
/// connection, and after the first error: it never yields the same error for ever.
#[derive(Debug)]
pub struct Messages {
    /// Where the messages come from, until the iteration is over.
    subscriber: Option<BlockingSubscriber>,
}

impl BlockingSubscriber {
    pub(super) fn new(inner: Subscriber, runtime: Runtime) -> BlockingSubscriber {
        BlockingSubscriber { inner, runtime }
    }

    /// Returns the channels subscribed to, in the order in which they were asked for.
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
    /// let client = BlockingClient::connect(addr)?;
    /// let subscriber = client.subscribe(vec!["news".into(), "news".into()])?;
    /// assert_eq!(subscriber.get_subscribed(), ["news"]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn get_subscribed(&self) -> &[String] {
        self.inner.get_subscribed()
    }

    /// Blocks until the next message has arrived and returns it, or `None` once the server has
    /// ended the connection. Without a channel to listen to, it waits for that end.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] if the connection broke off instead of ending, [`Error::Io`] if it failed,
    /// [`Error::Server`] if something arrived that is no message.
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
    /// # let mut publisher = BlockingClient::connect(addr)?;
    /// let mut subscriber = BlockingClient::connect(addr)?.subscribe(vec!["news".into()])?;
    /// publisher.publish("news", "hear, hear".into())?;
    ///
    /// let message = subscriber.next_message()?.ok_or("the server is gone")?;
    /// assert_eq!(message.channel, "news");
    /// assert_eq!(message.content, "hear, hear");
    /// # Ok(())
    /// # }
    /// ```
    pub fn next_message(&mut self) -> Result<Option<Message>, Error> {
        let message = self
            .runtime
            .block_on(self.inner.next_message())
            .map_err(Error::from_client)?;

        Ok(message.map(|message| Message {
            channel: message.channel,
            content: message.content,
        }))
    }

    /// Subscribes to `channels` as well and returns when the server has confirmed each of them.
    /// Those subscribed to already stay as they are.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] and [`Error::Io`] if the connection fails. [`Error::Server`] if the server
    /// refuses, or if a message arrives before the last confirmation: the async client does not
    /// expect one there. It is for connections whose channels are quiet at that moment.
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
    /// let mut subscriber = BlockingClient::connect(addr)?.subscribe(vec!["news".into()])?;
    /// subscriber.subscribe(&["weather".into()])?;
    /// assert_eq!(subscriber.get_subscribed(), ["news", "weather"]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn subscribe(&mut self, channels: &[String]) -> Result<(), Error> {
        let new = not_in(self.get_subscribed(), channels.iter().cloned());
        if new.is_empty() {
            return Ok(());
        }

        self.runtime
            .block_on(self.inner.subscribe(&new))
            .map_err(Error::from_client)
    }

    /// Gives up `channels`, or every channel if the list is empty, and returns when the server has
    /// confirmed it. Channels not subscribed to are passed over.
    ///
    /// # Errors
    ///
    /// As for [`subscribe`](BlockingSubscriber::subscribe).
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
    /// let mut subscriber = client.subscribe(vec!["a".into(), "b".into(), "c".into()])?;
    ///
    /// subscriber.unsubscribe(&["b".into()])?;
    /// assert_eq!(subscriber.get_subscribed(), ["a", "c"]);
    ///
    /// subscriber.unsubscribe(&[])?;
    /// assert!(subscriber.get_subscribed().is_empty());
    /// # Ok(())
    /// # }
    /// ```
    pub fn unsubscribe(&mut self, channels: &[String]) -> Result<(), Error> {
        let subscribed = self.get_subscribed();
        let leaving: Vec<String> = subscribed
            .iter()
            .filter(|channel| channels.is_empty() || channels.contains(channel))
            .cloned()
            .collect();
        // An empty list must never be sent: to the server it means every channel.
        if leaving.is_empty() {
            return Ok(());
        }

        self.runtime
            .block_on(self.inner.unsubscribe(&leaving))
            .map_err(Error::from_client)
    }
}

impl IntoIterator for BlockingSubscriber {
    type Item = Result<Message, Error>;
    type IntoIter = Messages;

    /// Turns the subscriber into an iterator over the messages as they arrive.
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
    /// # let mut publisher = BlockingClient::connect(addr)?;
    /// let subscriber = BlockingClient::connect(addr)?.subscribe(vec!["count".into()])?;
    /// for word in ["one", "two", "stop"] {
    ///     publisher.publish("count", word.into())?;
    /// }
    ///
    /// let mut heard = Vec::new();
    /// for message in subscriber {
    ///     let message = message?;
    ///     if message.content == "stop" {
    ///         break;
    ///     }
    ///     heard.push(message.content);
    /// }
    /// assert_eq!(heard, ["one", "two"]);
    /// # Ok(())
    /// # }
    /// ```
    fn into_iter(self) -> Messages {
        Messages {
            subscriber: Some(self),
        }
    }
}

impl Iterator for Messages {
    type Item = Result<Message, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.subscriber.as_mut()?.next_message().transpose();
        if !matches!(item, Some(Ok(_))) {
            self.subscriber = None;
        }
        item
    }
}

impl FusedIterator for Messages {}

impl fmt::Debug for BlockingSubscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockingSubscriber")
            .field("subscribed", &self.get_subscribed())
            .finish_non_exhaustive()
    }
}

/// Those of `asked` that are not among `present`, each once, in the order of `asked`.
pub(super) fn not_in(present: &[String], asked: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut new = Vec::new();
    for channel in asked {
        if !present.contains(&channel) && !new.contains(&channel) {
            new.push(channel);
        }
    }
    new
}
