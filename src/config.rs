//! Settings: the flags and environment variables as given ([`Flags`]), and as checked ([`Config`]).
//!
//! Every default is here. Past this file settings are trusted and never looked at as text again.

mod access;
mod client_cache;
mod commands;
mod limits;
mod sites;
mod streams;
mod upstream;
mod values;

use std::net::SocketAddr;
use std::time::Duration;

use bytesize::ByteSize;
use clap::builder::Resettable;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

pub use access::{AccessFlags, Token, TokenFile};
pub use client_cache::CacheFlags;
pub use commands::DANGEROUS;
use commands::parse_command;
pub use limits::LimitFlags;
pub use sites::AllowedOrigin;
use sites::{parse_host, parse_origin};
pub use streams::StreamFlags;
pub use upstream::{
    Address, Certificates, Identity, Key, Password, Place, Sentinels, Server, Tls, UpstreamFlags,
    UpstreamUrl,
};
use values::{parse_address, parse_count, parse_log, parse_size, parse_time};

/// Redis over HTTP: REST routes and Server-Sent Events in front of Redis.
///
/// Every flag can also be given as the environment variable named beside it.
#[derive(Debug, Parser)]
#[command(name = "redis-http-gateway", version, max_term_width = 100)]
pub struct Cli {
    /// What to do; without it: serve.
    #[command(subcommand)]
    pub command: Option<Action>,
    /// The settings.
    #[command(flatten)]
    pub flags: Flags,
}

impl Cli {
    /// Whether the flags make sense together; each by itself has been parsed.
    ///
    /// # Errors
    /// A usage error that names those that do not.
    pub fn check(&self) -> Result<(), clap::Error> {
        let flags = &self.flags;
        let access = flags.access.check();
        let checked = access
            .and_then(|()| flags.upstream.check())
            .and_then(|()| flags.client_cache.check(&flags.upstream.url));
        checked.map_err(|error| error.with_cmd(&Self::command()))
    }
}

/// What the program can do besides serving.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum Action {
    /// Asks the gateway at --listen for its health; exit code 0 if it answers well, 1 if not. For
    /// Docker's HEALTHCHECK.
    Healthcheck,
}

/// The flags as given, each with its environment variable and default.
#[derive(Debug, Clone, Args)]
pub struct Flags {
    /// IP address and port to listen on; port 0 takes a free one.
    #[arg(
        long,
        env = "GATEWAY_LISTEN",
        value_name = "ADDR",
        default_value = "127.0.0.1:8080",
        value_parser = parse_address,
        global = true
    )]
    pub listen: SocketAddr,

    /// Which Redis to serve.
    #[command(flatten)]
    pub upstream: UpstreamFlags,

    /// Who may use it.
    #[command(flatten)]
    pub access: AccessFlags,

    /// Threads that serve HTTP. They do not wait for connections, so a few are enough.
    #[arg(long, env = "GATEWAY_THREADS", value_name = "N", default_value_t = 4, value_parser = parse_count, allow_negative_numbers = true)]
    pub threads: usize,

    /// Threads of the runtime that talks to Redis.
    #[arg(long, env = "GATEWAY_RUNTIME_THREADS", value_name = "N", default_value_t = 1, value_parser = parse_count, allow_negative_numbers = true)]
    pub runtime_threads: usize,

    /// How much there may be at once, and how large.
    #[command(flatten)]
    pub limits: LimitFlags,

    /// How much may wait for one subscriber of event streams; one that falls further behind is disconnected.
    #[arg(
        long,
        env = "GATEWAY_SUBSCRIBER_BUFFER",
        value_name = "SIZE",
        default_value = "1MiB", value_parser = parse_size, allow_negative_numbers = true
    )]
    pub subscriber_buffer: ByteSize,

    /// The cache of values.
    #[command(flatten)]
    pub client_cache: CacheFlags,

    /// Time for a request's head to arrive, from its first byte.
    #[arg(long, env = "GATEWAY_HEAD_TIMEOUT", value_name = "TIME", default_value = "10s", value_parser = parse_time)]
    pub head_timeout: Duration,

    /// Time for a request's body to arrive, from the end of its head.
    #[arg(long, env = "GATEWAY_BODY_TIMEOUT", value_name = "TIME", default_value = "60s", value_parser = parse_time)]
    pub body_timeout: Duration,

    /// How long a connection may be idle between requests.
    #[arg(long, env = "GATEWAY_IDLE_TIMEOUT", value_name = "TIME", default_value = "75s", value_parser = parse_time)]
    pub idle_timeout: Duration,

    /// How long a client may read nothing while an answer or an event waits for it.
    #[arg(long, env = "GATEWAY_WRITE_TIMEOUT", value_name = "TIME", default_value = "30s", value_parser = parse_time)]
    pub write_timeout: Duration,

    /// How long a command may wait for its reply.
    #[arg(long, env = "GATEWAY_COMMAND_TIMEOUT", value_name = "TIME", default_value = "5s", value_parser = parse_time)]
    pub command_timeout: Duration,

    /// How long a blocking command (BLPOP, XREAD BLOCK, …) may block. It has a second more for its reply, and is given up
    /// then with a 504; the time-out in the command itself is not changed.
    #[arg(long, env = "GATEWAY_BLOCKING_TIMEOUT", value_name = "TIME", default_value = "60s", value_parser = parse_time)]
    pub blocking_timeout: Duration,

    /// How long connecting to Redis may take.
    #[arg(long, env = "GATEWAY_CONNECT_TIMEOUT", value_name = "TIME", default_value = "2s", value_parser = parse_time)]
    pub connect_timeout: Duration,

    /// How long requests in progress may go on after SIGTERM or SIGINT.
    #[arg(long, env = "GATEWAY_SHUTDOWN_TIMEOUT", value_name = "TIME", default_value = "5s", value_parser = parse_time)]
    pub shutdown_timeout: Duration,

    /// Those of event streams.
    #[command(flatten)]
    pub streams: StreamFlags,

    /// A site whose pages may use this gateway, such as `https://app.example.com`, or * for every site.
    /// May be given several times, or separated by commas.
    #[arg(long, env = "GATEWAY_ALLOW_ORIGIN", value_name = "ORIGIN", value_delimiter = ',', value_parser = parse_origin)]
    pub allow_origin: Vec<AllowedOrigin>,

    /// A DNS name by which this gateway may be addressed, besides localhost and IP addresses. May be
    /// given several times, or separated by commas.
    #[arg(long, env = "GATEWAY_ALLOW_HOST", value_name = "NAME", value_delimiter = ',', value_parser = parse_host)]
    pub allow_host: Vec<String>,

    /// A dangerous command that is refused unless it is named here, such as SHUTDOWN or "CONFIG SET". May be
    /// given several times, or separated by commas.
    #[arg(long, env = "GATEWAY_ALLOW_COMMAND", value_name = "COMMAND", value_delimiter = ',', value_parser = parse_command)]
    pub allow_command: Vec<String>,

    /// What to log to stderr: off, error, warn, info, debug or trace; for a module, module=level. Several are separated by
    /// commas, as in info,redis_http_gateway::hub=debug.
    #[arg(long, env = "GATEWAY_LOG", value_name = "FILTER", default_value = "info,mini_redis=error", value_parser = parse_log)]
    pub log: LogFilter,
}

/// A filter for the log, in the syntax of `tracing_subscriber::filter::Targets`.
pub type LogFilter = tracing_subscriber::filter::Targets;

/// The settings after every check, as the library takes them.
#[derive(Debug, Clone)]
pub struct Config {
    /// Which Redis to serve.
    pub upstream: UpstreamUrl,
    /// Tokens that may do everything. Where there is any token, of either kind, one is needed.
    pub tokens: Vec<Token>,
    /// Tokens that may only read.
    pub readonly_tokens: Vec<Token>,
    /// Whether a gateway without tokens may listen where others than this machine reach it.
    pub no_auth: bool,
    /// Threads of the pool that serves HTTP.
    pub threads: usize,
    /// Worker threads of the runtime that talks to Redis.
    pub runtime_threads: usize,
    /// The most connections at once, event streams among them. There are fewer if the limit of open files is too low.
    pub max_connections: usize,
    /// The most connections of one client address at once, event streams among them; `None` is no limit.
    pub max_connections_per_address: Option<usize>,
    /// The most commands under way at once.
    pub max_commands: usize,
    /// The most commands that block and MONITOR streams at once.
    pub max_blocking: usize,
    /// The most bytes of a request's head; 64 KiB at most.
    pub max_head: usize,
    /// The most bytes of a request's body. No more than `max_buffered` are taken, or 64 KiB if that is less.
    pub max_body: usize,
    /// The most bytes of large bodies and replies that are held at once.
    pub max_buffered: usize,
    /// The most bytes that may wait for one subscriber.
    pub subscriber_buffer: usize,
    /// The bytes of the client cache; `None` for no cache.
    pub client_cache: Option<usize>,
    /// Time from the first byte of a request's head to its last.
    pub head_timeout: Duration,
    /// Time from the end of a request's head to the end of its body.
    pub body_timeout: Duration,
    /// How long a connection may be idle between two requests.
    pub idle_timeout: Duration,
    /// How long a client may take nothing of what waits for it.
    pub write_timeout: Duration,
    /// Time from sending a command to its reply.
    pub command_timeout: Duration,
    /// How long a command that blocks may block.
    pub blocking_timeout: Duration,
    /// How long connecting to Redis may take.
    pub connect_timeout: Duration,
    /// How long requests in progress may go on at shutdown.
    pub shutdown_timeout: Duration,
    /// The most channels, patterns and streams on one event stream.
    pub max_topics: usize,
    /// How long an event stream is silent before a comment is sent.
    pub heartbeat: Duration,
    /// Threads that write to event streams.
    pub fanout_threads: usize,
    /// The most event streams at once; `None` for as many as there may be connections, less a sixteenth.
    pub max_subscribers: Option<usize>,
    /// The most event streams at once of one client address; `None` for no limit.
    pub max_subscribers_per_address: Option<usize>,
    /// How long an event stream may last; `None` for as long as its client stays.
    pub max_stream_age: Option<Duration>,
    /// How long a channel stays subscribed after its last listener has left.
    pub linger: Duration,
    /// The most messages that are kept of a channel for clients that come back.
    pub replay_events: usize,
    /// The most bytes that are kept of a channel.
    pub replay_bytes: usize,
    /// How long messages are kept.
    pub replay_age: Duration,
    /// The most bytes that are kept of all channels together.
    pub replay_memory: usize,
    /// The least that streams tell browsers to wait before reconnecting.
    pub retry: Duration,
    /// Sites whose pages may use the gateway.
    pub allow_origin: Vec<AllowedOrigin>,
    /// DNS names by which the gateway may be addressed, in lower case.
    pub allow_host: Vec<String>,
    /// Dangerous commands that are allowed, in capitals, with their subcommand if any.
    pub allow_command: Vec<String>,
}

impl Default for Config {
    /// What the program runs with when neither a flag nor a variable is given.
    fn default() -> Self {
        // The environment is that of whoever uses the library: it may say something, or something wrong.
        let command = Cli::command().mut_args(|arg| arg.env(Resettable::Reset));
        let matches = command.get_matches_from(["redis-http-gateway"]);
        let cli = Cli::from_arg_matches(&matches).expect("every default can be parsed");
        Self::from(&cli.flags)
    }
}

impl From<&Flags> for Config {
    fn from(flags: &Flags) -> Self {
        let bytes = |size: ByteSize| usize::try_from(size.as_u64()).unwrap_or(usize::MAX);
        Self {
            upstream: flags.upstream.upstream(),
            tokens: flags.access.tokens(),
            readonly_tokens: flags.access.readonly_tokens(),
            no_auth: flags.access.no_auth,
            threads: flags.threads,
            runtime_threads: flags.runtime_threads,
            max_connections: flags.limits.max_connections,
            max_connections_per_address: flags.limits.max_connections_per_address,
            max_commands: flags.limits.max_commands,
            max_blocking: flags.limits.max_blocking,
            max_head: bytes(flags.limits.max_head),
            max_body: bytes(flags.limits.max_body),
            max_buffered: bytes(flags.limits.max_buffered),
            subscriber_buffer: bytes(flags.subscriber_buffer),
            client_cache: flags.client_cache.size(),
            head_timeout: flags.head_timeout,
            body_timeout: flags.body_timeout,
            idle_timeout: flags.idle_timeout,
            write_timeout: flags.write_timeout,
            command_timeout: flags.command_timeout,
            blocking_timeout: flags.blocking_timeout,
            connect_timeout: flags.connect_timeout,
            shutdown_timeout: flags.shutdown_timeout,
            max_topics: flags.streams.max_topics,
            heartbeat: flags.streams.heartbeat,
            fanout_threads: flags.streams.fanout_threads,
            max_subscribers: flags.streams.max_subscribers,
            max_subscribers_per_address: flags.streams.max_subscribers_per_address,
            max_stream_age: flags.streams.max_stream_age,
            linger: flags.streams.linger,
            replay_events: flags.streams.replay_events,
            replay_bytes: bytes(flags.streams.replay_bytes),
            replay_age: flags.streams.replay_age,
            replay_memory: bytes(flags.streams.replay_memory),
            retry: flags.streams.retry,
            allow_origin: flags.allow_origin.clone(),
            allow_host: flags.allow_host.clone(),
            allow_command: flags.allow_command.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Config, String> {
        let args = [&["redis-http-gateway"], args].concat();
        match Cli::try_parse_from(args) {
            Ok(cli) => Ok(Config::from(&cli.flags)),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn the_defaults_are_valid() {
        let config = Config::default();
        assert_eq!(config.max_body, 10 * 1024 * 1024);
        assert_eq!(config.heartbeat, Duration::from_secs(15));
        assert!(matches!(config.upstream, UpstreamUrl::Embedded));
    }

    #[test]
    fn a_wrong_value_is_an_error_that_names_its_flag() {
        for (flag, value) in [
            ("--listen", "8080"),
            ("--upstream", "http://localhost"),
            ("--threads", "0"),
            ("--max-connections", "-1"),
            ("--max-body", "ten"),
            ("--head-timeout", "10"),
            ("--idle-timeout", "0s"),
            ("--allow-origin", "app.example.com"),
            ("--allow-host", "example.com:80"),
            ("--log", "info=what=this"),
        ] {
            let error = parse(&[flag, value]).expect_err(flag);
            assert!(error.contains(flag), "{flag} {value}: {error}");
        }
    }

    #[test]
    fn lists_may_be_separated_by_commas() {
        let config = parse(&["--allow-origin", "https://A.example,http://b.example:81"]);
        let sites = ["https://a.example", "http://b.example:81"];
        let sites = sites.map(|site| AllowedOrigin::Site(site.into()));
        assert_eq!(config.map(|config| config.allow_origin), Ok(sites.into()));
    }
}
