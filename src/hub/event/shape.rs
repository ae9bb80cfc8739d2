//! How a subscriber wants its events.

/// What an event's data is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// The message itself.
    #[default]
    Raw,
    /// A JSON object with the channel and the message.
    Json,
    /// A line as the Upstash SDKs read it: kind, channel and message, with commas between.
    Upstash,
    /// An entry of a Redis stream, under its own id.
    Entry,
}

/// How a subscriber wants its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Shape {
    /// What their data is.
    pub format: Format,
    /// Whether they are named after their channel, rather than not at all.
    pub named: bool,
}

impl Shape {
    /// How many shapes there are.
    pub(in crate::hub) const COUNT: usize = 8;

    /// Whether those who want it so come back when their stream ends, by the id of the last event. Upstash's
    /// SDKs do not.
    pub(in crate::hub) fn comes_back(self) -> bool {
        self.format != Format::Upstash
    }

    /// The place of this shape among all.
    pub(in crate::hub) fn index(self) -> usize {
        self.format as usize * 2 + usize::from(self.named)
    }

    /// Every shape, by index.
    pub(in crate::hub) fn all() -> [Self; Self::COUNT] {
        std::array::from_fn(|index| Self {
            format: [Format::Raw, Format::Json, Format::Upstash, Format::Entry][index / 2],
            named: index % 2 == 1,
        })
    }
}
