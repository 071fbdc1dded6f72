//! Compliance: where data may go, and how much money one call may move.

use anyhow::ensure;
use http::Method;
use serde_json::{Value, json};

use super::outside::{BRIGHTBOOKS, FARVIEW, Outside, fresh_id};
use super::reading::ACCOUNTS;
use super::reply::{Reply, list, text};
use super::report::Report;

pub(super) const CONSENTS: &str = "/open-banking/v4.0/pisp/domestic-payment-consents";
pub(super) const PAYMENTS: &str = "/open-banking/v4.0/pisp/domestic-payments";

pub(super) async fn walk(outside: &Outside<'_>, report: &mut Report) {
    report.theme("Compliance policies");
    let expected = "403 policy-refused with reason, regulation and remedy";
    report.check("data to another jurisdiction", expected, jurisdiction(outside)).await;
    report.check("a payment below the ceiling", "201: consent, authorised, paid", payment(outside)).await;
    report.check("a payment above it", "403 policy-refused, the bank asked nothing", ceiling(outside)).await;
    report.check("a payment without a readable amount", "403 policy-refused", no_amount(outside)).await;
}

async fn jurisdiction(outside: &Outside<'_>) -> anyhow::Result<String> {
    let token = outside.token(FARVIEW, "accounts").await?;
    let received = outside.bank_received();
    let reply = Reply::to(outside.certified(FARVIEW, Method::GET, ACCOUNTS).bearer_auth(token)).await?;
    let problem = expect_refusal(&reply, "base.data-stays-in-permitted-jurisdictions")?;
    for member in ["/reason", "/regulation", "/remedy"] {
        ensure!(!text(&problem, member).is_empty(), "the problem has no {member}");
    }
    ensure!(outside.bank_received() == received, "the bank received the request");
    Ok(format!("403: {}", text(&problem, "/regulation")))
}

/// A refusal by this policy.
fn expect_refusal(reply: &Reply, policy: &str) -> anyhow::Result<Value> {
    let problem = reply.problem(403, "policy-refused")?;
    let policies = list(&problem, "/policies");
    ensure!(policies.iter().any(|found| found == policy), "refused by {policies:?} instead of {policy}");
    Ok(problem)
}

/// A payment's body; with the consent's id it is the payment, without it the consent.
pub(super) fn order(amount: &str, instruction: &str, consent: Option<&str>) -> Value {
    let mut data = json!({
        "Initiation": {
            "InstructionIdentification": instruction,
            "EndToEndIdentification": "WALK",
            "InstructedAmount": { "Amount": amount, "Currency": "GBP" },
            "CreditorAccount": {
                "SchemeName": "UK.OBIE.SortCodeAccountNumber",
                "Identification": "00001012345678",
                "Name": "Marlow Lettings",
            },
        },
    });
    if let (Value::Object(members), Some(consent)) = (&mut data, consent) {
        members.insert("ConsentId".to_owned(), consent.into());
    }
    json!({ "Data": data, "Risk": {} })
}

/// POSTs with a fresh idempotency key.
pub(super) async fn post(outside: &Outside<'_>, path: &str, body: &Value) -> anyhow::Result<Reply> {
    let token = outside.token(BRIGHTBOOKS, "payments").await?;
    let request = outside.certified(BRIGHTBOOKS, Method::POST, path).bearer_auth(token);
    Reply::to(request.header("x-idempotency-key", fresh_id()).json(body)).await
}

async fn payment(outside: &Outside<'_>) -> anyhow::Result<String> {
    let instruction = fresh_id().replace('-', "");
    let consent = post(outside, CONSENTS, &order("24999.99", &instruction, None)).await?.expect(201)?.json()?;
    let consent = text(&consent, "/Data/ConsentId");
    let token = outside.token(BRIGHTBOOKS, "payments").await?;
    let path = format!("{CONSENTS}/{consent}");
    let read = Reply::to(outside.certified(BRIGHTBOOKS, Method::GET, &path).bearer_auth(token)).await?;
    let status = text(&read.expect(200)?.json()?, "/Data/Status").to_owned();
    ensure!(status == "AUTH", "the consent is in {status}");
    let reply = post(outside, PAYMENTS, &order("24999.99", &instruction, Some(consent))).await?;
    let paid = reply.expect(201)?.json()?;
    ensure!(text(&paid, "/Data/ConsentId") == consent, "the payment is for another consent");
    ensure!(text(&paid, "/Data/Status") == "RCVD", "the payment's status is {}", text(&paid, "/Data/Status"));
    Ok(format!("{} of GBP 24,999.99 in {}", text(&paid, "/Data/DomesticPaymentId"), text(&paid, "/Data/Status")))
}

async fn ceiling(outside: &Outside<'_>) -> anyhow::Result<String> {
    let received = outside.bank_received();
    let body = order("25000.01", "OVER-THE-CEILING", Some("pcon-00000001"));
    let problem = expect_refusal(&post(outside, PAYMENTS, &body).await?, "base.amount-ceiling-gbp")?;
    ensure!(outside.bank_received() == received, "the bank received the payment");
    Ok(format!("403: {}", text(&problem, "/reason")))
}

/// Currencies without an agreed ceiling, and texts that are no amounts.
async fn no_amount(outside: &Outside<'_>) -> anyhow::Result<String> {
    let received = outside.bank_received();
    let body = order("a lot", "NO-AMOUNT", Some("pcon-00000001"));
    let problem = expect_refusal(&post(outside, PAYMENTS, &body).await?, "base.amount-stated")?;
    ensure!(outside.bank_received() == received, "the bank received the payment");
    Ok(format!("403: {}", text(&problem, "/remedy")))
}
