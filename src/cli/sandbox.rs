//! `clearway sandbox`: the institutions of the demo, for a gateway that runs by itself.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::Ending;
use super::demo::institutions;
use super::demo::ports::Ports;
use super::demo::quoted;
use crate::sandbox::{self, pki::DemoPki};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Where the certificates and secrets lie that institutions and gateway share.
    #[arg(long, default_value = "var/demo", value_name = "DIR")]
    state: PathBuf,
    /// Take free ports instead of 9441 to 9444.
    #[arg(long)]
    free_ports: bool,
    /// Print what is ready as one line of JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Ending> {
    super::start_logging("warn");
    let runtime = super::serve::runtime(0)?;
    runtime.block_on(async {
        // Heard before anything is announced, so that whoever reads the announcement can stop us.
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let state = std::path::absolute(&arguments.state)?;
        let ports = if arguments.free_ports { Ports::free()? } else { Ports::FIXED };
        let pki = institutions::certificates(&state)?;
        institutions::assertion_key(&pki)?;
        let running = institutions::start(&ports, &pki).await.context("the sandbox did not start")?;
        announce(arguments.json, &running, &variables(&state, &ports, &pki));
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        institutions::stop(running).await;
        Ok(Ending::Done)
    })
}

/// What the shipped configuration reads, for a gateway that shall call these institutions.
fn variables(state: &Path, ports: &Ports, pki: &DemoPki) -> Vec<(&'static str, String)> {
    let mut variables = vec![
        ("CLEARWAY_PKI", pki.folder.display().to_string()),
        ("CLEARWAY_STATE", state.join("state").display().to_string()),
    ];
    variables.extend(ports.institution_variables());
    variables
}

fn announce(as_json: bool, institutions: &[sandbox::Running], variables: &[(&'static str, String)]) {
    let facts = institutions::facts(institutions);
    if as_json {
        let variables: serde_json::Map<String, serde_json::Value> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), value.as_str().into())).collect();
        println!("{}", json!({ "ready": true, "institutions": facts, "variables": variables }));
        return;
    }
    println!("The sandbox is ready.\n");
    for institution in institutions {
        let control = institution.control().map(|address| format!("   faults: http://{address}/_sandbox/faults"));
        println!("{:8} {}{}", institution.institution().name(), institution.url(), control.unwrap_or_default());
    }
    println!("\n# A gateway in front of them:");
    for (name, value) in variables {
        println!("export {name}={}", quoted(value));
    }
    println!("clearway serve --config config\n\nStop with Ctrl-C.");
}
