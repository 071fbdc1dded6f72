//! Names become addresses here, and each is judged before anybody connects to it.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Semaphore;

use super::OutboundSettings;
use super::address::{is_public, plain};

/// Most look-ups at once. The system's resolver cannot be interrupted: one that nobody waits for any more still counts.
const LOOKUPS_MAX: usize = 32;
/// Most addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;

/// A name led to an address that is not public. Travels through the HTTP client as an error's source.
#[derive(Debug, thiserror::Error)]
#[error("{0} is not a public address")]
pub(super) struct Forbidden(pub(super) IpAddr);

#[derive(Debug, thiserror::Error)]
#[error("too many names are being looked up")]
pub(super) struct LookupsFull;

/// How a name is looked up; the tests have their own.
pub(super) type Lookup = Arc<dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync>;

pub(super) fn system() -> Lookup {
    Arc::new(|name| Ok((name, 0).to_socket_addrs()?.map(|address| address.ip()).collect()))
}

#[derive(Clone)]
pub(super) struct Judge {
    pub(super) settings: Arc<OutboundSettings>,
    lookup: Lookup,
    lookups: Arc<Semaphore>,
}

impl Judge {
    pub(super) fn new(settings: Arc<OutboundSettings>, lookup: Lookup) -> Self {
        Self { settings, lookup, lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)) }
    }

    pub(super) fn check_address(&self, address: IpAddr) -> Result<(), Forbidden> {
        if is_public(address) || self.settings.allows_address(address) {
            Ok(())
        } else {
            Err(Forbidden(plain(address)))
        }
    }

    /// All of a name's addresses are judged: one that mixes public and private ones is somebody's trick or mistake.
    fn judge(&self, name: &str, addresses: &[IpAddr]) -> Result<(), Forbidden> {
        if self.settings.allows_host(name) {
            return Ok(());
        }
        addresses.iter().try_for_each(|address| self.check_address(*address))
    }
}

impl Resolve for Judge {
    fn resolve(&self, name: Name) -> Resolving {
        let judge = self.clone();
        Box::pin(async move {
            let place = Arc::clone(&judge.lookups).try_acquire_owned().map_err(|_| LookupsFull)?;
            let lookup = Arc::clone(&judge.lookup);
            let wanted = name.as_str().to_owned();
            let found = tokio::task::spawn_blocking(move || {
                let _place = place; // Given back when the look-up ends, not when its caller gives up.
                lookup(&wanted)
            });
            let mut addresses = found.await??;
            judge.judge(name.as_str(), &addresses)?;
            addresses.truncate(ADDRESSES_MAX);
            // What was judged is what is connected to: the connector gets addresses and asks nobody again.
            let addresses: Addrs = Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(addresses)
        })
    }
}
