//! The back end: answers every request with the same hundred bytes of JSON, as cheaply as it can.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::wire;

/// Listens on a free port of 127.0.0.1 until the runtime ends.
pub async fn start() -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    Ok(address)
}

/// Requests here are GETs: a head, and no body.
async fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let response = response();
    let mut buffer: Vec<u8> = Vec::with_capacity(4096);
    while stream.read_buf(&mut buffer).await? > 0 {
        while let Some(end) = wire::head_end(&buffer) {
            buffer.drain(..end);
            stream.write_all(&response).await?;
        }
    }
    Ok(())
}

fn response() -> Vec<u8> {
    let frame = r#"{"data":{"id":"acc_0000000001","kind":"current","status":"enabled","note":""}}"#;
    let padding = "x".repeat(100_usize.saturating_sub(frame.len()));
    let body = frame.replace(r#""note":"""#, &format!(r#""note":"{padding}""#));
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into()
}
