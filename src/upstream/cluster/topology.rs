//! What a node tells of its Cluster:
//! [CLUSTER SLOTS](https://redis.io/docs/latest/commands/cluster-slots/) says who serves what, and
//! [CLUSTER NODES](https://redis.io/docs/latest/commands/cluster-nodes/) who else belongs to it.

use std::collections::BTreeMap;

use super::slot::SLOTS;
use crate::config::Address;
use crate::reply::Reply;

/// Masters and their slots.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Topology {
    /// In the order of their first slots; those without any are last.
    pub(super) masters: Vec<Master>,
}

/// A node that serves slots, or may come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Master {
    /// Where it wants to be reached.
    pub(super) address: Address,
    /// Under what other addresses it is known.
    pub(super) aliases: Vec<Address>,
    /// First and last slot of each range.
    pub(super) ranges: Vec<(u16, u16)>,
}

/// A line of CLUSTER NODES.
struct Line<'a> {
    id: &'a str,
    addresses: Vec<Address>,
    flags: Vec<&'a str>,
}

impl Topology {
    /// From the replies of the node at this address to CLUSTER SLOTS and CLUSTER NODES. `None` if the first is
    /// not what it should be; without the second, what it would tell is not known.
    pub(super) fn from_replies(asked: &Address, slots: &Reply, nodes: &Reply) -> Option<Self> {
        let Reply::Array(entries) = slots else {
            return None;
        };
        let nodes = match nodes {
            Reply::Bulk(text) => String::from_utf8_lossy(text),
            _ => "".into(),
        };
        let mut lines: Vec<_> = nodes
            .lines()
            .filter_map(|line| parse(line, asked))
            .collect();
        let mut masters = BTreeMap::<(String, u16), Master>::new();
        for entry in entries {
            let (range, address, id) = range(entry, asked)?;
            let key = (address.host.clone(), address.port);
            let master = masters.entry(key).or_insert_with(|| {
                let line = lines.iter().position(|line| Some(line.id) == id);
                let known = line.map(|at| lines.swap_remove(at).addresses);
                let mut aliases = known.unwrap_or_default();
                aliases.retain(|alias| *alias != address);
                Master {
                    address,
                    aliases,
                    ranges: Vec::new(),
                }
            });
            master.ranges.push(range);
        }
        let mut masters: Vec<_> = masters.into_values().collect();
        for master in &mut masters {
            master.ranges.sort_unstable();
        }
        masters.sort_by(|a, b| a.ranges.cmp(&b.ranges));
        // A new one has no slots until the first has been moved to it.
        let idle = lines.into_iter().filter(Line::is_sound_master);
        let idle = idle.filter_map(|line| {
            let mut addresses = line.addresses.into_iter();
            Some(Master {
                address: addresses.next()?,
                aliases: addresses.collect(),
                ranges: Vec::new(),
            })
        });
        masters.extend(idle);
        Some(Self { masters })
    }
}

impl Line<'_> {
    fn is_sound_master(&self) -> bool {
        let has = |flag| self.flags.contains(&flag);
        has("master")
            && !["fail", "fail?", "handshake", "noaddr"]
                .into_iter()
                .any(has)
    }
}

/// `<id> <ip>:<port>@<port>[,<hostname>…] <flags> …`
fn parse<'a>(line: &'a str, asked: &Address) -> Option<Line<'a>> {
    let mut words = line.split(' ');
    let (id, place, flags) = (words.next()?, words.next()?, words.next()?);
    let mut names = place.split(',');
    let (ip, ports) = names.next()?.rsplit_once(':')?;
    let port = ports.split('@').next()?.parse().ok()?;
    let hostname = names.next().filter(|name| !name.contains('='));
    let at = |host: &str| Address {
        host: host.to_owned(),
        port,
    };
    // A node does not know its own address until another one has told it.
    let ip = if ip.is_empty() { &asked.host } else { ip };
    let hostname = hostname.filter(|name| !name.is_empty());
    let addresses = std::iter::once(at(ip)).chain(hostname.map(at)).collect();
    Some(Line {
        id,
        addresses,
        flags: flags.split(',').collect(),
    })
}

/// `[first, last, [host, port, id, …], …]`: a range of slots, and where its master is and what it is called.
fn range<'a>(entry: &'a Reply, asked: &Address) -> Option<((u16, u16), Address, Option<&'a str>)> {
    let Reply::Array(entry) = entry else {
        return None;
    };
    let [
        Reply::Int(first),
        Reply::Int(last),
        Reply::Array(master),
        ..,
    ] = &entry[..]
    else {
        return None;
    };
    let slot = |slot: i64| u16::try_from(slot).ok().filter(|slot| *slot < SLOTS);
    let range = (slot(*first)?, slot(*last)?);
    let host = match master.first()? {
        Reply::Bulk(host) => std::str::from_utf8(host).ok()?,
        // The way by which it was asked.
        Reply::Nil => "",
        _ => return None,
    };
    let host = if host.is_empty() || host == "?" {
        &asked.host
    } else {
        host
    };
    let Reply::Int(port) = master.get(1)? else {
        return None;
    };
    let address = Address {
        host: host.to_owned(),
        port: u16::try_from(*port).ok()?,
    };
    let id = match master.get(2) {
        Some(Reply::Bulk(id)) => std::str::from_utf8(id).ok(),
        _ => None,
    };
    (range.0 <= range.1).then_some((range, address, id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(host: &str, port: u16) -> Address {
        let host = host.to_owned();
        Address { host, port }
    }

    fn entry(first: i64, last: i64, host: Reply, port: i64, id: &'static str) -> Reply {
        let node = Reply::Array(vec![host, Reply::Int(port), Reply::Bulk(id.into())]);
        Reply::Array(vec![Reply::Int(first), Reply::Int(last), node])
    }

    #[test]
    fn nodes_and_slots_are_put_together() {
        let slots = Reply::Array(vec![
            entry(8192, 16383, Reply::Bulk("b.example".into()), 2, "bb"),
            entry(100, 8191, Reply::Nil, 1, "aa"),
            entry(0, 99, Reply::Nil, 1, "aa"),
        ]);
        let nodes = "aa :1@11 myself,master - 0 0 1 connected 0-8191\n\
                     bb 10.0.0.2:2@12,b.example,shard-id=x master - 0 0 2 connected 8192-16383\n\
                     cc 10.0.0.3:3@13 slave aa 0 0 1 connected\n\
                     dd 10.0.0.4:4@14 master - 0 0 0 connected\n\
                     ee 10.0.0.5:5@15 master,fail - 0 0 0 disconnected\n\
                     nonsense\n";
        let nodes = Reply::Bulk(nodes.into());
        let topology = Topology::from_replies(&at("10.0.0.1", 1), &slots, &nodes).unwrap();
        let [a, b, d] = &topology.masters[..] else {
            panic!("{topology:?}");
        };
        assert_eq!(a.address, at("10.0.0.1", 1));
        assert_eq!(a.ranges, [(0, 99), (100, 8191)]);
        assert!(a.aliases.is_empty());
        assert_eq!(b.address, at("b.example", 2));
        assert_eq!(b.aliases, [at("10.0.0.2", 2)]);
        assert_eq!((&d.address, &d.ranges[..]), (&at("10.0.0.4", 4), &[][..]));
    }

    #[test]
    fn what_is_no_topology_is_none() {
        let asked = at("h", 1);
        let host = || Reply::Bulk("h".into());
        for slots in [
            Reply::Nil,
            Reply::Array(vec![Reply::Nil]),
            Reply::Array(vec![entry(0, 16_384, host(), 1, "a")]),
            Reply::Array(vec![entry(2, 1, host(), 1, "a")]),
            Reply::Array(vec![entry(0, 1, host(), 70_000, "a")]),
            Reply::Array(vec![entry(0, 1, Reply::Int(1), 1, "a")]),
        ] {
            let topology = Topology::from_replies(&asked, &slots, &Reply::Nil);
            assert_eq!(topology, None, "{slots:?}");
        }
    }
}
