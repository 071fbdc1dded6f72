//! Dynamic registration (RFC 7591, RFC 7592).

use clearway::jose::Algorithm;
use serde_json::{Value, json};

use super::party::{Answer, Suite, asserted, changed, text};
use super::report::Report;
use crate::harness::token::{Key, now, signing_input, unique, with};

const METADATA: &[&str] = &["invalid_client_metadata"];

pub async fn register(suite: &Suite, metadata: &Value, token: Option<&str>) -> Answer {
    let request = suite.anonymous.post(suite.metadata["registration_endpoint"].as_str().unwrap());
    let request = request.header("content-type", "application/json").body(metadata.to_string());
    Answer::to(match token {
        Some(token) => request.bearer_auth(token),
        None => request,
    })
    .await
}

pub async fn run(suite: &Suite, report: &mut Report) {
    report.area("Registration");
    let token = suite.told["initial_access_token"].as_str();
    let key = Key::generate(Algorithm::Es256);
    let sound = json!({
        "redirect_uris": ["https://suite.example/callback"], "jwks": { "keys": [key.jwk] },
        "token_endpoint_auth_method": "private_key_jwt", "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"], "dpop_bound_access_tokens": true, "scope": "openid accounts",
    });
    for (name, token) in [("no initial access token", None), ("a wrong initial access token", Some("wrong"))] {
        let answer = register(suite, &sound, token).await;
        report.holds("RFC 7591 3", &format!("{name} is 401"), answer.status == 401, &answer.told());
    }
    for (clause, name, changes, codes) in [
        ("FAPI2-SP 5.3.2.1-3", "a public client", json!({ "token_endpoint_auth_method": "none" }), METADATA),
        ("FAPI2-SP 5.3.2.1-6", "a secret", json!({ "token_endpoint_auth_method": "client_secret_basic" }), METADATA),
        (
            "FAPI2-SP 5.3.2.2-8",
            "an http redirect URI",
            json!({ "redirect_uris": ["http://suite.example/cb"] }),
            &["invalid_redirect_uri"],
        ),
        (
            "RFC 6749 3.1.2",
            "a redirect URI with a fragment",
            json!({ "redirect_uris": ["https://suite.example/cb#f"] }),
            &["invalid_redirect_uri"],
        ),
        ("FAPI2-SP 5.3.2.2-1", "response_type token", json!({ "response_types": ["token"] }), METADATA),
        ("FAPI2-SP 5.3.2.1-2", "the password grant", json!({ "grant_types": ["password"] }), METADATA),
        ("RFC 7591 2", "jwks and jwks_uri", json!({ "jwks_uri": "https://suite.example/jwks" }), METADATA),
        (
            "FAPI2-SP 5.4.2-1",
            "jwks_uri over http",
            json!({ "jwks": null, "jwks_uri": "http://suite.example/jwks" }),
            METADATA,
        ),
    ] {
        let answer = register(suite, &with(sound.clone(), changes), token).await;
        report.refused(clause, name, &answer, &[400], codes);
    }
    answers(suite, report, &sound, token).await;
    key_sets(suite, report, &sound, token, &key).await;
    let answer = register(suite, &sound, token).await;
    report.holds("RFC 7591 3.2.1", "201", answer.status == 201, &answer.told());
    for member in [
        "client_id",
        "client_id_issued_at",
        "registration_access_token",
        "registration_client_uri",
        "redirect_uris",
        "jwks",
    ] {
        report.holds("RFC 7591 3.2.1", &format!("{member} is told"), !answer.body[member].is_null(), &answer.told());
    }
    let plain = !answer.text("client_id").is_empty() && !answer.text("client_id").contains(':');
    report.holds("RFC 7617 2", "client_id has no colon", plain, &answer.told());
    report.holds(
        "RFC 7591 3.2.1",
        "no-store",
        answer.field("cache-control").contains("no-store"),
        answer.field("cache-control"),
    );
    statements(suite, report, &sound).await;
    replaced(suite, report, &answer, &sound, &key).await;
    managed(suite, report, &answer).await;
}

/// RFC 7591 §2.3: of directories that nobody trusts here.
async fn statements(suite: &Suite, report: &mut Report, sound: &Value) {
    let stranger = Key::generate(Algorithm::Es256);
    let claims = json!({ "iss": "https://directory.example", "iat": now(), "software_id": "app" });
    let unsigned = format!("{}.", signing_input(&json!({ "alg": "none" }), &claims));
    let token = suite.told["initial_access_token"].as_str();
    let codes = &["invalid_software_statement", "unapproved_software_statement"];
    for (name, statement) in [
        ("a statement of a stranger", json!(stranger.jwt("JWT", &claims))),
        (
            "a statement in our own name",
            json!(stranger.jwt("JWT", &with(claims.clone(), json!({ "iss": suite.issuer() })))),
        ),
        ("a statement of nobody", json!(stranger.jwt("JWT", &with(claims.clone(), json!({ "iss": null }))))),
        ("a statement that nobody signed", json!(unsigned)),
        ("a statement that is no JWT", json!("x")),
    ] {
        let metadata = with(sound.clone(), json!({ "software_statement": statement }));
        for (with, token) in [("with the token", token), ("alone", None)] {
            let answer = register(suite, &metadata, token).await;
            report.refused("RFC 7591 3.2.2", &format!("{name}, {with}"), &answer, &[400], codes);
        }
    }
    let answer = register(suite, &with(sound.clone(), json!({ "software_statement": 7 })), token).await;
    report.refused("RFC 7591 2.3", "a statement that is no text", &answer, &[400], METADATA);
}

/// RFC 7592 §2.2.
async fn replaced(suite: &Suite, report: &mut Report, registered: &Answer, sound: &Value, key: &Key) {
    let (uri, token) = (registered.text("registration_client_uri"), registered.text("registration_access_token"));
    let put = async |metadata: &Value, token: &str| {
        let request = suite.anonymous.put(uri).bearer_auth(token).header("content-type", "application/json");
        Answer::to(request.body(metadata.to_string())).await
    };
    let id = registered.body["client_id"].clone();
    let next = with(
        sound.clone(),
        json!({ "client_id": id, "redirect_uris": ["https://suite.example/other"], "client_name": "B" }),
    );
    for (clause, name, changes, codes) in [
        ("RFC 7592 2.2", "no client_id", json!({ "client_id": null }), METADATA),
        ("RFC 7592 2.2", "another client_id", json!({ "client_id": "suite-dpop-1" }), METADATA),
        ("RFC 7592 2.2", "a registration access token", json!({ "registration_access_token": token }), METADATA),
        ("RFC 7592 2.2", "a registration_client_uri", json!({ "registration_client_uri": uri }), METADATA),
        ("RFC 7592 2.2", "client_id_issued_at", json!({ "client_id_issued_at": 1 }), METADATA),
        ("RFC 7592 2.2", "a secret that it never had", json!({ "client_secret": "x" }), METADATA),
        ("FAPI2-SP 5.3.2.1-3", "no proof any more", json!({ "token_endpoint_auth_method": "none" }), METADATA),
        ("RFC 7591 2", "a scope that it may not have", json!({ "scope": "openid everything" }), METADATA),
        (
            "FAPI2-SP 5.3.2.2-8",
            "an http redirect URI",
            json!({ "redirect_uris": ["http://suite.example/"] }),
            &["invalid_redirect_uri"],
        ),
    ] {
        let answer = put(&with(next.clone(), changes), token).await;
        report.refused(clause, &format!("a replacement with {name}"), &answer, &[400], codes);
    }
    let answer = put(&next, "wrong").await;
    report.holds("RFC 7592 2.2", "with a wrong token it is 401", answer.status == 401, &answer.told());
    let kept = Answer::to(suite.anonymous.get(uri).bearer_auth(token)).await;
    let same = kept.body["redirect_uris"] == sound["redirect_uris"];
    report.holds("RFC 7592 2.2", "what was refused changed nothing", same, &kept.told());
    let answer = put(&next, token).await;
    report.accepted("RFC 7592 2.2", "a replacement", &answer);
    let told = ["client_id", "redirect_uris", "client_name"].iter().all(|member| answer.body[member] == next[member]);
    report.holds("RFC 7592 3", "all of it is told", told, &answer.told());
    let push = async |redirect_uri: &str| {
        let mut party = suite.party("suite-dpop-1");
        party.told["client_id"] = id.clone();
        let claims =
            json!({ "iss": id, "sub": id, "aud": suite.issuer(), "iat": now(), "exp": now() + 60, "jti": unique() });
        let parameters = changed(party.request(), &[("redirect_uri", redirect_uri)]);
        let all = [asserted(&key.jwt("JWT", &claims)), parameters].concat();
        party.bare("pushed_authorization_request", &text(&all)).await
    };
    report.accepted("RFC 7592 2.2", "the new redirect URI", &push("https://suite.example/other").await);
    let old = push("https://suite.example/callback").await;
    report.refused("RFC 7592 2.2", "what was not sent is gone", &old, &[400], &["invalid_request"]);
    let without = put(&with(next, json!({ "client_name": null })), token).await;
    let gone = without.status == 200 && without.body["client_name"].is_null();
    report.holds("RFC 7592 2.2", "a member that is left out is gone", gone, &without.told());
}

/// What the client wants to be answered is what it gets, or it hears that it does not.
async fn answers(suite: &Suite, report: &mut Report, sound: &Value, token: Option<&str>) {
    for (name, alg) in [
        ("id_token_signed_response_alg", "RS256"),
        ("id_token_signed_response_alg", "none"),
        ("authorization_signed_response_alg", "RS256"),
        ("userinfo_signed_response_alg", "ES256"),
        ("id_token_encrypted_response_alg", "RSA-OAEP"),
        ("introspection_signed_response_alg", "RS256"),
        ("introspection_encrypted_response_alg", "RSA-OAEP"),
        ("request_object_encryption_alg", "RSA-OAEP"),
        ("backchannel_authentication_request_signing_alg", "RS256"),
    ] {
        let answer = register(suite, &with(sound.clone(), json!({ name: alg })), token).await;
        report.refused("OIDC Registration 2", &format!("{name} {alg}"), &answer, &[400], METADATA);
    }
    let answer = register(suite, &with(sound.clone(), json!({ "authorization_details_types": ["nope"] })), token).await;
    report.refused("RFC 9396 10", "a type of details that nobody declared", &answer, &[400], METADATA);
    let known = json!({ "authorization_details_types": suite.told["authorization_details"]["types"],
        "id_token_signed_response_alg": "ES256" });
    let answer = register(suite, &with(sound.clone(), known), token).await;
    report.accepted("RFC 9396 10", "types that are declared", &answer);
    let answer = register(suite, sound, token).await;
    for name in ["id_token_signed_response_alg", "authorization_signed_response_alg"] {
        report.holds("OIDC Registration 2", &format!("{name} is told"), answer.body[name] == "ES256", &answer.told());
    }
}

/// RFC 7517 §5: keys that are for something else are no reason to refuse the set.
async fn key_sets(suite: &Suite, report: &mut Report, sound: &Value, token: Option<&str>, key: &Key) {
    let set =
        async |keys: Value| register(suite, &with(sound.clone(), json!({ "jwks": { "keys": keys } })), token).await;
    let mut encryption = Key::generate(Algorithm::Ps256).jwk;
    encryption["use"] = "enc".into();
    encryption["alg"] = "RSA-OAEP".into();
    let unknown = json!({ "kty": "AKP", "alg": "ML-DSA-44", "kid": "p", "pub": "AAAA" });
    let answer = set(json!([key.jwk, encryption, unknown])).await;
    report.accepted("RFC 7517 5", "a key for encryption and one of an unknown kind beside the key", &answer);
    let whole = answer.body["jwks"]["keys"].as_array().is_some_and(|keys| keys.len() == 3);
    report.holds("RFC 7591 3.2.1", "the set is told as it was sent", whole, &answer.told());
    report.refused("RFC 7517 5", "no usable key", &set(json!([encryption, unknown])).await, &[400], METADATA);
    for (name, private) in [
        ("a private key", with(key.jwk.clone(), json!({ "d": "AAAA" }))),
        ("a private key for encryption", with(encryption.clone(), json!({ "d": "AAAA" }))),
        ("a shared key", json!({ "kty": "oct", "k": "AAAA", "kid": "k" })),
    ] {
        let answer = set(json!([key.jwk, private])).await;
        report.refused("RFC 7517 9.2", &format!("{name} beside the key"), &answer, &[400], METADATA);
    }
}

async fn managed(suite: &Suite, report: &mut Report, registered: &Answer) {
    let (uri, token) = (registered.text("registration_client_uri"), registered.text("registration_access_token"));
    if uri.is_empty() {
        return;
    }
    let answer = Answer::to(suite.anonymous.get(uri).bearer_auth(token)).await;
    report.holds("RFC 7592 2.1", "a registration is read", answer.status == 200, &answer.told());
    let answer = Answer::to(suite.anonymous.get(uri).bearer_auth("wrong")).await;
    report.holds("RFC 7592 2.1", "with a wrong token it is 401", answer.status == 401, &answer.told());
    let answer = Answer::to(suite.anonymous.post(uri).bearer_auth(token)).await;
    report.holds("RFC 7592 2", "POST is 405", answer.status == 405, &answer.told());
    let answer = Answer::to(suite.anonymous.delete(uri).bearer_auth(token)).await;
    report.holds("RFC 7592 2.3", "it is removed with 204", answer.status == 204, &answer.told());
    let answer = Answer::to(suite.anonymous.get(uri).bearer_auth(token)).await;
    report.holds("RFC 7592 2.1", "then it is 401", answer.status == 401, &answer.told());
}
