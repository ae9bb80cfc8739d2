//! What every response to a request has to have, whatever its route: an id, what its origin has to be told, and the form in
//! which its face shows errors.

use super::command_face;
use super::origin::Cors;
use super::problem::Problem;
use super::response::Response;

const CACHE_CONTROL: &str = "Cache-Control";

/// What a response depends on besides its route.
#[derive(Debug, Clone)]
pub(super) struct ResponseContext {
    pub(super) request_id: String,
    pub(super) cors: Cors,
    /// On the command face, a token that no other response has.
    pub(super) sync_token: Option<String>,
    /// Whether the request was a GET or a HEAD, so that a cache might store the response.
    pub(super) is_cacheable: bool,
}

impl ResponseContext {
    /// The response with the header fields that every response has.
    pub(super) fn complete(self, response: Response) -> Response {
        let response = response.header("X-Request-Id", self.request_id);
        let response = match self.sync_token {
            Some(token) => response.header("upstash-sync-token", token),
            None => response,
        };
        let mut headers = response.headers.iter();
        let is_said = headers.any(|(name, _)| *name == CACHE_CONTROL);
        let response = if self.is_cacheable && !is_said {
            // Where nothing is said, caches decide themselves for how long (RFC 9111, 4.2.2).
            response.header(CACHE_CONTROL, "no-cache")
        } else {
            response
        };
        self.cors.apply(response)
    }

    /// A problem in the form of the face that the request was for.
    pub(super) fn problem(&self, problem: Problem) -> Response {
        if self.sync_token.is_some() {
            command_face::problem(problem)
        } else {
            problem.into()
        }
    }
}
