//! The client cache: values that GET has read, kept in this process, of which the server tells when they change
//! ([server-assisted client-side caching](https://redis.io/docs/latest/develop/reference/client-side-caching/)).
//!
//! `store` is what is kept, `tracking` the connection by which the server tells.

mod store;
mod tracking;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc};

use super::node::Node;
use super::write_set::WriteSet;
use crate::command::Command;
use crate::reply::Reply;
use store::{Fill, Found, Store};
use tracking::Tracking;

/// Fills that wait for the tracking connection; what comes on top is filled when it is asked for again.
const QUEUE: usize = 256;

/// What there is to say of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheStats {
    /// Values that are kept.
    pub values: usize,
    /// The memory that they take.
    pub bytes: usize,
    /// Requests answered from it.
    pub hits: u64,
    /// Those that it had no answer for.
    pub misses: u64,
}

/// The cache of one server's values.
pub(super) struct Cache {
    store: Arc<Store>,
    node: Arc<Node>,
    fills: mpsc::Sender<Fill>,
    /// Wakes the tracking task when somebody asks after a time of rest.
    wake: Arc<Notify>,
}

impl Cache {
    /// Starts the task that keeps the tracking connection. It ends when this is dropped.
    pub(super) fn start(
        limit: usize,
        node: &Arc<Node>,
        connect_timeout: Duration,
        command_timeout: Duration,
    ) -> Self {
        let (fills, to_fill) = mpsc::channel(QUEUE);
        let cache = Self {
            store: Arc::new(Store::new(limit)),
            node: Arc::clone(node),
            fills,
            wake: Arc::new(Notify::new()),
        };
        let tracking = Tracking {
            store: Arc::clone(&cache.store),
            node: Arc::clone(node),
            to_fill,
            wake: Arc::clone(&cache.wake),
            connect_timeout,
            command_timeout,
        };
        tokio::spawn(tracking.run());
        cache
    }

    /// The reply to a command, if it is a plain GET of a key that is kept.
    pub(super) fn get(&self, command: &Command) -> Option<Reply> {
        let key = plain_get(command)?;
        let connections = self.node.connections()?;
        let (found, wake) = self.store.look_up(key, connections, Instant::now());
        if wake {
            self.wake.notify_one();
        }
        match found {
            Found::Hit(reply) => Some(reply),
            Found::Miss => None,
            Found::Fill(fill) => {
                if let Err(refused) = self.fills.try_send(fill) {
                    self.store.give_up(&refused.into_inner());
                }
                None
            }
        }
    }

    /// Notes a write that is about to be sent. It is under way until what this returns is dropped.
    pub(super) fn begin_write(&self, written: WriteSet) -> Option<Write> {
        if matches!(written, WriteSet::Nothing) {
            return None;
        }
        self.store.begin_write(&written);
        Some(Write {
            store: Arc::clone(&self.store),
            written,
        })
    }

    pub(super) fn stats(&self) -> CacheStats {
        self.store.stats()
    }
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

/// A write that is under way.
pub(super) struct Write {
    store: Arc<Store>,
    written: WriteSet,
}

impl std::fmt::Debug for Write {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Write").field(&self.written).finish()
    }
}

impl Drop for Write {
    fn drop(&mut self) {
        self.store.end_write(&self.written);
    }
}

/// The key of a GET with nothing special about it.
fn plain_get(command: &Command) -> Option<&Bytes> {
    match command.args() {
        [key] if command.name() == "GET" => Some(key),
        _ => None,
    }
}
