//! What does a request cost? Measures the whole gateway against a bare Pingora proxy, in one run, and prints.
//!
//! Each proxy under test is a process of its own with one worker, pinned to core 0; load and back end share one thread
//! on core 1. Rounds of the two alternate and the median counts. The main figure is CPU-seconds of the proxy's process
//! per 100,000 requests: it does not depend on how fast the load generator is. Only 127.0.0.1 is spoken to, every run is
//! bounded in time, children are ended by their process id. Nothing here fails but by error: figures are for people.

mod backend;
mod bare;
mod counted;
mod endpoint;
mod handshake;
mod issuance;
mod issuer;
mod lifecycle;
mod load;
mod measure;
mod process;
mod proofs;
mod report;
mod revocation;
mod scene;
mod stages;
mod visits;
mod wire;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;

use measure::{Chapter, Plan};
use scene::Size;

#[global_allocator]
static ALLOCATOR: counted::Counting = counted::Counting;

/// Measures the gateway against a bare Pingora proxy.
#[derive(Parser)]
struct Arguments {
    /// Operations of the small configuration.
    #[arg(long, default_value_t = 10)]
    operations: usize,
    /// Registered clients of the small configuration; 200 of them are used.
    #[arg(long, default_value_t = 200)]
    clients: usize,
    /// Operations of the large configuration; 0 leaves it out.
    #[arg(long, default_value_t = 10_000)]
    large_operations: usize,
    /// Registered clients of the large configuration, ten to a tenant.
    #[arg(long, default_value_t = 100_000)]
    large_clients: usize,
    /// Rounds of each measurement, of which the median counts.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Length of a round in seconds.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Only these transports: h1, h2, mtls.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Only these chapters.
    #[arg(long, value_enum, value_delimiter = ',')]
    chapters: Vec<Chapter>,
    /// Only compares requests with the bare proxy: the chapter of that name alone.
    #[arg(long, conflicts_with = "chapters")]
    requests_only: bool,
    /// Requests under way at a time, one connection each (half as many with HTTP/2).
    #[arg(long, default_value_t = 100)]
    concurrency: usize,
    /// Only starts the full gateway and loads it, for a profiler.
    #[arg(long)]
    profile: bool,
    /// The clearway binary to measure, in place of the one just built.
    #[arg(long, default_value = env!("CARGO_BIN_EXE_clearway"))]
    binary: PathBuf,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    if clearway::front::crypto_provider().install_default().is_err() {
        anyhow::bail!("a cryptographic provider was installed before ours");
    }
    match std::env::var("CLEARWAY_BENCH_ROLE").as_deref() {
        Ok("bare") => bare::run(),
        Ok("signer") => issuance::sign_for_a_while(),
        Ok("issuer") => issuer::run(),
        Ok("handshake") => handshake::run_alone(),
        Ok("counted") => counted::run(),
        _ => measured(&Arguments::parse()),
    }
}

fn measured(arguments: &Arguments) -> anyhow::Result<()> {
    let pinned = process::pin_self(1);
    let folder = out_folder()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut report = report::Report::new(pinned);
    let plan = Plan {
        rounds: arguments.rounds.max(1),
        length: Duration::from_secs_f64(arguments.seconds.clamp(0.2, 60.0)),
        concurrency: arguments.concurrency.clamp(2, scene::USED_CLIENTS),
        only: arguments.only.clone(),
        chapters: if arguments.requests_only { vec![Chapter::Requests] } else { arguments.chapters.clone() },
        binary: arguments.binary.clone(),
    };
    let outcome = runtime.block_on(async {
        // The load never sleeps: else each answer to it would cost the proxy a wake-up, and the slower proxy more of them.
        tokio::spawn(async {
            loop {
                tokio::task::yield_now().await;
            }
        });
        let small = Size { operations: arguments.operations.max(1), clients: arguments.clients };
        if arguments.profile {
            return measure::for_a_profiler(&plan, small, &folder).await;
        }
        let large = Size { operations: arguments.large_operations, clients: arguments.large_clients };
        let large = (arguments.large_operations > 0).then_some(large);
        measure::everything(&plan, small, large, &folder, &mut report).await
    });
    report.finish(&folder)?;
    outcome
}

/// `target/bench`, wherever the target folder is.
fn out_folder() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("where this program is")?;
    let target = own.ancestors().nth(3).context("this program lies in target/PROFILE/deps")?;
    let folder = target.join("bench");
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}
