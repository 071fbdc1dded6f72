//! Pages for people: what can be called, each API in a viewer, and what each kind of problem means.

use std::sync::{Arc, LazyLock};

use askama::Template;
use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};

use crate::catalogue::Rendered;
use crate::problem::{Kind, Problem};

use super::catalogue::send;
use super::{Edge, Segment, empty, interaction};

/// The viewer draws with inline styles and data images; scripts come from our own files only.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

static VIEWER: LazyLock<Arc<utoipa_swagger_ui::Config<'static>>> =
    LazyLock::new(|| Arc::new(utoipa_swagger_ui::Config::from("/openapi.json")));

pub(super) fn router() -> Router<Edge> {
    Router::new()
        .route("/", get(home))
        .route("/apis/{api}", get(api))
        .route("/problems/{code}", get(problem))
        .route("/viewer/{file}", get(viewer))
        .route("/robots.txt", get(async || "User-agent: *\nDisallow:\n"))
        .route("/favicon.ico", get(async || empty(StatusCode::NO_CONTENT)))
}

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage {
    kind: Kind,
}

async fn home(State(edge): State<Edge>, request: Request) -> Response {
    let in_force = edge.in_force.load();
    rendered(&edge, in_force.pages.home.as_ref(), &request)
}

async fn api(State(edge): State<Edge>, id: Segment, request: Request) -> Response {
    let in_force = edge.in_force.load();
    rendered(&edge, in_force.pages.apis.get(id.text()), &request)
}

fn rendered(edge: &Edge, page: Option<&Rendered>, request: &Request) -> Response {
    let Some(page) = page else {
        return edge.problem(&Problem::new(Kind::NoSuchResource), interaction(request));
    };
    let mut response = send(page, request.headers());
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_POLICY));
    response
}

async fn problem(State(edge): State<Edge>, code: Segment, request: Request) -> Response {
    match Kind::parse(code.text()) {
        Some(kind) => page(&ProblemPage { kind }),
        None => edge.problem(&Problem::new(Kind::NoSuchResource), interaction(&request)),
    }
}

/// The viewer's files come from a registry crate inside the binary; two of them are ours.
async fn viewer(State(edge): State<Edge>, file: Segment, request: Request) -> Response {
    let ours = match file.text() {
        "start.js" => Some(("text/javascript; charset=utf-8", include_str!("pages/start.js"))),
        "pages.css" => Some(("text/css; charset=utf-8", include_str!("pages/pages.css"))),
        _ => None,
    };
    if let Some((content_type, text)) = ours {
        return ([(header::CONTENT_TYPE, content_type)], text).into_response();
    }
    let known = matches!(file.text(), "swagger-ui.css" | "swagger-ui-bundle.js");
    let found = if known { utoipa_swagger_ui::serve(file.text(), Arc::clone(&VIEWER)) } else { Ok(None) };
    match found {
        Ok(Some(asset)) => {
            // 1.4 MB that lie in the binary: not copied for each who asks.
            let bytes = match asset.bytes {
                std::borrow::Cow::Borrowed(bytes) => Bytes::from_static(bytes),
                std::borrow::Cow::Owned(bytes) => Bytes::from(bytes),
            };
            let mut response = bytes.into_response();
            let fields = response.headers_mut();
            if let Ok(content_type) = HeaderValue::from_str(&asset.content_type) {
                fields.insert(header::CONTENT_TYPE, content_type);
            }
            fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=86400"));
            response
        }
        _ => edge.problem(&Problem::new(Kind::NoSuchResource), interaction(&request)),
    }
}

fn page(template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => {
            let fields = [
                (header::CONTENT_TYPE, "text/html; charset=utf-8"),
                (header::CONTENT_SECURITY_POLICY, PAGE_POLICY),
                (header::CACHE_CONTROL, "no-cache"),
            ];
            (fields, html).into_response()
        }
        Err(_) => empty(StatusCode::INTERNAL_SERVER_ERROR),
    }
}
