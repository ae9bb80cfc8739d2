//! What a connection's last request makes it wait for: commands that went apart, or to become a stream.

use super::{Connection, HeadReader, Phase};
use crate::http::exchange::Exchange;
use crate::http::waiting::Waiting;
use crate::upstream::Outcome;

impl Connection {
    /// Has the connection become a stream by this request when all before has been sent, whatever it said of its end.
    pub(in super::super) fn turn(&mut self, exchange: Exchange) {
        self.phase = Phase::Turning(Box::new(exchange));
    }

    /// The request by which it becomes a stream now.
    pub(in super::super) fn take_turned(&mut self) -> Option<Exchange> {
        if !(self.all_sent() && matches!(self.phase, Phase::Turning(_))) {
            return None;
        }
        match std::mem::replace(&mut self.phase, Phase::Head(HeadReader::default())) {
            Phase::Turning(exchange) => Some(*exchange),
            other => {
                self.phase = other;
                None
            }
        }
    }

    /// Has the connection wait for commands that went apart, and that may block or not.
    pub(in super::super) fn wait_for(&mut self, waiting: Waiting, blocks: bool) {
        self.phase = Phase::Waiting(Box::new(waiting), blocks);
    }

    /// Whether its client has ended its side.
    pub(in super::super) fn has_hung_up(&self) -> bool {
        self.closing || self.ended
    }

    /// Whether its client has hung up on a command that blocks.
    pub(in super::super) fn has_given_up(&self) -> bool {
        matches!(self.phase, Phase::Waiting(_, true)) && self.has_hung_up()
    }

    /// The request whose commands went apart, with their outcomes, once these have come.
    pub(in super::super) fn take_done(&mut self) -> Option<(Box<Waiting>, Vec<Outcome>)> {
        let Phase::Waiting(waiting, _) = &self.phase else {
            return None;
        };
        let outcomes = waiting.take_outcomes()?;
        match std::mem::replace(&mut self.phase, Phase::Head(HeadReader::default())) {
            Phase::Waiting(waiting, _) => Some((waiting, outcomes)),
            other => {
                self.phase = other;
                None
            }
        }
    }
}
