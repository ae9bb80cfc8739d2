//! A server's part in replication, which it is asked for by [ROLE](https://redis.io/docs/latest/commands/role/).

use crate::command::Command;
use crate::reply::{Reply, ServerError};

/// What asks for it.
#[must_use]
pub(crate) fn question() -> Command {
    Command::new("ROLE")
}

/// Whether the answer is that of a master.
///
/// # Errors
/// What the server said instead of an answer.
pub(crate) fn is_master(answer: &Reply) -> Result<bool, &ServerError> {
    match answer {
        Reply::Error(error) => Err(error),
        Reply::Array(parts) => {
            Ok(matches!(parts.first(), Some(Reply::Bulk(role)) if &role[..] == b"master"))
        }
        _ => Ok(false),
    }
}
