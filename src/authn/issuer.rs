//! One issuer of access tokens, ours or one outside, and the checks that a token of it must pass (RFC 9068 §4).

use std::fmt;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use serde_json::Value;

use super::remote_keys::{JWKS_BYTES_MAX, RemoteKeys};
use super::token::{read_binding, read_details};
use super::{AuthnError, IssuerError, IssuerSettings, JwksSource, UnknownPartners, VerifiedToken};
use crate::domain::{ClientId, Scope, ScopeSet, TenantId, Timestamp};
use crate::jose::{Algorithm, Claims, KeySet, KeyThumbprint, UnverifiedToken, Verified, VerifyError, parse_strict};

/// How far ahead of our clock `nbf` and `iat` of an access token may lie. `exp` has no leeway.
const CLOCK_SKEW_MAX: Duration = Duration::from_secs(10);

/// Where the keys are at hand.
enum Keys {
    /// Ours; the key ring publishes into it.
    Own(Arc<ArcSwap<KeySet>>),
    File(KeySet),
    Url(Box<RemoteKeys>),
}

/// Whose token it is decides which claims must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Own,
    Outside,
}

/// One trusted issuer and its keys.
pub struct Issuer {
    name: Arc<str>,
    origin: Origin,
    settings: IssuerSettings,
    keys: Keys,
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer").field("name", &self.name).field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl Issuer {
    /// Our own authorization server; `keys` is what its key ring publishes.
    pub fn own(issuer: &str, audience: &str, keys: Arc<ArcSwap<KeySet>>) -> Arc<Self> {
        let settings = IssuerSettings {
            issuer: issuer.to_owned(),
            jwks: JwksSource::Url(String::new()), // Never asked: `keys` is at hand.
            audiences: vec![audience.to_owned()],
            client_claim: "client_id".into(),
            tenant_claim: Some("tenant".into()),
            scope_claim: "scope".into(),
            algorithms: vec![Algorithm::Ps256, Algorithm::Es256, Algorithm::EdDsa],
            require_at_jwt: true,
            unknown_partners: UnknownPartners::Refuse,
        };
        Arc::new(Self { name: issuer.into(), origin: Origin::Own, settings, keys: Keys::Own(keys) })
    }

    /// An outside issuer. Reads a JWK set from its file now; one behind a URL is fetched when first needed.
    pub fn outside(settings: IssuerSettings) -> Result<Arc<Self>, IssuerError> {
        let name: Arc<str> = settings.issuer.as_str().into();
        if settings.audiences.is_empty() {
            return Err(IssuerError::NoAudience(settings.issuer));
        }
        if settings.algorithms.is_empty() {
            return Err(IssuerError::NoAlgorithm(settings.issuer));
        }
        let keys = match &settings.jwks {
            JwksSource::File(path) => Keys::File(read_file(&settings, path)?),
            JwksSource::Url(url) => Keys::Url(Box::new(RemoteKeys::new(&settings, url)?)),
        };
        Ok(Arc::new(Self { name, origin: Origin::Outside, settings, keys }))
    }

    /// Compared exactly with `iss`.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) const fn settings(&self) -> &IssuerSettings {
        &self.settings
    }

    pub const fn unknown_partners(&self) -> &UnknownPartners {
        &self.settings.unknown_partners
    }

    /// Whether only this process can have signed its tokens, so that they can be revoked here.
    pub(super) fn is_own(&self) -> bool {
        self.origin == Origin::Own
    }

    /// Whether the key that verified a remembered token is still one of the issuer's.
    pub(super) fn still_has(&self, key: KeyThumbprint) -> bool {
        match &self.keys {
            Keys::Own(keys) => keys.load().contains(key),
            Keys::File(keys) => keys.contains(key),
            Keys::Url(remote) => remote.contains(key),
        }
    }

    /// Fetches the keys again if it is time to; nothing to do for keys that are at hand.
    pub(super) async fn refresh(&self, now: Timestamp) {
        if let Keys::Url(remote) = &self.keys {
            remote.refresh_if_due(now).await;
        }
    }

    /// RFC 9068 §4 in its order, up to and without the sender constraint and revocation. To refuse for an unproven
    /// claim is safe, so issuer and audience come before the signature, as the RFC lists them, and spare its cost.
    pub async fn verify(
        self: &Arc<Self>,
        token: UnverifiedToken<'_>,
        now: Timestamp,
    ) -> Result<VerifiedToken, AuthnError> {
        self.check_header(&token)?;
        if token.hint("iss") != Some(&*self.name) {
            return Err(AuthnError::Issuer);
        }
        if self.parts(&token.hinted_audiences()).is_none() {
            return Err(AuthnError::Audience);
        }
        let verified = self.verify_signature(token, now).await?;
        self.read(&verified, now)
    }

    /// Which parts of our resource a token for `audiences` is for; nothing, if it is for others. An outside issuer's is
    /// for all of it.
    fn parts(&self, audiences: &[&str]) -> Option<Vec<Box<str>>> {
        let ours = |aud: &&&str| self.settings.audiences.iter().any(|own| *own == ***aud);
        let below = |aud: &&str| {
            let own = self.settings.audiences.first().filter(|_| self.is_own())?;
            aud.strip_prefix(own.as_str()).filter(|path| path.starts_with('/')).map(Box::from)
        };
        let whole = audiences.iter().find(ours).map(|_| Box::from(""));
        let parts: Vec<Box<str>> = whole.into_iter().chain(audiences.iter().filter_map(below)).collect();
        Some(parts).filter(|parts| !parts.is_empty())
    }

    fn check_header(&self, token: &UnverifiedToken<'_>) -> Result<(), AuthnError> {
        let header = token.header();
        // RFC 9068 §4: `typ` first. Issuers that predate it may leave it out or say JWT, but say nothing else.
        let at_jwt = header.typ_is("at+jwt");
        let old_style = !self.settings.require_at_jwt && (header.typ.is_none() || header.typ_is("JWT"));
        if !at_jwt && !old_style {
            return Err(AuthnError::Type);
        }
        if !self.settings.algorithms.contains(&header.algorithm) {
            return Err(AuthnError::Algorithm);
        }
        // Our own tokens always say which key; without, each of the ring's keys would have to be tried.
        if self.is_own() && header.kid.is_none() {
            return Err(AuthnError::Signature(VerifyError::UnknownKid));
        }
        Ok(())
    }

    async fn verify_signature(&self, token: UnverifiedToken<'_>, now: Timestamp) -> Result<Verified, AuthnError> {
        match &self.keys {
            Keys::Own(keys) => keys.load_full().verify(token).map_err(AuthnError::Signature),
            Keys::File(keys) => keys.verify(token).map_err(AuthnError::Signature),
            Keys::Url(remote) => Ok(remote.verify(token, now).await?),
        }
    }

    fn read(self: &Arc<Self>, verified: &Verified, now: Timestamp) -> Result<VerifiedToken, AuthnError> {
        let claims = &verified.claims;
        let settings = &self.settings;
        let issued_at = check_dates(claims, now)?;
        let client = claims.required_text(&settings.client_claim).map_err(AuthnError::Claim)?;
        let tenant = match settings.tenant_claim.as_deref() {
            Some(name) => Some(claims.required_text(name).map_err(AuthnError::Claim)?),
            None => None,
        };
        let tenant = tenant.map(TenantId::parse).transpose().map_err(|_| AuthnError::ClaimValue("tenant"))?;
        let token = VerifiedToken {
            issuer: Arc::clone(&self.name),
            client_id: ClientId::parse(client).map_err(|_| AuthnError::ClaimValue("client"))?,
            tenant,
            subject: claims.text("sub").map_err(AuthnError::Claim)?.map(str::to_owned),
            parts: match self.parts(&claims.audiences()).ok_or(AuthnError::Audience)? {
                whole if whole.iter().all(|part| part.is_empty()) => None,
                parts => Some(parts.into()),
            },
            jti: claims.text("jti").map_err(AuthnError::Claim)?.map(str::to_owned),
            scopes: read_scopes(claims, &settings.scope_claim)?,
            // Of other types at some issuers: then they prove nothing, and who needs them refuses.
            acr: claims.get("acr").and_then(Value::as_str).map(Arc::from),
            auth_time: claims.date("auth_time").unwrap_or_default(),
            authorization_details: read_details(claims)?,
            binding: read_binding(claims)?,
            issued_at,
            expires_at: claims.required_date("exp").map_err(AuthnError::Claim)?,
            verifier: Arc::clone(self),
            key: verified.key,
        };
        if settings.require_at_jwt {
            check_complete(claims)?;
        }
        Ok(token)
    }
}

/// RFC 9068 §2.2: what an `at+jwt` must have beside `iss`, `aud`, `exp` and the client.
fn check_complete(claims: &Claims) -> Result<(), AuthnError> {
    claims.required_text("sub").map_err(AuthnError::Claim)?;
    claims.required_text("jti").map_err(AuthnError::Claim)?;
    claims.required_date("iat").map_err(AuthnError::Claim)?;
    Ok(())
}

/// `exp`, `nbf`, `iat` (RFC 7519 §4.1.4–6); returns `iat`.
fn check_dates(claims: &Claims, now: Timestamp) -> Result<Option<Timestamp>, AuthnError> {
    if claims.required_date("exp").map_err(AuthnError::Claim)? <= now {
        return Err(AuthnError::Expired);
    }
    let latest = now.plus(CLOCK_SKEW_MAX);
    let not_before = claims.date("nbf").map_err(AuthnError::Claim)?;
    let issued_at = claims.date("iat").map_err(AuthnError::Claim)?;
    if not_before.is_some_and(|at| at > latest) || issued_at.is_some_and(|at| at > latest) {
        return Err(AuthnError::NotYetValid);
    }
    Ok(issued_at)
}

/// A space-delimited text (RFC 8693 §4.2) or an array of scopes, as some issuers write it.
fn read_scopes(claims: &Claims, name: &str) -> Result<ScopeSet, AuthnError> {
    let refuse = |_| AuthnError::ClaimValue("scope");
    match claims.get(name) {
        None => Ok(ScopeSet::default()),
        Some(Value::String(text)) => ScopeSet::parse(text).map_err(refuse),
        Some(Value::Array(items)) => {
            let scope = |item: &Value| Scope::parse(item.as_str().unwrap_or_default()).map_err(refuse);
            items.iter().map(scope).collect()
        }
        Some(_) => Err(AuthnError::ClaimValue("scope")),
    }
}

fn read_file(settings: &IssuerSettings, path: &Path) -> Result<KeySet, IssuerError> {
    let name = || settings.issuer.clone();
    let file = |error| IssuerError::File(name(), path.to_owned(), error);
    let mut bytes = Vec::new();
    let bound = u64::try_from(JWKS_BYTES_MAX).unwrap_or(u64::MAX) + 1;
    std::fs::File::open(path).map_err(file)?.take(bound).read_to_end(&mut bytes).map_err(file)?;
    if bytes.len() > JWKS_BYTES_MAX {
        return Err(IssuerError::FileTooLong(name(), path.to_owned(), JWKS_BYTES_MAX));
    }
    let jwks = parse_strict(&bytes).map_err(|error| IssuerError::FileJson(name(), path.to_owned(), error))?;
    let parsed = KeySet::parse(&jwks, &settings.algorithms).map_err(|error| IssuerError::Jwks(name(), error))?;
    Ok(parsed.keys)
}
