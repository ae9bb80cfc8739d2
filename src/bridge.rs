//! The bridge between the threads that serve HTTP and the runtime that talks to Redis.
//!
//! [`Bridge`] owns the shared `multi_thread` runtime; everybody else holds a cloned `Handle`. This file is
//! the only place of the gateway that blocks on a future ([`crate::blocking`] is a client of its own). Nothing async may call it: `block_on` inside a runtime panics.

use std::future::Future;
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Handle, Runtime};

/// The shared runtime and its owner. Dropped, it waits for what blocks on the runtime; [`Bridge::shutdown`]
/// waits no longer than it is told to.
#[derive(Debug)]
pub struct Bridge {
    runtime: Runtime,
}

impl Bridge {
    /// A `multi_thread` runtime with this many worker threads.
    ///
    /// # Errors
    /// When the operating system gives no threads or no poller.
    pub fn new(threads: usize) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("gateway-runtime")
            .enable_io()
            .enable_time()
            .build()?;
        Ok(Self { runtime })
    }

    /// A handle by which any thread can spawn tasks on the runtime.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        self.runtime.handle()
    }

    /// Runs a future to its end while the calling thread waits. Deadlines belong inside the future.
    ///
    /// # Panics
    /// Inside a runtime.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// Ends the runtime, waiting at most this long for what runs on it.
    pub fn shutdown(self, deadline: Duration) {
        self.runtime.shutdown_timeout(deadline);
    }
}

/// Runs a future to its end on somebody's runtime while the calling thread waits.
///
/// # Panics
/// Inside a runtime.
pub fn block_on<F: Future>(handle: &Handle, future: F) -> F::Output {
    handle.block_on(future)
}

/// What a thread does with work that it has handed to the runtime: wait for it a short while, then go on
/// and let the work be finished elsewhere.
///
/// The work runs as a task. If it is done within `patience`, its result comes back together with `carry`,
/// and the calling thread goes on as if it had blocked on it. If not, this returns `None` and `late` is
/// called with `carry` and the result when there is one, on a thread of the runtime: it must only pass them
/// on.
///
/// So a thread waits no longer than it pays to wait, however slow the upstream is, and a near upstream
/// costs no further hand-over.
pub fn run_or_leave<T, R>(
    handle: &Handle,
    work: impl Future<Output = R> + Send + 'static,
    carry: T,
    patience: Duration,
    late: impl FnOnce(T, R) + Send + 'static,
) -> Option<(T, R)>
where
    T: Send + 'static,
    R: Send + 'static,
{
    let meeting = Arc::new(Meeting {
        state: Mutex::new(State::Waiting),
        done: Condvar::new(),
    });
    let theirs = Arc::clone(&meeting);
    handle.spawn(async move {
        let result = work.await;
        if let Some((carry, result)) = theirs.arrive(result) {
            late(carry, result);
        }
    });
    meeting.wait(carry, patience)
}

/// Where a waiting thread and a task meet; whoever comes second takes both their things along.
struct Meeting<T, R> {
    state: Mutex<State<T, R>>,
    /// Told when the result has arrived.
    done: Condvar,
}

enum State<T, R> {
    /// The thread waits, the task is under way.
    Waiting,
    /// The task came first and left its result.
    Done(R),
    /// The thread came first and left what it carried.
    Left(T),
    /// Both have been here.
    Over,
}

impl<T, R> Meeting<T, R> {
    /// The thread's side.
    fn wait(&self, carry: T, patience: Duration) -> Option<(T, R)> {
        let deadline = Instant::now() + patience;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match std::mem::replace(&mut *state, State::Waiting) {
                State::Done(result) => {
                    *state = State::Over;
                    return Some((carry, result));
                }
                State::Waiting | State::Left(_) | State::Over => {}
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                *state = State::Left(carry);
                return None;
            }
            let woken = self.done.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The task's side.
    fn arrive(&self, result: R) -> Option<(T, R)> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *state, State::Over) {
            State::Left(carry) => Some((carry, result)),
            State::Waiting | State::Done(_) | State::Over => {
                *state = State::Done(result);
                drop(state);
                self.done.notify_one();
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn quick_work_comes_back_to_the_thread_that_waits() {
        let bridge = Bridge::new(1).expect("a runtime");
        let patience = Duration::from_secs(10);
        let late = |_, _| panic!("the thread was there");
        let back = run_or_leave(bridge.handle(), async { 7 }, "mine", patience, late);
        assert_eq!(back, Some(("mine", 7)));
    }

    #[test]
    fn slow_work_is_finished_elsewhere() {
        let bridge = Bridge::new(1).expect("a runtime");
        let (release, released) = tokio::sync::oneshot::channel();
        let (sender, receiver) = mpsc::channel();
        let work = async move { released.await.unwrap_or(0) };
        let late = move |carry, result| sender.send((carry, result)).expect("the test waits");
        let back = run_or_leave(bridge.handle(), work, "mine", Duration::ZERO, late);
        assert_eq!(back, None);
        release.send(7).expect("the task waits");
        assert_eq!(receiver.recv(), Ok(("mine", 7)));
    }
}
