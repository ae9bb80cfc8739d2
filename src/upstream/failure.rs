//! Why a connection did not come about, and how often that is logged.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Outcome;
use super::connector::BUSY;
use crate::error::Error;
use crate::reply::{Reply, ServerError};

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum Failure {
    /// The server is busy with a script.
    Busy(ServerError),
    /// The server does not let the gateway in.
    Refused(ServerError),
    Other(redis::RedisError),
}

impl Failure {
    /// What becomes of a command for which there is no connection.
    pub(super) fn unsent(&self) -> Outcome {
        self.answer().map(Reply::Error)
    }

    /// What whoever wanted the connection is told: what Redis itself replies while it is busy, or why there is none.
    pub(super) fn answer(&self) -> Result<ServerError, Error> {
        match self {
            Self::Busy(error) => Ok(error.clone()),
            Self::Refused(error) => Err(Error::NotLetIn(error.to_string())),
            Self::Other(_) => Err(Error::Unreachable),
        }
    }
}

impl From<ServerError> for Failure {
    fn from(error: ServerError) -> Self {
        if error.code() == BUSY {
            Self::Busy(error)
        } else {
            Self::Refused(error)
        }
    }
}

impl From<redis::RedisError> for Failure {
    fn from(error: redis::RedisError) -> Self {
        match error.code() {
            Some(code) => ServerError::new(code, error.detail().unwrap_or_default()).into(),
            None => Self::Other(error),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy(error) | Self::Refused(error) => write!(f, "Redis says: {error}"),
            Self::Other(error) => error.fmt(f),
        }
    }
}

/// How long the same is not logged again.
const QUIET: Duration = Duration::from_secs(60);

/// What was said last of something that several see, or that is tried again and again.
#[derive(Debug, Default)]
pub(super) struct LastWords(Mutex<Option<(String, Instant)>>);

impl LastWords {
    /// Whether this is worth saying: it is something else than what was said last, or that is a while ago.
    pub(super) fn are_not(&self, words: &str) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = |(said, at): &(String, Instant)| said == words && at.elapsed() < QUIET;
        if last.as_ref().is_some_and(is_known) {
            return false;
        }
        *last = Some((words.to_owned(), Instant::now()));
        true
    }
}
