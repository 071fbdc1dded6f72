//! What outlives every snapshot: time, randomness, counters, revocations, connections to back ends.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use arc_swap::{ArcSwap, ArcSwapOption};

use crate::admission::DynamicPartners;
use crate::authn::dpop::{DpopProofs, DpopSettings};
use crate::authn::{Authenticator, Issuer, Revocations};
use crate::config::{Configuration, Diagnostic, Place};
use crate::domain::{Client, ClientId, Clock, Random, Timestamp};
use crate::hub::Subscription;
use crate::jose::KeySet;
use crate::oauth::{ClientRegistration, Clients, DynamicClients, Visitors};
use crate::quota::Quotas;
use crate::signal::Metrics;
use crate::upstream::Fuses;

use super::compile::{Mistakes, chain};

/// The wall clock.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        // A clock before 1970 reads as 1970: nothing is valid then, so everything is refused.
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}

/// The system's generator.
#[derive(Debug, Clone, Copy)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) {
        let drawn = AHEAD.try_with(|ahead| ahead.try_borrow_mut().is_ok_and(|mut ahead| ahead.give(bytes)));
        if drawn != Ok(true) {
            from_system(bytes);
        }
    }
}

#[expect(clippy::expect_used, reason = "without randomness no answer of ours would be safe: better none")]
fn from_system(bytes: &mut [u8]) {
    aws_lc_rs::rand::fill(bytes).expect("the system gives random bytes");
}

/// Random bytes that a thread has drawn ahead: a call of the generator costs more than its bytes, and every request
/// wants a few. Each byte is given once and wiped.
struct Ahead {
    bytes: [u8; Self::LEN],
    left: usize,
}

impl Ahead {
    const LEN: usize = 1024;
    /// Longer wishes go to the generator itself.
    const WISH_MAX: usize = 64;

    /// False if the wish is not one for this store.
    fn give(&mut self, wish: &mut [u8]) -> bool {
        if wish.len() > Self::WISH_MAX {
            return false;
        }
        if self.left < wish.len() {
            from_system(&mut self.bytes);
            self.left = Self::LEN;
        }
        let Some(drawn) = self.left.checked_sub(wish.len()).and_then(|at| self.bytes.get_mut(at..self.left)) else {
            return false;
        };
        wish.copy_from_slice(drawn);
        drawn.fill(0);
        self.left -= wish.len();
        true
    }
}

thread_local! {
    static AHEAD: RefCell<Ahead> = const { RefCell::new(Ahead { bytes: [0; Ahead::LEN], left: 0 }) };
}

/// Registered clients, as the authorization server asks for them; replaced whole at each reload.
#[derive(Default)]
pub struct ClientDirectory {
    configured: ArcSwap<Registered>,
    /// Those that registered themselves; set once, at the start.
    dynamic: OnceLock<Arc<DynamicClients>>,
}

type Registered = HashMap<ClientId, (Arc<Client>, Arc<ClientRegistration>)>;

impl ClientDirectory {
    pub fn replace(&self, configuration: &Configuration) {
        let registered = configuration.clients.iter().filter_map(|located| {
            let settings = &located.value;
            let registration = Arc::clone(settings.registration.as_ref()?);
            Some((settings.client.id.clone(), (Arc::clone(&settings.client), registration)))
        });
        self.configured.store(Arc::new(registered.collect()));
    }
}

impl ClientDirectory {
    /// A second call changes nothing.
    pub fn add_dynamic(&self, clients: Arc<DynamicClients>) {
        let _first_stays = self.dynamic.set(clients);
    }
}

impl Clients for ClientDirectory {
    fn find(&self, id: &ClientId) -> Option<(Arc<Client>, Arc<ClientRegistration>)> {
        // Who is configured comes first: nobody can take its place by registering.
        let configured = self.configured.load().get(id).cloned();
        configured.or_else(|| self.dynamic.get()?.find(id))
    }
}

/// Shared by all snapshots of a process.
pub struct Services {
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
    pub quotas: Arc<Quotas>,
    pub metrics: Arc<Metrics>,
    pub revocations: Arc<Revocations>,
    /// For the gateway and the authorization server alike.
    pub dpop: Arc<DpopProofs>,
    /// Our own authorization server as an issuer of tokens.
    pub issuer: Arc<Issuer>,
    pub clients: Arc<ClientDirectory>,
    /// Users of the authorization server, and who of them is signed in.
    pub visitors: Arc<Visitors>,
    /// Of streamed exchanges.
    pub fuses: Arc<Fuses>,
    authenticator: ArcSwapOption<Authenticator>,
}

impl Services {
    /// `keys` are those that verify our own tokens.
    pub fn new(configuration: &Configuration, keys: Arc<ArcSwap<KeySet>>) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let gateway = &configuration.gateway;
        let dpop = DpopSettings {
            proof_age_max: gateway.dpop.proof_age_max,
            clock_skew_max: gateway.tokens.clock_skew_max,
            resource_nonces: gateway.dpop.resource_nonces,
            authorization_server_nonces: gateway.dpop.authorization_server_nonces,
        };
        Self {
            quotas: Arc::new(Quotas::new(Arc::clone(&clock))),
            clock,
            random: Arc::new(SystemRandom),
            visitors: Arc::new(Visitors::new(Arc::new(SystemRandom))),
            metrics: Arc::new(Metrics::new(env!("CARGO_PKG_VERSION"))),
            revocations: Arc::new(Revocations::new()),
            dpop: Arc::new(DpopProofs::new(dpop, &SystemRandom)),
            issuer: Issuer::own(&gateway.issuer, &gateway.public_url, keys),
            clients: Arc::new(ClientDirectory::default()),
            fuses: Arc::default(),
            authenticator: ArcSwapOption::empty(),
        }
    }

    /// Services for compiling only: no store is opened and no key is made.
    pub fn for_check(configuration: &Configuration) -> Self {
        Self::new(configuration, Arc::new(ArcSwap::from_pointee(KeySet::of(Vec::new()))))
    }

    /// The authenticator of the next snapshot; it becomes the base of the one after with [`Self::took`].
    pub(super) fn authenticator(
        &self,
        configuration: &Configuration,
        mistakes: &mut Mistakes,
    ) -> Option<Arc<Authenticator>> {
        let outside: Vec<_> = configuration.issuers.iter().map(|located| located.value.clone()).collect();
        let made = match self.authenticator.load().as_deref() {
            Some(previous) => previous.reload(outside),
            None => Authenticator::new(Some(Arc::clone(&self.issuer)), outside, Arc::clone(&self.revocations)),
        };
        match made {
            Ok(authenticator) => Some(Arc::new(authenticator)),
            Err(errors) => {
                let place =
                    configuration.issuers.first().map_or_else(|| Place::file("issuers.yaml"), |i| i.place.clone());
                mistakes.extend(errors.iter().map(|error| Diagnostic::new(place.clone(), chain(error))));
                None
            }
        }
    }

    /// The partners of a new snapshot that registered themselves.
    pub(super) fn dynamic_partners(
        &self,
        subscriptions: HashMap<Arc<str>, Box<[Subscription]>>,
    ) -> Option<DynamicPartners> {
        Some(DynamicPartners::new(Arc::clone(self.clients.dynamic.get()?), subscriptions))
    }

    pub(super) fn current_authenticator(&self) -> Option<Arc<Authenticator>> {
        self.authenticator.load_full()
    }

    /// Notes which authenticator is in force.
    pub(super) fn took(&self, authenticator: &Arc<Authenticator>) {
        self.authenticator.store(Some(Arc::clone(authenticator)));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// Longer than the store, shorter than a wish, and at the seam between two fillings.
    #[test]
    fn no_bytes_are_given_twice_and_none_are_left_out() {
        let mut seen = HashSet::new();
        let random: &dyn Random = &SystemRandom;
        for _ in 0..1_000 {
            assert!(seen.insert(random.bytes::<24>().to_vec()), "24 bytes came twice");
            assert!(seen.insert(random.bytes::<64>().to_vec()), "64 bytes came twice");
            assert!(seen.insert(random.bytes::<65>().to_vec()), "65 bytes came twice");
        }
        let mut ahead = Ahead { bytes: [7; Ahead::LEN], left: 40 };
        let mut wish = [0; 16];
        assert!(ahead.give(&mut wish) && wish == [7; 16]);
        assert_eq!((ahead.left, &ahead.bytes[24..40]), (24, &[0; 16][..]), "what was given is wiped");
        assert!(ahead.give(&mut [0; 32]) && ahead.left == Ahead::LEN - 32, "too little left: drawn anew");
        assert!(!ahead.give(&mut [0; 65]));
    }
}
