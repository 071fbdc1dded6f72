//! Decoupled approval (CIBA Core 1.0), decided at the demo's simulated authentication device.

use serde_json::json;

use super::party::{Answer, Parameters, Party, Suite, changed};
use super::report::Report;
use crate::harness::token::claims;

const BAD: &[u16] = &[400];
const REQUEST: &[&str] = &["invalid_request"];
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
