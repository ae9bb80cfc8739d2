//! A response as a value, and the one place that writes it.

use std::borrow::Cow;
use std::io::Cursor;

use bytes::Bytes;
use tiny_http::{HTTPVersion, Header, StatusCode};

use super::problem::Problem;

/// Fields that most responses have room for, so that they grow no list.
const FIELDS: usize = 8;

/// Room for what the head has besides the response's own fields.
const OTHER_FIELDS: usize = 192;

/// A response whose body is known. The routes give these; they know no socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// Header fields besides those that depend on the connection.
    pub headers: Vec<(&'static str, Cow<'static, str>)>,
    /// The body; empty where HTTP wants none.
    pub body: Bytes,
    /// Whether this is the head of a body whose end is not known; it goes on where the response ends.
    endless: bool,
}

/// What a response's form depends on besides itself.
#[derive(Debug, Clone)]
pub(super) struct Form {
    pub(super) version: HTTPVersion,
    /// The request was a HEAD: the same headers, no body.
    pub(super) head_only: bool,
    /// The connection can be used again.
    pub(super) keep_alive: bool,
}

impl Form {
    /// For something that is no request, so that the connection ends.
    pub(super) fn of_a_fault() -> Self {
        Self {
            version: HTTPVersion(1, 1),
            head_only: false,
            keep_alive: false,
        }
    }
}

impl Response {
    /// A response without a body.
    #[must_use]
    pub fn new(status: u16) -> Self {
        Self {
            status,
            headers: Vec::with_capacity(FIELDS),
            body: Bytes::new(),
            endless: false,
        }
    }

    /// The response as the head of a body whose end is not known.
    #[must_use]
    pub(super) fn endless(mut self) -> Self {
        self.endless = true;
        self
    }

    /// 200 with a JSON document, a line end behind it.
    #[must_use]
    pub fn json(value: &serde_json::Value) -> Self {
        Self::new(200).body("application/json", format!("{value}\n"))
    }

    /// The response with a body of a media type.
    #[must_use]
    pub fn body(self, media_type: &'static str, body: impl Into<Bytes>) -> Self {
        let mut response = self.header("Content-Type", media_type);
        response.body = body.into();
        response
    }

    /// The response with one more header field. The value must be printable ASCII; a response with any
    /// other is replaced by a 500 when it is written, so nothing a client supplied can split a header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The same as `tiny_http` has it, for a server that is built on it.
    #[must_use]
    pub fn into_tiny_http(self) -> tiny_http::Response<Cursor<Bytes>> {
        let Some(headers) = self.tiny_headers() else {
            tracing::error!(?self.headers, "a header of a response is not printable ASCII");
            return Self::from(Problem::defect()).into_tiny_http();
        };
        let length = (!self.endless).then_some(self.body.len());
        let body = Cursor::new(self.body);
        tiny_http::Response::new(StatusCode(self.status), headers, body, length, None)
            // tiny_http would send longer bodies in chunks, without their length.
            .with_chunked_threshold(usize::MAX)
    }

    fn tiny_headers(&self) -> Option<Vec<Header>> {
        let headers = self.headers.iter();
        let headers = headers.map(|(name, value)| Header::from_bytes(*name, value.as_bytes()).ok());
        self.is_printable().then_some(headers)?.collect()
    }

    /// Appends the response, as it goes over the wire, to a buffer.
    pub(super) fn write(self, out: &mut Vec<u8>, form: &Form) {
        let left = self.write_all_but(usize::MAX, out, form);
        debug_assert!(left.is_none(), "no body is that large");
    }

    /// The response as it goes over the wire.
    pub(super) fn into_bytes(self, form: &Form) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write(&mut bytes, form);
        bytes
    }

    /// The same as [`Self::write`], but for a body of this size or more, which is given back: it follows.
    ///
    /// By hand, in one piece: `raw_print` of `tiny_http` first makes two strings of every field. Measured: 0.2 µs
    /// instead of 1.0.
    pub(super) fn write_all_but(
        self,
        large: usize,
        out: &mut Vec<u8>,
        form: &Form,
    ) -> Option<Bytes> {
        if !self.is_printable() {
            tracing::error!(?self.headers, "a header of a response is not printable ASCII");
            return Self::from(Problem::defect()).write_all_but(large, out, form);
        }
        let fields = self.headers.iter();
        let size: usize = fields
            .map(|(name, value)| name.len() + value.len() + 4)
            .sum();
        let is_large = self.body.len() >= large;
        let beside = if is_large { 0 } else { self.body.len() };
        out.reserve(size + beside + OTHER_FIELDS);
        let HTTPVersion(major, minor) = form.version;
        let reason = StatusCode(self.status).default_reason_phrase();
        let mut digits = itoa::Buffer::new();
        for part in ["HTTP/", digits.format(major)] {
            out.extend_from_slice(part.as_bytes());
        }
        for part in [".", digits.format(minor), " "] {
            out.extend_from_slice(part.as_bytes());
        }
        for part in [digits.format(self.status), " ", reason, "\r\n"] {
            out.extend_from_slice(part.as_bytes());
        }
        let connection: &[u8] = match (form.keep_alive, form.version <= (1, 0)) {
            (true, false) => b"",
            (true, true) => b"Connection: keep-alive\r\n",
            (false, _) => b"Connection: close\r\n",
        };
        out.extend_from_slice(connection);
        for (name, value) in &self.headers {
            for part in [*name, ": ", &**value, "\r\n"] {
                out.extend_from_slice(part.as_bytes());
            }
        }
        super::date::append(out);
        out.extend_from_slice(b"Server: redis-http-gateway\r\n");
        // RFC 9110, 8.6: no Content-Length in a 204, and in a 304 only that of the 200.
        let is_bare = matches!(self.status, 204 | 304);
        if self.endless && form.version > (1, 0) {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        } else if !is_bare && !self.endless {
            for part in ["Content-Length: ", digits.format(self.body.len()), "\r\n"] {
                out.extend_from_slice(part.as_bytes());
            }
        }
        out.extend_from_slice(b"\r\n");
        if form.head_only || self.endless || is_bare {
            return None;
        }
        if is_large {
            return Some(self.body);
        }
        out.extend_from_slice(&self.body);
        None
    }

    /// Whether nothing in it could be taken for the end of a header field.
    fn is_printable(&self) -> bool {
        let printable = |value: &str| value.bytes().all(|b| (b' '..=b'~').contains(&b));
        self.headers.iter().all(|(_, value)| printable(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(response: Response, minor: u8, head_only: bool, keep_alive: bool) -> String {
        let mut out = b"before".to_vec();
        let form = Form {
            version: HTTPVersion(1, minor),
            head_only,
            keep_alive,
        };
        response.write(&mut out, &form);
        let out = String::from_utf8(out).expect("text");
        out.strip_prefix("before").expect("appended").to_owned()
    }

    #[test]
    fn a_body_has_its_length_however_long() {
        let long = Response::new(200).body("text/plain", vec![b'a'; 100_000]);
        let text = written(long, 1, false, true);
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{}", &text[..200]);
        assert!(text.contains("Content-Length: 100000\r\n\r\naaa"));
        assert!(!text.contains("chunked") && !text.contains("Connection"));
    }

    #[test]
    fn head_has_the_headers_of_get_and_no_body() {
        let response = Response::new(200).body("text/plain", "four");
        let text = written(response, 1, true, true);
        assert!(text.ends_with("Content-Length: 4\r\n\r\n"), "{text}");
    }

    #[test]
    fn no_content_has_no_length() {
        for status in [204, 304] {
            let text = written(Response::new(status), 1, false, true);
            assert!(
                text.ends_with("\r\n\r\n") && !text.contains("Length"),
                "{text}"
            );
        }
    }

    #[test]
    fn an_endless_body_has_no_length_and_is_chunked_where_that_is_known() {
        let head = || Response::new(200).endless();
        let text = written(head(), 1, false, true);
        assert!(
            text.ends_with("\r\nTransfer-Encoding: chunked\r\n\r\n"),
            "{text}"
        );
        let old = written(head(), 0, false, false);
        assert!(
            !old.contains("Transfer") && !old.contains("Length"),
            "{old}"
        );
    }

    #[test]
    fn the_connection_is_told() {
        let close = written(Response::new(200), 1, false, false);
        assert!(
            close.starts_with("HTTP/1.1 200 OK\r\nConnection: close\r\n"),
            "{close}"
        );
        let old = written(Response::new(200), 0, false, true);
        assert!(
            old.starts_with("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n"),
            "{old}"
        );
    }

    #[test]
    fn a_header_cannot_be_split() {
        let evil = Response::new(200).header("X-Evil", "a\r\nSet-Cookie: b");
        let text = written(evil, 1, false, true);
        assert!(text.starts_with("HTTP/1.1 500 "), "{text}");
        assert!(!text.contains("Set-Cookie"), "{text}");
    }
}
