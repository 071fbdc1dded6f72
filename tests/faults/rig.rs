//! Callers that know what they sent, and the books that must agree with them.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::token::{outside_claims, outside_key, unique, with};
use crate::harness::wire::Wire;
use crate::harness::{Backend, Reply, Site};

const ITEM: &str = r#"{"name":"tea","quantity":1}"#;

/// What a request is, and so how it may travel: streamed or held, safe to send again or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Read,
    /// Idempotent, its body held.
    Replace,
    /// Not idempotent, its body held.
    Create,
    /// Not idempotent, its body streamed.
    Note,
}

pub const KINDS: [Kind; 4] = [Kind::Read, Kind::Replace, Kind::Create, Kind::Note];

impl Kind {
    /// Method, path below the API, type and body.
    const fn shape(self) -> (&'static str, &'static str, &'static str, &'static str) {
        match self {
            Self::Read => ("GET", "items", "", ""),
            Self::Replace => ("PUT", "items/1", "application/json", ITEM),
            Self::Create => ("POST", "items", "application/json", ITEM),
            Self::Note => ("POST", "notes", "text/plain", "a note"),
        }
    }

    pub const fn is_idempotent(self) -> bool {
        matches!(self, Self::Read | Self::Replace)
    }
}

/// How a request ended, as its caller sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// A whole answer; `code` is that of a problem document, empty otherwise.
    Answered { status: u16, code: String },
    /// The connection ended, or could not be had, without a whole answer.
    Broken,
    /// Nothing came for as long as the caller was willing to wait.
    Silence,
}

/// A request and its end.
#[derive(Debug, Clone)]
pub struct Sent {
    pub id: String,
    pub api: &'static str,
    pub kind: Kind,
    pub end: End,
    pub took: Duration,
    pub ended: Instant,
}

impl Sent {
    pub fn status(&self) -> u16 {
        match self.end {
            End::Answered { status, .. } => status,
            End::Broken | End::Silence => 0,
        }
    }
}

/// One connection's worth of caller: asks one thing after the other, and connects again when it has to.
pub struct Caller {
    address: SocketAddr,
    token: String,
    /// Tells the back end what to do.
    pub mode: &'static str,
    pub patience: Duration,
    wire: Option<Wire>,
}

impl Caller {
    pub fn new(address: SocketAddr) -> Self {
        Self::with_token(address, &token("acme", "app"))
    }

    pub fn with_token(address: SocketAddr, token: &str) -> Self {
        Self { address, token: token.to_owned(), mode: "", patience: Duration::from_secs(25), wire: None }
    }

    pub async fn call(&mut self, api: &'static str, kind: Kind) -> Sent {
        let (id, began) = (unique(), Instant::now());
        let request = self.request(&id, api, kind);
        let end = match tokio::time::timeout(self.patience, self.exchange(&request)).await {
            Ok(Some((status, code))) => End::Answered { status, code },
            Ok(None) => End::Broken,
            Err(_) => End::Silence,
        };
        if !matches!(end, End::Answered { .. }) {
            self.wire = None;
        }
        Sent { id, api, kind, end, took: began.elapsed(), ended: Instant::now() }
    }

    fn request(&self, id: &str, api: &str, kind: Kind) -> String {
        let (method, path, media, body) = kind.shape();
        let mut head = format!(
            "{method} /{api}/{path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nX-Fapi-Interaction-Id: {id}\r\n",
            self.token
        );
        if !self.mode.is_empty() {
            head += &format!("X-Mode: {}\r\n", self.mode);
        }
        if !body.is_empty() {
            head += &format!("Content-Type: {media}\r\nContent-Length: {}\r\n", body.len());
        }
        format!("{head}\r\n{body}")
    }

    async fn exchange(&mut self, request: &str) -> Option<(u16, String)> {
        if self.wire.is_none() {
            self.wire = Some(Wire::try_connect(self.address).await.ok()?);
        }
        let wire = self.wire.as_mut()?;
        // What cannot be written may have been answered all the same.
        let _ = wire.try_send(request).await;
        let answer = wire.try_answer().await?;
        let problem = answer.field("content-type") == Some("application/problem+json");
        let code = if problem { answer.code() } else { String::new() };
        assert!(problem || answer.status < 300, "a failure that is no problem document: {answer:?}");
        assert_eq!(answer.field("www-authenticate").is_some(), answer.status == 401, "{answer:?}");
        if answer.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
            self.wire = None;
        }
        Some((answer.status, code))
    }
}

/// A token for both APIs.
pub fn token(tenant: &str, client: &str) -> String {
    let claims = with(
        outside_claims(tenant, client),
        json!({ "scope": "shop depot", "exp": crate::harness::token::now() + 3600 }),
    );
    outside_key().jwt("at+jwt", &claims)
}

/// One call of each kind to each API, all at once, each on a connection of its own.
pub async fn round(address: SocketAddr, mode: &'static str, apis: &[&'static str]) -> Vec<Sent> {
    let calls = apis.iter().flat_map(|api| KINDS.map(|kind| (*api, kind))).map(|(api, kind)| async move {
        let mut caller = Caller::new(address);
        caller.mode = mode;
        caller.call(api, kind).await
    });
    futures_util::future::join_all(calls).await
}

/// Calls one after the other until this one succeeds.
pub async fn until_well(address: SocketAddr, api: &'static str, kind: Kind) -> Vec<Sent> {
    let mut sent = Vec::new();
    let well = async {
        let mut caller = Caller::new(address);
        while sent.last().is_none_or(|last: &Sent| last.status() != 200) {
            sent.push(caller.call(api, kind).await);
        }
    };
    crate::harness::within("the recovery", well).await;
    sent
}

/// Two institutions: `store` behind the API `shop`, `depot` behind `depot`.
pub fn site(store: &[String], depot: &str) -> Site {
    let site = Site::plain_urls(store);
    let pool = |id: &str, urls: &str, timeouts: &str| {
        format!(
            "  - id: {id}\n    name: {id}\n    data_jurisdictions: [GB]\n    backends:\n      - environment: sandbox\n        urls: [{urls}]\n        breaker: {{ failures: 4, open_for: 300ms }}\n        timeouts: {timeouts}\n"
        )
    };
    let store: Vec<String> = store.iter().map(|url| format!("'{url}'")).collect();
    let store = pool("store", &store.join(", "), "{ connect: 1s, read: 1s, write: 1s, total: 2s }");
    let depot = pool("depot", &format!("'{depot}'"), "{ connect: 5s, read: 10s, write: 10s, total: 20s }");
    site.write("config/institutions.yaml", &format!("version: 1\ninstitutions:\n{store}{depot}"));
    site.append(
        "config/apis.yaml",
        "  - id: depot\n    institution: depot\n    document: ../openapi/shop.yaml\n    base_path: /depot\n    upstream_base_path: /v1\n    operations:\n      note: { request_contract: off }\n      upload: { request_contract: off }\n      putUpload: { request_contract: off }\n",
    );
    site.edit("config/products.yaml", "['shop.*']", "['shop.*', 'depot.*']");
    site
}

/// `timeouts.total` of `store`.
pub const DEADLINE: Duration = Duration::from_secs(2);
/// What a machine that has other things to do may add to a deadline.
pub const SLACK: Duration = Duration::from_secs(6);

/// Answers everything, and waits for `gate` first if it is told to.
pub async fn gated(gate: &std::sync::Arc<tokio::sync::Semaphore>) -> Backend {
    let gate = std::sync::Arc::clone(gate);
    Backend::start(move |seen| match seen.field("x-mode") {
        Some("gate") => Reply::Wait(std::sync::Arc::clone(&gate), Box::new(Reply::json("{}"))),
        _ => Reply::json("{}"),
    })
    .await
}

/// How often the back ends saw each request, by interaction id.
pub fn seen(backends: &[&Backend]) -> HashMap<String, usize> {
    let mut times = HashMap::new();
    for seen in backends.iter().flat_map(|backend| backend.seen()) {
        if let Some(id) = seen.field("x-fapi-interaction-id") {
            *times.entry(id.to_owned()).or_insert(0) += 1;
        }
    }
    times
}

/// How many records each request has in the audit file.
pub fn recorded(site: &Site) -> HashMap<String, usize> {
    let mut times = HashMap::new();
    for line in site.json_lines("state/audit.jsonl").iter().filter(|line| line["kind"] == "request") {
        *times.entry(line["interaction_id"].as_str().unwrap().to_owned()).or_insert(0) += 1;
    }
    times
}

/// How many requests ended how.
pub fn ends(sent: &[Sent]) -> BTreeMap<String, usize> {
    let mut ends = BTreeMap::new();
    for sent in sent {
        let end = match &sent.end {
            End::Answered { status, code } if code.is_empty() => status.to_string(),
            End::Answered { status, code } => format!("{status} {code}"),
            End::Broken => "broken off".to_owned(),
            End::Silence => "silence".to_owned(),
        };
        *ends.entry(end).or_insert(0) += 1;
    }
    ends
}

/// What callers, back ends and the audit file say of the same requests, compared and printed. `recorded` is `None`
/// where the audit file cannot be whole.
pub fn balance(name: &str, sent: &[Sent], backends: &[&Backend], recorded: Option<&HashMap<String, usize>>) {
    let seen = seen(backends);
    let times = |sent: &Sent| seen.get(&sent.id).copied().unwrap_or(0);
    let (mut once, mut again) = (0, 0);
    for sent in sent {
        let times = times(sent);
        once += usize::from(times == 1);
        again += usize::from(times > 1);
        let most = if sent.kind.is_idempotent() { 3 } else { 1 };
        assert!(times <= most, "{name}: {sent:?} reached back ends {times} times");
        assert!(sent.status() != 200 || times > 0, "{name}: answered by nobody: {sent:?}");
        let nothing_sent = matches!(&sent.end, End::Answered { code, .. } if code == "backend-unavailable");
        assert!(!nothing_sent || sent.kind.is_idempotent() || times == 0, "{name}: {sent:?} was sent all the same");
        if let Some(recorded) = recorded {
            let records = recorded.get(&sent.id).copied().unwrap_or(0);
            assert!(records <= 1, "{name}: {records} records of {sent:?}");
            // Who got no answer may not have got through; whoever got one, or got as far as a back end, is on record.
            // A header section that did not arrive in time was no request yet: it is recorded as a connection.
            let known = matches!(&sent.end, End::Answered { status, .. } if *status != 408) || times > 0;
            assert!(records == 1 || !known, "{name}: no record of {sent:?}");
        }
    }
    let records = recorded.map(|recorded| sent.iter().filter(|sent| recorded.contains_key(&sent.id)).count());
    let slowest = sent.iter().map(|sent| sent.took).max().unwrap_or_default();
    println!(
        "{name}: {} sent, ended {:?}; back ends saw {once} once, {again} again (idempotent), {} never; {records:?} on record; slowest {slowest:?}",
        sent.len(),
        ends(sent),
        sent.len() - once - again,
    );
}
