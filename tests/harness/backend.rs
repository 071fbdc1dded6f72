//! A back end that does exactly as it is told, down to when it closes, and keeps every byte that reached it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use aws_lc_rs::digest::{Context, SHA256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

/// Bodies up to this are kept; of longer ones length and digest.
const KEPT_BYTES_MAX: usize = 256 * 1024;

/// A request as it arrived.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    pub method: String,
    /// Byte for byte.
    pub target: String,
    /// In order, names as sent.
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub body_bytes: u64,
    pub body_sha256: String,
    /// The body arrived whole.
    pub complete: bool,
    /// Which connection of this back end, from 0, and which request on it, from 0.
    pub connection: usize,
    pub nth: usize,
}

impl Seen {
    /// The first field of this name.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

/// What to do with a request.
#[derive(Clone)]
pub enum Reply {
    /// Status, fields, body; framed by Content-Length.
    Answer(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// `count` bytes of a repeating pattern, chunked.
    Stream(u64),
    /// Close without an answer.
    Close,
    /// These very bytes, then close.
    Raw(Vec<u8>),
    /// These very bytes, and on with the connection as if they were a proper answer.
    Loose(Vec<u8>),
    /// Never answer; ends when the caller goes.
    Hang,
    /// Answer when the semaphore gives a permit.
    Wait(Arc<Semaphore>, Box<Reply>),
    /// 101, then every byte back.
    Upgrade(String),
}

impl Reply {
    pub fn json(body: &str) -> Self {
        Self::Answer(200, vec![("content-type", "application/json".to_owned())], body.as_bytes().to_vec())
    }

    pub fn status(status: u16) -> Self {
        Self::Answer(status, vec![("content-type", "application/json".to_owned())], b"{}".to_vec())
    }
}

type Script = dyn Fn(&Seen) -> Reply + Send + Sync;
/// Asked with the head alone, before the body is read; `Some` answers without reading it.
type EarlyScript = dyn Fn(&Seen) -> Option<Reply> + Send + Sync;

struct Shared {
    script: Box<Script>,
    early: Box<EarlyScript>,
    seen: Mutex<Vec<Seen>>,
    /// Heads that arrived.
    heads: watch::Sender<usize>,
    /// Connections that were accepted.
    connections: watch::Sender<usize>,
}

/// A back end under way. Dropping it stops it.
pub struct Backend {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Backend {
    /// Answers every request by the script, once its body has arrived.
    pub async fn start(script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::with_early(|_| None, script).await
    }

    /// Answers `{"ok":true}` to everything.
    pub async fn agreeable() -> Self {
        Self::start(|_| Reply::json(r#"{"ok":true}"#)).await
    }

    pub async fn with_early(
        early: impl Fn(&Seen) -> Option<Reply> + Send + Sync + 'static,
        script: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            script: Box::new(script),
            early: Box::new(early),
            seen: Mutex::default(),
            heads: watch::channel(0).0,
            connections: watch::channel(0).0,
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { address, shared, task }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every request so far, in order of arrival.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    pub fn last(&self) -> Seen {
        self.seen().pop().expect("no request reached the back end")
    }

    /// How many requests had this method and path.
    pub fn count(&self, method: &str, path: &str) -> usize {
        self.seen().iter().filter(|seen| seen.method == method && seen.path() == path).count()
    }

    pub fn total(&self) -> usize {
        *self.shared.heads.borrow()
    }

    /// Waits until so many request heads have arrived since the start.
    pub async fn arrived(&self, count: usize) {
        let mut heads = self.shared.heads.subscribe();
        super::within("requests at the back end", heads.wait_for(|heads| *heads >= count)).await.unwrap();
    }

    /// Ends it as a kill does: its sockets close in the middle of whatever they were at. What it saw stays known.
    pub async fn kill(&self) {
        self.task.abort();
        while !self.task.is_finished() {
            tokio::task::yield_now().await;
        }
    }

    /// Stops; its port refuses connections when this returns.
    pub async fn stop(self) -> SocketAddr {
        self.task.abort();
        let address = self.address;
        while !self.task.is_finished() {
            tokio::task::yield_now().await;
        }
        address
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut guests = tokio::task::JoinSet::new(); // Dropped with this task, and with it every connection.
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { return };
                let number = *shared.connections.borrow();
                shared.connections.send_modify(|count| *count += 1);
                guests.spawn(serve(stream, number, Arc::clone(&shared)));
            }
            _ = guests.join_next(), if !guests.is_empty() => {}
        }
    }
}

async fn serve(stream: TcpStream, connection: usize, shared: Arc<Shared>) {
    let (read, mut write) = stream.into_split();
    let mut reader = Reader { read, buffer: Vec::new() };
    let mut nth = 0;
    while let Some(mut seen) = reader.head().await {
        (seen.connection, seen.nth) = (connection, nth);
        nth += 1;
        let index = {
            let mut all = shared.seen.lock().unwrap();
            all.push(seen.clone());
            all.len() - 1
        };
        shared.heads.send_modify(|count| *count += 1);
        let reply = match (shared.early)(&seen) {
            Some(reply) => reply,
            None => {
                reader.body(&mut seen).await;
                shared.seen.lock().unwrap()[index] = seen.clone();
                (shared.script)(&seen)
            }
        };
        if !answer(reply, &mut reader, &mut write).await {
            return;
        }
    }
}

/// Whether the connection goes on.
async fn answer(reply: Reply, reader: &mut Reader, write: &mut OwnedWriteHalf) -> bool {
    match reply {
        Reply::Answer(status, fields, body) => {
            let mut head = format!("HTTP/1.1 {status} Whatever\r\ncontent-length: {}\r\n", body.len());
            if status == 204 || status == 304 {
                head = format!("HTTP/1.1 {status} Whatever\r\n");
            }
            for (name, value) in fields {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
            let bytes = [head.as_bytes(), b"\r\n", &body].concat();
            write.write_all(&bytes).await.is_ok()
        }
        Reply::Stream(count) => stream(count, write).await.is_ok(),
        Reply::Close => false,
        Reply::Raw(bytes) => {
            let _ = write.write_all(&bytes).await;
            let _ = write.shutdown().await;
            false
        }
        Reply::Loose(bytes) => write.write_all(&bytes).await.is_ok(),
        Reply::Hang => {
            reader.until_closed().await;
            false
        }
        Reply::Wait(gate, then) => {
            gate.acquire().await.unwrap().forget();
            Box::pin(answer(*then, reader, write)).await
        }
        Reply::Upgrade(accept) => {
            let head = format!(
                "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: {accept}\r\n\r\n"
            );
            let _ = write.write_all(head.as_bytes()).await;
            reader.echo(write).await;
            false
        }
    }
}

/// Byte `at` of the pattern that [`Reply::Stream`] sends.
pub const fn pattern(at: u64) -> u8 {
    (at % 251) as u8
}

async fn stream(count: u64, write: &mut OwnedWriteHalf) -> std::io::Result<()> {
    write
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        .await?;
    let mut at = 0;
    while at < count {
        let step = (count - at).min(60_000);
        let chunk: Vec<u8> = (at..at + step).map(pattern).collect();
        write.write_all(format!("{step:x}\r\n").as_bytes()).await?;
        write.write_all(&chunk).await?;
        write.write_all(b"\r\n").await?;
        at += step;
    }
    write.write_all(b"0\r\n\r\n").await
}

struct Reader {
    read: OwnedReadHalf,
    buffer: Vec<u8>,
}

impl Reader {
    /// More bytes; `false` at the end.
    async fn more(&mut self) -> bool {
        let mut chunk = vec![0; 64 * 1024];
        match self.read.read(&mut chunk).await {
            Ok(0) | Err(_) => false,
            Ok(count) => {
                self.buffer.extend_from_slice(&chunk[..count]);
                true
            }
        }
    }

    async fn until_closed(&mut self) {
        while self.more().await {}
    }

    async fn echo(&mut self, write: &mut OwnedWriteHalf) {
        loop {
            let bytes = std::mem::take(&mut self.buffer);
            if write.write_all(&bytes).await.is_err() || !self.more().await {
                return;
            }
        }
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..end + 2).collect();
                return Some(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            if !self.more().await {
                return None;
            }
        }
    }

    async fn head(&mut self) -> Option<Seen> {
        let request = self.line().await?;
        let mut parts = request.split(' ');
        let mut seen = Seen { method: parts.next()?.to_owned(), target: parts.next()?.to_owned(), ..Seen::default() };
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Some(seen);
            }
            let (name, value) = line.split_once(':')?;
            seen.fields.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    /// Reads the body into `seen`; leaves `complete` false if it breaks off.
    async fn body(&mut self, seen: &mut Seen) {
        let mut digest = Context::new(&SHA256);
        let whole = if seen.field("transfer-encoding").is_some() {
            self.chunked(seen, &mut digest).await
        } else {
            let length = seen.field("content-length").map_or(0, |text| text.parse().unwrap());
            self.take(length, seen, &mut digest).await
        };
        seen.complete = whole.is_some();
        seen.body_sha256 = hex(digest.finish().as_ref());
    }

    async fn chunked(&mut self, seen: &mut Seen, digest: &mut Context) -> Option<()> {
        loop {
            let size = u64::from_str_radix(self.line().await?.split(';').next()?, 16).ok()?;
            if size == 0 {
                while !self.line().await?.is_empty() {}
                return Some(());
            }
            self.take(size, seen, digest).await?;
            self.line().await?;
        }
    }

    async fn take(&mut self, mut left: u64, seen: &mut Seen, digest: &mut Context) -> Option<()> {
        while left > 0 {
            if self.buffer.is_empty() && !self.more().await {
                return None;
            }
            let step = self.buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let bytes: Vec<u8> = self.buffer.drain(..step).collect();
            left -= step as u64;
            seen.body_bytes += step as u64;
            digest.update(&bytes);
            if seen.body.len() < KEPT_BYTES_MAX {
                seen.body.extend_from_slice(&bytes);
            }
        }
        Some(())
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn sha256(bytes: &[u8]) -> String {
    hex(aws_lc_rs::digest::digest(&SHA256, bytes).as_ref())
}
