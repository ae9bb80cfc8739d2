//! `/v1/channels` and `/v1/events`: publishing, and listening by Server-Sent Events, on the latter also to streams.

use bytes::Bytes;
use serde_json::json;

use crate::command::Command;
use crate::http::conditions::refuse_conditions;
use crate::http::negotiate::accepts;
use crate::http::plan::{Listen, Plan, unexpected};
use crate::http::problem::Problem;
use crate::http::query::{Query, bad};
use crate::http::request::Request;
use crate::http::response::Response;
use crate::hub::{Format, Shape, Span, Topic};
use crate::reply::Reply;

/// `POST /v1/channels/{channel}/messages`.
pub(crate) fn publish(request: &Request, channel: Bytes) -> Result<Plan, Problem> {
    let mut query = Query::parse(&request.query)?;
    let sharded = query.flag("sharded")?;
    query.finish()?;
    refuse_conditions(&request.headers)?;
    let message = request.body.clone();
    let command = if sharded {
        Command::new("SPUBLISH").arg(channel).arg(message)
    } else {
        Command::publish(channel, message)
    };
    Ok(Plan::ask(command, |reply| match reply {
        Reply::Int(receivers) => Ok(Response::json(&json!({"receivers": receivers}))),
        other => Err(unexpected(&other)),
    }))
}

/// `GET /v1/channels/{channel}/events`.
pub(crate) fn events(request: &Request, channel: Bytes) -> Result<Plan, Problem> {
    let mut query = Query::parse(&request.query)?;
    let topic = kind(query.flag("sharded")?)(channel);
    listen(request, &[topic], &Form::take(query, Format::Raw)?)
}

/// `GET /v1/events?channel=…`, with this many channels, patterns and streams at most.
pub(crate) fn events_of_several(request: &Request, max_topics: usize) -> Result<Plan, Problem> {
    let mut query = Query::parse(&request.query)?;
    let sharded = query.flag("sharded")?;
    let patterns = query.all("pattern");
    if sharded && !patterns.is_empty() {
        return Err(bad("pattern", "does not go with sharded channels"));
    }
    let channels = query.all("channel").into_iter().map(kind(sharded));
    let patterns = patterns.into_iter().map(Topic::Pattern);
    let streams = query.all("stream").into_iter().map(Topic::Stream);
    let mut topics: Vec<_> = channels.chain(patterns).chain(streams).collect();
    topics.sort();
    topics.dedup();
    // First of all what is not known: it may be one of them, misspelt.
    let form = Form::take(query, Format::Json)?;
    if topics.is_empty() {
        return Err(bad(
            "channel",
            "must be given, once for each channel, or pattern, or stream",
        ));
    }
    if topics.len() > max_topics {
        let what = format!("may be given {max_topics} times at most, with pattern and stream");
        return Err(bad("channel", &what));
    }
    listen(request, &topics, &form)
}

/// What is listened to by the name of a channel.
fn kind(sharded: bool) -> fn(Bytes) -> Topic {
    if sharded {
        Topic::Sharded
    } else {
        Topic::Channel
    }
}

/// What a query says of an event stream besides what is listened to.
struct Form {
    shape: Shape,
    last_event_id: Option<Bytes>,
}

impl Form {
    /// Takes the rest of a query.
    fn take(mut query: Query, default: Format) -> Result<Self, Problem> {
        let format = match query.word("format", &["raw", "json"])? {
            Some("raw") => Format::Raw,
            Some(_) => Format::Json,
            None => default,
        };
        let named = query.word("event", &["channel"])?.is_some();
        let last_event_id = query.one("last_event_id")?;
        if query.one("until")?.is_some() {
            return Err(bad(
                "until",
                "is for /v1/streams/{key}/events alone: a channel is never gone",
            ));
        }
        query.finish()?;
        Ok(Self {
            shape: Shape { format, named },
            last_event_id,
        })
    }
}

fn listen(request: &Request, topics: &[Topic], form: &Form) -> Result<Plan, Problem> {
    let last_event_id = last_event_id(request, form.last_event_id.as_deref())?;
    Ok(stream(topics, form.shape, last_event_id, None))
}

/// Where the server has no sharded channels: it is asked for one without a name, and says so itself.
pub(crate) fn no_sharded() -> Plan {
    Plan::ask(Command::new("SSUBSCRIBE"), |reply| Err(unexpected(&reply)))
}

/// The id of the last event that the client has seen, if it says so. Whether it takes an event stream at all.
pub(crate) fn last_event_id(
    request: &Request,
    asked: Option<&[u8]>,
) -> Result<Option<String>, Problem> {
    if !accepts(&request.headers, "text/event-stream") {
        return Err(Problem::new(406, "this comes as text/event-stream"));
    }
    // An EventSource reconnects with the URL it began with: its header is the newer one.
    let last = request.headers.get("Last-Event-ID").or(asked);
    let last = last.map(|id| String::from_utf8_lossy(id).into_owned());
    Ok(last.filter(|last| !last.is_empty()))
}

/// An event stream.
pub(crate) fn stream(
    topics: &[Topic],
    shape: Shape,
    last_event_id: Option<String>,
    span: Option<Span>,
) -> Plan {
    // Copies: the names live as long as the stream, and shall not keep all that was received with them.
    let copy = |name: &Bytes| Bytes::copy_from_slice(name);
    let topics = topics.iter().map(|topic| match topic {
        Topic::Channel(name) => Topic::Channel(copy(name)),
        Topic::Pattern(name) => Topic::Pattern(copy(name)),
        Topic::Sharded(name) => Topic::Sharded(copy(name)),
        Topic::Stream(key) => Topic::Stream(copy(key)),
    });
    Plan::Listen(Listen {
        topics: topics.collect(),
        shape,
        last_event_id,
        span,
        head: head(),
    })
}

/// The head of an event stream. Caches and proxies are told to keep their hands off it; nginx has a header
/// of its own for that.
pub(crate) fn head() -> Response {
    Response::new(200)
        .header("Content-Type", "text/event-stream")
        .header("Cache-Control", "no-store, no-transform")
        .header("X-Accel-Buffering", "no")
        .endless()
}
