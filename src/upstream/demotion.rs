//! A server that has become a replica, which shows when it says READONLY. New connections may lead to the master by
//! then: through Sentinels, a name that has moved, or a balancer. That is looked at, and if they do, all connections
//! that there are end (`failover`). If they do not, the server is a replica by intention or the name has yet to move, and
//! what it can answer it goes on answering.

use std::sync::Arc;
use std::time::Duration;

use redis::RedisResult;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use super::connector::Connector;
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
    /// One look at a time.
    looks: Arc<Semaphore>,
}

impl Demotion {
    pub(super) fn new(connector: Connector, connect_timeout: Duration) -> Arc<Self> {
        Arc::new(Self {
            connector,
            connect_timeout,
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
        match timeout(self.connect_timeout, self.look_behind(&pipe)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(upstream = %self.connector, %error, "no master is found");
            }
            Err(_) => tracing::debug!(upstream = %self.connector, "no master is found in time"),
        }
        sleep(INTERVAL).await;
        drop(permit);
    }

    /// Looks for the master if this pipe leads to a replica indeed: a script says READONLY when it likes.
    async fn look_behind(&self, pipe: &Pipe) -> RedisResult<()> {
        let answer = pipe.ask(&role::question(), self.connect_timeout).await?;
        match role::is_master(&answer) {
            Ok(false) => self.connector.look_for_master().await,
            Ok(true) => Ok(()),
            Err(error) => {
                tracing::warn!(upstream = %self.connector, %error, "nobody knows whether it is a replica now");
                Ok(())
            }
        }
    }
}

/// Whether a reply is what only a replica says: that it takes no writes, or that it has lost its master and answers nothing.
fn says_replica(reply: &Reply) -> bool {
    matches!(reply, Reply::Error(error) if matches!(error.code(), "READONLY" | "MASTERDOWN"))
}
