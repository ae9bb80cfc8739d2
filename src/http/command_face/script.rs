//! Lua scripts that carry a flag which only Upstash's own server knows.
//!
//! Current versions of its rate limiter begin their scripts with `#!lua flags=allow-key-locking`, which Redis
//! refuses. The flag is taken out; since clients address a script by the SHA-1 of what *they* sent, that is
//! remembered and translated.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use sha1_smol::Sha1;

use crate::command::Command;
use crate::reply::Reply;

const FLAG: &str = "allow-key-locking";

/// Scripts that are remembered. A client whose script is forgotten sends it again: it is told NOSCRIPT.
const MAX_SCRIPTS: usize = 4096;

/// Which scripts were changed: the digests that clients know, and those that Redis knows.
#[derive(Debug, Default)]
pub(in crate::http) struct Scripts {
    theirs_to_ours: Mutex<HashMap<String, String>>,
}

/// What has to be done to a reply so that the client does not notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mend {
    Nothing,
    /// It is to be this digest.
    Digest(String),
}

impl Mend {
    pub(super) fn apply(self, reply: Reply) -> Reply {
        match (self, reply) {
            (Self::Digest(digest), Reply::Bulk(_) | Reply::Status(_)) => Reply::Bulk(digest.into()),
            (_, reply) => reply,
        }
    }
}

impl Scripts {
    /// Translates a command that carries or names a script.
    pub(super) fn translate(&self, command: &mut Command) -> Mend {
        match (command.name(), command.subcommand().as_str()) {
            ("EVAL" | "EVAL_RO", _) => {
                self.rewrite(command, 0);
                Mend::Nothing
            }
            ("SCRIPT", "LOAD") => match self.rewrite(command, 1) {
                Some(digest) => Mend::Digest(digest),
                None => Mend::Nothing,
            },
            ("EVALSHA" | "EVALSHA_RO", _) => {
                self.rename(command, 0);
                Mend::Nothing
            }
            ("SCRIPT", "EXISTS") => {
                for index in 1..command.args().len() {
                    self.rename(command, index);
                }
                Mend::Nothing
            }
            _ => Mend::Nothing,
        }
    }

    /// Takes the flag out of a script; gives the digest that the client knows it by, if it was there.
    fn rewrite(&self, command: &mut Command, index: usize) -> Option<String> {
        let script = command.args().get(index)?;
        let rewritten = without_flag(script)?;
        let theirs = Sha1::from(script).digest().to_string();
        let ours = Sha1::from(&rewritten).digest().to_string();
        let mut known = self
            .theirs_to_ours
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_SCRIPTS {
            known.clear();
        }
        known.insert(theirs.clone(), ours);
        drop(known);
        command.set_arg(index, rewritten.into());
        Some(theirs)
    }

    fn rename(&self, command: &mut Command, index: usize) {
        let Some(digest) = command.args().get(index) else {
            return;
        };
        let digest = String::from_utf8_lossy(digest).to_ascii_lowercase();
        let known = self
            .theirs_to_ours
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let ours = known.get(&digest).cloned();
        drop(known);
        if let Some(ours) = ours {
            command.set_arg(index, Bytes::from(ours));
        }
    }
}

/// The script without the flag in its first line; `None` if it is not there. A line without any flag left
/// is emptied: so the script also runs on servers that know no such line. Its line end stays, for the line
/// numbers in errors.
fn without_flag(script: &[u8]) -> Option<String> {
    let script = std::str::from_utf8(script).ok()?;
    let end = script.find('\n').unwrap_or(script.len());
    let (line, rest) = script.split_at(end);
    let words = line.strip_prefix("#!lua")?.split_ascii_whitespace();
    let mut found = false;
    let mut kept = Vec::new();
    for word in words {
        let Some(flags) = word.strip_prefix("flags=") else {
            kept.push(word.to_owned());
            continue;
        };
        let others: Vec<_> = flags.split(',').filter(|flag| *flag != FLAG).collect();
        found |= others.len() < flags.split(',').count();
        if !others.is_empty() {
            kept.push(format!("flags={}", others.join(",")));
        }
    }
    if !found {
        return None;
    }
    if kept.is_empty() {
        return Some(rest.to_owned());
    }
    Some(format!("#!lua {}{rest}", kept.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(parts: &[&str]) -> Command {
        let parts = parts.iter().map(|part| (*part).to_owned().into()).collect();
        Command::from_parts(parts).expect("a name")
    }

    #[test]
    fn the_flag_goes_and_all_else_stays() {
        for (script, expected) in [
            (
                "#!lua flags=allow-key-locking\nreturn 1",
                Some("\nreturn 1"),
            ),
            (
                "#!lua flags=no-writes,allow-key-locking\nreturn 1",
                Some("#!lua flags=no-writes\nreturn 1"),
            ),
            ("#!lua name=x flags=allow-key-locking", Some("#!lua name=x")),
            ("#!lua flags=no-writes\nreturn 1", None),
            ("return 'allow-key-locking'", None),
            ("", None),
        ] {
            let rewritten = without_flag(script.as_bytes());
            assert_eq!(rewritten.as_deref(), expected, "{script:?}");
        }
    }

    #[test]
    fn a_client_keeps_its_own_digest() {
        let scripts = Scripts::default();
        let script = "#!lua flags=allow-key-locking\nreturn 1";
        let theirs = Sha1::from(script).digest().to_string();
        let ours = Sha1::from("\nreturn 1").digest().to_string();
        let mut load = command(&["script", "load", script]);
        let mend = scripts.translate(&mut load);
        assert_eq!(load.args()[1], "\nreturn 1");
        let reply = mend.apply(Reply::Bulk(ours.clone().into()));
        assert_eq!(reply, Reply::Bulk(theirs.clone().into()));
        let mut call = command(&["EVALSHA", &theirs.to_uppercase(), "0"]);
        scripts.translate(&mut call);
        assert_eq!(call.args()[0], ours);
        let mut exists = command(&["SCRIPT", "EXISTS", "abc", &theirs]);
        scripts.translate(&mut exists);
        assert_eq!(exists.args()[1..], ["abc".to_owned(), ours]);
    }
}
