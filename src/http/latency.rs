//! How long it pays to wait for Redis.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::upstream::NodeNumber;

/// The longest that the thread at the poller waits for the pipelines of a turn. A near Redis is done long
/// before; while it waits, nobody else is served.
pub(super) const PATIENCE: Duration = Duration::from_millis(1);

/// How many servers are told apart.
const SERVERS: usize = 16;

/// The time that pipelines took lately.
#[derive(Debug, Default)]
pub(super) struct Latency {
    all: Average,
    /// To each server; those whose places are the same share one.
    servers: [Average; SERVERS],
    /// To several servers at once.
    several: Average,
}

/// A moving average, in microseconds.
#[derive(Debug, Default)]
struct Average(AtomicU64);

impl Latency {
    /// Notes how long a pipeline took to a server, or to several (`None`).
    pub(super) fn note(&self, server: Option<NodeNumber>, took: Duration) {
        self.all.note(took);
        self.of(server).note(took);
    }

    /// Notes that it was waited for a pipeline in vain. How long it took is noted when it is known; from a server that
    /// hangs nobody learns that soon.
    pub(super) fn note_vain_wait(&self, server: Option<NodeNumber>) {
        self.of(server).note(2 * PATIENCE);
    }

    /// Whether it pays to wait for a server, or for several (`None`).
    pub(super) fn is_near(&self, server: Option<NodeNumber>) -> bool {
        self.of(server).get() < PATIENCE
    }

    fn of(&self, server: Option<NodeNumber>) -> &Average {
        server.map_or(&self.several, |server| &self.servers[server.place(SERVERS)])
    }

    /// Whether most of what is sent is not waited for.
    pub(super) fn is_far(&self) -> bool {
        self.all.get() >= PATIENCE
    }
}

impl Average {
    fn get(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed))
    }

    fn note(&self, took: Duration) {
        let took = u64::try_from(took.as_micros())
            .unwrap_or(u64::MAX)
            .min(1 << 32);
        let average = self.0.load(Ordering::Relaxed);
        // Two threads may do this at once; it is an estimate either way.
        self.0.store((average * 7 + took) / 8, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_redis_is_not_waited_for_and_a_quick_one_is_again() {
        let latency = Latency::default();
        let one = Some(NodeNumber::next());
        assert!(latency.is_near(one) && !latency.is_far());
        for _ in 0..10 {
            latency.note(one, Duration::from_millis(5));
        }
        assert!(!latency.is_near(one) && latency.is_far());
        for _ in 0..30 {
            latency.note(one, Duration::from_micros(100));
        }
        assert!(latency.is_near(one) && !latency.is_far());
    }

    #[test]
    fn a_server_that_hangs_is_soon_not_waited_for_and_others_are() {
        let latency = Latency::default();
        let (hangs, answers) = (Some(NodeNumber::next()), Some(NodeNumber::next()));
        for _ in 0..10 {
            latency.note_vain_wait(hangs);
            latency.note(answers, Duration::from_micros(100));
        }
        assert!(!latency.is_near(hangs));
        assert!(latency.is_near(answers) && !latency.is_far());
    }
}
