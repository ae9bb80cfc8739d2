//! What a command may change, as far as that can be told before it is sent.

use bytes::Bytes;

use crate::command::Command;
use crate::reply::Reply;

/// What commands may change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum WriteSet {
    /// Nothing.
    Nothing,
    /// These keys; they may be named more than once.
    Keys(Vec<Bytes>),
    /// Nobody knows.
    Anything,
}

/// What the server says of a command that writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Writing {
    /// It does not.
    Nothing,
    /// Keys at every so many positions from the first to the last, which counts from the end if it is negative.
    Range { first: i64, last: i64, step: i64 },
    /// It may, and does not say what.
    #[default]
    Anything,
}

/// Commands that change no value that GET can read, besides those of which the server says that they only read.
/// What takes from lists, sorted sets and streams is an error where there is a string. A transaction is counted by
/// the commands in it.
const HARMLESS: &[&str] = &[
    "BLMPOP",
    "BZMPOP",
    "CLIENT",
    "COMMAND",
    "CONFIG",
    "ECHO",
    "EXEC",
    "GET",
    "INFO",
    "LASTSAVE",
    "LATENCY",
    "LMPOP",
    "MEMORY",
    "MGET",
    "MULTI",
    "PING",
    "PUBLISH",
    "ROLE",
    "SCRIPT",
    "SLOWLOG",
    "SPUBLISH",
    "TIME",
    "XREADGROUP",
    "ZMPOP",
];

/// It only reads, the server says, but writes down what it has counted.
const NOT_ONLY_READING: &str = "PFCOUNT";

impl Writing {
    /// What an entry of a reply to COMMAND says; the name is in capitals.
    pub(super) fn from_entry(name: &str, entry: &[Reply], has: impl Fn(&[u8]) -> bool) -> Self {
        if is_harmless(name) || (has(b"readonly") && name != NOT_ONLY_READING) {
            return Self::Nothing;
        }
        // A script may write to keys that it was not given; it has no flag that says that it writes.
        let tells = has(b"write") || name == NOT_ONLY_READING;
        match (entry.get(3), entry.get(4), entry.get(5)) {
            (Some(Reply::Int(first)), Some(Reply::Int(last)), Some(Reply::Int(step)))
                if tells && !has(b"movablekeys") && *first > 0 && *step > 0 =>
            {
                let (first, last, step) = (*first, *last, *step);
                Self::Range { first, last, step }
            }
            _ => Self::Anything,
        }
    }

    /// What is known of a command of which no server told.
    pub(super) fn unknown(name: &str) -> Self {
        if is_harmless(name) {
            Self::Nothing
        } else {
            Self::Anything
        }
    }

    /// What a command of this kind may change.
    pub(super) fn of(self, command: &Command) -> WriteSet {
        match self {
            Self::Nothing => WriteSet::Nothing,
            Self::Anything => WriteSet::Anything,
            Self::Range { first, last, step } => {
                let parts = command.parts();
                let count = i64::try_from(parts.len()).unwrap_or(i64::MAX);
                let last = if last < 0 { count + last } else { last };
                let first = usize::try_from(first).unwrap_or_default();
                let end = usize::try_from(last + 1).unwrap_or_default();
                let step = usize::try_from(step).unwrap_or(1).max(1);
                let keys = parts.get(first..end.min(parts.len())).unwrap_or_default();
                WriteSet::Keys(keys.iter().step_by(step).cloned().collect())
            }
        }
    }
}

impl WriteSet {
    /// What all of these come to.
    pub(super) fn all(each: impl Iterator<Item = Self>) -> Self {
        let mut all = Self::Nothing;
        for one in each {
            all = match (all, one) {
                (Self::Anything, _) | (_, Self::Anything) => return Self::Anything,
                (Self::Nothing, other) | (other, Self::Nothing) => other,
                (Self::Keys(mut keys), Self::Keys(more)) => {
                    keys.extend(more);
                    Self::Keys(keys)
                }
            };
        }
        all
    }
}

fn is_harmless(name: &str) -> bool {
    // Of a command with subcommands they are all.
    let (name, _) = name.split_once('|').unwrap_or((name, ""));
    HARMLESS.contains(&name)
}

/// A test's keys.
#[cfg(test)]
pub(super) fn keys(keys: &[&'static str]) -> WriteSet {
    let keys = keys.iter().map(|key| Bytes::from_static(key.as_bytes()));
    WriteSet::Keys(keys.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(first: i64, last: i64, step: i64) -> Vec<Reply> {
        let numbers = [first, last, step].map(Reply::Int);
        [&[Reply::Nil, Reply::Nil, Reply::Nil], &numbers[..]].concat()
    }

    fn written(name: &str, flags: &[&str], entry: &[Reply], line: &str) -> WriteSet {
        let has = |flag: &[u8]| flags.iter().any(|has| has.as_bytes() == flag);
        Writing::from_entry(name, entry, has).of(&Command::of_line(line))
    }

    #[test]
    fn the_keys_of_a_write_are_found() {
        let write = &["write"];
        let of = |entry: Vec<Reply>, line| written("X", write, &entry, line);
        assert_eq!(of(entry(1, 1, 1), "SET k v EX 1"), keys(&["k"]));
        assert_eq!(of(entry(1, -1, 2), "MSET a 1 b 2"), keys(&["a", "b"]));
        assert_eq!(of(entry(1, -1, 1), "DEL a b"), keys(&["a", "b"]));
        assert_eq!(of(entry(1, 2, 1), "RENAME a b"), keys(&["a", "b"]));
        assert_eq!(of(entry(1, -2, 1), "BLPOP a b 0"), keys(&["a", "b"]));
        assert_eq!(of(entry(2, -1, 1), "BITOP AND d a"), keys(&["d", "a"]));
        for too_short in ["SET", "X"] {
            assert_eq!(of(entry(1, 1, 1), too_short), keys(&[]));
            assert_eq!(of(entry(2, -2, 1), too_short), keys(&[]));
        }
    }

    #[test]
    fn what_does_not_tell_may_have_changed_anything() {
        let none = entry(0, 0, 0);
        let of = |name, flags: &[&str], entry: &[Reply]| written(name, flags, entry, "X k");
        assert_eq!(of("FLUSHALL", &["write"], &none), WriteSet::Anything);
        assert_eq!(of("EVAL", &["movablekeys"], &none), WriteSet::Anything);
        let sort = entry(1, 1, 1);
        assert_eq!(
            of("SORT", &["write", "movablekeys"], &sort),
            WriteSet::Anything
        );
        assert_eq!(of("MODULE.X", &[], &sort), WriteSet::Anything);
        assert_eq!(of("X", &["write"], &[]), WriteSet::Anything);
        assert_eq!(Writing::unknown("SET"), Writing::Anything);
    }

    #[test]
    fn what_only_reads_changes_nothing() {
        let at = entry(1, 1, 1);
        let of = |name, flags: &[&str]| written(name, flags, &at, "X k");
        assert_eq!(of("STRLEN", &["readonly"]), WriteSet::Nothing);
        assert_eq!(of("CLIENT|LIST", &[]), WriteSet::Nothing);
        assert_eq!(of("PFCOUNT", &["readonly"]), keys(&["k"]));
        assert_eq!(Writing::unknown("GET"), Writing::Nothing);
    }

    #[test]
    fn what_several_change_is_all_that_each_changes() {
        let all = |each: &[&WriteSet]| WriteSet::all(each.iter().map(|one| (*one).clone()));
        let (a, b) = (&keys(&["a"]), &keys(&["b"]));
        assert_eq!(all(&[a, &WriteSet::Nothing, b]), keys(&["a", "b"]));
        assert_eq!(all(&[a, &WriteSet::Anything, b]), WriteSet::Anything);
        assert_eq!(all(&[]), WriteSet::Nothing);
    }
}
