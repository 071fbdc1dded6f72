//! One back end of an institution: an accept loop of its own, mutual TLS, HTTP/1.1 and HTTP/2, and a switch.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use super::Institution;
use super::control;
use super::fault::Faults;
use super::line::{Cut, Knife, SharedStream, Stream};
use super::misbehave::misbehave;
use super::received::Received;
use super::tls::{self, TlsError};

const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
const HEADERS_MAX: Duration = Duration::from_secs(30);
const COMMANDS_MAX: usize = 16;

/// Where and as whom a back end listens.
#[derive(Debug, Clone)]
pub struct SandboxSettings {
    /// Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Absent: plain HTTP, on a loopback address only.
    pub tls: Option<SandboxTls>,
    pub institution: Institution,
    /// Loopback address of the plain HTTP control endpoint; absent: none.
    pub control: Option<SocketAddr>,
    /// Connections past it are closed at once.
    pub connections_max: usize,
}

impl SandboxSettings {
    /// Plain HTTP on a free loopback port.
    pub fn plain(institution: Institution) -> Self {
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        Self { listen, tls: None, institution, control: None, connections_max: 1024 }
    }

    /// TLS on a free loopback port.
    pub fn with_tls(institution: Institution, tls: SandboxTls) -> Self {
        Self { tls: Some(tls), ..Self::plain(institution) }
    }
}

/// PEM files.
#[derive(Debug, Clone)]
pub struct SandboxTls {
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// Only certificates under this authority may call; absent: none is asked for.
    pub client_ca: Option<PathBuf>,
}

/// Why a back end does not start or resume.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    #[error("{0} cannot be listened on")]
    Bind(SocketAddr, #[source] io::Error),
    #[error("{0} is not a loopback address, and what listens there has no TLS")]
    NotLoopback(SocketAddr),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("the back end has stopped")]
    Stopped,
}

/// Whether a back end can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Availability {
    Up,
    /// Its port is closed: connections are refused, those there were are cut.
    Refusing,
    /// Its port is open and nobody is at home: connections are made and never served.
    BlackHole,
}

/// A back end under way. Dropping it stops it.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    control: Option<SocketAddr>,
    scheme: &'static str,
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

/// What the accept loop, the control endpoint and the handle look at together.
#[derive(Debug)]
pub(super) struct Shared {
    pub faults: Faults,
    pub received: Received,
    institution: Institution,
    availability: Mutex<Availability>,
    commands: mpsc::Sender<Command>,
}

#[derive(Debug)]
struct Command {
    wanted: Availability,
    done: oneshot::Sender<Result<(), SandboxError>>,
}

/// Starts a back end; it answers when this returns.
pub async fn start(settings: SandboxSettings) -> Result<Running, SandboxError> {
    if settings.tls.is_none() && !settings.listen.ip().is_loopback() {
        return Err(SandboxError::NotLoopback(settings.listen));
    }
    let acceptor = settings.tls.as_ref().map(tls::acceptor).transpose()?;
    let scheme = if acceptor.is_some() { "https" } else { "http" };
    let listener = bind(settings.listen).await?;
    let address = listener.local_addr().map_err(|error| SandboxError::Bind(settings.listen, error))?;

    let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
    let shared = Arc::new(Shared {
        faults: Faults::default(),
        received: Received::default(),
        institution: settings.institution,
        availability: Mutex::new(Availability::Up),
        commands,
    });
    let house = House { address, acceptor, connections_max: settings.connections_max, shared: shared.clone() };
    let mut tasks = Vec::new();
    let mut control = None;
    if let Some(wanted) = settings.control {
        let (bound, task) = control::start(wanted, shared.clone()).await?;
        control = Some(bound);
        tasks.push(task);
    }
    tasks.push(tokio::spawn(house.run(listener, inbox)));
    Ok(Running { address, control, scheme, shared, tasks })
}

impl Running {
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// `https://localhost:{port}` or `http://127.0.0.1:{port}`.
    pub fn url(&self) -> String {
        let host = if self.scheme == "https" { "localhost" } else { "127.0.0.1" };
        format!("{}://{host}:{}", self.scheme, self.address.port())
    }

    /// Where the control endpoint listens.
    pub const fn control(&self) -> Option<SocketAddr> {
        self.control
    }

    pub fn institution(&self) -> &Institution {
        &self.shared.institution
    }

    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    pub fn received(&self) -> &Received {
        &self.shared.received
    }

    /// Goes down or comes up again at the same address; in force when this returns.
    pub async fn set_availability(&self, wanted: Availability) -> Result<(), SandboxError> {
        self.shared.set_availability(wanted).await
    }

    /// Refuses connections and cuts those there are.
    pub async fn pause(&self) -> Result<(), SandboxError> {
        self.set_availability(Availability::Refusing).await
    }

    /// Comes back after [`Running::pause`].
    pub async fn resume(&self) -> Result<(), SandboxError> {
        self.set_availability(Availability::Up).await
    }

    /// Stops for good; the port is free when this returns.
    pub async fn stop(mut self) {
        for task in self.tasks.drain(..) {
            task.abort();
            let _ = task.await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Shared {
    pub async fn set_availability(&self, wanted: Availability) -> Result<(), SandboxError> {
        let (done, outcome) = oneshot::channel();
        self.commands.send(Command { wanted, done }).await.map_err(|_| SandboxError::Stopped)?;
        outcome.await.map_err(|_| SandboxError::Stopped)??;
        *self.availability.lock().unwrap_or_else(PoisonError::into_inner) = wanted;
        Ok(())
    }

    pub fn availability(&self) -> Availability {
        *self.availability.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self, router: Router, request: Request<Incoming>, knife: Knife) -> Result<Response, Infallible> {
        self.received.record(request.method(), request.uri(), request.version(), request.headers());
        let met = self.faults.meet(request.method(), request.uri().path());
        let proper = async { router.oneshot(request.map(Body::new)).await.unwrap_or_else(|never| match never {}) };
        Ok(match met {
            Some(met) => misbehave(met, proper, &knife).await,
            None => proper.await,
        })
    }
}

/// Binds; the port can be taken again at once after a stop (SO_REUSEADDR, which tokio sets on Unix).
pub(super) async fn bind(address: SocketAddr) -> Result<TcpListener, SandboxError> {
    TcpListener::bind(address).await.map_err(|error| SandboxError::Bind(address, error))
}

/// The accept loop's own.
struct House {
    address: SocketAddr,
    acceptor: Option<TlsAcceptor>,
    connections_max: usize,
    shared: Arc<Shared>,
}

impl House {
    async fn run(self, listener: TcpListener, mut inbox: mpsc::Receiver<Command>) {
        let mut listener = Some(listener);
        let mut accepting = true;
        let mut guests = JoinSet::new();
        loop {
            tokio::select! {
                command = inbox.recv() => {
                    let Some(Command { wanted, done }) = command else { return };
                    accepting = wanted == Availability::Up;
                    if !accepting {
                        guests.shutdown().await;
                    }
                    let outcome = self.arrange(&mut listener, wanted).await;
                    let _ = done.send(outcome);
                }
                stream = accept(listener.as_ref()), if accepting => {
                    if guests.len() < self.connections_max {
                        guests.spawn(serve(stream, self.acceptor.clone(), self.shared.clone()));
                    }
                }
                _ = guests.join_next(), if !guests.is_empty() => {}
            }
        }
    }

    async fn arrange(&self, listener: &mut Option<TcpListener>, wanted: Availability) -> Result<(), SandboxError> {
        match wanted {
            Availability::Refusing => *listener = None,
            Availability::Up | Availability::BlackHole if listener.is_none() => {
                *listener = Some(bind(self.address).await?);
            }
            Availability::Up | Availability::BlackHole => (),
        }
        Ok(())
    }
}

async fn accept(listener: Option<&TcpListener>) -> TcpStream {
    let Some(listener) = listener else { return std::future::pending().await };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            // Out of descriptors, or the peer has gone: neither ends the loop.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn serve(stream: TcpStream, acceptor: Option<TlsAcceptor>, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let stream = match acceptor {
        None => Stream::Plain(stream),
        Some(acceptor) => match timeout(HANDSHAKE_MAX, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => Stream::Tls(Box::new(stream)),
            Ok(Err(_)) | Err(_) => return,
        },
    };
    let mut stream = SharedStream::new(stream);
    let (knife, mut cuts) = Knife::new();
    let router = shared.institution.router().clone();
    let service = service_fn(|request| {
        let (shared, router, knife) = (shared.clone(), router.clone(), knife.clone());
        async move { shared.answer(router, request, knife).await }
    });
    let cut = {
        let builder = builder();
        let connection = builder.serve_connection(TokioIo::new(stream.clone()), service);
        tokio::select! {
            _ = connection => return,
            cut = cuts.recv() => cut,
        }
    };
    if let Some(Cut::Raw(bytes)) = cut {
        let _ = stream.write_all(&bytes).await;
        let _ = stream.flush().await;
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS_MAX).max_buf_size(64 * 1024);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(256).max_header_list_size(64 * 1024);
    builder
}
