//! What it is for a test to have the hub's task in its hands, and a subscriber's end.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc::unbounded_channel;

use super::actor::Actor;
use super::entries::{EntryId, News, What};
use super::event::{Format, Shape};
use super::fanout::{Fanout, Rules};
use super::{Begin, Seat, Span, Stats, Subscription, Topic};
use crate::config::Config;
use crate::upstream::Upstream;

/// What it is for a test to have the hub's task in its hands.
pub(super) struct Hub {
    pub(super) actor: Actor,
    pub(super) topic: Topic,
}

/// A subscriber's own end.
pub(super) struct Client {
    pub(super) reader: BufReader<TcpStream>,
    /// Of the last event.
    pub(super) data: String,
    /// How many ids came.
    pub(super) ids: usize,
}

impl Client {
    /// The id and the name of the next event.
    pub(super) fn event(&mut self) -> (String, String) {
        let (mut id, mut name, mut has_data) = (String::new(), "message".to_owned(), false);
        loop {
            let mut line = String::new();
            let count = self.reader.read_line(&mut line).expect("it can be read");
            assert!(count > 0, "the stream has ended");
            let (field, value) = line.trim_end().split_once(": ").unwrap_or_default();
            match field {
                "id" => {
                    value.clone_into(&mut id);
                    self.ids += 1;
                }
                "event" => value.clone_into(&mut name),
                "data" => {
                    has_data = true;
                    let is_told = [
                        "overflow",
                        "not-kept",
                        "interrupted",
                        "recreated",
                        "unknown-id",
                    ]
                    .iter()
                    .any(|why| value.contains(why));
                    assert!(name != "gap" || is_told, "{value}");
                    value.clone_into(&mut self.data);
                }
                "" if line == "\n" && has_data => return (id, name),
                _ => {}
            }
        }
    }

    /// Whether the stream ends here, after comments.
    pub(super) fn ends(&mut self) -> bool {
        let mut lines = self.reader.by_ref().lines();
        lines.all(|line| line.is_ok_and(|line| line.is_empty() || line.starts_with(':')))
    }
}

pub(super) const JSON: Shape = Shape {
    format: Format::Json,
    named: false,
};

/// A Redis that is not there.
pub(super) fn nowhere() -> Config {
    Config {
        upstream: "redis://127.0.0.1:1".parse().expect("a URL"),
        ..Config::default()
    }
}

pub(super) fn fan_out(stats: &Arc<Stats>) -> Fanout {
    let rules = Rules {
        // Nobody is disconnected for what waits.
        subscriber_buffer: 1 << 30,
        write_timeout: Duration::from_secs(60),
        heartbeat: Duration::from_secs(60),
        max_age: None,
    };
    let (gone, _) = unbounded_channel();
    Fanout::start(1, rules, stats, &gone).expect("a thread")
}

impl Hub {
    /// A stream to which nobody listens yet. No Redis is there: the test tells what comes of it.
    pub(super) async fn start() -> Self {
        let config = nowhere();
        let upstream = Upstream::start(&config).await.expect("it may come later");
        let stats = Arc::new(Stats::default());
        let fanout = fan_out(&stats);
        Self {
            actor: Actor::new(upstream, fanout, stats, &config),
            topic: Topic::Stream("s".into()),
        }
    }

    pub(super) fn seat(shape: Shape, place: Box<dyn Send>) -> (Client, Seat) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let client = TcpStream::connect(address).expect("it listens");
        let limit = Some(Duration::from_secs(20));
        client.set_read_timeout(limit).expect("a time-out");
        let (stream, _) = listener.accept().expect("a connection");
        stream.set_nonblocking(true).expect("a socket");
        let seat = Seat {
            stream,
            head: Bytes::new(),
            chunked: false,
            shape,
            refuse: None,
            place,
        };
        let client = Client {
            reader: BufReader::new(client),
            data: String::new(),
            ids: 0,
        };
        (client, seat)
    }

    pub(super) fn listen(&mut self, format: Format, span: Option<Span>) -> Client {
        let shape = Shape {
            format,
            named: false,
        };
        let (client, seat) = Self::seat(shape, Box::new(()));
        let seen = span.and_then(|span| match span.begin {
            Begin::Seen(id) => Some(id.to_string()),
            _ => None,
        });
        self.actor.join(Subscription {
            topics: vec![self.topic.clone()],
            last_event_id: seen,
            span,
            seat,
        });
        client
    }

    /// Listens to several streams, perhaps from an event on.
    pub(super) fn listen_to(&mut self, topics: &[Topic], last_event_id: Option<String>) -> Client {
        let (client, seat) = Self::seat(JSON, Box::new(()));
        self.actor.join(Subscription {
            topics: topics.to_vec(),
            last_event_id,
            span: None,
            seat,
        });
        client
    }

    /// The stream is read from its beginning on.
    pub(super) fn begins(&mut self) {
        self.news(What::Begins(EntryId::ZERO));
    }

    pub(super) fn news(&mut self, what: What) {
        let channel = self.actor.channels[&self.topic].key;
        let key = self.topic.name().clone();
        self.actor.on_news(News { key, channel, what });
    }
}
