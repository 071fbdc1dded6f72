//! Sets the stage: certificates, institutions, configuration, gateway.

use std::fs::{File, TryLockError};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use indicatif::ProgressBar;
use serde_json::{Value, json};

use crate::config::{self, Variables};
use crate::front::Inherited;
use crate::sandbox;
use crate::sandbox::pki::{AssertionKeyFiles, DemoPki};
use crate::server::{self, StartError};

use super::mount::{self, Mounted};
use super::ports::{Ports, loopback};
use super::{Arguments, files, institutions, suite};
use crate::cli::check;

pub(super) const STEPS: u64 = 4;

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

/// One demo at a time lives in a folder: a second one must not write over what the first one follows. The lock goes with
/// the file handle, whatever becomes of the process.
pub(super) fn lock(state: &Path) -> anyhow::Result<File> {
    std::fs::create_dir_all(state).with_context(|| format!("{} cannot be made", state.display()))?;
    let path = state.join("lock");
    let file = File::create(&path).with_context(|| format!("{} cannot be written", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => anyhow::bail!("another demo is running in {}", state.display()),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("{} cannot be locked", path.display())),
    }
}

pub(super) async fn start(arguments: &Arguments, bar: &ProgressBar) -> anyhow::Result<Demo> {
    let state = std::path::absolute(&arguments.state)?;
    let ports = if arguments.free_ports { Ports::free()? } else { Ports::FIXED };
    step(bar, "certificates");
    let pki = institutions::certificates(&state)?;
    let assertion_key = institutions::assertion_key(&pki)?;
    step(bar, "institutions");
    let (public_url, mtls_url) = (ports.public_url(), ports.mtls_url());
    let mut institutions = institutions::start(&ports, &pki).await?;
    step(bar, "configuration");
    files::write(&state).with_context(|| format!("{} cannot be written", state.display()))?;
    let mounted = mount::mount(&arguments.apis, &state, &pki, &mut institutions).await?;
    let mut seeded = suite::write_configuration(&state, &pki)?;
    seeded.clients.extend(suite::add_outside(arguments.clients.as_deref(), &state, &pki)?);
    let operations_url = format!("http://{}", loopback(ports.operations));
    let addresses = suite::Addresses { public_url: &public_url, mtls_url: &mtls_url, operations_url: &operations_url };
    suite::write_document(&state, &addresses, &pki, seeded)?;
    let variables = variables(&state, &ports, &public_url, &mtls_url, &pki, &mounted);
    let folder = state.join("config");
    let configuration = match config::load(&folder, &variables) {
        Ok(configuration) => configuration,
        Err(mistakes) => return Err(mistaken(&mistakes)),
    };
    step(bar, "gateway");
    let running = match server::start(Arc::new(configuration), folder, variables, Inherited::none()).await {
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

fn variables(
    state: &Path,
    ports: &Ports,
    public_url: &str,
    mtls_url: &str,
    pki: &DemoPki,
    mounted: &[Mounted],
) -> Variables {
    let path = |path: &Path| path.display().to_string();
    let scopes: Vec<&str> = mounted.iter().map(|mounted| mounted.scope.as_str()).collect();
    [
        ("CLEARWAY_PUBLIC_URL", public_url.to_owned()),
        ("CLEARWAY_MTLS_URL", mtls_url.to_owned()),
        ("CLEARWAY_PUBLIC_ADDRESS", loopback(ports.public).to_string()),
        ("CLEARWAY_MTLS_ADDRESS", loopback(ports.mtls).to_string()),
        ("CLEARWAY_OPERATIONS_ADDRESS", loopback(ports.operations).to_string()),
        ("CLEARWAY_SIMULATED_DEVICE", "true".to_owned()),
        // Suites leave most of what they ask undecided.
        ("CLEARWAY_BACKCHANNEL_PER_USER", "1000".to_owned()),
        ("CLEARWAY_PKI", path(&pki.folder)),
        ("CLEARWAY_STATE", path(&state.join("state"))),
        ("CLEARWAY_ACCESS_LOG", path(&state.join("state/access.jsonl"))),
        ("CLEARWAY_POLICIES", path(&state.join("policies"))),
        ("CLEARWAY_OPENAPI", path(&state.join("openapi"))),
        ("CLEARWAY_EXTRA_SCOPES", scopes.join(" ")),
        // A conformance suite fails to authenticate on purpose, more often than a partner does by mistake.
        ("CLEARWAY_FAILURES_MAX", "10000".to_owned()),
    ]
    .into_iter()
    .chain(ports.institution_variables())
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

impl Demo {
    /// What a program needs to use the demo.
    pub fn facts(&self) -> Value {
        json!({
            "ready": true,
            "public_url": self.public_url,
            "mtls_url": self.mtls_url,
            "operations_url": format!("http://{}", self.operations),
            "pki": self.pki.folder,
            "state": self.state,
            "clients": self.state.join("clients.json"),
            "institutions": institutions::facts(&self.institutions),
        })
    }

    pub async fn stop(self) {
        let (running, institutions) = self.into_parts();
        running.stop().await;
        institutions::stop(institutions).await;
    }

    pub fn into_parts(self) -> (server::Running, Vec<sandbox::Running>) {
        (self.running, self.institutions)
    }
}
