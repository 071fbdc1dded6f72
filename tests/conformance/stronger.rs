//! How and when a user was authenticated (RFC 9470, OpenID Connect Core §3.1.2.1), and by which name clients know them.

use serde_json::{Value, json};

use super::browser::{Browser, Landed};
use super::party::{Answer, Party, Suite};
use super::report::Report;
use super::visits::{approved, code, pushed, redeem, refresh_with};
use crate::harness::token::claims;

const UNMET: &str = "unmet_authentication_requirements";

pub async fn run(suite: &Suite, report: &mut Report) {
    report.area("Step-up");
    demands(suite, report).await;
    freshness(suite, report).await;
    report.area("Pairwise subjects");
    pairwise(suite, report).await;
}

/// What a client may ask of a sign-in, and what it hears of it.
async fn demands(suite: &Suite, report: &mut Report) {
    let party = suite.party("suite-mtls-1");
    let offered: Vec<String> =
        serde_json::from_value(suite.metadata["acr_values_supported"].clone()).unwrap_or_default();
    report.holds("RFC 9470 7", "acr_values_supported", !offered.is_empty(), &offered.join(" "));
    let first = offered.first().cloned().unwrap_or_default();
    let last = offered.last().cloned().unwrap_or_default();
    let said = async |changes: &[(&str, &str)]| {
        let answer = redeem(&party, &code(&party, changes).await, &[]).await;
        (claims(answer.text("access_token")), claims(answer.text("id_token")))
    };
    let with_others = format!("urn:other {last} {first}");
    let claim = |acr: Value| json!({ "id_token": { "acr": acr } }).to_string();
    let essential = claim(json!({ "essential": true, "values": ["urn:other", last, first] }));
    let one = claim(json!({ "essential": true, "value": last }));
    let voluntary = claim(json!({ "values": [last, first] }));
    let unreached = claim(json!({ "value": "urn:other" }));
    let any = &offered[..];
    let (first, last) = (std::slice::from_ref(&first), std::slice::from_ref(&last));
    for (name, changes, expected) in [
        ("nothing is asked for", vec![], any),
        ("acr_values has one", vec![("acr_values", &*first[0])], first),
        ("acr_values has another", vec![("acr_values", &*last[0])], last),
        ("acr_values has some, in this order", vec![("acr_values", &*with_others)], last),
        ("an essential claim has some, in this order", vec![("claims", &*essential)], last),
        ("an essential claim has one", vec![("claims", &*one)], last),
        ("a voluntary claim has some, in this order", vec![("claims", &*voluntary)], last),
        ("a voluntary claim has none that is offered", vec![("claims", &*unreached)], any),
        ("max_age of an hour", vec![("max_age", "3600")], any),
        ("prompt login", vec![("prompt", "login")], any),
    ] {
        let (token, id) = said(&changes).await;
        let told = format!("{token} {id}");
        let same = expected.iter().any(|acr| token["acr"] == acr.as_str()) && id["acr"] == token["acr"];
        report.holds("RFC 9470 6.1", &format!("{name}: acr in both tokens"), same, &told);
        let dated = token["auth_time"].is_i64() && token["auth_time"] == id["auth_time"];
        report.holds("RFC 9470 6.1", &format!("{name}: auth_time in both tokens"), dated, &told);
    }
    let value = json!({ "id_token": { "acr": { "essential": true, "value": "urn:other" } } }).to_string();
    let values =
        json!({ "id_token": { "acr": { "essential": true, "values": ["urn:other", "urn:more"] } } }).to_string();
    for (clause, name, changes) in [
        ("RFC 9470 5", "an acr that is not offered", ("acr_values", "urn:other")),
        ("OIDC Core 5.5.1.1", "an essential acr that is not offered", ("claims", &*value)),
        ("OIDC Core 5.5.1.1", "essential acrs none of which is offered", ("claims", &*values)),
    ] {
        let landed = approved(&party, &[changes]).await;
        let told = landed.parameters();
        let good = told.get("error").map(String::as_str) == Some(UNMET)
            && told.get("iss").map(String::as_str) == Some(suite.issuer())
            && !told.contains_key("code");
        report.check(clause, name, UNMET, if good { Ok(()) } else { Err(landed.told()) });
    }
    let many = format!("{}{}", "urn:x ".repeat(16), last[0]);
    for (clause, name, changes) in [
        ("RFC 9470 4", "a negative max_age", ("max_age", "-1")),
        ("FAPI2-SP 5.3.2.2-14", "more acr_values than are read", ("acr_values", &*many)),
        ("RFC 9470 4", "a max_age with a sign", ("max_age", "+5")),
        ("RFC 9470 4", "a max_age in words", ("max_age", "soon")),
        ("OIDC Core 3.1.2.1", "prompt none beside login", ("prompt", "none login")),
        ("OIDC Core 3.1.2.1", "a prompt that does not exist", ("prompt", "dance")),
        ("OIDC Core 5.5", "claims that are no object", ("claims", "[]")),
        ("OIDC Core 5.5", "claims that are no JSON", ("claims", "{")),
    ] {
        report.refused(clause, name, &party.push(&[changes]).await, &[400], &["invalid_request"]);
    }
}

/// A browser in which somebody is signed in already.
async fn freshness(suite: &Suite, report: &mut Report) {
    let party = suite.party("suite-mtls-1");
    let mut browser = Browser::new(suite);
    let landed = browser.visit(&pushed(&party, &[]).await, "approve").await;
    assert!(landed.parameters().contains_key("code"), "{}", landed.told());
    let asks = |page: &Answer| page.text.contains("name=\"password\"");
    for (clause, name, changes, again) in [
        ("OIDC Core 3.1.2.1", "a session serves", vec![], false),
        ("OIDC Core 3.1.2.1", "within max_age", vec![("max_age", "3600")], false),
        ("OIDC Core 3.1.2.1", "beyond max_age", vec![("max_age", "0")], true),
        ("OIDC Core 3.1.2.1", "prompt login", vec![("prompt", "login")], true),
        ("OIDC Core 3.1.2.1", "prompt consent", vec![("prompt", "consent")], false),
    ] {
        let page = browser.get(&pushed(&party, &changes).await).await;
        report.holds(clause, &format!("{name}: signs in again is {again}"), asks(&page) == again, &page.told());
    }
    // Only who signs in again is asked to approve, and then may.
    let url = pushed(&party, &[("max_age", "0")]).await;
    let landed = browser.visit(&url, "approve").await;
    let code = landed.parameters().contains_key("code");
    report.holds("RFC 9470 4", "who signs in again may approve", code, &landed.told());
    let silent = browser.visit(&pushed(&party, &[("prompt", "none")]).await, "approve").await;
    let told = silent.parameters();
    let error = told.get("error").map(String::as_str);
    report.holds(
        "OIDC Core 3.1.2.6",
        "prompt none never approves by itself",
        matches!(error, Some("consent_required" | "interaction_required")),
        &silent.told(),
    );
    let strict = browser.visit(&pushed(&party, &[("prompt", "none"), ("max_age", "0")]).await, "approve").await;
    let error = strict.parameters().get("error").cloned();
    report.holds(
        "OIDC Core 3.1.2.6",
        "prompt none beyond max_age",
        error.as_deref() == Some("login_required"),
        &strict.told(),
    );
    let at = matches!(&strict, Landed::At(url) if url.starts_with(party.redirect_uri()));
    report.holds("RFC 6749 4.1.2.1", "it is told at the redirect URI", at, &strict.told());
}

async fn subjects(party: &Party<'_>) -> (Value, Value, Answer) {
    let answer = redeem(party, &code(party, &[]).await, &[]).await;
    (claims(answer.text("id_token"))["sub"].clone(), claims(answer.text("access_token"))["sub"].clone(), answer)
}

/// OpenID Connect Core §8.
async fn pairwise(suite: &Suite, report: &mut Report) {
    let clause = "OIDC Core 8";
    let offered = suite.metadata["subject_types_supported"].clone();
    let both =
        ["public", "pairwise"].iter().all(|kind| offered.as_array().is_some_and(|all| all.contains(&json!(kind))));
    report.holds(clause, "subject_types_supported has both", both, &offered.to_string());
    let party = suite.party("suite-pairwise");
    let public = subjects(&suite.party("suite-dpop-1")).await;
    let (first, in_token, answer) = subjects(&party).await;
    let (second, ..) = subjects(&party).await;
    let told = format!("{first} {second} {in_token} {}", public.0);
    report.holds("OIDC Core 8.1", "never the same as others see", first != public.0, &told);
    report.holds("OIDC Core 8.1", "never a local name", !first.as_str().unwrap_or_default().contains("psu"), &told);
    report.holds("OIDC Core 8.1", "the same each time", first == second && first.is_string(), &told);
    report.holds("OIDC Core 2", "of 255 characters at most", first.as_str().is_some_and(|sub| sub.len() <= 255), &told);
    report.holds("RFC 9068 2.2", "the access token has it too", in_token == first, &told);
    let user = party.call(&party.endpoint("userinfo"), answer.text("access_token")).await;
    report.holds("OIDC Core 5.3.2", "userinfo has it too", user.body["sub"] == first, &user.told());
    let renewed = refresh_with(&party, answer.text("refresh_token"), &[]).await;
    let kept = claims(renewed.text("id_token"))["sub"] == first;
    report.holds("OIDC Core 12.2", "a refreshed ID token has it too", kept, &renewed.told());
    let same = public.0 == public.1 && public.0.is_string();
    report.holds(clause, "a public client sees one in both tokens", same, &told);
}
