//! Distance: a relay on loopback that passes every byte on a while later.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// Passes connections on; ends with the process.
pub(crate) struct Relay {
    address: SocketAddr,
}

impl Relay {
    /// To a server, each way taking this long.
    pub(crate) fn start(server: SocketAddr, delay: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for near in listener.incoming() {
                // At the end the server is gone first.
                let (Ok(near), Ok(far)) = (near, TcpStream::connect(server)) else {
                    return;
                };
                near.set_nodelay(true).unwrap();
                far.set_nodelay(true).unwrap();
                pass_on(near.try_clone().unwrap(), far.try_clone().unwrap(), delay);
                pass_on(far, near, delay);
            }
        });
        Self { address }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

/// One direction: a thread that notes when bytes came, and one that sends them when their time has come.
fn pass_on(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    let (sender, receiver) = mpsc::channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        let mut piece = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = from.read(&mut piece) {
            let bytes = piece[..length].to_vec();
            if sender.send((Instant::now() + delay, bytes)).is_err() {
                return;
            }
        }
    });
    thread::spawn(move || {
        for (due, bytes) in receiver {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).is_err() {
                return;
            }
        }
        // The other end may be gone.
        let _ = to.shutdown(Shutdown::Write);
    });
}
