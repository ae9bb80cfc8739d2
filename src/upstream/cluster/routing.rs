//! What has to be sent where: a pipeline's commands, each with the node or nodes that it is for, and what
//! their replies come to.

use bytes::Bytes;

use super::redirect::Redirect;
use super::slot::slot_of;
use super::slot_map::{Member, SlotMap};
use crate::command::Command;
use crate::error::Error;
use crate::reply::Reply;
use crate::upstream::Outcome;
use crate::upstream::classes::Classes;
use crate::upstream::command_lists::SCRIPTS;
use crate::upstream::policies::{RequestPolicy, ResponsePolicy};

/// One command, or a transaction from MULTI to EXEC, which only one node can run.
#[derive(Debug)]
pub(in crate::upstream) struct Errand {
    /// Its commands, by their places in the pipeline.
    pub(super) places: std::ops::Range<usize>,
    pub(super) to: To,
    /// Whether it is a script, which is sent as a transaction of its own: a script can reply what it likes, but
    /// whatever it is stands among the replies to EXEC, and what the node itself says does not.
    is_script: bool,
    /// Where it was sent instead, if it was.
    pub(super) redirect: Option<Redirect>,
    /// From each node it was sent to, one for each command that it was sent.
    pub(super) replies: Vec<Outcome>,
}

/// What nodes an errand is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum To {
    /// The one that has this slot.
    Slot(u16),
    /// Any.
    Any,
    /// All, and their replies are gathered.
    All(ResponsePolicy),
    /// The one that its cursor leads to: SCAN.
    Cursor,
    /// None: its keys are in different slots.
    Nowhere,
}

/// The errands of a pipeline, in order.
pub(super) fn errands(commands: &[Command], classes: &Classes) -> Vec<Errand> {
    let mut errands = Vec::with_capacity(commands.len());
    let mut rest = 0..commands.len();
    while let Some(first) = rest.next() {
        let mut places = first..first + 1;
        let is_script = SCRIPTS.contains(&commands[first].name());
        let to = if commands[first].name() == "MULTI" {
            let behind = commands[first..]
                .iter()
                .position(|command| command.name() == "EXEC");
            places.end = behind.map_or(commands.len(), |exec| first + exec + 1);
            rest.start = places.end;
            transaction(&commands[places.clone()], classes)
        } else {
            command(&commands[first], classes)
        };
        errands.push(Errand {
            places,
            is_script: is_script && matches!(to, To::Slot(_)),
            to,
            redirect: None,
            replies: Vec::with_capacity(1),
        });
    }
    errands
}

/// The slot of a command, if it has a key.
pub(super) fn slot(command: &Command, classes: &Classes) -> Option<u16> {
    classes.first_key(command).map(|key| slot_of(key))
}

fn command(command: &Command, classes: &Classes) -> To {
    match classes.request_policy(command) {
        RequestPolicy::All(policy) => To::All(policy),
        RequestPolicy::Cursor => To::Cursor,
        RequestPolicy::One => slot(command, classes).map_or(To::Any, To::Slot),
    }
}

fn transaction(commands: &[Command], classes: &Classes) -> To {
    let mut slots = commands.iter().filter_map(|command| slot(command, classes));
    match slots.next() {
        None => To::Any,
        Some(first) if slots.all(|slot| slot == first) => To::Slot(first),
        Some(_) => To::Nowhere,
    }
}

impl Errand {
    /// The same with so many more commands before its own.
    pub(in crate::upstream) fn behind(mut self, count: usize) -> Self {
        self.places = self.places.start + count..self.places.end + count;
        self
    }

    /// The node that it goes to, if it is for one; where it was redirected to does not count.
    pub(super) fn member<'a>(
        &self,
        slot_map: &'a SlotMap,
        commands: &[Command],
    ) -> Option<&'a Member> {
        match self.to {
            To::Slot(slot) => slot_map.owner(slot),
            To::Any => slot_map.any(),
            To::Cursor => match Cursor::of(&commands[self.places.start], slot_map) {
                Some(cursor) => slot_map.masters().get(cursor.node),
                None => slot_map.any(),
            },
            To::All(_) | To::Nowhere => None,
        }
    }

    /// The commands as the node has to be sent them.
    pub(super) fn worded(&self, slot_map: &SlotMap, commands: &[Command]) -> Vec<Command> {
        let mut worded = commands[self.places.clone()].to_vec();
        if self.to == To::Cursor
            && let Some(command) = worded.first_mut()
            && let Some(cursor) = Cursor::of(command, slot_map)
        {
            command.set_arg(0, cursor.of_node.to_string().into());
        }
        if self.is_script {
            worded.insert(0, Command::new("MULTI"));
            worded.push(Command::new("EXEC"));
        }
        worded
    }

    /// Where it has to be sent instead, if the replies say so.
    pub(super) fn redirected(&self) -> Option<Redirect> {
        let To::Slot(slot) = self.to else {
            return None;
        };
        if self.is_script && matches!(self.replies.first(), Some(Ok(Reply::Error(_)))) {
            // MULTI was refused, so the next reply may be the script's own.
            return None;
        }
        let replies = self.replies.iter().filter_map(|reply| reply.as_ref().ok());
        let mut redirects = replies.filter_map(Redirect::of);
        redirects.find(|redirect| redirect.is_about(slot))
    }

    /// Takes this instead of what the node would have replied. A transaction is told so at its end: it has not
    /// begun to run.
    pub(super) fn take_unsent(&mut self, outcome: Outcome) {
        let around = if self.is_script { 2 } else { 0 };
        let before = match &outcome {
            Ok(_) => Ok(Reply::Status(Bytes::from_static(b"QUEUED"))),
            Err(error) => Err(error.clone()),
        };
        self.replies = vec![before; self.places.len() + around - 1];
        self.replies.push(outcome);
    }

    /// One outcome for each of its commands.
    pub(super) fn outcomes(self, slot_map: &SlotMap, commands: &[Command]) -> Vec<Outcome> {
        match self.to {
            To::Slot(_) if self.is_script => vec![script_outcome(self.replies)],
            To::Slot(_) | To::Any | To::Nowhere => self.replies,
            To::All(policy) => {
                let replies: Result<Vec<_>, _> = self.replies.into_iter().collect();
                vec![replies.map(|replies| policy.gather(replies))]
            }
            To::Cursor => {
                let cursor = Cursor::of(&commands[self.places.start], slot_map);
                let replies = self.replies.into_iter();
                let forth = |reply| match &cursor {
                    Some(cursor) => cursor.forth(reply),
                    None => reply,
                };
                replies.map(|reply| reply.map(forth)).collect()
            }
        }
    }
}

/// What a script came to, from the replies to MULTI, the script and EXEC.
fn script_outcome(replies: Vec<Outcome>) -> Outcome {
    let mut replies = replies.into_iter();
    let (Some(begun), Some(queued), Some(done)) = (replies.next(), replies.next(), replies.next())
    else {
        return Err(Error::BrokenOff);
    };
    match (begun?, queued?, done?) {
        // It was not run, or, where MULTI was refused, as if there were no transaction.
        (Reply::Error(_), alone, _) | (_, alone @ Reply::Error(_), _) => Ok(alone),
        (_, _, Reply::Array(mut all)) => all.pop().ok_or(Error::BrokenOff),
        (_, _, refused) => Ok(refused),
    }
}

/// A cursor of SCAN over all nodes: that of a node, times the number of nodes, plus the number of this one.
struct Cursor {
    node: usize,
    nodes: usize,
    of_node: u128,
}

impl Cursor {
    /// The cursor in a SCAN. `None` if it has none, or there are no nodes: then Redis says what is wrong.
    fn of(command: &Command, slot_map: &SlotMap) -> Option<Self> {
        let cursor = std::str::from_utf8(command.args().first()?).ok()?;
        let cursor: u128 = cursor.parse().ok()?;
        let nodes = slot_map.masters().len();
        let count = u128::try_from(nodes).ok().filter(|count| *count > 0)?;
        Some(Self {
            node: usize::try_from(cursor % count).ok()?,
            nodes,
            of_node: cursor / count,
        })
    }

    /// A node's reply with the cursor that leads on: at the node, or at the next one.
    fn forth(&self, reply: Reply) -> Reply {
        let Reply::Array(mut parts) = reply else {
            return reply;
        };
        if let Some(Reply::Bulk(cursor)) = parts.first_mut()
            && let Some(of_node) = std::str::from_utf8(cursor)
                .ok()
                .and_then(|c| c.parse::<u128>().ok())
        {
            let done = of_node == 0;
            let node = if done { self.node + 1 } else { self.node };
            let on = if node == self.nodes {
                0
            } else {
                // No node's cursor has more than 64 bits.
                of_node * self.nodes as u128 + node as u128
            };
            *cursor = on.to_string().into();
        }
        Reply::Array(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_is_one_errand_and_others_can_come_before_it() {
        let named = ["MULTI", "GET", "EXEC", "GET"].map(Command::new);
        let errands = errands(&named, &Classes::default());
        let places = errands.into_iter().map(|errand| errand.behind(5).places);
        assert_eq!(places.collect::<Vec<_>>(), [5..8, 8..9]);
    }
}
