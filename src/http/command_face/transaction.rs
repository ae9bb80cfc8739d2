//! Several commands as a transaction.
//!
//! MULTI, the commands and EXEC go out as one piece of one pipeline, so nothing comes between them, and the
//! shared connection is as before behind it.

use super::encode::{Encoding, Item};
use super::{Context, Slot, Together, encoding, malformed, parse, plan};
use crate::command::Command;
use crate::http::plan::{Plan, check_multi};
use crate::http::problem::Problem;
use crate::http::request::Request;
use crate::http::response::Response;
use crate::reply::{Reply, ServerError};
use crate::upstream::Outcome;

/// `POST /multi-exec`: several commands as a transaction.
pub(in crate::http) fn transaction(
    request: &Request,
    context: Context<'_>,
) -> Result<Plan, Problem> {
    let encoding = encoding(request);
    let mut together = Together::default();
    together.commands.push(Command::new("MULTI"));
    let mut slots = Vec::new();
    let parsed = parse::many_from_json(&request.body).map_err(malformed)?;
    for (index, parsed) in parsed.into_iter().enumerate() {
        let checked = parsed.map_err(malformed);
        let slot = checked.and_then(|command| together.add(context, command));
        slots.push(slot.map_err(|mut problem| {
            let detail = format!("command {index} of the transaction: {}", problem.detail);
            problem.detail = detail.into();
            problem
        })?);
    }
    if together.commands.len() == 1 {
        // There is nothing to send.
        return Ok(Plan::Answer(transacted(encoding, slots, Vec::new())));
    }
    together.commands.push(Command::new("EXEC"));
    let respond = move |outcomes: Vec<Outcome>| {
        let mut replies = outcomes.into_iter().collect::<Result<Vec<_>, _>>()?;
        if let Some(multi) = replies.first() {
            check_multi(multi)?;
        }
        match replies.pop() {
            Some(Reply::Array(results)) => Ok(transacted(encoding, slots, results)),
            // Never 2xx: the clients would look for results.
            Some(Reply::Error(error)) => {
                let told = match refused(&slots, &replies) {
                    Some((index, why)) => {
                        format!("{error} Command {index} of the transaction: {why}")
                    }
                    None => error.to_string(),
                };
                let body = encoding.one(&Err(told));
                Ok(Response::new(400).body(encoding.media_type(), body))
            }
            _ => Err(Problem::new(400, "the transaction was discarded")),
        }
    };
    Ok(plan(together, Box::new(respond)))
}

/// The answer to a transaction that has run, with its results.
fn transacted(encoding: Encoding, slots: Vec<Slot>, results: Vec<Reply>) -> Response {
    let mut results = results.into_iter();
    let reply = |slot| match slot {
        Slot::Here(reply) => Some(Ok(reply)),
        Slot::Sent(mend) => results.next().map(|reply| Ok(mend.apply(reply))),
    };
    let items: Vec<Item> = slots.into_iter().map_while(reply).collect();
    Response::new(200).body(encoding.media_type(), encoding.many(&items))
}

/// Which command of a transaction was refused before it, and why; EXEC does not say. The replies are those to MULTI
/// and the commands.
fn refused<'a>(slots: &[Slot], replies: &'a [Reply]) -> Option<(usize, &'a ServerError)> {
    let sent = slots.iter().enumerate();
    let sent = sent.filter(|(_, slot)| matches!(slot, Slot::Sent(_)));
    let mut queued = sent.zip(replies.iter().skip(1));
    queued.find_map(|((index, _), reply)| match reply {
        Reply::Error(why) => Some((index, why)),
        _ => None,
    })
}
