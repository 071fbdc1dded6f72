//! The ready-made clients: one row says what a client is for and what it registered.

use crate::jose::Algorithm;
use crate::oauth::Profile;

/// How a client proves itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    PrivateKeyJwt,
    TlsClientAuth,
    Secret,
}

/// What its tokens are bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bound {
    Dpop,
    Certificate,
    Nothing,
}

/// A ready-made client.
#[derive(Debug, Clone, Copy)]
pub(super) struct Suite {
    pub id: &'static str,
    /// What it is for, stable: a program picks clients by it.
    pub kind: &'static str,
    pub tenant: &'static str,
    pub method: Method,
    pub bound: Bound,
    pub profile: Profile,
    pub algorithm: Algorithm,
    pub grants: &'static [&'static str],
    /// Further keys of `clients.yaml`, and of `clients.json`, as JSON.
    pub more: &'static str,
}

pub(super) const FIRST: &str = "suite-one";
pub(super) const SECOND: &str = "suite-two";
pub(super) const CIBA: &str = "urn:openid:params:grant-type:ciba";

const ALL: &[&str] = &["authorization_code", "refresh_token", "client_credentials"];
const CODE: &[&str] = &["authorization_code", "refresh_token"];
const ALONE: &[&str] = &["client_credentials"];
const BACKCHANNEL: &[&str] = &[CIBA, "refresh_token", "client_credentials"];

/// `private_key_jwt` and DPoP with ES256, under FAPI 2.0: what most rows vary.
const PLAIN: Suite = Suite {
    id: "",
    kind: "",
    tenant: FIRST,
    method: Method::PrivateKeyJwt,
    bound: Bound::Dpop,
    profile: Profile::Fapi2Security,
    algorithm: Algorithm::Es256,
    grants: ALL,
    more: "{}",
};

/// Under FAPI 1.0 Advanced: PS256, certificates.
const FAPI1: Suite = Suite { bound: Bound::Certificate, algorithm: Algorithm::Ps256, ..PLAIN };

const SIGNED: &str = r#"{ "require_signed_request_object": true }"#;
const JARM: &str = r#"{ "response_modes": ["jwt", "query.jwt", "fragment.jwt", "form_post.jwt"] }"#;

pub(super) const CLIENTS: &[Suite] = &[
    Suite { id: "suite-dpop-1", kind: "private_key_jwt+dpop", ..PLAIN },
    Suite { id: "suite-dpop-2", kind: "private_key_jwt+dpop", tenant: SECOND, ..PLAIN },
    Suite {
        id: "suite-mtls-1",
        kind: "tls_client_auth+certificate",
        method: Method::TlsClientAuth,
        bound: Bound::Certificate,
        ..PLAIN
    },
    Suite {
        id: "suite-mtls-2",
        kind: "tls_client_auth+certificate",
        tenant: SECOND,
        method: Method::TlsClientAuth,
        bound: Bound::Certificate,
        ..PLAIN
    },
    Suite { id: "suite-jwt-mtls", kind: "private_key_jwt+certificate", bound: Bound::Certificate, ..PLAIN },
    Suite { id: "suite-mtls-dpop", kind: "tls_client_auth+dpop", method: Method::TlsClientAuth, ..PLAIN },
    Suite { id: "suite-eddsa", kind: "private_key_jwt+dpop+eddsa", algorithm: Algorithm::EdDsa, ..PLAIN },
    Suite { id: "suite-signed-request", kind: "signed_request", more: SIGNED, ..PLAIN },
    Suite { id: "suite-signed-response", kind: "signed_response", more: JARM, ..PLAIN },
    Suite { id: "suite-message-signing-1", kind: "message_signing", profile: Profile::Fapi2MessageSigning, ..PLAIN },
    Suite {
        id: "suite-message-signing-2",
        kind: "message_signing",
        tenant: SECOND,
        profile: Profile::Fapi2MessageSigning,
        algorithm: Algorithm::Ps256,
        bound: Bound::Certificate,
        ..PLAIN
    },
    Suite { id: "suite-no-client-credentials", kind: "no_client_credentials", grants: CODE, ..PLAIN },
    Suite { id: "suite-no-code", kind: "no_authorization_code", grants: ALONE, ..PLAIN },
    Suite {
        id: "suite-short-token",
        kind: "short_access_token",
        bound: Bound::Certificate,
        more: r#"{ "access_token_lifetime": "3s" }"#,
        ..PLAIN
    },
    Suite { id: "suite-pairwise", kind: "pairwise_subject", more: r#"{ "pairwise_sector": "localhost" }"#, ..PLAIN },
    Suite {
        id: "suite-fapi1",
        kind: "fapi1_advanced",
        profile: Profile::Fapi1Advanced(crate::oauth::Fapi1Variant::Base),
        ..FAPI1
    },
    Suite {
        id: "suite-fapi1-2",
        kind: "fapi1_advanced",
        tenant: SECOND,
        method: Method::TlsClientAuth,
        profile: Profile::Fapi1Advanced(crate::oauth::Fapi1Variant::Base),
        ..FAPI1
    },
    Suite {
        id: "suite-fapi1-uk",
        kind: "fapi1_advanced_uk",
        profile: Profile::Fapi1Advanced(crate::oauth::Fapi1Variant::Uk),
        ..FAPI1
    },
    Suite {
        id: "suite-fapi1-brazil",
        kind: "fapi1_advanced_brazil",
        profile: Profile::Fapi1Advanced(crate::oauth::Fapi1Variant::Brazil),
        ..FAPI1
    },
    Suite {
        id: "suite-plain",
        kind: "plain_oauth",
        method: Method::Secret,
        bound: Bound::Nothing,
        profile: Profile::PlainOauth,
        ..PLAIN
    },
    Suite {
        id: "suite-resource-server",
        kind: "resource_server",
        grants: ALONE,
        more: r#"{ "resource_server": true }"#,
        ..PLAIN
    },
];

/// Clients for decoupled approval.
pub(super) const CIBA_CLIENTS: &[Suite] = &[
    Suite {
        id: "suite-ciba-1",
        kind: "ciba",
        grants: BACKCHANNEL,
        more: r#"{ "backchannel_token_delivery_mode": "poll" }"#,
        ..PLAIN
    },
    Suite {
        id: "suite-ciba-2",
        kind: "ciba",
        tenant: SECOND,
        method: Method::TlsClientAuth,
        bound: Bound::Certificate,
        grants: BACKCHANNEL,
        more: r#"{ "backchannel_token_delivery_mode": "poll" }"#,
        ..PLAIN
    },
];

/// Scopes that a client may have: identity, and the demo bank's, where its tokens are bound; the low-risk wallet's else.
/// Whom a client is to know by a pairwise subject only, it is not told the name and address of.
pub(super) fn scopes(client: &Suite) -> &'static [&'static str] {
    match client.bound {
        Bound::Dpop | Bound::Certificate if client.kind == "pairwise_subject" => {
            &["openid", "accounts", "payments", "wallet:read", "credit:read"]
        }
        Bound::Dpop | Bound::Certificate => {
            &["openid", "profile", "email", "accounts", "payments", "wallet:read", "credit:read"]
        }
        Bound::Nothing => &["openid", "profile", "email", "wallet:read", "credit:read"],
    }
}

pub(super) const fn products(client: &Suite) -> &'static [&'static str] {
    match client.bound {
        Bound::Dpop | Bound::Certificate => &["banking", "wallet"],
        Bound::Nothing => &["wallet"],
    }
}

/// Redirect URIs that need not answer. FAPI 1.0 knows https alone.
pub(super) fn redirect_uris(client: &Suite) -> Vec<String> {
    if !client.grants.contains(&"authorization_code") {
        return Vec::new();
    }
    let id = client.id;
    let mut uris =
        vec![format!("https://localhost:9999/{id}/callback"), format!("https://localhost:9999/{id}/other?kept=1")];
    if client.profile.allows_loopback_redirects() {
        uris.push(format!("http://127.0.0.1/{id}/callback"));
    }
    uris
}
