//! HTTP/2 by single frames: a client that sends what it is told, and reads only what it must.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::harness::wire::tls_config;
use crate::harness::within;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const ACK: u8 = 1;
pub const CONTINUATION: u8 = 9;
pub const PADDED: u8 = 8;
pub const PRIORITY: u8 = 0x20;

/// The fields of a header block.
pub type Block = Vec<(Vec<u8>, Vec<u8>)>;

/// How a stream ended.
#[derive(Debug)]
pub enum Ended {
    Answered {
        status: u16,
        body: Vec<u8>,
    },
    Reset,
    /// The connection ended first.
    Closed,
}

use Ended::{Answered, Closed, Reset};

pub struct Frames {
    stream: TlsStream<TcpStream>,
    buffer: Vec<u8>,
}

impl Frames {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = within("a connection", TcpStream::connect(address)).await.unwrap();
        let connector = TlsConnector::from(Arc::new(tls_config(None, &["h2"])));
        let name = ServerName::try_from("localhost").unwrap();
        let stream = within("a handshake", connector.connect(name, stream)).await.unwrap();
        let mut frames = Self { stream, buffer: Vec::new() };
        let _ = frames.stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        // SETTINGS_HEADER_TABLE_SIZE 0: so that every status comes as it is.
        frames.send(SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0]).await;
        frames
    }

    pub async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags];
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.extend_from_slice(payload);
        let _ = self.stream.write_all(&frame).await; // The gateway may have closed already.
        let _ = self.stream.flush().await;
    }

    pub async fn end_of(&mut self, wanted: u32) -> Ended {
        let (mut status, mut body) = (0, Vec::new());
        while let Some((kind, flags, stream, payload)) = self.frame().await {
            match kind {
                SETTINGS if flags & ACK == 0 => self.send(SETTINGS, ACK, 0, &[]).await,
                HEADERS if stream == wanted => status = status_of(&payload),
                DATA if stream == wanted => body.extend_from_slice(&payload),
                RST_STREAM if stream == wanted && status == 0 => return Reset,
                PING if flags & ACK != 0 => return Reset,
                GOAWAY if u32::from_be_bytes([payload[0], payload[1], payload[2], payload[3]]) < wanted => {
                    return Closed;
                }
                _ => {}
            }
            if stream == wanted && matches!(kind, HEADERS | DATA) && flags & END_STREAM != 0 {
                return Answered { status, body };
            }
        }
        Closed
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
            match within("frames of the gateway", self.stream.read(&mut chunk)).await {
                Ok(read) if read > 0 => self.buffer.extend_from_slice(&chunk[..read]),
                _ => return None,
            }
        }
        Some(self.buffer.drain(..count).collect())
    }
}

/// A header block of literals without indexing and without Huffman codes (RFC 7541 §6.2.2).
pub fn block(fields: &Block) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            length(text.len(), &mut block);
            block.extend_from_slice(text);
        }
    }
    block
}

/// RFC 7541 §5.1 with a prefix of seven bits.
fn length(mut length: usize, block: &mut Vec<u8>) {
    if length < 127 {
        block.push(length as u8);
        return;
    }
    block.push(127);
    length -= 127;
    while length >= 128 {
        block.push((length % 128) as u8 | 128);
        length /= 128;
    }
    block.push(length as u8);
}

/// The `:status` that a block begins with: of the static table, or a literal under its name (RFC 7541 §6, §A).
fn status_of(block: &[u8]) -> u16 {
    let mut block = block;
    while let [0x20..=0x3f, rest @ ..] = block {
        block = rest; // A change of the table's size.
    }
    match block {
        [byte @ 0x88..=0x8e, ..] => [200, 204, 206, 304, 400, 404, 500][usize::from(byte - 0x88)],
        [0x48 | 0x08 | 0x18, length, rest @ ..] if length & 0x80 != 0 => {
            huffman_digits(&rest[..usize::from(length & 0x7f)])
        }
        [0x48 | 0x08 | 0x18, _, a, b, c, ..] => {
            [a, b, c].iter().fold(0, |sum, digit| sum * 10 + u16::from(**digit - b'0'))
        }
        other => panic!("a block that does not begin with a status: {other:02x?}"),
    }
}

/// Three digits in the Huffman code of RFC 7541 §B: 0, 1 and 2 take five bits, the others six.
fn huffman_digits(bytes: &[u8]) -> u16 {
    let bits: Vec<u8> = bytes.iter().flat_map(|byte| (0..8).rev().map(move |shift| byte >> shift & 1)).collect();
    let number = |bits: &[u8]| bits.iter().fold(0_u16, |sum, bit| sum * 2 + u16::from(*bit));
    let (mut at, mut status) = (0, 0);
    for _ in 0..3 {
        let five = number(&bits[at..at + 5]);
        let (digit, width) = if five < 3 { (five, 5) } else { (number(&bits[at..at + 6]) - 0x19 + 3, 6) };
        status = status * 10 + digit;
        at += width;
    }
    status
}
