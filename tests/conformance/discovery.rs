//! Metadata and keys.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::party::{Answer, Suite};
use super::report::Report;

const FAPI_METHODS: [&str; 3] = ["private_key_jwt", "tls_client_auth", "self_signed_tls_client_auth"];
const FAPI_ALGORITHMS: [&str; 4] = ["PS256", "ES256", "EdDSA", "Ed25519"];

pub async fn run(suite: &Suite, report: &mut Report) {
    report.area("Discovery");
    documents(suite, report).await;
    members(suite, report);
    keys(suite, report).await;
    protected_resource(suite, report).await;
}

async fn documents(suite: &Suite, report: &mut Report) {
    for (clause, member) in [("OIDC Discovery 4", "discovery_url"), ("RFC 8414 3", "oauth_metadata_url")] {
        let url = suite.told[member].as_str().unwrap();
        let answer = Answer::to(suite.anonymous.get(url)).await;
        report.accepted(clause, &format!("{member} is served"), &answer);
        let json = answer.field("content-type").starts_with("application/json");
        report.holds(clause, &format!("{member} is application/json"), json, answer.field("content-type"));
        let same = answer.text("issuer") == suite.issuer();
        report.holds("RFC 8414 3.3", &format!("issuer of {member} is the URL's"), same, answer.text("issuer"));
        // Endpoint URLs never follow the Host field; to refuse such a request is as good.
        let url = url.replace("https://localhost", "https://127.0.0.1");
        let foreign = Answer::to(suite.anonymous.get(url).header("host", "attacker.example")).await;
        let follows = foreign.text.contains("attacker.example") || foreign.text.contains("https://127.0.0.1");
        report.holds("FAPI2-SP 5.3.3.1-11", &format!("{member} does not follow Host"), !follows, &foreign.told());
    }
}

fn strings(value: &Value) -> BTreeSet<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn members(suite: &Suite, report: &mut Report) {
    let metadata = &suite.metadata;
    let told = |name: &str| format!("{}", metadata[name]);
    for (clause, name) in [
        ("FAPI2-SP 5.3.2.1-1", "authorization_endpoint"),
        ("FAPI2-SP 5.3.2.1-1", "token_endpoint"),
        ("FAPI2-SP 5.3.2.1-1", "jwks_uri"),
        ("RFC 9126 5", "pushed_authorization_request_endpoint"),
        ("RFC 7662 2", "introspection_endpoint"),
        ("RFC 7009 2", "revocation_endpoint"),
    ] {
        let own = metadata[name].as_str().is_some_and(|url| url.starts_with(suite.issuer()));
        report.holds(clause, &format!("{name} is an https URL of the issuer's host"), own, &told(name));
    }
    for name in
        ["token_endpoint", "pushed_authorization_request_endpoint", "introspection_endpoint", "revocation_endpoint"]
    {
        let alias = &metadata["mtls_endpoint_aliases"][name];
        let good = alias.as_str().is_some_and(|url| url.starts_with(suite.told["mtls_url"].as_str().unwrap()));
        report.holds("RFC 8705 5", &format!("mtls_endpoint_aliases has {name}"), good, &alias.to_string());
    }
    for (clause, name, value) in [
        ("FAPI2-SP 5.3.2.2-1", "response_types_supported", json!(["code"])),
        ("RFC 9207 3", "authorization_response_iss_parameter_supported", json!(true)),
        ("RFC 9126 5", "require_pushed_authorization_requests", json!(true)),
        ("RFC 8705 3.3", "tls_client_certificate_bound_access_tokens", json!(true)),
    ] {
        report.holds(clause, name, metadata[name] == value, &told(name));
    }
    for (clause, name, wanted) in [
        ("FAPI2-SP 5.3.2.2-5", "code_challenge_methods_supported", "S256"),
        ("FAPI2-SP 5.3.2.1-9", "grant_types_supported", "refresh_token"),
        ("FAPI2-SP 5.3.2.2-2", "grant_types_supported", "authorization_code"),
        ("JARM 4", "response_modes_supported", "jwt"),
        ("JARM 4", "response_modes_supported", "query.jwt"),
        ("JARM 4", "response_modes_supported", "form_post.jwt"),
        ("RFC 9396 10", "authorization_details_types_supported", "payment_initiation"),
        ("OIDC Core 3.1.2.1", "scopes_supported", "accounts"),
        ("OIDC Discovery 3", "subject_types_supported", "public"),
    ] {
        report.holds(clause, &format!("{name} has {wanted}"), strings(&metadata[name]).contains(wanted), &told(name));
    }
    report.holds(
        "FAPI2-SP 5.3.2.2-5",
        "code_challenge_methods_supported lacks plain",
        !strings(&metadata["code_challenge_methods_supported"]).contains("plain"),
        &told("code_challenge_methods_supported"),
    );
    for name in ["password", "implicit"] {
        let offered = strings(&metadata["grant_types_supported"]).contains(name);
        report.holds(
            "FAPI2-SP 5.3.2.1-2",
            &format!("grant_types_supported lacks {name}"),
            !offered,
            &told("grant_types_supported"),
        );
    }
    let methods = strings(&metadata["token_endpoint_auth_methods_supported"]);
    let allowed = !methods.is_empty() && methods.iter().all(|method| FAPI_METHODS.contains(method));
    report.holds("FAPI2-SP 5.3.2.1-6", "methods of client authentication", allowed, &format!("{methods:?}"));
    for (name, list) in metadata.as_object().unwrap().iter().filter(|(name, _)| name.ends_with("_alg_values_supported"))
    {
        let algorithms = strings(list);
        let encryption = name.contains("encryption");
        let allowed = encryption || (!algorithms.is_empty() && algorithms.iter().all(|a| FAPI_ALGORITHMS.contains(a)));
        report.holds("FAPI2-SP 5.4.1-1b", name, allowed, &list.to_string());
    }
}

async fn keys(suite: &Suite, report: &mut Report) {
    let answer = Answer::to(suite.anonymous.get(suite.metadata["jwks_uri"].as_str().unwrap())).await;
    report.accepted("RFC 7517 5", "jwks_uri is served", &answer);
    let keys = answer.body["keys"].as_array().cloned().unwrap_or_default();
    report.holds("RFC 7517 5", "there is a key", !keys.is_empty(), &answer.told());
    let kids: BTreeSet<_> = keys.iter().filter_map(|key| key["kid"].as_str()).collect();
    report.holds("FAPI2-SP 5.4.2-3", "every key has a kid of its own", kids.len() == keys.len(), &answer.told());
    let private = keys.iter().any(|key| ["d", "p", "q", "k"].iter().any(|name| !key[name].is_null()));
    report.holds("RFC 7517 9.2", "no key has private members", !private, "some have");
    let allowed = keys.iter().all(|key| key["alg"].as_str().is_none_or(|alg| FAPI_ALGORITHMS.contains(&alg)));
    report.holds("FAPI2-SP 5.4.1-1b", "keys are for allowed algorithms", allowed, &answer.told());
}

async fn protected_resource(suite: &Suite, report: &mut Report) {
    let url = format!("{}/.well-known/oauth-protected-resource", suite.issuer());
    let answer = Answer::to(suite.anonymous.get(url)).await;
    report.accepted("RFC 9728 3", "metadata of the resource", &answer);
    let named = strings(&answer.body["authorization_servers"]).contains(suite.issuer());
    report.holds("RFC 9728 2", "authorization_servers has the issuer", named, &answer.told());
    let header_only = answer.body["bearer_methods_supported"] == json!(["header"]);
    report.holds("RFC 9728 2", "bearer_methods_supported is header", header_only, &answer.told());
}
