//! HTTP/1.1 by hand, over TCP or TLS, for what no client library would send.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clearway::sandbox::pki::Identity;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls_pki_types::pem::PemObject;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::certificates::{install_provider, pki};
use super::within;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// One connection and the bytes that it has not given out yet.
pub struct Wire {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&self.body)))
    }

    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

impl Wire {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = within("a connection", TcpStream::connect(address)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream: Box::new(stream), buffer: Vec::new() }
    }

    /// TLS to `localhost` with ALPN `http/1.1`, presenting `identity`; an error is the handshake's.
    pub async fn tls(address: SocketAddr, identity: Option<&Identity>) -> std::io::Result<Self> {
        let config = tls_config(identity, &["http/1.1"]);
        Ok(Self::over(handshake(address, &Arc::new(config)).await?))
    }

    /// Over a stream that is open already.
    pub fn over(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        Self { stream: Box::new(stream), buffer: Vec::new() }
    }

    /// Keeps sending single bytes of `text`, over and over, until the gateway closes; returns what it said last.
    pub async fn drip(mut self, text: &str, every: Duration) -> Vec<u8> {
        let mut tick = tokio::time::interval(every);
        let mut bytes = text.bytes().cycle();
        let mut chunk = vec![0; 4096];
        loop {
            tokio::select! {
                _ = tick.tick() => {
                    let byte = [bytes.next().unwrap()];
                    if self.try_send(byte).await.is_err() {
                        // What it said before it closed may still be there.
                        while self.more().await {}
                        return self.buffer;
                    }
                }
                read = within("an end of the drip", self.stream.read(&mut chunk)) => match read {
                    Ok(0) | Err(_) => return self.buffer,
                    Ok(count) => self.buffer.extend_from_slice(&chunk[..count]),
                },
            }
        }
    }

    /// As [`Self::connect`], where the other side may refuse.
    pub async fn try_connect(address: SocketAddr) -> std::io::Result<Self> {
        let stream = within("a connection or its refusal", TcpStream::connect(address)).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: Box::new(stream), buffer: Vec::new() })
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).await.unwrap();
    }

    /// As [`Self::send`], where the other side may be gone.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.stream.write_all(bytes.as_ref()).await?;
        self.stream.flush().await
    }

    /// A whole request and its answer.
    pub async fn ask(&mut self, bytes: impl AsRef<[u8]>) -> Answer {
        self.send(bytes).await;
        self.answer().await
    }

    async fn more(&mut self) -> bool {
        let mut chunk = vec![0; 64 * 1024];
        match within("bytes of the gateway", self.stream.read(&mut chunk)).await {
            Ok(0) | Err(_) => false,
            Ok(count) => {
                self.buffer.extend_from_slice(&chunk[..count]);
                true
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

    /// The next answer; the connection must not end before it does.
    pub async fn answer(&mut self) -> Answer {
        self.try_answer().await.expect("the gateway closed without a whole answer")
    }

    /// The head of the next answer, interim ones included.
    pub async fn head(&mut self) -> Option<Answer> {
        let status = self.line().await?;
        let status = status.split(' ').nth(1)?.parse().ok()?;
        let mut fields = Vec::new();
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Some(Answer { status, fields, body: Vec::new() });
            }
            let (name, value) = line.split_once(':')?;
            fields.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    pub async fn try_answer(&mut self) -> Option<Answer> {
        let mut answer = self.head().await?;
        if answer.field("transfer-encoding").is_some() {
            loop {
                let size = usize::from_str_radix(&self.line().await?, 16).ok()?;
                let chunk = self.take(size).await?;
                self.line().await?;
                if size == 0 {
                    return Some(answer);
                }
                answer.body.extend(chunk);
            }
        }
        let length = answer.field("content-length").map_or(0, |text| text.parse().unwrap());
        answer.body = self.take(length).await?;
        Some(answer)
    }

    /// So many bytes; nothing if the connection ends before.
    pub async fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < count {
            if !self.more().await {
                return None;
            }
        }
        Some(self.buffer.drain(..count).collect())
    }

    /// Whether the gateway closes, with nothing more to say.
    pub async fn closed(&mut self) -> bool {
        while self.more().await {}
        self.buffer.is_empty()
    }
}

/// TLS to `localhost`; an error is the handshake's.
pub async fn handshake(
    address: SocketAddr,
    config: &Arc<rustls::ClientConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from("localhost").unwrap();
    within("a handshake", TlsConnector::from(Arc::clone(config)).connect(name, stream)).await
}

/// The gateway's server CA.
pub fn roots() -> rustls::RootCertStore {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&pki().server_ca).unwrap()).unwrap();
    roots
}

/// A client configuration that trusts the gateway's server CA.
pub fn tls_config(identity: Option<&Identity>, protocols: &[&str]) -> rustls::ClientConfig {
    install_provider();
    let builder = rustls::ClientConfig::builder().with_root_certificates(roots());
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let chain = vec![CertificateDer::from_pem_file(&identity.certificate).unwrap()];
            let key = PrivateKeyDer::from_pem_file(&identity.key).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    config
}
