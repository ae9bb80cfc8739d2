//! Settings of how much there may be at once, and how large it may be.

use bytesize::ByteSize;
use clap::Args;

use super::values::{parse_count, parse_head_size, parse_size};

/// How much there may be at once, and how large.
#[derive(Debug, Clone, Args)]
pub struct LimitFlags {
    /// HTTP connections at once, event streams included. Lowered to what the descriptor limit allows.
    #[arg(long, env = "GATEWAY_MAX_CONNECTIONS", value_name = "N", default_value_t = 10_000, value_parser = parse_count, allow_negative_numbers = true)]
    pub max_connections: usize,

    /// The same for each client address (of IPv6: each /64); what comes on top gets a 429. So no single client takes all
    /// connections, blocking commands or memory. Behind a proxy all clients have the same address.
    #[arg(long, env = "GATEWAY_MAX_CONNECTIONS_PER_ADDRESS", value_name = "N", value_parser = parse_count, allow_negative_numbers = true)]
    pub max_connections_per_address: Option<usize>,

    /// Commands under way to Redis at once, over all clients; what comes on top gets a 503, and a single request with more
    /// commands than this a 400. Requests with more than 100 commands are counted separately, so that one client leaves
    /// room for others.
    #[arg(long, env = "GATEWAY_MAX_COMMANDS", value_name = "N", default_value_t = 10_000, value_parser = parse_count, allow_negative_numbers = true)]
    pub max_commands: usize,

    /// Blocking commands (BLPOP, XREAD BLOCK, …) and MONITOR streams at once; what comes on top gets a 503. Each has
    /// a connection of its own.
    #[arg(long, env = "GATEWAY_MAX_BLOCKING", value_name = "N", default_value_t = 100, value_parser = parse_count, allow_negative_numbers = true)]
    pub max_blocking: usize,

    /// The largest head of a request: request line and headers.
    #[arg(
        long,
        env = "GATEWAY_MAX_HEAD",
        value_name = "SIZE",
        default_value = "16KiB", value_parser = parse_head_size)]
    pub max_head: ByteSize,

    /// The largest body of a request. No more than --max-buffered is taken.
    #[arg(
        long,
        env = "GATEWAY_MAX_BODY",
        value_name = "SIZE",
        default_value = "10MiB", value_parser = parse_size, allow_negative_numbers = true
    )]
    pub max_body: ByteSize,

    /// Large bodies and replies held in memory at once, over all clients; what comes on top gets a 503.
    #[arg(
        long,
        env = "GATEWAY_MAX_BUFFERED",
        value_name = "SIZE",
        default_value = "256MiB", value_parser = parse_size, allow_negative_numbers = true
    )]
    pub max_buffered: ByteSize,
}
