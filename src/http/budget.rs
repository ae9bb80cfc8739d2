//! A bound on what large bodies and replies may take of memory, over all connections together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

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
        Some(Reservation {
            bytes,
            left: Arc::clone(&self.left),
        })
    }
}

/// A part of a budget, given back when dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    bytes: usize,
    left: Arc<AtomicUsize>,
}

impl Reservation {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Reservation {
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
}
