//! The pages of the authorization endpoint as any HTTP client sees them: fields, cookies, redirects, text.

use serde_json::{Value, json};

use crate::harness::certificates::http;
use crate::harness::secure::encode;
use crate::harness::token::{GATEWAY, claims};
use crate::harness::visit::{
    Borrowed, CLIENT, PASSWORD, Reader, USERNAME, hidden, owned, page_of, parameters, push, redeem, site,
};
use crate::harness::{Backend, Gateway, Site, field, run};

const REDIRECT: &str = "https://tpp.example/cb?kept=1";

async fn rig() -> (Backend, Site, Gateway) {
    let backend = Backend::agreeable().await;
    let site = site(&backend);
    let gateway = site.start().await;
    (backend, site, gateway)
}

/// The fields of a page's form with further ones.
fn with(page: &str, more: &[(&str, &str)]) -> Vec<(String, String)> {
    [hidden(page), owned(more)].concat()
}

fn contains_id(page: &str, id: &str) -> bool {
    page.contains(&format!("id=\"{id}\""))
}

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8().unwrap().into_owned()
}

/// What holds for every answer of these endpoints.
fn assert_guarded(name: &str, response: &reqwest::Response) {
    for (field_name, expected) in [
        ("x-frame-options", "DENY"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
        ("strict-transport-security", "max-age=31536000; includeSubDomains"),
        // FAPI 2.0 §5.2.3-3
        ("access-control-allow-origin", ""),
    ] {
        assert_eq!(field(response, field_name), expected, "{name}: {field_name}");
    }
    let policy = field(response, "content-security-policy");
    assert!(policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{name}: {policy}");
    assert!(!policy.contains("unsafe"), "{name}: {policy}");
}

#[tokio::test]
async fn a_walk_without_scripts_ends_in_a_code_that_is_worth_tokens() {
    let (_backend, _site, gateway) = rig().await;
    let state = "s".repeat(1_000);
    let uri = push(&gateway, REDIRECT, &[("state", &state), ("nonce", &"n".repeat(64))]).await;
    let reader = Reader::new(&gateway);

    let response = reader.get(&page_of(&uri)).await;
    assert_eq!(response.status(), 200);
    assert_guarded("sign-in", &response);
    let cookie = field(&response, "set-cookie").to_owned();
    assert!(
        cookie.starts_with("__Host-clearway=") && cookie.ends_with("; Path=/; Secure; HttpOnly; SameSite=Lax"),
        "{cookie}"
    );
    let policy = field(&response, "content-security-policy");
    assert!(policy.contains("form-action 'self' https://tpp.example https:;"), "{policy}");
    let page = response.text().await.unwrap();
    for id in ["sign-in", "username", "password", "submit", "cancel"] {
        assert!(contains_id(&page, id), "{id}");
    }
    assert!(page.contains("<meta http-equiv=\"refresh\" content=\"60"), "the page knows when it ends");
    assert!(!page.contains("<script"), "and needs no script");

    let planted = reader.cookie();
    let form = with(&page, &[("action", "sign-in"), ("username", USERNAME), ("password", PASSWORD)]);
    let response = reader.post("/oauth/sign-in", &form.borrowed()).await;
    assert_eq!(response.status(), 303, "FAPI 2.0 §5.3.2.2-10, -11");
    assert_guarded("after the sign-in", &response);
    assert_ne!(reader.cookie(), planted, "a new session");
    assert_eq!(decoded(field(&response, "location")), decoded(page_of(&uri).trim_start_matches("/oauth/")));

    let response = reader.get(&page_of(&uri)).await;
    assert_guarded("approval", &response);
    assert_eq!(field(&response, "set-cookie"), "", "the browser has its cookie");
    let page = response.text().await.unwrap();
    for id in ["approval", "client-name", "scopes", "authorization-details", "approve", "refuse"] {
        assert!(contains_id(&page, id), "{id}");
    }
    assert!(
        !page.contains("<b>Acme") && page.contains("&#60;b&#62;Acme"),
        "what a client calls itself is text: {page}"
    );
    assert!(page.contains("<li>openid</li>") && page.contains("<li>shop</li>") && page.contains("Alice Example"));

    let response = reader.post("/oauth/decision", &with(&page, &[("action", "approve")]).borrowed()).await;
    assert_eq!(response.status(), 303);
    assert_guarded("the end", &response);
    let location = field(&response, "location").to_owned();
    assert!(location.starts_with("https://tpp.example/cb?kept=1&"), "{location}");
    let answer = parameters(&location);
    assert_eq!((&answer["state"], &answer["iss"]), (&json!(state), &json!(GATEWAY)));
    assert_eq!(answer.as_object().unwrap().len(), 4, "the client's own, code, state, iss: {answer}");
    let (status, body) = redeem(&gateway, REDIRECT, answer["code"].as_str().unwrap()).await;
    assert_eq!(status, 200, "{body}");
    let said = claims(body["id_token"].as_str().unwrap());
    assert_eq!((&said["sub"], &said["acr"]), (&json!("psu-1"), &json!("urn:clearway:acr:password")));

    let again = reader.get(&page_of(&uri)).await;
    assert_eq!(again.status(), 400);
    assert!(again.text().await.unwrap().contains("<code id=\"oauth-error\">invalid_request_uri</code>"));
}

#[tokio::test]
async fn an_error_is_a_page_with_its_code_and_never_a_redirect_to_who_did_not_ask() {
    let (_backend, _site, gateway) = rig().await;
    let uri = push(&gateway, REDIRECT, &[]).await;
    let escaped = encode(&[("request_uri", &uri)]);
    let reader = Reader::new(&gateway);
    for (query, code) in [
        (format!("client_id=acme-jwt&{escaped}"), "invalid_request_uri"),
        (format!("client_id=nobody&{escaped}"), "invalid_client"),
        (format!("client_id={CLIENT}&request_uri=urn:ietf:params:oauth:request_uri:none"), "invalid_request_uri"),
        (format!("client_id={CLIENT}&response_type=code&redirect_uri=https://tpp.example/cb"), "invalid_request"),
        (format!("client_id={CLIENT}&{escaped}&{escaped}"), "invalid_request"),
        ("redirect_uri=https://evil.example".to_owned(), "invalid_request"),
        (String::new(), "invalid_request"),
    ] {
        let response = reader.get(&format!("/oauth/authorize?{query}")).await;
        assert_eq!((response.status().as_u16(), field(&response, "location")), (400, ""), "{query}");
        assert_guarded(&query, &response);
        assert!(field(&response, "content-security-policy").contains("form-action 'none'"));
        let page = response.text().await.unwrap();
        assert!(page.contains(&format!("id=\"oauth-error\">{code}</code>")), "{query}: {page}");
        assert!(contains_id(&page, "oauth-error-description"), "{query}");
    }
    for path in ["/oauth/sign-in", "/oauth/decision"] {
        let form = [("client_id", CLIENT), ("request_uri", uri.as_str()), ("action", "approve"), ("form_token", "x")];
        let response = reader.post(path, &form).await;
        assert_eq!(response.status(), 303, "{path}: it decides nothing, and leads to the page as it is now");
        assert!(field(&response, "location").starts_with("authorize?"), "{path}");
        assert_guarded(path, &response);
        let form =
            [("client_id", CLIENT), ("request_uri", "urn:ietf:params:oauth:request_uri:none"), ("form_token", "x")];
        let response = reader.post(path, &form).await;
        assert_eq!(response.status(), 400, "{path}: nothing to lead to");
        assert!(response.text().await.unwrap().contains("id=\"oauth-error\">invalid_request_uri<"), "{path}");
        let response = reader.post(path, &[("client_id", &*"x".repeat(70_000))]).await;
        assert_eq!(response.status(), 400, "{path}: too large");
        assert_eq!(reader.get(path).await.status(), 405, "{path}");
    }
}

/// FAPI 2.0 §5.2.3-3.
#[tokio::test]
async fn no_other_site_s_script_may_ask() {
    let (_backend, _site, gateway) = rig().await;
    let uri = push(&gateway, REDIRECT, &[]).await;
    let url = gateway.https("public", &page_of(&uri));
    let ask = http(None).get(&url).header("origin", "https://tpp.example");
    let response = ask.send().await.unwrap();
    assert_guarded("a simple request", &response);
    let preflight = http(None)
        .request(reqwest::Method::OPTIONS, &url)
        .header("origin", "https://tpp.example")
        .header("access-control-request-method", "POST");
    let response = preflight.send().await.unwrap();
    assert_eq!(response.status(), 405);
    assert!(!response.headers().keys().any(|name| name.as_str().starts_with("access-control-")));
}

/// OpenID Connect Core §3.1.2.1: by POST too, and then our cookie, which such a form does not bring, is left alone.
#[tokio::test]
async fn a_posted_request_is_led_to_its_page() {
    let (_backend, _site, gateway) = rig().await;
    let uri = push(&gateway, REDIRECT, &[]).await;
    let reader = Reader::new(&gateway);
    let form = [("client_id", CLIENT), ("request_uri", uri.as_str()), ("scope", "everything")];
    let response = reader.post("/oauth/authorize", &form).await;
    assert_eq!((response.status().as_u16(), field(&response, "set-cookie")), (303, ""));
    assert_eq!(decoded(field(&response, "location")), decoded(page_of(&uri).trim_start_matches("/oauth/")));
}

#[tokio::test]
async fn signed_responses_carry_nothing_beside_themselves() {
    let (_backend, _site, gateway) = rig().await;
    let reader = Reader::new(&gateway);
    for mode in ["jwt", "query.jwt", "fragment.jwt"] {
        let uri = push(&gateway, REDIRECT, &[("response_mode", mode)]).await;
        let page = match reader.get(&page_of(&uri)).await.text().await.unwrap() {
            page if contains_id(&page, "approval") => page,
            _ => reader.arrive(&uri).await,
        };
        let response = reader.post("/oauth/decision", &with(&page, &[("action", "refuse")]).borrowed()).await;
        let location = field(&response, "location").replace('#', "&");
        let answer = parameters(&location);
        assert_eq!(answer.as_object().unwrap().len(), 2, "{mode}: the client's own and the response: {location}");
        let said = claims(answer["response"].as_str().unwrap());
        assert_eq!((&said["error"], &said["aud"]), (&json!("access_denied"), &json!(CLIENT)), "{mode}");
    }
    let uri = push(&gateway, REDIRECT, &[("response_mode", "form_post.jwt")]).await;
    let page = reader.get(&page_of(&uri)).await.text().await.unwrap();
    let response = reader.post("/oauth/decision", &with(&page, &[("action", "approve")]).borrowed()).await;
    assert_eq!(response.status(), 200);
    assert_guarded("form_post", &response);
    assert!(field(&response, "content-security-policy").contains("script-src 'sha256-"));
    let page = response.text().await.unwrap();
    assert!(page.contains("action=\"https://tpp.example/cb?kept=1\"") && contains_id(&page, "continue"), "{page}");
    let hidden = hidden(&page);
    assert_eq!((hidden.len(), hidden[0].0.as_str()), (1, "response"));
    assert!(claims(&hidden[0].1)["code"].is_string());
}

#[tokio::test]
async fn who_guesses_hears_the_same_whatever_is_wrong_and_then_has_to_wait() {
    let (_backend, _site, gateway) = rig().await;
    let uri = push(&gateway, REDIRECT, &[]).await;
    let reader = Reader::new(&gateway);
    let page = reader.get(&page_of(&uri)).await.text().await.unwrap();
    let attempt = async |username: &str, password: &str| {
        let form = with(&page, &[("action", "sign-in"), ("username", username), ("password", password)]);
        let response = reader.post("/oauth/sign-in", &form.borrowed()).await;
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        (status, text.split("id=\"sign-in-error\"").nth(1).map(|rest| rest.split("</p>").next().unwrap().to_owned()))
    };
    let wrong = attempt(USERNAME, "wrong").await;
    assert_eq!(wrong.0, 403);
    assert!(wrong.1.as_deref().is_some_and(|text| text.contains("role=\"alert\"")));
    assert_eq!(attempt("nobody", PASSWORD).await, wrong);
    for _ in 0..4 {
        assert_eq!(attempt(USERNAME, "wrong").await, wrong);
    }
    let early = attempt(USERNAME, PASSWORD).await;
    assert_eq!(early.0, 429, "{early:?}");
    assert_eq!(attempt(USERNAME, "wrong").await, early, "the password was not looked at");
}

#[tokio::test]
async fn users_come_and_go_with_a_reload() {
    let (_backend, site, gateway) = rig().await;
    let reader = Reader::new(&gateway);
    let uri = push(&gateway, REDIRECT, &[]).await;
    assert!(contains_id(&reader.arrive(&uri).await, "approval"));
    assert!(gateway.metric("clearway_held", "sessions").await >= 1.0);
    let users = site.read("config/users.yaml");
    site.write("config/users.yaml", "version: 1\nusers: []\n");
    gateway.reload().await;
    assert!(contains_id(&reader.get(&page_of(&uri)).await.text().await.unwrap(), "sign-in"), "signed out");
    site.write("config/users.yaml", &users.replace("password_hash", "password"));
    gateway.reload_refused().await;
}

#[test]
fn a_hash_is_printed_for_a_password_and_nothing_for_none() {
    let output = run(&["users", "hash"]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "nothing on standard input");
    assert!(String::from_utf8_lossy(&output.stderr).contains("1 to 1024 bytes"));
}

#[tokio::test]
async fn metadata_says_where_and_what_for() {
    let (_backend, _site, gateway) = rig().await;
    let response = http(None).get(gateway.https("public", "/.well-known/openid-configuration")).send().await.unwrap();
    let metadata: Value = response.json().await.unwrap();
    assert_eq!(metadata["authorization_endpoint"], json!(format!("{GATEWAY}/oauth/authorize")));
    assert_eq!(metadata["acr_values_supported"], json!(["urn:clearway:acr:password"]));
}
