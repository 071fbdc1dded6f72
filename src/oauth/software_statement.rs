//! Software statements (RFC 7591 §2.3): what a directory that the operator trusts says about a piece of software.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

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
    /// Beside `iss` and `iat`.
    pub required_claims: Vec<String>,
    /// How old a statement may be when it is presented (Brazil: five minutes).
    pub age_max: Duration,
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
    pub software_id: Option<String>,
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
        let software_id = claims.text("software_id").map_err(StatementError::Claim)?.map(str::to_owned);
        if software_id.as_deref().is_some_and(|id| !is_name(id)) {
            return Err(StatementError::ClaimValue("software_id".into()));
        }
        if software_id.as_deref().is_some_and(|id| directory.denies(id)) {
            return Err(StatementError::Denied);
        }
        let issuer = directory.settings.issuer.as_str().into();
        Ok(SoftwareStatement { directory: issuer, software_id, claims, compact: compact.to_owned() })
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
    for name in members {
        if let Some(value) = claims.get(name) {
            metadata.insert((*name).to_owned(), value.clone());
        }
    }
    if let Some(bound) = claims.get("software_redirect_uris").and_then(Value::as_array) {
        match metadata.get("redirect_uris").and_then(Value::as_array) {
            Some(uris) if !uris.iter().all(|uri| bound.contains(uri)) => return Err(Disagreement::RedirectUris),
            Some(_) => {}
            None => drop(metadata.insert("redirect_uris".into(), Value::Array(bound.clone()))),
        }
    }
    let keys = ["software_jwks_uri", "software_jwks_endpoint"].into_iter().find_map(|name| claims.get(name));
    if let Some(keys) = keys {
        if metadata.contains_key("jwks") || metadata.get("jwks_uri").is_some_and(|uri| uri != keys) {
            return Err(Disagreement::Keys);
        }
        metadata.insert("jwks_uri".into(), keys.clone());
    }
    if let Some(software_id) = claims.get("software_id") {
        if metadata.get("software_id").is_some_and(|id| id != software_id) {
            return Err(Disagreement::SoftwareId);
        }
        metadata.insert("software_id".into(), software_id.clone());
    }
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
mod tests {
    use serde_json::json;

    use super::*;
    use crate::jose::SigningKey;
    use crate::outbound::OutboundSettings;
    use crate::outbound::tests::{Peer, Script};

    const ISSUER: &str = "https://directory.example";

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn outbound(settings: OutboundSettings) -> Arc<Outbound> {
        Arc::new(Outbound::new(settings).unwrap())
    }

    struct World {
        key: SigningKey,
        directories: Directories,
        _folder: tempfile::TempDir,
    }

    fn settings(jwks: JwksSource) -> DirectorySettings {
        DirectorySettings {
            issuer: ISSUER.into(),
            jwks,
            algorithms: vec![Algorithm::Ps256, Algorithm::Es256],
            required_claims: vec!["software_id".into(), "org_id".into()],
            age_max: Duration::from_secs(300),
            denied_software: vec!["bad".into()],
            status: None,
        }
    }

    fn world() -> World {
        let key = SigningKey::generate(Algorithm::Es256).unwrap().0;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jwks.json");
        std::fs::write(&path, json!({ "keys": [key.public_jwk()] }).to_string()).unwrap();
        let all = vec![settings(JwksSource::File(path))];
        let directories = Directories::new(all, &outbound(OutboundSettings::default())).unwrap();
        World { key, directories, _folder: folder }
    }

    fn claims() -> Value {
        json!({ "iss": ISSUER, "iat": 1000, "software_id": "app-1", "org_id": "org-1" })
    }

    fn with(mut claims: Value, changes: Value) -> Value {
        for (name, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
                value => claims[name] = value.clone(),
            }
        }
        claims
    }

    #[tokio::test]
    async fn a_statement_must_be_right_in_every_point() {
        let world = world();
        let stranger = SigningKey::generate(Algorithm::Es256).unwrap().0;
        let rsa = SigningKey::generate(Algorithm::EdDsa).unwrap().0;
        let signed = |changes: Value| world.key.sign("JWT", &with(claims(), changes)).unwrap();
        type Expectation = fn(&StatementError) -> bool;
        let good = signed(json!({}));
        let statement = world.directories.verify(&good, at(1100)).await.unwrap();
        assert_eq!((statement.software_id.as_deref(), &*statement.compact), (Some("app-1"), &*good));
        let date: Expectation = |e| matches!(e, StatementError::Date);
        let claim: Expectation = |e| matches!(e, StatementError::Claim(_));
        let signature: Expectation = |e| matches!(e, StatementError::Signature(_));
        let cases: Vec<(&str, String, Expectation)> = vec![
            ("a stranger's signature", stranger.sign("JWT", &claims()).unwrap(), signature),
            ("an algorithm that is not listed", rsa.sign("JWT", &claims()).unwrap(), |e| {
                matches!(e, StatementError::Algorithm)
            }),
            ("another issuer", signed(json!({ "iss": "https://evil.example" })), |e| {
                matches!(e, StatementError::Issuer)
            }),
            ("no issuer", signed(json!({ "iss": null })), |e| matches!(e, StatementError::Issuer)),
            ("an issuer with a slash", signed(json!({ "iss": format!("{ISSUER}/") })), |e| {
                matches!(e, StatementError::Issuer)
            }),
            ("too old", signed(json!({ "iat": 799 })), date),
            ("of the future", signed(json!({ "iat": 1161 })), date),
            ("expired", signed(json!({ "exp": 1100 })), date),
            ("not yet valid", signed(json!({ "nbf": 1161 })), date),
            ("without a date", signed(json!({ "iat": null })), claim),
            ("without a required claim", signed(json!({ "org_id": null })), claim),
            ("a software_id that is no text", signed(json!({ "software_id": 7 })), claim),
            ("a software_id that climbs", signed(json!({ "software_id": "../admin" })), |e| {
                matches!(e, StatementError::ClaimValue(_))
            }),
            ("a software_id of dots", signed(json!({ "software_id": ".." })), |e| {
                matches!(e, StatementError::ClaimValue(_))
            }),
            ("denied software", signed(json!({ "software_id": "bad" })), |e| matches!(e, StatementError::Denied)),
            ("no JWT", "abc".into(), |e| matches!(e, StatementError::Malformed(_))),
            ("unsigned", "eyJhbGciOiJub25lIn0.e30.".into(), |e| matches!(e, StatementError::Malformed(_))),
        ];
        for (name, compact, expected) in cases {
            let error = world.directories.verify(&compact, at(1100)).await.expect_err(name);
            assert!(expected(&error), "{name}: {error:?}");
        }
        for (name, changes) in [
            ("as old as allowed", json!({ "iat": 800 })),
            ("as far ahead as allowed", json!({ "iat": 1160 })),
            ("about to expire", json!({ "exp": 1101 })),
        ] {
            assert!(world.directories.verify(&signed(changes), at(1100)).await.is_ok(), "{name}");
        }
    }

    #[tokio::test]
    async fn the_directorys_word_wins() {
        let world = world();
        let extra = json!({
            "client_name": "From the directory",
            "software_redirect_uris": ["https://app.example/a", "https://app.example/b"],
            "software_jwks_uri": "https://keystore.example/app-1.jwks",
        });
        let compact = world.key.sign("JWT", &with(claims(), extra)).unwrap();
        let statement = world.directories.verify(&compact, at(1000)).await.unwrap();
        let merged = |metadata: Value| {
            let Value::Object(metadata) = metadata else { panic!("an object") };
            merge(metadata, &statement, &["client_name", "redirect_uris"]).map(Value::Object)
        };
        let all = merged(json!({ "client_name": "Mine", "x": 1 })).unwrap();
        assert_eq!(all["client_name"], "From the directory");
        assert_eq!(all["redirect_uris"], json!(["https://app.example/a", "https://app.example/b"]));
        assert_eq!(all["jwks_uri"], "https://keystore.example/app-1.jwks");
        assert_eq!((&all["software_id"], &all["x"]), (&json!("app-1"), &json!(1)));
        for (name, metadata, expected) in [
            ("fewer", json!({ "redirect_uris": ["https://app.example/b"] }), Ok(json!(["https://app.example/b"]))),
            ("another", json!({ "redirect_uris": ["https://evil.example/"] }), Err(Disagreement::RedirectUris)),
            ("keys of its own", json!({ "jwks": { "keys": [] } }), Err(Disagreement::Keys)),
            ("keys elsewhere", json!({ "jwks_uri": "https://evil.example/jwks" }), Err(Disagreement::Keys)),
            ("another software", json!({ "software_id": "app-2" }), Err(Disagreement::SoftwareId)),
        ] {
            assert_eq!(merged(metadata).map(|m| m["redirect_uris"].clone()), expected, "{name}");
        }
    }

    #[tokio::test]
    async fn a_directory_tells_the_standing_of_software() {
        let peer = Peer::start(Script::Status(500)).await;
        let client = outbound(OutboundSettings {
            allow_private: vec!["localhost".parse().unwrap()],
            ca_files: vec![peer.ca_file.clone()],
        });
        let status = StatusSettings {
            url: peer.url("/software/{software_id}/status").replace("peer.example", "localhost"),
            member: "status".into(),
            active: vec!["Active".into()],
            period: Duration::from_secs(60),
            keep_max: Duration::from_secs(3600),
        };
        for (name, script, expected) in [
            ("active", Script::Body(json!({ "status": "ACTIVE" }).to_string()), Standing::Active),
            ("suspended", Script::Body(json!({ "status": "Suspended" }).to_string()), Standing::Inactive),
            ("unheard of", Script::Body(json!({ "status": "Pondering" }).to_string()), Standing::Inactive),
            ("gone", Script::Status(404), Standing::Inactive),
            ("no member", Script::Body("{}".into()), Standing::Unknown),
            ("not JSON", Script::Body("<html>".into()), Standing::Unknown),
            ("a fault", Script::Status(503), Standing::Unknown),
            ("a redirect", Script::Redirect("https://localhost/".into()), Standing::Unknown),
        ] {
            peer.script.send_replace(script);
            assert_eq!(status.ask("app-1", &client).await, expected, "{name}");
        }
        let hits = peer.hits();
        assert_eq!(status.ask("a/../b", &client).await, Standing::Unknown);
        assert_eq!(peer.hits(), hits, "nothing that is no name goes into a URL");
    }

    #[test]
    fn a_mistake_in_the_settings_is_found_before_they_are_in_force() {
        let client = outbound(OutboundSettings::default());
        let url = |url: &str| settings(JwksSource::Url(url.into()));
        let status = |at: &str| {
            let status = StatusSettings {
                url: at.into(),
                member: "status".into(),
                active: vec![],
                period: Duration::ZERO,
                keep_max: Duration::ZERO,
            };
            DirectorySettings { status: Some(status), ..url("https://directory.example/jwks") }
        };
        for (name, settings, good) in [
            ("https", url("https://directory.example/jwks"), true),
            ("http", url("http://directory.example/jwks"), false),
            ("a private place", url("https://10.0.0.1/jwks"), false),
            ("no such file", settings(JwksSource::File("/nonexistent/jwks.json".into())), false),
            ("no algorithm", DirectorySettings { algorithms: vec![], ..url("https://directory.example/jwks") }, false),
            ("a status", status("https://directory.example/{software_id}"), true),
            ("a status of nobody", status("https://directory.example/"), false),
            ("a status over http", status("http://directory.example/{software_id}"), false),
        ] {
            assert_eq!(Directories::new(vec![settings], &client).is_ok(), good, "{name}");
        }
        let twice = vec![url("https://directory.example/jwks"), url("https://directory.example/jwks")];
        assert!(matches!(Directories::new(twice, &client).map(drop).unwrap_err()[..], [DirectoryError::Twice(_)]));
    }
}
