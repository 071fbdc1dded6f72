//! Software of a directory registers itself, and whoever has a copy of its statement does not.

use super::registering::rules;
use super::*;
use crate::authn::JwksSource;

const DIRECTORY: &str = "https://directory.example";

struct Town {
    world: World,
    directory: SigningKey,
    /// The keys of `app-1`, and those of whoever else.
    software: SigningKey,
    stranger: SigningKey,
    _folder: tempfile::TempDir,
}

async fn town(profile: Profile) -> Town {
    let generate = || SigningKey::generate(Algorithm::Es256).unwrap().0;
    let (world, directory, software, stranger) = (world().await, generate(), generate(), generate());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    std::fs::write(&path, json!({ "keys": [directory.public_jwk()] }).to_string()).unwrap();
    let settings = DirectorySettings {
        issuer: DIRECTORY.into(),
        jwks: JwksSource::File(path),
        algorithms: vec![Algorithm::Es256],
        required_claims: vec![],
        age_max: Duration::from_secs(300),
        clients_per_software_max: 2,
        denied_software: vec![],
        status: None,
    };
    let outbound = Arc::new(Outbound::new(OutboundSettings::default()).unwrap());
    let directories = Directories::new(vec![settings.clone()], &outbound).unwrap();
    let template = RegistrationTemplate {
        id: "dir".into(),
        admission: RegistrationAdmission::Directory(Box::new(settings)),
        profile,
        clients_max: 5,
        clients_per_tenant_max: 5,
        ..(*rules().templates[0]).clone()
    };
    world.dynamic.apply(Rules { templates: vec![Arc::new(template)], directories, clients_max: 10 }).await;
    Town { world, directory, software, stranger, _folder: folder }
}

fn changed(mut claims: Value, changes: &Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

impl Town {
    /// The statement of `app-1`, as everybody has it to whom it was ever sent.
    fn statement(&self, changes: &Value) -> String {
        let claims = json!({ "iss": DIRECTORY, "iat": NOW, "software_id": "app-1",
                             "jwks": { "keys": [self.software.public_jwk()] } });
        self.directory.sign("JWT", &changed(claims, changes)).unwrap()
    }

    fn body(&self, statement: &str, changes: &Value) -> Value {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let jti = format!("jti-{}", NUMBER.fetch_add(1, Ordering::SeqCst));
        let claims = json!({ "iss": "app-1", "aud": ISSUER, "iat": NOW, "exp": NOW + 60, "jti": jti,
                             "grant_types": ["client_credentials"], "software_statement": statement });
        changed(claims, changes)
    }

    async fn send(
        &self,
        kind: &'static str,
        body: &str,
        by: Option<PeerCertificate>,
    ) -> Result<Registered, OAuthError> {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(kind))]);
        let connection = connection(by);
        let request = Request { headers: &headers, body: body.as_bytes(), connection: &connection };
        self.world.server.register(request).await
    }

    async fn plain(&self, body: &Value) -> Result<Registered, OAuthError> {
        self.send("application/json", &body.to_string(), None).await
    }

    async fn signed(&self, key: &SigningKey, body: &Value) -> Result<Registered, OAuthError> {
        self.send("application/jwt", &key.sign("JWT", body).unwrap(), None).await
    }
}

fn code<T>(outcome: &Result<T, OAuthError>) -> &str {
    outcome.as_ref().map_or_else(OAuthError::code, |_| "")
}

/// RFC 7591 §5: a statement is no credential.
#[tokio::test]
async fn a_copy_of_a_statement_is_nobody() {
    let town = town(Profile::Fapi2Security).await;
    let statement = town.statement(&json!({}));
    let sound = || town.body(&statement, &json!({}));
    let by_certificate =
        json!({ "token_endpoint_auth_method": "tls_client_auth", "tls_client_auth_subject_dn": "CN=tpp,C=GB" });
    for (name, outcome) in [
        ("as JSON", town.plain(&sound()).await),
        ("as JSON, for a certificate", town.plain(&town.body(&statement, &by_certificate)).await),
        ("as JSON over mutual TLS", {
            let certificate = certificate(1, ChainTrust::Trusted);
            town.send("application/json", &sound().to_string(), Some(certificate)).await
        }),
        ("signed by a stranger", town.signed(&town.stranger, &sound()).await),
        ("signed by the directory", town.signed(&town.directory, &sound()).await),
    ] {
        assert_eq!(code(&outcome), "invalid_client_metadata", "{name}: {outcome:?}");
    }
    assert!(town.world.dynamic.is_empty(), "nothing was kept");
}

#[tokio::test]
async fn software_proves_itself_by_its_keys() {
    let town = town(Profile::Fapi2Security).await;
    let statement = town.statement(&json!({}));
    let keyless = town.directory.sign("JWT", &json!({ "iss": DIRECTORY, "iat": NOW, "software_id": "app-1" })).unwrap();
    let unclear = town.statement(&json!({ "software_redirect_uris": "https://app.example/cb" }));
    for (name, changes, expected) in [
        ("another software's name", json!({ "iss": "app-2" }), "invalid_client_metadata"),
        ("for another server", json!({ "aud": "https://other.example" }), "invalid_client_metadata"),
        ("expired", json!({ "exp": NOW }), "invalid_client_metadata"),
        ("no statement", json!({ "software_statement": null }), "invalid_client_metadata"),
        ("a statement without keys", json!({ "software_statement": keyless }), "invalid_software_statement"),
        ("redirect URIs that are no list", json!({ "software_statement": unclear }), "invalid_software_statement"),
        ("another software_id beside it", json!({ "software_id": "x" }), "invalid_client_metadata"), // OB-D-3
        ("the same beside it", json!({ "software_id": "app-1" }), ""),
    ] {
        let outcome = town.signed(&town.software, &town.body(&statement, &changes)).await;
        assert_eq!(code(&outcome), expected, "{name}: {outcome:?}");
    }
    let body = town.body(&statement, &json!({}));
    let made = town.signed(&town.software, &body).await.unwrap();
    assert_eq!((&made.body["software_id"], &made.body["software_statement"]), (&json!("app-1"), &json!(statement)));
    assert_eq!(code(&town.signed(&town.software, &body).await), "invalid_client_metadata", "the same body again");

    // RFC 7592: from here on the registration access token proves it.
    let (id, token) = (made.client_id.as_str(), made.body["registration_access_token"].as_str().unwrap());
    let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    headers.insert(http::header::AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {token}")).unwrap());
    let connection = connection(None);
    let other = town.statement(&json!({ "software_id": "app-2" }));
    for (name, statement, expected) in
        [("its statement", &statement, ""), ("another software's", &other, "invalid_client_metadata")]
    {
        let next = town.body(statement, &json!({ "client_id": id })).to_string();
        let request = Request { headers: &headers, body: next.as_bytes(), connection: &connection };
        let outcome = town.world.server.replace_registration(request, id).await;
        assert_eq!(code(&outcome), expected, "{name}: {outcome:?}");
    }
}

#[tokio::test]
async fn one_software_leaves_room_for_the_others() {
    let town = town(Profile::Fapi2Security).await;
    let statement = town.statement(&json!({}));
    for expected in ["", "", "access_denied", "access_denied"] {
        let outcome = town.signed(&town.software, &town.body(&statement, &json!({}))).await;
        assert_eq!(code(&outcome), expected, "two clients a software: {outcome:?}");
    }
    let other = town.statement(&json!({ "software_id": "app-2" }));
    let outcome = town.signed(&town.software, &town.body(&other, &json!({ "iss": "app-2" }))).await;
    assert_eq!(code(&outcome), "", "{outcome:?}");
}

/// OBIE DCR 3.3, OB-D-1: the signed body, and mutual TLS.
#[tokio::test]
async fn the_uk_registers_over_mutual_tls() {
    let town = town(Profile::Fapi1Advanced(Fapi1Variant::Uk)).await;
    let statement = town.statement(&json!({}));
    for (name, by, expected) in [
        ("no certificate", None, "invalid_client"),
        ("a chain that nobody trusts", Some(certificate(1, ChainTrust::Unverified)), "invalid_client"),
        ("a certificate of a trusted CA", Some(certificate(1, ChainTrust::Trusted)), ""),
    ] {
        let body = town.software.sign("JWT", &town.body(&statement, &json!({}))).unwrap();
        let outcome = town.send("application/jose", &body, by).await;
        assert_eq!(code(&outcome), expected, "{name}: {outcome:?}");
    }
}
