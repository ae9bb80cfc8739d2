//! What a token allows. Whatever finer rules there will be, they are asked through [`Grant::allows`].

/// What whoever showed a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// Everything.
    Full,
    /// What changes nothing and tells nothing of others: reading and listening.
    ReadOnly,
}

/// What somebody wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use<'a> {
    /// To run a command.
    Command {
        /// Its name, in either case.
        name: &'a str,
        /// Whether the server counts it among those that only read.
        readonly: bool,
    },
    /// To send a message to a channel.
    Publish,
    /// To listen to channels, patterns or a stream.
    Subscribe,
    /// To see every command that anybody sends.
    Monitor,
    /// To see how the gateway itself is doing.
    Operation,
}

/// A use that a grant does not include.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this token may only read: {0} is not allowed with it")]
pub struct Denied(String);

/// Commands with the server's flag `readonly` that run what somebody wrote: a script that was not declared to
/// write can still do so on some servers, and any can keep the server busy.
const RUN_SCRIPTS: &[&str] = &["EVAL_RO", "EVALSHA_RO", "FCALL_RO"];

/// Whether a command is of those, in either case.
#[must_use]
pub fn runs_script(name: &str) -> bool {
    is_among(name, RUN_SCRIPTS)
}

/// Commands without the flag that touch no data; the last two bracket a transaction, whose commands are asked
/// about one by one.
const TOUCH_NOTHING: &[&str] = &["PING", "ECHO", "MULTI", "EXEC"];

impl Grant {
    /// Whether it includes a use.
    ///
    /// # Errors
    /// What is denied, for people.
    pub fn allows(self, what: &Use<'_>) -> Result<(), Denied> {
        match self {
            Self::Full => Ok(()),
            Self::ReadOnly => reading_allows(what),
        }
    }
}

fn reading_allows(what: &Use<'_>) -> Result<(), Denied> {
    match *what {
        Use::Subscribe | Use::Operation => Ok(()),
        Use::Publish => Err(Denied("publishing".into())),
        Use::Monitor => Err(Denied("MONITOR".into())),
        Use::Command { name, readonly } => {
            if (readonly && !runs_script(name)) || is_among(name, TOUCH_NOTHING) {
                Ok(())
            } else {
                Err(Denied(name.to_ascii_uppercase()))
            }
        }
    }
}

impl<'a> Use<'a> {
    /// The use that a command is, by its name and the server's flag `readonly`.
    #[must_use]
    pub fn of_command(name: &'a str, readonly: bool) -> Self {
        if is_among(name, &["PUBLISH", "SPUBLISH"]) {
            Self::Publish
        } else if is_among(name, &["SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE"]) {
            Self::Subscribe
        } else if is_among(name, &["MONITOR"]) {
            Self::Monitor
        } else {
            Self::Command { name, readonly }
        }
    }
}

fn is_among(name: &str, names: &[&str]) -> bool {
    names.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// Whether a command, whose name is in capitals, only reads, for servers that do not say so. These are the
/// ones that the gateway's own routes send; any other is taken for one that writes.
#[must_use]
pub fn is_readonly(name: &str) -> bool {
    matches!(
        name,
        "EXISTS"
            | "GET"
            | "HEXISTS"
            | "HGET"
            | "HGETALL"
            | "HLEN"
            | "HMGET"
            | "HSCAN"
            | "MGET"
            | "PTTL"
            | "SCAN"
            | "STRLEN"
            | "TTL"
            | "TYPE"
            | "XLEN"
            | "XRANGE"
            | "XREAD"
            | "XREVRANGE"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may_read(name: &str, readonly: bool) -> bool {
        let what = Use::of_command(name, readonly);
        assert_eq!(Grant::Full.allows(&what), Ok(()), "{name}");
        Grant::ReadOnly.allows(&what).is_ok()
    }

    #[test]
    fn reading_is_what_the_server_flags_so_and_little_else() {
        for name in ["GET", "get", "SCAN", "XRANGE", "OBJECT|ENCODING"] {
            assert!(may_read(name, true), "{name}");
        }
        for name in ["PING", "Echo", "SUBSCRIBE", "psubscribe", "SSUBSCRIBE"] {
            assert!(may_read(name, false), "{name}");
        }
        for name in ["EVAL_RO", "evalsha_ro", "FCALL_RO", "MONITOR", "PUBLISH"] {
            assert!(!may_read(name, true), "{name}");
        }
        for name in ["SET", "EVAL", "FCALL", "PUBLISH", "spublish", "MONITOR", ""] {
            assert!(!may_read(name, false), "{name}");
        }
    }

    #[test]
    fn a_reader_may_look_and_is_told_what_not() {
        assert_eq!(Grant::ReadOnly.allows(&Use::Operation), Ok(()));
        let denied = Grant::ReadOnly.allows(&Use::of_command("set", false));
        let said = denied.expect_err("it writes").to_string();
        assert!(said.contains("SET"), "{said}");
    }

    #[test]
    fn what_writes_is_not_taken_for_reading() {
        for name in ["SET", "DEL", "INCRBY", "PEXPIRE", "PERSIST", "HSET", "XADD"] {
            assert!(!is_readonly(name), "{name}");
        }
        assert!(is_readonly("GET"));
    }
}
