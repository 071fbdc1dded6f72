//! One public key of a JWK (RFC 7517), checked, with the one algorithm it is for.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256,
    RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::Algorithm;

/// FAPI 2.0 §5.4.1-2: at least 2048 bits. Above 4096 a check costs more than it gives.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;
const KID_BYTES_MAX: usize = 256;
/// What only a private key (RFC 7518 §6.2.2, §6.3.2, RFC 8037 §2) or a shared one (§6.4) has.
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// Why a JWK cannot verify anything here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("a JWK is a JSON object")]
    NotAnObject,
    #[error("the key has the private member {0:?}; publish the public part only and replace the key")]
    Private(&'static str),
    #[error("`kty` is not RSA, EC or OKP")]
    KeyType,
    #[error("the curve is not {0}")]
    Curve(&'static str),
    #[error("the member {0:?} is missing or malformed")]
    Member(&'static str),
    #[error("an RSA key has {min} to {max} bits, this one has {0}", min = RSA_BITS.start(), max = RSA_BITS.end())]
    RsaBits(usize),
    #[error("`use` or `key_ops` says that the key is not for verifying signatures")]
    Use,
    #[error("`alg` does not fit the key, or is not allowed here")]
    Algorithm,
    #[error("the coordinates are not a public key")]
    Rejected,
}

/// RFC 7638 thumbprint of a JWK, SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyThumbprint(pub [u8; 32]);

impl fmt::Display for KeyThumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for KeyThumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyThumbprint({self})")
    }
}

/// A public key that verifies signatures of exactly one algorithm.
#[derive(Clone)]
pub struct PublicKey {
    kid: Option<Arc<str>>,
    algorithm: Algorithm,
    thumbprint: KeyThumbprint,
    /// Parsed once: to read a point and to see that it lies on the curve takes a good part of a signature check.
    key: Arc<ParsedPublicKey>,
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublicKey").field("kid", &self.kid).field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

impl PublicKey {
    /// Reads a JWK. `allowed` are the algorithms of the context; an RSA key without `alg` yields one key for each
    /// allowed RSA algorithm, so that still each key has exactly one.
    pub fn parse(jwk: &Value, allowed: &[Algorithm]) -> Result<Vec<Self>, KeyError> {
        let members = jwk.as_object().ok_or(KeyError::NotAnObject)?;
        if let Some(private) = PRIVATE_MEMBERS.into_iter().find(|name| members.contains_key(*name)) {
            return Err(KeyError::Private(private));
        }
        check_use(members)?;
        let kid = match members.get("kid") {
            None => None,
            Some(Value::String(kid)) if kid.len() <= KID_BYTES_MAX => Some(Arc::from(kid.as_str())),
            Some(_) => return Err(KeyError::Member("kid")),
        };
        let material = Material::read(|name| members.get(name).and_then(Value::as_str))?;
        let thumbprint = material.thumbprint();
        let key = |algorithm| {
            let key = Arc::new(material.key(algorithm)?);
            Ok(Self { kid: kid.clone(), algorithm, thumbprint, key })
        };
        algorithms(members, &material, allowed)?.into_iter().map(key).collect()
    }

    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub const fn thumbprint(&self) -> KeyThumbprint {
        self.thumbprint
    }

    /// Whether `signature` over `message` is this key's.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.key.verify_sig(message, signature).is_ok()
    }
}

/// RFC 7517 §4.2, §4.3: what the owner says the key is for.
fn check_use(members: &Map<String, Value>) -> Result<(), KeyError> {
    let use_fits = members.get("use").is_none_or(|value| value == "sig");
    let ops_fit = match members.get("key_ops") {
        None => true,
        Some(Value::Array(ops)) => ops.iter().any(|op| op == "verify"),
        Some(_) => false,
    };
    if use_fits && ops_fit { Ok(()) } else { Err(KeyError::Use) }
}

fn algorithms(
    members: &Map<String, Value>,
    material: &Material,
    allowed: &[Algorithm],
) -> Result<Vec<Algorithm>, KeyError> {
    let stated = match members.get("alg") {
        None => None,
        Some(Value::String(alg)) => Some(alg.parse::<Algorithm>().map_err(|_| KeyError::Algorithm)?),
        Some(_) => return Err(KeyError::Algorithm),
    };
    let fitting = material.algorithms().iter().copied();
    let usable: Vec<_> = fitting.filter(|a| allowed.contains(a) && stated.is_none_or(|s| s == *a)).collect();
    if usable.is_empty() { Err(KeyError::Algorithm) } else { Ok(usable) }
}

/// The numbers of a public key, decoded and checked for size.
pub(super) enum Material {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256 { x: [u8; 32], y: [u8; 32] },
    Ed25519 { x: [u8; 32] },
}

impl Material {
    /// Reads the members of a JWK, which `text` finds by their names.
    pub(super) fn read<'k>(text: impl Fn(&'static str) -> Option<&'k str>) -> Result<Self, KeyError> {
        match (text("kty"), text("crv")) {
            (Some("RSA"), _) => read_rsa(text),
            (Some("EC"), Some("P-256")) => Ok(Self::P256 { x: coordinate(&text, "x")?, y: coordinate(&text, "y")? }),
            (Some("EC"), _) => Err(KeyError::Curve("P-256")),
            // RFC 8037 §2. Ed448 and the key agreement curves are not for us (FAPI 2.0 §5.4.1-1b).
            (Some("OKP"), Some("Ed25519")) => Ok(Self::Ed25519 { x: coordinate(&text, "x")? }),
            (Some("OKP"), _) => Err(KeyError::Curve("Ed25519")),
            (Some(_) | None, _) => Err(KeyError::KeyType),
        }
    }

    pub(super) const fn algorithms(&self) -> &'static [Algorithm] {
        match self {
            Self::Rsa { .. } => &[Algorithm::Ps256, Algorithm::Rs256],
            Self::P256 { .. } => &[Algorithm::Es256],
            Self::Ed25519 { .. } => &[Algorithm::EdDsa],
        }
    }

    /// RFC 7638 §3: the required members in lexicographic order, without white space.
    pub(super) fn thumbprint(&self) -> KeyThumbprint {
        let mut json = Digest::new();
        match self {
            Self::Rsa { n, e } => {
                json.text(r#"{"e":""#).number(e).text(r#"","kty":"RSA","n":""#).number(n).text(r#""}"#)
            }
            Self::P256 { x, y } => {
                json.text(r#"{"crv":"P-256","kty":"EC","x":""#).number(x).text(r#"","y":""#).number(y).text(r#""}"#)
            }
            Self::Ed25519 { x } => json.text(r#"{"crv":"Ed25519","kty":"OKP","x":""#).number(x).text(r#""}"#),
        };
        KeyThumbprint(json.finish())
    }

    /// Whether `signature` over `message` is this key's, for a key that is used once: it is parsed on the way, which
    /// refuses what is no key. Never true of an algorithm that is not the key's.
    pub(super) fn verifies_once(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let verified = match self.by(algorithm) {
            Some(By::Rsa(parameters, numbers)) => numbers.verify(parameters, message, signature),
            Some(By::P256(point)) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature),
            Some(By::Ed25519(x)) => UnparsedPublicKey::new(&ED25519, x).verify(message, signature),
            None => return false,
        };
        verified.is_ok()
    }

    /// What verifies, by this algorithm and no other. Refuses numbers that are no key (a point off the curve, for
    /// instance) now rather than at the first token.
    fn key(&self, algorithm: Algorithm) -> Result<ParsedPublicKey, KeyError> {
        let parsed = match self.by(algorithm).ok_or(KeyError::Algorithm)? {
            By::Rsa(parameters, numbers) => numbers.to_parsed_public_key(parameters),
            By::P256(point) => ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point),
            By::Ed25519(x) => ParsedPublicKey::new(&ED25519, x),
        };
        parsed.map_err(|_| KeyError::Rejected)
    }

    /// Which algorithms go with which keys, and how.
    fn by(&self, algorithm: Algorithm) -> Option<By<'_>> {
        match (self, algorithm) {
            (Self::Rsa { n, e }, Algorithm::Ps256) => {
                Some(By::Rsa(&RSA_PSS_2048_8192_SHA256, RsaPublicKeyComponents { n, e }))
            }
            (Self::Rsa { n, e }, Algorithm::Rs256) => {
                Some(By::Rsa(&RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents { n, e }))
            }
            (Self::P256 { x, y }, Algorithm::Es256) => Some(By::P256(point(x, y))),
            (Self::Ed25519 { x }, Algorithm::EdDsa) => Some(By::Ed25519(x)),
            (Self::Rsa { .. }, Algorithm::Es256 | Algorithm::EdDsa)
            | (Self::P256 { .. }, Algorithm::Ps256 | Algorithm::Rs256 | Algorithm::EdDsa)
            | (Self::Ed25519 { .. }, Algorithm::Ps256 | Algorithm::Rs256 | Algorithm::Es256) => None,
        }
    }
}

/// A key with an algorithm of its own.
enum By<'k> {
    Rsa(&'static RsaParameters, RsaPublicKeyComponents<&'k [u8]>),
    P256([u8; 65]),
    Ed25519(&'k [u8; 32]),
}

/// SEC 1 §2.3.3: an uncompressed point.
fn point(x: &[u8; 32], y: &[u8; 32]) -> [u8; 65] {
    let mut point = [4; 65];
    let (first, second) = point.split_at_mut(33);
    first.iter_mut().skip(1).zip(x).for_each(|(to, from)| *to = *from);
    second.copy_from_slice(y);
    point
}

/// SHA-256 of a text that is put together on the way.
struct Digest(aws_lc_rs::digest::Context);

impl Digest {
    fn new() -> Self {
        Self(aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256))
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.0.update(text.as_bytes());
        self
    }

    /// In base64url. Invariant: a multiple of three bytes at a time but for the last, so that the pieces join.
    fn number(&mut self, bytes: &[u8]) -> &mut Self {
        let mut digits = [0; 128];
        for piece in bytes.chunks(96) {
            // 96 bytes are 128 digits: the buffer is never too small.
            let written = URL_SAFE_NO_PAD.encode_slice(piece, &mut digits).unwrap_or_default();
            self.0.update(digits.get(..written).unwrap_or_default());
        }
        self
    }

    fn finish(self) -> [u8; 32] {
        let mut out = [0; 32];
        out.copy_from_slice(self.0.finish().as_ref());
        out
    }
}

fn read_rsa<'k>(text: impl Fn(&'static str) -> Option<&'k str>) -> Result<Material, KeyError> {
    let n = unsigned(&text, "n")?;
    let e = unsigned(&text, "e")?;
    let bits = n.len() * 8 - n.first().map_or(0, |first| first.leading_zeros() as usize);
    if !RSA_BITS.contains(&bits) {
        return Err(KeyError::RsaBits(bits));
    }
    // An even or tiny exponent is no RSA key; a huge one only makes verifying slow.
    let odd = e.last().is_some_and(|last| last % 2 == 1);
    if !odd || e.len() > 4 || e == [1] {
        return Err(KeyError::Member("e"));
    }
    Ok(Material::Rsa { n, e })
}

/// A Base64urlUInt (RFC 7518 §2), without the leading zeros that some libraries add.
fn unsigned<'k>(text: impl Fn(&'static str) -> Option<&'k str>, name: &'static str) -> Result<Vec<u8>, KeyError> {
    let text = text(name).ok_or(KeyError::Member(name))?;
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| KeyError::Member(name))?;
    let significant: Vec<u8> = bytes.into_iter().skip_while(|byte| *byte == 0).collect();
    if significant.is_empty() { Err(KeyError::Member(name)) } else { Ok(significant) }
}

fn coordinate<'k>(text: impl Fn(&'static str) -> Option<&'k str>, name: &'static str) -> Result<[u8; 32], KeyError> {
    let mut bytes = [0; 32];
    let text = text(name).ok_or(KeyError::Member(name))?;
    match URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) {
        Ok(32) => Ok(bytes),
        Ok(_) | Err(_) => Err(KeyError::Member(name)),
    }
}
