//! A way for bytes to a Redis server and back, whatever it leads over.

use redis::RedisResult;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// TCP, TLS or a Unix socket.
pub(super) type Stream = Box<dyn Bytes>;

/// Bytes in both directions.
pub(super) trait Bytes: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Bytes for S {}

/// A reply to what is asked before there is a connection is never longer.
const LONGEST_REPLY: usize = 64 * 1024;

/// Sends a command over a stream on which nothing else is under way, and reads its reply. A server's error
/// is a reply.
pub(super) async fn ask(stream: &mut Stream, command: &redis::Cmd) -> RedisResult<redis::Value> {
    stream.write_all(&command.get_packed_command()).await?;
    stream.flush().await?;
    let mut received = Vec::new();
    loop {
        if stream.read_buf(&mut received).await? == 0 {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
        match redis::parse_redis_value(&received) {
            Ok(reply) => return Ok(reply),
            // It has not arrived as a whole.
            Err(_) if received.len() < LONGEST_REPLY => {}
            Err(error) => return Err(error),
        }
    }
}
