//! `config/examples/plain-gateway/` as it is shipped: started with nothing but environment variables.

use std::path::{Path, PathBuf};

use clearway::jose::Algorithm;
use serde_json::{Value, json};

use crate::harness::certificates::{client_identity, http, pki_folder};
use crate::harness::gateway::{Launch, check};
use crate::harness::token::{Key, now, unique, with, write_jwks};
use crate::harness::{Backend, Gateway, field, json as read_json, problem, refused};

/// A copy of the example, whose paths out of it still lead somewhere, and what it is started with.
struct Example {
    folder: tempfile::TempDir,
    key: Key,
    launch: Launch,
}

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples/plain-gateway")
}

impl Example {
    fn new(backend: &Backend) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = Key::generate(Algorithm::Es256);
        write_jwks(&folder.path().join("idp.json"), &[&key]);
        let here = |name: &str| folder.path().join(name).display().to_string();
        let environment = [
            ("CLEARWAY_PUBLIC_ADDRESS", "127.0.0.1:0".to_owned()),
            ("CLEARWAY_OPERATIONS_ADDRESS", "127.0.0.1:0".to_owned()),
            ("CLEARWAY_UPSTREAM", backend.url()),
            ("CLEARWAY_JWKS", here("idp.json")),
            ("CLEARWAY_STATE", here("state")),
            ("CLEARWAY_WORKERS", "1".to_owned()),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value)).to_vec();
        Self { folder, key, launch: Launch { environment, ..Launch::default() } }
    }

    fn set(&mut self, name: &str, value: &str) {
        self.launch.environment.push((name.to_owned(), value.to_owned()));
    }

    fn token(&self, tenant: &str, changes: Value) -> String {
        let claims = json!({
            "iss": "https://idp.example", "aud": "https://api.example", "sub": "app", "client_id": "app",
            "tenant": tenant, "jti": unique(), "iat": now(), "exp": now() + 300,
        });
        self.key.jwt("at+jwt", &with(claims, changes))
    }
}

async fn get(gateway: &Gateway, token: &str) -> reqwest::Response {
    reqwest::Client::new().get(gateway.url("/things/items/1")).bearer_auth(token).send().await.unwrap()
}

#[tokio::test]
async fn it_is_sound_as_shipped() {
    let (code, printed) = check(&shipped());
    assert_eq!((code, &printed["ok"]), (0, &json!(true)), "{printed}");
}

#[tokio::test]
async fn it_checks_tokens_and_sets_its_fields() {
    let backend = Backend::agreeable().await;
    let example = Example::new(&backend);
    let gateway = Gateway::launch(&shipped(), &example.launch).await;
    let response = get(&gateway, &example.token("acme", json!({}))).await;
    assert_eq!(field(&response, "clearway-data-class"), "open");
    assert_eq!(field(&response, "clearway-region"), "eu-west");
    assert_eq!(field(&response, "ratelimit-policy"), r#""tenant";q=100;w=1"#);
    assert_eq!(response.status(), 200);
    assert_eq!(backend.last().target, "/things/items/1");

    let nobody = reqwest::get(gateway.url("/things/items/1")).await.unwrap();
    assert_eq!(problem(nobody).await, refused(401, "token-missing"));
    for (name, token) in [
        ("expired", example.token("acme", json!({ "exp": 1 }))),
        ("another audience", example.token("acme", json!({ "aud": "https://other.example" }))),
        ("no tenant", example.token("acme", json!({ "tenant": null }))),
        ("another's key", Key::generate(Algorithm::Es256).jwt("at+jwt", &json!({ "iss": "https://idp.example" }))),
    ] {
        assert_eq!(problem(get(&gateway, &token).await).await, refused(401, "token-invalid"), "{name}");
    }
    let unknown = reqwest::Client::new().get(gateway.url("/things/none")).send().await.unwrap();
    assert_eq!(problem(unknown).await, refused(404, "no-such-resource"));
    assert_eq!(backend.total(), 1);
}

#[tokio::test]
async fn each_tenant_has_its_limit() {
    let backend = Backend::agreeable().await;
    let mut example = Example::new(&backend);
    example.set("CLEARWAY_TENANT_REQUESTS", "3");
    example.set("CLEARWAY_TENANT_PER", "60s");
    example.set("CLEARWAY_TENANT_BURST", "3");
    let gateway = Gateway::launch(&shipped(), &example.launch).await;
    for client in ["app", "other", "third"] {
        let response = get(&gateway, &example.token("acme", json!({ "client_id": client }))).await;
        assert_eq!(response.status(), 200, "{client}: the tenant's clients share its limit");
    }
    let response = get(&gateway, &example.token("acme", json!({}))).await;
    let wait: u64 = field(&response, "retry-after").parse().unwrap();
    assert!((1..=20).contains(&wait), "{wait}");
    assert_eq!(field(&response, "ratelimit-policy"), r#""tenant";q=3;w=60"#);
    assert!(field(&response, "ratelimit").starts_with(r#""tenant";r=0;t="#), "{}", field(&response, "ratelimit"));
    let (status, said) = read_json(response).await;
    assert_eq!(
        (status, &said["code"], &said["violated-policies"]),
        (429, &json!("quota-exceeded"), &json!(["tenant"]))
    );
    assert_eq!(get(&gateway, &example.token("globex", json!({}))).await.status(), 200, "another tenant passes");
    assert_eq!(backend.total(), 4);
}

/// With the lines in that its comments offer.
#[tokio::test]
async fn with_tls_it_may_ask_for_a_client_certificate() {
    let backend = Backend::agreeable().await;
    for (asked, without) in [("none", true), ("optional", true), ("required", false)] {
        let mut example = Example::new(&backend);
        example.set("CLEARWAY_PUBLIC_URL", "https://localhost");
        example.set("CLEARWAY_PKI", pki_folder().to_str().unwrap());
        example.set("CLEARWAY_CLIENT_CERTIFICATE", asked);
        let config = with_tls(example.folder.path());
        let gateway = Gateway::launch(&config, &example.launch).await;
        let token = example.token("acme", json!({}));
        let url = gateway.https("public", "/things/items/1");
        let call = async |client: reqwest::Client| client.get(&url).bearer_auth(&token).send().await;
        let with = call(http(Some(client_identity("acme-tls")))).await.unwrap();
        assert_eq!((with.status().as_u16(), field(&with, "clearway-region")), (200, "eu-west"), "{asked}");
        let plain = call(http(None)).await;
        assert_eq!(plain.is_ok_and(|answer| answer.status() == 200), without, "{asked}, without a certificate");
    }
}

/// A copy of the example with every line of its `gateway.yaml` in force that is offered in a comment.
fn with_tls(folder: &Path) -> PathBuf {
    let copy = folder.join("config/examples/plain-gateway");
    for name in ["policies", "openapi"] {
        std::fs::create_dir_all(copy.join(name)).unwrap();
        for file in std::fs::read_dir(shipped().join(name)).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), copy.join(name).join(file.file_name())).unwrap();
        }
    }
    for file in std::fs::read_dir(shipped()).unwrap().map(|file| file.unwrap().path()).filter(|path| path.is_file()) {
        std::fs::copy(&file, copy.join(file.file_name().unwrap())).unwrap();
    }
    let base = folder.join("policies/base");
    std::fs::create_dir_all(&base).unwrap();
    for file in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("policies/base")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), base.join(file.file_name())).unwrap();
    }
    let offered =
        ["# tls:", "#   certificate_file", "#   private_key_file", "#   client_certificate", "# partner_ca_files"];
    let text = std::fs::read_to_string(copy.join("gateway.yaml")).unwrap();
    let mut taken = 0;
    let lines = text.lines().map(|line| {
        let offer = offered.iter().any(|offer| line.trim_start().starts_with(offer));
        taken += usize::from(offer);
        if offer { line.replacen("# ", "", 1) } else { line.to_owned() }
    });
    let text: Vec<String> = lines.collect();
    assert_eq!(taken, offered.len(), "the comments offer TLS");
    std::fs::write(copy.join("gateway.yaml"), text.join("\n")).unwrap();
    copy
}
