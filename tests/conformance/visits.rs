//! The authorization endpoint, codes, refresh tokens, identity: everything that needs a user.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::browser::{Browser, Landed};
use super::party::{Answer, Party, Suite, VERIFIER, changed, text};
use super::report::Report;
use crate::harness::secure::encode;
use crate::harness::token::{claims, header};

const BAD: &[u16] = &[400];
const GRANT: &[&str] = &["invalid_grant"];

pub async fn run(suite: &Suite, report: &mut Report) {
    let party = suite.party("suite-mtls-1");
    report.area("Authorization endpoint");
    front(suite, &party, report).await;
    responses(suite, &party, report).await;
    spent(suite, &party, report).await;
    refusals(suite, &party, report).await;
    stale(suite, &party, report).await;
    asked_for(suite, report).await;
    hinted(suite, &party, report).await;
    by_name(suite, &party, report).await;
    throttled(suite, &party, report).await;
    report.area("Signed responses");
    signed(suite, report).await;
    report.area("Codes");
    codes(suite, &party, report).await;
    report.area("Identity");
    identity(suite, &party, report).await;
    report.area("Refresh tokens");
    refresh(suite, &party, report).await;
    revoked(suite, &party, report).await;
}

pub fn page_of(suite: &Suite, client_id: &str, request_uri: &str) -> String {
    let endpoint = suite.metadata["authorization_endpoint"].as_str().unwrap();
    format!("{endpoint}?{}", encode(&[("client_id", client_id), ("request_uri", request_uri)]))
}

pub async fn pushed(party: &Party<'_>, changes: &[(&str, &str)]) -> String {
    let answer = party.push(changes).await;
    assert_eq!(answer.status, 201, "{}", answer.told());
    page_of(party.suite, party.id(), answer.text("request_uri"))
}

/// Pushes, signs in, approves.
pub async fn approved(party: &Party<'_>, changes: &[(&str, &str)]) -> Landed {
    let url = pushed(party, changes).await;
    Browser::new(party.suite).visit(&url, "approve").await
}

pub async fn code(party: &Party<'_>, changes: &[(&str, &str)]) -> String {
    let landed = approved(party, changes).await;
    landed.parameters().get("code").cloned().unwrap_or_else(|| panic!("no code: {}", landed.told()))
}

pub async fn redeem(party: &Party<'_>, code: &str, changes: &[(&str, &str)]) -> Answer {
    let sound = [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", party.redirect_uri()),
        ("code_verifier", VERIFIER),
    ];
    party.post_bound("token", &changed(changed(Vec::new(), &sound), changes)).await
}

async fn front(suite: &Suite, party: &Party<'_>, report: &mut Report) {
    let endpoint = suite.metadata["authorization_endpoint"].as_str().unwrap();
    let plain = changed(party.request(), &[("client_id", party.id())]);
    let stays = async |url: &str| {
        let answer = Answer::to(suite.anonymous.get(url)).await;
        let good = answer.field("location").is_empty() && (400..500).contains(&answer.status);
        if good { Ok(()) } else { Err(answer.told()) }
    };
    let unknown = "urn:ietf:params:oauth:request_uri:unknown";
    let theirs = suite.party("suite-mtls-2").push(&[]).await.text("request_uri").to_owned();
    for (clause, name, url) in [
        ("FAPI2-SP 5.3.2.2-3", "a request that was not pushed", format!("{endpoint}?{}", text(&plain))),
        ("FAPI2-SP 5.3.2.1-7", "an unknown request_uri", page_of(suite, party.id(), unknown)),
        ("RFC 9126 4", "another client's request_uri", page_of(suite, party.id(), &theirs)),
        ("FAPI2-SP 5.3.2.1-7", "a client that does not exist", page_of(suite, "no-such-client", unknown)),
        (
            "RFC 9101 5.2",
            "a request_uri of the world",
            page_of(suite, party.id(), "https://attacker.example/request.jwt"),
        ),
        ("RFC 6749 4.1.2.1", "nothing at all", endpoint.to_owned()),
    ] {
        report.check(clause, name, "a page, no redirect", stays(&url).await);
    }
    let url = pushed(party, &[]).await;
    let page = Answer::to(suite.anonymous.get(&url).header("origin", "https://attacker.example")).await;
    report.accepted("RFC 9126 4", "the page of a pushed request", &page);
    let error = Answer::to(suite.anonymous.get(page_of(suite, party.id(), unknown))).await;
    for (kind, page) in [("page", &page), ("error page", &error)] {
        let framing = page.field("content-security-policy").contains("frame-ancestors 'none'");
        for (clause, name, good, came) in [
            (
                "FAPI2-SP 5.2.3-1",
                "HSTS",
                page.field("strict-transport-security").contains("max-age="),
                "strict-transport-security",
            ),
            ("RFC 9700 4.16", "no framing", framing, "content-security-policy"),
            (
                "RFC 9700 4.16",
                "X-Frame-Options",
                page.field("x-frame-options").eq_ignore_ascii_case("deny"),
                "x-frame-options",
            ),
            ("RFC 9700 4.2.4", "no referrer", page.field("referrer-policy") == "no-referrer", "referrer-policy"),
            (
                "HTML 7.1.3",
                "no window is shared",
                page.field("cross-origin-opener-policy") == "same-origin",
                "cross-origin-opener-policy",
            ),
            (
                "Permissions Policy 9.1",
                "no device is used",
                page.field("permissions-policy").contains("camera=()"),
                "permissions-policy",
            ),
            ("RFC 6749 10.3", "not stored", page.field("cache-control").contains("no-store"), "cache-control"),
            (
                "FAPI2-SP 5.2.3-3",
                "no CORS",
                page.field("access-control-allow-origin").is_empty(),
                "access-control-allow-origin",
            ),
        ] {
            report.holds(clause, &format!("{kind}: {name}"), good, page.field(came));
        }
    }
    let preflight = suite.anonymous.request(http::Method::OPTIONS, &url).header("origin", "https://attacker.example");
    let answer = Answer::to(preflight.header("access-control-request-method", "GET")).await;
    report.holds(
        "FAPI2-SP 5.2.3-3",
        "no CORS on a preflight",
        answer.field("access-control-allow-origin").is_empty(),
        &answer.told(),
    );
}

async fn responses(suite: &Suite, party: &Party<'_>, report: &mut Report) {
    let long = "s".repeat(1000);
    let landed = approved(party, &[("state", &long)]).await;
    let said = landed.parameters();
    let names: Vec<&str> = said.keys().map(String::as_str).collect();
    report.holds(
        "RFC 9207 2",
        "code, iss and state, and nothing else",
        names == ["code", "iss", "state"],
        &landed.told(),
    );
    report.holds(
        "RFC 9207 2",
        "iss is the issuer",
        said.get("iss").map(String::as_str) == Some(suite.issuer()),
        &landed.told(),
    );
    report.holds(
        "FAPI2-SP 5.3.2.2 note 4",
        "a state of 1,000 characters comes back whole",
        said.get("state") == Some(&long),
        &landed.told(),
    );
    report.holds(
        "FAPI2-SP 5.4.1-4",
        "the code has 128 bits",
        said.get("code").is_some_and(|code| code.len() >= 22),
        &landed.told(),
    );
    let at = matches!(&landed, Landed::At(url) if url.starts_with(party.redirect_uri()));
    report.holds("RFC 6749 4.1.2", "at the redirect URI", at, &landed.told());
    let landed = approved(party, &[("state", "")]).await;
    let names: Vec<String> = landed.parameters().into_keys().collect();
    report.holds("RFC 6749 4.1.2", "an absent state stays absent", names == ["code", "iss"], &landed.told());
    let odd = "ä &=?#/%41+\"'<>";
    let landed = approved(party, &[("state", odd)]).await;
    let back = landed.parameters().get("state").cloned();
    report.holds(
        "RFC 6749 4.1.2",
        "a state of odd characters comes back",
        back.as_deref() == Some(odd),
        &landed.told(),
    );
    let kept = party.told["redirect_uris"][1].as_str().unwrap();
    let landed = approved(party, &[("redirect_uri", kept)]).await;
    let good = matches!(&landed, Landed::At(url) if url.starts_with(&format!("{kept}&")));
    report.holds("RFC 6749 3.1.2", "the query of a redirect URI is kept", good, &landed.told());
}

async fn spent(suite: &Suite, party: &Party<'_>, report: &mut Report) {
    let url = pushed(party, &[]).await;
    let mut browser = Browser::new(suite);
    let first = browser.get(&url).await;
    report.accepted("FAPI2-SP 5.3.2.2 note 3", "the page, first time", &first);
    let landed = browser.visit(&url, "approve").await;
    let approved = landed.parameters().contains_key("code");
    report.holds("FAPI2-SP 5.3.2.2 note 3", "the page, second time, leads to a code", approved, &landed.told());
    let again = browser.visit(&url, "approve").await;
    let none = !again.parameters().contains_key("code");
    report.holds("RFC 9126 4", "a spent request_uri gives no second code", none, &again.told());
    let stranger = Browser::new(suite).visit(&url, "approve").await;
    report.holds("RFC 9126 4", "nor to another browser", !stranger.parameters().contains_key("code"), &stranger.told());
}

/// Two tabs: what one does makes the other's form a foreign one. It decides nothing, and it is no dead end.
async fn stale(suite: &Suite, party: &Party<'_>, report: &mut Report) {
    let sign_in = suite.metadata["authorization_endpoint"].as_str().unwrap().replace("authorize", "sign-in");
    for (name, action) in [("signs in", "sign-in"), ("cancels", "cancel")] {
        let (first, second) = (pushed(party, &[]).await, pushed(party, &[]).await);
        let mut browser = Browser::new(suite);
        browser.get(&first).await;
        let page = browser.get(&second).await;
        let user = &suite.told["users"][0];
        let (username, password) = (user["username"].as_str().unwrap(), user["password"].as_str().unwrap());
        let more = [("username", username), ("password", password), ("action", action)];
        let form = changed(super::browser::hidden(&page.text), &more);
        let done = browser.visit(&first, "approve").await.parameters().contains_key("code");
        report.holds("RFC 6749 4.1.2", &format!("one of two tabs goes on before the other {name}"), done, "no code");
        for (who, mut browser) in [("another", Browser::new(suite)), ("its own", browser)] {
            let answer = browser.post(&sign_in, &form).await;
            let again = answer.status == 303 && answer.field("location").starts_with("authorize?");
            report.holds(
                "RFC 6749 4.1.2.1",
                &format!("a stale form that {name} in {who} browser: once more"),
                again,
                &answer.told(),
            );
            if who == "another" {
                continue;
            }
            let page = browser.get(&second).await;
            report.holds(
                "RFC 6749 10.12",
                &format!("a stale form that {name} decides nothing"),
                page.status == 200,
                &page.told(),
            );
            let landed = browser.visit(&second, "approve").await;
            let code = landed.parameters().contains_key("code");
            report.holds("RFC 6749 4.1.2", &format!("and the tab that {name} leads on"), code, &landed.told());
        }
    }
}

/// OpenID Connect Core §3.1.2.2: no answer about somebody else.
async fn asked_for(suite: &Suite, report: &mut Report) {
    for (id, subject, error) in [
        ("suite-mtls-1", "psu-bob", Some("login_required")),
        ("suite-mtls-1", "psu-alice", None),
        ("suite-pairwise", "psu-alice", Some("login_required")), // Which this client does not know her by.
    ] {
        let claims = json!({ "id_token": { "sub": { "value": subject } } }).to_string();
        let landed = approved(&suite.party(id), &[("claims", &claims)]).await;
        let said = landed.parameters();
        let good = match error {
            Some(error) => said.get("error").is_some_and(|said| said == error) && !said.contains_key("code"),
            None => said.contains_key("code"),
        };
        report.holds(
            "OIDC Core 3.1.2.2",
            &format!("{id} asks for {subject}, and alice signs in"),
            good,
            &landed.told(),
        );
    }
}

/// `id_token_hint`: whom the client wants to hear of, or nobody.
async fn hinted(suite: &Suite, party: &Party<'_>, report: &mut Report) {
    let tokens = redeem(party, &code(party, &[]).await, &[]).await;
    let hint = tokens.text("id_token");
    for (name, user, error) in [("she signs in", 0, None), ("somebody else does", 1, Some("login_required"))] {
        let url = pushed(party, &[("id_token_hint", hint)]).await;
        let landed = Browser::of(suite, user).visit(&url, "approve").await;
        let said = landed.parameters();
        let good = match error {
            Some(error) => said.get("error").is_some_and(|said| said == error) && !said.contains_key("code"),
            None => said.contains_key("code"),
        };
        report.holds("OIDC Core 3.1.2.2", &format!("an ID token as hint, and {name}"), good, &landed.told());
    }
    for (name, hint) in [("garbage", "garbage"), ("an access token", tokens.text("access_token"))] {
        let answer = party.push(&[("id_token_hint", hint)]).await;
        let name = format!("{name} as id_token_hint");
        report.refused("OIDC Core 3.1.2.1", &name, &answer, BAD, &["invalid_request"]);
    }
    let others = suite.party("suite-mtls-2").push(&[("id_token_hint", hint)]).await;
    let name = "another client's ID token as hint";
    report.refused("OIDC Core 3.1.2.1", name, &others, BAD, &["invalid_request"]);
    let pairwise = suite.party("suite-pairwise");
    let own = redeem(&pairwise, &code(&pairwise, &[]).await, &[]).await;
    let landed = approved(&pairwise, &[("id_token_hint", own.text("id_token"))]).await;
    let found = landed.parameters().contains_key("code");
    report.holds("OIDC Core 3.1.2.2", "a pairwise client's ID token as hint", found, &landed.told());
}

/// Claims by name: the user reads of them, and they are told to who may have the scope that covers them.
async fn by_name(suite: &Suite, party: &Party<'_>, report: &mut Report) {
    let asked = json!({ "email": { "essential": true }, "auth_time": null, "phone_number": null,
        "name": { "value": "Nobody" } });
    let claims = json!({ "userinfo": asked, "id_token": asked }).to_string();
    let answer = redeem(party, &code(party, &[("claims", &claims)]).await, &[]).await;
    let said = crate::harness::token::claims(answer.text("id_token"));
    let told = said["email"].is_string() && said["phone_number"].is_null();
    report.holds("OIDC Core 5.5", "claims that are asked for by name in the ID token", told, &answer.told());
    report.holds(
        "OIDC Core 5.5.1",
        "another value than that asked for is not told",
        said["name"].is_null(),
        &answer.told(),
    );
    let user = party.call(&party.endpoint("userinfo"), answer.text("access_token")).await;
    report.holds("OIDC Core 5.5", "a claim that no scope covers", user.body["auth_time"].is_i64(), &user.told());
    report.holds("OIDC Core 5.5", "a claim of a scope that it may have", user.body["email"].is_string(), &user.told());
    let pairwise = &suite.party("suite-pairwise");
    let apart = redeem(pairwise, &code(pairwise, &[("claims", &claims)]).await, &[]).await;
    let told = pairwise.call(&pairwise.endpoint("userinfo"), apart.text("access_token")).await;
    let kept = told.status == 200 && told.body["email"].is_null();
    report.holds("OIDC Core 5.5", "a claim of a scope that the client may not have", kept, &told.told());
    let kept = crate::harness::token::claims(apart.text("id_token"))["email"].is_null();
    report.holds("OIDC Core 5.5", "nor is it in its ID token", kept, &apart.told());
    let unasked = redeem(party, &code(party, &[]).await, &[]).await;
    let none = crate::harness::token::claims(unasked.text("id_token"))["email"].is_null();
    report.holds("OIDC Core 5.4", "what nobody asked for is not in the ID token", none, &unasked.told());
    let url = pushed(party, &[("claims", &claims)]).await;
    let mut browser = Browser::new(suite);
    let user = &suite.told["users"][0];
    let page = browser.get(&url).await;
    let (username, password) = (user["username"].as_str().unwrap(), user["password"].as_str().unwrap());
    let more = [("username", username), ("password", password), ("action", "sign-in")];
    let sign_in = suite.metadata["authorization_endpoint"].as_str().unwrap().replace("authorize", "sign-in");
    browser.post(&sign_in, &changed(super::browser::hidden(&page.text), &more)).await;
    let page = browser.get(&url).await;
    let named = page.text.contains("<li>auth_time</li>") && page.text.contains("<li>email</li>");
    report.holds("OIDC Core 5.5", "what is asked for by name is on the page", named, &page.text);
    let mut detail = suite.told["authorization_details"]["valid"][0].clone();
    detail[0]["creditorName"] = "Acme\u{202e} dtL knaB\u{2066}\u{200b}".into();
    let page = browser.get(&pushed(party, &[("authorization_details", &detail.to_string())]).await).await;
    let spelled = page.text.contains(r"Acme\u202e dtL knaB\u2066\u200b");
    let raw = page.text.contains(['\u{202e}', '\u{2066}', '\u{200b}']);
    report.holds("FAPI2-SP 5.3.2.2-13", "what turns letters is spelled out on the page", spelled && !raw, &page.text);
    let step_up = &suite.told["step_up"];
    let call = async |token: &str| party.call(step_up["mtls_url"].as_str().unwrap(), token).await;
    let own = call(party.own_token("accounts").await.text("access_token")).await;
    let demanded = own.field("www-authenticate").contains("insufficient_user_authentication");
    report.holds("RFC 9470 3", "a call that wants a user's sign-in", own.status == 401 && demanded, &own.told());
    report.accepted("RFC 9470 3", "and gets it", &call(answer.text("access_token")).await);
}

/// Guesses that come too fast are not looked at, and are told so.
async fn throttled(suite: &Suite, party: &Party<'_>, report: &mut Report) {
    let url = pushed(party, &[]).await;
    let sign_in = suite.metadata["authorization_endpoint"].as_str().unwrap().replace("authorize", "sign-in");
    let page = Answer::to(suite.anonymous.get(&url)).await;
    let cookie = page.field("set-cookie").split(';').next().unwrap().to_owned();
    let more = [("username", "a-name-of-nobody"), ("password", "a guess"), ("action", "sign-in")];
    let body = text(&changed(super::browser::hidden(&page.text), &more));
    let guess = || {
        let request = suite.anonymous.post(&sign_in).header("cookie", &cookie);
        Answer::to(request.header("content-type", "application/x-www-form-urlencoded").body(body.clone()))
    };
    let answers = futures_util::future::join_all((0..12).map(|_| guess())).await;
    let wrong = answers.iter().find(|answer| answer.status == 403);
    report.holds("RFC 6749 10.10", "a wrong password is 403", wrong.is_some(), "none");
    let early = answers.iter().find(|answer| answer.status == 429);
    let told = early.map_or_else(|| "none".to_owned(), |answer| answer.told());
    let wait = early
        .is_some_and(|answer| answer.field("retry-after").parse::<u64>().is_ok_and(|wait| (1..=61).contains(&wait)));
    report.holds("RFC 6585 4", "one that comes too early is 429 and says how long to wait", wait, &told);
    let own =
        early.is_some_and(|answer| answer.text.contains("too many attempts") && !answer.text.contains("is wrong"));
    report.holds("RFC 6749 10.10", "and not whether it was right", own, &told);
}

async fn refusals(suite: &Suite, party: &Party<'_>, report: &mut Report) {
    for (clause, name, changes, action, expected) in [
        ("RFC 6749 4.1.2.1", "the user refuses", &[][..], "refuse", "access_denied"),
        ("RFC 6749 4.1.2.1", "the user leaves", &[], "cancel", "access_denied"),
        ("OIDC Core 3.1.2.6", "prompt none without a session", &[("prompt", "none")], "approve", "login_required"),
    ] {
        let url = pushed(party, changes).await;
        let landed = Browser::new(suite).visit(&url, action).await;
        let said = landed.parameters();
        let good = said.get("error").map(String::as_str) == Some(expected)
            && said.get("iss").map(String::as_str) == Some(suite.issuer())
            && said.get("state").map(String::as_str) == Some("a-state")
            && !said.contains_key("code");
        let wanted = format!("{expected} with iss and state");
        report.check(clause, name, &wanted, if good { Ok(()) } else { Err(landed.told()) });
        let known = ["error", "error_description", "error_uri", "iss", "state"];
        let only = said.keys().all(|name| known.contains(&name.as_str()));
        report.holds(clause, &format!("{name}: nothing else is said"), only, &landed.told());
    }
}

/// The claims of a signed response, whose key must be published.
pub async fn opened(suite: &Suite, response: &str) -> Result<Value, String> {
    let keys = Answer::to(suite.anonymous.get(suite.metadata["jwks_uri"].as_str().unwrap())).await.body;
    let (kid, alg) = (header(response)["kid"].clone(), header(response)["alg"].clone());
    let published = keys["keys"].as_array().unwrap().iter().any(|key| key["kid"] == kid);
    let allowed = ["PS256", "ES256", "EdDSA"].iter().any(|known| alg == *known);
    if published && allowed { Ok(claims(response)) } else { Err(format!("signed with {alg} by {kid}")) }
}

async fn signed(suite: &Suite, report: &mut Report) {
    let party = suite.party("suite-signed-response");
    for (mode, action) in
        [("jwt", "approve"), ("query.jwt", "refuse"), ("fragment.jwt", "approve"), ("form_post.jwt", "approve")]
    {
        let url = pushed(&party, &[("response_mode", mode)]).await;
        let landed = Browser::new(suite).visit(&url, action).await;
        let (response, alone) = match &landed {
            Landed::Page(page) => {
                let fields: BTreeMap<_, _> = super::browser::hidden(&page.text).into_iter().collect();
                (fields.get("response").cloned(), mode == "form_post.jwt")
            }
            Landed::At(url) => {
                let said = landed.parameters();
                let place = if mode == "fragment.jwt" { "#response=" } else { "?response=" };
                (said.get("response").cloned(), said.len() == 1 && url.contains(place))
            }
        };
        report.holds("FAPI2-MS 5.4.1", &format!("{mode}: response alone, in its place"), alone, &landed.told());
        let Some(response) = response else { continue };
        let opened = opened(suite, &response).await;
        report.check("JARM 2.2", &format!("{mode}: signed by a published key"), "so it is", opened.clone().map(drop));
        let said = opened.unwrap_or_default();
        let told = said.to_string();
        let outcome = if action == "approve" { said["code"].is_string() } else { said["error"] == "access_denied" };
        for (name, good) in [
            ("iss", said["iss"] == suite.issuer()),
            ("aud", said["aud"] == party.id()),
            ("exp", said["exp"].is_i64()),
            ("state", said["state"] == "a-state"),
            ("the outcome", outcome),
        ] {
            report.holds("JARM 2.1", &format!("{mode}: {name} within"), good, &told);
        }
    }
}

async fn codes(suite: &Suite, party: &Party<'_>, report: &mut Report) {
    let used = code(party, &[]).await;
    let answer = redeem(party, &used, &[]).await;
    report.accepted("RFC 6749 4.1.3", "a code", &answer);
    report.holds(
        "RFC 6749 5.1",
        "no-store",
        answer.field("cache-control").contains("no-store"),
        answer.field("cache-control"),
    );
    let mut scopes: Vec<&str> = answer.text("scope").split(' ').collect();
    scopes.sort_unstable();
    report.holds("RFC 6749 5.1", "scope is told", scopes == ["accounts", "openid"], &answer.told());
    let token = answer.text("access_token").to_owned();
    let url = suite.told["apis"][0]["mtls_url"].as_str().unwrap();
    report.accepted("RFC 6750 2.1", "its token at an API", &party.call(url, &token).await);
    let other = suite.party("suite-mtls-2");
    let stolen = Answer::to(other.http.get(url).bearer_auth(&token)).await;
    report.holds("RFC 8705 3", "the same token with another certificate is 401", stolen.status == 401, &stolen.told());
    report.refused("FAPI2-SP 5.3.2.2-9", "a code, second use", &redeem(party, &used, &[]).await, BAD, GRANT);
    let after = party.call(url, &token).await;
    report.holds("RFC 6749 4.1.2", "a second use revokes what the first one gave", after.status == 401, &after.told());
    let renewed = refresh_with(party, answer.text("refresh_token"), &[]).await;
    report.refused("RFC 6749 4.1.2", "and its refresh token", &renewed, BAD, GRANT);
    let short = "v".repeat(42);
    let wrong = "w".repeat(43);
    for (clause, name, changes) in [
        ("RFC 7636 4.6", "another verifier", vec![("code_verifier", &*wrong)]),
        ("RFC 7636 4.6", "no verifier", vec![("code_verifier", "")]),
        ("RFC 7636 4.1", "a verifier that is too short", vec![("code_verifier", &*short)]),
        ("RFC 6749 4.1.3", "another redirect_uri", vec![("redirect_uri", "https://attacker.example/cb")]),
        ("RFC 6749 4.1.3", "no redirect_uri", vec![("redirect_uri", "")]),
    ] {
        let fresh = code(party, &[]).await;
        report.refused(clause, name, &redeem(party, &fresh, &changes).await, BAD, GRANT);
    }
    let fresh = code(party, &[]).await;
    report.refused(
        "RFC 6749 4.1.3",
        "another client's code",
        &redeem(&other, &fresh, &[("redirect_uri", party.redirect_uri())]).await,
        BAD,
        GRANT,
    );
    report.accepted("RFC 6749 4.1.3", "which is its owner's still", &redeem(party, &fresh, &[]).await);
    let details = &suite.told["authorization_details"]["valid"][0];
    let asked = details.to_string();
    let granted = redeem(party, &code(party, &[("authorization_details", &asked)]).await, &[]).await;
    let same = granted.body["authorization_details"] == *details;
    report.holds("RFC 9396 7", "authorization_details that were granted are told", same, &granted.told());
    let within = claims(granted.text("access_token"))["authorization_details"] == *details;
    report.holds("RFC 9396 9.1", "and stand in the token", within, &granted.told());
}

async fn identity(suite: &Suite, party: &Party<'_>, report: &mut Report) {
    let nonce = "n".repeat(64);
    let answer = redeem(party, &code(party, &[("nonce", &nonce)]).await, &[]).await;
    let id_token = answer.text("id_token");
    let Ok(said) = opened(suite, id_token).await else { panic!("{}", answer.told()) };
    let told = said.to_string();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, answer.text("access_token").as_bytes());
    let half = base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, &digest.as_ref()[..16]);
    for (clause, name, good) in [
        ("OIDC Core 2", "iss", said["iss"] == suite.issuer()),
        ("OIDC Core 2", "aud", said["aud"] == party.id() || said["aud"] == json!([party.id()])),
        ("OIDC Core 2", "exp after iat", said["exp"].as_i64() > said["iat"].as_i64()),
        ("OIDC Core 2", "auth_time", said["auth_time"].is_i64()),
        ("FAPI2-SP 5.3.2.2-14", "a nonce of 64 characters", said["nonce"] == nonce),
        ("OIDC Core 3.1.3.6", "at_hash", said["at_hash"] == half),
        ("RFC 8725 3.11", "no typ of an access token", header(id_token)["typ"] != "at+jwt"),
    ] {
        report.holds(clause, &format!("ID token: {name}"), good, &told);
    }
    let token = claims(answer.text("access_token"));
    report.holds(
        "RFC 9068 2.2",
        "sub is the user in both tokens",
        token["sub"] == said["sub"] && said["sub"].is_string(),
        &told,
    );
    report.holds("FAPI2-SP 6.7", "sub is no client_id", token["sub"] != party.id(), &told);
    let none = redeem(party, &code(party, &[("nonce", "")]).await, &[]).await;
    let absent = claims(none.text("id_token"))["nonce"].is_null();
    report.holds("OIDC Core 2", "an absent nonce stays absent", absent, &none.told());
    let plain = redeem(party, &code(party, &[("scope", "accounts")]).await, &[]).await;
    report.holds("OIDC Core 3.1.2.1", "no openid, no ID token", plain.body["id_token"].is_null(), &plain.told());
    let as_token = party.call(suite.told["apis"][0]["mtls_url"].as_str().unwrap(), id_token).await;
    report.holds("RFC 9068 4", "an ID token is no access token", as_token.status == 401, &as_token.told());
    if !suite.offers("userinfo_endpoint") {
        return;
    }
    let url = party.endpoint("userinfo");
    let user = party.call(&url, answer.text("access_token")).await;
    report.accepted("OIDC Core 5.3", "userinfo", &user);
    report.holds("OIDC Core 5.3.2", "its sub is the ID token's", user.body["sub"] == said["sub"], &user.told());
    let alone = Answer::to(party.http.get(&url)).await;
    report.holds("OIDC Core 5.3.3", "without a token it is 401", alone.status == 401, &alone.told());
    let own = party.own_token("accounts").await.text("access_token").to_owned();
    let none = party.call(&url, &own).await;
    report.holds("OIDC Core 5.3", "a token without openid is refused", matches!(none.status, 401 | 403), &none.told());
}

pub async fn refresh_with(party: &Party<'_>, token: &str, changes: &[(&str, &str)]) -> Answer {
    let sound = [("grant_type", "refresh_token"), ("refresh_token", token)];
    party.post_bound("token", &changed(changed(Vec::new(), &sound), changes)).await
}

async fn refresh(suite: &Suite, party: &Party<'_>, report: &mut Report) {
    let first = redeem(party, &code(party, &[]).await, &[]).await;
    let token = first.text("refresh_token").to_owned();
    report.holds("FAPI2-SP 5.4.1-4", "the refresh token has 128 bits", token.len() >= 22, &first.told());
    for turn in ["first", "second"] {
        let answer = refresh_with(party, &token, &[]).await;
        report.accepted("FAPI2-SP 5.3.2.1-9", &format!("{turn} use of a refresh token"), &answer);
        let kept = answer.body["refresh_token"].is_null() || answer.text("refresh_token") == token;
        report.holds("FAPI2-SP 5.3.2.1-9", &format!("{turn} use does not rotate it"), kept, &answer.told());
    }
    let url = suite.told["apis"][0]["mtls_url"].as_str().unwrap();
    let narrow = refresh_with(party, &token, &[("scope", "openid")]).await;
    report.holds("RFC 6749 6", "a refresh may narrow", narrow.text("scope") == "openid", &narrow.told());
    let refused = party.call(url, narrow.text("access_token")).await;
    report.holds("FAPI2-SP 5.3.4-4", "a narrowed token is 403", refused.status == 403, &refused.told());
    let wide = refresh_with(party, &token, &[("scope", "openid accounts payments")]).await;
    report.refused("RFC 6749 6", "a refresh may not widen", &wide, BAD, &["invalid_scope"]);
    let theirs = refresh_with(&suite.party("suite-mtls-2"), &token, &[]).await;
    report.refused("RFC 6749 6", "another client's refresh token", &theirs, BAD, GRANT);
    report.accepted("RFC 6749 6", "which is its owner's still", &refresh_with(party, &token, &[]).await);
    let as_token = party.call(url, &token).await;
    report.holds("RFC 6749 1.5", "a refresh token is no access token", as_token.status == 401, &as_token.told());
}

async fn revoked(suite: &Suite, party: &Party<'_>, report: &mut Report) {
    let first = redeem(party, &code(party, &[]).await, &[]).await;
    let (access, token) = (first.text("access_token").to_owned(), first.text("refresh_token").to_owned());
    let answer = party.post("revocation", &changed(Vec::new(), &[("token", &token)])).await;
    report.accepted("RFC 7009 2.1", "revocation of a refresh token", &answer);
    report.refused("RFC 7009 2.1", "a revoked refresh token", &refresh_with(party, &token, &[]).await, BAD, GRANT);
    let call = party.call(suite.told["apis"][0]["mtls_url"].as_str().unwrap(), &access).await;
    report.holds("RFC 7009 2.1", "the access tokens of its grant end too", call.status == 401, &call.told());
}
