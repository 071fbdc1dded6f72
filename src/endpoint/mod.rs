//! What do we answer ourselves? The HTTP edges: OAuth, catalogue, usage, portal and operations, on axum.
//!
//! Invariants: handlers parse, call one room and render; pages carry no script of others and ask no other host for
//! anything; every answer says that it must not be sniffed or framed, shares no window with another origin and may use no device.

mod authorize;
mod catalogue;
pub mod device;
mod legible;
pub mod oauth;
pub mod operations;
mod own;
mod pages;
mod portal;
mod registration;
mod usage;
pub mod userinfo;

use std::convert::Infallible;
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::{FromRequestParts, Path, Request};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use percent_encoding::percent_decode_str;

use crate::admission::Snapshot;
use crate::catalogue::Documents;
use crate::domain::{Clock, Connection, InteractionId};
use crate::problem::{Kind, Problem};

pub use own::own_document;
pub use pages::Pages;

/// What is in force now, as the edges see it.
pub struct InForce {
    pub snapshot: Arc<Snapshot>,
    pub documents: Arc<Documents>,
    pub pages: Arc<Pages>,
}

/// What every handler may use.
#[derive(Clone)]
pub struct Edge {
    pub in_force: Arc<ArcSwap<InForce>>,
    pub public_url: Arc<str>,
    pub clock: Arc<dyn Clock>,
}

impl Edge {
    /// Renders a problem document; `interaction` names this exchange in logs.
    fn problem(&self, problem: &Problem, interaction: InteractionId) -> Response {
        problem_document(&self.public_url, problem, interaction)
    }
}

/// A problem document; `public_url` is where its type is explained.
fn problem_document(public_url: &str, problem: &Problem, interaction: InteractionId) -> Response {
    let body = problem.to_json(public_url, interaction);
    let mut response = (problem.status(), body).into_response();
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    for (name, value) in &problem.headers {
        fields.append(name.clone(), value.clone());
    }
    response
}

/// Paths that this room answers. No published operation may lie on one of them.
const EXACT: &[&str] = &["/", "/openapi.json", "/openapi.yaml", "/usage", "/favicon.ico", "/robots.txt"];
const BELOW: &[&str] = &["/.well-known/", "/oauth/", "/openapi/", "/problems/", "/apis/", "/viewer/"];

/// Whether a path belongs to us rather than to a published operation.
pub fn is_own_path(path: &str) -> bool {
    own_path(path).is_some()
}

/// The path of ours on or below which a path lies, however it is encoded: a template such as `/{a}/{b}` must not take
/// for its own what only looks different.
pub fn own_path(path: &str) -> Option<&'static str> {
    let plain = !path.bytes().any(|byte| byte == b'%');
    let exact = EXACT.iter().find(|own| if plain { **own == path } else { lies_on(path, own) });
    exact.or_else(|| BELOW.iter().find(|own| if plain { path.starts_with(**own) } else { lies_on(path, own) })).copied()
}

/// Segment by segment, decoded; an encoded slash divides nothing. `own` may end with a slash, for all that is below it.
fn lies_on(path: &str, own: &str) -> bool {
    let (own, below) = own.strip_suffix('/').filter(|own| !own.is_empty()).map_or((own, false), |own| (own, true));
    let mut segments = path.split('/');
    let mut same =
        own.split('/').map(|own| segments.next().is_some_and(|part| percent_decode_str(part).eq(own.bytes())));
    same.by_ref().all(|same| same) && segments.next().is_some() == below
}

/// All edges of the public and mutual-TLS listeners. `oauth` is the authorization server's part.
pub fn router(edge: Edge, oauth: Router) -> Router {
    let (refusing, lost) = (edge.clone(), edge.clone());
    Router::new()
        .merge(catalogue::router())
        .merge(usage::router())
        .merge(portal::router())
        .with_state(edge)
        .merge(oauth)
        .method_not_allowed_fallback(move |request: Request| method_not_allowed(refusing.clone(), request))
        .fallback(move |request: Request| not_found(lost.clone(), request))
        .layer(middleware::from_fn(security_headers))
}

const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");
/// Every feature that browsers know by name, for nobody: there is no word for all of them (Permissions Policy §9.1).
const NOTHING_PERMITTED: &str = "accelerometer=(), ambient-light-sensor=(), attribution-reporting=(), autoplay=(), bluetooth=(), \
    browsing-topics=(), camera=(), clipboard-read=(), clipboard-write=(), compute-pressure=(), cross-origin-isolated=(), \
    display-capture=(), encrypted-media=(), fullscreen=(), gamepad=(), geolocation=(), gyroscope=(), hid=(), \
    identity-credentials-get=(), idle-detection=(), keyboard-map=(), local-fonts=(), magnetometer=(), microphone=(), midi=(), \
    otp-credentials=(), payment=(), picture-in-picture=(), publickey-credentials-create=(), publickey-credentials-get=(), \
    screen-wake-lock=(), serial=(), storage-access=(), usb=(), web-share=(), window-management=(), xr-spatial-tracking=()";

async fn not_found(edge: Edge, request: Request) -> Response {
    edge.problem(&Problem::new(Kind::NoSuchResource), interaction(&request))
}

/// Axum adds the `Allow` field.
async fn method_not_allowed(edge: Edge, request: Request) -> Response {
    edge.problem(&Problem::new(Kind::MethodNotAllowed), interaction(&request))
}

/// The variable segment of a path; empty if it does not decode, which is then the name of nothing.
struct Segment(Option<String>);

impl Segment {
    fn text(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        Ok(Self(Path::<String>::from_request_parts(parts, state).await.ok().map(|Path(text)| text)))
    }
}

/// The proxy names every exchange; nothing else calls this router.
fn interaction(request: &Request) -> InteractionId {
    request.extensions().get().copied().unwrap_or_else(|| InteractionId::from_random([0; 16]))
}

/// SEC-1 to SEC-3 of the HTTP duties: no sniffing, no framing, no referrer; pages state their own, wider policy. And
/// every answer names its interaction.
async fn security_headers(request: Request, next: Next) -> Response {
    let name = interaction(&request).to_string();
    let secure = request.extensions().get::<Arc<Connection>>().is_some_and(|connection| connection.tls.is_some());
    let mut response = next.run(request).await;
    let fields = response.headers_mut();
    if let Ok(name) = HeaderValue::try_from(name) {
        fields.insert("x-fapi-interaction-id", name);
    }
    if secure {
        // RFC 6797 §7.2: over TLS only.
        let hsts = HeaderValue::from_static("max-age=31536000; includeSubDomains");
        fields.insert(header::STRICT_TRANSPORT_SECURITY, hsts);
    }
    protect(fields);
    response
}

/// Adds what protects a page, where it states nothing of its own.
fn protect(fields: &mut HeaderMap) {
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        // A window of another origin holds no handle of ours (HTML §7.1.3), and no page of ours has a use for a device.
        (OPENER_POLICY, "same-origin"),
        (PERMISSIONS_POLICY, NOTHING_PERMITTED),
    ] {
        fields.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

/// An empty answer with a status of the HTTP layer, for what is not a problem.
fn empty(status: StatusCode) -> Response {
    status.into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_paths_are_ours_as_written_and_no_others() {
        for (path, own) in [
            ("/", "/"),
            ("/usage", "/usage"),
            ("/openapi.json", "/openapi.json"),
            ("/openapi/", "/openapi/"),
            ("/openapi/x", "/openapi/"),
            ("/oauth/token", "/oauth/"),
            ("/oauth/", "/oauth/"),
            ("/.well-known/x", "/.well-known/"),
            ("/%75sage", "/usage"),
            ("/%6Fauth/token", "/oauth/"),
            ("/oauth/%74oken", "/oauth/"),
            ("/openapi%2Ejson", "/openapi.json"),
            ("/%2ewell-known/a/b", "/.well-known/"),
        ] {
            assert_eq!(own_path(path), Some(own), "{path}");
        }
        for path in [
            "/usage/",
            "/usage/x",
            "/Usage",
            "/%55sage",
            "/oauth",
            "/%6fauth",
            "/oauthx/token",
            "/openapi",
            "//oauth/token",
            "*",
            "/oauth%2ftoken",
            "/%2f",
            "/usage%00",
            "/%zzusage",
            "/usage%",
            "%2fusage",
        ] {
            assert_eq!(own_path(path), None, "{path}");
        }
    }
}
