//! Metadata and the published keys.

use super::*;

fn json_of(bytes: &bytes::Bytes) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

fn authorization_server() -> Value {
    let methods = json!(["private_key_jwt", "tls_client_auth", "self_signed_tls_client_auth"]);
    let algorithms = json!(["PS256", "ES256", "EdDSA"]);
    let modes = json!(["query", "query.jwt", "fragment.jwt", "form_post.jwt", "jwt"]);
    let signing = json!(["ES256"]);
    json!({
        "issuer": "https://as.example",
        "authorization_endpoint": "https://as.example/oauth/authorize",
        "token_endpoint": "https://as.example/oauth/token",
        "token_endpoint_auth_methods_supported": methods,
        "token_endpoint_auth_signing_alg_values_supported": algorithms,
        "pushed_authorization_request_endpoint": "https://as.example/oauth/par",
        "backchannel_authentication_endpoint": "https://as.example/oauth/backchannel",
        "userinfo_endpoint": "https://as.example/oauth/userinfo",
        "backchannel_token_delivery_modes_supported": ["poll", "ping"],
        "backchannel_authentication_request_signing_alg_values_supported": algorithms,
        "backchannel_user_code_parameter_supported": false,
        "introspection_signing_alg_values_supported": signing,
        "claims_supported": [
            "sub", "name", "given_name", "family_name", "preferred_username", "email", "email_verified", "acr",
            "auth_time",
        ],
        "introspection_endpoint": "https://as.example/oauth/introspect",
        "introspection_endpoint_auth_methods_supported": methods,
        "introspection_endpoint_auth_signing_alg_values_supported": algorithms,
        "revocation_endpoint": "https://as.example/oauth/revoke",
        "revocation_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_signing_alg_values_supported": algorithms,
        "jwks_uri": "https://as.example/oauth/jwks",
        "grant_types_supported": [
            "authorization_code", "refresh_token", "client_credentials", "urn:openid:params:grant-type:ciba",
        ],
        "response_types_supported": ["code"],
        "response_modes_supported": modes,
        "code_challenge_methods_supported": ["S256"],
        "require_pushed_authorization_requests": true,
        "authorization_response_iss_parameter_supported": true,
        "request_parameter_supported": true,
        "request_uri_parameter_supported": false,
        "request_object_signing_alg_values_supported": algorithms,
        "dpop_signing_alg_values_supported": ["ES256", "PS256", "EdDSA"],
        "authorization_signing_alg_values_supported": signing,
        "id_token_signing_alg_values_supported": signing,
        "subject_types_supported": ["public", "pairwise"],
        "claims_parameter_supported": true,
        "prompt_values_supported": ["none", "login", "consent"],
        "scopes_supported": ["accounts", "payments"],
        "protected_resources": [
            "https://api.example", "https://api.example/bank", "https://api.example/shop",
            "https://mtls.as.example", "https://mtls.as.example/bank", "https://mtls.as.example/shop",
        ],
        "clearway_profiles_supported": ["fapi2-security"],
        "tls_client_certificate_bound_access_tokens": true,
        "mtls_endpoint_aliases": {
            "token_endpoint": "https://mtls.as.example/oauth/token",
            "pushed_authorization_request_endpoint": "https://mtls.as.example/oauth/par",
            "backchannel_authentication_endpoint": "https://mtls.as.example/oauth/backchannel",
            "userinfo_endpoint": "https://mtls.as.example/oauth/userinfo",
            "introspection_endpoint": "https://mtls.as.example/oauth/introspect",
            "revocation_endpoint": "https://mtls.as.example/oauth/revoke",
        },
    })
}

#[tokio::test]
async fn the_metadata_says_what_is_true_and_no_more() {
    let world = world().await;
    assert_eq!(json_of(&world.server.metadata()), authorization_server());
    assert_eq!(
        json_of(&world.server.resource_metadata(&connection(None))),
        json!({
            "resource": "https://api.example",
            "authorization_servers": ["https://as.example"],
            "bearer_methods_supported": ["header"],
            "scopes_supported": ["accounts", "payments"],
            "dpop_signing_alg_values_supported": ["ES256", "PS256", "EdDSA"],
            "tls_client_certificate_bound_access_tokens": true,
        })
    );
}

/// RFC 9728 §3.3: `resource` is what the URL of the document was made of.
#[tokio::test]
async fn each_listener_names_the_resource_as_it_is_called_there() {
    let world = world().await;
    for (listener, base) in [("public", RESOURCE), ("mtls", MTLS)] {
        let connection = Connection { listener: listener.into(), ..connection(None) };
        let whole = json_of(&world.server.resource_metadata(&connection));
        assert_eq!(whole["resource"], base);
        for path in ["/bank", "/shop"] {
            let api = json_of(&world.server.api_metadata(path, &connection).unwrap());
            assert_eq!(api["resource"], format!("{base}{path}"), "{listener}");
        }
        assert!(world.server.api_metadata("/none", &connection).is_none());
    }
}

#[tokio::test]
async fn what_is_not_offered_is_not_announced() {
    let bare = Settings { mtls_url: None, scopes_supported: vec![], ..settings() };
    let world = world_with(bare).await;
    let metadata = json_of(&world.server.metadata());
    assert_eq!(metadata["token_endpoint_auth_methods_supported"], json!(["private_key_jwt"]));
    for absent in [
        "scopes_supported",
        "mtls_endpoint_aliases",
        "tls_client_certificate_bound_access_tokens",
        "authorization_details_types_supported",
        "registration_endpoint",
    ] {
        assert_eq!(metadata.get(absent), None, "{absent}");
    }
    let resource = json_of(&world.server.resource_metadata(&connection(None)));
    assert_eq!(
        resource.as_object().unwrap().keys().collect::<Vec<_>>(),
        ["resource", "authorization_servers", "bearer_methods_supported", "dpop_signing_alg_values_supported"]
    );
}

#[tokio::test]
async fn outside_issuers_are_named_for_the_resource_only() {
    let world = world_with(Settings { trusted_issuers: vec!["https://idp.example".into()], ..settings() }).await;
    let resource = json_of(&world.server.resource_metadata(&connection(None)));
    assert_eq!(resource["authorization_servers"], json!([ISSUER, "https://idp.example"]));
    assert_eq!(json_of(&world.server.metadata())["issuer"], ISSUER);
}

#[tokio::test]
async fn an_issuer_with_a_path_has_its_documents_where_both_standards_look() {
    for (name, issuer, resource, issuer_path, metadata_url) in [
        ("plain", ISSUER, RESOURCE, "", "https://api.example/.well-known/oauth-protected-resource"),
        (
            "with paths",
            "https://as.example/bank/one",
            "https://api.example/open",
            "/bank/one",
            "https://api.example/.well-known/oauth-protected-resource/open",
        ),
    ] {
        let world = world_with(Settings { issuer: issuer.into(), resource: resource.into(), ..settings() }).await;
        assert_eq!(world.server.issuer_path(), issuer_path, "{name}");
        assert_eq!(resource_metadata_url(resource), metadata_url, "{name}");
        let metadata = json_of(&world.server.metadata());
        assert_eq!(metadata["token_endpoint"], format!("{issuer}/oauth/token"), "{name}");
        let alias = &metadata["mtls_endpoint_aliases"]["token_endpoint"];
        assert_eq!(*alias, format!("{MTLS}{issuer_path}/oauth/token"), "{name}");
    }
}

#[tokio::test]
async fn the_published_keys_are_public_and_named() {
    let world = world().await;
    let jwks = json_of(&world.server.jwks());
    let keys = jwks["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 2, "current and next");
    for key in keys {
        assert_eq!((&key["use"], &key["alg"], &key["kty"]), (&json!("sig"), &json!("ES256"), &json!("EC")));
        assert!(key.get("d").is_none());
    }
    assert_ne!(keys[0]["kid"], keys[1]["kid"]);
    assert_eq!(keys[0]["kid"], world.server.parts.keys.current().kid());
}
