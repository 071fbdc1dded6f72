//! A kept connection on which one thing is asked at a time: the endpoints of the authorization server, and its pages.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use rustls::ClientConfig;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::load::connect;
use super::wire;

pub struct Endpoint {
    stream: TlsStream<TcpStream>,
    buffer: Vec<u8>,
}

/// A whole answer.
pub struct Answer {
    pub status: u16,
    head: String,
    pub body: String,
}

impl Answer {
    pub fn expect(self, status: u16) -> anyhow::Result<Self> {
        anyhow::ensure!(self.status == status, "not a {status}: {}{}", self.head, self.body);
        Ok(self)
    }

    /// The first field of this name.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.head.lines().filter_map(|line| line.split_once(':'));
        fields.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    /// A text of its JSON.
    pub fn text(&self, member: &str) -> anyhow::Result<String> {
        let answer: Value = serde_json::from_str(&self.body)?;
        Ok(answer.get(member).and_then(Value::as_str).with_context(|| format!("no {member}"))?.to_owned())
    }
}

impl Endpoint {
    pub async fn connect(address: SocketAddr, tls: &Arc<ClientConfig>) -> anyhow::Result<Self> {
        Ok(Self { stream: connect(address, tls).await?, buffer: Vec::with_capacity(4096) })
    }

    /// `fields`: further ones, each with its line end.
    pub async fn get(&mut self, target: &str, fields: &str) -> anyhow::Result<Answer> {
        self.ask(&format!("GET {target} HTTP/1.1\r\nhost: localhost\r\n{fields}\r\n")).await
    }

    pub async fn post(&mut self, path: &str, fields: &str, form: &str) -> anyhow::Result<Answer> {
        let length = form.len();
        self.ask(&format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-www-form-urlencoded\r\n\
             content-length: {length}\r\n{fields}\r\n{form}"
        ))
        .await
    }

    async fn ask(&mut self, request: &str) -> anyhow::Result<Answer> {
        self.stream.write_all(request.as_bytes()).await?;
        self.stream.flush().await?;
        loop {
            if let Some(whole) = wire::response(&self.buffer) {
                let text = |range| String::from_utf8_lossy(self.buffer.get(range).unwrap_or_default()).into_owned();
                let answer =
                    Answer { status: whole.status, head: text(0..whole.body.start), body: text(whole.body.clone()) };
                self.buffer.drain(..whole.body.end);
                return Ok(answer);
            }
            let read = self.stream.read_buf(&mut self.buffer).await?;
            anyhow::ensure!(read > 0, "the connection was closed");
        }
    }
}
