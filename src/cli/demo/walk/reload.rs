//! Changing what is in force while requests go on.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures_util::future::{join, join_all};
use http::Method;

use super::outside::{BRIGHTBOOKS, Outside};
use super::reading::ACCOUNTS;
use super::reply::{Reply, text};
use super::report::Report;

const IN_FORCE_MAX: Duration = Duration::from_mins(1);
const POLL: Duration = Duration::from_millis(25);
/// Callers at once, and how long each rests between two calls: compiling shall not wait for the load.
const CALLERS: usize = 12;
const REST: Duration = Duration::from_millis(20);
/// How often the configuration changes under them: less often where compiling takes long.
const CHANGES_MIN: u64 = 2;
const CHANGES_MAX: u64 = 6;
const CHANGING_MAX: Duration = Duration::from_secs(5);
const SHIPPED_RATE: &str = "rate: { requests: 100, per: 1s, burst: 200 }";
const WIDE_RATE: &str = "rate: { requests: 5000, per: 1s, burst: 5000 }";

pub(super) async fn walk(outside: &Outside<'_>, report: &mut Report) {
    report.theme("Reload");
    let plans = Kept::read(outside, "config/plans.yaml");
    let policy = Kept::read(outside, "policies/demo/account-data.cedar");
    let shipped = revision(outside).await.unwrap_or_default();
    let expected = "in force without a signal: RateLimit-Policy says so";
    report.check("a plan is edited", expected, edit(outside, &plans)).await;
    let expected = "no request fails; each revision in /status";
    report.check("plans and policies change under load", expected, under_load(outside, &plans, &policy)).await;
    let expected = "refused: the old stays in force, and says so";
    report.check("a mistake in a file", expected, broken(outside, &plans)).await;
    report
        .check("the files are put back", "the first revision again", restore(outside, &plans, &policy, &shipped))
        .await;
}

/// A file of the demo as it was.
pub(super) struct Kept {
    pub path: PathBuf,
    pub text: String,
}

impl Kept {
    pub fn read(outside: &Outside<'_>, name: &str) -> Self {
        let path = outside.demo.state.join(name);
        // A file that cannot be read fails the first step that edits it.
        let text = fs::read_to_string(&path).unwrap_or_default();
        Self { path, text }
    }

    pub fn write(&self, text: &str) -> anyhow::Result<()> {
        fs::write(&self.path, text).with_context(|| format!("{} cannot be written", self.path.display()))
    }
}

async fn revision(outside: &Outside<'_>) -> anyhow::Result<String> {
    Ok(text(&outside.status().await?, "/revision").to_owned())
}

async fn read(outside: &Outside<'_>) -> anyhow::Result<Reply> {
    let token = outside.token(BRIGHTBOOKS, "accounts").await?;
    Reply::to(outside.certified(BRIGHTBOOKS, Method::GET, ACCOUNTS).bearer_auth(token)).await
}

async fn edit(outside: &Outside<'_>, plans: &Kept) -> anyhow::Result<String> {
    let before = revision(outside).await?;
    ensure!(plans.text.contains(SHIPPED_RATE), "{} has another plan", plans.path.display());
    plans.write(&plans.text.replace(SHIPPED_RATE, WIDE_RATE))?;
    let begun = Instant::now();
    while revision(outside).await? == before {
        ensure!(begun.elapsed() < IN_FORCE_MAX, "not in force after {} s", IN_FORCE_MAX.as_secs());
        tokio::time::sleep(POLL).await;
    }
    let took = begun.elapsed();
    let reply = read(outside).await?;
    reply.expect(200)?.expect_in_field("ratelimit-policy", "\"burst\";q=5000;w=1")?;
    Ok(format!("in force after {} ms", took.as_millis()))
}

async fn under_load(outside: &Outside<'_>, plans: &Kept, policy: &Kept) -> anyhow::Result<String> {
    let (stop, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    let caller = || async {
        while !stop.load(Ordering::Relaxed) {
            read(outside).await?.expect(200)?;
            answered.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(REST).await;
        }
        anyhow::Ok(())
    };
    let change = async {
        let outcome = change(outside, plans, policy, &answered).await;
        stop.store(true, Ordering::Relaxed);
        outcome
    };
    let (callers, changed) = join(join_all((0..CALLERS).map(|_| caller())), change).await;
    let revisions = changed?;
    let failed = callers.iter().filter(|outcome| outcome.is_err()).count();
    if let Some(Err(error)) = callers.into_iter().find(Result::is_err) {
        return Err(error.context(format!("{failed} of {CALLERS} callers failed")));
    }
    Ok(format!("{} requests, none failed, {revisions} revisions", answered.load(Ordering::Relaxed)))
}

/// Changes the configuration again and again, each time only after some requests have seen the last.
async fn change(outside: &Outside<'_>, plans: &Kept, policy: &Kept, answered: &AtomicU64) -> anyhow::Result<usize> {
    let mut seen = vec![revision(outside).await?];
    let wide = plans.text.replace(SHIPPED_RATE, WIDE_RATE);
    let first = Instant::now();
    for number in 1..=CHANGES_MAX {
        if number > CHANGES_MIN && first.elapsed() > CHANGING_MAX {
            break;
        }
        plans.write(&wide.replace("requests: 1000000,", &format!("requests: {},", 1_000_000 + number)))?;
        policy.write(&format!("{}// Change {number}.\n", policy.text))?;
        outside.demo.running.reload().await;
        let now = revision(outside).await?;
        ensure!(!seen.contains(&now), "revision {now} came back");
        seen.push(now);
        let target = answered.load(Ordering::Relaxed) + CALLERS as u64;
        let begun = Instant::now();
        while answered.load(Ordering::Relaxed) < target && begun.elapsed() < IN_FORCE_MAX {
            tokio::time::sleep(POLL).await;
        }
    }
    Ok(seen.len())
}

/// How many reloads were refused so far.
async fn refusals(outside: &Outside<'_>) -> anyhow::Result<u64> {
    let metrics = outside.operations("/metrics").await?.expect(200)?.text();
    let line = metrics.lines().find(|line| line.starts_with("clearway_reloads_total{") && line.contains("\"refused\""));
    Ok(line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0))
}

async fn broken(outside: &Outside<'_>, plans: &Kept) -> anyhow::Result<String> {
    let (before, refused) = (revision(outside).await?, refusals(outside).await?);
    plans.write(&plans.text.replace("burst: 200", "brust: 200"))?;
    outside.demo.running.reload().await;
    ensure!(revision(outside).await? == before, "the broken configuration is in force");
    ensure!(refusals(outside).await? > refused, "the refusal is not counted");
    read(outside).await?.expect(200)?.expect_in_field("ratelimit-policy", "\"burst\";q=5000;w=1")?;
    Ok(format!("revision {before} stays; calls go on"))
}

async fn restore(outside: &Outside<'_>, plans: &Kept, policy: &Kept, shipped: &str) -> anyhow::Result<String> {
    plans.write(&plans.text)?;
    policy.write(&policy.text)?;
    outside.demo.running.reload().await;
    let now = revision(outside).await?;
    ensure!(now == shipped, "revision {now} instead of {shipped}");
    read(outside).await?.expect(200)?;
    Ok(format!("revision {now}"))
}
