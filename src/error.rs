//! What can go wrong with a command, as far as the gateway branches on it.
//!
//! Each variant knows whose fault it is: the caller's, the upstream's or the gateway's own. Statuses are
//! not known here; `http::problem` maps every variant to one. Errors that Redis itself replied are not in
//! this enum: they are replies (`reply::ServerError`).

/// Why a command got no reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The caller's fault: the command can never succeed as it stands. Nothing was sent.
    #[error("{0}")]
    Refused(String),
    /// The upstream does not have this command or option. Nothing was sent.
    #[error("{0}")]
    Unsupported(String),
    /// The gateway has as many commands under way as it may. Nothing was sent; safe to try again.
    #[error("too many commands are waiting for Redis; nothing was done, try again")]
    Full,
    /// The upstream takes no connection of the gateway's, in its own words. Nothing was sent.
    #[error("Redis does not let the gateway in: {0}; nothing was done")]
    NotLetIn(String),
    /// There is no connection to the upstream. Nothing was sent; safe to try again.
    #[error("Redis is unreachable; nothing was done, try again")]
    Unreachable,
    /// The upstream broke off after the command was sent: **it may or may not have run**.
    #[error("Redis broke off before it answered; the command may or may not have run")]
    BrokenOff,
    /// No reply came in time after the command was sent: **it may or may not have run**.
    #[error("Redis did not answer in time; the command may or may not have run")]
    TimedOut,
    /// The reply takes more memory than there is for replies. The command has run.
    #[error("the reply is too large to hold now, while others are under way; the command has run")]
    TooLarge,
}

impl Error {
    /// Whether the command may have run all the same. Whoever is told so must not repeat the command
    /// blindly, and nothing sent behind it may overtake it.
    #[must_use]
    pub fn outcome_unknown(&self) -> bool {
        match self {
            Self::BrokenOff | Self::TimedOut => true,
            Self::Refused(_)
            | Self::Unsupported(_)
            | Self::Full
            | Self::NotLetIn(_)
            | Self::Unreachable
            | Self::TooLarge => false,
        }
    }
}
