//! Commands that the gateway answers itself. Clients introduce themselves with them to a connection of their
//! own; here all share one, which keeps the gateway's name, and nothing is lost if theirs is not kept.

use bytes::Bytes;

use super::malformed;
use crate::command::{Command, keyword};
use crate::http::problem::Problem;
use crate::reply::{Reply, ServerError};

/// The reply to such a command, as Redis checks it.
///
/// # Errors
/// When it has not as many arguments as it takes, for which Redis discards a transaction.
pub(super) fn reply(command: &Command) -> Result<Reply, Problem> {
    let [_, attribute, value] = command.args() else {
        let message = "wrong number of arguments for 'client|setinfo' command";
        return Err(malformed(message));
    };
    Ok(match set_info(attribute, value) {
        Ok(()) => Reply::Status("OK".into()),
        Err(message) => Reply::Error(ServerError::new("ERR", message)),
    })
}

/// [CLIENT SETINFO](https://redis.io/docs/latest/commands/client-setinfo/).
fn set_info(attribute: &Bytes, value: &Bytes) -> Result<(), String> {
    let shown = String::from_utf8_lossy(attribute);
    if !matches!(&*keyword(attribute), "LIB-NAME" | "LIB-VER") {
        return Err(format!("Unrecognized option '{shown}'"));
    }
    if value.iter().all(u8::is_ascii_graphic) {
        Ok(())
    } else {
        Err(format!(
            "{shown} cannot contain spaces, newlines or special characters."
        ))
    }
}
