//! Codes in bulk: a user who signs in once and approves whatever a client asks for.

use std::time::{Duration, Instant};

use anyhow::Context;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::endpoint::{Answer, Endpoint};
use super::issuance::Addresses;
use super::load::client;
use super::scene::{PASSWORD, REDIRECT_URI, Scene, USER, visiting};

/// RFC 7636 §4.1.
pub const VERIFIER: &str = "a-verifier-of-the-fewest-characters-43-long";
/// A code is good for a minute, so whoever needs many gets those that this time has room for.
const PREPARATION_MAX: Duration = Duration::from_secs(20);

/// A client that pushes requests, and the browser of its user.
pub struct Visitor {
    client: String,
    pushing: Endpoint,
    browser: Endpoint,
    cookie: String,
}

impl Visitor {
    /// One after the other: several at once look like guessing, and are slowed down.
    pub async fn sign_in(scene: &Scene, addresses: Addresses, number: usize) -> anyhow::Result<Self> {
        let pushing = Endpoint::connect(addresses.mtls, &client(scene, false, Some(number))?).await?;
        let browser = Endpoint::connect(addresses.public, &client(scene, false, None)?).await?;
        let mut visitor = Self { client: visiting(number), pushing, browser, cookie: String::new() };
        visitor.code().await?;
        Ok(visitor)
    }

    /// As many codes, or fewer if time runs out.
    pub async fn codes(&mut self, count: usize) -> anyhow::Result<Vec<String>> {
        let began = Instant::now();
        let mut codes = Vec::with_capacity(count);
        while codes.len() < count && began.elapsed() < PREPARATION_MAX {
            codes.push(self.code().await?);
        }
        Ok(codes)
    }

    /// RFC 9126 §2, then the pages, then RFC 6749 §4.1.2.
    pub async fn code(&mut self) -> anyhow::Result<String> {
        let challenge = BASE64_URL_SAFE_NO_PAD.encode(clearway::jose::sha256(VERIFIER.as_bytes()));
        let pushed = form(&[
            ("client_id", &self.client),
            ("response_type", "code"),
            ("redirect_uri", REDIRECT_URI),
            ("scope", "accounts"),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ]);
        let pushed = self.pushing.post("/oauth/par", "", &pushed).await?.expect(201)?;
        let handle = form(&[("client_id", &self.client), ("request_uri", &pushed.text("request_uri")?)]);
        let mut page = self.page(&handle).await?;
        if page.contains("id=\"sign-in\"") {
            let more = [("action", "sign-in"), ("username", USER), ("password", PASSWORD)];
            self.submit("/oauth/sign-in", &page, &more).await?;
            page = self.page(&handle).await?;
        }
        let over = self.submit("/oauth/decision", &page, &[("action", "approve")]).await?;
        let location = over.field("location").unwrap_or_default();
        let code = location.split(['?', '&']).find_map(|pair| pair.strip_prefix("code="));
        Ok(code.with_context(|| format!("no code in {location:?}"))?.to_owned())
    }

    async fn page(&mut self, handle: &str) -> anyhow::Result<String> {
        let page = self.browser.get(&format!("/oauth/authorize?{handle}"), &self.cookie).await?.expect(200)?;
        self.keep_cookie(&page);
        Ok(page.body)
    }

    /// Sends the form of a page on.
    async fn submit(&mut self, path: &str, page: &str, more: &[(&str, &str)]) -> anyhow::Result<Answer> {
        let fields = [&hidden(page)[..], more].concat();
        let answer = self.browser.post(path, &self.cookie, &form(&fields)).await?.expect(303)?;
        self.keep_cookie(&answer);
        Ok(answer)
    }

    fn keep_cookie(&mut self, answer: &Answer) {
        if let Some((pair, _)) = answer.field("set-cookie").and_then(|cookie| cookie.split_once(';')) {
            self.cookie = format!("cookie: {pair}\r\n");
        }
    }
}

/// `application/x-www-form-urlencoded`.
pub fn form(fields: &[(&str, &str)]) -> String {
    let quote = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
    let pairs: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={}", quote(value))).collect();
    pairs.join("&")
}

/// The hidden inputs of a page; nothing in these needs unescaping.
fn hidden(page: &str) -> Vec<(&str, &str)> {
    fn attribute<'p>(tag: &'p str, name: &str) -> Option<&'p str> {
        tag.split_once(&format!(" {name}=\""))?.1.split('"').next()
    }
    let inputs = page.split("<input type=\"hidden\"").skip(1);
    inputs.filter_map(|tag| Some((attribute(tag, "name")?, attribute(tag, "value")?))).collect()
}
