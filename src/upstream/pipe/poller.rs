//! What pollers know of a pipe's socket: the runtime's, which has its task read, and one that knows only its end.

use std::fs::File;
use std::io;
use std::task::{Context, Poll};

use bytes::BytesMut;
use rustix::event::epoll::{self, EventData, EventFlags};
use socket2::{Domain, Socket};
use tokio::io::Interest;
use tokio::net;

/// The socket as the runtime's poller knows it, which it does only while the driver is to read.
#[derive(Debug)]
pub(super) enum AtPoller {
    Unknown(Socket),
    Known(Polled),
    /// It could not be had.
    Lost,
}

/// A socket of either kind that the runtime's poller knows.
#[derive(Debug)]
pub(super) enum Polled {
    Tcp(net::TcpStream),
    Unix(net::UnixStream),
}

impl Polled {
    pub(super) fn new(socket: Socket) -> io::Result<Self> {
        if socket.domain()? == Domain::UNIX {
            net::UnixStream::from_std(socket.into()).map(Self::Unix)
        } else {
            net::TcpStream::from_std(socket.into()).map(Self::Tcp)
        }
    }

    fn into_socket(self) -> io::Result<Socket> {
        match self {
            Self::Tcp(stream) => stream.into_std().map(Socket::from),
            Self::Unix(stream) => stream.into_std().map(Socket::from),
        }
    }

    /// Waits until there may be something to read.
    pub(super) fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(context),
            Self::Unix(stream) => stream.poll_read_ready(context),
        }
    }

    /// Reads what is there.
    pub(super) fn try_read_buf(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_read_buf(buffer),
            Self::Unix(stream) => stream.try_read_buf(buffer),
        }
    }

    /// Waits until there may be room to write.
    pub(super) async fn writable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.writable().await,
            Self::Unix(stream) => stream.writable().await,
        }
    }

    /// Writes by this means; if it finds no room, the poller tells when there is some again.
    pub(super) fn try_write(&self, write: impl FnOnce() -> io::Result<usize>) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_io(Interest::WRITABLE, write),
            Self::Unix(stream) => stream.try_io(Interest::WRITABLE, write),
        }
    }
}

impl AtPoller {
    /// Has the runtime's poller know the socket.
    pub(super) fn begin(&mut self) -> io::Result<&Polled> {
        *self = match std::mem::replace(self, Self::Lost) {
            Self::Unknown(socket) => Self::Known(Polled::new(socket)?),
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
            Self::Known(polled) => polled.into_socket().map_or(Self::Lost, Self::Unknown),
            same => same,
        };
    }
}

/// Resolves when the other end has been closed, and for nothing else: a poller of its own tells apart what the
/// runtime's does not.
pub(super) async fn hung_up(stream: &Socket) -> io::Result<()> {
    let poller = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&poller, stream, EventData::new_u64(0), EventFlags::RDHUP)?;
    // Any file can be waited for in this way.
    let poller = net::unix::pipe::Receiver::from_file_unchecked(File::from(poller))?;
    poller.readable().await
}
