//! The fintech's own token endpoint: client credentials (RFC 6749 §4.4), opaque tokens (RFC 6750).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{HeaderMap, header};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use crate::domain::{Random, Timestamp};
use crate::sandbox::query::Query;
use crate::sandbox::sha256;

/// Most tokens alive; the one that ends first goes first.
const TOKENS_MAX: usize = 1_000;
pub(super) const SCOPES: [&str; 5] =
    ["wallet:read", "wallet:transfer", "credit:read", "lending:read", "lending:accept"];

/// Errors of RFC 6749 §5.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenError {
    InvalidRequest,
    InvalidClient,
    UnsupportedGrantType,
    InvalidScope,
}

impl TokenError {
    pub const fn code(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::InvalidScope => "invalid_scope",
        }
    }
}

/// Why a bearer token does not open a door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BearerError {
    Missing,
    Unknown,
    Scope(&'static str),
}

pub(super) struct Granted {
    pub access_token: String,
    pub scope: String,
}

#[derive(Debug)]
struct Live {
    scopes: BTreeSet<String>,
    expires: Timestamp,
}

/// The one client, and the tokens that it holds. Tokens are kept as digests.
pub(super) struct TokenDesk {
    client_id: String,
    secret_digest: [u8; 32],
    pub token_life: Duration,
    live: BTreeMap<[u8; 32], Live>,
}

impl TokenDesk {
    pub fn new(client_id: &str, client_secret: &SecretString, token_life: Duration) -> Self {
        let secret_digest = sha256(client_secret.expose_secret().as_bytes());
        Self { client_id: client_id.to_owned(), secret_digest, token_life, live: BTreeMap::new() }
    }

    /// Answers a token request: the client in `Authorization: Basic` or in the body, never both (RFC 6749 §2.3).
    pub fn grant(
        &mut self,
        headers: &HeaderMap,
        body: &[u8],
        random: &dyn Random,
        now: Timestamp,
    ) -> Result<Granted, TokenError> {
        let form = Query::parse(std::str::from_utf8(body).ok());
        let basic =
            headers.get(header::AUTHORIZATION).map(|value| basic(value.as_bytes()).ok_or(TokenError::InvalidClient));
        let posted = form.first("client_id").zip(form.first("client_secret"));
        let (id, secret) = match (basic.transpose()?, posted) {
            (Some(_), Some(_)) => return Err(TokenError::InvalidRequest),
            (Some(pair), None) => pair,
            (None, Some((id, secret))) => (id.to_owned(), secret.to_owned()),
            (None, None) => return Err(TokenError::InvalidClient),
        };
        let known = sha256(id.as_bytes()).ct_eq(&sha256(self.client_id.as_bytes()));
        if !bool::from(known & sha256(secret.as_bytes()).ct_eq(&self.secret_digest)) {
            return Err(TokenError::InvalidClient);
        }
        match form.first("grant_type") {
            None => return Err(TokenError::InvalidRequest),
            Some("client_credentials") => (),
            Some(_) => return Err(TokenError::UnsupportedGrantType),
        }
        let scopes = scopes(form.first("scope"))?;
        Ok(self.issue(scopes, random, now))
    }

    fn issue(&mut self, scopes: BTreeSet<String>, random: &dyn Random, now: Timestamp) -> Granted {
        self.live.retain(|_, live| live.expires > now);
        if self.live.len() >= TOKENS_MAX {
            let first = self.live.iter().min_by_key(|(_, live)| live.expires).map(|(digest, _)| *digest);
            first.map(|first| self.live.remove(&first));
        }
        let access_token = URL_SAFE_NO_PAD.encode(random.bytes::<32>());
        let scope = scopes.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
        let expires = now.plus(self.token_life);
        self.live.insert(sha256(access_token.as_bytes()), Live { scopes, expires });
        Granted { access_token, scope }
    }

    /// Whether the request's bearer token is alive and reaches `scope`.
    pub fn check(&self, headers: &HeaderMap, scope: &'static str, now: Timestamp) -> Result<(), BearerError> {
        let value = headers.get(header::AUTHORIZATION).ok_or(BearerError::Missing)?;
        let (scheme, token) = value.as_bytes().split_at_checked(7).ok_or(BearerError::Missing)?;
        if !scheme.eq_ignore_ascii_case(b"bearer ") {
            return Err(BearerError::Missing);
        }
        let live = self.live.get(&sha256(token)).filter(|live| live.expires > now).ok_or(BearerError::Unknown)?;
        if live.scopes.contains(scope) { Ok(()) } else { Err(BearerError::Scope(scope)) }
    }

    /// Every token ends now, as after a restart.
    pub fn forget(&mut self) {
        self.live.clear();
    }
}

fn scopes(asked: Option<&str>) -> Result<BTreeSet<String>, TokenError> {
    let Some(asked) = asked.filter(|asked| !asked.is_empty()) else {
        return Ok(SCOPES.iter().map(|scope| (*scope).to_owned()).collect());
    };
    let known = asked.split(' ').all(|scope| SCOPES.contains(&scope));
    if known { Ok(asked.split(' ').map(str::to_owned).collect()) } else { Err(TokenError::InvalidScope) }
}

/// RFC 6749 §2.3.1: both halves are form-encoded before they are put together.
fn basic(value: &[u8]) -> Option<(String, String)> {
    let (scheme, encoded) = value.split_at_checked(6)?;
    let pair = scheme.eq_ignore_ascii_case(b"basic ").then(|| STANDARD.decode(encoded).ok()).flatten()?;
    let pair = String::from_utf8(pair).ok()?;
    let (id, secret) = pair.split_once(':')?;
    Some((crate::sandbox::query::decode(id), crate::sandbox::query::decode(secret)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::testing::{FixedRandom, NOW};

    const LIFE: Duration = Duration::from_mins(5);

    fn desk() -> TokenDesk {
        TokenDesk::new("gateway", &"s3cret:%".into(), LIFE)
    }

    fn headers(authorization: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if !authorization.is_empty() {
            headers.insert(header::AUTHORIZATION, authorization.parse().unwrap());
        }
        headers
    }

    fn basic_header(pair: &str) -> String {
        format!("Basic {}", STANDARD.encode(pair))
    }

    #[test]
    fn only_the_client_gets_a_token_and_only_by_the_rules() {
        let good = basic_header("gateway:s3cret%3A%25");
        let posted = "grant_type=client_credentials&client_id=gateway&client_secret=s3cret%3A%25";
        for (name, authorization, body, expected) in [
            ("basic", good.as_str(), "grant_type=client_credentials", Ok(())),
            ("in the body", "", posted, Ok(())),
            ("some scopes", "", &format!("{posted}&scope=wallet:read%20credit:read"), Ok(())),
            ("both", good.as_str(), posted, Err(TokenError::InvalidRequest)),
            ("none", "", "grant_type=client_credentials", Err(TokenError::InvalidClient)),
            (
                "wrong secret",
                &basic_header("gateway:nope"),
                "grant_type=client_credentials",
                Err(TokenError::InvalidClient),
            ),
            (
                "wrong client",
                &basic_header("other:s3cret%3A%25"),
                "grant_type=client_credentials",
                Err(TokenError::InvalidClient),
            ),
            ("not basic", "Bearer x", "grant_type=client_credentials", Err(TokenError::InvalidClient)),
            ("no grant type", good.as_str(), "", Err(TokenError::InvalidRequest)),
            ("another grant", good.as_str(), "grant_type=password", Err(TokenError::UnsupportedGrantType)),
            ("unknown scope", "", &format!("{posted}&scope=admin"), Err(TokenError::InvalidScope)),
        ] {
            let granted = desk().grant(&headers(authorization), body.as_bytes(), &FixedRandom::default(), NOW);
            assert_eq!(granted.map(drop), expected, "{name}");
        }
    }

    #[test]
    fn a_token_opens_its_scopes_until_it_ends() {
        let mut desk = desk();
        let body = b"grant_type=client_credentials&client_id=gateway&client_secret=s3cret%3A%25&scope=wallet:read";
        let granted = desk.grant(&HeaderMap::new(), body, &FixedRandom::default(), NOW).unwrap();
        let good = headers(&format!("Bearer {}", granted.access_token));
        let lower = headers(&format!("bearer {}", granted.access_token));
        for (name, headers, scope, now, expected) in [
            ("its scope", &good, "wallet:read", NOW, Ok(())),
            ("the scheme in any case", &lower, "wallet:read", NOW, Ok(())),
            ("another scope", &good, "wallet:transfer", NOW, Err(BearerError::Scope("wallet:transfer"))),
            ("at its end", &good, "wallet:read", NOW.plus(LIFE), Err(BearerError::Unknown)),
            ("another token", &headers("Bearer x"), "wallet:read", NOW, Err(BearerError::Unknown)),
            ("no token", &HeaderMap::new(), "wallet:read", NOW, Err(BearerError::Missing)),
            ("another scheme", &headers("Basic abc"), "wallet:read", NOW, Err(BearerError::Missing)),
        ] {
            assert_eq!(desk.check(headers, scope, now), expected, "{name}");
        }
        desk.forget();
        assert_eq!(desk.check(&good, "wallet:read", NOW), Err(BearerError::Unknown));
    }
}
