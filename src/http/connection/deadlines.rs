//! By when a connection's client has to make progress, and what is said to one that has not.

use std::time::{Duration, Instant};

use super::{Connection, Next, Phase, is_head};
use crate::config::Config;
use crate::http::connection_table::Spare;
use crate::http::problem::Problem;

/// How long, after the last answer, to go on reading what the client still sends. To close earlier would
/// reset the connection, and the answer might never be seen.
pub(in super::super) const LINGER: Duration = Duration::from_secs(2);

/// Longer than anything takes.
const FOREVER: Duration = Duration::from_secs(7 * 24 * 60 * 60);

impl Connection {
    /// Whether it can be spared if there is no room for another.
    pub(in super::super) fn spare(&self) -> Option<Spare> {
        match self.phase {
            Phase::Head(_) | Phase::Lingering if !self.all_sent() => {
                self.answers.stalled_since().map(Spare::Stalled)
            }
            Phase::Head(_) if self.received.is_empty() => Some(Spare::Idle(self.since)),
            // What has come behind an answer may be a whole request.
            Phase::Head(_) if self.has_more() => None,
            Phase::Head(_) => Some(Spare::Beginning(self.since)),
            Phase::Body(_) | Phase::Waiting(_) | Phase::BecomingStream(_) | Phase::Lingering => {
                None
            }
        }
    }

    /// By when something has to happen.
    pub(in super::super) fn deadline(&self, config: &Config) -> Instant {
        if !self.all_sent() {
            return self.answers.stalled_since().unwrap_or(self.since) + config.write_timeout;
        }
        let time = match &self.phase {
            Phase::Head(_) if self.received.is_empty() => config.idle_timeout,
            Phase::Head(_) => config.head_timeout,
            Phase::Body(_) => config.body_timeout,
            // The commands have a deadline of their own.
            Phase::Waiting(_) | Phase::BecomingStream(_) => FOREVER,
            Phase::Lingering => LINGER,
        };
        self.since + time
    }

    /// What is still to be said to a client whose time is up.
    pub(in super::super) fn overdue(&mut self) -> Option<Next> {
        if !self.all_sent() {
            return None;
        }
        match std::mem::replace(&mut self.phase, Phase::Lingering) {
            Phase::Head(_) if !self.received.is_empty() => {
                let late = Problem::new(408, "the request's head did not arrive in time");
                let head_only = is_head(&self.received);
                Some(self.fault(late, head_only))
            }
            Phase::Body(incoming) => {
                let late = Problem::new(408, "the request's body did not arrive in time");
                Some(self.refuse(incoming.request, late))
            }
            Phase::Head(_) | Phase::Waiting(_) | Phase::BecomingStream(_) | Phase::Lingering => {
                None
            }
        }
    }
}
