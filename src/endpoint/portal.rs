//! Pages for people: what can be called, each API in a viewer, and what each kind of problem means.

use std::sync::{Arc, LazyLock};

use askama::Template;
use axum::Router;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderValue, StatusCode, header};

use crate::catalogue::Listing;
use crate::problem::{Kind, Problem};

use super::{Edge, empty, interaction};

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
#[template(path = "home.html")]
struct Home<'a> {
    public_url: &'a str,
    listings: &'a [Listing],
}

#[derive(Template)]
#[template(path = "api.html")]
struct ApiPage<'a> {
    listing: &'a Listing,
}

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage {
    kind: Kind,
}

async fn home(State(edge): State<Edge>) -> Response {
    let in_force = edge.in_force.load();
    page(&Home { public_url: &edge.public_url, listings: &in_force.documents.listings })
}

async fn api(State(edge): State<Edge>, Path(id): Path<String>, request: Request) -> Response {
    let in_force = edge.in_force.load();
    match in_force.documents.listings.iter().find(|listing| listing.id.as_str() == id) {
        Some(listing) => page(&ApiPage { listing }),
        None => edge.problem(&Problem::new(Kind::NoSuchResource), interaction(&request)),
    }
}

async fn problem(State(edge): State<Edge>, Path(code): Path<String>, request: Request) -> Response {
    match Kind::parse(&code) {
        Some(kind) => page(&ProblemPage { kind }),
        None => edge.problem(&Problem::new(Kind::NoSuchResource), interaction(&request)),
    }
}

/// The viewer's files come from a registry crate inside the binary; two of them are ours.
async fn viewer(State(edge): State<Edge>, Path(file): Path<String>, request: Request) -> Response {
    let ours = match file.as_str() {
        "start.js" => Some(("text/javascript; charset=utf-8", include_str!("pages/start.js"))),
        "pages.css" => Some(("text/css; charset=utf-8", include_str!("pages/pages.css"))),
        _ => None,
    };
    if let Some((content_type, text)) = ours {
        return ([(header::CONTENT_TYPE, content_type)], text).into_response();
    }
    let known = matches!(file.as_str(), "swagger-ui.css" | "swagger-ui-bundle.js");
    let found = if known { utoipa_swagger_ui::serve(&file, Arc::clone(&VIEWER)) } else { Ok(None) };
    match found {
        Ok(Some(asset)) => {
            let mut response = asset.bytes.into_owned().into_response();
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
