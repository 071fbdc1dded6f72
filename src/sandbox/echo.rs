//! A back end that says what reached it, and moves as many bytes as wanted: for tests and measurements of the way there.
//!
//! `/bytes/{n}` answers with n bytes, streamed; every other path reads the body as it comes, whatever its length, and
//! tells what it got.

use std::convert::Infallible;

use aws_lc_rs::digest::{Context, SHA256};
use axum::body::Body;
use axum::extract::{Path, Request};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

/// Most bytes of one answer: 4 GiB.
const BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;
const CHUNK: Bytes = Bytes::from_static(&[b'x'; 64 * 1024]);

pub(super) fn router() -> Router {
    Router::new().route("/bytes/{count}", get(bytes)).fallback(echo)
}

async fn bytes(Path(count): Path<u64>) -> Response {
    if count > BYTES_MAX {
        return StatusCode::BAD_REQUEST.into_response();
    }
    let chunks = stream::unfold(count, |left| async move {
        let step = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK.len());
        (step > 0).then(|| (Ok::<_, Infallible>(CHUNK.slice(..step)), left - step as u64))
    });
    let mut response = Response::new(Body::from_stream(chunks));
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(count));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    response
}

async fn echo(request: Request) -> Response {
    let (head, body) = request.into_parts();
    let mut body = body.into_data_stream();
    let (mut length, mut digest) = (0_u64, Context::new(&SHA256));
    while let Some(chunk) = body.next().await {
        let Ok(chunk) = chunk else { return StatusCode::BAD_REQUEST.into_response() };
        length = length.saturating_add(chunk.len() as u64);
        digest.update(&chunk);
    }
    let fields =
        head.headers.iter().map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]));
    Json(json!({
        "method": head.method.as_str(),
        "target": head.uri.path_and_query().map(ToString::to_string),
        "version": format!("{:?}", head.version),
        "headers": fields.collect::<Vec<Value>>(),
        "body_bytes": length,
        "body_sha256": digest.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
    }))
    .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::testing::client;
    use crate::sandbox::{Institution, SandboxSettings, start};

    #[tokio::test]
    async fn bytes_go_both_ways_and_are_counted() {
        let running = start(SandboxSettings::plain(Institution::echo())).await.unwrap();
        let http = client(None).build().unwrap();
        let got = http.get(format!("{}/bytes/3000001", running.url())).send().await.unwrap().bytes().await.unwrap();
        assert_eq!(got.len(), 3_000_001);
        let sent = http.put(format!("{}/any/path?q=1", running.url())).header("x-mine", "1").body(got).send().await;
        let told: Value = sent.unwrap().json().await.unwrap();
        assert_eq!(told["body_bytes"], 3_000_001);
        assert_eq!((&told["method"], &told["target"]), (&json!("PUT"), &json!("/any/path?q=1")));
        assert!(told["headers"].as_array().unwrap().contains(&json!(["x-mine", "1"])));
        let too_much = http.get(format!("{}/bytes/{}", running.url(), u64::MAX)).send().await.unwrap();
        assert_eq!(too_much.status(), StatusCode::BAD_REQUEST);
    }
}
