//! `gateway.yaml`: the process itself. Each key says whether a reload applies it (live) or a restart must (restart).

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::authn::dpop::NonceMode;
use crate::front::{
    CertificateFiles, ClientCertificate, EdgeLimits, FloodSettings, ListenerSettings, ListenerTls, ProxyField,
    TrustedProxies,
};
use crate::jose::Algorithm;
use crate::oauth::{BACKCHANNEL_LIFETIME_MAX, OutstandingLimits, SessionLimits};
use crate::outbound::OutboundSettings;

use super::tree::{Context, Entry};
use super::{Diagnostic, scalar};

/// Where access lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessLogSettings {
    Off,
    Stdout,
    File(PathBuf),
}

/// How the published catalogue calls itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogueSettings {
    pub title: String,
    pub version: String,
    pub description: String,
}

#[derive(Debug, Clone)]
pub struct GatewaySettings {
    /// restart
    pub issuer: String,
    /// restart
    pub public_url: String,
    /// restart
    pub mtls_url: Option<String>,
    /// restart
    pub listeners: Vec<ListenerSettings>,
    /// restart
    pub operations_address: SocketAddr,
    /// Threads that serve requests; 0 means one per core. restart
    pub workers: usize,
    /// restart
    pub limits: EdgeLimits,
    /// All bodies of one client that are held whole at once: `limits.buffered_client_bytes_max`. live
    pub buffered_client_bytes_max: usize,
    /// The same of one tenant, whichever its clients: `limits.buffered_tenant_bytes_max`. live
    pub buffered_tenant_bytes_max: usize,
    /// restart
    pub flood: FloodSettings,
    /// CAs that vouch for client certificates. live
    pub partner_ca_files: Vec<PathBuf>,
    /// The SQLite database. restart
    pub store: PathBuf,
    /// restart
    pub audit_file: PathBuf,
    /// restart
    pub access_log: AccessLogSettings,
    /// live
    pub policy_folders: Vec<PathBuf>,
    /// live
    pub catalogue: CatalogueSettings,
    /// restart
    pub tokens: TokenSettings,
    /// restart
    pub dpop: DpopKeys,
    /// How long a sign-in at the authorization endpoint lasts. live
    pub sessions: SessionLimits,
    /// Whoever reaches the operations listener decides backchannel requests: never for production. restart
    pub simulated_authentication_device: bool,
    /// Clients that registered themselves, of all registrations together. live
    pub registered_clients_max: usize,
    /// How URLs are fetched that clients name. restart
    pub outbound: OutboundSettings,
    /// live
    pub security_contact: Option<String>,
}

/// restart
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenSettings {
    pub access_token_lifetime: Duration,
    pub signing_algorithm: Algorithm,
    pub key_rotation_period: Duration,
    pub assertion_lifetime_max: Duration,
    pub clock_skew_max: Duration,
    pub request_uri_lifetime: Duration,
    pub visit_lifetime: Duration,
    pub backchannel_lifetime: Duration,
    /// Of one client.
    pub backchannel_per_user_max: usize,
    pub grant_lifetime: Duration,
    /// Pushed requests, codes, and backchannel requests, of all, of one tenant, of one client.
    pub outstanding: OutstandingLimits,
}

/// restart
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DpopKeys {
    pub proof_age_max: Duration,
    pub resource_nonces: NonceMode,
    pub authorization_server_nonces: NonceMode,
}

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

pub(super) fn read(context: &Context<'_>) -> Option<GatewaySettings> {
    let file = context.file("gateway.yaml")?;
    let listeners: Vec<_> = file.sections("listeners").iter().filter_map(listener).collect();
    if listeners.is_empty() {
        file.report().add(Diagnostic::new(file.place(), "`listeners` must name at least one listener"));
    }
    let public_url = file.required("public_url", scalar::base_url);
    let issuer = file.optional("issuer", scalar::base_url).or_else(|| public_url.clone());
    let (limits, [buffered_client_bytes_max, buffered_tenant_bytes_max]) = limits(&file);
    let settings = GatewaySettings {
        issuer: issuer?,
        public_url: public_url?,
        mtls_url: file.optional("mtls_url", scalar::base_url),
        listeners,
        operations_address: operations_address(&file)?,
        workers: file.or("workers", 0, scalar::parsed),
        limits,
        buffered_client_bytes_max,
        buffered_tenant_bytes_max,
        flood: flood(&file),
        partner_ca_files: file.each("partner_ca_files", scalar::file),
        store: file.required("store_file", scalar::path)?,
        audit_file: file.required("audit_file", scalar::path)?,
        access_log: file.or("access_log", AccessLogSettings::Stdout, |entry, node| {
            Ok(match scalar::text(entry, node)?.as_str() {
                "off" => AccessLogSettings::Off,
                "stdout" => AccessLogSettings::Stdout,
                _ => AccessLogSettings::File(scalar::path(entry, node)?),
            })
        }),
        policy_folders: file.each("policy_folders", folder),
        catalogue: catalogue(&file),
        tokens: tokens(&file),
        dpop: dpop(&file),
        sessions: sessions(&file),
        simulated_authentication_device: file.or("simulated_authentication_device", false, scalar::switch),
        registered_clients_max: file.or("registered_clients_max", 10_000, scalar::parsed),
        outbound: outbound(&file),
        security_contact: file.optional("security_contact", scalar::text),
    };
    file.finish();
    Some(settings)
}

fn outbound(file: &Entry<'_>) -> OutboundSettings {
    let mut outbound = OutboundSettings::default();
    if let Some(entry) = file.section("outbound") {
        outbound.allow_private = entry.each("allow_private", scalar::parsed);
        outbound.ca_files = entry.each("ca_files", scalar::file);
        entry.finish();
    }
    outbound
}

fn folder(entry: &Entry<'_>, node: &super::tree::Node) -> Result<PathBuf, String> {
    let path = scalar::path(entry, node)?;
    if !path.is_dir() {
        return Err(format!("there is no folder {}", path.display()));
    }
    entry.context.note_file(path.clone());
    Ok(path)
}

fn listener(entry: &Entry<'_>) -> Option<ListenerSettings> {
    let name = entry.required("name", scalar::text);
    let address = entry.required("address", scalar::socket);
    let tls = entry.section("tls").map(|tls| {
        let certificate_file = tls.required("certificate_file", scalar::file);
        let private_key_file = tls.required("private_key_file", scalar::file);
        let words = &[
            ("none", ClientCertificate::None),
            ("optional", ClientCertificate::Optional),
            ("required", ClientCertificate::Required),
        ];
        let client_certificate = tls.or("client_certificate", ClientCertificate::None, scalar::one_of(words));
        let alternative = tls.section("alternative").map(|files| {
            let certificate_file = files.required("certificate_file", scalar::file);
            let private_key_file = files.required("private_key_file", scalar::file);
            files.finish();
            Some(CertificateFiles { certificate_file: certificate_file?, private_key_file: private_key_file? })
        });
        tls.finish();
        Some(ListenerTls {
            certificate_file: certificate_file?,
            private_key_file: private_key_file?,
            alternative: alternative.flatten(),
            client_certificate,
        })
    });
    entry.finish();
    let address = address?;
    let tls = match tls {
        Some(tls) => Some(tls?),
        None if address.ip().is_loopback() => None,
        None => {
            let message = "a listener without `tls` is for loopback addresses only";
            entry.report().add(Diagnostic::new(entry.place(), message).remedy("add `tls`, or listen on 127.0.0.1"));
            return None;
        }
    };
    Some(ListenerSettings { name: name?, address, tls })
}

fn operations_address(file: &Entry<'_>) -> Option<SocketAddr> {
    let address = file.or("operations_address", SocketAddr::from(([127, 0, 0, 1], 9080)), scalar::socket);
    if address.ip().is_loopback() {
        return Some(address);
    }
    let message = "the operations listener has no operator authentication yet and takes loopback addresses only";
    file.report().add(Diagnostic::new(file.place(), message).remedy("use 127.0.0.1 and forward the port"));
    None
}

/// The limits that need a restart, and beside them the one that does not: a client's share of the bodies held whole.
fn limits(file: &Entry<'_>) -> (EdgeLimits, [usize; 2]) {
    let mut limits = EdgeLimits {
        connections_max: 10_000,
        connections_per_address_max: 1_000,
        handshake_timeout: 5 * SECOND,
        header_timeout: 10 * SECOND,
        idle_timeout: 30 * SECOND,
        body_idle_timeout: 15 * SECOND,
        body_timeout: 60 * SECOND,
        header_bytes_max: 32 << 10,
        header_count_max: 100,
        uri_bytes_max: 8 << 10,
        body_bytes_max: 10 << 20,
        buffered_bytes_max: 1 << 20,
        buffered_total_bytes_max: 256 << 20,
        in_flight_per_connection_max: 100,
        in_flight_per_address_max: 8_192, // An eighth of the places for their records: it takes eight addresses to take them all.
        requests_per_connection_max: 10_000,
        drain_timeout: 30 * SECOND,
        trusted_proxies: trusted_proxies(file),
    };
    let Some(entry) = file.section("limits") else {
        let shares = [share(&limits, 4), share(&limits, 2)];
        return (limits, shares);
    };
    let l = &mut limits;
    l.connections_max = entry.or("connections_max", l.connections_max, scalar::parsed);
    l.connections_per_address_max =
        entry.or("connections_per_address_max", l.connections_per_address_max, scalar::parsed);
    l.handshake_timeout = entry.or("handshake_timeout", l.handshake_timeout, scalar::duration);
    l.header_timeout = entry.or("header_timeout", l.header_timeout, scalar::duration);
    l.idle_timeout = entry.or("idle_timeout", l.idle_timeout, scalar::duration);
    l.body_idle_timeout = entry.or("body_idle_timeout", l.body_idle_timeout, scalar::duration);
    l.body_timeout = entry.or("body_timeout", l.body_timeout, scalar::duration);
    l.header_bytes_max = entry.or("header_bytes_max", l.header_bytes_max, scalar::size);
    l.header_count_max = entry.or("header_count_max", l.header_count_max, scalar::parsed);
    l.uri_bytes_max = entry.or("uri_bytes_max", l.uri_bytes_max, scalar::size);
    l.body_bytes_max = entry.or("body_bytes_max", l.body_bytes_max, scalar::bytes);
    l.buffered_bytes_max = entry.or("buffered_bytes_max", l.buffered_bytes_max, scalar::size);
    l.buffered_total_bytes_max = entry.or("buffered_total_bytes_max", l.buffered_total_bytes_max, scalar::size);
    l.in_flight_per_connection_max =
        entry.or("in_flight_per_connection_max", l.in_flight_per_connection_max, scalar::parsed);
    l.in_flight_per_address_max = entry.or("in_flight_per_address_max", l.in_flight_per_address_max, scalar::parsed);
    l.requests_per_connection_max =
        entry.or("requests_per_connection_max", l.requests_per_connection_max, scalar::parsed);
    l.drain_timeout = entry.or("drain_timeout", l.drain_timeout, scalar::duration);
    let client = entry.or("buffered_client_bytes_max", share(l, 4), scalar::size);
    let tenant = entry.or("buffered_tenant_bytes_max", share(l, 2).max(client), scalar::size);
    for (key, bytes_max, least_key, least) in [
        ("buffered_client_bytes_max", client, "buffered_bytes_max", l.buffered_bytes_max),
        ("buffered_tenant_bytes_max", tenant, "buffered_client_bytes_max", client),
    ] {
        if bytes_max < least {
            let message = format!("`{key}` is smaller than `{least_key}`, which would never be reached");
            let remedy = format!("raise it to `{least_key}` at least");
            file.report().add(Diagnostic::new(entry.place(), message).remedy(remedy));
        }
    }
    entry.finish();
    (limits, [client, tenant])
}

fn trusted_proxies(file: &Entry<'_>) -> TrustedProxies {
    let words = &[("x-forwarded-for", ProxyField::XForwardedFor), ("forwarded", ProxyField::Forwarded)];
    TrustedProxies {
        addresses: file.each("trusted_proxies", scalar::ip),
        field: file.or("trusted_proxy_field", ProxyField::default(), scalar::one_of(words)),
    }
}

/// So much of the budget, unless one body may be larger than that.
fn share(limits: &EdgeLimits, divisor: usize) -> usize {
    (limits.buffered_total_bytes_max / divisor).max(limits.buffered_bytes_max)
}

fn flood(file: &Entry<'_>) -> FloodSettings {
    let mut flood = FloodSettings { failures_max: 60, window: 60 * SECOND };
    if let Some(entry) = file.section("flood_guard") {
        flood.failures_max = entry.or("failures_max", flood.failures_max, scalar::parsed);
        flood.window = entry.or("window", flood.window, scalar::duration);
        entry.finish();
    }
    flood
}

fn catalogue(file: &Entry<'_>) -> CatalogueSettings {
    let mut catalogue = CatalogueSettings {
        title: "Clearway".to_owned(),
        version: "1".to_owned(),
        description: "Every API that this gateway publishes.".to_owned(),
    };
    if let Some(entry) = file.section("catalogue") {
        catalogue.title = entry.or("title", catalogue.title, scalar::text);
        catalogue.version = entry.or("version", catalogue.version, scalar::text);
        catalogue.description = entry.or("description", catalogue.description, scalar::text);
        entry.finish();
    }
    catalogue
}

fn count(entry: &Entry<'_>, node: &super::tree::Node) -> Result<usize, String> {
    let count: usize = scalar::parsed(entry, node)?;
    if count == 0 { Err("nothing would be served".to_owned()) } else { Ok(count) }
}

fn tokens(file: &Entry<'_>) -> TokenSettings {
    let mut tokens = TokenSettings {
        access_token_lifetime: 300 * SECOND,
        signing_algorithm: Algorithm::Es256,
        key_rotation_period: 30 * DAY,
        assertion_lifetime_max: HOUR, // What client libraries write by default.
        clock_skew_max: 30 * SECOND,
        request_uri_lifetime: 90 * SECOND,
        visit_lifetime: 600 * SECOND,
        backchannel_lifetime: 300 * SECOND,
        backchannel_per_user_max: 10,
        grant_lifetime: 90 * DAY,
        outstanding: OutstandingLimits { all: 20_000, per_tenant: 2_000, per_client: 500 },
    };
    if let Some(entry) = file.section("tokens") {
        tokens.access_token_lifetime =
            entry.or("access_token_lifetime", tokens.access_token_lifetime, super::registered::token_lifetime);
        let words = &[("ES256", Algorithm::Es256), ("PS256", Algorithm::Ps256), ("EdDSA", Algorithm::EdDsa)];
        tokens.signing_algorithm = entry.or("signing_algorithm", tokens.signing_algorithm, scalar::one_of(words));
        let within = |name, span: &mut Duration, bounds, written| {
            *span = entry.or(name, *span, scalar::duration_within(bounds, written));
        };
        // A key is published for a while before it signs, and for long after.
        within("key_rotation_period", &mut tokens.key_rotation_period, HOUR..=366 * DAY, "1h to 366d");
        // Marks against replay are kept for so long.
        within("assertion_lifetime_max", &mut tokens.assertion_lifetime_max, 10 * SECOND..=HOUR, "10s to 1h");
        // FAPI 2.0 §5.3.2.1-13: up to 10 s ahead must be accepted, beyond 60 s must be refused.
        within("clock_skew_max", &mut tokens.clock_skew_max, 10 * SECOND..=60 * SECOND, "10s to 60s");
        // FAPI 2.0 §5.3.2.2-12
        within("request_uri_lifetime", &mut tokens.request_uri_lifetime, SECOND..=599 * SECOND, "1s to 599s");
        // A visit holds a place among what is outstanding.
        within("visit_lifetime", &mut tokens.visit_lifetime, SECOND..=HOUR, "1s to 1h");
        within(
            "backchannel_lifetime",
            &mut tokens.backchannel_lifetime,
            SECOND..=BACKCHANNEL_LIFETIME_MAX,
            "1s to 30m",
        );
        tokens.backchannel_per_user_max = entry.or("backchannel_per_user_max", tokens.backchannel_per_user_max, count);
        within("grant_lifetime", &mut tokens.grant_lifetime, SECOND..=3650 * DAY, "1s to 3650d");
        let limits = &mut tokens.outstanding;
        limits.all = entry.or("outstanding_max", limits.all, count);
        limits.per_tenant = entry.or("outstanding_per_tenant_max", limits.per_tenant, count);
        limits.per_client = entry.or("outstanding_per_client_max", limits.per_client, count);
        entry.finish();
    }
    tokens
}

fn dpop(file: &Entry<'_>) -> DpopKeys {
    let off = NonceMode::Off;
    let mut dpop = DpopKeys { proof_age_max: 60 * SECOND, resource_nonces: off, authorization_server_nonces: off };
    if let Some(entry) = file.section("dpop") {
        let words = &[("off", NonceMode::Off), ("required", NonceMode::Required)];
        // RFC 9449 §11.1: on the order of seconds or minutes. Each used proof is remembered for so long.
        let proof_age = scalar::duration_within(60 * SECOND..=300 * SECOND, "60s to 5m");
        dpop.proof_age_max = entry.or("proof_age_max", dpop.proof_age_max, proof_age);
        dpop.resource_nonces = entry.or("resource_nonces", off, scalar::one_of(words));
        dpop.authorization_server_nonces = entry.or("authorization_server_nonces", off, scalar::one_of(words));
        entry.finish();
    }
    dpop
}

fn sessions(file: &Entry<'_>) -> SessionLimits {
    let default = SessionLimits::DEFAULT;
    let Some(entry) = file.section("sessions") else { return default };
    let up_to_a_day = scalar::duration_within(SECOND..=DAY, "1s to 24h");
    let limits = SessionLimits {
        idle: entry.or("idle_timeout", default.idle, &up_to_a_day),
        absolute: entry.or("lifetime", default.absolute, &up_to_a_day),
    };
    entry.finish();
    limits
}
