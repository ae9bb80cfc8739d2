//! Reading the streams of one place as their entries come.
//!
//! A stream's end is asked for once (`XINFO STREAM`); from there on it is read together with all others
//! (`xread`). As reading alone does not show what was trimmed before it was read, or that a stream was begun anew,
//! every stream is looked at from time to time, busy ones more often (`watched`).

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::state::State;
use super::tails::{Request, Settings};
use super::watched::{Finding, Watched};
use super::xread::{Turn, Xread};
use super::{Entry, EntryId, FIRST_AT_ONCE, Loss, at_once, parse_all};
use crate::command::Command;
use crate::hub::fanout::ChannelKey;
use crate::reply::{Reply, ServerError};
use crate::upstream::{Outcome, Reader, Upstream};

/// How often busy streams are looked at, and how soon again after an error.
const SOON: Duration = Duration::from_secs(1);
const AFTER_ERROR: Duration = Duration::from_millis(100);

/// Streams that are looked at in one pipeline.
const LOOKS_AT_ONCE: usize = 100;

/// The time that reading gives itself for each stream: a command of thousands of names is not sent for every
/// single entry.
const EACH: Duration = Duration::from_micros(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// What there is to tell of a stream.
#[derive(Debug)]
pub(in crate::hub) struct News {
    pub(in crate::hub) key: Bytes,
    /// For whom it is read.
    pub(in crate::hub) channel: ChannelKey,
    pub(in crate::hub) what: What,
}

#[derive(Debug)]
pub(in crate::hub) enum What {
    /// It is read from here on: every entry behind this follows.
    Begins(EntryId),
    /// It cannot be read.
    Refused(ServerError),
    /// Entries came.
    Entries(Vec<Entry>),
    /// Entries were gone before they were read.
    Lost(Loss),
    /// It was begun anew or set back, and is read from the end of this loss on.
    Elsewhere(Loss),
}

/// The task that reads.
pub(super) struct Tail {
    upstream: Upstream,
    settings: Settings,
    xread: Xread,
    /// Streams whose end has been asked for.
    asked: HashMap<Bytes, ChannelKey>,
    watched: HashMap<Bytes, Watched>,
    looks: FuturesUnordered<std::pin::Pin<Box<dyn Future<Output = Looked> + Send>>>,
    /// How many entries of a stream are read at once.
    at_once: usize,
    /// When to look at busy streams, and at those whose end is not known yet.
    look_at: Instant,
    look_at_all: Instant,
    tell: mpsc::Sender<News>,
}

/// Streams, where their reading was when they were looked at, and what the server said.
struct Looked {
    streams: Vec<(Bytes, EntryId)>,
    outcomes: Vec<Outcome>,
}

impl Tail {
    pub(super) fn new(
        upstream: Upstream,
        reader: Reader,
        settings: Settings,
        tell: mpsc::Sender<News>,
    ) -> Self {
        Self {
            upstream,
            xread: Xread::new(reader, settings.block + settings.command_timeout),
            settings,
            asked: HashMap::new(),
            watched: HashMap::new(),
            looks: FuturesUnordered::new(),
            at_once: FIRST_AT_ONCE,
            look_at: Instant::now(),
            look_at_all: Instant::now(),
            tell,
        }
    }

    /// Runs until nobody is left to ask anything of it.
    pub(super) async fn run(mut self, mut requests: mpsc::UnboundedReceiver<Request>) {
        loop {
            if self.watched.is_empty() {
                self.xread.close();
            } else {
                self.xread.open();
                if self.xread.is_ready() {
                    self.read();
                }
            }
            let busy = !(self.watched.is_empty() && self.asked.is_empty());
            let look_at = self.look_at.min(self.look_at_all);
            tokio::select! {
                request = requests.recv() => match request {
                    Some(request) => {
                        let mut asked = Vec::from_iter(self.take(request));
                        while let Ok(request) = requests.try_recv() {
                            asked.extend(self.take(request));
                        }
                        self.look_at_these(&asked);
                    }
                    None => return,
                },
                Some(looked) = self.looks.next() => self.looked(looked).await,
                turn = self.xread.next() => match turn {
                    Turn::Ready => {}
                    Turn::Read(reply) => self.came(reply).await,
                    // It may be another server, or the same without its data.
                    Turn::Broken => {
                        self.look_at_all = Instant::now();
                        // Every stream may have a lot to tell when it is read again.
                        self.at_once = FIRST_AT_ONCE;
                    }
                },
                () = tokio::time::sleep_until(look_at), if busy => self.look(),
            }
        }
    }

    /// Takes a request; the stream whose end is to be asked for then.
    fn take(&mut self, request: Request) -> Option<(Bytes, EntryId)> {
        match request {
            Request::Watch(key, channel) => {
                self.watched.remove(&key);
                self.asked.insert(key.clone(), channel);
                Some((key, EntryId::ZERO))
            }
            Request::Leave(key, channel) => {
                if self.asked.get(&key) == Some(&channel) {
                    self.asked.remove(&key);
                }
                let watched = self.watched.get(&key);
                if watched.is_some_and(|watched| watched.channel == channel) {
                    self.watched.remove(&key);
                }
                None
            }
        }
    }

    /// Starts reading all streams.
    fn read(&mut self) {
        let mut command = Command::with_capacity("XREAD", 5 + 2 * self.watched.len())
            .arg("COUNT")
            .number(self.at_once as u64)
            .arg("BLOCK")
            .number(self.settings.block.as_millis().max(1) as u64)
            .arg("STREAMS");
        for key in self.watched.keys() {
            command = command.arg(key.clone());
        }
        for watched in self.watched.values_mut() {
            watched.reading_from = Some(watched.position);
            command = command.arg(watched.position.to_string());
        }
        self.xread.read(command);
        let count = u32::try_from(self.watched.len()).unwrap_or(u32::MAX);
        self.xread.pause((EACH * count).min(LONGEST_PAUSE));
    }

    async fn came(&mut self, reply: Reply) {
        let streams = match reply {
            Reply::Array(streams) => streams,
            // For as long as it may block nothing came.
            Reply::Nil => return,
            Reply::Error(error) if error.code() == "NOPERM" => {
                // Looking at them is allowed, and reading is not.
                for key in self.watched.keys().cloned().collect::<Vec<_>>() {
                    self.refused(&key, error.clone()).await;
                }
                return;
            }
            other => {
                // One stream that cannot be read stops all; looking at them shows which.
                tracing::debug!(reply = ?other, "streams cannot be read");
                self.xread.pause(AFTER_ERROR);
                self.look_at_all = Instant::now();
                return;
            }
        };
        let (mut count, mut size) = (0, 0);
        for stream in &streams {
            let Reply::Array(parts) = stream else {
                continue;
            };
            let [Reply::Bulk(key), entries] = &parts[..] else {
                continue;
            };
            let (Some(watched), Some((entries, bytes))) =
                (self.watched.get_mut(key), parse_all(entries))
            else {
                continue;
            };
            if watched.reading_from != Some(watched.position) || entries.is_empty() {
                continue;
            }
            count += entries.len();
            size += bytes;
            let lost = watched.note(&entries);
            let channel = watched.channel;
            self.tell(key, channel, What::Entries(entries)).await;
            if let Some(loss) = lost {
                self.tell(key, channel, What::Lost(loss)).await;
            }
        }
        if count > 0 {
            self.at_once = at_once(count, size).div_ceil(streams.len());
            self.look_at = self.look_at.min(Instant::now() + SOON);
        }
    }

    async fn tell(&mut self, key: &Bytes, channel: ChannelKey, what: What) {
        let key = key.clone();
        // The hub is gone only at the end.
        let _ = self.tell.send(News { key, channel, what }).await;
    }

    /// Looks at what it is time to look at.
    fn look(&mut self) {
        let now = Instant::now();
        let all = self.look_at_all <= now;
        let due = |watched: &Watched| all || watched.is_active;
        let streams = self.watched.iter().filter(|(_, watched)| due(watched));
        let streams: Vec<_> = streams
            .map(|(key, watched)| (key.clone(), watched.position))
            .collect();
        self.look_at_these(&streams);
        let asked = self.asked.keys().map(|key| (key.clone(), EntryId::ZERO));
        self.look_at_these(&asked.collect::<Vec<_>>());
        if all {
            self.look_at_all = now + self.settings.block.max(SOON);
        }
        self.look_at = now + Duration::from_secs(24 * 60 * 60);
    }

    fn look_at_these(&mut self, streams: &[(Bytes, EntryId)]) {
        for streams in streams.chunks(LOOKS_AT_ONCE) {
            let look = |(key, _): &(Bytes, EntryId)| state_of(key);
            let commands: Vec<_> = streams.iter().map(look).collect();
            let sent = self.upstream.send(&commands);
            let streams = streams.to_vec();
            self.looks.push(Box::pin(async move {
                let outcomes = sent.await;
                Looked { streams, outcomes }
            }));
        }
    }

    async fn looked(&mut self, looked: Looked) {
        for ((key, asked_at), outcome) in looked.streams.into_iter().zip(looked.outcomes) {
            match read_state(outcome) {
                Ok(state) => self.found(&key, &state, asked_at).await,
                Err(Some(error)) => self.refused(&key, error).await,
                // Redis is away, or busy with itself.
                Err(None) => self.look_again(&key, AFTER_ERROR),
            }
        }
    }

    async fn found(&mut self, key: &Bytes, state: &State, asked_at: EntryId) {
        if let Some(channel) = self.asked.remove(key) {
            let watched = Watched::from_now(channel, state);
            self.watched.insert(key.clone(), watched);
            self.xread.lacks();
            let begins = What::Begins(state.last_id);
            return self.tell(key, channel, begins).await;
        }
        let Some(watched) = self.watched.get_mut(key) else {
            return;
        };
        let channel = watched.channel;
        match watched.look(state, asked_at) {
            Finding::Nothing => {}
            Finding::Unclear => self.look_again(key, AFTER_ERROR),
            Finding::Lost(loss) => self.tell(key, channel, What::Lost(loss)).await,
            Finding::Elsewhere(loss) => {
                self.xread.lacks();
                self.tell(key, channel, What::Elsewhere(loss)).await;
            }
        }
        if self
            .watched
            .get(key)
            .is_some_and(|watched| watched.is_active)
        {
            self.look_again(key, SOON);
        }
    }

    fn look_again(&mut self, key: &Bytes, pause: Duration) {
        if let Some(watched) = self.watched.get_mut(key) {
            watched.is_active = true;
        }
        self.look_at = self.look_at.min(Instant::now() + pause);
    }

    async fn refused(&mut self, key: &Bytes, error: ServerError) {
        let watched = self.watched.remove(key).map(|watched| watched.channel);
        if let Some(channel) = self.asked.remove(key).or(watched) {
            self.tell(key, channel, What::Refused(error)).await;
        }
    }
}

/// Asks what there is to know of a stream.
pub(super) fn state_of(key: &Bytes) -> Command {
    Command::new("XINFO").arg("STREAM").arg(key.clone())
}

/// What was said of a stream; an error if it cannot be read, and none if that may change.
pub(super) fn read_state(outcome: Outcome) -> Result<State, Option<ServerError>> {
    match outcome {
        Ok(Reply::Error(error)) => match error.code() {
            "ERR" if error.detail() == "no such key" => Ok(State::absent()),
            "ERR" | "NOPERM" | "WRONGTYPE" => Err(Some(error)),
            _ => Err(None),
        },
        Ok(reply) => State::parse(&reply).ok_or(None),
        Err(_) => Err(None),
    }
}
