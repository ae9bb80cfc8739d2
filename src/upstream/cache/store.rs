//! The values that are kept, and when one of them may be given away. No I/O, and no clock of its own.
//!
//! A value comes in by a *fill*: it is registered here, then read over the tracking connection, then stored. Three
//! rules make that sound:
//!
//! - Whatever tells of a change (an invalidation, or a write through this gateway) strikes out the key's fills that
//!   are under way, and a fill that was struck out is not stored.
//! - As long as a write is under way its keys are neither given away nor filled. So what is kept when a write is
//!   answered was read after it had run.
//! - Nothing is given away unless the server has lately answered over the tracking connection: what it has to
//!   tell comes in the order in which it happened, so by its answer it has told all that was before the question.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::super::node::Connections;
use super::super::write_set::WriteSet;
use super::CacheStats;
use crate::reply::Reply;

/// How old the question may be by whose answer the server has told everything.
pub(super) const BOUND: Duration = Duration::from_secs(1);

/// How long a value is kept at most. There are changes that Redis tells nobody of: SWAPDB, and rights that are
/// taken away.
pub(super) const LONGEST_STAY: Duration = Duration::from_secs(60);

/// What an entry takes besides the bytes of its key and value: its places in the tables and what the allocator
/// adds, rounded up.
const OVERHEAD: usize = 384;

/// A value may take this part of the memory.
const LARGEST_PART: usize = 8;

/// Keys of which it is remembered that they were asked for: a key is filled when it is asked for again.
const REMEMBERED: usize = 4096;

/// Fills under way.
const MOST_FILLS: usize = 256;

/// The values, and what is known of them.
pub(super) struct Store {
    limit: usize,
    state: Mutex<State>,
}

/// What is kept for a key.
pub(super) enum Found {
    /// The reply.
    Hit(Reply),
    /// Nothing, but the key is worth keeping: this fill is registered.
    Fill(Fill),
    /// Nothing, and no fill was registered.
    Miss,
}

/// A fill that was registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fill {
    pub(super) key: Bytes,
    number: u64,
}

#[derive(Default)]
struct State {
    /// In no order; without holes, so that looking for one that can go takes no longer than there are.
    entries: Vec<Entry>,
    /// Where a key's entry is.
    places: HashMap<Bytes, usize>,
    bytes: usize,
    /// The entry that is looked at next when one has to go.
    hand: usize,
    /// Fills under way, by key, with their number.
    fills: HashMap<Bytes, u64>,
    fills_begun: u64,
    /// Keys that are being written, and by how many.
    written: HashMap<Bytes, usize>,
    /// Writes under way of which nobody knows the keys.
    writes_of_anything: usize,
    /// Keys that were asked for, by their hash.
    asked_for: Vec<u64>,
    standing: Option<Standing>,
    /// Whether anybody has asked since the server was last asked.
    in_use: bool,
    /// Whether the tracking task is to be woken when somebody asks.
    resting: bool,
    hits: u64,
    misses: u64,
}

/// A tracking connection that stands.
struct Standing {
    /// The command connections that lead to the same server.
    connections: Connections,
    /// When the last question was sent that has been answered.
    heard: Instant,
}

struct Entry {
    key: Bytes,
    /// `None`: this key is not kept, because it is too large or no string. That, too, is so until it changes.
    reply: Option<Reply>,
    until: Instant,
    /// Whether it was given away since the hand passed.
    used: bool,
}

impl Store {
    pub(super) fn new(limit: usize) -> Self {
        let state = State {
            asked_for: vec![0; REMEMBERED],
            ..State::default()
        };
        Self {
            limit,
            state: Mutex::new(state),
        }
    }

    /// Looks for a key's value. Also says whether the tracking task is to be woken.
    pub(super) fn look_up(&self, key: &[u8], at: Connections, now: Instant) -> (Found, bool) {
        let mut state = self.lock();
        state.in_use = true;
        let wake = std::mem::take(&mut state.resting);
        let found = state.look_up(key, at, now);
        match found {
            Found::Hit(_) => state.hits += 1,
            Found::Fill(_) | Found::Miss => state.misses += 1,
        }
        (found, wake)
    }

    /// Whether a fill is still worth while.
    pub(super) fn is_wanted(&self, fill: &Fill) -> bool {
        self.lock().fills.get(&fill.key) == Some(&fill.number)
    }

    /// Takes a registration back.
    pub(super) fn give_up(&self, fill: &Fill) {
        self.lock().strike(fill);
    }

    /// Stores what a fill has brought, unless it was struck out. Without a reply the key is one that is not kept.
    pub(super) fn fill(&self, fill: &Fill, reply: Option<Reply>, until: Instant) {
        let mut state = self.lock();
        if !state.strike(fill) {
            return;
        }
        let bytes = |reply: &Option<Reply>| fill.key.len() + length(reply) + OVERHEAD;
        let most = self.limit / LARGEST_PART;
        let reply = reply.filter(|reply| bytes(&Some(reply.clone())) <= most);
        let more = bytes(&reply);
        if more > most || !state.make_room(more, self.limit) {
            return;
        }
        let key = fill.key.clone();
        let entry = Entry {
            key: key.clone(),
            reply,
            until,
            used: false,
        };
        state.bytes += more;
        let at = state.entries.len();
        state.entries.push(entry);
        state.places.insert(key, at);
    }

    /// Drops a key, because the server says that it has changed.
    pub(super) fn invalidate(&self, key: &[u8]) {
        self.lock().drop_key(key);
    }

    /// Drops everything.
    pub(super) fn invalidate_all(&self) {
        let dropped = self.lock().drop_all();
        drop(dropped);
    }

    /// A write is about to be sent.
    pub(super) fn begin_write(&self, written: &WriteSet) {
        match written {
            WriteSet::Nothing => {}
            WriteSet::Keys(keys) => {
                let mut state = self.lock();
                for key in keys {
                    state.drop_key(key);
                    *state.written.entry(key.clone()).or_default() += 1;
                }
            }
            WriteSet::Anything => {
                let mut state = self.lock();
                state.writes_of_anything += 1;
                let dropped = state.drop_all();
                drop(state);
                drop(dropped);
            }
        }
    }

    /// It has been replied to, or will not be.
    pub(super) fn end_write(&self, written: &WriteSet) {
        let mut state = self.lock();
        match written {
            WriteSet::Nothing => {}
            WriteSet::Keys(keys) => {
                for key in keys {
                    if let Some(count) = state.written.get_mut(key) {
                        *count -= 1;
                        if *count == 0 {
                            state.written.remove(key);
                        }
                    }
                }
            }
            WriteSet::Anything => state.writes_of_anything -= 1,
        }
    }

    /// A tracking connection stands that leads to the same server as these. The question was sent over it and has
    /// been answered.
    pub(super) fn open(&self, connections: Connections, asked: Instant) {
        self.lock().standing = Some(Standing {
            connections,
            heard: asked,
        });
    }

    /// A question that was sent then has been answered.
    pub(super) fn heard(&self, asked: Instant) {
        if let Some(standing) = &mut self.lock().standing {
            standing.heard = asked;
        }
    }

    /// The tracking connection has ended.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.standing = None;
        let dropped = state.drop_all();
        drop(state);
        drop(dropped);
    }

    /// Whether anybody has asked since this was last called. If not, whoever asks next is told to wake the task.
    pub(super) fn is_in_use(&self) -> bool {
        let mut state = self.lock();
        let in_use = std::mem::take(&mut state.in_use);
        state.resting = !in_use;
        in_use
    }

    pub(super) fn stats(&self) -> CacheStats {
        let state = self.lock();
        CacheStats {
            values: state.entries.len(),
            bytes: state.bytes,
            hits: state.hits,
            misses: state.misses,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn look_up(&mut self, key: &[u8], at: Connections, now: Instant) -> Found {
        let current = self.standing.as_ref().is_some_and(|standing| {
            standing.connections == at && now.saturating_duration_since(standing.heard) < BOUND
        });
        if !current || self.writes_of_anything > 0 || self.written.contains_key(key) {
            return Found::Miss;
        }
        if let Some(&place) = self.places.get(key) {
            let entry = &mut self.entries[place];
            if now < entry.until {
                entry.used = true;
                return entry.reply.clone().map_or(Found::Miss, Found::Hit);
            }
            self.remove(key);
        }
        // Never 0, which is no key.
        let hash = self.places.hasher().hash_one(key) | 1;
        let slots = self.asked_for.len();
        let slot = usize::try_from(hash >> 32).unwrap_or_default() % slots.max(1);
        match self.asked_for.get_mut(slot) {
            Some(asked_for) if *asked_for == hash => {
                if self.fills.len() >= MOST_FILLS || self.fills.contains_key(key) {
                    return Found::Miss;
                }
                *asked_for = 0;
            }
            Some(asked_for) => {
                *asked_for = hash;
                return Found::Miss;
            }
            None => return Found::Miss,
        }
        // A copy: the key given may be a piece of a whole request.
        let key = Bytes::copy_from_slice(key);
        self.fills_begun += 1;
        let number = self.fills_begun;
        self.fills.insert(key.clone(), number);
        Found::Fill(Fill { key, number })
    }

    /// Ends a fill's registration; false if there was none any more.
    fn strike(&mut self, fill: &Fill) -> bool {
        let registered = self.fills.get(&fill.key) == Some(&fill.number);
        if registered {
            self.fills.remove(&fill.key);
        }
        registered
    }

    fn drop_key(&mut self, key: &[u8]) {
        self.fills.remove(key);
        self.remove(key);
    }

    /// Returns what it drops: freeing it takes a while, and nobody needs to wait for that.
    fn drop_all(&mut self) -> (Vec<Entry>, HashMap<Bytes, usize>) {
        self.fills.clear();
        self.bytes = 0;
        let places = HashMap::with_hasher(self.places.hasher().clone());
        (
            std::mem::take(&mut self.entries),
            std::mem::replace(&mut self.places, places),
        )
    }

    fn remove(&mut self, key: &[u8]) {
        let Some(place) = self.places.remove(key) else {
            return;
        };
        let entry = self.entries.swap_remove(place);
        self.bytes -= entry.key.len() + length(&entry.reply) + OVERHEAD;
        if let Some(moved) = self.entries.get(place)
            && let Some(its_place) = self.places.get_mut(&moved.key)
        {
            *its_place = place;
        }
        // Seldom enough to cost next to nothing for each.
        if self.entries.len() < self.entries.capacity() / 4 {
            self.entries.shrink_to(self.entries.capacity() / 2);
        }
    }

    /// Removes entries that were not used lately until there is room; false if there cannot be. The hand goes
    /// round and spares each that was used since it last came by.
    fn make_room(&mut self, more: usize, limit: usize) -> bool {
        while self.bytes + more > limit {
            self.hand += 1;
            if self.hand >= self.entries.len() {
                self.hand = 0;
            }
            let Some(entry) = self.entries.get_mut(self.hand) else {
                return false;
            };
            if !std::mem::take(&mut entry.used) {
                let key = entry.key.clone();
                self.remove(&key);
            }
        }
        true
    }
}

/// The bytes of a reply to GET.
fn length(reply: &Option<Reply>) -> usize {
    match reply {
        Some(Reply::Bulk(value)) => value.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
