//! Redis over HTTP, on a thread pool.

pub mod blocking;
pub mod bridge;
pub mod command;
pub mod config;
pub mod error;
pub mod gateway;
pub mod healthcheck;
pub mod http;
pub mod hub;
pub mod reply;
pub mod upstream;

pub use blocking::{BlockingClient, BlockingSubscriber};
