//! What pollers know of a pipe's socket: the runtime's, which has its task read, and one that knows only its end.

use std::fs::File;
use std::io;
use std::net::TcpStream;

use rustix::event::epoll::{self, EventData, EventFlags};
use tokio::net;

/// The socket as the runtime's poller knows it, which it does only while the driver is to read.
#[derive(Debug)]
pub(super) enum AtPoller {
    Unknown(TcpStream),
    Known(net::TcpStream),
    /// It could not be had.
    Lost,
}

impl AtPoller {
    /// Has the runtime's poller know the socket.
    pub(super) fn begin(&mut self) -> io::Result<&net::TcpStream> {
        *self = match std::mem::replace(self, Self::Lost) {
            Self::Unknown(socket) => Self::Known(net::TcpStream::from_std(socket)?),
            same => same,
        };
        match self {
            Self::Known(polled) => Ok(polled),
            Self::Unknown(_) | Self::Lost => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Has it forget it.
    pub(super) fn end(&mut self) {
        *self = match std::mem::replace(self, Self::Lost) {
            Self::Known(polled) => polled.into_std().map_or(Self::Lost, Self::Unknown),
            same => same,
        };
    }
}

/// Resolves when the other end has been closed, and for nothing else: a poller of its own tells apart what the
/// runtime's does not.
pub(super) async fn hung_up(stream: &TcpStream) -> io::Result<()> {
    let poller = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&poller, stream, EventData::new_u64(0), EventFlags::RDHUP)?;
    // Any file can be waited for in this way.
    let poller = net::unix::pipe::Receiver::from_file_unchecked(File::from(poller))?;
    poller.readable().await
}
