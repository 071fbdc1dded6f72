//! Clients register themselves, look after their registrations, and go.

use http::HeaderValue;
use http::header::AUTHORIZATION;

use super::*;
use crate::domain::{Environment, Jurisdiction, PartnerStatus, ScopeSet, Tenant, TenantId};

const INITIAL: &str = "an-initial-access-token";

/// One open registration for two clients at most, under FAPI 2.0.
pub(super) fn rules() -> Rules {
    let tenant = Tenant {
        id: TenantId::parse("acme").unwrap(),
        name: "Acme".into(),
        status: PartnerStatus::Active,
        jurisdiction: Jurisdiction::parse("GB").unwrap(),
        licences: std::collections::BTreeSet::new(),
    };
    let template = RegistrationTemplate {
        id: "open".into(),
        admission: RegistrationAdmission::InitialAccessToken(SecretHash::of(INITIAL.as_bytes())),
        profile: Profile::Fapi2Security,
        tenant: TenantRule::Fixed { tenant: Arc::new(tenant) },
        environment: Environment::Sandbox,
        scopes: ScopeSet::parse("accounts payments").unwrap(),
        clients_max: 2,
        clients_per_tenant_max: 2,
    };
    Rules { templates: vec![Arc::new(template)], clients_max: 10, ..Rules::default() }
}

fn headers(token: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {token}")).unwrap());
    headers
}

impl World {
    async fn register(&self, token: &str, metadata: &Value) -> Result<Registered, OAuthError> {
        let (headers, body, connection) = (headers(token), metadata.to_string(), connection(None));
        self.server.register(Request { headers: &headers, body: body.as_bytes(), connection: &connection }).await
    }

    async fn replace(&self, token: &str, id: &str, metadata: &Value) -> Result<Registered, OAuthError> {
        let (headers, body, connection) = (headers(token), metadata.to_string(), connection(None));
        let request = Request { headers: &headers, body: body.as_bytes(), connection: &connection };
        self.server.replace_registration(request, id).await
    }

    fn read(&self, token: &str, id: &str) -> Result<Registered, OAuthError> {
        let (headers, connection) = (headers(token), connection(None));
        self.server.registration(Request { headers: &headers, body: b"", connection: &connection }, id)
    }

    async fn remove(&self, token: &str, id: &str) -> Result<ClientId, OAuthError> {
        let (headers, connection) = (headers(token), connection(None));
        self.server.remove_registration(Request { headers: &headers, body: b"", connection: &connection }, id).await
    }
}

fn metadata() -> Value {
    let key = SigningKey::generate(Algorithm::Es256).unwrap().0;
    json!({
        "client_name": "App",
        "redirect_uris": ["https://app.example/cb"],
        "scope": "accounts",
        "jwks": { "keys": [key.public_jwk()] },
        "x_unknown": true,
    })
}

fn text<'a>(registered: &'a Registered, name: &str) -> &'a str {
    registered.body[name].as_str().unwrap_or_default()
}

#[tokio::test]
async fn a_client_registers_reads_replaces_and_goes() {
    let world = world().await;
    let given = metadata();
    let made = world.register(INITIAL, &given).await.unwrap();
    let (id, token) = (text(&made, "client_id").to_owned(), text(&made, "registration_access_token").to_owned());
    assert!(id.starts_with("dcr-") && !id.contains(':') && token.len() == 43, "{id} {token}");
    for name in ["client_name", "redirect_uris", "scope", "jwks"] {
        assert_eq!(made.body[name], given[name], "RFC 7591 §3.2.1: {name}");
    }
    assert_eq!(made.body["token_endpoint_auth_method"], "private_key_jwt");
    assert!(made.body.get("x_unknown").is_none() && made.body.get("client_secret").is_none());
    assert_eq!(text(&made, "registration_client_uri"), format!("{ISSUER}/oauth/register/{id}"));

    let read = world.read(&token, &id).unwrap();
    assert!(read.body.get("registration_access_token").is_none(), "told once");
    assert_eq!(read.body["jwks"], given["jwks"]);
    let found = world.dynamic.find(&ClientId::parse(&id).unwrap()).unwrap();
    assert_eq!((found.0.name.as_str(), found.0.scopes.to_string().as_str()), ("App", "accounts"));
    assert_eq!((found.0.tenant.id.as_str(), found.0.environment), ("acme", Environment::Sandbox));

    let mut next = metadata();
    next["client_id"] = id.as_str().into();
    next.as_object_mut().unwrap().remove("client_name");
    let replaced = world.replace(&token, &id, &next).await.unwrap();
    assert_eq!(replaced.body["jwks"], next["jwks"]);
    assert!(replaced.body.get("client_name").is_none(), "RFC 7592 §2.2: what is not sent is gone");

    assert_eq!(world.remove(&token, &id).await.unwrap().as_str(), id);
    for outcome in [world.read(&token, &id).map(drop), world.remove(&token, &id).await.map(drop)] {
        assert!(matches!(outcome, Err(OAuthError::RegistrationToken)), "{outcome:?}");
    }
    assert!(world.dynamic.find(&ClientId::parse(&id).unwrap()).is_none());
}

#[tokio::test]
async fn registrations_outlive_a_restart() {
    let world = world().await;
    let made = world.register(INITIAL, &metadata()).await.unwrap();
    let id = ClientId::parse(text(&made, "client_id")).unwrap();
    let outbound = Arc::new(Outbound::new(OutboundSettings::default()).unwrap());
    let again = DynamicClients::open(world.memory.clone(), outbound, world.clock.clone(), rules()).await.unwrap();
    let (before, after) = (world.dynamic.find(&id).unwrap(), again.find(&id).unwrap());
    assert_eq!(format!("{:?}", before.0), format!("{:?}", after.0));
    assert_eq!(before.1.metadata.redirect_uris, after.1.metadata.redirect_uris);

    again.apply(Rules::default()).await;
    assert!(again.find(&id).is_none(), "its registration is not offered any more");
    again.apply(rules()).await;
    assert!(again.find(&id).is_some(), "and is again");
}

/// Clients were once given names with a colon.
#[tokio::test]
async fn a_client_keeps_the_name_that_it_was_given() {
    let world = world().await;
    let made = world.register(INITIAL, &metadata()).await.unwrap();
    let stored = world.dynamic.entry(&made.client_id).unwrap().stored.clone();
    let id = ClientId::parse("dcr:AAAAAAAAAAAAAAAAAAAAAA").unwrap();
    DynamicClientStore::put(&*world.memory, &StoredClient { id: id.clone(), ..(*stored).clone() }).await.unwrap();
    world.dynamic.apply(rules()).await;
    assert!(world.dynamic.find(&id).is_some());
    let token = text(&made, "registration_access_token");
    assert_eq!(world.read(token, id.as_str()).unwrap().client_id, id);
}

#[tokio::test]
async fn only_the_holder_of_the_right_token_gets_in() {
    let world = world().await;
    let made = world.register(INITIAL, &metadata()).await.unwrap();
    let other = world.register(INITIAL, &metadata()).await.unwrap();
    let (id, token) = (text(&made, "client_id"), text(&made, "registration_access_token"));
    let theirs = text(&other, "registration_access_token");
    for (name, wrong, id) in [
        ("another client's token", theirs, id),
        ("the initial access token", INITIAL, id),
        ("no such client", token, "dcr-AAAAAAAAAAAAAAAAAAAAAA"),
        ("a configured client", token, "jwt"),
        ("no client id at all", token, "../x"),
        ("an empty token", "", id),
        ("part of the token", &token[..42], id),
    ] {
        let outcomes = [
            world.read(wrong, id).map(drop),
            world.replace(wrong, id, &metadata()).await.map(drop),
            world.remove(wrong, id).await.map(drop),
        ];
        for outcome in outcomes {
            assert!(matches!(outcome, Err(OAuthError::RegistrationToken)), "{name}: {outcome:?}");
        }
    }
    for wrong in ["", "another", token] {
        let outcome = world.register(wrong, &metadata()).await;
        assert!(matches!(outcome, Err(OAuthError::RegistrationToken)), "{wrong:?}: {outcome:?}");
    }
    assert!(world.read(token, id).is_ok() && world.read(theirs, text(&other, "client_id")).is_ok());
}

#[tokio::test]
async fn a_flood_of_registrations_is_bounded() {
    let world = world().await;
    let made = world.register(INITIAL, &metadata()).await.unwrap();
    let many = (0..20).map(|_| async { world.register(INITIAL, &metadata()).await.map(drop) });
    let outcomes = futures_util::future::join_all(many).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "two clients at most");
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(()) | Err(OAuthError::TooManyClients))));
    assert_eq!(world.dynamic.len(), 2);
    let (id, token) = (text(&made, "client_id"), text(&made, "registration_access_token"));
    world.remove(token, id).await.unwrap();
    assert!(world.register(INITIAL, &metadata()).await.is_ok(), "whoever goes makes room");
}

#[tokio::test]
async fn a_replacement_decides_nothing_that_is_the_servers() {
    let world = world().await;
    let made = world.register(INITIAL, &metadata()).await.unwrap();
    let (id, token) = (text(&made, "client_id"), text(&made, "registration_access_token"));
    let with = |name: &str, value: Value| {
        let mut given = metadata();
        given["client_id"] = id.into();
        given[name] = value;
        given
    };
    for (name, given, code) in [
        ("the twin", with("client_name", "B".into()), ""),
        ("another client_id", with("client_id", "jwt".into()), "invalid_client_metadata"),
        ("no client_id", metadata(), "invalid_client_metadata"),
        ("a token", with("registration_access_token", token.into()), "invalid_client_metadata"),
        ("a date", with("client_id_issued_at", 0.into()), "invalid_client_metadata"),
        ("a secret", with("client_secret", "x".into()), "invalid_client_metadata"),
        ("a statement", with("software_statement", "e30.e30.x".into()), "invalid_client_metadata"),
        ("a scope too many", with("scope", "admin".into()), "invalid_client_metadata"),
        ("an http redirect", with("redirect_uris", json!(["http://app.example/"])), "invalid_redirect_uri"),
    ] {
        let outcome = world.replace(token, id, &given).await;
        assert_eq!(outcome.as_ref().map_or_else(|error| error.code(), |_| ""), code, "{name}: {outcome:?}");
    }
    assert_eq!(world.read(token, id).unwrap().body["client_name"], "B", "what was refused changed nothing");
}
