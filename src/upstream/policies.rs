//! Commands that concern every node of a Cluster, and how their replies become one.
//!
//! Servers since Redis 7 tell it by [command tips](https://redis.io/docs/latest/develop/reference/command-tips/);
//! for older ones there is a list.

use crate::command::Command;
use crate::reply::Reply;

/// Whether a command goes to one node or to all, and what the replies of all come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum RequestPolicy {
    /// To one.
    #[default]
    One,
    /// To all, and the replies are gathered.
    All(ResponsePolicy),
    /// To one after the other, as its cursor says: SCAN.
    Cursor,
}

/// How the replies of all nodes become one. Whatever the way, an error of one is the whole's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ResponsePolicy {
    /// All are the same.
    First,
    /// A success is enough.
    OneSucceeded,
    /// Numbers, or lists of numbers, are added.
    Sum,
    /// The least number, place by place.
    Least,
    /// The greatest number, place by place.
    Greatest,
    /// Lists become one list; of anything else it is the first that is not nil.
    Joined,
}

/// What is known without asking.
const KNOWN: &[(&str, RequestPolicy)] = &[
    // Its purpose is to see whether there is an answer.
    ("PING", RequestPolicy::One),
    ("SCAN", RequestPolicy::Cursor),
    ("DBSIZE", RequestPolicy::All(ResponsePolicy::Sum)),
    ("FLUSHALL", RequestPolicy::All(ResponsePolicy::First)),
    ("FLUSHDB", RequestPolicy::All(ResponsePolicy::First)),
    (
        "FUNCTION|KILL",
        RequestPolicy::All(ResponsePolicy::OneSucceeded),
    ),
    ("KEYS", RequestPolicy::All(ResponsePolicy::Joined)),
    ("SCRIPT|EXISTS", RequestPolicy::All(ResponsePolicy::Least)),
    ("SCRIPT|FLUSH", RequestPolicy::All(ResponsePolicy::First)),
    (
        "SCRIPT|KILL",
        RequestPolicy::All(ResponsePolicy::OneSucceeded),
    ),
    ("SCRIPT|LOAD", RequestPolicy::All(ResponsePolicy::First)),
];

impl RequestPolicy {
    /// What an entry of a reply to COMMAND says; the name is in capitals, with its subcommand behind a `|`.
    pub(super) fn from_entry(name: &str, entry: &[Reply]) -> Self {
        if let Some((_, known)) = KNOWN.iter().find(|(known, _)| *known == name) {
            return *known;
        }
        let Some(Reply::Array(tips)) = entry.get(7) else {
            return Self::One;
        };
        let tip = |kind: &str| {
            tips.iter().find_map(|tip| match tip {
                Reply::Bulk(tip) | Reply::Status(tip) => {
                    std::str::from_utf8(tip).ok()?.strip_prefix(kind)
                }
                _ => None,
            })
        };
        match (tip("request_policy:"), tip("response_policy:")) {
            (Some("all_nodes" | "all_shards"), how) => match how {
                None => Self::All(ResponsePolicy::Joined),
                Some("all_succeeded") => Self::All(ResponsePolicy::First),
                Some("one_succeeded") => Self::All(ResponsePolicy::OneSucceeded),
                Some("agg_sum") => Self::All(ResponsePolicy::Sum),
                Some("agg_min" | "agg_logical_and") => Self::All(ResponsePolicy::Least),
                Some("agg_max" | "agg_logical_or") => Self::All(ResponsePolicy::Greatest),
                // What they come to only their reader can know: one node's reply is plainer.
                Some(_) => Self::One,
            },
            _ => Self::One,
        }
    }

    /// What is known of a command of which no server told.
    pub(super) fn unknown(command: &Command) -> Self {
        let with_subcommand = format!("{}|{}", command.name(), command.subcommand());
        let names = [command.name(), &with_subcommand];
        let known = KNOWN.iter().find(|(known, _)| names.contains(known));
        known.map_or(Self::One, |(_, policy)| *policy)
    }
}

impl ResponsePolicy {
    /// The one reply that the replies of all nodes come to.
    pub(super) fn gather(self, replies: Vec<Reply>) -> Reply {
        let is_error = |reply: &Reply| matches!(reply, Reply::Error(_));
        let wanted = |reply: &Reply| match self {
            Self::OneSucceeded => !is_error(reply),
            _ => is_error(reply),
        };
        if let Some(at) = replies.iter().position(wanted) {
            return replies.into_iter().nth(at).unwrap_or(Reply::Nil);
        }
        let mut replies = replies.into_iter();
        let first = replies.next().unwrap_or(Reply::Nil);
        match self {
            Self::First | Self::OneSucceeded => first,
            Self::Sum => replies.fold(first, |all, one| combine(all, one, i64::saturating_add)),
            Self::Least => replies.fold(first, |all, one| combine(all, one, i64::min)),
            Self::Greatest => replies.fold(first, |all, one| combine(all, one, i64::max)),
            Self::Joined => replies.fold(first, join),
        }
    }
}

fn combine(all: Reply, one: Reply, how: fn(i64, i64) -> i64) -> Reply {
    match (all, one) {
        (Reply::Int(all), Reply::Int(one)) => Reply::Int(how(all, one)),
        (Reply::Array(all), Reply::Array(one)) => {
            let pairs = all.into_iter().zip(one);
            Reply::Array(pairs.map(|(all, one)| combine(all, one, how)).collect())
        }
        (all, _) => all,
    }
}

fn join(all: Reply, one: Reply) -> Reply {
    match (all, one) {
        (Reply::Array(mut all), Reply::Array(one)) => {
            all.extend(one);
            Reply::Array(all)
        }
        (Reply::Nil, one) => one,
        (all, _) => all,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::ServerError;

    fn ints<const N: usize>(numbers: [i64; N]) -> Reply {
        Reply::Array(numbers.map(Reply::Int).to_vec())
    }

    #[test]
    fn replies_become_one() {
        let error = || Reply::Error(ServerError::new("ERR", "no"));
        let ok = || Reply::Status("OK".into());
        for (how, replies, one) in [
            (ResponsePolicy::First, vec![ok(), ok()], ok()),
            (ResponsePolicy::First, vec![ok(), error()], error()),
            (ResponsePolicy::OneSucceeded, vec![error(), ok()], ok()),
            (
                ResponsePolicy::OneSucceeded,
                vec![error(), error()],
                error(),
            ),
            (
                ResponsePolicy::Sum,
                vec![Reply::Int(1), Reply::Int(2)],
                Reply::Int(3),
            ),
            (
                ResponsePolicy::Least,
                vec![ints([1, 0]), ints([1, 1])],
                ints([1, 0]),
            ),
            (
                ResponsePolicy::Greatest,
                vec![ints([1, 0]), ints([0, 0])],
                ints([1, 0]),
            ),
            (
                ResponsePolicy::Joined,
                vec![ints([1]), ints([]), ints([2])],
                ints([1, 2]),
            ),
            (
                ResponsePolicy::Joined,
                vec![Reply::Nil, Reply::Int(1)],
                Reply::Int(1),
            ),
            (ResponsePolicy::Joined, vec![], Reply::Nil),
        ] {
            assert_eq!(how.gather(replies), one, "{how:?}");
        }
    }

    #[test]
    fn tips_are_understood() {
        let entry = |tips: &[&'static str]| {
            let tips = tips.iter().map(|tip| Reply::Bulk((*tip).into())).collect();
            let mut entry = vec![Reply::Nil; 7];
            entry.push(Reply::Array(tips));
            entry
        };
        let all = entry(&["request_policy:all_shards", "response_policy:agg_sum"]);
        assert_eq!(
            RequestPolicy::from_entry("SLOWLOG|LEN", &all),
            RequestPolicy::All(ResponsePolicy::Sum)
        );
        assert_eq!(RequestPolicy::from_entry("PING", &all), RequestPolicy::One);
        assert_eq!(
            RequestPolicy::from_entry("SCAN", &[]),
            RequestPolicy::Cursor
        );
        let special = entry(&["request_policy:all_shards", "response_policy:special"]);
        assert_eq!(
            RequestPolicy::from_entry("INFO", &special),
            RequestPolicy::One
        );
        let split = entry(&["request_policy:multi_shard", "response_policy:agg_sum"]);
        assert_eq!(RequestPolicy::from_entry("DEL", &split), RequestPolicy::One);
        let load = Command::new("SCRIPT").arg("load").arg("return 1");
        assert_eq!(
            RequestPolicy::unknown(&load),
            RequestPolicy::All(ResponsePolicy::First)
        );
    }
}
