//! What the operator and the auditor see, and what nobody must ever find in a log.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read as _, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::Value;

use super::outside::{BRIGHTBOOKS, Outside};
use super::reading::Read;
use super::reply::{list, text};
use super::report::Report;
use crate::cli::demo::setup::Demo;

/// Records are committed in groups within a stated delay.
const WRITTEN_MAX: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(50);
/// A signature shorter than this says nothing of a token.
const SIGNATURE_MIN: usize = 20;

/// The logs, and how long they were before the walk.
pub(super) struct Logs {
    audit: Log,
    access: Log,
}

struct Log {
    path: PathBuf,
    from: u64,
}

impl Logs {
    pub fn now(demo: &Demo) -> Self {
        Self { audit: Log::now(demo, "state/audit.jsonl"), access: Log::now(demo, "state/access.jsonl") }
    }
}

impl Log {
    fn now(demo: &Demo, name: &str) -> Self {
        let path = demo.state.join(name);
        let from = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
        Self { path, from }
    }

    fn text(&self) -> anyhow::Result<String> {
        let mut file = File::open(&self.path).with_context(|| format!("{} cannot be read", self.path.display()))?;
        file.seek(SeekFrom::Start(self.from))?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        Ok(text)
    }

    /// Waits until the interaction is recorded, and answers its one record.
    async fn record(&self, interaction: &str) -> anyhow::Result<Value> {
        let begun = Instant::now();
        loop {
            let text = self.text()?;
            let lines: Vec<&str> = text.lines().filter(|line| line.contains(interaction)).collect();
            match lines.as_slice() {
                [] => ensure!(begun.elapsed() < WRITTEN_MAX, "no record within {} s", WRITTEN_MAX.as_secs()),
                [line] => return serde_json::from_str(line).with_context(|| format!("not JSON: {line}")),
                _ => anyhow::bail!("{} records of one exchange", lines.len()),
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

pub(super) async fn walk(outside: &Outside<'_>, report: &mut Report, logs: &Logs, read: &Read) {
    report.theme("What the operator sees");
    report.check("/livez and /readyz", "200 both", health(outside)).await;
    report.check("/status", "revision, healthy back ends, keys, audit in order", status(outside)).await;
    report.check("/metrics", "calls by operation; labels only of the catalogue", metrics(outside)).await;
    let expected = "one record: client, operation, policies, revision";
    report.check("the account read in the audit file", expected, audited(logs, read)).await;
    report.check("the account read in the access log", "one line with client and status", accessed(logs, read)).await;
    report.check("tokens and bodies in the logs", "none", nothing_secret(outside, logs)).await;
}

async fn health(outside: &Outside<'_>) -> anyhow::Result<String> {
    let alive = outside.operations("/livez").await?.expect(200)?.text();
    let ready = outside.operations("/readyz").await?.expect(200)?.text();
    Ok(format!("{}, {}", alive.trim(), ready.trim()))
}

async fn status(outside: &Outside<'_>) -> anyhow::Result<String> {
    let status = outside.status().await?;
    ensure!(!text(&status, "/revision").is_empty(), "no revision");
    ensure!(status.get("ready") == Some(&Value::Bool(true)), "not ready");
    ensure!(status.pointer("/audit/healthy") == Some(&Value::Bool(true)), "the audit file takes no records");
    ensure!(status.pointer("/audit/requests_refused") == Some(&Value::from(0)), "requests were refused unrecorded");
    let keys = list(&status, "/signing_keys");
    ensure!(keys.iter().any(|key| text(key, "/state") == "current"), "no current key");
    let institutions = list(&status, "/institutions");
    ensure!(institutions.len() >= 3, "{} institutions", institutions.len());
    Ok(format!(
        "revision {}, {} operations, {} institutions, {} records",
        text(&status, "/revision"),
        status.get("operations").unwrap_or(&Value::Null),
        institutions.len(),
        status.pointer("/audit/written").unwrap_or(&Value::Null)
    ))
}

/// Values of a label, wherever it occurs.
fn values<'a>(metrics: &'a str, label: &str) -> BTreeSet<&'a str> {
    let mark = format!("{label}=\"");
    let lines = metrics.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split(&mark).nth(1)?.split('"').next()).collect()
}

async fn metrics(outside: &Outside<'_>) -> anyhow::Result<String> {
    let metrics = outside.operations("/metrics").await?.expect(200)?.text();
    ensure!(metrics.trim_end().ends_with("# EOF"), "not OpenMetrics");
    let count = metrics.lines().find_map(|line| {
        let ours = line.starts_with("http_server_request_duration_seconds_count{")
            && line.contains("operation=\"bank.GetAccounts\"")
            && line.contains("http_response_status_code=\"200\"");
        ours.then(|| line.rsplit(' ').next()?.parse::<u64>().ok()).flatten()
    });
    let count = count.context("the account reads are not counted")?;
    let document = super::reply::Reply::to(outside.public(http::Method::GET, "/openapi.json")).await?.json()?;
    let paths = document.get("paths").and_then(Value::as_object).context("no paths")?;
    let operations = paths.values().filter_map(Value::as_object).flat_map(|item| item.values());
    let known: BTreeSet<&str> = operations.map(|operation| text(operation, "/operationId")).collect();
    for operation in values(&metrics, "operation") {
        let bounded = known.contains(operation) || ["none", "other", "_OTHER"].contains(&operation);
        ensure!(bounded, "{operation:?} is a label, but not an operation");
    }
    let samples = metrics.lines().filter(|line| !line.starts_with('#'));
    ensure!(!samples.clone().any(|line| line.contains(BRIGHTBOOKS)), "a client is a label");
    let series = samples.count();
    Ok(format!("{count} account reads, {} operations, {series} lines", values(&metrics, "operation").len()))
}

async fn audited(logs: &Logs, read: &Read) -> anyhow::Result<String> {
    let record = logs.audit.record(&read.interaction).await?;
    for (member, expected) in [
        ("kind", "request"),
        ("listener", "mtls"),
        ("client", BRIGHTBOOKS),
        ("tenant", "brightbooks"),
        ("operation", "bank.GetAccounts"),
        ("institution", "albion-bank"),
        ("product", "banking"),
        ("plan", "standard"),
        ("outcome", "answered"),
    ] {
        let found = text(&record, &format!("/{member}"));
        ensure!(found == expected, "{member} is {found:?} instead of {expected:?}");
    }
    ensure!(record.get("status") == Some(&Value::from(200)), "status is {:?}", record.get("status"));
    for member in ["revision", "policy_set", "certificate", "token", "trace_id"] {
        ensure!(!text(&record, &format!("/{member}")).is_empty(), "no {member}");
    }
    let policies = list(&record, "/policies");
    for policy in ["base.subscribed-caller", "demo.account-numbers-masked"] {
        ensure!(policies.iter().any(|found| found == policy), "{policy} is not among {policies:?}");
    }
    Ok(format!(
        "{} by {}, {}",
        text(&record, "/operation"),
        text(&record, "/client"),
        text(&record, "/upstream/backend")
    ))
}

async fn accessed(logs: &Logs, read: &Read) -> anyhow::Result<String> {
    let line = logs.access.record(&read.interaction).await?;
    for (member, expected) in [("client", BRIGHTBOOKS), ("operation", "bank.GetAccounts"), ("protocol", "HTTP/2")] {
        let found = text(&line, &format!("/{member}"));
        ensure!(found == expected, "{member} is {found:?} instead of {expected:?}");
    }
    ensure!(line.get("status") == Some(&Value::from(200)), "status is {:?}", line.get("status"));
    let micros = |name: &str| line.get(name).and_then(Value::as_u64).unwrap_or_default();
    Ok(format!("{} µs, of which {} µs at the bank", micros("total_us"), micros("upstream_us")))
}

async fn nothing_secret(outside: &Outside<'_>, logs: &Logs) -> anyhow::Result<String> {
    let seen = outside.seen();
    let mut bytes = 0;
    for log in [&logs.audit, &logs.access] {
        let text = log.text()?;
        bytes += text.len();
        for token in &seen {
            let signature = token.rsplit('.').next().unwrap_or_default();
            let leaks = text.contains(token.as_str()) || (signature.len() >= SIGNATURE_MIN && text.contains(signature));
            ensure!(!leaks, "{} holds a token", log.path.display());
        }
        for private in ["Marlow Lettings", "00001012345678", "access_token=", "24999.99"] {
            ensure!(!text.contains(private), "{} holds a body's {private:?}", log.path.display());
        }
    }
    Ok(format!("none of {} tokens in {} kB", seen.len(), bytes / 1024))
}
