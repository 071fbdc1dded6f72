//! A stolen token is of no use: it works with the certificate to which it is bound, and with no other.

use anyhow::{bail, ensure};
use http::Method;

use super::outside::{BRIGHTBOOKS, EXPIRED, FARVIEW, Outside, UNTRUSTED};
use super::reading::ACCOUNTS;
use super::reply::Reply;
use super::report::Report;

pub(super) async fn walk(outside: &Outside<'_>, report: &mut Report) {
    report.theme("A stolen token");
    let binding = "401 token-binding, error=\"invalid_token\"";
    report.check("with another client's certificate", binding, with(outside, FARVIEW, "token-binding")).await;
    report.check("without a certificate", binding, without(outside)).await;
    let untrusted = "401 certificate-untrusted";
    report.check("with a certificate of nobody's CA", untrusted, with(outside, UNTRUSTED, "certificate-untrusted")).await;
    report.check("with an expired certificate", untrusted, with(outside, EXPIRED, "certificate-untrusted")).await;
    report.check("no certificate at the mutual-TLS listener", "no TLS connection", no_handshake(outside)).await;
}

async fn with(outside: &Outside<'_>, thief: &str, code: &str) -> anyhow::Result<String> {
    let token = outside.token(BRIGHTBOOKS, "accounts").await?;
    let received = outside.bank_received();
    let reply = Reply::to(outside.certified(thief, Method::GET, ACCOUNTS).bearer_auth(token)).await?;
    expect_refusal(outside, &reply, code, received)
}

async fn without(outside: &Outside<'_>) -> anyhow::Result<String> {
    let token = outside.token(BRIGHTBOOKS, "accounts").await?;
    let received = outside.bank_received();
    let reply = Reply::to(outside.public(Method::GET, ACCOUNTS).bearer_auth(token)).await?;
    expect_refusal(outside, &reply, "token-binding", received)
}

fn expect_refusal(outside: &Outside<'_>, reply: &Reply, code: &str, received: u64) -> anyhow::Result<String> {
    reply.problem(401, code)?;
    reply.expect_in_field("www-authenticate", "Bearer ")?;
    reply.expect_in_field("www-authenticate", "error=\"invalid_token\"")?;
    ensure!(outside.bank_received() == received, "the bank received the request");
    Ok(format!("401 {code}"))
}

async fn no_handshake(outside: &Outside<'_>) -> anyhow::Result<String> {
    // A name without a certificate of its own: the client that sends none.
    match Reply::to(outside.certified("nobody", Method::GET, ACCOUNTS)).await {
        Ok(reply) => bail!("{} over a connection without a certificate", reply.status),
        Err(error) => {
            let cause = error.root_cause().to_string();
            ensure!(cause.to_ascii_lowercase().contains("certificate"), "{cause}");
            Ok(cause)
        }
    }
}
