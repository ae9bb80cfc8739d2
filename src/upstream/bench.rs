//! What `cargo bench --bench micro` measures of the way to Redis and back, without input and output. No part of the
//! API.

use bytes::{Buf, BytesMut};

use super::resp::Reader;
use super::resp_encode::Packed;
use crate::command::Command;

/// Packs commands into one pipeline; gives how many bytes it has.
#[must_use]
pub fn pack(commands: &[Command]) -> usize {
    Packed::all(commands).buffer.remaining()
}

/// Reads what came from Redis; gives how many replies there are, those before anything malformed.
#[must_use]
pub fn read_replies(mut received: BytesMut) -> usize {
    let mut reader = Reader::default();
    let next = || reader.next(&mut received).ok().flatten();
    std::iter::from_fn(next).count()
}
