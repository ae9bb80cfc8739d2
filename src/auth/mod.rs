//! Who may use the gateway, and for what: tokens, the credentials that show them, and what each allows.
//!
//! Everything here is pure but for [`random_token`]; where credentials stand in a request, and the statuses
//! of refusals, are HTTP's business. What a token is, is told to nobody.

mod credentials;
mod grant;

use std::fmt;
use std::io;
use std::net::IpAddr;

use subtle::{Choice, ConstantTimeEq};

use crate::config::{Config, Token};

pub use credentials::Credentials;
pub use grant::{Denied, Grant, Use, is_readonly, runs_script};

/// Random bytes of a token that the gateway makes: too many to guess.
const RANDOM_BYTES: usize = 16;

/// The tokens that are known.
#[derive(Clone)]
pub struct Tokens {
    full: Vec<Token>,
    readonly: Vec<Token>,
}

impl Tokens {
    /// Those of the configuration.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self {
            full: config.tokens.clone(),
            readonly: config.readonly_tokens.clone(),
        }
    }

    /// Whether there is none, so that nobody is asked for one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.full.is_empty() && self.readonly.is_empty()
    }

    /// What whoever shows this may do; `None` if it is no token. How long that takes tells nothing of how
    /// much of it was right, nor of which token it is; the length of tokens at most.
    #[must_use]
    pub fn grant(&self, shown: &[u8]) -> Option<Grant> {
        let is_one_of = |tokens: &[Token]| {
            let none = Choice::from(0);
            let found = tokens.iter().fold(none, |found, token| {
                found | token.reveal().as_bytes().ct_eq(shown)
            });
            bool::from(found)
        };
        match (is_one_of(&self.full), is_one_of(&self.readonly)) {
            // Given as both, it is the lesser one.
            (_, true) => Some(Grant::ReadOnly),
            (true, false) => Some(Grant::Full),
            (false, false) => None,
        }
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

/// Whether a gateway with this configuration must not listen at this address: others than this machine reach
/// it, nobody would be asked for a token, and that is not what was said to be wanted.
#[must_use]
pub fn lacks_token(config: &Config, address: IpAddr) -> bool {
    !is_private(address) && !config.no_auth && Tokens::new(config).is_empty()
}

/// Whether a listener at this address is reached from this machine only.
#[must_use]
pub fn is_private(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// A token that nobody can guess, of 32 characters.
///
/// # Errors
/// When the operating system gives no random bytes.
pub fn random_token() -> io::Result<Token> {
    let mut bytes = [0; RANDOM_BYTES];
    getrandom::fill(&mut bytes)?;
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.parse().map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> Tokens {
        let parse = |text: &str| text.parse::<Token>().unwrap();
        Tokens {
            full: vec![parse("s3cret"), parse("other"), parse("both")],
            readonly: vec![parse("reader"), parse("both")],
        }
    }

    #[test]
    fn a_token_is_known_as_a_whole() {
        let grant = |shown: &str| tokens().grant(shown.as_bytes());
        assert_eq!(grant("s3cret"), Some(Grant::Full));
        assert_eq!(grant("other"), Some(Grant::Full));
        assert_eq!(grant("reader"), Some(Grant::ReadOnly));
        assert_eq!(grant("both"), Some(Grant::ReadOnly));
        for wrong in ["", "s3cre", "s3cret ", "S3cret", "s3cretother", "\0"] {
            assert_eq!(grant(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_token_is_not_shown() {
        let config = Config {
            tokens: vec!["s3cret".parse().unwrap()],
            ..Config::default()
        };
        let shown = format!("{:?} {config:?} {:#?}", tokens(), config.tokens);
        assert!(!shown.contains("s3cret"), "{shown}");
    }

    #[test]
    fn only_loopback_needs_no_token() {
        for (address, is_open) in [
            ("127.0.0.1", false),
            ("127.9.9.9", false),
            ("::1", false),
            ("::ffff:127.0.0.1", false),
            ("0.0.0.0", true),
            ("::", true),
            ("10.0.0.7", true),
            ("fe80::1", true),
        ] {
            let address = address.parse().unwrap();
            let mut config = Config::default();
            assert_eq!(lacks_token(&config, address), is_open, "{address}");
            config.readonly_tokens = vec!["reader".parse().unwrap()];
            assert!(!lacks_token(&config, address), "{address}");
            config.readonly_tokens.clear();
            config.no_auth = true;
            assert!(!lacks_token(&config, address), "{address}");
        }
    }

    #[test]
    fn random_tokens_differ() {
        let (one, other) = (random_token().unwrap(), random_token().unwrap());
        assert_eq!(one.reveal().len(), 32);
        assert_ne!(one, other);
    }
}
