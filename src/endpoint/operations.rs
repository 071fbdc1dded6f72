//! The operations listener: is the process alive, is it ready, what is in force, how does it fare.
//!
//! It is bound to loopback. A page that a browser on this machine shows must not read it either, so a Host that is not
//! loopback's own is refused (DNS rebinding).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{StatusCode, header};
use serde_json::{Value, json};

use super::device::{self, Device};

/// Where the answers come from.
#[derive(Clone)]
pub struct Operations {
    /// False until the first snapshot is in force, and again while draining.
    pub ready: Arc<AtomicBool>,
    pub status: Arc<dyn Fn() -> Value + Send + Sync>,
    /// Prometheus text.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// Only where the configuration says so.
    pub device: Option<Device>,
}

pub fn router(operations: Operations) -> Router {
    let device = operations.device.clone().map(device::router).unwrap_or_default();
    Router::new()
        .route("/livez", get(async || "alive\n"))
        .route("/readyz", get(readyz))
        .route("/status", get(status))
        .route("/metrics", get(metrics))
        .with_state(operations)
        .merge(device)
        .layer(middleware::from_fn(only_loopback_hosts))
}

async fn readyz(State(operations): State<Operations>) -> Response {
    if operations.ready.load(Ordering::Relaxed) {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response()
    }
}

async fn status(State(operations): State<Operations>) -> Response {
    let mut status = (operations.status)();
    if let Value::Object(members) = &mut status {
        members.insert("ready".to_owned(), json!(operations.ready.load(Ordering::Relaxed)));
    }
    axum::Json(status).into_response()
}

async fn metrics(State(operations): State<Operations>) -> Response {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], (operations.metrics)()).into_response()
}

async fn only_loopback_hosts(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(
        host,
        |(name, port)| {
            if port.bytes().all(|b| b.is_ascii_digit()) { name } else { host }
        },
    );
    if matches!(name, "localhost" | "127.0.0.1" | "[::1]") {
        next.run(request).await
    } else {
        (StatusCode::MISDIRECTED_REQUEST, "this listener answers to loopback names only\n").into_response()
    }
}
