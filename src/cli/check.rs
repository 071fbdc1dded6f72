//! `clearway check`.

use serde_json::json;

use crate::config::{self, Diagnostic, Variables};
use crate::server::{Services, compile};

use super::{Config, Ending};

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: Config,
    /// Print the findings as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Ending> {
    super::start_logging("off");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let findings = runtime.block_on(async { find(&arguments.config) });
    match findings {
        Ok(summary) => {
            if arguments.json {
                println!("{}", json!({ "ok": true, "summary": summary, "mistakes": [] }));
            } else {
                println!("{summary}");
            }
            Ok(Ending::Done)
        }
        Err(mistakes) => {
            print(&mistakes, arguments.json);
            Ok(Ending::Failed)
        }
    }
}

fn find(config: &Config) -> Result<String, Vec<Diagnostic>> {
    let configuration = config::load(&config.config, &Variables::new())?;
    let services = Services::for_check(&configuration);
    let in_force = compile(&configuration, &services, None)?;
    let snapshot = &in_force.snapshot;
    Ok(format!(
        "{} is sound: {} APIs, {} operations, {} tenants, {} clients, revision {}.",
        config.config.display(),
        configuration.apis.len(),
        snapshot.operations.len(),
        configuration.tenants.len(),
        configuration.clients.len(),
        snapshot.revision
    ))
}

pub(super) fn print(mistakes: &[Diagnostic], as_json: bool) {
    if as_json {
        let list: Vec<_> = mistakes
            .iter()
            .map(|mistake| {
                json!({
                    "file": mistake.place.file.display().to_string(),
                    "line": mistake.place.line,
                    "column": mistake.place.column,
                    "message": mistake.message,
                    "remedy": mistake.remedy,
                })
            })
            .collect();
        println!("{}", json!({ "ok": false, "mistakes": list }));
        return;
    }
    for mistake in mistakes {
        eprintln!("{mistake}");
    }
    let noun = if mistakes.len() == 1 { "mistake" } else { "mistakes" };
    eprintln!("{} {noun}; nothing was started.", mistakes.len());
}
