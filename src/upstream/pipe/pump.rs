//! How a thread that waits for replies reads them itself meanwhile.

use std::sync::Arc;
use std::time::Instant;

use super::Shared;
use super::socket::Socket;

/// Reads replies on the thread that waits for them. Dropped unused, it leaves that to the driver.
pub(crate) struct Pump {
    way: Option<(Arc<Shared>, Arc<Socket>)>,
}

impl Pump {
    /// One for replies that come this way, if a thread can read there.
    pub(super) fn new(way: Option<(Arc<Shared>, Arc<Socket>)>) -> Self {
        Self { way }
    }

    /// One that leaves all to the driver.
    pub(in super::super) fn idle() -> Self {
        Self { way: None }
    }

    /// Reads until this point in time or until it is done, unless somebody else does.
    pub(crate) fn run(mut self, by: Instant, is_done: &mut dyn FnMut() -> bool) {
        if let Some((shared, socket)) = self.way.take() {
            socket.read_until(&shared, by, is_done);
        }
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        if let Some((_, socket)) = &self.way {
            socket.have_read();
        }
    }
}
