//! The flags of event streams.

use std::time::Duration;

use bytesize::ByteSize;
use clap::Args;

use super::{parse_count, parse_time};

/// How event streams are kept alive, and what is kept for those who come back.
#[derive(Debug, Clone, Args)]
pub struct StreamFlags {
    /// Channels, patterns and streams that one event stream may carry.
    #[arg(long, env = "GATEWAY_MAX_TOPICS", value_name = "N", default_value_t = 100, value_parser = parse_count, allow_negative_numbers = true)]
    pub max_topics: usize,

    /// Silence on an event stream after which a comment is sent.
    #[arg(long, env = "GATEWAY_HEARTBEAT", value_name = "TIME", default_value = "15s", value_parser = parse_time)]
    pub heartbeat: Duration,

    /// How long a channel is still listened to after its last subscriber, so that who comes back misses
    /// nothing.
    #[arg(long, env = "GATEWAY_LINGER", value_name = "TIME", default_value = "60s", value_parser = parse_time)]
    pub linger: Duration,

    /// Messages of a channel that are kept for those who come back by their last event id.
    #[arg(long, env = "GATEWAY_REPLAY_EVENTS", value_name = "N", default_value_t = 1000, value_parser = parse_count, allow_negative_numbers = true)]
    pub replay_events: usize,

    /// The same in bytes.
    #[arg(
        long,
        env = "GATEWAY_REPLAY_BYTES",
        value_name = "SIZE",
        default_value = "1MiB"
    )]
    pub replay_bytes: ByteSize,

    /// How long messages are kept.
    #[arg(long, env = "GATEWAY_REPLAY_AGE", value_name = "TIME", default_value = "5m", value_parser = parse_time)]
    pub replay_age: Duration,

    /// What is kept of all channels together.
    #[arg(
        long,
        env = "GATEWAY_REPLAY_MEMORY",
        value_name = "SIZE",
        default_value = "64MiB"
    )]
    pub replay_memory: ByteSize,

    /// What event streams tell browsers to wait before they reconnect; each is told up to half as much again.
    #[arg(long, env = "GATEWAY_RETRY", value_name = "TIME", default_value = "2s", value_parser = parse_time)]
    pub retry: Duration,
}
