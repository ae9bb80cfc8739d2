//! How many event streams there may be, in all and for each client address, and who makes room.
//!
//! An `EventSource` never comes back after an answer that is not 200, but always after the end of a stream. So
//! where there is no more room, the stream that has been there longest ends for a new one: its client comes
//! back in a moment, is given what it has missed, and has another one make room. Only where streams would end
//! sooner than those who wait come back is a new one refused.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::actor::Actor;
use super::event;
use super::fanout::Order;
use super::{Refused, Seat, SubscriberId};
use crate::config::Config;

/// How many streams there may be; `None` is no limit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) all: Option<usize>,
    pub(super) each_address: Option<usize>,
    /// Whoever ends for another has been there for as long as those who end stay away.
    pub(super) least_stay: Duration,
}

/// The streams that there are. An id is never smaller than those admitted before.
#[derive(Debug)]
pub(super) struct Admission {
    limits: Limits,
    members: BTreeMap<SubscriberId, Member>,
    by_address: HashMap<IpAddr, BTreeSet<SubscriberId>>,
}

#[derive(Debug, Clone, Copy)]
struct Member {
    address: Option<IpAddr>,
    since: Instant,
    comes_back: bool,
}

/// Which limit refuses a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crowded {
    /// That of all streams.
    Everywhere,
    /// That of a client address.
    Address,
}

/// Who ends for a new stream.
pub(super) type MakingRoom = Vec<SubscriberId>;

impl Limits {
    pub(super) fn of(config: &Config) -> Self {
        Self {
            all: config.max_subscribers,
            each_address: config.max_subscribers_per_address,
            least_stay: config.retry,
        }
    }

    /// Whether it has to be known where clients are.
    pub(super) fn ask_for_addresses(&self) -> bool {
        self.each_address.is_some()
    }
}

impl Admission {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            members: BTreeMap::new(),
            by_address: HashMap::new(),
        }
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Admits a stream, and says whose end that takes.
    pub(super) fn admit(
        &mut self,
        id: SubscriberId,
        address: Option<IpAddr>,
        comes_back: bool,
        now: Instant,
    ) -> Result<MakingRoom, Crowded> {
        let address = address.map(network);
        let mut making_room = Vec::new();
        if let (Some(most), Some(address)) = (self.limits.each_address, address) {
            let same = self.by_address.get(&address);
            if same.is_some_and(|same| same.len() >= most) {
                let same = same.into_iter().flatten().copied();
                let oldest = self.oldest(same, now).ok_or(Crowded::Address)?;
                making_room.push(oldest);
            }
        }
        // Who makes room at its address does so everywhere.
        if let Some(most) = self.limits.all
            && self.members.len() - making_room.len() >= most
        {
            let all = self.members.keys().copied();
            making_room.push(self.oldest(all, now).ok_or(Crowded::Everywhere)?);
        }
        for id in &making_room {
            self.left(*id);
        }
        let since = now;
        self.members.insert(
            id,
            Member {
                address,
                since,
                comes_back,
            },
        );
        if let Some(address) = address {
            self.by_address.entry(address).or_default().insert(id);
        }
        Ok(making_room)
    }

    /// A stream is over, or about to be.
    pub(super) fn left(&mut self, id: SubscriberId) {
        let Some(member) = self.members.remove(&id) else {
            return;
        };
        if let Some(address) = member.address
            && let Some(same) = self.by_address.get_mut(&address)
        {
            same.remove(&id);
            if same.is_empty() {
                self.by_address.remove(&address);
            }
        }
    }

    /// The first of these that can make room.
    fn oldest(
        &self,
        mut ids: impl Iterator<Item = SubscriberId>,
        now: Instant,
    ) -> Option<SubscriberId> {
        ids.find(|id| {
            let member = self.members.get(id);
            member.is_some_and(|member| {
                member.comes_back && now.duration_since(member.since) >= self.limits.least_stay
            })
        })
    }
}

impl Actor {
    /// Gives the seat back if there is room for its stream, and tells its client otherwise.
    pub(super) fn admit(&mut self, id: SubscriberId, mut seat: Seat) -> Option<Seat> {
        let asked = self.admission.limits().ask_for_addresses();
        // A client that is gone already has no address.
        let address = asked.then(|| seat.stream.peer_addr().ok()).flatten();
        let (address, comes_back) = (address.map(|address| address.ip()), seat.shape.comes_back());
        match self
            .admission
            .admit(id, address, comes_back, Instant::now())
        {
            Ok(making_room) => {
                for id in making_room {
                    self.stats.made_room.fetch_add(1, Ordering::Relaxed);
                    let farewell = event::farewell("this stream ends for another; come back");
                    self.fanout.order(Order::End(id, vec![farewell]));
                }
                Some(seat)
            }
            Err(crowded) => {
                self.stats.turned_away.fetch_add(1, Ordering::Relaxed);
                let answer = seat.refuse.take();
                let answer = answer.map(|answer| answer(Refused::Crowded(crowded)));
                self.fanout.order(Order::Add(id, seat));
                self.fanout
                    .order(Order::Refuse(id, answer.unwrap_or_default()));
                None
            }
        }
    }
}

/// Whom an address stands for: with IPv6 everybody has 2^64 of them.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAY: Duration = Duration::from_secs(2);

    fn admission(all: Option<usize>, each_address: Option<usize>) -> Admission {
        Admission::new(Limits {
            all,
            each_address,
            least_stay: STAY,
        })
    }

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().expect("an address"))
    }

    #[test]
    fn the_oldest_that_comes_back_makes_room() {
        let begin = Instant::now();
        let mut all = admission(Some(3), None);
        for (id, comes_back) in [(1, false), (2, true), (3, true)] {
            let admitted = all.admit(id, None, comes_back, begin);
            assert_eq!(admitted, Ok(vec![]));
        }
        let soon = all.admit(4, None, true, begin + STAY / 2);
        assert_eq!(soon, Err(Crowded::Everywhere));
        let later = begin + STAY;
        assert_eq!(all.admit(5, None, true, later), Ok(vec![2]));
        assert_eq!(all.admit(6, None, true, later), Ok(vec![3]));
        // The one that is left cannot come back, and the others have just come.
        assert_eq!(all.admit(7, None, true, later), Err(Crowded::Everywhere));
        all.left(1);
        assert_eq!(all.admit(8, None, true, later), Ok(vec![]));
    }

    #[test]
    fn an_address_makes_room_for_itself() {
        let begin = Instant::now();
        let mut all = admission(Some(3), Some(2));
        let (here, there) = (address("192.0.2.1"), address("::ffff:192.0.2.2"));
        assert_eq!(all.admit(1, there, true, begin), Ok(vec![]));
        assert_eq!(all.admit(2, here, true, begin), Ok(vec![]));
        assert_eq!(all.admit(3, here, true, begin), Ok(vec![]));
        assert_eq!(all.admit(4, here, true, begin), Err(Crowded::Address));
        // Of this address, and nobody besides.
        assert_eq!(all.admit(5, here, true, begin + STAY), Ok(vec![2]));
        assert_eq!(all.admit(6, there, true, begin + STAY), Ok(vec![1]));
        // It has left already, and is not counted off twice.
        all.left(1);
        let same = address("192.0.2.2");
        assert_eq!(all.admit(7, same, true, begin + STAY), Ok(vec![3]));
        assert_eq!(
            all.admit(8, same, true, begin + STAY),
            Err(Crowded::Address)
        );
    }

    #[test]
    fn an_ipv6_network_is_one() {
        let now = Instant::now();
        let mut all = admission(None, Some(1));
        let first = all.admit(1, address("2001:db8:0:1::1"), true, now);
        assert_eq!(first, Ok(vec![]));
        let same = all.admit(2, address("2001:db8:0:1:ffff::2"), true, now);
        assert_eq!(same, Err(Crowded::Address));
        let other = all.admit(3, address("2001:db8:0:2::1"), true, now);
        assert_eq!(other, Ok(vec![]));
    }
}
