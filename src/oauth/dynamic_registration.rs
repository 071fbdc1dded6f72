//! Clients register themselves (RFC 7591), and look after their registrations (RFC 7592).

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use serde_json::{Map, Value};

use super::assertion::JTI_BYTES_MAX;
use super::client_metadata::INTROSPECTION_SIGNED;
use super::dynamic_clients::{DynamicClient, RegistrationTemplate, Rules, Software, StoredClient};
use super::{
    AuthorizationServer, ClientAuthentication, ClientKeys, MEMBERS, OAuthError, Proof, ReadMetadata,
    RegistrationAdmission, Request, SecretHash, SoftwareStatement, TlsSubject, merge, read_metadata,
};
use crate::domain::{ClientId, PartnerStatus, Timestamp};
use crate::jose::{UnverifiedToken, parse_strict};

/// Longest body, in bytes.
pub const REGISTRATION_BYTES_MAX: usize = 64 * 1024;

/// Longest document of a sector, in bytes.
const SECTOR_BYTES_MAX: usize = 64 * 1024;

/// Answers that are signed, all by the key in force (OpenID Connect Registration §2, JARM §5).
const SIGNED_ANSWERS: [&str; 2] = ["id_token_signed_response_alg", "authorization_signed_response_alg"];
/// What is neither made nor read here.
const UNSUPPORTED: [&str; 6] = [
    "userinfo_signed_response_alg",
    "id_token_encrypted_response_alg",
    "userinfo_encrypted_response_alg",
    "authorization_encrypted_response_alg",
    "introspection_encrypted_response_alg",
    "request_object_encryption_alg",
];

/// What an endpoint of registration answers.
#[derive(Debug)]
pub struct Registered {
    pub client_id: ClientId,
    /// RFC 7591 §3.2.1.
    pub body: Value,
}

/// Secrets that are told once.
#[derive(Default)]
struct Told {
    client_secret: Option<String>,
    registration_access_token: Option<String>,
}

impl AuthorizationServer {
    /// RFC 7591 §3. Durable, and known to all endpoints, before it is answered.
    pub async fn register(&self, request: Request<'_>) -> Result<Registered, OAuthError> {
        let now = self.parts.clock.now();
        let clients = &self.parts.dynamic;
        let rules = clients.rules();
        let given = self.read_body(&request, &rules, now).await?;
        let statement = self.statement(&given, &rules, now).await?;
        let template = match &statement {
            Some(statement) => rules.of_directory(&statement.directory),
            None => bearer(&request).and_then(|token| rules.of_token(SecretHash::of(token.as_bytes()))),
        };
        let template = template.ok_or(OAuthError::RegistrationToken)?;
        if let (Some(names), Some(statement)) = (template.profile.certificate_names(), &statement) {
            names.check_connection(request.connection, &statement.compact)?;
        }
        let read = self.read_for(given, statement.as_ref(), template).await?;
        let claim = |name: &str| statement.as_ref()?.claims.text(name).ok().flatten();
        let tenant = template.tenant.tenant(&template.id, claim);
        let tenant = tenant.ok_or(OAuthError::InvalidClientMetadata("The software statement names no tenant."))?;
        let token = URL_SAFE_NO_PAD.encode(self.parts.random.bytes::<32>());
        let mut told = Told { registration_access_token: Some(token.clone()), ..Told::default() };
        let secret = (read.proof == Proof::Secret).then(|| URL_SAFE_NO_PAD.encode(self.parts.random.bytes::<32>()));
        let stored = StoredClient {
            id: self.new_client_id()?,
            template: Arc::clone(&template.id),
            profile: template.profile.as_str().to_owned(),
            tenant,
            metadata: read.members,
            secret: secret.as_ref().map(|secret| SecretHash::of(secret.as_bytes())),
            registration_token: SecretHash::of(token.as_bytes()),
            software: statement.map(software),
            status: PartnerStatus::Active,
            issued_at: now,
        };
        told.client_secret = secret;
        let _alone = clients.changing.lock().await;
        let (of_template, of_tenant) = clients.count(&template.id, &stored.tenant);
        let full = clients.len() >= rules.clients_max
            || of_template >= template.clients_max
            || of_tenant >= template.clients_per_tenant_max;
        if full {
            return Err(OAuthError::TooManyClients);
        }
        clients.store.put(&stored).await?;
        let stored = Arc::new(stored);
        clients.keep(Arc::clone(&stored));
        Ok(self.render(&stored, told))
    }

    /// RFC 7592 §2.1.
    pub fn registration(&self, request: Request<'_>, client_id: &str) -> Result<Registered, OAuthError> {
        let entry = self.own_registration(&request, client_id)?;
        Ok(self.render(&entry.stored, Told::default()))
    }

    /// RFC 7592 §2.2: what is not sent is gone. Grants stay: a client may change its keys and certificates.
    pub async fn replace_registration(&self, request: Request<'_>, client_id: &str) -> Result<Registered, OAuthError> {
        let now = self.parts.clock.now();
        let clients = &self.parts.dynamic;
        let entry = self.own_registration(&request, client_id)?;
        let rules = clients.rules();
        let mut given = self.read_body(&request, &rules, now).await?;
        let invalid = OAuthError::InvalidClientMetadata;
        for kept in
            ["registration_access_token", "registration_client_uri", "client_secret_expires_at", "client_id_issued_at"]
        {
            if given.contains_key(kept) {
                return Err(invalid("A member that only the server decides must not be sent."));
            }
        }
        if given.get("client_id").and_then(Value::as_str) != Some(entry.stored.id.as_str()) {
            return Err(invalid("client_id must be the client's own."));
        }
        let secret_agrees = |sent: &Value| {
            let sent = sent.as_str().map(|sent| SecretHash::of(sent.as_bytes()));
            sent.is_some() && sent == entry.stored.secret
        };
        if given.remove("client_secret").is_some_and(|sent| !secret_agrees(&sent)) {
            return Err(invalid("client_secret is not the client's."));
        }
        let template = rules.template(&entry.stored.template).ok_or(OAuthError::RegistrationToken)?;
        let statement = self.statement_again(&entry, &given, &rules, now).await?;
        let read = self.read_for(given, statement.as_ref(), template).await?;
        let mut told = Told::default();
        let mut secret = entry.stored.secret.filter(|_| read.proof == Proof::Secret);
        if read.proof == Proof::Secret && secret.is_none() {
            let fresh = URL_SAFE_NO_PAD.encode(self.parts.random.bytes::<32>());
            secret = Some(SecretHash::of(fresh.as_bytes()));
            told.client_secret = Some(fresh);
        }
        let _alone = clients.changing.lock().await;
        // It may have been removed, or suspended, while this request was read.
        let entry = self.own_registration(&request, client_id)?;
        let software = statement.map(software).or_else(|| entry.stored.software.clone());
        let stored = StoredClient { metadata: read.members, secret, software, ..(*entry.stored).clone() };
        clients.store.put(&stored).await?;
        let stored = Arc::new(stored);
        clients.keep(Arc::clone(&stored));
        Ok(self.render(&stored, told))
    }

    /// RFC 7592 §2.3: the client's grants and tokens end with it.
    pub async fn remove_registration(&self, request: Request<'_>, client_id: &str) -> Result<ClientId, OAuthError> {
        let clients = &self.parts.dynamic;
        let _alone = clients.changing.lock().await;
        let entry = self.own_registration(&request, client_id)?;
        let id = &entry.stored.id;
        let now = self.parts.clock.now();
        // Durable first: after a restart it must not be back. Its access tokens are refused from here on, because the
        // gateway finds no partner for them.
        clients.store.remove(id).await?;
        clients.forget(id);
        let outstanding = &self.parts.outstanding;
        outstanding.pushed.forget_client(id, now);
        outstanding.codes.forget_client(id, now);
        outstanding.backchannel.forget_client(id, now);
        for grant in self.parts.grants.remove_of_client(id).await? {
            self.revoke_grant(&grant, now).await?;
        }
        Ok(id.clone())
    }

    /// The client whose registration access token the request carries. An unknown client is told from a wrong token
    /// neither by status nor by time (RFC 7592 §2).
    fn own_registration(&self, request: &Request<'_>, client_id: &str) -> Result<Arc<DynamicClient>, OAuthError> {
        let token = bearer(request).ok_or(OAuthError::RegistrationToken)?;
        let token = SecretHash::of(token.as_bytes());
        let entry = ClientId::parse(client_id).ok().and_then(|id| self.parts.dynamic.entry(&id));
        let expected = entry.as_ref().map_or(SecretHash([0; 32]), |entry| entry.stored.registration_token);
        let agrees = expected == token;
        let entry = entry.filter(|_| agrees).ok_or(OAuthError::RegistrationToken)?;
        // BR-DCR: the token and the certificate.
        if let (Some(names), Some(software)) = (entry.registration.profile.certificate_names(), &entry.stored.software)
        {
            names.check_connection(request.connection, &software.statement)?;
        }
        Ok(entry)
    }

    /// JSON, or a JWT that the software's own keys signed (OBIE DCR 3.3, OB-D-1).
    async fn read_body(
        &self,
        request: &Request<'_>,
        rules: &Rules,
        now: Timestamp,
    ) -> Result<Map<String, Value>, OAuthError> {
        let kind = request.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match kind.as_str() {
            "application/json" => match parse_strict(request.body) {
                Ok(Value::Object(members)) => Ok(members),
                Ok(_) | Err(_) => Err(OAuthError::InvalidClientMetadata("The body is not a JSON object.")),
            },
            "application/jwt" | "application/jose" => self.read_signed_body(request.body, rules, now).await,
            _ => Err(OAuthError::InvalidRequest("Send application/json or application/jwt.")),
        }
    }

    async fn read_signed_body(
        &self,
        body: &[u8],
        rules: &Rules,
        now: Timestamp,
    ) -> Result<Map<String, Value>, OAuthError> {
        let invalid = OAuthError::InvalidClientMetadata;
        let text = std::str::from_utf8(body).map_err(|_| invalid("The body is not a JWT."))?;
        let token = UnverifiedToken::parse(text.trim()).map_err(|_| invalid("The body is not a JWT."))?;
        let compact = token.hint("software_statement").ok_or(invalid("The JWT has no software statement."))?;
        // Whose keys these are is proven by the directory before they are asked for.
        let statement = rules.directories.verify(compact, now).await.map_err(OAuthError::SoftwareStatement)?;
        let template = rules.of_directory(&statement.directory).ok_or(OAuthError::RegistrationToken)?;
        if !template.profile.algorithms().contains(&token.header().algorithm) {
            return Err(invalid("The algorithm of the JWT is not allowed."));
        }
        let named = ["software_jwks_endpoint", "software_jwks_uri", "jwks_uri"];
        let url = named.into_iter().find_map(|name| statement.claims.text(name).ok().flatten());
        let keys = ClientKeys::Remote(url.ok_or(invalid("The software statement names no keys."))?.into());
        let verified = self.parts.key_sets.verify(Some(&keys), token, now).await;
        let verified = verified.map_err(|error| error.or(invalid("No key of the software verifies the JWT.")))?;
        let claims = &verified.claims;
        let malformed = |_| invalid("A claim of the JWT is missing or malformed.");
        let software = statement.software_id.as_deref().ok_or(invalid("The software statement has no software_id."))?;
        if claims.required_text("iss").map_err(malformed)? != software
            || !claims.audience_names(&[&*self.settings.issuer])
        {
            return Err(invalid("iss of the JWT is the software, and aud is the issuer.")); // OB-D-2
        }
        let expires_at = claims.required_date("exp").map_err(malformed)?;
        let issued_at = claims.required_date("iat").map_err(malformed)?;
        let latest = now.plus(self.settings.assertion_lifetime_max).plus(self.settings.clock_skew_max);
        if expires_at <= now || expires_at > latest || issued_at > now.plus(self.settings.clock_skew_max) {
            return Err(invalid("The JWT has expired, lives too long or is dated in the future."));
        }
        let jti = claims.required_text("jti").map_err(malformed)?;
        let marker = ClientId::parse(&format!("software:{software}")).map_err(|_| invalid("iss is malformed."))?;
        if jti.len() > JTI_BYTES_MAX || !self.parts.replay.mark(&marker, jti, expires_at, now).await? {
            return Err(invalid("The JWT was used before."));
        }
        Ok(claims.members().clone())
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
            Some(_) => Err(OAuthError::InvalidClientMetadata("software_statement is not a text.")),
        }
    }

    /// A client of a directory stays one: its statement is sent again, the same or a newer one of the same software.
    async fn statement_again(
        &self,
        entry: &DynamicClient,
        given: &Map<String, Value>,
        rules: &Rules,
        now: Timestamp,
    ) -> Result<Option<SoftwareStatement>, OAuthError> {
        let invalid = OAuthError::InvalidClientMetadata;
        let sent = given.get("software_statement").and_then(Value::as_str);
        match (&entry.stored.software, sent) {
            (None, None) => Ok(None),
            // It came by an initial access token: a directory's word cannot be added to it.
            (None, Some(_)) => Err(invalid("The client was registered without a software statement.")),
            (Some(_), None) => Err(invalid("software_statement is missing.")),
            (Some(software), Some(sent)) if sent == software.statement => {
                let verified = rules.directories.verify_again(sent, now).await;
                verified.map(Some).map_err(OAuthError::SoftwareStatement)
            }
            (Some(software), Some(_)) => {
                let fresh = self.statement(given, rules, now).await?;
                let same = |fresh: &SoftwareStatement| {
                    fresh.directory == software.directory && fresh.software_id == software.id
                };
                let fresh = fresh.filter(same);
                fresh.map(Some).ok_or(invalid("The software statement is another software's."))
            }
        }
    }

    async fn read_for(
        &self,
        given: Map<String, Value>,
        statement: Option<&SoftwareStatement>,
        template: &RegistrationTemplate,
    ) -> Result<ReadMetadata, OAuthError> {
        let by_directory = matches!(template.admission, RegistrationAdmission::Directory(_));
        let given = match statement {
            Some(statement) => merge(given, statement, &MEMBERS).map_err(|error| match error {
                super::Disagreement::RedirectUris => {
                    OAuthError::InvalidRedirectUri("A redirect URI is not one of the software statement's.")
                }
                super::Disagreement::Keys | super::Disagreement::SoftwareId => {
                    OAuthError::InvalidClientMetadata("The metadata contradict the software statement.")
                }
            })?,
            None if by_directory => return Err(OAuthError::InvalidClientMetadata("software_statement is missing.")),
            None => given,
        };
        let mut read = read_metadata(&given, template.profile, &self.parts.dynamic.outbound)?;
        self.check_answers(&given, &read)?;
        match &read.scopes {
            Some(scopes) if !scopes.is_subset(&template.scopes) => {
                return Err(OAuthError::InvalidClientMetadata("scope goes beyond what clients may have here."));
            }
            Some(_) => {}
            None => drop(read.members.insert("scope".into(), template.scopes.to_string().into())),
        }
        let subject = match &read.proof {
            Proof::Registered(ClientAuthentication::TlsClientAuth(TlsSubject::Dn(subject))) => Some(subject),
            Proof::Registered(_) | Proof::Secret => None,
        };
        if let (Some(names), Some(subject), Some(statement)) =
            (template.profile.certificate_names(), subject, statement)
        {
            names.check_subject(subject, &statement.compact)?;
        }
        if let Some(url) = &read.sector_identifier_uri {
            self.check_sector(url, &read.metadata.redirect_uris).await?;
        }
        Ok(read)
    }

    /// OpenID Connect Dynamic Registration §5: the document of the sector lists every redirect URI of the client. It is
    /// asked for when the client names it, last of all.
    async fn check_sector(&self, url: &str, redirect_uris: &[Arc<str>]) -> Result<(), OAuthError> {
        let received = self.parts.dynamic.outbound.get(url, "application/json", SECTOR_BYTES_MAX).await;
        let document = received.ok().filter(|received| received.status == 200);
        let listed = match document.and_then(|document| parse_strict(&document.body).ok()) {
            Some(Value::Array(listed)) => listed,
            Some(_) | None => {
                return Err(OAuthError::InvalidClientMetadata("sector_identifier_uri leads to no JSON array."));
            }
        };
        let all = redirect_uris.iter().all(|uri| listed.iter().any(|listed| listed.as_str() == Some(uri)));
        let missing = "A redirect URI is not in the document of sector_identifier_uri.";
        if all { Ok(()) } else { Err(OAuthError::InvalidClientMetadata(missing)) }
    }

    /// What the client wants to be answered, and this server does not do (RFC 7591 §2): better refused than left out, since an
    /// absent `id_token_signed_response_alg` means RS256 (OpenID Connect Registration §2).
    fn check_answers(&self, given: &Map<String, Value>, read: &ReadMetadata) -> Result<(), OAuthError> {
        let algorithm = self.parts.keys.current().algorithm().as_str();
        for name in SIGNED_ANSWERS.into_iter().chain([INTROSPECTION_SIGNED]) {
            if given.get(name).is_some_and(|asked| !asked.is_null() && asked != algorithm) {
                return Err(OAuthError::InvalidClientMetadata(
                    "A signed answer is asked for in an algorithm not in use.",
                ));
            }
        }
        if UNSUPPORTED.iter().any(|name| given.get(*name).is_some_and(|asked| !asked.is_null())) {
            return Err(OAuthError::InvalidClientMetadata("Userinfo is not signed here, and nothing is encrypted."));
        }
        let known = |name: &std::sync::Arc<str>| self.settings.detail_types.names().any(|known| *known == **name);
        if !read.metadata.authorization_details_types.iter().all(known) {
            return Err(OAuthError::InvalidClientMetadata("authorization_details_types has an unknown type.")); // RFC 9396 §10
        }
        Ok(())
    }

    /// Ours alone to choose, and never the name of a user (RFC 9700 §4.15) or of a configured client.
    fn new_client_id(&self) -> Result<ClientId, OAuthError> {
        let id = format!("dcr:{}", URL_SAFE_NO_PAD.encode(self.parts.random.bytes::<16>()));
        ClientId::parse(&id).map_err(|_| OAuthError::InvalidRequest("No client id could be made."))
    }

    fn render(&self, stored: &StoredClient, told: Told) -> Registered {
        let mut body = Map::new();
        body.insert("client_id".into(), stored.id.as_str().into());
        body.insert("client_id_issued_at".into(), stored.issued_at.secs().into());
        body.insert(
            "registration_client_uri".into(),
            format!("{}/oauth/register/{}", self.settings.issuer, stored.id).into(),
        );
        if let Some(token) = told.registration_access_token {
            body.insert("registration_access_token".into(), token.into());
        }
        if let Some(secret) = told.client_secret {
            body.insert("client_secret".into(), secret.into());
            body.insert("client_secret_expires_at".into(), 0.into()); // Never.
        }
        body.extend(stored.metadata.clone());
        if body.get("response_types") == Some(&serde_json::json!(["code"])) {
            let algorithm = self.parts.keys.current().algorithm().as_str();
            body.extend(SIGNED_ANSWERS.map(|name| (name.to_owned(), algorithm.into()))); // In effect now, not kept.
        }
        if let Some(asked) = body.get_mut(INTROSPECTION_SIGNED) {
            *asked = self.parts.keys.current().algorithm().as_str().into();
        }
        if let Some(software) = &stored.software {
            body.insert("software_statement".into(), software.statement.as_str().into());
        }
        Registered { client_id: stored.id.clone(), body: Value::Object(body) }
    }
}

fn software(statement: SoftwareStatement) -> Software {
    Software { directory: statement.directory, id: statement.software_id, statement: statement.compact }
}

/// The one bearer token of a request (RFC 6750 §2.1).
fn bearer<'r>(request: &Request<'r>) -> Option<&'r str> {
    let mut fields = request.headers.get_all(AUTHORIZATION).iter();
    let field = fields.next().filter(|_| fields.next().is_none())?.to_str().ok()?;
    let (scheme, token) = field.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then_some(token).filter(|token| (1..=256).contains(&token.len()))
}
