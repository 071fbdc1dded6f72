//! Client metadata as a stranger writes it (RFC 7591 §2), and what it means under a profile. One function reads it,
//! whether it comes in a request, out of a software statement or back from the store.

use std::net::IpAddr;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::software_certificate::self_signed;
use super::{
    CibaDelivery, ClientAuthentication, ClientKeys, ClientMetadata, DistinguishedName, GrantType, GrantTypes,
    OAuthError, Profile, ResponseMode, SenderConstraint, SigningAlgorithms, SubjectType, TlsSubject,
};
use crate::domain::{ScopeSet, is_unseen};
use crate::jose::Algorithm;
use crate::outbound::Outbound;

/// Most values of one list, and longest text.
const LIST_MAX: usize = 20;
const TEXT_BYTES_MAX: usize = 200;

/// How the client will prove itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    Registered(ClientAuthentication),
    /// By a secret that we make (`client_secret_basic`).
    Secret,
}

/// Metadata that holds together.
#[derive(Debug, Clone)]
pub struct ReadMetadata {
    pub name: Option<String>,
    pub scopes: Option<ScopeSet>,
    pub proof: Proof,
    pub keys: ClientKeys,
    pub sender_constraint: SenderConstraint,
    pub metadata: ClientMetadata,
    /// To be asked before anything is kept.
    pub sector: Option<SectorDocument>,
    /// What was understood, defaults written out: what is registered, kept and echoed (RFC 7591 §3.2.1).
    pub members: Map<String, Value>,
}

/// What vouches for a client that wants to be of its sector (OpenID Connect Dynamic Registration §5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SectorDocument {
    /// `sector_identifier_uri`.
    pub url: String,
    /// What it must list: the redirect URIs, and the `jwks_uri` of a pairwise client of CIBA (CIBA Core §4).
    pub lists: Vec<Arc<str>>,
}

/// What of a client's metadata a software statement may decide.
pub const MEMBERS: [&str; 23] = [
    "redirect_uris",
    "token_endpoint_auth_method",
    "token_endpoint_auth_signing_alg",
    "grant_types",
    "response_types",
    "client_name",
    "scope",
    "jwks",
    "jwks_uri",
    "software_id",
    "software_version",
    "tls_client_auth_subject_dn",
    "tls_client_auth_san_dns",
    "tls_client_auth_san_uri",
    "tls_client_auth_san_ip",
    "tls_client_auth_san_email",
    "tls_client_certificate_bound_access_tokens",
    "dpop_bound_access_tokens",
    "request_object_signing_alg",
    "require_signed_request_object",
    "authorization_details_types",
    "subject_type",
    "sector_identifier_uri",
];

/// Asks for signed introspection answers (RFC 9701 §6).
pub const INTROSPECTION_SIGNED: &str = "introspection_signed_response_alg";

const INVALID: fn(&'static str) -> OAuthError = OAuthError::InvalidClientMetadata;

/// Reads metadata for a profile. Unknown members are ignored (RFC 7591 §2); `outbound` judges URLs without asking anybody.
pub fn read_metadata(
    given: &Map<String, Value>,
    profile: Profile,
    outbound: &Outbound,
) -> Result<ReadMetadata, OAuthError> {
    let mut reader = Reader { given, members: Map::new() };
    let name = reader.text("client_name")?.map(str::to_owned);
    reader.text("software_id")?;
    reader.text("software_version")?;
    let scopes = reader.text("scope")?.map(ScopeSet::parse).transpose().map_err(|_| INVALID("scope is malformed."))?;
    let redirect_uris = redirect_uris(&mut reader, profile)?;
    let grant_types = grant_types(&mut reader, &redirect_uris)?;
    let keys = keys(&mut reader, profile, outbound)?;
    let proof = proof(&mut reader, profile, &keys)?;
    let sender_constraint = sender_constraint(&mut reader, profile, &proof)?;
    let signing = signing(&mut reader, profile)?;
    let by_code = grant_types.contains(GrantType::AuthorizationCode);
    let asked = reader.boolean("require_signed_request_object")?;
    let require_signed_request_object = asked || by_code && profile.requires_signed_requests();
    if require_signed_request_object {
        reader.note("require_signed_request_object", true.into()); // RFC 9101 §10.5, RFC 7591 §3.2.1: as it is held.
    }
    if by_code && require_signed_request_object && matches!(keys, ClientKeys::None) {
        return Err(INVALID("This profile signs requests: jwks or jwks_uri is needed."));
    }
    // CIBA Core §4: whose keys they are is shown by their use, in an assertion or in a signed request.
    let signs = require_signed_request_object || profile.requires_signed_requests();
    let proven_keys = match &keys {
        ClientKeys::Remote(url) if signs || proof == Proof::Registered(ClientAuthentication::PrivateKeyJwt) => {
            Some(url)
        }
        ClientKeys::Remote(_) | ClientKeys::Inline(_) | ClientKeys::None => None,
    };
    let places = Places { grant_types, redirect_uris: &redirect_uris, proven_keys };
    let (subject_type, sector) = subject_type(&mut reader, &places, outbound)?;
    let metadata = ClientMetadata {
        access_token_lifetime: None, // An operator's word, not a client's.
        grant_types,
        subject_type,
        redirect_uris,
        response_modes: response_modes(&mut reader, profile)?,
        require_signed_request_object,
        authorization_details_types: reader.list("authorization_details_types")?.into_iter().map(Arc::from).collect(),
        ciba: ciba(&mut reader, grant_types, outbound)?,
        signing,
        introspection_signed: reader.text(INTROSPECTION_SIGNED)?.is_some(), // RFC 9701 §6
        certificates: Vec::new(),                                           // As the lifetime.
    };
    let members = reader.members;
    Ok(ReadMetadata { name, scopes, proof, keys, sender_constraint, metadata, sector, members })
}

/// Takes members by type, and notes what it took.
struct Reader<'g> {
    given: &'g Map<String, Value>,
    members: Map<String, Value>,
}

impl<'g> Reader<'g> {
    fn text(&mut self, name: &'static str) -> Result<Option<&'g str>, OAuthError> {
        match self.given.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if is_text(text, TEXT_BYTES_MAX) => {
                self.note(name, text.as_str().into());
                Ok(Some(text))
            }
            Some(_) => Err(INVALID("A member that is a text is something else, empty or too long.")),
        }
    }

    fn url(&mut self, name: &'static str) -> Result<Option<&'g str>, OAuthError> {
        match self.given.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(url)) => {
                self.note(name, url.as_str().into());
                Ok(Some(url))
            }
            Some(_) => Err(INVALID("A member that is a URL is something else.")),
        }
    }

    fn boolean(&mut self, name: &'static str) -> Result<bool, OAuthError> {
        match self.given.get(name) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(value)) => {
                self.note(name, (*value).into());
                Ok(*value)
            }
            Some(_) => Err(INVALID("A member that is true or false is something else.")),
        }
    }

    fn list(&mut self, name: &'static str) -> Result<Vec<&'g str>, OAuthError> {
        let list = match self.given.get(name) {
            None | Some(Value::Null) => return Ok(Vec::new()),
            Some(Value::Array(list)) if list.len() <= LIST_MAX => list,
            Some(_) => return Err(INVALID("A member that is a list is something else, or too long.")),
        };
        let texts: Option<Vec<&str>> = list.iter().map(Value::as_str).collect();
        let texts = texts.filter(|texts| texts.iter().all(|text| is_text(text, 2048)));
        let texts = texts.ok_or(INVALID("A list has an entry that is not a text."))?;
        self.note(name, json!(texts));
        Ok(texts)
    }

    fn note(&mut self, name: &'static str, value: Value) {
        self.members.insert(name.to_owned(), value);
    }
}

/// Of characters that are seen for what they are.
fn is_text(text: &str, bytes_max: usize) -> bool {
    !text.trim().is_empty() && text.len() <= bytes_max && !text.contains(is_unseen)
}

fn redirect_uris(reader: &mut Reader<'_>, profile: Profile) -> Result<Vec<Arc<str>>, OAuthError> {
    let uris = reader
        .list("redirect_uris")
        .map_err(|_| OAuthError::InvalidRedirectUri("redirect_uris is not a list of at most 20 URIs."))?;
    for uri in &uris {
        if !ClientMetadata::is_redirect_uri(uri) {
            return Err(OAuthError::InvalidRedirectUri(
                "A redirect URI is absolute, https, without fragment and wildcard; http is for loopback addresses.",
            ));
        }
        // RFC 3986 §3.1: schemes have no case.
        let plain = uri.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http://"));
        if plain && !profile.allows_loopback_redirects() {
            return Err(OAuthError::InvalidRedirectUri("This profile demands https redirect URIs."));
        }
    }
    Ok(uris.into_iter().map(Arc::from).collect())
}

/// RFC 7591 §2.1: grant types and response types belong together.
fn grant_types(reader: &mut Reader<'_>, redirect_uris: &[Arc<str>]) -> Result<GrantTypes, OAuthError> {
    let names = reader.list("grant_types")?;
    let grants: Option<Vec<GrantType>> = names.iter().map(|name| GrantType::parse(name)).collect();
    let grants = grants.ok_or(INVALID("A grant type is not supported."))?;
    let grants: GrantTypes = match (grants.is_empty(), redirect_uris.is_empty()) {
        (false, _) => grants.into_iter().collect(),
        (true, false) => [GrantType::AuthorizationCode].into_iter().collect(),
        // The default of RFC 7591 cannot be meant by a client without redirect URIs.
        (true, true) => GrantTypes::CLIENT_CREDENTIALS,
    };
    let by_code = grants.contains(GrantType::AuthorizationCode);
    if by_code && redirect_uris.is_empty() {
        return Err(OAuthError::InvalidRedirectUri("The grant authorization_code needs redirect_uris."));
    }
    if !by_code && !redirect_uris.is_empty() {
        return Err(INVALID("redirect_uris are for the grant authorization_code."));
    }
    if grants.contains(GrantType::RefreshToken) && !by_code && !grants.contains(GrantType::Ciba) {
        return Err(INVALID("refresh_token is for grants with a user."));
    }
    let types = reader.list("response_types")?;
    let agree = if by_code { types.is_empty() || types == ["code"] } else { types.is_empty() };
    if !agree {
        return Err(INVALID("response_types is code for the grant authorization_code, and empty without it."));
    }
    reader.note("grant_types", json!(grants.iter().map(GrantType::as_str).collect::<Vec<_>>()));
    reader.note("response_types", if by_code { json!(["code"]) } else { json!([]) });
    Ok(grants)
}

/// `jwks` or `jwks_uri`, not both (RFC 7591 §2).
fn keys(reader: &mut Reader<'_>, profile: Profile, outbound: &Outbound) -> Result<ClientKeys, OAuthError> {
    let url = reader.url("jwks_uri")?;
    let inline = reader.given.get("jwks").filter(|jwks| !jwks.is_null());
    match (inline, url) {
        (Some(_), Some(_)) => Err(INVALID("jwks and jwks_uri exclude each other.")),
        (Some(_), None) if profile.registers_by_directory_only() => {
            Err(INVALID("This profile takes keys by jwks_uri only."))
        }
        (None, None) => Ok(ClientKeys::None),
        (None, Some(url)) => {
            outbound.check_url(url).map_err(|_| INVALID("jwks_uri is not a public https URL."))?;
            Ok(ClientKeys::Remote(url.into()))
        }
        (Some(jwks), None) => {
            check_kids(jwks)?;
            let keys = ClientKeys::inline(jwks).map_err(|_| INVALID("jwks has no usable key, or a private one."))?;
            reader.note("jwks", jwks.clone());
            Ok(keys)
        }
    }
}

/// Two keys under one name could be played against each other (FAPI 1.0 Advanced §8.9).
fn check_kids(jwks: &Value) -> Result<(), OAuthError> {
    let keys = jwks.get("keys").and_then(Value::as_array).ok_or(INVALID("jwks is not a JWK set."))?;
    let mut kids: Vec<&str> = keys.iter().filter_map(|key| key.get("kid")?.as_str()).collect();
    let all = kids.len();
    kids.sort_unstable();
    kids.dedup();
    if kids.len() < all || keys.len() > LIST_MAX {
        return Err(INVALID("jwks has two keys of one kid, or too many keys."));
    }
    Ok(())
}

fn proof(reader: &mut Reader<'_>, profile: Profile, keys: &ClientKeys) -> Result<Proof, OAuthError> {
    let method = reader.text("token_endpoint_auth_method")?;
    // RFC 7591 has client_secret_basic as default, which most profiles forbid: there it is the strong method.
    let usual = if profile.allows_secrets() { "client_secret_basic" } else { "private_key_jwt" };
    let method = method.unwrap_or(usual);
    reader.note("token_endpoint_auth_method", method.into());
    let subject = tls_subject(reader)?;
    if subject.is_some() != (method == "tls_client_auth") {
        return Err(INVALID("tls_client_auth goes with exactly one subject, and no other method with any.")); // RFC 8705 §2.1.2
    }
    match (method, subject) {
        ("private_key_jwt", None) if matches!(keys, ClientKeys::None) => {
            Err(INVALID("private_key_jwt needs jwks or jwks_uri."))
        }
        ("private_key_jwt", None) => Ok(Proof::Registered(ClientAuthentication::PrivateKeyJwt)),
        ("tls_client_auth", Some(subject))
            if profile.registers_by_directory_only() && !matches!(subject, TlsSubject::Dn(_)) =>
        {
            Err(INVALID("This profile takes tls_client_auth_subject_dn only."))
        }
        ("tls_client_auth", Some(subject)) => Ok(Proof::Registered(ClientAuthentication::TlsClientAuth(subject))),
        // By URL they would change without anybody's seeing what may connect: they are written down.
        ("self_signed_tls_client_auth", None) if !profile.registers_by_directory_only() => {
            let certificates = self_signed(reader.given.get("jwks").unwrap_or(&Value::Null))?;
            Ok(Proof::Registered(ClientAuthentication::SelfSignedTlsClientAuth { certificates }))
        }
        ("client_secret_basic", None) if profile.allows_secrets() => Ok(Proof::Secret),
        _ => Err(INVALID("token_endpoint_auth_method is not allowed for this profile.")), // none, among others: FAPI 2.0 §5.3.2.1-3
    }
}

fn tls_subject(reader: &mut Reader<'_>) -> Result<Option<TlsSubject>, OAuthError> {
    let malformed = || INVALID("The subject of tls_client_auth is malformed.");
    let mut subjects = Vec::new();
    if let Some(dn) = reader.text("tls_client_auth_subject_dn")? {
        subjects.push(TlsSubject::Dn(DistinguishedName::parse(dn).map_err(|_| malformed())?));
    }
    if let Some(dns) = reader.text("tls_client_auth_san_dns")? {
        subjects.push(TlsSubject::SanDns(dns.to_owned()));
    }
    if let Some(uri) = reader.text("tls_client_auth_san_uri")? {
        subjects.push(TlsSubject::SanUri(uri.to_owned()));
    }
    if let Some(ip) = reader.text("tls_client_auth_san_ip")? {
        subjects.push(TlsSubject::SanIp(ip.parse::<IpAddr>().map_err(|_| malformed())?));
    }
    if let Some(email) = reader.text("tls_client_auth_san_email")? {
        subjects.push(TlsSubject::SanEmail(email.to_owned()));
    }
    if subjects.len() > 1 {
        return Err(INVALID("tls_client_auth has exactly one subject."));
    }
    Ok(subjects.pop())
}

fn sender_constraint(reader: &mut Reader<'_>, profile: Profile, proof: &Proof) -> Result<SenderConstraint, OAuthError> {
    let certificate = reader.boolean("tls_client_certificate_bound_access_tokens")?;
    let dpop = reader.boolean("dpop_bound_access_tokens")?;
    let by_certificate = matches!(
        proof,
        Proof::Registered(
            ClientAuthentication::TlsClientAuth(_) | ClientAuthentication::SelfSignedTlsClientAuth { .. }
        )
    );
    let constraint = match (certificate, dpop) {
        (true, true) => return Err(INVALID("Tokens are bound to a certificate or to a DPoP key, not to both.")),
        (true, false) => SenderConstraint::Certificate,
        (false, true) => SenderConstraint::Dpop,
        (false, false) if profile.allows_bearer_tokens() => SenderConstraint::Bearer,
        // Nothing was said where something must hold: what the client has anyway.
        (false, false) if by_certificate || !profile.allows_dpop() => SenderConstraint::Certificate,
        (false, false) => SenderConstraint::Dpop,
    };
    if constraint == SenderConstraint::Dpop && !profile.allows_dpop() {
        return Err(INVALID("This profile binds tokens to certificates only."));
    }
    reader.note("tls_client_certificate_bound_access_tokens", (constraint == SenderConstraint::Certificate).into());
    reader.note("dpop_bound_access_tokens", (constraint == SenderConstraint::Dpop).into());
    Ok(constraint)
}

/// OpenID Connect Registration §2, CIBA Core §4: what is signed in another algorithm will be refused.
fn signing(reader: &mut Reader<'_>, profile: Profile) -> Result<SigningAlgorithms, OAuthError> {
    let mut signing = SigningAlgorithms::default();
    for (name, member) in SigningAlgorithms::MEMBERS {
        let algorithm = reader.text(name)?.map(str::parse::<Algorithm>).transpose();
        let algorithm = algorithm.map_err(|_| INVALID("A signing algorithm is not allowed."))?;
        if algorithm.is_some_and(|algorithm| !profile.algorithms().contains(&algorithm)) {
            return Err(INVALID("A signing algorithm is not allowed for this profile."));
        }
        *member(&mut signing) = algorithm;
    }
    Ok(signing)
}

/// FAPI 2.0 Message Signing §5.3.3; of modes that the profile rules out every request would fail.
fn response_modes(reader: &mut Reader<'_>, profile: Profile) -> Result<Vec<ResponseMode>, OAuthError> {
    let names = reader.list("response_modes")?;
    let modes: Option<Vec<ResponseMode>> = names.iter().map(|name| ResponseMode::parse(name)).collect();
    let modes = modes.ok_or(INVALID("A response mode is not supported."))?;
    if profile.requires_signed_responses() && !modes.iter().all(|mode| mode.is_signed()) {
        return Err(INVALID("This profile signs responses: response_modes may have jwt and what ends in .jwt."));
    }
    Ok(modes)
}

/// Where a client is at home.
struct Places<'a> {
    grant_types: GrantTypes,
    redirect_uris: &'a [Arc<str>],
    /// Its `jwks_uri`, if it proves itself by these keys.
    proven_keys: Option<&'a Arc<str>>,
}

impl Places<'_> {
    /// What shows that a pairwise client is of its sector: where users are sent back to (OpenID Connect Core §8.1), and for
    /// decoupled approval, where nobody is, its keys (CIBA Core §4).
    fn of_sector(&self) -> Result<Vec<Arc<str>>, OAuthError> {
        let mut all = self.redirect_uris.to_vec();
        if self.grant_types.contains(GrantType::Ciba) {
            let keys =
                "A pairwise client of CIBA has a jwks_uri, and signs by its keys how it proves itself or its requests.";
            all.push(Arc::clone(self.proven_keys.ok_or(INVALID(keys))?));
        }
        if all.is_empty() { Err(INVALID("Pairwise subjects are for clients with users.")) } else { Ok(all) }
    }
}

/// OpenID Connect Core §8.1: the sector is the host of `sector_identifier_uri`, and without one that which all places of the
/// client share.
fn subject_type(
    reader: &mut Reader<'_>,
    places: &Places<'_>,
    outbound: &Outbound,
) -> Result<(SubjectType, Option<SectorDocument>), OAuthError> {
    let url = reader.url("sector_identifier_uri")?;
    if let Some(url) = url {
        outbound.check_url(url).map_err(|_| INVALID("sector_identifier_uri is not a public https URL."))?;
    }
    let host = |uri: &str| Some(uri.parse::<http::Uri>().ok()?.host()?.to_ascii_lowercase());
    let (subject_type, lists) = match reader.text("subject_type")? {
        None | Some("public") => (SubjectType::Public, places.redirect_uris.to_vec()),
        Some("pairwise") => {
            let lists = places.of_sector()?;
            let first = url.or(lists.first().map(|uri| &**uri)).and_then(host);
            let sector =
                first.filter(|sector| url.is_some() || lists.iter().all(|uri| host(uri).as_ref() == Some(sector)));
            let several =
                "Pairwise subjects need redirect URIs, and for CIBA a jwks_uri, of one host, or sector_identifier_uri.";
            (SubjectType::Pairwise { sector: sector.ok_or(INVALID(several))?.into() }, lists)
        }
        Some(_) => return Err(INVALID("subject_type is public or pairwise.")),
    };
    Ok((subject_type, url.map(|url| SectorDocument { url: url.to_owned(), lists })))
}

fn ciba(reader: &mut Reader<'_>, grants: GrantTypes, outbound: &Outbound) -> Result<Option<CibaDelivery>, OAuthError> {
    let mode = reader.text("backchannel_token_delivery_mode")?;
    let endpoint = reader.url("backchannel_client_notification_endpoint")?;
    if reader.boolean("backchannel_user_code_parameter")? {
        return Err(INVALID("User codes are not supported."));
    }
    match (grants.contains(GrantType::Ciba), mode, endpoint) {
        (false, None, None) => Ok(None),
        (true, Some("poll"), None) => Ok(Some(CibaDelivery::Poll)),
        (true, Some("ping"), Some(url)) => {
            outbound.check_url(url).map_err(|_| INVALID("The notification endpoint is not a public https URL."))?;
            Ok(Some(CibaDelivery::Ping { notification_endpoint: url.into() }))
        }
        _ => Err(INVALID("CIBA delivers by poll, or by ping with an endpoint; push is not allowed.")), // FAPI-CIBA §5.2.2-3
    }
}

#[cfg(test)]
mod tests;
