//! What is read of registered metadata, and what is refused.

use super::*;
use crate::jose::SigningKey;
use crate::oauth::Fapi1Variant;
use crate::outbound::OutboundSettings;

fn read(given: &Value, profile: Profile) -> Result<ReadMetadata, OAuthError> {
    let outbound = Outbound::new(OutboundSettings::default()).unwrap();
    read_metadata(given.as_object().unwrap(), profile, &outbound)
}

fn good() -> Value {
    let key = SigningKey::generate(Algorithm::Es256).unwrap().0;
    json!({
        "client_name": "App",
        "redirect_uris": ["https://app.example/cb"],
        "grant_types": ["authorization_code", "refresh_token"],
        "jwks": { "keys": [key.public_jwk()] },
    })
}

fn with(changes: Value) -> Value {
    let mut given = good();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(given.as_object_mut().unwrap().remove(name)),
            value => given[name] = value.clone(),
        }
    }
    given
}

const UK: Profile = Profile::Fapi1Advanced(Fapi1Variant::Uk);
const SIGNED: Profile = Profile::Fapi2MessageSigning;

#[test]
fn what_is_read_is_what_is_registered() {
    let first = read(&with(json!({ "x_unknown": 1, "logo_uri": "http://10.0.0.1/" })), Profile::Fapi2Security).unwrap();
    assert_eq!(first.proof, Proof::Registered(ClientAuthentication::PrivateKeyJwt));
    assert_eq!(first.sender_constraint, SenderConstraint::Dpop);
    assert!(!first.members.contains_key("x_unknown") && !first.members.contains_key("logo_uri"));
    assert_eq!(first.members["response_types"], json!(["code"]));
    let again = read(&Value::Object(first.members.clone()), Profile::Fapi2Security).unwrap();
    assert_eq!(again.members, first.members, "what is kept reads as what was registered");
}

/// RFC 7591 §3.2.1: the client hears what it is held to.
#[test]
fn requests_are_signed_where_the_profile_demands_it() {
    for (name, given, profile, expected) in [
        ("by the profile", good(), SIGNED, Some(true)),
        ("against the profile", with(json!({ "require_signed_request_object": false })), SIGNED, Some(true)),
        ("FAPI 1", good(), UK, Some(true)),
        ("by itself", with(json!({ "require_signed_request_object": true })), Profile::Fapi2Security, Some(true)),
        ("not at all", good(), Profile::Fapi2Security, None),
    ] {
        let read = read(&given, profile).unwrap();
        assert_eq!(read.members.get("require_signed_request_object").and_then(Value::as_bool), expected, "{name}");
        assert_eq!(read.metadata.require_signed_request_object, expected.unwrap_or_default(), "{name}");
    }
}

#[test]
fn metadata_is_refused_for_a_reason() {
    let other = SigningKey::generate(Algorithm::Es256).unwrap().0.public_jwk();
    let fapi2 = Profile::Fapi2Security;
    let redirect = |uri: &str| with(json!({ "redirect_uris": [uri] }));
    let cases: Vec<(&str, Value, Profile, &str)> = vec![
        ("the twin", good(), fapi2, ""),
        ("loopback", redirect("http://127.0.0.1:8080/cb"), fapi2, ""),
        ("loopback, IPv6", redirect("http://[::1]/cb"), fapi2, ""),
        ("loopback under FAPI 1", redirect("http://127.0.0.1/cb"), UK, "invalid_redirect_uri"),
        ("http", redirect("http://app.example/cb"), fapi2, "invalid_redirect_uri"),
        ("localhost by name", redirect("http://localhost/cb"), fapi2, "invalid_redirect_uri"),
        ("a host that begins as loopback", redirect("http://127.0.0.1.evil.example/"), fapi2, "invalid_redirect_uri"),
        ("a fragment", redirect("https://app.example/cb#x"), fapi2, "invalid_redirect_uri"),
        ("a wildcard", redirect("https://*.example/cb"), fapi2, "invalid_redirect_uri"),
        ("a user name", redirect("https://a@app.example/cb"), fapi2, "invalid_redirect_uri"),
        ("a scheme of its own", redirect("app:/cb"), fapi2, "invalid_redirect_uri"),
        ("javascript", redirect("javascript:alert(1)"), fapi2, "invalid_redirect_uri"),
        ("relative", redirect("/cb"), fapi2, "invalid_redirect_uri"),
        ("none", with(json!({ "redirect_uris": null })), fapi2, "invalid_redirect_uri"),
        ("no list", with(json!({ "redirect_uris": "https://app.example/" })), fapi2, "invalid_redirect_uri"),
        ("many", with(json!({ "redirect_uris": vec!["https://app.example/"; 21] })), fapi2, "invalid_redirect_uri"),
        ("long", redirect(&format!("https://app.example/{}", "x".repeat(2048))), fapi2, "invalid_redirect_uri"),
        ("no proof", with(json!({ "token_endpoint_auth_method": "none" })), fapi2, "invalid_client_metadata"),
        (
            "no proof, plain",
            with(json!({ "token_endpoint_auth_method": "none" })),
            Profile::PlainOauth,
            "invalid_client_metadata",
        ),
        (
            "a secret",
            with(json!({ "token_endpoint_auth_method": "client_secret_basic" })),
            fapi2,
            "invalid_client_metadata",
        ),
        (
            "a secret, plain",
            with(json!({ "token_endpoint_auth_method": "client_secret_basic" })),
            Profile::PlainOauth,
            "",
        ),
        (
            "a secret in the form",
            with(json!({ "token_endpoint_auth_method": "client_secret_post" })),
            Profile::PlainOauth,
            "invalid_client_metadata",
        ),
        ("implicit", with(json!({ "grant_types": ["implicit"] })), fapi2, "invalid_client_metadata"),
        ("password", with(json!({ "grant_types": ["password"] })), fapi2, "invalid_client_metadata"),
        ("a token as response", with(json!({ "response_types": ["token"] })), fapi2, "invalid_client_metadata"),
        (
            "code without its grant",
            with(json!({ "grant_types": ["client_credentials"], "redirect_uris": null, "response_types": ["code"] })),
            fapi2,
            "invalid_client_metadata",
        ),
        (
            "client credentials alone",
            with(json!({ "grant_types": ["client_credentials"], "redirect_uris": null })),
            fapi2,
            "",
        ),
        (
            "refresh alone",
            with(json!({ "grant_types": ["refresh_token"], "redirect_uris": null })),
            fapi2,
            "invalid_client_metadata",
        ),
        ("keys twice", with(json!({ "jwks_uri": "https://app.example/jwks" })), fapi2, "invalid_client_metadata"),
        ("keys by URL", with(json!({ "jwks": null, "jwks_uri": "https://app.example/jwks" })), fapi2, ""),
        (
            "keys at a private place",
            with(json!({ "jwks": null, "jwks_uri": "https://169.254.169.254/" })),
            fapi2,
            "invalid_client_metadata",
        ),
        (
            "keys in disguise",
            with(json!({ "jwks": null, "jwks_uri": "https://2130706433/" })),
            fapi2,
            "invalid_client_metadata",
        ),
        (
            "keys over http",
            with(json!({ "jwks": null, "jwks_uri": "http://app.example/jwks" })),
            fapi2,
            "invalid_client_metadata",
        ),
        ("no keys", with(json!({ "jwks": null })), fapi2, "invalid_client_metadata"),
        ("one kid twice", with(json!({ "jwks": { "keys": [other, other] } })), fapi2, "invalid_client_metadata"),
        (
            "a private key",
            with(json!({ "jwks": { "keys": [{ "kty": "EC", "crv": "P-256", "d": "AA" }] } })),
            fapi2,
            "invalid_client_metadata",
        ),
        (
            "no key that can verify",
            with(json!({ "jwks": { "keys": [{ "kty": "AKP", "pub": "AA" }] } })),
            fapi2,
            "invalid_client_metadata",
        ),
        (
            "a shared key",
            with(json!({ "jwks": { "keys": [{ "kty": "oct", "k": "AA" }] } })),
            fapi2,
            "invalid_client_metadata",
        ),
        ("RS256", with(json!({ "token_endpoint_auth_signing_alg": "RS256" })), fapi2, "invalid_client_metadata"),
        ("EdDSA under FAPI 1", with(json!({ "request_object_signing_alg": "EdDSA" })), UK, "invalid_client_metadata"),
        ("EdDSA", with(json!({ "request_object_signing_alg": "EdDSA" })), fapi2, ""),
        ("DPoP under FAPI 1", with(json!({ "dpop_bound_access_tokens": true })), UK, "invalid_client_metadata"),
        (
            "bound twice",
            with(json!({ "dpop_bound_access_tokens": true, "tls_client_certificate_bound_access_tokens": true })),
            fapi2,
            "invalid_client_metadata",
        ),
        (
            "by certificate",
            with(json!({ "token_endpoint_auth_method": "tls_client_auth", "tls_client_auth_subject_dn": "CN=a,O=b" })),
            fapi2,
            "",
        ),
        (
            "by certificate of nobody",
            with(json!({ "token_endpoint_auth_method": "tls_client_auth" })),
            fapi2,
            "invalid_client_metadata",
        ),
        (
            "by two subjects",
            with(
                json!({ "token_endpoint_auth_method": "tls_client_auth", "tls_client_auth_subject_dn": "CN=a", "tls_client_auth_san_dns": "a" }),
            ),
            fapi2,
            "invalid_client_metadata",
        ),
        (
            "a subject without its method",
            with(json!({ "tls_client_auth_san_dns": "a" })),
            fapi2,
            "invalid_client_metadata",
        ),
        (
            "push",
            with(
                json!({ "grant_types": ["authorization_code", "urn:openid:params:grant-type:ciba"], "backchannel_token_delivery_mode": "push", "backchannel_client_notification_endpoint": "https://app.example/" }),
            ),
            fapi2,
            "invalid_client_metadata",
        ),
        (
            "ping to a private place",
            with(
                json!({ "grant_types": ["authorization_code", "urn:openid:params:grant-type:ciba"], "backchannel_token_delivery_mode": "ping", "backchannel_client_notification_endpoint": "https://127.0.0.1/" }),
            ),
            fapi2,
            "invalid_client_metadata",
        ),
        (
            "ping",
            with(
                json!({ "grant_types": ["authorization_code", "urn:openid:params:grant-type:ciba"], "backchannel_token_delivery_mode": "ping", "backchannel_client_notification_endpoint": "https://app.example/ciba" }),
            ),
            fapi2,
            "",
        ),
        (
            "pairwise of two hosts",
            with(json!({ "subject_type": "pairwise", "redirect_uris": ["https://a.example/", "https://b.example/"] })),
            fapi2,
            "invalid_client_metadata",
        ),
        ("pairwise of one host", with(json!({ "subject_type": "pairwise" })), fapi2, ""),
        (
            "pairwise without users",
            with(json!({ "subject_type": "pairwise", "grant_types": ["client_credentials"], "redirect_uris": null,
                "sector_identifier_uri": "https://app.example/sector" })),
            fapi2,
            "invalid_client_metadata",
        ),
        ("a long name", with(json!({ "client_name": "x".repeat(201) })), fapi2, "invalid_client_metadata"),
        (
            "a name that turns around",
            with(json!({ "client_name": "Bank\u{202e}kcatta" })),
            fapi2,
            "invalid_client_metadata",
        ),
        (
            "query where responses are signed",
            with(json!({ "response_modes": ["query"] })),
            SIGNED,
            "invalid_client_metadata",
        ),
        ("query beside jwt", with(json!({ "response_modes": ["jwt", "query"] })), SIGNED, "invalid_client_metadata"),
        ("query under FAPI 1", with(json!({ "response_modes": ["query"] })), UK, "invalid_client_metadata"),
        ("jwt", with(json!({ "response_modes": ["jwt", "form_post.jwt"] })), SIGNED, ""),
        ("query", with(json!({ "response_modes": ["query"] })), fapi2, ""),
        ("a name of control characters", with(json!({ "client_name": "a\nb" })), fapi2, "invalid_client_metadata"),
        ("a name that is none", with(json!({ "client_name": 7 })), fapi2, "invalid_client_metadata"),
        ("a malformed scope", with(json!({ "scope": "a\"b" })), fapi2, "invalid_client_metadata"),
    ];
    for (name, given, profile, expected) in cases {
        let outcome = read(&given, profile);
        let code = outcome.as_ref().map_or_else(|error| error.code(), |_| "");
        assert_eq!(code, expected, "{name}: {outcome:?}");
    }
}

/// CIBA Core §4: nothing is ever sent to a redirect URI, so the keys say whose client it is.
#[test]
fn a_pairwise_client_of_ciba_belongs_where_its_keys_are() {
    const CIBA: &str = "urn:openid:params:grant-type:ciba";
    let ciba = json!({
        "grant_types": [CIBA], "redirect_uris": null, "jwks": null, "jwks_uri": "https://app.example/jwks",
        "subject_type": "pairwise", "backchannel_token_delivery_mode": "poll",
    });
    let sector = json!({ "sector_identifier_uri": "https://group.example/sector" });
    let by_both = json!({ "grant_types": [CIBA, "authorization_code"], "redirect_uris": ["https://app.example/cb"] });
    let elsewhere = json!({ "redirect_uris": ["https://victim.example/cb"] });
    let written = json!({ "jwks_uri": null, "jwks": good()["jwks"] });
    let certificate =
        json!({ "token_endpoint_auth_method": "tls_client_auth", "tls_client_auth_san_dns": "app.example" });
    let signed = json!({ "require_signed_request_object": true });
    for (name, changes, expected) in [
        ("by jwks_uri", vec![], Ok(("app.example", None))),
        ("by the document of a sector", vec![&sector], Ok(("group.example", Some(vec!["https://app.example/jwks"])))),
        ("by both grants", vec![&by_both], Ok(("app.example", None))),
        (
            "by both, and a document",
            vec![&by_both, &sector],
            Ok(("group.example", Some(vec!["https://app.example/cb", "https://app.example/jwks"]))),
        ),
        ("a redirect URI of another's host", vec![&by_both, &elsewhere], Err(())),
        ("keys that are nowhere", vec![&written], Err(())),
        ("keys that are nowhere, by both", vec![&by_both, &written], Err(())),
        ("keys that are nowhere, and a document", vec![&written, &sector], Err(())),
        ("by a certificate, its keys unused", vec![&certificate], Err(())),
        ("by a certificate, its keys sign requests", vec![&certificate, &signed], Ok(("app.example", None))),
    ] {
        let mut given = ciba.clone();
        for change in changes {
            for (member, value) in change.as_object().unwrap() {
                given[member] = value.clone();
            }
        }
        let read = read(&with(given), Profile::Fapi2Security);
        let found = read.as_ref().map_err(|_| ()).map(|read| match &read.metadata.subject_type {
            SubjectType::Pairwise { sector } => {
                let lists =
                    read.sector.as_ref().map(|sector| sector.lists.iter().map(|uri| &**uri).collect::<Vec<_>>());
                (&**sector, lists)
            }
            SubjectType::Public => panic!("{name}: public"),
        });
        assert_eq!(found, expected, "{name}: {read:?}");
    }
}

/// What a person reads of a client holds nothing that cannot be seen.
#[test]
fn what_is_not_seen_is_in_no_name() {
    for name in ["Pay\u{61c}Pal", "Pay\u{2060}Pal", "Pay\u{feff}Pal", "Pay\u{ad}Pal", "Pay\u{2028}Pal"] {
        let refused = read(&with(json!({ "client_name": name })), Profile::Fapi2Security).unwrap_err();
        assert_eq!(refused.code(), "invalid_client_metadata", "{name:?}");
    }
    assert!(read(&with(json!({ "client_name": "Zahlung für Łódź 銀行 بنك" })), Profile::Fapi2Security).is_ok());
}

#[test]
fn a_scheme_has_no_case() {
    for uri in ["http://127.0.0.1:7777/cb", "Http://127.0.0.1:7777/cb"] {
        for profile in Profile::ALL {
            let taken = read(&with(json!({ "redirect_uris": [uri] })), profile).is_ok();
            assert!(!taken || profile.allows_loopback_redirects(), "{uri}: {profile:?}");
        }
    }
}

#[test]
fn what_a_client_signs_with_is_kept() {
    let given = with(json!({
        "token_endpoint_auth_signing_alg": "ES256", "request_object_signing_alg": "PS256",
        "backchannel_authentication_request_signing_alg": "EdDSA", "introspection_signed_response_alg": "ES256",
    }));
    let read_ = read(&given, Profile::Fapi2Security).unwrap();
    let expected = SigningAlgorithms {
        assertions: Some(Algorithm::Es256),
        request_objects: Some(Algorithm::Ps256),
        backchannel_requests: Some(Algorithm::EdDsa),
    };
    assert_eq!(read_.metadata.signing, expected);
    assert!(read_.metadata.introspection_signed);
    for (name, _) in SigningAlgorithms::MEMBERS {
        assert_eq!(read_.members[name], given[name], "{name} is told");
        for (algorithm, profile) in [("RS256", Profile::Fapi2Security), ("none", Profile::PlainOauth), ("EdDSA", UK)] {
            assert!(read(&with(json!({ name: algorithm })), profile).is_err(), "{name}: {algorithm}");
        }
    }
    let none = read(&good(), Profile::Fapi2Security).unwrap().metadata;
    assert_eq!((none.signing, none.introspection_signed), (SigningAlgorithms::default(), false));
}
