//! Settings of which commands are served although they are dangerous.

/// Commands that stop or take over the server for everybody.
pub const DANGEROUS: &[&str] = &[
    "ACL DELUSER",
    "ACL LOAD",
    "ACL SAVE",
    "ACL SETUSER",
    "CLIENT KILL",
    "CLIENT PAUSE",
    "CLIENT UNPAUSE",
    "CLUSTER FAILOVER",
    "CLUSTER RESET",
    "CONFIG REWRITE",
    "CONFIG SET",
    "DEBUG",
    "FAILOVER",
    "MODULE LOAD",
    "MODULE LOADEX",
    "MODULE UNLOAD",
    "REPLICAOF",
    "SAVE",
    "SHUTDOWN",
    "SLAVEOF",
];

pub(super) fn parse_command(text: &str) -> Result<String, String> {
    let name = text.to_ascii_uppercase();
    if DANGEROUS.contains(&name.as_str()) {
        Ok(name)
    } else {
        Err(format!("one of these is wanted: {}", DANGEROUS.join(", ")))
    }
}
