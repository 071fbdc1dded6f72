//! The access log: one JSON line per request, for operators. It may lose lines under pressure; it never holds up a
//! request.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::Duration;

use super::capped::Tally;
use crate::domain::{ApiId, ClientId, InstitutionId, InteractionId, JsonLine, OperationId, TenantId, Timestamp};

/// Most lines that wait to be written.
const LINES_MAX: usize = 8_192;

/// The writer looks for lines this often. Nobody wakes it for one: that would cost a request more than the line.
const GATHER: Duration = Duration::from_millis(100);

/// What a line may say: these fields and no others. Never a raw path, a query, a body or a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLine {
    pub started_at: Timestamp,
    pub interaction_id: InteractionId,
    pub trace_id: [u8; 16],
    pub span_id: [u8; 8],
    /// The listener's name in the configuration.
    pub listener: Arc<str>,
    pub peer: IpAddr,
    /// `HTTP/1.1` or `HTTP/2`.
    pub protocol: &'static str,
    /// `TLSv1.2` or `TLSv1.3`.
    pub tls: Option<&'static str>,
    /// A method that the catalogue knows; any other is `_OTHER`.
    pub method: &'static str,
    pub operation: Option<OperationId>,
    pub api: Option<ApiId>,
    pub institution: Option<InstitutionId>,
    pub tenant: Option<TenantId>,
    pub client: Option<ClientId>,
    /// Absent if no answer was sent.
    pub status: Option<u16>,
    /// Code of the problem, if it was one of ours.
    pub code: Option<&'static str>,
    /// The back end's id in the configuration.
    pub backend: Option<Arc<str>>,
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
    /// Appended to; made with mode 0600.
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

/// Takes lines and writes them behind. Call [`Self::close`] at the end.
pub struct AccessLog {
    running: Option<Running>,
    dropped: Arc<Tally>,
}

struct Running {
    lines: SyncSender<Box<AccessLine>>,
    stopping: Arc<AtomicBool>,
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
                let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
                let file = file.map_err(|source| AccessLogError::File { path: path.clone(), source })?;
                Self::start(Box::new(file), LINES_MAX, dropped)
            }
        }
    }

    fn start(to: Box<dyn Write + Send>, capacity: usize, dropped: Arc<Tally>) -> Result<Self, AccessLogError> {
        let (lines, queue) = sync_channel(capacity);
        let stopping = Arc::new(AtomicBool::new(false));
        let (told, lost) = (Arc::clone(&stopping), Arc::clone(&dropped));
        let handle = thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || write_lines(to, &queue, &told, &lost))
            .map_err(AccessLogError::Thread)?;
        let thread = handle.thread().clone();
        Ok(Self { running: Some(Running { lines, stopping, thread, writer: Mutex::new(Some(handle)) }), dropped })
    }

    /// Whether lines go anywhere; if not, there is no need to make one.
    pub fn enabled(&self) -> bool {
        self.running.is_some()
    }

    /// Takes a line, or drops it if there is no room. Never waits.
    pub fn line(&self, line: AccessLine) {
        let Some(running) = &self.running else { return };
        if running.lines.try_send(Box::new(line)).is_err() {
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
        self.stopping.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

fn write_lines(mut to: Box<dyn Write + Send>, queue: &Receiver<Box<AccessLine>>, stopping: &AtomicBool, lost: &Tally) {
    let mut buffer = Vec::new();
    let mut torn = false;
    loop {
        if torn {
            buffer.push(b'\n'); // What was left of that line is gone; the next must not be glued to it.
        }
        // Read before the queue, so that what was taken before the end is written.
        let last = stopping.load(Ordering::Acquire);
        let mut lines = 0;
        while let Ok(line) = queue.try_recv() {
            line.append(&mut buffer);
            lines += 1;
            if lines >= LINES_MAX as u64 {
                break;
            }
        }
        if lines > 0 {
            let (out, left) = buffer.split_at(write_most(&mut *to, &buffer));
            torn = out.last().map_or(torn, |last| *last != b'\n');
            lost.add_many(lines.min(left.iter().filter(|byte| **byte == b'\n').count() as u64));
        }
        buffer.clear();
        match (lines, last) {
            (0, true) => return,
            (0, false) => thread::park_timeout(GATHER),
            (_, true | false) => {}
        }
    }
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

impl AccessLine {
    fn append(&self, buffer: &mut Vec<u8>) {
        let mut line = JsonLine::begin(buffer);
        line.at("at", self.started_at);
        line.text("interaction_id", self.interaction_id.encode(&mut [0; 36]));
        line.hex("trace_id", &self.trace_id);
        line.hex("span_id", &self.span_id);
        line.text("listener", &self.listener);
        line.address("peer", self.peer);
        line.text("protocol", self.protocol);
        text(&mut line, "tls", self.tls);
        line.text("method", self.method);
        text(&mut line, "operation", self.operation.as_ref().map(OperationId::as_str));
        text(&mut line, "api", self.api.as_ref().map(ApiId::as_str));
        text(&mut line, "institution", self.institution.as_ref().map(InstitutionId::as_str));
        text(&mut line, "tenant", self.tenant.as_ref().map(TenantId::as_str));
        text(&mut line, "client", self.client.as_ref().map(ClientId::as_str));
        number(&mut line, "status", self.status.map(u64::from));
        text(&mut line, "code", self.code);
        text(&mut line, "backend", self.backend.as_deref());
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
