//! The connections at rest, by the token that the poller knows them by.
//!
//! A connection is either here or with the thread that works on it. Its slot stays here either way: what the poller says
//! of a connection meanwhile is kept there until it comes back.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use slab::Slab;

use super::connection::{Connection, Signal};

/// How many connections that can be spared are looked up at once when room must be made.
const CANDIDATES: usize = 64;

/// A connection to work on, and what the poller has said of it.
pub(super) struct Ready {
    pub(super) key: usize,
    pub(super) connection: Box<Connection>,
    pub(super) signal: Signal,
}

impl Ready {
    /// A connection of which the poller has said nothing.
    pub(super) fn unheard(key: usize, connection: Box<Connection>) -> Self {
        Self {
            key,
            connection,
            signal: Signal::default(),
        }
    }
}

/// The slots. Locked for moments only, never across a system call.
#[derive(Default)]
pub(super) struct ConnectionTable {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    slots: Slab<Slot>,
    /// Connections to be looked at although the poller has said nothing of them.
    again: Vec<usize>,
    /// Connections that could be spared a moment ago; the first to be closed is the last in the list.
    candidates: Vec<(Spare, usize)>,
}

struct Slot {
    /// `None` while somebody works on it.
    connection: Option<Box<Connection>>,
    /// What the poller has said meanwhile.
    signal: Option<Signal>,
    deadline: Instant,
    spare: Option<Spare>,
}

/// That a connection can be closed for another one, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Spare {
    /// It is between two requests.
    Idle(Instant),
    /// It has sent a part of a head. Most heads come as a whole.
    Beginning(Instant),
    /// It takes none of its answers.
    Stalled(Instant),
}

/// Who takes nothing for so long is not only slow.
const STALLED: Duration = Duration::from_secs(5);

impl Spare {
    fn is_long(&self, now: Instant) -> bool {
        match self {
            Self::Idle(_) | Self::Beginning(_) => true,
            Self::Stalled(since) => now.saturating_duration_since(*since) >= STALLED,
        }
    }
}

impl ConnectionTable {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A slot for a connection that is being worked on.
    pub(super) fn add(&self, now: Instant) -> usize {
        self.lock().slots.insert(Slot {
            connection: None,
            signal: None,
            deadline: now,
            spare: None,
        })
    }

    /// Frees the slot of a connection that is no more.
    pub(super) fn remove(&self, key: usize) {
        self.lock().slots.try_remove(key);
    }

    /// Whether all connections that are left have had their last answer.
    pub(super) fn is_done(&self) -> bool {
        self.lock().slots.iter().all(|(_, slot)| {
            let connection = slot.connection.as_ref();
            connection.is_some_and(|connection| connection.is_done())
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().slots.is_empty()
    }

    /// Takes the connections that the poller named, and those to be looked at again.
    pub(super) fn take(
        &self,
        heard: impl Iterator<Item = (usize, Signal)>,
        ready: &mut Vec<Ready>,
    ) {
        let mut inner = self.lock();
        for (key, signal) in heard {
            let Some(slot) = inner.slots.get_mut(key) else {
                continue;
            };
            match slot.connection.take() {
                Some(connection) => ready.push(Ready {
                    key,
                    connection,
                    signal,
                }),
                None => slot.signal.get_or_insert_default().add(signal),
            }
        }
        for key in std::mem::take(&mut inner.again) {
            // It may have been named as well, or be gone.
            let slot = inner.slots.get_mut(key);
            let connection = slot.and_then(|slot| slot.connection.take());
            ready.extend(connection.map(|connection| Ready::unheard(key, connection)));
        }
    }

    /// Puts a connection back. If the poller has said something of it meanwhile, or there is `more` to do, it is to be looked
    /// at again at once: then this is true, and the poller has to be woken.
    pub(super) fn put_back(
        &self,
        key: usize,
        mut connection: Box<Connection>,
        deadline: Instant,
        more: bool,
    ) -> bool {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let Some(slot) = inner.slots.get_mut(key) else {
            return false;
        };
        let heard = slot.signal.take();
        if let Some(signal) = heard {
            connection.note(signal);
        }
        slot.spare = connection.spare();
        slot.deadline = deadline;
        slot.connection = Some(connection);
        let up = more || heard.is_some();
        if up {
            inner.again.push(key);
        }
        up
    }

    /// Has a connection looked at, now or when it is put back.
    pub(super) fn look_at(&self, key: usize) {
        let mut inner = self.lock();
        let inner = &mut *inner;
        match inner.slots.get_mut(key) {
            Some(slot) if slot.connection.is_some() => inner.again.push(key),
            Some(slot) => {
                slot.signal.get_or_insert_default();
            }
            None => {}
        }
    }

    /// Whether there are connections to be looked at again.
    pub(super) fn has_ready(&self) -> bool {
        !self.lock().again.is_empty()
    }

    /// Takes the connections whose time is up. Gives when to look again: at the next deadline, but in `longest` at the latest.
    pub(super) fn overdue(
        &self,
        now: Instant,
        longest: Duration,
        overdue: &mut Vec<Ready>,
    ) -> Instant {
        let mut next = now + longest;
        for (key, slot) in &mut self.lock().slots {
            if slot.connection.is_none() {
                continue;
            }
            if slot.deadline > now {
                next = next.min(slot.deadline);
            } else {
                let connection = slot.connection.take();
                overdue.extend(connection.map(|connection| Ready::unheard(key, connection)));
            }
        }
        next
    }

    /// Closes every idle connection.
    pub(super) fn close_idle(&self) {
        let is_idle =
            |slot: &Slot| slot.connection.is_some() && matches!(slot.spare, Some(Spare::Idle(_)));
        self.lock().slots.retain(|_, slot| !is_idle(slot));
    }

    /// Takes out, for good, the connection that has been idle for longest. If none is idle, the one that has been waiting for
    /// the rest of a head, or taken none of its answers, for longest.
    pub(super) fn take_spare(&self) -> Option<Box<Connection>> {
        let mut inner = self.lock();
        // Those that were found the last time, and only then all.
        inner.take_candidate().or_else(|| {
            inner.find_candidates();
            inner.take_candidate()
        })
    }
}

impl Inner {
    fn find_candidates(&mut self) {
        let at_rest = self
            .slots
            .iter()
            .filter(|(_, slot)| slot.connection.is_some());
        let now = Instant::now();
        let spare = at_rest.filter_map(|(key, slot)| {
            let spare = slot.spare.filter(|spare| spare.is_long(now))?;
            Some((spare, key))
        });
        let mut spare: Vec<_> = spare.collect();
        if spare.len() > CANDIDATES {
            spare.select_nth_unstable(CANDIDATES);
            spare.truncate(CANDIDATES);
        }
        spare.sort_unstable_by(|a, b| b.cmp(a));
        self.candidates = spare;
    }

    fn take_candidate(&mut self) -> Option<Box<Connection>> {
        while let Some((spare, key)) = self.candidates.pop() {
            let Some(slot) = self.slots.get_mut(key) else {
                continue;
            };
            // It may have been busy since, or the slot may be another's.
            if slot.spare == Some(spare)
                && let Some(connection) = slot.connection.take()
            {
                self.slots.remove(key);
                return Some(connection);
            }
        }
        None
    }
}
