//! Is it the software itself that registers? A software statement says what its software may register, and whoever was
//! ever sent it has a copy: alone it authenticates nobody (RFC 7591 §2.3, §5).
//!
//! Invariant: a [`ProvenSoftware`] signed the request by keys that its statement names, showed a certificate that its
//! profile's directory issued to it, or holds the registration access token that one of these was given.

use http::header::CONTENT_TYPE;
use serde_json::{Map, Value};

use super::assertion::JTI_BYTES_MAX;
use super::dynamic_clients::{DynamicClient, RegistrationTemplate, Rules, Software};
use super::dynamic_registration::bearer;
use super::software_certificate::check_trusted;
use super::{AuthorizationServer, OAuthError, Request, SecretHash, SoftwareStatement};
use crate::domain::{ClientId, Timestamp};
use crate::jose::{UnverifiedToken, parse_strict};

const INVALID: fn(&'static str) -> OAuthError = OAuthError::InvalidClientMetadata;

/// A body of registration.
pub(super) enum Submitted {
    /// JSON: of whoever sent it.
    Plain(Map<String, Value>),
    /// A JWT, with the software whose keys signed it (OBIE DCR 3.3, OB-D-1).
    Signed(Map<String, Value>, ProvenSoftware),
}

/// What a directory says of software that is proven to be there itself.
pub(super) struct ProvenSoftware(SoftwareStatement);

/// Who registers a client, and under which template.
pub(super) struct Registrant<'r> {
    pub template: &'r RegistrationTemplate,
    /// None: whoever has the initial access token.
    pub software: Option<ProvenSoftware>,
    pub members: Map<String, Value>,
}

impl ProvenSoftware {
    pub fn statement(&self) -> &SoftwareStatement {
        &self.0
    }
}

impl From<ProvenSoftware> for Software {
    fn from(ProvenSoftware(statement): ProvenSoftware) -> Self {
        Self { directory: statement.directory, id: Some(statement.software_id), statement: statement.compact }
    }
}

impl Submitted {
    pub fn into_members(self) -> Map<String, Value> {
        match self {
            Self::Plain(members) | Self::Signed(members, _) => members,
        }
    }
}

impl AuthorizationServer {
    /// JSON, or a JWT that the software's own keys signed.
    pub(super) async fn read_body(
        &self,
        request: &Request<'_>,
        rules: &Rules,
        now: Timestamp,
    ) -> Result<Submitted, OAuthError> {
        let kind = request.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match kind.as_str() {
            "application/json" => match parse_strict(request.body) {
                Ok(Value::Object(members)) => Ok(Submitted::Plain(members)),
                Ok(_) | Err(_) => Err(INVALID("The body is not a JSON object.")),
            },
            "application/jwt" | "application/jose" => self.read_signed_body(request.body, rules, now).await,
            _ => Err(OAuthError::InvalidRequest("Send application/json or application/jwt.")),
        }
    }

    /// Software of a directory that is there itself, or else the bearer of an initial access token (RFC 7591 §3).
    pub(super) async fn registrant<'r>(
        &self,
        request: &Request<'_>,
        submitted: Submitted,
        rules: &'r Rules,
        now: Timestamp,
    ) -> Result<Registrant<'r>, OAuthError> {
        let (members, statement, signed) = match submitted {
            Submitted::Signed(members, ProvenSoftware(statement)) => (members, statement, true),
            Submitted::Plain(members) => match self.statement(&members, rules, now).await? {
                Some(statement) => (members, statement, false),
                None => {
                    let template = bearer(request).and_then(|token| rules.of_token(SecretHash::of(token.as_bytes())));
                    let template = template.ok_or(OAuthError::RegistrationToken)?;
                    return Ok(Registrant { template, software: None, members });
                }
            },
        };
        let template = rules.of_directory(&statement.directory).ok_or(OAuthError::RegistrationToken)?;
        let names = template.profile.certificate_names();
        if !signed && names.is_none() {
            return Err(INVALID("With a software statement send application/jwt, signed by a key of the software.")); // OB-D-1
        }
        if template.profile.registers_over_mutual_tls() {
            check_trusted(request.connection)?;
        }
        if let Some(names) = names {
            // Of plain JSON this is the proof (BR-DCR): its certificate names the software.
            names.check_connection(request.connection, &statement.compact)?;
        }
        Ok(Registrant { template, software: Some(ProvenSoftware(statement)), members })
    }

    async fn read_signed_body(&self, body: &[u8], rules: &Rules, now: Timestamp) -> Result<Submitted, OAuthError> {
        let text = std::str::from_utf8(body).map_err(|_| INVALID("The body is not a JWT."))?;
        let token = UnverifiedToken::parse(text.trim()).map_err(|_| INVALID("The body is not a JWT."))?;
        let compact = token.hint("software_statement").ok_or(INVALID("The JWT has no software statement."))?;
        // Whose keys these are is proven by the directory before they are asked for.
        let statement = rules.directories.verify(compact, now).await.map_err(OAuthError::SoftwareStatement)?;
        let template = rules.of_directory(&statement.directory).ok_or(OAuthError::RegistrationToken)?;
        if !template.profile.algorithms().contains(&token.header().algorithm) {
            return Err(INVALID("The algorithm of the JWT is not allowed."));
        }
        let verified = self.parts.key_sets.verify(Some(&statement.keys), token, now).await;
        let verified = verified.map_err(|error| error.or(INVALID("No key of the software verifies the JWT.")))?;
        let claims = &verified.claims;
        let malformed = |_| INVALID("A claim of the JWT is missing or malformed.");
        if claims.required_text("iss").map_err(malformed)? != statement.software_id
            || !claims.audience_names(&[&*self.settings.issuer])
        {
            return Err(INVALID("iss of the JWT is the software, and aud is the issuer.")); // OB-D-2
        }
        let expires_at = claims.required_date("exp").map_err(malformed)?;
        let issued_at = claims.required_date("iat").map_err(malformed)?;
        let latest = now.plus(self.settings.assertion_lifetime_max).plus(self.settings.clock_skew_max);
        if expires_at <= now || expires_at > latest || issued_at > now.plus(self.settings.clock_skew_max) {
            return Err(INVALID("The JWT has expired, lives too long or is dated in the future."));
        }
        let jti = claims.required_text("jti").map_err(malformed)?;
        let marker = format!("software:{}", statement.software_id);
        let marker = ClientId::parse(&marker).map_err(|_| INVALID("iss is malformed."))?;
        if jti.len() > JTI_BYTES_MAX || !self.parts.replay.mark(&marker, jti, expires_at, now).await? {
            return Err(INVALID("The JWT was used before."));
        }
        Ok(Submitted::Signed(claims.members().clone(), ProvenSoftware(statement)))
    }

    async fn statement(
        &self,
        given: &Map<String, Value>,
        rules: &Rules,
        now: Timestamp,
    ) -> Result<Option<SoftwareStatement>, OAuthError> {
        match given.get("software_statement") {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(compact)) => {
                let verified = rules.directories.verify(compact, now).await;
                verified.map(Some).map_err(OAuthError::SoftwareStatement)
            }
            Some(_) => Err(INVALID("software_statement is not a text.")),
        }
    }

    /// A client of a directory stays one: its statement is sent again, the same or a newer one of the same software. Its
    /// registration access token, which `entry` was found by, proves it (RFC 7592 §2).
    pub(super) async fn statement_again(
        &self,
        entry: &DynamicClient,
        given: &Map<String, Value>,
        rules: &Rules,
        now: Timestamp,
    ) -> Result<Option<ProvenSoftware>, OAuthError> {
        let sent = given.get("software_statement").and_then(Value::as_str);
        match (&entry.stored.software, sent) {
            (None, None) => Ok(None),
            // It came by an initial access token: a directory's word cannot be added to it.
            (None, Some(_)) => Err(INVALID("The client was registered without a software statement.")),
            (Some(_), None) => Err(INVALID("software_statement is missing.")),
            (Some(software), Some(sent)) if sent == software.statement => {
                let verified = rules.directories.verify_again(sent, now).await;
                verified.map(|again| Some(ProvenSoftware(again))).map_err(OAuthError::SoftwareStatement)
            }
            (Some(software), Some(_)) => {
                let fresh = self.statement(given, rules, now).await?;
                let same = |fresh: &SoftwareStatement| {
                    fresh.directory == software.directory && Some(&fresh.software_id) == software.id.as_ref()
                };
                let fresh = fresh.filter(same).map(ProvenSoftware);
                fresh.map(Some).ok_or(INVALID("The software statement is another software's."))
            }
        }
    }
}
