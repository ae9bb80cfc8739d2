//! A server that has become a replica, which shows when it says READONLY. New connections may lead to the master by
//! then: through Sentinels, a name that has moved, or a balancer. That is looked at, and if they do, all connections that
//! are shared are made anew. If they do not, the server is a replica by intention or the name has yet to move, and what
//! it can answer it goes on answering.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::RedisResult;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use super::connector::Connector;
use super::link::Complaints;
use super::pipe::Pipe;
use super::role;
use crate::reply::Reply;

/// How long after a look there is no other.
const INTERVAL: Duration = Duration::from_secs(1);

/// Looks after the connections to one server.
#[derive(Debug)]
pub(super) struct Demotion {
    connector: Connector,
    connect_timeout: Duration,
    links: Vec<Complaints>,
    /// One look at a time.
    looks: Arc<Semaphore>,
}

impl Demotion {
    pub(super) fn new(
        connector: Connector,
        connect_timeout: Duration,
        links: Vec<Complaints>,
    ) -> Arc<Self> {
        Arc::new(Self {
            connector,
            connect_timeout,
            links,
            looks: Arc::new(Semaphore::new(1)),
        })
    }

    /// Has a look taken if one of these replies says that the server at the other end of the pipe takes no writes.
    pub(super) fn notice<'a>(
        self: &Arc<Self>,
        pipe: &Pipe,
        mut replies: impl Iterator<Item = &'a Reply>,
    ) {
        if replies.any(says_replica)
            && let Ok(permit) = Arc::clone(&self.looks).try_acquire_owned()
        {
            tokio::spawn(Arc::clone(self).look(pipe.clone(), permit));
        }
    }

    async fn look(self: Arc<Self>, pipe: Pipe, permit: OwnedSemaphorePermit) {
        let begun = Instant::now();
        match timeout(self.connect_timeout, self.is_elsewhere(&pipe)).await {
            Ok(Ok(true)) => {
                tracing::info!(upstream = %self.connector, "the master is elsewhere");
                for link in &self.links {
                    link.outdated(begun);
                }
            }
            Ok(Ok(false)) => {}
            Ok(Err(error)) => {
                tracing::debug!(upstream = %self.connector, %error, "no master is found");
            }
            Err(_) => tracing::debug!(upstream = %self.connector, "no master is found in time"),
        }
        sleep(INTERVAL).await;
        drop(permit);
    }

    /// Whether this pipe leads to a replica, and a new one would lead to a master.
    async fn is_elsewhere(&self, pipe: &Pipe) -> RedisResult<bool> {
        // A script says READONLY when it likes.
        let answer = pipe.ask(&role::question(), self.connect_timeout).await?;
        match role::is_master(&answer) {
            Ok(false) => self.connector.leads_to_master().await,
            Ok(true) | Err(_) => Ok(false),
        }
    }
}

/// Whether a reply is what only a replica says: that it takes no writes, or that it has lost its master and answers nothing.
fn says_replica(reply: &Reply) -> bool {
    matches!(reply, Reply::Error(error) if matches!(error.code(), "READONLY" | "MASTERDOWN"))
}
