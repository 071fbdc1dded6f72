//! The token endpoint, introspection and revocation.

use serde_json::{Value, json};

use super::party::{Answer, Party, Suite, changed, text};
use super::report::Report;
use crate::harness::token::{claims, header};

const BAD: &[u16] = &[400];

pub async fn run(suite: &Suite, report: &mut Report) {
    report.area("Tokens of a client's own");
    let party = suite.party("suite-mtls-1");
    own(suite, &party, report).await;
    refused(suite, &party, report).await;
    report.area("Introspection and revocation");
    introspection(suite, &party, report).await;
    revocation(suite, &party, report).await;
}

async fn own(suite: &Suite, party: &Party<'_>, report: &mut Report) {
    let answer = party.own_token("accounts").await;
    report.accepted("RFC 6749 4.4", "a token by certificate", &answer);
    let token = answer.text("access_token");
    let (head, said) = (header(token), claims(token));
    let told = said.to_string();
    report.holds("RFC 9068 2.1", "typ is at+jwt", head["typ"] == "at+jwt", &head.to_string());
    report.holds(
        "FAPI2-SP 5.4.1-1b",
        "alg is allowed",
        head["alg"] == "ES256" || head["alg"] == "PS256",
        &head.to_string(),
    );
    for name in ["iss", "exp", "aud", "sub", "client_id", "iat", "jti"] {
        report.holds("RFC 9068 2.2", &format!("{name} is there"), !said[name].is_null(), &told);
    }
    report.holds("RFC 9068 2.2", "iss is the issuer", said["iss"] == suite.issuer(), &told);
    report.holds("RFC 9068 2.2", "client_id is the client", said["client_id"] == party.id(), &told);
    report.holds("RFC 9068 2.2.3", "scope is what was asked for", said["scope"] == "accounts", &told);
    report.holds(
        "RFC 8705 3.1",
        "cnf.x5t#S256",
        said["cnf"]["x5t#S256"].as_str().is_some_and(|t| t.len() == 43),
        &told,
    );
    report.holds("RFC 6749 5.1", "token_type is Bearer", answer.text("token_type") == "Bearer", &answer.told());
    report.holds(
        "RFC 6749 5.1",
        "expires_in",
        answer.body["expires_in"].as_i64().is_some_and(|s| s > 0),
        &answer.told(),
    );
    report.holds("RFC 6749 5.1", "scope is told", answer.text("scope") == "accounts", &answer.told());
    report.holds("RFC 6749 4.4.3", "no refresh token", answer.body["refresh_token"].is_null(), &answer.told());
    report.holds(
        "RFC 6749 5.1",
        "no-store",
        answer.field("cache-control").contains("no-store"),
        answer.field("cache-control"),
    );
    let all = party.post_bound("token", &changed(Vec::new(), &[("grant_type", "client_credentials")])).await;
    report.holds(
        "RFC 6749 3.3",
        "a scope that was not asked for is told",
        all.text("scope").contains("accounts"),
        &all.told(),
    );
    let openid = all.text("scope").split(' ').any(|scope| scope == "openid");
    report.holds("RFC 6749 4.4", "a client alone gets no openid", !openid, &all.told());
    let jti = claims(all.text("access_token"))["jti"].clone();
    report.holds("RFC 9068 2.2", "jti is never the same", jti != said["jti"], &told);
    let short = suite.party("suite-short-token").own_token("accounts").await;
    let said = claims(short.text("access_token"));
    let life = said["exp"].as_i64().unwrap_or_default() - said["iat"].as_i64().unwrap_or_default();
    let same = life == 3 && short.body["expires_in"] == 3;
    report.holds("RFC 6749 5.1", "a token of three seconds says so", same, &short.told());
    let bound = suite.party("suite-jwt-mtls").own_token("accounts").await;
    report.accepted("RFC 8705 3", "an assertion and a certificate-bound token", &bound);
}

async fn refused(suite: &Suite, party: &Party<'_>, report: &mut Report) {
    let url = party.endpoint("token");
    let answer = Answer::to(party.http.get(&url)).await;
    report.holds("RFC 6749 3.2", "GET is 405", answer.status == 405, &answer.told());
    for (clause, name, parameters, codes) in [
        (
            "FAPI2-SP 5.3.2.1-2",
            "password",
            vec![("grant_type", "password"), ("username", "u"), ("password", "p")],
            &["unsupported_grant_type"][..],
        ),
        ("RFC 6749 5.2", "a grant that does not exist", vec![("grant_type", "urn:other")], &["unsupported_grant_type"]),
        ("RFC 6749 5.2", "implicit", vec![("grant_type", "implicit")], &["unsupported_grant_type"]),
        ("RFC 6749 4.4.2", "no grant_type", vec![("scope", "accounts")], &["invalid_request"]),
        (
            "RFC 6749 5.2",
            "a scope that does not exist",
            vec![("grant_type", "client_credentials"), ("scope", "no-such-scope")],
            &["invalid_scope"],
        ),
        (
            "RFC 8707 2",
            "another resource",
            vec![("grant_type", "client_credentials"), ("resource", "https://other.example/api")],
            &["invalid_target"],
        ),
        (
            "RFC 6749 4.1.3",
            "a code that does not exist",
            vec![
                ("grant_type", "authorization_code"),
                ("code", "nope"),
                ("redirect_uri", "https://localhost:9999/x"),
                ("code_verifier", "v-of-43-characters-0123456789-0123456789-abc"),
            ],
            &["invalid_grant"],
        ),
        ("RFC 6749 4.1.3", "no code", vec![("grant_type", "authorization_code")], &["invalid_request"]),
        (
            "RFC 6749 6",
            "a refresh token that does not exist",
            vec![("grant_type", "refresh_token"), ("refresh_token", "nope")],
            &["invalid_grant"],
        ),
        ("RFC 6749 6", "no refresh token", vec![("grant_type", "refresh_token")], &["invalid_request"]),
        (
            "RFC 9396 5",
            "a type that nobody declared",
            vec![("grant_type", "client_credentials"), ("authorization_details", r#"[{"type":"no_such_type"}]"#)],
            &["invalid_authorization_details"],
        ),
    ] {
        let answer = party.post_bound("token", &changed(Vec::new(), &parameters)).await;
        report.refused(clause, name, &answer, BAD, codes);
    }
    let own = [("grant_type", "client_credentials")];
    let answer = suite.party("suite-no-client-credentials").post_bound("token", &changed(Vec::new(), &own)).await;
    report.refused("RFC 6749 5.2", "a client without client credentials", &answer, BAD, &["unauthorized_client"]);
    let code = [("grant_type", "authorization_code"), ("code", "x")];
    let answer = suite.party("suite-no-code").post_bound("token", &changed(Vec::new(), &code)).await;
    report.refused("RFC 6749 5.2", "a client without the code grant", &answer, BAD, &["unauthorized_client"]);
    let answer = suite.party("suite-dpop-1").post("token", &changed(Vec::new(), &own)).await;
    let codes = &["invalid_request", "invalid_grant", "invalid_client", "invalid_dpop_proof"];
    report.refused("FAPI2-SP 5.3.2.1-4", "a DPoP client without a proof", &answer, BAD, codes);
    // The listener without certificates: nothing to bind the token to.
    let jwt = suite.party("suite-jwt-mtls");
    let body = super::party::text(&[jwt.proven(), changed(Vec::new(), &own)].concat());
    let request = suite.anonymous.post(suite.metadata["token_endpoint"].as_str().unwrap());
    let answer = Answer::to(request.header("content-type", "application/x-www-form-urlencoded").body(body)).await;
    report.refused(
        "FAPI2-SP 5.3.2.1-4",
        "a certificate-bound client without a certificate",
        &answer,
        &[400, 401],
        codes,
    );
}

async fn ask(asking: &Party<'_>, token: &str) -> Answer {
    asking.post("introspection", &changed(Vec::new(), &[("token", token)])).await
}

async fn introspection(suite: &Suite, party: &Party<'_>, report: &mut Report) {
    let server = suite.party("suite-resource-server");
    let token = party.own_token("accounts").await.text("access_token").to_owned();
    let answer = ask(&server, &token).await;
    report.holds("RFC 7662 2.2", "a good token is active", answer.body["active"] == true, &answer.told());
    for (clause, name, value) in [
        ("RFC 7662 2.2", "client_id", json!(party.id())),
        ("RFC 7662 2.2", "scope", json!("accounts")),
        ("RFC 7662 2.2", "iss", json!(suite.issuer())),
        ("RFC 8705 3.2", "cnf", claims(&token)["cnf"].clone()),
        ("RFC 7662 2.2", "exp", claims(&token)["exp"].clone()),
    ] {
        report.holds(clause, &format!("it tells {name}"), answer.body[name] == value, &answer.told());
    }
    let inactive: Value = json!({ "active": false });
    let mut broken = token.clone();
    broken.truncate(token.len() - 4);
    for (name, token) in [("no token of ours", "nonsense"), ("a token cut short", broken.as_str())] {
        let answer = ask(&server, token).await;
        report.holds(
            "RFC 7662 2.2",
            &format!("{name} is inactive, and no more is said"),
            answer.body == inactive,
            &answer.told(),
        );
    }
    for (accept, signed) in [
        ("application/token-introspection+jwt", true),
        ("application/token-introspection+jwt;q=0.5, application/json", false),
    ] {
        let body = text(&[server.proven(), changed(Vec::new(), &[("token", &token)])].concat());
        let request = server.http.post(server.endpoint("introspection")).header("accept", accept);
        let answer = Answer::to(request.header("content-type", "application/x-www-form-urlencoded").body(body)).await;
        let kind = answer.field("content-type");
        let good = answer.status == 200 && kind.starts_with("application/token-introspection+jwt") == signed;
        report.holds("RFC 9110 12.5.1", &format!("introspection with Accept: {accept}"), good, kind);
    }
    let answer = ask(&suite.party("suite-mtls-2"), &token).await;
    report.holds("FAPI2-MS 6.2", "another client learns nothing", answer.body == inactive, &answer.told());
    let url = server.endpoint("introspection");
    let request = suite.anonymous.post(&url).header("content-type", "application/x-www-form-urlencoded");
    let answer = Answer::to(request.body(format!("token={token}"))).await;
    report.refused("RFC 7662 2.3", "nobody learns anything", &answer, &[401], &["invalid_client"]);
    let answer = server.post("introspection", &Vec::new()).await;
    report.refused("RFC 7662 2.1", "no token", &answer, BAD, &["invalid_request"]);
    let answer = Answer::to(server.http.get(&url)).await;
    report.holds("RFC 7662 2.1", "GET is 405", answer.status == 405, &answer.told());
}

async fn revocation(suite: &Suite, party: &Party<'_>, report: &mut Report) {
    let server = suite.party("suite-resource-server");
    let token = party.own_token("accounts").await.text("access_token").to_owned();
    let revoke = async |by: &Party<'_>, token: &str, hint: &str| {
        by.post("revocation", &changed(Vec::new(), &[("token", token), ("token_type_hint", hint)])).await
    };
    let theirs = revoke(&suite.party("suite-mtls-2"), &token, "").await;
    let still = ask(&server, &token).await;
    report.holds("RFC 7009 2.1", "another client revokes nothing", still.body["active"] == true, &theirs.told());
    let answer = revoke(party, "nonsense", "").await;
    report.holds("RFC 7009 2.2", "a token that nobody knows is 200", answer.status == 200, &answer.told());
    let answer = revoke(party, &token, "refresh_token").await;
    report.holds("RFC 7009 2.1", "a wrong hint does not matter", answer.status == 200, &answer.told());
    let answer = ask(&server, &token).await;
    report.holds(
        "RFC 7009 2",
        "a revoked token is inactive",
        answer.body == json!({ "active": false }),
        &answer.told(),
    );
    let url = suite.told["apis"][0]["mtls_url"].as_str().unwrap();
    let answer = party.call(url, &token).await;
    let refused = answer.status == 401 && answer.field("www-authenticate").contains("invalid_token");
    report.holds("FAPI2-SP 5.3.4-3", "a revoked token is refused at once", refused, &answer.told());
    let answer = revoke(party, &token, "").await;
    report.holds("RFC 7009 2.2", "a second revocation is 200", answer.status == 200, &answer.told());
    let url = party.endpoint("revocation");
    let request = suite.anonymous.post(suite.metadata["revocation_endpoint"].as_str().unwrap());
    let answer = Answer::to(request.header("content-type", "application/x-www-form-urlencoded").body("token=x")).await;
    report.refused("RFC 7009 2.1", "nobody revokes", &answer, &[401], &["invalid_client"]);
    let answer = Answer::to(party.http.get(url)).await;
    report.holds("RFC 7009 2", "GET is 405", answer.status == 405, &answer.told());
    let answer = party.post("revocation", &Vec::new()).await;
    report.refused("RFC 7009 2.1", "no token", &answer, BAD, &["invalid_request"]);
}
