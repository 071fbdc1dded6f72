//! A back end that speaks HTTP/2 and reads strictly; what it answers with is another matter.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::super::hpack::Decoder;
use super::super::http2::{ACK, Block, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM};
use super::super::http2::{PADDED, PRIORITY, SETTINGS};
use super::cases::{Due, Exchange, Then};
use crate::harness::h2c::frame;
use crate::harness::within;

/// How long a back end goes on with what it does, if nobody stops it.
const PATIENCE: Duration = Duration::from_secs(10);
/// Fields that must not come from a client, or not over HTTP/2.
const NEVER: [&str; 10] = [
    "authorization",
    "connection",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
    "x-forwarded-for",
];

/// What an answer is to a request whose query says `m=` and its number.
pub type Answers = dyn Fn(&str, &Exchange) -> Option<(Vec<u8>, Then, Due)> + Send + Sync;

struct Shared {
    answers: Box<Answers>,
    /// How often each request arrived, by method and target.
    arrivals: Mutex<HashMap<String, usize>>,
    violations: Mutex<Vec<String>>,
    /// Who waits, by its target, may be answered.
    released: watch::Sender<Vec<String>>,
    arrived: watch::Sender<usize>,
}

/// Dropping it stops it.
pub struct Server {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Server {
    pub async fn start(
        answers: impl Fn(&str, &Exchange) -> Option<(Vec<u8>, Then, Due)> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            answers: Box::new(answers),
            arrivals: Mutex::default(),
            violations: Mutex::default(),
            released: watch::Sender::new(Vec::new()),
            arrived: watch::Sender::new(0),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { address, shared, task }
    }

    pub fn arrivals(&self) -> HashMap<String, usize> {
        self.shared.arrivals.lock().unwrap().clone()
    }

    /// Once this was asked for, by method and target.
    pub async fn has(&self, asked: &str) {
        let mut arrived = self.shared.arrived.subscribe();
        let there = arrived.wait_for(|_| self.shared.arrivals.lock().unwrap().contains_key(asked));
        within("a request at the back end", there).await.unwrap();
    }

    /// Whoever waits with this target has waited long enough.
    pub fn release(&self, target: &str) {
        self.shared.released.send_modify(|released| released.push(target.to_owned()));
    }

    pub fn violations(&self) -> Vec<String> {
        self.shared.violations.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut guests = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        guests.spawn(serve(stream, Arc::clone(&shared)));
        while guests.try_join_next().is_some() {}
    }
}

#[derive(Default)]
struct Open {
    fields: Block,
    body: usize,
}

struct Connection {
    shared: Arc<Shared>,
    read: OwnedReadHalf,
    write: Arc<tokio::sync::Mutex<OwnedWriteHalf>>,
    buffer: Vec<u8>,
    decoder: Decoder,
    streams: BTreeMap<u32, Open>,
    /// Answers under way; they end with the connection.
    work: JoinSet<()>,
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let (read, write) = stream.into_split();
    let write = Arc::new(tokio::sync::Mutex::new(write));
    let (streams, work) = (BTreeMap::new(), JoinSet::new());
    let mut connection =
        Connection { shared, read, write, buffer: Vec::new(), decoder: Decoder::default(), streams, work };
    if let Err(violation) = connection.converse().await {
        connection.shared.violations.lock().unwrap().push(violation);
    }
}

impl Connection {
    /// Until the peer ends it; an error is what no client may do.
    async fn converse(&mut self) -> Result<(), String> {
        let Some(preface) = self.take(24).await else { return Ok(()) };
        if preface != b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" {
            return Err(format!("no HTTP/2: {:?}", String::from_utf8_lossy(&preface)));
        }
        self.say(frame(SETTINGS, 0, 0, b""));
        while let Some((kind, flags, stream, payload)) = self.frame().await {
            match kind {
                SETTINGS if flags & ACK == 0 => self.say(frame(SETTINGS, ACK, 0, b"")),
                PING if flags & ACK == 0 => self.say(frame(PING, ACK, 0, &payload)),
                HEADERS => {
                    let fields = self.block(flags, stream, payload).await?;
                    self.begun(stream, fields)?;
                }
                DATA if flags & PADDED != 0 => return Err("padding".into()),
                DATA => {
                    let open = self.streams.get_mut(&stream);
                    // A stream that was answered early may still send.
                    if let Some(open) = open {
                        open.body += payload.len();
                    }
                }
                RST_STREAM => drop(self.streams.remove(&stream)),
                CONTINUATION => return Err("a continuation of nothing".into()),
                GOAWAY => return Ok(()),
                _ => {}
            }
            if matches!(kind, HEADERS | DATA) && flags & END_STREAM != 0 {
                self.ended(stream)?;
            }
        }
        Ok(())
    }

    async fn block(&mut self, flags: u8, stream: u32, payload: Vec<u8>) -> Result<Block, String> {
        if flags & (PADDED | PRIORITY) != 0 {
            return Err("padding or priority".into());
        }
        let mut block = payload;
        let mut whole = flags & END_HEADERS != 0;
        while !whole {
            match self.frame().await {
                Some((CONTINUATION, flags, same, payload)) if same == stream => {
                    block.extend(payload);
                    whole = flags & END_HEADERS != 0;
                }
                Some(_) => return Err("another frame within a block".into()),
                None => return Ok(Block::new()),
            }
        }
        self.decoder.decode(&block).ok_or_else(|| format!("a block that cannot be read: {block:02x?}"))
    }

    fn begun(&mut self, stream: u32, fields: Block) -> Result<(), String> {
        if self.streams.contains_key(&stream) || stream.is_multiple_of(2) {
            return Err(format!("a second header section, or a stream of ours: {stream}"));
        }
        let asked = asked(&fields);
        self.shared.violations.lock().unwrap().extend(faults(&fields));
        *self.shared.arrivals.lock().unwrap().entry(asked).or_default() += 1;
        self.shared.arrived.send_modify(|count| *count += 1);
        self.streams.insert(stream, Open { fields, body: 0 });
        Ok(())
    }

    /// A request is whole: it is answered.
    fn ended(&mut self, stream: u32) -> Result<(), String> {
        let Some(open) = self.streams.remove(&stream) else { return Ok(()) };
        let length = value(&open.fields, "content-length");
        if !length.is_empty() && length != open.body.to_string() {
            return Err(format!("a length of {length} for {} bytes", open.body));
        }
        let target = value(&open.fields, ":path");
        let again = self.shared.arrivals.lock().unwrap().get(&asked(&open.fields)).is_some_and(|count| *count > 1);
        let own = serde_json::json!({ "own": target }).to_string().into_bytes();
        let own = if value(&open.fields, ":method") == "HEAD" { Vec::new() } else { own };
        let exchange = Exchange { id: stream, own };
        let mode = target.split(['?', '&']).find_map(|part| part.strip_prefix("m=")).unwrap_or_default().to_owned();
        let (write, shared) = (Arc::clone(&self.write), Arc::clone(&self.shared));
        self.work.spawn(async move {
            let hostile = (shared.answers)(&mode, &exchange).filter(|(.., due)| *due != Due::Unprocessed || !again);
            if mode == "wait" {
                let mut released = shared.released.subscribe();
                let _ = released.wait_for(|released| released.contains(&target)).await;
            }
            let (bytes, then, _) = hostile.unwrap_or_else(|| (exchange.sound(), Then::Goes, Due::Passes));
            let mut write = write.lock().await;
            let told = tokio::time::timeout(PATIENCE, write.write_all(&bytes)).await;
            match then {
                Then::Goes if matches!(told, Ok(Ok(()))) => {}
                Then::Drips(more) => drip(&mut write, exchange.id, more).await,
                Then::Goes | Then::Closes => drop(write.shutdown().await),
            }
        });
        Ok(())
    }

    fn say(&self, bytes: Vec<u8>) {
        let write = Arc::clone(&self.write);
        // Not waited for: whoever floods does not read either.
        tokio::spawn(async move { drop(write.lock().await.write_all(&bytes).await) });
    }

    async fn frame(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        let head = self.take(9).await?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
        Some((head[3], head[4], stream, self.take(length).await?))
    }

    async fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < count {
            let mut chunk = [0; 16 * 1024];
            match self.read.read(&mut chunk).await {
                Ok(read) if read > 0 => self.buffer.extend_from_slice(&chunk[..read]),
                _ => return None,
            }
        }
        Some(self.buffer.drain(..count).collect())
    }
}

async fn drip(write: &mut OwnedWriteHalf, id: u32, more: fn(u32) -> Vec<u8>) {
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    let drips = async {
        while write.write_all(&more(id)).await.is_ok() {
            pace.tick().await;
        }
    };
    let _ = tokio::time::timeout(PATIENCE, drips).await;
    let _ = write.shutdown().await;
}

fn value(fields: &Block, name: &str) -> String {
    let found = fields.iter().find(|(own, _)| own == name.as_bytes());
    found.map_or_else(String::new, |(_, value)| String::from_utf8_lossy(value).into_owned())
}

/// Method and target.
fn asked(fields: &Block) -> String {
    format!("{} {}", value(fields, ":method"), value(fields, ":path"))
}

/// What a request over HTTP/2 must not be, coming from the gateway.
fn faults(fields: &Block) -> Vec<String> {
    let names: Vec<String> = fields.iter().map(|(name, _)| String::from_utf8_lossy(name).into_owned()).collect();
    let mut faults = Vec::new();
    let mut pseudo: Vec<&str> = names.iter().filter(|name| name.starts_with(':')).map(String::as_str).collect();
    let first = names.iter().take_while(|name| name.starts_with(':')).count();
    pseudo.sort_unstable();
    if pseudo != [":authority", ":method", ":path", ":scheme"] || first != 4 {
        faults.push(format!("pseudo-fields {names:?}"));
    }
    if !value(fields, ":path").starts_with("/v1/") {
        faults.push(format!("a target that is not ours: {}", value(fields, ":path")));
    }
    for name in &names {
        let twice = names.iter().filter(|other| *other == name).count() > 1;
        if NEVER.contains(&name.as_str()) || twice || name.bytes().any(|b| b.is_ascii_uppercase() || b == b'_') {
            faults.push(format!("the field {name}"));
        }
    }
    faults
}
