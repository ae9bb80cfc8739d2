//! Connections for reading streams (`XREAD BLOCK`), which hold up whatever else is sent over them.
//!
//! Closing one ends its command on the server: that is how a reading is broken off to read something else.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;

use super::cluster::slot_of;
use super::connector::Driver;
use super::failover::FailoverWatch;
use super::resp_encode::pipeline;
use super::{Engine, Shared, Upstream};
use crate::command::Command;
use crate::reply::Reply;

impl Upstream {
    /// Where a stream is read. Streams of equal readers can be read together, over one connection.
    #[must_use]
    pub fn reader(&self, key: &[u8]) -> Reader {
        Reader {
            shared: Arc::clone(&self.shared),
            slot: match &self.shared.engine {
                // One server has them all.
                Engine::One(_) => None,
                // A node of a Cluster does not read keys of several slots at once.
                Engine::Cluster(_) => Some(slot_of(key)),
            },
        }
    }
}

/// A place where streams are read; equal to others of the same place.
#[derive(Debug, Clone)]
pub struct Reader {
    shared: Arc<Shared>,
    slot: Option<u16>,
}

impl Reader {
    /// What tells that it is worth trying to connect again, whenever that was to be.
    #[must_use]
    pub fn news(&self) -> FailoverWatch {
        self.shared.engine.news()
    }

    /// Opens a connection for reading.
    ///
    /// # Errors
    /// Why there is none, for the log.
    pub async fn connect(&self) -> redis::RedisResult<Reading> {
        let limit = self.shared.connect_timeout;
        let connected = async {
            match &self.shared.engine {
                Engine::One(node) => node.connector().connect().await,
                Engine::Cluster(cluster) => {
                    let slot = self.slot.unwrap_or_default();
                    cluster.connect_for(slot).await
                }
            }
        };
        let connected = tokio::time::timeout(limit, connected).await;
        let connected = connected.unwrap_or_else(|_| Err(late()))?;
        Ok(Reading {
            shared: Arc::clone(&self.shared),
            connection: connected.connection,
            failover: connected.failover,
            _driver: connected.driver,
        })
    }
}

impl PartialEq for Reader {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared) && self.slot == other.slot
    }
}

impl Eq for Reader {}

impl Hash for Reader {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (Arc::as_ptr(&self.shared), self.slot).hash(state);
    }
}

/// A connection for reading; dropped, it is closed.
pub struct Reading {
    shared: Arc<Shared>,
    connection: MultiplexedConnection,
    failover: FailoverWatch,
    _driver: Driver,
}

impl Reading {
    /// Sends one command and waits for its reply for this long at most.
    ///
    /// # Errors
    /// If the connection is of no more use, because it broke, is silent, or leads to the wrong server.
    pub async fn ask(&mut self, command: &Command, limit: Duration) -> redis::RedisResult<Reply> {
        let pipeline = pipeline(std::slice::from_ref(command));
        let replies = self.connection.send_packed_commands(&pipeline, 0, 1);
        let replies = tokio::select! {
            replies = tokio::time::timeout(limit, replies) => replies.unwrap_or_else(|_| Err(late()))?,
            () = self.failover.moved() => return Err(std::io::Error::other("the server is elsewhere").into()),
        };
        let reply = replies.into_iter().next();
        let reply = reply
            .map(Reply::from)
            .ok_or_else(|| std::io::Error::from(std::io::ErrorKind::UnexpectedEof))?;
        if let Engine::Cluster(cluster) = &self.shared.engine
            && cluster.is_elsewhere(&reply)
        {
            return Err(std::io::Error::other("the slot is elsewhere").into());
        }
        Ok(reply)
    }
}

impl std::fmt::Debug for Reading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { failover, .. } = self;
        f.debug_struct("Reading")
            .field("failover", failover)
            .finish_non_exhaustive()
    }
}

fn late() -> redis::RedisError {
    std::io::Error::from(std::io::ErrorKind::TimedOut).into()
}
