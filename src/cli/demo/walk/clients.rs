//! How a client proves itself and gets a token: the three methods, and their negative twins.

use std::fs;

use anyhow::{Context, ensure};
use http::Method;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::outside::{BRIGHTBOOKS, FARVIEW, Outside, SELF_SIGNED, form, fresh_id, read_token};
use super::reply::{Reply, list, text};
use super::report::Report;
use crate::domain::{Clock, Thumbprint};
use crate::jose::{Algorithm, SigningKey, sha256};
use crate::sandbox::pki::Identity;
use crate::server::SystemClock;

const BATCH: &str = "brightbooks-jwt";
pub(super) const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

pub(super) async fn walk(outside: &Outside<'_>, report: &mut Report) {
    report.theme("Clients and their tokens");
    report.check("authorization server metadata", "issuer, mtls_endpoint_aliases, methods", metadata(outside)).await;
    report.check("published keys", "JWK set with current and next, no private member", keys(outside)).await;
    report.check("resource metadata", "RFC 9728: resource and its authorization server", resource(outside)).await;
    let expected = "200, an unbound at+jwt for the asked scope; no-store";
    report.check("private_key_jwt", expected, private_key_jwt(outside)).await;
    report.check("the same assertion again", "401 invalid_client", replay(outside)).await;
    report.check("an assertion for another audience", "401 invalid_client", foreign_assertion(outside)).await;
    report.check("tls_client_auth", "200, cnf.x5t#S256 of our certificate", tls_client_auth(outside)).await;
    report.check("self_signed_tls_client_auth", "200, cnf.x5t#S256 of our certificate", self_signed(outside)).await;
    report.check("another's certificate", "401 invalid_client", other_certificate(outside)).await;
    report.check("a scope that it may not have", "400 invalid_scope", other_scope(outside)).await;
}

async fn metadata(outside: &Outside<'_>) -> anyhow::Result<String> {
    let demo = outside.demo;
    let reply = Reply::to(outside.public(Method::GET, "/.well-known/oauth-authorization-server")).await?;
    let metadata = reply.expect(200)?.json()?;
    ensure!(text(&metadata, "/issuer") == demo.public_url, "issuer is {}", text(&metadata, "/issuer"));
    for endpoint in ["token", "introspection", "revocation"] {
        let plain = text(&metadata, &format!("/{endpoint}_endpoint"));
        let bound = text(&metadata, &format!("/mtls_endpoint_aliases/{endpoint}_endpoint"));
        ensure!(plain.starts_with(&demo.public_url), "{endpoint}_endpoint is {plain:?}");
        ensure!(bound.starts_with(&demo.mtls_url), "{endpoint}_endpoint among mtls_endpoint_aliases is {bound:?}");
    }
    let methods = list(&metadata, "/token_endpoint_auth_methods_supported");
    for method in ["private_key_jwt", "tls_client_auth", "self_signed_tls_client_auth"] {
        ensure!(methods.iter().any(|m| m == method), "{method} is not offered");
    }
    ensure!(!methods.iter().any(|m| m.as_str().is_some_and(|m| m.starts_with("client_secret"))), "secrets are offered");
    Ok(format!("{} and {} scopes", demo.public_url, list(&metadata, "/scopes_supported").len()))
}

async fn keys(outside: &Outside<'_>) -> anyhow::Result<String> {
    let set = key_set(outside).await?;
    let keys = list(&set, "/keys");
    ensure!(keys.len() >= 2, "{} keys are published", keys.len());
    for key in keys {
        let private = ["d", "p", "q", "k"].iter().any(|member| key.get(member).is_some());
        ensure!(!private, "a private member is published");
        ensure!(!text(key, "/kid").is_empty() && !text(key, "/alg").is_empty(), "a key without kid or alg");
    }
    let current = outside.demo.running.keys().current();
    ensure!(keys.iter().any(|key| text(key, "/kid") == current.kid()), "the key that signs is not published");
    Ok(format!("{} keys, {} signs", keys.len(), current.algorithm()))
}

/// What `jwks_uri` serves.
pub(super) async fn key_set(outside: &Outside<'_>) -> anyhow::Result<Value> {
    let reply = Reply::to(outside.public(Method::GET, "/oauth/jwks")).await?;
    reply.expect(200)?.expect_field("content-type", "application/jwk-set+json")?.json()
}

async fn resource(outside: &Outside<'_>) -> anyhow::Result<String> {
    let reply = Reply::to(outside.public(Method::GET, "/.well-known/oauth-protected-resource")).await?;
    let metadata = reply.expect(200)?.json()?;
    ensure!(text(&metadata, "/resource") == outside.demo.public_url, "resource is {}", text(&metadata, "/resource"));
    let servers = list(&metadata, "/authorization_servers");
    ensure!(servers == [Value::from(outside.demo.public_url.as_str())], "authorization_servers are {servers:?}");
    Ok(text(&metadata, "/resource").to_owned())
}

/// An assertion of the batch client (RFC 7523 §3) that nobody has sent yet.
fn assertion(outside: &Outside<'_>, audience: &str) -> anyhow::Result<String> {
    let pem = SecretString::from(fs::read_to_string(&outside.demo.assertion_key.private_key)?);
    let key = SigningKey::from_pem(Algorithm::Es256, &pem)?;
    let now = SystemClock.now().secs();
    let claims = json!({ "iss": BATCH, "sub": BATCH, "aud": audience, "jti": fresh_id(), "iat": now, "exp": now + 60 });
    let assertion = key.sign("JWT", &claims)?;
    outside.note(&assertion);
    Ok(assertion)
}

async fn ask_with(outside: &Outside<'_>, assertion: &str) -> anyhow::Result<Reply> {
    let fields = [
        ("grant_type", "client_credentials"),
        ("scope", "wallet:read"),
        ("client_assertion_type", ASSERTION_TYPE),
        ("client_assertion", assertion),
    ];
    Reply::to(form(outside.public(Method::POST, "/oauth/token"), &fields)).await
}

/// A bearer token of the batch client, without a binding.
pub(super) async fn unbound_token(outside: &Outside<'_>) -> anyhow::Result<String> {
    let reply = ask_with(outside, &assertion(outside, &outside.demo.public_url)?).await?;
    let token = text(&reply.expect(200)?.json()?, "/access_token").to_owned();
    outside.note(&token);
    Ok(token)
}

async fn private_key_jwt(outside: &Outside<'_>) -> anyhow::Result<String> {
    let issuer = outside.demo.public_url.as_str();
    let reply = ask_with(outside, &assertion(outside, issuer)?).await?;
    let answer = reply.expect(200)?.expect_field("cache-control", "no-store")?.json()?;
    ensure!(text(&answer, "/token_type") == "Bearer", "token_type is {}", text(&answer, "/token_type"));
    ensure!(text(&answer, "/scope") == "wallet:read", "scope is {}", text(&answer, "/scope"));
    let lifetime = answer.get("expires_in").and_then(Value::as_u64).context("no expires_in")?;
    outside.note(text(&answer, "/access_token"));
    let (header, claims) = read_token(text(&answer, "/access_token"))?;
    ensure!(text(&header, "/typ") == "at+jwt", "typ is {}", text(&header, "/typ"));
    for (claim, value) in [("iss", issuer), ("aud", issuer), ("client_id", BATCH), ("tenant", "brightbooks")] {
        ensure!(claims.get(claim).is_some_and(|found| found == value), "{claim} is {:?}", claims.get(claim));
    }
    ensure!(claims.get("cnf").is_none(), "a bearer token with a binding");
    Ok(format!("scope {}, {lifetime} s", text(&answer, "/scope")))
}

fn expect_invalid_client(reply: &Reply) -> anyhow::Result<String> {
    let body = reply.expect(401)?.json()?;
    ensure!(text(&body, "/error") == "invalid_client", "error is {}", text(&body, "/error"));
    ensure!(!text(&body, "/error_description").is_empty(), "no error_description");
    Ok("401 invalid_client".to_owned())
}

async fn replay(outside: &Outside<'_>) -> anyhow::Result<String> {
    let assertion = assertion(outside, &outside.demo.public_url)?;
    let first = ask_with(outside, &assertion).await?.expect(200)?.json()?;
    outside.note(text(&first, "/access_token"));
    expect_invalid_client(&ask_with(outside, &assertion).await?)
}

/// FAPI 2.0 Security Profile §5.3.2.1: the audience is the issuer, not the endpoint.
async fn foreign_assertion(outside: &Outside<'_>) -> anyhow::Result<String> {
    expect_invalid_client(&ask_with(outside, &assertion(outside, "https://elsewhere.example")?).await?)
}

async fn tls_client_auth(outside: &Outside<'_>) -> anyhow::Result<String> {
    let identity = outside.demo.pki.clients.get(BRIGHTBOOKS).context("no certificate")?;
    bound_token(outside, BRIGHTBOOKS, identity).await
}

async fn self_signed(outside: &Outside<'_>) -> anyhow::Result<String> {
    bound_token(outside, SELF_SIGNED, &outside.demo.pki.self_signed_client).await
}

async fn bound_token(outside: &Outside<'_>, who: &str, identity: &Identity) -> anyhow::Result<String> {
    let token = outside.token(who, "accounts").await?;
    let (_, claims) = read_token(&token)?;
    let certificate = CertificateDer::from_pem_file(&identity.certificate)?;
    let expected = Thumbprint(sha256(&certificate)).to_string();
    let bound = text(&claims, "/cnf/x5t#S256");
    ensure!(bound == expected, "cnf is {bound:?}, the certificate {expected}");
    ensure!(text(&claims, "/client_id") == who, "client_id is {}", text(&claims, "/client_id"));
    Ok(format!("x5t#S256 {}…", expected.chars().take(12).collect::<String>()))
}

async fn other_certificate(outside: &Outside<'_>) -> anyhow::Result<String> {
    let fields = [("grant_type", "client_credentials"), ("client_id", BRIGHTBOOKS)];
    let reply = Reply::to(form(outside.certified(FARVIEW, Method::POST, "/oauth/token"), &fields)).await?;
    expect_invalid_client(&reply)
}

async fn other_scope(outside: &Outside<'_>) -> anyhow::Result<String> {
    let fields = [("grant_type", "client_credentials"), ("client_id", FARVIEW), ("scope", "payments")];
    let reply = Reply::to(form(outside.certified(FARVIEW, Method::POST, "/oauth/token"), &fields)).await?;
    let body = reply.expect(400)?.json()?;
    ensure!(text(&body, "/error") == "invalid_scope", "error is {}", text(&body, "/error"));
    Ok("400 invalid_scope".to_owned())
}
