//! An answer of Redis as a value. No I/O.
//!
//! The shapes are those of [RESP2](https://redis.io/docs/latest/develop/reference/protocol-spec/), which
//! the gateway's command connections speak.

pub(crate) mod fields;

use std::fmt;

use bytes::Bytes;

/// What Redis replied to one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The null bulk string or the null array.
    Nil,
    /// An integer.
    Int(i64),
    /// A simple string, such as `OK`.
    Status(Bytes),
    /// A bulk string: any bytes.
    Bulk(Bytes),
    /// An array of replies.
    Array(Vec<Reply>),
    /// An error that Redis replied. Its neighbours in a pipeline are not concerned.
    Error(ServerError),
}

/// An error in Redis' own words, for example `WRONGTYPE Operation against a key …`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerError {
    code: String,
    detail: String,
}

impl ServerError {
    /// An error of a code (its first word, in capitals) and the text behind it.
    #[must_use]
    pub fn new(code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            detail: detail.into(),
        }
    }

    /// From what follows the `-` of an error's line; what is not UTF-8 is replaced.
    pub(crate) fn from_line(text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(text);
        let (code, detail) = text.split_once(' ').unwrap_or((&text, ""));
        Self::new(code, detail)
    }

    /// The first word: `ERR`, `WRONGTYPE`, `READONLY`, …
    #[must_use]
    pub fn code(&self) -> &str {
        &self.code
    }

    /// What follows the code; empty where nothing does.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

impl fmt::Display for ServerError {
    /// The error as Redis wrote it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.detail.is_empty() {
            f.write_str(&self.code)
        } else {
            write!(f, "{} {}", self.code, self.detail)
        }
    }
}

impl std::error::Error for ServerError {}

impl From<redis::Value> for Reply {
    fn from(value: redis::Value) -> Self {
        use redis::Value;
        match value {
            Value::Nil => Self::Nil,
            Value::Int(n) => Self::Int(n),
            Value::BulkString(bytes) => Self::Bulk(bytes.into()),
            Value::Array(items) | Value::Set(items) => Self::from_items(items),
            Value::SimpleString(text) => Self::Status(text.into()),
            Value::Okay => Self::Status(Bytes::from_static(b"OK")),
            Value::ServerError(error) => Self::Error(ServerError::new(
                error.code(),
                error.details().unwrap_or_default(),
            )),
            // RESP3 only, which the client cache's connection speaks: as RESP2 would have it.
            Value::Map(pairs) => Self::Array(
                pairs
                    .into_iter()
                    .flat_map(|(key, value)| [key.into(), value.into()])
                    .collect(),
            ),
            Value::Attribute { data, .. } => (*data).into(),
            Value::Double(number) => Self::Bulk(number.to_string().into()),
            Value::Boolean(yes) => Self::Int(yes.into()),
            Value::VerbatimString { text, .. } => Self::Bulk(text.into()),
            Value::BigNumber(digits) => Self::Bulk(digits.into()),
            Value::Push { data, .. } => Self::from_items(data),
            // The crate's enum may grow; what it does not know either is shown as it prints it.
            other => Self::Bulk(format!("{other:?}").into()),
        }
    }
}

impl Reply {
    /// About what it takes of memory, in bytes.
    pub(crate) fn size(&self) -> usize {
        let text = match self {
            Self::Bulk(bytes) | Self::Status(bytes) => bytes.len(),
            Self::Error(error) => error.code.len() + error.detail.len(),
            Self::Array(items) => items.iter().map(Self::size).sum(),
            Self::Nil | Self::Int(_) => 0,
        };
        size_of::<Self>() + text
    }

    fn from_items(items: Vec<redis::Value>) -> Self {
        Self::Array(items.into_iter().map(Self::from).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_keeps_redis_own_words() {
        let error = ServerError::new("ERR", "unknown command 'foo'");
        assert_eq!(error.to_string(), "ERR unknown command 'foo'");
        assert_eq!(ServerError::new("MASTERDOWN", "").to_string(), "MASTERDOWN");
    }

    #[test]
    fn shapes_of_resp3_become_those_of_resp2() {
        let map = redis::Value::Map(vec![(redis::Value::Okay, redis::Value::Boolean(true))]);
        let flat = vec![Reply::Status("OK".into()), Reply::Int(1)];
        assert_eq!(Reply::from(map), Reply::Array(flat));
    }
}
