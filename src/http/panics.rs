//! Where panics end: at the request or the connection that caused them.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::event_loop::Shared;
use super::plan::Respond;
use super::problem::Problem;
use super::response::Response;
use super::response_context::ResponseContext;
use crate::upstream::Outcome;

/// Keeps a panic to the request that caused it.
pub(super) fn unwinding<T>(
    context: &ResponseContext,
    half: impl FnOnce() -> T,
) -> Result<T, Problem> {
    catch_unwind(AssertUnwindSafe(half)).map_err(|_| {
        tracing::error!(
            request = context.request_id,
            "a request made the gateway panic"
        );
        Problem::defect()
    })
}

/// What the second half of a request's way makes of its outcomes.
pub(super) fn respond_to(
    context: &ResponseContext,
    respond: Respond,
    outcomes: Vec<Outcome>,
) -> Response {
    let responded = unwinding(context, || respond(outcomes)).unwrap_or_else(Err);
    responded.unwrap_or_else(|problem| context.problem(problem))
}

/// Keeps a panic outside the routes to the connection that caused it, which ends.
pub(super) fn guarded<T>(shared: &Shared, key: usize, step: impl FnOnce() -> T) -> Option<T> {
    let done = catch_unwind(AssertUnwindSafe(step));
    if done.is_err() {
        tracing::error!("a connection made the gateway panic");
        shared.table.remove(key);
    }
    done.ok()
}
