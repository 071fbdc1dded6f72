//! The audit file: append-only, one JSON object per line.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::Duration;

use super::named::NamedFile;
use super::queue::{Places, REQUESTS_MAX};
use super::writer::{Sink, Writer};
use super::{ConnectionRecord, RequestRecord, Saturated};
use crate::domain::Clock;

/// Why the audit file could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum AuditOpenError {
    #[error("cannot make the directory {path}")]
    Directory { path: PathBuf, source: io::Error },
    #[error("cannot open, protect or read the audit file {path}")]
    File { path: PathBuf, source: io::Error },
    #[error("the audit file {path} is being written by another process; stop the other gateway first")]
    Locked { path: PathBuf },
    #[error("cannot start the thread that writes the audit file")]
    Thread(#[source] io::Error),
}

/// The disk does not have everything that was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{waiting} audit records are not on the disk yet")]
pub struct FlushError {
    pub waiting: usize,
}

/// How the audit file fares, for `/status` and the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct AuditStatus {
    /// False while the disk refuses to take records.
    pub healthy: bool,
    /// No request can be taken in.
    pub saturated: bool,
    /// Requests under way, and records that the disk does not have yet.
    pub waiting: usize,
    pub capacity: usize,
    /// Lines that the disk has since the start.
    pub written: u64,
    /// Requests that were refused for want of a place; the file says how many, not which.
    pub requests_refused: u64,
    /// Failed connections that were counted, not listed.
    pub connections_summed: u64,
}

/// Writes records to a file that only grows. Call [`Self::close`] at the end.
pub struct AuditFile {
    places: Arc<Places>,
    thread: Thread,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl AuditFile {
    /// Opens the file for appending, or makes it with mode 0600 (and its directory with 0700), and locks it. A line
    /// that a killed process left unfinished is ended and followed by a line that says so. When the file is renamed or
    /// removed, a new one is begun in its place.
    pub fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, AuditOpenError> {
        let file = NamedFile::open(path, Arc::clone(&clock))?;
        Self::start(file, REQUESTS_MAX, clock)
    }

    pub(super) fn start(
        sink: impl Sink + 'static,
        capacity: usize,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, AuditOpenError> {
        let places = Arc::new(Places::new(capacity));
        let writer = Writer::new(sink, Arc::clone(&places), clock);
        let handle = thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || writer.run())
            .map_err(AuditOpenError::Thread)?;
        Ok(Self { places, thread: handle.thread().clone(), writer: Mutex::new(Some(handle)) })
    }

    /// The disk took what it was last given.
    pub fn healthy(&self) -> bool {
        self.places.healthy.load(Ordering::Relaxed)
    }

    /// The next request would be refused.
    pub fn saturated(&self) -> bool {
        self.places.saturated()
    }

    pub fn status(&self) -> AuditStatus {
        AuditStatus {
            healthy: self.healthy(),
            saturated: self.saturated(),
            waiting: self.places.taken(),
            capacity: self.places.capacity(),
            written: self.places.written.load(Ordering::Relaxed),
            requests_refused: self.places.refused.total(),
            connections_summed: self.places.summed.total(),
        }
    }

    /// Waits until the disk has every record that was closed before this call. Blocks its thread: not for a request.
    pub fn flush(&self, patience: Duration) -> Result<(), FlushError> {
        let waiting = || FlushError { waiting: self.places.taken() };
        let (done, wait) = sync_channel(1);
        if !self.places.flush(done) {
            return Err(waiting());
        }
        self.thread.unpark();
        wait.recv_timeout(patience).map_err(|_| waiting())
    }

    /// Writes what is left and lets go of the file. If that does not succeed within `patience`, says how much is lost.
    /// Blocks its thread.
    pub fn close(&self, patience: Duration) -> Result<(), FlushError> {
        let flushed = self.flush(patience);
        self.stop();
        let handle = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(handle) = handle.filter(|_| flushed.is_ok()) {
            let _panic_was_reported_already = handle.join();
        }
        flushed
    }

    fn stop(&self) {
        self.places.stopping.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

/// Where records go. None of these waits.
impl AuditFile {
    /// Takes a place for one record, which [`Self::record`] fills.
    pub fn reserve(&self) -> Result<(), Saturated> {
        self.places.reserve_request()
    }

    /// Takes the record for a place that was reserved; never fails.
    pub fn record(&self, record: &RequestRecord<'_>) {
        self.places.request(record);
    }

    /// Takes note of a connection that never became a request. Under a flood they are counted, not listed.
    pub fn connection(&self, record: &ConnectionRecord) {
        if self.places.reserve_connection(record.at) {
            self.places.connection(record);
        }
    }
}

impl Drop for AuditFile {
    fn drop(&mut self) {
        self.stop(); // The writer still writes what it has; only `close` waits for it.
    }
}
