//! Redis over HTTP, on a thread pool: a synchronous server in front of an asynchronous client.
//!
//! The program is `redis-http-gateway`; this library is what it is made of. [`gateway::Gateway`] is the
//! whole; [`http::service::Service`] is the routes alone, for a server of your own; [`BlockingClient`] is
//! mini-redis' client for synchronous code.
//!
//! # The path of a request
//!
//! 1. One thread of the pool waits at the poller for connections that are ready (`http::event_loop`).
//! 2. It reads them and parses every complete request (`http::connection`, `head`, `body`).
//! 3. Each request goes through the checks to its route, whose first half turns it into commands
//!    ([`http::service`], `http::handlers`).
//! 4. The commands of all of them go to Redis as one pipeline, through a cloned `Handle` of the shared runtime
//!    (`http::batch`, [`bridge`], [`upstream`]).
//! 5. Each route's second half turns the replies into a response: at once, or, if Redis takes longer than it pays to
//!    wait, when they are there (`http::finished`).
//! 6. The responses are written, in order, and the connections go back to rest (`http::connection_table`).
//!
//! A request for an event stream ends differently: its connection goes to the [`hub`], which fans the
//! messages of one upstream subscription out to all of them.
//!
//! Imports go down this list of modules, never up: `gateway`, `http`, `auth`, `hub`, `upstream`, `bridge`, `reply`,
//! `command`, `error`, `config`.

pub mod gateway;
pub mod healthcheck;

pub mod http;

pub mod auth;

pub mod hub;

pub mod upstream;

pub mod bridge;

pub mod command;
pub mod config;
pub mod error;
pub mod reply;

pub mod blocking;

pub use blocking::{BlockingClient, BlockingSubscriber};
