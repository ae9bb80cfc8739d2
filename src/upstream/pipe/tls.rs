//! A pipe over TLS: its driver alone reads and writes.

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};

use super::super::resp::Reader;
use super::super::transport::Stream;
use super::{EndedOnDrop, READ_SIZE, Shared, keep_time, log};

/// Moves the bytes; ends when the connection has ended, or nobody needs it any more.
pub(super) fn drive(shared: Arc<Shared>, stream: Stream) -> impl Future<Output = ()> + Send {
    let driven = EndedOnDrop(shared);
    async move {
        let EndedOnDrop(shared) = &driven;
        let (input, output) = tokio::io::split(stream);
        tokio::select! {
            ended = write(shared, output) => log(ended),
            ended = read(shared, input) => log(ended),
            () = keep_time(shared) => {}
        }
    }
}

/// Writes what senders have left.
async fn write(shared: &Shared, mut output: WriteHalf<Stream>) -> io::Result<()> {
    while let Some(mut out) = shared.next_out().await {
        output.write_all_buf(&mut out).await?;
        output.flush().await?;
        shared.lock().writing = false;
    }
    Ok(())
}

/// Reads replies and hands them out.
async fn read(shared: &Shared, mut input: ReadHalf<Stream>) -> io::Result<()> {
    let mut reader = Reader::default();
    let mut received = BytesMut::new();
    loop {
        received.reserve(READ_SIZE);
        if input.read_buf(&mut received).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        shared.hand_out_whole(&mut reader, &mut received)?;
        if shared.lock().is_done() {
            return Ok(());
        }
    }
}
