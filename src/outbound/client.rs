//! One HTTPS client for all URLs that strangers name.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, RequestBuilder, Url};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::resolver::{Forbidden, Judge, Lookup, LookupsFull, system};
use super::{OutboundError, OutboundSettings, SetupError, UrlError};

/// Longest URL, in bytes.
const URL_BYTES_MAX: usize = 2048;
/// From the look-up of the name to the last byte of the answer.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(5);
/// Of it, for the look-up, the connection and its handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Most exchanges at once, in all and with one host: a host that drips holds a few places, not all.
const EXCHANGES_MAX: usize = 64;
const EXCHANGES_PER_HOST_MAX: usize = 4;
/// Most header fields of an answer; the bytes of its head are bounded by the HTTP library (below 512 KiB).
const HEADERS_MAX: usize = 64;

/// An answer whose body is whole.
#[derive(Debug)]
pub struct Received {
    pub status: u16,
    pub body: Vec<u8>,
    /// `max-age` of `Cache-Control` (RFC 9111 §5.2.2.1); zero for `no-store` and `no-cache`.
    pub max_age: Option<Duration>,
}

/// The client. Cheap to clone by `Arc`; makes no connection until asked.
pub struct Outbound {
    client: Client,
    judge: Judge,
    places: Arc<Semaphore>,
    hosts: Arc<Mutex<HashMap<String, usize>>>, // Invariant: one entry per host with an exchange in work.
}

impl fmt::Debug for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbound").field("settings", &self.judge.settings).finish_non_exhaustive()
    }
}

impl Outbound {
    /// Reads the certificates now.
    pub fn new(settings: OutboundSettings) -> Result<Self, SetupError> {
        Self::with(settings, system(), TOTAL_TIMEOUT)
    }

    pub(super) fn with(settings: OutboundSettings, lookup: Lookup, timeout: Duration) -> Result<Self, SetupError> {
        let certificates = read_certificates(&settings)?;
        let judge = Judge::new(Arc::new(settings), lookup);
        let client = Client::builder()
            .https_only(true)
            .redirect(Policy::none()) // A redirect would be a second URL that nobody registered.
            .no_proxy() // The environment is read in `config` only.
            .referer(false)
            .dns_resolver(judge.clone())
            .timeout(timeout)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(0) // Strangers keep no connection of ours open, and no judgement outlives its use.
            .http1_only() // One small protocol suffices, and its answers are bounded by the constants above.
            .http1_max_headers(HEADERS_MAX)
            .tls_certs_merge(certificates)
            .build()
            .map_err(SetupError::Client)?;
        Ok(Self { client, judge, places: Arc::new(Semaphore::new(EXCHANGES_MAX)), hosts: Arc::default() })
    }

    /// Whether a URL may be named at all. Asks nobody: what its host name leads to is judged at each use.
    pub fn check_url(&self, text: &str) -> Result<(), UrlError> {
        self.parse(text).map(drop)
    }

    /// Fetches a document of at most `bytes_max` bytes. The status is the caller's to judge.
    pub async fn get(&self, url: &str, accept: &'static str, bytes_max: usize) -> Result<Received, OutboundError> {
        let url = self.parse(url).map_err(OutboundError::Url)?;
        let place = self.place(&url)?;
        let request = self.client.get(url).header(ACCEPT, accept);
        exchange(request, bytes_max, place).await
    }

    /// Posts JSON, for notifications (CIBA Core §10.2) and webhooks. `authorization` is marked as sensitive.
    pub async fn post_json(
        &self,
        url: &str,
        authorization: Option<HeaderValue>,
        json: Vec<u8>,
        bytes_max: usize,
    ) -> Result<Received, OutboundError> {
        let url = self.parse(url).map_err(OutboundError::Url)?;
        let place = self.place(&url)?;
        let mut request = self.client.post(url).header(CONTENT_TYPE, "application/json").body(json);
        if let Some(mut authorization) = authorization {
            authorization.set_sensitive(true);
            request = request.header(AUTHORIZATION, authorization);
        }
        exchange(request, bytes_max, place).await
    }

    /// Exchanges in work, for the metrics.
    pub fn in_work(&self) -> usize {
        EXCHANGES_MAX - self.places.available_permits()
    }

    fn parse(&self, text: &str) -> Result<Url, UrlError> {
        // The URL parser forgives white space and control characters at the ends and within; we do not.
        let tidy =
            text.len() <= URL_BYTES_MAX && text.bytes().all(|byte| (0x21..0x7f).contains(&byte) && byte != b'\\');
        let url = tidy.then(|| Url::parse(text).ok()).flatten().ok_or(UrlError::Malformed(URL_BYTES_MAX))?;
        if url.scheme() != "https" {
            return Err(UrlError::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() || authority(text).contains('@') {
            return Err(UrlError::Userinfo);
        }
        if url.fragment().is_some() {
            return Err(UrlError::Fragment);
        }
        let host = url.host_str().unwrap_or_default();
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
        if let Some(address) = address {
            self.judge.check_address(address).map_err(|Forbidden(address)| UrlError::Address(address))?;
        }
        let port = url.port_or_known_default().unwrap_or(0);
        let listed = self.judge.settings.allows_host(host)
            || address.is_some_and(|address| self.judge.settings.allows_address(address));
        if port != 443 && port < 1024 && !listed {
            return Err(UrlError::Port(port)); // Other services of the privileged range speak no HTTPS to strangers.
        }
        Ok(url)
    }

    fn place(&self, url: &Url) -> Result<Place, OutboundError> {
        let permit = Arc::clone(&self.places).try_acquire_owned().map_err(|_| OutboundError::Busy)?;
        let host = url.host_str().unwrap_or_default().trim_end_matches('.').to_owned();
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let held = hosts.entry(host.clone()).or_default();
        if *held >= EXCHANGES_PER_HOST_MAX {
            return Err(OutboundError::Busy);
        }
        *held += 1;
        Ok(Place { host, hosts: Arc::clone(&self.hosts), _permit: permit })
    }
}

/// What stands between `//` and the path, as it was written: an empty user name is gone from the parsed form.
fn authority(text: &str) -> &str {
    let rest = text.split_once("//").map_or("", |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

/// A place among the exchanges in work, given back by `Drop`.
struct Place {
    host: String,
    hosts: Arc<Mutex<HashMap<String, usize>>>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = hosts.get_mut(&self.host) {
            *held -= 1;
            if *held == 0 {
                hosts.remove(&self.host);
            }
        }
    }
}

async fn exchange(request: RequestBuilder, bytes_max: usize, place: Place) -> Result<Received, OutboundError> {
    let _place = place; // Held until the last byte was read.
    let mut response = request.send().await.map_err(failure)?;
    let status = response.status().as_u16();
    let max_age = max_age(response.headers());
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failure)? {
        if body.len() + chunk.len() > bytes_max {
            return Err(OutboundError::TooLong(bytes_max));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Received { status, body, max_age })
}

/// Finds our own reasons in the chain of the HTTP client's error.
fn failure(error: reqwest::Error) -> OutboundError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(at) = cause {
        if let Some(Forbidden(address)) = at.downcast_ref() {
            return OutboundError::Address(*address);
        }
        if at.is::<LookupsFull>() {
            return OutboundError::Busy;
        }
        cause = at.source();
    }
    if error.is_timeout() { OutboundError::Timeout } else { OutboundError::Transport(error.without_url()) }
}

fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let directives = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let mut age = None;
    for directive in directives.flat_map(|value| value.split(',')) {
        let (name, value) = directive.trim().split_once('=').unwrap_or((directive.trim(), ""));
        if name.eq_ignore_ascii_case("no-store") || name.eq_ignore_ascii_case("no-cache") {
            return Some(Duration::ZERO);
        }
        if name.eq_ignore_ascii_case("max-age") && age.is_none() {
            age = value.trim_matches('"').parse().ok().map(Duration::from_secs);
        }
    }
    age
}

fn read_certificates(settings: &OutboundSettings) -> Result<Vec<Certificate>, SetupError> {
    let mut all = Vec::new();
    for path in &settings.ca_files {
        let pem = std::fs::read(path).map_err(|error| SetupError::File(path.clone(), error))?;
        let certificates = Certificate::from_pem_bundle(&pem).map_err(|_| SetupError::Certificate(path.clone()))?;
        if certificates.is_empty() {
            return Err(SetupError::Certificate(path.clone()));
        }
        all.extend(certificates);
    }
    Ok(all)
}
