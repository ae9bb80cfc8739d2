//! Commands that have a connection of their own, because they may block.
//!
//! Dropping the future closes the connection, and with it ends the command on the server: so a client that
//! hangs up does not leave anything waiting.

use std::time::Duration;

use super::packed::pipeline;
use super::{Outcome, Upstream};
use crate::command::Command;
use crate::error::Error;

/// On top of the time that a command may block: for the way there and back.
const MARGIN: Duration = Duration::from_secs(1);

impl Upstream {
    /// Sends one command over a connection of its own, and waits for its reply for as long as blocking
    /// commands may take.
    ///
    /// The number of such commands is bounded: one too many is [`Error::Full`] at once.
    pub fn send_own(&self, command: &Command) -> impl Future<Output = Outcome> + Send + 'static {
        let permit = std::sync::Arc::clone(&self.shared.blocking).try_acquire_owned();
        let pipeline = pipeline(std::slice::from_ref(command));
        let upstream = self.clone();
        async move {
            let _permit = permit.map_err(|_| Error::Full)?;
            let shared = &upstream.shared;
            let connected = shared.node.connector().connect();
            let connected = tokio::time::timeout(shared.connect_timeout, connected);
            let mut connected = match connected.await {
                Ok(Ok(connected)) => connected,
                Ok(Err(error)) => {
                    tracing::warn!(%error, "cannot connect for a blocking command");
                    return Err(Error::Unreachable);
                }
                Err(_) => return Err(Error::Unreachable),
            };
            // However this ends, the connection ends with it.
            let _guard = AbortOnDrop(connected.driver);
            let reply = connected.connection.send_packed_commands(&pipeline, 0, 1);
            match tokio::time::timeout(shared.blocking_timeout + MARGIN, reply).await {
                Ok(Ok(values)) => match values.into_iter().next() {
                    Some(value) => Ok(value.into()),
                    None => Err(Error::BrokenOff),
                },
                Ok(Err(_)) => Err(Error::BrokenOff),
                Err(_) => Err(Error::TimedOut),
            }
        }
    }
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
