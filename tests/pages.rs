//! The pages of the authorization endpoint as any HTTP client sees them: fields, cookies, redirects, text.

use serde_json::{Value, json};

use crate::harness::certificates::{client_identity, http};
use crate::harness::secure::{encode, form};
use crate::harness::token::{GATEWAY, claims};
use crate::harness::visit::{
    Borrowed, CLIENT, PASSWORD, Reader, USERNAME, VERIFIER, answer_to_push, hidden, owned, page_of, parameters, push,
    redeem, site,
};
use crate::harness::{Backend, Gateway, Site, field, json as json_of, run};

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
        ("cross-origin-opener-policy", "same-origin"),
        ("cache-control", "no-store"),
        ("strict-transport-security", "max-age=31536000; includeSubDomains"),
        // FAPI 2.0 §5.2.3-3
        ("access-control-allow-origin", ""),
    ] {
        assert_eq!(field(response, field_name), expected, "{name}: {field_name}");
    }
    let permissions: Vec<_> = field(response, "permissions-policy").split(", ").collect();
    let off = permissions.iter().all(|feature| feature.ends_with("=()"));
    let named = ["camera=()", "geolocation=()", "payment=()", "publickey-credentials-get=()", "usb=()"];
    assert!(off && named.iter().all(|feature| permissions.contains(feature)), "{name}: {permissions:?}");
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

/// RFC 8707: what the token is for is what it is good for.
#[tokio::test]
async fn a_token_is_good_at_the_resources_that_it_names() {
    let (_backend, _site, gateway) = rig().await;
    let resource = |path: &str| format!("{GATEWAY}{path}");
    let [whole, shop, vault] = ["", "/shop", "/vault"].map(resource);
    let client = http(Some(client_identity(CLIENT)));
    let exchange = async |more: &[(&str, &str)]| {
        let fields = [&[("client_id", CLIENT)][..], more].concat();
        json_of(form(&gateway, "mtls", &client, "/oauth/token", &fields).await).await
    };
    let called = async |body: &Value, path: &str| {
        let token = body["access_token"].as_str().unwrap();
        let request = client.get(gateway.https("mtls", path)).bearer_auth(token).send().await.unwrap();
        (request.status().as_u16(), field(&request, "www-authenticate").to_owned())
    };
    let aud = |body: &Value| claims(body["access_token"].as_str().unwrap())["aud"].clone();

    let asked = [("scope", "openid shop vault"), ("resource", &shop), ("resource", &vault), ("resource", &shop)];
    let uri = push(&gateway, REDIRECT, &asked).await;
    let reader = Reader::new(&gateway);
    let page = reader.arrive(&uri).await;
    let response = reader.post("/oauth/decision", &with(&page, &[("action", "approve")]).borrowed()).await;
    let code = parameters(field(&response, "location"))["code"].as_str().unwrap().to_owned();
    let code = [
        ("grant_type", "authorization_code"),
        ("code", &code),
        ("redirect_uri", REDIRECT),
        ("code_verifier", VERIFIER),
        ("resource", &shop),
    ];
    let (status, first) = exchange(&code).await;
    assert_eq!((status, aud(&first)), (200, json!(shop)), "{first}");
    assert_eq!(called(&first, "/shop/items").await.0, 200);
    let (status, challenge) = called(&first, "/vault/balances").await;
    assert_eq!(status, 401);
    assert!(challenge.contains("invalid_token"), "{challenge}");

    let refresh = async |more: &[(&str, &str)]| {
        let token = first["refresh_token"].as_str().unwrap();
        exchange(&[&[("grant_type", "refresh_token"), ("refresh_token", token)][..], more].concat()).await
    };
    let (_, both) = refresh(&[]).await;
    assert_eq!(aud(&both), json!([shop, vault]));
    assert_eq!(called(&both, "/shop/items").await.0, 200);
    assert_eq!(called(&both, "/vault/balances").await.0, 200);
    assert_eq!(aud(&refresh(&[("resource", &vault)]).await.1), json!(vault));
    for beyond in [&whole, "https://other.example", "https://localhost/none"] {
        let (status, body) = refresh(&[("resource", beyond)]).await;
        assert_eq!((status, &body["error"]), (400, &json!("invalid_target")), "{beyond}");
    }

    let server = http(Some(client_identity("acme-resources")));
    let token = both["access_token"].as_str().unwrap();
    let fields = [("client_id", "acme-resources"), ("token", token)];
    let (_, told) = json_of(form(&gateway, "mtls", &server, "/oauth/introspect", &fields).await).await;
    assert_eq!((&told["active"], &told["aud"]), (&json!(true), &json!([shop, vault])));
    for (path, expected) in [("/shop", Some(&shop)), ("/vault", Some(&vault)), ("", Some(&whole)), ("/none", None)] {
        let response = reader.get(&format!("/.well-known/oauth-protected-resource{path}")).await;
        assert_eq!(response.status(), if expected.is_some() { 200 } else { 404 }, "{path}");
        if let Some(expected) = expected {
            assert_eq!(response.json::<Value>().await.unwrap()["resource"], json!(expected));
        }
    }
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

/// Signs in with what is given, and returns the status.
async fn attempt(reader: &Reader<'_>, page: &str, username: &str, password: &str) -> u16 {
    let form = with(page, &[("action", "sign-in"), ("username", username), ("password", password)]);
    reader.post("/oauth/sign-in", &form.borrowed()).await.status().as_u16()
}

#[tokio::test]
async fn what_is_done_on_the_pages_is_evidence_that_names_nobody() {
    let (_backend, site, gateway) = rig().await;
    let decide = async |reader: &Reader<'_>, page: &str, path: &str, action: &str| {
        let response = reader.post(path, &with(page, &[("action", action)]).borrowed()).await;
        assert_eq!(response.status(), 303, "{action}");
    };
    {
        let reader = Reader::new(&gateway);
        let page = reader.arrive(&push(&gateway, REDIRECT, &[]).await).await;
        decide(&reader, &page, "/oauth/decision", "approve").await;
        let again = reader.post("/oauth/decision", &with(&page, &[("action", "approve")]).borrowed()).await;
        assert_eq!(again.status(), 400, "what counted once does not count twice");
        let page = reader.get(&page_of(&push(&gateway, REDIRECT, &[]).await)).await.text().await.unwrap();
        decide(&reader, &page, "/oauth/decision", "refuse").await;
        let page = reader.get(&page_of(&push(&gateway, REDIRECT, &[]).await)).await.text().await.unwrap();
        decide(&reader, &page, "/oauth/decision", "switch-user").await;

        let stranger = Reader::new(&gateway);
        let page = stranger.get(&page_of(&push(&gateway, REDIRECT, &[]).await)).await.text().await.unwrap();
        assert_eq!(attempt(&stranger, &page, "mallory", "hunter2").await, 403);
        for _ in 0..5 {
            assert_eq!(attempt(&stranger, &page, "Alice", "hunter2").await, 403);
        }
        assert_eq!(attempt(&stranger, &page, USERNAME, PASSWORD).await, 429);
        decide(&stranger, &page, "/oauth/sign-in", "cancel").await;
    }
    gateway.stop().await;

    let records = site.json_lines("state/audit.jsonl");
    let mut visits: Vec<&Value> = records.iter().filter(|record| !record["visit"].is_null()).collect();
    visits.sort_by_key(|record| record["at"].as_str().unwrap());
    let acts: Vec<&str> = visits.iter().map(|record| record["visit"].as_str().unwrap()).collect();
    let failed = ["sign-in-failed"; 6];
    let expected =
        [&["signed-in", "approved", "refused", "signed-out"][..], &failed, &["sign-in-throttled", "cancelled"]];
    assert_eq!(acts, expected.concat());
    let alice = &visits[0]["subject"];
    assert_eq!(alice.as_str().map(str::len), Some(22), "{alice}");
    for (nth, record) in visits.iter().enumerate() {
        // Who tried a name that is nobody's, and who left, is unknown.
        let expected = if matches!(nth, 4 | 11) { &Value::Null } else { alice };
        assert_eq!((&record["subject"], record["client"].as_str()), (expected, Some(CLIENT)), "{record}");
    }
    let text = site.read("state/audit.jsonl") + &site.read("state/access.jsonl");
    for secret in ["mallory", "hunter2", USERNAME, "Alice", PASSWORD, "psu-1"] {
        assert!(!text.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn guessing_passwords_counts_against_the_address() {
    let backend = Backend::agreeable().await;
    let site = site(&backend);
    site.edit("config/gateway.yaml", "failures_max: 1000000", "failures_max: 7");
    let gateway = site.start().await;
    let uri = push(&gateway, REDIRECT, &[]).await;
    let reader = Reader::new(&gateway);
    let page = reader.get(&page_of(&uri)).await.text().await.unwrap();
    // The name's delay begins after five: what comes too early counts as well.
    for nth in 0..7 {
        let expected = if nth < 5 { 403 } else { 429 };
        assert_eq!(attempt(&reader, &page, USERNAME, "wrong").await, expected, "{nth}");
    }
    let form = with(&page, &[("action", "sign-in"), ("username", USERNAME), ("password", PASSWORD)]);
    let response = reader.post("/oauth/sign-in", &form.borrowed()).await;
    assert_eq!(response.status(), 429);
    assert!(field(&response, "retry-after").parse::<u64>().unwrap() > 0);
    assert_eq!(reader.get("/openapi.json").await.status(), 429, "whatever it asks for");
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

#[tokio::test]
async fn pushed_requests_end_at_the_clients_share() {
    let backend = Backend::agreeable().await;
    let site = site(&backend);
    site.append("config/gateway.yaml", "tokens: { outstanding_max: 10, outstanding_per_client_max: 3 }\n");
    let gateway = site.start().await;
    let all = (0..8).map(|_| answer_to_push(&gateway, REDIRECT, &[]));
    let answers = futures_util::future::join_all(all).await;
    assert_eq!(answers.iter().filter(|(status, _)| *status == 201).count(), 3, "{answers:?}");
    assert!(answers.iter().all(|(status, _)| matches!(status, 201 | 429)), "{answers:?}");
    assert_eq!(gateway.metric("clearway_held", "what=\"pushed_requests\"").await, 3.0);
    assert_eq!(gateway.metric("clearway_held_max", "what=\"pushed_requests\"").await, 10.0);
}

/// RFC 9126 §2.3: what is finished is not outstanding.
#[tokio::test]
async fn a_client_finishes_more_than_it_may_have_outstanding() {
    let backend = Backend::agreeable().await;
    let site = site(&backend);
    site.append("config/gateway.yaml", "tokens: { outstanding_max: 10, outstanding_per_client_max: 2 }\n");
    let gateway = site.start().await;
    let reader = Reader::new(&gateway);
    let mut last = Value::Null;
    for nth in 0..12 {
        let uri = push(&gateway, REDIRECT, &[]).await;
        let page = reader.arrive(&uri).await;
        let action = if nth % 3 == 2 { "refuse" } else { "approve" };
        let response = reader.post("/oauth/decision", &with(&page, &[("action", action)]).borrowed()).await;
        let answer = parameters(field(&response, "location"));
        if let Some(code) = answer["code"].as_str() {
            let (status, body) = redeem(&gateway, REDIRECT, code).await;
            assert_eq!(status, 200, "{nth}: {body}");
            last = json!([code, body["refresh_token"]]);
        }
        assert_eq!(gateway.metric("clearway_held", "what=\"pushed_requests\"").await, 0.0, "{nth}");
        assert_eq!(gateway.metric("clearway_held", "what=\"codes\"").await, 0.0, "{nth}");
    }
    // And reuse is noticed all the same.
    let (status, _) = redeem(&gateway, REDIRECT, last[0].as_str().unwrap()).await;
    assert_eq!(status, 400);
    let fields = [("client_id", CLIENT), ("grant_type", "refresh_token"), ("refresh_token", last[1].as_str().unwrap())];
    let client = http(Some(client_identity(CLIENT)));
    let (status, body) = json_of(form(&gateway, "mtls", &client, "/oauth/token", &fields).await).await;
    assert_eq!((status, &body["error"]), (400, &json!("invalid_grant")));
}

/// Who is not a user any more is spoken for by nobody.
#[tokio::test]
async fn a_refresh_token_ends_with_its_user() {
    let (_backend, site, gateway) = rig().await;
    let reader = Reader::new(&gateway);
    let page = reader.arrive(&push(&gateway, REDIRECT, &[]).await).await;
    let response = reader.post("/oauth/decision", &with(&page, &[("action", "approve")]).borrowed()).await;
    let answer = parameters(field(&response, "location"));
    let (_, body) = redeem(&gateway, REDIRECT, answer["code"].as_str().unwrap()).await;
    let refresh = body["refresh_token"].as_str().unwrap();
    let client = http(Some(client_identity(CLIENT)));
    let post = async |path: &str, fields: &[(&str, &str)]| {
        let fields = [&[("client_id", CLIENT)][..], fields].concat();
        json_of(form(&gateway, "mtls", &client, path, &fields).await).await
    };
    let by_refresh = [("grant_type", "refresh_token"), ("refresh_token", refresh)];
    assert_eq!(post("/oauth/token", &by_refresh).await.0, 200);
    let users = site.read("config/users.yaml");
    for (name, text, good) in [("gone", "version: 1\nusers: []\n", false), ("back", &users, true)] {
        site.write("config/users.yaml", text);
        gateway.reload().await;
        let (status, answer) = post("/oauth/token", &by_refresh).await;
        assert_eq!(status == 200, good, "{name}: {answer}");
        assert!(good || answer["error"] == "invalid_grant", "{name}: {answer}");
        assert_eq!(post("/oauth/introspect", &[("token", refresh)]).await.1["active"], good, "{name}");
    }
}
