//! Grants: what becomes of them when a code comes twice, when a token request wants more, and when the client may have less.

use std::sync::Arc;

use clearway::jose::Algorithm;
use serde_json::{Value, json};

use super::browser::Browser;
use super::party::{Answer, Party, Suite, asserted, changed};
use super::registration::register;
use super::report::Report;
use super::visits::{code, pushed, redeem};
use crate::harness::token::{Key, with};

const GRANT: &[&str] = &["invalid_grant"];
const DETAILS: &[&str] = &["invalid_authorization_details"];

pub async fn run(suite: &Suite, report: &mut Report) {
    report.area("Grants");
    let party = suite.party("suite-mtls-1");
    at_once(&party, report).await;
    multiplied(suite, &party, report).await;
    if suite.offers("registration_endpoint") && !suite.told["initial_access_token"].is_null() {
        shrunk(suite, report).await;
        signed_otherwise(suite, report).await;
    }
}

async fn refreshed(party: &Party<'_>, token: &str, more: &[(&str, &str)]) -> Answer {
    let parameters = [&[("grant_type", "refresh_token"), ("refresh_token", token)], more].concat();
    party.post_bound("token", &changed(Vec::new(), &parameters)).await
}

/// RFC 6749 §4.1.2: of two at once one at most gets tokens, and they are worth nothing afterwards.
async fn at_once(party: &Party<'_>, report: &mut Report) {
    let (mut most, mut left) = (0, Vec::new());
    for _ in 0..5 {
        let code = code(party, &[]).await;
        let (one, two) = tokio::join!(redeem(party, &code, &[]), redeem(party, &code, &[]));
        let given: Vec<_> = [one, two].into_iter().filter(|answer| answer.status == 200).collect();
        most = most.max(given.len());
        for answer in &given {
            let again = refreshed(party, answer.text("refresh_token"), &[]).await;
            if again.status == 200 {
                left.push(again.told());
            }
        }
    }
    report.holds("RFC 6749 4.1.2", "a code that comes twice at once is redeemed once at most", most <= 1, "twice");
    report.holds("RFC 6749 4.1.2", "and its grant ends", left.is_empty(), &left.join(", "));
}

/// RFC 9396 §6: what the user approved once is granted once.
async fn multiplied(suite: &Suite, party: &Party<'_>, report: &mut Report) {
    let one = &suite.told["authorization_details"]["valid"][0][0];
    let copies = |count: usize| Value::Array(vec![one.clone(); count]).to_string();
    let approved = async || code(party, &[("authorization_details", &copies(1))]).await;
    let answer = redeem(party, &approved().await, &[("authorization_details", &copies(2))]).await;
    report.refused("RFC 9396 6", "a code for one payment asked for two", &answer, &[400], DETAILS);
    let answer = redeem(party, &approved().await, &[("authorization_details", &copies(1))]).await;
    let same = answer.body["authorization_details"] == json!([one]);
    report.holds("RFC 9396 6", "asked for the one it gives the one", same, &answer.told());
    for count in [2, 20] {
        let again = refreshed(party, answer.text("refresh_token"), &[("authorization_details", &copies(count))]).await;
        let name = format!("a refresh token of one payment asked for {count}");
        report.refused("RFC 9396 6", &name, &again, &[400], DETAILS);
    }
}

/// A client of its own making.
fn registered<'s>(suite: &'s Suite, answer: &Answer, key: &Arc<Key>) -> Party<'s> {
    let told = with(answer.body.clone(), json!({ "sender_constraint": "dpop" }));
    let dpop = Key::generate(Algorithm::Es256);
    Party { suite, http: suite.anonymous.clone(), key: Arc::clone(key), dpop, told }
}

fn metadata(keys: &[&Value]) -> Value {
    json!({
        "redirect_uris": ["https://suite.example/callback"], "jwks": { "keys": keys },
        "grant_types": ["authorization_code", "refresh_token"], "dpop_bound_access_tokens": true,
        "scope": "openid accounts", "authorization_details_types": ["payment_initiation"],
    })
}

/// RFC 7592 §2.2: what the client gave up, it gets by no code and by no refresh token.
async fn shrunk(suite: &Suite, report: &mut Report) {
    let key = Arc::new(Key::generate(Algorithm::Es256));
    let sound = metadata(&[&key.jwk]);
    let answer = register(suite, &sound, suite.told["initial_access_token"].as_str()).await;
    let party = registered(suite, &answer, &key);
    let details = suite.told["authorization_details"]["valid"][0].to_string();
    let asked = [("scope", "openid accounts"), ("authorization_details", details.as_str())];
    let code = code(&party, &asked).await;
    let waiting = pushed(&party, &asked).await;
    let less = json!({ "client_id": party.id(), "scope": "openid", "authorization_details_types": [] });
    let request = suite.anonymous.put(answer.text("registration_client_uri"));
    let request = request.bearer_auth(answer.text("registration_access_token"));
    let request = request.header("content-type", "application/json").body(with(sound, less).to_string());
    report.accepted("RFC 7592 2.2", "a client that wants less from now on", &Answer::to(request).await);
    let landed = Browser::new(suite).visit(&waiting, "approve").await;
    let denied = landed.parameters().get("error").is_some_and(|error| error == "access_denied");
    report.holds("RFC 7592 2.2", "nobody approves what it may not have any more", denied, &landed.told());
    let first = redeem(&party, &code, &[]).await;
    let again = refreshed(&party, first.text("refresh_token"), &[]).await;
    for (name, answer) in [("an earlier code", first), ("its refresh token", again)] {
        let less = answer.text("scope") == "openid" && answer.body["authorization_details"].is_null();
        report.holds("RFC 7592 2.2", &format!("{name} brings no more than that"), less, &answer.told());
    }
}

/// OpenID Connect Registration §2: what is signed otherwise than was registered is refused.
async fn signed_otherwise(suite: &Suite, report: &mut Report) {
    let [own, other] = [Algorithm::Es256, Algorithm::EdDsa].map(|algorithm| Arc::new(Key::generate(algorithm)));
    let algorithms = json!({ "token_endpoint_auth_signing_alg": "ES256", "request_object_signing_alg": "ES256" });
    let sound = with(metadata(&[&own.jwk, &other.jwk]), algorithms.clone());
    let answer = register(suite, &sound, suite.told["initial_access_token"].as_str()).await;
    for (name, value) in algorithms.as_object().unwrap() {
        report.holds("RFC 7591 3.2.1", &format!("{name} is told"), answer.body[name] == *value, &answer.told());
    }
    let party = registered(suite, &answer, &own);
    let object = party.object_claims();
    let push = async |assertion: &Key, signed: &Key| {
        let assertion = asserted(&assertion.jwt("JWT", &party.assertion_claims()));
        let object = signed.jwt("oauth-authz-req+jwt", &object);
        let all = [assertion, vec![("request".to_owned(), object)]].concat();
        party.bare("pushed_authorization_request", &super::party::text(&all)).await
    };
    report.accepted("OIDC Registration 2", "both signed as registered", &push(&own, &own).await);
    let answer = push(&other, &own).await;
    report.refused("OIDC Registration 2", "an assertion signed otherwise", &answer, &[400, 401], &["invalid_client"]);
    let (answer, codes) = (push(&own, &other).await, &["invalid_request_object"]);
    report.refused("OIDC Registration 2", "a request object signed otherwise", &answer, &[400], codes);
    let unknown = refreshed(&party, "none", &[]).await;
    report.refused("RFC 6749 5.2", "a refresh token of nobody's", &unknown, &[400], GRANT);
}
