//! Signed authorization requests (RFC 9101, FAPI 2.0 Message Signing 5.3, FAPI 1.0 Advanced 5.2.2).

use serde_json::{Value, json};

use super::party::{Answer, Party, Suite, changed, text};
use super::report::Report;
use crate::harness::token::{now, signing_input, with};

const BAD: &[u16] = &[400];
const OBJECT: &[&str] = &["invalid_request_object", "invalid_request"];

pub async fn run(suite: &Suite, report: &mut Report) {
    let party = suite.party("suite-message-signing-1");
    report.area("Signed requests");
    accepted(&party, report).await;
    claims(&party, report).await;
    signatures(suite, &party, report).await;
    beside(&party, report).await;
    registered(suite, report).await;
    report.area("Signed requests under FAPI 1.0 Advanced");
    for id in ["suite-fapi1", "suite-fapi1-2", "suite-fapi1-uk", "suite-fapi1-brazil"] {
        older(&suite.party(id), report).await;
    }
}

async fn signed(party: &Party<'_>, changes: Value) -> Answer {
    party.push_object(&party.key.jwt("oauth-authz-req+jwt", &with(party.object_claims(), changes))).await
}

async fn accepted(party: &Party<'_>, report: &mut Report) {
    let issuer = party.suite.issuer();
    for (clause, name, changes) in [
        ("FAPI2-MS 5.3.1-1", "a sound request object", json!({})),
        ("FAPI2-MS 5.3.1-2", "aud is an array with the issuer", json!({ "aud": ["https://other.example", issuer] })),
        ("FAPI2-SP 5.3.2.1-13", "nbf 8 s ahead", json!({ "nbf": now() + 8 })),
        ("FAPI2-SP 5.3.2.1-13", "iat 8 s ahead", json!({ "iat": now() + 8 })),
        ("FAPI2-MS 5.3.1-3", "nbf 55 min ago", json!({ "nbf": now() - 3300, "exp": now() + 60 })),
        ("RFC 9101 4", "without iat and jti", json!({ "iat": null, "jti": null })),
        ("FAPI2-SP 5.3.2.2 note 4", "a state of 1,000 characters", json!({ "state": "s".repeat(1000) })),
        ("RFC 9101 4", "max_age as a number", json!({ "max_age": 3600 })),
        ("RFC 9101 4", "claims as an object", json!({ "claims": { "id_token": { "acr": null } } })),
        (
            "RFC 9396 4",
            "authorization_details as an array",
            json!({ "authorization_details": [{ "type": "account_information", "actions": ["read_accounts"] }] }),
        ),
    ] {
        report.accepted(clause, name, &signed(party, changes).await);
    }
    for (name, value) in [
        ("state", json!(7)),
        ("nonce", json!(7)),
        ("state", json!(["s"])),
        ("nonce", json!({})),
        ("scope", json!(["openid", "accounts"])),
        ("redirect_uri", json!([party.redirect_uri()])),
        ("response_type", json!(true)),
        ("code_challenge", json!(1)),
        ("claims", json!("{}")),
        ("authorization_details", json!({ "type": "account_information" })),
        ("resource", json!({})),
    ] {
        let answer = signed(party, json!({ name: value })).await;
        report.refused("RFC 9101 6.3", &format!("{name} as {value}"), &answer, BAD, &["invalid_request_object"]);
    }
    for typ in ["JWT", "OAUTH-AUTHZ-REQ+JWT", "application/oauth-authz-req+jwt"] {
        let answer = party.push_object(&party.key.jwt(typ, &party.object_claims())).await;
        report.accepted("FAPI2-MS 5.3.1-5", &format!("typ {typ}"), &answer);
    }
    let bare = party.key.sign(&json!({ "alg": "ES256", "kid": party.key.kid() }), &party.object_claims());
    report.accepted("FAPI2-MS 5.3.1-5", "no typ", &party.push_object(&bare).await);
}

async fn claims(party: &Party<'_>, report: &mut Report) {
    for (clause, name, changes) in [
        ("FAPI2-MS 5.3.1-2", "aud is another server", json!({ "aud": "https://other.example" })),
        ("FAPI2-MS 5.3.1-2", "no aud", json!({ "aud": null })),
        ("FAPI2-MS 5.3.1-3", "no nbf", json!({ "nbf": null })),
        ("FAPI2-MS 5.3.1-3", "nbf 70 min ago", json!({ "nbf": now() - 4200, "exp": now() + 60 })),
        ("FAPI2-MS 5.3.1-4", "no exp", json!({ "exp": null })),
        ("FAPI2-MS 5.3.1-4", "exp 1 min ago", json!({ "exp": now() - 60, "nbf": now() - 120 })),
        ("FAPI2-MS 5.3.1-4", "exp 70 min after nbf", json!({ "exp": now() + 4200 })),
        ("FAPI2-SP 5.3.2.1-13", "nbf 65 s ahead", json!({ "nbf": now() + 65 })),
        ("RFC 9101 5", "client_id of another client", json!({ "client_id": "suite-message-signing-2" })),
        ("RFC 9101 5", "no client_id", json!({ "client_id": null })),
        ("RFC 9101 4", "iss is another client", json!({ "iss": "suite-message-signing-2" })),
        ("RFC 9101 4", "request_uri within", json!({ "request_uri": "urn:ietf:params:oauth:request_uri:x" })),
        ("RFC 9101 4", "request within", json!({ "request": "x.y.z" })),
        ("FAPI2-SP 5.3.2.2-6", "no redirect_uri", json!({ "redirect_uri": null })),
        ("RFC 9700 2.1", "another redirect_uri", json!({ "redirect_uri": "https://attacker.example/cb" })),
        ("FAPI2-SP 5.3.2.2-5", "no code_challenge", json!({ "code_challenge": null })),
        ("FAPI2-SP 5.3.2.2-5", "plain", json!({ "code_challenge_method": "plain" })),
        ("RFC 6749 3.1.1", "no response_type", json!({ "response_type": null })),
        ("FAPI2-MS 5.4.1-1", "no response_mode", json!({ "response_mode": null })),
        ("FAPI2-MS 5.4.1-1", "response_mode query", json!({ "response_mode": "query" })),
    ] {
        report.refused(clause, name, &signed(party, changes).await, BAD, OBJECT);
    }
}

async fn signatures(suite: &Suite, party: &Party<'_>, report: &mut Report) {
    let good = || party.object_claims();
    let other = suite.party("suite-dpop-2");
    let rsa = suite.party("suite-message-signing-2");
    for (clause, name, object) in [
        ("RFC 9101 6.2", "signed by another client", other.key.jwt("oauth-authz-req+jwt", &good())),
        (
            "RFC 9101 6.2",
            "signed under this client's kid by another",
            other.key.sign(&json!({ "alg": "ES256", "kid": party.key.kid() }), &good()),
        ),
        ("FAPI2-SP 5.4.1-1c", "alg none", format!("{}.", signing_input(&json!({ "alg": "none" }), &good()))),
        ("RFC 8725 3.11", "typ of an access token", party.key.jwt("at+jwt", &good())),
        ("RFC 8725 3.11", "typ of an assertion", party.key.jwt("client-authentication+jwt", &good())),
        ("RFC 9101 10.8", "a client assertion in its place", party.assertion(json!({}))),
        ("RFC 7515 7.1", "not a JWS", "not.a.jws".to_owned()),
    ] {
        report.refused(clause, name, &party.push_object(&object).await, BAD, OBJECT);
    }
    report.accepted("FAPI2-SP 5.4.1-1b", "PS256", &signed(&rsa, json!({})).await);
    let object = rsa.key.sign(&json!({ "alg": "RS256", "kid": rsa.key.kid() }), &rsa.object_claims());
    report.refused("FAPI2-SP 5.4.1-1b", "RS256", &rsa.push_object(&object).await, BAD, OBJECT);
}

async fn beside(party: &Party<'_>, report: &mut Report) {
    report.refused("FAPI2-MS 5.3.1-1", "no request object", &party.push(&[]).await, BAD, OBJECT);
    let object = || ("request".to_owned(), party.key.jwt("oauth-authz-req+jwt", &party.object_claims()));
    for (name, value) in [
        ("scope", "openid"),
        ("state", "another"),
        ("nonce", "another"),
        ("redirect_uri", "https://attacker.example/cb"),
        ("response_mode", "query"),
    ] {
        let parameters = changed(vec![object()], &[(name, value)]);
        let answer = party.post("pushed_authorization_request", &parameters).await;
        report.refused("RFC 9126 3", &format!("{name} beside the request object"), &answer, BAD, OBJECT);
    }
    let twice = text(&[party.proven(), vec![object(), object()]].concat());
    let answer = party.bare("pushed_authorization_request", &twice).await;
    report.refused("RFC 6749 3.1", "two request objects", &answer, BAD, OBJECT);
}

async fn registered(suite: &Suite, report: &mut Report) {
    let party = suite.party("suite-signed-request");
    report.accepted("RFC 9101 10.5", "a client that must sign, and does", &signed(&party, json!({})).await);
    let answer = party.push(&[]).await;
    report.refused("RFC 9101 10.5", "a client that must sign, and does not", &answer, BAD, OBJECT);
    let free = suite.party("suite-dpop-1");
    report.accepted("RFC 9101 5", "a client that need not sign, and does", &signed(&free, json!({})).await);
}

async fn older(party: &Party<'_>, report: &mut Report) {
    let id = party.id();
    report.accepted("FAPI1-ADV 5.2.2-1", &format!("{id}: a sound request"), &signed(party, json!({})).await);
    for (clause, name, changes) in [
        ("FAPI1-BASE 5.2.2.2", "openid without nonce", json!({ "nonce": null })),
        ("FAPI1-BASE 5.2.2.3", "neither openid nor state", json!({ "scope": "accounts", "state": null })),
        ("FAPI1-ADV 5.2.2-2", "plain code", json!({ "response_mode": null })),
        ("FAPI1-ADV 5.2.2-13", "exp 70 min after nbf", json!({ "exp": now() + 4200 })),
        ("FAPI1-ADV 5.2.2-18", "no code_challenge", json!({ "code_challenge": null })),
        (
            "FAPI1-BASE 7.5",
            "a loopback redirect URI",
            json!({ "redirect_uri": format!("http://127.0.0.1/{id}/callback") }),
        ),
    ] {
        report.refused(clause, &format!("{id}: {name}"), &signed(party, changes).await, BAD, OBJECT);
    }
    report.refused("FAPI1-ADV 5.2.2-1", &format!("{id}: no request object"), &party.push(&[]).await, BAD, OBJECT);
}
