//! Who stands outside the gateway: its clients with their certificates, and the gateway's own operator.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, ensure};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Client, ClientBuilder, RequestBuilder};
use serde_json::Value;

use super::reply::{Reply, text};
use crate::cli::demo::institutions::BANKS;
use crate::cli::demo::setup::Demo;
use crate::sandbox;
use crate::sandbox::pki::Identity;

/// Longest wait for one answer.
const ANSWER_MAX: Duration = Duration::from_secs(30);

pub(super) const BRIGHTBOOKS: &str = "brightbooks-mtls";
pub(super) const PAYROLL: &str = "brightbooks-payroll";
pub(super) const RESOURCE_SERVER: &str = "brightbooks-resource-server";
pub(super) const FARVIEW: &str = "farview-mtls";
pub(super) const SELF_SIGNED: &str = "brightbooks-self-signed";
/// No client, but a certificate of nobody's authority.
pub(super) const UNTRUSTED: &str = "untrusted";

pub(super) struct Outside<'a> {
    pub demo: &'a Demo,
    public: Client,
    certified: BTreeMap<&'static str, Client>,
    /// Speaks HTTP/1.1 only.
    old_fashioned: Client,
    /// The gateway's own identity, to ask an institution directly.
    gateway: Client,
    tokens: Mutex<HashMap<(String, String), String>>,
    /// Every token that was ever issued or forged here: none may turn up in a log.
    seen: Mutex<Vec<String>>,
}

impl<'a> Outside<'a> {
    pub fn new(demo: &'a Demo) -> anyhow::Result<Self> {
        let pki = &demo.pki;
        let mut certified = BTreeMap::new();
        for name in [BRIGHTBOOKS, PAYROLL, RESOURCE_SERVER, FARVIEW] {
            let identity = pki.clients.get(name).with_context(|| format!("{name} has no certificate"))?;
            certified.insert(name, client(&pki.server_ca, Some(identity))?.build()?);
        }
        for (name, identity) in [(SELF_SIGNED, &pki.self_signed_client), (UNTRUSTED, &pki.untrusted_client)] {
            certified.insert(name, client(&pki.server_ca, Some(identity))?.build()?);
        }
        Ok(Self {
            demo,
            public: client(&pki.server_ca, None)?.build()?,
            certified,
            old_fashioned: client(&pki.server_ca, pki.clients.get(BRIGHTBOOKS))?.http1_only().build()?,
            gateway: client(&pki.institution_ca.certificate, Some(&pki.gateway_client))?.build()?,
            tokens: Mutex::default(),
            seen: Mutex::default(),
        })
    }

    /// On the public listener, without a certificate.
    pub fn public(&self, method: Method, path: &str) -> RequestBuilder {
        self.public.request(method, format!("{}{path}", self.demo.public_url))
    }

    /// On the mutual-TLS listener, with this one's certificate; with none if nobody has this name.
    pub fn certified(&self, who: &str, method: Method, path: &str) -> RequestBuilder {
        let client = self.certified.get(who).unwrap_or(&self.public);
        client.request(method, format!("{}{path}", self.demo.mtls_url))
    }

    /// As Brightbooks, over HTTP/1.1.
    pub fn old_fashioned(&self, method: Method, path: &str) -> RequestBuilder {
        self.old_fashioned.request(method, format!("{}{path}", self.demo.mtls_url))
    }

    /// On the operations listener.
    pub async fn operations(&self, path: &str) -> anyhow::Result<Reply> {
        Reply::to(self.operations_request(Method::GET, path)).await
    }

    pub fn operations_request(&self, method: Method, path: &str) -> RequestBuilder {
        self.public.request(method, format!("http://{}{path}", self.demo.operations))
    }

    /// Past the gateway, with the gateway's certificate.
    pub async fn directly(&self, institution: &sandbox::Running, path: &str) -> anyhow::Result<Reply> {
        Reply::to(self.gateway.get(format!("{}{path}", institution.url()))).await
    }

    pub fn institution(&self, at: usize) -> anyhow::Result<&'a sandbox::Running> {
        self.demo.institutions.get(at).context("the institution does not run")
    }

    pub fn banks(&self) -> impl Iterator<Item = &'a sandbox::Running> {
        BANKS.iter().filter_map(|at| self.demo.institutions.get(*at))
    }

    /// How many requests the bank has ever received.
    pub fn bank_received(&self) -> u64 {
        self.banks().map(|bank| bank.received().total()).sum()
    }

    /// A token by mutual TLS; the same one for the same client and scope.
    pub async fn token(&self, who: &str, scope: &str) -> anyhow::Result<String> {
        let key = (who.to_owned(), scope.to_owned());
        let kept = self.tokens.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(token) = kept {
            return Ok(token);
        }
        let token = self.fresh_token(who, scope).await?;
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner).insert(key, token.clone());
        Ok(token)
    }

    /// A token by mutual TLS that nobody else has.
    pub async fn fresh_token(&self, who: &str, scope: &str) -> anyhow::Result<String> {
        let fields = [("grant_type", "client_credentials"), ("client_id", who), ("scope", scope)];
        let reply = Reply::to(form(self.certified(who, Method::POST, "/oauth/token"), &fields)).await?;
        let answer = reply.expect(200).with_context(|| format!("{who} got no token"))?.json()?;
        let token = text(&answer, "/access_token").to_owned();
        ensure!(!token.is_empty(), "the answer holds no access_token");
        self.note(&token);
        Ok(token)
    }

    /// Remembers a token as one that must not be logged.
    pub fn note(&self, token: &str) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).push(token.to_owned());
    }

    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// `/status` of the operations listener.
    pub async fn status(&self) -> anyhow::Result<Value> {
        self.operations("/status").await?.expect(200)?.json()
    }
}

fn client(ca: &Path, identity: Option<&Identity>) -> anyhow::Result<ClientBuilder> {
    let read = |path: &Path| fs::read(path).with_context(|| format!("{} cannot be read", path.display()));
    let builder = Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(&read(ca)?)?])
        .redirect(reqwest::redirect::Policy::none())
        .timeout(ANSWER_MAX)
        .no_proxy();
    let Some(identity) = identity else { return Ok(builder) };
    let pem = [read(&identity.certificate)?, read(&identity.key)?].concat();
    Ok(builder.identity(reqwest::Identity::from_pem(&pem)?))
}

/// `application/x-www-form-urlencoded`.
pub(super) fn form(request: RequestBuilder, fields: &[(&str, &str)]) -> RequestBuilder {
    let quote = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let pairs: Vec<String> = fields.iter().map(|(name, value)| format!("{}={}", quote(name), quote(value))).collect();
    request.header("content-type", "application/x-www-form-urlencoded").body(pairs.join("&"))
}

/// Header and claims of a compact JWS, unverified.
pub(super) fn read_token(token: &str) -> anyhow::Result<(Value, Value)> {
    let mut parts = token.split('.').map(|part| {
        let bytes = URL_SAFE_NO_PAD.decode(part).context("the token is not base64url")?;
        serde_json::from_slice(&bytes).context("the token is not JSON")
    });
    let header = parts.next().context("the token has no header")??;
    let claims = parts.next().context("the token has no claims")??;
    Ok((header, claims))
}

/// A version 4 UUID.
pub(super) fn fresh_id() -> String {
    uuid::Uuid::new_v4().to_string()
}
