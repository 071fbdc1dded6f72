//! `tenants.yaml`, `clients.yaml`, `subscriptions.yaml`.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::str::FromStr;
use std::sync::Arc;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::domain::{
    Client, ClientId, Environment, LicenceRole, PartnerStatus, PlanId, ProductId, ScopeSet, Tenant, Thumbprint, once,
};
use crate::jose;
use crate::oauth::{
    ClientAuthentication, ClientKeys, ClientMetadata, ClientRegistration, DistinguishedName, Profile, SecretHash,
    TlsSubject,
};
use crate::quota::Plan;

use super::apis::ProductSettings;
use super::registered::Credentials;
use super::tree::{Entry, Node};
use super::{Diagnostic, Located, each, registered, scalar};

const STATUSES: &[(&str, PartnerStatus)] =
    &[("active", PartnerStatus::Active), ("suspended", PartnerStatus::Suspended)];
const ENVIRONMENTS: &[(&str, Environment)] = &[("sandbox", Environment::Sandbox), ("live", Environment::Live)];
const ROLES: &[(&str, LicenceRole)] = &[
    ("account-information", LicenceRole::AccountInformation),
    ("payment-initiation", LicenceRole::PaymentInitiation),
    ("card-based-payment-instrument", LicenceRole::CardBasedPaymentInstrument),
    ("account-servicing", LicenceRole::AccountServicing),
    ("insurance-distribution", LicenceRole::InsuranceDistribution),
    ("credit-intermediation", LicenceRole::CreditIntermediation),
    ("wealth-management", LicenceRole::WealthManagement),
];

pub(super) fn licence_role(entry: &Entry<'_>, node: &Node) -> Result<LicenceRole, String> {
    scalar::one_of(ROLES)(entry, node)
}

pub(super) fn environment(entry: &Entry<'_>, node: &Node) -> Result<Environment, String> {
    scalar::one_of(ENVIRONMENTS)(entry, node)
}

/// A client as configured. Without a registration it is known by an outside issuer's tokens only.
#[derive(Debug, Clone)]
pub struct ClientSettings {
    pub client: Arc<Client>,
    pub registration: Option<Arc<ClientRegistration>>,
    /// The outside issuer whose tokens speak for it, instead of ours.
    pub issuer: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionSettings {
    pub client: ClientId,
    pub product: ProductId,
    pub plan: PlanId,
    pub environment: Environment,
}

/// What a subscription may refer to.
pub(super) struct Declared<'n> {
    pub clients: &'n [Located<ClientSettings>],
    pub products: &'n [Located<ProductSettings>],
    pub plans: &'n [Located<Plan>],
}

/// Declared names of one kind, looked up once per reference.
pub(super) type Names<'n> = BTreeSet<&'n str>;

/// A reader of a name that must be declared.
pub(super) fn known<T>(kind: &'static str, names: &Names<'_>) -> impl Fn(&Entry<'_>, &Node) -> Result<T, String>
where
    T: FromStr,
    T::Err: std::fmt::Display,
{
    move |entry, node| {
        let written = scalar::text(entry, node)?;
        if names.contains(written.as_str()) {
            return written.parse().map_err(|error: T::Err| error.to_string());
        }
        Err(undeclared(entry, kind, &written, names.iter().copied()))
    }
}

/// Says that a name is not declared, and which one may have been meant.
pub(super) fn undeclared<'n>(
    entry: &Entry<'_>,
    kind: &str,
    written: &str,
    names: impl Iterator<Item = &'n str>,
) -> String {
    let hint = entry.report().hints().near(written, names);
    let hint = hint.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
    format!("there is no {kind} `{written}`{hint}")
}

pub(super) fn tenants(entries: &[Entry<'_>]) -> Vec<Located<Arc<Tenant>>> {
    each(entries, "tenant", |tenant: &Arc<Tenant>| tenant.id.to_string(), |entry| tenant(entry).map(Arc::new))
}

fn tenant(entry: &Entry<'_>) -> Option<Tenant> {
    let id = entry.required("id", scalar::parsed);
    let name = entry.optional("name", scalar::text);
    let status = entry.or("status", PartnerStatus::Active, scalar::one_of(STATUSES));
    let jurisdiction = entry.required("jurisdiction", scalar::jurisdiction);
    let licences: BTreeSet<LicenceRole> = entry.each("licences", licence_role).into_iter().collect();
    entry.finish();
    let id: crate::domain::TenantId = id?;
    Some(Tenant { name: name.unwrap_or_else(|| id.to_string()), id, status, jurisdiction: jurisdiction?, licences })
}

pub(super) fn clients(entries: &[Entry<'_>], tenants: &[Located<Arc<Tenant>>]) -> Vec<Located<ClientSettings>> {
    let by_name: HashMap<&str, &Arc<Tenant>> = tenants.iter().map(|t| (t.value.id.as_str(), &t.value)).collect();
    let name = |settings: &ClientSettings| settings.client.id.to_string();
    let known_scopes = RefCell::default();
    each(entries, "client", name, |entry| client(entry, &by_name, &known_scopes))
}

fn client(
    entry: &Entry<'_>,
    tenants: &HashMap<&str, &Arc<Tenant>>,
    known_scopes: &RefCell<HashSet<ScopeSet>>,
) -> Option<ClientSettings> {
    let id: Option<ClientId> = entry.required("id", scalar::parsed);
    let tenant = entry.required("tenant", |entry, node| {
        let written = scalar::text(entry, node)?;
        if let Some(tenant) = tenants.get(written.as_str()) {
            return Ok(Arc::clone(tenant));
        }
        Err(undeclared(entry, "tenant", &written, tenants.keys().copied()))
    });
    let name = entry.optional("name", scalar::text);
    let status = entry.or("status", PartnerStatus::Active, scalar::one_of(STATUSES));
    let environment = entry.or("environment", Environment::Sandbox, environment);
    let scopes = entry.or("scopes", ScopeSet::default(), scalar::scopes);
    let scopes = once(&mut known_scopes.borrow_mut(), &scopes, ScopeSet::clone); // Many clients are granted the same.
    let registered = registered::read(entry);
    let issuer = entry.optional("issuer", scalar::text);
    let authentication = entry.section("authentication").map(|section| authentication(&section));
    entry.finish();
    if issuer.is_some() == authentication.is_some() {
        let message =
            "a client has either `authentication`, for our own tokens, or `issuer`, for those of an outside issuer";
        entry.report().add(Diagnostic::new(entry.place(), message));
    }
    let id = id?;
    let registration = match authentication {
        None => None,
        Some(credentials) => Some(Arc::new(registered.complete(entry, id.clone(), credentials?)?)),
    };
    let name = name.unwrap_or_else(|| id.to_string());
    let client = Client { id, tenant: tenant?, name, status, environment, scopes };
    Some(ClientSettings { client: Arc::new(client), registration, issuer })
}

#[derive(Clone, Copy)]
enum Method {
    PrivateKeyJwt,
    TlsClientAuth,
    SelfSigned,
    Secret,
}

/// How the client proves itself, and its keys: those of its assertions are those of its request objects.
fn authentication(entry: &Entry<'_>) -> Option<Credentials> {
    let words = &[
        ("private_key_jwt", Method::PrivateKeyJwt),
        ("tls_client_auth", Method::TlsClientAuth),
        ("self_signed_tls_client_auth", Method::SelfSigned),
        ("client_secret_basic", Method::Secret),
    ];
    let method = entry.required("method", scalar::one_of(words))?;
    let remote = entry.optional("jwks_uri", jwks_uri);
    let keys = match (method, remote) {
        (_, Some(keys)) => {
            if entry.optional("jwks_file", jwks).is_some() {
                let message = "`jwks_file` and `jwks_uri` exclude each other (RFC 7591 §2)";
                entry.report().add(Diagnostic::new(entry.place(), message));
            }
            keys
        }
        (Method::PrivateKeyJwt, None) => entry.required("jwks_file", jwks)?,
        (Method::TlsClientAuth | Method::SelfSigned | Method::Secret, None) => {
            entry.optional("jwks_file", jwks).unwrap_or_default()
        }
    };
    let certificates = match method {
        Method::TlsClientAuth => Vec::new(), // Its certificates have a trusted chain.
        Method::PrivateKeyJwt | Method::SelfSigned | Method::Secret => entry.each("certificate_files", certificate),
    };
    let authentication = match method {
        Method::PrivateKeyJwt => ClientAuthentication::PrivateKeyJwt,
        Method::Secret => {
            ClientAuthentication::ClientSecretBasic { secret_hash: entry.required("secret_file", secret)? }
        }
        Method::TlsClientAuth => ClientAuthentication::TlsClientAuth(tls_subject(entry)?),
        Method::SelfSigned => {
            if certificates.is_empty() {
                let message = "`certificate_files` must name at least one certificate";
                entry.report().add(Diagnostic::new(entry.place(), message));
                return None;
            }
            ClientAuthentication::SelfSignedTlsClientAuth { certificates: certificates.clone() }
        }
    };
    entry.finish();
    let certificates = if matches!(method, Method::SelfSigned) { Vec::new() } else { certificates };
    Some(Credentials { authentication, keys, certificates })
}

/// Shortest secret, in characters: 128 bits in base64url (FAPI 2.0 §5.4.1-4).
const SECRET_CHARS_MIN: usize = 22;

/// A secret on one line of a file; only its hash stays in memory.
pub(super) fn secret(entry: &Entry<'_>, node: &Node) -> Result<SecretHash, String> {
    let path = scalar::file(entry, node)?;
    let name = path.display();
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{name} cannot be read: {error}"))?;
    let text = text.trim_end();
    if text.len() < SECRET_CHARS_MIN || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!("{name} is not a line of at least {SECRET_CHARS_MIN} visible characters"));
    }
    Ok(SecretHash::of(text.as_bytes()))
}

/// Exactly one subject (RFC 8705 §2.1.2).
fn tls_subject(entry: &Entry<'_>) -> Option<TlsSubject> {
    let mut subjects = Vec::new();
    subjects.extend(entry.optional("subject_dn", |entry, node| {
        DistinguishedName::parse(&scalar::text(entry, node)?).map(TlsSubject::Dn).map_err(|error| error.to_string())
    }));
    subjects.extend(entry.optional("san_dns", scalar::text).map(TlsSubject::SanDns));
    subjects.extend(entry.optional("san_uri", scalar::text).map(TlsSubject::SanUri));
    subjects.extend(entry.optional("san_ip", scalar::ip).map(TlsSubject::SanIp));
    subjects.extend(entry.optional("san_email", scalar::text).map(TlsSubject::SanEmail));
    if subjects.len() == 1 {
        return subjects.pop();
    }
    let message = "expected exactly one of `subject_dn`, `san_dns`, `san_uri`, `san_ip`, `san_email` (RFC 8705 §2.1.2)";
    entry.report().add(Diagnostic::new(entry.place(), message));
    None
}

/// Where a client publishes its keys (RFC 7591 §2). Whether its host may be asked is judged at each fetch.
fn jwks_uri(entry: &Entry<'_>, node: &Node) -> Result<ClientKeys, String> {
    let text = scalar::text(entry, node)?;
    if text.starts_with("https://") && ClientMetadata::is_redirect_uri(&text) {
        Ok(ClientKeys::Remote(text.into()))
    } else {
        Err(format!("`{text}` is not an https URL without fragment"))
    }
}

/// A client's public keys.
fn jwks(entry: &Entry<'_>, node: &Node) -> Result<ClientKeys, String> {
    let path = scalar::file(entry, node)?;
    let name = path.display();
    let bytes = std::fs::read(&path).map_err(|error| format!("{name} cannot be read: {error}"))?;
    let jwks = jose::parse_strict(&bytes).map_err(|error| format!("{name} is not JSON: {error}"))?;
    ClientKeys::inline(&jwks).map_err(|error| format!("{name}: {error}"))
}

fn certificate(entry: &Entry<'_>, node: &Node) -> Result<Thumbprint, String> {
    let path = scalar::file(entry, node)?;
    let der =
        CertificateDer::from_pem_file(&path).map_err(|_| format!("{} holds no PEM certificate", path.display()))?;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &der);
    digest.as_ref().try_into().map(Thumbprint).map_err(|_| "no thumbprint".to_owned())
}

/// The names by which a subscription refers.
struct References<'n> {
    clients: Names<'n>,
    products: Names<'n>,
    plans: Names<'n>,
    environments: HashMap<&'n str, Environment>,
    /// What clients are held to, and what products demand.
    profiles: HashMap<&'n str, Profile>,
    demanded: HashMap<&'n str, Profile>,
}

pub(super) fn subscriptions(entries: &[Entry<'_>], declared: &Declared<'_>) -> Vec<Located<SubscriptionSettings>> {
    let clients = || declared.clients.iter().map(|c| &c.value.client);
    let registered = declared.clients.iter().filter_map(|c| c.value.registration.as_deref());
    let profiles = registered.map(|registration| (registration.client_id.as_str(), registration.profile));
    let references = References {
        clients: clients().map(|client| client.id.as_str()).collect(),
        products: declared.products.iter().map(|p| p.value.id.as_str()).collect(),
        plans: declared.plans.iter().map(|p| p.value.id.as_str()).collect(),
        environments: clients().map(|client| (client.id.as_str(), client.environment)).collect(),
        profiles: profiles.collect(),
        demanded: declared.products.iter().map(|p| (p.value.id.as_str(), p.value.profile)).collect(),
    };
    let name = |s: &SubscriptionSettings| format!("{} to {}", s.client, s.product);
    each(entries, "subscription", name, |entry| subscription(entry, &references))
}

fn subscription(entry: &Entry<'_>, references: &References<'_>) -> Option<SubscriptionSettings> {
    let client: Option<ClientId> = entry.required("client", known("client", &references.clients));
    let product = entry.required("product", known("product", &references.products));
    let plan = entry.required("plan", known("plan", &references.plans));
    let written = entry.optional("environment", environment);
    entry.finish();
    let client = client?;
    let product: Option<ProductId> = product;
    let profile = references.profiles.get(client.as_str());
    let demanded = product.as_ref().and_then(|product| references.demanded.get(product.as_str()));
    if let (Some(profile), Some(demanded)) = (profile, demanded)
        && !profile.satisfies(*demanded)
    {
        let message = format!("the product demands the profile {demanded}, and `{client}` has {profile}");
        entry.report().add(Diagnostic::new(entry.place(), message));
    }
    let own = references.environments.get(client.as_str()).copied();
    Some(SubscriptionSettings { product: product?, plan: plan?, environment: written.or(own)?, client })
}
