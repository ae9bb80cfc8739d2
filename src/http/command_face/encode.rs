//! Replies as the Upstash Redis REST protocol shows them: JSON, with strings in base64 where the client asks
//! for it, or RESP2 as Redis wrote it.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use crate::reply::Reply;

/// How a client wants its replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// JSON; what is not UTF-8 is replaced.
    Plain,
    /// JSON with strings in base64: `Upstash-Encoding: base64`.
    Base64,
    /// No JSON: `Upstash-Response-Format: resp2`.
    Resp2,
}

/// The result of one command, or why there is none.
pub(super) type Item = Result<Reply, String>;

impl Encoding {
    /// The media type of such a body.
    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Plain | Self::Base64 => "application/json",
            Self::Resp2 => "application/octet-stream",
        }
    }

    /// The body for the result of one command.
    pub(super) fn one(self, item: &Item) -> Bytes {
        let mut out = Vec::new();
        self.item(&mut out, item);
        out.into()
    }

    /// The body for the results of several commands.
    pub(super) fn many(self, items: &[Item]) -> Bytes {
        let mut out = Vec::new();
        if self == Self::Resp2 {
            put(&mut out, format_args!("*{}\r\n", items.len()));
            for item in items {
                self.item(&mut out, item);
            }
            return out.into();
        }
        out.push(b'[');
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            self.item(&mut out, item);
        }
        out.push(b']');
        out.into()
    }

    fn item(self, out: &mut Vec<u8>, item: &Item) {
        match item {
            Ok(Reply::Error(error)) => self.error(out, &error.to_string()),
            Err(error) => self.error(out, error),
            Ok(reply) if self == Self::Resp2 => resp2(out, reply),
            Ok(reply) => {
                out.extend_from_slice(b"{\"result\":");
                self.json(out, reply, true);
                out.push(b'}');
            }
        }
    }

    fn error(self, out: &mut Vec<u8>, error: &str) {
        if self == Self::Resp2 {
            resp2_line(out, b'-', error.as_bytes());
        } else {
            // Never encoded: the clients look into it.
            out.extend_from_slice(b"{\"error\":");
            string(out, error);
            out.push(b'}');
        }
    }

    fn json(self, out: &mut Vec<u8>, reply: &Reply, top: bool) {
        match reply {
            Reply::Nil => out.extend_from_slice(b"null"),
            Reply::Int(number) => put(out, format_args!("{number}")),
            // The one string that is never encoded, and only here: in an array every string is.
            Reply::Status(status) if top && &status[..] == b"OK" => {
                out.extend_from_slice(b"\"OK\"")
            }
            Reply::Status(bytes) | Reply::Bulk(bytes) => self.text(out, bytes),
            // Within an array an error has no place of its own.
            Reply::Error(error) => self.text(out, error.to_string().as_bytes()),
            Reply::Array(items) => {
                out.push(b'[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    self.json(out, item, false);
                }
                out.push(b']');
            }
        }
    }

    fn text(self, out: &mut Vec<u8>, bytes: &[u8]) {
        if self == Self::Base64 {
            put(out, format_args!("\"{}\"", STANDARD.encode(bytes)));
        } else {
            string(out, &String::from_utf8_lossy(bytes));
        }
    }
}

fn string(out: &mut Vec<u8>, text: &str) {
    let written = serde_json::to_writer(out, text);
    debug_assert!(written.is_ok(), "a string can always be written to memory");
}

fn put(out: &mut Vec<u8>, what: std::fmt::Arguments<'_>) {
    let mut text = String::new();
    // A String takes whatever is written to it.
    let _ = text.write_fmt(what);
    out.extend_from_slice(text.as_bytes());
}

/// A reply as Redis wrote it.
fn resp2(out: &mut Vec<u8>, reply: &Reply) {
    match reply {
        Reply::Nil => out.extend_from_slice(b"$-1\r\n"),
        Reply::Int(number) => put(out, format_args!(":{number}\r\n")),
        Reply::Status(status) => resp2_line(out, b'+', status),
        Reply::Error(error) => resp2_line(out, b'-', error.to_string().as_bytes()),
        Reply::Bulk(bytes) => {
            put(out, format_args!("${}\r\n", bytes.len()));
            out.extend_from_slice(bytes);
            out.extend_from_slice(b"\r\n");
        }
        Reply::Array(items) => {
            put(out, format_args!("*{}\r\n", items.len()));
            for item in items {
                resp2(out, item);
            }
        }
    }
}

/// A line, which cannot hold a line end.
fn resp2_line(out: &mut Vec<u8>, kind: u8, text: &[u8]) {
    out.push(kind);
    out.extend(
        text.iter()
            .map(|&b| if b == b'\r' || b == b'\n' { b' ' } else { b }),
    );
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::ServerError;

    fn one(encoding: Encoding, reply: Reply) -> String {
        String::from_utf8_lossy(&encoding.one(&Ok(reply))).into_owned()
    }

    fn ok() -> Reply {
        Reply::Status("OK".into())
    }

    #[test]
    fn plain_json_replaces_what_is_not_utf8() {
        let bytes = Reply::Bulk(Bytes::from_static(b"a\"\xFF"));
        assert_eq!(
            one(Encoding::Plain, bytes),
            "{\"result\":\"a\\\"\u{FFFD}\"}"
        );
        assert_eq!(
            one(Encoding::Plain, Reply::Int(i64::MIN)),
            "{\"result\":-9223372036854775808}"
        );
        assert_eq!(one(Encoding::Plain, Reply::Nil), "{\"result\":null}");
    }

    #[test]
    fn in_base64_only_ok_at_the_top_is_bare() {
        assert_eq!(one(Encoding::Base64, ok()), "{\"result\":\"OK\"}");
        let nested = Reply::Array(vec![
            ok(),
            Reply::Int(1),
            Reply::Nil,
            Reply::Array(vec![ok()]),
        ]);
        assert_eq!(
            one(Encoding::Base64, nested),
            "{\"result\":[\"T0s=\",1,null,[\"T0s=\"]]}"
        );
        let pong = Reply::Status("PONG".into());
        assert_eq!(one(Encoding::Base64, pong), "{\"result\":\"UE9ORw==\"}");
        assert_eq!(
            one(Encoding::Base64, Reply::Bulk(Bytes::new())),
            "{\"result\":\"\"}"
        );
    }

    #[test]
    fn errors_are_never_encoded() {
        let error = Reply::Error(ServerError::new("ERR", "no \"such\" thing"));
        let expected = "{\"error\":\"ERR no \\\"such\\\" thing\"}";
        assert_eq!(one(Encoding::Base64, error), expected);
        let many = Encoding::Base64.many(&[Err("refused".into()), Ok(ok())]);
        assert_eq!(many, "[{\"error\":\"refused\"},{\"result\":\"OK\"}]");
    }

    #[test]
    fn resp2_is_as_redis_wrote_it() {
        let reply = Reply::Array(vec![
            ok(),
            Reply::Nil,
            Reply::Int(-1),
            Reply::Bulk("a\r\n".into()),
        ]);
        let expected = "*4\r\n+OK\r\n$-1\r\n:-1\r\n$3\r\na\r\n\r\n";
        assert_eq!(one(Encoding::Resp2, reply), expected);
        let error = Encoding::Resp2.one(&Err("a\r\n+OK".into()));
        assert_eq!(error, "-a  +OK\r\n");
    }
}
