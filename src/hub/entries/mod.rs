//! The entries of Redis streams: read as they come (`tails`, `tail`, `xread`), read up on for who comes back (`catch_up`), and
//! what a server's word on a stream (`looks`) says of those that are missing (`xinfo`, `watched`).
//!
//! Who listens is not known here.

mod catch_up;
pub(super) mod encode;
mod id;
mod looks;
mod news;
mod tail;
mod tails;
mod watched;
mod xinfo;
mod xread;

use bytes::Bytes;
use serde_json::Value;

use crate::reply::Reply;
use crate::reply::fields::{in_pairs, object};

pub(super) use catch_up::{CatchUp, Page};
pub use id::EntryId;
pub(super) use news::{News, What};
pub(super) use tails::Tails;

/// What is read from Redis at once, roughly: for all, and for one subscriber that catches up.
const READ_AT_ONCE: usize = 256 * 1024;
const PAGE: usize = 64 * 1024;

/// The most entries that are read at once, however small they are.
const MOST_AT_ONCE: usize = 1000;

/// How many entries are read before it is known how large they are.
const FIRST_AT_ONCE: usize = 16;

/// An entry, as it is handed on.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) id: EntryId,
    /// Its fields as a JSON object.
    pub(super) fields: Bytes,
}

/// Why entries may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// The stream does not have them any more.
    NotKept,
    /// The stream was deleted, begun anew or set back.
    Recreated,
}

impl Reason {
    /// What clients are told.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::NotKept => "not-kept",
            Self::Recreated => "recreated",
        }
    }
}

/// Entries that may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Loss {
    pub(super) reason: Reason,
    /// Up to this id nothing was missing. What has come since came behind them, perhaps.
    pub(super) since: EntryId,
    /// Behind this id nothing is missing.
    pub(super) up_to: EntryId,
    /// How many they are, if that is known.
    pub(super) missing: Option<u64>,
}

impl Loss {
    pub(super) fn new(reason: Reason, up_to: EntryId) -> Self {
        Self {
            reason,
            since: up_to,
            up_to,
            missing: None,
        }
    }
}

impl Entry {
    /// An entry as Redis replies it, and how many bytes it takes there.
    fn parse(reply: &Reply) -> Option<(Self, usize)> {
        let Reply::Array(parts) = reply else {
            return None;
        };
        let [Reply::Bulk(id), fields] = &parts[..] else {
            return None;
        };
        let fields = match fields {
            Reply::Array(fields) => in_pairs(fields)?,
            // Deleted while it was being read.
            _ => Vec::new(),
        };
        let size = fields.iter().map(|(name, value)| name.len() + value.len());
        let size = size.sum();
        let fields = Value::from(object(fields)).to_string().into();
        let id = EntryId::parse(id)?;
        Some((Self { id, fields }, size))
    }
}

/// Entries as Redis replies them, and their bytes there.
fn parse_all(reply: &Reply) -> Option<(Vec<Entry>, usize)> {
    let Reply::Array(entries) = reply else {
        return None;
    };
    let mut bytes = 0;
    let entries = entries.iter().map(|entry| {
        let (entry, size) = Entry::parse(entry)?;
        bytes += size;
        Some(entry)
    });
    let entries: Option<Vec<_>> = entries.collect();
    Some((entries?, bytes))
}

/// A stream as XREAD replies it: its key, its entries, and their bytes there.
fn parse_stream(reply: &Reply) -> Option<(&Bytes, Vec<Entry>, usize)> {
    let Reply::Array(parts) = reply else {
        return None;
    };
    let [Reply::Bulk(key), entries] = &parts[..] else {
        return None;
    };
    let (entries, bytes) = parse_all(entries)?;
    Some((key, entries, bytes))
}

/// How many entries to read at once, so that they take some of these bytes, if this is how large the last ones were.
fn at_once(room: usize, entries: usize, bytes: usize) -> usize {
    let each = bytes / entries.max(1) + 32;
    (room / each).clamp(1, MOST_AT_ONCE)
}
