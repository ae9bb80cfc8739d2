//! Commands that are large or have large replies. They have a shared connection of their own, so that what is small
//! does not wait behind them.
//!
//! How large a command is can be seen; of replies it is remembered whose were large the last time. (Measured with 64
//! clients beside one who gets 10 MiB again and again: 0.5 to 0.8 of the p99.)

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use super::Outcome;
use crate::command::Command;
use crate::reply::Reply;

/// Bytes that are large: to move them takes about as long as Redis does for some ten small commands.
const LARGE: usize = 128 * 1024;

/// As many commands are large too.
const MANY: usize = 1000;

/// What an element of an array comes to besides its own bytes.
const ELEMENT: usize = 8;

/// How many requests are remembered at most.
const PLACES: usize = 1024;

/// Whose replies were large the last time.
#[derive(Debug)]
pub(super) struct Bulky {
    hasher: RandomState,
    /// Each by its mark, in the place that this gives it; another one with the same place takes it over.
    places: Box<[AtomicU64]>,
}

/// Tells requests apart: nearly always by command, key, and number of commands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark(u64);

impl Default for Bulky {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            places: (0..PLACES).map(|_| AtomicU64::new(0)).collect(),
        }
    }
}

impl Bulky {
    /// The mark of a request for these commands.
    pub(super) fn mark(&self, commands: &[Command]) -> Mark {
        let first = commands.first().map(Command::parts).unwrap_or_default();
        let key = &first[..first.len().min(2)];
        // Zero is the mark of nobody.
        Mark(self.hasher.hash_one((commands.len(), key)).max(1))
    }

    /// Whether such a request is better kept apart from small ones.
    pub(super) fn is_bulky(&self, mark: Mark, commands: &[Command]) -> bool {
        self.place(mark).load(Ordering::Relaxed) == mark.0 || are_large(commands)
    }

    /// Remembers what the replies were like.
    pub(super) fn note(&self, mark: Mark, outcomes: &[Outcome]) {
        let place = self.place(mark);
        if outcomes_are_large(outcomes) {
            place.store(mark.0, Ordering::Relaxed);
        } else if place.load(Ordering::Relaxed) == mark.0 {
            place.store(0, Ordering::Relaxed);
        }
    }

    fn place(&self, mark: Mark) -> &AtomicU64 {
        &self.places[mark.0 as usize % PLACES]
    }
}

fn are_large(commands: &[Command]) -> bool {
    if commands.len() >= MANY {
        return true;
    }
    let parts = commands.iter().flat_map(Command::parts);
    parts.map(|part| part.len()).sum::<usize>() >= LARGE
}

fn outcomes_are_large(outcomes: &[Outcome]) -> bool {
    let mut left = LARGE;
    let replies = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok());
    replies.into_iter().any(|reply| exceeds(reply, &mut left))
}

/// Whether a reply takes all the bytes that are left. No more of it is looked at than that takes.
fn exceeds(reply: &Reply, left: &mut usize) -> bool {
    let own = match reply {
        Reply::Bulk(bytes) | Reply::Status(bytes) => bytes.len(),
        Reply::Nil | Reply::Int(_) | Reply::Error(_) | Reply::Array(_) => 0,
    };
    *left = left.saturating_sub(own + ELEMENT);
    let within = match reply {
        Reply::Array(items) => items.iter().any(|item| exceeds(item, left)),
        _ => false,
    };
    within || *left == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(key: &'static str) -> [Command; 1] {
        [Command::get(key.into())]
    }

    fn bulk(size: usize) -> Vec<Outcome> {
        vec![Ok(Reply::Bulk(vec![b'x'; size].into()))]
    }

    #[test]
    fn who_had_a_large_reply_is_remembered_until_it_has_a_small_one() {
        let bulky = Bulky::default();
        let (large, other) = (get("large"), get("other"));
        let is_bulky = |commands: &[Command]| bulky.is_bulky(bulky.mark(commands), commands);
        assert!(!is_bulky(&large));
        bulky.note(bulky.mark(&large), &bulk(LARGE));
        assert!(is_bulky(&large));
        assert!(!is_bulky(&other));
        bulky.note(bulky.mark(&large), &bulk(16));
        assert!(!is_bulky(&large));
    }

    #[test]
    fn a_large_command_is_seen_to_be_one() {
        let bulky = Bulky::default();
        let set = |size| [Command::new("SET").arg("key").arg(vec![b'x'; size])];
        for (size, expected) in [(LARGE / 2, false), (LARGE, true)] {
            let commands = set(size);
            assert_eq!(bulky.is_bulky(bulky.mark(&commands), &commands), expected);
        }
    }

    #[test]
    fn many_small_elements_are_large_too() {
        let items = |count| vec![Ok(Reply::Array(vec![Reply::Int(1); count]))];
        assert!(outcomes_are_large(&items(LARGE)));
        assert!(!outcomes_are_large(&items(100)));
        assert!(!outcomes_are_large(&bulk(LARGE / 2)));
        assert!(outcomes_are_large(
            &[bulk(LARGE / 2), bulk(LARGE / 2)].concat()
        ));
    }
}
