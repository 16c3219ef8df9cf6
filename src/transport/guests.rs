//! Connections that are not logged in yet: few, and the oldest gives way.
//!
//! Anonymous bytes may cost a descriptor, a handshake and a deadline, no more. When
//! the pool is full, its oldest member is dropped: whoever wants to log in does so in
//! time, and whoever only holds a place loses it. An address has an eighth of the
//! places, and so many failed handshakes a second; of IPv6 it is the network of 64
//! bits that counts, which one customer has alone.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr};
use std::rc::Rc;

use damso_proto::time::Moment;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use metrics::{Gauge, gauge};
use tokio::task::AbortHandle;

use crate::model::limits::{self, Limits};
use crate::model::rate::Bucket;
use crate::runtime::route::ShardNo;

/// The pool of one shard.
#[derive(Clone)]
pub(super) struct Guests {
    places: Rc<RefCell<Places>>,
}

struct Places {
    max: usize,
    per_address_max: usize,
    next: u64,
    /// Oldest first.
    taken: VecDeque<Taken>,
    /// Addresses whose handshakes failed lately.
    failures: HashMap<IpAddr, Bucket, FixedState>,
    gauges: Gauges,
}

struct Gauges {
    taken: Gauge,
    failures: Gauge,
}

struct Taken {
    number: u64,
    /// Whoever is there counts for this address.
    address: Option<IpAddr>,
    task: Option<AbortHandle>,
}

/// A place in the pool, given back when dropped.
pub(super) struct Place {
    number: u64,
    places: Rc<RefCell<Places>>,
}

/// Why there is no place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Full {
    /// The address has as many places as one may have.
    Address,
    /// Too many handshakes of the address have failed.
    Failures,
}

impl Full {
    /// Its name in metrics.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Failures => "failures",
        }
    }
}

impl Guests {
    /// A pool of the share of all connections that guests may be, of which one address gets its
    /// share at most.
    pub(super) fn new(connections_max: usize, limits: &Limits, shard: ShardNo) -> Self {
        let max = connections_max / limits.unauthenticated_share.max(1);
        let per_address_max = (max / limits.unauthenticated_address_share.max(1)).max(1);
        let (taken, failures) = (VecDeque::new(), HashMap::default());
        let shard = shard.index().to_string();
        let gauge = |name: &'static str| gauge!(name, "shard" => shard.clone());
        let gauges =
            Gauges { taken: gauge("damso_guests"), failures: gauge("damso_failing_addresses") };
        let max = max.max(1);
        let places = Places { max, per_address_max, next: 0, taken, failures, gauges };
        Self { places: Rc::new(RefCell::new(places)) }
    }

    /// Takes a place for a connection from `address`, dropping the oldest if the pool is full.
    /// Loopback addresses are not counted one by one: proxies and tests come from there. `None`:
    /// a proxy's own.
    pub(super) fn enter(&self, address: Option<IpAddr>, now: Moment) -> Result<Place, Full> {
        let address = address.filter(|address| !address.is_loopback()).map(counted);
        let mut places = self.places.borrow_mut();
        // Whoever has no place to spare drops nobody else.
        if let Some(address) = address {
            places.has_room(address, now)?;
        }
        if places.taken.len() >= places.max
            && let Some(Taken { task, .. }) = places.taken.pop_front()
        {
            metrics::counter!("damso_guests_dropped_total").increment(1);
            task.inspect(AbortHandle::abort);
        }
        places.next += 1;
        let number = places.next;
        places.taken.push_back(Taken { number, address, task: None });
        places.show();
        Ok(Place { number, places: self.places.clone() })
    }

    /// Tells the pool which task sits at a place.
    pub(super) fn seat(&self, number: u64, task: AbortHandle) {
        let mut places = self.places.borrow_mut();
        if let Some(taken) = places.taken.iter_mut().find(|taken| taken.number == number) {
            taken.task = Some(task);
        }
    }

    /// A handshake of `address` failed.
    pub(super) fn failed(&self, address: IpAddr, now: Moment) {
        if address.is_loopback() {
            return;
        }
        let mut places = self.places.borrow_mut();
        let failures = &mut places.failures;
        let address = counted(address);
        if failures.len() >= limits::FAILING_ADDRESSES_MAX && !failures.contains_key(&address) {
            failures.retain(|_, bucket| !bucket.is_full(now));
            if failures.len() >= limits::FAILING_ADDRESSES_MAX {
                metrics::counter!("damso_failures_not_kept_total").increment(1);
                return;
            }
        }
        failures.entry(address).or_default().owe(limits::FAILED_HANDSHAKES_PER_ADDRESS, 1, now);
        places.show();
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.places.borrow().taken.len()
    }
}

impl Places {
    fn show(&self) {
        self.gauges.taken.set(self.taken.len() as f64);
        self.gauges.failures.set(self.failures.len() as f64);
    }

    fn has_room(&self, address: IpAddr, now: Moment) -> Result<(), Full> {
        let rate = limits::FAILED_HANDSHAKES_PER_ADDRESS;
        if self.failures.get(&address).is_some_and(|bucket| bucket.is_empty(rate, now)) {
            return Err(Full::Failures);
        }
        let same = self.taken.iter().filter(|taken| taken.address == Some(address)).count();
        if same >= self.per_address_max { Err(Full::Address) } else { Ok(()) }
    }
}

impl Place {
    pub(super) fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.places.borrow_mut();
        places.taken.retain(|taken| taken.number != self.number);
        places.show();
    }
}

/// What of an address counts.
fn counted(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: Moment = Moment::from_micros(1);

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn enter(guests: &Guests, from: &str) -> Result<Place, Full> {
        guests.enter(Some(address(from)), NOW)
    }

    /// A pool of so many places.
    fn pool(places: usize) -> Guests {
        Guests::new(places * limits::UNAUTHENTICATED_SHARE, &Limits::DEFAULT, ShardNo::new(0))
    }

    #[test]
    fn a_full_pool_drops_its_oldest() {
        let guests = pool(2);
        let [first, _second, third] = [(); 3].map(|()| guests.enter(None, NOW).expect("a place"));
        assert_eq!(guests.len(), 2);
        drop(first);
        assert_eq!(guests.len(), 2);
        drop(third);
        assert_eq!(guests.len(), 1);
    }

    #[test]
    fn shares_are_those_that_are_set() {
        let limits = Limits {
            unauthenticated_share: 2,
            unauthenticated_address_share: 4,
            ..Limits::DEFAULT
        };
        let guests = Guests::new(16, &limits, ShardNo::new(0));
        let _two = [(); 2].map(|()| enter(&guests, "192.0.2.1").expect("a place"));
        assert_eq!(enter(&guests, "192.0.2.1").err(), Some(Full::Address));
        let _more: Vec<_> = (0..10).map(|_| guests.enter(None, NOW).expect("a place")).collect();
        assert_eq!(guests.len(), 8);
    }

    #[test]
    fn whoever_has_no_place_to_spare_drops_nobody() {
        let guests = pool(8);
        let first = enter(&guests, "192.0.2.1").expect("a place");
        let _others: Vec<_> = (0..7).map(|_| guests.enter(None, NOW)).collect();
        for _ in 0..8 {
            assert_eq!(enter(&guests, "192.0.2.1").err(), Some(Full::Address));
        }
        assert_eq!(guests.len(), 8);
        drop(first);
        assert_eq!(guests.len(), 7, "the oldest was still there");
    }

    #[test]
    fn one_address_gets_an_eighth() {
        let guests = pool(16);
        for (one, same, other) in [
            ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
            ("2001:db8::1", "2001:db8::ffff:0:0:1", "2001:db8:0:1::1"),
        ] {
            let places = [enter(&guests, one), enter(&guests, same)];
            assert!(places.iter().all(Result::is_ok), "{one}");
            assert_eq!(enter(&guests, one).err(), Some(Full::Address));
            assert!(enter(&guests, other).is_ok());
            drop(places);
            assert!(enter(&guests, one).is_ok(), "places are given back");
        }
        let near: Vec<_> = (0..16).map(|_| enter(&guests, "127.0.0.1")).collect();
        assert!(near.iter().all(Result::is_ok));
    }

    #[test]
    fn an_address_whose_handshakes_fail_is_turned_away_for_a_while() {
        let guests = pool(16);
        let burst = limits::FAILED_HANDSHAKES_PER_ADDRESS.burst;
        for _ in 0..burst {
            assert!(enter(&guests, "192.0.2.1").is_ok());
            guests.failed(address("192.0.2.1"), NOW);
            guests.failed(address("127.0.0.1"), NOW);
        }
        assert_eq!(enter(&guests, "192.0.2.1").err(), Some(Full::Failures));
        assert!(enter(&guests, "192.0.2.2").is_ok() && enter(&guests, "127.0.0.1").is_ok());
        let later = NOW.plus(Duration::from_millis(5));
        assert!(guests.enter(Some(address("192.0.2.1")), later).is_ok());
    }

    #[test]
    fn so_many_failing_addresses_are_kept_and_no_more() {
        let guests = pool(16);
        let of = |number: u32| IpAddr::V4(std::net::Ipv4Addr::from_bits(0x0b00_0000 + number));
        for number in 0..=u32::try_from(limits::FAILING_ADDRESSES_MAX).expect("few") {
            guests.failed(of(number), NOW);
        }
        assert_eq!(guests.places.borrow().failures.len(), limits::FAILING_ADDRESSES_MAX);
        guests.failed(of(u32::MAX >> 8), NOW.plus(Duration::from_secs(1)));
        assert_eq!(guests.places.borrow().failures.len(), 1, "the others are forgiven");
    }
}
