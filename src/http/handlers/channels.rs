//! `/v1/channels` and `/v1/events`: publishing, and listening by Server-Sent Events.

use bytes::Bytes;
use serde_json::json;
use tiny_http::Method;

use crate::command::Command;
use crate::http::negotiate::accepts;
use crate::http::plan::{Listen, Plan, unexpected};
use crate::http::problem::Problem;
use crate::http::query::{Query, bad};
use crate::http::request::Request;
use crate::http::response::Response;
use crate::hub::Shape;
use crate::reply::Reply;

/// Channels that one stream may carry.
const MAX_CHANNELS: usize = 100;

/// `POST /v1/channels/{channel}/messages`.
pub(crate) fn publish(request: &Request, channel: Bytes) -> Result<Plan, Problem> {
    Query::parse(&request.query)?.finish()?;
    let command = Command::publish(channel, request.body.clone());
    Ok(Plan::ask(command, |reply| match reply {
        Reply::Int(receivers) => Ok(Response::json(&json!({"receivers": receivers}))),
        other => Err(unexpected(&other)),
    }))
}

/// `GET /v1/channels/{channel}/events`.
pub(crate) fn events(request: &Request, channel: Bytes) -> Result<Plan, Problem> {
    let query = Query::parse(&request.query)?;
    listen(request, query, &[channel], false)
}

/// `GET /v1/events?channel=…`.
pub(crate) fn events_of_several(request: &Request) -> Result<Plan, Problem> {
    let mut query = Query::parse(&request.query)?;
    let mut channels = query.all("channel");
    channels.sort();
    channels.dedup();
    if channels.is_empty() {
        return Err(bad("channel", "must be given, once for each channel"));
    }
    if channels.len() > MAX_CHANNELS {
        let what = format!("may be given {MAX_CHANNELS} times at most");
        return Err(bad("channel", &what));
    }
    listen(request, query, &channels, true)
}

fn listen(
    request: &Request,
    mut query: Query,
    channels: &[Bytes],
    json_by_default: bool,
) -> Result<Plan, Problem> {
    let json = match query.word("format", &["raw", "json"])? {
        Some(format) => format == "json",
        None => json_by_default,
    };
    let named = query.word("event", &["channel"])?.is_some();
    let asked = query.one("last_event_id")?;
    query.finish()?;
    if !accepts(&request.headers, "text/event-stream") {
        return Err(Problem::new(406, "this comes as text/event-stream"));
    }
    // An EventSource reconnects with the URL it began with: its header is the newer one.
    let last = request.headers.get("Last-Event-ID").or(asked.as_deref());
    let last_event_id = last.map(|id| String::from_utf8_lossy(id).into_owned());
    let head = head();
    if request.method == Method::Head {
        return Ok(Plan::Answer(head));
    }
    // Copies: the names live as long as the stream, and shall not keep all that was received with them.
    let channels = channels
        .iter()
        .map(|name| Bytes::copy_from_slice(name))
        .collect();
    Ok(Plan::Listen(Listen {
        channels,
        shape: Shape { json, named },
        last_event_id,
        head,
    }))
}

/// The head of an event stream. Caches and proxies are told to keep their hands off it; nginx has a header
/// of its own for that.
fn head() -> Response {
    Response::new(200)
        .header("Content-Type", "text/event-stream")
        .header("Cache-Control", "no-store, no-transform")
        .header("X-Accel-Buffering", "no")
        .endless()
}
