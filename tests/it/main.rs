//! Integration tests.

#![allow(
    clippy::unwrap_used,
    reason = "a test says what it expects by unwrapping it, in its helpers too"
)]

/// Large audiences of event streams: that come and go, that stall, and whose Redis goes away.
mod audiences;
/// Tokens in requests: who is asked for one, how it is shown, what each allows.
mod auth;
/// The blocking client and subscriber against mini-redis, and against servers that misbehave.
mod blocking;
/// Request bodies: lengths, chunks, `100 Continue`, `Upgrade`.
mod bodies;
/// What the ways between sync and async code rest on, and the examples that show them.
mod bridging;
/// A page on another origin, in Chromium.
mod browser;
/// Any bytes, in by every form of a request and out again.
mod bytes;
/// The program as a command: flags, variables, output, exit codes, signals.
mod cli;
/// `--client-cache`: what is answered without Redis, and that it is never what it should not be.
mod client_cache;
/// A Redis Cluster behind the gateway.
mod cluster;
/// Commands to a Cluster, wherever in it their keys are.
mod cluster_commands;
/// Streams as events, over a Redis Cluster.
mod cluster_streams;
/// Every command that the server has, sent once right and once wrong.
mod command_table;
/// The command face over a real Redis.
mod commands;
/// Writes that happen only if the value is the one that the client knows.
mod compare_and_set;
/// `compose.yaml` and the Dockerfile, without a container.
mod compose;
/// Conditions on requests that write, and parts of values.
mod conditions;
/// Many connections at once, and more than there may be.
mod crowds;
/// What a link or an image could have a browser do.
mod csrf;
/// What a client may take its time with, and until when.
mod deadlines;
/// A server that becomes a replica while the gateway is connected to it.
mod demotion;
/// The embedded engine dies and comes back; a Redis that is away.
mod embedded;
/// The routes behind another server.
mod embedding;
/// What the tests stand on.
mod env;
/// The page's own EventSource in Chromium, and an event stream behind nginx.
mod event_source;
/// Event streams as one client sees them: form, content, ids, gaps, heartbeats.
mod events;
/// Event streams together: many, slow ones, those that leave, and what is given back then.
mod fanout;
/// A Redis some way off, and commands that take their time.
mod far;
/// Heads that break a rule, and what is no request at all.
mod faults;
/// Request lines and header fields as a picky client sends them.
mod framing;
/// Clients that want much, and what the others get beside them.
mod greed;
/// `/v1/hashes` over a real Redis.
mod hashes;
/// `/v1/keys`: values, conditions, negotiation.
mod keys;
/// The life of event streams: how many there may be, how long they last, how they end.
mod lifecycle;
/// How much a client may send.
mod limits;
/// Commands that the gateway answers itself.
mod local_commands;
/// `/monitor`: every command that anybody sends, as an event stream.
mod monitor;
/// Slow clients and those beside them; the gateway when nobody asks.
mod neighbours;
/// The OpenAPI document: its two forms, its completeness, its validity.
mod openapi;
/// What the OpenAPI document says of answers, against answers.
mod operations;
/// Which hosts and origins may use the gateway, over sockets.
mod origin;
/// With `--client-cache`: nobody reads anything older than what they wrote.
mod own_writes;
/// Many requests on one connection.
mod pipelining;
/// The README: what it shows works, and what it says is so.
mod readme;
/// `/v1/keys` over a real Redis.
mod redis_keys;
/// What the routes refuse, and what they say about it.
mod refusals;
/// Channels that Redis does not let the gateway have.
mod refused_topics;
/// A Redis server that goes and comes back.
mod restarts;
/// Coming back by the id of the last event.
mod resume;
/// Scripts that keep Redis busy, or reply what no command does.
mod scripts;
/// The published Upstash SDKs, in programs of their own.
mod sdk;
/// Sentinel groups that speak TLS or have passwords of their own.
mod sentinels;
/// Channels, patterns and Redis streams together on one event stream.
mod several;
/// Sharded channels, over one server and over a Cluster.
mod sharded;
/// SIGTERM and SIGINT.
mod shutdown;
/// The entries of Redis streams as events: order, coming back, what is gone.
mod stream_events;
/// The same where Redis goes or falls silent, and where subscribers do not read.
mod stream_faults;
/// Event streams that end with their Redis stream.
mod stream_over;
/// `/v1/streams` over a real Redis.
mod streams;
/// The rules of the house.
mod tidy;
/// Tokens as settings: flags, files, and those that the program makes.
mod tokens;
/// A Redis that does not let the gateway in.
mod unwelcome;
/// The ways to a Redis server: TLS, passwords, Unix sockets, Sentinels.
mod upstreams;
