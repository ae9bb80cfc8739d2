//! Compare and set: a write that happens only if the value is the one that the client knows.
//!
//! Redis knows no entity tags. So the value is read, and its tag compared here; then a script writes if the
//! value still is, byte for byte, what was read. Whatever has come between is not overwritten.

use bytes::Bytes;

use super::values::entity_tag;
use crate::command::Command;
use crate::http::conditions::Conditions;
use crate::http::plan::{Ask, Plan, Step, reply, unexpected};
use crate::http::problem::Problem;
use crate::http::response::Response;
use crate::reply::Reply;

/// Runs a command on a key, and on no other, if its value is the given one, or if there is none. Else -1, which neither SET nor
/// DEL replies. A value that is no string by now is not the given one either.
const WRITE: &str = "local found = redis.pcall('GET', KEYS[1])
if found ~= (ARGV[1] == 'some' and ARGV[2]) then return -1 end
return redis.pcall(ARGV[3], KEYS[1], unpack(ARGV, 4))";

/// Writes to a key by a command of it, if the conditions hold; 412 if not.
pub(super) fn then_write(
    key: Bytes,
    write: Command,
    conditions: Conditions,
    respond: impl FnOnce(Reply) -> Result<Response, Problem> + Send + 'static,
) -> Plan {
    Plan::rounds(Command::get(key.clone()), "EVAL", move |found| {
        let value = match found {
            Reply::Bulk(value) => Some(value),
            Reply::Nil => None,
            other => return Err(unexpected(&other)),
        };
        let tags = value.as_ref().map(|value| {
            // Either form of it: they are of the same bytes.
            [entity_tag(value, false), entity_tag(value, true)]
        });
        conditions.check(tags.as_ref().map_or(&[], |tags| &tags[..]))?;
        let (presence, value) = match value {
            Some(value) => ("some", value),
            None => ("none", Bytes::new()),
        };
        let mut command = Command::own_script(WRITE, key)
            .arg(presence)
            .arg(value)
            .arg(write.name().to_owned());
        for argument in write.args().iter().skip(1) {
            command = command.arg(argument.clone());
        }
        Ok(Step::Ask(Ask {
            commands: vec![command],
            respond: Box::new(|outcomes| match reply(outcomes.into_iter().next())? {
                Reply::Int(-1) => Err(Problem::new(412, "the value has changed meanwhile")),
                reply => respond(reply),
            }),
        }))
    })
}
