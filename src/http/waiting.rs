//! A request whose commands were sent apart from those of others, while its HTTP connection is at rest.
//!
//! The connection waits in the table like any other: no thread is held, and it is noticed if the client hangs up. When
//! the outcomes are there they are left here, and the connection is looked at again. If the client hangs up first, this
//! is dropped, and with it the connection to Redis of a command that may block. Other commands are under way on a shared
//! connection all the same: they are counted, and hold their memory, until they have been answered.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use super::exchange::Asker;
use super::plan::{Apart, Half, Lane};
use crate::upstream::{Outcome, Ticket};

pub(super) struct Waiting {
    asker: Asker,
    half: Half,
    outcomes: Arc<Mutex<Option<Vec<Outcome>>>>,
    /// Ends the commands with this, if they may block; `None` if they may not.
    blocking: Option<AbortOnDrop>,
}

struct AbortOnDrop(AbortHandle);

impl Waiting {
    /// Runs what a request has asked for apart from others; `commands` gives the outcomes. `arrived` is called, on a
    /// thread of the runtime, when they are there.
    pub(super) fn start(
        mut asker: Asker,
        apart: Apart,
        ticket: Ticket,
        commands: impl Future<Output = Vec<Outcome>> + Send + 'static,
        arrived: impl FnOnce() + Send + 'static,
        runtime: &Handle,
    ) -> Self {
        let Apart { lane, half, .. } = apart;
        let outcomes = Arc::new(Mutex::new(None));
        let place = Arc::clone(&outcomes);
        let held = match half {
            Half::Respond(_) => std::mem::take(&mut asker.held),
            // The second round holds the memory.
            Half::Decide(_) => Vec::new(),
        };
        let task = runtime.spawn(async move {
            let arrived_with = commands.await;
            ticket.note(&arrived_with);
            // Before the client can be answered.
            drop((ticket, held));
            *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(arrived_with);
            arrived();
        });
        Self {
            asker,
            half,
            outcomes,
            // Only what may block is given up with its client. All else runs anyway, and may have been sent by a client
            // that has closed no more than its sending side.
            blocking: (lane == Lane::Own).then(|| AbortOnDrop(task.abort_handle())),
        }
    }

    /// Whether the commands may block. Then they end when this is dropped.
    pub(super) fn may_block(&self) -> bool {
        self.blocking.is_some()
    }

    /// What is needed to answer.
    pub(super) fn into_parts(self) -> (Asker, Half) {
        (self.asker, self.half)
    }

    /// The outcomes, once they are there.
    pub(super) fn take_outcomes(&self) -> Option<Vec<Outcome>> {
        let mut outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        outcomes.take()
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
