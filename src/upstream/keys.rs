//! Where in a command its first key is, which says what node of a Cluster it is for.
//!
//! Servers since Redis 7 tell it by [key specifications](https://redis.io/docs/latest/develop/reference/key-specs/).
//! Older ones give the position of the first key; for commands whose keys move about there is a list here.

use bytes::Bytes;

use crate::command::{Command, keyword};
use crate::reply::Reply;

/// Where a command's first key is. Positions count the command's name as 0.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum KeyPlace {
    /// It has none.
    #[default]
    Nowhere,
    /// Always there.
    At(usize),
    /// The number of keys is at one position, the first of them, if there are any, at another.
    Counted { count: usize, first: usize },
    /// Behind this word, which is looked for from a position on, or from one counted from the end.
    Behind { word: String, from: i64 },
}

/// Commands of servers before Redis 7 of which the position of the first key says nothing, or not enough.
const MOVING: &[(&str, KeyPlace)] = &[
    ("BLMPOP", KeyPlace::Counted { count: 2, first: 3 }),
    ("BZMPOP", KeyPlace::Counted { count: 2, first: 3 }),
    ("EVAL", KeyPlace::Counted { count: 2, first: 3 }),
    ("EVALSHA", KeyPlace::Counted { count: 2, first: 3 }),
    ("LMPOP", KeyPlace::Counted { count: 1, first: 2 }),
    ("MEMORY", KeyPlace::At(2)),
    ("ZDIFF", KeyPlace::Counted { count: 1, first: 2 }),
    ("ZINTER", KeyPlace::Counted { count: 1, first: 2 }),
    ("ZMPOP", KeyPlace::Counted { count: 1, first: 2 }),
    ("ZUNION", KeyPlace::Counted { count: 1, first: 2 }),
];

impl KeyPlace {
    /// What an entry of a reply to COMMAND says; the name is in capitals.
    pub(super) fn from_entry(name: &str, entry: &[Reply]) -> Self {
        let specifications = entry.get(8).and_then(array).unwrap_or_default();
        if let Some(place) = specifications.first().and_then(from_specification) {
            return place;
        }
        Self::moving(name).unwrap_or_else(|| match entry.get(3) {
            Some(Reply::Int(first)) if *first > 0 => {
                usize::try_from(*first).map_or(Self::Nowhere, Self::At)
            }
            _ => Self::Nowhere,
        })
    }

    /// For a command of which no server told: where nearly all have it. If it is none, any node is as good.
    pub(super) fn unknown(name: &str) -> Self {
        Self::moving(name).unwrap_or(match name {
            "BITOP" | "OBJECT" | "XGROUP" | "XINFO" => Self::At(2),
            _ => Self::At(1),
        })
    }

    fn moving(name: &str) -> Option<Self> {
        let streams = |from| Self::Behind {
            word: "STREAMS".to_owned(),
            from,
        };
        match name {
            "XREAD" => return Some(streams(1)),
            // Behind GROUP and its two names, which may be any words.
            "XREADGROUP" => return Some(streams(4)),
            _ => {}
        }
        let (_, place) = MOVING.iter().find(|(moving, _)| *moving == name)?;
        Some(place.clone())
    }

    /// The first key of a command, if it has one.
    pub(super) fn first_key<'a>(&self, command: &'a Command) -> Option<&'a Bytes> {
        let parts = command.parts();
        match self {
            Self::Nowhere => None,
            Self::At(at) => parts.get(*at),
            Self::Counted { count, first } => {
                let count = std::str::from_utf8(parts.get(*count)?).ok()?;
                let some = count.parse::<u64>().is_ok_and(|count| count > 0);
                some.then(|| parts.get(*first)).flatten()
            }
            Self::Behind { word, from } => {
                let is_it = |part: &Bytes| keyword(part) == *word;
                let at = match usize::try_from(*from) {
                    Ok(from) => from + parts.get(from..)?.iter().position(is_it)?,
                    Err(_) => {
                        let back = usize::try_from(from.unsigned_abs()).ok()?;
                        let end = parts.len().checked_sub(back)? + 1;
                        parts.get(..end)?.iter().rposition(is_it)?
                    }
                };
                parts.get(at + 1)
            }
        }
    }
}

/// The first key by a key specification; `None` where it does not say.
fn from_specification(specification: &Reply) -> Option<KeyPlace> {
    let (how, begin) = method(field(array(specification)?, b"begin_search")?)?;
    match how {
        b"index" => {
            let begin = position(begin, b"index")?;
            let (how, find) = method(field(array(specification)?, b"find_keys")?)?;
            match how {
                b"range" => Some(KeyPlace::At(begin)),
                b"keynum" => Some(KeyPlace::Counted {
                    count: begin + position(find, b"keynumidx")?,
                    first: begin + position(find, b"firstkey")?,
                }),
                _ => None,
            }
        }
        b"keyword" => {
            let word = keyword(text(field(begin, b"keyword")?)?);
            match field(begin, b"startfrom")? {
                Reply::Int(from) => Some(KeyPlace::Behind { word, from: *from }),
                _ => None,
            }
        }
        _ => None,
    }
}

/// The type of a step and its parameters.
fn method(step: &Reply) -> Option<(&[u8], &[Reply])> {
    let step = array(step)?;
    Some((text(field(step, b"type")?)?, array(field(step, b"spec")?)?))
}

fn position(fields: &[Reply], name: &[u8]) -> Option<usize> {
    match field(fields, name)? {
        Reply::Int(at) => usize::try_from(*at).ok(),
        _ => None,
    }
}

/// The value of a field in a list of names and values.
fn field<'a>(fields: &'a [Reply], name: &[u8]) -> Option<&'a Reply> {
    let mut pairs = fields.chunks_exact(2);
    let pair = pairs.find(|pair| text(&pair[0]).is_some_and(|found| found == name))?;
    Some(&pair[1])
}

fn array(reply: &Reply) -> Option<&[Reply]> {
    match reply {
        Reply::Array(items) => Some(items),
        _ => None,
    }
}

fn text(reply: &Reply) -> Option<&[u8]> {
    match reply {
        Reply::Bulk(text) | Reply::Status(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(place: &KeyPlace, line: &str) -> Option<String> {
        let command = Command::of_line(line);
        let key = place.first_key(&command)?;
        Some(String::from_utf8_lossy(key).into_owned())
    }

    #[test]
    fn keys_are_found_where_they_are() {
        let at = |line| key(&KeyPlace::At(2), line);
        assert_eq!(at("BITOP AND a b").as_deref(), Some("a"));
        assert_eq!(at("BITOP"), None);
        let counted = KeyPlace::Counted { count: 2, first: 3 };
        assert_eq!(key(&counted, "EVAL x 1 a").as_deref(), Some("a"));
        for none in [
            "EVAL x 0 a",
            "EVAL x -1 a",
            "EVAL x é a",
            "EVAL x 1",
            "EVAL",
        ] {
            assert_eq!(key(&counted, none), None, "{none}");
        }
        let streams = KeyPlace::unknown("XREAD");
        assert_eq!(
            key(&streams, "XREAD COUNT 1 streams s 0").as_deref(),
            Some("s")
        );
        assert_eq!(key(&streams, "XREAD COUNT 1"), None);
        let keys = KeyPlace::Behind {
            word: "KEYS".into(),
            from: -2,
        };
        for line in [
            "MIGRATE h 1 KEYS a b",
            "MIGRATE h 1 KEYS a",
            "MIGRATE KEYS 1 KEYS a",
        ] {
            assert_eq!(key(&keys, line).as_deref(), Some("a"), "{line}");
        }
        assert_eq!(key(&keys, "MIGRATE h KEYS"), None);
        assert_eq!(key(&keys, "M"), None);
    }

    #[test]
    fn key_specifications_are_understood() {
        let bulk = |text: &'static str| Reply::Bulk(text.into());
        let fields = |fields: &[(&'static str, Reply)]| {
            let fields = fields.iter();
            Reply::Array(fields.flat_map(|(k, v)| [bulk(k), v.clone()]).collect())
        };
        let step = |how, spec: &[(&'static str, Reply)]| {
            fields(&[("type", bulk(how)), ("spec", fields(spec))])
        };
        let place = |begin, find| {
            let mut entry = vec![Reply::Nil; 8];
            let specification = fields(&[("begin_search", begin), ("find_keys", find)]);
            entry.push(Reply::Array(vec![specification]));
            KeyPlace::from_entry("X", &entry)
        };
        let index = |at| step("index", &[("index", Reply::Int(at))]);
        assert_eq!(place(index(2), step("range", &[])), KeyPlace::At(2));
        let counted = [
            ("keynumidx", Reply::Int(0)),
            ("firstkey", Reply::Int(1)),
            ("keystep", Reply::Int(1)),
        ];
        assert_eq!(
            place(index(2), step("keynum", &counted)),
            KeyPlace::Counted { count: 2, first: 3 }
        );
        let streams = [("keyword", bulk("streams")), ("startfrom", Reply::Int(4))];
        let place = place(step("keyword", &streams), step("range", &[]));
        let line = "XREADGROUP GROUP streams c STREAMS s >";
        assert_eq!(key(&place, line).as_deref(), Some("s"));
    }

    #[test]
    fn older_servers_are_understood() {
        let entry = |first| vec![Reply::Nil, Reply::Nil, Reply::Nil, Reply::Int(first)];
        assert_eq!(KeyPlace::from_entry("GET", &entry(1)), KeyPlace::At(1));
        assert_eq!(KeyPlace::from_entry("PING", &entry(0)), KeyPlace::Nowhere);
        assert_eq!(KeyPlace::from_entry("PING", &[]), KeyPlace::Nowhere);
        let group = KeyPlace::from_entry("XREADGROUP", &entry(1));
        let line = "XREADGROUP GROUP streams c STREAMS s >";
        assert_eq!(key(&group, line).as_deref(), Some("s"));
        let eval = KeyPlace::from_entry("EVAL", &entry(0));
        assert_eq!(eval, KeyPlace::Counted { count: 2, first: 3 });
    }

    #[test]
    fn keys_are_guessed_where_no_server_tells() {
        for line in [
            "GET k",
            "BITOP AND k a",
            "EVAL x 1 k a",
            "OBJECT ENCODING k",
            "XREAD COUNT 1 STREAMS k 0",
        ] {
            let place = KeyPlace::unknown(Command::of_line(line).name());
            assert_eq!(key(&place, line).as_deref(), Some("k"), "{line}");
        }
    }
}
