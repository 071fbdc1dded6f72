//! A record that is being filled in, and who takes it when it is closed.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::{ConnectionRecord, Outcome, Phase, RequestRecord};
use crate::domain::Clock;

/// There is no place for another record: the evidence would have a gap, so the request is refused (503).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the audit queue is full")]
pub struct Saturated;

/// Where records go. Neither call waits.
pub trait Recorder: Send + Sync {
    /// Takes a place for one record, which [`Self::record`] fills. [`OpenRecord::open`] calls it.
    fn reserve(&self) -> Result<(), Saturated>;
    /// Takes the record for a place that was reserved; never fails.
    fn record(&self, record: RequestRecord);
    /// Takes note of a connection that never became a request. Under a flood they are counted, not listed.
    fn connection(&self, record: ConnectionRecord);
}

/// The record of a request under way; dereferences to the [`RequestRecord`] to be filled in. It closes exactly once: by
/// [`Self::close`], or when it is dropped, as [`Outcome::Aborted`] in the phase that it had come to.
pub struct OpenRecord {
    record: RequestRecord,
    phase: Phase,
    closed: bool,
    recorder: Arc<dyn Recorder>,
    clock: Arc<dyn Clock>,
}

impl OpenRecord {
    /// Takes a place for the record. Without one the request must be refused.
    pub fn open(record: RequestRecord, recorder: Arc<dyn Recorder>, clock: Arc<dyn Clock>) -> Result<Self, Saturated> {
        recorder.reserve()?;
        Ok(Self { record, phase: Phase::Head, closed: false, recorder, clock })
    }

    /// Notes how far the request has come, in case nobody closes the record.
    pub fn enter(&mut self, phase: Phase) {
        self.phase = phase;
    }

    /// Hands the record over. The total latency is filled in here.
    pub fn close(mut self, outcome: Outcome) {
        self.hand_over(outcome);
    }

    fn hand_over(&mut self, outcome: Outcome) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        let (at, id, peer) = (self.record.started_at, self.record.interaction_id, self.record.peer);
        let blank = RequestRecord::new(at, id, Arc::clone(&self.record.listener), peer);
        let mut record = std::mem::replace(&mut self.record, blank);
        record.outcome = outcome;
        let total = self.clock.now().since(record.started_at);
        record.latency.total = u64::try_from(total.as_micros()).unwrap_or(u64::MAX);
        self.recorder.record(record);
    }
}

impl Deref for OpenRecord {
    type Target = RequestRecord;

    fn deref(&self) -> &RequestRecord {
        &self.record
    }
}

impl DerefMut for OpenRecord {
    fn deref_mut(&mut self) -> &mut RequestRecord {
        &mut self.record
    }
}

impl Drop for OpenRecord {
    fn drop(&mut self) {
        self.hand_over(Outcome::Aborted { phase: self.phase });
    }
}

/// Keeps records in memory, for the tests of this and other rooms.
#[cfg(test)]
#[derive(Default)]
pub struct Collected {
    pub records: std::sync::Mutex<Vec<RequestRecord>>,
    pub connections: std::sync::Mutex<Vec<ConnectionRecord>>,
    pub full: std::sync::atomic::AtomicBool,
}

#[cfg(test)]
impl Recorder for Collected {
    fn reserve(&self) -> Result<(), Saturated> {
        if self.full.load(std::sync::atomic::Ordering::Relaxed) { Err(Saturated) } else { Ok(()) }
    }

    fn record(&self, record: RequestRecord) {
        self.records.lock().unwrap().push(record);
    }

    fn connection(&self, record: ConnectionRecord) {
        self.connections.lock().unwrap().push(record);
    }
}
