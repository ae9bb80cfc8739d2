//! What each route does, a resource a file. A handler is pure: a request in, a [`Plan`](super::plan::Plan)
//! out.

pub(super) mod channels;
mod compare;
mod fields;
pub(super) mod hashes;
pub(super) mod keys;
pub(super) mod operation;
pub(super) mod streams;
pub(super) mod values;
