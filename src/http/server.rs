//! The HTTP server: a listener, a pool of threads, and the routes they serve.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::event_loop::{Shared, take_turn};
use crate::config::Config;
use crate::hub::Hub;
use crate::upstream::Upstream;

/// A running server.
pub struct Server {
    shared: Arc<Shared>,
    address: SocketAddr,
}

/// How many connections there may be.
#[derive(Debug, Clone, Copy)]
pub struct Capacity {
    /// That are served.
    pub welcome: usize,
    /// On top of those, that are being told that there is no room: their request is read and thrown away
    /// until they close, or the answer could get lost.
    pub turned_away: usize,
    /// Of those that are served, how many of one client address; `None` is no limit.
    pub each_address: Option<usize>,
}

/// Stack of a pool thread: handlers do not recurse, and untouched pages cost nothing.
const STACK: usize = 1024 * 1024;

impl Server {
    /// Serves on a bound listener.
    ///
    /// # Errors
    /// When the operating system gives no poller or thread.
    pub fn start(
        config: Config,
        listener: TcpListener,
        capacity: Capacity,
        upstream: Upstream,
        hub: Hub,
        runtime: Handle,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        // One has the turn; another has to be there to finish what it leaves.
        let pool = threadpool::Builder::new()
            .num_threads(config.threads.max(2))
            .thread_name("gateway-http".into())
            .thread_stack_size(STACK)
            .build();
        let shared = Shared::new(config, listener, capacity, upstream, hub, runtime, pool)?;
        let shared = Arc::new(shared);
        let first = Arc::clone(&shared);
        shared.pool.execute(move || take_turn(&first));
        Ok(Self { shared, address })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more connections, and returns when requests in progress are answered, or after `patience`.
    pub fn stop(&self, patience: Duration) {
        self.shared.stop(patience);
        self.shared.pool.join();
    }
}

impl Drop for Server {
    /// Has the threads end, without waiting for them.
    fn drop(&mut self) {
        self.shared.abandon();
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}
