//! Tokens that nobody issued, or that are not good any more: each refused at the door, with the right certificate.

use std::sync::Arc;

use anyhow::{Context, ensure};
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;
use serde_json::{Value, json};

use super::outside::{BRIGHTBOOKS, Outside, fresh_id, read_token};
use super::reading::ACCOUNTS;
use super::reply::Reply;
use super::report::Report;
use crate::domain::Clock;
use crate::jose::{Algorithm, SigningKey};
use crate::server::SystemClock;

pub(super) async fn walk(outside: &Outside<'_>, report: &mut Report) {
    report.theme("Forged and stale tokens");
    report.check("no token", "401 token-missing, a challenge without error", missing(outside)).await;
    report.check("a good one, forged the same way", "200: only what is wrong below refuses", good(outside)).await;
    let expected = "401 token-invalid, error=\"invalid_token\"";
    for (step, forge) in FORGERIES {
        report.check(step, expected, refused(outside, forge)).await;
    }
    report.check("a token in the query", "401 token-missing: it is not looked for there", in_query(outside)).await;
}

type Forge = fn(&Forger) -> anyhow::Result<String>;

const FORGERIES: [(&str, Forge); 10] = [
    ("scope added after signing", Forger::tampered),
    ("signature of another token", Forger::foreign_signature),
    ("a stranger's key", Forger::strange_key),
    ("expired", |forger| forger.with("exp", forger.now() - 60)),
    ("for another audience", |forger| forger.with("aud", "https://elsewhere.example")),
    ("of an unknown issuer", |forger| forger.with("iss", "https://elsewhere.example")),
    ("alg none", Forger::unsigned),
    ("HS256 with the public key as secret", Forger::public_secret),
    ("an assertion in place of an access token", Forger::other_type),
    ("not a token at all", |_| Ok("bm90LWEtdG9rZW4".to_owned())),
];

/// What is at hand for a forgery: a good token, its claims, and the key that signed it.
struct Forger {
    key: Arc<SigningKey>,
    good: String,
    claims: Value,
}

impl Forger {
    fn now(&self) -> i64 {
        SystemClock.now().secs()
    }

    fn sign(&self, typ: &str, claims: &Value) -> anyhow::Result<String> {
        Ok(self.key.sign(typ, claims)?)
    }

    fn claims_with(&self, claim: &str, value: impl Into<Value>) -> Value {
        let mut claims = self.claims.clone();
        if let Value::Object(members) = &mut claims {
            members.insert(claim.to_owned(), value.into());
        }
        claims
    }

    fn with(&self, claim: &str, value: impl Into<Value>) -> anyhow::Result<String> {
        self.sign("at+jwt", &self.claims_with(claim, value))
    }

    fn parts(&self) -> anyhow::Result<(&str, &str)> {
        let (head, signature) = self.good.rsplit_once('.').context("not a JWS")?;
        let (header, _) = head.split_once('.').context("not a JWS")?;
        Ok((header, signature))
    }

    fn tampered(&self) -> anyhow::Result<String> {
        let (header, signature) = self.parts()?;
        Ok(format!("{header}.{}.{signature}", encode(&self.claims_with("scope", "accounts payments"))))
    }

    fn foreign_signature(&self) -> anyhow::Result<String> {
        let other = self.with("jti", fresh_id())?;
        let (_, signature) = other.rsplit_once('.').context("not a JWS")?;
        let (head, _) = self.good.rsplit_once('.').context("not a JWS")?;
        Ok(format!("{head}.{signature}"))
    }

    fn strange_key(&self) -> anyhow::Result<String> {
        let (key, _) = SigningKey::generate(Algorithm::Es256)?;
        Ok(key.sign("at+jwt", &self.claims)?)
    }

    fn unsigned(&self) -> anyhow::Result<String> {
        Ok(format!("{}.{}.", encode(&json!({ "alg": "none", "typ": "at+jwt" })), encode(&self.claims)))
    }

    /// RFC 8725 §2.1: a verifier that lets the header choose takes the public key for a secret.
    fn public_secret(&self) -> anyhow::Result<String> {
        let header = json!({ "alg": "HS256", "typ": "at+jwt", "kid": self.key.kid() });
        let message = format!("{}.{}", encode(&header), encode(&self.claims));
        let secret = hmac::Key::new(hmac::HMAC_SHA256, self.key.public_jwk().to_string().as_bytes());
        let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&secret, message.as_bytes()));
        Ok(format!("{message}.{signature}"))
    }

    /// RFC 9068 §4: what is signed for another purpose is no access token.
    fn other_type(&self) -> anyhow::Result<String> {
        self.sign("JWT", &self.claims)
    }
}

fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

async fn forger(outside: &Outside<'_>) -> anyhow::Result<Forger> {
    let good = outside.token(BRIGHTBOOKS, "accounts").await?;
    let (_, claims) = read_token(&good)?;
    Ok(Forger { key: outside.demo.running.keys().current(), good, claims })
}

async fn call(outside: &Outside<'_>, token: &str) -> anyhow::Result<Reply> {
    outside.note(token);
    Reply::to(outside.certified(BRIGHTBOOKS, Method::GET, ACCOUNTS).bearer_auth(token)).await
}

async fn missing(outside: &Outside<'_>) -> anyhow::Result<String> {
    let reply = Reply::to(outside.certified(BRIGHTBOOKS, Method::GET, ACCOUNTS)).await?;
    expect_missing(&reply)
}

/// RFC 6750 §3.1: without a credential there is no error to name.
fn expect_missing(reply: &Reply) -> anyhow::Result<String> {
    reply.problem(401, "token-missing")?;
    reply.expect_in_field("www-authenticate", "resource_metadata=")?;
    let challenge = reply.field("www-authenticate");
    ensure!(!challenge.contains("error"), "the challenge names an error: {challenge}");
    Ok(challenge.to_owned())
}

async fn good(outside: &Outside<'_>) -> anyhow::Result<String> {
    let forger = forger(outside).await?;
    let token = forger.with("jti", fresh_id())?;
    call(outside, &token).await?.expect(200)?;
    Ok("200".to_owned())
}

async fn refused(outside: &Outside<'_>, forge: Forge) -> anyhow::Result<String> {
    let token = forge(&forger(outside).await?)?;
    let received = outside.bank_received();
    let reply = call(outside, &token).await?;
    reply.problem(401, "token-invalid")?;
    let metadata = format!("resource_metadata=\"{}/.well-known/oauth-protected-resource\"", outside.demo.mtls_url); // RFC 9728 §3.3
    for part in ["Bearer ", "error=\"invalid_token\"", &metadata] {
        reply.expect_in_field("www-authenticate", part)?;
    }
    ensure!(outside.bank_received() == received, "the bank received the request");
    let challenge = reply.field("www-authenticate");
    let description = challenge.split("error_description=\"").nth(1).and_then(|rest| rest.split('"').next());
    Ok(format!("401: {}", description.unwrap_or(challenge)))
}

async fn in_query(outside: &Outside<'_>) -> anyhow::Result<String> {
    let token = outside.token(BRIGHTBOOKS, "accounts").await?;
    let path = format!("{ACCOUNTS}?access_token={token}");
    let reply = Reply::to(outside.certified(BRIGHTBOOKS, Method::GET, &path)).await?;
    expect_missing(&reply)
}
