//! Clients register themselves (RFC 7591), and look after their registrations (RFC 7592).

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::AUTHORIZATION;
use serde_json::{Map, Value};

use super::client_metadata::INTROSPECTION_SIGNED;
use super::dynamic_clients::{DynamicClient, RegistrationTemplate, Software, StoredClient};
use super::software_proof::{ProvenSoftware, Registrant};
use super::{
    AuthorizationServer, ClientAuthentication, MEMBERS, OAuthError, Proof, ReadMetadata, RegistrationAdmission,
    Request, SecretHash, SectorDocument, SoftwareStatement, TlsSubject, merge, read_metadata,
};
use crate::domain::{ClientId, PartnerStatus};
use crate::jose::parse_strict;

/// Longest body, in bytes.
pub const REGISTRATION_BYTES_MAX: usize = 64 * 1024;

/// Longest document of a sector, in bytes.
const SECTOR_BYTES_MAX: usize = 64 * 1024;

/// Answers that are signed, all by the key in force (OpenID Connect Registration §2, JARM §5).
pub const SIGNED_ANSWERS: [&str; 2] = ["id_token_signed_response_alg", "authorization_signed_response_alg"];
/// What is neither made nor read here.
pub const UNSUPPORTED_MEMBERS: [&str; 6] = [
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
        let submitted = self.read_body(&request, &rules, now).await?;
        let Registrant { template, software, members } = self.registrant(&request, submitted, &rules, now).await?;
        let statement = software.as_ref().map(ProvenSoftware::statement);
        let read = self.read_for(members, statement, template).await?;
        let claim = |name: &str| statement?.claims.text(name).ok().flatten();
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
            software: software.map(Software::from),
            status: PartnerStatus::Active,
            issued_at: now,
        };
        told.client_secret = secret;
        let _alone = clients.changing.lock().await;
        if !clients.has_room(&stored, template, &rules) {
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
        let mut given = self.read_body(&request, &rules, now).await?.into_members();
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
        let software = self.statement_again(&entry, &given, &rules, now).await?;
        let read = self.read_for(given, software.as_ref().map(ProvenSoftware::statement), template).await?;
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
        let software = software.map(Software::from).or_else(|| entry.stored.software.clone());
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
        if let Some(sector) = &read.sector {
            self.check_sector(sector).await?;
        }
        Ok(read)
    }

    /// OpenID Connect Dynamic Registration §5: the document of the sector lists all that the client is known by. It is asked
    /// for when the client names it, last of all.
    async fn check_sector(&self, sector: &SectorDocument) -> Result<(), OAuthError> {
        let received = self.parts.dynamic.outbound.get(&sector.url, "application/json", SECTOR_BYTES_MAX).await;
        let document = received.ok().filter(|received| received.status == 200);
        let listed = match document.and_then(|document| parse_strict(&document.body).ok()) {
            Some(Value::Array(listed)) => listed,
            Some(_) | None => {
                return Err(OAuthError::InvalidClientMetadata("sector_identifier_uri leads to no JSON array."));
            }
        };
        let all = sector.lists.iter().all(|uri| listed.iter().any(|listed| listed.as_str() == Some(uri)));
        let missing = "A redirect URI, or the jwks_uri, is not in the document of sector_identifier_uri.";
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
        if UNSUPPORTED_MEMBERS.iter().any(|name| given.get(*name).is_some_and(|asked| !asked.is_null())) {
            return Err(OAuthError::InvalidClientMetadata("Userinfo is not signed here, and nothing is encrypted."));
        }
        let known = |name: &std::sync::Arc<str>| self.settings.detail_types.names().any(|known| *known == **name);
        if !read.metadata.authorization_details_types.iter().all(known) {
            return Err(OAuthError::InvalidClientMetadata("authorization_details_types has an unknown type.")); // RFC 9396 §10
        }
        Ok(())
    }

    /// Ours alone to choose, and never the name of a user (RFC 9700 §4.15) or of a configured client. Without a colon,
    /// which would end the user-id of HTTP Basic (RFC 7617 §2).
    fn new_client_id(&self) -> Result<ClientId, OAuthError> {
        let id = format!("dcr-{}", URL_SAFE_NO_PAD.encode(self.parts.random.bytes::<16>()));
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

/// The one bearer token of a request (RFC 6750 §2.1).
pub(super) fn bearer<'r>(request: &Request<'r>) -> Option<&'r str> {
    let mut fields = request.headers.get_all(AUTHORIZATION).iter();
    let field = fields.next().filter(|_| fields.next().is_none())?.to_str().ok()?;
    let (scheme, token) = field.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then_some(token).filter(|token| (1..=256).contains(&token.len()))
}
