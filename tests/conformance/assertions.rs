//! Client authentication, at the endpoint for pushed requests.

use clearway::jose::Algorithm;
use serde_json::{Value, json};

use super::party::{Answer, Parameters, Party, Suite, asserted, changed, text};
use super::report::Report;
use crate::harness::secure::JWT_BEARER;
use crate::harness::token::{Key, hmac_confusion, now, signing_input, unique, with};

const REFUSED: &[u16] = &[400, 401];
const INVALID: &[&str] = &["invalid_client"];

async fn push(party: &Party<'_>, credentials: &Parameters) -> Answer {
    let all = [credentials.clone(), party.request()].concat();
    party.bare("pushed_authorization_request", &text(&all)).await
}

pub async fn run(suite: &Suite, report: &mut Report) {
    let party = suite.party("suite-dpop-1");
    report.area("Client assertions");
    accepted(&party, report).await;
    claims(suite, &party, report).await;
    signatures(suite, &party, report).await;
    replay(&party, report).await;
    forms(&party, report).await;
    report.area("Client assertions under FAPI 1.0 Advanced");
    older(suite, report).await;
    report.area("Client certificates and secrets");
    certificates(suite, report).await;
    secrets(suite, report).await;
}

async fn accepted(party: &Party<'_>, report: &mut Report) {
    let ahead = now() + 8;
    for (clause, name, changes) in [
        ("RFC 7523 3", "a sound assertion", json!({})),
        ("FAPI2-SP 5.3.2.1-13", "iat 8 s ahead", json!({ "iat": ahead })),
        ("FAPI2-SP 5.3.2.1-13", "nbf 8 s ahead", json!({ "nbf": ahead })),
        ("RFC 7519 4", "a claim that nobody knows", json!({ "unknown": 1 })),
        ("RFC 7523 3", "no iat", json!({ "iat": null })),
    ] {
        report.accepted(clause, name, &push(party, &asserted(&party.assertion(changes))).await);
    }
    for typ in ["client-authentication+jwt", "JWT"] {
        let signed = party.key.jwt(typ, &party.assertion_claims());
        report.accepted("RFC 10070", &format!("typ {typ}"), &push(party, &asserted(&signed)).await);
    }
    let bare = party.key.sign(&json!({ "alg": "ES256", "kid": party.key.kid() }), &party.assertion_claims());
    report.accepted("RFC 7515 4.1.9", "no typ", &push(party, &asserted(&bare)).await);
    for id in ["suite-eddsa", "suite-message-signing-2"] {
        // PAR of the second wants a request object: that it hears of this, and not of its assertion, is the check.
        let other = party.suite.party(id);
        let answer = push(&other, &asserted(&other.assertion(json!({})))).await;
        let good = answer.status == 201 || answer.text("error") == "invalid_request";
        report.check(
            "FAPI2-SP 5.4.1-1b",
            &format!("{} signs", other.key.algorithm.as_str()),
            "accepted",
            if good { Ok(()) } else { Err(answer.told()) },
        );
    }
}

async fn claims(suite: &Suite, party: &Party<'_>, report: &mut Report) {
    let issuer = suite.issuer();
    let (token, par) = (&suite.metadata["token_endpoint"], &suite.metadata["pushed_authorization_request_endpoint"]);
    for (clause, name, changes) in [
        ("FAPI2-SP 5.3.2.1-8", "aud is the token endpoint", json!({ "aud": token })),
        ("FAPI2-SP 5.3.2.1-8", "aud is the PAR endpoint", json!({ "aud": par })),
        ("FAPI2-SP 5.3.2.1-8", "aud is an array of the issuer", json!({ "aud": [issuer] })),
        ("FAPI2-SP 5.3.2.1-8", "aud is an array with the issuer", json!({ "aud": [issuer, "https://other.example"] })),
        ("FAPI2-SP 5.3.2.1-8", "aud is the issuer with a slash", json!({ "aud": format!("{issuer}/") })),
        ("RFC 7523 3-3", "aud is another server", json!({ "aud": "https://other.example" })),
        ("RFC 7523 3-3", "no aud", json!({ "aud": null })),
        ("RFC 7523 3-4", "no exp", json!({ "exp": null })),
        ("RFC 7523 3-4", "exp 5 min ago", json!({ "exp": now() - 300, "iat": now() - 360 })),
        ("RFC 7523 3-4", "exp 1 s ago", json!({ "exp": now() - 1 })),
        ("RFC 7523 3-4", "exp a day ahead", json!({ "exp": now() + 86_400 })),
        ("RFC 7523 3-4", "exp two hours ahead", json!({ "exp": now() + 7_200 })),
        ("RFC 7519 4.1.4", "exp is a text", json!({ "exp": (now() + 60).to_string() })),
        ("FAPI2-SP 5.3.2.1-13", "iat 65 s ahead", json!({ "iat": now() + 65 })),
        ("FAPI2-SP 5.3.2.1-13", "nbf 65 s ahead", json!({ "nbf": now() + 65 })),
        ("OIDC Core 9", "no jti", json!({ "jti": null })),
        ("RFC 7523 3-1", "no iss", json!({ "iss": null })),
        ("RFC 7523 3-2", "no sub", json!({ "sub": null })),
        ("RFC 7523 3-1", "iss is another client", json!({ "iss": "suite-dpop-2" })),
        ("RFC 7523 3-2", "sub is another client", json!({ "sub": "suite-dpop-2" })),
        ("RFC 7523 3-2", "a client that does not exist", json!({ "iss": "no-such-client", "sub": "no-such-client" })),
    ] {
        let answer = push(party, &asserted(&party.assertion(changes))).await;
        report.refused(clause, name, &answer, REFUSED, INVALID);
    }
}

async fn signatures(suite: &Suite, party: &Party<'_>, report: &mut Report) {
    let good = || party.assertion_claims();
    let kid = party.key.kid();
    let stranger = Key::generate(Algorithm::Es256);
    let rsa = suite.party("suite-fapi1");
    let tampered = {
        let signed = party.assertion(json!({}));
        let (head, signature) = signed.rsplit_once('.').unwrap();
        let header = head.split('.').next().unwrap();
        let claims = signing_input(&json!({}), &with(good(), json!({ "extra": true })));
        format!("{header}.{}.{signature}", claims.split('.').nth(1).unwrap())
    };
    let rs256 = {
        let claims = with(rsa.assertion_claims(), json!({}));
        rsa.key.sign(&json!({ "alg": "RS256", "typ": "JWT", "kid": rsa.key.kid() }), &claims)
    };
    for (clause, name, assertion) in [
        ("RFC 7523 3-9", "another client's key", suite.party("suite-dpop-2").key.jwt("JWT", &good())),
        (
            "RFC 7523 3-9",
            "a stranger's key under the client's kid",
            stranger.sign(&json!({ "alg": "ES256", "kid": kid }), &good()),
        ),
        ("RFC 7515 5.2", "claims changed after signing", tampered),
        (
            "FAPI2-SP 5.4.1-1c",
            "alg none",
            format!("{}.", signing_input(&json!({ "alg": "none", "kid": kid }), &good())),
        ),
        ("RFC 8725 2.1", "HS256 with the public key", hmac_confusion(&party.key, &good())),
        ("FAPI2-SP 5.4.1-1b", "RS256 by the client's own RSA key", rs256),
        ("RFC 8725 3.11", "typ of an access token", party.key.jwt("at+jwt", &good())),
        ("RFC 8725 3.11", "typ of a DPoP proof", party.key.jwt("dpop+jwt", &good())),
        (
            "RFC 7515 4.1.11",
            "crit with an unknown extension",
            party.key.sign(&json!({ "alg": "ES256", "kid": kid, "crit": ["x"], "x": 1 }), &good()),
        ),
        (
            "FAPI2-SP 5.4.2-2",
            "a key in the header",
            stranger.sign(&json!({ "alg": "ES256", "jwk": stranger.jwk }), &good()),
        ),
        (
            "FAPI2-SP 5.4.2-2",
            "jku to a stranger's keys",
            stranger.sign(&json!({ "alg": "ES256", "kid": "x", "jku": "https://127.0.0.1:1/jwks" }), &good()),
        ),
        (
            "FAPI2-SP 5.4.2-2",
            "x5u to a stranger's keys",
            stranger.sign(&json!({ "alg": "ES256", "kid": "x", "x5u": "https://127.0.0.1:1/x" }), &good()),
        ),
        ("RFC 7515 7.1", "not a JWS", "not.a.jws".to_owned()),
        ("RFC 8725 2.4", "an access token in its place", own_token(suite).await),
        ("RFC 9101 10.8", "a request object in its place", party.key.jwt("JWT", &party.object_claims())),
    ] {
        let answer = push(party, &asserted(&assertion)).await;
        report.refused(clause, name, &answer, REFUSED, INVALID);
    }
}

async fn own_token(suite: &Suite) -> String {
    suite.party("suite-mtls-1").own_token("accounts").await.text("access_token").to_owned()
}

async fn replay(party: &Party<'_>, report: &mut Report) {
    let once = asserted(&party.assertion(json!({})));
    report.accepted("RFC 7523 3-7", "first use of an assertion", &push(party, &once).await);
    report.refused("RFC 7523 3-7", "second use of an assertion", &push(party, &once).await, REFUSED, INVALID);
    let contended = asserted(&party.assertion(json!({})));
    let all = futures_util::future::join_all((0..2).map(|_| push(party, &contended))).await;
    let won = all.iter().filter(|answer| answer.status == 201).count();
    report.holds("RFC 7523 3-7", "of two uses at once one is accepted", won == 1, &format!("{won} were"));
    // A jti is each client's own.
    let (jti, other) = (unique(), party.suite.party("suite-dpop-2"));
    for party in [party, &other] {
        let answer = push(party, &asserted(&party.assertion(json!({ "jti": jti })))).await;
        report.accepted("RFC 7519 4.1.7", &format!("a jti of {}", party.id()), &answer);
    }
}

async fn forms(party: &Party<'_>, report: &mut Report) {
    let sound = || asserted(&party.assertion(json!({})));
    let named = |changes: &[(&str, &str)]| changed(sound(), changes);
    report.accepted(
        "RFC 7521 4.2",
        "client_id beside the assertion",
        &push(party, &named(&[("client_id", party.id())])).await,
    );
    for (clause, name, credentials, codes) in [
        ("FAPI2-SP 5.3.2.2-4", "nothing", Vec::new(), INVALID),
        ("FAPI2-SP 5.3.2.2-4", "client_id alone", changed(Vec::new(), &[("client_id", party.id())]), INVALID),
        ("RFC 7521 4.2", "client_id of another client", named(&[("client_id", "suite-dpop-2")]), INVALID),
        ("RFC 7521 4.2", "another assertion type", named(&[("client_assertion_type", "urn:other")]), INVALID),
        (
            "RFC 7521 4.2",
            "no assertion type",
            named(&[("client_assertion_type", "")]),
            &["invalid_request", "invalid_client"],
        ),
        (
            "RFC 7521 4.2",
            "no assertion, but its type",
            changed(Vec::new(), &[("client_assertion_type", JWT_BEARER), ("client_id", party.id())]),
            &["invalid_request", "invalid_client"],
        ),
        (
            "RFC 6749 2.3",
            "a secret as well",
            named(&[("client_secret", "secret")]),
            &["invalid_request", "invalid_client"],
        ),
        (
            "FAPI2-SP 5.3.2.1-6",
            "a secret in the form",
            changed(Vec::new(), &[("client_id", party.id()), ("client_secret", "x")]),
            INVALID,
        ),
    ] {
        report.refused(clause, name, &push(party, &credentials).await, REFUSED, codes);
    }
    let url = party.endpoint("pushed_authorization_request");
    let basic = party
        .http
        .post(&url)
        .basic_auth(party.id(), Some("secret"))
        .header("content-type", "application/x-www-form-urlencoded");
    let answer = Answer::to(basic.body(text(&party.request()))).await;
    report.refused("FAPI2-SP 5.3.2.1-6", "client_secret_basic", &answer, REFUSED, INVALID);
}

async fn older(suite: &Suite, report: &mut Report) {
    let party = suite.party("suite-fapi1");
    let object = || vec![("request".to_owned(), party.key.jwt("oauth-authz-req+jwt", &party.object_claims()))];
    let push = async |aud: Value| {
        let all = [asserted(&party.assertion(json!({ "aud": aud }))), object()].concat();
        party.bare("pushed_authorization_request", &text(&all)).await
    };
    let (token, par) = (party.endpoint("token"), party.endpoint("pushed_authorization_request"));
    for (name, aud) in [
        ("aud is the issuer", json!(suite.issuer())),
        ("aud is the token endpoint", json!(suite.metadata["token_endpoint"])),
        ("aud is the token endpoint's alias", json!(token)),
        ("aud is the PAR endpoint", json!(par)),
        ("aud is an array", json!([suite.issuer(), "https://other.example"])),
    ] {
        report.accepted("RFC 9126 2", name, &push(aud).await);
    }
    for (name, aud) in [("aud is another server", json!("https://other.example")), ("aud is an empty array", json!([]))]
    {
        report.refused("RFC 9126 2", name, &push(aud).await, REFUSED, INVALID);
    }
    let rs256 = party.key.sign(&json!({ "alg": "RS256", "kid": party.key.kid() }), &party.assertion_claims());
    let answer = party.bare("pushed_authorization_request", &text(&[asserted(&rs256), object()].concat())).await;
    report.refused("FAPI1-ADV 8.6", "RS256", &answer, REFUSED, INVALID);
}

async fn certificates(suite: &Suite, report: &mut Report) {
    let party = suite.party("suite-mtls-1");
    report.accepted("RFC 8705 2.1", "tls_client_auth", &party.push(&[]).await);
    for kind in ["untrusted_issuer", "expired"] {
        let whose = &suite.told["certificates"][kind]["impersonates"];
        assert_eq!(whose, party.id(), "a certificate of nobody's would be refused for its name");
    }
    let body = text(&[party.proven(), party.request()].concat());
    let send = async |http: &reqwest::Client, url: String| {
        let request = http.post(url).header("content-type", "application/x-www-form-urlencoded");
        Answer::to(request.body(body.clone())).await
    };
    let alias = || party.endpoint("pushed_authorization_request");
    let plain = suite.metadata["pushed_authorization_request_endpoint"].as_str().unwrap().to_owned();
    for (name, answer) in [
        ("another client's certificate", send(&suite.party("suite-mtls-2").http, alias()).await),
        ("a certificate of an untrusted issuer", send(&suite.with_certificate("untrusted_issuer"), alias()).await),
        ("no certificate", send(&suite.anonymous, plain).await),
    ] {
        report.refused("RFC 8705 2.1", name, &answer, REFUSED, INVALID);
    }
    let expired = suite.with_certificate("expired").post(alias()).body(body.clone()).send().await;
    let refused = expired.as_ref().map_or(true, |answer| answer.status().is_client_error());
    report.holds("RFC 8705 2.1", "an expired certificate", refused, "accepted");
    let other = text(&[changed(Vec::new(), &[("client_id", "suite-dpop-1")]), party.request()].concat());
    let answer = party.bare("pushed_authorization_request", &other).await;
    report.refused("RFC 8705 2", "a certificate for a client of private_key_jwt", &answer, REFUSED, INVALID);
    let nameless = party.bare("pushed_authorization_request", &text(&party.request())).await;
    report.refused("RFC 8705 2", "no client_id", &nameless, REFUSED, &["invalid_client", "invalid_request"]);
}

async fn secrets(suite: &Suite, report: &mut Report) {
    let party = suite.party("suite-plain");
    let answer = party.own_token("wallet:read").await;
    report.accepted("RFC 6749 2.3.1", "client_secret_basic under plain-oauth", &answer);
    report.holds("RFC 6750", "its token is a bearer token", answer.text("token_type") == "Bearer", &answer.told());
    let url = party.endpoint("token");
    for (name, secret) in [("a wrong secret", "wrong"), ("an empty secret", "")] {
        let request = party.http.post(&url).basic_auth(party.id(), Some(secret));
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let answer = Answer::to(request.body("grant_type=client_credentials")).await;
        report.refused("RFC 6749 5.2", name, &answer, &[401], INVALID);
        let challenge = answer.field("www-authenticate");
        report.holds(
            "RFC 6749 5.2",
            &format!("{name} is answered with a challenge"),
            challenge.starts_with("Basic"),
            challenge,
        );
    }
}
