//! What did the operator ask for? The commands of the one binary.
//!
//! Invariants: exit codes are stable (0 done, 1 error, 2 usage, 4 refused); what is for people goes to standard error
//! or is plain text, what is for programs goes to standard output and has a `--json` form.

mod catalogue;
mod check;
mod demo;
mod keys;
mod sandbox;
mod serve;
mod users;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

/// An open-banking API gateway: one catalogue, one front door, every call governed.
#[derive(Parser)]
#[command(name = "clearway", version, about, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve a configuration folder until told to stop.
    Serve(serve::Arguments),
    /// Check a configuration folder: every mistake at once, nothing is started.
    Check(check::Arguments),
    /// Run gateway and three sandbox institutions in one process, with state under var/demo.
    Demo(demo::Arguments),
    /// Run the three sandbox institutions alone.
    Sandbox(sandbox::Arguments),
    /// Look at OpenAPI documents.
    #[command(subcommand)]
    Catalogue(catalogue::Command),
    /// Look after the signing keys.
    #[command(subcommand)]
    Keys(keys::Command),
    /// Look after the users who sign in with a password here.
    #[command(subcommand)]
    Users(users::Command),
    /// Print the JSON Schema of the configuration files, for editors.
    Schema,
    /// Print the completion script of a shell.
    Completion { shell: clap_complete::Shell },
}

/// Where a configuration is.
#[derive(clap::Args)]
struct Config {
    /// The configuration folder.
    #[arg(long, default_value = "config", value_name = "DIR")]
    config: PathBuf,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Done,
    Failed,
    Refused,
}

impl From<Ending> for ExitCode {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Done => Self::from(0),
            Ending::Failed => Self::from(1),
            Ending::Refused => Self::from(4),
        }
    }
}

/// Reads the command line and does what it says.
pub fn run() -> anyhow::Result<Ending> {
    match Cli::parse().command {
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Sandbox(arguments) => sandbox::run(&arguments),
        Command::Catalogue(command) => catalogue::run(&command),
        Command::Keys(command) => keys::run(&command),
        Command::Users(command) => users::run(&command),
        Command::Schema => {
            print!("{}", crate::config::SCHEMA);
            Ok(Ending::Done)
        }
        Command::Completion { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "clearway", &mut std::io::stdout());
            Ok(Ending::Done)
        }
    }
}

/// Diagnostics of the process itself: to standard error, one line each.
fn start_logging(default: &str) {
    let filter = tracing_subscriber::EnvFilter::try_from_env("CLEARWAY_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    let started = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
    drop(started); // A second start in one process keeps the first.
}
