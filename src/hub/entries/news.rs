//! What the reading of streams has to tell of them.

use bytes::Bytes;

use super::{Entry, EntryId, Loss};
use crate::hub::SubscriberId;
use crate::hub::fanout::ChannelKey;
use crate::reply::ServerError;

/// Something to tell of a stream.
#[derive(Debug)]
pub(in crate::hub) struct News {
    pub(in crate::hub) key: Bytes,
    /// For whom it is read.
    pub(in crate::hub) channel: ChannelKey,
    pub(in crate::hub) what: What,
}

#[derive(Debug)]
pub(in crate::hub) enum What {
    /// It is read from here on: every entry behind this follows.
    Begins(EntryId),
    /// It cannot be read.
    Refused(ServerError),
    /// Entries came.
    Entries(Vec<Entry>),
    /// Entries were gone before they were read.
    Lost(Loss),
    /// It was begun anew or set back, and is read from the end of this loss on.
    Elsewhere(Loss),
    /// It was there, and is gone; what comes is read from the end of this loss on. Told at once: who begins to listen when
    /// others have been told of the end has lost nothing.
    Gone(Option<Loss>),
    /// For somebody who asked: whether it is gone.
    Checked(SubscriberId, bool),
}
