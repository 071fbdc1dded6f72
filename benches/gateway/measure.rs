//! Rounds, interleaved; medians.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::json;

use super::issuance::{self, Method};
use super::lifecycle::{Bare, Gateway};
use super::load::{Asked, Caller, Load, Transport};
use super::process::Process;
use super::proofs::Callers;
use super::report::Report;
use super::scene::{Guard, Scene, Size};
use super::{backend, counted, handshake, issuer, revocation, stages};

/// What is loaded before each measurement and not counted.
const WARM_UP: Duration = Duration::from_millis(300);

/// Clients of one round that were never there before.
const NEWCOMERS: usize = 3_000;
/// After which a process that was busy starting is at rest, and has given back what it needed only for that.
const REST: Duration = Duration::from_secs(4);
/// Requests per second of the latency measurement, all callers together.
const MODERATE_RATE: f64 = 1_000.0;

/// What can be measured apart from the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Chapter {
    /// Requests beside those of the bare proxy.
    Requests,
    /// At a moderate rate.
    Latencies,
    /// Issued per CPU-second, by the way to them.
    Tokens,
    /// Calls with a proof beside calls with a certificate.
    Dpop,
    /// From a revocation to the first refusal.
    Revocation,
    /// Of mutual TLS, beside those of rustls alone.
    Handshakes,
    /// Forged tokens.
    Forgeries,
    /// Of a request.
    Allocations,
    /// The questions of admission, one by one.
    Stages,
    /// Start, reload and memory by size.
    Growth,
}

/// How to measure.
pub struct Plan {
    pub rounds: usize,
    pub length: Duration,
    pub concurrency: usize,
    pub only: Vec<String>,
    pub chapters: Vec<Chapter>,
    pub binary: PathBuf,
}

impl Plan {
    fn transports(&self) -> impl Iterator<Item = Transport> {
        let wanted = |t: &Transport| self.only.is_empty() || self.only.iter().any(|only| only == t.short());
        Transport::ALL.into_iter().filter(wanted)
    }

    fn wants(&self, chapter: Chapter) -> bool {
        self.chapters.is_empty() || self.chapters.contains(&chapter)
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

/// Everything there is to measure, from one run.
pub async fn everything(
    plan: &Plan,
    small: Size,
    large: Option<Size>,
    folder: &Path,
    report: &mut Report,
) -> anyhow::Result<()> {
    let backend = backend::start().await?;
    let subject = Subject::start("small", small, backend, plan, folder)?;
    report.size(subject.name, subject.scene.size, subject.scene.policies);
    let subject = if plan.wants(Chapter::Requests) {
        requests(plan, subject, large, backend, folder, report).await?
    } else {
        subject
    };
    report.chapter("the small configuration");
    if plan.wants(Chapter::Latencies) {
        latencies(plan, &subject, backend, report).await?;
    }
    if plan.wants(Chapter::Tokens) {
        tokens(plan, folder, &subject, report).await?;
    }
    if plan.wants(Chapter::Dpop) {
        proofs(plan, &subject, report).await?;
    }
    if plan.wants(Chapter::Revocation) {
        revocations(&subject, report).await?;
    }
    if plan.wants(Chapter::Handshakes) {
        handshakes(plan, &subject, report).await?;
    }
    drop(subject);
    if plan.wants(Chapter::Forgeries) {
        forgeries(plan, small, backend, folder, report).await?;
    }
    if plan.wants(Chapter::Allocations) {
        allocations(plan, small, backend, folder, report).await?;
    }
    if plan.wants(Chapter::Stages) {
        stages::measure(folder, small, backend, report)?;
    }
    if let Some(large) = large.filter(|_| plan.wants(Chapter::Growth)) {
        growth(plan, small, large, backend, folder, report).await?;
    }
    Ok(())
}

/// The small gateway, which is given back, and a large one beside the bare proxy.
async fn requests(
    plan: &Plan,
    small: Subject,
    large: Option<Size>,
    backend: SocketAddr,
    folder: &Path,
    report: &mut Report,
) -> anyhow::Result<Subject> {
    let bare = Bare::start(&small.scene, backend, false).await?;
    let mut subjects = vec![small];
    if let Some(size) = large {
        let large = Subject::start("large", size, backend, plan, folder)?;
        report.size(large.name, large.scene.size, large.scene.policies);
        subjects.push(large);
    }
    for transport in plan.transports() {
        compare(plan, &subjects, &bare, transport, report).await?;
    }
    Ok(subjects.swap_remove(0))
}

/// A gateway under test.
struct Subject {
    name: &'static str,
    scene: Scene,
    gateway: Gateway,
}

impl Subject {
    fn start(name: &'static str, size: Size, backend: SocketAddr, plan: &Plan, folder: &Path) -> anyhow::Result<Self> {
        let scene = Scene::write(folder, name, size, backend, Guard::AsShipped)?;
        let gateway = Gateway::start(&scene, &plan.binary)?;
        Ok(Self { name, scene, gateway })
    }
}

/// Bare proxy and gateways by turns, over one transport.
async fn compare(
    plan: &Plan,
    subjects: &[Subject],
    bare: &Bare,
    transport: Transport,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut callers = Vec::new();
    for subject in subjects {
        let all = issuance::callers(&subject.scene, subject.gateway.addresses, transport).await?;
        callers.push(all.into_iter().take(plan.concurrency).collect::<Vec<_>>());
    }
    let mut series: Vec<Series> = (0..=subjects.len()).map(|_| Series::default()).collect();
    let (first, first_callers) = (subjects.first().context("a subject")?, callers.first().context("callers")?);
    for _ in 0..plan.rounds {
        let asked = Asked::ordinary(transport, first.scene.size.operations);
        let sample = round(plan.length, &bare.process, bare.address(transport), first_callers, asked).await?;
        series.first_mut().context("a series")?.add(&sample);
        for ((subject, callers), series) in subjects.iter().zip(&callers).zip(series.iter_mut().skip(1)) {
            let asked = Asked::ordinary(transport, subject.scene.size.operations);
            let (process, address) = (&subject.gateway.process, subject.gateway.address(transport));
            series.add(&round(plan.length, process, address, callers, asked).await?);
        }
    }
    let names = std::iter::once("bare").chain(subjects.iter().map(|subject| subject.name));
    for (position, (name, own)) in names.zip(&series).enumerate() {
        let before = position.checked_sub(1).and_then(|before| series.get(before));
        report.comparison(transport.name(), name, &describe(own, before));
    }
    Ok(())
}

/// A series, and its ratio to the one before: small to bare, large to small.
fn describe(series: &Series, before: Option<&Series>) -> serde_json::Value {
    let ratios: Vec<f64> = before
        .iter()
        .flat_map(|before| series.cost.iter().zip(&before.cost))
        .map(|(own, before)| own / before)
        .collect();
    json!({
        "cpu_seconds_per_100k": median(&series.cost),
        "noise_percent": noise(&series.cost),
        "requests_per_second": median(&series.throughput),
        "busy": median(&series.busy),
        "ratio": (!ratios.is_empty()).then(|| median(&ratios)),
        "ratio_noise_percent": (!ratios.is_empty()).then(|| noise(&ratios)),
    })
}

/// Tokens per CPU-second, beside the raw rate of the signature in them; by turns, as the machine is not always as fast.
async fn tokens(plan: &Plan, folder: &Path, subject: &Subject, report: &mut Report) -> anyhow::Result<()> {
    let Subject { scene, gateway, .. } = subject;
    let alone = Scene::write(folder, "issuer", scene.size, gateway.addresses.public, Guard::AsShipped)?;
    let mut rates: Vec<Vec<f64>> = Method::ALL.iter().map(|_| Vec::new()).collect();
    let (mut signing, mut verifying, mut issuing) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..plan.rounds {
        for (method, rates) in Method::ALL.into_iter().zip(&mut rates) {
            rates.push(issuance::rate(scene, gateway.addresses, &gateway.process, method, plan.length).await?);
        }
        let (signed, verified) = issuance::raw_rates()?;
        signing.push(signed);
        verifying.push(verified);
        issuing.push(issuer::rate(&alone.config())?);
    }
    for (method, rates) in Method::ALL.into_iter().zip(&rates) {
        report.value(&format!("tokens per CPU-second, {}", method.name()), median(rates), "1/s");
    }
    report.value("tokens per CPU-second, the authorization server alone", median(&issuing), "1/s");
    report.value("raw ES256 signatures per CPU-second", median(&signing), "1/s");
    report.value("raw ES256 verifications per CPU-second", median(&verifying), "1/s");
    let relative = |rates: &[f64]| median(&rates.iter().zip(&signing).map(|(own, raw)| own / raw).collect::<Vec<_>>());
    report.value("the authorization server alone: relative to raw signatures", relative(&issuing), "");
    let by_certificate = rates.first().context("a method")?;
    report.value("over mutual TLS: relative to raw signatures", relative(by_certificate), "");
    Ok(())
}

/// Calls with a proof and calls with a certificate, by turns.
async fn proofs(plan: &Plan, subject: &Subject, report: &mut Report) -> anyhow::Result<()> {
    let callers = Callers::new(&subject.scene, &subject.gateway, plan.concurrency).await?;
    let (mut certified, mut proven) = (Vec::new(), Vec::new());
    for _ in 0..plan.rounds {
        certified.push(callers.certified(plan.length).await?);
        proven.push(callers.proven(plan.length).await?);
    }
    let ratios: Vec<f64> = proven.iter().zip(&certified).map(|(proven, certified)| proven / certified).collect();
    report.value("certificate-bound requests per CPU-second", 1.0 / median(&certified), "1/s");
    report.value("DPoP-verified requests per CPU-second", 1.0 / median(&proven), "1/s");
    report.value(
        "DPoP-verified request: CPU more than certificate-bound",
        (median(&proven) - median(&certified)) * 1e6,
        "µs",
    );
    report.value("DPoP-verified request: CPU relative to certificate-bound", median(&ratios), "");
    report.value("DPoP-verified request: noise of that", noise(&ratios), "%");
    Ok(())
}

/// From sending a revocation to the first refusal, at rest.
async fn revocations(subject: &Subject, report: &mut Report) -> anyhow::Result<()> {
    let delays = revocation::delays(&subject.scene, subject.gateway.addresses).await?;
    let millis = |pick: fn(&revocation::Delay) -> Duration| -> Vec<f64> {
        delays.iter().map(|delay| pick(delay).as_secs_f64() * 1e3).collect()
    };
    let (refused, answered) = (millis(|delay| delay.refused), millis(|delay| delay.answered));
    let most = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
    let late = delays.iter().filter(|delay| delay.late).count();
    report.value("revocations", delays.len() as f64, "");
    report.value("revocation sent to first refusal, p50", median(&refused), "ms");
    report.value("revocation sent to first refusal, max", most(&refused), "ms");
    report.value("revocation sent to its answer, which is durable, p50", median(&answered), "ms");
    report.value("revocation sent to its answer, which is durable, max", most(&answered), "ms");
    report.value("tokens that passed once more after the answer", late as f64, "");
    Ok(())
}

/// Full handshakes with a client certificate: the gateway's, and those of rustls alone, by turns.
async fn handshakes(plan: &Plan, subject: &Subject, report: &mut Report) -> anyhow::Result<()> {
    let (alone, address) = handshake::start_alone(&subject.scene)?;
    let (mut of_rustls, mut of_gateway) = (Vec::new(), Vec::new());
    let (mut first_of_rustls, mut first_of_gateway) = (Vec::new(), Vec::new());
    for _ in 0..plan.rounds {
        let newcomers = handshake::newcomers(&subject.scene, NEWCOMERS)?;
        first_of_rustls.push(handshake::cost_of_each(&alone, address, &newcomers).await?);
        let gateway = &subject.gateway;
        first_of_gateway.push(handshake::cost_of_each(&gateway.process, gateway.addresses.mtls, &newcomers).await?);
        of_rustls.push(handshake::cost(&subject.scene, &alone, address, plan.length).await?);
        let (process, address) = (&subject.gateway.process, subject.gateway.addresses.mtls);
        of_gateway.push(handshake::cost(&subject.scene, process, address, plan.length).await?);
    }
    let ratio = |of_gateway: &[f64], of_rustls: &[f64]| {
        median(&of_gateway.iter().zip(of_rustls).map(|(gateway, alone)| gateway / alone).collect::<Vec<_>>())
    };
    report.value("first mutual TLS handshake of a client, rustls alone", median(&first_of_rustls) * 1e6, "µs");
    report.value("first mutual TLS handshake of a client, the gateway", median(&first_of_gateway) * 1e6, "µs");
    report.value("first mutual TLS handshake of a client, ratio", ratio(&first_of_gateway, &first_of_rustls), "");
    report.value("mutual TLS handshake, rustls alone", median(&of_rustls) * 1e6, "µs");
    report.value("mutual TLS handshake, the gateway", median(&of_gateway) * 1e6, "µs");
    report.value("mutual TLS handshake, ratio", ratio(&of_gateway, &of_rustls), "");
    Ok(())
}

/// What forged tokens cost, beside requests without any.
async fn forgeries(
    plan: &Plan,
    size: Size,
    backend: SocketAddr,
    folder: &Path,
    report: &mut Report,
) -> anyhow::Result<()> {
    let transport = Transport::TlsHttp1;
    let scene = Scene::write(folder, "forged", size, backend, Guard::NeverSpent)?;
    let unguarded = Gateway::start(&scene, &plan.binary)?;
    let honest = issuance::callers(&scene, unguarded.addresses, transport).await?;
    let forged: Vec<Caller> = honest.iter().map(issuance::forged).collect::<anyhow::Result<_>>()?;
    let silent: Vec<Caller> = honest.iter().map(|caller| Caller { token: String::new(), ..caller.clone() }).collect();
    let guarded_scene = Scene::write(folder, "guarded", size, backend, Guard::AsShipped)?;
    let guarded = Gateway::start(&guarded_scene, &plan.binary)?;
    let spent: Vec<Caller> = issuance::callers(&guarded_scene, guarded.addresses, transport).await?;
    let spent: Vec<Caller> = spent.iter().map(issuance::forged).collect::<anyhow::Result<_>>()?;
    let (mut refused, mut looked_at, mut turned_away) = (Vec::new(), Vec::new(), Vec::new());
    let asked = |status| Asked { status, ..Asked::ordinary(transport, size.operations) };
    let held = issuance::spend_guard(&guarded, &spent, asked(401), asked(429)).await?;
    for _ in 0..plan.rounds {
        let address = unguarded.address(transport);
        refused.push(round(plan.length, &unguarded.process, address, &silent, asked(401)).await?.cost);
        looked_at.push(round(plan.length, &unguarded.process, address, &forged, asked(401)).await?.cost);
        turned_away.push(loaded(plan.length, &guarded.process, &held).await?.cost);
    }
    held.stop().await?;
    report.value("no token, 401: CPU-seconds per 100k", median(&refused), "s");
    report.value("forged token, 401: CPU-seconds per 100k", median(&looked_at), "s");
    report.value("forged token, flood guard spent, 429: CPU-seconds per 100k", median(&turned_away), "s");
    Ok(())
}

/// Allocations of one request, over each transport: the bare proxy's and the gateway's.
async fn allocations(
    plan: &Plan,
    size: Size,
    backend: SocketAddr,
    folder: &Path,
    report: &mut Report,
) -> anyhow::Result<()> {
    let scene = Scene::write(folder, "counted", size, backend, Guard::AsShipped)?;
    let mut gateway = Gateway::counting(&scene)?;
    let mut bare = Bare::start(&scene, backend, true).await?;
    for transport in plan.transports() {
        let callers = issuance::callers(&scene, gateway.addresses, transport).await?;
        let asked = Asked::ordinary(transport, size.operations);
        let (of_bare, of_gateway) = (bare.address(transport), gateway.address(transport));
        for (name, address, process) in
            [("bare", of_bare, &mut bare.process), ("full", of_gateway, &mut gateway.process)]
        {
            let load = Load::start(address, &callers, asked).await?;
            tokio::time::sleep(WARM_UP).await;
            let (before, answers) = (counted::so_far(process)?, load.answers());
            tokio::time::sleep(plan.length).await;
            let (after, answers) = (counted::so_far(process)?, (load.answers() - answers) as f64);
            load.stop().await?;
            let of = format!("per request, {}, {name}", transport.name());
            report.value(&format!("allocations {of}"), (after.0 - before.0) / answers, "");
            report.value(&format!("bytes allocated {of}"), (after.1 - before.1) / answers, "B");
        }
    }
    Ok(())
}

/// Start, reload and memory by size, each in a process that did nothing else.
async fn growth(
    plan: &Plan,
    small: Size,
    large: Size,
    backend: SocketAddr,
    folder: &Path,
    report: &mut Report,
) -> anyhow::Result<()> {
    let middle = Size { operations: large.operations, clients: large.clients.min(10_000) };
    let mut resident = Vec::new();
    for size in [small, middle, large] {
        report.chapter(&format!("{} operations, {} clients", size.operations, size.clients));
        let scene = Scene::write(folder, "growth", size, backend, Guard::AsShipped)?;
        let gateway = Gateway::start(&scene, &plan.binary)?;
        report.value("start time", gateway.start_time.as_secs_f64() * 1e3, "ms");
        report.value("resident when ready", gateway.process.resident_mib()?, "MiB");
        tokio::time::sleep(REST).await;
        let memory = gateway.process.resident_mib()?;
        report.value("resident at rest", memory, "MiB");
        let (time, cpu) = gateway.reload(&scene).await?;
        report.value("reload time", time.as_secs_f64() * 1e3, "ms");
        report.value("reload CPU", cpu * 1e3, "ms");
        report.value("resident when reloaded", gateway.process.resident_mib()?, "MiB");
        tokio::time::sleep(REST).await;
        report.value("resident at rest after a reload", gateway.process.resident_mib()?, "MiB");
        resident.push((size, memory));
    }
    if let [(_, least), (middle, at_middle), (large, most)] = resident.as_slice() {
        report.value("memory of the middle size above the small one", at_middle - least, "MiB");
        let further = large.clients.saturating_sub(middle.clients).max(1) as f64;
        report.value("memory for each further client", (most - at_middle) * 1024.0 / further, "KiB");
    }
    Ok(())
}

async fn round(
    length: Duration,
    process: &Process,
    address: SocketAddr,
    callers: &[Caller],
    asked: Asked,
) -> anyhow::Result<Sample> {
    let load = Load::start(address, callers, asked).await?;
    let sample = loaded(length, process, &load).await;
    load.stop().await?;
    sample
}

/// One round of a load that goes on.
async fn loaded(length: Duration, process: &Process, load: &Load) -> anyhow::Result<Sample> {
    tokio::time::sleep(WARM_UP).await;
    let (cpu, answers, began) = (process.cpu_seconds()?, load.answers(), Instant::now());
    tokio::time::sleep(length).await;
    let (cpu, answers, took) = (process.cpu_seconds()? - cpu, load.answers() - answers, began.elapsed().as_secs_f64());
    anyhow::ensure!(answers > 0, "no request was answered");
    let answers = answers as f64;
    Ok(Sample { cost: cpu / answers * 1e5, throughput: answers / took, busy: cpu / took })
}

/// Latency at a fixed moderate rate, which both proxies can easily serve.
async fn latencies(plan: &Plan, subject: &Subject, backend: SocketAddr, report: &mut Report) -> anyhow::Result<()> {
    let Subject { scene, gateway, .. } = subject;
    let transport = Transport::TlsHttp1;
    let bare = Bare::start(scene, backend, false).await?;
    let callers = issuance::callers(scene, gateway.addresses, transport).await?;
    let interval = Some(Duration::from_secs_f64(callers.len() as f64 / MODERATE_RATE));
    let asked = Asked { interval, ..Asked::ordinary(transport, scene.size.operations) };
    let (mut of_bare, mut of_full) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        for (process, address, into) in [
            (&bare.process, bare.address(transport), &mut of_bare),
            (&gateway.process, gateway.address(transport), &mut of_full),
        ] {
            let load = Load::start(address, &callers, asked).await?;
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
    let backend = backend::start().await?;
    let Subject { scene, gateway, .. } = Subject::start("small", size, backend, plan, folder)?;
    for transport in plan.transports() {
        let callers = issuance::callers(&scene, gateway.addresses, transport).await?;
        let callers = callers.get(..plan.concurrency).unwrap_or(&callers);
        println!("{} PID {}", transport.name(), gateway.process.id());
        for _ in 0..plan.rounds {
            let address = gateway.address(transport);
            let asked = Asked::ordinary(transport, size.operations);
            let sample = round(plan.length, &gateway.process, address, callers, asked).await?;
            println!("{:.3} CPU-seconds per 100k, {:.0} requests per second", sample.cost, sample.throughput);
        }
    }
    Ok(())
}

impl Gateway {
    pub const fn address(&self, transport: Transport) -> SocketAddr {
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
