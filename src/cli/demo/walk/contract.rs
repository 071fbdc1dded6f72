//! What breaks the published document does not reach the institution.

use anyhow::ensure;
use http::Method;
use serde_json::json;

use super::outside::{BRIGHTBOOKS, Outside, fresh_id};
use super::policies::CONSENTS;
use super::reading::ACCOUNTS;
use super::reply::{Reply, list, text};
use super::report::Report;

pub(super) async fn walk(outside: &Outside<'_>, report: &mut Report) {
    report.theme("The contract");
    let expected = "400 contract-violated, errors[] point at each place";
    report.check("a body that breaks the schema", expected, body(outside)).await;
    report.check("a query that breaks the schema", "400 contract-violated, #query/page-size", query(outside)).await;
    report.check("a header that is missing", "400 contract-violated, #header/…", header(outside)).await;
    report.check("a body that is not strict JSON", "400, nothing forwarded", twice(outside)).await;
    report.check("a media type that is not offered", "415 with Accept", media_type(outside)).await;
}

/// The places at which the contract is broken; nothing of it may have reached the bank.
fn pointers(outside: &Outside<'_>, reply: &Reply, received: u64) -> anyhow::Result<Vec<String>> {
    let problem = reply.problem(400, "contract-violated")?;
    let errors = list(&problem, "/errors");
    ensure!(errors.iter().all(|error| !text(error, "/detail").is_empty()), "an error without a detail: {errors:?}");
    ensure!(outside.bank_received() == received, "the bank received the request");
    Ok(errors.iter().map(|error| text(error, "/pointer").to_owned()).collect())
}

fn expect_pointers(found: &[String], expected: &[&str]) -> anyhow::Result<String> {
    for pointer in expected {
        ensure!(found.iter().any(|f| f == pointer), "no error at {pointer}, but at {found:?}");
    }
    Ok(found.join(" "))
}

async fn body(outside: &Outside<'_>) -> anyhow::Result<String> {
    let body = json!({
        "Data": {
            "Initiation": {
                "InstructionIdentification": "longer than the thirty-five characters that are allowed",
                "InstructedAmount": { "Amount": "10.00", "Currency": "GBP" },
                "CreditorAccount": { "SchemeName": "UK.OBIE.Unheard", "Identification": "00001012345678" },
                "Surprise": true,
            },
        },
        "Risk": { "ContractPresentIndicator": "yes" },
    });
    let received = outside.bank_received();
    let reply = super::policies::post(outside, CONSENTS, &body).await?;
    let found = pointers(outside, &reply, received)?;
    let initiation = "/Data/Initiation";
    expect_pointers(
        &found,
        &[
            &format!("{initiation}/InstructionIdentification"),
            &format!("{initiation}/CreditorAccount/SchemeName"),
            "/Risk/ContractPresentIndicator",
        ],
    )?;
    let surprise = found
        .iter()
        .any(|pointer| pointer.starts_with(initiation) && !pointer.contains("Ident") && !pointer.contains("Creditor"));
    ensure!(surprise, "the member that nobody knows is not pointed at: {found:?}");
    Ok(found.join(" "))
}

async fn query(outside: &Outside<'_>) -> anyhow::Result<String> {
    let token = outside.token(BRIGHTBOOKS, "accounts").await?;
    let received = outside.bank_received();
    let path = format!("{ACCOUNTS}?page=0&page-size=many");
    let reply = Reply::to(outside.certified(BRIGHTBOOKS, Method::GET, &path).bearer_auth(token)).await?;
    expect_pointers(&pointers(outside, &reply, received)?, &["#query/page", "#query/page-size"])
}

async fn header(outside: &Outside<'_>) -> anyhow::Result<String> {
    let token = outside.token(BRIGHTBOOKS, "payments").await?;
    let received = outside.bank_received();
    let body = super::policies::order("10.00", "NO-KEY", None);
    let request = outside.certified(BRIGHTBOOKS, Method::POST, CONSENTS).bearer_auth(token).json(&body);
    let reply = Reply::to(request).await?;
    expect_pointers(&pointers(outside, &reply, received)?, &["#header/x-idempotency-key"])
}

/// Two readers of a body with a repeated member may see two different bodies.
async fn twice(outside: &Outside<'_>) -> anyhow::Result<String> {
    let token = outside.token(BRIGHTBOOKS, "accounts").await?;
    let received = outside.bank_received();
    let body = r#"{"Data":{"Permissions":["ReadBalances"],"Permissions":["ReadAccountsDetail"]},"Risk":{}}"#;
    let request = outside.certified(BRIGHTBOOKS, Method::POST, "/open-banking/v4.0/aisp/account-access-consents");
    let request = request.bearer_auth(token).header("content-type", "application/json");
    let reply = Reply::to(request.header("x-fapi-interaction-id", fresh_id()).body(body)).await?;
    let found = pointers(outside, &reply, received)?;
    ensure!(!found.is_empty(), "no error is named");
    let problem = reply.json()?;
    Ok(format!("400: {} {}", found.join(" "), text(&problem, "/errors/0/detail")))
}

async fn media_type(outside: &Outside<'_>) -> anyhow::Result<String> {
    let token = outside.token(BRIGHTBOOKS, "accounts").await?;
    let received = outside.bank_received();
    let request = outside.certified(BRIGHTBOOKS, Method::POST, "/open-banking/v4.0/aisp/account-access-consents");
    let request = request.bearer_auth(token).header("content-type", "text/plain").body("please");
    let reply = Reply::to(request).await?;
    reply.problem(415, "media-type-unsupported")?;
    reply.expect_field("accept", "application/json")?;
    ensure!(outside.bank_received() == received, "the bank received the request");
    Ok("415, Accept: application/json".to_owned())
}
