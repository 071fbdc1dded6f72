//! `GET /usage`: where a caller stands in each of its plans.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::{HeaderValue, header};
use serde::Serialize;
use utoipa::ToSchema;

use crate::admission::{Head, identify};
use crate::authn::Scheme;
use crate::authn::dpop::DPOP_NONCE;
use crate::domain::Connection;
use crate::oauth::{AuthenticatedClient, AuthenticationFailed};
use crate::problem::{Kind, Problem};
use crate::quota::LimitUsage;

use super::{Edge, interaction};

pub(super) fn router() -> Router<Edge> {
    Router::new().route("/usage", get(usage))
}

/// The caller's subscriptions and what is left of their limits.
#[derive(Serialize, ToSchema)]
pub(super) struct Usage {
    tenant: String,
    client: String,
    subscriptions: Vec<SubscriptionUsage>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct SubscriptionUsage {
    product: String,
    plan: String,
    environment: &'static str,
    limits: Vec<LimitUsage>,
}

#[utoipa::path(get, path = "/usage", operation_id = "getUsage", tag = "Usage",
    summary = "Where the caller stands in each of its plans", security(("oauth2" = [])),
    responses((status = 200, description = "The caller's subscriptions and what is left of their limits", body = Usage),
              (status = 401, description = "No valid access token, or its client or tenant is suspended", content_type = "application/problem+json")))]
pub(super) async fn usage(State(edge): State<Edge>, request: Request) -> Response {
    let snapshot = Arc::clone(&edge.in_force.load().snapshot);
    let now = edge.clock.now();
    let name = interaction(&request);
    let Some(connection) = request.extensions().get::<Arc<Connection>>().cloned() else {
        return edge.problem(&Problem::new(Kind::Internal), name);
    };
    let (parts, _) = request.into_parts(); // The body is not `Sync`, and nobody's business.
    let path = parts.uri.path();
    let head = Head { method: &parts.method, path, query: None, headers: &parts.headers, connection: &connection };
    let identified = identify(&snapshot, &head, now).await;
    let active = identified.and_then(|identified| identified.check_active().map(|()| identified));
    let identified = match active {
        Ok(identified) => identified,
        Err(rejection) => {
            let challenges = snapshot.challenges.of(&connection);
            let mut response = edge.problem(&rejection.problem(challenges, Scheme::of(&parts.headers)), name);
            if rejection.is_failed_authentication() {
                response.extensions_mut().insert(AuthenticationFailed);
            }
            return response;
        }
    };
    let client = &identified.partner.client;
    let subscriptions = identified.partner.subscriptions.iter().map(|subscription| SubscriptionUsage {
        product: subscription.product.id.to_string(),
        plan: subscription.plan.id().to_string(),
        environment: subscription.environment.as_str(),
        limits: snapshot.quotas.usage(&subscription.plan, &client.tenant.id, &client.id, now),
    });
    let body = Usage {
        tenant: client.tenant.id.to_string(),
        client: client.id.to_string(),
        subscriptions: subscriptions.collect(),
    };
    let mut response = Json(body).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(nonce) = identified.fresh_nonce {
        response.headers_mut().insert(DPOP_NONCE, nonce);
    }
    response.extensions_mut().insert(AuthenticatedClient(client.id.clone()));
    response
}
