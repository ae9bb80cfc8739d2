//! Redis over HTTP, on a thread pool.

pub mod blocking;

pub use blocking::{BlockingClient, BlockingSubscriber};
