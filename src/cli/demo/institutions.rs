//! The sandbox institutions of the demo, and the certificates and secrets that they share with the gateway.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::domain::{Clock, Random};
use crate::jose::Algorithm;
use crate::sandbox::pki::{self, AssertionKeyFiles, DemoPki, Identity, Leaf, PkiSettings, ensure_assertion_key};
use crate::sandbox::{self, FintechClient, Institution, SandboxSettings, SandboxTls, World};
use crate::server::{SystemClock, SystemRandom};

use super::ports::{Ports, loopback};

/// The demo's clients with a certificate, and the organisation and country in it.
const CERTIFIED: [(&str, &str, &str); 4] = [
    ("brightbooks-mtls", "Brightbooks Ltd", "GB"),
    ("brightbooks-payroll", "Brightbooks Ltd", "GB"),
    ("brightbooks-resource-server", "Brightbooks Ltd", "GB"),
    ("farview-mtls", "Farview Analytics Inc", "US"),
];
/// Positions in what [`start`] returns.
pub(super) const BANKS: [usize; 2] = [0, 1];
pub(super) const INSURER: usize = 2;
pub(super) const FINTECH: usize = 3;
/// The gateway renews its token at the fintech before this is over.
const FINTECH_TOKEN_LIFE: Duration = Duration::from_mins(5);

pub(in crate::cli) fn certificates(state: &Path) -> anyhow::Result<DemoPki> {
    let leaf =
        |(name, organisation, country): &(&str, &str, &str)| Leaf::client(name, organisation).in_country(country);
    let clients = CERTIFIED.iter().map(leaf).chain(super::suite::leaves()).collect();
    let settings = PkiSettings { folder: state.join("pki"), clients, impersonated: super::suite::impersonated() };
    pki::ensure(&settings, SystemClock.now(), &SystemRandom).context("the demo's certificates cannot be made")
}

/// The key of the client that signs assertions, and the JWK set that it registers.
pub(in crate::cli) fn assertion_key(pki: &DemoPki) -> anyhow::Result<AssertionKeyFiles> {
    let files = ensure_assertion_key(&pki.folder, "brightbooks-jwt", Algorithm::Es256)?;
    let jwk: Value = serde_json::from_slice(&fs::read(&files.public_jwk)?)?;
    fs::write(pki.folder.join("brightbooks-jwt.jwks.json"), json!({ "keys": [jwk] }).to_string())?;
    Ok(files)
}

/// A secret between gateway and institution: kept from an earlier start, else fresh.
pub(super) fn secret(pki: &DemoPki, name: &str) -> anyhow::Result<SecretString> {
    let path = pki.folder.join(name);
    if let Ok(kept) = fs::read_to_string(&path)
        && kept.trim().len() >= 32
    {
        return Ok(SecretString::from(kept.trim().to_owned()));
    }
    let random: &dyn Random = &SystemRandom;
    let fresh: String = random.bytes::<32>().iter().map(|byte| format!("{byte:02x}")).collect();
    write_secret(&path, &fresh)?;
    Ok(SecretString::from(fresh))
}

/// For its owner only.
pub(super) fn write_secret(path: &Path, text: &str) -> anyhow::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    Ok(std::io::Write::write_all(&mut file, text.as_bytes())?)
}

/// Institutions ask for the gateway's client certificate.
pub(super) fn institution_tls(pki: &DemoPki, identity: &Identity) -> SandboxTls {
    SandboxTls {
        certificate: identity.certificate.clone(),
        key: identity.key.clone(),
        client_ca: Some(pki.institution_ca.certificate.clone()),
    }
}

fn world(public_origin: &str) -> World {
    World {
        clock: Arc::new(SystemClock),
        random: Arc::new(SystemRandom),
        seed: 1,
        public_origin: Some(public_origin.to_owned()),
    }
}

/// Two back ends of one bank, which share its books; an insurer; a fintech.
pub(in crate::cli) async fn start(ports: &Ports, pki: &DemoPki) -> anyhow::Result<Vec<sandbox::Running>> {
    let (public_url, mtls_url) = (ports.public_url(), ports.mtls_url());
    let api_key = secret(pki, "insurer-api-key.txt")?;
    let gateway = FintechClient {
        client_id: "clearway".to_owned(),
        client_secret: secret(pki, "fintech-client-secret.txt")?,
        token_life: FINTECH_TOKEN_LIFE,
    };
    // Links lead where the caller's kind of token works: bound ones at the mutual-TLS address only.
    let bank = Institution::bank(world(&mtls_url));
    let planned = [
        (bank.clone(), &pki.bank, ports.banks[0]),
        (bank, &pki.bank, ports.banks[1]),
        (Institution::insurer(world(&mtls_url), &api_key), &pki.insurer, ports.insurer),
        (Institution::fintech(world(&public_url), &gateway), &pki.fintech, ports.fintech),
    ];
    let mut running = Vec::new();
    for (institution, identity, port) in planned {
        let mut settings = SandboxSettings::with_tls(institution, institution_tls(pki, identity));
        settings.listen = loopback(port);
        settings.control = Some(loopback(0));
        let started = sandbox::start(settings).await;
        running.push(started.with_context(|| format!("an institution cannot listen on port {port}"))?);
    }
    Ok(running)
}

/// Names and addresses, for programs.
pub(in crate::cli) fn facts(institutions: &[sandbox::Running]) -> Vec<Value> {
    let facts = |institution: &sandbox::Running| {
        json!({
            "name": institution.institution().name(),
            "url": institution.url(),
            "control": institution.control().map(|address| format!("http://{address}")),
        })
    };
    institutions.iter().map(facts).collect()
}

pub(in crate::cli) async fn stop(institutions: Vec<sandbox::Running>) {
    for institution in institutions {
        institution.stop().await;
    }
}
