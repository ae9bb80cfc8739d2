//! Reading a request's body: so many bytes, or chunks (RFC 9112, 7.1). Pure: bytes in, values out.
//!
//! A body is never allocated ahead of what has arrived, whatever length its head announced.

use bytes::{Buf, Bytes, BytesMut};

use super::head::{Framing, too_large};
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
                        return check_line(buffer, before);
                    };
                    let line = buffer.split_to(end + 1);
                    if !line.ends_with(b"\r\n") {
                        return Err(malformed("a trailer line ends without CR"));
                    }
                    if line.len() == 2 {
                        return Ok(Some(self.body.split().freeze()));
                    }
                    check_line(&line, before)?;
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
            check_line(&buffer[..length], 0)?;
            buffer.advance(length);
            Ok(Some(size))
        }
        Ok(httparse::Status::Partial) => {
            check_line(buffer, 0)?;
            Ok(None)
        }
        Err(_) => Err(malformed("a chunk's size is not a hexadecimal number")),
    }
}

fn check_line(line: &[u8], before: usize) -> Result<Option<Bytes>, Problem> {
    if before + line.len() > MAX_LINE {
        let detail = format!("chunk extensions or trailers are longer than {MAX_LINE} bytes");
        return Err(malformed(&detail));
    }
    Ok(None)
}

fn malformed(what: &str) -> Problem {
    Problem::new(400, format!("the chunked body is malformed: {what}"))
}
