//! The flags of event streams.

use std::time::Duration;

use bytesize::ByteSize;
use clap::Args;

use super::values::{parse_count, parse_size, parse_time};

/// How event streams are kept alive, and what is kept for those who come back.
#[derive(Debug, Clone, Args)]
pub struct StreamFlags {
    /// Channels, patterns and streams that one event stream may carry.
    #[arg(long, env = "GATEWAY_MAX_TOPICS", value_name = "N", default_value_t = 100, value_parser = parse_count, allow_negative_numbers = true)]
    pub max_topics: usize,

    /// Silence on an event stream after which a comment is sent.
    #[arg(long, env = "GATEWAY_HEARTBEAT", value_name = "TIME", default_value = "15s", value_parser = parse_time)]
    pub heartbeat: Duration,

    /// Threads that share the event streams and write to them. One serves some 100,000 events a second; more pay where
    /// there are more cores than two.
    #[arg(long, env = "GATEWAY_FANOUT_THREADS", value_name = "N", default_value_t = 1, value_parser = parse_count, allow_negative_numbers = true)]
    pub fanout_threads: usize,

    /// Event streams at once. A new one beyond that ends the oldest whose client reconnects by itself, as browsers do; if
    /// none of them has lasted for --retry, the new one gets a 503. Never more than fifteen sixteenths of the connections:
    /// the rest is for requests.
    #[arg(long, env = "GATEWAY_MAX_SUBSCRIBERS", value_name = "N", value_parser = parse_count, allow_negative_numbers = true)]
    pub max_subscribers: Option<usize>,

    /// The same for each client address (of IPv6: each /64), with a 429 instead of the 503. Behind a proxy all clients have
    /// the same address.
    #[arg(long, env = "GATEWAY_MAX_SUBSCRIBERS_PER_ADDRESS", value_name = "N", value_parser = parse_count, allow_negative_numbers = true)]
    pub max_subscribers_per_address: Option<usize>,

    /// How long an event stream may last before it ends, so that its client reconnects, perhaps to another
    /// gateway; each lasts up to a fifth less, by chance. Without it, a stream lasts for as long as the client stays.
    #[arg(long, env = "GATEWAY_MAX_STREAM_AGE", value_name = "TIME", value_parser = parse_time)]
    pub max_stream_age: Option<Duration>,

    /// How long a channel stays subscribed after its last listener has left, so that who reconnects misses
    /// nothing.
    #[arg(long, env = "GATEWAY_LINGER", value_name = "TIME", default_value = "60s", value_parser = parse_time)]
    pub linger: Duration,

    /// Messages of a channel that are kept for those who reconnect with their last event id.
    #[arg(long, env = "GATEWAY_REPLAY_EVENTS", value_name = "N", default_value_t = 1000, value_parser = parse_count, allow_negative_numbers = true)]
    pub replay_events: usize,

    /// The same in bytes.
    #[arg(
        long,
        env = "GATEWAY_REPLAY_BYTES",
        value_name = "SIZE",
        default_value = "1MiB", value_parser = parse_size, allow_negative_numbers = true
    )]
    pub replay_bytes: ByteSize,

    /// How long messages are kept.
    #[arg(long, env = "GATEWAY_REPLAY_AGE", value_name = "TIME", default_value = "5m", value_parser = parse_time)]
    pub replay_age: Duration,

    /// Memory for the messages kept of all channels together, and for their encoded forms.
    #[arg(
        long,
        env = "GATEWAY_REPLAY_MEMORY",
        value_name = "SIZE",
        default_value = "64MiB", value_parser = parse_size, allow_negative_numbers = true
    )]
    pub replay_memory: ByteSize,

    /// How long event streams tell browsers to wait before they reconnect; each is told up to half as much again.
    #[arg(long, env = "GATEWAY_RETRY", value_name = "TIME", default_value = "2s", value_parser = parse_time)]
    pub retry: Duration,
}
