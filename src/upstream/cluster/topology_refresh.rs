//! The task that keeps the view of the Cluster: it asks a node who serves what, at once when a command was
//! redirected or found nobody, every second while something is missing, and otherwise now and then.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::slot_map::SlotMap;
use super::topology::Topology;
use crate::command::Command;
use crate::config::Address;
use crate::reply::Reply;
use crate::upstream::command_table::CommandTable;
use crate::upstream::connector::Connector;
use crate::upstream::failure::{Failure, LastWords};
use crate::upstream::node::{Limits, Node};
use crate::upstream::resp_encode::pipeline;
use crate::upstream::server::RedisServer;
use crate::upstream::transport::wrong;

/// How long until the next question without a cause.
const CALM: Duration = Duration::from_secs(60);
/// The same while nodes or slots are missing.
const TROUBLE: Duration = Duration::from_secs(1);
/// The least time between two rounds of questions, whatever the cause.
const PAUSE: Duration = Duration::from_millis(100);
/// How long new nodes have to connect before they are known to all.
const SETTLING: Duration = Duration::from_millis(500);

pub(super) struct TopologyRefresh {
    /// The way to the nodes, without their addresses.
    pub(super) server: Arc<RedisServer>,
    /// Where the Cluster was said to be.
    pub(super) seeds: Vec<Address>,
    pub(super) limits: Limits,
    pub(super) command_table: Arc<CommandTable>,
    pub(super) slot_map: watch::Sender<Arc<SlotMap>>,
    /// Wishes to look at once. It is closed when nobody needs the view any more.
    pub(super) wishes: mpsc::Receiver<()>,
    pub(super) nodes: HashMap<Address, Arc<Node>>,
    /// Which of those that can be asked to ask first.
    pub(super) first: usize,
}

impl TopologyRefresh {
    /// Runs until nobody needs the view any more. Each round counts as one more look, even a vain one.
    pub(super) async fn run(mut self, looks: watch::Sender<u64>) {
        let last_words = LastWords::default();
        loop {
            let mut failures = Vec::new();
            let topology = self.ask_anyone(&mut failures).await;
            report(&last_words, topology.is_some(), &failures);
            match topology {
                Some(topology) => self.publish(&topology).await,
                None => self.publish_refusal(failures),
            }
            looks.send_modify(|looks| *looks += 1);
            tokio::time::sleep(PAUSE).await;
            let whole = self.slot_map.borrow().is_whole();
            let wish = timeout(if whole { CALM } else { TROUBLE }, self.wishes.recv());
            if let Ok(None) = wish.await {
                return;
            }
        }
    }

    /// Asks one node after the other. One that says that its part of the Cluster does not work is believed
    /// only if no other knows better: it may be cut off.
    async fn ask_anyone(&mut self, failures: &mut Vec<(Address, Failure)>) -> Option<Topology> {
        let mut all = Vec::new();
        {
            let slot_map = self.slot_map.borrow();
            let (live, dead): (Vec<_>, Vec<_>) = slot_map
                .masters()
                .iter()
                .partition(|member| member.node.is_live());
            let mut known: Vec<_> = live.into_iter().map(|m| m.address.clone()).collect();
            if !known.is_empty() {
                let count = known.len();
                known.rotate_left(self.first % count);
            }
            let dead = dead.into_iter().map(|member| &member.address);
            for address in known.iter().chain(&self.seeds).chain(dead) {
                if !all.contains(address) {
                    all.push(address.clone());
                }
            }
        }
        self.first = self.first.wrapping_add(1);
        let mut doubtful = None;
        for address in all {
            match timeout(self.limits.connect_timeout, self.ask(&address)).await {
                Ok(Ok((topology, true))) => return Some(topology),
                Ok(Ok((topology, false))) => doubtful = doubtful.or(Some(topology)),
                Ok(Err(error)) => failures.push((address, error.into())),
                Err(_) => {
                    let late = self.connector(&address).late();
                    failures.push((address, late.into()));
                }
            }
        }
        doubtful
    }

    /// What a node tells, and whether it says that the Cluster works.
    async fn ask(&self, address: &Address) -> redis::RedisResult<(Topology, bool)> {
        let connector = self.connector(address);
        let mut connected = connector.connect().await?;
        let question = |what| Command::new("CLUSTER").arg(what);
        let questions = ["INFO", "SLOTS", "NODES"].map(question);
        let (pipeline, count) = (pipeline(&questions), questions.len());
        let replies = connected
            .connection
            .send_packed_commands(&pipeline, 0, count);
        let mut replies = replies.await?.into_iter();
        let mut next = || replies.next().unwrap_or(redis::Value::Nil);
        let info = Reply::from(next());
        // Whoever may not ask for the others is told enough by this one.
        let slots = Reply::from(next().extract_error()?);
        let topology = Topology::from_replies(address, &slots, &next().into());
        let topology = topology.ok_or_else(|| wrong("CLUSTER SLOTS is not readable"))?;
        Ok((topology, !is_down(&info)))
    }

    fn connector(&self, address: &Address) -> Connector {
        Connector::Redis(self.server.at(address.clone()))
    }

    /// Lets all know why no node is known, if one has said it.
    fn publish_refusal(&self, failures: Vec<(Address, Failure)>) {
        let refusal = failures.into_iter().find_map(|(_, failure)| match failure {
            Failure::Refused(error) => Some(error),
            Failure::Busy(_) | Failure::Other(_) => None,
        });
        if self.slot_map.borrow().masters().is_empty() {
            self.slot_map
                .send_replace(Arc::new(SlotMap::nothing(refusal)));
        }
    }

    /// Makes connections to nodes that are new, gives up those to nodes that are gone, and lets all know.
    async fn publish(&mut self, topology: &Topology) {
        let known = |address: &Address| topology.masters.iter().any(|m| m.address == *address);
        self.nodes.retain(|address, _| known(address));
        let mut new = Vec::new();
        for master in &topology.masters {
            let address = &master.address;
            if !self.nodes.contains_key(address) {
                let connector = self.connector(address);
                let node = Node::start(connector, self.limits, &self.command_table);
                let node = Arc::new(node);
                self.nodes.insert(address.clone(), Arc::clone(&node));
                new.push(node);
            }
        }
        // One that is away shall not keep the others waiting, but at the start there are no others.
        let is_first = self.slot_map.borrow().masters().is_empty();
        let limit = if is_first {
            self.limits.connect_timeout
        } else {
            SETTLING
        };
        let tried = join_all(new.iter().map(|node| node.tried()));
        let _ = timeout(limit, tried).await;
        let slot_map = SlotMap::new(topology, |address| Arc::clone(&self.nodes[address]));
        self.slot_map.send_replace(Arc::new(slot_map));
    }
}

/// Logs which nodes were of no help.
fn report(last_words: &LastWords, is_known: bool, failures: &[(Address, Failure)]) {
    let each = failures
        .iter()
        .map(|(at, failure)| format!("{at}: {failure}"));
    let failures = each.collect::<Vec<_>>().join("; ");
    match (last_words.are_not(&failures), is_known) {
        (true, false) => tracing::warn!(%failures, "no node tells of the Cluster"),
        (true, true) if !failures.is_empty() => {
            tracing::warn!(%failures, "some nodes do not tell of the Cluster");
        }
        (true, true) => {}
        (false, _) => tracing::debug!(%failures, "it is still so"),
    }
}

/// Whether a reply to CLUSTER INFO says that slots are not served.
fn is_down(info: &Reply) -> bool {
    match info {
        Reply::Bulk(text) => memchr::memmem::find(text, b"cluster_state:fail").is_some(),
        _ => false,
    }
}
