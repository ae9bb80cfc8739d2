//! A way to a Redis server that is longer than loopback, and longer for some bytes than for others.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use super::PATIENCE;

/// Passes bytes on, each after a while, in their order. It goes on for as long as the process; its connections
/// end with those that it leads to.
pub(crate) struct Relay {
    address: SocketAddr,
    /// Where connections that speak RESP2 lead, and those that speak RESP3.
    servers: Arc<Mutex<[SocketAddr; 2]>>,
    gate: Arc<Gate>,
}

/// What stops who wants to pass much.
#[derive(Default)]
struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Default)]
struct GateState {
    closed: bool,
    /// How many connections wait, each way counting as one.
    waiting: usize,
}

/// Bytes that pass one way of a connection while the gate is closed.
const LITTLE: usize = 256 * 1024;

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
        let gate = Arc::<Gate>::default();
        let servers = Arc::new(Mutex::new([server, other]));
        let (own, leading) = (Arc::clone(&gate), Arc::clone(&servers));
        thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                let gate = Arc::clone(&own);
                let servers = *leading.lock().unwrap();
                thread::spawn(move || pass(client, servers, delays, &gate));
            }
        });
        Self {
            address,
            servers,
            gate,
        }
    }

    /// Leads new connections elsewhere.
    pub(crate) fn lead_new(&self, server: SocketAddr) {
        *self.servers.lock().unwrap() = [server; 2];
    }

    /// From now on a connection stops when much has passed one way, until `let_go`.
    pub(crate) fn stop_large(&self) {
        self.gate.state.lock().unwrap().closed = true;
    }

    /// Waits until so many are stopped.
    pub(crate) fn wait_for_stopped(&self, count: usize) {
        let state = self.gate.state.lock().unwrap();
        let changed = &self.gate.changed;
        let few = |state: &mut GateState| state.waiting < count;
        let waited = changed.wait_timeout_while(state, PATIENCE, few).unwrap();
        assert!(!waited.1.timed_out(), "not {count} were stopped");
    }

    /// Lets those go on that were stopped, and all others.
    pub(crate) fn let_go(&self) {
        self.gate.state.lock().unwrap().closed = false;
        self.gate.changed.notify_all();
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }
}

impl Gate {
    /// Lets a piece pass, after so many bytes that passed while the gate was closed; gives how many these are now.
    fn pass(&self, before: usize, length: usize) -> usize {
        let mut state = self.state.lock().unwrap();
        if !state.closed {
            return 0;
        }
        if before + length <= LITTLE {
            return before + length;
        }
        state.waiting += 1;
        self.changed.notify_all();
        let mut state = self
            .changed
            .wait_while(state, |state| state.closed)
            .unwrap();
        state.waiting -= 1;
        0
    }
}

fn pass(mut client: TcpStream, [server, other]: [SocketAddr; 2], delays: Delays, gate: &Arc<Gate>) {
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
    let own = Arc::clone(gate);
    thread::spawn(move || carry(up.0, up.1, there, own));
    carry(server, client, back, Arc::clone(gate));
}

/// Carries bytes one way until their end, which it passes on.
fn carry(mut from: TcpStream, mut to: TcpStream, delay: Duration, gate: Arc<Gate>) {
    let (sender, under_way) = mpsc::channel::<(Instant, Vec<u8>)>();
    let arrives = thread::spawn(move || {
        let mut passed = 0;
        for (due, bytes) in under_way {
            passed = gate.pass(passed, bytes.len());
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
