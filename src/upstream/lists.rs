//! Commands by name that the server's own table says too little of (see `classes`). An entry of two words is a
//! command with its subcommand.

use crate::command::Command;

/// Commands that block, for servers that do not say so.
pub(super) const BLOCKING: &[&str] = &[
    "BLMOVE",
    "BLMPOP",
    "BLPOP",
    "BRPOP",
    "BRPOPLPUSH",
    "BZMPOP",
    "BZPOPMAX",
    "BZPOPMIN",
];

/// Commands that end what keeps the server busy, and that it takes while it is: over the connection that waits for
/// a script they would wait too.
pub(super) const ENDING: &[&str] = &["FUNCTION KILL", "SCRIPT KILL", "SHUTDOWN"];

/// Commands that run scripts or have to do with them. What a script replies are its own words, not the server's.
pub(super) const SCRIPTS: &[&str] = &[
    "EVAL",
    "EVALSHA",
    "EVALSHA_RO",
    "EVAL_RO",
    "FCALL",
    "FCALL_RO",
    "FUNCTION",
    "SCRIPT",
];

/// Commands that servers before Redis 7 call readonly although not all of their subcommands are.
pub(super) const MIXED: &[&str] = &["MEMORY"];

/// What Redis takes for an HTTP request, and closes the connection.
pub(super) const HTTP: &[&str] = &["POST", "HOST:"];

/// Commands that ask how far the writes of their own connection have come: over one of their own that means
/// nothing, and the shared one they would block.
pub(super) const WAITS: &[&str] = &["WAIT", "WAITAOF"];

/// Commands that tell a connection of the program behind it, which all clients share here.
pub(super) const INTRODUCING: &[&str] = &["CLIENT SETINFO"];

/// Commands that change the state of the connection they are sent over.
pub(super) const STATEFUL: &[&str] = &[
    "ASKING",
    "AUTH",
    "CLIENT CACHING",
    "CLIENT CAPA",
    "CLIENT IMPORT-SOURCE",
    "CLIENT NO-EVICT",
    "CLIENT NO-TOUCH",
    "CLIENT REPLY",
    "CLIENT SETNAME",
    "CLIENT TRACKING",
    "HELLO",
    "QUIT",
    "READONLY",
    "READWRITE",
    "RESET",
    "SCRIPT DEBUG",
    "SELECT",
];

/// Transactions, which have a route of their own.
pub(super) const TRANSACTION: &[&str] = &["DISCARD", "EXEC", "MULTI", "UNWATCH", "WATCH"];

/// Subscriptions, which have routes of their own.
pub(super) const SUBSCRIPTION: &[&str] = &[
    "PSUBSCRIBE",
    "PUNSUBSCRIBE",
    "SSUBSCRIBE",
    "SUBSCRIBE",
    "SUNSUBSCRIBE",
    "UNSUBSCRIBE",
];

/// What replicas say to their masters.
pub(super) const REPLICATION: &[&str] = &["PSYNC", "REPLCONF", "SYNC"];

/// Whether a command, with its subcommand if need be, is in a list.
pub(super) fn is_listed(command: &Command, list: &[&str]) -> bool {
    let name = command.name();
    // Of nearly all entries the first letters tell that it is not that one: every command is looked for in all lists.
    list.iter().any(|entry| match entry.strip_prefix(name) {
        Some("") => true,
        Some(rest) => {
            let second = rest.strip_prefix(' ');
            second.is_some_and(|second| command.subcommand() == second)
        }
        None => false,
    })
}
