//! The Authorization field, the challenge, and the index of revocations.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};

use super::*;
use crate::authn::dpop::DpopError;
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
        ("DPoP without a proof", &["DPoP abc"], |e| matches!(e, AuthnError::Dpop(DpopError::Missing))),
        ("DPoP without a token", &["DPoP"], |e| matches!(e, AuthnError::CredentialSyntax)),
        ("two DPoP tokens", &["DPoP a", "DPoP b"], |e| matches!(e, AuthnError::SeveralCredentials)),
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
    headers.append(AUTHORIZATION, HeaderValue::from_static("dPOP  abc"));
    headers.append("dpop", HeaderValue::from_static("a.b.c"));
    assert!(matches!(Credentials::read(&headers), Ok(Credentials::Dpop { token: "abc", proof: "a.b.c" })));
    assert_eq!(Scheme::of(&headers), Scheme::Dpop);
    headers.append("dpop", HeaderValue::from_static("a.b.c"));
    assert!(matches!(Credentials::read(&headers), Err(AuthnError::Dpop(DpopError::Several))));
    let mut headers = HeaderMap::new();
    assert_eq!(Scheme::of(&headers), Scheme::Bearer);
    headers.append(AUTHORIZATION, HeaderValue::from_bytes(b"Bearer \xe4").unwrap());
    assert!(matches!(Credentials::read(&headers), Err(AuthnError::CredentialSyntax)));
    assert_eq!(format!("{:?}", Credentials::Bearer("secret")), "Credentials");
}

#[test]
fn a_challenge_says_what_the_standard_allows_it_to_say() {
    let url = "https://api.example/.well-known/oauth-protected-resource";
    let challenges = Challenges::new(Some(url));
    let metadata = format!("resource_metadata=\"{url}\"");
    let algs = "algs=\"ES256 PS256 EdDSA\"";
    let invalid = |scheme: &str, text: &str| {
        let algs = if scheme == "DPoP" { format!("{algs}, ") } else { String::new() };
        format!("{scheme} error=\"invalid_token\", error_description=\"{text}\", {algs}{metadata}")
    };
    let dpop =
        |code: &str, text: &str| format!("DPoP error=\"{code}\", error_description=\"{text}\", {algs}, {metadata}");
    let (bearer, by_key) = (Scheme::Bearer, Scheme::Dpop);
    for (name, error, scheme, expected) in [
        (
            "no credential: no error code, and both schemes",
            AuthnError::Missing,
            bearer,
            vec![format!("Bearer {metadata}"), format!("DPoP {algs}, {metadata}")],
        ),
        (
            "two fields",
            AuthnError::SeveralCredentials,
            bearer,
            vec![format!(
                "Bearer error=\"invalid_request\", error_description=\"Send exactly one Authorization field.\", {metadata}"
            )],
        ),
        ("expired", AuthnError::Expired, bearer, vec![invalid("Bearer", "The token has expired.")]),
        ("expired, by DPoP", AuthnError::Expired, by_key, vec![invalid("DPoP", "The token has expired.")]),
        (
            "forged",
            AuthnError::Signature(VerifyError::Signature),
            bearer,
            vec![invalid("Bearer", "The token is not valid here.")],
        ),
        (
            "unknown issuer looks like forged",
            AuthnError::Issuer,
            bearer,
            vec![invalid("Bearer", "The token is not valid here.")],
        ),
        (
            "bound to a key, as bearer",
            AuthnError::DpopTokenAsBearer,
            bearer,
            vec![
                invalid("Bearer", "The token is bound to a DPoP key; send it by the DPoP scheme."),
                format!("DPoP {algs}, {metadata}"),
            ],
        ),
        (
            "a replay",
            DpopError::Replayed.into(),
            by_key,
            vec![dpop("invalid_dpop_proof", "The DPoP proof was used before.")],
        ),
        (
            "no nonce",
            DpopError::Nonce { fresh: HeaderValue::from_static("n") }.into(),
            by_key,
            vec![dpop("use_dpop_nonce", "Make a DPoP proof with the nonce of the DPoP-Nonce field.")],
        ),
        ("our fault", AuthnError::KeysUnavailable(None), bearer, vec![]),
        ("no room of ours", DpopError::Full.into(), by_key, vec![]),
    ] {
        let values = challenges.for_error(&error, scheme);
        let values: Vec<_> = values.iter().map(|value| value.to_str().unwrap().to_owned()).collect();
        assert_eq!(values, expected, "{name}");
    }
    let stronger = Challenges::new(None).insufficient_authentication(Scheme::Dpop, Some("a b"), Some(60));
    assert_eq!(
        stronger.to_str().unwrap(),
        "DPoP error=\"insufficient_user_authentication\", error_description=\"The operation needs a stronger or a more \
         recent authentication.\", acr_values=\"a b\", max_age=\"60\", algs=\"ES256 PS256 EdDSA\""
    );
    let scopes = ScopeSet::from_iter(["payments", "accounts"].map(|scope| Scope::parse(scope).unwrap()));
    assert_eq!(
        Challenges::new(None).insufficient_scope(&scopes, Scheme::Bearer).to_str().unwrap(),
        "Bearer error=\"insufficient_scope\", error_description=\"The token lacks a scope.\", scope=\"accounts payments\""
    );
    assert_eq!(Challenges::new(None).for_error(&AuthnError::Missing, bearer)[0], "Bearer");
    let injected = Challenges::new(Some("https://x/\", error=\"y"));
    assert_eq!(injected.for_error(&AuthnError::Missing, bearer)[0], "Bearer", "an unquotable URL is left out");
}
