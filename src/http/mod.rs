//! HTTP: the only folder that knows `tiny_http`, statuses, headers and JSON.

mod body;
mod budget;
mod date;
mod head;
pub mod problem;
pub mod request;
pub mod response;
