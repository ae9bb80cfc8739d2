//! Redis for code that is not async: a client whose calls return when the answer is there.
//!
//! [`BlockingClient`] and the [`BlockingSubscriber`] it turns into hide an async client together
//! with the runtime that drives it, so that a test, a script or a plain thread needs to know
//! neither futures nor executors. This is the simplest of the ways to call async code from sync
//! code, and it pays for that with a runtime for each connection. The gateway's own requests do
//! not come this way: many threads share one runtime there.
//!
//! Two things follow from the runtime inside. Nothing here may be used **in async code**: a call
//! blocks its thread, which tokio answers with a panic if that thread is busy driving a runtime;
//! so does dropping one of these values there. And because the runtime has no thread of its own,
//! it stands still between calls: a message that arrives meanwhile waits in the socket.
//!
//! The async client is mini-redis' own, made for mini-redis' server. Against Redis itself all of
//! it works except [`BlockingClient::set_expires`], whose expiry it writes in a form that Redis
//! refuses.

use std::io;
use std::time::Duration;

mod client;
mod subscriber;

pub use client::{BlockingClient, LONGEST_EXPIRY, SHORTEST_EXPIRY};
pub use subscriber::{BlockingSubscriber, Message, Messages};

/// Why a call of [`BlockingClient`] or [`BlockingSubscriber`] failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No connection came about: the name is unknown, or nobody listens there.
    #[error("cannot connect: {0}")]
    Connect(#[source] io::Error),

    /// The server has ended the connection. Only a new one helps.
    #[error("the server has closed the connection")]
    Closed,

    /// The operating system failed: no runtime could be built, or the socket broke.
    #[error("input or output failed: {0}")]
    Io(#[from] io::Error),

    /// The server did not give the answer the command asks for. The text is the server's own error
    /// message, or describes what came in its place.
    #[error("the server answered: {0}")]
    Server(String),

    /// The expiry is outside [`SHORTEST_EXPIRY`] to [`LONGEST_EXPIRY`]. Nothing has been sent.
    #[error("an expiry of {0:?} is not between 1 ms and 10 years")]
    Expiry(Duration),

    /// A subscription needs at least one channel. Nothing has been sent.
    #[error("no channel to subscribe to")]
    NoChannel,
}

/// What mini-redis says when a connection ends in the middle of an answer. Ends between two answers
/// come as an [`io::Error`] instead.
const CUT_SHORT: &str = "connection reset by peer";

impl Error {
    /// Sorts an error of mini-redis' client, which arrives as a box, by what a caller can do about
    /// it.
    fn from_client(error: mini_redis::Error) -> Error {
        match error.downcast::<io::Error>() {
            Ok(error) => match error.kind() {
                // Which of these it is depends on how far the two sides had got when one hung up.
                io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe => Error::Closed,
                _ => Error::Io(*error),
            },
            Err(error) => match error.to_string() {
                text if text == CUT_SHORT => Error::Closed,
                text => Error::Server(text),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(error: impl Into<mini_redis::Error>) -> Error {
        Error::from_client(error.into())
    }

    #[test]
    fn every_way_of_hanging_up_is_closed() {
        for kind in [
            io::ErrorKind::ConnectionReset,
            io::ErrorKind::ConnectionAborted,
            io::ErrorKind::BrokenPipe,
        ] {
            assert!(matches!(sorted(io::Error::from(kind)), Error::Closed));
        }
        assert!(matches!(sorted(CUT_SHORT), Error::Closed));
    }

    #[test]
    fn other_faults_keep_their_cause() {
        let denied = sorted(io::Error::from(io::ErrorKind::PermissionDenied));
        assert!(
            matches!(denied, Error::Io(error) if error.kind() == io::ErrorKind::PermissionDenied)
        );
        assert!(matches!(sorted("ERR no"), Error::Server(text) if text == "ERR no"));
    }
}
