//! The turn at the poller: one thread of the pool at a time waits for connections that are ready, and serves them.
//!
//! Several threads that wait in one poller get in each other's way. One alone holds nobody up, because it leaves slow
//! pipelines to the runtime; the other threads of the pool help to finish those. The thread that has the turn keeps it until
//! the server stops. If it panics, another one takes over.

use std::io;
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token, Waker};
use threadpool::ThreadPool;
use tokio::runtime::Handle;

use super::batch::serve;
use super::budget::{Budget, SMALL};
use super::connection::{Connection, LINGER, Next, Signal};
use super::connection_table::{ConnectionTable, Ready};
use super::finished::Finished;
use super::head::Limits;
use super::latency::Latency;
use super::listener::Listener;
use super::server::Capacity;
use super::service::Service;
use crate::config::Config;
use crate::hub::Hub;
use crate::upstream::Upstream;

/// The poller's tokens for what is no connection. A connection's token is its key in the table.
const LISTENER: Token = Token(usize::MAX);
const WAKER: Token = Token(usize::MAX - 1);

/// Bytes read from a connection in one system call.
const READ_SIZE: usize = 64 * 1024;

/// The shortest and the longest time between two looks at the connections' deadlines.
const SWEEP_SHORTEST: Duration = Duration::from_millis(50);
const SWEEP_LONGEST: Duration = Duration::from_secs(60);

/// What all threads of the server share.
pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) limits: Limits,
    pub(super) budget: Budget,
    pub(super) service: Service,
    pub(super) upstream: Upstream,
    pub(super) hub: Hub,
    pub(super) runtime: Handle,
    pub(super) pool: ThreadPool,
    pub(super) finished: Finished,
    pub(super) table: ConnectionTable,
    pub(super) latency: Latency,
    registry: Registry,
    waker: Waker,
    turn: Mutex<EventLoop>,
    stage: AtomicU8,
    /// Whether the turn is over for good, and what wakes whoever waits for that.
    over: (Mutex<bool>, Condvar),
}

/// What only the thread that has the turn uses.
struct EventLoop {
    poll: Poll,
    events: Events,
    /// `None` once the server is stopping.
    listener: Option<Listener>,
    scratch: Vec<u8>,
    next_sweep: Instant,
}

/// The stages of a server's life, in order.
#[derive(Debug, Clone, Copy)]
enum Stage {
    Serving,
    /// No new connections are accepted; requests that are under way are answered.
    Stopping,
    /// Connections that are still busy are given up.
    Stopped,
}

impl Shared {
    /// Puts together what the threads share. No thread has the turn yet.
    ///
    /// # Errors
    /// When the operating system gives no poller, or the listener cannot be registered with it.
    pub(super) fn new(
        config: Config,
        listener: std::net::TcpListener,
        capacity: Capacity,
        upstream: Upstream,
        hub: Hub,
        runtime: Handle,
        pool: ThreadPool,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let registry = poll.registry().try_clone()?;
        let waker = Waker::new(&registry, WAKER)?;
        let listener = Listener::new(listener, capacity)?;
        let fd = listener.socket().as_raw_fd();
        registry.register(&mut SourceFd(&fd), LISTENER, Interest::READABLE)?;
        Ok(Self {
            limits: Limits {
                head: config.max_head,
                // A body that there can never be memory for gets a 413, and not a 503 that invites to try again.
                body: config.max_body.min(config.max_buffered.max(SMALL)),
            },
            budget: Budget::new(config.max_buffered),
            service: Service::new(&config, upstream.clone()),
            upstream,
            hub,
            runtime,
            pool,
            finished: Finished::default(),
            table: ConnectionTable::default(),
            latency: Latency::default(),
            registry,
            waker,
            turn: Mutex::new(EventLoop {
                poll,
                events: Events::with_capacity(1024),
                listener: Some(listener),
                scratch: vec![0; READ_SIZE],
                next_sweep: Instant::now(),
            }),
            stage: AtomicU8::new(Stage::Serving as u8),
            over: (Mutex::new(false), Condvar::new()),
            config,
        })
    }

    /// Whether the server stops, so that connections end after their answers.
    pub(super) fn is_stopping(&self) -> bool {
        self.has_reached(Stage::Stopping)
    }

    fn has_reached(&self, stage: Stage) -> bool {
        self.stage.load(Ordering::Acquire) >= stage as u8
    }

    fn go_to(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Release);
        self.wake();
    }

    /// Wakes the thread at the poller, so that it looks for what there is to do.
    pub(super) fn wake(&self) {
        if let Err(error) = self.waker.wake() {
            tracing::error!(%error, "cannot wake the poller");
        }
    }

    fn watch(&self, connection: &Connection, key: usize) -> io::Result<()> {
        let fd = connection.stream().as_raw_fd();
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.registry
            .register(&mut SourceFd(&fd), Token(key), interest)
    }

    /// Has the poller forget a connection that lives on elsewhere.
    pub(super) fn unwatch(&self, stream: &TcpStream) -> io::Result<()> {
        self.registry.deregister(&mut SourceFd(&stream.as_raw_fd()))
    }

    /// Ends the turn as soon as possible: connections that are still busy are given up.
    pub(super) fn abandon(&self) {
        self.go_to(Stage::Stopped);
    }

    /// Takes no more connections, ends the idle ones, lets the busy ones finish for at most this long, and
    /// returns when the turn is over. Commands that wait are answered as if their time were up.
    pub(super) fn stop(&self, patience: Duration) {
        self.go_to(Stage::Stopping);
        self.upstream.stop_waiting();
        let (over, told) = &self.over;
        let lock = over.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = told.wait_timeout_while(lock, patience, |over| !*over);
        let (mut lock, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        if timeout.timed_out() {
            tracing::warn!("requests were still under way at the end");
            self.abandon();
            while !*lock {
                lock = told.wait(lock).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

/// Takes the turn, until the server stops.
pub(super) fn take_turn(shared: &Arc<Shared>) {
    let succession = Succession(shared);
    let mut turn = shared.turn.lock().unwrap_or_else(PoisonError::into_inner);
    while turn.once(shared) {}
    drop(turn);
    shared.close_finished();
    drop(succession);
}

/// When dropped, has another thread take the turn if this one panics, and says that the turn is over if not.
struct Succession<'a>(&'a Arc<Shared>);

impl Drop for Succession<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("the thread at the poller panicked; another takes its turn");
            let shared = Arc::clone(self.0);
            self.0.pool.execute(move || take_turn(&shared));
            return;
        }
        let (over, told) = &self.0.over;
        *over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        told.notify_all();
    }
}

impl EventLoop {
    /// Waits for what is ready and serves it. False when the server has stopped.
    fn once(&mut self, shared: &Arc<Shared>) -> bool {
        let timeout = self.timeout(shared);
        match self.poll.poll(&mut self.events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                tracing::error!(%error, "cannot poll");
                std::thread::sleep(SWEEP_SHORTEST);
            }
        }
        shared.finish_batches();
        let now = Instant::now();
        let mut ready = Vec::with_capacity(self.events.iter().count());
        // Before those that are ready are taken: a client that never stops sending has a deadline too.
        if now >= self.next_sweep {
            self.sweep(shared, now, &mut ready);
        }
        shared.table.take(self.heard(), &mut ready);
        self.accept(shared, now, &mut ready);
        serve(shared, ready, &mut self.scratch, now);
        !self.is_over(shared)
    }

    /// What the poller has said of connections, by their keys.
    fn heard(&self) -> impl Iterator<Item = (usize, Signal)> {
        self.events.iter().filter_map(|event| match event.token() {
            WAKER | LISTENER => None,
            Token(key) => {
                let signal = Signal {
                    readable: event.is_readable(),
                    closed: event.is_read_closed() || event.is_error(),
                };
                Some((key, signal))
            }
        })
    }

    fn timeout(&self, shared: &Shared) -> Option<Duration> {
        if shared.table.has_ready() {
            return Some(Duration::ZERO);
        }
        let now = Instant::now();
        let accept = self
            .listener
            .as_ref()
            .and_then(|listener| listener.due(now));
        // With no connection there is no deadline to look at.
        let sweep = (!shared.table.is_empty()).then_some(self.next_sweep);
        let next = accept.into_iter().chain(sweep).min()?;
        Some(next.saturating_duration_since(now))
    }

    fn accept(&mut self, shared: &Shared, now: Instant, ready: &mut Vec<Ready>) {
        let Some(listener) = &mut self.listener else {
            return;
        };
        if self.events.iter().any(|event| event.token() == LISTENER) {
            listener.note();
        }
        let mut arrivals = Vec::new();
        listener.accept(&shared.table, &shared.service, now, &mut arrivals);
        for connection in arrivals {
            let key = shared.table.add(now);
            if let Err(error) = shared.watch(&connection, key) {
                tracing::error!(%error, "cannot watch a connection");
                shared.table.remove(key);
                continue;
            }
            self.next_sweep = self.next_sweep.min(connection.deadline(&shared.config));
            // Often its request has arrived with it.
            ready.push(Ready::unheard(key, Box::new(connection)));
        }
    }

    fn sweep(&mut self, shared: &Shared, now: Instant, ready: &mut Vec<Ready>) {
        let mut overdue = Vec::new();
        let next = shared
            .table
            .overdue(now, self.longest(shared), &mut overdue);
        self.next_sweep = next.max(now + SWEEP_SHORTEST);
        for mut late in overdue {
            let (context, form, problem) = match late.connection.overdue() {
                Some(Next::Fault(form, problem)) => {
                    (shared.service.context_without_request(), form, problem)
                }
                Some(Next::Refused(request, form, problem)) => {
                    (shared.service.context_of(&request), form, problem)
                }
                Some(Next::Request(..)) | None => {
                    shared.table.remove(late.key);
                    continue;
                }
            };
            let response = context.problem(problem);
            late.connection
                .answer(response, context, &form, &shared.budget, None);
            ready.push(late);
        }
    }

    /// The longest time between two sweeps. A connection that becomes busy after one may have a deadline before the next,
    /// so it is the shortest of all time limits.
    fn longest(&self, shared: &Shared) -> Duration {
        let config = &shared.config;
        let times = [
            LINGER,
            config.head_timeout,
            config.body_timeout,
            config.write_timeout,
            config.idle_timeout,
        ];
        times.into_iter().fold(SWEEP_LONGEST, Duration::min)
    }

    fn is_over(&mut self, shared: &Shared) -> bool {
        if !shared.is_stopping() {
            return false;
        }
        // Once it is dropped, connections are refused; those that had not been accepted are reset.
        self.listener = None;
        shared.table.close_idle();
        shared.has_reached(Stage::Stopped) || shared.table.is_done()
    }
}
