//! A listening socket with its TLS.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

use super::tls::{ServerCertificate, server_config};
use super::{ClientCertificate, Front, Inherited, ListenerSettings, ListenerTls};

/// Connections that the kernel holds ready for us.
const BACKLOG: i32 = 1024;

/// Why a listener cannot be opened or its certificate not be changed.
#[derive(Debug, thiserror::Error)]
pub enum FrontError {
    #[error("listener {listener}: cannot listen on {address}")]
    Bind { listener: String, address: SocketAddr, source: io::Error },
    #[error("listener {listener}: plain HTTP is for loopback addresses, {address} is not one")]
    PlainBeyondLoopback { listener: String, address: SocketAddr },
    #[error("cannot read PEM from {path}")]
    Pem { path: PathBuf, source: rustls_pki_types::pem::Error },
    #[error("{path} holds no certificate")]
    NoCertificate { path: PathBuf },
    #[error("the certificate of {path} does not fit its private key or cannot be used")]
    CertificateUnusable { path: PathBuf, source: rustls::Error },
    #[error("the TLS configuration is not possible")]
    Tls(#[source] rustls::Error),
}

/// A listener that is open and not yet served.
#[derive(Debug)]
pub struct BoundListener {
    pub(super) name: Arc<str>,
    pub(super) socket: TcpListener,
    pub(super) tls: Option<Arc<ServerConfig>>,
    pub(super) client_certificate: ClientCertificate,
    certificate: Option<Arc<ServerCertificate>>,
    address: SocketAddr,
}

impl BoundListener {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it listens: the port that was found, if port 0 was asked for.
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The handle by which a reload changes the certificate; keep it, since serving consumes the listener.
    pub fn certificate(&self) -> Option<Arc<ServerCertificate>> {
        self.certificate.clone()
    }
}

impl Front {
    /// Opens a listener. Must run within a tokio runtime.
    pub fn bind(&self, settings: &ListenerSettings) -> Result<BoundListener, FrontError> {
        self.bind_or_take(settings, &mut Inherited::none())
    }

    /// The same, with the socket that was handed over for this listener's address, if there is one.
    pub fn bind_or_take(
        &self,
        settings: &ListenerSettings,
        inherited: &mut Inherited,
    ) -> Result<BoundListener, FrontError> {
        let socket = match inherited.take(settings.address) {
            Some(socket) => socket,
            None => listen(settings.address).map_err(|source| bind_error(settings, source))?,
        };
        self.adopt(settings, socket)
    }

    fn adopt(&self, settings: &ListenerSettings, socket: StdListener) -> Result<BoundListener, FrontError> {
        if settings.tls.is_none() && !settings.address.ip().is_loopback() {
            let (listener, address) = (settings.name.clone(), settings.address);
            return Err(FrontError::PlainBeyondLoopback { listener, address });
        }
        let certificate = settings.tls.as_ref().map(ServerCertificate::load).transpose()?;
        let tls = match (&settings.tls, &certificate) {
            (Some(ListenerTls { client_certificate, .. }), Some(certificate)) => {
                Some(server_config(*client_certificate, Arc::clone(certificate), &self.readings, &self.clock)?)
            }
            _ => None,
        };
        let socket = socket.set_nonblocking(true).and_then(|()| TcpListener::from_std(socket));
        let socket = socket.map_err(|source| bind_error(settings, source))?;
        let address = socket.local_addr().map_err(|source| bind_error(settings, source))?;
        let client_certificate = settings.tls.as_ref().map_or(ClientCertificate::None, |tls| tls.client_certificate);
        let name = Arc::from(settings.name.as_str());
        Ok(BoundListener { name, socket, tls, client_certificate, certificate, address })
    }
}

fn bind_error(settings: &ListenerSettings, source: io::Error) -> FrontError {
    FrontError::Bind { listener: settings.name.clone(), address: settings.address, source }
}

fn listen(address: SocketAddr) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for the connections of the process before it.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
