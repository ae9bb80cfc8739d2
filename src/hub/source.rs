//! A subscriber connection to the upstream: made when somebody listens, renewed when it breaks.
//!
//! It does what it is told and says what happened; who listens to what it does not know.

use std::pin::Pin;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use redis::aio::PubSubSink;
use redis::{Msg, RedisError, RedisResult, ServerErrorKind};
use tokio::time::Instant;

use super::Topic;
use super::waits::finished;
use crate::config::Config;
use crate::upstream::{
    FailoverWatch, Messages, Shard, ShardedSink, ShardedStream, Upstream, reconnect_pauses,
};

/// What happened upstream.
#[derive(Debug)]
pub(super) enum Happening {
    /// The connection stands; nothing is subscribed yet.
    Up,
    /// A message came for this topic.
    Message(Topic, Msg),
    /// What was asked for this topic is done.
    Confirmed(Topic),
    /// What was asked for this topic is refused.
    Refused(Topic, RedisError),
    /// This topic belongs to another server by now.
    Misplaced(Topic),
    /// The connection is gone, and with it every subscription; it is being renewed.
    Lost(Home),
    /// No connection comes about; it is tried again.
    Unreachable(Home),
}

/// Which connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Home {
    /// The one for channels and patterns.
    Common,
    /// The one for the sharded channels of a server.
    Shard(Shard),
}

pub(super) struct Source {
    home: Home,
    upstream: Upstream,
    connect_timeout: Duration,
    command_timeout: Duration,
    connection: Connection,
    /// How long to wait before each further attempt to connect.
    pauses: Box<dyn Iterator<Item = Duration> + Send>,
    /// What has happened since the last attempt began that ends the wait for the next.
    news: FailoverWatch,
    /// What the upstream was asked for and has not confirmed. At most one request for each topic, so
    /// their order does not matter.
    requests: FuturesUnordered<UnderWay<Confirmation>>,
    /// How long the upstream may be silent before it is asked whether it is still there; `None` if it
    /// cannot be asked.
    silence: Option<Duration>,
    /// When it will have been silent for that long.
    check_at: Instant,
    /// The question, while it is not answered.
    check: Option<UnderWay<RedisResult<()>>>,
}

/// Something under way, whose end is waited for together with everything else.
type UnderWay<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// However short a heartbeat is, the upstream is not asked more often.
const SHORTEST_SILENCE: Duration = Duration::from_millis(100);

enum Connection {
    None,
    /// On its way.
    Opening(UnderWay<RedisResult<(Line, FailoverWatch)>>),
    Up(Line, FailoverWatch),
}

/// A connection's two directions.
enum Line {
    Common(PubSubSink, Messages),
    Sharded(ShardedSink, ShardedStream),
}

#[derive(Debug, Clone, Copy)]
enum Request {
    Subscribe,
    Unsubscribe,
}

struct Confirmation {
    topic: Topic,
    result: RedisResult<()>,
}

impl Source {
    pub(super) fn new(home: Home, upstream: Upstream, config: &Config) -> Self {
        // mini-redis has no PING. It is in this process, and cannot be cut off.
        let can_be_asked = upstream.embedded_address().is_none();
        let silence = config.heartbeat.max(SHORTEST_SILENCE);
        Self {
            home,
            silence: can_be_asked.then_some(silence),
            news: upstream.news(),
            check_at: Instant::now(),
            check: None,
            upstream,
            connect_timeout: config.connect_timeout,
            command_timeout: config.command_timeout,
            connection: Connection::None,
            pauses: Box::new(reconnect_pauses()),
            requests: FuturesUnordered::new(),
        }
    }

    /// Has a connection made, if there is none.
    pub(super) fn open(&mut self) {
        if let Connection::None = self.connection {
            self.connect(Duration::ZERO);
        }
    }

    /// Whether there is a connection, or one on its way.
    pub(super) fn is_open(&self) -> bool {
        !matches!(self.connection, Connection::None)
    }

    /// Gives the connection up.
    pub(super) fn close(&mut self) {
        self.connection = Connection::None;
        self.requests.clear();
        self.check = None;
    }

    /// Asks for a topic. False if there is no connection to ask over.
    pub(super) fn subscribe(&mut self, topic: &Topic) -> bool {
        self.ask(Request::Subscribe, topic)
    }

    /// Asks to be told no more of a topic. False if there is no connection to ask over.
    pub(super) fn unsubscribe(&mut self, topic: &Topic) -> bool {
        self.ask(Request::Unsubscribe, topic)
    }

    fn ask(&mut self, request: Request, topic: &Topic) -> bool {
        let Connection::Up(line, _) = &mut self.connection else {
            return false;
        };
        let asked = line.ask(request, topic);
        let (topic, upstream, limit) = (topic.clone(), self.upstream.clone(), self.command_timeout);
        self.requests.push(Box::pin(async move {
            let done = tokio::time::timeout(limit, asked).await;
            let result = done.unwrap_or_else(|_| Err(late()));
            if result.as_ref().is_err_and(is_misplaced) {
                upstream.look_for_shards().await;
            }
            Confirmation { topic, result }
        }));
        true
    }

    /// Waits for the next thing to happen; for ever while there is no connection. Nothing is lost when the
    /// wait is given up.
    pub(super) async fn next(&mut self) -> Happening {
        loop {
            tokio::select! {
                // What came behind a confirmation is not taken up before it: a gap that it ends comes first.
                biased;
                Some(Confirmation { topic, result }) = self.requests.next() => match result {
                    Ok(()) => return Happening::Confirmed(topic),
                    // Silence: the connection is as good as gone.
                    Err(error) if error.is_timeout() => return self.lose(),
                    // A broken connection shows as such.
                    Err(error) if error.is_unrecoverable_error() => {}
                    Err(error) if is_misplaced(&error) => return Happening::Misplaced(topic),
                    Err(error) => return Happening::Refused(topic, error),
                },
                answer = finished(&mut self.check) => {
                    self.check = None;
                    let silent = self.check_at <= Instant::now();
                    match answer {
                        Err(error) if error.is_timeout() && silent => return self.lose(),
                        // A broken connection shows as such, and a refusal is an answer too.
                        Ok(()) | Err(_) => self.heard(),
                    }
                }
                () = tokio::time::sleep_until(self.check_at), if self.must_check() => self.ask_whether_it_lives(),
                event = self.connection.next() => match event {
                    ConnectionEvent::Message(topic, message) => {
                        self.heard();
                        return Happening::Message(topic, message);
                    }
                    ConnectionEvent::Opened(Ok((line, failover))) => {
                        self.connection = Connection::Up(line, failover);
                        self.pauses = Box::new(reconnect_pauses());
                        self.heard();
                        return Happening::Up;
                    }
                    ConnectionEvent::Opened(Err(error)) => {
                        tracing::warn!(%error, "cannot connect for subscriptions");
                        // The pauses never end.
                        let pause = self.pauses.next().unwrap_or_default();
                        self.connect(pause);
                        return Happening::Unreachable(self.home.clone());
                    }
                    ConnectionEvent::Lost => return self.lose(),
                },
            }
        }
    }

    /// A connection whose other end is gone without a word looks like one on which nothing is published.
    fn must_check(&self) -> bool {
        let is_up = matches!(self.connection, Connection::Up(..));
        is_up && self.silence.is_some() && self.check.is_none()
    }

    /// The upstream is there now; the next check can wait.
    fn heard(&mut self) {
        self.check_at = Instant::now() + self.silence.unwrap_or_default();
    }

    fn ask_whether_it_lives(&mut self) {
        let Connection::Up(line, _) = &self.connection else {
            return;
        };
        let (asked, limit) = (line.ping(), self.command_timeout);
        self.check = Some(Box::pin(async move {
            let pong = tokio::time::timeout(limit, asked).await;
            pong.unwrap_or_else(|_| Err(late()))
        }));
    }

    fn lose(&mut self) -> Happening {
        tracing::warn!("the subscriber connection to the upstream ended");
        self.requests.clear();
        self.check = None;
        // A server that takes connections only to close them shall not be asked without a pause.
        let pause = reconnect_pauses().next().unwrap_or_default();
        self.connect(pause);
        Happening::Lost(self.home.clone())
    }

    fn connect(&mut self, pause: Duration) {
        let (upstream, home) = (self.upstream.clone(), self.home.clone());
        let limit = self.connect_timeout;
        let mut news = std::mem::replace(&mut self.news, upstream.news());
        self.connection = Connection::Opening(Box::pin(async move {
            let _ = tokio::time::timeout(pause, news.moved()).await;
            let made = tokio::time::timeout(limit, line(&upstream, &home));
            made.await.unwrap_or_else(|_| Err(late()))
        }));
    }
}

async fn line(upstream: &Upstream, home: &Home) -> RedisResult<(Line, FailoverWatch)> {
    match home {
        Home::Common => {
            let (sink, messages, failover) = upstream.subscriber().await?;
            Ok((Line::Common(sink, messages), failover))
        }
        Home::Shard(shard) => {
            let (sink, stream, failover) = upstream.sharded_subscriber(shard).await?;
            Ok((Line::Sharded(sink, stream), failover))
        }
    }
}

fn late() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::TimedOut).into()
}

/// Whether a server says that a channel is another's, or that it will be told later whose it is.
fn is_misplaced(error: &RedisError) -> bool {
    use ServerErrorKind::{Ask, ClusterDown, Moved, TryAgain};
    let redis::ErrorKind::Server(kind) = error.kind() else {
        return false;
    };
    matches!(kind, Ask | ClusterDown | Moved | TryAgain)
}

enum ConnectionEvent {
    Opened(RedisResult<(Line, FailoverWatch)>),
    Message(Topic, Msg),
    Lost,
}

impl Connection {
    async fn next(&mut self) -> ConnectionEvent {
        match self {
            Self::None => std::future::pending().await,
            Self::Opening(connection) => ConnectionEvent::Opened(connection.await),
            Self::Up(line, failover) => tokio::select! {
                message = line.next() => match message {
                    Some((topic, message)) => ConnectionEvent::Message(topic, message),
                    None => ConnectionEvent::Lost,
                },
                () = failover.moved() => ConnectionEvent::Lost,
            },
        }
    }
}

impl Line {
    fn ask(&mut self, request: Request, topic: &Topic) -> UnderWay<RedisResult<()>> {
        let (name, is_pattern) = (topic.name().clone(), matches!(topic, Topic::Pattern(_)));
        match self {
            Self::Common(sink, _) => {
                let mut sink = sink.clone();
                Box::pin(async move {
                    match (request, is_pattern) {
                        (Request::Subscribe, false) => sink.subscribe(&name[..]).await,
                        (Request::Subscribe, true) => sink.psubscribe(&name[..]).await,
                        (Request::Unsubscribe, false) => sink.unsubscribe(&name[..]).await,
                        (Request::Unsubscribe, true) => sink.punsubscribe(&name[..]).await,
                    }
                })
            }
            Self::Sharded(sink, stream) => {
                let mut sink = sink.clone();
                if let Request::Unsubscribe = request {
                    stream.expect_to_leave(&name);
                }
                Box::pin(async move {
                    match request {
                        Request::Subscribe => sink.subscribe(&name).await,
                        Request::Unsubscribe => sink.unsubscribe(&name).await,
                    }
                })
            }
        }
    }

    fn ping(&self) -> UnderWay<RedisResult<()>> {
        match self {
            Self::Common(sink, _) => {
                let mut sink = sink.clone();
                Box::pin(async move { sink.ping::<redis::Value>().await.map(|_| ()) })
            }
            Self::Sharded(sink, _) => {
                let mut sink = sink.clone();
                Box::pin(async move { sink.ping().await })
            }
        }
    }

    /// The next message, and the topic that it came for.
    async fn next(&mut self) -> Option<(Topic, Msg)> {
        match self {
            Self::Common(_, messages) => {
                let message = messages.next().await?;
                let topic = match message.get_pattern::<Vec<u8>>() {
                    Ok(pattern) if message.from_pattern() => Topic::Pattern(pattern.into()),
                    _ => Topic::Channel(channel(&message)),
                };
                Some((topic, message))
            }
            Self::Sharded(_, stream) => {
                let message = stream.next().await?;
                Some((Topic::Sharded(channel(&message)), message))
            }
        }
    }
}

fn channel(message: &Msg) -> bytes::Bytes {
    let name = message.get_channel::<Vec<u8>>();
    name.unwrap_or_default().into()
}
