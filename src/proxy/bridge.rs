//! How does a request that the gateway answers itself reach a tower service, and its answer the client?
//!
//! Bodies stream both ways with back pressure; a short one, such as a token request, is read before the service is asked.
//! Invariants: a body has a size, a pause and a total time that it cannot exceed; a panic of the service is an error
//! here; when the client goes away the service's future is dropped; what is answered is framed so that the connection
//! can be kept, and it is kept only if the request body was read to its end.

mod body;
mod upload;

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{CONNECTION, CONTENT_LENGTH, TE, TRANSFER_ENCODING, UPGRADE};
use http::{Extensions, HeaderMap, Method, Request, Response, StatusCode, Uri, Version, response};
use http_body_util::BodyExt;
use pingora_http::ResponseHeader;
use tokio::time::{Instant, timeout_at};
use tower::{Service, ServiceExt};

use super::caller::Caller;
use crate::domain::Connection;
use crate::problem::Kind;
use upload::Upload;

/// What is read of a body that nobody wants, so that the client hears the answer and may keep its connection.
const UNWANTED_BYTES_MAX: usize = 64 * 1024;
const UNWANTED_PATIENCE: Duration = Duration::from_millis(250);

/// Up to this length a body is short: it fits what is read of a connection at once, or little more.
const SHORT_BYTES_MAX: u64 = 16 * 1024;

/// Bounds of a request body.
#[derive(Debug, Clone, Copy)]
pub struct BridgeLimits {
    pub body_bytes_max: u64,
    /// Longest pause within the body.
    pub body_idle_timeout: Duration,
    /// Longest time for the whole body.
    pub body_timeout: Duration,
}

/// What the service learns beside the request itself.
#[derive(Debug)]
pub struct Call {
    /// Becomes a request extension.
    pub connection: Arc<Connection>,
    /// Further request extensions.
    pub extensions: Extensions,
    /// From the guard: the client waits for `100 Continue`.
    pub expects_continue: bool,
}

/// An answer that was given in full.
#[derive(Debug)]
pub struct Served {
    pub status: StatusCode,
    /// What the service attached to its response, for instance a mark that an authentication failed.
    pub extensions: Extensions,
    pub request_bytes: u64,
    pub response_bytes: u64,
}

/// Why a request was not served. Unless [`BridgeError::problem_kind`] is `None`, nothing was answered yet.
#[derive(Debug, thiserror::Error)]
pub enum BridgeError {
    #[error("the request body is larger than {bytes_max} bytes")]
    BodyTooLarge { bytes_max: u64 },
    #[error("the request body did not arrive in time")]
    BodyTimeout,
    #[error("the request body is malformed")]
    BodyMalformed,
    #[error("the request cannot be expressed for the service")]
    Unexpressible(#[source] http::Error),
    #[error("the service panicked")]
    Panicked,
    #[error("the client went away")]
    ClientGone,
    #[error("the answer broke off after it had begun")]
    BrokeOff,
}

impl BridgeError {
    /// What to answer; `None` when there is nobody to answer to, or an answer has begun.
    pub const fn problem_kind(&self) -> Option<Kind> {
        match self {
            Self::BodyTooLarge { .. } => Some(Kind::BodyTooLarge),
            Self::BodyTimeout => Some(Kind::RequestTimeout),
            Self::BodyMalformed | Self::Unexpressible(_) => Some(Kind::MalformedRequest),
            Self::Panicked => Some(Kind::Internal),
            Self::ClientGone | Self::BrokeOff => None,
        }
    }
}

/// Serves one request by `service` (an `axum::Router`, for instance).
pub async fn serve<S>(
    caller: &mut Caller<'_>,
    service: S,
    call: Call,
    limits: &BridgeLimits,
) -> Result<Served, BridgeError>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Send,
    S::Future: Send,
{
    if stated_length(caller).is_some_and(|bytes| bytes > limits.body_bytes_max) {
        return Err(BridgeError::BodyTooLarge { bytes_max: limits.body_bytes_max });
    }
    let expects_continue = call.expects_continue;
    let (mut upload, body) = if is_short(caller) && !expects_continue {
        Upload::read(caller, limits).await?
    } else {
        Upload::new(caller, expects_continue, limits)
    };
    let request = request(caller, call, body)?;
    let answered = AssertUnwindSafe(service.oneshot(request)).catch_unwind();
    let mut answered = pin!(answered);
    let response = loop {
        tokio::select! {
            biased;
            outcome = &mut answered => match outcome {
                Ok(Ok(response)) => break response,
                Ok(Err(never)) => match never {},
                Err(_) => return Err(BridgeError::Panicked),
            },
            step = upload.step(caller) => step?,
        }
    };
    if upload.is_unwanted() && !upload.waits_for_continue() {
        upload.end_if(discard_body(caller, UNWANTED_BYTES_MAX, UNWANTED_PATIENCE).await);
    }
    answer(caller, response, &mut upload).await
}

/// Reads what is left of a body, up to a bound, so that an answer that does not want it can keep the connection.
/// Says whether the body is at its end. Do not call it for a client that still waits for `100 Continue`.
pub async fn discard_body(caller: &mut Caller<'_>, bytes_max: usize, patience: Duration) -> bool {
    let (mut taken, end) = (0, Instant::now() + patience);
    while taken <= bytes_max && !caller.is_body_done() {
        match timeout_at(end, caller.read_body()).await {
            Ok(Ok(Some(bytes))) => taken += bytes.len(),
            Ok(Ok(None)) => return true,
            Ok(Err(_)) | Err(_) => return false,
        }
    }
    caller.is_body_done()
}

fn is_short(caller: &mut Caller<'_>) -> bool {
    stated_length(caller).is_some_and(|bytes| bytes <= SHORT_BYTES_MAX) && !caller.is_body_empty()
}

fn stated_length(caller: &Caller<'_>) -> Option<u64> {
    caller.field(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn request(caller: &Caller<'_>, call: Call, body: Body) -> Result<Request<Body>, BridgeError> {
    let head = caller.request();
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    let mut request = Request::builder()
        .method(head.method.clone())
        .version(head.version)
        .uri(target.parse::<Uri>().map_err(|error| BridgeError::Unexpressible(error.into()))?)
        .body(body)
        .map_err(BridgeError::Unexpressible)?;
    *request.headers_mut() = head.headers.clone();
    *request.extensions_mut() = call.extensions;
    request.extensions_mut().insert(call.connection);
    Ok(request)
}

async fn answer(caller: &mut Caller<'_>, response: Response<Body>, upload: &mut Upload) -> Result<Served, BridgeError> {
    let (mut parts, body) = response.into_parts();
    let bodiless = is_bodiless(caller, parts.status);
    // While the service goes on reading, Pingora need not expect the worst and announce a close.
    caller.set_close_when_early(upload.is_unwanted());
    let header = frame(caller, &parts, &body, bodiless).ok_or(BridgeError::Panicked)?;
    caller.write_header(Box::new(header)).await.map_err(|_| BridgeError::ClientGone)?;
    let (response_bytes, trailers) = if bodiless { (0, None) } else { send_body(caller, body, upload).await? };
    finish(caller, trailers).await.map_err(|_| BridgeError::ClientGone)?;
    if !upload.is_done() {
        caller.close();
        // Some HTTP/2 clients take the reset of an unread upload for a failure of the whole exchange.
        if caller.is_http2() {
            discard_body(caller, UNWANTED_BYTES_MAX, UNWANTED_PATIENCE).await;
        }
    }
    let extensions = std::mem::take(&mut parts.extensions);
    Ok(Served { status: parts.status, extensions, request_bytes: upload.bytes(), response_bytes })
}

/// Sends what the service produces while it may still be reading. Returns the bytes and the trailers.
async fn send_body(
    caller: &mut Caller<'_>,
    mut body: Body,
    upload: &mut Upload,
) -> Result<(u64, Option<HeaderMap>), BridgeError> {
    let mut sent = 0;
    let mut trailers = None;
    loop {
        let polled = AssertUnwindSafe(body.frame()).catch_unwind();
        let polled = tokio::select! {
            biased;
            polled = polled => polled,
            step = upload.step(caller) => match step {
                Ok(()) => continue,
                Err(_) => return Err(break_off(caller).await),
            },
        };
        match polled {
            Ok(None) => return Ok((sent, trailers)),
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(bytes) => {
                    sent += bytes.len() as u64;
                    caller.write_body(bytes).await.map_err(|_| BridgeError::ClientGone)?;
                }
                Err(frame) => trailers = frame.into_trailers().ok(),
            },
            Ok(Some(Err(_))) | Err(_) => return Err(break_off(caller).await),
        }
    }
}

/// An answer that cannot be completed must not look complete (RFC 9112 §8).
async fn break_off(caller: &mut Caller<'_>) -> BridgeError {
    caller.shut().await;
    BridgeError::BrokeOff
}

async fn finish(caller: &mut Caller<'_>, trailers: Option<HeaderMap>) -> pingora_core::Result<()> {
    match trailers {
        Some(trailers) => caller.write_trailers(trailers).await,
        None => caller.write_end(Bytes::new()).await,
    }
}

/// RFC 9110 §6.4.1: no content follows these.
fn is_bodiless(caller: &Caller<'_>, status: StatusCode) -> bool {
    caller.request().method == Method::HEAD
        || status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// The header as Pingora must have it: framed by us, and without what belongs to the service's own hop.
fn frame(caller: &Caller<'_>, parts: &response::Parts, body: &Body, bodiless: bool) -> Option<ResponseHeader> {
    let mut header = ResponseHeader::build(parts.status, Some(parts.headers.len() + 4)).ok()?;
    header.set_version(Version::HTTP_11);
    let hop = [CONNECTION, TRANSFER_ENCODING, UPGRADE, TE];
    let own = ["keep-alive", "proxy-connection"];
    for (name, value) in &parts.headers {
        if !hop.contains(name) && !own.contains(&name.as_str()) {
            header.append_header(name, value.clone()).ok()?;
        }
    }
    if bodiless {
        // What a GET would have said may stay for HEAD; 204 must not have one (RFC 9110 §8.6).
        if caller.request().method != Method::HEAD && parts.status != StatusCode::NOT_MODIFIED {
            header.remove_header(&CONTENT_LENGTH);
        }
        return Some(header);
    }
    match HttpBody::size_hint(body).exact() {
        Some(bytes) => header.insert_header(CONTENT_LENGTH, bytes).ok()?,
        None if header.headers.contains_key(CONTENT_LENGTH) => {}
        // RFC 9112 §6.1: HTTP/1.0 knows no chunks, so its answer ends with the connection.
        None if caller.request().version == Version::HTTP_11 => {
            header.insert_header(TRANSFER_ENCODING, "chunked").ok()?;
        }
        None => {}
    }
    Some(header)
}

#[cfg(test)]
mod tests;
