//! Events as bytes, in the memory that all their sockets are written from.

use std::fmt::Write as _;

use bytes::{BufMut, Bytes, BytesMut};

/// Encoded bytes of one or more whole events, both as a chunk of HTTP/1.1 and without that frame.
#[derive(Debug, Clone)]
pub(in crate::hub) struct Encoded {
    chunk: Bytes,
    /// Where in the chunk the events themselves are.
    start: usize,
    end: usize,
}

impl Encoded {
    pub(in crate::hub) fn new(events: &[u8]) -> Self {
        let mut chunk = BytesMut::with_capacity(events.len() + 20);
        // A BytesMut takes whatever is written to it.
        let _ = write!(chunk, "{:x}\r\n", events.len());
        let start = chunk.len();
        chunk.put_slice(events);
        let end = chunk.len();
        chunk.put_slice(b"\r\n");
        Self {
            chunk: chunk.freeze(),
            start,
            end,
        }
    }

    /// Several one after the other, as one chunk.
    pub(in crate::hub) fn joined(parts: &[Self]) -> Self {
        let parts: Vec<_> = parts.iter().map(|part| part.bytes(false)).collect();
        Self::new(&parts.concat())
    }

    /// The bytes for a connection that is chunked, or is not.
    pub(in crate::hub) fn bytes(&self, chunked: bool) -> Bytes {
        if chunked {
            self.chunk.clone()
        } else {
            self.chunk.slice(self.start..self.end)
        }
    }

    pub(in crate::hub) fn len(&self) -> usize {
        self.chunk.len()
    }
}
