//! Client registration over HTTP: RFC 7591, RFC 7592.

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use utoipa::OpenApi;

use super::oauth::forms::RefusedToClients;
use super::oauth::{Envelope, ErrorBody, NO_STORE, Refusal, Shared, of_client};
use crate::oauth::{OAuthError, REGISTRATION_BYTES_MAX, Registered};

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/oauth/register", post(register))
        .route("/oauth/register/{client_id}", get(read).put(replace).delete(remove))
}

pub(super) fn openapi() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

#[derive(OpenApi)]
#[openapi(paths(register, read, replace, remove))]
struct Document;

/// Register a client (RFC 7591)
///
/// With an initial access token, or with a software statement of a trusted directory; as JSON, or as a JWT that the
/// software's own keys signed.
#[utoipa::path(
    post, path = "/oauth/register", tag = "OAuth", operation_id = "oauth.registerClient",
    request_body(content = Object, content_type = "application/json"),
    responses(
        (status = 201, description = "What was registered, with `client_id` and a token for its management.", body = Object),
        (status = 400, description = "RFC 7591 §3.2.2.", body = ErrorBody),
        RefusedToClients,
        (status = 403, description = "No more clients may be registered.", body = ErrorBody),
    )
)]
async fn register(State(server): State<Shared>, request: axum::extract::Request) -> Result<Response, Refusal> {
    let envelope = Envelope::read_up_to(request, REGISTRATION_BYTES_MAX).await?;
    let server = offering(&server)?;
    Ok(told(StatusCode::CREATED, server.register(envelope.request()).await?))
}

/// Read a registration (RFC 7592)
#[utoipa::path(
    get, path = "/oauth/register/{client_id}", tag = "OAuth", operation_id = "oauth.readClient",
    params(("client_id" = String, Path)),
    responses(
        (status = 200, description = "What is registered.", body = Object),
        RefusedToClients,
    )
)]
async fn read(
    State(server): State<Shared>,
    Path(client_id): Path<String>,
    request: axum::extract::Request,
) -> Result<Response, Refusal> {
    let envelope = Envelope::read_up_to(request, REGISTRATION_BYTES_MAX).await?;
    Ok(told(StatusCode::OK, offering(&server)?.registration(envelope.request(), &client_id)?))
}

/// Replace a registration (RFC 7592)
///
/// What is not sent is gone. Grants stay, also when keys or certificates change.
#[utoipa::path(
    put, path = "/oauth/register/{client_id}", tag = "OAuth", operation_id = "oauth.replaceClient",
    params(("client_id" = String, Path)),
    request_body(content = Object, content_type = "application/json"),
    responses(
        (status = 200, description = "What is registered now.", body = Object),
        (status = 400, description = "RFC 7591 §3.2.2.", body = ErrorBody),
        RefusedToClients,
    )
)]
async fn replace(
    State(server): State<Shared>,
    Path(client_id): Path<String>,
    request: axum::extract::Request,
) -> Result<Response, Refusal> {
    let envelope = Envelope::read_up_to(request, REGISTRATION_BYTES_MAX).await?;
    let server = offering(&server)?;
    Ok(told(StatusCode::OK, server.replace_registration(envelope.request(), &client_id).await?))
}

/// Remove a client (RFC 7592)
///
/// Its grants and tokens end with it.
#[utoipa::path(
    delete, path = "/oauth/register/{client_id}", tag = "OAuth", operation_id = "oauth.removeClient",
    params(("client_id" = String, Path)),
    responses(
        (status = 204, description = "The client is gone."),
        RefusedToClients,
    )
)]
async fn remove(
    State(server): State<Shared>,
    Path(client_id): Path<String>,
    request: axum::extract::Request,
) -> Result<Response, Refusal> {
    let envelope = Envelope::read_up_to(request, REGISTRATION_BYTES_MAX).await?;
    let client_id = offering(&server)?.remove_registration(envelope.request(), &client_id).await?;
    Ok(of_client((StatusCode::NO_CONTENT, NO_STORE, Body::empty()).into_response(), &client_id))
}

/// The server in force, if it registers anybody at all.
fn offering(server: &Shared) -> Result<std::sync::Arc<crate::oauth::AuthorizationServer>, Refusal> {
    let server = server.load_full();
    if server.settings().registration { Ok(server) } else { Err(OAuthError::RegistrationToken.into()) }
}

fn told(status: StatusCode, registered: Registered) -> Response {
    of_client((status, NO_STORE, axum::Json(registered.body)).into_response(), &registered.client_id)
}
