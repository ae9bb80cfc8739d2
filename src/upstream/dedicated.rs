//! Commands that have a connection of their own, because they may block, or because they end what keeps the server
//! busy.
//!
//! Dropping the future closes the connection, and with it ends the command on the server: so a client that
//! hangs up does not leave anything waiting.

use std::pin::pin;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{Either, join_all};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::cluster::{Cluster, Way};
use super::command_lists::ENDING;
use super::failure::Failure;
use super::node::Node;
use super::policies::{RequestPolicy, ResponsePolicy};
use super::resp_encode::pipeline;
use super::unblocking::Identity;
use super::{Engine, Outcome, Upstream};
use crate::command::Command;
use crate::error::Error;
use crate::reply::Reply;

/// On top of the time that a command may block: for the way there and back.
const MARGIN: Duration = Duration::from_secs(1);

impl Upstream {
    /// Sends one command over a connection of its own, and waits for its reply for as long as blocking
    /// commands may take.
    ///
    /// The number of such commands is bounded: one too many is [`Error::Full`] at once.
    pub fn send_own(&self, command: &Command) -> impl Future<Output = Outcome> + Send + 'static {
        let permit = std::sync::Arc::clone(&self.shared.blocking).try_acquire_owned();
        // It may have to wait for long, and what is small in it may be a part of much that was received.
        let (upstream, command) = (self.clone(), command.detached());
        async move {
            let _permit = permit.map_err(|_| Error::Full)?;
            match &upstream.shared.engine {
                Engine::One(node) => upstream.send_by(node, false, &command).await,
                Engine::Cluster(cluster) => match upstream.classes().request_policy(&command) {
                    RequestPolicy::All(policy) => {
                        let (nodes, _) = cluster.everywhere();
                        let each = nodes.iter();
                        let sent = each.map(|node| upstream.send_by(node, false, &command));
                        gathered(policy, join_all(sent).await)
                    }
                    RequestPolicy::One | RequestPolicy::Cursor => {
                        upstream.send_on(cluster, &command).await
                    }
                },
            }
        }
    }

    /// Sends one command to the node of a Cluster that it is for.
    async fn send_on(&self, cluster: &Cluster, command: &Command) -> Outcome {
        let mut way = Some(cluster.way(command)?);
        let mut round = 0;
        let mut outcome = Err(Error::Unreachable);
        while let Some(Way { node, asking }) = way {
            outcome = self.send_by(&node, asking, command).await;
            way = match &outcome {
                Ok(reply) => cluster.redirected(command, reply, round).await,
                Err(_) => None,
            };
            round += 1;
        }
        outcome
    }

    /// Makes a connection for one command, and ends it with its reply.
    async fn send_by(&self, node: &Node, asking: bool, command: &Command) -> Outcome {
        let (shared, connector) = (&self.shared, node.connector());
        let connecting = if command.is_in(ENDING) {
            Either::Left(connector.connect_to_busy())
        } else {
            Either::Right(connector.connect())
        };
        let mut connected = match tokio::time::timeout(shared.connect_timeout, connecting).await {
            Ok(Ok(connected)) => connected,
            Ok(Err(error)) => {
                let failure = Failure::from(error);
                tracing::warn!(%failure, "cannot connect for a blocking command");
                return failure.unsent();
            }
            Err(_) => return Err(Error::Unreachable),
        };
        let before = asking.then(|| Command::new("ASKING"));
        let commands: Vec<_> = before.into_iter().chain([command.clone()]).collect();
        let (pipeline, count) = (pipeline(&commands), commands.len());
        let deadline = Instant::now() + shared.blocking_timeout + MARGIN;
        let connection = &mut connected.connection;
        let identity = Identity::ask(connection.clone());
        let mut reply = pin!(connection.send_packed_commands(&pipeline, 0, count));
        let reply = tokio::select! {
            biased;
            // First, because its question has to be sent before the command.
            () = self.end_waiting(node, identity, deadline) => {
                reply.as_mut().now_or_never().ok_or(Error::TimedOut)?
            }
            // What has come counts, wherever the server is.
            reply = &mut reply => reply,
            // What it pops at a server that is no longer the master is lost.
            () = connected.failover.moved() => return Err(Error::BrokenOff),
        };
        let reply = reply.map_err(|_| Error::BrokenOff)?.into_iter().next_back();
        match reply.map(Reply::from) {
            None => Err(Error::BrokenOff),
            // It is the gateway that has ended it.
            Some(Reply::Nil) if Instant::now() >= deadline => Err(Error::TimedOut),
            Some(reply) => Ok(reply),
        }
    }

    /// Has commands that wait answered as if their time were up, those to come included.
    pub fn stop_waiting(&self) {
        self.shared.no_more_waiting.send_replace(true);
    }

    /// Ends what a command waits for when this time is past, or before, when no more is to wait. Returns when its reply need
    /// not be waited for any longer.
    async fn end_waiting(
        &self,
        node: &Node,
        identity: impl Future<Output = Option<Identity>>,
        deadline: Instant,
    ) {
        let identity = timeout_at(deadline, identity).await.ok().flatten();
        let mut no_more_waiting = self.shared.no_more_waiting.subscribe();
        // An error means that the time is past.
        let _ = timeout_at(deadline, no_more_waiting.wait_for(|end| *end)).await;
        let last = deadline + MARGIN;
        if let Some(identity) = identity {
            let unblocking = identity.unblock(node, self.shared.command_timeout);
            if timeout_at(last, unblocking).await == Ok(true) {
                return sleep_until(last).await;
            }
        }
        sleep_until(deadline).await;
    }
}

/// What the outcomes of all nodes of a Cluster come to. A refusal is not the last word while there are nodes that could
/// not be asked.
fn gathered(policy: ResponsePolicy, outcomes: Vec<Outcome>) -> Outcome {
    let (replies, failures): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    let replies: Vec<_> = replies.into_iter().flatten().collect();
    let none = replies.is_empty();
    let reply = policy.gather(replies);
    match failures.into_iter().next() {
        Some(failure) if none || matches!(reply, Reply::Error(_)) => failure,
        None if none => Err(Error::Unreachable),
        _ => Ok(reply),
    }
}
