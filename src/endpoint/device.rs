//! The simulated authentication device: decides backchannel requests (CIBA) in their users' place, at the operations
//! listener, only where the configuration says so. Never for production: whoever reaches it is everybody.

use std::sync::Arc;

use askama::Template;
use axum::extract::rejection::FormRejection;
use axum::extract::{Form, Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::json;

use crate::domain::{Clock, Timestamp};
use crate::oauth::{BackchannelDecision, BackchannelDecisionError, WaitingRequest};

use super::legible::legible;
use super::oauth::Shared;

/// What it works with.
#[derive(Clone)]
pub struct Device {
    pub server: Shared,
    pub clock: Arc<dyn Clock>,
}

/// Most requests on the page.
const SHOWN_MAX: usize = 100;

pub fn router(device: Device) -> Router {
    Router::new().route("/device", get(by_query).post(by_form)).with_state(device)
}

/// Conformance suites have names of their own for both.
#[derive(Deserialize, Default)]
struct Wanted {
    #[serde(alias = "token")]
    auth_req_id: Option<String>,
    #[serde(alias = "action", alias = "type")]
    decision: Option<String>,
}

#[derive(Template)]
#[template(path = "device.html")]
struct Page {
    waiting: Vec<Shown>,
}

struct Shown {
    auth_req_id: Arc<str>,
    client: String,
    user: String,
    scopes: String,
    /// What is asked for of the user by name (OpenID Connect Core §5.5).
    claims: String,
    binding_message: Option<String>,
    details: Vec<String>,
}

async fn by_query(State(device): State<Device>, Query(wanted): Query<Wanted>, headers: HeaderMap) -> Response {
    device.answer(&wanted, &headers)
}

async fn by_form(
    State(device): State<Device>,
    Query(query): Query<Wanted>,
    headers: HeaderMap,
    form: Result<Form<Wanted>, FormRejection>,
) -> Response {
    let form = form.map(|Form(wanted)| wanted).unwrap_or_default(); // Without one, all is in the URL.
    let wanted =
        Wanted { auth_req_id: form.auth_req_id.or(query.auth_req_id), decision: form.decision.or(query.decision) };
    device.answer(&wanted, &headers)
}

impl Device {
    fn answer(&self, wanted: &Wanted, headers: &HeaderMap) -> Response {
        let now = self.clock.now();
        let approve = match (wanted.auth_req_id.as_deref(), wanted.decision.as_deref()) {
            (None, None) => return self.page(now),
            (Some(_), Some("approve" | "allow" | "accept")) => true,
            (Some(_), Some("deny" | "refuse" | "reject")) => false,
            (Some(_) | None, Some(_) | None) => {
                return told(StatusCode::BAD_REQUEST, "send auth_req_id, and decision as approve or deny");
            }
        };
        let auth_req_id = wanted.auth_req_id.as_deref().unwrap_or_default();
        match self.decide(auth_req_id, approve, now) {
            // A person goes back to the page.
            Ok(()) if wants_page(headers) => Redirect::to("/device").into_response(),
            Ok(()) => told(StatusCode::OK, if approve { "approved" } else { "denied" }),
            Err(BackchannelDecisionError::Unknown) => told(StatusCode::NOT_FOUND, "unknown"),
            Err(BackchannelDecisionError::Expired) => told(StatusCode::GONE, "expired"),
            Err(BackchannelDecisionError::Decided | BackchannelDecisionError::OtherUser) => {
                told(StatusCode::CONFLICT, "decided already")
            }
        }
    }

    fn decide(&self, auth_req_id: &str, approve: bool, now: Timestamp) -> Result<(), BackchannelDecisionError> {
        let server = self.server.load_full();
        let waiting = server.waiting_request(auth_req_id, now)?;
        let decision = if approve { waiting.approve_all(now) } else { BackchannelDecision::Deny };
        server.decide_backchannel(auth_req_id, decision, now)
    }

    fn page(&self, now: Timestamp) -> Response {
        let waiting = self.server.load_full().waiting_requests(now);
        let page = Page { waiting: waiting.into_iter().take(SHOWN_MAX).map(shown).collect() };
        let Ok(html) = page.render() else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
        let fields = [
            (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
            (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_POLICY)),
        ];
        let mut response = (fields, html).into_response();
        super::protect(response.headers_mut());
        response
    }
}

const PAGE_POLICY: &str = "default-src 'none'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

fn shown(waiting: WaitingRequest) -> Shown {
    let request = &waiting.request;
    Shown {
        client: waiting.client.name.to_string(),
        user: request.subject.username.clone(),
        scopes: request.scopes.to_string(),
        claims: request
            .claims
            .as_ref()
            .map(|claims| claims.all_names(&waiting.client.scopes).join(" "))
            .unwrap_or_default(),
        binding_message: request.binding_message.clone(),
        details: request.authorization_details.iter().map(|detail| legible(&detail.to_string())).collect(),
        auth_req_id: waiting.auth_req_id,
    }
}

fn wants_page(headers: &HeaderMap) -> bool {
    headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).is_some_and(|accept| accept.contains("text/html"))
}

fn told(status: StatusCode, outcome: &str) -> Response {
    (status, [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))], Json(json!({ "outcome": outcome })))
        .into_response()
}

#[cfg(test)]
mod tests {
    use arc_swap::ArcSwap;
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use tower::ServiceExt;

    use super::*;
    use crate::oauth::tests::{World, asked_world};

    async fn send(world: &World, request: Request<Body>) -> (u16, String) {
        let server = Arc::new(ArcSwap::new(Arc::clone(&world.server)));
        let router = router(Device { server, clock: world.clock.clone() });
        let response = router.oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        (status, String::from_utf8(to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_request_is_decided_by_its_id_once() {
        let (world, ids) = asked_world(6).await;
        let get = |query: String| Request::get(format!("/device?{query}")).body(Body::empty()).unwrap();
        for (name, request, status, outcome) in [
            ("approve", get(format!("auth_req_id={}&decision=approve", ids[0])), 200, "approved"),
            ("again", get(format!("auth_req_id={}&decision=approve", ids[0])), 409, "decided already"),
            ("deny", get(format!("auth_req_id={}&decision=deny", ids[1])), 200, "denied"),
            ("as suites call it", get(format!("token={}&type=allow", ids[2])), 200, "approved"),
            ("and so", get(format!("auth_req_id={}&action=deny", ids[3])), 200, "denied"),
            ("unknown", get("auth_req_id=x&decision=deny".to_owned()), 404, "unknown"),
            ("neither", get(format!("auth_req_id={}&decision=perhaps", ids[4])), 400, "send auth_req_id"),
            ("no decision", get(format!("auth_req_id={}", ids[4])), 400, "send auth_req_id"),
            ("no request", get("decision=approve".to_owned()), 400, "send auth_req_id"),
            (
                "posted",
                Request::post(format!("/device?auth_req_id={}&decision=approve", ids[4])).body(Body::empty()).unwrap(),
                200,
                "approved",
            ),
        ] {
            let (got, body) = send(&world, request).await;
            assert!(got == status && body.contains(outcome), "{name}: {got} {body}");
        }
        let form = Request::post("/device")
            .header("content-type", "application/x-www-form-urlencoded")
            .header("accept", "text/html")
            .body(Body::from(format!("auth_req_id={}&decision=approve", ids[5])))
            .unwrap();
        assert_eq!(send(&world, form).await.0, 303, "a person goes back to the page");
    }

    #[tokio::test]
    async fn the_page_shows_what_waits_and_escapes_it() {
        let (world, ids) = asked_world(1).await;
        let page = || Request::get("/device").body(Body::empty()).unwrap();
        let (status, body) = send(&world, page()).await;
        assert_eq!(status, 200);
        assert!(body.contains(&ids[0]) && body.contains("alice") && body.contains("<dd>auth_time</dd>"), "{body}");
        assert!(body.contains("Pay &#60;b&#62;") && !body.contains("<b>"), "{body}");
        world.server.decide_backchannel(&ids[0], BackchannelDecision::Deny, world.clock.now()).unwrap();
        assert!(send(&world, page()).await.1.contains("Nothing waits"));
    }
}
