//! Signed introspection (RFC 9701).

use serde_json::{Value, json};

use super::party::{Answer, Party, Suite, changed, text};
use super::report::Report;
use crate::harness::token::{claims, header};

const JWT: &str = "application/token-introspection+jwt";

async fn ask(asking: &Party<'_>, token: &str, accept: &str) -> Answer {
    let body = text(&changed(asking.proven(), &[("token", token)]));
    let request = asking.http.post(asking.endpoint("introspection")).header("accept", accept);
    Answer::to(request.header("content-type", "application/x-www-form-urlencoded").body(body)).await
}

pub async fn run(suite: &Suite, report: &mut Report) {
    report.area("Signed introspection");
    let (server, party) = (suite.party("suite-resource-server"), suite.party("suite-mtls-1"));
    let token = party.own_token("accounts").await.text("access_token").to_owned();
    for (name, accept, signed) in [
        ("as asked for", JWT, true),
        ("as asked for among others", "application/json;q=0.5, application/token-introspection+jwt", true),
        ("in capitals", "Application/Token-Introspection+JWT", true),
        ("nothing of the kind was asked for", "application/json", false),
        ("anything", "*/*", false),
        ("not wanted", "application/json, application/token-introspection+jwt;q=0", false),
    ] {
        let answer = ask(&server, &token, accept).await;
        let kind = answer.field("content-type").split(';').next().unwrap_or_default().to_owned();
        let expected = if signed { JWT } else { "application/json" };
        report.holds("RFC 9701 4", &format!("{name}: {expected}"), kind == expected, &kind);
        report.accepted("RFC 9701 5", &format!("{name}: 200"), &answer);
    }
    let answer = ask(&server, &token, JWT).await;
    let said = super::visits::opened(suite, &answer.text).await;
    report.check("RFC 9701 5", "signed by a published key", "so it is", said.clone().map(drop));
    let said = said.unwrap_or_default();
    let (told, about) = (said.to_string(), &said["token_introspection"]);
    for (clause, name, good) in [
        ("RFC 9701 5", "typ is token-introspection+jwt", header(&answer.text)["typ"] == "token-introspection+jwt"),
        ("RFC 9701 5", "iss is the issuer", said["iss"] == suite.issuer()),
        ("RFC 9701 5", "aud is who asked", said["aud"] == server.id()),
        ("RFC 9701 5", "iat", said["iat"].is_i64()),
        ("RFC 9701 5", "the answer stands within", about["active"] == true),
        ("RFC 9701 5", "as RFC 7662 has it", about["client_id"] == party.id() && about["scope"] == "accounts"),
        ("RFC 9701 8.1", "no sub and exp beside it", said["sub"].is_null() && said["exp"].is_null()),
        ("RFC 8705 3.2", "cnf within", about["cnf"] == claims(&token)["cnf"]),
        ("FAPI2-MS 6.2", "not stored", answer.field("cache-control").contains("no-store")),
    ] {
        report.holds(clause, name, good, &told);
    }
    for (name, asking, token) in [
        ("a token that nobody knows", &server, "nonsense"),
        ("another client's token", &suite.party("suite-mtls-2"), token.as_str()),
    ] {
        let answer = ask(asking, token, JWT).await;
        let about = claims(&answer.text)["token_introspection"].clone();
        report.holds("RFC 9701 5", &format!("{name} is inactive"), about == json!({ "active": false }), &answer.told());
        let own = claims(&answer.text)["aud"] == asking.id();
        report.holds("RFC 9701 5", &format!("{name}: for who asked"), own, &answer.told());
    }
    let url = suite.metadata["introspection_endpoint"].as_str().unwrap();
    let request = suite.anonymous.post(url).header("accept", JWT);
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    let answer = Answer::to(request.body(format!("token={token}"))).await;
    report.refused("RFC 9701 5", "who proves nothing hears 400", &answer, &[400], &["invalid_client"]);
    // RFC 9701 §8.1: what is signed for a resource server must not open another one.
    let signed = ask(&server, &token, JWT).await.text;
    let api = suite.told["apis"][0]["mtls_url"].as_str().unwrap();
    let answer = party.call(api, &signed).await;
    report.holds("RFC 9701 8.1", "a signed answer is no access token", answer.status == 401, &answer.told());
    let as_assertion = super::party::asserted(&signed);
    let answer = party.bare("pushed_authorization_request", &text(&[as_assertion, party.request()].concat())).await;
    report.refused("RFC 9701 8.1", "nor a client assertion", &answer, &[400, 401], &["invalid_client"]);
    let algorithms = &suite.metadata["introspection_signing_alg_values_supported"];
    let listed = algorithms.as_array().is_some_and(|all| all.contains(&header(&signed)["alg"]));
    report.holds("RFC 9701 7", "its algorithm is in the metadata", listed, &Value::to_string(algorithms));
}
