//! HTTP: the only folder that knows `tiny_http`, statuses, headers and JSON.
//!
//! A request's path: the `event_loop` finds its connection ready, the `connection` parses it
//! (`head`, `body`), a `batch` takes it through the [`service`] to its `handlers` and its commands to Redis,
//! and the [`response`] back.

mod access;
mod batch;
#[doc(hidden)]
pub mod bench;
mod body;
mod budget;
mod command_face;
mod conditions;
mod connection;
mod connection_limit;
mod connection_table;
mod csrf;
mod date;
mod event_loop;
mod exchange;
mod finished;
mod handlers;
mod handover;
mod head;
mod incoming_body;
mod latency;
pub(crate) mod listener;
mod negotiate;
mod origin;
mod outbox;
mod panics;
pub mod plan;
pub mod problem;
mod query;
pub mod request;
pub mod response;
mod response_context;
pub mod router;
pub mod server;
pub mod service;
mod waiting;
mod work;
