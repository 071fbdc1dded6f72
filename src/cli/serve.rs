//! `clearway serve`.

use std::sync::Arc;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::{self, Variables};
use crate::server::{Running, start};

use super::{Config, Ending, check};

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: Config,
    /// Print readiness as one line of JSON with the bound addresses.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Ending> {
    super::start_logging("info");
    let configuration = match config::load(&arguments.config.config, &Variables::new()) {
        Ok(configuration) => configuration,
        Err(mistakes) => {
            check::print(&mistakes, arguments.json);
            return Ok(Ending::Failed);
        }
    };
    let runtime = super::serve::runtime(configuration.gateway.workers)?;
    let ending = runtime.block_on(async {
        let folder = arguments.config.config.clone();
        let running = match start(Arc::new(configuration), folder, Variables::new()).await {
            Ok(running) => running,
            Err(crate::server::StartError::Configuration(mistakes)) => {
                check::print(&mistakes, arguments.json);
                return Ok(Ending::Failed);
            }
            Err(error) => return Err(error).context("the gateway did not start"),
        };
        let signals = Signals::listen()?;
        announce(&running, arguments.json);
        Ok(signals.serve_until_told_to_stop(running).await)
    });
    // What had to be written was written by `stop`; a reload may still be reading, and nobody waits for it.
    runtime.shutdown_background();
    ending
}

/// The runtime that serves requests: as many threads as asked for, one per core by default.
pub(super) fn runtime(workers: usize) -> std::io::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if workers > 0 {
        builder.worker_threads(workers);
    }
    builder.enable_all().thread_name("clearway").build()
}

fn announce(running: &Running, json: bool) {
    let addresses: Vec<String> =
        running.addresses().iter().map(|(name, address)| format!("{name} {address}")).collect();
    if json {
        let listeners: serde_json::Map<String, serde_json::Value> =
            running.addresses().iter().map(|(name, address)| (name.clone(), address.to_string().into())).collect();
        println!("{}", serde_json::json!({ "ready": true, "listeners": listeners }));
    }
    tracing::info!("ready: {}", addresses.join(", "));
}

/// SIGTERM and SIGINT drain and end; SIGHUP reloads.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Heard from now on: before readiness is announced, so that whoever reads of it can already stop the process.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    pub async fn serve_until_told_to_stop(mut self, running: Running) -> Ending {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => break,
                _ = self.interrupt.recv() => break,
                _ = self.hangup.recv() => {}
            }
            // A reload that is given up here has changed nothing: it swaps in one step, at its very end.
            tokio::select! {
                _ = self.terminate.recv() => break,
                _ = self.interrupt.recv() => break,
                // Whatever became of it: who sends a signal waits for an answer.
                () = running.reload() => tracing::info!(revision = %running.revision(), "SIGHUP was followed"),
            }
        }
        tracing::info!("draining");
        let cut = running.stop().await;
        tracing::info!(cut, "stopped");
        Ending::Done
    }
}
