//! HTTP/2 by hand, for what no client library would send.

use std::net::SocketAddr;
use std::sync::Arc;

use h2::client::SendRequest;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::wire::tls_config;
use super::within;

/// Opens an HTTP/2 connection over TLS to `localhost`.
pub async fn connect(address: SocketAddr) -> SendRequest<bytes::Bytes> {
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let connector = TlsConnector::from(Arc::new(tls_config(None, &["h2"])));
    let stream = within("a handshake", connector.connect(name, stream)).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (send, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    within("the connection's readiness", send.ready()).await.unwrap()
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
