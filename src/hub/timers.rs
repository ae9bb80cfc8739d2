//! What a fan-out does by the clock: comments in a silence, the end of those who take nothing, and the end of
//! streams whose time has come.

use std::cmp::Reverse;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::SubscriberId;
use super::writer::Worker;

/// At the end of all streams, the time that each adds to it. Their clients come back to another gateway about as
/// fast.
const END_EACH: Duration = Duration::from_millis(1);

impl Worker {
    /// How long there is nothing to do by the clock.
    pub(super) fn until_next_check(&self) -> Option<Duration> {
        let check = self.checks.peek().map(|Reverse((due, ..))| *due);
        let last = self.closing.filter(|_| !self.subscribers.is_empty());
        let due = check.into_iter().chain(last).min()?;
        let left = due.saturating_duration_since(Instant::now());
        // A little later is early enough, and many checks fall together.
        Some(left + Duration::from_millis(10))
    }

    /// Ends every stream at a time of its own, no more than a few a millisecond unless time is short.
    pub(super) fn end_all_within(&mut self, time: Duration) {
        let now = Instant::now();
        let count = u32::try_from(self.subscribers.len()).unwrap_or(u32::MAX);
        let spread = time.min(END_EACH * count).mul_f32(0.9);
        self.closing = Some(now + time);
        self.checks.clear();
        let places: Vec<_> = self
            .places
            .iter()
            .map(|(id, place)| (*id, *place))
            .collect();
        for (id, place) in places {
            self.subscribers[place].ends_at = Some(now + spread.mul_f32(fastrand::f32()));
            self.plan_check(place, id, now);
        }
    }

    /// Ends every stream, without waiting for anybody to take what is left.
    pub(super) fn end_all_now(&mut self) {
        let now = Instant::now();
        let places: Vec<_> = self.places.values().copied().collect();
        for place in places {
            self.subscribers[place].end();
            // Also to those who were blocked: this is the last attempt.
            self.send(place, now);
            self.drop_subscriber(place);
        }
    }

    /// Sends a comment to those who were sent nothing for long, disconnects those who take nothing, and ends
    /// those whose time has come.
    pub(super) fn check_the_silent(&mut self) {
        let now = Instant::now();
        if self.closing.is_some_and(|last| last <= now) && !self.subscribers.is_empty() {
            self.end_all_now();
        }
        while let Some(&Reverse((due, place, id))) = self.checks.peek()
            && due <= now
        {
            self.checks.pop();
            let Some(subscriber) = self.subscribers.get(place).filter(|s| s.id == id) else {
                continue;
            };
            let silence = now.duration_since(subscriber.last_sent);
            let (blocked, open) = (subscriber.blocked, subscriber.is_open());
            if blocked && silence >= self.rules.write_timeout {
                self.stats.evicted.fetch_add(1, Ordering::Relaxed);
                self.drop_subscriber(place);
                continue;
            }
            if subscriber.ends_at.is_some_and(|at| at <= now) && !subscriber.ending {
                self.end(place);
            } else if !blocked && open && silence >= self.least_silence() {
                let heartbeat = self.heartbeat.clone();
                self.push(place, &heartbeat);
            }
            self.plan_check(place, id, now);
        }
        self.send_all();
    }

    /// Events that reached everybody at once shall not have everybody's heartbeat due at once: the checks
    /// are spread over the last fifth of the time.
    pub(super) fn plan_check(&mut self, place: usize, id: SubscriberId, now: Instant) {
        let Some(subscriber) = self.subscribers.get(place) else {
            return;
        };
        let spread = self.least_silence() + self.rules.heartbeat.mul_f32(fastrand::f32() / 5.0);
        let mut due = subscriber.last_sent + spread.min(self.rules.write_timeout);
        if due <= now {
            due = now + spread;
        }
        if !subscriber.ending {
            due = subscriber.ends_at.map_or(due, |end| due.min(end));
        }
        self.checks.push(Reverse((due, place, id)));
    }

    fn least_silence(&self) -> Duration {
        self.rules.heartbeat.mul_f32(0.8)
    }
}
