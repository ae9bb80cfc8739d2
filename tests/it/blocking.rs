//! The blocking client and subscriber as their callers see them: what goes in comes out, what makes
//! no sense is refused before it is sent, and every end of a connection has a name.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::panic::{self, AssertUnwindSafe};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use redis_http_gateway::blocking::{Error, LONGEST_EXPIRY, Message, SHORTEST_EXPIRY};
use redis_http_gateway::{BlockingClient, BlockingSubscriber};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A mini-redis at a free port, with threads of its own.
struct MiniRedis {
    addr: SocketAddr,
    /// Dropped to have the server stop.
    stop: oneshot::Sender<()>,
    /// Ends when the last connection has.
    server: JoinHandle<mini_redis::Result<()>>,
    runtime: Runtime,
}

impl MiniRedis {
    fn start() -> MiniRedis {
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let addr = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let server = runtime.spawn(mini_redis::server::run(listener, stopped));
        MiniRedis {
            addr,
            stop,
            server,
            runtime,
        }
    }

    fn client(&self) -> BlockingClient {
        BlockingClient::connect(self.addr).unwrap()
    }

    fn subscriber(&self, channels: &[&str]) -> BlockingSubscriber {
        self.client().subscribe(names(channels)).unwrap()
    }

    /// Returns when every connection has been closed.
    fn stop(self) {
        drop(self.stop);
        self.runtime.block_on(self.server).unwrap().unwrap();
    }
}

fn names(channels: &[&str]) -> Vec<String> {
    channels.iter().map(|&channel| channel.to_owned()).collect()
}

fn message(channel: &str, content: &'static str) -> Message {
    Message {
        channel: channel.to_owned(),
        content: content.into(),
    }
}

/// A server for one connection: it reads one command, sends `answer`, and hangs up.
fn server_that_says(answer: &'static [u8]) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        // The commands of these tests fit into one segment.
        let _ = socket.read(&mut [0; 1024]).unwrap();
        socket.write_all(answer).unwrap();
    });
    addr
}

#[test]
fn a_value_comes_back_as_it_went_in() {
    let redis = MiniRedis::start();
    let mut client = redis.client();

    let every_byte: Bytes = (0..=u8::MAX).collect();
    let large = Bytes::from(vec![b'\n'; 1 << 20]);
    for value in [Bytes::new(), "text".into(), every_byte, large] {
        client.set("key", value.clone()).unwrap();
        assert_eq!(client.get("key").unwrap(), Some(value));
    }
    assert_eq!(client.get("another key").unwrap(), None);
}

#[test]
fn clients_see_each_others_values() {
    let redis = MiniRedis::start();
    redis.client().set("ключ", "значение".into()).unwrap();
    assert_eq!(redis.client().get("ключ").unwrap(), Some("значение".into()));
}

#[test]
fn a_key_expires_but_not_early() {
    let redis = MiniRedis::start();
    let mut client = redis.client();
    let ttl = Duration::from_millis(50);

    let start = Instant::now();
    client.set_expires("key", "value".into(), ttl).unwrap();
    while client.get("key").unwrap().is_some() {
        assert!(start.elapsed() < Duration::from_secs(10), "still there");
    }
    assert!(start.elapsed() >= ttl, "gone after {:?}", start.elapsed());
}

#[test]
fn set_takes_an_expiry_away() {
    let redis = MiniRedis::start();
    let mut client = redis.client();
    let ttl = Duration::from_millis(50);

    client.set_expires("kept", "old".into(), ttl).unwrap();
    client.set("kept", "new".into()).unwrap();

    // This one is to expire later, so the other would be gone by then.
    client.set_expires("clock", "".into(), ttl).unwrap();
    while client.get("clock").unwrap().is_some() {}
    assert_eq!(client.get("kept").unwrap(), Some("new".into()));
}

#[test]
fn the_longest_and_the_shortest_expiry_are_taken() {
    let redis = MiniRedis::start();
    let mut client = redis.client();
    for expiry in [SHORTEST_EXPIRY, LONGEST_EXPIRY] {
        client.set_expires("key", "value".into(), expiry).unwrap();
    }
    assert_eq!(client.get("key").unwrap(), Some("value".into()));
}

#[test]
fn an_expiry_out_of_range_is_never_sent() {
    let redis = MiniRedis::start();
    let mut client = redis.client();
    client.set("key", "before".into()).unwrap();

    for expiry in [
        Duration::ZERO,
        SHORTEST_EXPIRY - Duration::from_nanos(1),
        LONGEST_EXPIRY + Duration::from_nanos(1),
        Duration::MAX,
    ] {
        let error = client
            .set_expires("key", "after".into(), expiry)
            .unwrap_err();
        assert!(matches!(error, Error::Expiry(refused) if refused == expiry));
    }
    assert_eq!(client.get("key").unwrap(), Some("before".into()));
}

#[test]
fn publish_counts_the_subscribers_of_its_channel() {
    let redis = MiniRedis::start();
    let mut publisher = redis.client();
    assert_eq!(publisher.publish("news", "".into()).unwrap(), 0);

    let _first = redis.subscriber(&["news"]);
    let _second = redis.subscriber(&["news", "weather"]);
    assert_eq!(publisher.publish("news", "".into()).unwrap(), 2);
    assert_eq!(publisher.publish("weather", "".into()).unwrap(), 1);
}

#[test]
fn messages_name_their_channel() {
    let redis = MiniRedis::start();
    let mut publisher = redis.client();
    let mut subscriber = redis.subscriber(&["news", "weather"]);

    for (channel, content) in [("weather", "sunny"), ("news", ""), ("news", "a b\r\nc")] {
        publisher.publish(channel, content.into()).unwrap();
        assert_eq!(
            subscriber.next_message().unwrap(),
            Some(message(channel, content))
        );
    }
}

#[test]
fn messages_wait_for_the_subscriber_to_ask() {
    let redis = MiniRedis::start();
    let mut publisher = redis.client();
    let subscriber = redis.subscriber(&["count"]);

    let contents = ["1", "2", "3", "4"];
    for content in contents {
        publisher.publish("count", content.into()).unwrap();
    }

    // By name and by `for`: both are the same iterator.
    let mut messages = subscriber.into_iter();
    assert_eq!(
        messages.next().unwrap().unwrap(),
        message("count", contents[0])
    );
    let mut rest = Vec::new();
    for message in messages.take(3) {
        rest.push(message.unwrap().content);
    }
    assert_eq!(rest, contents[1..]);
}

#[test]
fn a_message_that_is_not_text_arrives_escaped() {
    let redis = MiniRedis::start();
    let mut subscriber = redis.subscriber(&["bytes"]);
    redis
        .client()
        .publish("bytes", Bytes::from_static(b"\xff\x00"))
        .unwrap();
    assert_eq!(
        subscriber.next_message().unwrap(),
        Some(message("bytes", r#"b"\xff\0""#))
    );
}

#[test]
fn channels_come_and_go() {
    let redis = MiniRedis::start();
    let mut publisher = redis.client();
    let mut subscriber = redis.subscriber(&["a", "b", "a"]);
    assert_eq!(subscriber.get_subscribed(), ["a", "b"]);

    subscriber.subscribe(&names(&["b", "c", "c"])).unwrap();
    assert_eq!(subscriber.get_subscribed(), ["a", "b", "c"]);
    assert_eq!(publisher.publish("c", "c".into()).unwrap(), 1);
    assert_eq!(subscriber.next_message().unwrap(), Some(message("c", "c")));

    subscriber
        .unsubscribe(&names(&["b", "unknown", "b"]))
        .unwrap();
    assert_eq!(subscriber.get_subscribed(), ["a", "c"]);
    assert_eq!(publisher.publish("b", "missed".into()).unwrap(), 0);

    publisher.publish("a", "heard".into()).unwrap();
    assert_eq!(
        subscriber.next_message().unwrap(),
        Some(message("a", "heard"))
    );
}

#[test]
fn changes_of_nothing_change_nothing() {
    let redis = MiniRedis::start();
    let mut subscriber = redis.subscriber(&["a"]);

    subscriber.subscribe(&[]).unwrap();
    subscriber.subscribe(&names(&["a"])).unwrap();
    subscriber.unsubscribe(&names(&["unknown"])).unwrap();
    assert_eq!(subscriber.get_subscribed(), ["a"]);

    redis.client().publish("a", "heard".into()).unwrap();
    assert_eq!(
        subscriber.next_message().unwrap(),
        Some(message("a", "heard"))
    );
}

#[test]
fn unsubscribing_from_nothing_in_particular_is_from_everything() {
    let redis = MiniRedis::start();
    let mut subscriber = redis.subscriber(&["a", "b", "c"]);

    subscriber.unsubscribe(&[]).unwrap();
    assert!(subscriber.get_subscribed().is_empty());
    subscriber.unsubscribe(&[]).unwrap();

    // The connection is as good as before.
    subscriber.subscribe(&names(&["b"])).unwrap();
    assert_eq!(redis.client().publish("a", "".into()).unwrap(), 0);
    assert_eq!(redis.client().publish("b", "".into()).unwrap(), 1);
}

#[test]
fn a_subscription_needs_a_channel() {
    let redis = MiniRedis::start();
    let error = redis.client().subscribe(Vec::new()).unwrap_err();
    assert!(matches!(error, Error::NoChannel));
}

#[test]
fn messages_end_with_the_server() {
    let redis = MiniRedis::start();
    let mut asking = redis.subscriber(&["news"]);
    let mut iterating = redis.subscriber(&["news"]).into_iter();
    redis.stop();

    assert_eq!(asking.next_message().unwrap(), None);
    assert!(iterating.next().is_none());
    assert!(iterating.next().is_none());
}

#[test]
fn a_waiting_subscriber_hears_of_the_end() {
    let redis = MiniRedis::start();
    let mut subscriber = redis.subscriber(&["news"]);
    let mut publisher = redis.client();
    let (heard, first) = mpsc::channel();
    let waiting = thread::spawn(move || {
        heard.send(subscriber.next_message().unwrap()).unwrap();
        subscriber.next_message().unwrap()
    });

    // A server told to stop may leave out messages, so it goes on until this one has arrived.
    publisher.publish("news", "first".into()).unwrap();
    assert_eq!(first.recv().unwrap(), Some(message("news", "first")));
    redis.stop();
    assert_eq!(waiting.join().unwrap(), None);
}

#[test]
fn commands_fail_once_the_server_is_gone() {
    let redis = MiniRedis::start();
    let mut client = redis.client();
    redis.stop();

    assert!(matches!(client.get("key"), Err(Error::Closed)));
    assert!(matches!(client.set("key", "".into()), Err(Error::Closed)));
    let subscribed = client.subscribe(names(&["news"]));
    assert!(matches!(subscribed, Err(Error::Closed)));
}

#[test]
fn nobody_listening_is_an_error_of_connect() {
    // A socket that is bound but does not listen refuses, and keeps others from taking the port.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket
        .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();

    let Error::Connect(error) = BlockingClient::connect(addr).unwrap_err() else {
        panic!("not an error of connect");
    };
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
}

#[test]
fn an_address_that_is_none_is_an_error_of_connect() {
    let error = BlockingClient::connect("no port").unwrap_err();
    assert!(matches!(error, Error::Connect(_)), "{error:?}");
}

#[test]
fn the_server_is_quoted_when_it_refuses() {
    let addr = server_that_says(b"-WRONGTYPE a list\r\n");
    let error = BlockingClient::connect(addr).unwrap().get("list");
    let error = error.unwrap_err();
    assert!(matches!(&error, Error::Server(text) if text == "WRONGTYPE a list"));
    assert_eq!(error.to_string(), "the server answered: WRONGTYPE a list");
}

#[test]
fn an_answer_cut_short_is_a_closed_connection() {
    let addr = server_that_says(b"$10\r\nhalf");
    let answer = BlockingClient::connect(addr).unwrap().get("key");
    assert!(matches!(answer, Err(Error::Closed)), "{answer:?}");
}

#[test]
fn an_iteration_is_over_after_an_error() {
    // A confirmation, and then something that is no frame and would be found there again and again.
    let addr = server_that_says(b"*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n?\r\n");
    let subscriber = BlockingClient::connect(addr)
        .unwrap()
        .subscribe(names(&["news"]))
        .unwrap();

    let mut messages = subscriber.into_iter();
    assert!(matches!(messages.next(), Some(Err(Error::Server(_)))));
    assert!(messages.next().is_none());
}

#[test]
fn async_code_may_neither_call_nor_drop_a_client() {
    let redis = MiniRedis::start();
    let client = redis.client();
    let addr = redis.addr;

    redis.runtime.block_on(async {
        let call = panic::catch_unwind(|| BlockingClient::connect(addr).map(drop));
        assert!(call.is_err(), "a call went through");

        let end = panic::catch_unwind(AssertUnwindSafe(|| drop(client)));
        assert!(end.is_err(), "a drop went through");
    });
}
