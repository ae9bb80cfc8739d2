//! Reading the streams of one place as their entries come.
//!
//! A stream's end is asked for once (`XINFO STREAM`); from there on it is read together with all others
//! (`xread`). As reading alone does not show what was trimmed before it was read, or that a stream was begun anew,
//! every stream is looked at from time to time, busy ones more often (`watched`).

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::looks::{Check, Look, Seen, look_at};
use super::news::{News, What};
use super::tails::{Request, Settings};
use super::watched::{Finding, Watched};
use super::xinfo::{Presence, State};
use super::xread::{Turn, Xread};
use super::{EntryId, FIRST_AT_ONCE, READ_AT_ONCE, at_once, parse_stream};
use crate::command::Command;
use crate::hub::fanout::ChannelKey;
use crate::reply::{Reply, ServerError};
use crate::upstream::{Reader, Upstream};

/// How often streams are looked at that are busy, that somebody has come to, or that somebody listens to until they are
/// gone; and how soon again after an error.
const SOON: Duration = Duration::from_secs(1);
const AFTER_ERROR: Duration = Duration::from_millis(100);

/// Streams that are looked at in one pipeline.
const LOOKS_AT_ONCE: usize = 100;

/// The time that reading gives itself for each stream: a command of thousands of names is not sent for every
/// single entry.
const EACH: Duration = Duration::from_micros(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// The task that reads.
pub(super) struct Tail {
    upstream: Upstream,
    settings: Settings,
    xread: Xread,
    /// Streams whose end has been asked for.
    asked: HashMap<Bytes, ChannelKey>,
    watched: HashMap<Bytes, Watched>,
    /// Streams that somebody listens to until they are gone.
    until_gone: HashSet<Bytes>,
    /// Who waits to be told whether a stream is gone, where that is to be asked again.
    checks: HashMap<Bytes, Vec<Check>>,
    looks: FuturesUnordered<std::pin::Pin<Box<dyn Future<Output = Looked> + Send>>>,
    /// Whether reading was last not allowed.
    is_forbidden: bool,
    /// How many entries of a stream are read at once.
    at_once: usize,
    /// When to look at busy streams, and at those whose end is not known yet.
    look_at: Instant,
    look_at_all: Instant,
    tell: mpsc::Sender<News>,
}

/// Looks at streams, and what each has shown.
struct Looked {
    looks: Vec<Look>,
    seen: Vec<Seen>,
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
            until_gone: HashSet::new(),
            checks: HashMap::new(),
            looks: FuturesUnordered::new(),
            is_forbidden: false,
            at_once: FIRST_AT_ONCE,
            look_at: Instant::now(),
            look_at_all: Instant::now(),
            tell,
        }
    }

    /// Runs until nothing more can be asked of it.
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
            let busy =
                !(self.watched.is_empty() && self.asked.is_empty() && self.checks.is_empty());
            let look_at = self.look_at.min(self.look_at_all);
            tokio::select! {
                request = requests.recv() => match request {
                    Some(request) => {
                        let mut asked = Vec::from_iter(self.take(request));
                        while let Ok(request) = requests.try_recv() {
                            asked.extend(self.take(request));
                        }
                        self.look_at_these(asked);
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

    /// Takes a request; the stream that is to be looked at then.
    fn take(&mut self, request: Request) -> Option<Look> {
        match request {
            Request::Watch(key, channel) => {
                self.watched.remove(&key);
                self.asked.insert(key.clone(), channel);
                Some(self.look_for(key, Vec::new()))
            }
            Request::Leave(key, channel) => {
                if self.asked.get(&key) == Some(&channel) {
                    self.asked.remove(&key);
                }
                let watched = self.watched.get(&key);
                if watched.is_some_and(|watched| watched.channel == channel) {
                    self.watched.remove(&key);
                }
                self.until_gone.remove(&key);
                self.checks.remove(&key);
                None
            }
            Request::UntilGone(key, true) => {
                self.until_gone.insert(key);
                self.look_at = self.look_at.min(Instant::now() + SOON);
                None
            }
            Request::UntilGone(key, false) => {
                self.until_gone.remove(&key);
                None
            }
            Request::LookSoon(key) => {
                self.look_again(&key, SOON);
                None
            }
            Request::Check(key, check) => Some(self.look_for(key, vec![check])),
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
        let no_right = matches!(&reply, Reply::Error(error) if error.code() == "NOPERM");
        let is_still = std::mem::replace(&mut self.is_forbidden, no_right) && no_right;
        let streams = match reply {
            Reply::Array(streams) => streams,
            // For as long as it may block nothing came.
            Reply::Nil => return,
            Reply::Error(error) if is_still && self.looks.is_empty() => {
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
            let Some((key, entries, bytes)) = parse_stream(stream) else {
                continue;
            };
            let Some(watched) = self.watched.get_mut(key) else {
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
            self.at_once = at_once(READ_AT_ONCE, count, size).div_ceil(streams.len());
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
        let checks = std::mem::take(&mut self.checks);
        let due = |(key, watched): &(&Bytes, &Watched)| {
            let is_due = all || watched.is_active || self.until_gone.contains(*key);
            is_due && !checks.contains_key(*key)
        };
        let due = self.watched.iter().filter(due).map(|(key, _)| key);
        let due = due.chain(self.asked.keys()).cloned();
        let looks = due.map(|key| self.look_for(key, Vec::new()));
        let mut looks: Vec<_> = looks.collect();
        let checks = checks.into_iter();
        looks.extend(checks.map(|(key, checks)| self.look_for(key, checks)));
        self.look_at_these(looks);
        if all {
            self.look_at_all = now + self.settings.block.max(SOON);
        }
        let next = if self.until_gone.is_empty() {
            Duration::from_secs(24 * 60 * 60)
        } else {
            SOON
        };
        self.look_at = now + next;
    }

    fn look_for(&self, key: Bytes, checks: Vec<Check>) -> Look {
        let watched = self.watched.get(&key);
        // What is absent is looked at twice: not every second for as long as it has not begun.
        let is_there = watched.is_some_and(|watched| watched.is_there);
        Look {
            asked_at: watched.map_or(EntryId::ZERO, |watched| watched.position),
            until_gone: !checks.is_empty() || is_there && self.until_gone.contains(&key),
            key,
            checks,
        }
    }

    fn look_at_these(&mut self, looks: Vec<Look>) {
        // Those that may be looked at twice do not hold up the others.
        let (until_gone, others): (Vec<_>, Vec<_>) =
            looks.into_iter().partition(|look| look.until_gone);
        for looks in until_gone
            .chunks(LOOKS_AT_ONCE)
            .chain(others.chunks(LOOKS_AT_ONCE))
        {
            let (upstream, looks) = (self.upstream.clone(), looks.to_vec());
            self.looks.push(Box::pin(async move {
                let seen = look_at(&upstream, &looks).await;
                Looked { looks, seen }
            }));
        }
    }

    async fn looked(&mut self, looked: Looked) {
        for (look, seen) in looked.looks.into_iter().zip(looked.seen) {
            let Look {
                key,
                asked_at,
                checks,
                ..
            } = look;
            let is_clear = match &seen {
                Ok(state) => self.found(&key, state, asked_at).await,
                Err(Some(error)) => {
                    self.refused(&key, error.clone()).await;
                    continue;
                }
                // Redis is away, or busy with itself.
                Err(None) => {
                    self.look_again(&key, AFTER_ERROR);
                    false
                }
            };
            if !is_clear && !checks.is_empty() {
                self.checks.entry(key).or_default().extend(checks);
                continue;
            }
            let is_gone = matches!(seen, Ok(state) if state.presence == Presence::Gone);
            for Check {
                channel,
                subscriber,
            } in checks
            {
                let checked = What::Checked(subscriber, is_gone);
                self.tell(&key, channel, checked).await;
            }
        }
    }

    /// Takes up what a look has shown. False if it was overtaken, and says nothing.
    async fn found(&mut self, key: &Bytes, state: &State, asked_at: EntryId) -> bool {
        if let Some(channel) = self.asked.remove(key) {
            let watched = Watched::from_now(channel, state);
            self.watched.insert(key.clone(), watched);
            self.xread.lacks();
            let begins = What::Begins(state.last_id);
            self.tell(key, channel, begins).await;
            return true;
        }
        let Some(watched) = self.watched.get_mut(key) else {
            return true;
        };
        let channel = watched.channel;
        let has_gone = watched.has_gone(state, asked_at);
        let finding = watched.look(state, asked_at);
        let is_clear = finding != Finding::Unclear;
        match finding {
            // It had no entries.
            Finding::Nothing if has_gone => self.tell(key, channel, What::Gone(None)).await,
            Finding::Nothing => {}
            Finding::Unclear => self.look_again(key, AFTER_ERROR),
            Finding::Lost(loss) => self.tell(key, channel, What::Lost(loss)).await,
            Finding::Elsewhere(loss) => {
                self.xread.lacks();
                let what = if has_gone {
                    What::Gone(Some(loss))
                } else {
                    What::Elsewhere(loss)
                };
                self.tell(key, channel, what).await;
            }
        }
        let watched = self.watched.get(key);
        if watched.is_some_and(|watched| watched.is_active) {
            self.look_again(key, SOON);
        }
        is_clear
    }

    fn look_again(&mut self, key: &Bytes, pause: Duration) {
        if let Some(watched) = self.watched.get_mut(key) {
            watched.is_active = true;
        }
        self.look_at = self.look_at.min(Instant::now() + pause);
    }

    async fn refused(&mut self, key: &Bytes, error: ServerError) {
        self.checks.remove(key);
        let watched = self.watched.remove(key).map(|watched| watched.channel);
        if let Some(channel) = self.asked.remove(key).or(watched) {
            self.tell(key, channel, What::Refused(error)).await;
        }
    }
}
