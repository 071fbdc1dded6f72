//! The thread that writes: in groups, in order, until the disk has them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::line::{Notice, append};
use super::queue::{Places, Waiting};
use crate::disk::FOLLOW;
use crate::domain::{Clock, Lines, Timestamp, emptied};

/// Within this much time the disk has a record, as long as it obeys: half of it to gather a group, half to write it.
pub const COMMIT_DELAY_MAX: Duration = Duration::from_millis(200);

/// The writer looks into the queue this often. Nobody wakes it for a record: a wake-up costs a request more than all
/// the rest of its audit.
const GATHER: Duration = Duration::from_millis(100);

/// How long to wait before a disk that failed is tried again.
const RETRY: Duration = Duration::from_millis(200);

/// The same where each try writes the group again: the wait doubles up to this, or a failing disk would be filled.
const REPEAT_MAX: Duration = Duration::from_secs(10);

/// A buffer of as much is kept for the next group: a line has about 700 bytes.
const KEPT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Where lines go.
pub(super) trait Sink: Send {
    /// Appends a part of `bytes` and says how much.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;
    /// Returns when everything written is on the disk.
    fn sync(&mut self) -> io::Result<()>;
    /// Whether what was written to until now is no longer found by its name; if so, a new one is written to from now on.
    fn follow(&mut self) -> io::Result<bool>;
}

pub(super) struct Writer<S> {
    sink: S,
    places: Arc<Places>,
    clock: Arc<dyn Clock>,
    group: Group,
    followed: Instant,
}

/// Lines that are written together.
#[derive(Default)]
struct Group {
    lines: Vec<u8>,
    /// How much of `lines` was written. After a write that failed, a line that was written in part is continued.
    done: usize,
    /// Lines were written and may be lost: they are written again, and say so.
    repeats: bool,
    notices: usize,
    waited: Waiting,
}

/// Whoever ends the thread, even by a panic, the requests must know.
struct Farewell(Arc<Places>);

impl Drop for Farewell {
    fn drop(&mut self) {
        self.0.lost();
    }
}

impl<S: Sink> Writer<S> {
    pub fn new(sink: S, places: Arc<Places>, clock: Arc<dyn Clock>) -> Self {
        Self { sink, places, clock, group: Group::default(), followed: Instant::now() }
    }

    /// Works until it is told to stop and everything is written, or cannot be.
    pub fn run(mut self) {
        let _farewell = Farewell(Arc::clone(&self.places));
        loop {
            // Read before the queue: what was queued before the request to stop is then written.
            let stopping = self.places.stopping.load(Ordering::Acquire);
            self.gather();
            if self.group.is_empty() {
                if stopping {
                    return;
                }
                if !self.must_follow() {
                    thread::park_timeout(GATHER);
                    continue;
                }
            }
            let began = Instant::now();
            let mut wait = RETRY;
            while let Err(error) = self.commit() {
                self.complain(&error);
                if self.places.stopping.load(Ordering::Acquire) {
                    let lost = self.places.taken();
                    tracing::error!(lost, "audit records could not be written before the end");
                    return;
                }
                thread::park_timeout(wait);
                if self.group.repeats {
                    wait = REPEAT_MAX.min(wait * 2);
                }
            }
            self.conclude();
            // The next group gathers as long as the first did: under load the disk would else be asked for every few.
            thread::park_timeout(GATHER.saturating_sub(began.elapsed()));
        }
    }

    fn gather(&mut self) {
        let group = &mut self.group;
        let at = self.clock.now();
        let (refused, summed) = (self.places.refused.report(), self.places.summed.report());
        let Lines { bytes, counted } = self.places.lines.take(std::mem::take(&mut group.lines));
        (group.lines, group.waited) = (bytes, counted);
        if let Some(count) = summed {
            group.precede(&Notice::ConnectionsSummed { at, count });
        }
        if let Some(count) = refused {
            group.precede(&Notice::RequestsRefused { at, count });
        }
    }

    fn must_follow(&self) -> bool {
        self.followed.elapsed() >= FOLLOW
    }

    /// Goes on in a new file where the old one was renamed or removed. A group that was begun there is written whole here.
    fn follow(&mut self) -> io::Result<()> {
        let changed = self.sink.follow()?;
        self.followed = Instant::now();
        if changed {
            tracing::warn!("the audit file was renamed or removed; records go to a new one");
            let at = self.clock.now();
            if self.group.done > 0 {
                self.group.repeat(at);
            }
            self.group.precede(&Notice::FileChanged { at });
        }
        Ok(())
    }

    fn commit(&mut self) -> io::Result<()> {
        if self.must_follow() {
            self.follow()?;
        }
        while let Some(rest) = self.group.lines.get(self.group.done..).filter(|rest| !rest.is_empty()) {
            match self.sink.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => self.group.done += written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if self.group.lines.is_empty() {
            return Ok(());
        }
        // Linux forgets what it failed to write back: the next sync succeeds and says nothing about these lines.
        self.sink.sync().inspect_err(|_| self.group.repeat(self.clock.now()))
    }

    fn complain(&self, error: &io::Error) {
        if self.places.healthy.swap(false, Ordering::Relaxed) {
            tracing::error!(%error, "audit records cannot be written; they wait, and requests are refused when no more can");
        }
    }

    fn conclude(&mut self) {
        if !self.places.healthy.swap(true, Ordering::Relaxed) {
            tracing::info!("audit records are written again");
        }
        let Group { lines, notices, waited, .. } = std::mem::take(&mut self.group);
        let Waiting { requests, connections, flushes } = waited;
        self.places.written.fetch_add((requests + connections + notices) as u64, Ordering::Relaxed);
        self.places.release(requests, connections);
        for done in flushes {
            let _nobody_waits_any_more = done.try_send(());
        }
        self.group.lines = emptied(lines, KEPT_BYTES_MAX);
    }
}

impl Group {
    fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.waited.flushes.is_empty()
    }

    /// Puts a notice before all lines.
    fn precede(&mut self, notice: &Notice) {
        let before = self.lines.len();
        append(&mut self.lines, notice);
        self.lines.rotate_left(before);
        self.notices += 1;
    }

    fn repeat(&mut self, at: Timestamp) {
        if !self.repeats {
            self.repeats = true;
            self.precede(&Notice::MayRepeat { at });
        }
        self.done = 0;
    }
}
