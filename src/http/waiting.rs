//! A request whose command blocks on a connection of its own, while its HTTP connection is at rest.
//!
//! The connection waits in the table like any other: no thread is held, and its hang-up is seen. A result that
//! comes is left here, and the connection put up to be looked at. If the client hangs up first, this is
//! dropped, and with it the command's connection to Redis.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use super::plan::Respond;
use super::response::Form;
use super::service::Trim;
use crate::upstream::{Outcome, Ticket};

pub(super) struct Waiting {
    pub(super) form: Form,
    trim: Trim,
    respond: Respond,
    outcome: Arc<Mutex<Option<Outcome>>>,
    _task: EndedOnDrop,
    _ticket: Ticket,
}

/// Ends the command with whoever waits for it.
struct EndedOnDrop(AbortHandle);

impl Waiting {
    /// Starts the command. `arrived` is called, on a thread of the runtime, when there is an outcome.
    pub(super) fn start(
        (form, trim, respond, ticket): (Form, Trim, Respond, Ticket),
        command: impl Future<Output = Outcome> + Send + 'static,
        arrived: impl FnOnce() + Send + 'static,
        runtime: &Handle,
    ) -> Self {
        let outcome = Arc::new(Mutex::new(None));
        let place = Arc::clone(&outcome);
        let task = runtime.spawn(async move {
            let outcome = command.await;
            *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
            arrived();
        });
        Self {
            form,
            trim,
            respond,
            outcome,
            _task: EndedOnDrop(task.abort_handle()),
            _ticket: ticket,
        }
    }

    /// What is needed to answer.
    pub(super) fn into_parts(self) -> (Form, Trim, Respond) {
        (self.form, self.trim, self.respond)
    }

    /// The outcome, once it has come.
    pub(super) fn take_outcome(&self) -> Option<Outcome> {
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        outcome.take()
    }
}

impl Drop for EndedOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
