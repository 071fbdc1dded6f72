//! `GET` and `POST /oauth/userinfo` (OpenID Connect Core §5.3): called like an API, with a token bound as for one.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::{HeaderValue, StatusCode, header};
use utoipa::OpenApi;
use utoipa::openapi::path::Operation;

use crate::admission::{Head, Rejection, Snapshot, identify};
use crate::authn::Scheme;
use crate::domain::{Connection, ScopeSet};
use crate::oauth::{AuthenticatedClient, AuthenticationFailed, UserinfoError};
use crate::problem::{Kind, Problem};

use super::oauth::Shared;
use super::{Edge, interaction};

/// Beside the other endpoints of the authorization server, below the issuer's path.
pub fn router(edge: Edge, server: Shared) -> Router {
    let path = format!("{}/oauth/userinfo", server.load().issuer_path());
    // The access token of a POST stands in the Authorization field as well (FAPI 2.0 §5.3.3-1).
    Router::new().route(&path, get(userinfo).post(userinfo)).with_state((edge, server))
}

/// The description of it, for our part of the unified document.
pub(super) fn openapi() -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi();
    for item in document.paths.paths.values_mut() {
        item.post = item.get.clone().map(posted);
    }
    document
}

fn posted(mut operation: Operation) -> Operation {
    operation.operation_id = Some("oauth.userinfoPosted".into());
    operation.summary = Some("The same by POST".into());
    let description =
        "OpenID Connect Core §5.3.1 has both. The token stands in the `Authorization` field here as well.";
    operation.description = Some(description.into());
    operation
}

#[derive(OpenApi)]
#[openapi(paths(userinfo))]
struct Document;

/// What is known of the user for whom a token speaks
#[utoipa::path(
    get, path = "/oauth/userinfo", tag = "OAuth", operation_id = "oauth.userinfo", security(("oauth2" = [])),
    responses(
        (status = 200, description = "OpenID Connect Core §5.3.2.", body = serde_json::Value),
        (status = 401, description = "No valid access token.", content_type = "application/problem+json"),
        (status = 403, description = "The token was not granted openid.", content_type = "application/problem+json"),
        (status = 503, description = "Retry later.", content_type = "application/problem+json"),
    )
)]
async fn userinfo(State((edge, server)): State<(Edge, Shared)>, request: Request) -> Response {
    let snapshot = Arc::clone(&edge.in_force.load().snapshot);
    let (name, scheme) = (interaction(&request), Scheme::of(request.headers()));
    let Some(connection) = request.extensions().get::<Arc<Connection>>().cloned() else {
        return edge.problem(&Problem::new(Kind::Internal), name);
    };
    let refused = match answer(&edge, &server, &snapshot, &connection, request).await {
        Ok(response) => return response,
        Err(refused) => refused,
    };
    let (problem, failed) = match &refused {
        Refused::Rejected(rejection) => {
            (rejection.problem(snapshot.challenges.of(&connection), scheme), rejection.is_failed_authentication())
        }
        Refused::Problem(kind) => (Problem::new(*kind), false),
    };
    let mut response = edge.problem(&problem, name);
    if failed {
        response.extensions_mut().insert(AuthenticationFailed);
    }
    response
}

enum Refused {
    Rejected(Rejection),
    Problem(Kind),
}

impl From<Rejection> for Refused {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

async fn answer(
    edge: &Edge,
    server: &Shared,
    snapshot: &Snapshot,
    connection: &Connection,
    request: Request,
) -> Result<Response, Refused> {
    let now = edge.clock.now();
    let (parts, _) = request.into_parts(); // The body is not `Sync`, and nobody's business.
    let path = parts.uri.path();
    let head = Head { method: &parts.method, path, query: None, headers: &parts.headers, connection };
    let identified = identify(snapshot, &head, now).await?;
    identified.check_active()?;
    let claims = server.load_full().userinfo(&identified.token, now).await.map_err(refuse)?;
    let no_store = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    let mut response = (StatusCode::OK, no_store, Json(claims)).into_response();
    response.extensions_mut().insert(AuthenticatedClient(identified.partner.client.id.clone()));
    Ok(response)
}

fn refuse(error: UserinfoError) -> Refused {
    match error {
        UserinfoError::ScopeMissing => match ScopeSet::parse("openid") {
            Ok(required) => Rejection::ScopeMissing { required }.into(),
            Err(_) => Refused::Problem(Kind::Internal), // A defect of ours: the text is a scope.
        },
        UserinfoError::TokenInvalid => Rejection::UnknownPartner.into(),
        UserinfoError::Unavailable(_) => Refused::Problem(Kind::Unavailable),
    }
}
