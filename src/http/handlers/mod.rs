//! What each route does, a resource a file. A handler is pure: a request in, a [`Plan`](super::plan::Plan)
//! out.

pub(super) mod channels;
pub(super) mod keys;
pub(super) mod operation;
pub(super) mod values;
