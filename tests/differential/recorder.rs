//! A back end that reads strictly and keeps what it read: any byte that is not part of exactly one sound request is a
//! violation.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::strict::{self, Reading, Request};

/// Fields that must not come from a client, or not cross a hop.
const NEVER: [&str; 12] = [
    "authorization",
    "expect",
    "http2-settings",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
    "x-forwarded-for",
    "x-original-url",
    "x-http-method-override",
];

#[derive(Default)]
struct Kept {
    requests: Mutex<Vec<Request>>,
    violations: Mutex<Vec<String>>,
    aborted: AtomicUsize,
}

pub struct Recorder {
    pub address: SocketAddr,
    kept: Arc<Kept>,
    task: JoinHandle<()>,
}

impl Recorder {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let kept = Arc::new(Kept::default());
        let task = tokio::spawn(accept(listener, Arc::clone(&kept)));
        Self { address, kept, task }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every request that arrived whole, in order of arrival.
    pub fn requests(&self) -> Vec<Request> {
        self.kept.requests.lock().unwrap().clone()
    }

    pub fn violations(&self) -> Vec<String> {
        self.kept.violations.lock().unwrap().clone()
    }

    /// Requests that broke off: connections that ended within one.
    pub fn aborted(&self) -> usize {
        self.kept.aborted.load(Ordering::Relaxed)
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, kept: Arc<Kept>) {
    let mut guests = tokio::task::JoinSet::new(); // Dropped with this task, and with it every connection.
    while let Ok((stream, _)) = listener.accept().await {
        guests.spawn(serve(stream, Arc::clone(&kept)));
        while guests.try_join_next().is_some() {}
    }
}

async fn serve(mut stream: TcpStream, kept: Arc<Kept>) {
    let mut buffer = Vec::new();
    loop {
        match strict::request(&buffer) {
            Reading::Whole(request, bytes) => {
                let faults = faults(&request, buffer.len() - bytes);
                if !faults.is_empty() {
                    kept.violations.lock().unwrap().extend(faults);
                    return;
                }
                let answer = answer(&request);
                kept.requests.lock().unwrap().push(request);
                buffer.clear();
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
            Reading::Malformed(why) => {
                let text = String::from_utf8_lossy(&buffer).into_owned();
                kept.violations.lock().unwrap().push(format!("{why}: {text:?}"));
                return;
            }
            Reading::Incomplete => {
                let mut chunk = [0; 16 * 1024];
                match stream.read(&mut chunk).await {
                    Ok(count) if count > 0 => buffer.extend_from_slice(&chunk[..count]),
                    _ => {
                        kept.aborted.fetch_add(usize::from(!buffer.is_empty()), Ordering::Relaxed);
                        return;
                    }
                }
            }
        }
    }
}

/// What a sound request still must not be, coming from the gateway.
fn faults(request: &Request, beyond: usize) -> Vec<String> {
    let mut faults = Vec::new();
    let name = format!("{} {}", request.method, request.target);
    if beyond > 0 {
        faults.push(format!("{name}: {beyond} bytes beyond it"));
    }
    if request.version != "HTTP/1.1" || !request.target.starts_with("/v1/") {
        faults.push(format!("{name} {}: not in the form of ours", request.version));
    }
    if request.extras {
        faults.push(format!("{name}: chunk extensions or trailers"));
    }
    for (field, _) in &request.fields {
        if NEVER.iter().any(|never| field.eq_ignore_ascii_case(never)) || field.contains('_') {
            faults.push(format!("{name}: the field {field}"));
        }
    }
    faults
}

/// Says back what it was asked, so that an answer can be told from another's.
fn answer(request: &Request) -> String {
    let body = serde_json::json!({ "target": request.target, "bytes": request.body.len() }).to_string();
    let length = body.len();
    let body = if request.method == "HEAD" { "" } else { &body };
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
}
