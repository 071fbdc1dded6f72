//! What is not in the catalogue cannot be called.

use anyhow::ensure;
use http::Method;

use super::outside::{BRIGHTBOOKS, Outside};
use super::reading::ACCOUNTS;
use super::reply::Reply;
use super::report::Report;

pub(super) async fn walk(outside: &Outside<'_>, report: &mut Report) {
    report.theme("Paths and methods");
    let unknown = "404 no-such-resource, the bank asked nothing";
    report.check("an unknown path", unknown, refused(outside, Method::GET, "/open-banking/v4.0/aisp/nothing")).await;
    report.check("the bank's own health check", unknown, refused(outside, Method::GET, "/healthz")).await;
    report.check("a method that is not offered", "405 with Allow", method(outside)).await;
}

async fn refused(outside: &Outside<'_>, method: Method, path: &str) -> anyhow::Result<String> {
    let token = outside.token(BRIGHTBOOKS, "accounts").await?;
    let received = outside.bank_received();
    let reply = Reply::to(outside.certified(BRIGHTBOOKS, method, path).bearer_auth(token)).await?;
    reply.problem(404, "no-such-resource")?;
    ensure!(outside.bank_received() == received, "the bank received the request");
    Ok("404".to_owned())
}

async fn method(outside: &Outside<'_>) -> anyhow::Result<String> {
    let token = outside.token(BRIGHTBOOKS, "accounts").await?;
    let reply = Reply::to(outside.certified(BRIGHTBOOKS, Method::DELETE, ACCOUNTS).bearer_auth(token)).await?;
    reply.problem(405, "method-not-allowed")?;
    let allow = reply.field("allow");
    ensure!(allow.split(", ").any(|method| method == "GET"), "Allow is {allow:?}");
    ensure!(!allow.contains("DELETE"), "Allow is {allow:?}");
    Ok(format!("405, Allow: {allow}"))
}
