//! The published catalogue: the unified document, each API's own, and the places where machines look for them.

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::catalogue::{Identity, Rendered};
use crate::problem::{Kind, Problem};

use super::{Edge, Segment, empty, interaction};

pub(super) fn router() -> Router<Edge> {
    Router::new()
        .route("/openapi.json", get(unified_json))
        .route("/openapi.yaml", get(unified_yaml))
        .route("/openapi/{document}", get(api))
        .route("/.well-known/api-catalog", get(api_catalog))
        .route("/.well-known/security.txt", get(security_txt))
}

/// The unified catalogue, OpenAPI 3.1.
#[utoipa::path(get, path = "/openapi.json", operation_id = "getCatalogue", tag = "Catalogue", security(()),
    responses((status = 200, description = "The unified OpenAPI 3.1 document", body = serde_json::Value),
              (status = 304, description = "The caller's copy is current")))]
pub(super) async fn unified_json(State(edge): State<Edge>, headers: HeaderMap) -> Response {
    send(&edge.in_force.load().documents.json, &headers)
}

async fn unified_yaml(State(edge): State<Edge>, headers: HeaderMap) -> Response {
    send(&edge.in_force.load().documents.yaml, &headers)
}

async fn api(State(edge): State<Edge>, name: Segment, request: Request) -> Response {
    let in_force = edge.in_force.load();
    let document = name.text().strip_suffix(".json").and_then(|id| in_force.documents.apis.get(id));
    match document {
        Some(document) => send(document, request.headers()),
        None => edge.problem(&Problem::new(Kind::NoSuchResource), interaction(&request)),
    }
}

/// RFC 9727 §2.
async fn api_catalog(State(edge): State<Edge>, headers: HeaderMap) -> Response {
    let in_force = edge.in_force.load();
    let mut response = send(&in_force.pages.api_catalog, &headers);
    if let Some(links) = &in_force.pages.links {
        response.headers_mut().insert(header::LINK, links.clone());
    }
    response
}

/// RFC 9116. Absent until the operator names a contact.
async fn security_txt(State(edge): State<Edge>, request: Request) -> Response {
    let contact = edge.in_force.load().pages.security_contact.clone();
    let Some(contact) = contact else {
        return edge.problem(&Problem::new(Kind::NoSuchResource), interaction(&request));
    };
    // RFC 9116 §2.5.5: an expiry less than a year ahead; computed, so that it never lapses while we run.
    let expires = jiff::Timestamp::from_microsecond(edge.clock.now().micros())
        .and_then(|now| now.checked_add(jiff::SignedDuration::from_hours(24 * 180)));
    match expires {
        Ok(expires) => {
            let text = format!(
                "Contact: {contact}\nExpires: {expires:.0}\nCanonical: {}/.well-known/security.txt\n",
                edge.public_url
            );
            ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
        }
        Err(_) => edge.problem(&Problem::new(Kind::Internal), interaction(&request)),
    }
}

/// Answers with the form that the caller accepts, or 304 if its copy is current (RFC 9110 §13.1.2).
pub(super) fn send(document: &Rendered, headers: &HeaderMap) -> Response {
    let gzip = !document.gzip.is_empty() && accepts_gzip(headers);
    let tag = format!("\"{}{}\"", document.tag, if gzip { "-gzip" } else { "" });
    let current = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let current = current.flat_map(|value| value.split(',')).any(|candidate| {
        let candidate = candidate.trim();
        candidate == "*" || candidate.strip_prefix("W/").unwrap_or(candidate) == tag
    });
    let mut response = if current {
        empty(StatusCode::NOT_MODIFIED)
    } else {
        let body = if gzip { Some(document.gzip.clone().into_response()) } else { identity(document) };
        let Some(mut response) = body else { return busy() };
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(document.content_type));
        if gzip {
            response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    };
    let fields = response.headers_mut();
    fields.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=0, must-revalidate"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        fields.insert(header::ETAG, tag);
    }
    response
}

/// The document as it was written; a long one is inflated as fast as the caller reads. `None`: too many are reading it.
fn identity(document: &Rendered) -> Option<Response> {
    match &document.identity {
        Identity::Held(bytes) => Some(bytes.clone().into_response()),
        Identity::Compressed(bytes) => {
            let mut response = Body::from_stream(stream::iter(document.inflate()?)).into_response();
            response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(*bytes));
            Some(response)
        }
    }
}

/// For who cannot be read out a document now; the compressed form is always at hand.
fn busy() -> Response {
    let fields = [(header::RETRY_AFTER, "1"), (header::CACHE_CONTROL, "no-store"), (header::VARY, "accept-encoding")];
    (StatusCode::SERVICE_UNAVAILABLE, fields).into_response()
}

/// RFC 9110 §12.5.3, for the one coding that we have: named with a weight above zero.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        let refused =
            parts.any(|weight| matches!(weight.replace(' ', "").as_str(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000"));
        named && !refused
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn compression_is_sent_only_to_who_accepts_it() {
        for (value, expected) in [
            ("gzip", true),
            ("br, GZIP;q=0.5", true),
            ("gzip;q=0", false),
            ("gzip; q=0.0", false),
            ("br", false),
            ("", false),
        ] {
            assert_eq!(accepts_gzip(&headers(header::ACCEPT_ENCODING, value)), expected, "{value:?}");
        }
    }

    #[tokio::test]
    async fn a_long_document_is_whole_in_both_forms() {
        let text: Vec<u8> = (0..300_000_u32).flat_map(u32::to_be_bytes).collect();
        let document = Rendered::new("application/json", text.clone());
        let plain = send(&document, &HeaderMap::new());
        assert_eq!(plain.headers()[header::CONTENT_LENGTH], text.len().to_string().as_str());
        assert!(!plain.headers().contains_key(header::CONTENT_ENCODING));
        assert!(axum::body::to_bytes(plain.into_body(), usize::MAX).await.unwrap() == text);
        let readers: Vec<Response> = (0..100).map(|_| send(&document, &HeaderMap::new())).collect();
        let last = readers.last().unwrap();
        assert_eq!((last.status(), last.headers().get(header::ETAG)), (StatusCode::SERVICE_UNAVAILABLE, None));
        let compressed = send(&document, &headers(header::ACCEPT_ENCODING, "gzip"));
        assert_eq!(compressed.headers()[header::CONTENT_ENCODING], "gzip");
        assert!(axum::body::to_bytes(compressed.into_body(), usize::MAX).await.unwrap() == document.gzip);
    }

    #[test]
    fn a_current_copy_is_not_sent_again() {
        let document = Rendered::new("application/json", b"{}".to_vec());
        let tag = send(&document, &HeaderMap::new()).headers()[header::ETAG].to_str().unwrap().to_owned();
        let again = send(&document, &headers(header::IF_NONE_MATCH, &format!("\"x\", W/{tag}")));
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        let other = send(&document, &headers(header::IF_NONE_MATCH, "\"x\""));
        assert_eq!(other.status(), StatusCode::OK);
    }
}
