//! What the checks stand on: the demo as a child process, `clients.json`, and the clients that it names.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clearway::jose::Algorithm;
use http::HeaderMap;
use serde_json::{Value, json};

use crate::harness::certificates::install_provider;
use crate::harness::secure::{JWT_BEARER, encode};
use crate::harness::token::{Key, now, proof, unique, with};

/// RFC 7636 §4.1.
pub const VERIFIER: &str = "conformance-verifier-of-more-than-43-characters-0123456789";

/// A demo under way. Ended by its process id.
pub struct Demo {
    child: Child,
}

impl Demo {
    pub fn start(state: &Path, more: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_clearway"))
            .args(["demo", "--free-ports", "--json", "--state"])
            .arg(state)
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("\"ready\":true"), "the demo does not say that it is ready: {line}");
        Self { child }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An answer, whole.
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
    /// Null if it is not JSON.
    pub body: Value,
}

impl Answer {
    pub async fn to(request: reqwest::RequestBuilder) -> Self {
        let response = request.send().await.unwrap_or_else(|error| panic!("{error:?}"));
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or_default();
        Self { status, headers, text, body }
    }

    /// A field; empty if it is absent.
    pub fn field(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap_or_default())
    }

    pub fn told(&self) -> String {
        let text: String = self.text.chars().take(300).collect();
        format!("{} {text} ({})", self.status, self.field("www-authenticate"))
    }

    pub fn text(&self, member: &str) -> &str {
        self.body[member].as_str().unwrap_or_default()
    }
}

/// Parameters of a form, in order.
pub type Parameters = Vec<(String, String)>;

/// Some replaced or added; an empty text takes one away.
pub fn changed(mut parameters: Parameters, changes: &[(&str, &str)]) -> Parameters {
    for (name, value) in changes {
        parameters.retain(|(other, _)| other != name);
        if !value.is_empty() {
            parameters.push(((*name).to_owned(), (*value).to_owned()));
        }
    }
    parameters
}

pub fn text(parameters: &Parameters) -> String {
    encode(&parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect::<Vec<_>>())
}

/// What a suite is given, and nothing else.
pub struct Suite {
    pub told: Value,
    pub metadata: Value,
    pub anonymous: reqwest::Client,
}

impl Suite {
    pub async fn read(state: &Path) -> Self {
        install_provider();
        let told: Value = serde_json::from_slice(&std::fs::read(state.join("clients.json")).unwrap()).unwrap();
        let anonymous = client(&told, None);
        let metadata = Answer::to(anonymous.get(told["discovery_url"].as_str().unwrap())).await.body;
        Self { told, metadata, anonymous }
    }

    pub fn issuer(&self) -> &str {
        self.told["issuer"].as_str().unwrap()
    }

    /// Whether a feature is there, as its metadata says.
    pub fn offers(&self, member: &str) -> bool {
        !self.metadata[member].is_null()
    }

    pub fn party(&self, id: &str) -> Party<'_> {
        let clients = self.told["clients"].as_array().unwrap();
        let told = clients.iter().find(|client| client["client_id"] == id);
        let told = told.unwrap_or_else(|| panic!("clients.json has no {id}")).clone();
        let algorithm = [Algorithm::Es256, Algorithm::Ps256, Algorithm::EdDsa]
            .into_iter()
            .find(|known| known.as_str() == told["signing_alg"])
            .unwrap();
        let key = Key::read(Path::new(told["private_key_file"].as_str().unwrap()), algorithm);
        let certificate = told.get("certificate_file").map(|_| &told);
        let http = client(&self.told, certificate);
        Party { suite: self, http, key: Arc::new(key), dpop: Key::generate(Algorithm::Es256), told }
    }

    /// A client of `--clients`, whose key the suite brought, and a certificate if it has one.
    pub fn own_party(&self, id: &str, key: &Arc<Key>, certificate: Option<Value>) -> Party<'_> {
        let clients = self.told["clients"].as_array().unwrap();
        let mut told = clients.iter().find(|client| client["client_id"] == id).unwrap().clone();
        if let Some(certificate) = certificate {
            told = with(told, certificate);
        }
        let http = client(&self.told, told.get("certificate_file").map(|_| &told));
        Party { suite: self, http, key: Arc::clone(key), dpop: Key::generate(Algorithm::Es256), told }
    }

    /// A client with one of the certificates that nobody should take.
    pub fn with_certificate(&self, kind: &str) -> reqwest::Client {
        client(&self.told, Some(&self.told["certificates"][kind]))
    }
}

fn client(told: &Value, certificate: Option<&Value>) -> reqwest::Client {
    let read = |value: &Value| std::fs::read(value.as_str().unwrap()).unwrap();
    let ca = reqwest::Certificate::from_pem(&read(&told["ca_file"])).unwrap();
    let builder = reqwest::Client::builder()
        .tls_certs_only([ca])
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_secs(30));
    let Some(told) = certificate else { return builder.build().unwrap() };
    let pem = [read(&told["certificate_file"]), read(&told["certificate_key_file"])].concat();
    builder.identity(reqwest::Identity::from_pem(&pem).unwrap()).build().unwrap()
}

/// One client of `clients.json`.
pub struct Party<'s> {
    pub suite: &'s Suite,
    pub http: reqwest::Client,
    /// Signs assertions and request objects.
    pub key: Arc<Key>,
    /// Signs proofs.
    pub dpop: Key,
    pub told: Value,
}

impl Party<'_> {
    pub fn id(&self) -> &str {
        self.told["client_id"].as_str().unwrap()
    }

    pub fn redirect_uri(&self) -> &str {
        self.told["redirect_uris"][0].as_str().unwrap_or("https://localhost:9999/none")
    }

    fn is(&self, member: &str, value: &str) -> bool {
        self.told[member] == value
    }

    /// Where this client finds an endpoint: among the aliases, if it has a certificate (RFC 8705 §5).
    pub fn endpoint(&self, name: &str) -> String {
        let metadata = &self.suite.metadata;
        let name = format!("{name}_endpoint");
        let found = match self.told.get("certificate_file") {
            Some(_) => &metadata["mtls_endpoint_aliases"][&name],
            None => &metadata[&name],
        };
        found.as_str().unwrap_or_else(|| panic!("there is no {name}")).to_owned()
    }

    pub fn assertion(&self, changes: Value) -> String {
        self.key.jwt("JWT", &with(self.assertion_claims(), changes))
    }

    pub fn assertion_claims(&self) -> Value {
        let now = now();
        json!({ "iss": self.id(), "sub": self.id(), "aud": self.suite.issuer(), "iat": now, "exp": now + 60, "jti": unique() })
    }

    /// What proves this client, in a form.
    pub fn proven(&self) -> Parameters {
        let mut parameters = vec![("client_id".to_owned(), self.id().to_owned())];
        if self.is("token_endpoint_auth_method", "private_key_jwt") {
            parameters.extend(asserted(&self.assertion(json!({}))));
        }
        parameters
    }

    /// A form to an endpoint, with proof of the client.
    pub async fn post(&self, endpoint: &str, parameters: &Parameters) -> Answer {
        let all = [self.proven(), parameters.clone()].concat();
        self.bare(endpoint, &text(&all)).await
    }

    /// The same with a DPoP proof, if this client's tokens are bound by one.
    pub async fn post_bound(&self, endpoint: &str, parameters: &Parameters) -> Answer {
        let all = [self.proven(), parameters.clone()].concat();
        let url = self.endpoint(endpoint);
        let mut request = self.http.post(&url).header("content-type", "application/x-www-form-urlencoded");
        if self.is("sender_constraint", "dpop") {
            request = request.header("dpop", proof(&self.dpop, "POST", &url, None, json!({})));
        }
        if let Some(secret) = self.told["client_secret"].as_str() {
            request = request.basic_auth(self.id(), Some(secret));
        }
        Answer::to(request.body(text(&all))).await
    }

    /// A body to an endpoint, as it is.
    pub async fn bare(&self, endpoint: &str, body: &str) -> Answer {
        let request = self.http.post(self.endpoint(endpoint));
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        Answer::to(request.body(body.to_owned())).await
    }

    /// The parameters of a sound authorization request.
    pub fn request(&self) -> Parameters {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, VERIFIER.as_bytes());
        let challenge = URL_SAFE_NO_PAD.encode(digest);
        let mut parameters = vec![
            ("response_type", "code"),
            ("redirect_uri", self.redirect_uri()),
            ("scope", "openid accounts"),
            ("state", "a-state"),
            ("nonce", "a-nonce"),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        if self.is("kind", "message_signing") || self.is("signing_alg", "PS256") || self.is("kind", "signed_response") {
            parameters.push(("response_mode", "jwt"));
        }
        parameters.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// Pushes the sound request with changes.
    pub async fn push(&self, changes: &[(&str, &str)]) -> Answer {
        self.post("pushed_authorization_request", &changed(self.request(), changes)).await
    }

    /// The claims of a sound request object.
    pub fn object_claims(&self) -> Value {
        let now = now();
        let mut claims = json!({
            "iss": self.id(), "aud": self.suite.issuer(), "client_id": self.id(), "nbf": now, "iat": now, "exp": now + 300,
            "jti": unique(),
        });
        for (name, value) in self.request() {
            claims[name] = value.into();
        }
        claims
    }

    /// Pushes a request object.
    pub async fn push_object(&self, object: &str) -> Answer {
        self.post("pushed_authorization_request", &vec![("request".to_owned(), object.to_owned())]).await
    }

    /// A token of the client's own, as the answer to its request.
    pub async fn own_token(&self, scope: &str) -> Answer {
        let parameters = [("grant_type", "client_credentials"), ("scope", scope)];
        self.post_bound("token", &changed(Vec::new(), &parameters)).await
    }

    /// Calls an API with a token, proven as it is bound.
    pub async fn call(&self, url: &str, token: &str) -> Answer {
        let request = if self.is("sender_constraint", "dpop") {
            let proof = proof(&self.dpop, "GET", url, Some(token), json!({}));
            self.http.get(url).header("authorization", format!("DPoP {token}")).header("dpop", proof)
        } else {
            self.http.get(url).bearer_auth(token)
        };
        Answer::to(request).await
    }
}

/// An assertion in a form.
pub fn asserted(assertion: &str) -> Parameters {
    [("client_assertion_type", JWT_BEARER), ("client_assertion", assertion)]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}
