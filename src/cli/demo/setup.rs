//! Sets the stage: certificates, institutions, configuration, gateway.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use indicatif::ProgressBar;
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::config::{self, Variables};
use crate::domain::{Clock, Random};
use crate::jose::Algorithm;
use crate::sandbox::pki::{self, AssertionKeyFiles, DemoPki, Identity, Leaf, PkiSettings, ensure_assertion_key};
use crate::sandbox::{self, Institution, SandboxSettings, SandboxTls, World};
use crate::server::{self, StartError, SystemClock, SystemRandom};

use super::mount::{self, Mounted};
use super::ports::{Ports, loopback};
use super::{Arguments, files};
use crate::cli::check;

pub(super) const STEPS: u64 = 4;
/// The demo's clients with a certificate, and the organisation in it.
const CERTIFIED: [(&str, &str); 4] = [
    ("brightbooks-mtls", "Brightbooks Ltd"),
    ("brightbooks-payroll", "Brightbooks Ltd"),
    ("brightbooks-resource-server", "Brightbooks Ltd"),
    ("farview-mtls", "Farview Analytics Inc"),
];

/// Everything that runs, and what a visitor needs to know of it.
pub(super) struct Demo {
    pub state: PathBuf,
    pub pki: DemoPki,
    pub assertion_key: AssertionKeyFiles,
    pub public_url: String,
    pub mtls_url: String,
    pub operations: SocketAddr,
    pub running: server::Running,
    pub institutions: Vec<sandbox::Running>,
    pub mounted: Vec<Mounted>,
}

pub(super) async fn start(arguments: &Arguments, bar: &ProgressBar) -> anyhow::Result<Demo> {
    let state = std::path::absolute(&arguments.state)?;
    let ports = if arguments.free_ports { Ports::free()? } else { Ports::FIXED };
    step(bar, "certificates");
    let pki = certificates(&state)?;
    let assertion_key = assertion_key(&pki)?;
    step(bar, "institutions");
    let (api_key, fintech_secret) = (secret(&pki, "insurer-api-key.txt")?, secret(&pki, "fintech-client-secret.txt")?);
    let public_url = format!("https://localhost:{}", ports.public);
    let mtls_url = format!("https://localhost:{}", ports.mtls);
    let mut institutions = institutions(&ports, &pki, &public_url, &api_key, &fintech_secret).await?;
    step(bar, "configuration");
    files::write(&state).with_context(|| format!("{} cannot be written", state.display()))?;
    let mounted = mount::mount(&arguments.apis, &state, &pki, &mut institutions).await?;
    let variables = variables(&state, &ports, &public_url, &mtls_url, &pki, &mounted);
    let folder = state.join("config");
    let configuration = match config::load(&folder, &variables) {
        Ok(configuration) => configuration,
        Err(mistakes) => return Err(mistaken(&mistakes)),
    };
    step(bar, "gateway");
    let running = match server::start(Arc::new(configuration), folder, variables).await {
        Ok(running) => running,
        Err(StartError::Configuration(mistakes)) => return Err(mistaken(&mistakes)),
        Err(error) => return Err(error).context("the gateway did not start (is another demo running?)"),
    };
    bar.inc(1);
    Ok(Demo {
        state,
        pki,
        assertion_key,
        public_url,
        mtls_url,
        operations: loopback(ports.operations),
        running,
        institutions,
        mounted,
    })
}

fn step(bar: &ProgressBar, message: &'static str) {
    if !bar.message().is_empty() {
        bar.inc(1);
    }
    bar.set_message(message);
}

fn mistaken(mistakes: &[config::Diagnostic]) -> anyhow::Error {
    check::print(mistakes, false);
    anyhow::anyhow!("the demo's configuration is not sound")
}

fn certificates(state: &Path) -> anyhow::Result<DemoPki> {
    let clients = CERTIFIED.iter().map(|(name, organisation)| Leaf::client(name, organisation)).collect();
    let settings = PkiSettings { folder: state.join("pki"), clients };
    pki::ensure(&settings, SystemClock.now(), &SystemRandom).context("the demo's certificates cannot be made")
}

/// The key of the client that signs assertions, and the JWK set that it registers.
fn assertion_key(pki: &DemoPki) -> anyhow::Result<AssertionKeyFiles> {
    let files = ensure_assertion_key(&pki.folder, "brightbooks-jwt", Algorithm::Es256)?;
    let jwk: Value = serde_json::from_slice(&fs::read(&files.public_jwk)?)?;
    fs::write(pki.folder.join("brightbooks-jwt.jwks.json"), json!({ "keys": [jwk] }).to_string())?;
    Ok(files)
}

/// A secret between gateway and institution: kept from an earlier start, else fresh.
fn secret(pki: &DemoPki, name: &str) -> anyhow::Result<SecretString> {
    use std::os::unix::fs::OpenOptionsExt;
    let path = pki.folder.join(name);
    if let Ok(kept) = fs::read_to_string(&path)
        && kept.trim().len() >= 32
    {
        return Ok(SecretString::from(kept.trim().to_owned()));
    }
    let random: &dyn Random = &SystemRandom;
    let fresh: String = random.bytes::<32>().iter().map(|byte| format!("{byte:02x}")).collect();
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
    std::io::Write::write_all(&mut file, fresh.as_bytes())?;
    Ok(SecretString::from(fresh))
}

/// Institutions ask for the gateway's client certificate.
pub(super) fn institution_tls(pki: &DemoPki, identity: &Identity) -> SandboxTls {
    SandboxTls {
        certificate: identity.certificate.clone(),
        key: identity.key.clone(),
        client_ca: Some(pki.institution_ca.certificate.clone()),
    }
}

pub(super) fn world(public_origin: Option<&str>) -> World {
    World {
        clock: Arc::new(SystemClock),
        random: Arc::new(SystemRandom),
        seed: 1,
        public_origin: public_origin.map(str::to_owned),
    }
}

/// Two back ends of one bank, which share its books; an insurer; a fintech.
async fn institutions(
    ports: &Ports,
    pki: &DemoPki,
    public_url: &str,
    api_key: &SecretString,
    fintech_secret: &SecretString,
) -> anyhow::Result<Vec<sandbox::Running>> {
    let bank = Institution::bank(world(Some(public_url)));
    let insurer = Institution::insurer(world(Some(public_url)), api_key);
    let fintech = Institution::fintech(world(Some(public_url)), "clearway", fintech_secret);
    let planned = [
        (bank.clone(), &pki.bank, ports.banks[0]),
        (bank, &pki.bank, ports.banks[1]),
        (insurer, &pki.insurer, ports.insurer),
        (fintech, &pki.fintech, ports.fintech),
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

fn variables(
    state: &Path,
    ports: &Ports,
    public_url: &str,
    mtls_url: &str,
    pki: &DemoPki,
    mounted: &[Mounted],
) -> Variables {
    let path = |path: &Path| path.display().to_string();
    let bank = |index: usize| format!("https://127.0.0.1:{}", ports.banks.get(index).copied().unwrap_or_default());
    let scopes: Vec<&str> = mounted.iter().map(|mounted| mounted.scope.as_str()).collect();
    [
        ("CLEARWAY_PUBLIC_URL", public_url.to_owned()),
        ("CLEARWAY_MTLS_URL", mtls_url.to_owned()),
        ("CLEARWAY_PUBLIC_ADDRESS", loopback(ports.public).to_string()),
        ("CLEARWAY_MTLS_ADDRESS", loopback(ports.mtls).to_string()),
        ("CLEARWAY_OPERATIONS_ADDRESS", loopback(ports.operations).to_string()),
        ("CLEARWAY_PKI", path(&pki.folder)),
        ("CLEARWAY_STATE", path(&state.join("state"))),
        ("CLEARWAY_ACCESS_LOG", path(&state.join("state/access.jsonl"))),
        ("CLEARWAY_POLICIES", path(&state.join("policies"))),
        ("CLEARWAY_OPENAPI", path(&state.join("openapi"))),
        ("CLEARWAY_BANK_1", bank(0)),
        ("CLEARWAY_BANK_2", bank(1)),
        ("CLEARWAY_INSURER", format!("https://127.0.0.1:{}", ports.insurer)),
        ("CLEARWAY_FINTECH", format!("https://127.0.0.1:{}", ports.fintech)),
        ("CLEARWAY_EXTRA_SCOPES", scopes.join(" ")),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

impl Demo {
    /// What a program needs to use the demo.
    pub fn facts(&self) -> Value {
        let institutions: Vec<Value> = self
            .institutions
            .iter()
            .map(|institution| {
                json!({
                    "name": institution.institution().name(),
                    "url": institution.url(),
                    "control": institution.control().map(|address| format!("http://{address}")),
                })
            })
            .collect();
        json!({
            "ready": true,
            "public_url": self.public_url,
            "mtls_url": self.mtls_url,
            "operations_url": format!("http://{}", self.operations),
            "pki": self.pki.folder,
            "state": self.state,
            "institutions": institutions,
        })
    }

    pub async fn stop(self) {
        let (running, institutions) = self.into_parts();
        running.stop().await;
        stop_institutions(institutions).await;
    }

    pub fn into_parts(self) -> (server::Running, Vec<sandbox::Running>) {
        (self.running, self.institutions)
    }
}

pub(super) async fn stop_institutions(institutions: Vec<sandbox::Running>) {
    for institution in institutions {
        institution.stop().await;
    }
}
