//! How many connections there may be, in all and for each client address: a place for each.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::hub::network;

/// So many places.
#[derive(Debug)]
pub(super) struct Places {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    all: usize,
    each_address: Option<usize>,
    taken: AtomicUsize,
    /// Stays empty where addresses have no limit.
    by_address: Mutex<HashMap<IpAddr, usize>>,
}

/// One place, given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    shared: Arc<Shared>,
    address: Option<IpAddr>,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// All are taken.
    Everywhere,
    /// The client has as many as one may.
    Address,
}

impl Places {
    pub(super) fn new(all: usize, each_address: Option<usize>) -> Self {
        Self {
            shared: Arc::new(Shared {
                all,
                each_address,
                taken: AtomicUsize::new(0),
                by_address: Mutex::default(),
            }),
        }
    }

    /// Takes a place for a client, if there is one.
    pub(super) fn take(&self, client: IpAddr) -> Result<Place, Full> {
        let shared = &self.shared;
        let Some(most) = shared.each_address else {
            return self.take_one(None);
        };
        let address = network(client);
        let mut by_address = shared.by_address();
        let taken = by_address.get(&address).copied().unwrap_or_default();
        if taken >= most {
            return Err(Full::Address);
        }
        let place = self.take_one(Some(address))?;
        by_address.insert(address, taken + 1);
        Ok(place)
    }

    fn take_one(&self, address: Option<IpAddr>) -> Result<Place, Full> {
        let all = self.shared.all;
        let one_more = |taken| (taken < all).then_some(taken + 1);
        self.shared
            .taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .map_err(|_| Full::Everywhere)?;
        let shared = Arc::clone(&self.shared);
        Ok(Place { shared, address })
    }
}

impl Shared {
    fn by_address(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.by_address
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.taken.fetch_sub(1, Ordering::Relaxed);
        let Some(address) = self.address else {
            return;
        };
        let mut by_address = self.shared.by_address();
        if let Some(taken) = by_address.get_mut(&address) {
            *taken -= 1;
            if *taken == 0 {
                by_address.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    #[test]
    fn an_address_has_its_share_and_gets_it_back() {
        let places = Places::new(10, Some(1));
        let first = places.take(ONE).unwrap();
        assert_eq!(places.take(ONE).err(), Some(Full::Address));
        places.take(OTHER).unwrap();
        drop(first);
        places.take(ONE).unwrap();
        assert!(places.shared.by_address().is_empty());
    }

    #[test]
    fn who_finds_no_place_has_taken_none_of_its_share() {
        let places = Places::new(1, Some(1));
        let first = places.take(OTHER).unwrap();
        assert_eq!(places.take(ONE).err(), Some(Full::Everywhere));
        drop(first);
        places.take(ONE).unwrap();
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let places = Places::new(10, Some(1));
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let _first = places.take(address("2001:db8::1")).unwrap();
        let same = places.take(address("2001:db8::ffff:1"));
        assert_eq!(same.err(), Some(Full::Address));
        places.take(address("2001:db8:0:1::1")).unwrap();
    }
}
