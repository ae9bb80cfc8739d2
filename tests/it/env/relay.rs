//! A way to a Redis server that is longer than loopback, and longer for some bytes than for others.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// Passes bytes on, each after a while, in their order. It goes on for as long as the process; its connections
/// end with those that it leads to.
pub(crate) struct Relay {
    address: SocketAddr,
}

/// How long bytes are under way.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Delays {
    /// Commands, on connections that speak RESP2.
    pub(crate) commands: Duration,
    /// What the server says on connections that speak RESP3.
    pub(crate) tracking: Duration,
}

impl Relay {
    pub(crate) fn to(server: SocketAddr, delays: Delays) -> Self {
        Self::parted(server, server, delays)
    }

    /// Connections that speak RESP3 lead to another server.
    pub(crate) fn parted(server: SocketAddr, other: SocketAddr, delays: Delays) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                thread::spawn(move || pass(client, [server, other], delays));
            }
        });
        Self { address }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }
}

fn pass(mut client: TcpStream, [server, other]: [SocketAddr; 2], delays: Delays) {
    // A client that wants RESP3 begins by saying so.
    let mut first = [0; 4096];
    let Ok(length) = client.read(&mut first) else {
        return;
    };
    let first = &first[..length];
    let tracks = first.windows(5).any(|word| word == b"HELLO");
    let Ok(mut server) = TcpStream::connect(if tracks { other } else { server }) else {
        return;
    };
    for stream in [&client, &server] {
        stream.set_nodelay(true).unwrap();
    }
    let (there, back) = if tracks {
        (Duration::ZERO, delays.tracking)
    } else {
        (delays.commands, Duration::ZERO)
    };
    if server.write_all(first).is_err() {
        return;
    }
    let up = (client.try_clone().unwrap(), server.try_clone().unwrap());
    thread::spawn(move || carry(up.0, up.1, there));
    carry(server, client, back);
}

/// Carries bytes one way until their end, which it passes on.
fn carry(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    let (sender, under_way) = mpsc::channel::<(Instant, Vec<u8>)>();
    let arrives = thread::spawn(move || {
        for (due, bytes) in under_way {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
    let mut bytes = [0; 65536];
    while let Ok(length @ 1..) = from.read(&mut bytes) {
        let due = Instant::now() + delay;
        if sender.send((due, bytes[..length].to_vec())).is_err() {
            break;
        }
    }
    drop(sender);
    let _ = arrives.join();
}
