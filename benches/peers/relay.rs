//! Distance: a relay on loopback that passes every byte on a while later.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// What is due so soon is passed on at once: a thread that sleeps for less is no sooner awake.
const SOON: Duration = Duration::from_micros(50);

/// Passes connections on; ends with the process.
///
/// One thread for all: real distance takes nothing of the processors that are measured.
pub(crate) struct Relay {
    address: SocketAddr,
}

impl Relay {
    /// To a server, each way taking this long.
    pub(crate) fn start(server: SocketAddr, delay: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || pass_on(&listener, server, delay));
        Self { address }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

/// One direction of a connection.
struct Way {
    from: TcpStream,
    to: TcpStream,
    /// What is on its way, and when it is there; nothing, at the end.
    pieces: VecDeque<(Instant, Vec<u8>)>,
    ended: bool,
}

fn pass_on(listener: &TcpListener, server: SocketAddr, delay: Duration) {
    let mut scratch = vec![0; 64 * 1024];
    let mut ways: Vec<Way> = Vec::new();
    loop {
        let first = ways.iter().filter_map(|way| way.pieces.front());
        let next = first.map(|(due, _)| due).min();
        let left = next.map(|due| due.saturating_duration_since(Instant::now()));
        let left = left.map(|left| Timespec::try_from(left).unwrap());
        let mut polled = vec![PollFd::new(listener, PollFlags::IN)];
        let open = ways.iter().filter(|way| !way.ended);
        polled.extend(open.map(|way| PollFd::new(&way.from, PollFlags::IN)));
        poll(&mut polled, left.as_ref()).unwrap();
        let heard: Vec<_> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(polled);
        let due = Instant::now() + delay;
        let open = ways.iter_mut().filter(|way| !way.ended);
        for (way, _) in open.zip(&heard[1..]).filter(|(_, heard)| **heard) {
            let count = way.from.read(&mut scratch).unwrap_or(0);
            way.ended = count == 0;
            way.pieces.push_back((due, scratch[..count].to_vec()));
        }
        ways.retain_mut(|way| way.pass_on().is_ok());
        if heard[0] {
            // At the end the server is gone first.
            let Ok((near, far)) = accept(listener, server) else {
                return;
            };
            let both = [
                (near.try_clone().unwrap(), far.try_clone().unwrap()),
                (far, near),
            ];
            ways.extend(both.map(|(from, to)| Way {
                from,
                to,
                pieces: VecDeque::new(),
                ended: false,
            }));
        }
    }
}

fn accept(listener: &TcpListener, server: SocketAddr) -> std::io::Result<(TcpStream, TcpStream)> {
    let (near, _) = listener.accept()?;
    let far = TcpStream::connect(server)?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    Ok((near, far))
}

impl Way {
    /// Passes on what is due. Fails where nothing more can be.
    fn pass_on(&mut self) -> std::io::Result<()> {
        let soon = Instant::now() + SOON;
        while self.pieces.front().is_some_and(|(due, _)| *due <= soon)
            && let Some((_, piece)) = self.pieces.pop_front()
        {
            if piece.is_empty() {
                // The other end may be gone.
                let _ = self.to.shutdown(Shutdown::Write);
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            self.to.write_all(&piece)?;
        }
        Ok(())
    }
}
