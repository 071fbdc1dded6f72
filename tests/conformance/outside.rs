//! `clearway demo --clients FILE`: an outside suite brings its own clients and keys.

use serde_json::{Value, json};

use clearway::jose::Algorithm;

use super::party::{Demo, Suite, changed, text};
use crate::harness::token::{Key, now, unique};

#[tokio::test]
async fn clients_of_a_file_are_clients_of_the_demo() {
    let folder = tempfile::tempdir().unwrap();
    let (state, file) = (folder.path().join("demo"), folder.path().join("clients.json"));
    let keys = [Key::generate(Algorithm::Es256), Key::generate(Algorithm::Ps256)];
    let client = |id: &str, key: &Key| {
        json!({
            "client_id": id, "jwks": { "keys": [key.jwk] }, "redirect_uris": [format!("https://suite.example/{id}/callback")],
            "token_endpoint_auth_method": "private_key_jwt", "dpop_bound_access_tokens": true,
            "grant_types": ["authorization_code", "refresh_token", "client_credentials"], "scope": "openid accounts",
        })
    };
    let clients = [client("outside-a", &keys[0]), client("outside-b", &keys[1])];
    std::fs::write(&file, json!({ "clients": clients }).to_string()).unwrap();
    let _demo = Demo::start(&state, &["--clients", file.to_str().unwrap()]);
    let suite = Suite::read(&state).await;
    let listed = suite.told["clients"].as_array().unwrap();
    assert_eq!(listed.iter().filter(|client| client["kind"] == "outside").count(), 2);
    for (id, key, other) in [("outside-a", &keys[0], &keys[1]), ("outside-b", &keys[1], &keys[0])] {
        let template = suite.party("suite-dpop-1");
        let redirect_uri = format!("https://suite.example/{id}/callback");
        for (name, signer, expected) in [("its own key", key, 201), ("the other's key", other, 401)] {
            let assertion = signer.jwt("JWT", &assertion(&suite, id));
            let credentials = super::party::asserted(&assertion);
            let request = changed(template.request(), &[("redirect_uri", &redirect_uri)]);
            let answer = template.bare("pushed_authorization_request", &text(&[credentials, request].concat())).await;
            assert_eq!(answer.status, expected, "{id} with {name}: {}", answer.told());
        }
    }
}

fn assertion(suite: &Suite, id: &str) -> Value {
    let now = now();
    json!({ "iss": id, "sub": id, "aud": suite.issuer(), "iat": now, "exp": now + 60, "jti": unique() })
}
