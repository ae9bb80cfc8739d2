//! A Redis Cluster: commands go to the nodes that have their keys, each node gets its share of a pipeline, and
//! the replies are put together in order.
//!
//! Commands of one pipeline for the same node run in order; those for different nodes run at the same time. A
//! command is sent again only where a node says that it did not run it (`redirect`), and only to nodes that
//! belong to the Cluster by its own account.

mod dedicated;
mod dispatch;
mod redirect;
mod routing;
mod slot;
mod slot_map;
mod topology;
mod topology_refresh;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::command_table::CommandTable;
use super::node::{Limits, Node};
use super::server::RedisServer;
use super::{Outcome, Route};
use crate::command::Command;
use crate::config::Address;
use crate::reply::{Reply, ServerError};
pub(super) use dedicated::Way;
pub(super) use dispatch::Dispatch;
use redirect::{Redirect, Target};
pub(super) use routing::Errand;
use routing::{To, errands};
pub(super) use slot::slot_of;
use slot_map::{Member, SlotMap};
use topology_refresh::TopologyRefresh;

/// How often a command is sent on at most.
const ROUNDS: u32 = 6;

/// How long to wait before a further attempt, where nodes say "later" or send on again and again; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(25);

/// How long a view that knows a node may be waited for.
const NEWS: Duration = Duration::from_secs(1);

/// A Cluster.
#[derive(Debug)]
pub(super) struct Cluster {
    command_table: Arc<CommandTable>,
    slot_map: watch::Receiver<Arc<SlotMap>>,
    /// How often the Cluster has been looked at.
    looks: watch::Receiver<u64>,
    /// Asks for a look.
    wishes: mpsc::Sender<()>,
}

impl Cluster {
    /// Starts the task that looks at the Cluster. The first look is over when [`Cluster::tried`] resolves.
    pub(super) fn start(
        server: Arc<RedisServer>,
        seeds: Vec<Address>,
        limits: Limits,
        command_table: &Arc<CommandTable>,
    ) -> Self {
        let (tell_slot_map, slot_map) = watch::channel(Arc::default());
        let (tell_looks, looks) = watch::channel(0);
        // One wish is enough; more of them are dropped.
        let (wishes, heard) = mpsc::channel(1);
        let refresh = TopologyRefresh {
            server,
            seeds,
            limits,
            command_table: Arc::clone(command_table),
            slot_map: tell_slot_map,
            wishes: heard,
            nodes: HashMap::new(),
            first: 0,
        };
        tokio::spawn(refresh.run(tell_looks));
        Self {
            command_table: Arc::clone(command_table),
            slot_map,
            looks,
            wishes,
        }
    }

    /// Resolves when the Cluster has been looked for once.
    pub(super) async fn tried(&self) {
        // An error means that the task is gone, which shows at the first command.
        let _ = self.looks.clone().wait_for(|looks| *looks > 0).await;
    }

    fn slot_map(&self) -> Arc<SlotMap> {
        Arc::clone(&self.slot_map.borrow())
    }

    /// Has the Cluster looked at.
    fn wish(&self) {
        // Full: it will be.
        let _ = self.wishes.try_send(());
    }

    /// Waits for a look that begins after this call, for a while.
    pub(super) async fn look(&self) {
        let mut looks = self.looks.clone();
        looks.mark_unchanged();
        let looked = async {
            // One may be under way; it is the one after it that counts.
            for _ in 0..2 {
                self.wish();
                if looks.changed().await.is_err() {
                    // There will be none.
                    return;
                }
            }
        };
        // An error means that it takes too long.
        let _ = tokio::time::timeout(NEWS, looked).await;
    }

    /// Where these commands go.
    pub(super) fn route(&self, commands: &[Command]) -> Route {
        let slot_map = self.slot_map();
        let errands = errands(commands, &self.command_table.classes());
        let mut numbers = errands.iter().map(|errand| {
            let member = errand.member(&slot_map, commands)?;
            Some(member.node.number)
        });
        let first = numbers.next().flatten();
        let node = first.filter(|_| numbers.all(|number| number == first));
        Route { node, errands }
    }

    /// The node that an errand for one node goes to now, and whether it has to be told ASKING; or what it comes
    /// to without.
    fn destination(
        &self,
        errand: &Errand,
        slot_map: &SlotMap,
        commands: &[Command],
    ) -> Result<(Member, bool), Outcome> {
        // As a node would say.
        let refusal = |code, detail| Ok(Reply::Error(ServerError::new(code, detail)));
        if errand.to == To::Nowhere {
            let detail = "Keys in request don't hash to the same slot";
            return Err(refusal("CROSSSLOT", detail));
        }
        let own = errand.member(slot_map, commands);
        match self.led(errand.redirect.as_ref(), own, slot_map) {
            Some((member, asking)) => Ok((member.clone(), asking)),
            None if slot_map.masters().is_empty() => Err(Err(slot_map.lack())),
            None => Err(refusal("CLUSTERDOWN", "Hash slot not served")),
        }
    }

    /// The node that a redirection leads to, if there is one, from the node that it was for; and whether it has to
    /// be told ASKING.
    fn led<'a>(
        &self,
        redirect: Option<&Redirect>,
        own: Option<&'a Member>,
        slot_map: &'a SlotMap,
    ) -> Option<(&'a Member, bool)> {
        match redirect {
            None | Some(Redirect::Later) => Some((own?, false)),
            Some(Redirect::Moved(target)) => Some((self.named(target, slot_map).or(own)?, false)),
            Some(Redirect::Ask(target)) => Some((self.named(target, slot_map)?, true)),
        }
    }

    /// The node that another one named, if it belongs to the Cluster. Nobody else is sent anything: a script
    /// can reply what it likes.
    fn named<'a>(&self, target: &Target, slot_map: &'a SlotMap) -> Option<&'a Member> {
        let owner = &slot_map.owner(target.slot)?.address;
        slot_map.at(&target.seen_from(owner))
    }

    /// Waits until it makes sense to follow redirections. True if that took a while: an ASK holds for the moment, so the
    /// node that said it has to be asked again then. (Sent behind it later, a command could make a key anew at a node to
    /// which the key is only on its way.)
    async fn get_ready<'a>(
        &self,
        redirects: impl Iterator<Item = &'a Redirect>,
        round: u32,
        deadline: Instant,
    ) -> bool {
        let (mut at_once, mut later, mut unknown) = (false, false, false);
        let slot_map = self.slot_map();
        for redirect in redirects {
            match redirect {
                Redirect::Later => later = true,
                // Two nodes that send on to each other do not agree yet on who has the slot.
                Redirect::Moved(_) if round > 0 => later = true,
                Redirect::Moved(target) => unknown |= self.named(target, &slot_map).is_none(),
                Redirect::Ask(target) if self.named(target, &slot_map).is_none() => unknown = true,
                Redirect::Ask(_) => at_once = true,
            }
        }
        if at_once && !unknown {
            self.wish();
            return false;
        }
        let ready = async {
            if unknown {
                self.look().await;
            } else {
                self.wish();
            }
            if later {
                tokio::time::sleep(FIRST_PAUSE * 2_u32.pow(round)).await;
            }
        };
        // An error means that time is up, which the caller sees.
        let _ = tokio::time::timeout_at(deadline, ready).await;
        unknown || later
    }

    /// The nodes that have slots, and where they are.
    pub(super) fn nodes(&self) -> Vec<(String, Arc<Node>)> {
        let slot_map = self.slot_map();
        let nodes = slot_map.masters().iter();
        nodes
            .map(|member| (member.address.to_string(), Arc::clone(&member.node)))
            .collect()
    }
}
