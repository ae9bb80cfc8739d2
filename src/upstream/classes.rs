//! What kind of command a command is: whether it may share a connection, needs one of its own, is a stream,
//! or is refused to everyone.
//!
//! The server's own [COMMAND](https://redis.io/docs/latest/commands/command/) table says which commands block
//! and which only read; what it does not say, namely which would change the state of a connection that
//! others share or stop the server for others, is listed in `command_lists` and [`DANGEROUS`].

use std::collections::HashMap;

use bytes::Bytes;

use super::command_lists::{BLOCKING, ENDING, INTRODUCING, MIXED, OPTIONALLY, REFUSED, SCRIPTS};
use super::keys::KeyPlace;
use super::policies::RequestPolicy;
use super::refusal::Refusal;
use super::write_set::{WriteSet, Writing};
use crate::command::{Command, keyword};
use crate::config::DANGEROUS;
use crate::reply::Reply;

/// How a command is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Over the shared connection, among others.
    Pooled,
    /// Over a connection that is shared too, but only with its like: a script, which can take long, and whose errors
    /// are its own words.
    Guarded,
    /// Over a connection of its own: it may block, or ends what does.
    Blocking,
    /// Not at all: the gateway answers it.
    Local,
    /// Not at all, for this reason.
    Refused(Refusal),
}

/// What is known of the server's commands.
#[derive(Debug, Default)]
pub struct Classes {
    /// By name, in capitals. Empty where the server does not tell.
    commands: HashMap<String, Flags>,
    /// Names (with their subcommand, if any) that are allowed although they are dangerous.
    allowed: Vec<String>,
}

/// What the server says of a command.
#[derive(Debug, Clone, Default)]
struct Flags {
    readonly: bool,
    blocking: bool,
    /// Whether no list has to be looked through for it. (Measured with pipelines of a hundred GETs: a fifth of the CPU.)
    in_no_list: bool,
    has_subcommands: bool,
    key: KeyPlace,
    request_policy: RequestPolicy,
    writing: Writing,
}

impl Classes {
    /// What is known without having asked the server.
    #[must_use]
    pub fn unknown(allowed: Vec<String>) -> Self {
        let commands = HashMap::new();
        Self { commands, allowed }
    }

    /// What a reply to COMMAND says.
    #[must_use]
    pub fn from_reply(reply: &Reply, allowed: Vec<String>) -> Self {
        let entries = match reply {
            Reply::Array(entries) => &entries[..],
            _ => &[],
        };
        let all = entries.iter().flat_map(|entry| {
            let subcommands = subcommands(entry);
            std::iter::once(entry).chain(subcommands)
        });
        let commands = all.filter_map(|entry| {
            let Reply::Array(entry) = entry else {
                return None;
            };
            let [Reply::Bulk(name), _, Reply::Array(flags), ..] = &entry[..] else {
                return None;
            };
            let has = |wanted: &[u8]| {
                flags.iter().any(|flag| match flag {
                    Reply::Status(flag) | Reply::Bulk(flag) => flag == wanted,
                    _ => false,
                })
            };
            let name = String::from_utf8_lossy(name).to_ascii_uppercase();
            let flags = Flags {
                // Servers before Redis 7 have one flag for all subcommands, whatever they do.
                readonly: has(b"readonly") && !MIXED.contains(&&*name),
                blocking: has(b"blocking"),
                in_no_list: !is_mentioned(&name),
                has_subcommands: matches!(entry.get(9), Some(Reply::Array(all)) if !all.is_empty()),
                key: KeyPlace::from_entry(&name, entry),
                request_policy: RequestPolicy::from_entry(&name, entry),
                writing: Writing::from_entry(&name, entry, has),
            };
            Some((name, flags))
        });
        Self {
            commands: commands.collect(),
            allowed,
        }
    }

    /// The class of a command.
    #[must_use]
    pub fn of(&self, command: &Command) -> Class {
        let name = command.name();
        let flags = self.commands.get(name);
        if let Some(flags) = flags.filter(|flags| flags.in_no_list) {
            return if flags.blocking {
                Class::Blocking
            } else {
                Class::Pooled
            };
        }
        if !name.bytes().all(|b| b.is_ascii_graphic()) {
            let why = "a command's name is printable ASCII";
            return Class::Refused(Refusal::for_good("this command", why));
        }
        for (list, why) in REFUSED {
            if let Some(what) = command.entry_in(list) {
                return Class::Refused(Refusal::for_good(what, why));
            }
        }
        if let Some(what) = command.entry_in(DANGEROUS)
            && !self.is_allowed(what)
        {
            return Class::Refused(Refusal::until_allowed(what));
        }
        if command.is_in(INTRODUCING) {
            return Class::Local;
        }
        match name {
            // The server calls these blocking, whether or not they do.
            _ if OPTIONALLY.contains(&name) && has_block(command) => Class::Blocking,
            _ if OPTIONALLY.contains(&name) => Class::Pooled,
            _ if BLOCKING.contains(&name) || command.is_in(ENDING) => Class::Blocking,
            _ if flags.is_some_and(|flags| flags.blocking) => Class::Blocking,
            _ if SCRIPTS.contains(&name) => Class::Guarded,
            _ => Class::Pooled,
        }
    }

    /// Whether the server says that a command only reads; `None` where it does not know it, or was not asked.
    #[must_use]
    pub fn reads(&self, command: &Command) -> Option<bool> {
        self.flags(command).map(|flags| flags.readonly)
    }

    /// Whether the server told of its commands, and this is none of them.
    pub(super) fn lacks(&self, name: &str) -> bool {
        !self.commands.is_empty() && !self.commands.contains_key(name)
    }

    /// The first key of a command, which says what node of a Cluster it is for.
    pub(super) fn first_key<'a>(&self, command: &'a Command) -> Option<&'a Bytes> {
        match self.flags(command) {
            Some(flags) => flags.key.first_key(command),
            None => KeyPlace::unknown(command.name()).first_key(command),
        }
    }

    /// Whether a command concerns all nodes of a Cluster.
    pub(super) fn request_policy(&self, command: &Command) -> RequestPolicy {
        match self.flags(command) {
            Some(flags) => flags.request_policy,
            None => RequestPolicy::unknown(command),
        }
    }

    /// What commands may change.
    pub(super) fn written(&self, commands: &[Command]) -> WriteSet {
        let each = commands.iter().map(|command| {
            if let Some(key) = command.key_of_own_script() {
                return WriteSet::Keys(vec![key.clone()]);
            }
            let writing = match self.flags(command) {
                Some(flags) => flags.writing,
                None => Writing::unknown(command.name()),
            };
            writing.of(command)
        });
        WriteSet::all(each)
    }

    /// What the server says of a command, or of its subcommand where it says something of that.
    fn flags(&self, command: &Command) -> Option<&Flags> {
        let name = command.name();
        let flags = self.commands.get(name)?;
        if !flags.has_subcommands {
            return Some(flags);
        }
        let with_subcommand = format!("{name}|{}", command.subcommand());
        self.commands.get(&with_subcommand).or(Some(flags))
    }

    fn is_allowed(&self, dangerous: &str) -> bool {
        self.allowed.iter().any(|allowed| allowed == dangerous)
    }
}

/// Whether it takes more than the server's table to tell the class of a command of this name.
fn is_mentioned(name: &str) -> bool {
    let refused = REFUSED.iter().flat_map(|(list, _)| list.iter());
    let others = [
        DANGEROUS,
        INTRODUCING,
        BLOCKING,
        ENDING,
        SCRIPTS,
        OPTIONALLY,
    ];
    let mut all = refused.chain(others.into_iter().flatten());
    all.any(|entry| entry.split(' ').next() == Some(name))
}

/// The entries of a command's subcommands, which have flags of their own. Servers before Redis 7 give none.
fn subcommands(entry: &Reply) -> &[Reply] {
    match entry {
        Reply::Array(entry) => match entry.get(9) {
            Some(Reply::Array(subcommands)) => subcommands,
            _ => &[],
        },
        _ => &[],
    }
}

/// Whether an XREAD or XREADGROUP has a BLOCK among its options, which stand before STREAMS. Read as Redis
/// reads it: a group may be called "streams", and a consumer "block".
fn has_block(command: &Command) -> bool {
    let mut args = command.args().iter();
    while let Some(option) = args.next() {
        match keyword(option).as_str() {
            "BLOCK" => return true,
            "GROUP" => {
                args.next();
                args.next();
            }
            "STREAMS" => return false,
            // COUNT and its number, NOACK, or a fault that Redis will find.
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests;
