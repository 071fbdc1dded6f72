//! The other institutions: each reached with the credential that it asks of the gateway, never with the caller's.

use anyhow::{Context, ensure};
use http::Method;
use serde_json::{Value, json};

use super::outside::{BRIGHTBOOKS, Outside, fresh_id};
use super::reply::{Reply, list, text};
use super::report::Report;
use crate::cli::demo::institutions::{FINTECH, INSURER};

pub(super) async fn walk(outside: &Outside<'_>, report: &mut Report) {
    report.theme("Insurer and fintech");
    report.check("a motor quote", "201, Location at the gateway, readable", quote(outside)).await;
    report.check("the insurer's API key", "added by the gateway; the token stays here", api_key(outside)).await;
    report.check("a transfer between wallets", "201, and the same again for its key", transfer(outside)).await;
    report.check("a credit score", "200, between 0 and 999", score(outside)).await;
    report.check("the fintech's own token", "fetched once, used for every call", own_token(outside)).await;
}

async fn quote(outside: &Outside<'_>) -> anyhow::Result<String> {
    let token = outside.token(BRIGHTBOOKS, "insurance:quotes").await?;
    let gbp = |amount: &str| json!({ "amount": amount, "currency": "GBP" });
    let body = json!({
        "excess": gbp("250.00"),
        "driver": { "dateOfBirth": "1988-04-17", "licenceYears": 12, "claimsLastFiveYears": 0 },
        "vehicle": { "registration": "AB12 CDE", "make": "Lark", "model": "Swift 1.2", "year": 2019,
                     "value": gbp("9800.00"), "annualMiles": 7500 },
        "cover": "comprehensive",
    });
    let request = outside.certified(BRIGHTBOOKS, Method::POST, "/insurance/v1/quotes/motor").bearer_auth(&token);
    let reply = Reply::to(request.json(&body)).await?;
    let made = reply.expect(201)?.json()?;
    let location = reply.field("location");
    let path = location.strip_prefix(&outside.demo.mtls_url).unwrap_or(location);
    ensure!(path.starts_with("/insurance/v1/quotes/"), "Location is {location:?}");
    let read = Reply::to(outside.certified(BRIGHTBOOKS, Method::GET, path).bearer_auth(&token)).await?;
    ensure!(read.expect(200)?.json()? == made, "the quote reads differently");
    Ok(path.to_owned())
}

async fn api_key(outside: &Outside<'_>) -> anyhow::Result<String> {
    let request = outside.institution(INSURER)?.received().last().context("the insurer received nothing")?;
    ensure!(request.header("x-api-key").is_some(), "the insurer received no API key");
    ensure!(request.header("authorization").is_none(), "the insurer received the caller's token");
    Ok("x-api-key, no Authorization".to_owned())
}

async fn transfer(outside: &Outside<'_>) -> anyhow::Result<String> {
    let token = outside.token(BRIGHTBOOKS, "wallet:read wallet:transfer").await?;
    let request = outside.certified(BRIGHTBOOKS, Method::GET, "/fintech/v1/wallets").bearer_auth(&token);
    let wallets = Reply::to(request).await?.expect(200)?.json()?;
    let in_pounds = |wallet: &&Value| text(wallet, "/currency") == "GBP";
    let mut pounds = list(&wallets, "/items").iter().filter(in_pounds).map(|wallet| text(wallet, "/wallet_id"));
    let (from, to) = pounds.next().zip(pounds.next()).with_context(|| format!("no two wallets in {wallets}"))?;
    let key = fresh_id();
    let send = || {
        let path = format!("/fintech/v1/wallets/{from}/transfers");
        let body = json!({ "to_wallet_id": to, "amount": { "value": "0.01", "currency": "GBP" } });
        let request = outside.certified(BRIGHTBOOKS, Method::POST, &path).bearer_auth(&token);
        Reply::to(request.header("idempotency-key", key.as_str()).json(&body))
    };
    let first = send().await?.expect(201)?.json()?;
    let again = send().await?.expect(201)?.json()?;
    let id = text(&first, "/transfer_id");
    ensure!(!id.is_empty(), "the transfer has no id: {first}");
    ensure!(first == again, "the same key made {first} and {again}");
    Ok(format!("{id} from {from} to {to}"))
}

async fn score(outside: &Outside<'_>) -> anyhow::Result<String> {
    let token = outside.token(BRIGHTBOOKS, "credit:read").await?;
    let path = "/fintech/v1/customers/cus_1001/credit-score?consent_reference=consent-2026-0417";
    let request = outside.certified(BRIGHTBOOKS, Method::GET, path).bearer_auth(token);
    let answer = Reply::to(request).await?.expect(200)?.json()?;
    let score = answer.get("score").and_then(Value::as_u64).with_context(|| format!("no score in {answer}"))?;
    ensure!(score <= 999, "the score is {score}");
    Ok(score.to_string())
}

async fn own_token(outside: &Outside<'_>) -> anyhow::Result<String> {
    let received = outside.institution(FINTECH)?.received();
    let fetched = received.count(&Method::POST, "/oauth/token");
    ensure!((1..=2).contains(&fetched), "the gateway fetched {fetched} tokens");
    let last = received.last().context("the fintech received nothing")?;
    ensure!(last.header("authorization").is_some(), "the fintech received no token");
    Ok(format!("{fetched} fetched, {} requests", received.total()))
}
