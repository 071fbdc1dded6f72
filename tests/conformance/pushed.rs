//! Pushed authorization requests (RFC 9126).

use serde_json::{Value, json};

use super::party::{Answer, Party, Suite, changed, text};
use super::report::Report;

const BAD: &[u16] = &[400];
const REQUEST: &[&str] = &["invalid_request"];
/// More than one client may have outstanding.
const FLOOD: usize = 1200;

pub async fn run(suite: &Suite, report: &mut Report) {
    let party = suite.party("suite-dpop-1");
    report.area("Pushed authorization requests");
    success(&party, report).await;
    accepted(suite, &party, report).await;
    refused(&party, report).await;
    least(suite, &party, report).await;
    http(suite, &party, report).await;
    clients(suite, report).await;
    details(suite, &party, report).await;
    resources(suite, &party, report).await;
    report.area("Floods");
    flood(suite, report).await;
}

async fn success(party: &Party<'_>, report: &mut Report) {
    let answer = party.push(&[]).await;
    report.holds("RFC 9126 2.2", "201", answer.status == 201, &answer.told());
    let uri = answer.text("request_uri");
    let random = uri.strip_prefix("urn:ietf:params:oauth:request_uri:").unwrap_or_default();
    report.holds("RFC 9126 2.2", "request_uri has its URN", !random.is_empty(), uri);
    report.holds("FAPI2-SP 5.4.1-4", "request_uri has 128 bits", random.len() >= 22, uri);
    let life = answer.body["expires_in"].as_i64().unwrap_or_default();
    report.holds("FAPI2-SP 5.3.2.2-12", "expires_in is 30 to 599", (30..600).contains(&life), &life.to_string());
    report.holds("BR-AS-22", "expires_in is 60 or more", life >= 60, &life.to_string());
    let cache = answer.field("cache-control");
    report.holds("RFC 9126 2.2", "no-store", cache.contains("no-store"), cache);
    let again = party.push(&[]).await;
    report.holds("RFC 9126 2.2", "request_uri is never the same", again.text("request_uri") != uri, uri);
}

/// Nothing that was not asked for, and nothing that is not what it looks like.
async fn least(suite: &Suite, party: &Party<'_>, report: &mut Report) {
    let answer = party.push(&[("scope", "")]).await;
    report.refused("RFC 6749 3.3", "no scope", &answer, BAD, &["invalid_scope"]);
    let fapi1 = suite.party("suite-fapi1");
    let mut claims = fapi1.object_claims();
    claims.as_object_mut().unwrap().remove("scope");
    let answer = fapi1.push_object(&fapi1.key.jwt("oauth-authz-req+jwt", &claims)).await;
    report.refused("RFC 6749 3.3", "a request object without scope", &answer, BAD, &["invalid_scope"]);
    let details = suite.told["authorization_details"]["valid"][0].to_string();
    let answer = party.push(&[("scope", ""), ("authorization_details", &details)]).await;
    report.accepted("RFC 9396 3", "authorization_details alone", &answer);
    for claims in
        [r#"{"id_token":1}"#, r#"{"userinfo":[]}"#, r#"{"id_token":{"sub":{"value":7}}}"#, r#"{"id_token":{"name":1}}"#]
    {
        let answer = party.push(&[("claims", claims)]).await;
        report.refused("OIDC Core 5.5", &format!("claims {claims}"), &answer, BAD, REQUEST);
    }
    let looped = party.told["redirect_uris"][2].as_str().unwrap();
    for port in ["99999", "65536", "0"] {
        let uri = looped.replace("127.0.0.1/", &format!("127.0.0.1:{port}/"));
        let answer = party.push(&[("redirect_uri", &uri)]).await;
        report.refused("RFC 8252 7.3", &format!("a loopback redirect URI with port {port}"), &answer, BAD, REQUEST);
    }
    let answer = party.push(&[("state", &"s".repeat(2_000_000))]).await;
    report.refused("RFC 9126 2.3", "two megabytes", &answer, &[413], REQUEST);
}

async fn accepted(suite: &Suite, party: &Party<'_>, report: &mut Report) {
    let (long, nonce) = ("s".repeat(1000), "n".repeat(64));
    let kept = party.told["redirect_uris"][1].as_str().unwrap();
    let looped = party.told["redirect_uris"][2].as_str().unwrap();
    let port = looped.replace("127.0.0.1/", "127.0.0.1:54321/");
    for (clause, name, changes) in [
        ("FAPI2-SP 5.3.2.2 note 4", "a state of 1,000 characters", vec![("state", &*long)]),
        ("FAPI2-SP 5.3.2.2-14", "a nonce of 64 characters", vec![("nonce", &*nonce)]),
        ("RFC 6749 4.1.1", "no state and no nonce", vec![("state", ""), ("nonce", "")]),
        ("RFC 6749 3.3", "scopes in another order", vec![("scope", "accounts openid")]),
        ("RFC 6749 3.1", "a parameter that nobody knows", vec![("unknown_parameter", "x")]),
        ("RFC 6749 3.1.2", "a redirect URI with a query", vec![("redirect_uri", kept)]),
        ("RFC 8252 7.3", "a loopback redirect URI", vec![("redirect_uri", looped)]),
        ("RFC 8252 7.3", "the same with a port", vec![("redirect_uri", &*port)]),
        (
            "OIDC Core 3.1.2.1",
            "prompt, max_age, acr_values",
            vec![("prompt", "login"), ("max_age", "0"), ("acr_values", "a b")],
        ),
        (
            "OIDC Core 5.5",
            "claims",
            vec![("claims", r#"{"id_token":{"acr":null},"userinfo":{"name":{"essential":true}}}"#)],
        ),
        ("JARM 2.3.4", "response_mode jwt", vec![("response_mode", "jwt")]),
        ("RFC 6749 3.1", "an empty parameter counts as absent", vec![("prompt", "")]),
    ] {
        report.accepted(clause, name, &party.push(&changes).await);
    }
    let longer = "n".repeat(384);
    let answer = party.push(&[("nonce", &longer)]).await;
    let whole = answer.status == 201 || (answer.status == 400 && answer.text("error") == "invalid_request");
    report.holds("FAPI2-SP 5.3.2.2-14", "a nonce of 384 characters: taken or refused", whole, &answer.told());
    report.accepted("RFC 9126 2", "a client with a certificate", &suite.party("suite-mtls-1").push(&[]).await);
    report.accepted("RFC 9126 2", "an assertion over mutual TLS", &suite.party("suite-jwt-mtls").push(&[]).await);
}

async fn refused(party: &Party<'_>, report: &mut Report) {
    let registered = party.redirect_uri();
    let (slash, query, fragment) = (format!("{registered}/"), format!("{registered}?x=1"), format!("{registered}#f"));
    let upper = registered.replace("localhost", "LOCALHOST");
    let other = party.suite.party("suite-dpop-2");
    let theirs = other.redirect_uri();
    for (clause, name, changes, codes) in [
        ("RFC 9126 2.1", "request_uri within", vec![("request_uri", "urn:ietf:params:oauth:request_uri:x")], REQUEST),
        ("FAPI2-SP 5.3.2.2-6", "no redirect_uri", vec![("redirect_uri", "")], REQUEST),
        ("RFC 9700 2.1", "another redirect_uri", vec![("redirect_uri", "https://attacker.example/cb")], REQUEST),
        ("RFC 9700 2.1", "a registered one and a slash", vec![("redirect_uri", &*slash)], REQUEST),
        ("RFC 9700 2.1", "a registered one and a query", vec![("redirect_uri", &*query)], REQUEST),
        ("RFC 6749 3.1.2", "a registered one and a fragment", vec![("redirect_uri", &*fragment)], REQUEST),
        ("RFC 9700 2.1", "a registered one in capitals", vec![("redirect_uri", &*upper)], REQUEST),
        ("RFC 9700 2.1", "another client's", vec![("redirect_uri", theirs)], REQUEST),
        ("FAPI2-SP 5.3.2.2-8", "http", vec![("redirect_uri", "http://localhost:9999/suite-dpop-1/callback")], REQUEST),
        (
            "RFC 8252 7.3",
            "a loopback address and another path",
            vec![("redirect_uri", "http://127.0.0.1:1/other")],
            REQUEST,
        ),
        ("FAPI2-SP 5.3.2.2-5", "no code_challenge", vec![("code_challenge", "")], REQUEST),
        ("FAPI2-SP 5.3.2.2-5", "no PKCE", vec![("code_challenge", ""), ("code_challenge_method", "")], REQUEST),
        ("FAPI2-SP 5.3.2.2-5", "plain", vec![("code_challenge_method", "plain")], REQUEST),
        ("RFC 7636 4.3", "no code_challenge_method", vec![("code_challenge_method", "")], REQUEST),
        ("RFC 7636 4.2", "a challenge that is none", vec![("code_challenge", "short")], REQUEST),
        (
            "FAPI2-SP 5.3.2.2-1",
            "code id_token",
            vec![("response_type", "code id_token")],
            &["unsupported_response_type", "invalid_request", "unauthorized_client"],
        ),
        (
            "FAPI2-SP 5.3.2.2-1",
            "token",
            vec![("response_type", "token")],
            &["unsupported_response_type", "invalid_request", "unauthorized_client"],
        ),
        ("RFC 6749 3.1.1", "no response_type", vec![("response_type", "")], REQUEST),
        (
            "OAuth Multiple Response 2.1",
            "a response_mode that nobody knows",
            vec![("response_mode", "pigeon")],
            REQUEST,
        ),
        ("RFC 6749 3.3", "a scope that does not exist", vec![("scope", "openid no-such-scope")], &["invalid_scope"]),
        ("RFC 6749 3.3", "a malformed scope", vec![("scope", "acc\"ounts")], &["invalid_scope", "invalid_request"]),
        ("OIDC Core 3.1.2.1", "prompt none with login", vec![("prompt", "none login")], REQUEST),
        ("OIDC Core 3.1.2.1", "max_age below zero", vec![("max_age", "-1")], REQUEST),
        ("OIDC Core 5.5", "claims that are no JSON", vec![("claims", "{")], REQUEST),
        ("RFC 9449 10", "dpop_jkt that is no thumbprint", vec![("dpop_jkt", "x")], REQUEST),
    ] {
        report.refused(clause, name, &party.push(&changes).await, BAD, codes);
    }
}

async fn http(suite: &Suite, party: &Party<'_>, report: &mut Report) {
    let url = party.endpoint("pushed_authorization_request");
    for (name, request) in
        [("GET", party.http.get(&url)), ("PUT", party.http.put(&url)), ("DELETE", party.http.delete(&url))]
    {
        let answer = Answer::to(request).await;
        report.holds("RFC 9126 2.3", &format!("{name} is 405"), answer.status == 405, &answer.told());
    }
    let sound = text(&[party.proven(), party.request()].concat());
    let answer = party.bare("pushed_authorization_request", &format!("{sound}&scope=openid")).await;
    report.refused("RFC 6749 3.1", "scope twice", &answer, BAD, REQUEST);
    let sound = text(&[party.proven(), party.request()].concat());
    let answer = party.bare("pushed_authorization_request", &format!("{sound}&unknown=1&unknown=2")).await;
    report.refused("RFC 6749 3.1", "an unknown parameter twice", &answer, BAD, REQUEST);
    let body = json!({ "client_id": party.id() }).to_string();
    let request = party.http.post(&url).header("content-type", "application/json").body(body);
    let answer = Answer::to(request).await;
    let refused = matches!(answer.status, 400 | 401 | 415);
    report.holds("RFC 9126 2.1", "JSON is refused", refused, &answer.told());
    let huge = format!("{}&x={}", text(&[party.proven(), party.request()].concat()), "x".repeat(300_000));
    let answer = party.bare("pushed_authorization_request", &huge).await;
    report.holds("RFC 9126 2.3", "300 kB are 413", answer.status == 413, &answer.told());
    let body = text(&party.request());
    let request = suite.anonymous.post(&url).header("content-type", "application/x-www-form-urlencoded").body(body);
    let answer = Answer::to(request).await;
    report.refused("FAPI2-SP 5.3.2.2-4", "nobody's request", &answer, &[401], &["invalid_client"]);
}

async fn clients(suite: &Suite, report: &mut Report) {
    let answer = suite.party("suite-no-code").push(&[]).await;
    report.refused("RFC 6749 4.1.2.1", "a client without the code grant", &answer, BAD, &["unauthorized_client"]);
    let party = suite.party("suite-signed-response");
    report.accepted(
        "FAPI2-MS 5.3.3",
        "a response_mode of the client's",
        &party.push(&[("response_mode", "query.jwt")]).await,
    );
    let answer = party.push(&[("response_mode", "query")]).await;
    report.refused("FAPI2-MS 5.3.3", "a response_mode that is not the client's", &answer, BAD, REQUEST);
    let answer = party.push(&[("response_mode", "")]).await;
    report.refused("FAPI2-MS 5.4.1-1", "no response_mode of a client of signed responses", &answer, BAD, REQUEST);
    report.accepted("RFC 6749 2.3.1", "a client of plain-oauth", &{
        let party = suite.party("suite-plain");
        let body = changed(party.request(), &[("scope", "openid wallet:read")]);
        party.post_bound("pushed_authorization_request", &body).await
    });
}

async fn details(suite: &Suite, party: &Party<'_>, report: &mut Report) {
    let told = &suite.told["authorization_details"];
    for (at, details) in told["valid"].as_array().unwrap().iter().enumerate() {
        let answer = party.push(&[("authorization_details", &details.to_string())]).await;
        report.accepted("RFC 9396 2", &format!("authorization_details {}", at + 1), &answer);
    }
    for example in told["invalid"].as_array().unwrap() {
        let answer = party.push(&[("authorization_details", &example["authorization_details"].to_string())]).await;
        let name = format!("authorization_details: {}", example["why"].as_str().unwrap());
        report.refused("RFC 9396 5", &name, &answer, BAD, &["invalid_authorization_details"]);
    }
    let answer = party.push(&[("authorization_details", "[{")]).await;
    report.refused("RFC 9396 5", "authorization_details: no JSON", &answer, BAD, &["invalid_authorization_details"]);
}

async fn resources(suite: &Suite, party: &Party<'_>, report: &mut Report) {
    let texts = |member: &str| -> Vec<String> {
        let values: &Vec<Value> = suite.told["resource"][member].as_array().unwrap();
        values.iter().map(|value| value.as_str().unwrap().to_owned()).collect()
    };
    for resource in texts("valid") {
        report.accepted("RFC 8707 2", &format!("resource {resource}"), &party.push(&[("resource", &resource)]).await);
    }
    for resource in texts("invalid") {
        let answer = party.push(&[("resource", &resource)]).await;
        report.refused("RFC 8707 2", &format!("resource {resource}"), &answer, BAD, &["invalid_target"]);
    }
}

/// Bounded: a client that pushes without end is told so, and others are not hurt.
async fn flood(suite: &Suite, report: &mut Report) {
    let party = suite.party("suite-mtls-2");
    let mut first = None;
    for at in 0..FLOOD {
        let answer = party.push(&[]).await;
        if answer.status != 201 {
            first = Some((at, answer));
            break;
        }
    }
    let (at, answer) = first.map_or((FLOOD, None), |(at, answer)| (at, Some(answer)));
    let told = answer.as_ref().map_or_else(|| "never".to_owned(), Answer::told);
    let full = answer.is_some_and(|answer| answer.status == 429);
    report.holds("RFC 9126 2.3", "a flood of pushed requests ends with 429", full, &format!("after {at}: {told}"));
    let other = suite.party("suite-mtls-1").push(&[]).await;
    report.accepted("RFC 9126 2.3", "another client is not hurt by it", &other);
}
