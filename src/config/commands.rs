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
    "CLUSTER ADDSLOTS",
    "CLUSTER ADDSLOTSRANGE",
    "CLUSTER BUMPEPOCH",
    "CLUSTER DELSLOTS",
    "CLUSTER DELSLOTSRANGE",
    "CLUSTER FAILOVER",
    "CLUSTER FLUSHSLOTS",
    "CLUSTER FORGET",
    "CLUSTER MEET",
    "CLUSTER REPLICATE",
    "CLUSTER RESET",
    "CLUSTER SET-CONFIG-EPOCH",
    "CLUSTER SETSLOT",
    "CONFIG REWRITE",
    "CONFIG SET",
    "DEBUG",
    "FAILOVER",
    "MIGRATE",
    "MODULE LOAD",
    "MODULE LOADEX",
    "MODULE UNLOAD",
    "PFSELFTEST",
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
