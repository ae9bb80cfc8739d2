//! Settings of which commands are served although they are dangerous.

/// Commands that stop the server, take it over or take part of it away from others, or tell its secrets. (RESTORE: what
/// it is given can bring a server down, which by default does not look at it first. The modules that come with Redis 8 call
/// theirs readonly: SEARCH.CLUSTERSET says to which hosts searches go, and with what passwords.)
pub const DANGEROUS: &[&str] = &[
    "ACL DELUSER",
    "ACL GETUSER",
    "ACL LIST",
    "ACL LOAD",
    "ACL SAVE",
    "ACL SETUSER",
    "CLIENT KILL",
    "CLIENT PAUSE",
    "CLIENT UNBLOCK",
    "CLIENT UNPAUSE",
    "CLUSTER ADDSLOTS",
    "CLUSTER ADDSLOTSRANGE",
    "CLUSTER BUMPEPOCH",
    "CLUSTER CANCELSLOTMIGRATIONS",
    "CLUSTER DELSLOTS",
    "CLUSTER DELSLOTSRANGE",
    "CLUSTER FAILOVER",
    "CLUSTER FLUSHSLOTS",
    "CLUSTER FORGET",
    "CLUSTER MEET",
    "CLUSTER MIGRATESLOTS",
    "CLUSTER MIGRATION",
    "CLUSTER REPLICATE",
    "CLUSTER RESET",
    "CLUSTER SAVECONFIG",
    "CLUSTER SET-CONFIG-EPOCH",
    "CLUSTER SETSLOT",
    "CLUSTER SYNCSLOTS",
    "CONFIG GET",
    "CONFIG REWRITE",
    "CONFIG SET",
    "DEBUG",
    "FAILOVER",
    "FT.CONFIG SET",
    "FT.DEBUG",
    "MIGRATE",
    "MODULE LOAD",
    "MODULE LOADEX",
    "MODULE UNLOAD",
    "PFDEBUG",
    "PFSELFTEST",
    "REPLICAOF",
    "RESTORE",
    "RESTORE-ASKING",
    "SAVE",
    "SEARCH.CLUSTERSET",
    "SHUTDOWN",
    "SLAVEOF",
    "TIMESERIES.CLUSTERSET",
    "TIMESERIES.CLUSTERSETFROMSHARD",
    "TIMESERIES.INNERCOMMUNICATION",
    "_FT.CONFIG",
    "_FT.DEBUG",
];

pub(super) fn parse_command(text: &str) -> Result<String, String> {
    let name = text.to_ascii_uppercase();
    if DANGEROUS.contains(&name.as_str()) {
        Ok(name)
    } else {
        Err(format!("one of these is wanted: {}", DANGEROUS.join(", ")))
    }
}
