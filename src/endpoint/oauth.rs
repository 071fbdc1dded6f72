//! The OAuth endpoints over HTTP. Handlers parse nothing but the envelope: the `oauth` room decides, this file renders.

use std::collections::BTreeSet;
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use http_body_util::LengthLimitError;
use serde::Serialize;
use utoipa::OpenApi;

use crate::authn::dpop::DPOP_NONCE;
use crate::domain::{ClientId, Connection};
use crate::oauth::{
    Answer, AuthenticatedClient, AuthenticationFailed, AuthorizationServer, BackchannelResponse, Cause, FORM_BYTES_MAX,
    Introspected, IntrospectionResponse, OAuthError, PushedResponse, Request, TokenIssued, TokenResponse,
};
use crate::problem::{Kind, Problem};

use super::{interaction, problem_document};

pub(super) mod forms;

use forms::{AboutTokenForm, BackchannelForm, PushedForm, RefusedToClients, TokenForm};

/// The authorization server in force; a reload stores a new one.
pub type Shared = Arc<ArcSwap<AuthorizationServer>>;

/// RFC 6749 §5.1: what carries tokens or speaks of them is not stored by anybody.
pub(super) const NO_STORE: [(HeaderName, HeaderValue); 2] = [
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (header::PRAGMA, HeaderValue::from_static("no-cache")),
];
/// Keys and metadata. The key ring counts on this age: see `oauth::NEXT_KEY_PUBLISHED_MIN`.
const PUBLIC_FIVE_MINUTES: HeaderValue = HeaderValue::from_static("public, max-age=300");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The body of a refusal (RFC 6749 §5.2).
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ErrorBody {
    /// A code of RFC 6749 §5.2, RFC 7009 §2.2.1 or RFC 8707 §2.
    #[schema(example = "invalid_client")]
    error: &'static str,
    error_description: &'static str,
}

/// The routes below the issuer's path. Each request must carry an `Arc<Connection>` among its extensions. Problems are
/// explained below `public_url`.
pub fn router(server: Shared, public_url: &Arc<str>) -> Router {
    let now = server.load();
    let issuer_path = now.issuer_path();
    let oauth = Router::new()
        .route("/oauth/token", post(token))
        .route("/oauth/par", post(pushed))
        .route("/oauth/backchannel", post(backchannel))
        .route("/oauth/introspect", post(introspect))
        .route("/oauth/revoke", post(revoke))
        .route("/oauth/jwks", get(jwks))
        .merge(super::authorize::router())
        .merge(super::registration::routes());
    let oauth = if issuer_path.is_empty() { oauth } else { Router::new().nest(&issuer_path, oauth) };
    // RFC 8414 §3.1 puts the well-known part before the issuer's path, OpenID Connect Discovery §4 behind it.
    oauth
        .route(&format!("/.well-known/oauth-authorization-server{issuer_path}"), get(authorization_server_metadata))
        .route(&format!("{issuer_path}/.well-known/openid-configuration"), get(openid_configuration))
        .merge(resource_metadata(&now.resource_paths(), public_url))
        .with_state(server)
}

/// RFC 9728 §3.1, for each path that the resource's names have.
fn resource_metadata(paths: &BTreeSet<String>, public_url: &Arc<str>) -> Router<Shared> {
    let of_api = |public_url: Arc<str>| {
        get(move |server: State<Shared>, api: Path<String>, request: axum::extract::Request| {
            std::future::ready(api_metadata(&public_url, &server, &api, &request))
        })
    };
    paths.iter().fold(Router::new(), |router, path| {
        let well_known = format!("/.well-known/oauth-protected-resource{path}");
        router
            .route(&well_known, get(protected_resource_metadata))
            .route(&format!("{well_known}/{{*api}}"), of_api(Arc::clone(public_url)))
    })
}

/// The description of these operations, for our part of the unified document.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi();
    document.merge(super::authorize::openapi());
    document.merge(super::registration::openapi());
    document
}

#[derive(OpenApi)]
#[openapi(
    paths(
        token,
        pushed,
        backchannel,
        introspect,
        revoke,
        jwks,
        authorization_server_metadata,
        openid_configuration,
        protected_resource_metadata,
        api_metadata
    ),
    tags((name = "OAuth", description = "Access tokens: RFC 6749, RFC 7523, RFC 8705, RFC 9068."))
)]
struct Document;

/// Obtain an access token
///
/// Client credentials with private_key_jwt, tls_client_auth or self_signed_tls_client_auth.
#[utoipa::path(
    post, path = "/oauth/token", tag = "OAuth", operation_id = "oauth.token",
    request_body(content = TokenForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "An access token.", body = TokenResponse),
        (status = 400, description = "The request is refused.", body = ErrorBody),
        RefusedToClients,
    )
)]
async fn token(State(server): State<Shared>, request: axum::extract::Request) -> Result<Response, Refusal> {
    let envelope = Envelope::read(request).await?;
    let answer = server.load_full().token(envelope.request()).await?;
    let mut response = private_json(&answer);
    response.extensions_mut().insert(TokenIssued(answer.body.method));
    Ok(response)
}

/// Ask about a token
///
/// For registered resource servers, about every access token; for other clients, about their own tokens (RFC 7662). With
/// `Accept: application/token-introspection+jwt` the answer is signed (RFC 9701).
#[utoipa::path(
    post, path = "/oauth/introspect", tag = "OAuth", operation_id = "oauth.introspect",
    request_body(content = AboutTokenForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "What the token says, if it is active.", content(
            (IntrospectionResponse = "application/json"), (String = "application/token-introspection+jwt"))),
        (status = 400, description = "The request is refused.", body = ErrorBody),
        RefusedToClients,
    )
)]
async fn introspect(State(server): State<Shared>, request: axum::extract::Request) -> Result<Response, Refusal> {
    let envelope = Envelope::read(request).await?;
    let answer = server.load_full().introspect(envelope.request()).await?;
    Ok(match &answer.body {
        Introspected::Plain(body) => private_json_of(&answer, body),
        Introspected::Signed(jwt) => {
            let content_type =
                [(header::CONTENT_TYPE, HeaderValue::from_static("application/token-introspection+jwt"))];
            of_client((StatusCode::OK, NO_STORE, content_type, jwt.clone()).into_response(), &answer.client.id)
        }
    })
}

/// Revoke a token
///
/// In force from the next request on (RFC 7009). Unknown and expired tokens are as good as revoked.
#[utoipa::path(
    post, path = "/oauth/revoke", tag = "OAuth", operation_id = "oauth.revoke",
    request_body(content = AboutTokenForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "The token is not valid any more."),
        (status = 400, description = "The request is refused.", body = ErrorBody),
        RefusedToClients,
    )
)]
async fn revoke(State(server): State<Shared>, request: axum::extract::Request) -> Result<Response, Refusal> {
    let envelope = Envelope::read(request).await?;
    let answer = server.load_full().revoke(envelope.request()).await?;
    Ok(of_client((StatusCode::OK, NO_STORE, Body::empty()).into_response(), &answer.client.id))
}

/// Pushes an authorization request (RFC 9126)
#[utoipa::path(
    post, path = "/oauth/par", tag = "OAuth", operation_id = "oauth.pushAuthorizationRequest",
    request_body(content = PushedForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 201, description = "RFC 9126 §2.2.", body = PushedResponse),
        (status = 400, description = "RFC 9126 §2.3.", body = ErrorBody),
        (status = 429, description = "Too many requests of the client are outstanding.", body = ErrorBody),
        RefusedToClients,
    )
)]
async fn pushed(State(server): State<Shared>, request: axum::extract::Request) -> Result<Response, Refusal> {
    let envelope = Envelope::read(request).await?;
    let answer = server.load_full().push(envelope.request()).await?;
    let mut response = private_json(&answer);
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}

/// Asks a user who is elsewhere (CIBA Core §7)
#[utoipa::path(
    post, path = "/oauth/backchannel", tag = "OAuth", operation_id = "oauth.backchannelAuthentication",
    request_body(content = BackchannelForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "CIBA Core §7.3.", body = BackchannelResponse),
        (status = 400, description = "CIBA Core §13.", body = ErrorBody),
        (status = 403, description = "Too many requests wait for the user.", body = ErrorBody),
        (status = 429, description = "Too many requests of the client are outstanding.", body = ErrorBody),
        RefusedToClients,
    )
)]
async fn backchannel(State(server): State<Shared>, request: axum::extract::Request) -> Result<Response, Refusal> {
    let envelope = Envelope::read(request).await?;
    let answer = server.load_full().backchannel(envelope.request()).await?;
    Ok(private_json(&answer))
}

/// The keys that verify access tokens
#[utoipa::path(
    get, path = "/oauth/jwks", tag = "OAuth", operation_id = "oauth.jwks",
    responses((status = 200, description = "A JWK set (RFC 7517 §5).", content_type = "application/jwk-set+json",
               body = serde_json::Value))
)]
async fn jwks(State(server): State<Shared>) -> Response {
    public(server.load().jwks(), HeaderValue::from_static("application/jwk-set+json"))
}

/// Authorization server metadata (RFC 8414)
#[utoipa::path(
    get, path = "/.well-known/oauth-authorization-server", tag = "OAuth",
    operation_id = "oauth.authorizationServerMetadata",
    responses((status = 200, description = "RFC 8414 §3.2.", body = serde_json::Value))
)]
async fn authorization_server_metadata(State(server): State<Shared>) -> Response {
    public(server.load().metadata(), JSON)
}

/// Authorization server metadata at the place where OpenID Connect Discovery looks for it
#[utoipa::path(
    get, path = "/.well-known/openid-configuration", tag = "OAuth", operation_id = "oauth.openidConfiguration",
    responses((status = 200, description = "The same document as RFC 8414's.", body = serde_json::Value))
)]
async fn openid_configuration(State(server): State<Shared>) -> Response {
    public(server.load().metadata(), JSON)
}

/// Protected resource metadata (RFC 9728)
#[utoipa::path(
    get, path = "/.well-known/oauth-protected-resource", tag = "OAuth",
    operation_id = "oauth.protectedResourceMetadata",
    responses((status = 200, description = "RFC 9728 §3.2.", body = serde_json::Value))
)]
async fn protected_resource_metadata(
    State(server): State<Shared>,
    Extension(connection): Extension<Arc<Connection>>,
) -> Response {
    public(server.load().resource_metadata(&connection), JSON)
}

/// Protected resource metadata of one API (RFC 9728 §3.1)
#[utoipa::path(
    get, path = "/.well-known/oauth-protected-resource/{api}", tag = "OAuth", operation_id = "oauth.apiMetadata",
    params(("api" = String, Path, description = "Where the API lies.")),
    responses(
        (status = 200, description = "RFC 9728 §3.2.", body = serde_json::Value),
        (status = 404, description = "No API lies there.", content_type = "application/problem+json"),
    )
)]
fn api_metadata(public_url: &str, server: &Shared, api: &str, request: &axum::extract::Request) -> Response {
    let connection = request.extensions().get::<Arc<Connection>>();
    match connection.and_then(|connection| server.load().api_metadata(&format!("/{api}"), connection)) {
        Some(document) => public(document, JSON),
        None => problem_document(public_url, &Problem::new(Kind::NoSuchResource), interaction(request)),
    }
}

/// A request whose body has arrived, and the connection on which it came.
pub(super) struct Envelope {
    head: axum::http::request::Parts,
    body: Bytes,
    connection: Arc<Connection>,
}

impl Envelope {
    async fn read(request: axum::extract::Request) -> Result<Self, Refusal> {
        Self::read_up_to(request, FORM_BYTES_MAX).await
    }

    pub(super) async fn read_up_to(request: axum::extract::Request, bytes_max: usize) -> Result<Self, Refusal> {
        let (head, body) = request.into_parts();
        // Whoever mounts the router without the connection must not get tokens without their binding.
        let connection = head.extensions.get::<Arc<Connection>>().cloned().ok_or(Refusal::NoConnection)?;
        let announced = head.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        if announced.is_some_and(|bytes: u64| bytes > bytes_max as u64) {
            return Err(Refusal::OAuth(OAuthError::BodyTooLarge)); // Unread: whoever waits for `100 Continue` sends nothing.
        }
        let body = to_bytes(body, bytes_max).await.map_err(|error| Refusal::OAuth(body_error(&error)))?;
        Ok(Self { head, body, connection })
    }

    pub(super) fn request(&self) -> Request<'_> {
        Request { headers: &self.head.headers, body: &self.body, connection: &self.connection }
    }
}

fn body_error(error: &axum::Error) -> OAuthError {
    let too_large = std::error::Error::source(error).is_some_and(|cause| cause.is::<LengthLimitError>());
    if too_large { OAuthError::BodyTooLarge } else { OAuthError::InvalidRequest("The body did not arrive.") }
}

/// Why a request is not answered as asked.
pub(super) enum Refusal {
    OAuth(OAuthError),
    /// A defect of ours: the router was mounted without the connection.
    NoConnection,
}

impl From<OAuthError> for Refusal {
    fn from(error: OAuthError) -> Self {
        Self::OAuth(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::OAuth(error) => render(error),
            Self::NoConnection => {
                let body = ErrorBody { error: "server_error", error_description: "The authorization server failed." };
                (StatusCode::INTERNAL_SERVER_ERROR, NO_STORE, axum::Json(body)).into_response()
            }
        }
    }
}

fn render(error: OAuthError) -> Response {
    let body = ErrorBody { error: error.code(), error_description: error.description() };
    let mut response = (error.status(), NO_STORE, axum::Json(body)).into_response();
    if let Some(nonce) = error.nonce() {
        response.headers_mut().insert(DPOP_NONCE, nonce.clone());
    }
    if let Some(challenge) = error.challenge() {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    if matches!(error.status(), StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    // Guessing a registration token is guessing too.
    if matches!(
        error,
        OAuthError::InvalidClient(_) | OAuthError::UnauthenticatedForJwt(_) | OAuthError::RegistrationToken
    ) {
        response.extensions_mut().insert(AuthenticationFailed);
    }
    response.extensions_mut().insert(Cause(Arc::new(error)));
    response
}

fn private_json<T: Serialize>(answer: &Answer<T>) -> Response {
    private_json_of(answer, &answer.body)
}

fn private_json_of<T>(answer: &Answer<T>, body: &impl Serialize) -> Response {
    let mut response = (StatusCode::OK, NO_STORE, axum::Json(body)).into_response();
    if let Some(nonce) = &answer.fresh_nonce {
        response.headers_mut().insert(DPOP_NONCE, nonce.clone());
    }
    of_client(response, &answer.client.id)
}

/// For the audit record.
pub(super) fn of_client(mut response: Response, client_id: &ClientId) -> Response {
    response.extensions_mut().insert(AuthenticatedClient(client_id.clone()));
    response
}

fn public(body: Bytes, content_type: HeaderValue) -> Response {
    let fields = [(header::CACHE_CONTROL, PUBLIC_FIVE_MINUTES), (header::CONTENT_TYPE, content_type)];
    (StatusCode::OK, fields, body).into_response()
}

#[cfg(test)]
mod tests;
