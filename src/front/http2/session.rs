//! What Pingora's proxy sees of an HTTP/2 request that is streamed.

use std::io;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::Stream;
use http::{HeaderMap, StatusCode};
use pingora_core::protocols::Digest;
use pingora_core::protocols::http::custom::CustomMessageWrite;
use pingora_core::protocols::http::custom::server::Session;
use pingora_core::protocols::http::{HttpTask, ServerSession};
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::{Error, ErrorType, OrErr, Result};
use pingora_http::{RequestHeader, ResponseHeader};

use super::exchange::Http2Exchange;

type Reader = Box<dyn Stream<Item = Result<Bytes>> + Unpin + Send + Sync>;

/// Pingora's own session of HTTP/2 cannot be made from an exchange that was begun, so it is told of a protocol of ours.
struct Streamed {
    exchange: Http2Exchange,
    /// The answer's header, as far as Pingora asks for it: its status.
    written: Option<ResponseHeader>,
    drain_timeout: Option<Duration>,
}

impl Http2Exchange {
    /// Goes on in Pingora's hands.
    pub fn into_session(self) -> ServerSession {
        ServerSession::new_custom(Box::new(Streamed { exchange: self, written: None, drain_timeout: None }))
    }
}

impl Streamed {
    fn send_header(&mut self, header: ResponseHeader, end: bool) -> Result<()> {
        // The expectation was answered by us (RFC 9110 §10.1.1), and nothing is switched over HTTP/2 (RFC 9113 §8.6).
        if matches!(header.status, StatusCode::CONTINUE | StatusCode::SWITCHING_PROTOCOLS) {
            return Ok(());
        }
        let written = ResponseHeader::build_no_case(header.status, Some(0))?;
        self.exchange.write_header(header, end).map_err(unwritten)?;
        self.written = Some(written);
        Ok(())
    }

    async fn send_task(&mut self, task: HttpTask) -> Result<bool> {
        match task {
            HttpTask::Header(header, end) => self.send_header(*header, end).map(|()| end),
            HttpTask::Body(bytes, end) => {
                let bytes = bytes.unwrap_or_default();
                self.exchange.write_body(bytes, end).await.map_err(unwritten).map(|()| end)
            }
            HttpTask::Trailer(Some(trailers)) => {
                self.exchange.write_trailers(*trailers).map_err(unwritten).map(|()| true)
            }
            HttpTask::Trailer(None) | HttpTask::Done => Ok(true),
            HttpTask::UpgradedBody(..) => Error::e_explain(ErrorType::InternalError, "another protocol within HTTP/2"),
            HttpTask::Failed(error) => Err(error),
        }
    }
}

/// The error of a read from a caller, as Pingora has it.
pub fn unread(error: io::Error) -> Box<Error> {
    let kind = if error.kind() == io::ErrorKind::TimedOut { ErrorType::ReadTimedout } else { ErrorType::ReadError };
    Error::because(kind, "from a caller", error).into_down()
}

fn unwritten(error: io::Error) -> Box<Error> {
    let kind = if error.kind() == io::ErrorKind::TimedOut { ErrorType::WriteTimedout } else { ErrorType::WriteError };
    Error::because(kind, "to a caller over HTTP/2", error).into_down()
}

#[async_trait]
impl Session for Streamed {
    fn req_header(&self) -> &RequestHeader {
        self.exchange.request()
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        self.exchange.request_mut()
    }

    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        self.exchange.read_body().await.map_err(unread)
    }

    async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        if !no_body_expected && !self.exchange.is_body_done() {
            return self.read_body_bytes().await;
        }
        self.exchange.gone().await;
        Err(Error::explain(ErrorType::H2Error, "the caller is gone").into_down())
    }

    async fn drain_request_body(&mut self) -> Result<()> {
        let patience = self.drain_timeout.unwrap_or(Duration::MAX);
        let drained = async {
            while !self.exchange.is_body_done() {
                self.exchange.read_body().await.map_err(unread)?;
            }
            Ok(())
        };
        tokio::time::timeout(patience, drained).await.or_err(ErrorType::ReadTimedout, "draining a body")?
    }

    fn is_body_empty(&mut self) -> bool {
        self.exchange.is_body_empty()
    }

    fn is_body_done(&mut self) -> bool {
        self.exchange.is_body_done()
    }

    async fn write_response_header(&mut self, header: Box<ResponseHeader>, end: bool) -> Result<()> {
        self.send_header(*header, end)
    }

    async fn write_response_header_ref(&mut self, header: &ResponseHeader, end: bool) -> Result<()> {
        self.send_header(header.clone(), end)
    }

    async fn write_body(&mut self, bytes: Bytes, end: bool) -> Result<()> {
        self.exchange.write_body(bytes, end).await.map_err(unwritten)
    }

    async fn write_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        self.exchange.write_trailers(trailers).map_err(unwritten)
    }

    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        let mut end = false;
        for task in tasks {
            end |= self.send_task(task).await?;
        }
        if end {
            self.exchange.end().map_err(unwritten)?;
        }
        Ok(end)
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.written.as_ref()
    }

    async fn finish(&mut self) -> Result<()> {
        self.exchange.end().map_err(unwritten)
    }

    async fn shutdown(&mut self, _: u32, _: &str) {
        self.exchange.shut();
    }

    fn body_bytes_sent(&self) -> usize {
        usize::try_from(self.exchange.body_bytes().1).unwrap_or(usize::MAX)
    }

    fn body_bytes_read(&self) -> usize {
        usize::try_from(self.exchange.body_bytes().0).unwrap_or(usize::MAX)
    }

    fn digest(&self) -> Option<&Digest> {
        Some(&self.exchange.digest)
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        None // It is the connection's.
    }

    fn client_addr(&self) -> Option<&SocketAddr> {
        self.exchange.digest.socket_digest.as_ref()?.peer_addr()
    }

    fn server_addr(&self) -> Option<&SocketAddr> {
        self.exchange.digest.socket_digest.as_ref()?.local_addr()
    }

    // The exchange keeps the time of reads and writes, since before it came here.

    fn set_read_timeout(&mut self, _: Option<Duration>) {}

    fn get_read_timeout(&self) -> Option<Duration> {
        None
    }

    fn set_write_timeout(&mut self, _: Option<Duration>) {}

    fn get_write_timeout(&self) -> Option<Duration> {
        None
    }

    fn set_total_drain_timeout(&mut self, timeout: Option<Duration>) {
        self.drain_timeout = timeout;
    }

    fn get_total_drain_timeout(&self) -> Option<Duration> {
        self.drain_timeout
    }

    /// Pingora would log it; path and query are not for logs.
    fn request_summary(&self) -> String {
        self.exchange.request().method.to_string()
    }

    fn pseudo_raw_h1_request_header(&self) -> Bytes {
        Bytes::new() // For requests that Pingora's cache makes of others.
    }

    // A body of which Pingora has read is not sent again: `proxy::retry` sees to that.
    fn enable_retry_buffering(&mut self) {}

    fn retry_buffer_truncated(&self) -> bool {
        true
    }

    fn get_retry_buffer(&self) -> Option<Bytes> {
        None
    }

    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_reader(&mut self) -> Option<Reader> {
        None
    }

    fn restore_custom_message_reader(&mut self, _: Reader) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        None
    }

    fn restore_custom_message_writer(&mut self, _: Box<dyn CustomMessageWrite>) -> Result<()> {
        Ok(())
    }
}
