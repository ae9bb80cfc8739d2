//! From the value of an `Authorization` header to the token in it (RFC 6750, RFC 7617).

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Base64 with or without padding: whoever leaves it off means the same.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a request shows of who sends it.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials<'a> {
    /// Nothing.
    Absent,
    /// A token that the sender put there by intent.
    Token(Cow<'a, [u8]>),
    /// A password, which is a token too; but a browser that has once been told it sends it by itself, also
    /// with what another site's page has it send.
    Password(Cow<'a, [u8]>),
    /// Something that holds no token, and why.
    Unusable(&'static str),
}

impl<'a> Credentials<'a> {
    /// What the value of an `Authorization` header holds.
    ///
    /// ```
    /// use redis_http_gateway::auth::Credentials;
    ///
    /// let token = |text: &'static str| Credentials::Token(text.as_bytes().into());
    /// assert_eq!(Credentials::of_header(b"Bearer s3cret"), token("s3cret"));
    /// assert_eq!(
    ///     Credentials::of_header(b"Basic YW55Ym9keTpzM2NyZXQ="), // anybody:s3cret
    ///     Credentials::Password(b"s3cret".into()),
    /// );
    /// ```
    #[must_use]
    pub fn of_header(value: &'a [u8]) -> Self {
        let value = value.trim_ascii();
        let end = memchr::memchr(b' ', value).unwrap_or(value.len());
        let (scheme, rest) = value.split_at(end);
        let rest = rest.trim_ascii();
        if scheme.eq_ignore_ascii_case(b"Bearer") {
            Self::Token(rest.into())
        } else if scheme.eq_ignore_ascii_case(b"Basic") {
            Self::of_basic(rest)
        } else {
            Self::Unusable("Authorization is taken as Bearer or Basic")
        }
    }

    fn of_basic(encoded: &[u8]) -> Self {
        let Ok(mut pair) = BASE64.decode(encoded) else {
            return Self::Unusable("what follows Basic is not base64");
        };
        // The user's name, which has no colon in it, does not matter.
        match memchr::memchr(b':', &pair) {
            Some(colon) => Self::Password(pair.split_off(colon + 1).into()),
            None => Self::Unusable("what follows Basic is no name, colon and password"),
        }
    }
}

impl fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Absent => "Absent",
            Self::Token(_) => "Token(…)",
            Self::Password(_) => "Password(…)",
            Self::Unusable(why) => why,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes_have_no_case_and_spaces_do_not_count() {
        for value in ["Bearer a~1", "bearer a~1", "BEARER   a~1  ", " Bearer a~1"] {
            let token = Credentials::Token(b"a~1".into());
            assert_eq!(Credentials::of_header(value.as_bytes()), token, "{value}");
        }
        for value in ["Basic YTpiOmM=", "basic YTpiOmM", "BASIC  YTpiOmM= "] {
            let password = Credentials::Password(b"b:c".into());
            assert_eq!(
                Credentials::of_header(value.as_bytes()),
                password,
                "{value}"
            );
        }
    }

    #[test]
    fn what_holds_no_token_is_unusable() {
        for value in [
            "",
            "s3cret",
            "Token s3cret",
            "Digest username=a",
            "Bearer:s3cret",
            "Basic",
            "Basic *",
            "Basic YWJj",
            "Basic a:b",
        ] {
            let found = Credentials::of_header(value.as_bytes());
            assert!(matches!(found, Credentials::Unusable(_)), "{value}");
        }
        let empty = Credentials::Token(b"".into());
        assert_eq!(Credentials::of_header(b"Bearer"), empty);
        // Bytes that are no text do no harm.
        let bytes = Credentials::of_header(b"Bearer \xFF\x80");
        assert_eq!(bytes, Credentials::Token(b"\xFF\x80".into()));
    }

    #[test]
    fn debug_tells_no_token() {
        for value in ["Bearer s3cret", "Basic YTpzM2NyZXQ=", "s3cret"] {
            let shown = format!("{:?}", Credentials::of_header(value.as_bytes()));
            assert!(!shown.contains("s3cret"), "{shown}");
        }
    }
}
