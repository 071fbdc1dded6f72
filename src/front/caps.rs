//! How many connections, in all and by address, and how many requests of one address are in work? A place is held by the
//! connection and given back when it drops.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::FloodKey;

/// Why a connection was closed unread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionRefusal {
    /// `connections_max` is reached.
    Full,
    /// `connections_per_address_max` is reached.
    AddressFull,
    /// The address goes on failing in spite of being refused.
    Flood,
}

impl ConnectionRefusal {
    /// For metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::AddressFull => "address_full",
            Self::Flood => "flood",
        }
    }
}

/// The places for connections. Invariant: the map has an entry only while a connection of that address lives, so it
/// has at most `connections_max` entries.
#[derive(Debug)]
pub struct Places {
    all: Arc<Semaphore>,
    connections_max: usize,
    per_address_max: usize,
    by_address: Mutex<HashMap<FloodKey, Address>>,
}

/// What an address has here now.
#[derive(Debug, Default)]
struct Address {
    connections: usize,
    in_work: Arc<AtomicUsize>,
}

/// One connection's place.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    key: FloodKey,
    in_work: Arc<AtomicUsize>,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    /// Requests in work on all connections of this one's address.
    pub fn in_work(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.in_work)
    }
}

impl Places {
    pub fn new(connections_max: usize, per_address_max: usize) -> Arc<Self> {
        let connections_max = connections_max.min(Semaphore::MAX_PERMITS);
        let all = Arc::new(Semaphore::new(connections_max));
        Arc::new(Self { all, connections_max, per_address_max, by_address: Mutex::default() })
    }

    pub fn take(self: &Arc<Self>, address: IpAddr) -> Result<Place, ConnectionRefusal> {
        let key = FloodKey::address(address);
        let permit = Arc::clone(&self.all).try_acquire_owned().map_err(|_| ConnectionRefusal::Full)?;
        let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let own = by_address.entry(key).or_default();
        if own.connections >= self.per_address_max {
            return Err(ConnectionRefusal::AddressFull);
        }
        own.connections += 1;
        let in_work = Arc::clone(&own.in_work);
        Ok(Place { places: Arc::clone(self), key, in_work, _permit: permit })
    }

    /// Connections that are open now.
    pub fn open(&self) -> usize {
        self.connections_max - self.all.available_permits()
    }

    /// Addresses that have a connection now.
    #[cfg(test)]
    fn addresses(&self) -> usize {
        self.by_address.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut by_address = self.places.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = by_address.get_mut(&self.key) {
            own.connections = own.connections.saturating_sub(1);
            if own.connections == 0 {
                by_address.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_in_all_and_by_address_and_leave_nothing_behind() {
        let places = Places::new(3, 2);
        let [a, b] = ["192.0.2.1", "192.0.2.2"].map(|text| text.parse::<IpAddr>().unwrap());
        let held: Vec<_> = [a, a].into_iter().map(|address| places.take(address).unwrap()).collect();
        assert_eq!(places.take(a).unwrap_err(), ConnectionRefusal::AddressFull);
        let other = places.take(b).unwrap();
        assert_eq!(places.take("192.0.2.3".parse().unwrap()).unwrap_err(), ConnectionRefusal::Full);
        drop((held, other));
        assert_eq!(places.addresses(), 0);
        assert!(places.take(a).is_ok());
    }
}
