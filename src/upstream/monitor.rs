//! A connection on which the server tells of every command that anybody sends:
//! [MONITOR](https://redis.io/docs/latest/commands/monitor/).
//!
//! The client library has this only for connections that it opens itself, so the lines are read here. Redis
//! escapes what it shows, leaves out passwords, and ends each command with its line.

use std::future::Future;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::future::{select_all, try_join_all};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::OwnedSemaphorePermit;

use super::connector::Connector;
use super::failover::FailoverWatch;
use super::failure::Failure;
use super::transport::Stream;
use super::{Engine, Upstream, embedded};
use crate::error::Error;
use crate::reply::ServerError;

/// What is read at once, or the buffer would have room for 64 bytes and no more.
const READ_SIZE: usize = 16 * 1024;

/// A line that is longer is cut: it is there to be looked at, and a value may have any size.
const LONGEST_LINE: usize = 64 * 1024;

/// What stands at the end of a line that was cut.
const CUT: &[u8] = b"...";

/// Connections that tell of every command, one to each server. They count among those of commands that block.
pub struct Monitor {
    parts: Vec<Part>,
    /// When the servers are others.
    failover: FailoverWatch,
    _permits: OwnedSemaphorePermit,
}

/// A connection to one server.
struct Part {
    stream: Stream,
    failover: FailoverWatch,
    lines: Lines,
}

/// Why a server does not tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoMonitor {
    /// It was not asked, or did not answer.
    Failed(Error),
    /// It refused, in its own words.
    Refused(ServerError),
}

impl Upstream {
    /// Checks that the upstream can tell of commands.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where it cannot.
    pub fn admit_monitor(&self) -> Result<(), Error> {
        match self.embedded() {
            Some(_) => Err(embedded::unsupported("MONITOR")),
            None => Ok(()),
        }
    }

    /// Opens connections that tell of every command: one, or on a Cluster one to each node that has slots. Their
    /// number is bounded, together with that of the commands that block: one too many is [`Error::Full`] at once.
    pub fn monitor(&self) -> impl Future<Output = Result<Monitor, NoMonitor>> + Send + 'static {
        let (nodes, failover) = match &self.shared.engine {
            Engine::One(node) => (vec![Arc::clone(node)], FailoverWatch::fixed()),
            Engine::Cluster(cluster) => cluster.everywhere(),
        };
        let count = u32::try_from(nodes.len()).unwrap_or(u32::MAX);
        let blocking = Arc::clone(&self.shared.blocking);
        let permits = blocking.try_acquire_many_owned(count);
        let limit = self.shared.connect_timeout;
        async move {
            let permits = permits.map_err(|_| NoMonitor::Failed(Error::Full))?;
            if nodes.is_empty() {
                return Err(NoMonitor::Failed(Error::Unreachable));
            }
            let parts = try_join_all(nodes.iter().map(|node| Part::open(node.connector())));
            let unreachable = |_| Err(NoMonitor::Failed(Error::Unreachable));
            let parts = tokio::time::timeout(limit, parts);
            Ok(Monitor {
                parts: parts.await.unwrap_or_else(unreachable)?,
                failover,
                _permits: permits,
            })
        }
    }
}

impl Monitor {
    /// Waits for the next line; `None` when there will be no more, from one server at least. Nothing is lost when
    /// the wait is given up.
    pub async fn next(&mut self) -> Option<Told> {
        loop {
            if let Some(line) = self.take() {
                return Some(line);
            }
            let read = select_all(self.parts.iter_mut().map(|part| Box::pin(part.read())));
            tokio::select! {
                (goes_on, ..) = read => if !goes_on {
                    return None;
                },
                () = self.failover.moved() => return None,
            }
        }
    }

    /// A line that has been received already.
    pub fn take(&mut self) -> Option<Told> {
        self.parts.iter_mut().find_map(|part| part.lines.take())
    }
}

impl Part {
    async fn open(connector: &Connector) -> Result<Self, NoMonitor> {
        let asked = async {
            let (stream, failover) = connector.enter().await?;
            let mut part = Self {
                stream,
                failover,
                lines: Lines::default(),
            };
            part.stream.write_all(b"*1\r\n$7\r\nMONITOR\r\n").await?;
            part.stream.flush().await?;
            redis::RedisResult::Ok(part)
        };
        let mut part = asked.await.map_err(|error| {
            let failure = Failure::from(error);
            tracing::warn!(%failure, "cannot connect for MONITOR");
            match failure.answer() {
                Ok(error) => NoMonitor::Refused(error),
                Err(error) => NoMonitor::Failed(error),
            }
        })?;
        loop {
            match part.lines.take() {
                Some(Told::Line(_)) => return Ok(part),
                Some(Told::Refused(error)) => return Err(NoMonitor::Refused(error)),
                None if part.read().await => {}
                None => return Err(NoMonitor::Failed(Error::Unreachable)),
            }
        }
    }

    /// Receives something; false if nothing more will come. Nothing is lost when the wait is given up.
    async fn read(&mut self) -> bool {
        self.lines.received.reserve(READ_SIZE);
        tokio::select! {
            read = self.stream.read_buf(&mut self.lines.received) => read.is_ok_and(|read| read > 0),
            () = self.failover.moved() => false,
        }
    }
}

/// What a server says on such a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// A command, with when and by whom it was sent; at first `OK`.
    Line(Bytes),
    /// It tells no more.
    Refused(ServerError),
}

/// What has been received, as lines.
#[derive(Debug, Default)]
struct Lines {
    received: BytesMut,
    /// Whether what comes next is the rest of a line that was cut.
    cut: bool,
}

impl Lines {
    fn take(&mut self) -> Option<Told> {
        loop {
            let end = memchr::memchr(b'\n', &self.received);
            if self.cut {
                match end {
                    Some(end) => drop(self.received.split_to(end + 1)),
                    None => self.received.clear(),
                }
                self.cut = end.is_none();
                end?;
                continue;
            }
            return match end {
                Some(end) if end <= LONGEST_LINE => {
                    let line = self.received.split_to(end + 1).freeze();
                    let line = line.slice(..end - usize::from(line[..end].ends_with(b"\r")));
                    Some(Told::of(&line))
                }
                None if self.received.len() <= LONGEST_LINE => None,
                _ => {
                    let line = self.received.split_to(LONGEST_LINE).freeze();
                    self.cut = true;
                    Some(Told::of(&[&line, CUT].concat().into()))
                }
            };
        }
    }
}

impl Told {
    fn of(line: &Bytes) -> Self {
        match line.first() {
            Some(b'-') => Self::Refused(ServerError::from_line(&line[1..])),
            Some(b'+') => Self::Line(line.slice(1..)),
            _ => Self::Line(line.clone()),
        }
    }
}

impl std::fmt::Debug for Monitor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Monitor").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(lines: &mut Lines) -> Option<String> {
        lines.take().map(|line| match line {
            Told::Line(line) => String::from_utf8(line.to_vec()).expect("text"),
            Told::Refused(error) => panic!("{error}"),
        })
    }

    #[test]
    fn a_line_is_told_when_it_is_there_as_a_whole() {
        let mut lines = Lines::default();
        lines.received.extend_from_slice(b"+OK\r\n+1.5 [0 a] \"get");
        assert_eq!(told(&mut lines).as_deref(), Some("OK"));
        assert_eq!(told(&mut lines), None);
        lines.received.extend_from_slice(b"\" \"k\"\r\n\r\n");
        assert_eq!(told(&mut lines).as_deref(), Some("1.5 [0 a] \"get\" \"k\""));
        assert_eq!(told(&mut lines).as_deref(), Some(""));
        lines
            .received
            .extend_from_slice(b"-NOPERM this is not yours\r\n");
        let refusal = ServerError::new("NOPERM", "this is not yours");
        assert_eq!(lines.take(), Some(Told::Refused(refusal)));
    }

    #[test]
    fn a_line_without_end_is_cut_and_the_next_one_is_not() {
        for pieces in [1, 3] {
            let mut lines = Lines::default();
            lines.received.extend_from_slice(b"+");
            lines.received.extend_from_slice(&b"x".repeat(LONGEST_LINE));
            if pieces == 1 {
                lines.received.extend_from_slice(b"xxx\r\n+next\r\n");
            }
            let line = told(&mut lines).expect("a line");
            assert_eq!(line.len(), LONGEST_LINE - 1 + CUT.len());
            assert!(line.ends_with("xx..."));
            if pieces == 3 {
                assert_eq!(told(&mut lines), None);
                lines.received.extend_from_slice(&b"y".repeat(LONGEST_LINE));
                assert_eq!(told(&mut lines), None);
                assert!(lines.received.is_empty());
                lines.received.extend_from_slice(b"z\r\n+next\r\n");
            }
            assert_eq!(told(&mut lines).as_deref(), Some("next"));
        }
    }
}
