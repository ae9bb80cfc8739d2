//! Looks at streams: what a server says of them, and whether one that it does not have is gone for good.
//!
//! A server that does not have a stream may be a replica that has not got it yet, and entries that were added
//! before the stream was deleted may still be on their way. So where it matters, what is absent is looked at again
//! after a moment, and only a master is believed. On a Cluster a replica answers by naming its master.

use std::time::Duration;

use bytes::Bytes;

use super::EntryId;
use super::xinfo::{Presence, State};
use crate::command::Command;
use crate::hub::SubscriberId;
use crate::hub::fanout::ChannelKey;
use crate::reply::{Reply, ServerError};
use crate::upstream::{Outcome, Upstream, role};

/// Between the two looks at a stream that is absent: what was added to it has been read by then.
const SETTLING: Duration = Duration::from_millis(100);

/// A look at a stream.
#[derive(Debug, Clone)]
pub(super) struct Look {
    pub(super) key: Bytes,
    /// Where its reading is.
    pub(super) asked_at: EntryId,
    /// Whether it matters that it is gone.
    pub(super) until_gone: bool,
    /// Who waits for it.
    pub(super) checks: Vec<Check>,
}

/// Somebody who waits to know whether a stream is gone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Check {
    pub(super) channel: ChannelKey,
    pub(super) subscriber: SubscriberId,
}

/// What a look shows: a stream's state, an error if it cannot be read, and none if that may change.
pub(super) type Seen = Result<State, Option<ServerError>>;

/// Looks at streams, all at once.
pub(super) async fn look_at(upstream: &Upstream, looks: &[Look]) -> Vec<Seen> {
    let ask = |keys: &[&Bytes]| keys.iter().map(|key| state_of(key)).collect::<Vec<_>>();
    let keys: Vec<_> = looks.iter().map(|look| &look.key).collect();
    let outcomes = upstream.send(&ask(&keys)).await;
    let mut seen: Vec<_> = outcomes.into_iter().map(read_state).collect();
    let is_absent = |state: &Seen| matches!(state, Ok(state) if state.presence == Presence::Absent);
    let looks = looks.iter().zip(&mut seen);
    let (keys, absent): (Vec<_>, Vec<_>) = looks
        .filter(|(look, state)| look.until_gone && is_absent(state))
        .map(|(look, state)| (&look.key, state))
        .unzip();
    if keys.is_empty() {
        return seen;
    }
    tokio::time::sleep(SETTLING).await;
    let mut commands = ask(&keys);
    let mut is_master = upstream.is_cluster();
    if !is_master {
        commands.insert(0, role::question());
    }
    let mut outcomes = upstream.send(&commands).await.into_iter();
    if !is_master {
        is_master = outcomes.next().is_some_and(|role| says_master(&role));
    }
    for (state, outcome) in absent.into_iter().zip(outcomes) {
        *state = read_state(outcome);
        if let Ok(state) = state
            && state.presence == Presence::Absent
            && is_master
        {
            state.presence = Presence::Gone;
        }
    }
    seen
}

fn says_master(answer: &Outcome) -> bool {
    let Ok(answer) = answer else {
        return false;
    };
    role::is_master(answer).unwrap_or_else(|error| {
        tracing::warn!(%error, "streams are not found to be gone: the user may not ask for the server's ROLE");
        false
    })
}

/// Asks what there is to know of a stream.
pub(super) fn state_of(key: &Bytes) -> Command {
    Command::new("XINFO").arg("STREAM").arg(key.clone())
}

/// What was said of a stream.
pub(super) fn read_state(outcome: Outcome) -> Seen {
    match outcome {
        Ok(Reply::Error(error)) => match error.code() {
            "ERR" if error.detail() == "no such key" => Ok(State::absent()),
            "ERR" | "NOPERM" | "WRONGTYPE" => Err(Some(error)),
            _ => Err(None),
        },
        Ok(reply) => State::parse(&reply).ok_or(None),
        Err(_) => Err(None),
    }
}
