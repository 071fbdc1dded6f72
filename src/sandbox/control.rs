//! The switchboard of one back end: plain HTTP on a loopback address, for operators who rehearse faults.
//!
//! `GET|PUT|DELETE /_sandbox/faults`, `GET|DELETE /_sandbox/received`, `GET|PUT /_sandbox/availability`.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::fault::FaultSet;
use super::server::{Availability, SandboxError, Shared, bind};

type Board = Arc<Shared>;

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AvailabilityBody {
    availability: Availability,
}

pub(super) async fn start(
    wanted: SocketAddr,
    shared: Arc<Shared>,
) -> Result<(SocketAddr, JoinHandle<()>), SandboxError> {
    if !wanted.ip().is_loopback() {
        return Err(SandboxError::NotLoopback(wanted));
    }
    let listener = bind(wanted).await?;
    let bound = listener.local_addr().map_err(|error| SandboxError::Bind(wanted, error))?;
    let router = Router::new()
        .route("/_sandbox/faults", get(read_faults).put(put_faults).delete(clear_faults))
        .route("/_sandbox/received", get(read_received).delete(clear_received))
        .route("/_sandbox/availability", get(read_availability).put(put_availability))
        .layer(middleware::from_fn(only_this_machine))
        .with_state(shared);
    let task = tokio::spawn(async move {
        // It ends only with the listener; there is nobody to tell.
        let _ = axum::serve(listener, router).await;
    });
    Ok((bound, task))
}

/// A web page on another origin must not reach the switches by a name that it has pointed at loopback.
async fn only_this_machine(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    if !matches!(name, "localhost" | "127.0.0.1" | "[::1]") {
        return refuse(StatusCode::MISDIRECTED_REQUEST, "the switchboard answers to localhost only");
    }
    next.run(request).await
}

async fn read_faults(State(board): State<Board>) -> Json<FaultSet> {
    Json(board.faults.current())
}

async fn put_faults(State(board): State<Board>, body: Bytes) -> Response {
    let set: FaultSet = match serde_json::from_slice(&body) {
        Ok(set) => set,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    match board.faults.set(set) {
        Ok(()) => Json(board.faults.current()).into_response(),
        Err(error) => refuse(StatusCode::BAD_REQUEST, &error.to_string()),
    }
}

async fn clear_faults(State(board): State<Board>) -> StatusCode {
    board.faults.clear();
    StatusCode::NO_CONTENT
}

async fn read_received(State(board): State<Board>) -> Response {
    Json(board.received.report()).into_response()
}

async fn clear_received(State(board): State<Board>) -> StatusCode {
    board.received.clear();
    StatusCode::NO_CONTENT
}

async fn read_availability(State(board): State<Board>) -> Json<AvailabilityBody> {
    Json(AvailabilityBody { availability: board.availability() })
}

async fn put_availability(State(board): State<Board>, body: Bytes) -> Response {
    let wanted: AvailabilityBody = match serde_json::from_slice(&body) {
        Ok(wanted) => wanted,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    if let Err(error) = board.set_availability(wanted.availability).await {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, &error.to_string());
    }
    Json(wanted).into_response()
}

fn refuse(status: StatusCode, message: &str) -> Response {
    let body: Value = json!({ "message": message });
    (status, Json(body)).into_response()
}
