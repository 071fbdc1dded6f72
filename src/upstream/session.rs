//! An exchange with a back end, whichever way its connection speaks.

use bytes::Bytes;
use http::{Uri, header};
use pingora_core::protocols::http::client::HttpSession;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use tokio::time::Instant;

use super::http1::Http1;

/// A connection that carries an exchange, or with HTTP/2 a stream of one.
pub enum Session {
    /// To a back end that speaks HTTP/1.1 only.
    Http1(Http1),
    /// To one that may speak HTTP/2.
    Either(Box<HttpSession>),
}

impl Session {
    /// Bounds each read and each write, where many exchanges share a connection. The others are timed from outside, as wholes.
    pub fn set_timeouts(&mut self, peer: &HttpPeer, deadline: Instant) {
        if let Self::Either(session) = self {
            let most = deadline.saturating_duration_since(Instant::now());
            session.set_read_timeout(peer.options.read_timeout.map(|read| read.min(most)));
            session.set_write_timeout(peer.options.write_timeout.map(|write| write.min(most)));
        }
    }

    /// Sends a request whole. Its fields frame the body, and `Host` says the authority.
    pub async fn send(&mut self, request: &RequestHeader, peer: &HttpPeer, body: Option<&Bytes>) -> Result<()> {
        let session = match self {
            Self::Http1(session) => return session.send(request, body).await,
            Self::Either(session) => session,
        };
        if let HttpSession::H2(stream) = &mut **session {
            stream.write_request_header(Box::new(for_http2(request.clone(), peer)?), body.is_none())?;
        } else {
            session.write_request_header(Box::new(request.clone())).await?;
        }
        if let Some(body) = body.filter(|body| !body.is_empty()) {
            session.write_request_body(body.clone(), true).await?;
        }
        session.finish_request_body().await
    }

    /// The next header of the answer: an interim one, or the final one.
    pub async fn read_header(&mut self) -> Result<Box<ResponseHeader>> {
        let session = match self {
            Self::Http1(session) => return session.read_header().await,
            Self::Either(session) => session,
        };
        session.read_response_header().await?;
        let malformed = || Error::explain(ErrorType::InvalidHTTPHeader, "no answer");
        let header = session.response_header().ok_or_else(malformed)?;
        if let HttpSession::H1(http1) = &**session
            && header.headers.contains_key(header::TRANSFER_ENCODING)
            && says_length(&http1.get_headers_raw_bytes())
        {
            return Error::e_explain(ErrorType::InvalidHTTPHeader, "its length is said beside its chunks");
        }
        Ok(Box::new(header.clone()))
    }

    /// The next bytes of the body; `None` at its end.
    pub async fn read_body(&mut self) -> Result<Option<Bytes>> {
        match self {
            Self::Http1(session) => session.read_body().await,
            Self::Either(session) => session.read_response_body().await,
        }
    }

    /// Breaks the exchange off.
    pub async fn shutdown(&mut self) {
        match self {
            Self::Http1(session) => session.shutdown().await,
            Self::Either(session) => session.shutdown().await,
        }
    }
}

/// RFC 9113 §8.3.1: the authority travels in `:authority`, not in `Host`.
fn for_http2(mut request: RequestHeader, peer: &HttpPeer) -> Result<RequestHeader> {
    let malformed = || Error::explain(ErrorType::InvalidHTTPHeader, "no authority or path for HTTP/2");
    let host = request.remove_header(&header::HOST).ok_or_else(malformed)?;
    let uri = Uri::builder()
        .scheme(if peer.is_tls() { "https" } else { "http" })
        .authority(host.as_bytes())
        .path_and_query(request.uri.path_and_query().cloned().ok_or_else(malformed)?)
        .build()
        .map_err(|_| malformed())?;
    request.set_uri(uri);
    Ok(request)
}

/// Whether a header section as it was received says a length: Pingora lets go of one beside chunks before anybody sees it.
fn says_length(raw: &[u8]) -> bool {
    const NAME: &[u8] = b"content-length";
    raw.split(|byte| *byte == b'\n')
        .any(|line| line.get(..NAME.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAME)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_found_in_a_header_section() {
        for (raw, expected) in [
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", false),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\ncontent-LENGTH: 3\r\n\r\n", true),
            ("HTTP/1.1 200 OK\nContent-Length:3\n\n", true),
            ("HTTP/1.1 200 Content-Length: 3\r\nX: content-length\r\n\r\n", false),
        ] {
            assert_eq!(says_length(raw.as_bytes()), expected, "{raw:?}");
        }
    }
}
