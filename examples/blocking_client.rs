//! First way into async code: a blocking client, with a runtime of its own inside each connection.
//!
//! `main` is an ordinary function. It talks to a Redis server, here an embedded one, through
//! `BlockingClient`, and listens through `BlockingSubscriber`; every call returns with its answer.
//! Choose this way for scripts, tests and tools that do one thing at a time.
//!
//! Run it with `cargo run --example blocking_client`.

use std::error::Error;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use redis_http_gateway::BlockingClient;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

fn main() -> Result<(), Box<dyn Error>> {
    // The server needs threads that go on while this one blocks, hence a runtime apart. It ends
    // when `server` is dropped.
    let server = Runtime::new()?;
    let addr = embedded_redis(&server)?;

    let mut client = BlockingClient::connect(addr)?;
    values(&mut client)?;
    expiry(&mut client)?;
    messages(addr, client)
}

/// Starts a mini-redis on `runtime`, at a free port, and returns where it listens.
fn embedded_redis(runtime: &Runtime) -> Result<SocketAddr, Box<dyn Error>> {
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let addr = listener.local_addr()?;
    runtime.spawn(mini_redis::server::run(
        listener,
        std::future::pending::<()>(),
    ));
    Ok(addr)
}

/// Values are bytes, and text is one kind of them.
fn values(client: &mut BlockingClient) -> Result<(), Box<dyn Error>> {
    client.set("greeting", "hello".into())?;
    println!("greeting = {:?}", client.get("greeting")?);

    client.set("pixel", Bytes::from_static(&[0x00, 0xff]))?;
    println!("pixel = {:?}", client.get("pixel")?);

    println!("nothing = {:?}", client.get("nothing")?);
    Ok(())
}

/// A key may expire, but only after a time that makes sense.
fn expiry(client: &mut BlockingClient) -> Result<(), Box<dyn Error>> {
    let ttl = Duration::from_millis(100);
    let start = Instant::now();
    client.set_expires("session", "ada".into(), ttl)?;
    while client.get("session")?.is_some() {
        std::thread::sleep(Duration::from_millis(10));
    }
    println!(
        "session expired: {}",
        if start.elapsed() >= ttl {
            "in time"
        } else {
            "too early"
        }
    );

    match client.set_expires("session", "ada".into(), Duration::ZERO) {
        Ok(()) => println!("an expiry of nothing was taken"),
        Err(error) => println!("refused: {error}"),
    }
    Ok(())
}

/// A client that subscribes becomes a subscriber, and that an iterator.
fn messages(addr: SocketAddr, mut publisher: BlockingClient) -> Result<(), Box<dyn Error>> {
    let client = BlockingClient::connect(addr)?;
    let mut subscriber = client.subscribe(vec!["news".into()])?;
    subscriber.subscribe(&["weather".into()])?;
    println!("subscribed to {:?}", subscriber.get_subscribed());

    for (channel, text) in [("news", "it works"), ("weather", "sunny"), ("news", "end")] {
        let receivers = publisher.publish(channel, text.into())?;
        println!("published on {channel} to {receivers}");

        // Messages of different channels may overtake each other on their way through the server,
        // so each is awaited before the next is published.
        if let Some(message) = subscriber.next_message()? {
            println!("received on {}: {:?}", message.channel, message.content);
        }
    }

    subscriber.unsubscribe(&["weather".into()])?;
    for count in ["one", "two", "three"] {
        publisher.publish("news", count.into())?;
    }
    for message in subscriber.into_iter().take(3) {
        println!("iterated over {:?}", message?.content);
    }
    Ok(())
}
