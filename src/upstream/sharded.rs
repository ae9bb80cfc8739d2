//! Subscriptions to sharded channels: [SSUBSCRIBE](https://redis.io/docs/latest/commands/ssubscribe/).
//!
//! A sharded channel has nothing to do with the channel of the same name. On a Cluster it belongs to the node
//! that serves its slot, as a key does, and only that node tells of its messages. The client library reads them
//! in RESP3 only, so these connections speak that; every server that has sharded channels does.

use std::collections::HashMap;

use redis::aio::MultiplexedConnection;
use redis::{Msg, PushInfo, PushKind, RedisResult, Value};
use tokio::sync::mpsc;

use super::connector::Driver;
use super::embedded;
use super::failover::FailoverWatch;
use super::pace::Pace;
use super::{Engine, Upstream};
use crate::config::Address;
use crate::error::Error;

/// Names the server that a sharded channel belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Shard(pub(super) Option<Address>);

impl Upstream {
    /// Checks that there are sharded channels, as far as that is known. False where the server has to be asked
    /// why there are none.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where there are none.
    pub fn admit_sharded(&self) -> Result<bool, Error> {
        match self.embedded() {
            Some(_) => Err(embedded::unsupported("SSUBSCRIBE")),
            None => Ok(!self.classes().lacks("SSUBSCRIBE")),
        }
    }

    /// The server that a sharded channel belongs to now.
    #[must_use]
    pub fn shard_of(&self, channel: &[u8]) -> Shard {
        match &self.shared.engine {
            Engine::One(_) => Shard(None),
            Engine::Cluster(cluster) => Shard(cluster.home_of(channel)),
        }
    }

    /// Opens a connection for sharded channels of one server; the last part tells when it should lead elsewhere.
    ///
    /// # Errors
    /// Why there is none, for the log.
    pub async fn sharded_subscriber(
        &self,
        shard: &Shard,
    ) -> RedisResult<(ShardedSink, ShardedStream, FailoverWatch)> {
        match &self.shared.engine {
            Engine::One(node) => node.connector().sharded_subscriber().await,
            Engine::Cluster(cluster) => cluster.sharded_subscriber(shard).await,
        }
    }

    /// Finds out, if it takes not too long, which server sharded channels belong to by now.
    pub async fn look_for_shards(&self) {
        if let Engine::Cluster(cluster) = &self.shared.engine {
            cluster.look().await;
        }
    }
}

/// Asks for sharded channels. Clones ask over the same connection.
#[derive(Debug, Clone)]
pub struct ShardedSink {
    connection: MultiplexedConnection,
}

/// What a server tells of sharded channels. With it the connection ends.
pub struct ShardedStream {
    pushes: mpsc::UnboundedReceiver<PushInfo>,
    /// How often the server has yet to confirm that it will tell no more of a channel.
    leaving: HashMap<Vec<u8>, usize>,
    pace: Pace,
    _driver: Driver,
}

impl ShardedSink {
    /// Asks to be told of a channel.
    ///
    /// # Errors
    /// Why it is refused, or cannot be asked for.
    pub async fn subscribe(&mut self, channel: &[u8]) -> RedisResult<()> {
        self.ask(redis::cmd("SSUBSCRIBE").arg(channel)).await
    }

    /// Asks to be told no more of a channel, for which [`ShardedStream::expect_to_leave`] prepares.
    ///
    /// # Errors
    /// Why it is refused, or cannot be asked for.
    pub async fn unsubscribe(&mut self, channel: &[u8]) -> RedisResult<()> {
        self.ask(redis::cmd("SUNSUBSCRIBE").arg(channel)).await
    }

    /// Asks for a sign of life.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn ping(&mut self) -> RedisResult<()> {
        self.ask(&redis::cmd("PING")).await
    }

    async fn ask(&mut self, command: &redis::Cmd) -> RedisResult<()> {
        let answer = self.connection.send_packed_command(command).await;
        answer.and_then(Value::extract_error).map(|_| ())
    }
}

impl ShardedStream {
    pub(super) fn new(
        connection: MultiplexedConnection,
        driver: Driver,
        pushes: mpsc::UnboundedReceiver<PushInfo>,
        pace: Pace,
    ) -> (ShardedSink, Self) {
        let stream = Self {
            pushes,
            leaving: HashMap::new(),
            pace,
            _driver: driver,
        };
        (ShardedSink { connection }, stream)
    }

    /// Notes that a channel is about to be left.
    pub fn expect_to_leave(&mut self, channel: &[u8]) {
        *self.leaving.entry(channel.to_vec()).or_default() += 1;
    }

    /// Waits for the next message; `None` when the connection is of no use any more. Nothing is lost when the
    /// wait is given up.
    ///
    /// A channel that was left unasked, because its slot has moved, ends the connection: the library takes the
    /// news for the answer to something else.
    pub async fn next(&mut self) -> Option<Msg> {
        loop {
            let push = self.pace.next(self.pushes.recv()).await?;
            match push.kind {
                PushKind::SMessage => return Msg::from_push_info(push),
                PushKind::SUnsubscribe if !self.was_left(&push) => return None,
                PushKind::Disconnection => return None,
                // Confirmations are awaited elsewhere.
                _ => {}
            }
        }
    }

    fn was_left(&mut self, push: &PushInfo) -> bool {
        let Some(Value::BulkString(channel)) = push.data.first() else {
            return false;
        };
        match self.leaving.get_mut(channel) {
            Some(1) => self.leaving.remove(channel).is_some(),
            Some(count) => {
                *count -= 1;
                true
            }
            None => false,
        }
    }
}

impl std::fmt::Debug for ShardedStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShardedStream").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(kind: PushKind, data: &[&str]) -> PushInfo {
        let data = data
            .iter()
            .map(|part| Value::BulkString(part.as_bytes().to_vec()));
        let data = data.collect();
        PushInfo { kind, data }
    }

    #[tokio::test]
    async fn what_is_left_unasked_ends_it() {
        let (tell, pushes) = mpsc::unbounded_channel();
        let mut stream = ShardedStream {
            pushes,
            leaving: HashMap::new(),
            pace: Pace::default(),
            _driver: Driver::start(std::future::pending()),
        };
        for _ in 0..2 {
            stream.expect_to_leave(b"a");
        }
        for kind in [
            PushKind::SSubscribe,
            PushKind::SUnsubscribe,
            PushKind::SUnsubscribe,
        ] {
            tell.send(push(kind, &["a"])).expect("it listens");
        }
        tell.send(push(PushKind::SMessage, &["b", "hello"]))
            .expect("it listens");
        let message = stream.next().await.expect("a message");
        assert_eq!(message.get_channel_name(), "b");
        assert_eq!(message.get_payload_bytes(), b"hello");
        assert!(stream.leaving.is_empty());
        // Asked for no more: the slot has moved.
        tell.send(push(PushKind::SUnsubscribe, &["a"]))
            .expect("it listens");
        assert!(stream.next().await.is_none());
        tell.send(push(PushKind::Disconnection, &[]))
            .expect("it listens");
        assert!(stream.next().await.is_none());
    }
}
