//! Software statements (RFC 7591 §2.3): what a directory that the operator trusts says about a piece of software.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::ClientKeys;
use crate::authn::{JwksSource, RemoteKeys, RemoteKeysError};
use crate::domain::Timestamp;
use crate::jose::{Algorithm, ClaimError, Claims, JwksError, KeySet, TokenError, UnverifiedToken, VerifyError};
use crate::jose::{StrictJsonError, parse_strict};
use crate::outbound::{Outbound, UrlError};

/// How far ahead of our clock a statement may be dated.
const CLOCK_SKEW_MAX: Duration = Duration::from_secs(60);
/// Longest `software_id` and tenant claim, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// A directory whose statements count, as the operator wrote it down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectorySettings {
    /// Compared exactly with `iss`.
    pub issuer: String,
    pub jwks: JwksSource,
    pub algorithms: Vec<Algorithm>,
    /// Beside `iss`, `iat` and `software_id`.
    pub required_claims: Vec<String>,
    /// How old a statement may be when it is presented (Brazil: five minutes).
    pub age_max: Duration,
    /// How many clients one piece of software may have.
    pub clients_per_software_max: usize,
    /// Software whose statements no longer count, and whose clients are suspended.
    pub denied_software: Vec<String>,
    pub status: Option<StatusSettings>,
}

/// Where the directory tells whether software is still in good standing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusSettings {
    /// `{software_id}` in it is replaced.
    pub url: String,
    /// The member of the JSON answer that says so, and the values that mean yes.
    pub member: String,
    pub active: Vec<String>,
    /// How old the last answer may be before it is asked for again, on use.
    pub period: Duration,
    /// How long the last answer counts while the directory cannot be asked; then the client is suspended until it can.
    pub keep_max: Duration,
}

/// Why a statement does not count.
#[derive(Debug, thiserror::Error)]
pub enum StatementError {
    // --- `invalid_software_statement`
    #[error("the statement is not a signed JWT")]
    Malformed(#[source] TokenError),
    #[error("no key of the directory verifies the statement")]
    Signature(#[source] VerifyError),
    #[error("the statement's algorithm is not one of the directory's")]
    Algorithm,
    #[error("a claim of the statement is missing or malformed")]
    Claim(#[source] ClaimError),
    #[error("the statement's {0:?} is not usable here")]
    ClaimValue(String),
    #[error("the statement is too old, has expired, or is dated in the future")]
    Date,
    // --- `unapproved_software_statement`
    #[error("the statement's issuer is not a trusted directory")]
    Issuer,
    #[error("the software is denied, or the directory says that it is not active")]
    Denied,
    // --- ours
    #[error("the directory's keys are not at hand")]
    Unavailable(#[source] RemoteKeysError),
}

/// Why a directory cannot be set up; for the operator.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    #[error("directory {0:?}: the JWK set {1} cannot be read")]
    File(String, PathBuf, #[source] std::io::Error),
    #[error("directory {0:?}: the JWK set {1} is not strict JSON")]
    Json(String, PathBuf, #[source] StrictJsonError),
    #[error("directory {0:?}: the JWK set is of no use")]
    Jwks(String, #[source] JwksError),
    #[error("directory {0:?}: the URL {1:?} cannot be asked; a private host needs `outbound.allow_private`")]
    Url(String, String, #[source] UrlError),
    #[error("directory {0:?}: no algorithm is listed")]
    NoAlgorithm(String),
    #[error("directory {0:?}: its status URL does not contain {{software_id}}")]
    NoSoftwareId(String),
    #[error("directory {0:?} is listed twice")]
    Twice(String),
}

enum Keys {
    File(KeySet),
    Url(RemoteKeys),
}

/// A directory and its keys.
pub struct Directory {
    pub settings: DirectorySettings,
    keys: Keys,
}

/// What a directory said, proven.
#[derive(Debug, Clone)]
pub struct SoftwareStatement {
    /// Its issuer.
    pub directory: Arc<str>,
    pub software_id: String,
    /// The software's own, by which it proves itself. Invariant: never [`ClientKeys::None`].
    pub keys: ClientKeys,
    /// `software_redirect_uris`: no others may be registered.
    pub redirect_uris: Option<Vec<Value>>,
    pub claims: Claims,
    /// As it was sent: it is returned unmodified (RFC 7591 §3.2.1).
    pub compact: String,
}

/// All directories that are trusted under one configuration.
#[derive(Default)]
pub struct Directories(Vec<Directory>);

impl Directories {
    /// Reads key files now; keys behind a URL are fetched when first needed. All mistakes at once.
    pub fn new(settings: Vec<DirectorySettings>, outbound: &Arc<Outbound>) -> Result<Self, Vec<DirectoryError>> {
        let mut directories: Vec<Directory> = Vec::with_capacity(settings.len());
        let mut errors = Vec::new();
        for settings in settings {
            if directories.iter().any(|known| known.settings.issuer == settings.issuer) {
                errors.push(DirectoryError::Twice(settings.issuer));
                continue;
            }
            match Directory::new(settings, outbound) {
                Ok(directory) => directories.push(directory),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(Self(directories)) } else { Err(errors) }
    }

    pub fn find(&self, issuer: &str) -> Option<&Directory> {
        self.0.iter().find(|directory| directory.settings.issuer == issuer)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Directory> {
        self.0.iter()
    }

    /// Proves a statement (RFC 7591 §3.1.1: the server must check that its issuer is trusted, and its signature).
    pub async fn verify(&self, compact: &str, now: Timestamp) -> Result<SoftwareStatement, StatementError> {
        let statement = self.verify_again(compact, now).await?;
        let directory = self.find(&statement.directory).ok_or(StatementError::Issuer)?;
        directory.check_dates(&statement.claims, now)?;
        Ok(statement)
    }

    /// As [`Self::verify`], for a statement that was accepted before: it may have grown old since.
    pub async fn verify_again(&self, compact: &str, now: Timestamp) -> Result<SoftwareStatement, StatementError> {
        let token = UnverifiedToken::parse(compact).map_err(StatementError::Malformed)?;
        let directory = token.hint("iss").and_then(|issuer| self.find(issuer)).ok_or(StatementError::Issuer)?;
        if !directory.settings.algorithms.contains(&token.header().algorithm) {
            return Err(StatementError::Algorithm);
        }
        let claims = directory.prove(token, now).await?;
        for name in &directory.settings.required_claims {
            if claims.get(name).is_none_or(Value::is_null) {
                return Err(StatementError::Claim(ClaimError::Missing(name.clone())));
            }
        }
        let software_id = claims.required_text("software_id").map_err(StatementError::Claim)?.to_owned();
        if !is_name(&software_id) {
            return Err(StatementError::ClaimValue("software_id".into()));
        }
        if directory.denies(&software_id) {
            return Err(StatementError::Denied);
        }
        let (keys, redirect_uris) = (keys(&claims)?, redirect_uris(&claims)?);
        let directory = directory.settings.issuer.as_str().into();
        Ok(SoftwareStatement { directory, software_id, keys, redirect_uris, claims, compact: compact.to_owned() })
    }
}

/// Where a statement says that its software's keys are: by the names of the UK's directory and of Brazil's, and by that of
/// RFC 7591 §2.
const KEY_URLS: [&str; 3] = ["software_jwks_uri", "software_jwks_endpoint", "jwks_uri"];

/// The keys that a statement names, all names agreeing.
fn keys(claims: &Claims) -> Result<ClientKeys, StatementError> {
    let mut url = None;
    for name in KEY_URLS {
        let named = claims.text(name).map_err(StatementError::Claim)?;
        if url.is_some() && named.is_some_and(|named| Some(named) != url) {
            return Err(StatementError::ClaimValue(name.into()));
        }
        url = url.or(named);
    }
    match (url, claims.get("jwks")) {
        (Some(url), None) => Ok(ClientKeys::Remote(url.into())),
        (None, Some(jwks)) => ClientKeys::inline(jwks).map_err(|_| StatementError::ClaimValue("jwks".into())),
        (Some(_), Some(_)) => Err(StatementError::ClaimValue("jwks".into())),
        (None, None) => Err(StatementError::Claim(ClaimError::Missing("software_jwks_uri".into()))),
    }
}

/// A bound that cannot be read must not be no bound.
fn redirect_uris(claims: &Claims) -> Result<Option<Vec<Value>>, StatementError> {
    match claims.get("software_redirect_uris") {
        None => Ok(None),
        Some(Value::Array(uris)) if uris.iter().all(Value::is_string) => Ok(Some(uris.clone())),
        Some(_) => Err(StatementError::ClaimValue("software_redirect_uris".into())),
    }
}

impl Directory {
    fn new(settings: DirectorySettings, outbound: &Arc<Outbound>) -> Result<Self, DirectoryError> {
        let name = || settings.issuer.clone();
        if settings.algorithms.is_empty() {
            return Err(DirectoryError::NoAlgorithm(name()));
        }
        let allowed =
            |url: &str| outbound.check_url(url).map_err(|error| DirectoryError::Url(name(), url.to_owned(), error));
        if let Some(status) = &settings.status {
            allowed(&status.url.replace(SOFTWARE_ID, "x"))?;
            if !status.url.contains(SOFTWARE_ID) {
                return Err(DirectoryError::NoSoftwareId(name()));
            }
        }
        let keys = match &settings.jwks {
            JwksSource::Url(url) => {
                allowed(url)?;
                Keys::Url(RemoteKeys::of_client(url, &settings.algorithms, Arc::clone(outbound)))
            }
            JwksSource::File(path) => {
                let bytes = std::fs::read(path).map_err(|error| DirectoryError::File(name(), path.clone(), error))?;
                let jwks = parse_strict(&bytes).map_err(|error| DirectoryError::Json(name(), path.clone(), error))?;
                let parsed = KeySet::parse(&jwks, &settings.algorithms);
                Keys::File(parsed.map_err(|error| DirectoryError::Jwks(name(), error))?.keys)
            }
        };
        Ok(Self { settings, keys })
    }

    pub fn denies(&self, software_id: &str) -> bool {
        self.settings.denied_software.iter().any(|denied| denied == software_id)
    }

    async fn prove(&self, token: UnverifiedToken<'_>, now: Timestamp) -> Result<Claims, StatementError> {
        let verified = match &self.keys {
            Keys::File(keys) => keys.verify(token).map_err(StatementError::Signature)?,
            Keys::Url(keys) => match keys.verify(token, now).await {
                Ok(verified) => verified,
                Err(RemoteKeysError::Signature(error)) => return Err(StatementError::Signature(error)),
                Err(error @ RemoteKeysError::Unavailable(_)) => return Err(StatementError::Unavailable(error)),
            },
        };
        Ok(verified.claims)
    }

    fn check_dates(&self, claims: &Claims, now: Timestamp) -> Result<(), StatementError> {
        let issued_at = claims.required_date("iat").map_err(StatementError::Claim)?;
        let expired = claims.date("exp").map_err(StatementError::Claim)?.is_some_and(|at| at <= now);
        let early = claims.date("nbf").map_err(StatementError::Claim)?.is_some_and(|at| at > now.plus(CLOCK_SKEW_MAX));
        let future = issued_at > now.plus(CLOCK_SKEW_MAX);
        if expired || early || future || now.since(issued_at) > self.settings.age_max {
            return Err(StatementError::Date);
        }
        Ok(())
    }
}

/// The place in a status URL where the software's name goes.
const SOFTWARE_ID: &str = "{software_id}";

/// What a directory says of a piece of software now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Active,
    Inactive,
    /// It could not be asked, or its answer says nothing: what it said last counts.
    Unknown,
}

impl StatusSettings {
    /// Asks. A 404 or 410 is an answer too: the software is not in the directory any more.
    pub async fn ask(&self, software_id: &str, outbound: &Outbound) -> Standing {
        /// Longest answer, in bytes.
        const BYTES_MAX: usize = 64 * 1024;
        if !is_name(software_id) {
            return Standing::Unknown; // Invariant: it was checked when it was registered; never put into a URL else.
        }
        let url = self.url.replace(SOFTWARE_ID, software_id);
        let received = match outbound.get(&url, "application/json", BYTES_MAX).await {
            Ok(received) => received,
            Err(error) => {
                tracing::warn!(url, %error, "a directory could not be asked; what it said last counts");
                return Standing::Unknown;
            }
        };
        match received.status {
            200 => self.read(&received.body),
            404 | 410 => Standing::Inactive,
            _ => Standing::Unknown,
        }
    }

    fn read(&self, body: &[u8]) -> Standing {
        let Ok(answer) = parse_strict(body) else { return Standing::Unknown };
        match answer.get(&self.member).and_then(Value::as_str) {
            Some(status) if self.active.iter().any(|active| active.eq_ignore_ascii_case(status)) => Standing::Active,
            Some(_) => Standing::Inactive,
            None => Standing::Unknown,
        }
    }
}

/// Letters, digits, `-`, `_`, `.`: safe in a URL's path and in a log. Not only dots: a path segment of them climbs.
pub(super) fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed) && !text.bytes().all(|byte| byte == b'.')
}

/// The client metadata with what the directory says in it: its values win over the plain ones (RFC 7591 §2.3).
///
/// Directories of the UK and Brazil name theirs `software_…`: redirect URIs are an upper bound there, and keys are the
/// directory's own, so that no other may be registered beside them (BR-DCR, OB-D-2).
pub fn merge(
    mut metadata: Map<String, Value>,
    statement: &SoftwareStatement,
    members: &[&str],
) -> Result<Map<String, Value>, Disagreement> {
    let claims = &statement.claims;
    let other = |id: &&Value| !id.is_null() && **id != statement.software_id;
    if metadata.get("software_id").filter(other).is_some() {
        return Err(Disagreement::SoftwareId); // OB-D-3
    }
    for name in members {
        if let Some(value) = claims.get(name) {
            metadata.insert((*name).to_owned(), value.clone());
        }
    }
    if let Some(bound) = &statement.redirect_uris {
        match metadata.get("redirect_uris") {
            None | Some(Value::Null) => drop(metadata.insert("redirect_uris".into(), bound.clone().into())),
            Some(Value::Array(uris)) if uris.iter().all(|uri| bound.contains(uri)) => {}
            Some(_) => return Err(Disagreement::RedirectUris),
        }
    }
    if let ClientKeys::Remote(keys) = &statement.keys {
        if metadata.contains_key("jwks") || metadata.get("jwks_uri").is_some_and(|uri| *uri != **keys) {
            return Err(Disagreement::Keys);
        }
        metadata.insert("jwks_uri".into(), keys.as_ref().into());
    }
    metadata.insert("software_id".into(), statement.software_id.as_str().into());
    if let Some(name) = claims.get("software_client_name") {
        metadata.insert("client_name".into(), name.clone());
    }
    Ok(metadata)
}

/// A request that asks for what its own statement rules out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Disagreement {
    #[error("a redirect URI is not one of the software statement's")]
    RedirectUris,
    #[error("the keys are not those that the software statement names")]
    Keys,
    #[error("the software_id is not the software statement's")]
    SoftwareId,
}

#[cfg(test)]
mod tests;
