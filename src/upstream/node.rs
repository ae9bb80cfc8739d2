//! One Redis server, and the connections to it that everybody shares.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::command_table::CommandTable;
use super::connector::Connector;
use super::demotion::Demotion;
use super::failure::LastWords;
use super::link::{Link, Live};
use super::pipe::{Late, Pump};
use super::{NodeNumber, Outcome, Packed};
use crate::error::Error;

/// A server that commands are sent to.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) number: NodeNumber,
    connector: Connector,
    common: Link,
    /// `None` with the embedded server, which has no scripts.
    guarded: Option<Link>,
    bulky: Link,
    demotion: Arc<Demotion>,
    /// What the replies to one pipeline may take of memory.
    room: usize,
}

/// What a server may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Of time, to be connected to.
    pub(super) connect_timeout: Duration,
    /// Of memory, in bytes, for the replies to one pipeline.
    pub(super) room: usize,
}

/// Which of the shared connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    /// The one for nearly all commands.
    Common,
    /// The one for scripts.
    Guarded,
    /// The one for what is large.
    Bulky,
}

impl Line {
    pub(super) const ALL: [Self; 3] = [Self::Common, Self::Guarded, Self::Bulky];
}

/// Which connections there are, by their numbers: as long as these are the same, so is the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Connections {
    common: u64,
    guarded: Option<u64>,
    bulky: u64,
}

#[cfg(test)]
impl Connections {
    /// Those of these numbers.
    pub(super) fn numbered(common: u64, guarded: u64, bulky: u64) -> Self {
        let guarded = Some(guarded);
        Self {
            common,
            guarded,
            bulky,
        }
    }
}

impl Node {
    /// Starts the tasks that keep the connections. What the server says of its commands goes to `command_table`.
    pub(super) fn start(
        connector: Connector,
        limits: Limits,
        command_table: &Arc<CommandTable>,
    ) -> Self {
        let last_words = Arc::new(LastWords::default());
        let link = |command_table| {
            let last_words = Arc::clone(&last_words);
            let limit = limits.connect_timeout;
            Link::start(connector.clone(), limit, command_table, last_words)
        };
        Self {
            number: NodeNumber::next(),
            common: link(Some(Arc::clone(command_table))),
            guarded: match &connector {
                Connector::Embedded(_) => None,
                Connector::Redis(_) => Some(link(None)),
            },
            bulky: link(None),
            demotion: Demotion::new(connector.clone(), limits.connect_timeout),
            room: limits.room,
            connector,
        }
    }

    /// Resolves when the first attempts to connect have succeeded or failed.
    pub(super) async fn tried(&self) {
        self.common.tried().await;
        if let Some(guarded) = &self.guarded {
            guarded.tried().await;
        }
        self.bulky.tried().await;
    }

    /// The way to further connections.
    pub(super) fn connector(&self) -> &Connector {
        &self.connector
    }

    /// Whether there is a connection at the moment.
    pub(super) fn is_live(&self) -> bool {
        self.common.live().is_some()
    }

    /// What becomes of a command for which there is no connection.
    pub(super) fn unsent(&self) -> Outcome {
        self.common.unsent()
    }

    /// Which connections there are at the moment; `None` while one is lacking.
    pub(super) fn connections(&self) -> Option<Connections> {
        let guarded = match &self.guarded {
            Some(guarded) => Some(guarded.number()?),
            None => None,
        };
        Some(Connections {
            common: self.common.number()?,
            guarded,
            bulky: self.bulky.number()?,
        })
    }

    /// The connection for commands of this kind, if it is there.
    fn way(&self, line: Line) -> (&Link, Option<Live>) {
        let own = match (line, &self.guarded) {
            (Line::Guarded, Some(guarded)) => guarded,
            (Line::Bulky, _) => &self.bulky,
            _ => &self.common,
        };
        let live = own.live();
        let other = match (line, &live) {
            // Nobody knew that this reply would be large.
            (Line::Common, Some(live)) if live.pipe.is_laden() => &self.bulky,
            (Line::Bulky, None) => &self.common,
            _ => return (own, live),
        };
        match other.live() {
            Some(free) if !free.pipe.is_laden() || live.is_none() => (other, Some(free)),
            _ => (own, live),
        }
    }

    /// Sends commands as one pipeline, in order; gives one outcome for each, in the same order, within this
    /// time. They are on their way when this returns, before the future is looked at.
    pub(super) fn send(
        &self,
        line: Line,
        packed: Packed,
        limit: Duration,
    ) -> impl Future<Output = Vec<Outcome>> + Send + 'static {
        let (pump, outcomes) = self.send_pumped(line, packed, limit);
        drop(pump);
        outcomes
    }

    /// The same, for a thread that waits for the outcomes: it can read the replies itself.
    pub(super) fn send_pumped(
        &self,
        line: Line,
        packed: Packed,
        limit: Duration,
    ) -> (
        Pump,
        impl Future<Output = Vec<Outcome>> + Send + 'static + use<>,
    ) {
        let count = packed.count;
        let (link, live) = self.way(line);
        let sent = live.and_then(|live| {
            let by = Instant::now() + limit;
            let (replies, pump) = live.pipe.send(packed, by, self.room)?;
            Some((replies, pump, live))
        });
        let (pump, sent) = match sent {
            Some((replies, pump, live)) => (pump, Ok((replies, live))),
            None => (Pump::idle(), Err(link.unsent())),
        };
        let (complaints, demotion) = (link.complaints(), Arc::clone(&self.demotion));
        let outcomes = async move {
            let (replies, live) = match sent {
                Ok(sent) => sent,
                Err(outcome) => return vec![outcome; count],
            };
            let failure = match replies.await {
                Ok(Ok(replies)) => {
                    demotion.notice(&live.pipe, replies.iter().flatten());
                    return replies;
                }
                Ok(Err(Late)) => Error::TimedOut,
                Err(_) => Error::BrokenOff,
            };
            complaints.suspect(live.number);
            vec![Err(failure); count]
        };
        (pump, outcomes)
    }
}
