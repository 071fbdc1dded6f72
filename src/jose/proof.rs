//! A DPoP proof (RFC 9449 §4.2): a JWS that brings the key it is signed with.
//!
//! It is read into a buffer of the caller's, without allocating: every request with a sender-constrained token has one,
//! and none is read twice.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Number;

use super::Algorithm;
use super::claims::numeric_date;
use super::key::{KeyError, KeyThumbprint, Material};
use super::token::is_type;
use crate::domain::Timestamp;

/// Longest proof, in bytes: one by an RSA key of 4096 bits with a chain of certificates beside it.
pub const PROOF_BYTES_MAX: usize = 8 * 1024;
/// A signature by the largest RSA key.
const SIGNATURE_BYTES_MAX: usize = 512;

/// Why a text is not a DPoP proof, or not by the key that it brings. Nothing of the text is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    #[error("a proof has at most {PROOF_BYTES_MAX} bytes")]
    TooLong,
    #[error("a compact JWS has three parts")]
    Parts,
    #[error("a part is not unpadded base64url")]
    Base64,
    #[error("the header or the payload is not a JSON object with members of the right types, each named once")]
    Json,
    /// They change what the signature means, or name a key at another place.
    #[error("the header parameter {0:?} is refused")]
    HeaderParameter(&'static str),
    #[error("`typ` is not dpop+jwt")]
    Type,
    #[error("`alg` is missing or not allowed")]
    Algorithm,
    #[error("`jwk` is missing")]
    KeyMissing,
    #[error("`jwk` is not a public key that can be used here")]
    Key(#[source] KeyErrorKind),
    #[error("the claim {0:?} is missing or malformed")]
    Claim(&'static str),
    #[error("the signature is not that of the key in `jwk`")]
    Signature,
}

/// A [`KeyError`], small enough to be copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyErrorKind {
    #[error("it has a private member")]
    Private,
    #[error("type, curve, size or a member is wrong")]
    Material,
    #[error("`use`, `key_ops` or `alg` says that it is for something else")]
    Purpose,
}

/// Where a proof is decoded. On the stack of whoever reads one.
pub struct Scratch([u8; PROOF_BYTES_MAX / 4 * 3]);

impl Default for Scratch {
    fn default() -> Self {
        Self([0; PROOF_BYTES_MAX / 4 * 3])
    }
}

/// What a proof says (RFC 9449 §4.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofClaims<'p> {
    pub jti: Cow<'p, str>,
    pub htm: Cow<'p, str>,
    pub htu: Cow<'p, str>,
    pub iat: Timestamp,
    pub ath: Option<Cow<'p, str>>,
    pub nonce: Option<Cow<'p, str>>,
}

/// A proof that parsed. What it says proves nothing, and is good for refusing only.
pub struct UnverifiedProof<'p> {
    signing_input: &'p str,
    signature: [u8; SIGNATURE_BYTES_MAX],
    signature_bytes: usize,
    algorithm: Algorithm,
    key: Material,
    claims: ProofClaims<'p>,
}

/// A proof by whoever holds the private part of `key`.
#[derive(Debug)]
pub struct VerifiedProof<'p> {
    pub claims: ProofClaims<'p>,
    pub key: KeyThumbprint,
}

impl fmt::Debug for UnverifiedProof<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnverifiedProof").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

impl<'p> UnverifiedProof<'p> {
    /// RFC 9449 §4.3, 2 to 5 and 7: form, type, algorithm and key. `allowed` are the algorithms of the context.
    pub fn parse(compact: &'p str, allowed: &[Algorithm], scratch: &'p mut Scratch) -> Result<Self, ProofError> {
        if compact.len() > PROOF_BYTES_MAX {
            return Err(ProofError::TooLong);
        }
        let (signing_input, signature_part) = compact.rsplit_once('.').ok_or(ProofError::Parts)?;
        let (header, payload) = signing_input.split_once('.').ok_or(ProofError::Parts)?;
        if payload.contains('.') {
            return Err(ProofError::Parts);
        }
        let (header, rest) = decode(header, &mut scratch.0)?;
        let (payload, _) = decode(payload, rest)?;
        let mut signature = [0; SIGNATURE_BYTES_MAX];
        let decoded = URL_SAFE_NO_PAD.decode_slice(signature_part, &mut signature);
        let signature_bytes = decoded.map_err(|_| ProofError::Base64)?;
        let (algorithm, key) = object::<RawHeader<'p>>(header)?.check(allowed)?;
        let claims = object::<RawClaims<'p>>(payload)?.check()?;
        Ok(Self { signing_input, signature, signature_bytes, algorithm, key, claims })
    }

    pub const fn hints(&self) -> &ProofClaims<'p> {
        &self.claims
    }

    /// RFC 9449 §4.3, 6.
    pub fn verify(self) -> Result<VerifiedProof<'p>, ProofError> {
        let signature = self.signature.get(..self.signature_bytes).unwrap_or_default();
        if !self.key.verifies_once(self.algorithm, self.signing_input.as_bytes(), signature) {
            return Err(ProofError::Signature);
        }
        Ok(VerifiedProof { key: self.key.thumbprint(), claims: self.claims })
    }
}

/// Decodes a part into the front of `buffer`; the second value is what is left of that.
fn decode<'p>(part: &str, buffer: &'p mut [u8]) -> Result<(&'p str, &'p mut [u8]), ProofError> {
    let length = URL_SAFE_NO_PAD.decode_slice(part, buffer).map_err(|_| ProofError::Base64)?;
    let (text, rest) = buffer.split_at_mut_checked(length).ok_or(ProofError::Base64)?;
    Ok((std::str::from_utf8(text).map_err(|_| ProofError::Json)?, rest))
}

fn object<'p, T: Deserialize<'p>>(text: &'p str) -> Result<T, ProofError> {
    serde_json::from_str::<Object<T>>(text).map(|object| object.0).map_err(|_| ProofError::Json)
}

#[derive(serde::Deserialize)]
struct RawHeader<'p> {
    #[serde(borrow)]
    typ: Option<Text<'p>>,
    #[serde(borrow)]
    alg: Option<Text<'p>>,
    #[serde(borrow)]
    jwk: Option<Object<RawKey<'p>>>,
    #[serde(default, deserialize_with = "present")]
    crit: bool,
    #[serde(default, deserialize_with = "present")]
    b64: bool,
    #[serde(default, deserialize_with = "present")]
    zip: bool,
    #[serde(default, deserialize_with = "present")]
    enc: bool,
    #[serde(default, deserialize_with = "present")]
    jku: bool,
    #[serde(default, deserialize_with = "present")]
    x5u: bool,
}

impl RawHeader<'_> {
    fn check(&self, allowed: &[Algorithm]) -> Result<(Algorithm, Material), ProofError> {
        let refused = [
            ("crit", self.crit),
            ("b64", self.b64),
            ("zip", self.zip),
            ("enc", self.enc),
            ("jku", self.jku),
            ("x5u", self.x5u),
        ];
        if let Some((name, _)) = refused.into_iter().find(|(_, present)| *present) {
            return Err(ProofError::HeaderParameter(name));
        }
        if !self.typ.as_ref().is_some_and(|typ| is_type(&typ.0, "dpop+jwt")) {
            return Err(ProofError::Type);
        }
        let algorithm = self.alg.as_ref().and_then(|alg| alg.0.parse::<Algorithm>().ok());
        let algorithm = algorithm.filter(|alg| allowed.contains(alg)).ok_or(ProofError::Algorithm)?;
        let Object(key) = self.jwk.as_ref().ok_or(ProofError::KeyMissing)?;
        Ok((algorithm, key.check(algorithm).map_err(ProofError::Key)?))
    }
}

#[derive(serde::Deserialize)]
struct RawKey<'p> {
    #[serde(borrow)]
    kty: Option<Text<'p>>,
    #[serde(borrow)]
    crv: Option<Text<'p>>,
    #[serde(borrow)]
    x: Option<Text<'p>>,
    #[serde(borrow)]
    y: Option<Text<'p>>,
    #[serde(borrow)]
    n: Option<Text<'p>>,
    #[serde(borrow)]
    e: Option<Text<'p>>,
    #[serde(borrow)]
    alg: Option<Text<'p>>,
    #[serde(borrow, rename = "use")]
    purpose: Option<Text<'p>>,
    #[serde(borrow)]
    key_ops: Option<Vec<Text<'p>>>,
    // What only a private key has (RFC 7518 §6.2.2, §6.3.2, RFC 8037 §2), or a shared one (§6.4).
    #[serde(default, deserialize_with = "present")]
    d: bool,
    #[serde(default, deserialize_with = "present")]
    p: bool,
    #[serde(default, deserialize_with = "present")]
    q: bool,
    #[serde(default, deserialize_with = "present")]
    dp: bool,
    #[serde(default, deserialize_with = "present")]
    dq: bool,
    #[serde(default, deserialize_with = "present")]
    qi: bool,
    #[serde(default, deserialize_with = "present")]
    oth: bool,
    #[serde(default, deserialize_with = "present")]
    k: bool,
}

impl RawKey<'_> {
    fn check(&self, algorithm: Algorithm) -> Result<Material, KeyErrorKind> {
        if self.d || self.p || self.q || self.dp || self.dq || self.qi || self.oth || self.k {
            return Err(KeyErrorKind::Private); // RFC 9449 §4.3, 7.
        }
        let material = Material::read(|name| self.text(name)).map_err(|_: KeyError| KeyErrorKind::Material)?;
        let stated = self.alg.as_ref().is_none_or(|alg| alg.0.parse() == Ok(algorithm));
        let signs = self.purpose.as_ref().is_none_or(|purpose| purpose.0 == "sig");
        let verifies = self.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op.0 == "verify"));
        // RFC 8725 §3.1: the key decides.
        if stated && signs && verifies && material.algorithms().contains(&algorithm) {
            Ok(material)
        } else {
            Err(KeyErrorKind::Purpose)
        }
    }

    fn text(&self, name: &str) -> Option<&str> {
        let member = match name {
            "kty" => &self.kty,
            "crv" => &self.crv,
            "x" => &self.x,
            "y" => &self.y,
            "n" => &self.n,
            "e" => &self.e,
            _ => return None,
        };
        member.as_ref().map(|text| &*text.0)
    }
}

#[derive(serde::Deserialize)]
struct RawClaims<'p> {
    #[serde(borrow)]
    jti: Option<Text<'p>>,
    #[serde(borrow)]
    htm: Option<Text<'p>>,
    #[serde(borrow)]
    htu: Option<Text<'p>>,
    iat: Option<Number>,
    #[serde(borrow)]
    ath: Option<Text<'p>>,
    #[serde(borrow)]
    nonce: Option<Text<'p>>,
}

impl<'p> RawClaims<'p> {
    /// RFC 9449 §4.3, 3: what must be there is there.
    fn check(self) -> Result<ProofClaims<'p>, ProofError> {
        let text = |claim: Option<Text<'p>>, name| {
            claim.map(|text| text.0).filter(|text| !text.is_empty()).ok_or(ProofError::Claim(name))
        };
        Ok(ProofClaims {
            jti: text(self.jti, "jti")?,
            htm: text(self.htm, "htm")?,
            htu: text(self.htu, "htu")?,
            iat: self.iat.as_ref().and_then(numeric_date).ok_or(ProofError::Claim("iat"))?,
            ath: self.ath.map(|text| text.0),
            nonce: self.nonce.map(|text| text.0),
        })
    }
}

/// A member that is there, whatever its value, `null` too.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

/// A string, borrowed where it has no escapes. (`Option<Cow<str>>` would always copy.)
struct Text<'p>(Cow<'p, str>);

impl<'de: 'p, 'p> Deserialize<'de> for Text<'p> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor).map(Text)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

/// A JSON object. Without it, a derived reader would take an array as well.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData)).map(Object)
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(members))
    }
}
