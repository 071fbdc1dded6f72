//! The caller's side of an exchange: read from it, answer it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::AsHeaderName;
use http::{HeaderMap, HeaderValue, StatusCode, Version};
use pingora_core::protocols::http::{HttpTask, ServerSession};
use pingora_core::{ErrorType, OrErr, Result};
use pingora_http::{RequestHeader, ResponseHeader};

use crate::domain::Downstream;
use crate::front::{Exchange, Http2Exchange, downstream, unread};

/// Whoever waits for an answer.
#[expect(clippy::large_enum_variant, reason = "most requests are plain")]
pub enum Caller<'s> {
    /// A request of HTTP/1.1 without a body, or with one whose length is told.
    Plain(Exchange<'s>),
    /// A request of HTTP/2, plain or not.
    Http2(&'s mut Http2Exchange),
    /// What is not plain over HTTP/1, and what is streamed.
    Session(&'s mut ServerSession),
}

impl Caller<'_> {
    /// The request as it is now, of a caller whose request is read again.
    pub fn into_request(self) -> Option<Box<RequestHeader>> {
        match self {
            Self::Plain(exchange) => Some(Box::new(exchange.into_request())),
            Self::Http2(_) | Self::Session(_) => None,
        }
    }

    pub fn downstream(&self) -> Option<&Arc<dyn Downstream>> {
        match self {
            Self::Plain(exchange) => Some(exchange.downstream()),
            Self::Http2(exchange) => exchange.downstream(),
            Self::Session(session) => downstream(session.digest()),
        }
    }

    pub fn request(&self) -> &RequestHeader {
        match self {
            Self::Plain(exchange) => exchange.request(),
            Self::Http2(exchange) => exchange.request(),
            Self::Session(session) => session.req_header(),
        }
    }

    pub fn request_mut(&mut self) -> &mut RequestHeader {
        match self {
            Self::Plain(exchange) => exchange.request_mut(),
            Self::Http2(exchange) => exchange.request_mut(),
            Self::Session(session) => session.req_header_mut(),
        }
    }

    pub fn field(&self, name: impl AsHeaderName) -> Option<&HeaderValue> {
        self.request().headers.get(name)
    }

    pub fn is_http2(&self) -> bool {
        self.request().version == Version::HTTP_2
    }

    /// The answer is the last one on an HTTP/1 connection.
    pub fn close(&mut self) {
        match self {
            Self::Plain(exchange) => exchange.close(),
            Self::Http2(_) => {}
            Self::Session(session) => session.set_keepalive(None),
        }
    }

    /// How long the caller may be silent within its body, or take nothing of the answer, over HTTP/2, and how long what is
    /// left of a body is read. The stream beneath keeps the time of HTTP/1.
    pub fn set_patience(&mut self, patience: Duration) {
        match self {
            Self::Plain(_) => {}
            Self::Http2(exchange) => exchange.set_patience(patience),
            Self::Session(session) => session.set_total_drain_timeout(Some(patience)),
        }
    }

    pub fn is_body_empty(&mut self) -> bool {
        match self {
            Self::Plain(exchange) => exchange.is_body_empty(),
            Self::Http2(exchange) => exchange.is_body_empty(),
            Self::Session(session) => session.is_body_empty(),
        }
    }

    pub fn is_body_done(&mut self) -> bool {
        match self {
            Self::Plain(exchange) => exchange.is_body_done(),
            Self::Http2(exchange) => exchange.is_body_done(),
            Self::Session(session) => session.is_body_done(),
        }
    }

    pub async fn read_body(&mut self) -> Result<Option<Bytes>> {
        match self {
            Self::Plain(exchange) => exchange.read_body().await.map_err(unread),
            Self::Http2(exchange) => exchange.read_body().await.map_err(unread),
            Self::Session(session) => session.read_request_body().await,
        }
    }

    /// Resolves when the caller is gone; its body must have been read.
    pub async fn gone(&mut self) {
        match self {
            Self::Plain(exchange) => exchange.gone().await,
            Self::Http2(exchange) => exchange.gone().await,
            // What could still come is the end of the connection, or of the stream.
            Self::Session(session) => drop(session.read_body_or_idle(true).await),
        }
    }

    /// As [`Self::gone`], but reads nothing: of HTTP/1 it cannot be known then.
    pub async fn gone_unread(&mut self) {
        match self {
            Self::Http2(exchange) => exchange.gone().await,
            Self::Plain(_) | Self::Session(_) => std::future::pending().await,
        }
    }

    /// Whether an answer that is sent before the body was read ends an HTTP/1 connection.
    pub fn set_close_when_early(&mut self, close: bool) {
        match self {
            Self::Plain(exchange) => exchange.set_closes_when_early(close),
            Self::Http2(_) => {}
            Self::Session(session) => session.set_close_on_response_before_downstream_finish(close),
        }
    }

    /// Tells a caller that waits for it to send its body (RFC 9110 §10.1.1).
    pub async fn say_continue(&mut self) -> Result<()> {
        match self {
            Self::Plain(exchange) => written(exchange.write_header(Box::new(go_on()?)).await),
            Self::Http2(exchange) => written(exchange.write_header(go_on()?, false)),
            Self::Session(session) => {
                // Pingora takes the interim answer for an early final one, and would announce a close.
                session.set_close_on_response_before_downstream_finish(false);
                let said = session.write_continue_response().await;
                session.set_close_on_response_before_downstream_finish(true);
                said
            }
        }
    }

    pub async fn write_header(&mut self, header: Box<ResponseHeader>) -> Result<()> {
        match self {
            Self::Plain(exchange) => written(exchange.write_header(header).await),
            Self::Http2(exchange) => written(exchange.write_header(*header, false)),
            Self::Session(session) => session.write_response_header(header).await,
        }
    }

    /// A part of the body, which leaves at once.
    pub async fn write_body(&mut self, bytes: Bytes) -> Result<()> {
        self.put(bytes, false).await
    }

    /// The last part of the body, and the end of the answer.
    pub async fn write_end(&mut self, bytes: Bytes) -> Result<()> {
        self.put(bytes, true).await
    }

    async fn put(&mut self, bytes: Bytes, end: bool) -> Result<()> {
        match self {
            Self::Session(session) => session.write_response_body(bytes, end).await,
            Self::Plain(_) | Self::Http2(_) => written(self.write_own([HttpTask::Body(Some(bytes), end)]).await),
        }
    }

    /// Ends an answer that is its header alone.
    pub async fn end(&mut self) -> Result<()> {
        match self {
            Self::Plain(exchange) => written(exchange.end().await),
            Self::Http2(exchange) => written(exchange.end()),
            Self::Session(session) => session.finish_body().await,
        }
    }

    /// Trailers, where they can be sent, and the end of the answer.
    pub async fn write_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        match self {
            Self::Http2(exchange) => written(exchange.write_trailers(trailers)),
            // Pingora has no way to send them over HTTP/1, and neither have we.
            _ => self.write_end(Bytes::new()).await,
        }
    }

    /// Parts of an answer that leave together.
    pub async fn write_tasks(&mut self, tasks: Vec<HttpTask>) -> Result<()> {
        match self {
            // In a box: the usual ways need not have room for this one.
            Self::Session(session) => Box::pin(session.response_duplex_vec(tasks)).await.map(drop),
            Self::Plain(_) | Self::Http2(_) => written(self.write_own(tasks).await),
        }
    }

    /// Writes parts of an answer to an exchange of ours; what of them was collected leaves behind the last.
    async fn write_own(&mut self, tasks: impl IntoIterator<Item = HttpTask, IntoIter: Send>) -> io::Result<()> {
        let mut ended = false;
        for task in tasks {
            ended |= match (task, &mut *self) {
                (HttpTask::Header(header, end), Self::Plain(exchange)) => {
                    exchange.write_header(header).await?;
                    end
                }
                (HttpTask::Header(header, end), Self::Http2(exchange)) => {
                    exchange.write_header(*header, end)?;
                    end
                }
                (HttpTask::Body(bytes, end), Self::Plain(exchange)) => {
                    exchange.write_body(&bytes.unwrap_or_default()).await?;
                    end
                }
                (HttpTask::Body(bytes, end), Self::Http2(exchange)) => {
                    exchange.write_body(bytes.unwrap_or_default(), end).await?;
                    end
                }
                (HttpTask::Done, _) => true,
                _ => return Err(io::ErrorKind::InvalidInput.into()),
            };
        }
        match self {
            Self::Plain(exchange) if ended => exchange.end().await,
            Self::Plain(exchange) => exchange.flush().await,
            Self::Http2(exchange) if ended => exchange.end(),
            Self::Http2(_) | Self::Session(_) => Ok(()),
        }
    }

    /// Of the last header that was sent, interim ones included.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Plain(exchange) => exchange.status(),
            Self::Http2(exchange) => exchange.status(),
            Self::Session(session) => session.response_written().map(|header| header.status),
        }
    }

    /// Bytes of the bodies so far: of the request, of the answer.
    pub fn body_bytes(&self) -> (u64, u64) {
        match self {
            Self::Plain(exchange) => exchange.body_bytes(),
            Self::Http2(exchange) => exchange.body_bytes(),
            Self::Session(session) => (session.body_bytes_read() as u64, session.body_bytes_sent() as u64),
        }
    }

    /// Whether the answer was whole and another request may follow it on its HTTP/1 connection.
    pub fn persists(&self) -> bool {
        match self {
            Self::Plain(exchange) => exchange.persists(),
            Self::Http2(_) => true,
            Self::Session(session) => session.get_keepalive().is_some(),
        }
    }

    /// Breaks the answer off, so that it does not look whole.
    pub async fn shut(&mut self) {
        match self {
            Self::Plain(exchange) => exchange.shut().await,
            Self::Http2(exchange) => exchange.shut(),
            Self::Session(session) => {
                session.set_keepalive(None);
                session.shutdown().await;
            }
        }
    }
}

/// RFC 9110 §15.2.1.
fn go_on() -> Result<ResponseHeader> {
    ResponseHeader::build_no_case(StatusCode::CONTINUE, Some(0))
}

fn written(outcome: io::Result<()>) -> Result<()> {
    outcome.or_err(ErrorType::WriteError, "to a caller")
}
