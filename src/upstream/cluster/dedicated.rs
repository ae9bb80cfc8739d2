//! Connections of one's own to the right node of a Cluster: for commands that block, and for subscriptions.

use std::sync::Arc;

use redis::aio::PubSubSink;
use tokio::time::Instant;

use super::redirect::Redirect;
use super::slot::slot_of;
use super::slot_map::{Member, SlotMap};
use super::{Cluster, NEWS, ROUNDS, routing};
use crate::command::Command;
use crate::config::Address;
use crate::error::Error;
use crate::reply::Reply;
use crate::upstream::connector::Connected;
use crate::upstream::failover::FailoverWatch;
use crate::upstream::node::Node;
use crate::upstream::pace::Messages;
use crate::upstream::sharded::{Shard, ShardedSink, ShardedStream};
use crate::upstream::transport::wrong;

/// A way to a connection of one's own.
#[derive(Debug)]
pub(in crate::upstream) struct Way {
    pub(in crate::upstream) node: Arc<Node>,
    /// Whether the node has to be told ASKING before the command.
    pub(in crate::upstream) asking: bool,
}

impl Cluster {
    /// The way to the node that a command is for, for a connection of one's own.
    ///
    /// # Errors
    /// Why nobody knows where it is.
    pub(in crate::upstream) fn way(&self, command: &Command) -> Result<Way, Error> {
        let slot_map = self.slot_map();
        let slot = routing::slot(command, &self.command_table.classes());
        let member = match slot {
            Some(slot) => slot_map.owner(slot),
            None => slot_map.any(),
        };
        let Some(member) = member else {
            self.wish();
            return Err(slot_map.lack());
        };
        Ok(Way {
            node: Arc::clone(&member.node),
            asking: false,
        })
    }

    /// The way to the node that a reply sends a command to; `None` if it sends it nowhere.
    pub(in crate::upstream) async fn redirected(
        &self,
        command: &Command,
        reply: &Reply,
        round: u32,
    ) -> Option<Way> {
        let redirect = Redirect::of(reply)?;
        let slot = routing::slot(command, &self.command_table.classes())?;
        if round == ROUNDS || !redirect.is_about(slot) {
            return None;
        }
        let waited = self
            .get_ready(std::iter::once(&redirect), round, Instant::now() + NEWS)
            .await;
        let slot_map = self.slot_map();
        let good = Some(&redirect).filter(|redirect| !(waited && redirect.is_ask()));
        let (member, asking) = self.led(good, slot_map.owner(slot), &slot_map)?;
        Some(Way {
            node: Arc::clone(&member.node),
            asking,
        })
    }

    /// A connection for subscriptions, which is good for as long as its node has slots. Any node is told of all
    /// messages; which one is left to chance, so that many gateways spread.
    ///
    /// # Errors
    /// Why there is none, for the log.
    pub(in crate::upstream) async fn subscriber(
        &self,
    ) -> redis::RedisResult<(PubSubSink, Messages, FailoverWatch)> {
        let slot_map = self.slot_map();
        let live: Vec<_> = slot_map
            .masters()
            .iter()
            .filter(|m| m.node.is_live())
            .collect();
        let Some(member) = fastrand::choice(live) else {
            return Err(self.lacks("no node of the Cluster is there"));
        };
        let failover = self.failover(member.address.clone());
        let (sink, messages, _) = member.node.connector().subscriber().await?;
        Ok((sink, messages, failover))
    }

    /// A connection to the node that serves a slot, which is good for as long as it does.
    ///
    /// # Errors
    /// Why there is none, for the log.
    pub(in crate::upstream) async fn connect_for(
        &self,
        slot: u16,
    ) -> redis::RedisResult<Connected> {
        let slot_map = self.slot_map();
        let Some(member) = slot_map.owner(slot) else {
            return Err(self.lacks("no node of the Cluster serves the slot"));
        };
        let address = member.address.clone();
        let serves =
            move |slot_map: &SlotMap| slot_map.owner(slot).is_some_and(|m| m.address == address);
        let failover = self.until(move |slot_map| !serves(slot_map));
        let connected = member.node.connector().connect().await?;
        Ok(Connected {
            failover,
            ..connected
        })
    }

    /// Whether a reply says that its command did not run because its slot is another node's, or that of none
    /// at the moment. Who serves it is found out then.
    pub(in crate::upstream) fn is_elsewhere(&self, reply: &Reply) -> bool {
        let elsewhere = Redirect::of(reply).is_some();
        if elsewhere {
            self.wish();
        }
        elsewhere
    }

    /// Where the node is that serves the slot of a sharded channel, if that is known.
    pub(in crate::upstream) fn home_of(&self, channel: &[u8]) -> Option<Address> {
        let slot_map = self.slot_map();
        slot_map
            .owner(slot_of(channel))
            .map(|member| member.address.clone())
    }

    /// A connection for the sharded channels of a node, which is good for as long as the node has slots.
    ///
    /// # Errors
    /// Why there is none, for the log.
    pub(in crate::upstream) async fn sharded_subscriber(
        &self,
        shard: &Shard,
    ) -> redis::RedisResult<(ShardedSink, ShardedStream, FailoverWatch)> {
        let slot_map = self.slot_map();
        let is_meant = |member: &&Member| Some(&member.address) == shard.0.as_ref();
        let Some(member) = slot_map.masters().iter().find(is_meant) else {
            return Err(self.lacks("the node of a sharded channel is not there"));
        };
        let failover = self.failover(member.address.clone());
        let (sink, stream, _) = member.node.connector().sharded_subscriber().await?;
        Ok((sink, stream, failover))
    }

    /// All nodes that have slots, and what tells when these are others.
    pub(in crate::upstream) fn everywhere(&self) -> (Vec<Arc<Node>>, FailoverWatch) {
        let slot_map = self.slot_map();
        if slot_map.masters().is_empty() {
            self.wish();
        }
        let nodes = slot_map.masters().iter().map(|m| Arc::clone(&m.node));
        let addresses = |slot_map: &SlotMap| {
            let mut all: Vec<_> = slot_map
                .masters()
                .iter()
                .map(|m| m.address.to_string())
                .collect();
            all.sort_unstable();
            all
        };
        let before = addresses(&slot_map);
        let failover = self.until(move |slot_map| addresses(slot_map) != before);
        (nodes.collect(), failover)
    }

    /// Why there is no connection, where nobody knows a node for it. They are looked for then.
    fn lacks(&self, what: &'static str) -> redis::RedisError {
        self.wish();
        wrong(what)
    }

    /// What tells when the node at this address has no slots any more.
    fn failover(&self, address: Address) -> FailoverWatch {
        self.until(move |slot_map| !slot_map.is_master(&address))
    }

    /// What tells when something holds of the Cluster.
    fn until(&self, holds: impl Fn(&SlotMap) -> bool + Send + Sync + 'static) -> FailoverWatch {
        let mut slot_map = self.slot_map.clone();
        FailoverWatch::until(async move {
            let told = slot_map.wait_for(|slot_map| holds(slot_map)).await;
            told.map(drop)
        })
    }
}
