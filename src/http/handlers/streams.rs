//! `/v1/streams`: the entries of Redis streams, as lists and as Server-Sent Events.

use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use serde_json::{Value, json};
use tiny_http::Method;

use super::{channels, fields};
use crate::command::Command;
use crate::http::conditions::refuse_conditions;
use crate::http::negotiate::accepts;
use crate::http::plan::{Plan, unexpected};
use crate::http::problem::Problem;
use crate::http::query::{Query, bad};
use crate::http::request::Request;
use crate::http::response::Response;
use crate::hub::{Begin, EntryId, Format, Shape, Span, Topic};
use crate::reply::Reply;
use crate::reply::fields::{in_pairs, object};

/// What a segment of a path has to encode: all but RFC 3986's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// `/v1/streams/{key}/entries`.
pub(crate) fn entries(request: &Request, key: Bytes) -> Result<Plan, Problem> {
    match request.method {
        Method::Post => append(request, key),
        _ => list(request, key),
    }
}

fn append(request: &Request, key: Bytes) -> Result<Plan, Problem> {
    const WANTED: &str =
        r#"the body must be a JSON object of fields, at least one, such as {"temperature":21.5}"#;
    let mut query = Query::parse(&request.query)?;
    let max_length = query.number("maxlen")?;
    if max_length == Some(0) {
        return Err(bad(
            "maxlen",
            "must be at least 1, or the entry itself would go",
        ));
    }
    let id = query.one("id")?;
    query.finish()?;
    refuse_conditions(&request.headers)?;
    let fields = fields::parse(&request.body, WANTED)?;
    if fields.is_empty() {
        return Err(Problem::new(400, WANTED));
    }
    let mut command = Command::with_capacity("XADD", 5 + 2 * fields.len()).arg(key.clone());
    if let Some(max_length) = max_length {
        command = command.arg("MAXLEN").arg("=").number(max_length);
    }
    command = command.arg(match id {
        None => Bytes::from_static(b"*"),
        // Anything else in its place could be an option of the command.
        Some(id) if is_id(&id) => id,
        Some(_) => return Err(bad("id", "must be such as 1700000000000-0")),
    });
    for (field, value) in fields {
        let Some(value) = value else {
            let name = String::from_utf8_lossy(&field);
            let detail = format!("the field {name:?} is null, which a stream cannot hold");
            return Err(Problem::new(400, detail));
        };
        command = command.arg(field).arg(value);
    }
    Ok(Plan::ask(command, move |reply| match &reply {
        Reply::Bulk(id) if is_id(id) => {
            let id = String::from_utf8_lossy(id);
            let key = percent_encode(&key, RESERVED);
            let location = format!("/v1/streams/{key}/entries?start={id}&end={id}");
            let mut response = Response::json(&json!({"id": id}));
            response.status = 201;
            Ok(response.header("Location", location))
        }
        _ => Err(unexpected(&reply)),
    }))
}

fn is_id(id: &[u8]) -> bool {
    let is_part = |b: &u8| b.is_ascii_digit() || matches!(b, b'-' | b'*');
    !id.is_empty() && id.iter().all(is_part)
}

/// `GET /v1/streams/{key}/events`.
pub(crate) fn events(request: &Request, key: Bytes) -> Result<Plan, Problem> {
    let mut query = Query::parse(&request.query)?;
    let asked = query.one("last_event_id")?;
    let from = query.one("from")?;
    let until_gone = query.word("until", &["gone"])?.is_some();
    query.finish()?;
    let from = match from.as_deref() {
        None | Some(b"$") => Begin::Now,
        Some(id) => match EntryId::parse(id) {
            Some(id) => Begin::Behind(id),
            None => return Err(bad("from", "must be $ or an id such as 1700000000000-0")),
        },
    };
    let last = channels::last_event_id(request, asked.as_deref())?;
    let begin = match &last {
        None => from,
        Some(last) => EntryId::parse(last.as_bytes()).map_or(Begin::Unknown, Begin::Seen),
    };
    let shape = Shape {
        format: Format::Entry,
        named: false,
    };
    let topics = [Topic::Stream(key)];
    let span = Span { begin, until_gone };
    Ok(channels::stream(&topics, shape, last, Some(span)))
}

fn list(request: &Request, key: Bytes) -> Result<Plan, Problem> {
    let mut query = Query::parse(&request.query)?;
    let start = query.one("start")?.unwrap_or(Bytes::from_static(b"-"));
    let end = query.one("end")?.unwrap_or(Bytes::from_static(b"+"));
    let count = query.number("count")?;
    let newest_first = query.flag("rev")?;
    query.finish()?;
    if !accepts(&request.headers, "application/json") {
        return Err(Problem::new(406, "this comes as application/json"));
    }
    let (name, first, last) = if newest_first {
        ("XREVRANGE", end, start)
    } else {
        ("XRANGE", start, end)
    };
    let mut command = Command::with_capacity(name, 5)
        .arg(key)
        .arg(first)
        .arg(last);
    match count {
        None => {}
        Some(0) => return Err(bad("count", "must be at least 1")),
        Some(count) => command = command.arg("COUNT").number(count),
    }
    Ok(Plan::ask(command, |reply| {
        let shown: Option<Vec<Value>> = match &reply {
            Reply::Array(entries) => entries.iter().map(entry).collect(),
            _ => None,
        };
        match shown {
            Some(shown) => Ok(Response::json(&shown.into())),
            None => Err(unexpected(&reply)),
        }
    }))
}

/// An entry, which Redis replies as its id and its fields.
fn entry(reply: &Reply) -> Option<Value> {
    let Reply::Array(parts) = reply else {
        return None;
    };
    let [Reply::Bulk(id), Reply::Array(fields)] = &parts[..] else {
        return None;
    };
    let fields = object(in_pairs(fields)?);
    Some(json!({"id": String::from_utf8_lossy(id), "fields": fields}))
}
