//! What a connection waits for before its last request can be answered: commands that were sent apart from those of
//! others, or, if it is to become an event stream, its turn.

use super::{Connection, HeadReader, Phase};
use crate::http::exchange::Exchange;
use crate::http::waiting::Waiting;
use crate::upstream::Outcome;

impl Connection {
    /// Has the connection become the event stream that this request asks for once all answers before it have been sent.
    /// That the request may have said `Connection: close` does not matter: a stream ends its connection anyway.
    pub(in super::super) fn become_stream(&mut self, exchange: Exchange) {
        self.phase = Phase::BecomingStream(Box::new(exchange));
    }

    /// The request for an event stream, if the connection can become one now.
    pub(in super::super) fn take_stream_request(&mut self) -> Option<Exchange> {
        if !(self.all_sent() && matches!(self.phase, Phase::BecomingStream(_))) {
            return None;
        }
        match std::mem::replace(&mut self.phase, Phase::Head(HeadReader::default())) {
            Phase::BecomingStream(exchange) => Some(*exchange),
            other => {
                self.phase = other;
                None
            }
        }
    }

    /// Has the connection wait for commands that were sent apart from those of others.
    pub(in super::super) fn wait_for(&mut self, waiting: Waiting) {
        self.phase = Phase::Waiting(Box::new(waiting));
    }

    /// Whether its client has ended its side.
    pub(in super::super) fn has_hung_up(&self) -> bool {
        self.closing || self.ended
    }

    /// Whether its client has hung up on a command that may block.
    pub(in super::super) fn has_given_up(&self) -> bool {
        match &self.phase {
            Phase::Waiting(waiting) => waiting.may_block() && self.has_hung_up(),
            Phase::Head(_) | Phase::Body(_) | Phase::BecomingStream(_) | Phase::Lingering => false,
        }
    }

    /// The request that waits for its commands, together with their outcomes, once these are there.
    pub(in super::super) fn take_done(&mut self) -> Option<(Box<Waiting>, Vec<Outcome>)> {
        let Phase::Waiting(waiting) = &self.phase else {
            return None;
        };
        let outcomes = waiting.take_outcomes()?;
        match std::mem::replace(&mut self.phase, Phase::Head(HeadReader::default())) {
            Phase::Waiting(waiting) => Some((waiting, outcomes)),
            other => {
                self.phase = other;
                None
            }
        }
    }
}
