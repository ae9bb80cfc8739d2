//! Commands as they go over the wire.

use bytes::Bytes;

use crate::command::Command;

/// A pipeline that is ready to be sent, and how many replies it will have.
pub(super) struct Packed {
    pub(super) pipeline: redis::Pipeline,
    pub(super) count: usize,
}

impl Packed {
    /// These commands, in order.
    pub(super) fn all(commands: &[Command]) -> Self {
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
        let count = commands.len();
        Self { pipeline, count }
    }

    /// This command alone.
    pub(super) fn one(command: &Command) -> Self {
        Self::all(std::slice::from_ref(command))
    }
}
