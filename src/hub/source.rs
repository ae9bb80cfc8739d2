//! The subscriber connection to the upstream: made when somebody listens, renewed when it breaks.
//!
//! It does what it is told and says what happened; who listens to what it does not know.

use std::pin::Pin;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use redis::aio::{PubSub, PubSubSink, PubSubStream};
use tokio::time::Instant;

use super::Topic;
use crate::config::Config;
use crate::upstream::{Lead, Upstream, reconnect_pauses};

/// What happened upstream.
#[derive(Debug)]
pub(super) enum Happening {
    /// The connection stands; nothing is subscribed yet.
    Up,
    /// A message came.
    Message(redis::Msg),
    /// What was asked for this topic is done.
    Confirmed(Topic),
    /// What was asked for this topic is refused.
    Refused(Topic, redis::RedisError),
    /// The connection is gone, and with it every subscription; it is being renewed.
    Lost,
}

pub(super) struct Source {
    upstream: Upstream,
    connect_timeout: Duration,
    command_timeout: Duration,
    connection: Connection,
    /// How long to wait before each further attempt to connect.
    pauses: Box<dyn Iterator<Item = Duration> + Send>,
    /// What the upstream was asked for and has not confirmed. At most one request for each topic, so
    /// their order does not matter.
    requests: FuturesUnordered<UnderWay<Confirmation>>,
    /// How long the upstream may be silent before it is asked whether it is still there; `None` if it
    /// cannot be asked.
    silence: Option<Duration>,
    /// When it will have been silent for that long.
    check_at: Instant,
    /// The question, while it is not answered.
    check: Option<UnderWay<redis::RedisResult<()>>>,
}

/// Something under way, whose end is waited for together with everything else.
type UnderWay<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// However short a heartbeat is, the upstream is not asked more often.
const SHORTEST_SILENCE: Duration = Duration::from_millis(100);

enum Connection {
    None,
    /// On its way.
    Opening(UnderWay<redis::RedisResult<(PubSub, Lead)>>),
    Up(PubSubSink, PubSubStream, Lead),
}

#[derive(Debug, Clone, Copy)]
enum Request {
    Subscribe,
    Unsubscribe,
}

struct Confirmation {
    topic: Topic,
    result: redis::RedisResult<()>,
}

impl Source {
    pub(super) fn new(upstream: Upstream, config: &Config) -> Self {
        // mini-redis has no PING. It is in this process, and cannot be cut off.
        let can_be_asked = upstream.embedded_address().is_none();
        let silence = config.heartbeat.max(SHORTEST_SILENCE);
        Self {
            silence: can_be_asked.then_some(silence),
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
        let Connection::Up(sink, ..) = &self.connection else {
            return false;
        };
        let (mut sink, topic) = (sink.clone(), topic.clone());
        let limit = self.command_timeout;
        self.requests.push(Box::pin(async move {
            let asked = async {
                match (request, &topic) {
                    (Request::Subscribe, Topic::Channel(name)) => sink.subscribe(&name[..]).await,
                    (Request::Subscribe, Topic::Pattern(name)) => sink.psubscribe(&name[..]).await,
                    (Request::Unsubscribe, Topic::Channel(name)) => {
                        sink.unsubscribe(&name[..]).await
                    }
                    (Request::Unsubscribe, Topic::Pattern(name)) => {
                        sink.punsubscribe(&name[..]).await
                    }
                    // Streams are read, and not subscribed to.
                    (_, Topic::Stream(_)) => Ok(()),
                }
            };
            let done = tokio::time::timeout(limit, asked).await;
            let result = done.unwrap_or_else(|_| Err(late()));
            Confirmation { topic, result }
        }));
        true
    }

    /// Waits for the next thing to happen; for ever while there is no connection. Nothing is lost when the
    /// wait is given up.
    pub(super) async fn next(&mut self) -> Happening {
        loop {
            tokio::select! {
                Some(Confirmation { topic, result }) = self.requests.next() => match result {
                    Ok(()) => return Happening::Confirmed(topic),
                    // Silence: the connection is as good as gone.
                    Err(error) if error.is_timeout() => return self.lose(),
                    // A broken connection shows as such.
                    Err(error) if error.is_unrecoverable_error() => {}
                    Err(error) => return Happening::Refused(topic, error),
                },
                answer = answer(&mut self.check) => {
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
                    ConnectionEvent::Message(message) => {
                        self.heard();
                        return Happening::Message(message);
                    }
                    ConnectionEvent::Opened(Ok((connection, lead))) => {
                        let (sink, stream) = connection.split();
                        self.connection = Connection::Up(sink, stream, lead);
                        self.pauses = Box::new(reconnect_pauses());
                        self.heard();
                        return Happening::Up;
                    }
                    ConnectionEvent::Opened(Err(error)) => {
                        tracing::warn!(%error, "cannot connect for subscriptions");
                        // The pauses never end.
                        let pause = self.pauses.next().unwrap_or_default();
                        self.connect(pause);
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
        let Connection::Up(sink, ..) = &self.connection else {
            return;
        };
        let (mut sink, limit) = (sink.clone(), self.command_timeout);
        self.check = Some(Box::pin(async move {
            let pong = tokio::time::timeout(limit, sink.ping::<redis::Value>()).await;
            pong.unwrap_or_else(|_| Err(late())).map(|_| ())
        }));
    }

    fn lose(&mut self) -> Happening {
        tracing::warn!("the subscriber connection to the upstream ended");
        self.requests.clear();
        self.check = None;
        // A server that takes connections only to close them shall not be asked without a pause.
        let pause = reconnect_pauses().next().unwrap_or_default();
        self.connect(pause);
        Happening::Lost
    }

    fn connect(&mut self, pause: Duration) {
        let upstream = self.upstream.clone();
        let limit = self.connect_timeout;
        self.connection = Connection::Opening(Box::pin(async move {
            tokio::time::sleep(pause).await;
            let made = tokio::time::timeout(limit, upstream.subscriber());
            made.await.unwrap_or_else(|_| Err(late()))
        }));
    }
}

/// The answer to a question; for ever where there is none.
async fn answer(check: &mut Option<UnderWay<redis::RedisResult<()>>>) -> redis::RedisResult<()> {
    match check {
        Some(check) => check.await,
        None => std::future::pending().await,
    }
}

fn late() -> redis::RedisError {
    std::io::Error::from(std::io::ErrorKind::TimedOut).into()
}

enum ConnectionEvent {
    Opened(redis::RedisResult<(PubSub, Lead)>),
    Message(redis::Msg),
    Lost,
}

impl Connection {
    async fn next(&mut self) -> ConnectionEvent {
        match self {
            Self::None => std::future::pending().await,
            Self::Opening(connection) => ConnectionEvent::Opened(connection.await),
            Self::Up(_, messages, lead) => tokio::select! {
                message = messages.next() => match message {
                    Some(message) => ConnectionEvent::Message(message),
                    None => ConnectionEvent::Lost,
                },
                () = lead.moved() => ConnectionEvent::Lost,
            },
        }
    }
}
