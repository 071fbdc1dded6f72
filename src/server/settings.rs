//! Settings of the rooms, as the configuration means them.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::config::{AccessLogSettings, Configuration, Diagnostic, Place};
use crate::endpoint::InForce;
use crate::front::{ClientCertificate, ListenerSettings, Trust};
use crate::oauth::{DetailTypes, Directories, Profile, RegistrationAdmission, Rules, Settings};
use crate::outbound::Outbound;
use crate::proxy::guard::{GuardSettings, Hosts};
use crate::signal::AccessOutput;

use super::compile::chain;

/// Names that are served: those of the public URLs, and loopback's own names where a listener is on loopback.
pub(super) fn guard(configuration: &Configuration) -> GuardSettings {
    let gateway = &configuration.gateway;
    let urls = [Some(&gateway.public_url), gateway.mtls_url.as_ref(), Some(&gateway.issuer)];
    let host = |url: &String| Some(url.parse::<http::Uri>().ok()?.host()?.to_owned());
    let mut names: Vec<String> = urls.into_iter().flatten().filter_map(host).collect();
    if gateway.listeners.iter().any(|listener| listener.address.ip().is_loopback()) {
        names.extend(["localhost", "127.0.0.1", "[::1]"].map(str::to_owned));
    }
    let limits = &gateway.limits;
    GuardSettings {
        hosts: Hosts::only(names),
        authority_follows_sni: true,
        header_bytes_max: limits.header_bytes_max,
        header_count_max: limits.header_count_max,
        uri_bytes_max: limits.uri_bytes_max,
        body_idle_timeout: limits.body_idle_timeout,
        trusted_proxies: limits.trusted_proxies.clone(),
    }
}

pub(super) fn access_output(settings: &AccessLogSettings) -> AccessOutput {
    match settings {
        AccessLogSettings::Off => AccessOutput::Off,
        AccessLogSettings::Stdout => AccessOutput::Stdout,
        AccessLogSettings::File(path) => AccessOutput::File(path.clone()),
    }
}

/// The authorization server's settings under a configuration, without what the catalogue says.
pub fn oauth_settings(configuration: &Configuration) -> Settings {
    let (gateway, tokens) = (&configuration.gateway, &configuration.gateway.tokens);
    Settings {
        issuer: gateway.issuer.clone(),
        mtls_url: gateway.mtls_url.clone(),
        mtls_listeners: mtls_listeners(configuration),
        resource: gateway.public_url.clone(),
        api_resources: Vec::new(),
        access_token_lifetime: tokens.access_token_lifetime,
        signing_algorithm: tokens.signing_algorithm,
        key_rotation_period: tokens.key_rotation_period,
        assertion_lifetime_max: tokens.assertion_lifetime_max,
        clock_skew_max: tokens.clock_skew_max,
        request_uri_lifetime: tokens.request_uri_lifetime,
        visit_lifetime: tokens.visit_lifetime,
        sessions: gateway.sessions,
        acr_values_supported: acr_values(configuration),
        backchannel_lifetime: tokens.backchannel_lifetime,
        backchannel_per_user_max: tokens.backchannel_per_user_max,
        grant_lifetime: tokens.grant_lifetime,
        detail_types: DetailTypes::default(),
        profiles: profiles(configuration),
        registration: !configuration.registrations.is_empty(),
        scopes_supported: Vec::new(),
        trusted_issuers: configuration.issuers.iter().map(|located| located.value.issuer.clone()).collect(),
    }
}

/// The listeners that callers know by `mtls_url`: those that ask for a client certificate. One that merely asks, and is the
/// only way in without, is known by both URLs and counts as public.
pub(super) fn mtls_listeners(configuration: &Configuration) -> Vec<Arc<str>> {
    asking(&configuration.gateway.listeners)
}

fn asking(listeners: &[ListenerSettings]) -> Vec<Arc<str>> {
    let asks = |listener: &ListenerSettings| {
        listener.tls.as_ref().map_or(ClientCertificate::None, |tls| tls.client_certificate)
    };
    let open = listeners.iter().any(|listener| asks(listener) == ClientCertificate::None);
    let mtls = listeners.iter().filter(|listener| match asks(listener) {
        ClientCertificate::Required => true,
        ClientCertificate::Optional => open,
        ClientCertificate::None => false,
    });
    mtls.map(|listener| listener.name.as_str().into()).collect()
}

/// The settings with what the catalogue says: APIs, scopes, and types of authorization details.
pub(super) fn published(configuration: &Configuration, in_force: &InForce, detail_types: DetailTypes) -> Settings {
    let settings = oauth_settings(configuration);
    let paths: BTreeSet<_> = in_force.snapshot.operations.iter().map(|operation| &*operation.terms.base_path).collect();
    let below = paths.into_iter().filter(|path| !path.is_empty());
    let api_resources = below.map(|path| format!("{}{path}", settings.resource)).collect();
    Settings { api_resources, scopes_supported: scopes(configuration, in_force), detail_types, ..settings }
}

fn acr_values(configuration: &Configuration) -> Vec<String> {
    let values: BTreeSet<&str> = configuration.users.iter().flat_map(|user| user.value.acr.iter()).collect();
    values.into_iter().map(str::to_owned).collect()
}

/// The rules of registration; a directory that cannot be set up is a mistake.
pub(super) fn registration_rules(
    configuration: &Configuration,
    outbound: &Arc<Outbound>,
) -> Result<Rules, Vec<Diagnostic>> {
    let templates: Vec<_> =
        configuration.registrations.iter().map(|located| Arc::clone(&located.value.template)).collect();
    let directories = templates.iter().filter_map(|template| match &template.admission {
        RegistrationAdmission::Directory(directory) => Some((**directory).clone()),
        RegistrationAdmission::InitialAccessToken(_) => None,
    });
    let directories = Directories::new(directories.collect(), outbound).map_err(|errors| {
        let place =
            configuration.registrations.first().map_or_else(|| Place::file("registrations.yaml"), |r| r.place.clone());
        errors.iter().map(|error| Diagnostic::new(place.clone(), chain(error))).collect::<Vec<_>>()
    })?;
    Ok(Rules { templates, directories, clients_max: configuration.gateway.registered_clients_max })
}

/// The profiles of the registered clients, and that of those to come.
fn profiles(configuration: &Configuration) -> Vec<Profile> {
    let registered = configuration.clients.iter().filter_map(|located| located.value.registration.as_ref());
    let templates = configuration.registrations.iter().map(|located| located.value.template.profile);
    let mut profiles: Vec<Profile> = registered.map(|registration| registration.profile).chain(templates).collect();
    profiles.sort_unstable();
    profiles.dedup();
    profiles
}

/// Every scope that some operation demands or some client may have, sorted.
fn scopes(configuration: &Configuration, in_force: &InForce) -> Vec<String> {
    let demanded = in_force.snapshot.operations.iter().flat_map(|operation| operation.terms.scopes.iter());
    let entitled = configuration.clients.iter().flat_map(|located| located.value.client.scopes.iter());
    let templates = configuration.registrations.iter().flat_map(|located| located.value.template.scopes.iter());
    let names: BTreeSet<String> =
        demanded.chain(entitled).chain(templates).map(|scope| scope.as_str().to_owned()).collect();
    names.into_iter().collect()
}

fn partner_cas(configuration: &Configuration) -> Result<Vec<CertificateDer<'static>>, Diagnostic> {
    let mut roots = Vec::new();
    for file in &configuration.gateway.partner_ca_files {
        let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        match read {
            Ok(certificates) if !certificates.is_empty() => roots.extend(certificates),
            Ok(_) => return Err(Diagnostic::new(Place::file(file), "holds no PEM certificate")),
            Err(error) => return Err(Diagnostic::new(Place::file(file), format!("is not PEM: {error}"))),
        }
    }
    Ok(roots)
}

/// The partner CAs, proven to be usable as such.
pub(super) fn partner_trust(configuration: &Configuration) -> Result<Vec<CertificateDer<'static>>, Diagnostic> {
    let roots = partner_cas(configuration)?;
    match Trust::new(&roots, HashSet::new()) {
        Ok(_) => Ok(roots),
        Err(error) => Err(Diagnostic::new(Place::file("gateway.yaml"), chain(&error))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::ListenerTls;

    #[test]
    fn listeners_that_ask_for_certificates_are_called_by_the_other_url() {
        use ClientCertificate::{None as Never, Optional, Required};
        for (name, asked, expected) in [
            ("one of each", &[Some(Never), Some(Required)][..], &["1"][..]),
            ("plain HTTP behind a proxy", &[None, Some(Required)], &["1"]),
            ("one that asks beside one that does not", &[Some(Optional), Some(Never)], &["0"]),
            ("one that merely asks, alone", &[Some(Optional)], &[]),
            ("one that asks beside one that demands", &[Some(Optional), Some(Required)], &["1"]),
            ("demanded everywhere", &[Some(Required), Some(Required)], &["0", "1"]),
            ("none", &[Some(Never)], &[]),
        ] {
            let listener = |(at, asked): (usize, &Option<ClientCertificate>)| ListenerSettings {
                name: at.to_string(),
                address: ([127, 0, 0, 1], 0).into(),
                tls: asked.map(|client_certificate| ListenerTls {
                    certificate_file: "server.pem".into(),
                    private_key_file: "server.key".into(),
                    alternative: None,
                    client_certificate,
                }),
            };
            let listeners: Vec<_> = asked.iter().enumerate().map(listener).collect();
            let found = asking(&listeners);
            assert_eq!(found.iter().map(|name| &**name).collect::<Vec<_>>(), expected, "{name}");
        }
    }
}
