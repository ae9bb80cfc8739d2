//! Reading of messages no faster than they are taken up.
//!
//! The client library reads what a server tells as it comes, and keeps it without a bound until somebody takes it up. So
//! the bytes are kept from it while too much has not been: that waits at the server, which has a limit of its own
//! (`client-output-buffer-limit pubsub`).
//!
//! How many bytes a message was is not known when it is taken up. So it is counted from when there was last nothing to
//! take up.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use futures_util::StreamExt;
use redis::Msg;
use redis::aio::PubSubStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::coop::has_budget_remaining;

/// How many bytes are read before anything of them has to be taken up.
const MOST_AHEAD: usize = 16 * 1024 * 1024;

/// The side that takes up messages.
#[derive(Debug, Clone, Default)]
pub(super) struct Pace(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Whether there was nothing to take up when it was last tried.
    is_idle: bool,
    /// Bytes that were read since.
    ahead: usize,
    /// Who waits to read on.
    reader: Option<Waker>,
}

/// What a server tells of channels and patterns. With it the connection ends.
pub struct Messages {
    stream: PubSubStream,
    pace: Pace,
}

impl Messages {
    pub(super) fn new(stream: PubSubStream, pace: Pace) -> Self {
        Self { stream, pace }
    }

    /// Waits for the next message; `None` when the connection is of no use any more. Nothing is lost when the
    /// wait is given up.
    pub async fn next(&mut self) -> Option<Msg> {
        self.pace.next(self.stream.next()).await
    }
}

impl std::fmt::Debug for Messages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Messages").finish_non_exhaustive()
    }
}

/// A connection that is read at a pace.
pub(super) struct Paced<S> {
    stream: S,
    pace: Pace,
}

impl Pace {
    /// Waits for the next message to take up. Nothing is lost when the wait is given up.
    pub(super) async fn next<T>(&self, next: impl Future<Output = T>) -> T {
        let mut next = pin!(next);
        poll_fn(|context| {
            let polled = next.as_mut().poll(context);
            // Without budget there may be something all the same.
            self.tried(polled.is_pending() && has_budget_remaining());
            polled
        })
        .await
    }

    fn tried(&self, is_idle: bool) {
        let mut state = self.state();
        state.is_idle = is_idle;
        if is_idle {
            state.ahead = 0;
            if let Some(reader) = state.reader.take() {
                reader.wake();
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Paced<S> {
    pub(super) fn new(stream: S) -> (Self, Pace) {
        let pace = Pace::default();
        let paced = Self {
            stream,
            pace: pace.clone(),
        };
        (paced, pace)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = self.pace.state();
        if state.ahead > MOST_AHEAD && !state.is_idle {
            state.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        drop(state);
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        self.pace.state().ahead += buffer.filled().len() - before;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use futures_util::FutureExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn no_more_is_read_than_may_wait_to_be_taken_up() {
        let mut piece = vec![0; 1024 * 1024];
        let (mut server, client) = tokio::io::duplex(piece.len());
        let (mut client, pace) = Paced::new(client);
        let mut read = 0;
        loop {
            server.write_all(&piece).await.expect("there is room");
            if client.read_exact(&mut piece).now_or_never().is_none() {
                break;
            }
            read += piece.len();
        }
        assert_eq!(read, MOST_AHEAD + piece.len());
        // One is taken up, and there may be more.
        pace.next(ready(())).await;
        assert!(client.read_exact(&mut piece).now_or_never().is_none());
        // For one that is waited for everything is read, however large it is.
        assert!(pace.next(pending::<()>()).now_or_never().is_none());
        for _ in 0..=(MOST_AHEAD / piece.len()) {
            let taken = client.read_exact(&mut piece).await;
            taken.expect("it is read");
            server.write_all(&piece).await.expect("there is room");
        }
    }

    #[tokio::test]
    async fn who_waits_to_read_on_is_woken() {
        let mut piece = vec![0; 1024];
        let (mut server, client) = tokio::io::duplex(piece.len());
        let (mut client, pace) = Paced::new(client);
        pace.state().ahead = MOST_AHEAD + 1;
        server.write_all(&piece).await.expect("there is room");
        let reading = tokio::spawn(async move { client.read_exact(&mut piece).await });
        while pace.state().reader.is_none() {
            tokio::task::yield_now().await;
        }
        assert!(pace.next(pending::<()>()).now_or_never().is_none());
        let read = reading.await.expect("it does not panic");
        assert_eq!(read.expect("it is read"), 1024);
    }
}
