//! What is remembered of client certificates, and what is not.

use rcgen::ExtendedKeyUsagePurpose::ClientAuth;
use rustls_pki_types::CertificateDer;

use super::pki::{Ca, Identity};
use super::*;
use crate::front::reading::{Reading, Readings};

const VALID: Timestamp = Timestamp::from_secs(1_700_000_000);
/// 2030-01-01, when certificates of the tests end.
const EXPIRED: Timestamp = Timestamp::from_secs(1_893_456_001);
const UNBORN: Timestamp = Timestamp::from_secs(1_000_000_000);

#[test]
fn a_chain_is_read_once_and_no_other_is_taken_for_it() {
    let readings = Readings::new();
    let ca = Ca::new("partners");
    let [first, second] = ["first", "second"].map(|name| ca.issue(name, ClientAuth).der);
    let whole = [first.clone(), ca.der.clone()];
    let read = |chain: &[CertificateDer<'_>]| readings.read(chain).unwrap();
    assert!(Arc::ptr_eq(&read(&whole), &read(&whole)), "it is remembered");
    for other in
        [vec![first.clone()], vec![second, ca.der.clone()], vec![first.clone(), ca.der.clone(), ca.der.clone()]]
    {
        assert!(!Arc::ptr_eq(&read(&whole), &read(&other)), "{} certificates", other.len());
        assert_eq!(read(&other).chain, other);
    }
    // The same bytes, cut apart elsewhere.
    let mut shifted = first.to_vec();
    let rest = [&[shifted.pop().unwrap()][..], &ca.der].concat();
    assert!(readings.read(&[shifted.into(), rest.into()]).is_err(), "no such certificate");
    // What is not sound is refused each time.
    let mut longer = first.to_vec();
    longer.push(0);
    for _ in 0..2 {
        assert!(readings.read(&[longer.clone().into()]).is_err());
    }
}

#[test]
fn what_was_judged_is_judged_again_for_another_trust_store_or_time() {
    let (ca, other) = (Ca::new("partners"), Ca::new("others"));
    let chain = [ca.issue("app", ClientAuth).der];
    let trust = Trust::new(std::slice::from_ref(&ca.der), HashSet::new()).unwrap();
    let peer = Reading::new(&chain).unwrap();
    let judge = |now| trust.judge(&peer, now).chain;
    for round in 0..2 {
        assert_eq!(judge(VALID), ChainTrust::Trusted, "{round}");
        assert!(peer.is_known_to_lead(trust.generation(), VALID), "{round}: remembered");
        for now in [EXPIRED, UNBORN] {
            assert!(!peer.is_known_to_lead(trust.generation(), now), "{round}");
            assert_eq!(judge(now), ChainTrust::Unverified, "{round}: {now:?}");
        }
    }
    trust.replace(std::slice::from_ref(&other.der), &HashSet::new()).unwrap();
    assert!(!peer.is_known_to_lead(trust.generation(), VALID), "by another trust store");
    for _ in 0..2 {
        assert_eq!(judge(VALID), ChainTrust::Unverified, "its CA was removed");
    }
    trust.replace(std::slice::from_ref(&ca.der), &HashSet::new()).unwrap();
    assert_eq!(judge(VALID), ChainTrust::Trusted, "and put back");
    // A certificate that a client registered has standing without a CA; that is not remembered with the chain.
    let own = Reading::new(&[Identity::self_signed("own").der]).unwrap();
    assert!(!trust.judge(&own, VALID).has_standing);
    trust.replace(&[], &HashSet::from([own.facts.thumbprint])).unwrap();
    assert!(trust.judge(&own, VALID).has_standing);
    trust.replace(&[], &HashSet::new()).unwrap();
    assert!(!trust.judge(&own, VALID).has_standing);
}

/// Every certificate of a chain counts: an issuer may end before the leaf does.
#[test]
fn a_chain_is_remembered_no_longer_than_its_first_certificate_that_ends() {
    let root = Ca::new("root");
    let short = root.intermediate("short", 2024);
    let leaf = short.issue("app", ClientAuth).der;
    let trust = Trust::new(std::slice::from_ref(&root.der), HashSet::new()).unwrap();
    let peer = Reading::new(&[leaf, short.der.clone()]).unwrap();
    let (before, after) = (VALID, Timestamp::from_secs(1_704_067_201)); // The second is in 2024.
    assert_eq!(trust.judge(&peer, before).chain, ChainTrust::Trusted);
    assert!(peer.facts.is_valid_at(after), "its leaf lives on");
    assert_eq!(trust.judge(&peer, after).chain, ChainTrust::Unverified);
    assert_eq!(trust.judge(&peer, before).chain, ChainTrust::Trusted, "a clock that was wrong");
    // A connection asks again once its verdict need not hold.
    let holds = |verdict: ChainTrust| peer.holds(&verdict).not_after;
    assert!(before <= holds(ChainTrust::Trusted) && holds(ChainTrust::Trusted) < after);
    assert_eq!(holds(ChainTrust::Unverified), peer.facts.validity.not_after);
}

#[test]
fn strangers_certificates_fill_no_more_than_their_place() {
    let readings = Readings::new();
    let mut params = rcgen::CertificateParams::new(vec!["stranger.example".to_owned()]).unwrap();
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    params.not_after = rcgen::date_time_ymd(2030, 1, 1);
    let padding = "x".repeat(4000); // The larger, the fewer are needed.
    for nth in 0..2_000 {
        params.subject_alt_names = vec![rcgen::SanType::URI(format!("urn:{nth}:{padding}").try_into().unwrap())];
        let der = params.self_signed(&key).unwrap().der().clone();
        readings.read(&[der]).unwrap();
    }
    let (bytes, bytes_max) = readings.weight();
    assert!(bytes > bytes_max / 2 && bytes <= bytes_max, "{bytes} of {bytes_max}");
}
