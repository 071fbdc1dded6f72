//! Durations of requests by operation and status, within a budget of series.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use branches::prefetch_write_data;
use prometheus_client::encoding::{EncodeMetric, MetricEncoder};

use super::capped::OTHER;
use super::histogram::{Histogram, LINES};
use crate::domain::OperationId;

/// Most lines of the exposition that request durations take up; beyond, operations are measured together as `other`.
/// A gateway with a hundred operations that answer with five statuses each stays well below.
pub const SERIES_MAX: usize = 20_000;

/// Statuses with a series of their own. Others are counted by class: a back end may answer with any number, and must
/// not be able to fill our memory with that.
const STATUSES: [u16; 37] = [
    200, 201, 202, 204, 206, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 406, 408, 409, 410, 412, 413, 414,
    415, 417, 421, 422, 423, 424, 428, 429, 431, 500, 501, 502, 503, 504,
];
const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "none"];
const SLOTS: usize = STATUSES.len() + CLASSES.len();

type Slots = [OnceLock<Arc<Histogram>>; SLOTS];

/// What is measured of one operation. The snapshot holds it; when no snapshot does, its series are given up.
///
/// Most operations answer with one status nearly always. Which it is and how often lie together: of ten thousand
/// operations no cache holds it all.
#[repr(C, align(64))]
pub struct OperationMetrics {
    first: OnceLock<First>,
    /// Of the first status, if the budget had room for it.
    histogram: Histogram,
    /// Of all other statuses.
    others: OnceLock<Box<Slots>>,
    method: &'static str,
    operation: Box<str>,
    shared: Arc<Shared>,
}

/// The status that came first.
struct First {
    slot: usize,
    /// It has a series of its own.
    granted: bool,
}

/// The budget, and where those are measured that are beyond it.
pub(super) struct Shared {
    histograms_left: AtomicUsize,
    beyond: Slots,
}

/// All operations that a snapshot holds.
pub(super) struct Operations {
    shared: Arc<Shared>,
    known: Mutex<HashMap<OperationId, Weak<OperationMetrics>>>,
}

impl Operations {
    pub fn new(series_max: usize) -> Self {
        let histograms_left = AtomicUsize::new(series_max / LINES);
        let beyond = slots();
        Self { shared: Arc::new(Shared { histograms_left, beyond }), known: Mutex::default() }
    }

    /// The metrics of an operation. While anybody holds them, everybody gets the same.
    pub fn find(&self, id: &OperationId, method: &'static str) -> Arc<OperationMetrics> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(metrics) = known.get(id).and_then(Weak::upgrade).filter(|metrics| metrics.method == method) {
            return metrics;
        }
        // Looked through when there is no room but by growing: on average once per entry, not once per operation.
        if known.len() == known.capacity() {
            known.retain(|_, metrics| metrics.strong_count() > 0);
        }
        let metrics = Arc::new(OperationMetrics::new(method, id.as_str(), Arc::clone(&self.shared)));
        known.insert(id.clone(), Arc::downgrade(&metrics));
        metrics
    }

    /// The metrics of what is no operation: requests that found no route.
    pub fn unrouted(&self) -> OperationMetrics {
        OperationMetrics::new("_OTHER", "none", Arc::clone(&self.shared))
    }

    pub fn encode(&self, encoder: &mut MetricEncoder<'_>, unrouted: &OperationMetrics) -> fmt::Result {
        let known: Vec<Arc<OperationMetrics>> = {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.values().filter_map(Weak::upgrade).collect()
        };
        let unrouted = [unrouted];
        for metrics in known.iter().map(|metrics| &**metrics).chain(unrouted) {
            encode(encoder, metrics.method, &metrics.operation, metrics.own())?;
        }
        encode(encoder, "_OTHER", OTHER, kept(&self.shared.beyond).map(|(slot, histogram)| (slot, &**histogram)))
    }
}

impl OperationMetrics {
    fn new(method: &'static str, operation: &str, shared: Arc<Shared>) -> Self {
        let (first, others) = (OnceLock::new(), OnceLock::new());
        Self { first, histogram: Histogram::default(), others, method, operation: operation.into(), shared }
    }

    /// Asks the memory for where most requests are noted.
    pub fn foresee(&self) {
        prefetch_write_data::<_, 0>(self);
    }

    /// Notes a request of this operation; `status` is absent if no answer was sent.
    pub fn record(&self, status: Option<u16>, duration: Duration) {
        let slot = slot(status);
        let first = self.first.get_or_init(|| First { slot, granted: self.shared.grant() });
        match (first.slot == slot, first.granted) {
            (true, true) => self.histogram.observe(duration),
            (true, false) => self.shared.observe_beyond(slot, duration),
            (false, _) => self.observe_other(slot, duration),
        }
    }

    fn observe_other(&self, slot: usize, duration: Duration) {
        let others = self.others.get_or_init(|| Box::new(slots()));
        if let Some(histogram) = others.get(slot).map(|other| other.get_or_init(|| self.shared.histogram(slot))) {
            histogram.observe(duration);
        }
    }

    /// What it has series of its own for.
    fn own(&self) -> impl Iterator<Item = (usize, &Histogram)> {
        let first = self.first.get().filter(|first| first.granted).map(|first| (first.slot, &self.histogram));
        let others = self.others.get().into_iter().flat_map(|others| kept(others));
        let own = others.filter(|(slot, histogram)| !self.shared.is_beyond(*slot, histogram));
        first.into_iter().chain(own.map(|(slot, histogram)| (slot, &**histogram)))
    }

    #[cfg(test)]
    pub fn count(&self, status: Option<u16>) -> u64 {
        let wanted = slot(status);
        self.own().find(|(slot, _)| *slot == wanted).map_or(0, |(_, histogram)| histogram.count())
    }
}

impl Shared {
    /// Takes room for one more histogram from the budget, if there is any.
    fn grant(&self) -> bool {
        let less = |left: usize| left.checked_sub(1);
        self.histograms_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    /// A histogram of one's own, or the one of all that are beyond the budget.
    fn histogram(&self, slot: usize) -> Arc<Histogram> {
        match self.beyond.get(slot) {
            Some(beyond) if !self.grant() => Arc::clone(beyond.get_or_init(Arc::default)),
            Some(_) | None => Arc::default(),
        }
    }

    fn observe_beyond(&self, slot: usize, duration: Duration) {
        if let Some(beyond) = self.beyond.get(slot) {
            beyond.get_or_init(Arc::default).observe(duration);
        }
    }

    fn is_beyond(&self, slot: usize, histogram: &Arc<Histogram>) -> bool {
        self.beyond.get(slot).and_then(OnceLock::get).is_some_and(|beyond| Arc::ptr_eq(beyond, histogram))
    }
}

impl Drop for OperationMetrics {
    fn drop(&mut self) {
        let own = self.own().count();
        self.shared.histograms_left.fetch_add(own, Ordering::Relaxed);
    }
}

fn slot(status: Option<u16>) -> usize {
    let Some(status) = status else { return SLOTS - 1 };
    STATUSES.binary_search(&status).unwrap_or_else(|_| {
        let class = usize::from(status / 100).clamp(1, 5) - 1;
        STATUSES.len() + class
    })
}

fn slots() -> Slots {
    std::array::from_fn(|_| OnceLock::new())
}

/// The slots that are in use.
fn kept(slots: &Slots) -> impl Iterator<Item = (usize, &Arc<Histogram>)> {
    slots.iter().enumerate().filter_map(|(slot, held)| held.get().map(|held| (slot, held)))
}

fn encode<'h>(
    encoder: &mut MetricEncoder<'_>,
    method: &str,
    operation: &str,
    histograms: impl Iterator<Item = (usize, &'h Histogram)>,
) -> fmt::Result {
    for (slot, histogram) in histograms {
        let status = status_text(slot);
        let labels =
            [("http_request_method", method), ("http_response_status_code", &status), ("operation", operation)];
        histogram.encode(encoder.encode_family(&labels)?)?;
    }
    Ok(())
}

/// What a slot counts: a status or a class of them.
fn status_text(slot: usize) -> String {
    match (STATUSES.get(slot), slot.checked_sub(STATUSES.len()).and_then(|class| CLASSES.get(class))) {
        (Some(status), _) => status.to_string(),
        (None, Some(class)) => (*class).to_owned(),
        (None, None) => OTHER.to_owned(),
    }
}
