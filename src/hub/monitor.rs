//! Streams of every command that the upstream is sent. They have no share in the hub's subscriptions: each has
//! an upstream connection and a task of its own, which ends with whichever of its two ends goes first.
//!
//! The upstream is always read. What the client does not take is kept for it up to a bound, and one that falls
//! further behind is disconnected, because Redis would keep it without any.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;

use super::event::{self, Encoded};
use super::{Seat, Stats};
use crate::config::Config;
use crate::error::Error;
use crate::upstream::{Monitor, NoMonitor, Told, Upstream};

/// A connection that becomes a stream of every command.
pub struct Watch {
    /// The connection.
    pub seat: Seat,
    /// Makes the answer where there is no such stream; it is sent instead of the seat's head.
    pub refuse: Box<dyn FnOnce(NoMonitor) -> Bytes + Send>,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { seat, .. } = self;
        f.debug_struct("Watch")
            .field("seat", seat)
            .finish_non_exhaustive()
    }
}

/// Starts these streams, and ends them.
#[derive(Debug)]
pub(super) struct Monitors {
    upstream: Upstream,
    runtime: Handle,
    rules: Rules,
    stats: Arc<Stats>,
    closing: watch::Sender<bool>,
}

#[derive(Debug, Clone, Copy)]
struct Rules {
    buffer: usize,
    write_timeout: Duration,
    heartbeat: Duration,
}

impl Monitors {
    pub(super) fn new(
        config: &Config,
        upstream: Upstream,
        runtime: Handle,
        stats: Arc<Stats>,
    ) -> Self {
        Self {
            upstream,
            runtime,
            rules: Rules {
                buffer: config.subscriber_buffer,
                write_timeout: config.write_timeout,
                heartbeat: config.heartbeat,
            },
            stats,
            closing: watch::Sender::new(false),
        }
    }

    /// Takes a connection over.
    pub(super) fn start(&self, watch: Watch) {
        let opening = self.upstream.monitor();
        let (rules, stats) = (self.rules, Arc::clone(&self.stats));
        let mut closing = self.closing.subscribe();
        self.runtime.spawn(async move {
            let Watch { seat, refuse } = watch;
            let Ok(client) = TcpStream::from_std(seat.stream) else {
                return;
            };
            let opened = tokio::select! {
                opened = opening => opened,
                () = hang_up(&client) => return,
                () = told_to_end(&mut closing) => {
                    Err(NoMonitor::Failed(Error::Unreachable))
                }
            };
            let mut writer = Writer {
                client,
                waiting: BytesMut::new(),
                chunked: seat.chunked,
                since: Instant::now(),
            };
            let monitor = match opened {
                Ok(monitor) => monitor,
                Err(failure) => {
                    writer.waiting.extend_from_slice(&refuse(failure));
                    return writer.finish(rules.write_timeout, &mut closing).await;
                }
            };
            writer.waiting.extend_from_slice(&seat.head);
            // In the form in which Upstash tells that it begins.
            writer.push(&line(b"\"OK\""));
            run(monitor, writer, rules, &stats, closing).await;
            // Its place is free from here on.
            drop(seat.place);
        });
    }

    /// Ends all of them, and resolves when that is done.
    pub(super) async fn close(&self) {
        self.closing.send_replace(true);
        self.closing.closed().await;
    }
}

/// Tells the client what the upstream tells, until either has had enough.
async fn run(
    mut monitor: Monitor,
    mut writer: Writer,
    rules: Rules,
    stats: &Stats,
    mut closing: watch::Receiver<bool>,
) {
    loop {
        let blocked = !writer.waiting.is_empty();
        let patience = if blocked {
            rules.write_timeout
        } else {
            rules.heartbeat
        };
        tokio::select! {
            told = monitor.next() => {
                let Some(first) = told else {
                    let reason = "the connection to Redis ended";
                    return writer.end(reason, rules.write_timeout, &mut closing).await;
                };
                // Together with all that came with it.
                let rest = std::iter::from_fn(|| monitor.take());
                for told in std::iter::once(first).chain(rest) {
                    match told {
                        Told::Line(text) => writer.push(&line(&text)),
                        Told::Refused(error) => {
                            tracing::warn!(%error, "the upstream ended a MONITOR");
                            let reason = "Redis tells no more";
                            return writer.end(reason, rules.write_timeout, &mut closing).await;
                        }
                    }
                }
            }
            _ = writer.client.writable(), if blocked => {}
            () = hang_up(&writer.client) => return,
            () = tokio::time::sleep_until(writer.since + patience) => {
                if blocked {
                    stats.evicted.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                writer.push(&event::heartbeat());
            }
            () = told_to_end(&mut closing) => {
                let reason = "the gateway is shutting down";
                return writer.end(reason, Duration::ZERO, &mut closing).await;
            }
        }
        if writer.send().is_err() {
            return;
        }
        if writer.waiting.len() > rules.buffer {
            tracing::debug!("a client is too slow for MONITOR");
            stats.evicted.fetch_add(1, Ordering::Relaxed);
            return;
        }
    }
}

/// Resolves when the gateway ends.
async fn told_to_end(closing: &mut watch::Receiver<bool>) {
    // An error means the same.
    let _ = closing.wait_for(|closing| *closing).await;
}

/// A line as an event.
fn line(text: &[u8]) -> Encoded {
    Encoded::new(&[b"data: ", text, b"\n\n"].concat())
}

/// Resolves when the client has ended its side, or the connection. What else it sends means nothing.
async fn hang_up(client: &TcpStream) {
    let mut waste = [0; 1024];
    loop {
        if client.readable().await.is_err() {
            return;
        }
        match client.try_read(&mut waste) {
            Ok(1..) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(0) | Err(_) => return,
        }
    }
}

/// A client, and what waits for it.
struct Writer {
    client: TcpStream,
    waiting: BytesMut,
    chunked: bool,
    /// When it last took anything, or began to be waited for.
    since: Instant,
}

impl Writer {
    fn push(&mut self, events: &Encoded) {
        if self.waiting.is_empty() {
            self.since = Instant::now();
        }
        self.waiting.extend_from_slice(&events.bytes(self.chunked));
    }

    /// Gives the kernel as much as it takes.
    fn send(&mut self) -> io::Result<()> {
        while !self.waiting.is_empty() {
            match self.client.try_write(&self.waiting) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.waiting.advance(written);
                    self.since = Instant::now();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        // A backlog that is over shall not be paid for ever after.
        self.waiting = BytesMut::new();
        Ok(())
    }

    /// Ends the body, with a reason.
    async fn end(mut self, reason: &str, limit: Duration, closing: &mut watch::Receiver<bool>) {
        self.push(&event::farewell(reason));
        if self.chunked {
            self.waiting.extend_from_slice(b"0\r\n\r\n");
        }
        self.finish(limit, closing).await;
    }

    /// Sends what waits, if the client takes it in time, and ends the connection. When the gateway ends, nobody is
    /// waited for.
    async fn finish(mut self, limit: Duration, closing: &mut watch::Receiver<bool>) {
        let sent = tokio::time::timeout(limit, self.client.write_all(&self.waiting));
        let sent = tokio::select! {
            biased;
            sent = sent => sent,
            () = told_to_end(closing) => return,
        };
        if let Ok(Ok(())) = sent {
            // It may be gone already.
            let _ = self.client.shutdown().await;
        }
    }
}
