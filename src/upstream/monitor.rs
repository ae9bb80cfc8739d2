//! A connection on which the server tells of every command that anybody sends:
//! [MONITOR](https://redis.io/docs/latest/commands/monitor/).
//!
//! The client library has this only for connections that it opens itself, so the lines are read here. Redis
//! escapes what it shows, leaves out passwords, and ends each command with its line.

use std::future::Future;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::OwnedSemaphorePermit;

use super::lead::Lead;
use super::stream::Stream;
use super::{Engine, Upstream, embedded};
use crate::command::Command;
use crate::error::Error;
use crate::reply::ServerError;

/// A line that is longer is cut: it is there to be looked at, and a value may have any size.
const LONGEST_LINE: usize = 64 * 1024;

/// What stands at the end of a line that was cut.
const CUT: &[u8] = b"...";

/// A connection that tells of every command. It counts among those of commands that block.
pub struct Monitor {
    stream: Stream,
    lead: Lead,
    lines: Lines,
    _permit: OwnedSemaphorePermit,
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

    /// Opens a connection that tells of every command. Their number is bounded, together with that of the
    /// commands that block: one too many is [`Error::Full`] at once.
    pub fn monitor(&self) -> impl Future<Output = Result<Monitor, NoMonitor>> + Send + 'static {
        let permit = std::sync::Arc::clone(&self.shared.blocking).try_acquire_owned();
        let upstream = self.clone();
        async move {
            let permit = permit.map_err(|_| NoMonitor::Failed(Error::Full))?;
            let shared = &upstream.shared;
            let asked = async {
                let connector = match &shared.engine {
                    Engine::One(node) => node.connector().clone(),
                    Engine::Cluster(cluster) => match cluster.way(&Command::new("MONITOR")) {
                        Ok(way) => way.connector,
                        Err(_) => {
                            return Err((
                                redis::ErrorKind::ClusterConnectionNotFound,
                                "no node of the Cluster is there",
                            )
                                .into());
                        }
                    },
                };
                let (stream, lead) = connector.enter().await?;
                let mut monitor = Monitor {
                    stream,
                    lead,
                    lines: Lines::default(),
                    _permit: permit,
                };
                monitor.stream.write_all(b"*1\r\n$7\r\nMONITOR\r\n").await?;
                monitor.stream.flush().await?;
                let answer = monitor.next().await;
                redis::RedisResult::Ok((monitor, answer))
            };
            match tokio::time::timeout(shared.connect_timeout, asked).await {
                Ok(Ok((monitor, Some(Told::Line(_))))) => Ok(monitor),
                Ok(Ok((_, Some(Told::Refused(error))))) => Err(NoMonitor::Refused(error)),
                Ok(Ok((_, None))) | Err(_) => Err(NoMonitor::Failed(Error::Unreachable)),
                Ok(Err(error)) => {
                    tracing::warn!(%error, "cannot connect for MONITOR");
                    Err(NoMonitor::Failed(Error::Unreachable))
                }
            }
        }
    }
}

impl Monitor {
    /// Waits for the next line; `None` when there will be no more. Nothing is lost when the wait is given up.
    pub async fn next(&mut self) -> Option<Told> {
        loop {
            if let Some(line) = self.lines.take() {
                return Some(line);
            }
            tokio::select! {
                read = self.stream.read_buf(&mut self.lines.received) => match read {
                    Ok(0) | Err(_) => return None,
                    Ok(_) => {}
                },
                () = self.lead.moved() => return None,
            }
        }
    }

    /// A line that has been received already.
    pub fn take(&mut self) -> Option<Told> {
        self.lines.take()
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
            Some(b'-') => {
                let text = String::from_utf8_lossy(&line[1..]);
                let (code, detail) = text.split_once(' ').unwrap_or((&text, ""));
                Self::Refused(ServerError::new(code, detail))
            }
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
