//! Entries of Redis streams that were found to be missing, remembered for clients that left before they were told.
//!
//! Such a client may have seen an entry that came behind the missing ones. When it comes back by that entry's id, nothing in
//! the Redis stream shows that it has missed something.

use std::collections::VecDeque;

use super::Topic;
use super::actor::Actor;
use super::entries::{EntryId, Loss, Reason, encode};
use super::fanout::Order;
use super::own_ids::Begin;

/// How many losses are remembered of one stream. If there are more, the two oldest become one, and what was between them is
/// taken for missing too.
const MOST: usize = 16;

/// The losses of one stream.
#[derive(Debug, Default)]
pub(super) struct Losses {
    /// By their ids.
    found: VecDeque<Found>,
    /// What was the last entry when somebody last left.
    left_at: Option<EntryId>,
}

#[derive(Debug)]
struct Found {
    reason: Reason,
    /// Up to this id nothing was missing.
    since: EntryId,
    /// Who listened was told behind this entry.
    told_at: EntryId,
    /// Whether somebody had left behind that entry before.
    was_left: bool,
}

impl Losses {
    /// Somebody leaves who listened up to this entry.
    pub(super) fn left(&mut self, end: EntryId) {
        self.left_at = Some(end);
    }

    /// Something was missing, and is told now.
    pub(super) fn found(&mut self, loss: &Loss) {
        self.found.push_back(Found {
            reason: loss.reason,
            since: loss.since,
            told_at: loss.up_to,
            was_left: self.left_at == Some(loss.up_to),
        });
        if self.found.len() > MOST
            && let Some(oldest) = self.found.pop_front()
            && let Some(next) = self.found.front_mut()
        {
            next.since = oldest.since;
        }
    }

    /// Why something may be missing before this entry, for a client that has seen it and has not been told.
    pub(super) fn untold(&self, seen: EntryId) -> Option<Reason> {
        let concerned = self.found.iter().find(|found| found.concerns(seen));
        concerned.map(|found| found.reason)
    }
}

impl Found {
    /// Whether it may be missing before this entry, for a client that has seen it and has not been told.
    fn concerns(&self, seen: EntryId) -> bool {
        self.since < seen && (seen < self.told_at || self.was_left && seen == self.told_at)
    }
}

impl Actor {
    /// Tells subscribers that catch up on a Redis stream of the last loss that was found, if it may lie before the entry that
    /// they had seen. What is missing behind that, they find out themselves.
    pub(super) fn tell_who_reads_up(&self, topic: &Topic) {
        let Some(channel) = self.channels.get(topic) else {
            return;
        };
        let Some(found) = channel.losses.found.back() else {
            return;
        };
        for id in &channel.listeners {
            let listener = self.subscribers.get(id);
            if let Some(own) = listener.and_then(|listener| listener.own.as_ref())
                && own.catching_up.is_some()
                && let Begin::Seen(seen) = own.begin
                && found.concerns(seen)
            {
                let loss = Loss::new(found.reason, own.covered);
                let gap = encode::gap(&loss, loss.reason.text(), topic.name());
                self.fanout.order(Order::Send(*id, vec![gap]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u64) -> EntryId {
        EntryId::parse(n.to_string().as_bytes()).expect("an id")
    }

    fn loss(since: u64, up_to: u64) -> Loss {
        Loss {
            since: id(since),
            ..Loss::new(Reason::NotKept, id(up_to))
        }
    }

    fn untold(losses: &Losses) -> Vec<u64> {
        let is_untold = |n: &u64| losses.untold(id(*n)).is_some();
        (1..=40).filter(is_untold).collect()
    }

    #[test]
    fn who_left_before_it_was_told_is_told() {
        let mut losses = Losses::default();
        losses.left(id(3));
        losses.found(&loss(2, 5));
        assert_eq!(untold(&losses), [3, 4]);
        // By the id that it was told behind, too, if somebody had left there.
        losses.left(id(9));
        losses.found(&loss(7, 9));
        assert_eq!(untold(&losses), [3, 4, 8, 9]);
        losses.left(id(9));
        losses.found(&loss(9, 11));
        assert_eq!(untold(&losses), [3, 4, 8, 9, 10]);
    }

    #[test]
    fn many_are_remembered_as_few() {
        let mut losses = Losses::default();
        for n in 0..=(MOST as u64) {
            losses.found(&loss(2 * n, 2 * n + 2));
        }
        assert_eq!(losses.found.len(), MOST);
        let odd = (1..=2 * MOST as u64 + 1).filter(|n| n % 2 == 1 || *n == 2);
        assert_eq!(untold(&losses), odd.collect::<Vec<_>>());
    }
}
