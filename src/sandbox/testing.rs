//! Doubles for this room's tests.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use serde_json::Value;

use crate::domain::{Clock, Random, Timestamp};
use crate::sandbox::dice::Dice;
use crate::sandbox::form::Document;
use crate::sandbox::pki::{DemoPki, Identity, Leaf, PkiSettings};
use crate::sandbox::{SandboxTls, World};

/// 2026-03-02T09:30:00Z, a Monday.
pub const NOW: Timestamp = Timestamp::from_secs(1_772_443_800);

/// Bytes that look random and are the same in each run.
pub struct FixedRandom(AtomicU64);

impl FixedRandom {
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }
}

impl Default for FixedRandom {
    fn default() -> Self {
        Self::new(1)
    }
}

impl Random for FixedRandom {
    fn fill(&self, bytes: &mut [u8]) {
        let mut dice = Dice::new(self.0.fetch_add(1, Ordering::Relaxed));
        for byte in bytes {
            *byte = u8::try_from(dice.below(256)).unwrap();
        }
    }
}

/// A clock that moves when it is told to.
pub struct HandClock(AtomicI64);

impl HandClock {
    pub fn new(now: Timestamp) -> Self {
        Self(AtomicI64::new(now.micros()))
    }

    pub fn advance(&self, span: std::time::Duration) {
        self.0.fetch_add(i64::try_from(span.as_micros()).unwrap(), Ordering::Relaxed);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::Relaxed))
    }
}

/// The demo's certificates, made once for all tests of a run.
pub fn pki() -> &'static DemoPki {
    static PKI: LazyLock<(tempfile::TempDir, DemoPki)> = LazyLock::new(|| {
        let folder = tempfile::tempdir().unwrap();
        let impersonated = Leaf::client("partner", "Partner Ltd");
        let settings = PkiSettings { folder: folder.path().to_owned(), clients: Vec::new(), impersonated };
        // The peers of these tests read the machine's clock.
        let since_1970 = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
        let now = Timestamp::from_secs(i64::try_from(since_1970.as_secs()).unwrap());
        let pki = crate::sandbox::pki::ensure(&settings, now, &FixedRandom::default()).unwrap();
        (folder, pki)
    });
    &PKI.1
}

/// Mutual TLS of the demo, as `identity`.
pub fn server_tls(identity: &Identity) -> SandboxTls {
    SandboxTls {
        certificate: identity.certificate.clone(),
        key: identity.key.clone(),
        client_ca: Some(pki().institution_ca.certificate.clone()),
    }
}

/// A client that trusts the institutions' CA and presents `identity`.
pub fn client(identity: Option<&Identity>) -> reqwest::ClientBuilder {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let ca = reqwest::Certificate::from_pem(&std::fs::read(&pki().institution_ca.certificate).unwrap()).unwrap();
    let mut builder = reqwest::Client::builder().tls_certs_only([ca]).no_proxy();
    if let Some(identity) = identity {
        let mut pem = std::fs::read(&identity.key).unwrap();
        pem.extend(std::fs::read(&identity.certificate).unwrap());
        builder = builder.identity(reqwest::Identity::from_pem(&pem).unwrap());
    }
    builder
}

/// The gateway as a client.
pub fn gateway() -> reqwest::Client {
    client(Some(&pki().gateway_client)).build().unwrap()
}

/// A world whose time stands still until it is moved.
pub fn world() -> (World, Arc<HandClock>) {
    let clock = Arc::new(HandClock::new(NOW));
    let world = World { clock: clock.clone(), random: Arc::new(FixedRandom::default()), seed: 1, public_origin: None };
    (world, clock)
}

/// Fails unless the value is as the schema of the published document says.
#[track_caller]
pub fn assert_conforms(document: &str, schema: &str, value: &Value) {
    let found = Document::embedded(document).form(schema).read(value.to_string().as_bytes());
    assert!(found.is_ok(), "{schema}: {found:?}\n{value:#}");
}
