//! A user approves: from the pushed request to the end of the grant, as a partner and a browser see it.

use anyhow::{Context, ensure};
use http::Method;
use serde_json::{Value, json};

use super::clients::key_set;
use super::outside::{Outside, read_token};
use super::partner::{Browser, Partner, Told};
use super::reading::ACCOUNTS;
use super::reply::{Reply, list, text};
use super::report::Report;
use crate::jose::{Algorithm, KeySet, UnverifiedToken};

const CLIENT: &str = "suite-dpop-1";
const RESOURCE_SERVER: &str = "suite-resource-server";
/// Of a signed introspection answer (RFC 9701 §5).
const SIGNED: &str = "application/token-introspection+jwt";

pub(super) async fn walk(outside: &Outside<'_>, told: &Told, report: &mut Report) -> anyhow::Result<()> {
    report.theme("Authorization by a user");
    let mut flow = Flow {
        partner: Partner::of_the_suite(outside, told, CLIENT)?,
        server: Partner::of_the_suite(outside, told, RESOURCE_SERVER)?,
        browser: Browser::new(outside),
        page: String::new(),
        code: String::new(),
        tokens: Value::Null,
    };
    report.check("a pushed request (PKCE, private_key_jwt)", "201, a request_uri of ours", flow.push()).await;
    let expected = "a form without scripts, framed and stored by nobody";
    report.check("the sign-in page", expected, flow.arrive()).await;
    report.check("the user signs in", "303, then a page that names client and scopes", flow.sign_in()).await;
    report.check("the user approves", "303 to the client: code, iss, state", flow.approve()).await;
    let expected = "200, cnf.jkt of our key, refresh and ID token";
    report.check("the code is exchanged with a proof", expected, flow.redeem()).await;
    report.check("a call with a proof of the key", "200, the bank's accounts", flow.call()).await;
    report.check("the same token as bearer", "401 token-binding", flow.as_bearer()).await;
    let expected = "active, bound to our key, with the user's sub";
    report.check("introspection by a resource server", expected, flow.introspect()).await;
    report.check("introspection, signed", "a JWT by a published key, for who asked", flow.introspect_signed()).await;
    report.check("a refresh", "200, another token, the same refresh token", flow.refresh()).await;
    let expected = "the very next call 401, refresh invalid_grant";
    report.check("the refresh token is revoked", expected, flow.revoke()).await;
    Ok(())
}

/// One authorization, as far as it has come.
struct Flow<'a> {
    partner: Partner<'a>,
    server: Partner<'a>,
    browser: Browser<'a>,
    page: String,
    code: String,
    tokens: Value,
}

impl Flow<'_> {
    fn token(&self) -> &str {
        text(&self.tokens, "/access_token")
    }

    async fn push(&mut self) -> anyhow::Result<String> {
        self.page = self.partner.push(&[]).await?;
        Ok(self.page.split("request_uri=").nth(1).unwrap_or_default().replace("%3A", ":"))
    }

    async fn arrive(&mut self) -> anyhow::Result<String> {
        let reply = self.browser.open(&self.page).await?;
        reply.expect_field("x-frame-options", "DENY")?.expect_field("referrer-policy", "no-referrer")?;
        reply.expect_field("cache-control", "no-store")?;
        reply.expect_in_field("content-security-policy", "frame-ancestors 'none'")?;
        reply.expect_in_field("set-cookie", "; Path=/; Secure; HttpOnly; SameSite=Lax")?;
        let page = &self.browser.page;
        ensure!(page.contains("id=\"sign-in\""), "no sign-in form");
        ensure!(!page.contains("<script"), "the page runs a script");
        Ok("200, a form, no script".to_owned())
    }

    async fn sign_in(&mut self) -> anyhow::Result<String> {
        self.browser.sign_in(self.partner.told).await?;
        let page = &self.browser.page;
        let name = page.split_once("id=\"client-name\">").and_then(|(_, rest)| rest.split('<').next());
        let name = name.context("the page names no client")?;
        for scope in ["openid", "accounts"] {
            ensure!(page.contains(&format!("<li>{scope}</li>")), "the page does not say {scope}");
        }
        Ok(format!("{name} asks for openid, accounts"))
    }

    async fn approve(&mut self) -> anyhow::Result<String> {
        let location = self.browser.decide("approve").await?;
        self.code = self.partner.code(&location)?;
        Ok("303, code, iss, state".to_owned())
    }

    async fn redeem(&mut self) -> anyhow::Result<String> {
        self.tokens = self.partner.redeem(&self.code).await?;
        let (_, claims) = read_token(self.token())?;
        let key = self.partner.proving.kid(); // Its thumbprint (RFC 7638).
        ensure!(text(&claims, "/cnf/jkt") == key, "cnf is {:?}", claims.get("cnf"));
        ensure!(!text(&self.tokens, "/refresh_token").is_empty(), "no refresh token");
        let (_, user) = read_token(text(&self.tokens, "/id_token"))?;
        ensure!(text(&user, "/aud") == self.partner.id, "the ID token is for {:?}", user.get("aud"));
        ensure!(text(&user, "/sub") == text(&claims, "/sub"), "two users: {user} and {claims}");
        Ok(format!("{}, jkt {}…", text(&claims, "/sub"), key.chars().take(8).collect::<String>()))
    }

    async fn call(&mut self) -> anyhow::Result<String> {
        let reply = self.partner.call(ACCOUNTS, self.token()).await?;
        Ok(format!("200, {} accounts", list(&reply.expect(200)?.json()?, "/Data/Account").len()))
    }

    /// RFC 9449 §7.2.
    async fn as_bearer(&mut self) -> anyhow::Result<String> {
        let outside = self.partner.outside;
        let received = outside.bank_received();
        let reply = Reply::to(outside.public(Method::GET, ACCOUNTS).bearer_auth(self.token())).await?;
        reply.problem(401, "token-binding")?;
        ensure!(outside.bank_received() == received, "the bank received the request");
        Ok("401 token-binding".to_owned())
    }

    async fn introspect(&mut self) -> anyhow::Result<String> {
        let answer = self.server.post("introspection", &[("token", self.token())]).await?.expect(200)?.json()?;
        self.expect_active(&answer)
    }

    fn expect_active(&self, said: &Value) -> anyhow::Result<String> {
        let (_, claims) = read_token(self.token())?;
        ensure!(said.get("active") == Some(&Value::Bool(true)), "not active: {said}");
        for claim in ["sub", "client_id", "scope", "cnf"] {
            ensure!(said.get(claim) == claims.get(claim), "{claim} differs: {said}");
        }
        Ok(format!("{} for {}", text(said, "/sub"), text(said, "/client_id")))
    }

    async fn introspect_signed(&mut self) -> anyhow::Result<String> {
        let request = self.server.request("introspection", &[("token", self.token())])?;
        let reply = Reply::to(request.header("accept", SIGNED)).await?;
        let answer = reply.expect(200)?.expect_field("content-type", SIGNED)?.text();
        let keys = key_set(self.partner.outside).await?;
        let keys = KeySet::parse(&keys, &[Algorithm::Es256, Algorithm::Ps256, Algorithm::EdDsa])?.keys;
        keys.verify(UnverifiedToken::parse(&answer)?)?;
        let (header, claims) = read_token(&answer)?;
        ensure!(text(&header, "/typ") == "token-introspection+jwt", "typ is {:?}", text(&header, "/typ"));
        ensure!(text(&claims, "/aud") == RESOURCE_SERVER, "aud is {:?}", claims.get("aud"));
        self.expect_active(claims.get("token_introspection").context("no token_introspection")?)
    }

    async fn refresh(&mut self) -> anyhow::Result<String> {
        let kept = text(&self.tokens, "/refresh_token").to_owned();
        let fresh = self.partner.tokens(&[("grant_type", "refresh_token"), ("refresh_token", &kept)]).await?;
        // FAPI 2.0 §5.3.2.1-9: not rotated.
        ensure!(["", &kept].contains(&text(&fresh, "/refresh_token")), "the refresh token was rotated");
        ensure!(text(&fresh, "/access_token") != self.token(), "the same access token");
        self.partner.call(ACCOUNTS, text(&fresh, "/access_token")).await?.expect(200)?;
        Ok("200, and the new token works".to_owned())
    }

    /// RFC 7009 §2.1: what was issued from it ends too.
    async fn revoke(&mut self) -> anyhow::Result<String> {
        let refresh_token = text(&self.tokens, "/refresh_token");
        self.partner.post("revocation", &[("token", refresh_token)]).await?.expect(200)?;
        self.partner.call(ACCOUNTS, self.token()).await?.problem(401, "token-invalid")?;
        let fields = [("grant_type", "refresh_token"), ("refresh_token", refresh_token)];
        let refused = self.partner.post("token", &fields).await?.expect(400)?.json()?;
        ensure!(text(&refused, "/error") == "invalid_grant", "{refused}");
        let asked = self.server.post("introspection", &[("token", self.token())]).await?.expect(200)?.json()?;
        ensure!(asked == json!({ "active": false }), "introspection says {asked}");
        Ok("401, invalid_grant, inactive".to_owned())
    }
}
