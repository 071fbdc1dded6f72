//! Our own signing keys.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PSS_SHA256, RsaKeyPair,
    RsaPublicKeyComponents,
};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};

use super::{Algorithm, PublicKey};

/// Why a key cannot be made or used. None of them carries key material.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SigningError {
    #[error("our tokens are signed with ES256, PS256 or EdDSA, not with {0}")]
    Algorithm(Algorithm),
    #[error("the text is not a PKCS#8 private key in PEM")]
    Pem,
    #[error("the private key does not fit {0}, or is damaged")]
    Rejected(Algorithm),
    #[error("the cryptographic library failed")]
    Library,
}

enum Pair {
    Rsa(Box<RsaKeyPair>),
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// A private key that signs with exactly one algorithm. Its `kid` is its RFC 7638 thumbprint.
pub struct SigningKey {
    algorithm: Algorithm,
    kid: Arc<str>,
    pair: Pair,
    jwk: Map<String, Value>,
    public: PublicKey,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("kid", &self.kid).field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// Makes a fresh key and returns it with its PKCS#8 PEM. Entropy comes from AWS-LC: no API takes it from outside.
    /// An RSA key takes up to a second of one core.
    pub fn generate(algorithm: Algorithm) -> Result<(Self, SecretString), SigningError> {
        let library = |_| SigningError::Library;
        let der = match algorithm {
            Algorithm::Ps256 => {
                let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(library)?;
                AsDer::<Pkcs8V1Der<'static>>::as_der(&pair).map_err(library)?.as_ref().to_vec()
            }
            Algorithm::Es256 => {
                let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(library)?;
                pair.to_pkcs8v1().map_err(library)?.as_ref().to_vec()
            }
            Algorithm::EdDsa => {
                let pair = Ed25519KeyPair::generate().map_err(library)?;
                pair.to_pkcs8v1().map_err(library)?.as_ref().to_vec()
            }
            Algorithm::Rs256 => return Err(SigningError::Algorithm(algorithm)),
        };
        let pem = pem(der);
        Ok((Self::from_pem(algorithm, &pem)?, pem))
    }

    /// Reads a PKCS#8 private key in PEM.
    pub fn from_pem(algorithm: Algorithm, pem: &SecretString) -> Result<Self, SigningError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.expose_secret().as_bytes()).map_err(|_| SigningError::Pem)?;
        let pkcs8 = der.secret_pkcs8_der();
        let rejected = |_| SigningError::Rejected(algorithm);
        let pair = match algorithm {
            Algorithm::Ps256 => Pair::Rsa(Box::new(RsaKeyPair::from_pkcs8(pkcs8).map_err(rejected)?)),
            Algorithm::Es256 => {
                Pair::P256(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).map_err(rejected)?)
            }
            Algorithm::EdDsa => Pair::Ed25519(Ed25519KeyPair::from_pkcs8(pkcs8).map_err(rejected)?),
            Algorithm::Rs256 => return Err(SigningError::Algorithm(algorithm)),
        };
        Self::new(algorithm, pair).ok_or(SigningError::Rejected(algorithm))
    }

    fn new(algorithm: Algorithm, pair: Pair) -> Option<Self> {
        let mut jwk = coordinates(&pair)?;
        let unnamed = PublicKey::parse(&Value::Object(jwk.clone()), &[algorithm]).ok()?.pop()?;
        let kid: Arc<str> = unnamed.thumbprint().to_string().into();
        jwk.insert("use".into(), "sig".into());
        jwk.insert("alg".into(), algorithm.as_str().into());
        jwk.insert("kid".into(), (*kid).into());
        let public = PublicKey::parse(&Value::Object(jwk.clone()), &[algorithm]).ok()?.pop()?;
        Some(Self { algorithm, kid, pair, jwk, public })
    }

    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The public part with `kid`, `use` and `alg`, as the JWK set publishes it.
    pub fn public_jwk(&self) -> Value {
        Value::Object(self.jwk.clone())
    }

    pub fn public_key(&self) -> PublicKey {
        self.public.clone()
    }

    /// Signs `claims` as a compact JWS with header `alg`, `typ` and `kid`.
    pub fn sign(&self, typ: &str, claims: &Value) -> Result<String, SigningError> {
        self.compact(&json!({ "alg": self.algorithm.as_str(), "typ": typ, "kid": &*self.kid }), claims)
    }

    /// Signs `claims` as a DPoP proof, which brings its key (RFC 9449 §4.2).
    pub fn prove(&self, claims: &Value) -> Result<String, SigningError> {
        let mut jwk = self.jwk.clone();
        jwk.retain(|name, _| !["use", "alg", "kid"].contains(&name.as_str())); // Of no use to whoever takes its thumbprint.
        self.compact(&json!({ "alg": self.algorithm.as_str(), "typ": "dpop+jwt", "jwk": jwk }), claims)
    }

    fn compact(&self, header: &Value, claims: &Value) -> Result<String, SigningError> {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let mut token = format!("{}.{}", part(header), part(claims));
        let signature = self.signature(token.as_bytes()).ok_or(SigningError::Library)?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(token)
    }

    /// A JWS with any header and payload, for tests of what must be refused.
    #[cfg(test)]
    pub(crate) fn sign_raw(&self, header: &str, payload: &str) -> String {
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let signature = self.signature(message.as_bytes()).unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn signature(&self, message: &[u8]) -> Option<Vec<u8>> {
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PSS_SHA256, &SystemRandom::new(), message, &mut signature).ok()?;
                Some(signature)
            }
            Pair::P256(pair) => Some(pair.sign(&SystemRandom::new(), message).ok()?.as_ref().to_vec()),
            Pair::Ed25519(pair) => Some(pair.try_sign(message).ok()?.as_ref().to_vec()),
        }
    }
}

fn coordinates(pair: &Pair) -> Option<Map<String, Value>> {
    let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let jwk = match pair {
        Pair::Rsa(pair) => {
            let public = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
            json!({ "kty": "RSA", "n": text(&public.n), "e": text(&public.e) })
        }
        Pair::P256(pair) => {
            // SEC 1 §2.3.3: 0x04, x, y.
            let (x, y) = pair.public_key().as_ref().get(1..)?.split_at_checked(32)?;
            json!({ "kty": "EC", "crv": "P-256", "x": text(x), "y": text(y) })
        }
        Pair::Ed25519(pair) => json!({ "kty": "OKP", "crv": "Ed25519", "x": text(pair.public_key().as_ref()) }),
    };
    match jwk {
        Value::Object(members) => Some(members),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => None,
    }
}

/// RFC 7468 §10.
fn pem(der: Vec<u8>) -> SecretString {
    let der = secrecy::SecretSlice::from(der);
    let body = SecretString::from(STANDARD.encode(der.expose_secret()));
    let lines = body.expose_secret().as_bytes().chunks(64).map(String::from_utf8_lossy).collect::<Vec<_>>().join("\n");
    let lines = SecretString::from(lines);
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.expose_secret()).into()
}
