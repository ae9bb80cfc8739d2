//! What kind of command a command is: whether it may share a connection, needs one of its own, is a stream,
//! or is refused to everyone.
//!
//! The server's own [COMMAND](https://redis.io/docs/latest/commands/command/) table says which commands block
//! and which only read; what it does not say, namely which would change the state of a connection that
//! others share or stop the server for others, is listed in `lists` and [`DANGEROUS`].

use std::collections::HashMap;

use bytes::Bytes;

use super::keys::KeyPlace;
use super::lists::{BLOCKING, ENDING, INTRODUCING, MIXED, REFUSED, SCRIPTS, is_listed, listed};
use super::spread::Spread;
use super::written::{Writing, Written};
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

/// Why a command is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// The command, with its subcommand if that is what is refused.
    what: &'static str,
    why: &'static str,
    /// Whether `--allow-command` can allow it.
    can_be_allowed: bool,
}

impl Refusal {
    fn for_good(what: &'static str, why: &'static str) -> Self {
        Self {
            what,
            why,
            can_be_allowed: false,
        }
    }

    fn until_allowed(what: &'static str) -> Self {
        Self {
            what,
            why: "it could stop the server, change it for everybody or tell its secrets",
            can_be_allowed: true,
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { what, why, .. } = self;
        write!(f, "{what} is not served here: {why}")?;
        if self.can_be_allowed {
            write!(f, " (--allow-command '{what}' allows it)")?;
        }
        Ok(())
    }
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
    has_subcommands: bool,
    key: KeyPlace,
    spread: Spread,
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
                has_subcommands: matches!(entry.get(9), Some(Reply::Array(all)) if !all.is_empty()),
                key: KeyPlace::from_entry(&name, entry),
                spread: Spread::from_entry(&name, entry),
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
        if !name.bytes().all(|b| b.is_ascii_graphic()) {
            let why = "a command's name is printable ASCII";
            return Class::Refused(Refusal::for_good("this command", why));
        }
        for (list, why) in REFUSED {
            if let Some(what) = listed(command, list) {
                return Class::Refused(Refusal::for_good(what, why));
            }
        }
        if let Some(what) = listed(command, DANGEROUS)
            && !self.is_allowed(what)
        {
            return Class::Refused(Refusal::until_allowed(what));
        }
        if is_listed(command, INTRODUCING) {
            return Class::Local;
        }
        match name {
            // The server calls these blocking, whether or not they do.
            "XREAD" | "XREADGROUP" if has_block(command) => Class::Blocking,
            "XREAD" | "XREADGROUP" => Class::Pooled,
            _ if BLOCKING.contains(&name) || is_listed(command, ENDING) => Class::Blocking,
            _ if self.commands.get(name).is_some_and(|flags| flags.blocking) => Class::Blocking,
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
    pub(super) fn spread(&self, command: &Command) -> Spread {
        match self.flags(command) {
            Some(flags) => flags.spread,
            None => Spread::unknown(command),
        }
    }

    /// What commands may change.
    pub(super) fn written(&self, commands: &[Command]) -> Written {
        let each = commands.iter().map(|command| {
            if let Some(key) = command.key_of_own_script() {
                return Written::Keys(vec![key.clone()]);
            }
            let writing = match self.flags(command) {
                Some(flags) => flags.writing,
                None => Writing::unknown(command.name()),
            };
            writing.of(command)
        });
        Written::all(each)
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
            "COUNT" => {
                args.next();
            }
            "GROUP" => {
                args.next();
                args.next();
            }
            "STREAMS" => return false,
            // NOACK, or a fault that Redis will find.
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(line: &str) -> Class {
        let parts = line.split(' ').map(|part| part.to_owned().into()).collect();
        let command = Command::from_parts(parts).expect("a name");
        let allowed = vec!["CONFIG SET".to_owned()];
        Classes::unknown(allowed).of(&command)
    }

    #[test]
    fn what_is_shared_is_not_changed() {
        for line in [
            "SELECT 1",
            "client reply off",
            "Hello 3",
            "multi",
            "subscribe a",
            "MONITOR",
            "SYNC",
            "post /",
            "Host: x",
            "WAIT 1 0",
            "client reply\0x off",
            "select\0 1",
            "gét a",
        ] {
            assert!(matches!(class(line), Class::Refused(_)), "{line}");
        }
        for line in [
            "CLIENT LIST",
            "client id",
            "SCRIPT LOAD x",
            "GET a",
            "PUBLISH a b",
            "no-such-command",
        ] {
            let class = class(line);
            assert!(matches!(class, Class::Pooled | Class::Guarded), "{line}");
        }
    }

    #[test]
    fn what_is_dangerous_has_to_be_allowed() {
        assert!(matches!(class("SHUTDOWN NOSAVE"), Class::Refused(_)));
        assert!(matches!(class("config rewrite"), Class::Refused(_)));
        assert!(matches!(class("Cluster Forget x"), Class::Refused(_)));
        assert!(matches!(class("MIGRATE h 1 k 0 1"), Class::Refused(_)));
        assert!(matches!(class("pfselftest"), Class::Refused(_)));
        assert_eq!(class("CLUSTER SLOTS"), Class::Pooled);
        assert_eq!(class("client setinfo LIB-NAME x"), Class::Local);
        assert_eq!(class("config set maxmemory 1"), Class::Pooled);
        assert_eq!(class("config resetstat"), Class::Pooled);
        let Class::Refused(refusal) = class("restore k 0 x") else {
            panic!("it is sent");
        };
        assert!(
            refusal
                .to_string()
                .ends_with("(--allow-command 'RESTORE' allows it)")
        );
    }

    #[test]
    fn what_blocks_has_its_own_connection() {
        for line in [
            "blpop a 1",
            "XREAD BLOCK 0 STREAMS a $",
            "xread block\0x 0 streams a $",
            "XREADGROUP GROUP streams block BLOCK 0 STREAMS a >",
            "xreadgroup group g c block 1 streams a >",
            "script kill",
            "FUNCTION KILL",
        ] {
            assert_eq!(class(line), Class::Blocking, "{line}");
        }
        assert_eq!(class("XREAD COUNT 1 STREAMS block 0"), Class::Pooled);
        assert_eq!(class("XREADGROUP GROUP g block STREAMS a >"), Class::Pooled);
    }

    #[test]
    fn scripts_share_a_connection_with_their_likes() {
        for line in ["eval x 0", "fcall f 0", "SCRIPT LOAD x"] {
            assert_eq!(class(line), Class::Guarded, "{line}");
        }
        for line in ["xpending é g", "no-such-command é", "mod.x é"] {
            assert_eq!(class(line), Class::Pooled, "{line}");
        }
    }

    #[test]
    fn the_servers_own_table_counts() {
        let entry = |name: &'static str, flag: &'static str| {
            let flags = Reply::Array(vec![Reply::Status(flag.into())]);
            Reply::Array(vec![Reply::Bulk(name.into()), Reply::Int(2), flags])
        };
        let mut container = vec![Reply::Nil; 9];
        container[0] = Reply::Bulk("object".into());
        container[2] = Reply::Array(Vec::new());
        container.push(Reply::Array(vec![entry("object|encoding", "readonly")]));
        let container = Reply::Array(container);
        let table = Reply::Array(vec![
            entry("mod.take", "blocking"),
            entry("mod.look", "readonly"),
            container,
        ]);
        let classes = Classes::from_reply(&table, Vec::new());
        let command = Command::from_parts(vec!["MOD.TAKE".into()]).expect("a name");
        assert_eq!(classes.of(&command), Class::Blocking);
        let reads = |line: &str| {
            let parts = line.split(' ').map(|part| part.to_owned().into()).collect();
            classes.reads(&Command::from_parts(parts).expect("a name"))
        };
        assert_eq!(reads("MOD.LOOK a"), Some(true));
        assert_eq!(reads("MOD.TAKE"), Some(false));
        assert_eq!(reads("GET a"), None);
        assert_eq!(reads("object encoding a"), Some(true));
        assert_eq!(reads("object forget"), Some(false));
    }
}
