//! Where panics end: at the request or the connection that caused them.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::event_loop::Shared;
use super::plan::Respond;
use super::problem::Problem;
use super::response::Response;
use super::response_context::ResponseContext;
use crate::upstream::Outcome;

/// Takes a request through a half of its route. A panic in it is that request's 500, and nobody else's.
pub(super) fn contain_in_request<T>(
    context: &ResponseContext,
    half: impl FnOnce() -> Result<T, Problem>,
) -> Result<T, Problem> {
    catch_unwind(AssertUnwindSafe(half)).unwrap_or_else(|_| {
        tracing::error!(
            request = context.request_id,
            "a request made the gateway panic"
        );
        Err(Problem::defect())
    })
}

/// The response that the second half of a route makes of its outcomes.
pub(super) fn respond_to(
    context: &ResponseContext,
    respond: Respond,
    outcomes: Vec<Outcome>,
) -> Response {
    let responded = contain_in_request(context, || respond(outcomes));
    responded.unwrap_or_else(|problem| context.problem(problem))
}

/// Takes a step of the work on a connection outside the routes. A panic in it ends that connection, and no other; then this
/// is `None`.
pub(super) fn contain_in_connection<T>(
    shared: &Shared,
    key: usize,
    step: impl FnOnce() -> T,
) -> Option<T> {
    let done = catch_unwind(AssertUnwindSafe(step));
    if done.is_err() {
        tracing::error!("a connection made the gateway panic");
        shared.table.remove(key);
    }
    done.ok()
}
