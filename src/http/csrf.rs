//! What a link or an image on any page can have a browser send, and which commands are run of that.
//!
//! Nobody but who opens the link sees the answer. So what only tells something does no harm; what changes something
//! does, and so does what keeps the server busy for as long as somebody else likes.

use crate::auth::runs_script;
use crate::command::Command;

/// Commands without the server's flag `readonly` that tell something and change nothing. An entry of two words is a
/// command with its subcommand.
const TELLING: &[&str] = &[
    "ACL CAT",
    "ACL GENPASS",
    "ACL GETUSER",
    "ACL HELP",
    "ACL LIST",
    "ACL USERS",
    "ACL WHOAMI",
    "CLIENT GETNAME",
    "CLIENT GETREDIR",
    "CLIENT HELP",
    "CLIENT ID",
    "CLIENT INFO",
    "CLIENT LIST",
    "CLIENT TRACKINGINFO",
    "CLUSTER COUNT-FAILURE-REPORTS",
    "CLUSTER COUNTKEYSINSLOT",
    "CLUSTER GETKEYSINSLOT",
    "CLUSTER HELP",
    "CLUSTER INFO",
    "CLUSTER KEYSLOT",
    "CLUSTER LINKS",
    "CLUSTER MYID",
    "CLUSTER MYSHARDID",
    "CLUSTER NODES",
    "CLUSTER REPLICAS",
    "CLUSTER SHARDS",
    "CLUSTER SLAVES",
    "CLUSTER SLOTS",
    "COMMAND",
    "CONFIG GET",
    "CONFIG HELP",
    "ECHO",
    "FUNCTION DUMP",
    "FUNCTION HELP",
    "FUNCTION LIST",
    "FUNCTION STATS",
    "INFO",
    "LASTSAVE",
    "LATENCY DOCTOR",
    "LATENCY GRAPH",
    "LATENCY HELP",
    "LATENCY HISTOGRAM",
    "LATENCY HISTORY",
    "LATENCY LATEST",
    "MEMORY DOCTOR",
    "MEMORY HELP",
    "MEMORY MALLOC-STATS",
    "MEMORY STATS",
    "MEMORY USAGE",
    "MODULE HELP",
    "MODULE LIST",
    "PING",
    "PUBSUB",
    "ROLE",
    "SCRIPT EXISTS",
    "SCRIPT HELP",
    "SLOWLOG GET",
    "SLOWLOG HELP",
    "SLOWLOG LEN",
    "TIME",
];

/// Whether a command may be run whoever had it sent, given the server's flag `readonly`.
pub(super) fn is_harmless(command: &Command, readonly: bool) -> bool {
    if runs_script(command.name()) {
        return false;
    }
    readonly || command.is_in(TELLING)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_harmless(line: &str, readonly: bool) -> bool {
        super::is_harmless(&Command::of_line(line), readonly)
    }

    #[test]
    fn what_only_tells_does_no_harm() {
        for line in [
            "INFO",
            "info server",
            "client id",
            "Cluster Info",
            "COMMAND",
            "command docs get",
            "PING a",
            "config get maxmemory",
        ] {
            assert!(is_harmless(line, false), "{line}");
        }
        assert!(is_harmless("GET a", true));
    }

    #[test]
    fn what_changes_something_or_runs_a_script_does() {
        for line in [
            "SET a b",
            "PUBLISH a b",
            "CLIENT",
            "client unblock 1",
            "CLUSTER SAVECONFIG",
            "config resetstat",
            "ACL LOG RESET",
            "slowlog reset",
            "MONITOR",
            "BGSAVE",
            "EVAL x 0",
            "no-such-command",
        ] {
            assert!(!is_harmless(line, false), "{line}");
        }
        for line in ["EVAL_RO x 0", "evalsha_ro x 0", "FCALL_RO f 0"] {
            assert!(!is_harmless(line, true), "{line}");
        }
    }
}
