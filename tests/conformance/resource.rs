//! The gateway as a resource server.

use super::party::{Answer, Suite};
use super::report::Report;

pub async fn run(suite: &Suite, report: &mut Report) {
    report.area("Resource server");
    let party = suite.party("suite-mtls-1");
    let api = &suite.told["apis"][0];
    let (url, public) = (api["mtls_url"].as_str().unwrap(), api["url"].as_str().unwrap());
    let token = party.own_token(api["scope"].as_str().unwrap()).await.text("access_token").to_owned();
    let answer = party.call(url, &token).await;
    report.accepted("FAPI2-SP 5.3.4-1", "a bound token with its certificate", &answer);
    report.holds("FAPI1-BASE 6.2.1-10", "Date", !answer.field("date").is_empty(), "there is none");
    let made = answer.field("x-fapi-interaction-id").len() == 36;
    report.holds("FAPI1-BASE 6.2.1-11", "x-fapi-interaction-id is made", made, answer.field("x-fapi-interaction-id"));
    let lower = Answer::to(party.http.get(url).header("authorization", format!("bearer {token}"))).await;
    report.accepted("RFC 9110 11.1", "the scheme in small letters", &lower);
    let id = "93bac548-d2de-4546-b106-880a5018460d";
    for (clause, name, field, value) in [
        ("FAPI1-BASE 6.2.1-11", "an interaction id comes back", "x-fapi-interaction-id", id),
        ("FAPI1-BASE 6.2.1-13", "an IPv4 customer address", "x-fapi-customer-ip-address", "198.51.100.119"),
        ("FAPI1-BASE 6.2.1-13", "an IPv6 customer address", "x-fapi-customer-ip-address", "2001:db8::1893:25c8:1946"),
    ] {
        let answer = Answer::to(party.http.get(url).bearer_auth(&token).header(field, value)).await;
        report.accepted(clause, name, &answer);
        if field == "x-fapi-interaction-id" {
            report.holds(clause, "and is the same", answer.field(field) == id, answer.field(field));
        }
    }
    refused(suite, report, url, public, &token).await;
    scopes(suite, report).await;
}

async fn refused(suite: &Suite, report: &mut Report, url: &str, public: &str, token: &str) {
    let party = suite.party("suite-mtls-1");
    let other = suite.party("suite-mtls-2");
    let with_query = format!("{url}?access_token={token}");
    for (clause, name, request) in [
        ("RFC 8705 3", "another client's certificate", other.http.get(url).bearer_auth(token)),
        ("RFC 8705 3", "no certificate", suite.anonymous.get(public).bearer_auth(token)),
        ("RFC 6750 3.1", "no token of ours", party.http.get(url).bearer_auth("nonsense")),
    ] {
        let answer = Answer::to(request).await;
        let challenge = answer.field("www-authenticate");
        let good = answer.status == 401 && challenge.contains("error=\"invalid_");
        report.holds(clause, &format!("{name} is 401"), good, &answer.told());
    }
    let dpop = party.http.get(url).header("authorization", format!("DPoP {token}"));
    let answer = Answer::to(dpop).await;
    report.holds("RFC 9449 7.1", "a certificate-bound token as DPoP is 401", answer.status == 401, &answer.told());
    let answer = Answer::to(party.http.get(&with_query)).await;
    report.holds(
        "FAPI2-SP 5.3.4-2",
        "a token in the query is no token",
        matches!(answer.status, 400 | 401),
        &answer.told(),
    );
    let answer = Answer::to(party.http.get(url)).await;
    let challenge = answer.field("www-authenticate");
    report.holds(
        "RFC 6750 3",
        "no credential is 401 with a challenge",
        answer.status == 401 && !challenge.is_empty(),
        &answer.told(),
    );
    report.holds("RFC 6750 3.1", "and without an error code", !challenge.contains("error="), challenge);
    let answer = Answer::to(party.http.get(url).bearer_auth(token).header("authorization", "Bearer x")).await;
    report.holds("RFC 6750 2", "two credentials are refused", matches!(answer.status, 400 | 401), &answer.told());
    let assertion = party.key.jwt("at+jwt", &party.assertion_claims());
    let answer = Answer::to(party.http.get(url).bearer_auth(assertion)).await;
    report.holds("RFC 9068 4", "a JWT that the client signed is no token", answer.status == 401, &answer.told());
}

async fn scopes(suite: &Suite, report: &mut Report) {
    let party = suite.party("suite-mtls-1");
    let told = &suite.told["scope_refused_by_resource"];
    let token = party.own_token(told["scope"].as_str().unwrap()).await.text("access_token").to_owned();
    let answer = party.call(told["mtls_url"].as_str().unwrap(), &token).await;
    let good = answer.status == 403 && answer.field("www-authenticate").contains("insufficient_scope");
    report.holds("FAPI2-SP 5.3.4-4", "a token without the scope is 403 insufficient_scope", good, &answer.told());
    let plain = suite.party("suite-plain");
    let token = plain.own_token("wallet:read").await.text("access_token").to_owned();
    let low = &suite.told["apis"][2];
    report.accepted(
        "RFC 6750 2.1",
        "a bearer token at a low-risk API",
        &plain.call(low["url"].as_str().unwrap(), &token).await,
    );
    let regulated = plain.call(suite.told["apis"][0]["url"].as_str().unwrap(), &token).await;
    report.holds(
        "FAPI1-ADV 6.2.1-2",
        "a bearer token at a regulated API is refused",
        matches!(regulated.status, 401 | 403),
        &regulated.told(),
    );
}
