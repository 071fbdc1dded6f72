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
        ("a long name", with(json!({ "client_name": "x".repeat(201) })), fapi2, "invalid_client_metadata"),
        (
            "a name that turns around",
            with(json!({ "client_name": "Bank\u{202e}kcatta" })),
            fapi2,
            "invalid_client_metadata",
        ),
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

/// What a person reads of a client holds nothing that cannot be seen.
#[test]
fn what_is_not_seen_is_in_no_name() {
    let oracle = regex::Regex::new(r"^[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]$").unwrap();
    for c in '\0'..=char::MAX {
        // What Unicode has not given out, among what it has, is refused with it.
        let kept = c == '\u{2065}' || ('\u{e0000}'..='\u{e007f}').contains(&c);
        let expected = kept || oracle.is_match(c.encode_utf8(&mut [0; 4]));
        assert_eq!(is_unseen(c), expected, "{:x}", u32::from(c));
    }
    for name in ["Pay\u{61c}Pal", "Pay\u{2060}Pal", "Pay\u{feff}Pal", "Pay\u{ad}Pal", "Pay\u{2028}Pal"] {
        let refused = read(&with(json!({ "client_name": name })), Profile::Fapi2Security).unwrap_err();
        assert_eq!(refused.code(), "invalid_client_metadata", "{name:?}");
    }
    assert!(read(&with(json!({ "client_name": "Zahlung für Łódź 銀行 بنك" })), Profile::Fapi2Security).is_ok());
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
