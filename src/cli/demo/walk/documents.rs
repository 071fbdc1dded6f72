//! Documents mounted with `--api`: one governed call of every operation, its answer held against the document.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use futures_util::StreamExt;
use futures_util::stream;
use http::Method;

use super::outside::{BRIGHTBOOKS, Outside};
use super::reply::Reply;
use super::report::Report;
use crate::cli::demo::mount::Mounted;
use crate::contract::{Contract, Contracts, OperationSpec, StatusRange};
use crate::domain::Clock;
use crate::sandbox::generate::Generator;
use crate::server::SystemClock;

/// Calls at once.
const AT_ONCE: usize = 8;
/// How often a call waits for its quota.
const WAITS_MAX: usize = 20;
const WAIT_MAX: Duration = Duration::from_secs(5);
/// The same seed, the same requests.
const SEED: u64 = 1;
/// How many failures are told one by one.
const TOLD_MAX: usize = 40;

pub(super) async fn walk(outside: &Outside<'_>, report: &mut Report) {
    if outside.demo.mounted.is_empty() {
        return;
    }
    report.theme("Mounted documents");
    for mounted in &outside.demo.mounted {
        let step = format!("every operation of {}", mounted.imported.id);
        let expected = format!("{} calls, each answered as documented", mounted.imported.operations.len());
        report.check(&step, &expected, document(outside, mounted)).await;
    }
}

async fn document(outside: &Outside<'_>, mounted: &Mounted) -> anyhow::Result<String> {
    let api = &mounted.imported;
    let token = outside.token(BRIGHTBOOKS, &mounted.scope).await?;
    let specs: Vec<OperationSpec> = api.operations.iter().map(|operation| operation.spec.clone()).collect();
    let (contracts, _) = Contracts::compile(&api.document, &specs);
    let generator = Generator::new(&api.document, SystemClock.now())?;
    let calls = specs.iter().zip(&contracts).map(|(spec, contract)| {
        let (generator, token) = (&generator, token.as_str());
        async move {
            let outcome = call(outside, token, generator, spec, contract).await;
            outcome.map_err(|error| format!("{} {}: {error:#}", spec.method, spec.path))
        }
    });
    let outcomes: Vec<Result<(), String>> = stream::iter(calls).buffer_unordered(AT_ONCE).collect().await;
    let failed: Vec<String> = outcomes.into_iter().filter_map(Result::err).collect();
    let right = specs.len() - failed.len();
    if failed.is_empty() {
        return Ok(format!("{right} of {}", specs.len()));
    }
    let more = failed.len().saturating_sub(TOLD_MAX);
    let mut told: Vec<String> = failed.into_iter().take(TOLD_MAX).collect();
    if more > 0 {
        told.push(format!("and {more} more"));
    }
    bail!("{right} of {}\n{}", specs.len(), told.join("\n"))
}

async fn call(
    outside: &Outside<'_>,
    token: &str,
    generator: &Generator<'_>,
    spec: &OperationSpec,
    contract: &Arc<Contract>,
) -> anyhow::Result<()> {
    let made = generator.request(spec, SEED).context("no request can be made")?;
    let query = made.query.as_deref().map(|query| format!("?{query}")).unwrap_or_default();
    let target = format!("{}{query}", made.path);
    for _ in 0..WAITS_MAX {
        let mut request = outside.certified(BRIGHTBOOKS, spec.method.clone(), &target).bearer_auth(token);
        for field in &made.headers {
            request = request.header(field.name.clone(), field.value.clone());
        }
        if let Some(content_type) = &made.content_type {
            request = request.header("content-type", content_type);
        }
        if let Some(body) = &made.body {
            request = request.body(body.clone());
        }
        let reply = Reply::to(request).await?;
        if reply.status != 429 {
            return check(&reply, spec, contract);
        }
        // A quota is kept, not hurried: the answer says for how long.
        let wait = reply.field("retry-after").parse().map_or(WAIT_MAX, Duration::from_secs);
        tokio::time::sleep(wait.min(WAIT_MAX)).await;
    }
    bail!("no quota after {WAITS_MAX} waits")
}

const fn is_success(status: StatusRange) -> bool {
    matches!(status, StatusRange::Code(200..=399) | StatusRange::Class(2 | 3))
}

fn check(reply: &Reply, spec: &OperationSpec, contract: &Contract) -> anyhow::Result<()> {
    let problem = reply.field("content-type").starts_with("application/problem+json");
    let ours = problem && reply.text().contains("\"interaction_id\"");
    ensure!(!ours, "{} {}", reply.status.as_u16(), reply.text());
    // Some documents know failures only.
    let knows_success = spec.responses.iter().any(|response| is_success(response.status));
    ensure!(!knows_success || reply.status.as_u16() < 400, "{}: {}", reply.status, reply.text());
    if spec.method == Method::HEAD {
        return Ok(());
    }
    let content_type = Some(reply.field("content-type")).filter(|content_type| !content_type.is_empty());
    let errors = contract.check_response(reply.status, content_type, &reply.body);
    let told: Vec<String> = errors.iter().take(3).map(|error| format!("{} {}", error.pointer, error.detail)).collect();
    ensure!(told.is_empty(), "{} breaks the document: {}", reply.status.as_u16(), told.join("; "));
    Ok(())
}
