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
        take(&self.left, bytes).then(|| {
            Reservation(Arc::new(Part {
                bytes: AtomicUsize::new(bytes),
                left: Arc::clone(&self.left),
            }))
        })
    }

    /// Has a size that grows reserved, in large steps up to `most`. If there is not so much, what is held stays as it is.
    pub(crate) fn cover(&self, held: &mut Option<Reservation>, size: usize, most: usize) -> bool {
        let ahead = (size * 2).min(most.max(size));
        match held {
            Some(held) => held.has(size) || held.grow_to(ahead) || held.grow_to(size),
            None => {
                *held = self.reserve(ahead).or_else(|| self.reserve(size));
                held.is_some()
            }
        }
    }
}

fn take(left: &AtomicUsize, bytes: usize) -> bool {
    let take = |left: usize| left.checked_sub(bytes);
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
        .is_ok()
}

/// A part of a budget, given back when the last clone is dropped.
#[derive(Debug, Clone)]
pub(crate) struct Reservation(Arc<Part>);

#[derive(Debug)]
struct Part {
    bytes: AtomicUsize,
    left: Arc<AtomicUsize>,
}

impl Reservation {
    /// Takes this much off for somebody else, or all that there is.
    pub(crate) fn split(&self, bytes: usize) -> Self {
        let all = self.0.bytes.load(Ordering::Relaxed);
        let own = bytes.min(all);
        self.0.bytes.fetch_sub(own, Ordering::Relaxed);
        Self(Arc::new(Part {
            bytes: AtomicUsize::new(own),
            left: Arc::clone(&self.0.left),
        }))
    }

    fn has(&self, size: usize) -> bool {
        self.0.bytes.load(Ordering::Relaxed) >= size
    }

    /// Takes as much more as it takes to have this much. Only one of its clones may grow at a time.
    fn grow_to(&self, size: usize) -> bool {
        let more = size.saturating_sub(self.0.bytes.load(Ordering::Relaxed));
        let taken = take(&self.0.left, more);
        if taken {
            self.0.bytes.fetch_add(more, Ordering::Relaxed);
        }
        taken
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
        let bytes = *self.bytes.get_mut();
        self.left.fetch_add(bytes, Ordering::Relaxed);
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
    fn what_grows_is_covered_while_there_is_enough_and_never_less() {
        let budget = Budget::new(10);
        let mut held = None;
        assert!(budget.cover(&mut held, 3, 9));
        assert!(budget.reserve(5).is_none(), "6 are held ahead");
        assert!(budget.cover(&mut held, 7, 9));
        let rest = budget.reserve(1);
        assert!(rest.is_some());
        assert!(!budget.cover(&mut held, 10, 10));
        assert!(budget.reserve(1).is_none(), "9 are still held");
        drop((held, rest));
        assert!(budget.reserve(10).is_some());
    }

    #[test]
    fn what_is_split_off_is_given_back_by_itself() {
        let budget = Budget::new(10);
        let all = budget.reserve(8).expect("enough");
        let part = all.split(5);
        drop(all);
        assert!(budget.reserve(5).is_some());
        assert!(budget.reserve(6).is_none());
        drop(part);
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
