//! `institutions.yaml`: institutions and their back ends.

use std::time::Duration;

use crate::domain::{Environment, InstitutionId};
use crate::hub::Institution;
use crate::upstream::{
    BackendSettings, BreakerSettings, CredentialSettings, HealthSettings, PoolSettings, Timeouts, UpstreamTls,
};

use super::tree::Entry;
use super::{Diagnostic, Located, each, partners, scalar};

/// An institution with one pool of back ends per environment.
#[derive(Debug, Clone)]
pub struct InstitutionSettings {
    pub institution: Institution,
    pub pools: Vec<PoolSettings>,
}

const SECOND: Duration = Duration::from_secs(1);

pub(super) fn institutions(entries: &[Entry<'_>]) -> Vec<Located<InstitutionSettings>> {
    each(entries, "institution", |i: &InstitutionSettings| i.institution.id.to_string(), institution)
}

fn institution(entry: &Entry<'_>) -> Option<InstitutionSettings> {
    let id: Option<InstitutionId> = entry.required("id", scalar::parsed);
    let name = entry.optional("name", scalar::text);
    let data_jurisdictions = entry.each("data_jurisdictions", scalar::jurisdiction);
    let sections = entry.sections("backends");
    entry.finish();
    let id = id?;
    let pools: Vec<PoolSettings> = sections.iter().filter_map(|section| pool(section, &id)).collect();
    for environment in [Environment::Sandbox, Environment::Live] {
        if pools.iter().filter(|pool| pool.environment == environment).count() > 1 {
            let message = format!("`backends` has two entries for {}", environment.as_str());
            entry.report().add(Diagnostic::new(entry.place(), message).remedy("list all their `urls` in one entry"));
        }
    }
    if sections.is_empty() {
        entry.report().add(Diagnostic::new(entry.place(), "`backends` must have at least one entry"));
    }
    let name = name.unwrap_or_else(|| id.to_string());
    Some(InstitutionSettings { institution: Institution { id, name, data_jurisdictions }, pools })
}

fn pool(entry: &Entry<'_>, institution: &InstitutionId) -> Option<PoolSettings> {
    let environment = entry.required("environment", partners::environment);
    let urls = entry.each("urls", scalar::base_url);
    if urls.is_empty() {
        entry.report().add(Diagnostic::new(entry.place(), "`urls` must name at least one back end"));
    }
    let tls = entry.section("tls").map(|section| tls(&section));
    let credential = entry.section("credential").map(|section| credential(&section));
    let settings = PoolSettings {
        institution: institution.clone(),
        environment: environment?,
        backends: urls.into_iter().map(|url| BackendSettings { url }).collect(),
        tls: tls.unwrap_or(Some(None))?,
        http2: entry.or("http2", false, scalar::boolean),
        credential: credential.unwrap_or(Some(CredentialSettings::None))?,
        health: health(entry),
        breaker: breaker(entry),
        timeouts: timeouts(entry),
        in_flight_max: entry.or("in_flight_max", 1_000, scalar::parsed),
    };
    entry.finish();
    let secure = settings.backends.iter().any(|backend| backend.url.starts_with("https:"));
    if secure && settings.tls.is_none() {
        let message = "back ends with https need `tls` with a `ca_file`";
        entry.report().add(Diagnostic::new(entry.place(), message));
        return None;
    }
    Some(settings)
}

/// The outer option: readable at all; the inner: present.
#[expect(clippy::option_option, reason = "a mistake and an absence differ")]
fn tls(entry: &Entry<'_>) -> Option<Option<UpstreamTls>> {
    let ca_file = entry.required("ca_file", scalar::file);
    let certificate = entry.optional("certificate_file", scalar::file);
    let key = entry.optional("private_key_file", scalar::file);
    entry.finish();
    let client_certificate = match (certificate, key) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => {
            let message = "`certificate_file` and `private_key_file` belong together";
            entry.report().add(Diagnostic::new(entry.place(), message));
            return None;
        }
    };
    Some(Some(UpstreamTls { ca_file: ca_file?, client_certificate }))
}

#[derive(Clone, Copy)]
enum CredentialKind {
    ApiKey,
    ClientCredentials,
}

fn credential(entry: &Entry<'_>) -> Option<CredentialSettings> {
    let words =
        &[("api_key", CredentialKind::ApiKey), ("oauth2_client_credentials", CredentialKind::ClientCredentials)];
    let credential = match entry.required("kind", scalar::one_of(words))? {
        CredentialKind::ApiKey => CredentialSettings::ApiKey {
            header: entry.required("header", scalar::parsed)?,
            secret: secret(entry, "secret", "secret_file")?,
        },
        CredentialKind::ClientCredentials => CredentialSettings::OAuth2 {
            token_url: entry.required("token_url", scalar::base_url)?,
            client_id: entry.required("client_id", scalar::text)?,
            client_secret: secret(entry, "client_secret", "client_secret_file")?,
            scopes: entry.each("scopes", scalar::text),
        },
    };
    entry.finish();
    Some(credential)
}

fn secret(entry: &Entry<'_>, inline: &'static str, file: &'static str) -> Option<secrecy::SecretString> {
    let from_file = entry.optional(file, scalar::secret_file);
    let from_environment = entry.optional(inline, scalar::secret_reference);
    let secret = from_file.or(from_environment);
    if secret.is_none() {
        entry.report().add(Diagnostic::new(entry.place(), format!("one of `{file}` and `{inline}` is needed")));
    }
    secret
}

fn health(parent: &Entry<'_>) -> HealthSettings {
    let mut health =
        HealthSettings { path: None, interval: 5 * SECOND, timeout: 2 * SECOND, unhealthy_after: 2, healthy_after: 1 };
    if let Some(entry) = parent.section("health") {
        health.path = entry.optional("path", scalar::text);
        health.interval = entry.or("interval", health.interval, scalar::duration);
        health.timeout = entry.or("timeout", health.timeout, scalar::duration);
        health.unhealthy_after = entry.or("unhealthy_after", health.unhealthy_after, scalar::parsed);
        health.healthy_after = entry.or("healthy_after", health.healthy_after, scalar::parsed);
        entry.finish();
    }
    health
}

fn breaker(parent: &Entry<'_>) -> BreakerSettings {
    let mut breaker = BreakerSettings { failures: 5, open_for: 10 * SECOND };
    if let Some(entry) = parent.section("breaker") {
        breaker.failures = entry.or("failures", breaker.failures, scalar::parsed);
        breaker.open_for = entry.or("open_for", breaker.open_for, scalar::duration);
        entry.finish();
    }
    breaker
}

fn timeouts(parent: &Entry<'_>) -> Timeouts {
    let mut timeouts = Timeouts { connect: 2 * SECOND, read: 15 * SECOND, write: 15 * SECOND, total: 30 * SECOND };
    if let Some(entry) = parent.section("timeouts") {
        timeouts.connect = entry.or("connect", timeouts.connect, scalar::duration);
        timeouts.read = entry.or("read", timeouts.read, scalar::duration);
        timeouts.write = entry.or("write", timeouts.write, scalar::duration);
        timeouts.total = entry.or("total", timeouts.total, scalar::duration);
        entry.finish();
    }
    timeouts
}
