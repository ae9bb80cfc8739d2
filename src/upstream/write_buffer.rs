//! Bytes that wait to be written: what is small in one piece, what is large where it was received.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

/// What is smaller is copied, which costs less than to write one more piece.
const LARGE: usize = 64 * 1024;

/// The bytes, in order.
#[derive(Debug, Default)]
pub(super) struct WriteBuffer {
    /// Those before the last one.
    before: VecDeque<Bytes>,
    last: BytesMut,
}

impl WriteBuffer {
    /// None yet; room for so many that are small.
    pub(super) fn with_capacity(small: usize) -> Self {
        Self {
            before: VecDeque::new(),
            last: BytesMut::with_capacity(small),
        }
    }

    /// Whether a piece of this size is copied.
    pub(super) fn copies(size: usize) -> bool {
        size < LARGE
    }

    /// Adds a copy of these bytes.
    pub(super) fn copy(&mut self, bytes: &[u8]) {
        self.last.extend_from_slice(bytes);
    }

    /// Adds these bytes: a copy if they are few.
    pub(super) fn add(&mut self, bytes: &Bytes) {
        if Self::copies(bytes.len()) {
            self.copy(bytes);
        } else {
            self.close();
            self.before.push_back(bytes.clone());
        }
    }

    /// Adds all of another.
    pub(super) fn append(&mut self, other: Self) {
        if self.is_empty() {
            *self = other;
        } else if other.before.is_empty() && Self::copies(other.last.len()) {
            self.copy(&other.last);
        } else {
            self.close();
            self.before.extend(other.before);
            self.last = other.last;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.has_remaining()
    }

    /// Has what comes next begin a piece of its own.
    fn close(&mut self) {
        if !self.last.is_empty() {
            self.before.push_back(self.last.split().freeze());
        }
    }
}

impl Buf for WriteBuffer {
    fn remaining(&self) -> usize {
        let before = self.before.iter().map(Bytes::len).sum::<usize>();
        before + self.last.len()
    }

    fn chunk(&self) -> &[u8] {
        self.before.front().map_or(&self.last, |first| first)
    }

    fn chunks_vectored<'a>(&'a self, into: &mut [IoSlice<'a>]) -> usize {
        let before = self.before.iter().map(|piece| &piece[..]);
        let pieces = before.chain([&self.last[..]]);
        let pieces = pieces.filter(|piece| !piece.is_empty());
        let mut count = 0;
        for (slice, piece) in into.iter_mut().zip(pieces) {
            *slice = IoSlice::new(piece);
            count += 1;
        }
        count
    }

    fn advance(&mut self, mut count: usize) {
        while let Some(first) = self.before.front_mut() {
            if count < first.len() {
                first.advance(count);
                return;
            }
            count -= first.len();
            self.before.pop_front();
        }
        self.last.advance(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn large(byte: u8) -> Bytes {
        vec![byte; LARGE].into()
    }

    /// All the bytes, taken so many at once.
    fn all(mut buffer: WriteBuffer, step: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while !buffer.is_empty() {
            let mut slices = [IoSlice::new(&[]); 2];
            let count = buffer.chunks_vectored(&mut slices);
            let bytes = slices[..count].iter().fold(Vec::new(), |mut bytes, slice| {
                bytes.extend_from_slice(slice);
                bytes
            });
            assert_eq!(buffer.chunk(), &bytes[..buffer.chunk().len()]);
            let taken = step.min(bytes.len());
            all.extend_from_slice(&bytes[..taken]);
            buffer.advance(taken);
        }
        all
    }

    fn mixed() -> WriteBuffer {
        let mut buffer = WriteBuffer::with_capacity(16);
        buffer.copy(b"abc");
        buffer.add(&large(b'1'));
        buffer.add(&large(b'2'));
        buffer.add(&Bytes::from_static(b"def"));
        buffer
    }

    #[test]
    fn they_come_in_order_however_many_are_taken_at_once() {
        let whole = [b"abc", &large(b'1')[..], &large(b'2'), b"def"].concat();
        for step in [1, 2, 1000, LARGE, LARGE + 3, usize::MAX] {
            assert!(all(mixed(), step) == whole, "{step}");
        }
        assert_eq!(mixed().remaining(), whole.len());
    }

    #[test]
    fn what_is_large_is_not_copied() {
        let one = large(b'1');
        let mut buffer = WriteBuffer::default();
        buffer.copy(b"abc");
        buffer.add(&one);
        buffer.advance(3);
        assert_eq!(buffer.chunk().as_ptr(), one.as_ptr());
    }

    #[test]
    fn one_goes_behind_another() {
        let whole = all(mixed(), 1000);
        let mut small = WriteBuffer::default();
        small.copy(b"xyz");
        for (first, second, expected) in [
            (mixed(), mixed(), [&whole[..], &whole].concat()),
            (WriteBuffer::default(), mixed(), whole.clone()),
            (mixed(), WriteBuffer::default(), whole.clone()),
            (mixed(), small, [&whole[..], b"xyz"].concat()),
        ] {
            let mut both = first;
            both.append(second);
            assert!(all(both, 5000) == expected);
        }
    }
}
