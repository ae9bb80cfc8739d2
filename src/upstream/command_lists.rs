//! Commands by name that the server's own table says too little of (see `classes`). An entry of two words is a
//! command with its subcommand.

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

/// Commands that block if they are asked to.
pub(super) const OPTIONALLY: &[&str] = &["XREAD", "XREADGROUP"];

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

/// Commands that tell a connection of the program behind it, which all clients share here.
pub(super) const INTRODUCING: &[&str] = &["CLIENT SETINFO"];

/// Commands that are never sent, and why.
pub(super) const REFUSED: &[(&[&str], &str)] = &[
    (
        &["POST", "HOST:"],
        "Redis takes it for an HTTP request, and closes the connection",
    ),
    (
        &["WAIT", "WAITAOF"],
        "it waits for the writes of its own connection, which has none",
    ),
    (
        &[
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
        ],
        "it would change the connection that all clients share",
    ),
    (
        &["DISCARD", "EXEC", "MULTI", "UNWATCH", "WATCH"],
        "a transaction goes to /multi-exec as a whole",
    ),
    (
        &[
            "PSUBSCRIBE",
            "PUNSUBSCRIBE",
            "SSUBSCRIBE",
            "SUBSCRIBE",
            "SUNSUBSCRIBE",
            "UNSUBSCRIBE",
        ],
        "subscriptions are event streams: /subscribe/… and /psubscribe/…, and for sharded channels \
         /v1/channels/…/events?sharded=true",
    ),
    (&["MONITOR"], "it is an event stream: /monitor"),
    (&["PSYNC", "REPLCONF", "SYNC"], "it is for replicas"),
];
