//! FAPI 1.0 Advanced and what its ecosystems add: by profile, and by nobody else.

use serde_json::{Value, json};

use super::browser::Browser;
use super::party::{Answer, Party, Suite, asserted, text};
use super::report::Report;
use super::visits::{page_of, redeem};
use crate::harness::token::{claims, now, with};

const VARIANTS: [&str; 3] = ["suite-fapi1", "suite-fapi1-uk", "suite-fapi1-brazil"];
const FAPI2: [&str; 3] = ["suite-dpop-1", "suite-message-signing-1", "suite-signed-request"];
const INTERACTION: &str = "c770aef3-6784-41f7-8e0e-ff5f97bddb3a";
const INVALID: &[&str] = &["invalid_client"];

pub async fn push(party: &Party<'_>, assertion: Value, object: Value) -> Answer {
    let object = party.key.jwt("oauth-authz-req+jwt", &with(party.object_claims(), object));
    let parameters = [asserted(&party.assertion(assertion)), vec![("request".to_owned(), object)]].concat();
    party.bare("pushed_authorization_request", &text(&parameters)).await
}

pub async fn run(suite: &Suite, report: &mut Report) {
    report.area("Variants of FAPI 1.0 Advanced");
    for id in VARIANTS {
        audiences(suite, &suite.party(id), report).await;
        objects(&suite.party(id), report).await;
    }
    if !suite.told["users"].is_null() {
        authenticated(suite, report).await;
    }
    named_calls(suite, report).await;
    for id in FAPI2 {
        let party = suite.party(id);
        for (name, aud) in [
            ("the token endpoint", json!(party.endpoint("token"))),
            ("the PAR endpoint", json!(party.endpoint("pushed_authorization_request"))),
            ("an array", json!([suite.issuer()])),
        ] {
            let answer = push(&party, json!({ "aud": aud }), json!({})).await;
            report.refused("FAPI2-SP 5.3.2.1-8", &format!("{id}: aud is {name}"), &answer, &[400, 401], INVALID);
        }
    }
}

/// What each ecosystem demands of a sign-in, by its own names, can be reached; and the token is good for the step-up.
async fn authenticated(suite: &Suite, report: &mut Report) {
    let both = json!({ "essential": true, "values": ["urn:openbanking:psd2:sca", "urn:openbanking:psd2:ca"] });
    let one = |acr: &str| json!({ "essential": true, "value": acr });
    for (clause, id, acr, expected) in [
        ("UK-OB acr", "suite-fapi1-uk", both, "urn:openbanking:psd2:sca"),
        ("UK-OB acr", "suite-fapi1-uk", one("urn:openbanking:psd2:ca"), "urn:openbanking:psd2:ca"),
        ("BR-AS-7", "suite-fapi1-brazil", one("urn:brasil:openbanking:loa2"), "urn:brasil:openbanking:loa2"),
    ] {
        let party = suite.party(id);
        let object = json!({ "claims": { "id_token": { "acr": acr } } });
        let pushed = push(&party, json!({}), object).await;
        let url = page_of(suite, party.id(), pushed.text("request_uri"));
        let landed = Browser::new(suite).visit(&url, "approve").await;
        let parameters = landed.parameters();
        let response = parameters.get("response").map(String::as_str).unwrap_or_default();
        let said = if response.is_empty() { json!({}) } else { claims(response) };
        let answer = redeem(&party, said["code"].as_str().unwrap_or_default(), &[]).await;
        let tokens = ["id_token", "access_token"].map(|name| answer.text(name).to_owned());
        let told =
            tokens.clone().map(|token| if token.is_empty() { Value::Null } else { claims(&token)["acr"].clone() });
        let good = told.iter().all(|acr| acr == expected);
        report.holds(clause, &format!("{id}: {expected} is reached"), good, &format!("{said} {told:?}"));
        let url = suite.told["step_up"]["mtls_url"].as_str().unwrap();
        let request = party.http.get(url).bearer_auth(&tokens[1]);
        let call = Answer::to(request.header("x-fapi-interaction-id", INTERACTION)).await;
        report.accepted("RFC 9470 6", &format!("{id}: and serves where a step-up takes {expected}"), &call);
        let hinted = push(&party, json!({}), json!({ "id_token_hint": tokens[0] })).await;
        let taken = id != "suite-fapi1-brazil";
        let good = if taken { hinted.status == 201 } else { hinted.status == 400 };
        report.holds("BR-AS-21", &format!("{id}: id_token_hint is taken: {taken}"), good, &hinted.told());
    }
}

/// Open Finance Brasil: calls name their exchange, and hear that name again, in refusals too.
async fn named_calls(suite: &Suite, report: &mut Report) {
    let url = suite.told["apis"][0]["mtls_url"].as_str().unwrap();
    let id = INTERACTION;
    for (name, demanded) in [("suite-fapi1", false), ("suite-fapi1-uk", false), ("suite-fapi1-brazil", true)] {
        let party = suite.party(name);
        let answer = party.own_token("accounts").await;
        let call = async |ids: &[&str]| {
            let request = party.http.get(url).bearer_auth(answer.text("access_token"));
            Answer::to(ids.iter().fold(request, |request, id| request.header("x-fapi-interaction-id", *id))).await
        };
        let named = call(&[id]).await;
        report.accepted("BR-AS-23", &format!("{name}: a call with a name"), &named);
        report.holds(
            "FAPI1-BASE 6.2.1-11",
            &format!("{name}: it comes back"),
            named.field("x-fapi-interaction-id") == id,
            &named.told(),
        );
        for (what, ids) in [("without a name", &[][..]), ("by no UUID", &["call-1"]), ("by two names", &[id, id])] {
            let answer = call(ids).await;
            // Of others the bank's own contract may want a UUID, where there is one at all.
            let refused = answer.status == 400 && answer.body["code"] == "interaction-unnamed";
            let good = refused == demanded && (demanded || !ids.is_empty() || answer.status == 200);
            report.holds("BR-AS-23", &format!("{name}: a call {what}, refused: {demanded}"), good, &answer.told());
            let told = answer.field("x-fapi-interaction-id").len() == 36;
            report.holds("FAPI1-BASE 6.2.1-11", &format!("{name}: a call {what} gets a UUID"), told, &answer.told());
        }
    }
}

async fn audiences(suite: &Suite, party: &Party<'_>, report: &mut Report) {
    let alias = |name: &str| suite.metadata["mtls_endpoint_aliases"][name].clone();
    for (name, aud) in [
        ("the issuer", json!(suite.issuer())),
        ("the token endpoint", suite.metadata["token_endpoint"].clone()),
        ("the token endpoint's alias", alias("token_endpoint")),
        ("the PAR endpoint", suite.metadata["pushed_authorization_request_endpoint"].clone()),
        ("the PAR endpoint's alias", alias("pushed_authorization_request_endpoint")),
        ("an array with the issuer", json!(["https://other.example", suite.issuer()])),
    ] {
        let answer = push(party, json!({ "aud": aud }), json!({})).await;
        report.accepted("RFC 9126 2", &format!("{}: aud is {name}", party.id()), &answer);
    }
    for (name, aud) in [
        ("another server", json!("https://other.example")),
        ("the issuer with a slash", json!(format!("{}/", suite.issuer()))),
        ("the jwks_uri", suite.metadata["jwks_uri"].clone()),
        ("the introspection endpoint", suite.metadata["introspection_endpoint"].clone()),
        ("the revocation endpoint's alias", alias("revocation_endpoint")),
        ("nobody", Value::Null),
    ] {
        let answer = push(party, json!({ "aud": aud }), json!({})).await;
        report.refused("RFC 7523 3-3", &format!("{}: aud is {name}", party.id()), &answer, &[400, 401], INVALID);
    }
    let ahead = push(party, json!({ "iat": now() + 8, "nbf": now() + 8 }), json!({})).await;
    report.accepted("RFC 7523 3", &format!("{}: an assertion 8 s ahead", party.id()), &ahead);
    let ahead = push(party, json!({ "iat": now() + 65 }), json!({})).await;
    report.refused("RFC 7523 3", &format!("{}: an assertion 65 s ahead", party.id()), &ahead, &[400, 401], INVALID);
}

async fn objects(party: &Party<'_>, report: &mut Report) {
    let codes = &["invalid_request_object", "invalid_request"];
    let id = party.id().to_owned();
    for (clause, name, changes, good) in [
        ("FAPI1-ADV 5.2.2-15", "aud has the issuer among others", json!({ "aud": [party.suite.issuer(), "x"] }), true),
        ("FAPI1-ADV 5.2.2-13", "exp 59 min behind nbf", json!({ "exp": now() + 59 * 60 }), true),
        ("FAPI1-ADV 5.2.2-17", "nbf 59 min ago", json!({ "nbf": now() - 59 * 60, "exp": now() + 30 }), true),
        ("FAPI1-ADV 5.2.2-13", "exp 70 min behind nbf", json!({ "exp": now() + 70 * 60 }), false),
        ("FAPI1-ADV 5.2.2-17", "nbf 70 min ago", json!({ "nbf": now() - 70 * 60, "exp": now() + 30 }), false),
        ("FAPI1-ADV 5.2.2-13", "no exp", json!({ "exp": null }), false),
        ("FAPI1-ADV 5.2.2-17", "no nbf", json!({ "nbf": null }), false),
        ("FAPI1-ADV 5.2.2-15", "another aud", json!({ "aud": "https://other.example" }), false),
        ("FAPI1-ADV 5.2.2-18", "no code_challenge", json!({ "code_challenge": null }), false),
        ("FAPI1-ADV 5.2.2-2", "no JARM", json!({ "response_mode": null }), false),
        ("FAPI1-BASE 5.2.2.2", "openid without nonce", json!({ "nonce": null }), false),
        ("FAPI1-BASE 5.2.2.3", "neither openid nor state", json!({ "scope": "accounts", "state": null }), false),
        ("FAPI1-BASE 5.2.2-9", "no redirect_uri", json!({ "redirect_uri": null }), false),
    ] {
        let answer = push(party, json!({}), changes).await;
        let name = format!("{id}: {name}");
        if good {
            report.accepted(clause, &name, &answer);
        } else {
            report.refused(clause, &name, &answer, &[400], codes);
        }
    }
    let plain = party.push(&[]).await;
    report.refused("FAPI1-ADV 5.2.2-1", &format!("{id}: no request object"), &plain, &[400], codes);
}
