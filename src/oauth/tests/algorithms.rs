//! What metadata list is what is taken, by its older name or its newer one: of each list, its members and everything else that
//! a client could write as `alg`.

use super::code_flow::{code_client, mtls, request_parameters, world_of};
use super::*;
use crate::authn::dpop::tests::proof;

/// Each with the key that would sign so, by its usual algorithm.
const NAMES: [(&str, Algorithm); 11] = [
    ("PS256", Algorithm::Ps256),
    ("ES256", Algorithm::Es256),
    ("EdDSA", Algorithm::EdDsa),
    ("Ed25519", Algorithm::EdDsa), // RFC 9864: the very same signature.
    ("Ed448", Algorithm::EdDsa),
    ("RS256", Algorithm::Ps256),
    ("PS384", Algorithm::Ps256),
    ("ES384", Algorithm::Es256),
    ("es256", Algorithm::Es256),
    ("HS256", Algorithm::Es256),
    ("none", Algorithm::Es256),
];

static NEXT: AtomicU64 = AtomicU64::new(0);

fn fresh(name: &str) -> String {
    format!("{name}-{}", NEXT.fetch_add(1, Ordering::SeqCst))
}

struct Scene {
    world: World,
    keys: Vec<SigningKey>,
}

impl Scene {
    /// A client `m` with a key of each kind, which the world's own key stands among.
    async fn new(profile: Profile) -> Self {
        let keys = [Algorithm::Ps256, Algorithm::EdDsa].map(|algorithm| SigningKey::generate(algorithm).unwrap().0);
        let public: Vec<_> = keys.iter().map(SigningKey::public_jwk).collect();
        let world = world_of(|world| {
            let (client, registration) = code_client(world, "m", profile);
            let all = [&public[..], &[world.key.public_jwk()]].concat();
            let keys = ClientKeys::inline(&json!({ "keys": all })).unwrap();
            vec![(client, ClientRegistration { keys, sender_constraint: SenderConstraint::Either, ..registration })]
        })
        .await;
        Self { world, keys: keys.into() }
    }

    fn key(&self, algorithm: Algorithm) -> &SigningKey {
        self.keys.iter().find(|key| key.algorithm() == algorithm).unwrap_or(&self.world.key)
    }

    fn sign(&self, (name, algorithm): (&str, Algorithm), typ: &str, claims: &Value) -> String {
        let key = self.key(algorithm);
        key.sign_raw(&json!({ "alg": name, "typ": typ, "kid": key.kid() }).to_string(), &claims.to_string())
    }

    async fn push(&self, assertion: &str, proof: Option<&str>, more: &[(&str, &str)]) -> Result<(), &'static str> {
        let mut all = with_assertion(assertion);
        all.extend(more);
        let (mut headers, body, connection) = (form_headers(), encode(&all), mtls());
        if let Some(proof) = proof {
            headers.insert("dpop", HeaderValue::from_str(proof).unwrap());
        }
        let request = Request { headers: &headers, body: body.as_bytes(), connection: &connection };
        self.world.server.push(request).await.map(drop).map_err(|error| error.code())
    }

    fn listed(&self, name: &str) -> Vec<String> {
        let metadata: Value = serde_json::from_slice(&self.world.server.metadata()).unwrap();
        metadata[name].as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()).collect()
    }
}

fn plain(parameters: &[(String, String)]) -> Vec<(&str, &str)> {
    parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

#[tokio::test]
async fn what_is_listed_is_taken_and_nothing_else_is() {
    let scene = Scene::new(Profile::Fapi2Security).await;
    let parameters = request_parameters();
    for (name, algorithm) in NAMES {
        let listed_name = if name == "Ed25519" { "EdDSA" } else { name };
        let outcome = |list: &str, refusal| {
            if scene.listed(list).iter().any(|one| one == listed_name) { Ok(()) } else { Err(refusal) }
        };
        let claims = scene.world.assertion_claims("m", &fresh(name));
        let assertion = scene.sign((name, algorithm), "JWT", &claims);
        let expected = outcome("token_endpoint_auth_signing_alg_values_supported", "invalid_client");
        assert_eq!(scene.push(&assertion, None, &plain(&parameters)).await, expected, "an assertion by {name}");

        let mut claims = json!({ "iss": "m", "client_id": "m", "aud": ISSUER, "nbf": NOW, "exp": NOW + 300 });
        for (name, value) in &parameters {
            claims[name] = value.as_str().into();
        }
        let object = scene.sign((name, algorithm), "oauth-authz-req+jwt", &claims);
        let pushed = scene.push(&scene.world.fresh_assertion("m"), None, &[("request", &object)]).await;
        let expected = outcome("request_object_signing_alg_values_supported", "invalid_request_object");
        assert_eq!(pushed, expected, "a request object by {name}");

        let claims =
            json!({ "htm": "POST", "htu": format!("{ISSUER}/oauth/par"), "iat": NOW, "jti": fresh(name), "ath": null });
        let proof = proof(scene.key(algorithm), json!({ "alg": name }), claims);
        let pushed = scene.push(&scene.world.fresh_assertion("m"), Some(&proof), &plain(&parameters)).await;
        let expected = outcome("dpop_signing_alg_values_supported", "invalid_dpop_proof");
        assert_eq!(pushed, expected, "a proof by {name}");
    }
}

/// FAPI 1.0 Advanced §8.6: no EdDSA. Where nobody may use it, nobody reads of it.
#[tokio::test]
async fn what_no_profile_in_use_allows_is_not_listed() {
    let old = Settings { profiles: vec![Profile::Fapi1Advanced(Fapi1Variant::Base)], ..settings() };
    for (settings, expected) in [(old, json!(["PS256", "ES256"])), (settings(), json!(["PS256", "ES256", "EdDSA"]))] {
        let metadata: Value = serde_json::from_slice(&world_with(settings).await.server.metadata()).unwrap();
        for name in [
            "token_endpoint_auth_signing_alg_values_supported",
            "request_object_signing_alg_values_supported",
            "backchannel_authentication_request_signing_alg_values_supported",
        ] {
            assert_eq!(metadata[name], expected, "{name}");
        }
    }
}

/// OpenID Connect Registration §2, CIBA Core §4, RFC 8725 §3.1: the client decided, and its profile allows more.
#[tokio::test]
async fn a_client_signs_with_what_it_registered_and_nothing_else() {
    let es256 = Some(Algorithm::Es256);
    for (name, signing, taken) in [
        ("nothing registered", SigningAlgorithms::default(), [true, true, true]),
        ("assertions", SigningAlgorithms { assertions: es256, ..Default::default() }, [false, true, true]),
        ("request objects", SigningAlgorithms { request_objects: es256, ..Default::default() }, [true, false, true]),
        ("backchannel", SigningAlgorithms { backchannel_requests: es256, ..Default::default() }, [true, true, false]),
    ] {
        let (other, _) = SigningKey::generate(Algorithm::EdDsa).unwrap();
        let world = world_of(|world| {
            let (client, registration) = code_client(world, "m", Profile::Fapi2Security);
            let all = json!({ "keys": [other.public_jwk(), world.key.public_jwk()] });
            let grants = [GrantType::AuthorizationCode, GrantType::Ciba, GrantType::RefreshToken];
            let metadata = ClientMetadata {
                signing,
                grant_types: grants.into_iter().collect(),
                ciba: Some(CibaDelivery::Poll),
                ..(*registration.metadata).clone()
            };
            let keys = ClientKeys::inline(&all).unwrap();
            vec![(client, ClientRegistration { keys, metadata: Arc::new(metadata), ..registration })]
        })
        .await;
        let scene = Scene { keys: vec![], world };
        let world = &scene.world;
        let mut object =
            json!({ "iss": "m", "client_id": "m", "aud": ISSUER, "iat": NOW, "nbf": NOW, "exp": NOW + 300 });
        for (name, value) in request_parameters() {
            object[name] = value.into();
        }
        let ask = |key: &SigningKey| {
            let mut claims = json!({ "iss": "m", "aud": ISSUER, "iat": NOW, "nbf": NOW, "exp": NOW + 300 });
            for (name, value) in [
                ("jti", fresh("ask").as_str()),
                ("scope", "openid"),
                ("login_hint", "alice"),
                ("binding_message", "Pay"),
            ] {
                claims[name] = value.into();
            }
            key.sign("oauth-authz-req+jwt", &claims).unwrap()
        };
        for (kind, key) in [("the registered one", &world.key), ("another", &other)] {
            let assertion = key.sign("JWT", &world.assertion_claims("m", &fresh(name))).unwrap();
            let by_assertion = scene.push(&assertion, None, &plain(&request_parameters())).await;
            let signed = key.sign("oauth-authz-req+jwt", &object).unwrap();
            let by_object = scene.push(&world.fresh_assertion("m"), None, &[("request", &signed)]).await;
            let (assertion, asked) = (world.fresh_assertion("m"), ask(key));
            let form = [&with_assertion(&assertion)[..], &[("request", asked.as_str())]].concat();
            let (headers, body, connection) = (form_headers(), encode(&form), mtls());
            let request = Request { headers: &headers, body: body.as_bytes(), connection: &connection };
            let by_backchannel = world.server.backchannel(request).await.map(drop).map_err(|error| error.code());
            let own = kind == "the registered one";
            let expected = |at: usize, code| if own || taken[at] { Ok(()) } else { Err(code) };
            assert_eq!(by_assertion, expected(0, "invalid_client"), "{name}: {kind}");
            assert_eq!(by_object, expected(1, "invalid_request_object"), "{name}: {kind}");
            assert_eq!(by_backchannel, expected(2, "invalid_request"), "{name}: {kind}");
        }
    }
}

/// RFC 7523 §3: what is addressed to one endpoint is of no use at another, but for those that clients of FAPI 1.0 name anywhere.
#[tokio::test]
async fn an_assertion_is_good_where_it_is_addressed_to() {
    let world = world_of(|world| vec![code_client(world, "m", Profile::Fapi1Advanced(Fapi1Variant::Base))]).await;
    let call = async |path: &str, aud: &str| {
        let mut claims = world.assertion_claims("m", &fresh("aud"));
        claims["aud"] = aud.into();
        let assertion = world.key.sign("JWT", &claims).unwrap();
        let (headers, body, connection) = (form_headers(), encode(&with_assertion(&assertion)), mtls());
        let request = Request { headers: &headers, body: body.as_bytes(), connection: &connection };
        let code = match path {
            "token" => world.server.token(request).await.map(drop),
            "par" => world.server.push(request).await.map(drop),
            "backchannel" => world.server.backchannel(request).await.map(drop),
            "introspect" => world.server.introspect(request).await.map(drop),
            _ => world.server.revoke(request).await.map(drop),
        };
        code.unwrap_err().code() != "invalid_client" // Nothing but the client is in the form.
    };
    let paths = ["token", "par", "backchannel", "introspect", "revoke"];
    for path in paths {
        assert!(call(path, ISSUER).await, "{path}: the issuer");
        for named in paths {
            for base in [ISSUER, MTLS] {
                let good = named == path || matches!(named, "token" | "par");
                assert_eq!(call(path, &format!("{base}/oauth/{named}")).await, good, "{path}: {base}, {named}");
            }
        }
    }
}
