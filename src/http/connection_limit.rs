//! How many connections there may be: a place for each.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// So many places. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Places {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    taken: AtomicUsize,
    all: usize,
}

/// One place, given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    shared: Arc<Shared>,
}

impl Places {
    pub(super) fn new(all: usize) -> Self {
        let taken = AtomicUsize::new(0);
        Self {
            shared: Arc::new(Shared { taken, all }),
        }
    }

    /// Takes a place, if there is one.
    pub(super) fn take(&self) -> Option<Place> {
        let all = self.shared.all;
        let one_more = |taken| (taken < all).then_some(taken + 1);
        self.shared
            .taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .ok()?;
        let shared = Arc::clone(&self.shared);
        Some(Place { shared })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.taken.fetch_sub(1, Ordering::Relaxed);
    }
}
