//! `/v1/keys`: string values by key, their expiry, and the listing.

use std::borrow::Cow;

use bytes::Bytes;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use tiny_http::Method;

use super::values::{entity_tag, raw};
use super::{compare, fields};
use crate::command::{Command, Expiry};
use crate::http::conditions::{Conditions, refuse_conditions};
use crate::http::negotiate::wants_json;
use crate::http::plan::{Ask, Plan, reply, unexpected};
use crate::http::problem::Problem;
use crate::http::query::{Query, bad};
use crate::http::request::Request;
use crate::http::response::Response;
use crate::reply::Reply;
use crate::reply::fields::put_bytes;

/// The most keys that one page of the listing may ask Redis to look at.
const MAX_COUNT: u64 = 10_000;

/// A JSON body of these routes. None that is right is nearly as long.
const MAX_JSON: usize = 4096;

/// `/v1/keys/{key}`.
pub(crate) fn key(request: &Request, key: Bytes) -> Result<Plan, Problem> {
    match request.method {
        Method::Put => put(request, key),
        Method::Delete => delete(request, key),
        _ => get(request, key),
    }
}

fn get(request: &Request, key: Bytes) -> Result<Plan, Problem> {
    Query::parse(&request.query)?.finish()?;
    let as_json = wants_json(&request.headers)?;
    let conditions = Conditions::for_reading(&request.headers)?;
    Ok(Plan::ask(Command::get(key.clone()), move |reply| {
        let value = match reply {
            Reply::Bulk(value) => value,
            Reply::Nil => return Err(conditions.absent("there is no such key")),
            other => return Err(unexpected(&other)),
        };
        let tag = entity_tag(&value, as_json);
        let response = conditions.apply(tag, || match as_json {
            true => json_value(&key, &value),
            false => raw(value),
        })?;
        Ok(response.header("Vary", "Accept"))
    }))
}

fn json_value(key: &[u8], value: &[u8]) -> Response {
    let mut object = Map::new();
    put_bytes(&mut object, "key", "key_encoding", key);
    put_bytes(&mut object, "value", "encoding", value);
    Response::json(&object.into())
}

fn put(request: &Request, key: Bytes) -> Result<Plan, Problem> {
    let mut query = Query::parse(&request.query)?;
    let expiry = expiry(&mut query)?;
    let mut only_new = query.flag("nx")?;
    let mut only_old = query.flag("xx")?;
    let want_old = query.flag("get")?;
    query.finish()?;
    let conditions = Conditions::for_writing(&request.headers)?;
    only_old |= conditions.want_something();
    only_new |= conditions.want_nothing();
    let mut command = Command::with_capacity("SET", 6)
        .arg(key.clone())
        .arg(request.body.clone());
    if let Some(expiry) = expiry {
        command = expiry.append_to(command);
    }
    command = match (only_new, only_old) {
        (true, true) => return Err(Problem::new(400, "nx and xx exclude each other")),
        (true, false) => command.arg("NX"),
        (false, true) => command.arg("XX"),
        (false, false) => command,
    };
    if want_old {
        command = command.arg("GET");
    }
    let respond = move |reply: Reply| match reply {
        // With GET the reply is the old value, whether or not it was replaced.
        Reply::Bulk(_) if want_old && only_new => Err(precondition_failed("the key is there")),
        Reply::Nil if want_old && only_old => Err(precondition_failed("there is no such key")),
        Reply::Bulk(old) if want_old => Ok(raw(old)),
        Reply::Nil if want_old => Ok(Response::new(204)),
        Reply::Nil if only_new => Err(precondition_failed("the key is there")),
        Reply::Nil if only_old => Err(precondition_failed("there is no such key")),
        Reply::Status(_) => Ok(Response::new(204)),
        other => Err(unexpected(&other)),
    };
    Ok(if conditions.need_value() {
        compare::then_write(key, command, conditions, respond)
    } else {
        Plan::ask(command, respond)
    })
}

fn expiry(query: &mut Query) -> Result<Option<Expiry>, Problem> {
    let mut expiry = None;
    type Kind = fn(u64) -> Expiry;
    let kinds: [(&str, Kind); 4] = [
        ("ex", Expiry::Seconds),
        ("px", Expiry::Milliseconds),
        ("exat", Expiry::AtSeconds),
        ("pxat", Expiry::AtMilliseconds),
    ];
    for (name, kind) in kinds {
        match query.number(name)? {
            None => {}
            Some(0) => return Err(bad(name, "must be at least 1")),
            Some(_) if expiry.is_some() => return Err(one_expiry()),
            Some(number) => expiry = Some(kind(number)),
        }
    }
    if query.flag("keepttl")? {
        if expiry.is_some() {
            return Err(one_expiry());
        }
        expiry = Some(Expiry::Keep);
    }
    Ok(expiry)
}

fn one_expiry() -> Problem {
    Problem::new(
        400,
        "at most one of ex, px, exat, pxat and keepttl can be given",
    )
}

fn delete(request: &Request, key: Bytes) -> Result<Plan, Problem> {
    Query::parse(&request.query)?.finish()?;
    let conditions = Conditions::for_writing(&request.headers)?;
    if request.headers.get("If-None-Match").is_some() {
        return Err(Problem::new(501, "a DELETE knows no If-None-Match"));
    }
    let must_be_there = conditions.want_something();
    let command = Command::new("DEL").arg(key.clone());
    let respond = move |reply: Reply| match reply {
        Reply::Int(0) if must_be_there => Err(precondition_failed("there is no such key")),
        Reply::Int(0) => Err(no_such_key()),
        Reply::Int(_) => Ok(Response::new(204)),
        other => Err(unexpected(&other)),
    };
    Ok(if conditions.need_value() {
        compare::then_write(key, command, conditions, respond)
    } else {
        Plan::ask(command, respond)
    })
}

/// `POST /v1/keys/{key}/increment`.
pub(crate) fn increment(request: &Request, key: Bytes) -> Result<Plan, Problem> {
    Query::parse(&request.query)?.finish()?;
    const WANTED: &str = r#"the body must be empty or a JSON object such as {"by":1}"#;
    refuse_conditions(&request.headers)?;
    let by = match &json_members(&request.body, WANTED)?[..] {
        [] => "1",
        [(name, by)] if name == "by" && is_number(by) => by.get(),
        _ => return Err(Problem::new(400, WANTED)),
    };
    // As it is written: a fraction or an exponent makes it a number that need not be whole.
    let command = if by.contains(['.', 'e', 'E']) {
        Command::new("INCRBYFLOAT").arg(key).arg(by.to_owned())
    } else {
        let Ok(by) = by.parse::<i64>() else {
            let detail = "\"by\" must fit into 64 bits with a sign";
            return Err(Problem::new(400, detail));
        };
        Command::new("INCRBY").arg(key).arg(by.to_string())
    };
    Ok(Plan::ask(command, |reply| match reply {
        Reply::Int(value) => Ok(Response::json(&json!({"value": value}))),
        // INCRBYFLOAT replies the digits, which may be more than a double holds.
        Reply::Bulk(digits) => match std::str::from_utf8(&digits) {
            Ok(digits) => {
                let body = format!("{{\"value\":{digits}}}\n");
                Ok(Response::new(200).body("application/json", body))
            }
            Err(_) => Err(unexpected(&Reply::Bulk(digits))),
        },
        other => Err(unexpected(&other)),
    }))
}

/// `/v1/keys/{key}/ttl`.
pub(crate) fn ttl(request: &Request, key: Bytes) -> Result<Plan, Problem> {
    Query::parse(&request.query)?.finish()?;
    if matches!(request.method, Method::Put | Method::Delete) {
        refuse_conditions(&request.headers)?;
    }
    Ok(match request.method {
        Method::Put => {
            let milliseconds = new_ttl(&request.body)?;
            let command = Command::new("PEXPIRE").arg(key).number(milliseconds);
            Plan::ask(command, |reply| match reply {
                Reply::Int(1) => Ok(Response::new(204)),
                Reply::Int(_) => Err(no_such_key()),
                other => Err(unexpected(&other)),
            })
        }
        Method::Delete => Plan::Ask(Ask {
            // PERSIST alone does not tell a key without an expiry from no key.
            commands: vec![
                Command::new("PERSIST").arg(key.clone()),
                Command::new("EXISTS").arg(key),
            ],
            respond: Box::new(|outcomes| {
                let mut outcomes = outcomes.into_iter();
                let persisted = reply(outcomes.next())?;
                match (persisted, reply(outcomes.next())?) {
                    (Reply::Int(0), Reply::Int(0)) => Err(no_such_key()),
                    _ => Ok(Response::new(204)),
                }
            }),
        }),
        _ => Plan::ask(Command::new("PTTL").arg(key), |reply| match reply {
            Reply::Int(-2) => Err(no_such_key()),
            Reply::Int(-1) => Ok(Response::json(&json!({"ttl_ms": null}))),
            Reply::Int(ttl) => Ok(Response::json(&json!({"ttl_ms": ttl}))),
            other => Err(unexpected(&other)),
        }),
    })
}

fn new_ttl(body: &[u8]) -> Result<u64, Problem> {
    const WANTED: &str =
        r#"the body must be a JSON object such as {"seconds":60} or {"milliseconds":1500}"#;
    let milliseconds = match &json_members(body, WANTED)?[..] {
        [(unit, number)] => match (unit.as_str(), number.get().parse::<u64>().ok()) {
            ("seconds", Some(seconds)) => seconds.checked_mul(1000),
            ("milliseconds", milliseconds) => milliseconds,
            _ => None,
        },
        _ => None,
    };
    milliseconds
        .filter(|milliseconds| *milliseconds > 0)
        .ok_or_else(|| Problem::new(400, WANTED))
}

/// `GET /v1/keys`.
pub(crate) fn list(request: &Request) -> Result<Plan, Problem> {
    let mut query = Query::parse(&request.query)?;
    let cursor = query.number("cursor")?.unwrap_or(0);
    let pattern = query.one("match")?;
    let count = query.number("count")?;
    let kind = query.one("type")?;
    query.finish()?;
    let mut command = Command::with_capacity("SCAN", 7).number(cursor);
    if let Some(pattern) = pattern {
        command = command.arg("MATCH").arg(pattern);
    }
    if let Some(count) = count {
        if !(1..=MAX_COUNT).contains(&count) {
            return Err(bad("count", &format!("must be from 1 to {MAX_COUNT}")));
        }
        command = command.arg("COUNT").number(count);
    }
    if let Some(kind) = kind {
        command = command.arg("TYPE").arg(kind);
    }
    Ok(Plan::ask(command, |reply| {
        let Reply::Array(parts) = &reply else {
            return Err(unexpected(&reply));
        };
        let [Reply::Bulk(cursor), Reply::Array(keys)] = &parts[..] else {
            return Err(unexpected(&reply));
        };
        let cursor = match &cursor[..] {
            b"0" => Value::Null,
            cursor => String::from_utf8_lossy(cursor).into(),
        };
        let keys: Vec<_> = keys.iter().filter_map(listed).collect();
        Ok(Response::json(&json!({"cursor": cursor, "keys": keys})))
    }))
}

/// A key in the listing: a string where it is UTF-8, else an object that says how it is encoded.
fn listed(key: &Reply) -> Option<Value> {
    let Reply::Bulk(key) = key else {
        return None;
    };
    let mut object = Map::new();
    put_bytes(&mut object, "key", "key_encoding", key);
    if object.len() == 1 {
        object.remove("key")
    } else {
        Some(object.into())
    }
}

/// The members of a JSON body, of which an empty one has none.
fn json_members<'a>(
    body: &'a [u8],
    wanted: &'static str,
) -> Result<Vec<(String, &'a RawValue)>, Problem> {
    if body.is_empty() {
        return Ok(Vec::new());
    }
    if body.len() > MAX_JSON {
        let detail = format!("the JSON body is longer than {MAX_JSON} bytes");
        return Err(Problem::new(413, detail));
    }
    fields::members(body, wanted)
}

fn is_number(json: &RawValue) -> bool {
    json.get()
        .starts_with(|c: char| c.is_ascii_digit() || c == '-')
}

fn no_such_key() -> Problem {
    Problem::new(404, "there is no such key")
}

fn precondition_failed(what: impl Into<Cow<'static, str>>) -> Problem {
    Problem::new(412, what)
}
