//! Durations of requests by operation and status, within a budget of series.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

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
pub struct OperationMetrics {
    method: &'static str,
    operation: Box<str>,
    slots: Slots,
    shared: Arc<Shared>,
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
        let beyond = std::array::from_fn(|_| OnceLock::new());
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
            let own = |slot: usize, histogram: &Arc<Histogram>| !self.shared.is_beyond(slot, histogram);
            encode_slots(encoder, metrics.method, &metrics.operation, &metrics.slots, own)?;
        }
        encode_slots(encoder, "_OTHER", OTHER, &self.shared.beyond, |_, _| true)
    }
}

impl OperationMetrics {
    fn new(method: &'static str, operation: &str, shared: Arc<Shared>) -> Self {
        Self { method, operation: operation.into(), slots: std::array::from_fn(|_| OnceLock::new()), shared }
    }

    /// Looks where most requests will be noted.
    pub fn foresee(&self) -> bool {
        self.slots.first().and_then(OnceLock::get).is_some_and(|ok| ok.has_sum())
    }

    /// Notes a request of this operation; `status` is absent if no answer was sent.
    pub fn record(&self, status: Option<u16>, duration: Duration) {
        let slot = slot(status);
        if let Some(histogram) = self.slots.get(slot).map(|slot| slot.get_or_init(|| self.shared.grant(status))) {
            histogram.observe(duration);
        }
    }

    #[cfg(test)]
    pub fn count(&self, status: Option<u16>) -> u64 {
        self.slots[slot(status)].get().map_or(0, |histogram| histogram.count())
    }
}

impl Shared {
    /// A histogram of one's own, or the one of all that are beyond the budget.
    fn grant(&self, status: Option<u16>) -> Arc<Histogram> {
        let less = |left: usize| left.checked_sub(1);
        let granted = self.histograms_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        match (granted, self.beyond.get(slot(status))) {
            (Err(_), Some(beyond)) => Arc::clone(beyond.get_or_init(Arc::default)),
            (Ok(_), _) | (Err(_), None) => Arc::default(),
        }
    }

    fn is_beyond(&self, slot: usize, histogram: &Arc<Histogram>) -> bool {
        self.beyond.get(slot).and_then(OnceLock::get).is_some_and(|beyond| Arc::ptr_eq(beyond, histogram))
    }
}

impl Drop for OperationMetrics {
    fn drop(&mut self) {
        let held = self.slots.iter().enumerate().filter_map(|(slot, held)| held.get().map(|held| (slot, held)));
        let own = held.filter(|(slot, histogram)| !self.shared.is_beyond(*slot, histogram)).count();
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

fn encode_slots(
    encoder: &mut MetricEncoder<'_>,
    method: &str,
    operation: &str,
    slots: &Slots,
    wanted: impl Fn(usize, &Arc<Histogram>) -> bool,
) -> fmt::Result {
    let statuses = STATUSES.iter().map(ToString::to_string).chain(CLASSES.iter().map(ToString::to_string));
    for (slot, (status, histogram)) in statuses.zip(slots).enumerate() {
        let Some(histogram) = histogram.get().filter(|histogram| wanted(slot, histogram)) else { continue };
        let labels =
            [("http_request_method", method), ("http_response_status_code", status.as_str()), ("operation", operation)];
        histogram.encode(encoder.encode_family(&labels)?)?;
    }
    Ok(())
}
