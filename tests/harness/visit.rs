//! Somebody to approve: users, a client of the code grant, and a browser without a screen that keeps its cookie.

use std::process::{Command, Stdio};
use std::sync::{LazyLock, Mutex};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::certificates::{client_identity, http};
use super::secure::{encode, form};
use super::{Backend, Gateway, Site, field};

pub const USERNAME: &str = "alice";
pub const PASSWORD: &str = "correct horse battery staple";
/// RFC 7636 §4.1, and its challenge.
pub const VERIFIER: &str = "a-verifier-of-the-fewest-characters-43-long";

/// The client of the code grant, known by its certificate.
pub const CLIENT: &str = "acme-tls";

/// What `clearway users hash` says, once for all runs.
fn hash() -> &'static str {
    static HASH: LazyLock<String> = LazyLock::new(|| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_clearway"))
            .args(["users", "hash"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), format!("{PASSWORD}\n").as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    });
    &HASH
}

/// A secure site whose client [`CLIENT`] has users to ask, and a redirect URI on `client`.
pub fn site(client: &Backend) -> Site {
    let site = Site::secure(client);
    let registered = format!(
        "    grant_types: [authorization_code, refresh_token, client_credentials]\n    redirect_uris: ['http://{}/cb', \
         'https://tpp.example/cb?kept=1']\n    name: '<b>Acme</b> & \"sons\"'\n    scopes: [openid, shop, vault]\n    \
         authentication: {{ method: tls_client_auth, subject_dn: 'CN=acme-tls",
        client.address
    );
    site.edit(
        "config/clients.yaml",
        "    scopes: [shop, vault]\n    authentication: { method: tls_client_auth, subject_dn: 'CN=acme-tls",
        &registered,
    );
    let users = format!(
        "version: 1\nusers:\n  - {{ subject: psu-1, username: {USERNAME}, password_hash: '{}', name: Alice Example }}\n",
        hash()
    );
    site.write("config/users.yaml", &users);
    site
}

/// The redirect URI on the client's own address.
pub fn redirect_uri(client: &Backend) -> String {
    format!("http://{}/cb", client.address)
}

/// A pushed request of [`CLIENT`]; `more` adds parameters or replaces them.
pub async fn push(gateway: &Gateway, redirect_uri: &str, more: &[(&str, &str)]) -> String {
    let (status, body) = answer_to_push(gateway, redirect_uri, more).await;
    assert_eq!(status, 201, "{body}");
    body["request_uri"].as_str().unwrap().to_owned()
}

/// The same, with whatever comes of it.
pub async fn answer_to_push(gateway: &Gateway, redirect_uri: &str, more: &[(&str, &str)]) -> (u16, Value) {
    let challenge = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, VERIFIER.as_bytes());
    let challenge = URL_SAFE_NO_PAD.encode(challenge);
    let mut fields = vec![
        ("client_id", CLIENT),
        ("response_type", "code"),
        ("redirect_uri", redirect_uri),
        ("scope", "openid shop"),
        ("state", "a state"),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ];
    fields.retain(|(name, _)| !more.iter().any(|(other, _)| name == other));
    fields.extend(more);
    let client = http(Some(client_identity(CLIENT)));
    super::json(form(gateway, "mtls", &client, "/oauth/par", &fields).await).await
}

/// The client's token request for a code.
pub async fn redeem(gateway: &Gateway, redirect_uri: &str, code: &str) -> (u16, Value) {
    let fields = [
        ("client_id", CLIENT),
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", redirect_uri),
        ("code_verifier", VERIFIER),
    ];
    let client = http(Some(client_identity(CLIENT)));
    super::json(form(gateway, "mtls", &client, "/oauth/token", &fields).await).await
}

/// Path and query of the authorization endpoint for a pushed request.
pub fn page_of(request_uri: &str) -> String {
    format!("/oauth/authorize?{}", encode(&[("client_id", CLIENT), ("request_uri", request_uri)]))
}

/// The parameters of a redirect.
pub fn parameters(location: &str) -> Value {
    let decode = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8().unwrap().into_owned();
    let query = location.split_once('?').map_or("", |(_, query)| query);
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (decode(name), json!(decode(value)))).collect::<serde_json::Map<_, _>>().into()
}

/// A browser that runs no scripts and shows nothing.
pub struct Reader<'g> {
    gateway: &'g Gateway,
    http: reqwest::Client,
    cookie: Mutex<Option<String>>,
}

impl<'g> Reader<'g> {
    pub fn new(gateway: &'g Gateway) -> Self {
        Self { gateway, http: http(None), cookie: Mutex::new(None) }
    }

    pub async fn get(&self, path: &str) -> reqwest::Response {
        self.send(self.http.get(self.gateway.https("public", path))).await
    }

    pub async fn post(&self, path: &str, fields: &[(&str, &str)]) -> reqwest::Response {
        let request = self.http.post(self.gateway.https("public", path)).body(encode(fields));
        self.send(request.header("content-type", "application/x-www-form-urlencoded")).await
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> reqwest::Response {
        let cookie = self.cookie.lock().unwrap().clone();
        let request = cookie.into_iter().fold(request, |request, cookie| request.header("cookie", cookie));
        let response = request.send().await.unwrap();
        if let Some((pair, _)) = field(&response, "set-cookie").split_once(';') {
            *self.cookie.lock().unwrap() = Some(pair.to_owned());
        }
        response
    }

    pub fn cookie(&self) -> Option<String> {
        self.cookie.lock().unwrap().clone()
    }

    /// Signs in, and returns the page that asks.
    pub async fn arrive(&self, request_uri: &str) -> String {
        let page = self.get(&page_of(request_uri)).await.text().await.unwrap();
        let more = [("action", "sign-in"), ("username", USERNAME), ("password", PASSWORD)];
        let after = self.post("/oauth/sign-in", &[&hidden(&page)[..], &owned(&more)[..]].concat().borrowed()).await;
        assert_eq!(after.status(), 303, "{}", after.text().await.unwrap());
        self.get(&page_of(request_uri)).await.text().await.unwrap()
    }
}

/// The hidden inputs of a page's form, in order.
pub fn hidden(page: &str) -> Vec<(String, String)> {
    let attribute = |tag: &str, name: &str| {
        let rest = tag.split_once(&format!("{name}=\"")).unwrap_or_else(|| panic!("no {name} in {tag}")).1;
        rest.split('"').next().unwrap().replace("&#38;", "&")
    };
    let inputs = page.split("<input type=\"hidden\"").skip(1).map(|rest| rest.split('>').next().unwrap());
    inputs.map(|tag| (attribute(tag, "name"), attribute(tag, "value"))).collect()
}

pub fn owned(fields: &[(&str, &str)]) -> Vec<(String, String)> {
    fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

pub trait Borrowed {
    fn borrowed(&self) -> Vec<(&str, &str)>;
}

impl Borrowed for Vec<(String, String)> {
    fn borrowed(&self) -> Vec<(&str, &str)> {
        self.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }
}
