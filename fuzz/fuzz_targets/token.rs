//! Tokens: no bytes but those that were signed verify, whatever the sender does to header, payload and signature.
#![no_main]

use std::sync::LazyLock;

use clearway::jose::{Algorithm, KeySet, SigningKey, UnverifiedToken, parse_strict};
use clearway_fuzz::compact;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

struct World {
    keys: KeySet,
    token: String,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let (key, _) = SigningKey::generate(Algorithm::Es256).unwrap();
    let token = key.sign("at+jwt", &json!({ "iss": "https://as.example", "sub": "a", "exp": 2_000_000 })).unwrap();
    World { keys: KeySet::of(vec![key.public_key()]), token }
});

fuzz_target!(|input: &[u8]| {
    let Some((mode, rest)) = input.split_first() else { return };
    match mode % 4 {
        0 => arbitrary(rest),
        1 => unsigned(rest),
        2 => spoilt(rest),
        _ => json_is_strict(rest),
    }
});

fn arbitrary(bytes: &[u8]) {
    let Ok(compact) = std::str::from_utf8(bytes) else { return };
    let Ok(token) = UnverifiedToken::parse(compact) else { return };
    assert_eq!(compact.matches('.').count(), 2);
    assert!(compact.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')), "not base64url");
    let _ =
        (token.hint("iss"), token.hints_audience(&["https://api.example".to_owned()]), token.header().typ_is("jwt"));
    assert!(WORLD.keys.verify(token).is_err(), "a forged token verifies");
}

/// Header and payload as the sender likes, under somebody else's signature.
fn unsigned(bytes: &[u8]) {
    let (compact, header, _) = compact::under_the_signature_of(&WORLD.token, bytes);
    if let Ok(token) = UnverifiedToken::parse(&compact) {
        let refused = ["crit", "b64", "zip", "enc", "jku", "x5u", "jwk"];
        let header: Value = serde_json::from_slice(header).expect("strict JSON is JSON");
        assert!(refused.iter().all(|name| header.get(name).is_none()));
        assert!(!matches!(header["alg"].as_str(), Some("none" | "HS256" | "HS384" | "HS512")), "{header}");
        assert!(WORLD.keys.verify(token).is_err() || compact == WORLD.token, "a forged token verifies");
    }
}

/// A good token with some bytes changed: three bytes of input for each.
fn spoilt(changes: &[u8]) {
    let Some(compact) = compact::spoilt(&WORLD.token, changes) else { return };
    let verifies = UnverifiedToken::parse(&compact).is_ok_and(|token| WORLD.keys.verify(token).is_ok());
    assert_eq!(verifies, compact == WORLD.token, "{compact}");
}

fn json_is_strict(bytes: &[u8]) {
    let Ok(value) = parse_strict(bytes) else { return };
    let lenient: Value = serde_json::from_slice(bytes).expect("strict JSON is JSON");
    assert_eq!(value, lenient);
    assert_eq!(parse_strict(value.to_string().as_bytes()).expect("it is written strictly"), value);
}
