//! A JWS in compact serialisation (RFC 7515 §7.1), parsed strictly and believed in nothing.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::json::{StrictJsonError, parse_strict};
use super::key::KeyThumbprint;
use super::{Algorithm, Claims};

/// Longest token, in bytes.
const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// Longest `kid` and `typ`, in bytes.
const HEADER_TEXT_BYTES_MAX: usize = 256;

/// Why a text is not a JWS that could be verified here.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("a token has at most {TOKEN_BYTES_MAX} bytes")]
    TooLong,
    #[error("a compact JWS has three parts")]
    Parts,
    #[error("a part is not unpadded base64url")]
    Base64,
    #[error("a part is not a JSON object")]
    NotAnObject,
    #[error("a part is not strict JSON")]
    Json(#[source] StrictJsonError),
    /// `none`, HMAC, RSA PKCS#1 where it is not allowed, or anything unknown (RFC 8725 §3.1).
    #[error("the algorithm is not allowed")]
    Algorithm,
    /// `crit`, `b64` and `zip` change what the signature means; `jku`, `x5u` and `jwk` offer a key of the sender's own
    /// choice (RFC 8725 §3.10, FAPI 2.0 §5.4.2-2).
    #[error("the header parameter {0:?} is refused")]
    HeaderParameter(&'static str),
    #[error("the header parameter {0:?} is not a short string")]
    HeaderText(&'static str),
}

/// The parts of a protected header that mean something here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// What the sender says; a key with another algorithm will not look at it.
    pub algorithm: Algorithm,
    pub kid: Option<String>,
    pub typ: Option<String>,
}

impl Header {
    /// Whether `typ` is `expected`, with or without `application/`, in any case (RFC 7515 §4.1.9).
    pub fn typ_is(&self, expected: &str) -> bool {
        self.typ.as_deref().is_some_and(|typ| is_type(typ, expected))
    }
}

pub(super) fn is_type(typ: &str, expected: &str) -> bool {
    bare_type(typ).eq_ignore_ascii_case(expected)
}

fn bare_type(typ: &str) -> &str {
    match typ.split_at_checked("application/".len()) {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case("application/") => rest,
        Some(_) | None => typ,
    }
}

/// A JWS that parsed. Its claims prove nothing; a hint may be used to find the key that will prove them, or to refuse.
#[derive(Debug)]
pub struct UnverifiedToken<'a> {
    signing_input: &'a str,
    signature: Vec<u8>,
    header: Header,
    claims: Claims,
}

/// A token whose signature a key of ours has verified.
#[derive(Debug, Clone)]
pub struct Verified {
    pub header: Header,
    pub claims: Claims,
    /// Which key verified it.
    pub key: KeyThumbprint,
}

impl<'a> UnverifiedToken<'a> {
    /// Parses header and payload; checks nothing that takes a key.
    pub fn parse(compact: &'a str) -> Result<Self, TokenError> {
        if compact.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::TooLong);
        }
        let (signing_input, signature) = compact.rsplit_once('.').ok_or(TokenError::Parts)?;
        let (header, payload) = signing_input.split_once('.').ok_or(TokenError::Parts)?;
        if payload.contains('.') {
            return Err(TokenError::Parts);
        }
        let header = parse_header(&object(header)?)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| TokenError::Base64)?;
        Ok(Self { signing_input, signature, header, claims: Claims::new(object(payload)?) })
    }

    pub fn header(&self) -> &Header {
        &self.header
    }

    /// A text claim as the sender wrote it: unproven, good for finding the key set only.
    pub fn hint(&self, claim: &str) -> Option<&str> {
        self.claims.get(claim).and_then(Value::as_str)
    }

    /// Whom `aud` names: unproven, good for refusing only.
    pub fn hinted_audiences(&self) -> Vec<&str> {
        self.claims.audiences()
    }

    /// Whether `aud` names one of `expected`: unproven, good for refusing only.
    pub fn hints_audience(&self, expected: &[String]) -> bool {
        self.claims.audience_names(expected)
    }

    pub(super) fn signing_input(&self) -> &[u8] {
        self.signing_input.as_bytes()
    }

    pub(super) fn signature(&self) -> &[u8] {
        &self.signature
    }

    pub(super) fn into_verified(self, key: KeyThumbprint) -> Verified {
        Verified { header: self.header, claims: self.claims, key }
    }
}

fn object(part: &str) -> Result<Map<String, Value>, TokenError> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Base64)?;
    match parse_strict(&bytes).map_err(TokenError::Json)? {
        Value::Object(members) => Ok(members),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(TokenError::NotAnObject)
        }
    }
}

fn parse_header(members: &Map<String, Value>) -> Result<Header, TokenError> {
    for refused in ["crit", "b64", "zip", "enc", "jku", "x5u", "jwk"] {
        if members.contains_key(refused) {
            return Err(TokenError::HeaderParameter(refused));
        }
    }
    let algorithm = members.get("alg").and_then(Value::as_str).and_then(|alg| alg.parse().ok());
    Ok(Header {
        algorithm: algorithm.ok_or(TokenError::Algorithm)?,
        kid: header_text(members, "kid")?,
        typ: header_text(members, "typ")?,
    })
}

fn header_text(members: &Map<String, Value>, name: &'static str) -> Result<Option<String>, TokenError> {
    match members.get(name) {
        None => Ok(None),
        Some(Value::String(text)) if text.len() <= HEADER_TEXT_BYTES_MAX => Ok(Some(text.clone())),
        Some(_) => Err(TokenError::HeaderText(name)),
    }
}
