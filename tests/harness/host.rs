//! An HTTPS host of a client's own: where its `jwks_uri` leads, and where it wants to be pinged.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::mpsc;

/// What it answers a POST with: status line and fields, without the last line break.
pub const NO_CONTENT: &str = "204 No Content";

/// One that listens, so that its URL is known, and answers once it serves.
pub struct Host(TcpListener);

impl Host {
    pub fn bind() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    pub fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.0.local_addr().unwrap().port())
    }

    /// With `server.pem` and `server.key` of a folder: a GET gets `document`, a POST is answered by `posted` and told, head
    /// and body.
    pub fn serve(self, pki: &Path, document: String, posted: &'static str) -> mpsc::UnboundedReceiver<String> {
        let chain = CertificateDer::pem_file_iter(pki.join("server.pem")).unwrap();
        let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_file(pki.join("server.key")).unwrap();
        let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
        let config = Arc::new(config);
        let (send, receive) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            for stream in self.0.incoming() {
                let Ok(mut stream) = stream else { return };
                let mut tls = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
                let mut tls = rustls::Stream::new(&mut tls, &mut stream);
                let text = read(&mut tls);
                let (head, body) = if text.starts_with("GET ") { ("200 OK", &*document) } else { (posted, "") };
                let length = body.len();
                let kind = "content-type: application/json\r\nconnection: close";
                let answer = format!("HTTP/1.1 {head}\r\n{kind}\r\ncontent-length: {length}\r\n\r\n{body}");
                let _sent = tls.write_all(answer.as_bytes()).and_then(|()| tls.flush());
                tls.conn.send_close_notify();
                let _flushed = tls.flush();
                if text.starts_with("POST ") && send.send(text).is_err() {
                    return;
                }
            }
        });
        receive
    }
}

/// A request: what is posted is one JSON object without another in it.
fn read(stream: &mut impl Read) -> String {
    let mut text = String::new();
    let mut chunk = [0; 4096];
    while !(text.contains('}') || (text.starts_with("GET ") && text.ends_with("\r\n\r\n"))) {
        match stream.read(&mut chunk) {
            Ok(count) if count > 0 => text.push_str(&String::from_utf8_lossy(&chunk[..count])),
            _ => break,
        }
    }
    text
}
