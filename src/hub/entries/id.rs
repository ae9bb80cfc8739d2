//! The id of a stream's entry: a time in milliseconds, and a number that tells entries of one millisecond
//! apart. As an event's id it is safe in a CORS request without a preflight.

use std::fmt;

/// Ids from here on are times, of 2001 and later; an id below was chosen by whoever added the entry.
const TIMES: u64 = 1_000_000_000_000;

/// Names an entry of a stream, and its place among all of them.
///
/// ```
/// use redis_http_gateway::hub::EntryId;
///
/// let id = EntryId::parse(b"1700000000000-1").expect("an id");
/// assert!(id > EntryId::parse(b"1700000000000").expect("the first of its millisecond"));
/// assert_eq!(id.to_string(), "1700000000000-1");
/// assert_eq!(EntryId::parse(b"news-1"), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct EntryId {
    ms: u64,
    seq: u64,
}

impl EntryId {
    /// Less than the id of any entry.
    pub(in crate::hub) const ZERO: Self = Self { ms: 0, seq: 0 };

    /// An id as Redis writes it; without the second part it is the first of its millisecond.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let (ms, seq) = text.split_once('-').unwrap_or((text, "0"));
        let number = |digits: &str| {
            let sound = digits.bytes().all(|b| b.is_ascii_digit());
            digits.parse().ok().filter(|_| sound)
        };
        Some(Self {
            ms: number(ms)?,
            seq: number(seq)?,
        })
    }

    /// The greatest id that is less than this one.
    pub(super) fn before(self) -> Self {
        match (self.ms, self.seq) {
            (0, 0) => self,
            (ms, 0) => Self {
                ms: ms - 1,
                seq: u64::MAX,
            },
            (ms, seq) => Self { ms, seq: seq - 1 },
        }
    }

    /// Whether it was made by a clock, so that a stream begun anew could not have a lesser one.
    pub(super) fn is_time(self) -> bool {
        self.ms >= TIMES
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ids_are_ids() {
        for text in [
            "",
            "-",
            "1-",
            "-1",
            "+1-0",
            "1-2-3",
            "18446744073709551616-0",
            "$",
            "1 -0",
        ] {
            assert_eq!(EntryId::parse(text.as_bytes()), None, "{text:?}");
        }
        let last = "18446744073709551615-18446744073709551615";
        let id = EntryId::parse(last.as_bytes()).expect("the greatest id");
        assert_eq!(id.to_string(), last);
    }

    #[test]
    fn nothing_fits_between_an_id_and_the_one_before() {
        let id = |text: &str| EntryId::parse(text.as_bytes()).expect("an id");
        assert_eq!(id("5-1").before(), id("5-0"));
        assert_eq!(id("5-0").before(), id("4-18446744073709551615"));
        assert_eq!(EntryId::ZERO.before(), EntryId::ZERO);
    }
}
