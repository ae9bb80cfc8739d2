//! Integration tests.

#![allow(
    clippy::unwrap_used,
    reason = "a test says what it expects by unwrapping it, in its helpers too"
)]

/// The blocking client and subscriber against mini-redis, and against servers that misbehave.
mod blocking;
/// What the ways between sync and async code rest on, and the examples that show them.
mod bridging;
/// A page on another origin, in Chromium.
mod browser;
/// The program as a command: flags, variables, output, exit codes, signals.
mod cli;
/// The embedded engine dies and comes back; a Redis that is away.
mod embedded;
/// What the tests stand on.
mod env;
/// Event streams as one client sees them: form, content, ids, gaps, heartbeats.
mod events;
/// Event streams together: many, slow ones, those that leave, and what is given back then.
mod fanout;
/// `/v1/keys`: values, conditions, negotiation.
mod keys;
/// The OpenAPI document: its two forms, its routes, its completeness, its validity.
mod openapi;
/// What the OpenAPI document says of answers, against answers.
mod operations;
/// Which hosts and origins may use the gateway, over sockets.
mod origin;
/// What the routes refuse, and what they say about it.
mod refusals;
