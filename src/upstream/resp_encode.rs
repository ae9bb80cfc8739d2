//! Commands as they go over the wire.

use bytes::Bytes;

use super::write_buffer::WriteBuffer;
use crate::command::Command;

/// A pipeline that is ready to be sent, and how many replies it will have.
pub(super) struct Packed {
    pub(super) buffer: WriteBuffer,
    pub(super) count: usize,
}

/// What a length and the line ends around it take at most.
const FRAME: usize = 16;

impl Packed {
    /// These commands, in order.
    pub(super) fn all(commands: &[Command]) -> Self {
        let copied = |part: &Bytes| {
            if WriteBuffer::copies(part.len()) {
                part.len()
            } else {
                0
            }
        };
        let parts = commands.iter().flat_map(Command::parts);
        let size: usize = parts.map(|part| copied(part) + FRAME).sum();
        let mut buffer = WriteBuffer::with_capacity(size + commands.len() * FRAME);
        for command in commands {
            put(&mut buffer, b'*', command.parts().len());
            for part in command.parts() {
                put(&mut buffer, b'$', part.len());
                buffer.add(part);
                buffer.copy(b"\r\n");
            }
        }
        let count = commands.len();
        Self { buffer, count }
    }

    /// This command alone.
    pub(super) fn one(command: &Command) -> Self {
        Self::all(std::slice::from_ref(command))
    }
}

fn put(buffer: &mut WriteBuffer, kind: u8, number: usize) {
    buffer.copy(&[kind]);
    buffer.copy(itoa::Buffer::new().format(number).as_bytes());
    buffer.copy(b"\r\n");
}

/// These commands, in order, for a connection of the client library.
pub(super) fn pipeline(commands: &[Command]) -> redis::Pipeline {
    let mut pipeline = redis::Pipeline::with_capacity(commands.len());
    for command in commands {
        let parts = command.parts();
        let bytes = parts.iter().map(Bytes::len).sum();
        let mut packed = redis::Cmd::with_capacity(parts.len(), bytes);
        for part in parts {
            packed.arg(part.as_ref());
        }
        pipeline.add_command(packed);
    }
    pipeline
}

#[cfg(test)]
mod tests {
    use bytes::Buf;

    use super::*;

    #[test]
    fn commands_are_packed_as_the_client_library_does_it() {
        let commands = [
            Command::new("SET")
                .arg("key")
                .arg(Bytes::from_static(b"a\r\n\0b")),
            Command::new("PING"),
            Command::new("GET").arg(Bytes::new()),
        ];
        let packed = Packed::all(&commands);
        assert_eq!(
            packed.buffer.chunk(),
            pipeline(&commands).get_packed_pipeline()
        );
        assert_eq!(packed.count, 3);
    }
}
