//! Reading a request's body: so many bytes, or chunks (RFC 9112, 7.1). Pure: bytes in, values out.
//!
//! A body is never allocated ahead of what has arrived, whatever length its head announced.

use bytes::{Buf, Bytes, BytesMut};

use super::head::{Framing, is_token, too_large};
use super::problem::Problem;

/// A chunk-size line with its extensions, and the trailer section as a whole.
const MAX_LINE: usize = 4 * 1024;

/// Reads one body out of bytes that come in pieces.
#[derive(Debug)]
pub(super) enum BodyReader {
    Length(usize),
    Chunked(Chunks),
}

/// A chunked body on its way.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    body: BytesMut,
    part: Part,
}

#[derive(Debug, Default)]
enum Part {
    /// A line with the size of the next chunk.
    #[default]
    Size,
    /// So many bytes of the chunk are still to come.
    Data(usize),
    /// The CR LF behind a chunk.
    End,
    /// The trailer section behind the last chunk, of which so much has been passed over.
    Trailers(usize),
}

impl BodyReader {
    pub(super) fn new(framing: Framing) -> Self {
        match framing {
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(Chunks::default()),
        }
    }

    /// How much is to be received before there is any use in reading.
    pub(super) fn wanted(&self) -> usize {
        match self {
            Self::Length(length) => *length,
            Self::Chunked(_) => 0,
        }
    }

    /// How much of the body has been taken over from what was received.
    pub(super) fn held(&self) -> usize {
        match self {
            Self::Length(_) => 0,
            Self::Chunked(chunks) => chunks.body.len(),
        }
    }

    /// Takes a whole body off the front of the buffer, if it is there.
    ///
    /// # Errors
    /// 413 as soon as it is longer than `limit`, 400 where the chunks are not well formed.
    pub(super) fn read(
        &mut self,
        buffer: &mut BytesMut,
        limit: usize,
    ) -> Result<Option<Bytes>, Problem> {
        match self {
            // The limit was checked with the head.
            Self::Length(length) if buffer.len() < *length => Ok(None),
            Self::Length(length) => Ok(Some(buffer.split_to(*length).freeze())),
            Self::Chunked(chunks) => chunks.read(buffer, limit),
        }
    }
}

impl Chunks {
    fn read(&mut self, buffer: &mut BytesMut, limit: usize) -> Result<Option<Bytes>, Problem> {
        loop {
            match self.part {
                Part::Size => {
                    let Some(size) = chunk_size(buffer)? else {
                        return Ok(None);
                    };
                    let size = usize::try_from(size).unwrap_or(usize::MAX);
                    if size > limit.saturating_sub(self.body.len()) {
                        return Err(too_large(limit));
                    }
                    self.part = match size {
                        0 => Part::Trailers(0),
                        size => Part::Data(size),
                    };
                }
                Part::Data(size) => {
                    let here = size.min(buffer.len());
                    self.body.extend_from_slice(&buffer[..here]);
                    buffer.advance(here);
                    if here < size {
                        self.part = Part::Data(size - here);
                        return Ok(None);
                    }
                    self.part = Part::End;
                }
                Part::End => match buffer.get(..2) {
                    None => return Ok(None),
                    Some(b"\r\n") => {
                        buffer.advance(2);
                        self.part = Part::Size;
                    }
                    Some(_) => return Err(malformed("a chunk does not end where its size says")),
                },
                Part::Trailers(before) => {
                    let Some(end) = memchr::memchr(b'\n', buffer) else {
                        check_length(buffer, before)?;
                        return Ok(None);
                    };
                    let line = buffer.split_to(end + 1);
                    if !line.ends_with(b"\r\n") {
                        return Err(malformed("a trailer line ends without CR"));
                    }
                    if line.len() == 2 {
                        return Ok(Some(self.body.split().freeze()));
                    }
                    check_trailer(&line[..line.len() - 2])?;
                    check_length(&line, before)?;
                    self.part = Part::Trailers(before + line.len());
                }
            }
        }
    }
}

/// Takes a chunk-size line off the buffer.
fn chunk_size(buffer: &mut BytesMut) -> Result<Option<u64>, Problem> {
    // httparse takes a line without any digit for a zero.
    if buffer
        .first()
        .is_some_and(|first| !first.is_ascii_hexdigit())
    {
        return Err(malformed("a chunk does not begin with its size"));
    }
    match httparse::parse_chunk_size(buffer) {
        Ok(httparse::Status::Complete((length, size))) => {
            if buffer[..length].iter().filter(|&&b| b == b'\n').count() > 1 {
                return Err(malformed("a chunk extension spans lines"));
            }
            check_length(&buffer[..length], 0)?;
            check_extensions(&buffer[..length - 2])?;
            buffer.advance(length);
            Ok(Some(size))
        }
        Ok(httparse::Status::Partial) => {
            check_length(buffer, 0)?;
            Ok(None)
        }
        Err(_) => Err(malformed("a chunk's size is not a hexadecimal number")),
    }
}

/// Checks what stands behind a chunk's size: extensions, each with a name (RFC 9112, 7.1.1). There may be blanks in
/// front of them, and also where none follows: there are senders that pad a size to the width of a field.
fn check_extensions(line: &[u8]) -> Result<(), Problem> {
    let size = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    let mut rest = line[size..].trim_ascii();
    while !rest.is_empty() {
        rest = extension(rest).ok_or_else(|| {
            malformed("behind a chunk's size there may be extensions such as ;name=value only")
        })?;
    }
    Ok(())
}

/// What follows a chunk extension that this begins with.
fn extension(text: &[u8]) -> Option<&[u8]> {
    let rest = token(text.strip_prefix(b";")?.trim_ascii_start())?.trim_ascii_start();
    let Some(value) = rest.strip_prefix(b"=") else {
        return Some(rest);
    };
    let value = value.trim_ascii_start();
    let rest = match value.strip_prefix(b"\"") {
        Some(quoted) => behind_quotes(quoted)?,
        None => token(value)?,
    };
    Some(rest.trim_ascii_start())
}

/// What follows a token that this begins with.
fn token(text: &[u8]) -> Option<&[u8]> {
    let length = text.iter().take_while(|b| is_token(**b)).count();
    (length > 0).then(|| &text[length..])
}

/// What follows a quoted string whose opening quote has been taken off.
fn behind_quotes(text: &[u8]) -> Option<&[u8]> {
    let mut escaped = false;
    let end = text.iter().position(|b| {
        let ends = !escaped && *b == b'"';
        escaped = !escaped && *b == b'\\';
        ends
    });
    Some(&text[end? + 1..])
}

/// Checks a line of the trailer section, which is then passed over: a name, a colon and a value, as in a head.
fn check_trailer(line: &[u8]) -> Result<(), Problem> {
    let value = token(line).and_then(|rest| rest.strip_prefix(b":"));
    let is_text = |b: &u8| !b.is_ascii_control() || *b == b'\t';
    match value {
        Some(value) if value.iter().all(is_text) => Ok(()),
        _ => Err(malformed("a trailer line is no header field")),
    }
}

/// Checks a chunk-size line, or a line of the trailer section, which has had so many bytes before.
fn check_length(line: &[u8], before: usize) -> Result<(), Problem> {
    if before + line.len() > MAX_LINE {
        let detail = format!("chunk extensions or trailers are longer than {MAX_LINE} bytes");
        return Err(malformed(&detail));
    }
    Ok(())
}

fn malformed(what: &str) -> Problem {
    Problem::new(400, format!("the chunked body is malformed: {what}"))
}
