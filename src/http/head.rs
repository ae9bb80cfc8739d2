//! Reading a request's head: the request line and the header fields, by the rules of RFC 9112.
//!
//! `httparse` does the parsing; this file decides when to call it, what it lets pass too easily (a line that
//! ends without CR), and what the head says of the body and of the connection. Pure: bytes in, values out.

mod target;

use std::mem::MaybeUninit;

use bytes::{Buf, Bytes, BytesMut};
use tiny_http::{HTTPVersion, Method};

use super::problem::Problem;
use super::request::{Headers, Request};
use target::{Target, check_authority};

/// Header fields of one request.
const MAX_FIELDS: usize = 100;

/// How a request's body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// After so many bytes; none where there is no body.
    Length(usize),
    /// By the last chunk.
    Chunked,
}

/// A head, and what it says of what follows.
#[derive(Debug)]
pub(super) struct Head {
    /// The request, still without its body.
    pub(super) request: Request,
    pub(super) framing: Framing,
    /// Whether the connection may be used again after the answer.
    pub(super) keep_alive: bool,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub(super) expects_continue: bool,
    /// What is wrong with the fields: nothing can follow on the connection. It is known whose request it is all the
    /// same, and so in what form that is to be said.
    pub(super) fault: Option<Problem>,
}

/// The limits a head is read under.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) head: usize,
    pub(super) body: usize,
}

/// Reads one head out of bytes that come in pieces.
#[derive(Debug, Default)]
pub(super) struct HeadReader {
    /// How much of the buffer has been looked at for line ends.
    scanned: usize,
    /// Whether there was one.
    has_line: bool,
}

impl HeadReader {
    /// Takes a head off the front of the buffer, if it is there.
    ///
    /// # Errors
    /// As soon as it is clear that no valid head can follow.
    pub(super) fn read(
        &mut self,
        buffer: &mut BytesMut,
        limits: Limits,
    ) -> Result<Option<Head>, Problem> {
        if self.scanned == 0 {
            // RFC 9112, 2.2: an empty line before the request line is passed over.
            while buffer.starts_with(b"\r\n") {
                buffer.advance(2);
            }
        }
        match buffer.first() {
            None => return Ok(None),
            Some(b'\r') if buffer.len() == 1 => return Ok(None),
            Some(0x16) => {
                let detail = "this looks like TLS, and this port speaks plain HTTP: use http://";
                return Err(Problem::new(400, detail));
            }
            Some(&first) if !is_token(first) => {
                let detail = "a request begins with a method, such as GET";
                return Err(Problem::new(400, detail));
            }
            Some(_) => {}
        }
        if !self.new_lines(buffer)? {
            check_line_length(buffer, limits.head)?;
            return Ok(None);
        }
        let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
        let mut parsed = httparse::Request::new(&mut []);
        match parsed.parse_with_uninit_headers(buffer, &mut fields) {
            Ok(httparse::Status::Partial) => {
                check_lengths(buffer, limits.head)?;
                Ok(None)
            }
            Ok(httparse::Status::Complete(length)) => {
                check_lengths(&buffer[..length], limits.head)?;
                let raw = RawHead::of(&parsed, buffer);
                *self = Self::default();
                let block = buffer.split_to(length).freeze();
                raw.check(&block, limits).map(Some)
            }
            Err(error) => Err(explain(error, buffer)),
        }
    }

    /// Whether the buffer holds a line end. Each is checked once.
    fn new_lines(&mut self, buffer: &[u8]) -> Result<bool, Problem> {
        for offset in memchr::memchr_iter(b'\n', &buffer[self.scanned..]) {
            let at = self.scanned + offset;
            if at == 0 || buffer[at - 1] != b'\r' {
                return Err(Problem::new(400, "a line of the head ends without CR"));
            }
            self.has_line = true;
            if buffer[..=at].ends_with(b"\r\n\r\n") {
                // The head ends here. What follows is the body's business.
                break;
            }
        }
        self.scanned = buffer.len();
        Ok(self.has_line)
    }
}

/// Checks a head, or what has come of it, against the limit: its request line, and all of it.
fn check_lengths(head: &[u8], limit: usize) -> Result<(), Problem> {
    let line = memchr::memchr(b'\n', head).map_or(head.len(), |end| end + 1);
    check_line_length(&head[..line], limit)?;
    check_length(head, limit, 431, "the request's head")
}

fn check_line_length(line: &[u8], limit: usize) -> Result<(), Problem> {
    check_length(line, limit, 414, "the request line")
}

fn check_length(part: &[u8], limit: usize, status: u16, what: &str) -> Result<(), Problem> {
    if part.len() > limit {
        let detail = format!("{what} is longer than {limit} bytes");
        return Err(Problem::new(status, detail));
    }
    Ok(())
}

/// What `httparse` found, as ranges of the head.
struct RawHead {
    method: Option<Method>,
    target: std::ops::Range<usize>,
    minor: u8,
    fields: Vec<(std::ops::Range<usize>, std::ops::Range<usize>)>,
}

impl RawHead {
    fn of(parsed: &httparse::Request<'_, '_>, buffer: &[u8]) -> Self {
        let base = buffer.as_ptr() as usize;
        let range = |part: &[u8]| {
            let start = part.as_ptr() as usize - base;
            start..start + part.len()
        };
        Self {
            method: parsed.method.and_then(|method| method.parse().ok()),
            target: range(parsed.path.unwrap_or_default().as_bytes()),
            minor: parsed.version.unwrap_or_default(),
            fields: parsed
                .headers
                .iter()
                .map(|field| (range(field.name.as_bytes()), range(field.value)))
                .collect(),
        }
    }

    /// Applies the rules that span several fields.
    fn check(self, block: &Bytes, limits: Limits) -> Result<Head, Problem> {
        let target = block.slice(self.target);
        let Some(method) = self.method else {
            return Err(Problem::new(400, "the method is not a token"));
        };
        let target = Target::parse(&target, method == Method::Options)?;
        let request = Request {
            method,
            path: target.path,
            query: target.query,
            version: HTTPVersion(1, self.minor),
            authority: target.authority,
            headers: Headers::new(block.clone(), self.fields.into_iter()),
            body: Bytes::new(),
            reservation: None,
        };
        let mut head = Head {
            request,
            framing: Framing::Length(0),
            keep_alive: false,
            expects_continue: false,
            fault: None,
        };
        head.fault = head.take_fields(limits).err();
        Ok(head)
    }
}

impl Head {
    /// Takes from the fields what they say of the connection and of what follows.
    fn take_fields(&mut self, limits: Limits) -> Result<(), Problem> {
        let headers = &self.request.headers;
        let old = self.request.version == (1, 0);
        let framing = framing(headers, old)?;
        if let Framing::Length(length) = framing
            && length > limits.body
        {
            return Err(too_large(limits.body));
        }
        let host = host(headers, old)?;
        self.expects_continue = expects_continue(headers, old)?;
        self.keep_alive = keeps_alive(headers, old);
        self.framing = framing;
        if self.request.authority.is_none() {
            self.request.authority = host;
        }
        Ok(())
    }
}

/// RFC 9112, 3.2: exactly one Host in HTTP/1.1, and one that can be a host.
fn host(headers: &Headers, old: bool) -> Result<Option<Bytes>, Problem> {
    let mut hosts = headers.all("Host");
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Problem::new(400, "there is more than one Host header"));
    }
    match host {
        Some(host) => {
            check_authority(host)?;
            Ok(Some(headers.block().slice_ref(host)))
        }
        None if old => Ok(None),
        None => Err(Problem::new(400, "HTTP/1.1 requires a Host header")),
    }
}

/// RFC 9112, 6: what the body's length is. Anything that two readers could take in two ways is refused.
fn framing(headers: &Headers, old: bool) -> Result<Framing, Problem> {
    let has_coding = headers.get("Transfer-Encoding").is_some();
    let mut length = None;
    for value in headers.all("Content-Length") {
        for member in value.split(|&b| b == b',').map(<[u8]>::trim_ascii) {
            let number = digits(member)?;
            if length.is_some_and(|before| before != number) {
                let detail = "there is more than one Content-Length, and they differ";
                return Err(Problem::new(400, detail));
            }
            length = Some(number);
        }
    }
    if !has_coding {
        return Ok(Framing::Length(length.unwrap_or(0)));
    }
    if length.is_some() {
        let detail = "a request has either Content-Length or Transfer-Encoding, never both";
        return Err(Problem::new(400, detail));
    }
    if old {
        let detail = "HTTP/1.0 knows no Transfer-Encoding";
        return Err(Problem::new(400, detail));
    }
    let is_chunked = |coding: &&[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let codings: Vec<_> = headers.list("Transfer-Encoding").collect();
    match codings.split_last() {
        Some((last, [])) if is_chunked(last) => Ok(Framing::Chunked),
        Some((last, others)) if is_chunked(last) && !others.iter().any(is_chunked) => {
            let detail = "the only transfer coding that is understood here is chunked";
            Err(Problem::new(501, detail))
        }
        _ => {
            let detail = "a request's last transfer coding, and no other, must be chunked";
            Err(Problem::new(400, detail))
        }
    }
}

/// A Content-Length: digits only. One too large to count is too large for every limit.
fn digits(text: &[u8]) -> Result<usize, Problem> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return Err(Problem::new(400, "Content-Length must be digits"));
    }
    let number = std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok());
    Ok(number.unwrap_or(usize::MAX))
}

/// RFC 9112, 9.3: HTTP/1.1 persists unless told otherwise, HTTP/1.0 only if told so.
fn keeps_alive(headers: &Headers, old: bool) -> bool {
    let mut close = false;
    let mut keep = false;
    for option in headers.list("Connection") {
        close |= option.eq_ignore_ascii_case(b"close");
        keep |= option.eq_ignore_ascii_case(b"keep-alive");
    }
    !close && (keep || !old)
}

/// RFC 9110, 10.1.1.
fn expects_continue(headers: &Headers, old: bool) -> Result<bool, Problem> {
    match headers.get("Expect") {
        None => Ok(false),
        // Sent by HTTP/1.0 it is ignored.
        Some(_) if old => Ok(false),
        Some(value) if value.eq_ignore_ascii_case(b"100-continue") => Ok(true),
        Some(_) => {
            let detail = "the only expectation that can be met is 100-continue";
            Err(Problem::new(417, detail))
        }
    }
}

/// The answer to a body over the limit.
pub(super) fn too_large(limit: usize) -> Problem {
    Problem::new(413, format!("the body is longer than {limit} bytes"))
}

/// RFC 9110, 5.6.2: the characters of a method, or of a field's name.
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn explain(error: httparse::Error, buffer: &[u8]) -> Problem {
    use httparse::Error;
    match error {
        Error::TooManyHeaders => Problem::new(
            431,
            format!("there are more than {MAX_FIELDS} header fields"),
        ),
        Error::Version => {
            let line = buffer.split(|&b| b == b'\r').next().unwrap_or_default();
            let version = line.rsplit(|&b| b == b' ').next().unwrap_or_default();
            let known = matches!(version, b"HTTP/1.0" | b"HTTP/1.1");
            if version.starts_with(b"HTTP/") && !known {
                Problem::new(505, "HTTP/1.1 and HTTP/1.0 are spoken here")
            } else {
                let detail = "the request line is not a method, a target and an HTTP version";
                Problem::new(400, detail)
            }
        }
        Error::HeaderName => Problem::new(400, "a header's name is not valid"),
        Error::HeaderValue => Problem::new(400, "a header's value is not valid"),
        Error::NewLine => Problem::new(400, "a line of the head does not end with CR LF"),
        Error::Token => Problem::new(400, "the request line is not valid"),
        Error::Status => Problem::new(400, "this is not a request"),
    }
}
