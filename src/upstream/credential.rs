//! With what do we authenticate to the back end? An API key, or a token by OAuth client credentials (RFC 6749 §4.4).
//!
//! Invariants: at most one token request is under way; a failing token endpoint is asked at most once per
//! [`FAILURE_PAUSE`] by requests; a token that still holds is used, whatever renewal says.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use aws_lc_rs::digest;
use http::{HeaderName, HeaderValue, header};
use oauth2::basic::{BasicClient, BasicTokenResponse, BasicTokenType};
use oauth2::{
    ClientId, ClientSecret, EndpointNotSet, EndpointSet, HttpRequest, HttpResponse, RequestTokenError, Scope,
    TokenResponse, TokenUrl,
};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::error::{CredentialError, PoolError, UrlFault};
use super::identity::Identity;
use super::settings::{CredentialSettings, PoolSettings};
use super::target::check_token_url;

/// Longest answer of a token endpoint.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Longest wait for one.
const ANSWER_TIMEOUT_MAX: Duration = Duration::from_secs(10);
/// After a failure, and after a token was discarded, requests do not ask again for so long.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);
const DISCARD_PAUSE: Duration = Duration::from_secs(5);
/// A token without `expires_in` is taken to hold this long (RFC 6749 §5.1 leaves it to us).
const LIFETIME_DEFAULT: Duration = Duration::from_secs(300);
const LIFETIME_MAX: Duration = Duration::from_secs(24 * 3600);
/// Renewal starts a fifth of the lifetime ahead of the end, at most this much.
const RENEW_AHEAD_MAX: Duration = Duration::from_secs(60);
/// A token is not sent any more so shortly before its end: it has to arrive.
const EXPIRY_MARGIN_MAX: Duration = Duration::from_secs(5);

/// Fields that a key may not displace.
const RESERVED: [HeaderName; 8] = [
    header::HOST,
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::UPGRADE,
    header::TE,
    header::VIA,
];

pub(super) enum Credential {
    None,
    ApiKey(HeaderName, HeaderValue),
    OAuth2(Arc<TokenSource>),
}

impl Credential {
    pub fn new(settings: &PoolSettings, identity: Option<&Identity>, old: Option<&Self>) -> Result<Self, PoolError> {
        match &settings.credential {
            CredentialSettings::None => Ok(Self::None),
            CredentialSettings::ApiKey { header, secret } => api_key(header, secret),
            CredentialSettings::OAuth2 { token_url, client_id, client_secret, scopes } => {
                let grant = Grant { token_url, client_id, client_secret, scopes };
                let key = grant.fingerprint(identity);
                if let Some(Self::OAuth2(source)) = old
                    && source.key == key
                {
                    return Ok(Self::OAuth2(source.clone()));
                }
                let wait = settings.timeouts.connect.saturating_add(settings.timeouts.read).min(ANSWER_TIMEOUT_MAX);
                Ok(Self::OAuth2(Arc::new(TokenSource::new(&grant, identity, wait, key)?)))
            }
        }
    }
}

fn api_key(header: &HeaderName, secret: &SecretString) -> Result<Credential, PoolError> {
    if RESERVED.contains(header) {
        return Err(PoolError::ApiKeyHeader(header.to_string()));
    }
    let mut value = HeaderValue::from_str(secret.expose_secret()).map_err(|_| PoolError::ApiKey)?;
    if value.is_empty() {
        return Err(PoolError::ApiKey);
    }
    value.set_sensitive(true);
    Ok(Credential::ApiKey(header.clone(), value))
}

struct Grant<'a> {
    token_url: &'a str,
    client_id: &'a str,
    client_secret: &'a SecretString,
    scopes: &'a [String],
}

impl Grant<'_> {
    /// Two grants with one fingerprint may share a token.
    fn fingerprint(&self, identity: Option<&Identity>) -> [u8; 32] {
        let mut hash = digest::Context::new(&digest::SHA256);
        let mut part = |bytes: &[u8]| {
            hash.update(&(bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        part(self.token_url.as_bytes());
        part(self.client_id.as_bytes());
        part(self.client_secret.expose_secret().as_bytes());
        part(identity.map_or(&[][..], |i| &i.fingerprint));
        self.scopes.iter().for_each(|scope| part(scope.as_bytes()));
        let mut key = [0; 32];
        key.copy_from_slice(hash.finish().as_ref());
        key
    }
}

struct Token {
    value: HeaderValue,
    renew_at: Instant,
    expires_at: Instant,
}

#[derive(Default)]
struct Flight {
    failed: Option<(Instant, CredentialError)>,
    discarded: Option<Instant>,
}

type Client = BasicClient<EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointSet>;

/// The cached token of one grant.
pub(super) struct TokenSource {
    key: [u8; 32],
    oauth: Client,
    scopes: Vec<Scope>,
    http: reqwest::Client,
    wait: Duration,
    token: ArcSwapOption<Token>,
    /// Held while a token request is under way: single flight.
    flight: Mutex<Flight>,
    /// Whether anybody used the token since it came; one that nobody uses is not renewed.
    used: AtomicBool,
}

/// When a token request is worthwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    Now,
    Ahead,
}

impl TokenSource {
    fn new(grant: &Grant<'_>, identity: Option<&Identity>, wait: Duration, key: [u8; 32]) -> Result<Self, PoolError> {
        let url_error = |fault| PoolError::Url { url: grant.token_url.to_owned(), fault };
        let target = check_token_url(grant.token_url).map_err(url_error)?;
        if target.tls && identity.is_none() {
            return Err(PoolError::TlsMissing(grant.token_url.to_owned()));
        }
        if let Some(bad) = grant.scopes.iter().find(|scope| crate::domain::Scope::parse(scope).is_err()) {
            return Err(PoolError::Scope(bad.clone()));
        }
        let url = TokenUrl::new(grant.token_url.to_owned()).map_err(|_| url_error(UrlFault::Malformed))?;
        let oauth = BasicClient::new(ClientId::new(grant.client_id.to_owned()))
            .set_client_secret(ClientSecret::new(grant.client_secret.expose_secret().to_owned()))
            .set_token_uri(url);
        Ok(Self {
            key,
            oauth,
            scopes: grant.scopes.iter().cloned().map(Scope::new).collect(),
            http: http_client(identity, wait)?,
            wait,
            token: ArcSwapOption::empty(),
            flight: Mutex::default(),
            used: AtomicBool::new(true),
        })
    }

    /// The `Authorization` value of a token that holds; asks for one if there is none.
    pub async fn authorization(self: &Arc<Self>, now: Instant) -> Result<HeaderValue, CredentialError> {
        self.used.store(true, Ordering::Relaxed);
        if let Some(value) = self.current(now) {
            return Ok(value);
        }
        // A task of its own, so that a caller that goes away does not undo the request for those who wait with it.
        let source = self.clone();
        tokio::spawn(async move { source.refresh(Need::Now, now).await })
            .await
            .map_err(|_| CredentialError::Unreachable)?
    }

    /// The back end refused this value with a 401. Answers whether a fresh token is worth a try.
    pub async fn refused(&self, presented: &HeaderValue, now: Instant) -> bool {
        let mut flight = self.flight.lock().await;
        if self.token.load().as_ref().is_none_or(|token| token.value != *presented) {
            return true; // Somebody else renewed it meanwhile.
        }
        if flight.discarded.is_some_and(|at| now.saturating_duration_since(at) < DISCARD_PAUSE) {
            return false; // The last fresh one was refused as well: it is not the token's age.
        }
        flight.discarded = Some(now);
        self.token.store(None);
        true
    }

    /// Renews ahead if due. Answers how long to wait before looking again.
    pub async fn renew(&self, now: Instant) -> Duration {
        if let Some(token) = self.token.load_full()
            && now < token.renew_at
        {
            return token.renew_at.saturating_duration_since(now);
        }
        if !self.used.load(Ordering::Relaxed) {
            return RENEW_AHEAD_MAX; // Nobody asked since: the next one who does fetches it.
        }
        match self.refresh(Need::Ahead, now).await {
            Ok(_) => {
                self.used.store(false, Ordering::Relaxed);
                let renew_at = self.token.load().as_ref().map(|token| token.renew_at);
                renew_at.map_or(FAILURE_PAUSE, |at| at.saturating_duration_since(now)).max(FAILURE_PAUSE)
            }
            Err(error) => {
                tracing::warn!(token_url = %self.oauth.token_uri().as_str(), %error, "no new token");
                FAILURE_PAUSE
            }
        }
    }

    fn current(&self, now: Instant) -> Option<HeaderValue> {
        let token = self.token.load();
        token.as_ref().filter(|token| now < token.expires_at).map(|token| token.value.clone())
    }

    async fn refresh(&self, need: Need, now: Instant) -> Result<HeaderValue, CredentialError> {
        let mut flight = self.flight.lock().await;
        if let Some(token) = self.token.load().as_ref()
            && now < token.expires_at
            && (need == Need::Now || now < token.renew_at)
        {
            return Ok(token.value.clone()); // The flight that we waited for brought it.
        }
        if let Some((at, error)) = flight.failed
            && now.saturating_duration_since(at) < FAILURE_PAUSE
        {
            return Err(error);
        }
        match timeout(self.wait, self.request(now)).await.unwrap_or(Err(CredentialError::TimedOut)) {
            Ok(token) => {
                let value = token.value.clone();
                self.token.store(Some(Arc::new(token)));
                flight.failed = None;
                Ok(value)
            }
            Err(error) => {
                flight.failed = Some((now, error));
                Err(error)
            }
        }
    }

    async fn request(&self, asked: Instant) -> Result<Token, CredentialError> {
        let http = |request: HttpRequest| exchange(self.http.clone(), request);
        let grant = self.oauth.exchange_client_credentials().add_scopes(self.scopes.iter().cloned());
        let answer = grant.request_async(&http).await.map_err(|error| match error {
            RequestTokenError::ServerResponse(_) => CredentialError::Refused,
            RequestTokenError::Request(ExchangeError::Http(error)) if error.is_timeout() => CredentialError::TimedOut,
            RequestTokenError::Request(ExchangeError::Http(_)) => CredentialError::Unreachable,
            RequestTokenError::Request(_) | RequestTokenError::Parse(..) | RequestTokenError::Other(_) => {
                CredentialError::Malformed
            }
        })?;
        read_token(&answer, asked)
    }
}

fn read_token(answer: &BasicTokenResponse, asked: Instant) -> Result<Token, CredentialError> {
    if *answer.token_type() != BasicTokenType::Bearer {
        return Err(CredentialError::Malformed); // RFC 6749 §7.1: never use a type that one does not understand.
    }
    let text = format!("Bearer {}", answer.access_token().secret());
    let mut value = HeaderValue::from_str(&text).map_err(|_| CredentialError::Malformed)?;
    value.set_sensitive(true);
    let lifetime = answer.expires_in().unwrap_or(LIFETIME_DEFAULT).min(LIFETIME_MAX);
    let renew_after = lifetime.saturating_sub((lifetime / 5).min(RENEW_AHEAD_MAX));
    let expires_after = lifetime.saturating_sub((lifetime / 10).min(EXPIRY_MARGIN_MAX));
    Ok(Token { value, renew_at: asked + renew_after, expires_at: asked + expires_after })
}

/// Speaks to the token endpoint with the pool's CAs and client certificate (RFC 8705 where it asks for one).
fn http_client(identity: Option<&Identity>, wait: Duration) -> Result<reqwest::Client, PoolError> {
    let builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none()) // RFC 9700 §4.12: credentials must not follow a redirect.
        .no_proxy()
        .connect_timeout(wait)
        .timeout(wait);
    let builder = match identity {
        Some(identity) => builder.tls_backend_preconfigured(identity.config.clone()),
        None => builder.tls_certs_only([]),
    };
    builder.build().map_err(PoolError::TokenClient)
}

#[derive(Debug, thiserror::Error)]
enum ExchangeError {
    #[error("the request failed")]
    Http(#[source] reqwest::Error),
    #[error("the answer is larger than {ANSWER_BYTES_MAX} bytes")]
    TooLarge,
    #[error("the answer cannot be represented")]
    Answer(#[source] http::Error),
}

/// Carries the crate's request over our own client, with a bound on the answer.
async fn exchange(client: reqwest::Client, request: HttpRequest) -> Result<HttpResponse, ExchangeError> {
    let failed = |error: reqwest::Error| ExchangeError::Http(error.without_url());
    let request = reqwest::Request::try_from(request).map_err(failed)?;
    let mut answer = client.execute(request).await.map_err(failed)?;
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(failed)? {
        if body.len().saturating_add(chunk.len()) > ANSWER_BYTES_MAX {
            return Err(ExchangeError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    let mut response = http::Response::builder().status(answer.status());
    if let Some(content_type) = answer.headers().get(header::CONTENT_TYPE) {
        response = response.header(header::CONTENT_TYPE, content_type);
    }
    response.body(body).map_err(ExchangeError::Answer)
}
