//! Other ways to a user's or a client's authorization: decoupled approval, registration by oneself, step-up, details.

use anyhow::{Context, ensure};
use http::Method;
use serde_json::json;

use super::outside::{Outside, form, fresh_id};
use super::partner::{Partner, Told};
use super::policies;
use super::reading::ACCOUNTS;
use super::reply::{Reply, list, text};
use super::report::Report;
use crate::cli::demo::suite::TRANSACTIONS;
use crate::jose::{Algorithm, SigningKey};

const CIBA: &str = "urn:openid:params:grant-type:ciba";
pub(super) async fn walk(outside: &Outside<'_>, told: &Told, report: &mut Report) {
    report.theme("Decoupled approval, registration, step-up, details");
    let expected = "pending, then tokens for the same user's accounts";
    report.check("CIBA: polled, approved on the device", expected, decoupled(outside, told)).await;
    report.check("CIBA: refused on the device", "400 access_denied", denied(outside, told)).await;
    report.check("a client without the initial access token", "401", uninvited(outside, told)).await;
    let expected = "201, a bound token, 200; removed: 204, then 401";
    report.check("a client registers and calls", expected, registered(outside, told)).await;
    let expected = "401 with acr_values and max_age; met, 200";
    report.check("a step-up, refused, then satisfied", expected, stepped_up(outside, told)).await;
    let expected = "403 authorization-details-missing; granted, 200";
    report.check("a payment's details, once they are granted", expected, detailed(outside, told)).await;
}

/// Rings at the user's device; answers the `auth_req_id`.
async fn ring(partner: &Partner<'_>) -> anyhow::Result<String> {
    let user = text(&partner.told.clients, "/users/0/username");
    let fields = [("scope", "openid accounts"), ("login_hint", user), ("binding_message", "WALK-1")];
    let answer = partner.post("backchannel_authentication", &fields).await?.expect(200)?.json()?;
    let id = text(&answer, "/auth_req_id").to_owned();
    ensure!(!id.is_empty(), "no auth_req_id: {answer}");
    partner.outside.note(&id);
    Ok(id)
}

async fn decide(outside: &Outside<'_>, id: &str, action: &str) -> anyhow::Result<()> {
    let request = outside.operations_request(Method::POST, "/device");
    Reply::to(form(request, &[("auth_req_id", id), ("action", action)])).await?.expect(200)?;
    Ok(())
}

async fn expect_error(partner: &Partner<'_>, id: &str, error: &str) -> anyhow::Result<()> {
    let answer = partner.post("token", &[("grant_type", CIBA), ("auth_req_id", id)]).await?.expect(400)?.json()?;
    ensure!(text(&answer, "/error") == error, "not {error}: {answer}");
    Ok(())
}

async fn decoupled(outside: &Outside<'_>, told: &Told) -> anyhow::Result<String> {
    let partner = Partner::of_the_suite(outside, told, "suite-ciba-1")?;
    let id = ring(&partner).await?;
    expect_error(&partner, &id, "authorization_pending").await?;
    decide(outside, &id, "approve").await?;
    let tokens = partner.tokens(&[("grant_type", CIBA), ("auth_req_id", &id)]).await?;
    partner.call(ACCOUNTS, text(&tokens, "/access_token")).await?.expect(200)?;
    Ok("authorization_pending, approved, 200".to_owned())
}

async fn denied(outside: &Outside<'_>, told: &Told) -> anyhow::Result<String> {
    let partner = Partner::of_the_suite(outside, told, "suite-ciba-1")?;
    let id = ring(&partner).await?;
    decide(outside, &id, "deny").await?;
    expect_error(&partner, &id, "access_denied").await?;
    Ok("400 access_denied".to_owned())
}

async fn uninvited(outside: &Outside<'_>, told: &Told) -> anyhow::Result<String> {
    let path = told.path(outside, "registration")?;
    let reply = Reply::to(outside.public(Method::POST, path).json(&json!({}))).await?;
    reply.expect(401)?.expect_in_field("www-authenticate", "Bearer")?;
    Ok("401".to_owned())
}

/// RFC 7591, RFC 7592.
async fn registered(outside: &Outside<'_>, told: &Told) -> anyhow::Result<String> {
    let (key, _) = SigningKey::generate(Algorithm::Es256)?;
    let metadata = json!({
        "client_name": "A partner on a walk", "token_endpoint_auth_method": "private_key_jwt",
        "jwks": { "keys": [key.public_jwk()] }, "grant_types": ["client_credentials"],
        "dpop_bound_access_tokens": true, "scope": "accounts",
    });
    let request = outside.public(Method::POST, told.path(outside, "registration")?);
    let request = request.bearer_auth(text(&told.clients, "/initial_access_token")).json(&metadata);
    let answer = Reply::to(request).await?.expect(201)?.json()?;
    let registration_token = text(&answer, "/registration_access_token");
    outside.note(registration_token);
    let partner = Partner::new(outside, told, text(&answer, "/client_id"), "", key)?;
    let tokens = partner.tokens(&[("grant_type", "client_credentials"), ("scope", "accounts")]).await?;
    let token = text(&tokens, "/access_token");
    let accounts = partner.call(ACCOUNTS, token).await?.expect(200)?.json()?;
    let management = text(&answer, "/registration_client_uri");
    let path = management.strip_prefix(&outside.demo.public_url).context("managed elsewhere")?;
    Reply::to(outside.public(Method::DELETE, path).bearer_auth(registration_token)).await?.expect(204)?;
    partner.call(ACCOUNTS, token).await?.expect(401)?;
    Ok(format!("{}, {} accounts; removed, 401", partner.id, list(&accounts, "/Data/Account").len()))
}

/// RFC 9396 §9: a scope is not enough where `apis.yaml` demands details.
async fn detailed(outside: &Outside<'_>, told: &Told) -> anyhow::Result<String> {
    let instruction = fresh_id().replace('-', "");
    let consent = policies::post(outside, policies::CONSENTS, &policies::order("10.00", &instruction, None)).await?;
    let consent = consent.expect(201)?.json()?;
    let order = policies::order("10.00", &instruction, Some(text(&consent, "/Data/ConsentId")));
    let paid = policies::post(outside, policies::PAYMENTS, &order).await?.expect(201)?.json()?;
    let path = format!("{}/{}/payment-details", policies::PAYMENTS, text(&paid, "/Data/DomesticPaymentId"));
    let partner = Partner::of_the_suite(outside, told, "suite-dpop-1")?;
    let own = partner.tokens(&[("grant_type", "client_credentials"), ("scope", "payments")]).await?;
    let refused = partner.call(&path, text(&own, "/access_token")).await?;
    let problem = refused.problem(403, "authorization-details-missing")?;
    let demanded = text(&problem, "/authorization_details_type");
    refused.expect_in_field("www-authenticate", "error=\"insufficient_scope\"")?;
    let valid = told.clients.pointer("/authorization_details/valid/0").context("no example in clients.json")?;
    ensure!(text(valid, "/0/type") == demanded, "the operation demands {demanded}");
    let details = valid.to_string();
    let granted = partner.approved(&[("scope", "openid payments"), ("authorization_details", &details)]).await?;
    partner.call(&path, text(&granted, "/access_token")).await?.expect(200)?;
    Ok(format!("403; then {demanded}, 200"))
}

/// RFC 9470 §3, §4: the client asks for what the challenge names.
async fn stepped_up(outside: &Outside<'_>, told: &Told) -> anyhow::Result<String> {
    let partner = Partner::of_the_suite(outside, told, "suite-dpop-1")?;
    let own = partner.tokens(&[("grant_type", "client_credentials"), ("scope", "accounts")]).await?;
    let refused = partner.call(TRANSACTIONS, text(&own, "/access_token")).await?;
    refused.expect(401)?;
    refused.expect_in_field("www-authenticate", "error=\"insufficient_user_authentication\"")?;
    let challenge = refused.field("www-authenticate");
    let named = |name: &str| challenge.split_once(&format!("{name}=\"")).and_then(|(_, rest)| rest.split('"').next());
    let acr_values = named("acr_values").context("the challenge names no acr_values")?;
    let max_age = named("max_age").context("the challenge names no max_age")?;
    let stronger = partner.approved(&[("acr_values", acr_values), ("max_age", max_age)]).await?;
    partner.call(TRANSACTIONS, text(&stronger, "/access_token")).await?.expect(200)?;
    Ok(format!("401; then {acr_values}, 200"))
}
