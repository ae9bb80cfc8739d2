//! A request as the routes see it: a method, a path, headers and a whole body. It knows no socket.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use tiny_http::{HTTPVersion, Method};

use super::budget::Reservation;

/// One HTTP request whose body has arrived. `Debug` leaves out where tokens are: its query, and the
/// values of its headers.
pub struct Request {
    /// The method, case-sensitive as RFC 9110 has it.
    pub method: Method,
    /// The path as it was sent, percent-encoded, beginning with a slash; `*` for `OPTIONS *`.
    pub path: Bytes,
    /// What followed the question mark, as it was sent; empty without one.
    pub query: Bytes,
    /// 1.0 or 1.1.
    pub version: HTTPVersion,
    /// The authority the request is for: of an absolute-form target, else of the Host header.
    pub authority: Option<Bytes>,
    /// The header fields.
    pub headers: Headers,
    /// The body, decoded of its transfer coding; empty without one.
    pub body: Bytes,
    /// The place that a large body takes in the memory budget, for as long as the request lives.
    pub(crate) reservation: Option<Reservation>,
}

impl Request {
    /// A request of HTTP/1.1 without headers or body: a start for code that has its own HTTP server.
    #[must_use]
    pub fn new(method: Method, target: &str) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Self {
            method,
            path: Bytes::copy_from_slice(path.as_bytes()),
            query: Bytes::copy_from_slice(query.as_bytes()),
            version: HTTPVersion(1, 1),
            authority: None,
            headers: Headers::default(),
            body: Bytes::new(),
            reservation: None,
        }
    }

    /// The request with one more header. `Host` also sets the authority, unless there is one.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        if name.eq_ignore_ascii_case("Host") && self.authority.is_none() {
            self.authority = Some(Bytes::copy_from_slice(value.as_bytes()));
        }
        self.headers.append(name.as_bytes(), value.as_bytes());
        self
    }

    /// The request with this body.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }
}

/// The header fields of a request, in the order they came, in one piece of memory.
#[derive(Clone, Default)]
pub struct Headers {
    block: Bytes,
    fields: Vec<Field>,
}

#[derive(Debug, Clone)]
struct Field {
    name: Range<usize>,
    value: Range<usize>,
}

impl Headers {
    /// Fields as ranges of the block they stand in.
    pub(super) fn new(
        block: Bytes,
        fields: impl Iterator<Item = (Range<usize>, Range<usize>)>,
    ) -> Self {
        let fields = fields.map(|(name, value)| Field { name, value }).collect();
        Self { block, fields }
    }

    /// The memory that the values are in.
    pub(super) fn block(&self) -> &Bytes {
        &self.block
    }

    /// The first value of a field; names are compared without regard to case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        let field = self.fields.iter().find(|field| self.is(field, name))?;
        Some(&self.block[field.value.clone()])
    }

    /// The first value of a field, where it is text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name)
            .and_then(|value| std::str::from_utf8(value).ok())
    }

    /// Every value of a field.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.fields
            .iter()
            .filter(|field| self.is(field, name))
            .map(|field| &self.block[field.value.clone()])
    }

    /// The members of a comma-separated list, over all fields of this name (RFC 9110, 5.6.1).
    pub fn list<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.all(name)
            .flat_map(|value| value.split(|&b| b == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|member| !member.is_empty())
    }

    fn is(&self, field: &Field, name: &str) -> bool {
        self.block[field.name.clone()].eq_ignore_ascii_case(name.as_bytes())
    }

    fn append(&mut self, name: &[u8], value: &[u8]) {
        let start = self.block.len();
        let middle = start + name.len();
        self.block = [&self.block, name, value].concat().into();
        self.fields.push(Field {
            name: start..middle,
            value: middle..self.block.len(),
        });
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("path", &self.path)
            .field("headers", &self.headers)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.fields.iter().map(|field| {
            let name = &self.block[field.name.clone()];
            String::from_utf8_lossy(name)
        });
        f.debug_list().entries(names).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_found_without_regard_to_case() {
        let request = Request::new(Method::Get, "/v1/keys/a?b=c")
            .with_header("Accept", "text/plain")
            .with_header("ACCEPT", " application/json ,, text/html");
        assert_eq!(request.path, "/v1/keys/a");
        assert_eq!(request.query, "b=c");
        assert_eq!(request.headers.text("accept"), Some("text/plain"));
        let list: Vec<_> = request.headers.list("Accept").collect();
        assert_eq!(
            list,
            [&b"text/plain"[..], b"application/json", b"text/html"]
        );
        assert_eq!(request.headers.get("Host"), None);
    }

    #[test]
    fn debug_tells_no_token() {
        let request = Request::new(Method::Get, "/v1/keys/a?_token=s3cret")
            .with_header("Authorization", "Bearer s3cret");
        let shown = format!("{request:?}");
        assert!(shown.contains("/v1/keys/a") && shown.contains("Authorization"));
        assert!(!shown.contains("s3cret"), "{shown}");
    }
}
