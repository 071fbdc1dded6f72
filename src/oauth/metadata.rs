//! The documents by which clients find their way. Only what is true today is in them, and nothing of it follows a
//! request's Host field.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::server::path_of;
use super::userinfo::CLAIMS_SUPPORTED;
use super::{AuthorizationServer, ClientKeys, GrantType, Profile, ResponseMode, Settings};
use crate::authn::dpop::{self, ExternalUrls};
use crate::domain::ByListener;
use crate::jose::{Algorithm, UnverifiedToken};

/// The JSON of both documents, written once.
pub(super) struct Documents {
    pub(super) authorization_server: Bytes,
    pub(super) resources: ByListener<ResourceDocuments>,
}

/// RFC 9728, as one listener serves it.
pub(super) struct ResourceDocuments {
    pub(super) whole: Bytes,
    /// Of single APIs, by what follows the resource's own URL.
    pub(super) apis: HashMap<String, Bytes>,
}

impl Documents {
    /// `signing`: what our answers are signed with, and will be.
    pub(super) fn new(settings: &Settings, signing: &[Algorithm]) -> Self {
        let mtls = settings.mtls_url.as_deref().map(|url| ResourceDocuments::new(settings, url));
        let public = ResourceDocuments::new(settings, &settings.resource);
        Self {
            authorization_server: text(&authorization_server(settings, signing)),
            resources: ByListener::new(public, mtls, &settings.mtls_listeners),
        }
    }
}

impl ResourceDocuments {
    /// `base` is what all that is served here is called at the listener.
    fn new(settings: &Settings, base: &str) -> Self {
        let below = settings.api_resources.iter().filter_map(|api| path_below(settings, api));
        let of = |path: String| (path.clone(), text(&protected_resource(settings, &format!("{base}{path}"))));
        Self { whole: text(&protected_resource(settings, base)), apis: below.map(of).collect() }
    }
}

impl AuthorizationServer {
    /// The path of the issuer, which prefixes its endpoints; empty for most.
    pub fn issuer_path(&self) -> String {
        path_of(&self.settings.issuer)
    }

    /// The paths of the resource's names, which follow the well-known part (RFC 9728 §3.1); one empty one for most.
    pub fn resource_paths(&self) -> BTreeSet<String> {
        std::iter::once(&self.settings.resource).chain(&self.settings.mtls_url).map(|url| path_of(url)).collect()
    }
}

/// Where the RFC 9728 document of a resource is (§3.1): the well-known part stands between host and path.
pub fn resource_metadata_url(resource: &str) -> String {
    let path = path_of(resource);
    let origin = resource.strip_suffix(&path).unwrap_or(resource);
    format!("{origin}/.well-known/oauth-protected-resource{path}")
}

/// The methods that a client can use: those by certificate only where a listener asks for one. Secrets are named only
/// where nobody is held to more: beside clients of FAPI, who reads this must not take them for a way in (FAPI 2.0
/// §5.3.2.1-6).
fn methods(settings: &Settings) -> Vec<&'static str> {
    let mut methods = vec!["private_key_jwt"];
    if settings.mtls_url.is_some() {
        methods.extend(["tls_client_auth", "self_signed_tls_client_auth"]);
    }
    if settings.profiles == [Profile::PlainOauth] {
        methods.push("client_secret_basic");
    }
    methods
}

/// The endpoints at which clients authenticate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    Token,
    PushedAuthorizationRequest,
    BackchannelAuthentication,
    Introspection,
    Revocation,
}

impl Endpoint {
    const ALL: [Self; 5] = [
        Self::Token,
        Self::PushedAuthorizationRequest,
        Self::BackchannelAuthentication,
        Self::Introspection,
        Self::Revocation,
    ];

    /// Its name in metadata, before `_endpoint`, and its path.
    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Token => ("token", "token"),
            Self::PushedAuthorizationRequest => ("pushed_authorization_request", "par"),
            Self::BackchannelAuthentication => ("backchannel_authentication", "backchannel"),
            Self::Introspection => ("introspection", "introspect"),
            Self::Revocation => ("revocation", "revoke"),
        }
    }
}

/// What a client may call us in its assertions where its profile allows more than the issuer (RFC 7523 §3, RFC 9126 §2).
pub(super) struct Audiences {
    /// Everywhere: the issuer, the token endpoint, the endpoint of pushed requests.
    everywhere: Vec<String>,
    /// At one endpoint: its own URLs, so that what is addressed to another is of no use there.
    own: Vec<(Endpoint, Vec<String>)>,
}

impl Audiences {
    pub(super) fn new(settings: &Settings) -> Self {
        let urls = |endpoint: Endpoint| {
            let (_, path) = endpoint.names();
            bases(settings).map(|base| format!("{base}/oauth/{path}")).collect::<Vec<_>>()
        };
        let shared = [Endpoint::Token, Endpoint::PushedAuthorizationRequest].into_iter().flat_map(urls);
        let everywhere = std::iter::once(settings.issuer.clone()).chain(shared).collect();
        Self { everywhere, own: Endpoint::ALL.map(|endpoint| (endpoint, urls(endpoint))).into() }
    }

    /// Whether an assertion that comes to `endpoint` is addressed to us there.
    pub(super) fn are_named(&self, token: &UnverifiedToken<'_>, endpoint: Endpoint) -> bool {
        let own = self.own.iter().filter(|(known, _)| *known == endpoint);
        token.hints_audience(&self.everywhere) || own.into_iter().any(|(_, urls)| token.hints_audience(urls))
    }
}

/// The URLs that the endpoints' paths follow.
fn bases(settings: &Settings) -> impl Iterator<Item = String> {
    std::iter::once(settings.issuer.clone()).chain(mtls_base(settings))
}

/// What DPoP proofs call the endpoints, by the listener that they are sent to.
pub(super) fn external_urls(settings: &Settings) -> ByListener<ExternalUrls> {
    ExternalUrls::by_listener(&settings.issuer, mtls_base(settings).as_deref(), &settings.mtls_listeners)
}

fn mtls_base(settings: &Settings) -> Option<String> {
    settings.mtls_url.as_ref().map(|url| format!("{url}{}", path_of(&settings.issuer)))
}

/// What some client may sign with, by the names of FAPI 2.0 §5.4.1-1b.
fn algorithms(settings: &Settings) -> Vec<&'static str> {
    let taken =
        |algorithm: &Algorithm| settings.profiles.iter().any(|profile| profile.algorithms().contains(algorithm));
    let taken = |algorithm: &Algorithm| settings.profiles.is_empty() || taken(algorithm);
    ClientKeys::ALGORITHMS.into_iter().filter(taken).map(Algorithm::as_str).collect()
}

fn authorization_server(settings: &Settings, signing: &[Algorithm]) -> Value {
    let methods = methods(settings);
    let algorithms = json!(algorithms(settings));
    let signing = json!(signing.iter().map(|algorithm| algorithm.as_str()).collect::<Vec<_>>());
    let mut members = Map::new();
    let mut add = |name: &str, value: Value| members.insert(name.to_owned(), value);
    add("issuer", settings.issuer.as_str().into());
    add("authorization_endpoint", format!("{}/oauth/authorize", settings.issuer).into());
    for (endpoint, path) in Endpoint::ALL.map(Endpoint::names) {
        add(&format!("{endpoint}_endpoint"), format!("{}/oauth/{path}", settings.issuer).into());
    }
    for endpoint in ["token", "introspection", "revocation"] {
        add(&format!("{endpoint}_endpoint_auth_methods_supported"), json!(methods));
        add(&format!("{endpoint}_endpoint_auth_signing_alg_values_supported"), algorithms.clone());
    }
    add("userinfo_endpoint", format!("{}/oauth/userinfo", settings.issuer).into());
    if settings.registration {
        add("registration_endpoint", format!("{}/oauth/register", settings.issuer).into()); // RFC 8414 §2
    }
    add("jwks_uri", format!("{}/oauth/jwks", settings.issuer).into());
    add("grant_types_supported", json!(GrantType::OFFERED.map(GrantType::as_str)));
    add("response_types_supported", json!(["code"]));
    let modes = ResponseMode::ALL.map(ResponseMode::as_str).into_iter().chain(["jwt"]);
    add("response_modes_supported", modes.collect::<Vec<_>>().into());
    add("code_challenge_methods_supported", json!(["S256"]));
    add("require_pushed_authorization_requests", true.into()); // RFC 9126 §5
    add("authorization_response_iss_parameter_supported", true.into()); // RFC 9207 §3
    add("request_parameter_supported", true.into());
    add("request_uri_parameter_supported", false.into()); // Pushed ones only.
    add("request_object_signing_alg_values_supported", algorithms.clone());
    // CIBA Core §4. Clients authenticate as at the token endpoint; there is no member of its own for that.
    add("backchannel_token_delivery_modes_supported", json!(["poll", "ping"]));
    add("backchannel_authentication_request_signing_alg_values_supported", algorithms);
    add("backchannel_user_code_parameter_supported", false.into());
    add("introspection_signing_alg_values_supported", signing.clone()); // RFC 9701 §7
    add("dpop_signing_alg_values_supported", json!(dpop::ALGORITHMS.map(Algorithm::as_str))); // RFC 9449 §5.1
    add("authorization_signing_alg_values_supported", signing.clone()); // JARM §4
    add("id_token_signing_alg_values_supported", signing);
    add("subject_types_supported", json!(["public", "pairwise"]));
    add("claims_parameter_supported", true.into());
    add("claims_supported", json!(CLAIMS_SUPPORTED));
    add("prompt_values_supported", json!(["none", "login", "consent"]));
    if !settings.acr_values_supported.is_empty() {
        add("acr_values_supported", json!(settings.acr_values_supported)); // RFC 9470 §7
    }
    if !settings.scopes_supported.is_empty() {
        add("scopes_supported", json!(settings.scopes_supported));
    }
    let types: Vec<_> = settings.detail_types.names().collect();
    if !types.is_empty() {
        add("authorization_details_types_supported", json!(types)); // RFC 9396 §10
    }
    add("protected_resources", json!(resources(settings))); // RFC 9728 §4
    // Ours: what the profiles mean is in the documentation.
    add(
        "clearway_profiles_supported",
        settings.profiles.iter().map(|profile| profile.as_str()).collect::<Vec<_>>().into(),
    );
    if let Some(base) = mtls_base(settings) {
        add("tls_client_certificate_bound_access_tokens", true.into()); // RFC 8705 §3.3
        let alias =
            |(endpoint, path): (&str, &str)| (format!("{endpoint}_endpoint"), format!("{base}/oauth/{path}").into());
        // RFC 8705 §5. Userinfo takes bound tokens, and so a certificate.
        let aliases = Endpoint::ALL.map(Endpoint::names).into_iter().chain([("userinfo", "userinfo")]);
        let aliases = aliases.chain(settings.registration.then_some(("registration", "register"))).map(alias);
        add("mtls_endpoint_aliases", Value::Object(aliases.collect()));
    }
    Value::Object(members)
}

/// The whole and each API, by both names where there are two.
fn resources(settings: &Settings) -> Vec<String> {
    let paths: Vec<_> = settings.api_resources.iter().filter_map(|api| path_below(settings, api)).collect();
    let bases =
        std::iter::once(&settings.resource).chain(settings.mtls_url.as_ref().filter(|url| **url != settings.resource));
    let of = |base: &String| {
        let apis: Vec<_> = paths.iter().map(|path| format!("{base}{path}")).collect();
        std::iter::once(base.clone()).chain(apis)
    };
    bases.flat_map(of).collect()
}

/// What follows the whole resource's URL in an API's.
fn path_below(settings: &Settings, api: &str) -> Option<String> {
    api.strip_prefix(&settings.resource).map(str::to_owned)
}

/// RFC 9728 §2, of all that is served here or of one API.
fn protected_resource(settings: &Settings, resource: &str) -> Value {
    let mut members = Map::new();
    let mut add = |name: &str, value: Value| members.insert(name.to_owned(), value);
    add("resource", resource.into());
    let issuers: Vec<_> = std::iter::once(&settings.issuer).chain(&settings.trusted_issuers).collect();
    add("authorization_servers", json!(issuers));
    add("bearer_methods_supported", json!(["header"]));
    if !settings.scopes_supported.is_empty() {
        add("scopes_supported", json!(settings.scopes_supported));
    }
    add("dpop_signing_alg_values_supported", json!(dpop::ALGORITHMS.map(Algorithm::as_str)));
    let types: Vec<_> = settings.detail_types.names().collect();
    if !types.is_empty() {
        add("authorization_details_types_supported", json!(types)); // RFC 9396 §10
    }
    if settings.mtls_url.is_some() {
        add("tls_client_certificate_bound_access_tokens", true.into());
    }
    Value::Object(members)
}

fn text(value: &Value) -> Bytes {
    value.to_string().into()
}
