//! The endpoints over HTTP: envelopes, headers, documents.

use std::sync::atomic::Ordering;

use axum::http::Request as HttpRequest;
use serde_json::Value;
use tower::ServiceExt;

use super::*;
use crate::oauth::tests::{World, connection, encode, settings, with_assertion, world, world_with};

const FORM: &str = "application/x-www-form-urlencoded";

async fn send(world: &World, request: axum::http::request::Builder, body: impl Into<Body>) -> Response {
    let router = router(Arc::new(ArcSwap::new(Arc::clone(&world.server))), &"https://api.example".into());
    let request = request.extension(Arc::new(connection(None))).body(body.into()).unwrap();
    router.oneshot(request).await.unwrap()
}

async fn post(world: &World, path: &str, body: String) -> Response {
    send(world, HttpRequest::post(path).header("content-type", FORM), body).await
}

async fn json(response: Response) -> Value {
    serde_json::from_slice(&to_bytes(response.into_body(), 1 << 20).await.unwrap()).unwrap()
}

fn field<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

fn token_form(assertion: &str) -> String {
    encode(&[with_assertion(assertion), vec![("grant_type", "client_credentials")]].concat())
}

#[tokio::test]
async fn a_token_is_issued_asked_about_and_revoked() {
    let world = world().await;
    let response = post(&world, "/oauth/token", token_form(&world.assertion("jwt", "a"))).await;
    assert_eq!(response.status(), 200);
    assert_eq!((field(&response, "cache-control"), field(&response, "pragma")), ("no-store", "no-cache"));
    assert_eq!(field(&response, "content-type"), "application/json");
    assert_eq!(response.extensions().get::<AuthenticatedClient>().unwrap().0.as_str(), "jwt");
    let token = json(response).await["access_token"].as_str().unwrap().to_owned();

    let about = |jti: &str| {
        let assertion = world.assertion("jwt", jti);
        encode(&[with_assertion(&assertion), vec![("token", token.as_str())]].concat())
    };
    assert_eq!(json(post(&world, "/oauth/introspect", about("b")).await).await["active"], true);
    let response = post(&world, "/oauth/revoke", about("c")).await;
    assert_eq!((response.status().as_u16(), field(&response, "cache-control")), (200, "no-store"));
    assert!(to_bytes(response.into_body(), 10).await.unwrap().is_empty());
    let response = post(&world, "/oauth/introspect", about("d")).await;
    assert_eq!(json(response).await, serde_json::json!({ "active": false }));
}

#[tokio::test]
async fn a_refusal_has_the_body_of_rfc_6749_and_says_to_the_edge_what_it_was() {
    let world = world().await;
    let response = post(&world, "/oauth/token", token_form(&world.assertion("nobody", "a"))).await;
    assert_eq!(response.status(), 401);
    assert_eq!(field(&response, "cache-control"), "no-store");
    assert_eq!(field(&response, "www-authenticate"), "");
    assert!(response.extensions().get::<AuthenticationFailed>().is_some(), "the flood guard counts it");
    assert!(response.extensions().get::<Cause>().is_some(), "the audit record knows why");
    let body = json(response).await;
    assert_eq!(body["error"], "invalid_client");
    assert_eq!(body.as_object().unwrap().len(), 2);

    let form = token_form(&world.assertion("jwt", "b")).replace("client%5Fcredentials", "password");
    let response = post(&world, "/oauth/token", form).await;
    assert_eq!(response.status(), 400);
    assert!(response.extensions().get::<AuthenticationFailed>().is_none(), "the client was right");
    assert_eq!(json(response).await["error"], "unsupported_grant_type");

    let basic = HttpRequest::post("/oauth/token").header("content-type", FORM).header("authorization", "Basic YQ==");
    let response = send(&world, basic, "grant_type=client_credentials").await;
    assert_eq!((response.status().as_u16(), field(&response, "www-authenticate")), (401, r#"Basic realm="oauth""#));

    world.memory.broken.store(true, Ordering::SeqCst);
    let response = post(&world, "/oauth/token", token_form(&world.assertion("jwt", "c"))).await;
    assert_eq!((response.status().as_u16(), field(&response, "retry-after")), (503, "1"));
    assert!(response.extensions().get::<AuthenticationFailed>().is_none(), "our fault");
    assert_eq!(json(response).await["error"], "temporarily_unavailable");
}

#[tokio::test]
async fn descriptions_keep_to_the_alphabet_of_rfc_6749() {
    use crate::oauth::{ClientAuthenticationError, StoreError};
    for error in [
        OAuthError::InvalidRequest("x"),
        OAuthError::BodyTooLarge,
        OAuthError::InvalidClient(ClientAuthenticationError::Absent),
        OAuthError::UnsupportedGrantType,
        OAuthError::InvalidScope,
        OAuthError::InvalidTarget,
        OAuthError::TokenOfAnotherClient,
        OAuthError::Unavailable(StoreError::Timeout),
    ] {
        let allowed = |b: u8| matches!(b, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e);
        assert!(error.description().bytes().chain(error.code().bytes()).all(allowed), "{error:?}");
    }
}

#[tokio::test]
async fn only_what_fits_gets_in() {
    let world = world().await;
    for (path, allow) in [("/oauth/token", "POST"), ("/oauth/introspect", "POST"), ("/oauth/revoke", "POST")] {
        let response = send(&world, HttpRequest::get(path), Body::empty()).await;
        assert_eq!((response.status().as_u16(), field(&response, "allow")), (405, allow), "{path}");
    }
    let response = send(&world, HttpRequest::post("/oauth/jwks"), Body::empty()).await;
    assert_eq!((response.status().as_u16(), field(&response, "allow")), (405, "GET,HEAD"));

    let response = post(&world, "/oauth/token", "a".repeat(FORM_BYTES_MAX + 1)).await;
    assert_eq!(response.status(), 413);
    assert_eq!(json(response).await["error"], "invalid_request");

    // Parameters in the URL are not parameters.
    let query = format!("/oauth/token?{}", token_form(&world.assertion("jwt", "a")));
    assert_eq!(post(&world, &query, String::new()).await.status(), 401);

    // Mounted without the connection, there are no tokens at all.
    let router = router(Arc::new(ArcSwap::new(Arc::clone(&world.server))), &"https://api.example".into());
    let request = HttpRequest::post("/oauth/token").header("content-type", FORM);
    let body = token_form(&world.assertion("jwt", "b"));
    let response = router.oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
    assert_eq!(response.status(), 500);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_not_answered_as_too_large() {
    let world = world().await;
    let broken = futures_util::stream::iter([Ok(Bytes::from("grant_type=")), Err(std::io::Error::other("cut"))]);
    let request = HttpRequest::post("/oauth/token").header("content-type", FORM);
    let response = send(&world, request, Body::from_stream(broken)).await;
    assert_eq!(response.status(), 400);
}

#[tokio::test]
async fn public_documents_can_be_cached_for_as_long_as_keys_are_announced() {
    let world = world().await;
    for (path, content_type) in [
        ("/oauth/jwks", "application/jwk-set+json"),
        ("/.well-known/oauth-authorization-server", "application/json"),
        ("/.well-known/openid-configuration", "application/json"),
        ("/.well-known/oauth-protected-resource", "application/json"),
    ] {
        let response = send(&world, HttpRequest::get(path), Body::empty()).await;
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(field(&response, "content-type"), content_type, "{path}");
        assert_eq!(field(&response, "cache-control"), "public, max-age=300", "{path}");
        assert!(json(response).await.is_object(), "{path}");
    }
    assert_eq!(crate::oauth::NEXT_KEY_PUBLISHED_MIN.as_secs(), 300);
}

#[tokio::test]
async fn an_issuer_with_a_path_is_served_below_it() {
    let mut settings = settings();
    settings.issuer = "https://as.example/bank".into();
    settings.resource = "https://api.example/open".into();
    let world = world_with(settings).await;
    for (path, status) in [
        ("/bank/oauth/jwks", 200),
        ("/.well-known/oauth-authorization-server/bank", 200),
        ("/bank/.well-known/openid-configuration", 200),
        ("/.well-known/oauth-protected-resource/open", 200),
        ("/oauth/jwks", 404),
        ("/.well-known/oauth-authorization-server", 404),
        ("/.well-known/openid-configuration", 404),
    ] {
        let response = send(&world, HttpRequest::get(path), Body::empty()).await;
        assert_eq!(response.status().as_u16(), status, "{path}");
    }
}

#[test]
fn every_route_is_documented() {
    let document = serde_json::to_value(openapi()).unwrap();
    let paths: Vec<_> = document["paths"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(paths.len(), 15, "{paths:?}");
    assert!(!document.to_string().contains("\"null\""), "a form or an answer has no nulls");
    let form = &document["paths"]["/oauth/token"]["post"]["requestBody"]["content"];
    assert!(form.get(FORM).is_some(), "{form}");
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for schema in [
        "TokenForm",
        "PushedForm",
        "PushedResponse",
        "BackchannelForm",
        "BackchannelResponse",
        "TokenResponse",
        "ErrorBody",
        "IntrospectionResponse",
        "Confirmation",
        "VisitForm",
        "SignInForm",
        "DecisionForm",
    ] {
        assert!(schemas.contains_key(schema), "{schema}: {:?}", schemas.keys());
    }
}
