//! A plan's limits: announced with every answer, kept, and explained.

use anyhow::{Context, ensure};
use http::Method;
use serde_json::Value;

use super::outside::{Outside, PAYROLL};
use super::reading::ACCOUNTS;
use super::reply::{Reply, list, text};
use super::report::Report;

/// Of the plan `small`.
const BURST: usize = 5;

pub(super) async fn walk(outside: &Outside<'_>, report: &mut Report) {
    report.theme("Quotas");
    let expected = "at most 5 pass, then 429 with Retry-After and RateLimit";
    report.check("more than the plan allows", expected, exceed(outside)).await;
    report.check("GET /usage", "the used-up limit of the small plan", usage(outside)).await;
    report.check("who asks for nothing but usage", "200: it costs no quota", usage(outside)).await;
}

async fn exceed(outside: &Outside<'_>) -> anyhow::Result<String> {
    let token = outside.token(PAYROLL, "accounts").await?;
    let received = outside.bank_received();
    let mut passed = 0_usize;
    let refused = loop {
        let reply = Reply::to(outside.certified(PAYROLL, Method::GET, ACCOUNTS).bearer_auth(&token)).await?;
        if reply.status == 429 {
            break reply;
        }
        reply.expect(200)?;
        passed += 1;
        ensure!(passed <= BURST, "{passed} requests passed");
    };
    let problem = refused.problem(429, "quota-exceeded")?;
    let violated: Vec<&str> = list(&problem, "/violated-policies").iter().filter_map(Value::as_str).collect();
    // A state folder of many walks within the hour meets the other limit first.
    ensure!(violated.iter().all(|name| ["burst", "hourly"].contains(name)) && !violated.is_empty(), "{violated:?}");
    let wait: u64 = refused.field("retry-after").parse().context("Retry-After is no number of seconds")?;
    ensure!((1..=3600).contains(&wait), "Retry-After is {wait}");
    let limit = violated.first().map(|name| format!("\"{name}\";r=0"));
    refused.expect_in_field("ratelimit", &limit.unwrap_or_default())?;
    refused.expect_in_field("ratelimit-policy", "\"burst\";q=5;w=60")?;
    let forwarded = outside.bank_received() - received;
    ensure!(forwarded == passed as u64, "{passed} passed, and the bank received {forwarded}");
    Ok(format!("{passed} passed; 429, Retry-After: {wait}, RateLimit: {}", refused.field("ratelimit")))
}

async fn usage(outside: &Outside<'_>) -> anyhow::Result<String> {
    let token = outside.token(PAYROLL, "accounts").await?;
    let reply = Reply::to(outside.certified(PAYROLL, Method::GET, "/usage").bearer_auth(&token)).await?;
    let usage = reply.expect(200)?.json()?;
    ensure!(text(&usage, "/client") == PAYROLL, "client is {}", text(&usage, "/client"));
    let subscription = list(&usage, "/subscriptions").iter().find(|s| text(s, "/product") == "banking");
    let subscription = subscription.context("the subscription to banking is not listed")?;
    ensure!(text(subscription, "/plan") == "small", "the plan is {}", text(subscription, "/plan"));
    let mut spent = Vec::new();
    for limit in list(subscription, "/limits") {
        let number = |name: &str| limit.get(name).and_then(Value::as_u64).unwrap_or_default();
        ensure!(number("used") + number("remaining") == number("limit"), "used and remaining make no whole: {limit}");
        spent.push(format!("{} {} of {}", text(limit, "/name"), number("used"), number("limit")));
    }
    let used_up = list(subscription, "/limits").iter().any(|limit| limit.get("remaining") == Some(&Value::from(0)));
    ensure!(used_up, "no limit is used up: {}", spent.join(", "));
    Ok(spent.join(", "))
}
