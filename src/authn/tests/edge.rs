//! The Authorization field, the challenge, and the index of revocations.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};

use super::*;
use crate::domain::Scope;
use crate::jose::VerifyError;

#[test]
fn revocations_are_forgotten_when_their_token_has_expired_and_not_before() {
    let revocations = Revocations::new();
    assert!(revocations.is_empty() && !revocations.contains("a"));
    for i in 0..1000 {
        assert!(revocations.insert(&format!("j{i}"), at(100 + i)));
        assert!(revocations.insert(&format!("j{i}"), at(100 + i)));
    }
    assert_eq!(revocations.len(), 1000);
    revocations.purge(at(600));
    assert_eq!(revocations.len(), 499);
    assert!(!revocations.contains("j500") && revocations.contains("j501"));
    revocations.purge(at(5000));
    assert!(revocations.is_empty() && !revocations.contains("j999"));
}

#[test]
fn a_revocation_is_seen_by_whoever_asks_after_it() {
    let revocations = Revocations::new();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let revocations = &revocations;
            scope.spawn(move || {
                for i in 0..500 {
                    let jti = format!("{thread}-{i}");
                    assert!(revocations.insert(&jti, at(100)));
                    assert!(revocations.contains(&jti));
                    if i % 100 == 0 {
                        revocations.purge(at(50));
                    }
                }
            });
        }
    });
    assert_eq!(revocations.len(), 2000);
}

#[test]
fn the_credential_is_one_bearer_token_in_one_field() {
    let read = |fields: &[&'static str]| {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(AUTHORIZATION, HeaderValue::from_static(field));
        }
        Credentials::read(&headers).map(|credentials| credentials.token().to_owned())
    };
    for (name, fields, token) in [
        ("plain", &["Bearer abc.def-_~+/="][..], "abc.def-_~+/="),
        ("scheme in another case", &["bEARER abc"], "abc"),
        ("several spaces", &["Bearer   abc"], "abc"),
    ] {
        assert_eq!(read(fields).unwrap(), token, "{name}");
    }
    let cases: Vec<(&str, &[&'static str], Expectation)> = vec![
        ("nothing", &[], |e| matches!(e, AuthnError::Missing)),
        ("another scheme", &["Basic abc"], |e| matches!(e, AuthnError::Missing)),
        ("DPoP, not here yet", &["DPoP abc"], |e| matches!(e, AuthnError::Missing)),
        ("a longer scheme", &["BearerX abc"], |e| matches!(e, AuthnError::Missing)),
        ("empty", &[""], |e| matches!(e, AuthnError::Missing)),
        ("twice", &["Bearer a", "Bearer a"], |e| matches!(e, AuthnError::SeveralCredentials)),
        ("two schemes", &["Basic a", "Bearer a"], |e| matches!(e, AuthnError::SeveralCredentials)),
        ("no token", &["Bearer"], |e| matches!(e, AuthnError::CredentialSyntax)),
        ("only a space", &["Bearer "], |e| matches!(e, AuthnError::CredentialSyntax)),
        ("two tokens", &["Bearer a b"], |e| matches!(e, AuthnError::CredentialSyntax)),
        ("two tokens by comma", &["Bearer a, Bearer b"], |e| matches!(e, AuthnError::CredentialSyntax)),
        ("a quoted token", &["Bearer \"a\""], |e| matches!(e, AuthnError::CredentialSyntax)),
        ("padding in the middle", &["Bearer a=b"], |e| matches!(e, AuthnError::CredentialSyntax)),
        ("padding only", &["Bearer =="], |e| matches!(e, AuthnError::CredentialSyntax)),
        ("a tab", &["Bearer\tabc"], |e| matches!(e, AuthnError::Missing)),
    ];
    for (name, fields, expected) in cases {
        let error = read(fields).expect_err(name);
        assert!(expected(&error), "{name}: {error:?}");
    }
    let mut headers = HeaderMap::new();
    headers.append(AUTHORIZATION, HeaderValue::from_bytes(b"Bearer \xe4").unwrap());
    assert!(matches!(Credentials::read(&headers), Err(AuthnError::CredentialSyntax)));
    assert_eq!(format!("{:?}", Credentials::Bearer("secret")), "Credentials");
}

#[test]
fn a_challenge_says_what_the_standard_allows_it_to_say() {
    let url = "https://api.example/.well-known/oauth-protected-resource";
    let challenges = Challenges::new(Some(url));
    let metadata = format!("resource_metadata=\"{url}\"");
    for (name, error, expected) in [
        ("no credential: no error code", AuthnError::Missing, Some(format!("Bearer {metadata}"))),
        (
            "two fields",
            AuthnError::SeveralCredentials,
            Some(format!(
                "Bearer error=\"invalid_request\", error_description=\"Send exactly one Authorization field.\", {metadata}"
            )),
        ),
        (
            "expired",
            AuthnError::Expired,
            Some(format!("Bearer error=\"invalid_token\", error_description=\"The token has expired.\", {metadata}")),
        ),
        (
            "forged",
            AuthnError::Signature(VerifyError::Signature),
            Some(format!(
                "Bearer error=\"invalid_token\", error_description=\"The token is not valid here.\", {metadata}"
            )),
        ),
        (
            "unknown issuer looks like forged",
            AuthnError::Issuer,
            Some(format!(
                "Bearer error=\"invalid_token\", error_description=\"The token is not valid here.\", {metadata}"
            )),
        ),
        ("our fault", AuthnError::KeysUnavailable(None), None),
    ] {
        let value = challenges.for_error(&error).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(value, expected, "{name}");
    }
    let scopes = ScopeSet::from_iter(["payments", "accounts"].map(|scope| Scope::parse(scope).unwrap()));
    assert_eq!(
        Challenges::new(None).insufficient_scope(&scopes).to_str().unwrap(),
        "Bearer error=\"insufficient_scope\", error_description=\"The token lacks a scope.\", scope=\"accounts payments\""
    );
    assert_eq!(Challenges::new(None).for_error(&AuthnError::Missing).unwrap(), "Bearer");
    let injected = Challenges::new(Some("https://x/\", error=\"y"));
    assert_eq!(injected.for_error(&AuthnError::Missing).unwrap(), "Bearer", "an unquotable URL is left out");
}
