//! What has reached a back end? Counters, and the last requests, so that a test can prove what was sent and how often.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

use http::{HeaderMap, HeaderName, Method, Uri, header};
use serde::Serialize;

/// Most method and path pairs that are counted apart; past it requests count as [`OVERFLOW`].
const PATHS_MAX: usize = 4096;
/// How many whole request heads are kept.
const RECENT_MAX: usize = 256;
/// The path under which requests count once there are too many different ones.
pub const OVERFLOW: &str = "(other)";

/// One request's head as it arrived. The values of credentials are not kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReceivedRequest {
    pub method: String,
    /// Path and query as sent.
    pub target: String,
    /// `HTTP/1.1` or `HTTP/2.0`.
    pub version: String,
    pub headers: Vec<(String, String)>,
}

impl ReceivedRequest {
    /// The first field of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// The JSON of `GET /_sandbox/received`.
#[derive(Debug, Clone, Serialize)]
pub struct ReceivedReport {
    /// Without health checks.
    pub total: u64,
    pub counts: Vec<PathCount>,
    /// Oldest first.
    pub recent: Vec<ReceivedRequest>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PathCount {
    pub method: String,
    pub path: String,
    pub count: u64,
}

/// The counters of one back end.
#[derive(Debug, Default)]
pub struct Received(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    counts: BTreeMap<(String, String), u64>,
    recent: VecDeque<ReceivedRequest>,
}

impl Received {
    /// How often this method and exact path (without query) came.
    pub fn count(&self, method: &Method, path: &str) -> u64 {
        self.lock().counts.get(&(method.to_string(), path.to_owned())).copied().unwrap_or(0)
    }

    /// How many requests came, health checks apart.
    pub fn total(&self) -> u64 {
        self.lock().total()
    }

    /// The latest request, health checks apart.
    pub fn last(&self) -> Option<ReceivedRequest> {
        self.lock().recent.back().cloned()
    }

    pub fn report(&self) -> ReceivedReport {
        let counted = self.lock();
        let count = |((method, path), count): (&(String, String), &u64)| PathCount {
            method: method.clone(),
            path: path.clone(),
            count: *count,
        };
        ReceivedReport {
            total: counted.total(),
            counts: counted.counts.iter().map(count).collect(),
            recent: counted.recent.iter().cloned().collect(),
        }
    }

    pub fn clear(&self) {
        *self.lock() = Counted::default();
    }

    pub(super) fn record(&self, method: &Method, uri: &Uri, version: http::Version, headers: &HeaderMap) {
        let mut counted = self.lock();
        let mut key = (method.to_string(), uri.path().to_owned());
        if counted.counts.len() >= PATHS_MAX && !counted.counts.contains_key(&key) {
            key.1 = OVERFLOW.to_owned();
        }
        *counted.counts.entry(key).or_insert(0) += 1;
        if uri.path() == super::fault::HEALTH_PATH {
            return;
        }
        if counted.recent.len() >= RECENT_MAX {
            counted.recent.pop_front();
        }
        counted.recent.push_back(ReceivedRequest {
            method: method.to_string(),
            target: uri.path_and_query().map_or_else(|| uri.path().to_owned(), ToString::to_string),
            version: format!("{version:?}"),
            headers: headers.iter().map(|(name, value)| (name.to_string(), shown(name, value))).collect(),
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Counted {
    fn total(&self) -> u64 {
        self.counts.iter().filter(|((_, path), _)| path != super::fault::HEALTH_PATH).map(|(_, count)| count).sum()
    }
}

fn shown(name: &HeaderName, value: &http::HeaderValue) -> String {
    let secret = name == header::AUTHORIZATION || name == header::COOKIE || name.as_str().contains("api-key");
    if secret {
        return "(withheld)".to_owned();
    }
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(received: &Received, method: &Method, target: &str, headers: &HeaderMap) {
        received.record(method, &target.parse().unwrap(), http::Version::HTTP_11, headers);
    }

    #[test]
    fn requests_are_counted_by_method_and_path_and_the_last_is_kept() {
        let received = Received::default();
        let mut headers = HeaderMap::new();
        headers.insert("x-api-key", "geheim".parse().unwrap());
        headers.insert(header::AUTHORIZATION, "Bearer geheim".parse().unwrap());
        headers.insert("x-other", "visible".parse().unwrap());
        record(&received, &Method::POST, "/pay?x=1", &headers);
        record(&received, &Method::POST, "/pay", &headers);
        record(&received, &Method::GET, "/healthz", &HeaderMap::new());
        assert_eq!(received.count(&Method::POST, "/pay"), 2);
        assert_eq!(received.count(&Method::GET, "/pay"), 0);
        assert_eq!(received.count(&Method::GET, "/healthz"), 1);
        assert_eq!(received.total(), 2);
        let last = received.last().unwrap();
        assert_eq!((last.target.as_str(), last.header("X-Other")), ("/pay", Some("visible")));
        assert!(!format!("{:?}", received.report()).contains("geheim"), "credentials are not kept");
        received.clear();
        assert_eq!(received.total(), 0);
    }

    #[test]
    fn the_counters_do_not_grow_without_bound() {
        let received = Received::default();
        for n in 0..PATHS_MAX + 10 {
            record(&received, &Method::GET, &format!("/{n}"), &HeaderMap::new());
        }
        assert_eq!(received.count(&Method::GET, OVERFLOW), 10);
        let report = received.report();
        assert_eq!((report.counts.len(), report.recent.len()), (PATHS_MAX + 1, RECENT_MAX));
    }
}
