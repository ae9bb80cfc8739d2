//! What stands in front of gateways, as a balancer would: its clients always find it at the same place, whatever becomes of the gateway
//! behind it, and it shows what they sent.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// A balancer on a free port, with one gateway at a time behind it.
pub(crate) struct Balancer {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    /// Where connections lead; to nowhere they are closed at once.
    target: Mutex<Option<SocketAddr>>,
    /// The connections there are, both ends of each.
    open: Mutex<Vec<TcpStream>>,
    /// The heads of the requests that came first on each connection.
    heads: Mutex<Vec<String>>,
}

impl Balancer {
    pub(crate) fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            target: Mutex::new(Some(target)),
            open: Mutex::default(),
            heads: Mutex::default(),
        });
        let serving = Arc::downgrade(&shared);
        thread::spawn(move || {
            for client in listener.incoming() {
                let Some(shared) = serving.upgrade() else {
                    return;
                };
                let client = client.unwrap();
                thread::spawn(move || {
                    // Either end may be gone at any time.
                    let _ = relay(&shared, client);
                });
            }
        });
        Self { address, shared }
    }

    /// Leads new connections elsewhere, or nowhere.
    pub(crate) fn lead_new(&self, target: Option<SocketAddr>) {
        *self.shared.target.lock().unwrap() = target;
    }

    /// The same, and ends those there are.
    pub(crate) fn lead(&self, target: Option<SocketAddr>) {
        self.lead_new(target);
        for stream in self.shared.open.lock().unwrap().drain(..) {
            // It may have ended already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// The heads of the requests so far for paths that begin so.
    pub(crate) fn heads(&self, path: &str) -> Vec<String> {
        let heads = self.shared.heads.lock().unwrap();
        let begin = format!("GET {path}");
        heads
            .iter()
            .filter(|head| head.starts_with(&begin))
            .cloned()
            .collect()
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.lead(None);
        // The thread that listens sees that nobody is left.
        let address = self.address;
        self.shared = Arc::new(Shared {
            target: Mutex::default(),
            open: Mutex::default(),
            heads: Mutex::default(),
        });
        let _ = TcpStream::connect(address);
    }
}

fn relay(shared: &Shared, client: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    shared.heads.lock().unwrap().push(head.clone());
    let target = *shared.target.lock().unwrap();
    let Some(target) = target else {
        return Ok(());
    };
    let mut server = TcpStream::connect(target)?;
    shared
        .open
        .lock()
        .unwrap()
        .extend([client.try_clone()?, server.try_clone()?]);
    server.write_all(head.as_bytes())?;
    let (mut from, mut to) = (server.try_clone()?, client);
    let back = thread::spawn(move || {
        // Whatever ends it ends the connection.
        let _ = copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
    });
    let ended = copy(&mut reader, &mut server);
    let _ = server.shutdown(Shutdown::Both);
    let _ = back.join();
    ended
}

fn copy(from: &mut impl Read, to: &mut impl Write) -> std::io::Result<()> {
    let mut piece = [0; 4096];
    loop {
        match from.read(&mut piece)? {
            0 => return Ok(()),
            length => to.write_all(&piece[..length])?,
        }
    }
}
