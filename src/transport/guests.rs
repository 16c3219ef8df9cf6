//! Connections that are not logged in yet: few, and the oldest gives way.
//!
//! Anonymous bytes may cost a descriptor, a handshake and a deadline, no more. When
//! the pool is full, its oldest member is dropped: whoever wants to log in does so in
//! time, and whoever only holds a place loses it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::rc::Rc;

use tokio::task::AbortHandle;

use crate::model::limits::Limits;

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
    taken: VecDeque<(u64, IpAddr, Option<AbortHandle>)>,
}

/// A place in the pool, given back when dropped.
pub(super) struct Place {
    number: u64,
    places: Rc<RefCell<Places>>,
}

/// Why there is no place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct AddressFull;

impl Guests {
    /// A pool of the share of all connections that guests may be, of which one address gets its
    /// share at most.
    pub(super) fn new(connections_max: usize, limits: &Limits) -> Self {
        let max = connections_max / limits.unauthenticated_share.max(1);
        let per_address_max = (max / limits.unauthenticated_address_share.max(1)).max(1);
        let places = Places { max: max.max(1), per_address_max, next: 0, taken: VecDeque::new() };
        Self { places: Rc::new(RefCell::new(places)) }
    }

    /// Takes a place for a connection from `address`, dropping the oldest if the pool is full.
    /// Loopback addresses are not counted one by one: proxies and tests come from there.
    pub(super) fn enter(&self, address: IpAddr) -> Result<Place, AddressFull> {
        let mut places = self.places.borrow_mut();
        let same = places.taken.iter().filter(|(_, other, _)| *other == address).count();
        if same >= places.per_address_max && !address.is_loopback() {
            return Err(AddressFull);
        }
        if places.taken.len() >= places.max
            && let Some((_, _, task)) = places.taken.pop_front()
        {
            metrics::counter!("damso_guests_dropped_total").increment(1);
            task.inspect(AbortHandle::abort);
        }
        places.next += 1;
        let number = places.next;
        places.taken.push_back((number, address, None));
        Ok(Place { number, places: self.places.clone() })
    }

    /// Tells the pool which task sits at a place.
    pub(super) fn seat(&self, number: u64, task: AbortHandle) {
        let mut places = self.places.borrow_mut();
        if let Some(entry) = places.taken.iter_mut().find(|(other, ..)| *other == number) {
            entry.2 = Some(task);
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.places.borrow().taken.len()
    }
}

impl Place {
    pub(super) fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.borrow_mut().taken.retain(|(other, ..)| *other != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEAR: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn a_full_pool_drops_its_oldest() {
        let guests = Guests::new(20, &Limits::DEFAULT);
        let first = guests.enter(NEAR).expect("a place");
        let _second = guests.enter(NEAR).expect("a place");
        let third = guests.enter(NEAR).expect("the first one's place");
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
        let guests = Guests::new(16, &limits);
        let far: IpAddr = "192.0.2.1".parse().expect("an address");
        let _two = [guests.enter(far), guests.enter(far)].map(|place| place.expect("a place"));
        assert!(guests.enter(far).is_err());
        let _more: Vec<_> = (0..10).map(|_| guests.enter(NEAR).expect("a place")).collect();
        assert_eq!(guests.len(), 8);
    }

    #[test]
    fn one_address_gets_an_eighth() {
        let guests = Guests::new(160, &Limits::DEFAULT);
        let far: IpAddr = "192.0.2.1".parse().expect("an address");
        let _places = [guests.enter(far), guests.enter(far)].map(|place| place.expect("a place"));
        assert!(matches!(guests.enter(far), Err(AddressFull)));
        assert!(guests.enter(NEAR).is_ok());
    }
}
