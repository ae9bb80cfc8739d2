//! `/v1/hashes`: hashes as JSON objects, and their fields as values.

use bytes::Bytes;
use serde_json::{Map, Value};
use tiny_http::Method;

use super::fields;
use super::values::{entity_tag, raw};
use crate::command::Command;
use crate::http::conditions::{Conditions, refuse_conditions};
use crate::http::negotiate::{accepts, wants_json};
use crate::http::plan::{Ask, Plan, check_multi, reply, unexpected};
use crate::http::problem::Problem;
use crate::http::query::Query;
use crate::http::request::Request;
use crate::http::response::Response;
use crate::reply::Reply;
use crate::reply::fields::{in_pairs, object, put_bytes};
use crate::upstream::Outcome;

/// Removes a key if it holds a hash. 0: there is none; -1: it holds something else.
const DELETE: &str = "local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'none' then return 0 end
if kind ~= 'hash' then return -1 end
return redis.call('DEL', KEYS[1])";

/// `/v1/hashes/{key}`.
pub(crate) fn hash(request: &Request, key: Bytes) -> Result<Plan, Problem> {
    Query::parse(&request.query)?.finish()?;
    match request.method {
        Method::Patch => patch(request, &key),
        Method::Delete => delete(request, key),
        _ => get(request, key),
    }
}

fn get(request: &Request, key: Bytes) -> Result<Plan, Problem> {
    if !accepts(&request.headers, "application/json") {
        return Err(Problem::new(406, "this comes as application/json"));
    }
    let conditions = Conditions::for_reading(&request.headers)?;
    let command = Command::new("HGETALL").arg(key);
    Ok(Plan::ask(command, move |reply| {
        let pairs = match &reply {
            Reply::Array(replies) => in_pairs(replies),
            _ => None,
        };
        let Some(pairs) = pairs else {
            return Err(unexpected(&reply));
        };
        if pairs.is_empty() {
            return Err(conditions.absent("there is no such key"));
        }
        let object = Value::from(object(pairs));
        // Sorted, so that the same fields have the same tag.
        let tag = entity_tag(object.to_string().as_bytes(), true);
        let response = conditions.apply(tag, || Response::json(&object))?;
        Ok(response.header("Vary", "Accept"))
    }))
}

fn patch(request: &Request, key: &Bytes) -> Result<Plan, Problem> {
    const WANTED: &str =
        r#"the body must be a JSON object of fields such as {"name":"Ada","age":36,"email":null}"#;
    refuse_conditions(&request.headers)?;
    let given = fields::parse(&request.body, WANTED)?;
    let mut set = Command::with_capacity("HSET", 1 + 2 * given.len()).arg(key.clone());
    let mut remove = Command::new("HDEL").arg(key.clone());
    for (field, value) in given {
        match value {
            Some(value) => set = set.arg(field).arg(value),
            None => remove = remove.arg(field),
        }
    }
    let mut commands = [set, remove].into_iter().filter(|c| c.args().len() > 1);
    let commands = match (commands.next(), commands.next()) {
        (Some(first), Some(second)) => {
            // One piece of one pipeline, so that nobody sees the one without the other.
            vec![Command::new("MULTI"), first, second, Command::new("EXEC")]
        }
        (Some(only), None) => vec![only],
        // Nothing to do, if it is a hash.
        (None, _) => vec![Command::new("HLEN").arg(key.clone())],
    };
    Ok(Plan::Ask(Ask {
        commands,
        respond: Box::new(patched),
    }))
}

fn patched(outcomes: Vec<Outcome>) -> Result<Response, Problem> {
    if let [Ok(multi), _, ..] = &outcomes[..] {
        check_multi(multi)?;
    }
    for outcome in outcomes {
        // Within the transaction an error is one of the results of EXEC.
        if let Reply::Array(results) = reply(Some(outcome))? {
            for result in results {
                reply(Some(Ok(result)))?;
            }
        }
    }
    Ok(Response::new(204))
}

fn delete(request: &Request, key: Bytes) -> Result<Plan, Problem> {
    refuse_conditions(&request.headers)?;
    let command = Command::own_script(DELETE, key);
    Ok(Plan::ask(command, |reply| match reply {
        Reply::Int(1) => Ok(Response::new(204)),
        Reply::Int(0) => Err(Problem::new(404, "there is no such key")),
        Reply::Int(-1) => Err(Problem::new(
            409,
            "the key holds something else than a hash; DELETE /v1/keys/{key} removes it whatever it is",
        )),
        other => Err(unexpected(&other)),
    }))
}

/// `/v1/hashes/{key}/{field}`.
pub(crate) fn field(request: &Request, key: Bytes, field: Bytes) -> Result<Plan, Problem> {
    Query::parse(&request.query)?.finish()?;
    match request.method {
        Method::Put => put_field(request, key, field),
        Method::Delete => delete_field(request, key, field),
        _ => get_field(request, key, field),
    }
}

fn get_field(request: &Request, key: Bytes, field: Bytes) -> Result<Plan, Problem> {
    let as_json = wants_json(&request.headers)?;
    let conditions = Conditions::for_reading(&request.headers)?;
    let command = Command::new("HGET").arg(key.clone()).arg(field.clone());
    Ok(Plan::ask(command, move |reply| {
        let value = match reply {
            Reply::Bulk(value) => value,
            Reply::Nil => return Err(conditions.absent(NO_FIELD)),
            other => return Err(unexpected(&other)),
        };
        let tag = entity_tag(&value, as_json);
        let response = conditions.apply(tag, || {
            if as_json {
                let mut object = Map::new();
                put_bytes(&mut object, "key", "key_encoding", &key);
                put_bytes(&mut object, "field", "field_encoding", &field);
                put_bytes(&mut object, "value", "encoding", &value);
                Response::json(&object.into())
            } else {
                raw(value)
            }
        })?;
        Ok(response.header("Vary", "Accept"))
    }))
}

const NO_FIELD: &str = "there is no such field";

fn put_field(request: &Request, key: Bytes, field: Bytes) -> Result<Plan, Problem> {
    refuse_conditions(&request.headers)?;
    let command = Command::new("HSET")
        .arg(key)
        .arg(field)
        .arg(request.body.clone());
    Ok(Plan::ask(command, |reply| match reply {
        Reply::Int(0) => Ok(Response::new(204)),
        Reply::Int(_) => Ok(Response::new(201)),
        other => Err(unexpected(&other)),
    }))
}

fn delete_field(request: &Request, key: Bytes, field: Bytes) -> Result<Plan, Problem> {
    refuse_conditions(&request.headers)?;
    let command = Command::new("HDEL").arg(key).arg(field);
    Ok(Plan::ask(command, |reply| match reply {
        Reply::Int(0) => Err(Problem::new(404, NO_FIELD)),
        Reply::Int(_) => Ok(Response::new(204)),
        other => Err(unexpected(&other)),
    }))
}
