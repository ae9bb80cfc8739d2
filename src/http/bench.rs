//! What `cargo bench --bench micro` measures: parts of a request's way that touch nothing but memory. No part of
//! the API.

use bytes::{Bytes, BytesMut};
use tiny_http::HTTPVersion;

use super::command_face;
use super::connection::form_of;
use super::head::{Head, HeadReader, Limits};
use super::plan::Half;
use super::response::{Form, Response};
use super::router::Route;
use super::service::{Admitted, Service};
use crate::reply::Reply;

const LIMITS: Limits = Limits {
    head: 16 * 1024,
    body: 1024 * 1024,
};

fn head_of(received: &[u8]) -> Option<Head> {
    let mut buffer = BytesMut::from(received);
    HeadReader::default()
        .read(&mut buffer, LIMITS)
        .ok()
        .flatten()
}

/// Whether these bytes are a request's head.
#[must_use]
pub fn is_head(received: &[u8]) -> bool {
    head_of(received).is_some()
}

/// Whether a path leads somewhere.
#[must_use]
pub fn is_route(path: &Bytes) -> bool {
    Route::parse(path).is_ok()
}

/// A reply as the command face shows it.
#[must_use]
pub fn reply_to_json(reply: Reply) -> Bytes {
    command_face::to_json(reply)
}

/// Writes a response as HTTP/1.1.
pub fn write(response: Response, out: &mut Vec<u8>) {
    let form = Form {
        version: HTTPVersion(1, 1),
        head_only: false,
        keep_alive: true,
    };
    response.write(out, &form);
}

/// All that happens to a request without a body besides input and output: from its bytes to those of its answer,
/// of which the reply is given. False if it does not ask Redis.
pub fn serve(service: &Service, received: &[u8], reply: Reply, out: &mut Vec<u8>) -> bool {
    let Some(head) = head_of(received) else {
        return false;
    };
    let form = form_of(&head.request, head.keep_alive);
    let context = service.context_of(&head.request);
    let Ok(Admitted::Ask(_, half, _ticket)) = service.plan(&head.request) else {
        return false;
    };
    let Half::Respond(respond) = half else {
        return false;
    };
    let response = respond(vec![Ok(reply)]);
    let response = response.unwrap_or_else(|problem| context.problem(problem));
    context.complete(response).write(out, &form);
    true
}
