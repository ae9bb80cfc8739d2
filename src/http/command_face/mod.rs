//! The command face: any Redis command over HTTP, wire-compatible with the Upstash Redis REST API, so that
//! its SDKs work unchanged.
//!
//! One command is a JSON array at `/`, or a path; several are arrays at `/pipeline` and `/multi-exec`. Answers
//! are `{"result":…}` or `{"error":…}`, whatever happens: these clients take anything else for a broken
//! connection, and may send a write twice.

mod encode;
mod local;
mod parse;
mod script;
mod transaction;

use bytes::Bytes;
use tiny_http::Method;

use super::access::Permit;
use super::handlers::channels::{self, stream};
use super::plan::{Apart, Ask, Half, Lane, Plan, Respond, Watch};
use super::problem::Problem;
use super::query::decode_segment;
use super::request::Request;
use super::response::Response;
use crate::auth::Use;
use crate::command::Command;
use crate::error::Error;
use crate::hub::{Format, Shape, Topic};
use crate::reply::Reply;
use crate::upstream::classes::Class;
use crate::upstream::{Outcome, Upstream};
use encode::{Encoding, Item};
use script::Mend;

pub(super) use script::Scripts;
pub(super) use transaction::transaction;

/// What the routes of this face need.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) upstream: &'a Upstream,
    pub(super) scripts: &'a Scripts,
    pub(super) permit: Permit<'a>,
    /// Whether a page of another site, or a link, could have had a browser send the request.
    pub(super) could_be_forged: bool,
}

impl Context<'_> {
    /// Lets a command through, or not, by how it came.
    fn check_intent(&self, command: &Command) -> Result<(), Problem> {
        if self.could_be_forged {
            self.permit.check_forged(command)?;
        }
        Ok(())
    }
}

/// A problem as this face shows it.
///
/// An error of Redis' own is given in its words, and with one status for all.
pub(super) fn problem(mut problem: Problem) -> Response {
    if let Some(error) = problem.redis_error.take() {
        problem = Problem::new(400, error);
    }
    let body = Encoding::Plain.one(&Err(problem.detail.to_string()));
    problem.with_body("application/json", body)
}

/// A reply in the form of the protocol, for the benchmarks.
pub(super) fn to_json(reply: Reply) -> Bytes {
    Encoding::Plain.one(&Ok(reply))
}

/// `POST /`: one command.
pub(super) fn single(request: &Request, context: Context<'_>) -> Result<Plan, Problem> {
    let command = parse::from_json(&request.body).map_err(malformed)?;
    run(request, context, command)
}

/// `/{command}/{argument}/…`: one command.
pub(super) fn path(
    request: &Request,
    segments: &[Bytes],
    context: Context<'_>,
) -> Result<Plan, Problem> {
    // A PUT means its body even if that is empty; a POST without one has none.
    let with_body = request.method == Method::Put || !request.body.is_empty();
    let takes_body = matches!(request.method, Method::Put | Method::Post);
    let body = (with_body && takes_body).then(|| request.body.clone());
    let command = parse::from_path(segments, body, &request.query).map_err(malformed)?;
    run(request, context, command)
}

fn run(request: &Request, context: Context<'_>, command: Command) -> Result<Plan, Problem> {
    let encoding = encoding(request);
    let One {
        command,
        mend,
        class,
    } = match check(context, command)? {
        Checked::Here(reply) => return Ok(Plan::Answer(answer(encoding, reply))),
        Checked::Sent(one) => one,
    };
    let respond = move |outcomes: Vec<Outcome>| match outcomes.into_iter().next() {
        Some(Ok(reply)) => Ok(answer(encoding, mend.apply(reply))),
        Some(Err(error)) => Err(error.into()),
        None => Err(Problem::defect()),
    };
    let together = Together {
        commands: vec![command],
        class,
    };
    Ok(plan(together, Box::new(respond)))
}

/// The answer to one command.
fn answer(encoding: Encoding, reply: Reply) -> Response {
    let status = if matches!(reply, Reply::Error(_)) {
        400
    } else {
        200
    };
    let body = encoding.one(&Ok(reply));
    Response::new(status).body(encoding.media_type(), body)
}

/// Sends commands as their class asks for.
fn plan(together: Together, respond: Respond) -> Plan {
    let Together { commands, class } = together;
    let lane = match class {
        Class::Blocking => Lane::Own,
        Class::Guarded => Lane::Guarded,
        Class::Pooled | Class::Local | Class::Refused(_) => {
            return Plan::Ask(Ask { commands, respond });
        }
    };
    Plan::Apart(Apart {
        commands,
        lane,
        half: Half::Respond(respond),
    })
}

/// So many commands of a pipeline can be told each why they are not sent. Nothing else bounds their number.
const MAX_REFUSED: usize = 1000;

/// `POST /pipeline`: several commands, each with an answer of its own.
pub(super) fn pipeline(request: &Request, context: Context<'_>) -> Result<Plan, Problem> {
    let encoding = encoding(request);
    let mut together = Together::default();
    let mut slots = Vec::new();
    let mut refused = 0;
    for parsed in parse::many_from_json(&request.body).map_err(malformed)? {
        let checked = parsed.map_err(malformed);
        let slot = checked.and_then(|command| together.add(context, command));
        refused += usize::from(slot.is_err());
        if refused > MAX_REFUSED {
            let detail = slot.err().map(|problem| problem.detail).unwrap_or_default();
            return Err(malformed(format!(
                "more than {MAX_REFUSED} of the commands cannot be sent, so none was; the last: {detail}"
            )));
        }
        slots.push(slot.map_err(|problem| problem.detail.into_owned()));
    }
    let respond = move |outcomes: Vec<Outcome>| {
        if let Some(error) = common_failure(&outcomes) {
            return Err(error.into());
        }
        let mut outcomes = outcomes.into_iter();
        let mut items: Vec<Item> = Vec::with_capacity(slots.len());
        for slot in slots {
            items.push(match slot {
                Err(message) => Err(message),
                Ok(Slot::Here(reply)) => Ok(reply),
                Ok(Slot::Sent(mend)) => match outcomes.next() {
                    Some(Ok(reply)) => Ok(mend.apply(reply)),
                    Some(Err(error)) => Err(error.to_string()),
                    None => return Err(Problem::defect()),
                },
            });
        }
        Ok(Response::new(200).body(encoding.media_type(), encoding.many(&items)))
    };
    if together.commands.is_empty() {
        return respond(Vec::new()).map(Plan::Answer);
    }
    Ok(plan(together, Box::new(respond)))
}

/// What can be said of all commands of a pipeline that got no reply. `None` if some got one: the nodes of a
/// Cluster fail one by one, and what was done must not be called undone.
fn common_failure(outcomes: &[Outcome]) -> Option<Error> {
    let failures = outcomes.iter().map(|outcome| outcome.as_ref().err());
    let all: Vec<_> = failures.collect::<Option<_>>()?;
    let unknown = all.iter().find(|error| error.outcome_unknown());
    unknown.or(all.first()).map(|error| (*error).clone())
}

/// `/subscribe/{channel}/…`: messages as the SDKs read them. The body and the query mean nothing.
pub(super) fn subscribe(channels: &[Bytes], max_topics: usize) -> Result<Plan, Problem> {
    listen(channels, Topic::Channel, max_topics)
}

/// `/psubscribe/{pattern}/…`.
pub(super) fn psubscribe(patterns: &[Bytes], max_topics: usize) -> Result<Plan, Problem> {
    listen(patterns, Topic::Pattern, max_topics)
}

/// `/monitor`: every command that anybody sends to Redis.
pub(super) fn monitor(context: Context<'_>) -> Result<Plan, Problem> {
    context.permit.check_use(&Use::Monitor)?;
    context.upstream.admit_monitor()?;
    // It writes nothing, but slows the server down.
    context.check_intent(&Command::new("MONITOR"))?;
    let respond = |outcomes: Vec<Outcome>| match outcomes.into_iter().next() {
        Some(Ok(reply)) => Ok(answer(Encoding::Plain, reply)),
        Some(Err(error)) => Err(error.into()),
        None => Err(Problem::defect()),
    };
    Ok(Plan::Watch(Watch {
        head: channels::head(),
        respond: Box::new(respond),
    }))
}

fn listen(names: &[Bytes], kind: fn(Bytes) -> Topic, max_topics: usize) -> Result<Plan, Problem> {
    let names = names.iter().map(|name| decode_segment(name).map(kind));
    let mut topics = names.collect::<Result<Vec<_>, _>>()?;
    topics.sort();
    topics.dedup();
    if topics.len() > max_topics {
        return Err(malformed(format!(
            "a stream carries {max_topics} channels at most"
        )));
    }
    let shape = Shape {
        format: Format::Upstash,
        named: false,
    };
    Ok(stream(&topics, shape, None, None))
}

/// A command that may be sent, and what is to be done to its reply.
struct One {
    command: Command,
    mend: Mend,
    class: Class,
}

/// A command that is allowed.
enum Checked {
    Sent(One),
    /// It is not sent; this is its reply.
    Here(Reply),
}

/// Commands that are sent together.
struct Together {
    commands: Vec<Command>,
    /// The most careful of their classes.
    class: Class,
}

impl Default for Together {
    fn default() -> Self {
        Self {
            commands: Vec::new(),
            class: Class::Pooled,
        }
    }
}

/// Where the reply to a command among others comes from.
enum Slot {
    Sent(Mend),
    Here(Reply),
}

fn check(context: Context<'_>, mut command: Command) -> Result<Checked, Problem> {
    let class = classify(context, &command)?;
    if class == Class::Local {
        return Ok(Checked::Here(local::reply(&command)?));
    }
    let mend = context.scripts.translate(&mut command);
    Ok(Checked::Sent(One {
        command,
        mend,
        class,
    }))
}

impl Together {
    /// Adds a command, if it may go among others.
    fn add(&mut self, context: Context<'_>, command: Command) -> Result<Slot, Problem> {
        let one = match check(context, command)? {
            Checked::Here(reply) => return Ok(Slot::Here(reply)),
            Checked::Sent(one) => one,
        };
        if one.class == Class::Blocking {
            let name = one.command.name();
            let message = format!("{name} goes over a connection of its own; send it alone");
            return Err(malformed(message));
        }
        if one.class == Class::Guarded {
            self.class = Class::Guarded;
        }
        self.commands.push(one.command);
        Ok(Slot::Sent(one.mend))
    }
}

fn classify(context: Context<'_>, command: &Command) -> Result<Class, Problem> {
    match context.upstream.class(command)? {
        Class::Refused(refusal) => Err(Problem::new(403, refusal.to_string())),
        // It is not sent, and changes nothing.
        Class::Local => Ok(Class::Local),
        class => {
            context.permit.check_command(command)?;
            context.check_intent(command)?;
            Ok(class)
        }
    }
}

fn encoding(request: &Request) -> Encoding {
    let is = |header: &str, value: &str| {
        let sent = request.headers.text(header);
        sent.is_some_and(|sent| sent.eq_ignore_ascii_case(value))
    };
    if is("Upstash-Response-Format", "resp2") {
        Encoding::Resp2
    } else if is("Upstash-Encoding", "base64") {
        Encoding::Base64
    } else {
        Encoding::Plain
    }
}

fn malformed(message: impl Into<String>) -> Problem {
    let message = message.into();
    Problem::new(400, format!("ERR {message}"))
}
