//! A request whose commands went apart from those of others, while its HTTP connection is at rest.
//!
//! The connection waits in the table like any other: no thread is held, and its hang-up is seen. A result that
//! comes is left here, and the connection put up to be looked at. If the client hangs up first, this is
//! dropped, and with it the connection to Redis of a command that may block. Other commands are on their way over a
//! shared connection all the same: they count, and hold their memory, until they have been answered.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use super::exchange::Asker;
use super::plan::Half;
use crate::upstream::{Outcome, Ticket};

pub(super) struct Waiting {
    pub(super) asker: Asker,
    half: Half,
    outcomes: Arc<Mutex<Option<Vec<Outcome>>>>,
    _task: Option<EndedOnDrop>,
}

/// Ends the command with whoever waits for it.
struct EndedOnDrop(AbortHandle);

impl Waiting {
    /// Starts the commands, which end with this if they may block. `arrived` is called, on a thread of the runtime, when
    /// there is an outcome.
    pub(super) fn start(
        mut asker: Asker,
        half: Half,
        ticket: Ticket,
        blocks: bool,
        commands: impl Future<Output = Vec<Outcome>> + Send + 'static,
        arrived: impl FnOnce() + Send + 'static,
        runtime: &Handle,
    ) -> Self {
        let outcomes = Arc::new(Mutex::new(None));
        let place = Arc::clone(&outcomes);
        let held = match half {
            Half::Respond(_) => std::mem::take(&mut asker.held),
            // It is the commands that come then which hold it.
            Half::Decide(_) => Vec::new(),
        };
        let task = runtime.spawn(async move {
            let arrived_with = commands.await;
            ticket.note(&arrived_with);
            // Before anybody is told.
            drop((ticket, held));
            *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(arrived_with);
            arrived();
        });
        Self {
            asker,
            half,
            outcomes,
            _task: blocks.then(|| EndedOnDrop(task.abort_handle())),
        }
    }

    /// What is needed to answer.
    pub(super) fn into_parts(self) -> (Asker, Half) {
        (self.asker, self.half)
    }

    /// The outcome, once it has come.
    pub(super) fn take_outcomes(&self) -> Option<Vec<Outcome>> {
        let mut outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        outcomes.take()
    }
}

impl Drop for EndedOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
