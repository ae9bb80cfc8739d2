//! Which node serves which slot, as the Cluster told last, and the connections to them.

use std::collections::HashMap;
use std::sync::Arc;

use super::slot::SLOTS;
use super::topology::Topology;
use crate::config::Address;
use crate::error::Error;
use crate::reply::ServerError;
use crate::upstream::node::Node;

/// The Cluster as it is known at a moment.
#[derive(Debug, Default)]
pub(super) struct SlotMap {
    /// Those that have slots, in the order of their first ones.
    masters: Vec<Member>,
    /// First and last slot of each range, and which master has it; in order.
    ranges: Vec<(u16, u16, usize)>,
    /// Those without slots too, under all their names.
    by_address: HashMap<Address, Member>,
    /// What a node said instead of telling, if nothing is known.
    refusal: Option<ServerError>,
}

/// A node and where it is.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) address: Address,
    pub(super) node: Arc<Node>,
}

impl SlotMap {
    /// What the Cluster told, with the connections to its nodes.
    pub(super) fn new(topology: &Topology, node: impl Fn(&Address) -> Arc<Node>) -> Self {
        let mut slot_map = Self::default();
        for master in &topology.masters {
            let member = Member {
                address: master.address.clone(),
                node: node(&master.address),
            };
            for address in master.aliases.iter().chain([&master.address]) {
                slot_map.by_address.insert(address.clone(), member.clone());
            }
            if !master.ranges.is_empty() {
                let at = slot_map.masters.len();
                let ranges = master.ranges.iter();
                slot_map
                    .ranges
                    .extend(ranges.map(|(first, last)| (*first, *last, at)));
                slot_map.masters.push(member);
            }
        }
        slot_map.ranges.sort_unstable();
        slot_map
    }

    /// Nothing is known, perhaps because a node said this.
    pub(super) fn nothing(refusal: Option<ServerError>) -> Self {
        Self {
            refusal,
            ..Self::default()
        }
    }

    /// Why there is no way to a node.
    pub(super) fn lack(&self) -> Error {
        match &self.refusal {
            Some(refusal) => Error::NotLetIn(refusal.to_string()),
            None => Error::Unreachable,
        }
    }

    /// The nodes that have slots.
    pub(super) fn masters(&self) -> &[Member] {
        &self.masters
    }

    /// The node that serves a slot.
    pub(super) fn owner(&self, slot: u16) -> Option<&Member> {
        let behind = self.ranges.partition_point(|(first, ..)| *first <= slot);
        let (_, last, at) = self.ranges.get(behind.checked_sub(1)?)?;
        (slot <= *last).then(|| &self.masters[*at])
    }

    /// The node for commands that any can take: always the same while it is there, so that they keep their
    /// order.
    pub(super) fn any(&self) -> Option<&Member> {
        let live = self.masters.iter().find(|member| member.node.is_live());
        live.or(self.masters.first())
    }

    /// The node of this address, if it belongs to the Cluster.
    pub(super) fn at(&self, address: &Address) -> Option<&Member> {
        self.by_address.get(address)
    }

    /// Whether the node at this address serves slots.
    pub(super) fn is_master(&self, address: &Address) -> bool {
        self.masters.iter().any(|member| member.address == *address)
    }

    /// Whether every slot has a node, and every node is connected.
    pub(super) fn is_whole(&self) -> bool {
        let slots = self
            .ranges
            .iter()
            .map(|(first, last, _)| usize::from(last - first) + 1);
        slots.sum::<usize>() == usize::from(SLOTS) && self.masters.iter().all(|m| m.node.is_live())
    }
}
