//! Key sets of partners and outside issuers: within bounds, each key with one algorithm, and none of them private.
#![no_main]

use clearway::jose::{Algorithm, KEYS_MAX, KeySet};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const ALLOWED: [Algorithm; 3] = [Algorithm::Ps256, Algorithm::Es256, Algorithm::EdDsa];

fuzz_target!(|bytes: &[u8]| {
    let Ok(jwks) = serde_json::from_slice::<Value>(bytes) else { return };
    let Ok(parsed) = KeySet::parse(&jwks, &ALLOWED) else { return };
    let written = jwks["keys"].as_array().expect("a set has keys");
    assert!(!parsed.keys.is_empty() && written.len() <= KEYS_MAX);
    assert!(parsed.skipped.iter().all(|skipped| skipped.position < written.len()));
    assert!(written.len() > parsed.skipped.len(), "every key was skipped, and yet there are some");
    let again = KeySet::parse(&jwks, &ALLOWED).expect("it was read before");
    assert_eq!(again.keys.iter().count(), parsed.keys.iter().count());
    assert!(KeySet::parse(&jwks, &[]).is_err(), "a key is of use although no algorithm is allowed");
});
