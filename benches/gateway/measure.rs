//! Rounds, interleaved; medians.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::json;

use super::backend;
use super::issuance::{self, Method};
use super::lifecycle::{Bare, Gateway};
use super::load::{Caller, Load, Transport};
use super::process::Process;
use super::report::Report;
use super::scene::{Scene, Size};

/// What is loaded before each measurement and not counted.
const WARM_UP: Duration = Duration::from_millis(300);
/// Requests per second of the latency measurement, all callers together.
const MODERATE_RATE: f64 = 1_000.0;

/// How to measure.
pub struct Plan {
    pub rounds: usize,
    pub length: Duration,
    pub concurrency: usize,
    pub only: Vec<String>,
    pub binary: PathBuf,
}

impl Plan {
    fn transports(&self) -> impl Iterator<Item = Transport> {
        let wanted = |t: &Transport| self.only.is_empty() || self.only.iter().any(|only| only == t.short());
        Transport::ALL.into_iter().filter(wanted)
    }
}

/// One round of one proxy.
struct Sample {
    /// CPU-seconds per 100,000 requests.
    cost: f64,
    /// Requests per second.
    throughput: f64,
    /// CPU-seconds per second.
    busy: f64,
}

/// Rounds of one proxy over one transport.
#[derive(Default)]
struct Series {
    cost: Vec<f64>,
    throughput: Vec<f64>,
    busy: Vec<f64>,
}

impl Series {
    fn add(&mut self, sample: &Sample) {
        self.cost.push(sample.cost);
        self.throughput.push(sample.throughput);
        self.busy.push(sample.busy);
    }
}

/// The middle of the values; the mean of the two in the middle if they are even in number.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let at = |position: usize| sorted.get(position).copied().unwrap_or(f64::NAN);
    if sorted.len() % 2 == 1 { at(middle) } else { f64::midpoint(at(middle.wrapping_sub(1)), at(middle)) }
}

/// Half the distance from the least to the greatest value, in per cent of the median.
fn noise(values: &[f64]) -> f64 {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    100.0 * (most - least) / 2.0 / median(values)
}

/// Measures one configuration with everything there is to measure.
pub async fn configuration(
    plan: &Plan,
    size: Size,
    name: &str,
    folder: &Path,
    report: &mut Report,
) -> anyhow::Result<()> {
    let backend = backend::start().await?;
    let scene = Scene::write(folder, size, backend)?;
    let gateway = Gateway::start(&scene, &plan.binary)?;
    let bare = Bare::start(&scene, backend).await?;
    report.configuration(name, size, scene.policies);
    report.value("start time", gateway.start_time.as_secs_f64() * 1e3, "ms");
    report.value("resident after start", gateway.process.resident_mib()?, "MiB");
    for transport in plan.transports() {
        let callers = issuance::callers(&scene, gateway.addresses, transport).await?;
        let callers = callers.get(..plan.concurrency).unwrap_or(&callers);
        compare(plan, &scene, &gateway, &bare, transport, callers, report).await?;
        if transport == Transport::TlsHttp1 {
            latencies(plan, &scene, &gateway, &bare, callers, report).await?;
        }
    }
    report.value("resident after load", gateway.process.resident_mib()?, "MiB");
    for method in Method::ALL {
        let rate = issuance::rate(&scene, gateway.addresses, &gateway.process, method, plan.length).await?;
        report.value(&format!("tokens per CPU-second, {}", method.name()), rate, "1/s");
    }
    report.value("raw ES256 signatures per CPU-second", issuance::signing_rate()?, "1/s");
    let (time, cpu) = gateway.reload(&scene).await?;
    report.value("reload time", time.as_secs_f64() * 1e3, "ms");
    report.value("reload CPU", cpu * 1e3, "ms");
    report.value("resident after reload", gateway.process.resident_mib()?, "MiB");
    Ok(())
}

async fn compare(
    plan: &Plan,
    scene: &Scene,
    gateway: &Gateway,
    bare: &Bare,
    transport: Transport,
    callers: &[Caller],
    report: &mut Report,
) -> anyhow::Result<()> {
    let (mut baseline, mut full) = (Series::default(), Series::default());
    let operations = scene.size.operations;
    for _ in 0..plan.rounds {
        baseline.add(&round(plan, &bare.process, bare.address(transport), transport, callers, operations).await?);
        full.add(&round(plan, &gateway.process, gateway.address(transport), transport, callers, operations).await?);
    }
    let pairs = baseline.cost.iter().zip(&full.cost);
    let ratios: Vec<f64> = pairs.map(|(bare, full)| full / bare).collect();
    report.comparison(json!({
        "transport": transport.name(),
        "bare": describe(&baseline),
        "full": describe(&full),
        "ratio": median(&ratios),
        "ratio_noise_percent": noise(&ratios),
    }));
    Ok(())
}

fn describe(series: &Series) -> serde_json::Value {
    json!({
        "cpu_seconds_per_100k": median(&series.cost),
        "noise_percent": noise(&series.cost),
        "requests_per_second": median(&series.throughput),
        "busy": median(&series.busy),
    })
}

async fn round(
    plan: &Plan,
    process: &Process,
    address: SocketAddr,
    transport: Transport,
    callers: &[Caller],
    operations: usize,
) -> anyhow::Result<Sample> {
    let load = Load::start(address, transport, callers, operations, None).await?;
    tokio::time::sleep(WARM_UP).await;
    let (cpu, answers, began) = (process.cpu_seconds()?, load.answers(), Instant::now());
    tokio::time::sleep(plan.length).await;
    let (cpu, answers, took) = (process.cpu_seconds()? - cpu, load.answers() - answers, began.elapsed().as_secs_f64());
    load.stop().await?;
    anyhow::ensure!(answers > 0, "no request was answered");
    let answers = answers as f64;
    Ok(Sample { cost: cpu / answers * 1e5, throughput: answers / took, busy: cpu / took })
}

/// Latency at a fixed moderate rate, which both proxies can easily serve.
async fn latencies(
    plan: &Plan,
    scene: &Scene,
    gateway: &Gateway,
    bare: &Bare,
    callers: &[Caller],
    report: &mut Report,
) -> anyhow::Result<()> {
    let transport = Transport::TlsHttp1;
    let interval = Duration::from_secs_f64(callers.len() as f64 / MODERATE_RATE);
    let (mut of_bare, mut of_full) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        for (process, address, into) in [
            (&bare.process, bare.address(transport), &mut of_bare),
            (&gateway.process, gateway.address(transport), &mut of_full),
        ] {
            let load = Load::start(address, transport, callers, scene.size.operations, Some(interval)).await?;
            tokio::time::sleep(WARM_UP).await;
            load.reset();
            let (cpu, answers) = (process.cpu_seconds()?, load.answers());
            tokio::time::sleep(plan.length * 2).await;
            let cost = (process.cpu_seconds()? - cpu) / (load.answers() - answers).max(1) as f64 * 1e5;
            into.push((load.stop().await?, cost));
        }
    }
    for (name, runs) in [("bare", of_bare), ("full", of_full)] {
        let costs: Vec<f64> = runs.iter().map(|(_, cost)| *cost).collect();
        let mut all: Vec<Duration> = runs.into_iter().flat_map(|(latencies, _)| latencies).collect();
        all.sort_unstable();
        for (label, share) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
            let position = (all.len() as f64 * share) as usize;
            let micros = all.get(position).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e6);
            report.value(&format!("latency at {MODERATE_RATE:.0}/s over TLS HTTP/1.1, {name}, {label}"), micros, "µs");
        }
        report.value(&format!("CPU-seconds per 100k at {MODERATE_RATE:.0}/s, {name}"), median(&costs), "s");
    }
    Ok(())
}

/// Loads the full gateway for ten rounds and says its process id, so that a profiler can look at it.
pub async fn for_a_profiler(plan: &Plan, size: Size, folder: &Path) -> anyhow::Result<()> {
    let scene = Scene::write(folder, size, backend::start().await?)?;
    let gateway = Gateway::start(&scene, &plan.binary)?;
    for transport in plan.transports() {
        let callers = issuance::callers(&scene, gateway.addresses, transport).await?;
        let callers = callers.get(..plan.concurrency).unwrap_or(&callers);
        println!("{} PID {}", transport.name(), gateway.process.id());
        for _ in 0..plan.rounds {
            let address = gateway.address(transport);
            let sample = round(plan, &gateway.process, address, transport, callers, size.operations).await?;
            println!("{:.3} CPU-seconds per 100k, {:.0} requests per second", sample.cost, sample.throughput);
        }
    }
    Ok(())
}

impl Gateway {
    const fn address(&self, transport: Transport) -> SocketAddr {
        match transport {
            Transport::TlsHttp1 | Transport::TlsHttp2 => self.addresses.public,
            Transport::MutualTls => self.addresses.mtls,
        }
    }
}

impl Bare {
    const fn address(&self, transport: Transport) -> SocketAddr {
        match transport {
            Transport::TlsHttp1 | Transport::TlsHttp2 => self.tls,
            Transport::MutualTls => self.mtls,
        }
    }
}
