//! DPoP (RFC 9449): at the token endpoint, at PAR, at the resource.

use clearway::jose::Algorithm;
use serde_json::{Value, json};

use super::party::{Answer, Party, Suite, changed, text};
use super::report::Report;
use crate::harness::token::{Key, claims, hmac_confusion, now, proof, proof_header, signing_input, unique, with};

const PROOF: &[&str] = &["invalid_dpop_proof"];

pub async fn run(suite: &Suite, report: &mut Report) {
    let party = suite.party("suite-dpop-1");
    report.area("DPoP at the token endpoint");
    at_token(&party, report).await;
    report.area("DPoP at PAR");
    at_par(&party, report).await;
    at_par_by_certificate(suite, report).await;
    report.area("DPoP at the resource");
    at_resource(suite, &party, report).await;
}

/// Proofs that are wrong in one point each. `token` is what `ath` is about.
fn wrong(party: &Party<'_>, method: &str, url: &str, token: Option<&str>) -> Vec<(&'static str, &'static str, String)> {
    let key = &party.dpop;
    let sound = || claims(&proof(key, method, url, token, json!({})));
    let made = |changes: Value| proof(key, method, url, token, changes);
    let headed = |changes: Value| key.sign(&with(proof_header(key), changes), &sound());
    let other = Key::generate(Algorithm::Es256);
    let mut private = proof_header(key)["jwk"].clone();
    private["d"] = "AAAA".into();
    let rsa = Key::generate(Algorithm::Ps256);
    vec![
        ("RFC 9449 4.3-2", "not a JWT", "not-a-jwt".to_owned()),
        ("RFC 9449 4.3-3", "no typ", headed(json!({ "typ": null }))),
        ("RFC 9449 4.3-4", "another typ", headed(json!({ "typ": "JWT" }))),
        ("RFC 9449 4.3-3", "no jwk", headed(json!({ "jwk": null }))),
        ("RFC 9449 4.3-7", "a private key in jwk", headed(json!({ "jwk": private }))),
        ("RFC 9449 4.3-6", "another key in jwk", headed(json!({ "jwk": proof_header(&other)["jwk"] }))),
        (
            "FAPI2-SP 5.4.1-1c",
            "alg none",
            format!("{}.", signing_input(&with(proof_header(key), json!({ "alg": "none" })), &sound())),
        ),
        ("RFC 9449 4.3-5", "HS256", hmac_confusion(key, &sound())),
        ("FAPI2-SP 5.4.1-1b", "RS256", rsa.sign(&with(proof_header(&rsa), json!({ "alg": "RS256" })), &sound())),
        ("RFC 9449 4.3-3", "no jti", made(json!({ "jti": null }))),
        ("RFC 9449 4.3-3", "no htm", made(json!({ "htm": null }))),
        ("RFC 9449 4.3-3", "no htu", made(json!({ "htu": null }))),
        ("RFC 9449 4.3-3", "no iat", made(json!({ "iat": null }))),
        ("RFC 9449 4.3-8", "another method", made(json!({ "htm": "PATCH" }))),
        ("RFC 9449 4.3-9", "another URL", made(json!({ "htu": "https://other.example/path" }))),
        ("RFC 9449 4.3-9", "another path", made(json!({ "htu": format!("{url}/more") }))),
        ("RFC 9449 4.3-11", "iat an hour ago", made(json!({ "iat": now() - 3600 }))),
        ("RFC 9449 4.3-11", "iat an hour ahead", made(json!({ "iat": now() + 3600 }))),
        ("FAPI2-SP 5.3.2.1-13", "iat 65 s ahead", made(json!({ "iat": now() + 65 }))),
    ]
}

/// Proofs that are right, if unusual.
fn right(party: &Party<'_>, method: &str, url: &str, token: Option<&str>) -> Vec<(&'static str, &'static str, String)> {
    let made = |changes: Value| proof(&party.dpop, method, url, token, changes);
    let upper = url.replacen("https://localhost", "HTTPS://LOCALHOST", 1);
    vec![
        ("RFC 9449 4.2", "a sound proof", made(json!({}))),
        ("FAPI2-SP 5.3.2.1-13", "iat 10 s ago", made(json!({ "iat": now() - 10 }))),
        ("FAPI2-SP 5.3.2.1-13", "iat 8 s ahead", made(json!({ "iat": now() + 8 }))),
        ("RFC 9449 4.3-9", "htu with a query and a fragment", made(json!({ "htu": format!("{url}?a=b#c") }))),
        ("RFC 9449 4.3-9", "htu in capitals", made(json!({ "htu": upper }))),
        ("RFC 9449 4.2", "a claim that nobody knows", made(json!({ "extra": "x" }))),
    ]
}

async fn post(party: &Party<'_>, endpoint: &str, parameters: &super::party::Parameters, proofs: &[&str]) -> Answer {
    let all = [party.proven(), parameters.clone()].concat();
    let mut request =
        party.http.post(party.endpoint(endpoint)).header("content-type", "application/x-www-form-urlencoded");
    for proof in proofs {
        request = request.header("dpop", *proof);
    }
    Answer::to(request.body(text(&all))).await
}

async fn at_token(party: &Party<'_>, report: &mut Report) {
    let url = party.endpoint("token");
    let own = || changed(Vec::new(), &[("grant_type", "client_credentials"), ("scope", "accounts")]);
    for (clause, name, proof) in right(party, "POST", &url, None) {
        report.accepted(clause, name, &post(party, "token", &own(), &[&proof]).await);
    }
    let answer = post(party, "token", &own(), &[&proof(&party.dpop, "POST", &url, None, json!({}))]).await;
    report.holds("RFC 9449 5", "token_type is DPoP", answer.text("token_type") == "DPoP", &answer.told());
    let jkt = claims(answer.text("access_token"))["cnf"]["jkt"].clone();
    let thumbprint = party.dpop.kid(); // Keys of the tests are named by theirs (RFC 7638).
    report.holds("RFC 9449 6.1", "cnf.jkt is the key's thumbprint", jkt == thumbprint, &jkt.to_string());
    for (clause, name, proof) in wrong(party, "POST", &url, None) {
        report.refused(clause, name, &post(party, "token", &own(), &[&proof]).await, &[400], PROOF);
    }
    let (a, b) = (proof(&party.dpop, "POST", &url, None, json!({})), proof(&party.dpop, "POST", &url, None, json!({})));
    report.refused("RFC 9449 4.3-1", "two proofs", &post(party, "token", &own(), &[&a, &b]).await, &[400], PROOF);
    let once = proof(&party.dpop, "POST", &url, None, json!({ "jti": unique() }));
    report.accepted("RFC 9449 11.1", "first use of a proof", &post(party, "token", &own(), &[&once]).await);
    report.refused(
        "RFC 9449 11.1",
        "second use of a proof",
        &post(party, "token", &own(), &[&once]).await,
        &[400],
        PROOF,
    );
    let eddsa = Key::generate(Algorithm::EdDsa);
    let answer = post(party, "token", &own(), &[&proof(&eddsa, "POST", &url, None, json!({}))]).await;
    report.accepted("FAPI2-SP 5.4.1-1b", "a proof with EdDSA", &answer);
    let ps256 = Key::generate(Algorithm::Ps256);
    let answer = post(party, "token", &own(), &[&proof(&ps256, "POST", &url, None, json!({}))]).await;
    report.accepted("FAPI2-SP 5.4.1-1b", "a proof with PS256", &answer);
}

async fn at_par(party: &Party<'_>, report: &mut Report) {
    let url = party.endpoint("pushed_authorization_request");
    for (clause, name, proof) in right(party, "POST", &url, None) {
        let answer = post(party, "pushed_authorization_request", &party.request(), &[&proof]).await;
        report.accepted(clause, name, &answer);
    }
    for (clause, name, proof) in wrong(party, "POST", &url, None) {
        let answer = post(party, "pushed_authorization_request", &party.request(), &[&proof]).await;
        report.refused(clause, name, &answer, &[400], PROOF);
    }
    let same = changed(party.request(), &[("dpop_jkt", party.dpop.kid())]);
    let sound = || proof(&party.dpop, "POST", &url, None, json!({}));
    let answer = post(party, "pushed_authorization_request", &same, &[&sound()]).await;
    report.accepted("RFC 9449 10.1", "dpop_jkt and a proof of the same key", &answer);
    let other = changed(party.request(), &[("dpop_jkt", Key::generate(Algorithm::Es256).kid())]);
    let answer = post(party, "pushed_authorization_request", &other, &[&sound()]).await;
    report.refused(
        "RFC 9449 10.1",
        "dpop_jkt and a proof of another key",
        &answer,
        &[400],
        &["invalid_dpop_proof", "invalid_request"],
    );
}

/// What is bound to a certificate is bound to no key.
async fn at_par_by_certificate(suite: &Suite, report: &mut Report) {
    let jkt = Key::generate(Algorithm::Es256);
    let answer = suite.party("suite-mtls-1").push(&[("dpop_jkt", jkt.kid())]).await;
    let name = "dpop_jkt for a code of certificate-bound tokens";
    report.refused("RFC 9449 10", name, &answer, &[400], &["invalid_request"]);
}

async fn at_resource(suite: &Suite, party: &Party<'_>, report: &mut Report) {
    let url = suite.told["apis"][0]["url"].as_str().unwrap();
    let token = party.own_token("accounts").await.text("access_token").to_owned();
    let ask = async |scheme: &str, proofs: &[&str]| {
        let mut request = party.http.get(url).header("authorization", format!("{scheme} {token}"));
        for proof in proofs {
            request = request.header("dpop", *proof);
        }
        Answer::to(request).await
    };
    for (clause, name, proof) in right(party, "GET", url, Some(&token)) {
        report.accepted(clause, name, &ask("DPoP", &[&proof]).await);
    }
    let sound = || proof(&party.dpop, "GET", url, Some(&token), json!({}));
    report.accepted("RFC 9110 11.1", "the scheme in small letters", &ask("dpop", &[&sound()]).await);
    let mut bad = wrong(party, "GET", url, Some(&token));
    bad.push(("RFC 9449 4.3-12", "no ath", proof(&party.dpop, "GET", url, None, json!({}))));
    bad.push(("RFC 9449 4.3-12", "ath of another token", proof(&party.dpop, "GET", url, Some("another"), json!({}))));
    bad.push((
        "RFC 9449 4.3-12",
        "a proof of another key",
        proof(&Key::generate(Algorithm::Es256), "GET", url, Some(&token), json!({})),
    ));
    let refused = |answer: &Answer| {
        let challenged = answer.field("www-authenticate").contains("DPoP");
        matches!(answer.status, 400 | 401) && challenged
    };
    for (clause, name, proof) in bad {
        let answer = ask("DPoP", &[&proof]).await;
        report.holds(clause, &format!("{name} is refused"), refused(&answer), &answer.told());
    }
    for (clause, name, answer) in [
        ("RFC 9449 7.1", "no proof", ask("DPoP", &[]).await),
        ("RFC 9449 7.2", "a bound token as Bearer", ask("Bearer", &[]).await),
        ("RFC 9449 7.2", "a bound token as Bearer with a proof", ask("Bearer", &[&sound()]).await),
        ("RFC 9449 4.3-1", "two proofs", ask("DPoP", &[&sound(), &sound()]).await),
    ] {
        report.holds(clause, &format!("{name} is refused"), matches!(answer.status, 400 | 401), &answer.told());
    }
    let once = sound();
    report.accepted("RFC 9449 11.1", "first use of a proof", &ask("DPoP", &[&once]).await);
    let again = ask("DPoP", &[&once]).await;
    report.holds("RFC 9449 11.1", "second use of a proof is refused", refused(&again), &again.told());
}
