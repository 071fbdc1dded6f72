//! Families of metrics with one label and a bound on its values.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// The value that stands for all those for which there is no room.
pub(super) const OTHER: &str = "other";

/// Longest label value, in bytes; a longer one is counted as [`OTHER`].
const VALUE_LEN_MAX: usize = 128;

/// A counter.
#[derive(Debug, Default)]
pub struct Tally(AtomicU64);

impl Tally {
    pub fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub fn add_many(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl TypedMetric for Tally {
    const TYPE: MetricType = MetricType::Counter;
}

impl EncodeMetric for Tally {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        encoder.encode_counter::<NoLabelSet, _, u64>(&self.count(), None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

/// Up to `max` metrics by label value, and one more for the rest.
#[derive(Debug)]
pub(super) struct Capped<M> {
    label: &'static str,
    max: usize,
    known: RwLock<BTreeMap<Box<str>, Arc<M>>>,
    other: Arc<M>,
}

impl<M: Default> Capped<M> {
    pub fn new(label: &'static str, max: usize) -> Self {
        Self { label, max, known: RwLock::default(), other: Arc::default() }
    }

    /// The metric of this value, made if there is room. Keep it where it is used often.
    pub fn find(&self, value: &str) -> Arc<M> {
        if let Some(known) = self.known.read().unwrap_or_else(PoisonError::into_inner).get(value) {
            return Arc::clone(known);
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if value.len() > VALUE_LEN_MAX || (known.len() >= self.max && !known.contains_key(value)) {
            return Arc::clone(&self.other);
        }
        Arc::clone(known.entry(value.into()).or_default())
    }

    /// Encodes one part of each metric under the family's label, and under the labels that `parts` adds.
    pub fn encode_parts<P: EncodeMetric>(
        &self,
        encoder: &mut MetricEncoder<'_>,
        parts: impl Fn(&M) -> Vec<(Option<(&'static str, &'static str)>, &P)>,
    ) -> fmt::Result {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let other = (known.len() >= self.max).then_some((OTHER, &self.other));
        let values = known.iter().map(|(value, metric)| (&**value, metric));
        for (value, metric) in values.chain(other) {
            for (more, part) in parts(metric) {
                let labels: Vec<(&str, &str)> = std::iter::once((self.label, value)).chain(more).collect();
                part.encode(encoder.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

impl<M: EncodeMetric + Default> Capped<M> {
    pub fn encode(&self, encoder: &mut MetricEncoder<'_>) -> fmt::Result {
        self.encode_parts(encoder, |metric| vec![(None, metric)])
    }
}
