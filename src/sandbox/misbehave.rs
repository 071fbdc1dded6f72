//! Carries a rule out on one request.

use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, StatusCode, header};
use tokio::time::sleep;

use super::fault::{Action, Close, DELAY_MAX, Meeting, WrongContent};
use super::line::{Cut, Knife};

/// Longest answer that is spoiled, cut or dripped; a longer one comes empty.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
const MAINTENANCE_PAGE: &str =
    "<!doctype html><html><head><title>Maintenance</title></head><body><h1>We will be back soon</h1></body></html>\n";

/// Gives the request what the rule wants; `proper` is the institution's answer, computed only if it is awaited.
pub(super) async fn misbehave(met: Meeting, proper: impl Future<Output = Response>, knife: &Knife) -> Response {
    if !met.latency.is_zero() {
        sleep(met.latency).await;
    }
    let Some(action) = met.action else { return proper.await };
    match action {
        Action::WrongContent(wrong) => spoil(proper.await, wrong, knife).await,
        Action::Drip { bytes, every_ms } => drip(proper.await, bytes, Duration::from_millis(every_ms)).await,
        Action::Close(Close::AfterHeaders) => cut_body(proper.await, knife).await,
        Action::Close(Close::BeforeHeaders) => {
            carry_out(met.process, proper).await;
            knife.cut(Cut::Close);
            pending().await
        }
        Action::Status(code) => {
            carry_out(met.process, proper).await;
            let status = StatusCode::from_u16(code).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
            page(status)
        }
        Action::Hang => {
            carry_out(met.process, proper).await;
            sleep(DELAY_MAX).await;
            knife.cut(Cut::Close);
            pending().await
        }
    }
}

async fn carry_out(wanted: bool, proper: impl Future<Output = Response>) {
    if wanted {
        drop(proper.await);
    }
}

fn page(status: StatusCode) -> Response {
    let mut response = Response::new(Body::from(MAINTENANCE_PAGE));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    response
}

async fn spoil(proper: Response, wrong: WrongContent, knife: &Knife) -> Response {
    let (mut parts, body) = proper.into_parts();
    let bytes = to_bytes(body, ANSWER_BYTES_MAX).await.unwrap_or_default();
    parts.headers.remove(header::CONTENT_LENGTH);
    match wrong {
        WrongContent::Html => page(StatusCode::OK),
        WrongContent::TruncatedJson => {
            let half = bytes.slice(..bytes.len() / 2);
            Response::from_parts(parts, Body::from(half))
        }
        WrongContent::ContentType => {
            parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
            Response::from_parts(parts, Body::from(bytes))
        }
        WrongContent::ContentLengthLong => {
            parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len() + 10));
            // A stream, so that hyper does not notice beforehand that the two disagree.
            Response::from_parts(parts, flushed_then(bytes, async {}))
        }
        WrongContent::ContentLengthShort => {
            knife.cut(Cut::Raw(short(&bytes)));
            pending().await
        }
        WrongContent::Garbage => {
            knife.cut(Cut::Raw(Bytes::from_static(b"\x00\x01220 this is not HTTP\r\n\r\n")));
            pending().await
        }
    }
}

/// An answer whose Content-Length ends before its body does, so that the rest stands where the next answer would.
fn short(body: &[u8]) -> Bytes {
    let smuggled = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 17\r\n\r\n{\"smuggled\":true}";
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(body);
    bytes.extend_from_slice(smuggled.as_bytes());
    bytes.into()
}

async fn drip(proper: Response, bytes_each: usize, every: Duration) -> Response {
    let (parts, body) = proper.into_parts();
    let bytes = to_bytes(body, ANSWER_BYTES_MAX).await.unwrap_or_default();
    let drops = stream::unfold(bytes, move |mut rest| async move {
        if rest.is_empty() {
            return None;
        }
        sleep(every).await;
        let drop = rest.split_to(bytes_each.min(rest.len()));
        Some((Ok::<_, Infallible>(drop), rest))
    });
    Response::from_parts(parts, Body::from_stream(drops))
}

async fn cut_body(proper: Response, knife: &Knife) -> Response {
    let (mut parts, body) = proper.into_parts();
    let bytes = to_bytes(body, ANSWER_BYTES_MAX).await.unwrap_or_default();
    // Content-Length stays true, so that the peer can tell that the body is cut even on HTTP/1.1.
    parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len().max(2)));
    let first = bytes.slice(..bytes.len() / 2);
    let knife = knife.clone();
    let cut = async move {
        knife.cut(Cut::Close);
        pending().await
    };
    Response::from_parts(parts, flushed_then(first, cut))
}

/// A body that is sent out, and only then goes on to its end.
fn flushed_then(bytes: Bytes, end: impl Future<Output = ()> + Send + 'static) -> Body {
    Body::from_stream(stream::unfold(Some((bytes, end)), |state| async {
        let (bytes, end) = state?;
        if !bytes.is_empty() {
            return Some((Ok::<_, Infallible>(bytes), Some((Bytes::new(), end))));
        }
        // Two turns of the scheduler: hyper flushes what it holds while the body is pending.
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        end.await;
        None
    }))
}
