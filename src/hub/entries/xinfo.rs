//! What a server says of a stream (`XINFO STREAM`), and what follows from it for who comes back by an id.
//!
//! Pure. Since Redis 7 a server counts what was ever added and knows the greatest id that was deleted by XDEL.
//! What was trimmed is not among the entries, and always from the beginning: an entry that is still there has
//! not lost any behind it to trimming.

use super::{EntryId, Loss, Reason};
use crate::reply::Reply;

/// A stream at one moment; one that is not there is as if nothing had ever been added to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct State {
    pub(super) presence: Presence,
    pub(super) length: u64,
    /// The greatest id that there ever was.
    pub(super) last_id: EntryId,
    /// The first and the last entry that are there.
    pub(super) first: Option<EntryId>,
    pub(super) last: Option<EntryId>,
    /// The greatest id that XDEL has deleted. Since Redis 7.
    pub(super) max_deleted: Option<EntryId>,
    /// How many entries were ever added. Since Redis 7.
    pub(super) added: Option<u64>,
}

/// Whether there is such a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Presence {
    There,
    /// The server that was asked does not have it.
    #[default]
    Absent,
    /// It is certain that there is none.
    Gone,
}

impl State {
    /// A stream that is not there.
    pub(super) fn absent() -> Self {
        Self {
            max_deleted: Some(EntryId::ZERO),
            added: Some(0),
            ..Self::default()
        }
    }

    /// What XINFO STREAM replied. `None` if that is something else.
    pub(super) fn parse(reply: &Reply) -> Option<Self> {
        let Reply::Array(parts) = reply else {
            return None;
        };
        let mut state = Self {
            presence: Presence::There,
            ..Self::default()
        };
        let mut complete = false;
        for pair in parts.chunks_exact(2) {
            let Reply::Bulk(name) = &pair[0] else {
                return None;
            };
            match (&name[..], &pair[1]) {
                (b"length", Reply::Int(length)) => state.length = u64::try_from(*length).ok()?,
                (b"last-generated-id", Reply::Bulk(id)) => {
                    state.last_id = EntryId::parse(id)?;
                    complete = true;
                }
                (b"max-deleted-entry-id", Reply::Bulk(id)) => {
                    state.max_deleted = Some(EntryId::parse(id)?);
                }
                (b"entries-added", Reply::Int(added)) => {
                    state.added = Some(u64::try_from(*added).ok()?);
                }
                (b"first-entry", entry) => state.first = id_of(entry),
                (b"last-entry", entry) => state.last = id_of(entry),
                _ => {}
            }
        }
        complete.then_some(state)
    }

    /// Where a stream that was read up to an id is to be read on, if it ends before that: it was begun anew
    /// then, or set back, as when a replica takes over that has not got the last entries.
    ///
    /// Ids that are times only grow, so a stream of those was set back, and what it has was seen.
    pub(super) fn set_back_to(&self, seen: EntryId) -> Option<EntryId> {
        let begin = if seen.is_time() {
            self.last_id
        } else {
            EntryId::ZERO
        };
        (self.last_id < seen).then_some(begin)
    }

    /// What may be missing behind an entry that a client has seen; `present` is whether the stream still has
    /// it. The state is of after what comes behind it was read.
    pub(super) fn loss_behind(&self, seen: EntryId, present: bool) -> Option<Loss> {
        let not_kept = |up_to| Some(Loss::new(Reason::NotKept, up_to));
        if let Some(begin) = self.set_back_to(seen) {
            return Some(Loss::new(Reason::Recreated, begin));
        }
        if seen == self.last_id {
            return None;
        }
        let deleted = self.max_deleted.filter(|deleted| *deleted > seen);
        if present {
            return deleted.and_then(not_kept);
        }
        let before_first = self.first.map(EntryId::before);
        if self.added == Some(self.length) {
            // Nothing was ever removed: the client has seen another stream of this name.
            let begin = before_first.unwrap_or_default().max(seen);
            let is_other = seen != EntryId::ZERO;
            return is_other.then(|| Loss::new(Reason::Recreated, begin));
        }
        match before_first {
            None => not_kept(self.last_id),
            Some(before) if seen < before => not_kept(deleted.unwrap_or_default().max(before)),
            // It was itself deleted, and what is behind it perhaps not.
            Some(_) => deleted.and_then(not_kept),
        }
    }
}

fn id_of(entry: &Reply) -> Option<EntryId> {
    match entry {
        Reply::Array(parts) => match parts.first() {
            Some(Reply::Bulk(id)) => EntryId::parse(id),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u64) -> EntryId {
        EntryId::parse(n.to_string().as_bytes()).expect("an id")
    }

    /// A stream with entries of these ids, of which so many were added and this deleted last.
    fn state(ids: &[u64], last: u64, added: Option<u64>, deleted: Option<u64>) -> State {
        State {
            presence: Presence::There,
            length: ids.len() as u64,
            last_id: id(last),
            first: ids.first().copied().map(id),
            last: ids.last().copied().map(id),
            max_deleted: deleted.map(id),
            added,
        }
    }

    fn loss(state: &State, seen: u64, present: bool) -> Option<(Reason, EntryId)> {
        let loss = state.loss_behind(id(seen), present)?;
        Some((loss.reason, loss.up_to))
    }

    #[test]
    fn nothing_is_missing_behind_what_is_there() {
        let whole = state(&[1, 2, 3], 3, Some(3), Some(0));
        for seen in 1..=3 {
            assert_eq!(loss(&whole, seen, true), None);
        }
        assert_eq!(loss(&whole, 0, false), None);
        // The last entry has been deleted, and nothing was added since.
        let emptied = state(&[], 3, Some(3), Some(3));
        assert_eq!(loss(&emptied, 3, false), None);
        assert_eq!(State::absent().loss_behind(EntryId::ZERO, false), None);
    }

    #[test]
    fn what_was_trimmed_is_missing() {
        let trimmed = state(&[4, 5], 5, Some(5), Some(0));
        let up_to = id(4).before();
        assert_eq!(loss(&trimmed, 2, false), Some((Reason::NotKept, up_to)));
        assert_eq!(loss(&trimmed, 0, false), Some((Reason::NotKept, up_to)));
        assert_eq!(loss(&trimmed, 4, true), None);
        // Who comes back by the gap's own id is not told again.
        assert_eq!(trimmed.loss_behind(up_to, false), None);
        let emptied = state(&[], 5, Some(5), Some(0));
        assert_eq!(loss(&emptied, 2, false), Some((Reason::NotKept, id(5))));
    }

    #[test]
    fn what_was_deleted_is_missing() {
        let holed = state(&[1, 2, 5], 5, Some(5), Some(4));
        assert_eq!(loss(&holed, 2, true), Some((Reason::NotKept, id(4))));
        assert_eq!(loss(&holed, 3, false), Some((Reason::NotKept, id(4))));
        assert_eq!(loss(&holed, 4, false), None);
    }

    #[test]
    fn a_stream_begun_anew_is_another() {
        let anew = state(&[7, 8], 8, Some(2), Some(0));
        let before = id(7).before();
        assert_eq!(loss(&anew, 3, false), Some((Reason::Recreated, before)));
        let begin = Some((Reason::Recreated, EntryId::ZERO));
        assert_eq!(loss(&anew, 9, false), begin);
        assert_eq!(loss(&State::absent(), 3, false), begin);
        // By the clock it can only have been set back.
        let now = 1_700_000_000_000;
        let back = state(&[now], now, Some(1), Some(0));
        let at_its_end = Some((Reason::Recreated, id(now)));
        assert_eq!(loss(&back, now + 1, false), at_its_end);
    }

    #[test]
    fn an_older_server_tells_less() {
        let trimmed = state(&[4, 5], 5, None, None);
        let up_to = id(4).before();
        assert_eq!(loss(&trimmed, 2, false), Some((Reason::NotKept, up_to)));
        assert_eq!(loss(&trimmed, 4, true), None);
        // Whether anything else was deleted is not known.
        let holed = state(&[1, 5], 5, None, None);
        assert_eq!(loss(&holed, 3, false), None);
    }

    #[test]
    fn a_reply_is_read() {
        let bulk = |text: &'static str| Reply::Bulk(text.into());
        let entry = |id| Reply::Array(vec![bulk(id), Reply::Array(vec![])]);
        let reply = Reply::Array(vec![
            bulk("length"),
            Reply::Int(2),
            bulk("last-generated-id"),
            bulk("5-0"),
            bulk("max-deleted-entry-id"),
            bulk("0-0"),
            bulk("entries-added"),
            Reply::Int(5),
            bulk("something-new"),
            Reply::Nil,
            bulk("first-entry"),
            entry("4-0"),
            bulk("last-entry"),
            entry("5-0"),
        ]);
        let expected = state(&[4, 5], 5, Some(5), Some(0));
        assert_eq!(State::parse(&reply), Some(expected));
        assert_eq!(State::parse(&Reply::Array(vec![])), None);
        assert_eq!(State::parse(&Reply::Nil), None);
    }
}
