//! DPoP proofs: none passes whose key did not sign every byte of it, and none for another request.
#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use clearway::authn::dpop::{
    ALGORITHMS, DpopError, DpopProofs, DpopSettings, ExternalUrls, NonceMode, NonceSpace, ProvenRequest,
};
use clearway::domain::Timestamp;
use clearway::jose::{Scratch, UnverifiedProof, sha256};
use clearway_fuzz::{NOW, Sevens, compact};
use http::Method;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use serde_json::value::RawValue;

const HASH_OF: &[u8] = b"a token";
const URL: &str = "https://api.example/a";
/// Of RFC 9449 §4.1: its key is its own, its signature is good, its time was in 2019.
const EXAMPLE: &str = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg";

static PROOFS: LazyLock<DpopProofs> = LazyLock::new(|| {
    let settings = DpopSettings {
        proof_age_max: Duration::from_secs(60),
        clock_skew_max: Duration::from_secs(30),
        resource_nonces: NonceMode::Off,
        authorization_server_nonces: NonceMode::Off,
    };
    DpopProofs::new(settings, &Sevens)
});

fuzz_target!(|input: &[u8]| {
    let Some((mode, rest)) = input.split_first() else { return };
    match mode % 4 {
        0 => arbitrary(rest),
        1 => unsigned(rest),
        2 => spoilt(rest),
        _ => urls(rest),
    }
});

fn arbitrary(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (urls, hash) = (ExternalUrls::new(["https://api.example"]), sha256(HASH_OF));
    let request = ProvenRequest {
        method: &Method::GET,
        urls: &urls,
        path: "/a",
        token_hash: Some(&hash),
        space: NonceSpace::Resource,
    };
    // Nobody who fuzzes signs, so whatever passes all hints fails at the signature.
    let refused = PROOFS.check(text, &request, Timestamp::from_secs(NOW)).map(drop).expect_err("a forged proof passes");
    assert!(refused.description().is_ascii() && !matches!(refused, DpopError::Nonce { .. }));
}

/// Header and payload as the sender likes, under somebody else's signature.
fn unsigned(bytes: &[u8]) {
    let (compact, header, payload) = compact::under_the_signature_of(EXAMPLE, bytes);
    let mut scratch = Scratch::default();
    let Ok(proof) = UnverifiedProof::parse(&compact, &ALGORITHMS, &mut scratch) else { return };
    for part in [header, payload] {
        let _json: &RawValue = serde_json::from_slice(part).expect("what was read is JSON");
    }
    // A number that no float holds, in a claim that nobody reads, is no reason to refuse a proof; the oracle cannot go on.
    let (Ok(header), Ok(payload)) = (serde_json::from_slice::<Value>(header), serde_json::from_slice::<Value>(payload))
    else {
        return;
    };
    assert!(["crit", "b64", "zip", "enc", "jku", "x5u"].iter().all(|name| header.get(name).is_none()), "{header}");
    let private = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];
    assert!(private.iter().all(|name| header["jwk"].get(name).is_none()), "{header}");
    assert!(matches!(header["alg"].as_str(), Some("ES256" | "PS256" | "EdDSA")), "{header}");
    let hints = proof.hints();
    assert_eq!(payload["jti"].as_str(), Some(&*hints.jti));
    assert_eq!(payload["htm"].as_str(), Some(&*hints.htm));
    assert_eq!(payload["htu"].as_str(), Some(&*hints.htu));
    assert_eq!(payload["ath"].as_str(), hints.ath.as_deref());
    assert_eq!(payload["nonce"].as_str(), hints.nonce.as_deref());
    assert!(proof.verify().is_err() || compact == EXAMPLE, "a forged proof verifies");
}

/// A good proof with some bytes changed: three bytes of input for each.
fn spoilt(changes: &[u8]) {
    let Some(compact) = compact::spoilt(EXAMPLE, changes) else { return };
    let mut scratch = Scratch::default();
    let verifies =
        UnverifiedProof::parse(&compact, &ALGORITHMS, &mut scratch).is_ok_and(|proof| proof.verify().is_ok());
    assert_eq!(verifies, compact == EXAMPLE, "{compact}");
}

/// A URL and a path: what is compared is stable under what does not count.
fn urls(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (url, path) = text.split_once('\0').unwrap_or((text, "/a"));
    let urls = ExternalUrls::new(["https://api.example"]);
    let contained = urls.contain(url, path);
    if contained && !url.contains(['?', '#']) {
        assert!(urls.contain(&format!("{url}?q#f"), path), "{url:?}");
        assert!(url.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https")), "{url:?}");
    }
    assert!(urls.contain(URL, "/a"));
}
