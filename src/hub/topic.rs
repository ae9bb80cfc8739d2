//! What can be listened to.

use bytes::Bytes;

/// A channel, a pattern of channels, a sharded channel, or a stream.
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
    /// The entries of a stream, by its key: [XREAD](https://redis.io/docs/latest/commands/xread/).
    Stream(Bytes),
}

impl Topic {
    /// The channel's name, the pattern, or the stream's key.
    #[must_use]
    pub fn name(&self) -> &Bytes {
        match self {
            Self::Channel(name)
            | Self::Pattern(name)
            | Self::Sharded(name)
            | Self::Stream(name) => name,
        }
    }

    /// Whether it is listened to by subscribing.
    pub(super) fn is_subscribed(&self) -> bool {
        match self {
            Self::Channel(_) | Self::Pattern(_) | Self::Sharded(_) => true,
            Self::Stream(_) => false,
        }
    }
}
