//! RESP2, read: replies out of bytes that come in pieces. Pure.
//!
//! What has been read of a reply is not looked at again, however many pieces it comes in, and strings stay in
//! the memory that they were received in. A reply that is nested too deep is read too, and becomes an error.

use bytes::{Buf, Bytes, BytesMut};

use crate::reply::{Reply, ServerError};

/// Arrays within arrays. No command goes deeper, and not all readers of JSON do; a script could. What is deeper is passed
/// over, up to a depth that takes a megabyte to count.
const DEEPEST: usize = 100;
const DEEPEST_PASSED_OVER: usize = 100_000;

/// Elements of an array that room is made for before they have come.
const AT_ONCE: usize = 1024;

/// Bytes, and elements of arrays, that are much: a piece or two of what is received at once.
const MUCH: usize = 64 * 1024;
const MUCH_ELEMENTS: usize = 4096;

/// The largest string that Redis can have, with room to spare.
const LONGEST: i64 = 1 << 32;

/// What came is no reply: where the next one begins cannot be known.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// A reader of replies, in the middle of one.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// The arrays that are not complete, the outermost first.
    open: Vec<Open>,
    /// Of a reply that is nested too deep: what is left of each array, the outermost first. Of others there is nothing.
    passed_over: Vec<usize>,
    /// How much of the buffer is known to hold no line end.
    scanned: usize,
    /// What is known to be missing of the string that is being read.
    missing: usize,
}

#[derive(Debug)]
struct Open {
    left: usize,
    items: Vec<Reply>,
}

impl Reader {
    /// Takes the next reply off the front of the buffer, if it is there as a whole.
    ///
    /// # Errors
    /// When what is there is not RESP2.
    pub(super) fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Reply>, Malformed> {
        while let Some(token) = self.token(buffer)? {
            if !self.passed_over.is_empty() {
                if self.pass_over(&token)? {
                    return Ok(Some(too_deep()));
                }
                continue;
            }
            let mut reply = match token {
                Token::Whole(reply) => reply,
                Token::Array(0) => Reply::Array(Vec::new()),
                Token::Array(left) if self.open.len() == DEEPEST => {
                    let lefts = self.open.drain(..).map(|open| open.left);
                    self.passed_over = lefts.chain([left]).collect();
                    continue;
                }
                Token::Array(left) => {
                    let items = Vec::with_capacity(left.min(AT_ONCE));
                    self.open.push(Open { left, items });
                    continue;
                }
            };
            loop {
                let Some(open) = self.open.last_mut() else {
                    return Ok(Some(reply));
                };
                open.items.push(reply);
                open.left -= 1;
                if open.left > 0 {
                    break;
                }
                // It is there: `open` was just seen.
                let items = self.open.pop().map(|open| open.items);
                reply = Reply::Array(items.unwrap_or_default());
            }
        }
        Ok(None)
    }

    /// Takes something of a reply that is nested too deep; true if that was its end.
    fn pass_over(&mut self, token: &Token) -> Result<bool, Malformed> {
        if let Token::Array(left @ 1..) = token {
            if self.passed_over.len() == DEEPEST_PASSED_OVER {
                return Err(Malformed);
            }
            self.passed_over.push(*left);
            return Ok(false);
        }
        while let Some(left) = self.passed_over.last_mut() {
            *left -= 1;
            if *left > 0 {
                return Ok(false);
            }
            self.passed_over.pop();
        }
        // Not to be kept for the next.
        self.passed_over = Vec::new();
        Ok(true)
    }

    /// Whether much is known to be missing of the reply that is being read: bytes of a string, or elements. Of one
    /// that is nested too deep nobody knows.
    pub(super) fn lacks_much(&self) -> bool {
        let lefts = self.open.iter().map(|open| open.left);
        let elements = lefts.fold(0, usize::saturating_add);
        self.missing >= MUCH || elements >= MUCH_ELEMENTS || !self.passed_over.is_empty()
    }

    /// Takes one line, and the string that it announces.
    fn token(&mut self, buffer: &mut BytesMut) -> Result<Option<Token>, Malformed> {
        let Some(offset) = memchr::memchr(b'\n', &buffer[self.scanned..]) else {
            self.scanned = buffer.len();
            return Ok(None);
        };
        let end = self.scanned + offset;
        let line = &buffer[..end];
        let (Some(&kind), Some(b'\r')) = (line.first(), line.last()) else {
            return Err(Malformed);
        };
        if line.len() < 2 {
            return Err(Malformed);
        }
        let text = &line[1..end - 1];
        let token = match kind {
            b'$' => match number(text)? {
                -1 => Token::Whole(Reply::Nil),
                length if (0..LONGEST).contains(&length) => {
                    let length = usize::try_from(length).map_err(|_| Malformed)?;
                    let whole = end + 1 + length + 2;
                    if buffer.len() < whole {
                        // Its line is read again when more has come, and found where it was.
                        self.scanned = end;
                        self.missing = whole - buffer.len();
                        buffer.reserve(self.missing);
                        return Ok(None);
                    }
                    self.scanned = 0;
                    self.missing = 0;
                    buffer.advance(end + 1);
                    let string = buffer.split_to(length).freeze();
                    if !buffer.starts_with(b"\r\n") {
                        return Err(Malformed);
                    }
                    buffer.advance(2);
                    return Ok(Some(Token::Whole(Reply::Bulk(string))));
                }
                _ => return Err(Malformed),
            },
            b':' => Token::Whole(Reply::Int(number(text)?)),
            b'*' => match number(text)? {
                -1 => Token::Whole(Reply::Nil),
                count => Token::Array(usize::try_from(count).map_err(|_| Malformed)?),
            },
            b'+' if text == b"OK" => Token::Whole(Reply::Status(Bytes::from_static(b"OK"))),
            b'+' => Token::Whole(Reply::Status(Bytes::copy_from_slice(text))),
            b'-' => Token::Whole(Reply::Error(ServerError::from_line(text))),
            _ => return Err(Malformed),
        };
        self.scanned = 0;
        buffer.advance(end + 1);
        Ok(Some(token))
    }
}

enum Token {
    Whole(Reply),
    /// The beginning of an array of so many.
    Array(usize),
}

fn too_deep() -> Reply {
    let detail = format!(
        "the command has run, but its reply is nested too deep for this gateway ({DEEPEST} levels)"
    );
    Reply::Error(ServerError::new("ERR", detail))
}

fn number(text: &[u8]) -> Result<i64, Malformed> {
    let text = std::str::from_utf8(text).map_err(|_| Malformed)?;
    text.parse().map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERYTHING: &[u8] =
        b"+OK\r\n+QUEUED\r\n:-7\r\n$5\r\na\r\nbc\r\n$0\r\n\r\n$-1\r\n*-1\r\n*0\r\n\
        *3\r\n*2\r\n:1\r\n$1\r\nx\r\n*1\r\n*0\r\n-WRONGTYPE Operation against\r\n-LOADING\r\n";

    fn everything() -> Vec<Reply> {
        let bulk = |text: &'static [u8]| Reply::Bulk(Bytes::from_static(text));
        vec![
            Reply::Status("OK".into()),
            Reply::Status("QUEUED".into()),
            Reply::Int(-7),
            bulk(b"a\r\nbc"),
            bulk(b""),
            Reply::Nil,
            Reply::Nil,
            Reply::Array(vec![]),
            Reply::Array(vec![
                Reply::Array(vec![Reply::Int(1), bulk(b"x")]),
                Reply::Array(vec![Reply::Array(vec![])]),
                Reply::Error(ServerError::new("WRONGTYPE", "Operation against")),
            ]),
            Reply::Error(ServerError::new("LOADING", "")),
        ]
    }

    #[test]
    fn replies_are_read_whatever_pieces_they_come_in() {
        for size in 1..=EVERYTHING.len() {
            let (mut reader, mut buffer) = (Reader::default(), BytesMut::new());
            let mut replies = Vec::new();
            for piece in EVERYTHING.chunks(size) {
                buffer.extend_from_slice(piece);
                while let Some(reply) = reader.next(&mut buffer).expect("RESP2") {
                    replies.push(reply);
                }
            }
            assert_eq!(replies, everything(), "in pieces of {size}");
            assert!(buffer.is_empty());
        }
    }

    #[test]
    fn what_is_nested_too_deep_is_passed_over() {
        // At each level the next one stands between two other things.
        let nested = |levels: usize| {
            let (before, behind) = (b"*3\r\n$1\r\nx\r\n", b"*0\r\n");
            [
                &before.repeat(levels),
                &b":7\r\n"[..],
                &behind.repeat(levels),
            ]
            .concat()
        };
        for levels in [DEEPEST, DEEPEST + 1, DEEPEST + 2, DEEPEST_PASSED_OVER] {
            let (mut reader, mut buffer) = (Reader::default(), BytesMut::new());
            let mut replies = Vec::new();
            let sent = [nested(levels), b"+OK\r\n".to_vec()].concat();
            for piece in sent.chunks(7000) {
                buffer.extend_from_slice(piece);
                while let Some(reply) = reader.next(&mut buffer).expect("RESP2") {
                    replies.push(reply);
                }
            }
            let [reply, next] = &replies[..] else {
                panic!("{} replies at {levels} levels", replies.len());
            };
            assert_eq!(*reply == too_deep(), levels > DEEPEST, "{levels} levels");
            assert_eq!(*next, Reply::Status("OK".into()));
            assert!(buffer.is_empty() && reader.passed_over.capacity() == 0);
        }
    }

    #[test]
    fn what_is_no_reply_is_an_error() {
        let deep = b"*1\r\n".repeat(DEEPEST_PASSED_OVER + 1);
        let bad = [
            &b"HTTP/1.1 400\r\n"[..],
            b"+OK\n",
            b"\r\n",
            b"\n",
            b":x\r\n",
            b"$-2\r\n",
            b"$99999999999999\r\n",
            b"$1\r\nab\r\n",
            b"*-2\r\n",
            b"%1\r\n",
            &deep,
        ];
        for bytes in bad {
            let mut buffer = BytesMut::from(bytes);
            let read = Reader::default().next(&mut buffer);
            assert_eq!(read, Err(Malformed), "{:?}", &bytes[..bytes.len().min(20)]);
        }
    }
}
