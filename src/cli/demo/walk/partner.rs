//! A partner of `clients.json`, which is all that it knows: it proves itself by assertions, its requests by its own key,
//! and sends a user's browser to the pages.

use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;
use percent_encoding::percent_decode_str;
use reqwest::RequestBuilder;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::clients::ASSERTION_TYPE;
use super::outside::{Outside, form, fresh_id};
use super::reply::{Reply, list, text};
use crate::domain::Clock;
use crate::jose::{Algorithm, SigningKey, sha256};
use crate::server::SystemClock;

/// RFC 7636 §4.1.
const VERIFIER: &str = "a-verifier-of-the-fewest-characters-43-long";

/// What an outsider is given, and what the metadata says.
pub(super) struct Told {
    pub clients: Value,
    metadata: Value,
}

impl Told {
    pub async fn read(outside: &Outside<'_>) -> anyhow::Result<Self> {
        let clients = serde_json::from_slice(&fs::read(outside.demo.state.join("clients.json"))?)?;
        let metadata = Reply::to(outside.public(Method::GET, "/.well-known/openid-configuration")).await?;
        Ok(Self { clients, metadata: metadata.expect(200)?.json()? })
    }

    fn client(&self, id: &str) -> anyhow::Result<&Value> {
        let client = list(&self.clients, "/clients").iter().find(|client| text(client, "/client_id") == id);
        client.with_context(|| format!("clients.json has no {id}"))
    }

    /// The path of an endpoint, as the metadata names it.
    pub fn path<'t>(&'t self, outside: &Outside<'_>, endpoint: &str) -> anyhow::Result<&'t str> {
        let url = text(&self.metadata, &format!("/{endpoint}_endpoint"));
        url.strip_prefix(&outside.demo.public_url).with_context(|| format!("{endpoint}_endpoint is {url:?}"))
    }
}

/// A client that authenticates with `private_key_jwt` and binds its tokens with DPoP.
pub(super) struct Partner<'a> {
    pub outside: &'a Outside<'a>,
    pub told: &'a Told,
    pub id: String,
    redirect_uri: String,
    key: SigningKey,
    /// Signs proofs.
    pub proving: SigningKey,
}

impl<'a> Partner<'a> {
    pub fn of_the_suite(outside: &'a Outside<'a>, told: &'a Told, id: &str) -> anyhow::Result<Self> {
        let client = told.client(id)?;
        let pem = SecretString::from(fs::read_to_string(Path::new(text(client, "/private_key_file")))?);
        let key = SigningKey::from_pem(Algorithm::Es256, &pem)?;
        Self::new(outside, told, id, text(client, "/redirect_uris/0"), key)
    }

    pub fn new(
        outside: &'a Outside<'a>,
        told: &'a Told,
        id: &str,
        redirect_uri: &str,
        key: SigningKey,
    ) -> anyhow::Result<Self> {
        let (proving, _) = SigningKey::generate(Algorithm::Es256)?;
        Ok(Self { outside, told, id: id.to_owned(), redirect_uri: redirect_uri.to_owned(), key, proving })
    }

    /// A form to an endpoint, with a fresh assertion (RFC 7523 §2.2) and a fresh proof (RFC 9449 §5).
    pub fn request(&self, endpoint: &str, fields: &[(&str, &str)]) -> anyhow::Result<RequestBuilder> {
        let (now, issuer) = (SystemClock.now().secs(), &self.outside.demo.public_url);
        let claims = json!({
            "iss": self.id, "sub": self.id, "aud": issuer, "jti": fresh_id(), "iat": now, "exp": now + 60,
        });
        let assertion = self.key.sign("JWT", &claims)?;
        self.outside.note(&assertion);
        let own = [
            ("client_id", self.id.as_str()),
            ("client_assertion_type", ASSERTION_TYPE),
            ("client_assertion", &assertion),
        ];
        let path = self.told.path(self.outside, endpoint)?;
        let request = form(self.outside.public(Method::POST, path), &[&own[..], fields].concat());
        Ok(request.header("dpop", self.proof("POST", path, None)?))
    }

    pub async fn post(&self, endpoint: &str, fields: &[(&str, &str)]) -> anyhow::Result<Reply> {
        Reply::to(self.request(endpoint, fields)?).await
    }

    /// Tokens, none of which may ever be logged.
    pub async fn tokens(&self, fields: &[(&str, &str)]) -> anyhow::Result<Value> {
        let answer =
            self.post("token", fields).await?.expect(200)?.expect_field("cache-control", "no-store")?.json()?;
        ensure!(text(&answer, "/token_type") == "DPoP", "token_type is {:?}", text(&answer, "/token_type"));
        for token in ["/access_token", "/refresh_token", "/id_token"].map(|name| text(&answer, name)) {
            if !token.is_empty() {
                self.outside.note(token);
            }
        }
        Ok(answer)
    }

    /// RFC 9449 §4.2; with `ath` where a token is sent.
    fn proof(&self, method: &str, path: &str, token: Option<&str>) -> anyhow::Result<String> {
        let htu = format!("{}{path}", self.outside.demo.public_url);
        let mut claims = json!({ "jti": fresh_id(), "htm": method, "htu": htu, "iat": SystemClock.now().secs() });
        if let (Some(token), Value::Object(members)) = (token, &mut claims) {
            members.insert("ath".into(), URL_SAFE_NO_PAD.encode(sha256(token.as_bytes())).into());
        }
        Ok(self.proving.prove(&claims)?)
    }

    /// A call of an API with a token of ours and a proof (RFC 9449 §7.1).
    pub async fn call(&self, path: &str, token: &str) -> anyhow::Result<Reply> {
        let request = self.outside.public(Method::GET, path).header("authorization", format!("DPoP {token}"));
        Reply::to(request.header("dpop", self.proof("GET", path, Some(token))?)).await
    }

    /// Pushes an authorization request (RFC 9126 §2) and returns the path of its page.
    pub async fn push(&self, more: &[(&str, &str)]) -> anyhow::Result<String> {
        let challenge = URL_SAFE_NO_PAD.encode(sha256(VERIFIER.as_bytes()));
        let mut fields = vec![
            ("response_type", "code"),
            ("redirect_uri", &self.redirect_uri),
            ("scope", "openid accounts"),
            ("state", &self.id),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        fields.retain(|(name, _)| !more.iter().any(|(other, _)| other == name));
        fields.extend(more);
        let reply = self.post("pushed_authorization_request", &fields).await?;
        let answer = reply.expect(201)?.json()?;
        let uri = text(&answer, "/request_uri").replace(':', "%3A");
        ensure!(!uri.is_empty(), "no request_uri: {answer}");
        Ok(format!("{}?client_id={}&request_uri={uri}", self.told.path(self.outside, "authorization")?, self.id))
    }

    /// The code of an authorization response, which must be ours and say who gave it (RFC 9207 §2).
    pub fn code(&self, location: &str) -> anyhow::Result<String> {
        let said = location.strip_prefix(&self.redirect_uri).with_context(|| format!("sent to {location:?}"))?;
        let said = said.trim_start_matches('?').split('&').filter_map(|pair| pair.split_once('='));
        let said: Vec<_> = said.map(|(name, value)| (name, percent_decode_str(value).decode_utf8_lossy())).collect();
        let parameter = |name: &str| said.iter().find(|(found, _)| *found == name).map_or("", |(_, value)| value);
        ensure!(parameter("iss") == self.outside.demo.public_url, "iss is {:?}", parameter("iss"));
        ensure!(parameter("state") == self.id, "state is {:?}", parameter("state"));
        ensure!(!parameter("code").is_empty(), "no code in {location}");
        self.outside.note(parameter("code"));
        Ok(parameter("code").to_owned())
    }

    pub async fn redeem(&self, code: &str) -> anyhow::Result<Value> {
        self.tokens(&[
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &self.redirect_uri),
            ("code_verifier", VERIFIER),
        ])
        .await
    }

    /// Tokens that a user approved, by the whole way.
    pub async fn approved(&self, more: &[(&str, &str)]) -> anyhow::Result<Value> {
        let page = self.push(more).await?;
        let mut browser = Browser::new(self.outside);
        browser.open(&page).await?;
        browser.sign_in(self.told).await?;
        let location = browser.decide("approve").await?;
        self.redeem(&self.code(&location)?).await
    }
}

/// A browser that reads forms, keeps one cookie, and runs nothing.
pub(super) struct Browser<'a> {
    outside: &'a Outside<'a>,
    cookie: String,
    /// Where it is, and what it shows.
    url: String,
    pub page: String,
}

impl<'a> Browser<'a> {
    pub fn new(outside: &'a Outside<'a>) -> Self {
        Self { outside, cookie: String::new(), url: String::new(), page: String::new() }
    }

    async fn send(&mut self, request: RequestBuilder) -> anyhow::Result<Reply> {
        let reply = Reply::to(request.header("cookie", &self.cookie)).await?;
        if let Some((pair, _)) = reply.field("set-cookie").split_once(';') {
            pair.clone_into(&mut self.cookie);
        }
        Ok(reply)
    }

    pub async fn open(&mut self, path: &str) -> anyhow::Result<Reply> {
        let reply = self.send(self.outside.public(Method::GET, path)).await?;
        path.clone_into(&mut self.url);
        self.page = reply.expect(200)?.text();
        Ok(reply)
    }

    /// Sends the page's form with these fields. Answers where it leads: never with a page (FAPI 2.0 §5.3.2.2-10).
    async fn submit(&mut self, more: &[(&str, &str)]) -> anyhow::Result<String> {
        let action = attribute(&self.page, "<form", "action").context("the page has no form")?;
        let path = self.url.split('?').next().and_then(|path| path.rsplit_once('/')).map_or("", |(folder, _)| folder);
        let hidden = hidden(&self.page);
        let hidden: Vec<_> = hidden.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let request = form(self.outside.public(Method::POST, &format!("{path}/{action}")), &[&hidden, more].concat());
        let reply = self.send(request).await?;
        Ok(reply.expect(303)?.field("location").to_owned())
    }

    /// As the first user of `clients.json`. The page of the same request follows.
    pub async fn sign_in(&mut self, told: &Told) -> anyhow::Result<()> {
        let (username, password) = (text(&told.clients, "/users/0/username"), text(&told.clients, "/users/0/password"));
        self.submit(&[("action", "sign-in"), ("username", username), ("password", password)]).await?;
        let again = self.url.clone();
        self.open(&again).await?;
        ensure!(self.page.contains("id=\"approval\""), "signed in, and not asked to approve");
        Ok(())
    }

    /// Presses a button of the approval page. Answers where the browser is sent.
    pub async fn decide(&mut self, action: &str) -> anyhow::Result<String> {
        self.submit(&[("action", action)]).await
    }
}

fn attribute(page: &str, tag: &str, name: &str) -> Option<String> {
    let tag = page.split_once(tag)?.1.split('>').next()?;
    let value = tag.split_once(&format!(" {name}=\""))?.1.split('"').next()?;
    Some(value.replace("&#38;", "&"))
}

fn hidden(page: &str) -> Vec<(String, String)> {
    let inputs = page.split("<input type=\"hidden\"").skip(1);
    inputs.filter_map(|rest| Some((attribute(rest, "", "name")?, attribute(rest, "", "value")?))).collect()
}
