//! How long it pays to wait for Redis.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The longest that the thread at the poller waits for a pipeline. A near Redis is done long before; while
/// it waits, nobody else is served.
const PATIENCE: Duration = Duration::from_millis(1);

/// The time that pipelines took lately.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// A moving average, in microseconds.
    average: AtomicU64,
}

impl Pace {
    /// Notes how long a pipeline took.
    pub(super) fn note(&self, took: Duration) {
        let took = u64::try_from(took.as_micros())
            .unwrap_or(u64::MAX)
            .min(1 << 32);
        let average = self.average.load(Ordering::Relaxed);
        // Two threads may do this at once; it is an estimate either way.
        self.average
            .store((average * 7 + took) / 8, Ordering::Relaxed);
    }

    /// How long to wait for the next one: not at all if it will take longer than waiting pays.
    pub(super) fn patience(&self) -> Duration {
        if Duration::from_micros(self.average.load(Ordering::Relaxed)) < PATIENCE {
            PATIENCE
        } else {
            Duration::ZERO
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_redis_is_not_waited_for_and_a_quick_one_is_again() {
        let pace = Pace::default();
        assert_eq!(pace.patience(), PATIENCE);
        for _ in 0..10 {
            pace.note(Duration::from_millis(5));
        }
        assert_eq!(pace.patience(), Duration::ZERO);
        for _ in 0..30 {
            pace.note(Duration::from_micros(100));
        }
        assert_eq!(pace.patience(), PATIENCE);
    }
}
