//! The tracking connection: over it values are read into the cache, and over it the server tells when one of them
//! has changed.
//!
//! It is the only connection that speaks RESP3. What the server pushes is taken up by the task that reads the
//! socket, in its order among the replies; a reply's fill is stored later, by the task here. So a change that
//! comes behind a value in the socket is known before the value is stored.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::{PushInfo, PushKind, RedisError, RedisResult, Value};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

use super::super::connector::Connected;
use super::super::node::{Connections, Line, Node};
use super::super::resp_encode::pipeline;
use super::super::{Packed, reconnect_pauses};
use super::store::{BOUND, Fill, LONGEST_STAY, Store};
use crate::command::Command;
use crate::reply::Reply;

/// How often the server is asked whether it has told everything, as long as values are asked for. Several times
/// within [`BOUND`], so that one late answer does not matter.
const BEAT: Duration = Duration::from_millis(250);

/// Fills that are sent as one pipeline.
const MOST_AT_ONCE: usize = 32;

/// A connection that ends sooner than this is not replaced at once.
const SHORT_LIFE: Duration = Duration::from_millis(200);

/// The task that keeps the connection.
pub(super) struct Tracking {
    pub(super) store: Arc<Store>,
    pub(super) node: Arc<Node>,
    pub(super) to_fill: mpsc::Receiver<Fill>,
    pub(super) wake: Arc<Notify>,
    pub(super) connect_timeout: Duration,
    pub(super) command_timeout: Duration,
}

/// How the time of a connection ended.
enum End {
    /// It broke, or leads elsewhere than the others by now.
    Over,
    /// The cache was dropped.
    Unwanted,
}

impl Tracking {
    pub(super) async fn run(mut self) {
        let mut pauses = reconnect_pauses();
        loop {
            let connected = timeout(self.connect_timeout, self.connect()).await;
            let pause = match connected {
                Ok(Ok((connected, connections, asked))) => {
                    tracing::info!("the client cache is in use");
                    pauses = reconnect_pauses();
                    self.store.open(connections, asked);
                    let end = self.keep(connected, connections).await;
                    self.store.close();
                    if matches!(end, End::Unwanted) {
                        return;
                    }
                    tracing::warn!("the client cache's connection ended; everything is dropped");
                    SHORT_LIFE.saturating_sub(asked.elapsed())
                }
                failed => {
                    let failure = match failed {
                        Ok(Err(error)) => error.to_string(),
                        _ => "no answer in time".to_owned(),
                    };
                    if self.node.connections().is_some() {
                        tracing::warn!(%failure, "the client cache is not in use");
                    } else {
                        // At the start, or the links say what is wrong.
                        tracing::debug!(%failure, "the client cache is not in use yet");
                    }
                    // The pauses never end.
                    pauses.next().unwrap_or(self.connect_timeout)
                }
            };
            if self.is_unwanted_during(pause).await {
                return;
            }
        }
    }

    /// A connection over which the server tracks what is read, the others that lead to the same server, and when
    /// it was asked.
    async fn connect(&self) -> RedisResult<(Connected, Connections, Instant)> {
        // Before anything is asked: if they are others afterwards, nothing is given away.
        let Some(connections) = self.node.connections() else {
            return Err(failure("there are no connections for commands"));
        };
        let store = Arc::clone(&self.store);
        let told = move |push: PushInfo| -> Result<(), RedisError> {
            take_up(&store, &push);
            Ok(())
        };
        let mut connected = self.node.connector().tracking(told).await?;
        let asked = Instant::now();
        let on = Command::new("CLIENT").arg("TRACKING").arg("ON");
        let which = Command::new("INFO").arg("server");
        let replies = send(&mut connected, &[on, which.clone()]).await?;
        let [on, which_here] = <[Value; 2]>::try_from(replies)
            .map_err(|_| failure("the server replies something else"))?;
        on.extract_error()?;
        let here = run_id(which_here.extract_error()?.into());
        for line in Line::ALL {
            let packed = Packed::one(&which);
            let outcomes = self.node.send(line, packed, self.command_timeout).await;
            let there = match outcomes.into_iter().next() {
                Some(Ok(reply)) => run_id(reply),
                _ => None,
            };
            if here.is_none() || here != there {
                return Err(failure("commands go to another server at the moment"));
            }
        }
        Ok((connected, connections, asked))
    }

    /// Fills, and sees to it that the server has told everything, for as long as the connection is good.
    async fn keep(&mut self, mut connected: Connected, connections: Connections) -> End {
        let mut fills = Vec::with_capacity(MOST_AT_ONCE);
        let mut resting = false;
        let mut beat = tokio::time::interval(BEAT);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let to_ask = tokio::select! {
                () = connected.driver.ended() => return End::Over,
                () = connected.failover.moved() => return End::Over,
                count = self.to_fill.recv_many(&mut fills, MOST_AT_ONCE) => match count {
                    0 => return End::Unwanted,
                    _ => true,
                },
                () = self.wake.notified(), if resting => true,
                _ = beat.tick(), if !resting => self.store.is_in_use(),
            };
            if self.node.connections() != Some(connections) {
                return End::Over;
            }
            // Whoever asks next wakes this task.
            resting = !to_ask;
            if to_ask {
                let asked = self.ask(&mut connected, &mut fills);
                if !matches!(timeout(self.command_timeout, asked).await, Ok(Ok(()))) {
                    return End::Over;
                }
            }
        }
    }

    /// Reads what is to be filled. Without anything it is a question all the same, by whose answer the server has
    /// told what has changed before.
    async fn ask(&self, connected: &mut Connected, fills: &mut Vec<Fill>) -> RedisResult<()> {
        fills.retain(|fill| self.store.is_wanted(fill));
        let mut commands = Vec::with_capacity(2 * fills.len() + 1);
        for fill in fills.iter() {
            commands.push(Command::get(fill.key.clone()));
            commands.push(Command::new("PTTL").arg(fill.key.clone()));
        }
        if commands.is_empty() {
            commands.push(Command::new("PING"));
        }
        let asked = Instant::now();
        let replies = send(connected, &commands).await?;
        self.store.heard(asked);
        let mut replies = replies.into_iter().map(Reply::from);
        for fill in fills.drain(..) {
            let both = replies.next().zip(replies.next());
            match both.and_then(|(value, ttl)| to_keep(value, &ttl)) {
                Some((reply, stay)) => self.store.fill(&fill, reply, asked + stay),
                None => self.store.give_up(&fill),
            }
        }
        Ok(())
    }

    /// Waits, unless the cache is dropped meanwhile. Nothing is filled.
    async fn is_unwanted_during(&mut self, pause: Duration) -> bool {
        // What is on its way here was given up when the connection ended.
        let unwanted = async { while self.to_fill.recv().await.is_some() {} };
        timeout(pause, unwanted).await.is_ok()
    }
}

/// What is kept of a reply to GET, and for how long from when it was asked for, by the reply to PTTL behind it.
fn to_keep(value: Reply, ttl: &Reply) -> Option<(Option<Reply>, Duration)> {
    match (value, ttl) {
        // It lives at least this long.
        (value @ Reply::Bulk(_), Reply::Int(left @ 0..)) => {
            let left = Duration::from_millis(left.unsigned_abs());
            Some((Some(value), left.min(LONGEST_STAY)))
        }
        (value @ Reply::Bulk(_), Reply::Int(-1)) | (value @ Reply::Nil, Reply::Int(-2)) => {
            Some((Some(value), LONGEST_STAY))
        }
        (Reply::Error(error), _) if error.code() == "WRONGTYPE" => Some((None, LONGEST_STAY)),
        // It has changed between the two questions, or cannot be read.
        _ => None,
    }
}

/// What the server pushes.
fn take_up(store: &Store, push: &PushInfo) {
    match (&push.kind, &push.data[..]) {
        (PushKind::Invalidate, [Value::Array(keys)]) => {
            for key in keys {
                match key {
                    Value::BulkString(key) => store.invalidate(key),
                    _ => store.invalidate_all(),
                }
            }
        }
        // Nil: everything.
        (PushKind::Invalidate, _) => store.invalidate_all(),
        _ => {}
    }
}

async fn send(connected: &mut Connected, commands: &[Command]) -> RedisResult<Vec<Value>> {
    let (pipeline, count) = (pipeline(commands), commands.len());
    let connection = &mut connected.connection;
    let replies = connection.send_packed_commands(&pipeline, 0, count).await?;
    if replies.len() == count {
        Ok(replies)
    } else {
        Err(failure("replies are missing"))
    }
}

/// By what INFO tells one server, and one run of it, from another.
fn run_id(info: Reply) -> Option<String> {
    let Reply::Bulk(text) = info else {
        return None;
    };
    let text = String::from_utf8_lossy(&text);
    let id = text.lines().find_map(|line| line.strip_prefix("run_id:"));
    id.map(|id| id.trim().to_owned())
}

fn failure(what: &'static str) -> RedisError {
    (redis::ErrorKind::UnexpectedReturnType, what).into()
}

const _: () = assert!(BEAT.as_millis() * 3 < BOUND.as_millis());

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::ServerError;

    #[test]
    fn a_value_is_kept_no_longer_than_it_lives_and_no_error_ever() {
        let value = || Reply::Bulk("1".into());
        let error = |code| Reply::Error(ServerError::new(code, "no"));
        let longest = i64::try_from(LONGEST_STAY.as_millis()).expect("it fits");
        for (value, ttl, kept) in [
            (value(), Reply::Int(0), Some((Some(value()), 0))),
            (value(), Reply::Int(1500), Some((Some(value()), 1500))),
            (
                value(),
                Reply::Int(longest + 1),
                Some((Some(value()), longest)),
            ),
            (value(), Reply::Int(-1), Some((Some(value()), longest))),
            (
                Reply::Nil,
                Reply::Int(-2),
                Some((Some(Reply::Nil), longest)),
            ),
            (error("WRONGTYPE"), Reply::Int(-1), Some((None, longest))),
            (value(), Reply::Int(-2), None),
            (Reply::Nil, Reply::Int(-1), None),
            (error("NOPERM"), Reply::Int(-1), None),
            (value(), error("LOADING"), None),
        ] {
            let kept = kept
                .map(|(reply, stay): (_, i64)| (reply, Duration::from_millis(stay.unsigned_abs())));
            assert_eq!(to_keep(value.clone(), &ttl), kept, "{value:?}, {ttl:?}");
        }
    }
}
