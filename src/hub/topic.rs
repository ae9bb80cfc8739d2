//! What can be listened to.

use bytes::Bytes;

/// A channel, a pattern of channels, or a sharded channel.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// A channel by its name: [SUBSCRIBE](https://redis.io/docs/latest/commands/subscribe/).
    Channel(Bytes),
    /// All channels that match a glob-style pattern:
    /// [PSUBSCRIBE](https://redis.io/docs/latest/commands/psubscribe/).
    Pattern(Bytes),
    /// A sharded channel by its name, which is no other's:
    /// [SSUBSCRIBE](https://redis.io/docs/latest/commands/ssubscribe/).
    Sharded(Bytes),
}

impl Topic {
    /// The channel's name, or the pattern.
    #[must_use]
    pub fn name(&self) -> &Bytes {
        match self {
            Self::Channel(name) | Self::Pattern(name) | Self::Sharded(name) => name,
        }
    }
}
