//! All Redis streams that are read as their entries come, wherever they are: on a single server they are read
//! together, on a Cluster those of one slot, as a node does not read keys of several slots at once.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::looks::Check;
use super::news::News;
use super::tail::Tail;
use crate::config::Config;
use crate::hub::SubscriberId;
use crate::hub::fanout::ChannelKey;
use crate::upstream::{Reader, Upstream};

/// News that may wait for the hub. Reading waits when there are more: the streams keep what is in them.
const MAX_NEWS: usize = 64;

/// However short a heartbeat is, reading does not come back more often.
const SHORTEST: Duration = Duration::from_millis(100);

/// The hub's side: every stream that is read, wherever it is.
pub(in crate::hub) struct Tails {
    upstream: Upstream,
    settings: Settings,
    /// The task of each place where anything is read; it ends when this is dropped.
    tasks: HashMap<Reader, Task>,
    /// Where each stream is read.
    places: HashMap<Bytes, Reader>,
    tell: mpsc::Sender<News>,
    news: mpsc::Receiver<News>,
}

/// A task that reads, as it is asked.
struct Task {
    requests: mpsc::UnboundedSender<Request>,
    /// How many streams it reads.
    streams: usize,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    /// How long a reading blocks.
    pub(super) block: Duration,
    pub(super) command_timeout: Duration,
}

/// What a task is asked to do.
#[derive(Debug)]
pub(super) enum Request {
    Watch(Bytes, ChannelKey),
    Leave(Bytes, ChannelKey),
    /// Whether anybody listens to it until it is gone.
    UntilGone(Bytes, bool),
    LookSoon(Bytes),
    /// Tell whether it is gone.
    Check(Bytes, Check),
}

impl Tails {
    pub(in crate::hub) fn new(upstream: Upstream, config: &Config) -> Self {
        let (tell, news) = mpsc::channel(MAX_NEWS);
        let settings = Settings {
            // A connection whose other end is gone without a word is found out by it.
            block: config.heartbeat.max(SHORTEST),
            command_timeout: config.command_timeout,
        };
        Self {
            upstream,
            settings,
            tasks: HashMap::new(),
            places: HashMap::new(),
            tell,
            news,
        }
    }

    /// Has a stream read for a channel, from its end on.
    pub(in crate::hub) fn watch(&mut self, key: &Bytes, channel: ChannelKey) {
        let reader = self.upstream.reader(key);
        let known = self.places.insert(key.clone(), reader.clone());
        let task = self.tasks.entry(reader).or_insert_with_key(|reader| {
            // Unbounded, but no more than a few for each channel and each subscriber that comes and goes.
            let (requests, receiver) = mpsc::unbounded_channel();
            let (upstream, tell) = (self.upstream.clone(), self.tell.clone());
            let tail = Tail::new(upstream, reader.clone(), self.settings, tell);
            tokio::spawn(tail.run(receiver));
            Task {
                requests,
                streams: 0,
            }
        });
        task.streams += usize::from(known.is_none());
        // The task ends only with this.
        let _ = task.requests.send(Request::Watch(key.clone(), channel));
    }

    /// Whether anybody listens to a stream until it is gone; it is looked at more often then.
    pub(in crate::hub) fn until_gone(&mut self, key: &Bytes, wanted: bool) {
        self.ask(key, Request::UntilGone(key.clone(), wanted));
    }

    /// Has a stream looked at before long: it may be something else by now.
    pub(in crate::hub) fn look_soon(&mut self, key: &Bytes) {
        self.ask(key, Request::LookSoon(key.clone()));
    }

    /// Has it told whether a stream is gone, to a subscriber of the channel that it is read for.
    pub(in crate::hub) fn check(
        &mut self,
        key: &Bytes,
        channel: ChannelKey,
        subscriber: SubscriberId,
    ) {
        let check = Check {
            channel,
            subscriber,
        };
        self.ask(key, Request::Check(key.clone(), check));
    }

    /// Asks something where a stream is read.
    fn ask(&mut self, key: &Bytes, request: Request) {
        if let Some(task) = self.places.get(key).and_then(|place| self.tasks.get(place)) {
            // The task ends only with this.
            let _ = task.requests.send(request);
        }
    }

    /// The stream is read for this channel no more.
    pub(in crate::hub) fn leave(&mut self, key: &Bytes, channel: ChannelKey) {
        let Some(place) = self.places.remove(key) else {
            return;
        };
        let Some(task) = self.tasks.get_mut(&place) else {
            return;
        };
        task.streams -= 1;
        if task.streams == 0 {
            self.tasks.remove(&place);
        } else {
            // The task ends only with this.
            let _ = task.requests.send(Request::Leave(key.clone(), channel));
        }
    }

    /// Waits for the next news. Nothing is lost when the wait is given up.
    pub(in crate::hub) async fn next(&mut self) -> News {
        match self.news.recv().await {
            Some(news) => news,
            // This holds a sender itself.
            None => std::future::pending().await,
        }
    }
}
