//! A response as a value, and the one place that writes it, through `tiny_http`.

use std::borrow::Cow;
use std::io::Cursor;

use bytes::Bytes;
use tiny_http::{HTTPVersion, Header, StatusCode};

use super::problem::Problem;

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
            headers: Vec::new(),
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
        let printable = |value: &str| value.bytes().all(|b| (b' '..=b'~').contains(&b));
        self.headers
            .iter()
            .map(|(name, value)| {
                let header = Header::from_bytes(*name, value.as_bytes()).ok();
                header.filter(|_| printable(value))
            })
            .collect()
    }

    /// Appends the response, as it goes over the wire, to a buffer.
    pub(super) fn write(self, out: &mut Vec<u8>, form: &Form) {
        let start = out.len();
        let without_length = matches!(self.status, 204 | 304) || self.endless;
        let without_body = form.head_only || self.endless;
        let mut response = self.into_tiny_http();
        response.add_header(super::date::header());
        response.add_header(server_header());
        let printed = response.raw_print(&mut *out, form.version.clone(), &[], without_body, None);
        // Neither the buffer nor the body can fail.
        debug_assert!(printed.is_ok(), "{printed:?}");
        if without_length {
            // RFC 9110, 8.6: no Content-Length in a 204, and in a 304 only that of the 200. Nor has an
            // endless body one. tiny_http writes one (for an endless body to HTTP/1.0 only), and writes it
            // last.
            const LAST: &[u8] = b"Content-Length: 0\r\n\r\n";
            if out.ends_with(LAST) {
                out.truncate(out.len() - LAST.len());
                out.extend_from_slice(b"\r\n");
            }
        }
        let old = form.version <= (1, 0);
        let connection: &[u8] = match (form.keep_alive, old) {
            (true, false) => return,
            (true, true) => b"Connection: keep-alive\r\n",
            (false, _) => b"Connection: close\r\n",
        };
        // tiny_http has no say over Connection, so it goes in behind the status line.
        if let Some(end) = memchr::memchr(b'\n', &out[start..]) {
            let at = start + end + 1;
            out.splice(at..at, connection.iter().copied());
        }
    }
}

#[expect(clippy::expect_used, reason = "the bytes are fixed and ASCII")]
fn server_header() -> Header {
    Header::from_bytes("Server", "redis-http-gateway").expect("fixed ASCII")
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
