//! HTTP: the only folder that knows `tiny_http`, statuses, headers and JSON.
//!
//! A request's way: the `turn` at the poller finds its connection ready, the `connection` parses it
//! (`head`, `body`), a `batch` takes it through the [`service`] to its `handlers` and its commands to Redis,
//! and the [`response`] back.

mod access;
mod batch;
mod body;
mod budget;
mod command_face;
mod conditions;
mod connection;
mod date;
mod entry;
mod finished;
mod handlers;
mod handover;
mod head;
mod incoming;
pub(crate) mod listener;
mod lured;
#[doc(hidden)]
pub mod measured;
mod negotiate;
mod origin;
mod outbox;
mod pace;
mod panics;
mod places;
pub mod plan;
pub mod problem;
mod query;
pub mod request;
pub mod response;
pub mod router;
pub mod server;
pub mod service;
mod table;
mod turn;
mod waiting;
mod work;
