//! Whether a connection should lead elsewhere by now, because the server it leads to is no longer the right one.

use std::pin::Pin;

use tokio::sync::watch::error::RecvError;

/// What tells so.
pub struct FailoverWatch(State);

enum State {
    /// A server that does not move.
    Fixed,
    Until(Pin<Box<dyn Future<Output = ()> + Send + Sync>>),
    Moved,
}

impl FailoverWatch {
    /// Of a connection to a server that does not move.
    pub(super) fn fixed() -> Self {
        Self(State::Fixed)
    }

    /// Of a connection that is good until this future resolves.
    ///
    /// An error means that nobody looks any more: then it is good for ever.
    pub(super) fn until(
        moved: impl Future<Output = Result<(), RecvError>> + Send + Sync + 'static,
    ) -> Self {
        Self(State::Until(Box::pin(async move {
            if moved.await.is_err() {
                std::future::pending().await
            }
        })))
    }

    /// Resolves when the server is elsewhere. Nothing is lost when the wait is given up.
    pub async fn moved(&mut self) {
        match &mut self.0 {
            State::Fixed => std::future::pending().await,
            State::Until(moved) => {
                moved.await;
                self.0 = State::Moved;
            }
            State::Moved => {}
        }
    }
}

impl std::fmt::Debug for FailoverWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = match &self.0 {
            State::Fixed => "Fixed",
            State::Until(_) => "Until",
            State::Moved => "Moved",
        };
        f.debug_tuple("FailoverWatch").field(&state).finish()
    }
}
