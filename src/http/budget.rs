//! A bound on what large bodies and replies may take of memory, over all connections together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

/// What is smaller than this is not counted: the number of connections bounds it.
pub(crate) const SMALL: usize = 64 * 1024;

/// So many bytes, to be reserved before they are held. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    left: Arc<AtomicUsize>,
}

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        Self {
            left: Arc::new(AtomicUsize::new(bytes)),
        }
    }

    /// Takes this much; `None` if it is not there.
    pub(crate) fn reserve(&self, bytes: usize) -> Option<Reservation> {
        let take = |left: usize| left.checked_sub(bytes);
        self.left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .ok()?;
        Some(Reservation(Arc::new(Part {
            bytes,
            left: Arc::clone(&self.left),
        })))
    }
}

/// A part of a budget, given back when the last clone is dropped.
#[derive(Debug, Clone)]
pub(crate) struct Reservation(Arc<Part>);

#[derive(Debug)]
struct Part {
    bytes: usize,
    left: Arc<AtomicUsize>,
}

impl Reservation {
    pub(crate) fn bytes(&self) -> usize {
        self.0.bytes
    }

    /// The bytes for which it was made: it is not given back before they are dropped, wherever they go.
    pub(crate) fn covers(&self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Covered {
            bytes,
            _by: self.clone(),
        })
    }
}

struct Covered {
    bytes: Bytes,
    _by: Reservation,
}

impl AsRef<[u8]> for Covered {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.left.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_is_there_again() {
        let budget = Budget::new(10);
        let first = budget.reserve(7);
        assert!(first.is_some());
        assert!(budget.reserve(4).is_none());
        drop(first);
        assert!(budget.reserve(10).is_some());
    }

    #[test]
    fn what_bytes_are_covered_by_is_there_again_after_the_last_part_of_them() {
        let budget = Budget::new(10);
        let reservation = budget.reserve(10).expect("all of it");
        let part = reservation
            .covers(Bytes::from_static(b"0123456789"))
            .slice(3..5);
        drop(reservation);
        assert!(budget.reserve(1).is_none());
        assert_eq!(part, "34");
        drop(part);
        assert!(budget.reserve(10).is_some());
    }
}
