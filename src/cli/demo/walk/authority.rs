//! What a token and a subscription reach, and what they do not.

use anyhow::ensure;
use http::Method;
use serde_json::Value;

use super::clients::unbound_token;
use super::outside::{BRIGHTBOOKS, Outside, SELF_SIGNED, read_token};
use super::reading::ACCOUNTS;
use super::reply::{Reply, list, text};
use super::report::Report;

const WALLETS: &str = "/fintech/v1/wallets";

pub(super) async fn walk(outside: &Outside<'_>, report: &mut Report) {
    report.theme("Scope, subscription and binding");
    report.check("outside the scope", "403 scope-missing, insufficient_scope names it", scope(outside)).await;
    report.check("outside the subscription", "403 not-subscribed", subscription(outside)).await;
    let expected = "200 on the public listener";
    report.check("an unbound token, low-risk product", expected, unbound(outside)).await;
    let expected = "403, whoever signed it";
    report.check("an unbound token, regulated product", expected, unbound_regulated(outside)).await;
}

async fn scope(outside: &Outside<'_>) -> anyhow::Result<String> {
    let token = outside.token(BRIGHTBOOKS, "accounts").await?;
    let path = "/open-banking/v4.0/pisp/domestic-payments/pay-00000001";
    let reply = Reply::to(outside.certified(BRIGHTBOOKS, Method::GET, path).bearer_auth(token)).await?;
    let problem = reply.problem(403, "scope-missing")?;
    ensure!(text(&problem, "/scope") == "payments", "scope is {:?}", text(&problem, "/scope"));
    reply.expect_in_field("www-authenticate", "error=\"insufficient_scope\"")?;
    reply.expect_in_field("www-authenticate", "scope=\"payments\"")?;
    Ok("403 scope-missing: payments".to_owned())
}

async fn subscription(outside: &Outside<'_>) -> anyhow::Result<String> {
    let token = outside.token(SELF_SIGNED, "wallet:read").await?;
    let reply = Reply::to(outside.certified(SELF_SIGNED, Method::GET, WALLETS).bearer_auth(token)).await?;
    reply.problem(403, "not-subscribed")?;
    Ok("403 not-subscribed".to_owned())
}

async fn unbound(outside: &Outside<'_>) -> anyhow::Result<String> {
    let token = unbound_token(outside).await?;
    let reply = Reply::to(outside.public(Method::GET, WALLETS).bearer_auth(token)).await?;
    let wallets = list(&reply.expect(200)?.json()?, "/items").len();
    ensure!(wallets > 0, "no wallet came: {}", reply.text());
    Ok(format!("{wallets} wallets"))
}

/// No client gets such a token: it is signed here, as if an issuer had erred.
async fn unbound_regulated(outside: &Outside<'_>) -> anyhow::Result<String> {
    let (_, mut claims) = read_token(&outside.token(BRIGHTBOOKS, "accounts").await?)?;
    if let Value::Object(members) = &mut claims {
        members.remove("cnf");
    }
    let token = outside.demo.running.keys().current().sign("at+jwt", &claims)?;
    outside.note(&token);
    for request in [outside.public(Method::GET, ACCOUNTS), outside.certified(BRIGHTBOOKS, Method::GET, ACCOUNTS)] {
        let problem = Reply::to(request.bearer_auth(&token)).await?.problem(403, "policy-refused")?;
        let policies = list(&problem, "/policies");
        ensure!(policies.iter().any(|p| p == "base.regulated-needs-bound-token"), "refused by {policies:?}");
    }
    Ok("403 by base.regulated-needs-bound-token, on both listeners".to_owned())
}
