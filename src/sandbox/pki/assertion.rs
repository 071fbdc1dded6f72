//! Key pairs with which the demo's clients sign their assertions (`private_key_jwt`, OpenID Connect Core §9).

use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256, RsaKeySize};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::PkiError;
use super::files::{make_folder, read, write_public, write_secret};
use crate::jose::Algorithm;

/// A client's signing key.
pub struct AssertionKey {
    /// PKCS #8.
    pub private_pem: SecretString,
    /// RFC 7517, with `kid` (its RFC 7638 thumbprint), `alg` and `use`.
    pub public_jwk: Value,
}

/// Where a signing key lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssertionKeyFiles {
    /// PEM, PKCS #8, readable by its owner only.
    pub private_key: PathBuf,
    /// One JWK as JSON.
    pub public_jwk: PathBuf,
}

impl AssertionKey {
    /// Makes a pair: RSA of 2048 bits, P-256 or Ed25519, as the algorithm wants.
    pub fn generate(algorithm: Algorithm) -> Result<Self, PkiError> {
        let key = match algorithm {
            Algorithm::Ps256 | Algorithm::Rs256 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?,
            Algorithm::Es256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?,
            Algorithm::EdDsa => KeyPair::generate_for(&PKCS_ED25519)?,
        };
        Self::from_pair(&key, algorithm)
    }

    /// Reads a PKCS #8 PEM.
    pub fn from_pem(private_pem: &SecretString, algorithm: Algorithm) -> Result<Self, PkiError> {
        Self::from_pair(&KeyPair::from_pem(private_pem.expose_secret())?, algorithm)
    }

    pub fn kid(&self) -> &str {
        self.public_jwk.get("kid").and_then(Value::as_str).unwrap_or_default()
    }

    fn from_pair(key: &KeyPair, algorithm: Algorithm) -> Result<Self, PkiError> {
        // RFC 7638 §3.2: only the required members, in lexical order, without white space.
        let (mut jwk, canonical) = public_members(key.public_key_raw(), algorithm).ok_or(PkiError::KeyType)?;
        let kid = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, canonical.as_bytes()));
        if let Value::Object(members) = &mut jwk {
            members.insert("kid".into(), kid.into());
            members.insert("alg".into(), algorithm.as_str().into());
            members.insert("use".into(), "sig".into());
        }
        Ok(Self { private_pem: private_pem(key, algorithm)?, public_jwk: jwk })
    }
}

/// PKCS #8 of version 1 (RFC 5208): the form with the public key in it (RFC 5958 §2), which an Ed25519 key gets by default, is
/// read by few programs.
fn private_pem(key: &KeyPair, algorithm: Algorithm) -> Result<SecretString, PkiError> {
    if algorithm != Algorithm::EdDsa {
        return Ok(key.serialize_pem().into());
    }
    let pair = Ed25519KeyPair::from_pkcs8(key.serialized_der()).map_err(|_| PkiError::KeyType)?;
    let der = pair.to_pkcs8v1().map_err(|_| PkiError::KeyType)?;
    let body = STANDARD.encode(der.as_ref()); // One line: the 48 bytes of RFC 8410 §7.
    Ok(format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n").into())
}

/// Takes the key `{name}` from the folder, or makes it there if it is missing or of another kind.
pub fn ensure_assertion_key(folder: &Path, name: &str, algorithm: Algorithm) -> Result<AssertionKeyFiles, PkiError> {
    ensure_key(folder, name, algorithm).map(|(files, _)| files)
}

/// The same, with the key itself.
pub fn ensure_key(
    folder: &Path,
    name: &str,
    algorithm: Algorithm,
) -> Result<(AssertionKeyFiles, AssertionKey), PkiError> {
    make_folder(folder)?;
    let files = AssertionKeyFiles {
        private_key: folder.join(format!("{name}.key")),
        public_jwk: folder.join(format!("{name}.jwk.json")),
    };
    let kept = read(&files.private_key).and_then(|pem| AssertionKey::from_pem(&pem.into(), algorithm));
    let key = match kept {
        Ok(key) => key,
        Err(_) => AssertionKey::generate(algorithm)?,
    };
    write_secret(&files.private_key, &key.private_pem)?;
    write_public(&files.public_jwk, &format!("{:#}\n", key.public_jwk))?;
    Ok((files, key))
}

/// The public members of the JWK, and their canonical text for the thumbprint.
fn public_members(raw: &[u8], algorithm: Algorithm) -> Option<(Value, String)> {
    let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let jwk = match algorithm {
        Algorithm::Es256 => {
            // SEC 1 §2.3.3: 0x04, x, y.
            let point = raw.strip_prefix(&[4]).filter(|point| point.len() == 64)?;
            let (x, y) = point.split_at_checked(32)?;
            json!({ "crv": "P-256", "kty": "EC", "x": text(x), "y": text(y) })
        }
        Algorithm::EdDsa => {
            let point: &[u8; 32] = raw.try_into().ok()?;
            json!({ "crv": "Ed25519", "kty": "OKP", "x": text(point) })
        }
        Algorithm::Ps256 | Algorithm::Rs256 => {
            let key = aws_lc_rs::rsa::PublicKey::from_der(raw).ok()?;
            let (n, e) = (key.modulus(), key.exponent());
            json!({
                "e": text(e.big_endian_without_leading_zero()),
                "kty": "RSA",
                "n": text(n.big_endian_without_leading_zero()),
            })
        }
    };
    let canonical = jwk.to_string();
    Some((jwk, canonical))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_algorithm_gets_a_key_of_its_kind_and_keeps_it() {
        let folder = tempfile::tempdir().unwrap();
        for (algorithm, kty, members) in [
            (Algorithm::Ps256, "RSA", &["n", "e"][..]),
            (Algorithm::Es256, "EC", &["crv", "x", "y"]),
            (Algorithm::EdDsa, "OKP", &["crv", "x"]),
        ] {
            let name = algorithm.as_str();
            let files = ensure_assertion_key(folder.path(), name, algorithm).unwrap();
            let first = std::fs::read_to_string(&files.public_jwk).unwrap();
            let jwk: Value = serde_json::from_str(&first).unwrap();
            assert_eq!(jwk["kty"], kty, "{name}");
            assert_eq!(jwk["alg"], name);
            assert!(members.iter().all(|member| jwk[member].is_string()), "{name}: {jwk}");
            assert!(jwk.get("d").is_none(), "{name}: a public key has no private part");
            ensure_assertion_key(folder.path(), name, algorithm).unwrap();
            assert_eq!(std::fs::read_to_string(&files.public_jwk).unwrap(), first, "{name}: kept");
        }
    }

    #[test]
    fn a_key_of_another_kind_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        ensure_assertion_key(folder.path(), "client", Algorithm::Es256).unwrap();
        let files = ensure_assertion_key(folder.path(), "client", Algorithm::EdDsa).unwrap();
        let jwk: Value = serde_json::from_str(&std::fs::read_to_string(files.public_jwk).unwrap()).unwrap();
        assert_eq!(jwk["kty"], "OKP");
    }

    #[test]
    fn the_thumbprint_is_that_of_rfc_8037() {
        // RFC 8037 appendix A.3.
        let x = URL_SAFE_NO_PAD.decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap();
        let (_, canonical) = public_members(&x, Algorithm::EdDsa).unwrap();
        let kid = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, canonical.as_bytes()));
        assert_eq!(kid, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }
}
