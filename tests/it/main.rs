//! Integration tests.

#![allow(
    clippy::unwrap_used,
    reason = "a test says what it expects by unwrapping it, in its helpers too"
)]

/// The blocking client and subscriber against mini-redis, and against servers that misbehave.
mod blocking;
/// Request bodies: lengths, chunks, `100 Continue`, `Upgrade`.
mod bodies;
/// What the ways between sync and async code rest on, and the examples that show them.
mod bridging;
/// Many connections at once, and more than there may be.
mod crowds;
/// What a client may take its time with, and until when.
mod deadlines;
/// What the tests stand on.
mod env;
/// Heads that break a rule, and what is no request at all.
mod faults;
/// Request lines and header fields as a picky client sends them.
mod framing;
/// `/v1/keys`: values, conditions, negotiation.
mod keys;
/// How much a client may send.
mod limits;
/// The OpenAPI document: its two forms, its completeness, its validity.
mod openapi;
/// Many requests on one connection.
mod pipelining;
/// SIGTERM and SIGINT.
mod shutdown;
