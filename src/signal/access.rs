//! The access log: one JSON line per request, for operators. It may lose lines under pressure; it never holds up a
//! request.

mod file;

use std::io::{self, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use super::capped::Tally;
use crate::disk::FOLLOW;
use crate::domain::{
    ApiId, ClientId, InstitutionId, InteractionId, JsonLine, LineQueue, Lines, OperationId, TenantId, Timestamp,
    emptied,
};
use file::LogFile;

/// Most lines that wait to be written.
const LINES_MAX: usize = 8_192;

/// A buffer of as many usual lines (each has some 450 bytes) is kept for the next ones.
const KEPT_BYTES_MAX: usize = LINES_MAX * 512;

/// The writer looks for lines this often. Nobody wakes it for one: that would cost a request more than the line.
const GATHER: Duration = Duration::from_millis(100);

/// The same while there are some: what waits then is so little that it is still near when it is written.
const GATHER_BUSY: Duration = Duration::from_millis(10);

/// What a line may say: these fields and no others. Never a raw path, a query, a body or a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccessLine<'a> {
    pub started_at: Timestamp,
    pub interaction_id: InteractionId,
    pub trace_id: [u8; 16],
    pub span_id: [u8; 8],
    /// The listener's name in the configuration.
    pub listener: &'a str,
    pub peer: IpAddr,
    /// `HTTP/1.1` or `HTTP/2`.
    pub protocol: &'static str,
    /// `TLSv1.2` or `TLSv1.3`.
    pub tls: Option<&'static str>,
    /// A method that the catalogue knows; any other is `_OTHER`.
    pub method: &'static str,
    pub operation: Option<&'a OperationId>,
    pub api: Option<&'a ApiId>,
    pub institution: Option<&'a InstitutionId>,
    pub tenant: Option<&'a TenantId>,
    pub client: Option<&'a ClientId>,
    /// Absent if no answer was sent.
    pub status: Option<u16>,
    /// Code of the problem, if it was one of ours.
    pub code: Option<&'static str>,
    /// The back end's id in the configuration.
    pub backend: Option<&'a str>,
    pub total: Duration,
    pub upstream: Option<Duration>,
    /// Bytes of body, as transferred.
    pub bytes_in: u64,
    pub bytes_out: u64,
}

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessOutput {
    Stdout,
    /// Appended to; made with mode 0600. Once it is renamed or removed, lines go on in a new one of its name.
    File(PathBuf),
    /// Nowhere.
    Off,
}

/// Why the access log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum AccessLogError {
    #[error("cannot open the access log {path}")]
    File { path: PathBuf, source: io::Error },
    #[error("cannot start the thread that writes the access log")]
    Thread(#[source] io::Error),
}

/// Between requests and the writer.
struct Queue {
    /// Counted by their number.
    lines: LineQueue<usize>,
    lines_max: usize,
    stopping: AtomicBool,
}

/// Takes lines and writes them behind. Call [`Self::close`] at the end.
pub struct AccessLog {
    running: Option<Running>,
    dropped: Arc<Tally>,
}

struct Running {
    queue: Arc<Queue>,
    thread: Thread,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl AccessLog {
    /// `dropped` counts the lines that are lost (see [`super::Metrics::access_dropped`]).
    pub fn open(output: &AccessOutput, dropped: Arc<Tally>) -> Result<Self, AccessLogError> {
        match output {
            AccessOutput::Off => Ok(Self { running: None, dropped }),
            AccessOutput::Stdout => Self::start(Box::new(io::stdout()), LINES_MAX, dropped),
            AccessOutput::File(path) => {
                let failed = |source| AccessLogError::File { path: path.clone(), source };
                Self::start(Box::new(LogFile::open(path).map_err(failed)?), LINES_MAX, dropped)
            }
        }
    }

    fn start(to: Box<dyn Output>, lines_max: usize, dropped: Arc<Tally>) -> Result<Self, AccessLogError> {
        let queue = Arc::new(Queue { lines: LineQueue::default(), lines_max, stopping: AtomicBool::new(false) });
        let (lines, lost) = (Arc::clone(&queue), Arc::clone(&dropped));
        let handle = thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || write_lines(to, &lines, &lost))
            .map_err(AccessLogError::Thread)?;
        let thread = handle.thread().clone();
        Ok(Self { running: Some(Running { queue, thread, writer: Mutex::new(Some(handle)) }), dropped })
    }

    /// Whether lines go anywhere; if not, there is no need to make one.
    pub fn enabled(&self) -> bool {
        self.running.is_some()
    }

    /// Takes a line, or drops it if there is no room. Never waits for the output.
    pub fn line(&self, line: &AccessLine<'_>) {
        let Some(running) = &self.running else { return };
        if !running.queue.take(line) {
            self.dropped.add();
        }
    }

    /// Writes what was taken and stops. Blocks its thread for as long as the output takes.
    pub fn close(&self) {
        let Some(running) = &self.running else { return };
        running.stop();
        if let Some(handle) = running.writer.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _panic_was_reported_already = handle.join();
        }
    }
}

impl Running {
    fn stop(&self) {
        self.queue.stopping.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Queue {
    /// Whether there was room for the line.
    fn take(&self, line: &AccessLine<'_>) -> bool {
        let room = |count: &mut usize| {
            let room = *count < self.lines_max && !self.stopping.load(Ordering::Acquire);
            *count += usize::from(room);
            room
        };
        self.lines.push(|bytes| line.append(bytes), room)
    }
}

/// What lines are written to.
trait Output: Write + Send {
    /// Whether what was written to until now is no longer found by its name; if so, a new one is written to from now on.
    fn follow(&mut self) -> io::Result<bool> {
        Ok(false)
    }
}

impl Output for io::Stdout {}

fn write_lines(mut to: Box<dyn Output>, queue: &Queue, lost: &Tally) {
    let mut spare = Vec::new();
    let mut torn = false;
    let mut followed = Instant::now();
    let mut astray = false;
    loop {
        if followed.elapsed() >= FOLLOW {
            let outcome = to.follow();
            torn &= !matches!(outcome, Ok(true)); // A new file has no line that could go on.
            tell(&outcome, &mut astray);
            followed = Instant::now();
        }
        // Read before the queue, so that what was taken before the end is written.
        let last = queue.stopping.load(Ordering::Acquire);
        let Lines { bytes, counted: lines } = queue.lines.take(spare);
        if lines > 0 {
            // What was left of a line is gone; the next must not be glued to it.
            torn = torn && write_most(&mut *to, b"\n") == 0;
            let written = if torn { 0 } else { write_most(&mut *to, &bytes) };
            let (out, left) = bytes.split_at(written);
            torn |= out.last().is_some_and(|last| *last != b'\n');
            lost.add_many(left.iter().filter(|byte| **byte == b'\n').count() as u64);
        }
        match (lines, last) {
            (0, true) => return,
            (0, false) => thread::park_timeout(GATHER),
            (_, false) => thread::park_timeout(GATHER_BUSY),
            (_, true) => {}
        }
        spare = emptied(bytes, KEPT_BYTES_MAX);
    }
}

/// Says what became of a file that was looked for; of one that cannot be followed only once.
fn tell(followed: &io::Result<bool>, astray: &mut bool) {
    match followed {
        Ok(true) => tracing::info!("the access log was renamed or removed; lines go to a new one"),
        Err(error) if !*astray => {
            tracing::warn!(%error, "the access log is not where it was, and cannot be made anew; lines go to the old one");
        }
        Ok(false) | Err(_) => {}
    }
    *astray = followed.is_err();
}

/// Writes until it fails, and says how much was taken.
fn write_most(to: &mut dyn Write, bytes: &[u8]) -> usize {
    let mut done = 0;
    while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
        match to.write(rest) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => break,
            Ok(written) => done += written,
        }
    }
    let _what_it_keeps_goes_first_next_time = to.flush();
    done
}

impl AccessLine<'_> {
    fn append(&self, buffer: &mut Vec<u8>) {
        let mut line = JsonLine::begin(buffer);
        line.at("at", self.started_at);
        line.text("interaction_id", self.interaction_id.encode(&mut [0; 36]));
        line.hex("trace_id", &self.trace_id);
        line.hex("span_id", &self.span_id);
        line.text("listener", self.listener);
        line.address("peer", self.peer);
        line.text("protocol", self.protocol);
        text(&mut line, "tls", self.tls);
        line.text("method", self.method);
        text(&mut line, "operation", self.operation.map(OperationId::as_str));
        text(&mut line, "api", self.api.map(ApiId::as_str));
        text(&mut line, "institution", self.institution.map(InstitutionId::as_str));
        text(&mut line, "tenant", self.tenant.map(TenantId::as_str));
        text(&mut line, "client", self.client.map(ClientId::as_str));
        number(&mut line, "status", self.status.map(u64::from));
        text(&mut line, "code", self.code);
        text(&mut line, "backend", self.backend);
        line.number("total_us", micros(self.total));
        number(&mut line, "upstream_us", self.upstream.map(micros));
        line.number("bytes_in", self.bytes_in);
        line.number("bytes_out", self.bytes_out);
        line.end();
        buffer.push(b'\n');
    }
}

fn text(line: &mut JsonLine<'_>, name: &'static str, value: Option<&str>) {
    if let Some(value) = value {
        line.text(name, value);
    }
}

fn number(line: &mut JsonLine<'_>, name: &'static str, value: Option<u64>) {
    if let Some(value) = value {
        line.number(name, value);
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
