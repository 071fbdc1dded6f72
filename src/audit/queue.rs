//! The queue between requests and the writer, and the places in it. All counts of it are here.
//!
//! A record becomes its line where it is handed over: bytes are all that waits, and nothing is shared with the writer.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::SyncSender;

use super::line::{Line, append};
use crate::domain::{LineQueue, Timestamp};

/// Most request records that wait, from the start of the request until the disk has its record.
pub(super) const REQUESTS_MAX: usize = 65_536;

/// Most of them while the disk refuses to take records: what waits then is lost if the process is killed.
const REQUESTS_AILING_MAX: usize = 4_096;

/// Most connection records that wait.
const CONNECTIONS_MAX: usize = 1_024;

/// Most connection records in one second, so that a flood of failed handshakes does not fill the disk.
pub(super) const CONNECTIONS_PER_SECOND_MAX: u64 = 100;

/// Most callers that wait for a flush at once.
const FLUSHES_MAX: usize = 16;

/// There is no place for another record: the evidence would have a gap, so the request is refused (503).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the audit queue is full")]
pub struct Saturated;

/// What waits for the writer.
#[derive(Default)]
pub(super) struct Waiting {
    pub requests: usize,
    pub connections: usize,
    /// Answered when everything that was queued before is on the disk.
    pub flushes: Vec<SyncSender<()>>,
}

/// The state that requests and the writer share.
pub(super) struct Places {
    capacity: usize,
    /// Invariant: whoever adds to it has a place, so it has a bound.
    pub lines: LineQueue<Waiting>,
    /// Places taken by requests under way and by records that the disk does not have yet.
    requests: AtomicUsize,
    connections: AtomicUsize,
    /// Requests refused for want of a place since the last notice, and since the start.
    pub refused: Tally,
    /// Connections that were counted instead of listed.
    pub summed: Tally,
    /// Lines that the disk has.
    pub written: AtomicU64,
    /// The writer could do its work the last time that it tried.
    pub healthy: AtomicBool,
    /// The writer is there.
    pub alive: AtomicBool,
    pub stopping: AtomicBool,
    this_second: AtomicI64,
    listed_this_second: AtomicU64,
}

/// A count for the notices, and one for the metrics.
#[derive(Default)]
pub(super) struct Tally {
    unreported: AtomicU64,
    total: AtomicU64,
}

impl Tally {
    fn add(&self) {
        self.unreported.fetch_add(1, Ordering::Relaxed);
        self.total.fetch_add(1, Ordering::Relaxed);
    }

    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// What has not been reported yet; it is now.
    pub fn report(&self) -> Option<u64> {
        let count = self.unreported.swap(0, Ordering::Relaxed);
        (count > 0).then_some(count)
    }
}

impl Places {
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            lines: LineQueue::default(),
            requests: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            refused: Tally::default(),
            summed: Tally::default(),
            written: AtomicU64::new(0),
            healthy: AtomicBool::new(true),
            alive: AtomicBool::new(true),
            stopping: AtomicBool::new(false),
            this_second: AtomicI64::new(0),
            listed_this_second: AtomicU64::new(0),
        }
    }

    pub fn capacity(&self) -> usize {
        self.capacity
    }

    pub fn taken(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    pub fn saturated(&self) -> bool {
        self.taken() >= self.places() || !self.alive.load(Ordering::Relaxed)
    }

    /// How many may be taken now.
    fn places(&self) -> usize {
        if self.healthy.load(Ordering::Relaxed) { self.capacity } else { self.capacity.min(REQUESTS_AILING_MAX) }
    }

    pub fn reserve_request(&self) -> Result<(), Saturated> {
        let places = self.places();
        let room = |taken: usize| (taken < places).then_some(taken + 1);
        let alive = self.alive.load(Ordering::Relaxed);
        if alive && self.requests.fetch_update(Ordering::AcqRel, Ordering::Relaxed, room).is_ok() {
            return Ok(());
        }
        self.refused.add();
        Err(Saturated)
    }

    /// Takes the record of a request that has a place.
    pub fn request(&self, record: &impl Line) {
        self.take(record, |waiting| waiting.requests += 1);
    }

    /// Takes the record of a connection that has a place.
    pub fn connection(&self, record: &impl Line) {
        self.take(record, |waiting| waiting.connections += 1);
    }

    fn take(&self, record: &impl Line, count: impl FnOnce(&mut Waiting)) {
        let counted = |waiting: &mut Waiting| {
            count(waiting);
            true // It has a place.
        };
        self.lines.push(|line| append(line, record), counted);
        if !self.alive.load(Ordering::Relaxed) {
            tracing::error!("an audit record is lost: the writer is gone");
        }
    }

    /// Asks to be told when everything that was queued before is on the disk. False if too many ask, or nobody writes.
    pub fn flush(&self, done: SyncSender<()>) -> bool {
        self.lines.count(|waiting| {
            let room = waiting.flushes.len() < FLUSHES_MAX && self.alive.load(Ordering::Relaxed);
            if room {
                waiting.flushes.push(done);
            }
            room
        })
    }

    /// Whether this connection is listed; if not, it is counted.
    pub fn reserve_connection(&self, at: Timestamp) -> bool {
        let second = at.secs();
        if self.this_second.swap(second, Ordering::Relaxed) != second {
            // Two callers at the turn of a second may both do this: the bound is then exceeded by a few.
            self.listed_this_second.store(0, Ordering::Relaxed);
        }
        let within_rate = self.listed_this_second.fetch_add(1, Ordering::Relaxed) < CONNECTIONS_PER_SECOND_MAX;
        let room = |taken: usize| (taken < CONNECTIONS_MAX).then_some(taken + 1);
        let alive = self.alive.load(Ordering::Relaxed);
        if alive && within_rate && self.connections.fetch_update(Ordering::AcqRel, Ordering::Relaxed, room).is_ok() {
            return true;
        }
        self.summed.add();
        false
    }

    /// The writer is gone, with whatever it had: from now on nothing is taken in.
    pub fn lost(&self) {
        self.alive.store(false, Ordering::Relaxed);
        self.healthy.store(false, Ordering::Relaxed);
        self.lines.count(|waiting| waiting.flushes.clear()); // Who waits learns of it.
    }

    pub fn release(&self, requests: usize, connections: usize) {
        self.requests.fetch_sub(requests, Ordering::AcqRel);
        self.connections.fetch_sub(connections, Ordering::AcqRel);
    }
}
