//! What has come of the commands of several clients that were sent together.

use std::collections::VecDeque;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::Outcome;
use super::cluster::Dispatch;

/// The commands of several clients, each of which takes its share, in order.
#[derive(Debug)]
pub(crate) struct Sent(State);

#[derive(Debug)]
enum State {
    Done(VecDeque<Outcome>),
    /// Some are still on their way.
    Part(Dispatch),
}

/// One client's share.
pub(crate) enum Share {
    /// An outcome for each of its commands.
    Done(VecDeque<Outcome>),
    /// It has to wait for this.
    Open(BoxFuture<'static, Sent>),
}

impl Sent {
    /// All have their outcomes.
    pub(super) fn done(outcomes: Vec<Outcome>) -> Self {
        Self(State::Done(outcomes.into()))
    }

    /// Perhaps not all of them.
    pub(super) fn part(dispatch: Dispatch) -> Self {
        if dispatch.is_open() {
            Self(State::Part(dispatch))
        } else {
            Self::done(dispatch.outcomes())
        }
    }

    /// Takes off what belongs to the next so many commands.
    pub(crate) fn share(&mut self, count: usize) -> Share {
        match &mut self.0 {
            State::Done(outcomes) => Share::Done(take_first(outcomes, count)),
            State::Part(dispatch) => {
                let own = dispatch.take_next(count);
                if own.is_open() {
                    Share::Open(own.finish().map(Self::done).boxed())
                } else {
                    Share::Done(own.outcomes().into())
                }
            }
        }
    }
}

/// Takes off the first outcomes, so many or all that there are.
pub(crate) fn take_first(outcomes: &mut VecDeque<Outcome>, count: usize) -> VecDeque<Outcome> {
    if count >= outcomes.len() {
        return std::mem::take(outcomes);
    }
    let mut first = VecDeque::with_capacity(count);
    first.extend(outcomes.drain(..count));
    first
}
