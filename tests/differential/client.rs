//! A client that sends any bytes, and takes sound answers only.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::strict::{self, Answer, Reading};
use crate::harness::within;

pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    ended: bool,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = within("a connection", TcpStream::connect(address)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::new(), ended: false }
    }

    /// Sends what the gateway still takes: it may have closed already.
    pub async fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    /// Says that nothing more will come.
    pub async fn finish(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// The next final answer; `None` when the connection ends without one.
    pub async fn answer(&mut self, to_head: bool) -> Result<Option<Answer>, String> {
        loop {
            match strict::answer(&self.buffer, to_head, self.ended) {
                Reading::Whole(answer, bytes) => {
                    self.buffer.drain(..bytes);
                    if answer.status >= 200 {
                        return Ok(Some(answer));
                    }
                }
                Reading::Malformed(why) => {
                    return Err(format!("{why} in an answer: {:?}", String::from_utf8_lossy(&self.buffer)));
                }
                Reading::Incomplete if self.ended => {
                    self.buffer.clear();
                    return Ok(None);
                }
                Reading::Incomplete => self.more().await,
            }
        }
    }

    /// How many bytes come until the connection ends.
    pub async fn rest(&mut self) -> usize {
        while !self.ended {
            self.more().await;
        }
        self.buffer.len()
    }

    async fn more(&mut self) {
        let mut chunk = [0; 16 * 1024];
        match within("bytes of the gateway", self.stream.read(&mut chunk)).await {
            Ok(count) if count > 0 => self.buffer.extend_from_slice(&chunk[..count]),
            _ => self.ended = true,
        }
    }
}
