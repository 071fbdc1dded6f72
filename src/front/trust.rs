//! Which client certificates have standing now: those that lead to a partner CA, and those that a client registered?
//!
//! Chains are judged, never enforced, at the handshake: a self-signed certificate that a client registered is as
//! good as one of a CA (RFC 8705 §2.2). A judgement carries the generation it was made under; who kept it compares.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};

use super::reading::Reading;
use crate::domain::{ChainTrust, Thumbprint, Timestamp};

/// Why a set of roots is not taken.
#[derive(Debug, thiserror::Error)]
#[error("certificate {position} of the partner CAs is not a usable root")]
pub struct TrustError {
    /// Counted from zero.
    pub position: usize,
    pub source: webpki::Error,
}

#[derive(Debug)]
struct TrustSet {
    anchors: Vec<TrustAnchor<'static>>,
    /// Self-signed certificates of clients (RFC 8705 §2.2).
    registered: HashSet<Thumbprint>,
    generation: u64,
}

/// What the trust store in force says of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    pub chain: ChainTrust,
    /// It leads to a partner CA, or a client registered its leaf.
    pub has_standing: bool,
    pub generation: u64,
}

/// The partner CAs in force, replaceable while connections live.
#[derive(Debug)]
pub struct Trust(ArcSwap<TrustSet>);

impl Trust {
    pub fn new(roots: &[CertificateDer<'_>], registered: HashSet<Thumbprint>) -> Result<Arc<Self>, TrustError> {
        let set = TrustSet { anchors: anchors(roots)?, registered, generation: 1 };
        Ok(Arc::new(Self(ArcSwap::from_pointee(set))))
    }

    /// Puts other roots and registrations in force, for connections that are open as well.
    pub fn replace(&self, roots: &[CertificateDer<'_>], registered: &HashSet<Thumbprint>) -> Result<(), TrustError> {
        let anchors = anchors(roots)?;
        self.0.rcu(|old| TrustSet {
            anchors: anchors.clone(),
            registered: registered.clone(),
            generation: old.generation + 1,
        });
        Ok(())
    }

    pub fn generation(&self) -> u64 {
        self.0.load().generation
    }

    /// Judges a chain at `now`. Its signatures are verified once for each generation.
    pub fn judge(&self, peer: &Reading, now: Timestamp) -> Judgement {
        let set = self.0.load();
        let trusted = peer.is_known_to_lead(set.generation, now)
            || leads_to(&set.anchors, &peer.chain, now).is_ok_and(|()| {
                peer.leads(set.generation);
                true
            });
        let chain = if trusted { ChainTrust::Trusted } else { ChainTrust::Unverified };
        let has_standing = trusted || set.registered.contains(&peer.facts.thumbprint);
        Judgement { chain, has_standing, generation: set.generation }
    }
}

fn anchors(roots: &[CertificateDer<'_>]) -> Result<Vec<TrustAnchor<'static>>, TrustError> {
    roots
        .iter()
        .enumerate()
        .map(|(position, root)| match webpki::anchor_from_trusted_cert(root) {
            Ok(anchor) => Ok(anchor.to_owned()),
            Err(source) => Err(TrustError { position, source }),
        })
        .collect()
}

/// RFC 5280 §6 with the purpose of client authentication.
fn leads_to(anchors: &[TrustAnchor<'_>], chain: &[CertificateDer<'_>], now: Timestamp) -> Result<(), webpki::Error> {
    let Some((leaf, intermediates)) = chain.split_first() else { return Err(webpki::Error::UnknownIssuer) };
    let leaf = webpki::EndEntityCert::try_from(leaf)?;
    let time = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now.secs()).unwrap_or(0)));
    let usage = webpki::KeyUsage::client_auth();
    leaf.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, anchors, intermediates, time, usage, None, None).map(drop)
}
