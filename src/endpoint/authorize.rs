//! The pages of the authorization endpoint over HTTP. The `oauth` room decides what is shown; this file renders.
//!
//! Invariants: after a form a browser is sent on with 303, never with its form (FAPI 2.0 §5.3.2.2-10); no page is stored,
//! framed, or shown to scripts of other sites; what a client says of itself is text; our own URLs are relative, so they
//! never follow the `Host` field.

use std::net::IpAddr;
use std::sync::LazyLock;

use askama::Template;
use aws_lc_rs::digest::{SHA256, digest};
use axum::Router;
use axum::body::to_bytes;
use axum::extract::{FromRequest, Request, State};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use utoipa::OpenApi;

use super::legible::legible;
use super::oauth::Shared;
use crate::domain::Connection;
use crate::oauth::{
    ApprovalPage, AuthenticationFailed, AuthorizationResponse, FORM_BYTES_MAX, Handle, PageForm, SignInError,
    SignInPage, Source, Stopped, Visit, VisitAnswer, VisitRequest,
};

const STYLE: &str = include_str!("pages/visit.css");
/// Of the one page that has any: it does what its button does.
const SCRIPT: &str = "document.getElementById('form-post').submit()";

static STYLE_SOURCE: LazyLock<String> = LazyLock::new(|| hash_source(STYLE));
static SCRIPT_SOURCE: LazyLock<String> = LazyLock::new(|| hash_source(SCRIPT));

/// RFC 3986 §2.3.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The routes below the issuer's path. Each request must carry an `Arc<Connection>` among its extensions.
pub(super) fn router() -> Router<Shared> {
    Router::new()
        .route("/oauth/authorize", get(authorize).post(authorize_form))
        .route("/oauth/sign-in", post(sign_in))
        .route("/oauth/decision", post(decision))
}

/// The description of the routes, for our part of the unified document.
pub(super) fn openapi() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

#[derive(OpenApi)]
#[openapi(
    paths(authorize, authorize_form, sign_in, decision),
    tags((name = "Pages", description = "Where a user's browser goes. Clients lead it there, and read no page."))
)]
struct Document;

/// By what a pushed request is known (RFC 9126 §4). Nothing else in the query or the form counts.
#[derive(utoipa::ToSchema, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "documents the parameters; `oauth` reads them")]
struct VisitForm {
    client_id: String,
    /// As the pushed authorization request endpoint gave it.
    request_uri: String,
}

/// The form of the sign-in page.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "documents the form; `oauth` reads it")]
struct SignInForm {
    client_id: String,
    request_uri: String,
    /// Made by the page, for this browser and this request.
    form_token: String,
    /// `sign-in` or `cancel`.
    action: String,
    #[schema(nullable = false)]
    username: Option<String>,
    #[schema(nullable = false, format = Password)]
    password: Option<String>,
}

/// The form of the approval page.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "documents the form; `oauth` reads it")]
struct DecisionForm {
    client_id: String,
    request_uri: String,
    /// Made by the page, for this browser and this request.
    form_token: String,
    /// `approve`, `refuse` or `switch-user`.
    action: String,
}

/// What every one of these routes may answer.
#[derive(utoipa::IntoResponses)]
#[expect(dead_code, reason = "documents the answers")]
enum PageAnswers {
    /// Back to the client, with its code or an error (RFC 6749 §4.1.2); or to the page of the request as it is now.
    #[response(status = 303, headers(("location" = String)))]
    SeeOther,
    /// A page that says why there is nothing to do; nobody is led anywhere.
    #[response(status = 400, content_type = "text/html")]
    Stopped(String),
    /// The form was not made for this browser, or the sign-in failed.
    #[response(status = 403, content_type = "text/html")]
    Refused(String),
    /// Too many people are signing in; retry later.
    #[response(status = 503, content_type = "text/html")]
    Later(String),
}

/// Shows the page of a pushed request
///
/// The authorization endpoint (RFC 6749 §3.1). May be repeated until the user has decided.
#[utoipa::path(
    get, path = "/oauth/authorize", tag = "Pages", operation_id = "oauth.authorize", params(VisitForm),
    responses(
        (status = 200, description = "The page: to sign in, or to approve. Or the form that leads back (JARM §2.3.3).",
         content_type = "text/html", body = String),
        PageAnswers,
    )
)]
async fn authorize(State(server): State<Shared>, request: Request) -> Response {
    let (head, _) = request.into_parts();
    let Some(source) = source(&head.extensions) else { return stopped(Stopped::ServerError) };
    let parameters = head.uri.query().unwrap_or_default().as_bytes();
    render(server.load_full().authorize(VisitRequest { headers: &head.headers, parameters, source }))
}

/// Leads a posted request to its page
///
/// OpenID Connect Core §3.1.2.1.
#[utoipa::path(
    post, path = "/oauth/authorize", tag = "Pages", operation_id = "oauth.authorizeByForm",
    request_body(content = VisitForm, content_type = "application/x-www-form-urlencoded"), responses(PageAnswers)
)]
async fn authorize_form(State(server): State<Shared>, submitted: Submitted) -> Response {
    render(server.load_full().authorize_form(submitted.request()))
}

/// Signs a user in
#[utoipa::path(
    post, path = "/oauth/sign-in", tag = "Pages", operation_id = "oauth.signIn",
    request_body(content = SignInForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "The form that leads back to the client (JARM §2.3.3).",
         content_type = "text/html", body = String),
        PageAnswers,
    )
)]
async fn sign_in(State(server): State<Shared>, submitted: Submitted) -> Response {
    render(server.load_full().sign_in(submitted.request()).await)
}

/// Takes a user's decision
#[utoipa::path(
    post, path = "/oauth/decision", tag = "Pages", operation_id = "oauth.decide",
    request_body(content = DecisionForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "The form that leads back to the client (JARM §2.3.3).",
         content_type = "text/html", body = String),
        PageAnswers,
    )
)]
async fn decision(State(server): State<Shared>, submitted: Submitted) -> Response {
    render(server.load_full().decide(submitted.request()))
}

/// A form that has arrived.
struct Submitted {
    head: axum::http::request::Parts,
    body: Bytes,
    source: IpAddr,
}

impl<S: Send + Sync> FromRequest<S> for Submitted {
    /// The page that says why.
    type Rejection = Response;

    async fn from_request(request: Request, _: &S) -> Result<Self, Response> {
        let (head, body) = request.into_parts();
        let source = source(&head.extensions).ok_or_else(|| stopped(Stopped::ServerError))?;
        let too_large = Stopped::InvalidRequest("The form is too large or did not arrive.");
        let body = to_bytes(body, FORM_BYTES_MAX).await.map_err(|_| stopped(too_large))?;
        Ok(Self { head, body, source })
    }
}

impl Submitted {
    fn request(&self) -> VisitRequest<'_> {
        VisitRequest { headers: &self.head.headers, parameters: &self.body, source: self.source }
    }
}

/// Where a request comes from: as the guard judged it, or else as the connection says.
fn source(extensions: &axum::http::Extensions) -> Option<IpAddr> {
    let judged = extensions.get::<Source>().map(|source| source.0);
    judged.or_else(|| extensions.get::<std::sync::Arc<Connection>>().map(|connection| connection.peer.ip()))
}

fn render(answer: VisitAnswer) -> Response {
    let mut response = match answer.visit {
        Visit::SignIn(page) => sign_in_page(&page),
        Visit::Approval(page) => approval_page(&page),
        // Relative to where the form was sent to: the authorization endpoint is its neighbour.
        Visit::Again(handle) => see_other(&format!("authorize?{}", query(&handle))),
        Visit::Over(AuthorizationResponse::Redirect { location }) => see_other(&location),
        Visit::Over(AuthorizationResponse::FormPost { action, response }) => form_post(&action, &response),
        Visit::Stopped(why) => stopped(why),
    };
    if let Some(cookie) = answer.session.and_then(|session| HeaderValue::try_from(session.cookie()).ok()) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    if let Some(event) = answer.event {
        if event.act.is_failed_authentication() {
            response.extensions_mut().insert(AuthenticationFailed);
        }
        response.extensions_mut().insert(event);
    }
    response
}

/// What the templates of both forms write.
struct FormFields<'a> {
    client_id: &'a str,
    request_uri: &'a str,
    token: &'a str,
    query: String,
    seconds_left: u64,
}

impl<'a> FormFields<'a> {
    fn of(form: &'a PageForm) -> Self {
        let Handle { client_id, request_uri } = &form.handle;
        let query = query(&form.handle);
        Self { client_id, request_uri, token: &form.token, query, seconds_left: form.seconds_left }
    }
}

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInTemplate<'a> {
    form: FormFields<'a>,
    client_name: &'a str,
    username: &'a str,
    trouble: Option<&'static str>,
}

fn sign_in_page(page: &SignInPage) -> Response {
    let (status, trouble) = match page.trouble {
        None => (StatusCode::OK, None),
        Some(SignInError::Refused) => {
            (StatusCode::FORBIDDEN, Some("The username or the password is wrong. Try again."))
        }
        // Whether the password was right is not told: nobody looked.
        Some(SignInError::TooEarly { .. }) => (
            StatusCode::TOO_MANY_REQUESTS,
            Some("There were too many attempts. Nothing was checked this time: wait a moment and try again."),
        ),
        Some(SignInError::Busy) => {
            (StatusCode::SERVICE_UNAVAILABLE, Some("Too many people are signing in. Wait a moment and try again."))
        }
    };
    let form = FormFields::of(&page.form);
    let template = SignInTemplate { form, client_name: &page.client_name, username: &page.username, trouble };
    let mut response = html(status, &template, &form_policy(&page.form.redirect_uri));
    let wait = match page.trouble {
        None | Some(SignInError::Refused) => None,
        Some(SignInError::Busy) => Some(2),
        Some(SignInError::TooEarly { wait }) => Some(wait.as_secs() + 1), // Rounded up.
    };
    if let Some(seconds) = wait {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

#[derive(Template)]
#[template(path = "approval.html")]
struct ApprovalTemplate<'a> {
    form: FormFields<'a>,
    client_name: &'a str,
    tenant_name: &'a str,
    user: &'a str,
    scopes: &'a [String],
    claims: &'a [&'static str],
    authorization_details: Vec<String>,
}

fn approval_page(page: &ApprovalPage) -> Response {
    let details = page.authorization_details.iter();
    let template = ApprovalTemplate {
        form: FormFields::of(&page.form),
        client_name: &page.client_name,
        tenant_name: &page.tenant_name,
        user: &page.user,
        scopes: &page.scopes,
        claims: &page.claims,
        authorization_details: details.map(|detail: &Value| legible(&format!("{detail:#}"))).collect(),
    };
    html(StatusCode::OK, &template, &form_policy(&page.form.redirect_uri))
}

#[derive(Template)]
#[template(path = "form_post.html")]
struct FormPostTemplate<'a> {
    action: &'a str,
    response: &'a str,
}

/// JARM §2.3.3. The browser posts by itself where it runs scripts, and by a button where it does not.
fn form_post(action: &str, response: &str) -> Response {
    let policy = format!("{}; script-src {}", form_policy(action), *SCRIPT_SOURCE);
    html(StatusCode::OK, &FormPostTemplate { action, response }, &policy)
}

#[derive(Template)]
#[template(path = "oauth_error.html")]
struct ErrorTemplate {
    code: &'static str,
    description: String,
}

fn stopped(why: Stopped) -> Response {
    let template = ErrorTemplate { code: why.code(), description: why.to_string() };
    html(why.status(), &template, &policy("'none'"))
}

fn html(status: StatusCode, template: &impl Template, policy: &str) -> Response {
    let Ok(text) = template.render() else {
        return (StatusCode::INTERNAL_SERVER_ERROR, NO_STORE, "The page could not be made.\n").into_response();
    };
    let fields = [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CONTENT_SECURITY_POLICY, policy)];
    (status, NO_STORE, fields, text).into_response()
}

const NO_STORE: [(header::HeaderName, &str); 2] = [(header::CACHE_CONTROL, "no-store"), (header::PRAGMA, "no-cache")];

/// 303: the browser follows with GET and leaves its form here (RFC 9700 §4.12).
fn see_other(location: &str) -> Response {
    match HeaderValue::try_from(location) {
        Ok(location) => (StatusCode::SEE_OTHER, NO_STORE, [(header::LOCATION, location)]).into_response(),
        Err(_) => stopped(Stopped::ServerError),
    }
}

fn query(handle: &Handle) -> String {
    let escape = |text| utf8_percent_encode(text, QUERY);
    format!("client_id={}&request_uri={}", escape(&handle.client_id), escape(&handle.request_uri))
}

fn policy(form_action: &str) -> String {
    format!(
        "default-src 'none'; style-src {}; form-action {form_action}; frame-ancestors 'none'; base-uri 'none'",
        *STYLE_SOURCE
    )
}

/// Chromium holds every redirect that follows a form to `form-action`: the client's redirect URI, and wherever the client
/// goes on to from there, which no one can know but that it is `https`.
fn form_policy(redirect_uri: &str) -> String {
    let origin = origin_source(redirect_uri).unwrap_or_default();
    policy(&format!("'self' {origin} https:"))
}

/// The origin as a source of a policy. A registered URI is the client's text: what could end the source is no part of it.
fn origin_source(uri: &str) -> Option<String> {
    let uri: Uri = uri.parse().ok()?;
    let (scheme, authority) = (uri.scheme_str()?, uri.authority()?.as_str());
    let plain = authority.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b':'));
    // A policy has no way to write an IPv6 address (CSP3 §2.3.1).
    if plain { Some(format!("{scheme}://{authority}")) } else { Some(format!("{scheme}:")) }
}

fn hash_source(text: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(digest(&SHA256, text.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_an_origin_and_nothing_that_ends_it() {
        for (uri, expected) in [
            ("https://tpp.example/cb?x=1", "https://tpp.example"),
            ("https://tpp.example:8443/cb", "https://tpp.example:8443"),
            ("http://127.0.0.1:4711/cb", "http://127.0.0.1:4711"),
            ("http://[::1]:4711/cb", "http:"),
            ("https://a;script-src/cb", "https:"),
            ("https://a,b/cb", "https:"),
        ] {
            assert_eq!(origin_source(uri).as_deref(), Some(expected), "{uri}");
        }
    }
}
