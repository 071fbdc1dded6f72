//! Client certificates as they were read and judged before: a partner comes back with the chain it came with.
//!
//! Invariant: what is kept follows from the chain's bytes alone, or is kept with all else that it follows from: which
//! trust store, and between which instants. Nothing is kept of a chain that is not sound.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use moka::sync::Cache;
use rustls_pki_types::CertificateDer;

use super::certificate::{CertificateFacts, CertificateFault, Validity, read_chain};
use crate::domain::{ChainTrust, Timestamp};

/// Certificates that are kept, in bytes of DER; what is known of them takes about as much again.
const BYTES_MAX: u64 = 4 * 1024 * 1024;
/// What keeping one takes beside its bytes.
const ENTRY_BYTES: usize = 512;

/// A client's certificate chain, leaf first, and the strict reading of its leaf.
#[derive(Debug)]
pub struct Reading {
    pub chain: Vec<CertificateDer<'static>>,
    pub facts: CertificateFacts,
    /// When all certificates are valid.
    validity: Option<Validity>,
    trusted: ArcSwapOption<u64>,
}

impl Reading {
    pub fn new(chain: &[CertificateDer<'_>]) -> Result<Self, CertificateFault> {
        let facts = read_chain(chain)?;
        let chain: Vec<_> = chain.iter().map(|der| der.clone().into_owned()).collect();
        let validity = chain.get(1..).and_then(|issuers| facts.validity.shared_with(issuers));
        Ok(Self { chain, facts, validity, trusted: ArcSwapOption::empty() })
    }

    /// The chain was found to lead to a partner CA of this generation of the trust store, and every certificate of it is
    /// valid at `now`: so it does now.
    pub fn is_known_to_lead(&self, generation: u64, now: Timestamp) -> bool {
        self.trusted.load().as_deref() == Some(&generation) && self.validity.is_some_and(|span| span.includes(now))
    }

    /// When a verdict on the chain holds: that it is trusted, only while all of it is valid.
    pub fn holds(&self, verdict: &ChainTrust) -> Validity {
        match (verdict, self.validity) {
            (ChainTrust::Trusted, Some(all)) => all,
            (ChainTrust::Trusted | ChainTrust::Unverified, _) => self.facts.validity,
        }
    }

    /// Remembers that the chain leads to a partner CA of this generation of the trust store.
    pub fn leads(&self, generation: u64) {
        self.trusted.store(Some(Arc::new(generation)));
    }
}

/// The readings of sound chains, by a digest of their bytes.
#[derive(Debug)]
pub struct Readings(Cache<[u8; 32], Arc<Reading>>);

impl Readings {
    pub fn new() -> Self {
        let weight = |_: &[u8; 32], reading: &Arc<Reading>| {
            let bytes: usize = reading.chain.iter().map(|certificate| certificate.len()).sum();
            u32::try_from(bytes + ENTRY_BYTES).unwrap_or(u32::MAX)
        };
        Self(Cache::builder().weigher(weight).max_capacity(BYTES_MAX).build())
    }

    /// What is kept, and the most that is, in bytes.
    #[cfg(test)]
    pub fn weight(&self) -> (u64, u64) {
        self.0.run_pending_tasks();
        (self.0.weighted_size(), BYTES_MAX)
    }

    /// Reads a chain, unless it was read before.
    pub fn read(&self, chain: &[CertificateDer<'_>]) -> Result<Arc<Reading>, CertificateFault> {
        let key = digest(chain)?;
        if let Some(known) = self.0.get(&key) {
            return Ok(known);
        }
        let reading = Arc::new(Reading::new(chain)?);
        self.0.insert(key, Arc::clone(&reading));
        Ok(reading)
    }
}

/// Over each certificate behind its length, so that no two chains run together alike.
fn digest(chain: &[CertificateDer<'_>]) -> Result<[u8; 32], CertificateFault> {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    for certificate in chain {
        context.update(&(certificate.len() as u64).to_be_bytes());
        context.update(certificate);
    }
    context.finish().as_ref().try_into().map_err(|_| CertificateFault::Encoding)
}
