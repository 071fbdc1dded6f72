//! The governed account read: the right data, nothing more, and the fields that go with it.

use anyhow::{Context, ensure};
use http::{Method, Version};
use serde_json::Value;

use super::outside::{BRIGHTBOOKS, Outside, fresh_id};
use super::reply::{Reply, list, text};
use super::report::Report;

pub(super) const ACCOUNTS: &str = "/open-banking/v4.0/aisp/accounts";

/// What the steps about logs look for later.
pub(super) struct Read {
    pub interaction: String,
}

pub(super) async fn walk(outside: &Outside<'_>, report: &mut Report) -> Read {
    report.theme("A governed account read");
    let read = Read { interaction: fresh_id() };
    let expected = "200, the bank's accounts, RateLimit, our interaction id";
    report.check("over HTTP/2 with a bound token", expected, http2(outside, &read.interaction)).await;
    report.check("over HTTP/1.1", "200, the same accounts", http1(outside)).await;
    let expected = "no token, no certificate field; a trace and our id";
    report.check("what the bank was told", expected, told(outside, &read.interaction)).await;
    report.check("the next page by the bank's own link", "200, other accounts", next_page(outside)).await;
    let expected = "masked but for four characters; the bank has them whole";
    report.check("account numbers in the list", expected, masked(outside)).await;
    report.check("the single account", "200, its number whole", single(outside)).await;
    read
}

async fn http2(outside: &Outside<'_>, interaction: &str) -> anyhow::Result<String> {
    let token = outside.token(BRIGHTBOOKS, "accounts").await?;
    let request = outside.certified(BRIGHTBOOKS, Method::GET, ACCOUNTS).bearer_auth(token);
    let reply = Reply::to(request.header("x-fapi-interaction-id", interaction)).await?;
    reply.expect(200)?.expect_field("x-fapi-interaction-id", interaction)?;
    ensure!(reply.version == Version::HTTP_2, "the answer came over {:?}", reply.version);
    for limit in ["\"burst\";q=", "\"daily\";q=1000000;w=86400", "\"concurrency\";q=100"] {
        reply.expect_in_field("ratelimit-policy", limit)?;
    }
    reply.expect_in_field("ratelimit", "\"burst\";r=")?.expect_in_field("ratelimit", "\"daily\";r=")?;
    reply.expect_in_field("server-timing", "gateway;dur=")?.expect_in_field("server-timing", "upstream;dur=")?;
    reply.expect_in_field("strict-transport-security", "max-age=")?.expect_field("cache-control", "no-store")?;
    let ids = account_ids(&reply.json()?);
    ensure!(!ids.is_empty() && ids == bank_ids(outside).await?, "the accounts differ from the bank's own");
    Ok(format!("{} accounts, RateLimit: {}", ids.len(), reply.field("ratelimit")))
}

async fn http1(outside: &Outside<'_>) -> anyhow::Result<String> {
    let token = outside.token(BRIGHTBOOKS, "accounts").await?;
    let reply = Reply::to(outside.old_fashioned(Method::GET, ACCOUNTS).bearer_auth(token)).await?;
    reply.expect(200)?;
    ensure!(reply.version == Version::HTTP_11, "the answer came over {:?}", reply.version);
    let ids = account_ids(&reply.json()?);
    ensure!(ids == bank_ids(outside).await?, "the accounts differ from the bank's own");
    Ok(format!("{} accounts", ids.len()))
}

/// The account list as the bank itself gives it.
async fn bank_list(outside: &Outside<'_>) -> anyhow::Result<Value> {
    let bank = outside.banks().next().context("no bank runs")?;
    outside.directly(bank, ACCOUNTS).await?.expect(200)?.json()
}

async fn bank_ids(outside: &Outside<'_>) -> anyhow::Result<Vec<String>> {
    Ok(account_ids(&bank_list(outside).await?))
}

fn account_ids(answer: &Value) -> Vec<String> {
    list(answer, "/Data/Account").iter().map(|account| text(account, "/AccountId").to_owned()).collect()
}

async fn told(outside: &Outside<'_>, interaction: &str) -> anyhow::Result<String> {
    let reports = outside.banks().map(|bank| bank.received().report());
    let mut requests = reports.flat_map(|report| report.recent);
    let request = requests.find(|request| request.header("x-fapi-interaction-id") == Some(interaction));
    let request = request.context("no back end received our interaction id")?;
    for secret in ["authorization", "cookie", "client-cert", "x-forwarded-client-cert"] {
        ensure!(request.header(secret).is_none(), "the bank received {secret}");
    }
    ensure!(request.header("traceparent").is_some(), "the bank received no traceparent");
    Ok(format!("{} {} with {} fields", request.method, request.target, request.headers.len()))
}

async fn next_page(outside: &Outside<'_>) -> anyhow::Result<String> {
    let token = outside.token(BRIGHTBOOKS, "accounts").await?;
    let request = outside.certified(BRIGHTBOOKS, Method::GET, ACCOUNTS).bearer_auth(&token);
    let first = Reply::to(request).await?.expect(200)?.json()?;
    let next = text(&first, "/Links/Next");
    let path = next.strip_prefix(&outside.demo.mtls_url);
    let path = path.with_context(|| format!("Links.Next leads to {next:?}, where a bound token is of no use"))?;
    let second = Reply::to(outside.certified(BRIGHTBOOKS, Method::GET, path).bearer_auth(&token)).await?;
    let (first, second) = (account_ids(&first), account_ids(&second.expect(200)?.json()?));
    ensure!(!second.is_empty() && second.iter().all(|id| !first.contains(id)), "the second page repeats the first");
    Ok(format!("{} and {} accounts", first.len(), second.len()))
}

/// Every account number of a list.
fn numbers(answer: &Value) -> Vec<&str> {
    let names = list(answer, "/Data/Account").iter().flat_map(|account| list(account, "/Account"));
    names.map(|name| text(name, "/Identification")).collect()
}

async fn masked(outside: &Outside<'_>) -> anyhow::Result<String> {
    let token = outside.token(BRIGHTBOOKS, "accounts").await?;
    let reply = Reply::to(outside.certified(BRIGHTBOOKS, Method::GET, ACCOUNTS).bearer_auth(token)).await?;
    reply.expect(200)?.expect_field("clearway-data-class", "personal")?;
    let (ours, theirs) = (reply.json()?, bank_list(outside).await?);
    let (ours, theirs) = (numbers(&ours), numbers(&theirs));
    ensure!(!theirs.is_empty() && ours.len() == theirs.len(), "{} numbers instead of {}", ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(&theirs) {
        let shown = theirs.len().saturating_sub(4);
        let expected = format!("{}{}", "*".repeat(shown), theirs.get(shown..).unwrap_or_default());
        ensure!(!theirs.contains('*'), "the bank itself masks");
        ensure!(*ours == expected, "a number came as {ours}");
    }
    ensure!(!reply.text().contains("SecondaryIdentification"), "SecondaryIdentification is still there");
    Ok(format!("{} numbers such as {}", ours.len(), ours.first().unwrap_or(&"")))
}

async fn single(outside: &Outside<'_>) -> anyhow::Result<String> {
    let token = outside.token(BRIGHTBOOKS, "accounts").await?;
    let theirs = bank_list(outside).await?;
    let id = account_ids(&theirs).into_iter().next().context("the bank has no account")?;
    let path = format!("{ACCOUNTS}/{id}");
    let reply = Reply::to(outside.certified(BRIGHTBOOKS, Method::GET, &path).bearer_auth(token)).await?;
    let answer = reply.expect(200)?.json()?;
    let (ours, theirs) = (numbers(&answer), numbers(&theirs));
    ensure!(!ours.is_empty() && ours.first() == theirs.first(), "the number differs from the bank's");
    ensure!(reply.field("clearway-data-class").is_empty(), "an obligation of another operation applies");
    Ok(format!("account {id} with {} numbers", ours.len()))
}
