//! HTTP/2 by hand, for what no client library would send.

use std::net::SocketAddr;
use std::sync::Arc;

use h2::client::SendRequest;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::client::TlsStream;

use super::wire::{handshake, tls_config};
use super::within;

/// Opens an HTTP/2 connection over TLS to `localhost`.
pub async fn connect(address: SocketAddr) -> SendRequest<bytes::Bytes> {
    connect_with(address, tls_config(None, &["h2"])).await.0
}

/// The same with a TLS configuration; the task ends with the connection.
pub async fn connect_with(
    address: SocketAddr,
    config: rustls::ClientConfig,
) -> (SendRequest<bytes::Bytes>, JoinHandle<Result<(), h2::Error>>) {
    let stream = raw(address, config).await;
    let (send, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    (within("the connection's readiness", send.ready()).await.unwrap(), connection)
}

/// TLS with `h2` agreed upon, and nothing said yet.
pub async fn raw(address: SocketAddr, config: rustls::ClientConfig) -> TlsStream<TcpStream> {
    let stream = handshake(address, &Arc::new(config)).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    stream
}

/// The preface and empty SETTINGS.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// A frame (RFC 9113 §4.1).
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The kinds of the frames in these bytes.
pub fn kinds(mut bytes: &[u8]) -> Vec<u8> {
    let mut kinds = Vec::new();
    while let [a, b, c, kind, ..] = *bytes {
        kinds.push(kind);
        let end = 9 + (usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c));
        bytes = bytes.get(end..).unwrap_or_default();
    }
    kinds
}

/// A header block (RFC 7541) of literals that index nothing, names included.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            let mut length = text.len();
            if length < 127 {
                block.push(u8::try_from(length).unwrap());
            } else {
                block.push(127);
                length -= 127;
                while length >= 128 {
                    block.push(u8::try_from(length % 128).unwrap() | 128);
                    length /= 128;
                }
                block.push(u8::try_from(length).unwrap());
            }
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// Sends a request with an empty body and reads the answer whole.
pub async fn ask(
    send: &mut SendRequest<bytes::Bytes>,
    request: http::Request<()>,
) -> Result<(u16, Vec<u8>), h2::Error> {
    let (answer, _) = send.send_request(request, true)?;
    let answer = within("an answer over HTTP/2", answer).await?;
    let status = answer.status().as_u16();
    let mut body = answer.into_body();
    let mut bytes = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        let _ = body.flow_control().release_capacity(chunk.len());
        bytes.extend_from_slice(&chunk);
    }
    Ok((status, bytes))
}
