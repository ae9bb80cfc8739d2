//! One stream that is read as its entries come: up to where, and whether any were gone before they were read.
//!
//! Pure. The server counts what is added to a stream (since Redis 7). What was added between two looks at that
//! count, less what was read of it, is lost. If less was added than was read, it is another stream of that name: only
//! what the look has counted is set against it, and ids grow, so that is never what was added after the look.

use super::xinfo::{Presence, State};
use super::{Entry, EntryId, Loss, Reason};
use crate::hub::fanout::ChannelKey;

#[derive(Debug)]
pub(super) struct Watched {
    /// For whom it is read.
    pub(super) channel: ChannelKey,
    /// The last entry that was read.
    pub(super) position: EntryId,
    /// Where the reading under way began; `None` if what it brings is of no use.
    pub(super) reading_from: Option<EntryId>,
    /// Whether entries came since the last look.
    pub(super) is_active: bool,
    /// Whether it was there when it was last heard of.
    pub(super) is_there: bool,
    /// `None` while it is not known, or the server does not count.
    count: Option<Count>,
    /// A look that cannot be compared before all its entries are read.
    ahead: Option<Ahead>,
}

#[derive(Debug)]
struct Count {
    /// The server's count when this one began.
    added: u64,
    /// Entries read since.
    read: u64,
}

#[derive(Debug)]
struct Ahead {
    /// The last entry that there was to be read.
    end: EntryId,
    last_id: EntryId,
    added: u64,
}

/// What a look at a stream comes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// As expected.
    Nothing,
    /// Entries came in between; it has to be looked again.
    Unclear,
    /// Entries were gone before they were read.
    Lost(Loss),
    /// It is to be read on from elsewhere.
    Elsewhere(Loss),
}

impl Watched {
    /// A stream that is read from here on.
    pub(super) fn from_now(channel: ChannelKey, state: &State) -> Self {
        Self {
            channel,
            position: state.last_id,
            reading_from: None,
            is_active: false,
            is_there: state.presence == Presence::There,
            count: state.added.map(|added| Count { added, read: 0 }),
            ahead: None,
        }
    }

    /// Takes note of entries, which are behind the position; tells of those that were gone before them.
    pub(super) fn note(&mut self, entries: &[Entry]) -> Option<Loss> {
        self.is_active = true;
        self.is_there |= !entries.is_empty();
        let mut lost = None;
        for entry in entries {
            if self
                .ahead
                .as_ref()
                .is_some_and(|ahead| ahead.end < entry.id)
            {
                lost = self.compare().or(lost);
            }
            if let Some(count) = &mut self.count {
                count.read += 1;
            }
            self.position = entry.id;
        }
        if self
            .ahead
            .as_ref()
            .is_some_and(|ahead| ahead.end <= self.position)
        {
            lost = self.compare().or(lost);
        }
        // They are told of behind what has just been read.
        lost.map(|loss| Loss {
            up_to: loss.up_to.max(self.position),
            ..loss
        })
    }

    /// Whether it was there and is gone, by a look at a position.
    pub(super) fn has_gone(&mut self, state: &State, asked_at: EntryId) -> bool {
        match state.presence {
            Presence::There => self.is_there = true,
            // What was read meanwhile was added later.
            Presence::Gone if self.position == asked_at => {
                return std::mem::replace(&mut self.is_there, false);
            }
            // Perhaps only where it was asked for.
            Presence::Absent | Presence::Gone => {}
        }
        false
    }

    /// Compares the stream with what was read of it; it was asked for at a position.
    pub(super) fn look(&mut self, state: &State, asked_at: EntryId) -> Finding {
        self.is_active = false;
        if let Some(begin) = state.set_back_to(asked_at) {
            if self.position != asked_at {
                return Finding::Unclear;
            }
            self.position = begin;
            self.reading_from = None;
            self.ahead = None;
            let unread = if begin < state.last_id {
                state.length
            } else {
                0
            };
            self.count = state.added.map(|added| Count {
                added: added.saturating_sub(unread),
                read: 0,
            });
            return Finding::Elsewhere(Loss::new(Reason::Recreated, begin));
        }
        if state.last_id < self.position {
            return Finding::Unclear;
        }
        let Some(added) = state.added else {
            return Finding::Nothing;
        };
        // Nothing is left to be read of what there was.
        let is_read = state.last.is_none_or(|last| last <= self.position);
        let Some(count) = &self.count else {
            self.count = is_read.then_some(Count { added, read: 0 });
            return Finding::Nothing;
        };
        if added < count.added {
            // It is another one, and was read from its beginning.
            self.count = None;
            self.ahead = None;
            self.is_active = true;
            return Finding::Lost(Loss::new(Reason::Recreated, self.position));
        }
        let end = state.last.unwrap_or_default();
        self.ahead = Some(Ahead {
            end,
            last_id: state.last_id,
            added,
        });
        if !is_read {
            return Finding::Nothing;
        }
        match self.compare() {
            Some(loss) => {
                self.position = loss.up_to;
                Finding::Lost(loss)
            }
            None => Finding::Nothing,
        }
    }

    /// Compares the counts, everything up to the look ahead having been read.
    fn compare(&mut self) -> Option<Loss> {
        let (ahead, count) = (self.ahead.take()?, self.count.as_mut()?);
        let missing = (ahead.added - count.added).checked_sub(count.read);
        *count = Count {
            added: ahead.added,
            read: 0,
        };
        match missing {
            Some(0) => None,
            Some(_) => Some(Loss {
                reason: Reason::NotKept,
                up_to: ahead.last_id,
                missing,
            }),
            None => Some(Loss::new(Reason::Recreated, ahead.last_id)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u64) -> EntryId {
        EntryId::parse(n.to_string().as_bytes()).expect("an id")
    }

    fn entries(ids: &[u64]) -> Vec<Entry> {
        let entry = |n: &u64| Entry {
            id: id(*n),
            fields: "{}".into(),
        };
        ids.iter().map(entry).collect()
    }

    fn state(first: u64, last: u64, added: u64) -> State {
        State {
            presence: Presence::There,
            length: last - first + 1,
            last_id: id(last),
            first: Some(id(first)),
            last: Some(id(last)),
            added: Some(added),
            ..State::default()
        }
    }

    fn lost(missing: u64, up_to: u64) -> Loss {
        Loss {
            reason: Reason::NotKept,
            up_to: id(up_to),
            missing: Some(missing),
        }
    }

    #[test]
    fn what_was_read_is_not_lost() {
        let mut watched = Watched::from_now(1, &state(1, 3, 3));
        assert_eq!(watched.note(&entries(&[4, 5])), None);
        assert_eq!(watched.look(&state(1, 5, 5), id(5)), Finding::Nothing);
        // Trimmed since, and looked at before the last of them has been read.
        assert_eq!(watched.look(&state(6, 7, 7), id(5)), Finding::Nothing);
        assert_eq!(watched.note(&entries(&[6])), None);
        assert_eq!(watched.note(&entries(&[7, 8])), None);
        assert_eq!(watched.look(&state(8, 8, 8), id(8)), Finding::Nothing);
    }

    #[test]
    fn what_was_gone_before_it_was_read_is_counted() {
        let mut watched = Watched::from_now(1, &state(1, 3, 3));
        // 4 to 8 were trimmed at once.
        assert_eq!(watched.note(&entries(&[9])), None);
        let found = watched.look(&state(9, 9, 9), id(9));
        assert_eq!(found, Finding::Lost(lost(5, 9)));
        // The same, looked at while more was on its way.
        assert_eq!(watched.look(&state(12, 13, 13), id(9)), Finding::Nothing);
        assert_eq!(watched.note(&entries(&[12])), None);
        assert_eq!(watched.note(&entries(&[13, 14])), Some(lost(2, 14)));
        // All of it is gone.
        let emptied = State {
            last_id: id(16),
            added: Some(16),
            ..State::default()
        };
        let found = watched.look(&emptied, id(14));
        assert_eq!(found, Finding::Lost(lost(2, 16)));
        assert_eq!(watched.position, id(16));
    }

    #[test]
    fn a_stream_begun_anew_is_read_from_its_beginning() {
        let mut watched = Watched::from_now(1, &state(1, 9, 9));
        watched.reading_from = Some(id(9));
        let found = watched.look(&state(1, 2, 2), id(9));
        let loss = Loss::new(Reason::Recreated, EntryId::ZERO);
        assert_eq!(found, Finding::Elsewhere(loss));
        assert_eq!(watched.reading_from, None);
        assert_eq!(watched.note(&entries(&[1, 2])), None);
        assert_eq!(watched.look(&state(1, 2, 2), id(2)), Finding::Nothing);
        // With greater ids it goes on by itself.
        assert_eq!(watched.note(&entries(&[20])), None);
        let found = watched.look(&state(20, 20, 1), id(20));
        let loss = Loss::new(Reason::Recreated, id(20));
        assert_eq!(found, Finding::Lost(loss));
        assert_eq!(watched.look(&state(20, 20, 1), id(20)), Finding::Nothing);
        assert_eq!(watched.note(&entries(&[22])), None);
        let found = watched.look(&state(22, 22, 3), id(22));
        assert_eq!(found, Finding::Lost(lost(1, 22)));
    }

    #[test]
    fn one_begun_anew_with_as_many_entries_shows_in_what_was_read() {
        let recreated = |up_to| Loss::new(Reason::Recreated, id(up_to));
        let mut watched = Watched::from_now(1, &state(1, 5, 5));
        // 6 and 7 went with the one before.
        assert_eq!(watched.note(&entries(&[8, 9, 10, 11, 12, 13])), None);
        let found = watched.look(&state(8, 13, 6), id(13));
        assert_eq!(found, Finding::Lost(recreated(13)));
        assert_eq!(watched.look(&state(8, 13, 6), id(13)), Finding::Nothing);
        // The same, looked at while more was on its way.
        assert_eq!(watched.note(&entries(&[14, 15])), None);
        assert_eq!(watched.look(&state(14, 20, 7), id(15)), Finding::Nothing);
        assert_eq!(watched.note(&entries(&[16, 17, 18, 19])), None);
        assert_eq!(watched.note(&entries(&[20, 21])), Some(recreated(21)));
        assert_eq!(watched.look(&state(14, 21, 8), id(21)), Finding::Nothing);
    }

    #[test]
    fn what_was_added_and_read_after_a_look_is_not_of_another_stream() {
        let mut watched = Watched::from_now(1, &state(1, 3, 3));
        // The look was taken when 4 had been added; its answer comes late, or 4 does.
        assert_eq!(watched.note(&entries(&[4, 5, 6])), None);
        assert_eq!(watched.look(&state(1, 4, 4), id(3)), Finding::Unclear);
        assert_eq!(watched.look(&state(1, 7, 7), id(6)), Finding::Nothing);
        assert_eq!(watched.note(&entries(&[7, 8, 9])), None);
        assert_eq!(watched.look(&state(1, 9, 9), id(9)), Finding::Nothing);
        // 11 was deleted, and more was added and read since.
        let mut deleted = state(1, 10, 11);
        deleted.last_id = id(11);
        assert_eq!(watched.look(&deleted, id(9)), Finding::Nothing);
        let found = watched.note(&entries(&[10, 12, 13]));
        assert_eq!(found, Some(lost(1, 13)));
        assert_eq!(watched.look(&state(1, 13, 13), id(13)), Finding::Nothing);
    }

    #[test]
    fn only_what_was_there_goes_and_only_once() {
        let gone = State {
            presence: Presence::Gone,
            ..State::absent()
        };
        let mut watched = Watched::from_now(1, &State::absent());
        assert!(!watched.has_gone(&gone, EntryId::ZERO));
        assert_eq!(watched.note(&entries(&[1])), None);
        // Asked for before the entry was read, and of a server that may be behind.
        assert!(!watched.has_gone(&gone, EntryId::ZERO));
        assert!(!watched.has_gone(&State::absent(), id(1)));
        assert!(watched.has_gone(&gone, id(1)));
        assert!(!watched.has_gone(&gone, id(1)));
        // It is begun anew, without an entry.
        assert!(!watched.has_gone(&state(1, 1, 1), id(1)));
        assert!(watched.has_gone(&gone, id(1)));
    }

    #[test]
    fn a_look_that_was_overtaken_says_nothing() {
        let mut watched = Watched::from_now(1, &state(1, 3, 3));
        assert_eq!(watched.note(&entries(&[4])), None);
        assert_eq!(watched.look(&state(1, 3, 3), id(3)), Finding::Unclear);
        assert_eq!(watched.look(&State::absent(), id(3)), Finding::Unclear);
    }
}
