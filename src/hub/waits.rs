//! Waits in a `select!` for what may not be there: then they last for ever.

use std::future::Future;

use tokio::time::Instant;

/// Waits until an instant, if there is one.
pub(super) async fn sleep_until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// Waits for what comes of something under way, if there is anything. Nothing is lost when the wait is given up.
pub(super) async fn finished<F: Future + Unpin>(under_way: &mut Option<F>) -> F::Output {
    match under_way {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}
