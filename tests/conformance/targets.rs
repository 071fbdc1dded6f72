//! Resource indicators (RFC 8707): what a token is for.

use serde_json::{Value, json};

use super::party::{Answer, Party, Suite, changed};
use super::report::Report;
use super::visits::{code, redeem, refresh_with};
use crate::harness::token::claims;

const BAD: &[u16] = &[400];
const TARGET: &[&str] = &["invalid_target"];

pub async fn run(suite: &Suite, report: &mut Report) {
    report.area("Resource indicators");
    let named = suite.metadata["protected_resources"].as_array().cloned().unwrap_or_default();
    let mut named: Vec<String> = named.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let whole = suite.told["public_url"].as_str().unwrap();
    report.holds(
        "RFC 9728 4",
        "protected_resources has the whole",
        named.iter().any(|one| one == whole),
        &named.join(" "),
    );
    documents(suite, whole, &named, report).await;
    named.retain(|resource| resource.starts_with(whole)); // The others are the same by another name.
    // The API that the suite's first call is about, and another one.
    let url = suite.told["apis"][0]["mtls_url"].as_str().unwrap();
    let path = url.strip_prefix(suite.told["mtls_url"].as_str().unwrap()).unwrap();
    let covers = |resource: &&String| {
        let below = resource.strip_prefix(whole).unwrap_or_default();
        !below.is_empty() && path.strip_prefix(below).is_some_and(|rest| rest.starts_with('/'))
    };
    let own = named.iter().find(covers).cloned();
    let other = named.iter().find(|resource| *resource != whole && Some(*resource) != own.as_ref()).cloned();
    let (Some(own), Some(other)) = (own, other) else {
        report.holds("RFC 8707 2", "an API has a resource of its own", false, &named.join(" "));
        return;
    };
    let party = suite.party("suite-mtls-1");
    alone(&party, url, [whole, &own, &other], report).await;
    for_users(&party, url, [whole, &own, &other], report).await;
}

async fn documents(suite: &Suite, whole: &str, named: &[String], report: &mut Report) {
    let mtls = suite.told["mtls_url"].as_str().unwrap();
    let party = suite.party("suite-mtls-1");
    for resource in named {
        let base = if resource.starts_with(mtls) { mtls } else { whole };
        let below = resource.strip_prefix(base).unwrap_or_default();
        let url = format!("{base}/.well-known/oauth-protected-resource{below}");
        let answer = Answer::to(party.http.get(url)).await;
        let says = answer.text("resource") == resource;
        report.holds("RFC 9728 3.3", &format!("metadata of {resource} is its own"), says, &answer.told());
    }
    let both = named.iter().any(|one| one == mtls);
    report.holds("RFC 9728 4", "protected_resources has the whole by its other name", both, &named.join(" "));
    let answer = Answer::to(suite.anonymous.get(format!("{whole}/.well-known/oauth-protected-resource/none"))).await;
    report.holds("RFC 9728 3", "what is no resource has no metadata", answer.status == 404, &answer.told());
}

/// Tokens of the client itself.
async fn alone(party: &Party<'_>, url: &str, [whole, own, other]: [&str; 3], report: &mut Report) {
    let token = async |resources: &[&str]| {
        let mut parameters = changed(Vec::new(), &[("grant_type", "client_credentials"), ("scope", "accounts")]);
        parameters.extend(resources.iter().map(|resource| ("resource".to_owned(), (*resource).to_owned())));
        party.post_bound("token", &parameters).await
    };
    let slashed = &*format!("{whole}/"); // RFC 3986 6.2.3
    let alias = own.replacen(whole, party.suite.told["mtls_url"].as_str().unwrap(), 1);
    for (name, resources, aud, good) in [
        ("none", vec![], json!(whole), true),
        ("the whole", vec![whole], json!(whole), true),
        ("the whole as JavaScript writes it", vec![slashed], json!(whole), true),
        ("one API", vec![own], json!(own), true),
        ("two APIs", vec![own, other], json!([own, other]), true),
        ("one API twice", vec![own, own], json!(own), true),
        ("one API by both its names", vec![own, &alias], json!(own), true),
        ("another API", vec![other], json!(other), false),
    ] {
        let answer = token(&resources).await;
        let said = claims(answer.text("access_token"));
        report.holds("RFC 9068 3", &format!("aud for {name}"), said["aud"] == aud, &said.to_string());
        let called = party.call(url, answer.text("access_token")).await;
        let passes = called.status == 200;
        let expected = if good { "passes" } else { "is refused" };
        report.holds("RFC 8707 2.2", &format!("a token for {name} {expected}"), passes == good, &called.told());
        if !good {
            let told = called.status == 401 && called.field("www-authenticate").contains("invalid_token");
            report.holds("RFC 6750 3.1", &format!("a token for {name} is invalid_token"), told, &called.told());
        }
    }
    for (name, resource) in [
        ("with a fragment", format!("{own}#f")),
        ("with a slash more", format!("{own}/")),
        ("with a query", format!("{own}?q=1")),
        ("of nobody", format!("{whole}/none")),
        ("relative", "/open-banking".to_owned()),
    ] {
        report.refused("RFC 8707 2", &format!("a resource {name}"), &token(&[&resource]).await, BAD, TARGET);
    }
    let mixed = token(&[own, "https://other.example"]).await;
    report.refused("RFC 8707 2", "one of ours and one of others", &mixed, BAD, TARGET);
}

/// Tokens that speak for a user: the grant is the bound.
async fn for_users(party: &Party<'_>, url: &str, [whole, own, other]: [&str; 3], report: &mut Report) {
    let grant = redeem(party, &code(party, &[("resource", own)]).await, &[]).await;
    let aud = |answer: &Answer| claims(answer.text("access_token"))["aud"].clone();
    report.holds("RFC 8707 2.2", "a code's token is for what was asked for", aud(&grant) == own, &grant.told());
    let called = party.call(url, grant.text("access_token")).await;
    report.accepted("RFC 8707 2.2", "and good there", &called);
    for (name, resource) in [("the whole", whole), ("another", other), ("a stranger's", "https://other.example")] {
        let answer = refresh_with(party, grant.text("refresh_token"), &[("resource", resource)]).await;
        report.refused("RFC 8707 2.2", &format!("a refresh may not widen: {name}"), &answer, BAD, TARGET);
    }
    let same = refresh_with(party, grant.text("refresh_token"), &[]).await;
    report.holds("RFC 8707 2.2", "a refresh keeps what was granted", aud(&same) == own, &same.told());
    let answer = redeem(party, &code(party, &[("resource", own)]).await, &[("resource", other)]).await;
    report.refused("RFC 8707 2.2", "a code may not widen", &answer, BAD, TARGET);
    let narrowed = redeem(party, &code(party, &[]).await, &[("resource", own)]).await;
    report.holds("RFC 8707 2.2", "a code may narrow", aud(&narrowed) == own, &narrowed.told());
    let full = refresh_with(party, narrowed.text("refresh_token"), &[]).await;
    report.holds("RFC 8707 2.2", "the grant stays whole", aud(&full) == whole, &full.told());
}
