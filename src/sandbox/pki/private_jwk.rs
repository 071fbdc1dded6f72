//! Private keys as JWKs (RFC 7517, RFC 7518 §6, RFC 8037): what client libraries and conformance suites are configured with.

use aws_lc_rs::encoding::AsBigEndian;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::KeyPair;
use secrecy::ExposeSecret;
use serde_json::Value;

use super::{AssertionKey, PkiError};
use crate::jose::Algorithm;

/// DER tags (X.690 §8.1.2).
const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const SEQUENCE: u8 = 0x30;
/// RFC 8017 §A.1.2, after `version`.
const RSA_MEMBERS: [&str; 8] = ["n", "e", "d", "p", "q", "dp", "dq", "qi"];

impl AssertionKey {
    /// The public JWK with its private members. For files of mode 0600 only.
    pub fn private_jwk(&self, algorithm: Algorithm) -> Result<Value, PkiError> {
        let der = KeyPair::from_pem(self.private_pem.expose_secret())?.serialize_der();
        let mut jwk = self.public_jwk.clone();
        let Value::Object(members) = &mut jwk else { return Err(PkiError::KeyType) };
        let mut add = |name: &str, bytes: &[u8]| {
            members.insert(name.to_owned(), URL_SAFE_NO_PAD.encode(bytes).into());
        };
        match algorithm {
            Algorithm::Es256 => {
                let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der);
                let secret = pair.ok().and_then(|pair| pair.private_key().as_be_bytes().ok());
                add("d", secret.ok_or(PkiError::KeyType)?.as_ref());
            }
            Algorithm::EdDsa => {
                let pair = Ed25519KeyPair::from_pkcs8(&der).ok();
                let seed = pair.and_then(|pair| pair.seed().ok()).and_then(|seed| seed.as_be_bytes().ok());
                add("d", seed.ok_or(PkiError::KeyType)?.as_ref());
            }
            Algorithm::Ps256 | Algorithm::Rs256 => {
                let integers = rsa_integers(&der).ok_or(PkiError::KeyType)?;
                for (name, integer) in RSA_MEMBERS.iter().zip(integers).skip(2) {
                    add(name, integer);
                }
            }
        }
        Ok(jwk)
    }
}

/// The integers of an RSAPrivateKey within a PKCS #8 PrivateKeyInfo, without leading zeros and without the version.
fn rsa_integers(pkcs8: &[u8]) -> Option<Vec<&[u8]>> {
    let (info, _) = element(pkcs8, SEQUENCE)?;
    let (_version, rest) = element(info, INTEGER)?;
    let (_algorithm, rest) = element(rest, SEQUENCE)?;
    let (key, _) = element(rest, OCTETS)?;
    let (mut rest, _) = element(key, SEQUENCE)?;
    let mut integers = Vec::new();
    while !rest.is_empty() {
        let (integer, after) = element(rest, INTEGER)?;
        integers.push(integer.strip_prefix(&[0]).unwrap_or(integer));
        rest = after;
    }
    (integers.len() == RSA_MEMBERS.len() + 1).then(|| integers.split_off(1))
}

/// The content of the first DER element, which must have this tag, and what follows it (X.690 §8.1).
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let rest = der.strip_prefix(&[tag])?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = if *first < 0x80 {
        (usize::from(*first), rest)
    } else {
        let (octets, rest) =
            rest.split_at_checked(usize::from(first & 0x7f)).filter(|(octets, _)| octets.len() <= 4)?;
        (octets.iter().fold(0, |length, octet| (length << 8) | usize::from(*octet)), rest)
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_jwk_has_what_its_kind_needs_and_the_public_part_unchanged() {
        for (algorithm, members) in [
            (Algorithm::Es256, &[("d", 32)][..]),
            (Algorithm::EdDsa, &[("d", 32)]),
            (Algorithm::Ps256, &[("d", 256), ("p", 128), ("q", 128), ("dp", 128), ("dq", 128), ("qi", 128)]),
        ] {
            let key = AssertionKey::generate(algorithm).unwrap();
            let jwk = key.private_jwk(algorithm).unwrap();
            for (name, value) in key.public_jwk.as_object().unwrap() {
                assert_eq!(jwk[name], *value, "{algorithm:?} {name}");
            }
            for (name, bytes) in members {
                let found = URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap();
                assert!(found.len() <= *bytes && found.len() + 3 > *bytes, "{algorithm:?} {name}: {}", found.len());
            }
        }
    }
}
