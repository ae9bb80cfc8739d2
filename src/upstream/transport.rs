//! A way for bytes to a Redis server and back, whatever it leads over.

use std::io;
use std::os::fd::AsFd;

use redis::RedisResult;
use socket2::Socket;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

use crate::reply::ServerError;

/// TCP, TLS or a Unix socket.
pub(super) type Stream = Box<dyn Bytes>;

/// Bytes in both directions.
pub(super) trait Bytes: AsyncRead + AsyncWrite + Unpin + Send {
    /// The socket itself, non-blocking, where what is written goes over it as it is.
    fn direct(&self) -> Option<Socket>;
}

fn socket_of(stream: &impl AsFd) -> Option<Socket> {
    Some(stream.as_fd().try_clone_to_owned().ok()?.into())
}

impl Bytes for TcpStream {
    fn direct(&self) -> Option<Socket> {
        socket_of(self)
    }
}

impl Bytes for UnixStream {
    fn direct(&self) -> Option<Socket> {
        socket_of(self)
    }
}

impl Bytes for TlsStream<TcpStream> {
    fn direct(&self) -> Option<Socket> {
        None
    }
}

/// What a server says instead of an answer without which it is of no use.
pub(super) fn unusable(error: &ServerError) -> redis::RedisError {
    redis::make_extension_error(error.code().to_owned(), Some(error.detail().to_owned()))
}

/// What is wrong with a connection, in the gateway's words.
pub(super) fn wrong(what: impl Into<String>) -> redis::RedisError {
    io::Error::other(what.into()).into()
}

/// What a server does that is spoken to in another way than it wants, or has no room.
const CLOSED: &str =
    "it closed the connection without an answer (a server that wants TLS does: rediss://)";

/// A reply to what is asked before there is a connection is never longer.
const LONGEST_REPLY: usize = 64 * 1024;

/// Sends a command over a stream on which nothing else is under way, and reads its reply. A server's error
/// is a reply.
pub(super) async fn ask(stream: &mut Stream, command: &redis::Cmd) -> RedisResult<redis::Value> {
    stream.write_all(&command.get_packed_command()).await?;
    stream.flush().await?;
    let mut received = Vec::new();
    loop {
        match stream.read_buf(&mut received).await {
            Ok(1..) => {}
            Err(error) if error.kind() != io::ErrorKind::ConnectionReset => {
                return Err(error.into());
            }
            Ok(0) | Err(_) => return Err(wrong(CLOSED)),
        }
        match redis::parse_redis_value(&received) {
            Ok(reply) => return Ok(reply),
            // It has not arrived as a whole.
            Err(error) if error.is_io_error() && received.len() < LONGEST_REPLY => {}
            Err(_) => return Err(wrong("what answers there is no Redis server")),
        }
    }
}
