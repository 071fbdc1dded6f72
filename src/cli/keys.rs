//! `clearway keys`: the authorization server's signing keys.

use std::sync::Arc;

use anyhow::Context;
use serde_json::json;

use crate::config::{self, Configuration, Variables};
use crate::domain::Clock;
use crate::oauth::{KeyRing, Settings, Urgency};
use crate::server::SystemClock;
use crate::store::Store;

use super::{Config, Ending, check};

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Show the keys and their states.
    List(Arguments),
    /// Let the next key sign from now on. A running gateway follows within seconds; live tokens stay valid.
    Rotate {
        #[command(flatten)]
        arguments: Arguments,
        /// Do not wait until every verifier has seen the next key.
        #[arg(long)]
        at_once: bool,
    },
}

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: Config,
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: &Command) -> anyhow::Result<Ending> {
    super::start_logging("warn");
    let (arguments, urgency) = match command {
        Command::List(arguments) => (arguments, None),
        Command::Rotate { arguments, at_once: false } => (arguments, Some(Urgency::Planned)),
        Command::Rotate { arguments, at_once: true } => (arguments, Some(Urgency::AtOnce)),
    };
    let configuration = match config::load(&arguments.config.config, &Variables::new()) {
        Ok(configuration) => configuration,
        Err(mistakes) => {
            check::print(&mistakes, arguments.json);
            return Ok(Ending::Failed);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(work(&configuration, urgency, arguments.json))
}

async fn work(configuration: &Configuration, urgency: Option<Urgency>, as_json: bool) -> anyhow::Result<Ending> {
    let store = Arc::new(Store::open(&configuration.gateway.store).await.context("the store cannot be used")?);
    let now = SystemClock.now();
    let ring = KeyRing::open(store.clone(), &settings(configuration), now).await.context("the keys cannot be read")?;
    if let Some(urgency) = urgency {
        ring.rotate(urgency, now).await.context("the keys were not rotated")?;
    }
    let keys = ring.status();
    if as_json {
        let list: Vec<_> = keys
            .iter()
            .map(|key| json!({ "kid": key.kid, "algorithm": key.algorithm, "state": format!("{:?}", key.state).to_lowercase() }))
            .collect();
        println!("{}", json!({ "keys": list }));
    } else {
        for key in keys {
            println!("{:8} {:6} {}", format!("{:?}", key.state).to_lowercase(), key.algorithm, key.kid);
        }
    }
    store.close().await;
    Ok(Ending::Done)
}

fn settings(configuration: &Configuration) -> Settings {
    crate::server::oauth_settings(configuration)
}
