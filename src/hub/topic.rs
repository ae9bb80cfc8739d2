//! What can be listened to.

use bytes::Bytes;

/// A channel, or a pattern of channels.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// A channel by its name: [SUBSCRIBE](https://redis.io/docs/latest/commands/subscribe/).
    Channel(Bytes),
    /// All channels that match a glob-style pattern:
    /// [PSUBSCRIBE](https://redis.io/docs/latest/commands/psubscribe/).
    Pattern(Bytes),
}

impl Topic {
    /// The channel's name, or the pattern.
    #[must_use]
    pub fn name(&self) -> &Bytes {
        match self {
            Self::Channel(name) | Self::Pattern(name) => name,
        }
    }
}
