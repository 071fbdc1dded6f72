//! Back ends that fail: the caller sees one institution, and money is never sent twice.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use http::Method;
use serde_json::Value;

use super::outside::{BRIGHTBOOKS, Outside};
use super::policies::{CONSENTS, order, post};
use super::reading::ACCOUNTS;
use super::reply::{Reply, list, text};
use super::report::Report;
use crate::sandbox::fault::{Action, Close, Fault, Only};
use crate::sandbox::{self, Availability};

/// Health checks and circuit breakers have noticed by then.
const NOTICED_MAX: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(50);
const CALLS: usize = 8;

pub(super) async fn walk(outside: &Outside<'_>, report: &mut Report) {
    report.theme("Back ends that fail");
    report.check("one of two is gone", "every call 200 through the other", one_gone(outside)).await;
    report.check("it is back", "200 again, /status says healthy", back(outside)).await;
    report.check("the other accepts and says nothing", "every call 200 through the first", one_silent(outside)).await;
    report.check("both are gone: a read", "503 backend-unavailable, never 401", both_gone(outside)).await;
    report.check("both are gone: a payment", "503 backend-unavailable, nothing sent", payment_gone(outside)).await;
    report.check("both are back", "200 again, /status says healthy", back(outside)).await;
    let expected = "502 backend-failed, sent exactly once";
    report.check("a payment, and the connection breaks", expected, breaks(outside, false)).await;
    report.check("the same, after the bank carried it out", expected, breaks(outside, true)).await;
    report.check("both behave again", "200 again, /status says healthy", back(outside)).await;
}

async fn read(outside: &Outside<'_>) -> anyhow::Result<Reply> {
    let token = outside.token(BRIGHTBOOKS, "accounts").await?;
    Reply::to(outside.certified(BRIGHTBOOKS, Method::GET, ACCOUNTS).bearer_auth(token)).await
}

async fn one_gone(outside: &Outside<'_>) -> anyhow::Result<String> {
    without(outside.banks().next(), Availability::Refusing, outside).await
}

async fn one_silent(outside: &Outside<'_>) -> anyhow::Result<String> {
    without(outside.banks().last(), Availability::BlackHole, outside).await
}

/// Takes one back end away and brings it back, whatever comes between.
async fn without(
    bank: Option<&sandbox::Running>,
    availability: Availability,
    outside: &Outside<'_>,
) -> anyhow::Result<String> {
    let bank = bank.context("no bank runs")?;
    bank.set_availability(availability).await?;
    let outcome = reads(outside, bank).await;
    bank.set_availability(Availability::Up).await?;
    outcome
}

async fn reads(outside: &Outside<'_>, gone: &sandbox::Running) -> anyhow::Result<String> {
    let before = gone.received().total();
    let begun = Instant::now();
    let mut slowest = Duration::ZERO;
    for _ in 0..CALLS {
        let call = Instant::now();
        read(outside).await?.expect(200)?;
        slowest = slowest.max(call.elapsed());
    }
    ensure!(gone.received().total() == before, "the back end that is gone received something");
    Ok(format!("{CALLS} times 200 in {} ms, the slowest {} ms", begun.elapsed().as_millis(), slowest.as_millis()))
}

async fn set_all(outside: &Outside<'_>, availability: Availability) -> anyhow::Result<()> {
    for bank in outside.banks() {
        bank.set_availability(availability).await?;
    }
    Ok(())
}

async fn both_gone(outside: &Outside<'_>) -> anyhow::Result<String> {
    set_all(outside, Availability::Refusing).await?;
    for _ in 0..CALLS {
        let reply = read(outside).await?;
        reply.problem(503, "backend-unavailable")?;
        ensure!(reply.field("www-authenticate").is_empty(), "the caller is blamed");
    }
    Ok(format!("{CALLS} times 503 backend-unavailable"))
}

async fn payment_gone(outside: &Outside<'_>) -> anyhow::Result<String> {
    let received = outside.bank_received();
    let reply = post(outside, CONSENTS, &order("10.00", "BANK-GONE", None)).await?;
    reply.problem(503, "backend-unavailable")?;
    ensure!(outside.bank_received() == received, "a back end that is gone received something");
    Ok("503 backend-unavailable".to_owned())
}

async fn back(outside: &Outside<'_>) -> anyhow::Result<String> {
    set_all(outside, Availability::Up).await?;
    outside.banks().for_each(|bank| bank.faults().clear());
    let begun = Instant::now();
    while read(outside).await?.status != 200 || !all_healthy(&outside.status().await?) {
        if begun.elapsed() > NOTICED_MAX {
            bail!("still not after {} s: {}", NOTICED_MAX.as_secs(), outside.status().await?);
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(format!("after {} ms", begun.elapsed().as_millis()))
}

fn all_healthy(status: &Value) -> bool {
    let backends = list(status, "/institutions").iter().flat_map(|institution| list(institution, "/backends"));
    backends.into_iter().all(|backend| text(backend, "/state") == "healthy")
}

async fn breaks(outside: &Outside<'_>, carried_out: bool) -> anyhow::Result<String> {
    for bank in outside.banks() {
        bank.faults().set_one(Fault {
            only: Only { method: Some("POST".to_owned()), path_prefix: Some(CONSENTS.to_owned()) },
            process: carried_out,
            action: Some(Action::Close(Close::BeforeHeaders)),
            ..Fault::default()
        })?;
    }
    // A connection that carried something before invites a retry: that is the hard case.
    read(outside).await?.expect(200)?;
    let count = || outside.banks().map(|bank| bank.received().count(&Method::POST, CONSENTS)).sum::<u64>();
    let before = count();
    let outcome = post(outside, CONSENTS, &order("10.00", "BREAKS-OFF", None)).await;
    outside.banks().for_each(|bank| bank.faults().clear());
    outcome?.problem(502, "backend-failed")?;
    let sent = count() - before;
    ensure!(sent == 1, "sent {sent} times");
    Ok("502 backend-failed, sent once".to_owned())
}
