//! How many connections, in all and by address? A place is held by the connection and given back when it drops.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
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
    by_address: Mutex<HashMap<FloodKey, usize>>,
}

/// One connection's place.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    key: FloodKey,
    _permit: OwnedSemaphorePermit,
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
        let count = by_address.entry(key).or_insert(0);
        if *count >= self.per_address_max {
            return Err(ConnectionRefusal::AddressFull);
        }
        *count += 1;
        Ok(Place { places: Arc::clone(self), key, _permit: permit })
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
        decrement(&mut by_address, &self.key);
    }
}

fn decrement<K: Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(key);
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
