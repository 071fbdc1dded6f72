//! `clearway check`.

use serde_json::{Value, json};

use crate::config::{self, Diagnostic, Variables};
use crate::server::{Compiled, Services, compile};

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
        Ok(Sound { summary, warnings }) => {
            if arguments.json {
                println!("{}", json!({ "ok": true, "summary": summary, "mistakes": [], "warnings": list(&warnings) }));
            } else {
                for warning in &warnings {
                    eprintln!("warning: {warning}");
                }
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

/// What is to be said of a configuration without mistakes.
struct Sound {
    summary: String,
    warnings: Vec<Diagnostic>,
}

fn find(config: &Config) -> Result<Sound, Vec<Diagnostic>> {
    let configuration = config::load(&config.config, &Variables::new())?;
    let services = Services::for_check(&configuration);
    let Compiled { in_force, warnings, .. } = compile(&configuration, &services, None)?;
    let snapshot = &in_force.snapshot;
    let mut summary = format!(
        "{} is sound: {} APIs, {} operations, {} tenants, {} clients, revision {}.",
        config.config.display(),
        configuration.apis.len(),
        snapshot.operations.len(),
        configuration.tenants.len(),
        configuration.clients.len(),
        snapshot.revision
    );
    if !warnings.is_empty() {
        let noun = if warnings.len() == 1 { "warning" } else { "warnings" };
        summary.push_str(&format!(" {} {noun}.", warnings.len()));
    }
    Ok(Sound { summary, warnings })
}

fn list(diagnostics: &[Diagnostic]) -> Vec<Value> {
    let one = |diagnostic: &Diagnostic| {
        json!({
            "file": diagnostic.place.file.display().to_string(),
            "line": diagnostic.place.line,
            "column": diagnostic.place.column,
            "message": diagnostic.message,
            "remedy": diagnostic.remedy,
        })
    };
    diagnostics.iter().map(one).collect()
}

pub(super) fn print(mistakes: &[Diagnostic], as_json: bool) {
    if as_json {
        println!("{}", json!({ "ok": false, "mistakes": list(mistakes) }));
        return;
    }
    for mistake in mistakes {
        eprintln!("{mistake}");
    }
    let noun = if mistakes.len() == 1 { "mistake" } else { "mistakes" };
    eprintln!("{} {noun}; nothing was started.", mistakes.len());
}
