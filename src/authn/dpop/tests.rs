//! The checks of RFC 9449 §4.3 with their negative twins, nonces, and what is remembered.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::*;
use crate::authn::tests::{at, new_key};
use crate::jose::{KeyErrorKind, PROOF_BYTES_MAX, ProofError, SigningKey, sha256};

const NOW: i64 = 2_000_000_000;
const TOKEN: &str = "a.token.of-ours";
const URL: &str = "https://api.example/bank/accounts";

struct Sevens;

impl Random for Sevens {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(7);
    }
}

fn with_nonces(mode: NonceMode) -> DpopProofs {
    let settings = DpopSettings {
        proof_age_max: Duration::from_secs(60),
        clock_skew_max: Duration::from_secs(30),
        resource_nonces: mode,
        authorization_server_nonces: mode,
    };
    DpopProofs::new(settings, &Sevens)
}

/// Without nonces.
pub(crate) fn proofs() -> Arc<DpopProofs> {
    Arc::new(with_nonces(NonceMode::Off))
}

/// A proof of `key`'s with changed header and claims; null takes a member away.
pub(crate) fn proof(key: &SigningKey, header: Value, claims: Value) -> String {
    let mut public = key.public_jwk();
    for name in ["kid", "use", "alg"] {
        public.as_object_mut().unwrap().shift_remove(name);
    }
    let good_header = json!({ "typ": "dpop+jwt", "alg": key.algorithm().as_str(), "jwk": public });
    let good_claims = json!({
        "jti": "-BwC3ESc6acc2lTc", "htm": "GET", "htu": URL, "iat": NOW,
        "ath": URL_SAFE_NO_PAD.encode(sha256(TOKEN.as_bytes())),
    });
    let changed = |mut good: Value, changes: Value| {
        for (name, value) in changes.as_object().cloned().unwrap_or_else(Map::new) {
            match value {
                Value::Null => drop(good.as_object_mut().unwrap().shift_remove(&name)),
                value => good[name] = value,
            }
        }
        good.to_string()
    };
    key.sign_raw(&changed(good_header, header), &changed(good_claims, claims))
}

fn at_resource<'a>(urls: &'a ExternalUrls, hash: &'a [u8; 32]) -> ProvenRequest<'a> {
    ProvenRequest {
        method: &Method::GET,
        urls,
        path: "/bank/accounts",
        token_hash: Some(hash),
        space: NonceSpace::Resource,
    }
}

fn check(proofs: &DpopProofs, proof: &str, now: i64) -> Result<UnspentProof, DpopError> {
    let (urls, hash) = (ExternalUrls::new(["https://api.example"]), sha256(TOKEN.as_bytes()));
    proofs.check(proof, &at_resource(&urls, &hash), at(now))
}

#[test]
fn a_proof_of_each_algorithm_names_its_key() {
    for algorithm in ALGORITHMS {
        let (key, _) = SigningKey::generate(algorithm).unwrap();
        let passed = check(&proofs(), &proof(&key, json!({}), json!({})), NOW).unwrap();
        assert_eq!(passed.key().to_string(), key.public_key().thumbprint().to_string(), "{algorithm}");
    }
}

#[test]
fn what_may_be_there_may_be_there() {
    let key = new_key();
    let passes = |header, claims, now| check(&proofs(), &proof(&key, header, claims), now).map(drop);
    for (name, header, claims, now) in [
        ("unknown claims", json!({}), json!({ "x": { "y": [1] }, "exp": 1, "nbf": "?" }), NOW),
        ("unknown header parameters", json!({ "x5t": "a", "x5c": ["a"], "kid": "k" }), json!({}), NOW),
        ("typ in another case", json!({ "typ": "DPOP+JWT" }), json!({}), NOW),
        ("typ with its prefix", json!({ "typ": "application/dpop+jwt" }), json!({}), NOW),
        ("a query and a fragment", json!({}), json!({ "htu": format!("{URL}?a=b#c") }), NOW),
        ("a host in capitals", json!({}), json!({ "htu": URL.replace("api.example", "API.Example:443") }), NOW),
        ("made 10 s ahead", json!({}), json!({}), NOW - 10),
        ("made 30 s ahead", json!({}), json!({}), NOW - 30),
        ("60 s old", json!({}), json!({}), NOW + 60),
        ("a date with a fraction", json!({}), json!({ "iat": 2_000_000_000.75 }), NOW),
        ("a nonce that nobody asked for", json!({}), json!({ "nonce": "x" }), NOW),
    ] {
        assert_eq!(passes(header, claims, now), Ok(()), "{name}");
    }
    let named = json!({ "jwk": key.public_jwk() });
    assert_eq!(passes(named, json!({}), NOW), Ok(()), "a key with kid, use and alg");
}

#[test]
fn every_check_has_its_refusal() {
    use DpopError::{Ahead, Malformed, Method, Old, TokenHash, Url};
    let key = new_key();
    let stranger = new_key();
    let jwk = |changes: Value| {
        let mut jwk = key.public_jwk();
        jwk.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        json!({ "jwk": jwk })
    };
    let claim = |name| Malformed(ProofError::Claim(name));
    let of_key = |kind| Malformed(ProofError::Key(kind));
    let (private, material, purpose) =
        (of_key(KeyErrorKind::Private), of_key(KeyErrorKind::Material), of_key(KeyErrorKind::Purpose));
    for (name, header, claims, expected) in [
        ("no typ", json!({ "typ": null }), json!({}), Malformed(ProofError::Type)),
        ("another typ", json!({ "typ": "JWT" }), json!({}), Malformed(ProofError::Type)),
        ("an access token's typ", json!({ "typ": "at+jwt" }), json!({}), Malformed(ProofError::Type)),
        ("no alg", json!({ "alg": null }), json!({}), Malformed(ProofError::Algorithm)),
        ("alg none", json!({ "alg": "none" }), json!({}), Malformed(ProofError::Algorithm)),
        ("HMAC", json!({ "alg": "HS256" }), json!({}), Malformed(ProofError::Algorithm)),
        ("RS256", json!({ "alg": "RS256" }), json!({}), Malformed(ProofError::Algorithm)),
        ("alg not the key's", json!({ "alg": "PS256" }), json!({}), purpose.clone()),
        ("no jwk", json!({ "jwk": null }), json!({}), Malformed(ProofError::KeyMissing)),
        ("jwk a text", json!({ "jwk": "x" }), json!({}), Malformed(ProofError::Json)),
        ("jwk a list", json!({ "jwk": ["EC", "P-256"] }), json!({}), Malformed(ProofError::Json)),
        ("a private key", jwk(json!({ "d": "AA" })), json!({}), private.clone()),
        ("a private member that is empty", jwk(json!({ "d": "" })), json!({}), private.clone()),
        ("a private member of another kind", jwk(json!({ "oth": [] })), json!({}), private.clone()),
        ("a shared key", json!({ "jwk": { "kty": "oct", "k": "AAAA" } }), json!({}), private),
        ("another curve", jwk(json!({ "crv": "P-384" })), json!({}), material.clone()),
        ("half a key", json!({ "jwk": { "kty": "EC", "crv": "P-256", "x": "AA" } }), json!({}), material),
        ("a key for encryption", jwk(json!({ "use": "enc" })), json!({}), purpose.clone()),
        ("a key for signing only", jwk(json!({ "key_ops": ["sign"] })), json!({}), purpose.clone()),
        ("a key of another alg", jwk(json!({ "alg": "EdDSA" })), json!({}), purpose),
        ("somebody else's key", json!({ "jwk": stranger.public_jwk() }), json!({}), Malformed(ProofError::Signature)),
        ("not on the curve", jwk(json!({ "x": key.public_jwk()["y"] })), json!({}), Malformed(ProofError::Signature)),
        ("crit", json!({ "crit": ["x"] }), json!({}), Malformed(ProofError::HeaderParameter("crit"))),
        ("b64", json!({ "b64": false }), json!({}), Malformed(ProofError::HeaderParameter("b64"))),
        ("jku", json!({ "jku": "https://x" }), json!({}), Malformed(ProofError::HeaderParameter("jku"))),
        ("x5u", json!({ "x5u": "https://x" }), json!({}), Malformed(ProofError::HeaderParameter("x5u"))),
        ("no jti", json!({}), json!({ "jti": null }), claim("jti")),
        ("an empty jti", json!({}), json!({ "jti": "" }), claim("jti")),
        ("jti a number", json!({}), json!({ "jti": 1 }), Malformed(ProofError::Json)),
        ("no htm", json!({}), json!({ "htm": null }), claim("htm")),
        ("another method", json!({}), json!({ "htm": "POST" }), Method),
        ("a method in small letters", json!({}), json!({ "htm": "get" }), Method),
        ("no htu", json!({}), json!({ "htu": null }), claim("htu")),
        ("another path", json!({}), json!({ "htu": format!("{URL}/1") }), Url),
        ("another host", json!({}), json!({ "htu": URL.replace("api", "as") }), Url),
        ("no iat", json!({}), json!({ "iat": null }), claim("iat")),
        ("iat a text", json!({}), json!({ "iat": "2000000000" }), Malformed(ProofError::Json)),
        ("iat negative", json!({}), json!({ "iat": -1 }), claim("iat")),
        ("31 s ahead", json!({}), json!({ "iat": NOW + 31 }), Ahead),
        ("an hour ahead", json!({}), json!({ "iat": NOW + 3600 }), Ahead),
        ("61 s old", json!({}), json!({ "iat": NOW - 61 }), Old),
        ("an hour old", json!({}), json!({ "iat": NOW - 3600 }), Old),
        ("no ath", json!({}), json!({ "ath": null }), TokenHash),
        ("an empty ath", json!({}), json!({ "ath": "" }), TokenHash),
        ("another token's ath", json!({}), json!({ "ath": URL_SAFE_NO_PAD.encode([1; 32]) }), TokenHash),
        (
            "a padded ath",
            json!({}),
            json!({ "ath": URL_SAFE_NO_PAD.encode(sha256(TOKEN.as_bytes())) + "=" }),
            TokenHash,
        ),
    ] {
        assert_eq!(check(&proofs(), &proof(&key, header, claims), NOW).map(drop), Err(expected), "{name}");
    }
}

#[test]
fn what_is_not_a_jws_is_no_proof() {
    let key = new_key();
    let good = proof(&key, json!({}), json!({}));
    let (head, signature) = good.rsplit_once('.').unwrap();
    let (header, payload) = head.split_once('.').unwrap();
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let header_text = String::from_utf8(URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
    let signed = |header: &str, payload: &str| key.sign_raw(header, payload);
    let payload_text = String::from_utf8(URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
    let mut spoilt = signature.to_owned();
    spoilt.replace_range(5..6, if &signature[5..6] == "A" { "B" } else { "A" });
    for (name, text, expected) in [
        ("nothing", String::new(), ProofError::Parts),
        ("a word", "proof".into(), ProofError::Parts),
        ("two parts", head.to_owned(), ProofError::Parts),
        ("four parts", format!("{good}.x"), ProofError::Parts),
        ("padding", format!("{good}="), ProofError::Base64),
        ("too long", "a".repeat(PROOF_BYTES_MAX + 1), ProofError::TooLong),
        ("a header that is no JSON", format!("{}.{payload}.{signature}", encode("{")), ProofError::Json),
        ("a header that is a list", format!("{}.{payload}.{signature}", encode("[]")), ProofError::Json),
        ("a payload that is a list", signed(&header_text, r#"["j","GET"]"#), ProofError::Json),
        (
            "a payload that is no UTF-8",
            format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode(b"{\"jti\":\"\xff\"}")),
            ProofError::Json,
        ),
        (
            "a claim named twice",
            signed(&header_text, &payload_text.replacen('{', r#"{"htm":"GET","#, 1)),
            ProofError::Json,
        ),
        (
            "a claim named twice by an escape",
            signed(&header_text, &payload_text.replacen('{', r#"{"ht\u006d":"POST","#, 1)),
            ProofError::Json,
        ),
        (
            "alg named twice",
            signed(&header_text.replacen('{', r#"{"alg":"none","#, 1), &payload_text),
            ProofError::Json,
        ),
        ("no signature", format!("{head}."), ProofError::Signature),
        ("a spoilt signature", format!("{head}.{spoilt}"), ProofError::Signature),
        ("a signature of other length", format!("{head}.{}", encode("abc")), ProofError::Signature),
        (
            "claims exchanged",
            format!("{header}.{}.{signature}", encode(&payload_text.replace("BwC", "BwD"))),
            ProofError::Signature,
        ),
    ] {
        assert_eq!(check(&proofs(), &text, NOW).map(drop), Err(DpopError::Malformed(expected)), "{name}");
    }
    let escaped = signed(&header_text, &payload_text.replace("\"GET\"", r#""\u0047ET""#));
    assert_eq!(check(&proofs(), &escaped, NOW).map(drop), Ok(()), "an escape is the character");
}

#[test]
fn a_proof_is_spent_once_while_it_would_be_taken() {
    let (key, other) = (new_key(), new_key());
    let proofs = proofs();
    let use_up =
        |proof: &str, now| check(&proofs, proof, now).and_then(|unspent| proofs.spend(unspent, at(now))).map(drop);
    let first = proof(&key, json!({}), json!({}));
    assert!(check(&proofs, &first, NOW).is_ok() && check(&proofs, &first, NOW).is_ok(), "to look spends nothing");
    assert_eq!(use_up(&first, NOW), Ok(()));
    for now in [NOW, NOW + 1, NOW + 60, NOW - 30] {
        assert_eq!(use_up(&first, now), Err(DpopError::Replayed), "{}", now - NOW);
    }
    assert_eq!(use_up(&first, NOW + 61), Err(DpopError::Old));
    let again = proof(&key, json!({}), json!({ "iat": NOW + 1 }));
    assert_eq!(use_up(&again, NOW + 1), Err(DpopError::Replayed), "the same jti in another proof");
    assert_eq!(use_up(&proof(&key, json!({}), json!({ "jti": "another" })), NOW), Ok(()));
    assert_eq!(use_up(&proof(&other, json!({}), json!({})), NOW), Ok(()), "another key's jti");
    assert_eq!(proofs.remembered(), 3);
}

#[test]
fn nonces_are_ours_recent_and_each_servers_own() {
    let (key, proofs) = (new_key(), with_nonces(NonceMode::Required));
    let nonce = |space, now| proofs.nonce(space, at(now)).unwrap().to_str().unwrap().to_owned();
    let now = NOW / 60 * 60;
    let ours = nonce(NonceSpace::Resource, now);
    assert_eq!(ours.len(), 22);
    assert_eq!(ours, nonce(NonceSpace::Resource, now + 59), "one for all within a minute");
    let ask = |nonce: Value, now| check(&proofs, &proof(&key, json!({}), json!({ "nonce": nonce, "iat": now })), now);
    for (name, nonce, now, renewed) in [
        ("at once", ours.as_str(), now, false),
        ("in its last second", ours.as_str(), now + 59, false),
        ("in its last minute", ours.as_str(), now + 60, true),
        ("in its last second but one", ours.as_str(), now + 119, true),
    ] {
        assert_eq!(ask(nonce.into(), now).unwrap().fresh_nonce.is_some(), renewed, "{name}");
    }
    for (name, nonce, now) in [
        ("none", Value::Null, now),
        ("after its time", ours.as_str().into(), now + 120),
        ("before its time", ours.as_str().into(), now - 1),
        ("made up", "AAAAAAAAAAAAAAAAAAAAAA".into(), now),
        ("a short one", "x".into(), now),
        ("empty", "".into(), now),
        ("the authorization server's", nonce(NonceSpace::AuthorizationServer, now).into(), now),
    ] {
        match ask(nonce, now).map(drop) {
            Err(DpopError::Nonce { fresh }) => {
                assert_eq!(
                    proofs.nonce(NonceSpace::Resource, at(now)),
                    Some(fresh),
                    "{name}: the answer brings a good one"
                );
            }
            other => panic!("{name}: {other:?}"),
        }
    }
    assert_eq!(self::proofs().nonce(NonceSpace::Resource, at(now)), None, "off");
    let forged = proof(&key, json!({ "jwk": new_key().public_jwk() }), json!({ "nonce": ours, "iat": now }));
    assert_eq!(check(&proofs, &forged, now).map(drop), Err(DpopError::Malformed(ProofError::Signature)));
}

#[test]
fn an_authorization_server_takes_proofs_without_ath() {
    let (key, proofs) = (new_key(), proofs());
    let urls = ExternalUrls::new(["https://as.example", "https://mtls.example"]);
    let request = ProvenRequest {
        method: &Method::POST,
        urls: &urls,
        path: "/oauth/token",
        token_hash: None,
        space: NonceSpace::AuthorizationServer,
    };
    for url in ["https://as.example/oauth/token", "https://mtls.example/oauth/token"] {
        for ath in [Value::Null, "spare".into()] {
            let claims = json!({ "htm": "POST", "htu": url, "ath": ath });
            assert!(proofs.check(&proof(&key, json!({}), claims), &request, at(NOW)).is_ok(), "{url}");
        }
    }
    let elsewhere = proof(&key, json!({}), json!({ "htm": "POST", "ath": null }));
    assert_eq!(proofs.check(&elsewhere, &request, at(NOW)).map(drop), Err(DpopError::Url), "made for the resource");
}

#[test]
fn a_request_has_one_proof_in_one_field() {
    let read = |fields: &[&'static [u8]]| {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append("DPoP", HeaderValue::from_bytes(field).unwrap());
        }
        read_proof(&headers).map(|proof| proof.map(str::to_owned))
    };
    assert_eq!(read(&[]), Ok(None));
    assert_eq!(read(&[b"a.b.c"]), Ok(Some("a.b.c".to_owned())));
    assert_eq!(read(&[b"a.b.c", b"a.b.c"]), Err(DpopError::Several));
    assert_eq!(read(&[b""]), Ok(Some(String::new())));
    assert_eq!(read(&[b"\xe4"]), Err(DpopError::Malformed(ProofError::Base64)));
}

#[test]
fn what_is_said_of_a_refusal_can_be_quoted() {
    for error in [
        DpopError::Missing,
        DpopError::Several,
        DpopError::Malformed(ProofError::Json),
        DpopError::Method,
        DpopError::Nonce { fresh: HeaderValue::from_static("x") },
        DpopError::Full,
    ] {
        let text = error.description();
        assert!(text.is_ascii() && !text.contains(['"', '\\']), "{text}");
    }
    assert_eq!(DpopError::Full.code().as_str(), None);
    assert_eq!(DpopError::Replayed.code().as_str(), Some("invalid_dpop_proof"));
}
