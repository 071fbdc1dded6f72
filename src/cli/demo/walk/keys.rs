//! The end of a token, and the change of the keys that sign them.

use anyhow::ensure;
use http::Method;
use serde_json::{Value, json};

use super::clients::key_set;
use super::outside::{BRIGHTBOOKS, FARVIEW, Outside, RESOURCE_SERVER, form, read_token};
use super::reading::ACCOUNTS;
use super::reply::{Reply, list, text};
use super::report::Report;
use crate::domain::Clock;
use crate::oauth::Urgency;
use crate::server::SystemClock;

pub(super) async fn walk(outside: &Outside<'_>, report: &mut Report) {
    report.theme("Revocation and key rotation");
    let expected = "active with its claims, then exactly {\"active\":false}";
    report.check("a token is revoked", "200 before, 401 at the very next call", revoked(outside)).await;
    report.check("introspection by a resource server", expected, introspected(outside)).await;
    report.check("another client tries to revoke it", "the token goes on working", others_token(outside)).await;
    let expected = "old token 200, new token under the new key, both published";
    report.check("the signing key is rotated", expected, rotated(outside)).await;
}

async fn call(outside: &Outside<'_>, token: &str) -> anyhow::Result<Reply> {
    Reply::to(outside.certified(BRIGHTBOOKS, Method::GET, ACCOUNTS).bearer_auth(token)).await
}

async fn about(outside: &Outside<'_>, who: &str, endpoint: &str, token: &str) -> anyhow::Result<Reply> {
    let fields = [("client_id", who), ("token", token)];
    Reply::to(form(outside.certified(who, Method::POST, &format!("/oauth/{endpoint}")), &fields)).await
}

async fn revoked(outside: &Outside<'_>) -> anyhow::Result<String> {
    let token = outside.fresh_token(BRIGHTBOOKS, "accounts").await?;
    call(outside, &token).await?.expect(200)?;
    about(outside, BRIGHTBOOKS, "revoke", &token).await?.expect(200)?;
    let reply = call(outside, &token).await?;
    reply.problem(401, "token-invalid")?;
    reply.expect_in_field("www-authenticate", "error=\"invalid_token\"")?;
    about(outside, BRIGHTBOOKS, "revoke", &token).await?.expect(200)?; // RFC 7009 §2.2: as good as revoked.
    Ok("200, revoked, 401".to_owned())
}

async fn introspected(outside: &Outside<'_>) -> anyhow::Result<String> {
    let token = outside.fresh_token(BRIGHTBOOKS, "accounts").await?;
    let before = about(outside, RESOURCE_SERVER, "introspect", &token).await?.expect(200)?.json()?;
    ensure!(before.get("active") == Some(&Value::Bool(true)), "before: {before}");
    let (_, claims) = read_token(&token)?;
    for claim in ["iss", "aud", "sub", "client_id", "scope", "exp", "iat", "jti", "cnf"] {
        ensure!(before.get(claim) == claims.get(claim), "{claim} differs: {before}");
    }
    about(outside, BRIGHTBOOKS, "revoke", &token).await?.expect(200)?;
    let after = about(outside, RESOURCE_SERVER, "introspect", &token).await?.expect(200)?.json()?;
    ensure!(after == json!({ "active": false }), "after: {after}");
    Ok(format!("active for {}; then {after}", text(&before, "/client_id")))
}

async fn others_token(outside: &Outside<'_>) -> anyhow::Result<String> {
    let token = outside.fresh_token(BRIGHTBOOKS, "accounts").await?;
    let attempt = about(outside, FARVIEW, "revoke", &token).await?;
    call(outside, &token).await?.expect(200)?;
    Ok(format!("{}, and the token works", attempt.status.as_u16()))
}

async fn rotated(outside: &Outside<'_>) -> anyhow::Result<String> {
    let keys = outside.demo.running.keys();
    let old_token = outside.fresh_token(BRIGHTBOOKS, "accounts").await?;
    let old = keys.current().kid().to_owned();
    keys.rotate(Urgency::AtOnce, SystemClock.now()).await?;
    let new = keys.current().kid().to_owned();
    ensure!(new != old, "the same key signs");
    call(outside, &old_token).await?.expect(200)?;
    let new_token = outside.fresh_token(BRIGHTBOOKS, "accounts").await?;
    let (header, _) = read_token(&new_token)?;
    ensure!(text(&header, "/kid") == new, "the new token's kid is {}", text(&header, "/kid"));
    call(outside, &new_token).await?.expect(200)?;
    let set = key_set(outside).await?;
    for kid in [&old, &new] {
        ensure!(list(&set, "/keys").iter().any(|key| text(key, "/kid") == kid), "{kid} is not published");
    }
    let short = |kid: &str| kid.chars().take(8).collect::<String>();
    Ok(format!("{}… to {}…, {} published", short(&old), short(&new), list(&set, "/keys").len()))
}
