//! What must verify, and everything that must not.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use proptest::prelude::*;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::*;

const OURS: [Algorithm; 3] = [Algorithm::Ps256, Algorithm::Es256, Algorithm::EdDsa];

static KEYS: LazyLock<Vec<(SigningKey, SecretString)>> =
    LazyLock::new(|| OURS.map(|algorithm| SigningKey::generate(algorithm).unwrap()).into());

fn key(algorithm: Algorithm) -> &'static SigningKey {
    &KEYS.iter().find(|(key, _)| key.algorithm() == algorithm).unwrap().0
}

fn key_set(keys: &[&SigningKey]) -> KeySet {
    KeySet::of(keys.iter().map(|key| key.public_key()).collect())
}

fn parse_set(jwks: &Value) -> KeySet {
    KeySet::parse(jwks, &OURS).unwrap().keys
}

fn verify(keys: &KeySet, token: &str) -> Result<Verified, VerifyError> {
    keys.verify(UnverifiedToken::parse(token).unwrap())
}

fn library_algorithm(algorithm: Algorithm) -> jsonwebtoken::Algorithm {
    algorithm.as_str().parse().unwrap()
}

fn der(pem: &SecretString) -> Vec<u8> {
    let body: String = pem.expose_secret().lines().filter(|line| !line.starts_with("-----")).collect();
    STANDARD.decode(body).unwrap()
}

#[test]
fn what_a_key_signs_its_public_part_verifies_and_no_other() {
    for signer in OURS.map(key) {
        let token = signer.sign("at+jwt", &json!({ "sub": "a" })).unwrap();
        let verified = verify(&key_set(&OURS.map(key)), &token).unwrap();
        assert_eq!(verified.claims.text("sub"), Ok(Some("a")));
        assert_eq!(verified.key, signer.public_key().thumbprint());
        assert!(verified.header.typ_is("at+jwt"));
        assert_eq!(verified.header.kid.as_deref(), Some(signer.kid()));

        let published = parse_set(&json!({ "keys": [signer.public_jwk()] }));
        assert!(verify(&published, &token).is_ok(), "{}: through the published JWK", signer.algorithm());

        let (stranger, _) = SigningKey::generate(Algorithm::Es256).unwrap();
        assert_eq!(verify(&key_set(&[&stranger]), &token).unwrap_err(), VerifyError::UnknownKid);
    }
}

#[test]
fn another_library_agrees_in_both_directions() {
    for (signer, pem) in KEYS.iter() {
        let algorithm = signer.algorithm();
        // Ours, verified by the other.
        let token = signer.sign("JWT", &json!({ "sub": "a", "exp": 4_102_444_800_i64 })).unwrap();
        let jwk = serde_json::from_value(signer.public_jwk()).unwrap();
        let decoding = jsonwebtoken::DecodingKey::from_jwk(&jwk).unwrap();
        let rules = jsonwebtoken::Validation::new(library_algorithm(algorithm));
        let read = jsonwebtoken::decode::<Value>(&token, &decoding, &rules).unwrap();
        assert_eq!(read.claims["sub"], "a", "{algorithm}");
        // The other's, verified by us.
        let encoding = match algorithm {
            Algorithm::Ps256 | Algorithm::Rs256 => jsonwebtoken::EncodingKey::from_rsa_der(&pkcs1(&der(pem))),
            Algorithm::Es256 => jsonwebtoken::EncodingKey::from_ec_der(&der(pem)),
            Algorithm::EdDsa => jsonwebtoken::EncodingKey::from_ed_der(&der(pem)),
        };
        let mut header = jsonwebtoken::Header::new(library_algorithm(algorithm));
        header.kid = Some(signer.kid().to_owned());
        let token = jsonwebtoken::encode(&header, &json!({ "sub": "b" }), &encoding).unwrap();
        assert!(verify(&key_set(&[signer]), &token).is_ok(), "{algorithm}");
    }
}

/// The content of the OCTET STRING of a PKCS#8 RSA key: what the other library wants.
fn pkcs1(pkcs8: &[u8]) -> Vec<u8> {
    use x509_parser::der_parser::der::parse_der;
    let (_, outer) = parse_der(pkcs8).unwrap();
    outer.as_sequence().unwrap()[2].as_slice().unwrap().to_vec()
}

#[test]
fn the_examples_of_the_standards_verify() {
    let claims = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    // RFC 7515 §A.3
    let ec = json!({ "keys": [{ "kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0" }] });
    let signature = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    let token = format!("eyJhbGciOiJFUzI1NiJ9.{claims}.{signature}");
    assert_eq!(verify(&parse_set(&ec), &token).unwrap().claims.text("iss"), Ok(Some("joe")));

    // RFC 7515 §A.2: RS256, for those who allow it.
    let rsa = json!({ "keys": [{ "kty": "RSA", "e": "AQAB", "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ" }] });
    let signature = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
    let token = format!("eyJhbGciOiJSUzI1NiJ9.{claims}.{signature}");
    let lenient = KeySet::parse(&rsa, &[Algorithm::Rs256, Algorithm::Ps256]).unwrap().keys;
    assert!(verify(&lenient, &token).is_ok());
    assert_eq!(verify(&parse_set(&rsa), &token).unwrap_err(), VerifyError::AlgorithmMismatch, "PS256 only");

    // RFC 8037 §A.3 and RFC 7638 §3.1: thumbprints.
    let ed = json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" });
    let thumbprint = PublicKey::parse(&ed, &OURS).unwrap()[0].thumbprint().to_string();
    assert_eq!(thumbprint, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    let rsa = json!({ "kty": "RSA", "e": "AQAB", "alg": "RS256", "kid": "2011-04-29", "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw" });
    let thumbprint = PublicKey::parse(&rsa, &[Algorithm::Rs256]).unwrap()[0].thumbprint().to_string();
    assert_eq!(thumbprint, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
}

#[test]
fn the_example_of_a_proof_verifies_and_is_no_token() {
    // RFC 9449 §4.1, and its thumbprint of §6.1.
    let proof = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg";
    let mut scratch = Scratch::default();
    let parsed = UnverifiedProof::parse(proof, &OURS, &mut scratch).unwrap();
    assert_eq!((&*parsed.hints().htm, &*parsed.hints().htu), ("POST", "https://server.example.com/token"));
    let verified = parsed.verify().unwrap();
    assert_eq!(verified.claims.iat.secs(), 1_562_262_616);
    assert_eq!(verified.key.to_string(), "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I");
    let refused = UnverifiedToken::parse(proof);
    assert!(matches!(refused, Err(TokenError::HeaderParameter("jwk"))), "{refused:?}");
}

#[test]
fn a_proof_of_ours_verifies_under_the_key_that_it_brings() {
    let claims = json!({ "jti": "1", "htm": "GET", "htu": "https://api.example/a", "iat": 1_562_262_616 });
    for signer in OURS.map(key) {
        let proof = signer.prove(&claims).unwrap();
        let mut scratch = Scratch::default();
        let verified = UnverifiedProof::parse(&proof, &OURS, &mut scratch).unwrap().verify().unwrap();
        assert_eq!((verified.key.to_string(), &*verified.claims.jti), (signer.kid().to_owned(), "1"));
    }
}

#[test]
fn a_header_that_could_mislead_is_refused() {
    let signer = key(Algorithm::Es256);
    let jwk = signer.public_jwk();
    for (name, header, good) in [
        ("plain", json!({ "alg": "ES256" }), true),
        ("unknown members", json!({ "alg": "ES256", "x5t": "a", "cty": "x", "foo": 1 }), true),
        ("none", json!({ "alg": "none" }), false),
        ("None", json!({ "alg": "None" }), false),
        ("empty algorithm", json!({ "alg": "" }), false),
        ("no algorithm", json!({ "kid": "a" }), false),
        ("algorithm in lower case", json!({ "alg": "es256" }), false),
        ("a list of algorithms", json!({ "alg": ["ES256"] }), false),
        ("HMAC", json!({ "alg": "HS256" }), false),
        ("a larger curve", json!({ "alg": "ES384" }), false),
        ("crit", json!({ "alg": "ES256", "crit": ["exp"] }), false),
        ("empty crit", json!({ "alg": "ES256", "crit": [] }), false),
        ("b64", json!({ "alg": "ES256", "b64": true }), false),
        ("zip", json!({ "alg": "ES256", "zip": "DEF" }), false),
        ("an encrypted one", json!({ "alg": "ES256", "enc": "A128GCM" }), false),
        ("its own key", json!({ "alg": "ES256", "jwk": jwk }), false),
        ("a place of keys", json!({ "alg": "ES256", "jku": "https://evil.example/jwks" }), false),
        ("a place of certificates", json!({ "alg": "ES256", "x5u": "https://evil.example/x5u" }), false),
        ("kid a number", json!({ "alg": "ES256", "kid": 1 }), false),
        ("kid too long", json!({ "alg": "ES256", "kid": "k".repeat(257) }), false),
        ("typ a number", json!({ "alg": "ES256", "typ": 1 }), false),
        ("an array", json!(["ES256"]), false),
        ("a string", json!("ES256"), false),
    ] {
        let token = signer.sign_raw(&header.to_string(), "{}");
        assert_eq!(UnverifiedToken::parse(&token).is_ok(), good, "{name}");
    }
    let twice = signer.sign_raw(r#"{"alg":"ES256","alg":"ES256"}"#, "{}");
    assert!(matches!(UnverifiedToken::parse(&twice), Err(TokenError::Json(_))), "a member twice");
}

#[test]
fn a_token_that_is_not_three_strict_parts_is_refused() {
    let good = key(Algorithm::Es256).sign("JWT", &json!({})).unwrap();
    let (message, signature) = good.rsplit_once('.').unwrap();
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let header = part(r#"{"alg":"ES256"}"#);
    for (name, token) in [
        ("empty", String::new()),
        ("dots only", "..".into()),
        ("two parts", message.into()),
        ("four parts", format!("{good}.x")),
        ("five parts", format!("{good}.x.y")),
        ("padding", format!("{good}=")),
        (
            "padded header",
            format!("{}.e30.{signature}", base64::engine::general_purpose::URL_SAFE.encode(r#"{"alg":"ES256" }"#)),
        ),
        ("the other alphabet", format!("{message}.+/{}", &signature[2..])),
        ("a space", format!("{message}. {signature}")),
        ("a line end", format!("{good}\n")),
        ("non-ASCII", format!("{good}ä")),
        ("payload not JSON", format!("{header}.{}.{signature}", part("hello"))),
        ("payload an array", format!("{header}.{}.{signature}", part("[]"))),
        ("payload null", format!("{header}.{}.{signature}", part("null"))),
        ("payload names a claim twice", format!("{header}.{}.{signature}", part(r#"{"a":1,"a":2}"#))),
        ("payload empty", format!("{header}..{signature}")),
        ("header empty", format!(".e30.{signature}")),
        ("unused bits", format!("{message}.{}", with_unused_bits(signature))),
        ("too long", format!("{header}.{}.{signature}", part(&format!(r#"{{"a":"{}"}}"#, "x".repeat(16 * 1024))))),
    ] {
        assert!(UnverifiedToken::parse(&token).is_err(), "{name}");
    }
    let unsigned = format!("{message}.");
    assert_eq!(verify(&key_set(&[key(Algorithm::Es256)]), &unsigned).unwrap_err(), VerifyError::Signature);
}

/// The same bytes in another spelling: the last character's low bits are not zero.
fn with_unused_bits(signature: &str) -> String {
    let (head, last) = signature.split_at(signature.len() - 1);
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let next = alphabet.chars().nth(alphabet.find(last).unwrap() + 1).unwrap();
    format!("{head}{next}")
}

#[test]
fn the_key_decides_the_algorithm() {
    let (rsa, rsa_pem) = &KEYS[0];
    let keys = key_set(&OURS.map(key));
    // HMAC with the public key as the secret: the classic. Refused before any key is looked at.
    let secret = rsa.public_jwk().to_string();
    let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
    header.kid = Some(rsa.kid().to_owned());
    let hmac = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
    let token = jsonwebtoken::encode(&header, &json!({}), &hmac).unwrap();
    assert!(matches!(UnverifiedToken::parse(&token), Err(TokenError::Algorithm)));
    // RS256 by the true owner of a PS256 key.
    let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::RS256);
    header.kid = Some(rsa.kid().to_owned());
    let pkcs1 = jsonwebtoken::EncodingKey::from_rsa_der(&pkcs1(&der(rsa_pem)));
    let token = jsonwebtoken::encode(&header, &json!({}), &pkcs1).unwrap();
    assert_eq!(verify(&keys, &token).unwrap_err(), VerifyError::AlgorithmMismatch);
    // Every key under every other's algorithm.
    for signer in OURS.map(key) {
        for other in OURS.into_iter().filter(|other| *other != signer.algorithm()) {
            let header = json!({ "alg": other.as_str(), "kid": signer.kid() });
            let token = signer.sign_raw(&header.to_string(), "{}");
            let name = format!("{} as {other}", signer.algorithm());
            assert_eq!(verify(&keys, &token).unwrap_err(), VerifyError::AlgorithmMismatch, "{name}");
        }
    }
    // RFC 9864: the newer name of EdDSA over Ed25519.
    let signer = key(Algorithm::EdDsa);
    let token = signer.sign_raw(&json!({ "alg": "Ed25519", "kid": signer.kid() }).to_string(), "{}");
    assert!(verify(&keys, &token).is_ok());
}

#[test]
fn an_rsa_key_without_alg_serves_the_algorithms_of_its_context() {
    let (rsa, pem) = &KEYS[0];
    let mut jwk = rsa.public_jwk();
    jwk.as_object_mut().unwrap().remove("alg");
    let set = json!({ "keys": [jwk] });
    let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::RS256);
    header.kid = Some(rsa.kid().to_owned());
    let rs256 =
        jsonwebtoken::encode(&header, &json!({}), &jsonwebtoken::EncodingKey::from_rsa_der(&pkcs1(&der(pem)))).unwrap();
    let ps256 = rsa.sign("JWT", &json!({})).unwrap();
    for (name, allowed, rs256_verifies, ps256_verifies) in [
        ("both", &[Algorithm::Ps256, Algorithm::Rs256][..], true, true),
        ("PS256", &[Algorithm::Ps256][..], false, true),
        ("RS256", &[Algorithm::Rs256][..], true, false),
    ] {
        let keys = KeySet::parse(&set, allowed).unwrap().keys;
        assert_eq!(verify(&keys, &rs256).is_ok(), rs256_verifies, "{name}");
        assert_eq!(verify(&keys, &ps256).is_ok(), ps256_verifies, "{name}");
    }
}

#[test]
fn the_kid_chooses_and_duplicates_are_all_tried() {
    let signers: Vec<_> = (0..6).map(|_| SigningKey::generate(Algorithm::Es256).unwrap().0).collect();
    let named = |kid: Option<&str>, count: usize| {
        let jwk = |signer: &SigningKey| {
            let mut jwk = signer.public_jwk();
            match kid {
                Some(kid) => jwk["kid"] = kid.into(),
                None => drop(jwk.as_object_mut().unwrap().remove("kid")),
            }
            jwk
        };
        parse_set(&json!({ "keys": signers.iter().take(count).map(jwk).collect::<Vec<_>>() }))
    };
    let token = |signer: &SigningKey, kid: Option<&str>| {
        let mut header = json!({ "alg": "ES256" });
        if let Some(kid) = kid {
            header["kid"] = kid.into();
        }
        signer.sign_raw(&header.to_string(), "{}")
    };
    // FAPI 2.0 §5.4.3: the second of two with one kid signed.
    assert!(verify(&named(Some("a"), 2), &token(&signers[1], Some("a"))).is_ok());
    for (name, keys, token, expected) in [
        ("another kid", named(Some("a"), 2), token(&signers[1], Some("b")), VerifyError::UnknownKid),
        ("a stranger with a kid, keys without", named(None, 2), token(&signers[3], Some("a")), VerifyError::UnknownKid),
        ("kid, too many keys without", named(None, 5), token(&signers[0], Some("a")), VerifyError::UnknownKid),
        ("a stranger with the kid", named(Some("a"), 2), token(&signers[3], Some("a")), VerifyError::Signature),
        ("too many of one kid", named(Some("a"), 5), token(&signers[0], Some("a")), VerifyError::Ambiguous),
        ("no kid, too many keys", named(None, 5), token(&signers[0], None), VerifyError::Ambiguous),
    ] {
        assert_eq!(verify(&keys, &token).unwrap_err(), expected, "{name}");
    }
    assert!(verify(&named(None, 4), &token(&signers[3], None)).is_ok(), "no kid, four keys");
    // RFC 7515 §4.1.4: a hint.
    assert!(verify(&named(None, 2), &token(&signers[1], Some("a"))).is_ok(), "kid, keys without");
    assert!(verify(&named(Some("a"), 1), &token(&signers[0], None)).is_ok(), "no kid, one named key");
}

#[test]
fn an_even_check_refuses_whom_it_does_not_know() {
    let signer = key(Algorithm::Es256);
    let token = signer.sign("JWT", &json!({})).unwrap();
    let evenly = |keys: Option<&KeySet>| KeySet::verify_evenly(keys, UnverifiedToken::parse(&token).unwrap());
    assert!(evenly(Some(&key_set(&[signer]))).is_ok());
    assert_eq!(evenly(None).unwrap_err(), VerifyError::UnknownKid);
    assert_eq!(evenly(Some(&key_set(&[key(Algorithm::EdDsa)]))).unwrap_err(), VerifyError::UnknownKid);
}

#[test]
fn a_jwk_is_a_public_signature_key_of_sufficient_size_or_nothing() {
    let rsa = key(Algorithm::Ps256).public_jwk();
    let ec = key(Algorithm::Es256).public_jwk();
    let ed = key(Algorithm::EdDsa).public_jwk();
    let with = |jwk: &Value, name: &str, value: Value| {
        let mut jwk = jwk.clone();
        jwk[name] = value;
        jwk
    };
    let without = |jwk: &Value, name: &str| {
        let mut jwk = jwk.clone();
        jwk.as_object_mut().unwrap().remove(name);
        jwk
    };
    let modulus = |bits: usize| {
        let mut bytes = vec![0xff; bits / 8];
        bytes[0] = 0x80;
        json!(URL_SAFE_NO_PAD.encode(bytes))
    };
    let padded = {
        let n = URL_SAFE_NO_PAD.decode(rsa["n"].as_str().unwrap()).unwrap();
        json!(URL_SAFE_NO_PAD.encode([&[0, 0], &n[..]].concat()))
    };
    for (name, jwk, expected) in [
        ("RSA", rsa.clone(), None),
        ("EC", ec.clone(), None),
        ("Ed25519", ed.clone(), None),
        ("alg left out", without(&ec, "alg"), None),
        ("use left out", without(&ec, "use"), None),
        ("newer name of EdDSA", with(&ed, "alg", json!("Ed25519")), None),
        ("key_ops verify", with(&ec, "key_ops", json!(["verify"])), None),
        ("a modulus with leading zeros", with(&rsa, "n", padded), None),
        ("unknown members", with(&ec, "x5c", json!(["MII"])), None),
        ("not an object", json!("key"), Some(KeyError::NotAnObject)),
        ("a private EC key", with(&ec, "d", json!("AA")), Some(KeyError::Private("d"))),
        ("a private RSA key", with(&rsa, "p", json!("AA")), Some(KeyError::Private("p"))),
        ("a private member that is null", with(&ed, "d", json!(null)), Some(KeyError::Private("d"))),
        ("a shared key", json!({ "kty": "oct", "k": "AAAA" }), Some(KeyError::Private("k"))),
        ("no type", without(&ec, "kty"), Some(KeyError::KeyType)),
        ("another type", with(&ec, "kty", json!("AKP")), Some(KeyError::KeyType)),
        ("P-384", with(&ec, "crv", json!("P-384")), Some(KeyError::Curve("P-256"))),
        ("secp256k1", with(&ec, "crv", json!("secp256k1")), Some(KeyError::Curve("P-256"))),
        ("Ed448", with(&ed, "crv", json!("Ed448")), Some(KeyError::Curve("Ed25519"))),
        ("X25519", with(&ed, "crv", json!("X25519")), Some(KeyError::Curve("Ed25519"))),
        ("not on the curve", with(&ec, "x", ec["y"].clone()), Some(KeyError::Rejected)),
        ("short coordinate", with(&ec, "x", json!("AAAA")), Some(KeyError::Member("x"))),
        (
            "padded coordinate",
            with(&ec, "x", json!(format!("{}=", ec["x"].as_str().unwrap()))),
            Some(KeyError::Member("x")),
        ),
        ("no y", without(&ec, "y"), Some(KeyError::Member("y"))),
        ("for encryption", with(&ec, "use", json!("enc")), Some(KeyError::Use)),
        ("use a number", with(&ec, "use", json!(1)), Some(KeyError::Use)),
        ("key_ops sign only", with(&ec, "key_ops", json!(["sign"])), Some(KeyError::Use)),
        ("key_ops a text", with(&ec, "key_ops", json!("verify")), Some(KeyError::Use)),
        ("alg of another type", with(&ec, "alg", json!("PS256")), Some(KeyError::Algorithm)),
        ("alg not allowed here", with(&rsa, "alg", json!("RS256")), Some(KeyError::Algorithm)),
        ("alg unknown", with(&rsa, "alg", json!("PS512")), Some(KeyError::Algorithm)),
        ("alg a number", with(&rsa, "alg", json!(1)), Some(KeyError::Algorithm)),
        ("kid a number", with(&ec, "kid", json!(1)), Some(KeyError::Member("kid"))),
        ("kid too long", with(&ec, "kid", json!("k".repeat(257))), Some(KeyError::Member("kid"))),
        ("RSA of 1024 bits", with(&rsa, "n", modulus(1024)), Some(KeyError::RsaBits(1024))),
        ("RSA of 2040 bits", with(&rsa, "n", modulus(2040)), Some(KeyError::RsaBits(2040))),
        ("RSA of 8192 bits", with(&rsa, "n", modulus(8192)), Some(KeyError::RsaBits(8192))),
        ("no modulus", without(&rsa, "n"), Some(KeyError::Member("n"))),
        ("an empty modulus", with(&rsa, "n", json!("")), Some(KeyError::Member("n"))),
        ("an even exponent", with(&rsa, "e", json!("AQAC")), Some(KeyError::Member("e"))),
        ("the exponent 1", with(&rsa, "e", json!("AQ")), Some(KeyError::Member("e"))),
        ("a huge exponent", with(&rsa, "e", json!("AQAAAAE")), Some(KeyError::Member("e"))),
    ] {
        assert_eq!(PublicKey::parse(&jwk, &OURS).err(), expected, "{name}");
    }
}

#[test]
fn a_set_keeps_what_it_can_use_and_says_what_it_cannot() {
    let good = key(Algorithm::Es256).public_jwk();
    let bad = json!({ "kty": "oct", "k": "AAAA" });
    let parsed = KeySet::parse(&json!({ "keys": [bad, good] }), &OURS).unwrap();
    assert_eq!(parsed.keys.iter().count(), 1);
    assert_eq!(parsed.skipped, [SkippedKey { position: 0, error: KeyError::Private("k") }]);
    let first = Some(SkippedKey { position: 0, error: KeyError::Private("k") });
    for (name, set, expected) in [
        ("no keys", json!({ "keys": [] }), JwksError::NoUsableKey { first: None }),
        ("no usable key", json!({ "keys": [bad] }), JwksError::NoUsableKey { first }),
        ("not a set", json!({ "key": [] }), JwksError::NotASet),
        ("keys an object", json!({ "keys": {} }), JwksError::NotASet),
        ("a single key", good.clone(), JwksError::NotASet),
        ("too many", json!({ "keys": vec![good.clone(); 65] }), JwksError::TooMany(65)),
    ] {
        assert_eq!(KeySet::parse(&set, &OURS).err(), Some(expected), "{name}");
    }
}

#[test]
fn a_private_key_is_read_back_under_its_own_algorithm_only() {
    for (signer, pem) in KEYS.iter() {
        let again = SigningKey::from_pem(signer.algorithm(), pem).unwrap();
        assert_eq!(again.kid(), signer.kid());
        assert_eq!(again.kid(), signer.public_key().thumbprint().to_string(), "the kid is the RFC 7638 thumbprint");
        for other in OURS.into_iter().filter(|other| *other != signer.algorithm()) {
            let refused = SigningKey::from_pem(other, pem).map(drop);
            assert_eq!(refused, Err(SigningError::Rejected(other)), "{} as {other}", signer.algorithm());
        }
        let shown = format!("{signer:?} {:?} {pem:?}", signer.public_key());
        assert!(!shown.contains("PRIVATE"), "{shown}");
        assert!(signer.public_jwk().get("d").is_none());
    }
    assert_eq!(
        SigningKey::generate(Algorithm::Rs256).map(drop).unwrap_err(),
        SigningError::Algorithm(Algorithm::Rs256)
    );
    let text = SecretString::from("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    assert_eq!(SigningKey::from_pem(Algorithm::Es256, &text).map(drop), Err(SigningError::Rejected(Algorithm::Es256)));
    assert_eq!(SigningKey::from_pem(Algorithm::Es256, &"no".into()).map(drop), Err(SigningError::Pem));
}

#[test]
fn a_type_is_compared_as_a_media_type() {
    for (name, typ, expected) in [
        ("short", Some("at+jwt"), true),
        ("in another case", Some("AT+JWT"), true),
        ("with its prefix", Some("application/at+jwt"), true),
        ("prefix in another case", Some("Application/at+JWT"), true),
        ("another", Some("JWT"), false),
        ("longer", Some("at+jwt2"), false),
        ("prefixed twice", Some("application/application/at+jwt"), false),
        ("absent", None, false),
    ] {
        let header = Header { algorithm: Algorithm::Es256, kid: None, typ: typ.map(str::to_owned) };
        assert_eq!(header.typ_is("at+jwt"), expected, "{name}");
    }
}

proptest! {
    #[test]
    fn a_token_with_one_character_changed_never_verifies(position in 0usize..10_000, other in "[A-Za-z0-9_.=-]") {
        let signer = key(Algorithm::EdDsa);
        let token = signer.sign("JWT", &json!({ "sub": "a", "exp": 1 })).unwrap();
        let position = position % token.len();
        let mut changed = token.clone();
        changed.replace_range(position..=position, &other);
        prop_assume!(changed != token);
        if let Ok(unverified) = UnverifiedToken::parse(&changed) {
            prop_assert!(key_set(&[signer]).verify(unverified).is_err());
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "[A-Za-z0-9_.=-]{0,60}") {
        let _ = UnverifiedToken::parse(&text);
    }
}
