//! Decoupled approval (CIBA Core 1.0), decided at the demo's simulated authentication device.

use clearway::jose::Algorithm;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::party::{Answer, Parameters, Party, Suite, changed};
use super::report::Report;
use crate::harness::token::{Key, claims, now, signing_input, unique, with};
use crate::harness::within;

const BAD: &[u16] = &[400];
const UNMET: &str = "unmet_authentication_requirements";
const REQUEST: &[&str] = &["invalid_request"];
/// What the server authenticates itself with at the client.
const BEARER: &str = "a-token-of-128-random-bits-at-least";
const GRANT_TYPE: &str = "urn:openid:params:grant-type:ciba";

fn request(suite: &Suite) -> Parameters {
    let user = suite.told["users"][0]["username"].as_str().unwrap();
    changed(Vec::new(), &[("scope", "openid accounts"), ("login_hint", user), ("binding_message", "TEST-1234")])
}

pub async fn run(suite: &Suite, report: &mut Report) {
    report.area("Decoupled approval");
    let party = suite.party("suite-ciba-1");
    let ask = async |changes: &[(&str, &str)]| {
        party.post("backchannel_authentication", &changed(request(suite), changes)).await
    };
    let answer = ask(&[]).await;
    report.holds("CIBA 7.3", "200", answer.status == 200, &answer.told());
    let id = answer.text("auth_req_id").to_owned();
    let plain = id.len() >= 22 && id.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c));
    report.holds("CIBA 7.3", "auth_req_id of 128 bits, in its characters", plain, &id);
    report.holds("CIBA 7.3", "expires_in", answer.body["expires_in"].is_u64(), &answer.told());
    report.holds(
        "CIBA 7.3",
        "no-store",
        answer.field("cache-control").contains("no-store"),
        answer.field("cache-control"),
    );
    for (clause, name, changes, codes) in [
        ("CIBA 7.1", "no scope", vec![("scope", "")], &["invalid_request", "invalid_scope"][..]),
        ("CIBA 7.1", "no openid", vec![("scope", "accounts")], &["invalid_request", "invalid_scope"]),
        ("CIBA 7.1", "no hint", vec![("login_hint", "")], REQUEST),
        ("CIBA 7.1", "two hints", vec![("id_token_hint", "x.y.z")], REQUEST),
        ("CIBA 13", "a user that nobody knows", vec![("login_hint", "nobody@example.com")], &["unknown_user_id"]),
        ("CIBA 7.1", "requested_expiry zero", vec![("requested_expiry", "0")], REQUEST),
    ] {
        report.refused(clause, name, &ask(&changes).await, BAD, codes);
    }
    let other = suite.party("suite-dpop-1").post("backchannel_authentication", &request(suite)).await;
    report.refused("CIBA 13", "a client without the grant", &other, BAD, &["unauthorized_client"]);
    decisions(suite, &party, report).await;
    // A suite leaves most of what it asks undecided.
    let mut last = None;
    for _ in 0..40 {
        last = Some(ask(&[]).await);
    }
    report.accepted("CIBA 7.3", "the fortieth request that nobody decided", &last.unwrap());
    report.area("Signed decoupled requests");
    signed(suite, &party, report).await;
}

/// A client of `--clients` whose endpoint that is: its host may be called, also by clients that register themselves.
pub fn client_at(endpoint: &str) -> Value {
    json!([{
        "client_id": "pinged", "jwks": { "keys": [Key::generate(Algorithm::Es256).jwk] }, "dpop_bound_access_tokens": true,
        "grant_types": [GRANT_TYPE], "backchannel_token_delivery_mode": "ping",
        "backchannel_client_notification_endpoint": endpoint,
    }])
}

/// What arrives at the endpoint.
type Notified = mpsc::UnboundedReceiver<String>;

pub async fn pinged(suite: &Suite, endpoint: &str, notified: Notified, report: &mut Report) {
    if suite.offers("registration_endpoint") && !suite.told["initial_access_token"].is_null() {
        report.area("Decoupled approval by ping");
        ping(suite, endpoint, notified, report).await;
    }
}

/// CIBA Core §7.1.1, FAPI-CIBA §5.2.2.
async fn signed(suite: &Suite, party: &Party<'_>, report: &mut Report) {
    let claims = || {
        let mut claims = json!({ "iss": party.id(), "aud": suite.issuer(), "iat": now(), "nbf": now(), "exp": now() + 60,
                                 "jti": unique() });
        for (name, value) in request(suite) {
            claims[name] = value.into();
        }
        claims
    };
    let send =
        async |jwt: String| party.post("backchannel_authentication", &changed(Vec::new(), &[("request", &jwt)])).await;
    for (clause, name, changes, good) in [
        ("CIBA 7.1.1", "a sound one", json!({}), true),
        ("FAPI2-SP 5.3.2.1-13", "8 s ahead", json!({ "iat": now() + 8, "nbf": now() + 8 }), true),
        ("FAPI-CIBA 5.2.2-9", "exp 59 min behind nbf", json!({ "exp": now() + 59 * 60 }), true),
        ("FAPI2-SP 5.3.2.1-13", "nbf 65 s ahead", json!({ "nbf": now() + 65 }), false),
        ("FAPI2-SP 5.3.2.1-13", "iat 65 s ahead", json!({ "iat": now() + 65 }), false),
        ("FAPI-CIBA 5.2.2-9", "exp 70 min behind nbf", json!({ "exp": now() + 70 * 60 }), false),
        ("FAPI-CIBA 5.2.2-9", "nbf 70 min ago", json!({ "nbf": now() - 70 * 60 }), false),
        ("CIBA 7.1.1", "expired", json!({ "exp": now() - 1 }), false),
        ("CIBA 7.1.1", "no exp", json!({ "exp": null }), false),
        ("CIBA 7.1.1", "no iat", json!({ "iat": null }), false),
        ("CIBA 7.1.1", "no nbf", json!({ "nbf": null }), false),
        ("CIBA 7.1.1", "no jti", json!({ "jti": null }), false),
        ("CIBA 7.1.1", "no iss", json!({ "iss": null }), false),
        ("CIBA 7.1.1", "another iss", json!({ "iss": "suite-ciba-2" }), false),
        ("CIBA 7.1.1", "another aud", json!({ "aud": "https://other.example" }), false),
        ("CIBA 7.1.1", "no aud", json!({ "aud": null }), false),
        ("RFC 9101 10.8", "a sub", json!({ "sub": party.id() }), false),
    ] {
        let answer = send(party.key.jwt("JWT", &with(claims(), changes))).await;
        if good {
            report.accepted(clause, name, &answer);
        } else {
            report.refused(clause, name, &answer, BAD, REQUEST);
        }
    }
    let user = suite.told["users"][0]["subject"].clone();
    let hint = |typ: &str, changes: Value| {
        let claims = json!({ "iss": party.id(), "aud": suite.issuer(), "exp": now() + 60,
                             "sub_id": { "format": "opaque", "id": user } });
        party.key.jwt(typ, &with(claims, changes))
    };
    for (clause, name, token, good) in [
        ("CIBA 7.1", "a login_hint_token", hint("JWT", json!({})), true),
        ("FAPI2-SP 5.3.2.1-13", "one of 8 s ahead", hint("JWT", json!({ "nbf": now() + 8, "iat": now() + 8 })), true),
        ("RFC 7519 4.1.5", "nbf an hour ahead", hint("JWT", json!({ "nbf": now() + 3_600 })), false),
        ("FAPI2-SP 5.3.2.1-13", "iat an hour ahead", hint("JWT", json!({ "iat": now() + 3_600 })), false),
        ("RFC 8725 3.12", "a client assertion with a sub_id", hint("JWT", json!({ "sub": party.id() })), false),
        ("RFC 8725 3.11", "typ of a client assertion", hint("client-authentication+jwt", json!({})), false),
    ] {
        let parameters = changed(request(suite), &[("login_hint", ""), ("login_hint_token", &token)]);
        let answer = party.post("backchannel_authentication", &parameters).await;
        if good {
            report.accepted(clause, name, &answer);
        } else {
            report.refused(clause, name, &answer, BAD, REQUEST);
        }
    }
    let once = party.key.jwt("JWT", &claims());
    report.accepted("FAPI-CIBA 5.2.2-8", "a signed request, first time", &send(once.clone()).await);
    report.refused("FAPI-CIBA 5.2.2-8", "the same again", &send(once).await, BAD, REQUEST);
    let stranger = Key::generate(Algorithm::Es256);
    for (clause, name, jwt) in [
        ("CIBA 7.1.1", "another's signature", stranger.jwt("JWT", &claims())),
        ("RFC 8725 3.11", "typ of an access token", party.key.jwt("at+jwt", &claims())),
        ("FAPI-CIBA 7.10", "unsigned", format!("{}.", signing_input(&json!({ "alg": "none" }), &claims()))),
        ("CIBA 7.1.1", "no JWT", "x".to_owned()),
    ] {
        report.refused(clause, name, &send(jwt).await, BAD, REQUEST);
    }
    let beside = [("request", &*party.key.jwt("JWT", &claims())), ("scope", "openid")]
        .map(|(n, v)| (n.to_owned(), v.to_owned()));
    let answer = party.post("backchannel_authentication", &beside.to_vec()).await;
    report.refused("CIBA 7.1.1", "a parameter beside it", &answer, BAD, REQUEST);
}

/// A client that wants to be told registers itself.
async fn ping(suite: &Suite, endpoint: &str, mut notified: Notified, report: &mut Report) {
    let key = Key::generate(Algorithm::Es256);
    let metadata = json!({
        "grant_types": [GRANT_TYPE], "token_endpoint_auth_method": "private_key_jwt", "jwks": { "keys": [key.jwk] },
        "dpop_bound_access_tokens": true, "scope": "openid accounts", "backchannel_token_delivery_mode": "ping",
        "backchannel_client_notification_endpoint": endpoint,
    });
    let token = suite.told["initial_access_token"].as_str();
    for (clause, name, changes) in [
        ("FAPI-CIBA 5.2.2-3", "push", json!({ "backchannel_token_delivery_mode": "push" })),
        ("CIBA 4", "ping without an endpoint", json!({ "backchannel_client_notification_endpoint": null })),
        ("CIBA 4", "ping over http", json!({ "backchannel_client_notification_endpoint": "http://app.example/" })),
        ("CIBA 4", "no mode", json!({ "backchannel_token_delivery_mode": null })),
        ("CIBA 4", "a mode that does not exist", json!({ "backchannel_token_delivery_mode": "pigeon" })),
    ] {
        let answer = super::registration::register(suite, &with(metadata.clone(), changes), token).await;
        report.refused(clause, name, &answer, BAD, &["invalid_client_metadata"]);
    }
    let made = super::registration::register(suite, &metadata, token).await;
    report.holds("CIBA 4", "a client of ping registers", made.status == 201, &made.told());
    if made.status != 201 {
        return;
    }
    let mut party = suite.party("suite-ciba-1");
    (party.told["client_id"], party.key) = (made.body["client_id"].clone(), std::sync::Arc::new(key));
    let party = party;
    let ask = async |notification: &str| {
        let parameters = changed(request(suite), &[("client_notification_token", notification)]);
        party.post("backchannel_authentication", &parameters).await
    };
    let long = "t".repeat(1025);
    for (name, notification) in
        [("no token", ""), ("a short token", "short"), ("a long token", &long), ("spaces", "a token of more than 22")]
    {
        report.refused("CIBA 7.1", &format!("{name} to be pinged with"), &ask(notification).await, BAD, REQUEST);
    }
    for (action, code) in [("approve", None), ("deny", Some("access_denied"))] {
        let asked = ask(BEARER).await;
        report.accepted("CIBA 7.3", "a request to be pinged", &asked);
        let id = asked.text("auth_req_id");
        report.refused("CIBA 11", "it may ask before", &poll(&party, id).await, BAD, &["authorization_pending"]);
        report.holds("CIBA 10.2", "nobody is pinged before the decision", notified.try_recv().is_err(), id);
        let body = crate::harness::secure::encode(&[("auth_req_id", id), ("action", action)]);
        let device = suite.told["authentication_device"]["url"].as_str().unwrap();
        let decided = suite.anonymous.post(device).header("content-type", "application/x-www-form-urlencoded");
        report.accepted("CIBA 8", &format!("the user's device says {action}"), &Answer::to(decided.body(body)).await);
        let ping = within("the ping", notified.recv()).await.unwrap();
        is_sound(&ping, endpoint, id, report);
        let answer = poll(&party, id).await;
        match code {
            None => report.accepted("CIBA 10.1", "tokens after the ping", &answer),
            Some(code) => report.refused("CIBA 11", "no tokens after a ping of a refusal", &answer, BAD, &[code]),
        }
    }
    report.holds("CIBA 10.2", "each decision is told once", notified.try_recv().is_err(), "");
}

/// CIBA Core §10.2: a POST of JSON with the one member, and the client's own token.
fn is_sound(ping: &str, endpoint: &str, id: &str, report: &mut Report) {
    let (head, body) = ping.split_once("\r\n\r\n").unwrap_or_default();
    let mut lines = head.lines();
    let path = endpoint.split_at(endpoint.rfind('/').unwrap()).1;
    let line = lines.next() == Some(&*format!("POST {path} HTTP/1.1"));
    report.holds("CIBA 10.2", "the ping is a POST to the endpoint", line, ping);
    let fields: Vec<_> = lines.filter_map(|line| line.split_once(": ")).collect();
    let field = |name: &str| fields.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| *value);
    let bearer = field("authorization") == Some(&*format!("Bearer {BEARER}"));
    report.holds("CIBA 10.2", "it carries the client_notification_token", bearer, ping);
    report.holds("CIBA 10.2", "it is JSON", field("content-type") == Some("application/json"), ping);
    let said: Value = serde_json::from_str(body).unwrap_or_default();
    report.holds("CIBA 10.2", "it tells the auth_req_id and nothing else", said == json!({ "auth_req_id": id }), ping);
}

async fn poll(party: &Party<'_>, id: &str) -> Answer {
    let parameters = [("grant_type", GRANT_TYPE), ("auth_req_id", id)];
    party.post_bound("token", &changed(Vec::new(), &parameters)).await
}

async fn decisions(suite: &Suite, party: &Party<'_>, report: &mut Report) {
    let device = suite.told["authentication_device"]["url"].as_str().unwrap();
    let decide = async |id: &str, action: &str| {
        let body = crate::harness::secure::encode(&[("auth_req_id", id), ("action", action)]);
        let request = suite.anonymous.post(device).header("content-type", "application/x-www-form-urlencoded");
        Answer::to(request.body(body)).await
    };
    let begin = async || {
        let answer = party.post("backchannel_authentication", &request(suite)).await;
        answer.text("auth_req_id").to_owned()
    };
    let claim = |name: &str, claim: Value| json!({ "id_token": { name: claim } }).to_string();
    for (clause, name, more, code) in [
        ("OIDC Core 5.5.1.1", "an acr that nobody offers", ("acr_values", "urn:nonsense:loa99".to_owned()), UNMET),
        (
            "OIDC Core 5.5.1.1",
            "an essential acr that nobody offers",
            ("claims", claim("acr", json!({ "essential": true, "values": ["urn:nope"] }))),
            UNMET,
        ),
        (
            "OIDC Core 5.5.1",
            "another sub than is hinted at",
            ("claims", claim("sub", json!({ "value": suite.told["users"][1]["subject"] }))),
            "unknown_user_id",
        ),
    ] {
        let parameters = changed(request(suite), &[(more.0, &more.1)]);
        let answer = party.post("backchannel_authentication", &parameters).await;
        report.refused(clause, name, &answer, BAD, &[code]);
    }
    for acr in suite.metadata["acr_values_supported"].as_array().unwrap() {
        let wanted = format!("urn:other {}", acr.as_str().unwrap());
        let parameters = changed(request(suite), &[("acr_values", &wanted)]);
        let id = party.post("backchannel_authentication", &parameters).await.text("auth_req_id").to_owned();
        decide(&id, "approve").await;
        let answer = poll(party, &id).await;
        let told = claims(answer.text("id_token"))["acr"].clone();
        report.holds("FAPI-CIBA 5.2.2-8", &format!("{acr} is asked for and told"), told == *acr, &told.to_string());
    }
    let id = begin().await;
    report.refused("CIBA 11", "before the decision", &poll(party, &id).await, BAD, &["authorization_pending"]);
    let theirs = poll(&suite.party("suite-ciba-2"), &id).await;
    report.refused("CIBA 10.1", "another client's auth_req_id", &theirs, BAD, &["invalid_grant"]);
    report.refused("CIBA 10.1", "one that nobody knows", &poll(party, "unknown").await, BAD, &["invalid_grant"]);
    let id = begin().await;
    decide(&id, "approve").await;
    let answer = poll(party, &id).await;
    report.accepted("CIBA 10.1", "after approval", &answer);
    let said = if answer.status == 200 { claims(answer.text("id_token")) } else { json!({}) };
    report.holds("CIBA 10.1", "an ID token for the client", said["aud"] == party.id(), &said.to_string());
    report.refused("CIBA 10.1", "a second redemption", &poll(party, &id).await, BAD, &["invalid_grant"]);
    let id = begin().await;
    decide(&id, "deny").await;
    report.refused("CIBA 11", "after refusal", &poll(party, &id).await, BAD, &["access_denied"]);
}
