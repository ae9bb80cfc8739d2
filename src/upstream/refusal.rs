//! Why commands are not sent, in words.

/// Why a command is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// The command, with its subcommand if that is what is refused.
    what: &'static str,
    why: &'static str,
    /// Whether `--allow-command` can allow it.
    can_be_allowed: bool,
}

impl Refusal {
    pub(super) fn for_good(what: &'static str, why: &'static str) -> Self {
        Self {
            what,
            why,
            can_be_allowed: false,
        }
    }

    pub(super) fn until_allowed(what: &'static str) -> Self {
        Self {
            what,
            why: "it could stop the server, change it for everybody or tell its secrets",
            can_be_allowed: true,
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { what, why, .. } = self;
        write!(f, "{what} is not served here: {why}")?;
        if self.can_be_allowed {
            write!(f, " (--allow-command '{what}' allows it)")?;
        }
        Ok(())
    }
}
