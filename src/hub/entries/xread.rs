//! The one blocking `XREAD` for all streams of a place, and its connection.
//!
//! While it blocks, nothing can be added to it. When something is to be, and it does not come back by itself in
//! a moment, another connection is opened and takes over: closing the first ends its command. `CLIENT UNBLOCK` is
//! not used: it names a client of one server, and over a proxy or at a failover another server might take it.

use std::pin::Pin;
use std::time::Duration;

use redis::RedisResult;
use tokio::time::Instant;

use crate::command::Command;
use crate::hub::waits::{finished, sleep_until};
use crate::reply::Reply;
use crate::upstream::{FailoverWatch, Reader, Reading, reconnect_pauses};

/// How long a reading that lacks something may go on. On busy streams it comes back sooner by itself.
const GRACE: Duration = Duration::from_millis(2);

pub(super) struct Xread {
    reader: Reader,
    /// How long one reading may take, over all.
    limit: Duration,
    idle: Option<Reading>,
    under_way: Option<UnderWay<(Reading, RedisResult<Reply>)>>,
    /// Since when what is under way lacks something.
    lacking_since: Option<Instant>,
    opening: Option<UnderWay<RedisResult<Reading>>>,
    /// How long to wait before each further attempt to connect.
    pauses: Box<dyn Iterator<Item = Duration> + Send>,
    /// What has happened since the last attempt began that ends the wait for the next.
    news: FailoverWatch,
    /// When to read next, at the earliest.
    not_before: Instant,
}

type UnderWay<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What happened.
pub(super) enum Turn {
    /// A reading can be started.
    Ready,
    /// One came back.
    Read(Reply),
    /// The connection broke. It is being replaced.
    Broken,
}

impl Xread {
    pub(super) fn new(reader: Reader, limit: Duration) -> Self {
        Self {
            news: reader.news(),
            reader,
            limit,
            idle: None,
            under_way: None,
            lacking_since: None,
            opening: None,
            pauses: Box::new(reconnect_pauses()),
            not_before: Instant::now(),
        }
    }

    /// Gives the connection up; there is nothing to read.
    pub(super) fn close(&mut self) {
        self.idle = None;
        self.under_way = None;
        self.opening = None;
        self.lacking_since = None;
    }

    /// Has a connection made, if there is none.
    pub(super) fn open(&mut self) {
        if self.idle.is_none() && self.under_way.is_none() && self.opening.is_none() {
            self.connect(Duration::ZERO);
        }
    }

    /// What is to be read is not all in what is under way.
    pub(super) fn lacks(&mut self) {
        if self.under_way.is_some() {
            self.lacking_since.get_or_insert_with(Instant::now);
        }
    }

    /// Whether a reading can be started.
    pub(super) fn is_ready(&self) -> bool {
        self.idle.is_some() && self.not_before <= Instant::now()
    }

    /// Reads nothing for a while.
    pub(super) fn pause(&mut self, pause: Duration) {
        self.not_before = Instant::now() + pause;
    }

    /// Starts a reading.
    pub(super) fn read(&mut self, command: Command) {
        let Some(mut reading) = self.idle.take() else {
            return;
        };
        let limit = self.limit;
        self.under_way = Some(Box::pin(async move {
            let reply = reading.ask(&command, limit).await;
            (reading, reply)
        }));
    }

    /// Waits for the next thing to happen. Nothing is lost when the wait is given up.
    pub(super) async fn next(&mut self) -> Turn {
        loop {
            let takes_over_at = self.lacking_since.map(|since| since + GRACE);
            let may_take_over = self.opening.is_none() && takes_over_at.is_some();
            tokio::select! {
                (reading, reply) = finished(&mut self.under_way) => {
                    self.under_way = None;
                    // What lacked will be in the next one.
                    if self.lacking_since.take().is_some() {
                        self.opening = None;
                    }
                    match reply {
                        Ok(reply) => {
                            self.idle = Some(reading);
                            return Turn::Read(reply);
                        }
                        Err(error) => {
                            tracing::warn!(%error, "the connection for reading streams ended");
                            let pause = reconnect_pauses().next().unwrap_or_default();
                            self.connect(pause);
                            return Turn::Broken;
                        }
                    }
                }
                opened = finished(&mut self.opening) => {
                    self.opening = None;
                    match opened {
                        Ok(reading) => {
                            // Whatever the other one was about to say is read again.
                            self.under_way = None;
                            self.lacking_since = None;
                            self.idle = Some(reading);
                            self.pauses = Box::new(reconnect_pauses());
                            return Turn::Ready;
                        }
                        Err(error) => {
                            tracing::warn!(%error, "cannot connect for reading streams");
                            // The pauses never end.
                            let pause = self.pauses.next().unwrap_or_default();
                            self.connect(pause);
                        }
                    }
                }
                () = sleep_until(takes_over_at), if may_take_over => self.connect(Duration::ZERO),
                () = tokio::time::sleep_until(self.not_before), if self.idle.is_some() => return Turn::Ready,
            }
        }
    }

    fn connect(&mut self, pause: Duration) {
        let reader = self.reader.clone();
        let mut news = std::mem::replace(&mut self.news, reader.news());
        self.opening = Some(Box::pin(async move {
            let _ = tokio::time::timeout(pause, news.moved()).await;
            reader.connect().await
        }));
    }
}
