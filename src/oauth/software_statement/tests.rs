//! What a statement must say to count, and what it decides.

use serde_json::json;

use super::*;
use crate::jose::SigningKey;
use crate::oauth::MEMBERS;
use crate::outbound::OutboundSettings;
use crate::outbound::tests::{Peer, Script};

const ISSUER: &str = "https://directory.example";

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn outbound(settings: OutboundSettings) -> Arc<Outbound> {
    Arc::new(Outbound::new(settings).unwrap())
}

struct World {
    key: SigningKey,
    directories: Directories,
    _folder: tempfile::TempDir,
}

fn settings(jwks: JwksSource) -> DirectorySettings {
    DirectorySettings {
        issuer: ISSUER.into(),
        jwks,
        algorithms: vec![Algorithm::Ps256, Algorithm::Es256],
        required_claims: vec!["software_id".into(), "org_id".into()],
        age_max: Duration::from_secs(300),
        clients_per_software_max: 10,
        denied_software: vec!["bad".into()],
        status: None,
    }
}

fn world() -> World {
    let key = SigningKey::generate(Algorithm::Es256).unwrap().0;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    std::fs::write(&path, json!({ "keys": [key.public_jwk()] }).to_string()).unwrap();
    let all = vec![settings(JwksSource::File(path))];
    let directories = Directories::new(all, &outbound(OutboundSettings::default())).unwrap();
    World { key, directories, _folder: folder }
}

fn claims() -> Value {
    json!({ "iss": ISSUER, "iat": 1000, "software_id": "app-1", "org_id": "org-1",
            "software_jwks_uri": "https://keystore.example/app-1.jwks" })
}

fn with(mut claims: Value, changes: Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    claims
}

#[tokio::test]
async fn a_statement_must_be_right_in_every_point() {
    let world = world();
    let stranger = SigningKey::generate(Algorithm::Es256).unwrap().0;
    let rsa = SigningKey::generate(Algorithm::EdDsa).unwrap().0;
    let signed = |changes: Value| world.key.sign("JWT", &with(claims(), changes)).unwrap();
    type Expectation = fn(&StatementError) -> bool;
    let good = signed(json!({}));
    let statement = world.directories.verify(&good, at(1100)).await.unwrap();
    assert_eq!((&*statement.software_id, &*statement.compact), ("app-1", &*good));
    let date: Expectation = |e| matches!(e, StatementError::Date);
    let claim: Expectation = |e| matches!(e, StatementError::Claim(_));
    let signature: Expectation = |e| matches!(e, StatementError::Signature(_));
    let cases: Vec<(&str, String, Expectation)> = vec![
        ("a stranger's signature", stranger.sign("JWT", &claims()).unwrap(), signature),
        ("an algorithm that is not listed", rsa.sign("JWT", &claims()).unwrap(), |e| {
            matches!(e, StatementError::Algorithm)
        }),
        ("another issuer", signed(json!({ "iss": "https://evil.example" })), |e| matches!(e, StatementError::Issuer)),
        ("no issuer", signed(json!({ "iss": null })), |e| matches!(e, StatementError::Issuer)),
        ("an issuer with a slash", signed(json!({ "iss": format!("{ISSUER}/") })), |e| {
            matches!(e, StatementError::Issuer)
        }),
        ("too old", signed(json!({ "iat": 799 })), date),
        ("of the future", signed(json!({ "iat": 1161 })), date),
        ("expired", signed(json!({ "exp": 1100 })), date),
        ("not yet valid", signed(json!({ "nbf": 1161 })), date),
        ("without a date", signed(json!({ "iat": null })), claim),
        ("without a required claim", signed(json!({ "org_id": null })), claim),
        ("a software_id that is no text", signed(json!({ "software_id": 7 })), claim),
        ("without a software_id", signed(json!({ "software_id": null })), claim),
        ("a software_id that climbs", signed(json!({ "software_id": "../admin" })), |e| {
            matches!(e, StatementError::ClaimValue(_))
        }),
        ("a software_id of dots", signed(json!({ "software_id": ".." })), |e| {
            matches!(e, StatementError::ClaimValue(_))
        }),
        ("denied software", signed(json!({ "software_id": "bad" })), |e| matches!(e, StatementError::Denied)),
        ("no JWT", "abc".into(), |e| matches!(e, StatementError::Malformed(_))),
        ("unsigned", "eyJhbGciOiJub25lIn0.e30.".into(), |e| matches!(e, StatementError::Malformed(_))),
    ];
    for (name, compact, expected) in cases {
        let error = world.directories.verify(&compact, at(1100)).await.expect_err(name);
        assert!(expected(&error), "{name}: {error:?}");
    }
    for (name, changes) in [
        ("as old as allowed", json!({ "iat": 800 })),
        ("as far ahead as allowed", json!({ "iat": 1160 })),
        ("about to expire", json!({ "exp": 1101 })),
    ] {
        assert!(world.directories.verify(&signed(changes), at(1100)).await.is_ok(), "{name}");
    }
}

#[tokio::test]
async fn the_directorys_word_wins() {
    let world = world();
    let extra = json!({
        "client_name": "From the directory",
        "software_redirect_uris": ["https://app.example/a", "https://app.example/b"],
    });
    let compact = world.key.sign("JWT", &with(claims(), extra)).unwrap();
    let statement = world.directories.verify(&compact, at(1000)).await.unwrap();
    let merged = |metadata: Value| {
        let Value::Object(metadata) = metadata else { panic!("an object") };
        merge(metadata, &statement, &MEMBERS).map(Value::Object)
    };
    let all = merged(json!({ "client_name": "Mine", "x": 1 })).unwrap();
    assert_eq!(all["client_name"], "From the directory");
    assert_eq!(all["redirect_uris"], json!(["https://app.example/a", "https://app.example/b"]));
    assert_eq!(all["jwks_uri"], "https://keystore.example/app-1.jwks");
    assert_eq!((&all["software_id"], &all["x"]), (&json!("app-1"), &json!(1)));
    for (name, metadata, expected) in [
        ("fewer", json!({ "redirect_uris": ["https://app.example/b"] }), Ok(json!(["https://app.example/b"]))),
        ("another", json!({ "redirect_uris": ["https://evil.example/"] }), Err(Disagreement::RedirectUris)),
        ("a text", json!({ "redirect_uris": "https://app.example/a" }), Err(Disagreement::RedirectUris)),
        ("keys of its own", json!({ "jwks": { "keys": [] } }), Err(Disagreement::Keys)),
        ("keys elsewhere", json!({ "jwks_uri": "https://evil.example/jwks" }), Err(Disagreement::Keys)),
        ("another software", json!({ "software_id": "app-2" }), Err(Disagreement::SoftwareId)),
    ] {
        assert_eq!(merged(metadata).map(|m| m["redirect_uris"].clone()), expected, "{name}");
    }
}

/// What cannot be read bounds nothing and proves nothing: it must not be passed over.
#[tokio::test]
async fn a_statement_says_clearly_what_it_says() {
    let world = world();
    let url = "https://keystore.example/app-1.jwks";
    let jwks = json!({ "keys": [world.key.public_jwk()] });
    for (name, changes, expected) in [
        ("a URL", json!({ "software_jwks_endpoint": url }), ""),
        ("one of another name", json!({ "software_jwks_uri": null, "jwks_uri": url }), ""),
        ("the keys themselves", json!({ "software_jwks_uri": null, "jwks": jwks }), ""),
        ("no keys", json!({ "software_jwks_uri": null }), "software_jwks_uri"),
        ("a URL that is none", json!({ "software_jwks_uri": 7 }), "software_jwks_uri"),
        ("two URLs", json!({ "jwks_uri": "https://other.example/" }), "jwks_uri"),
        ("a URL and keys", json!({ "jwks": jwks }), "jwks"),
        ("keys that are none", json!({ "software_jwks_uri": null, "jwks": { "keys": [] } }), "jwks"),
        ("a list of redirect URIs", json!({ "software_redirect_uris": [url] }), ""),
        ("a redirect URI alone", json!({ "software_redirect_uris": url }), "software_redirect_uris"),
        ("a redirect URI that is no text", json!({ "software_redirect_uris": [7] }), "software_redirect_uris"),
    ] {
        let compact = world.key.sign("JWT", &with(claims(), changes)).unwrap();
        let told = match world.directories.verify(&compact, at(1000)).await {
            Ok(_) => String::new(),
            Err(StatementError::Claim(ClaimError::Missing(claim) | ClaimError::Type(claim)))
            | Err(StatementError::ClaimValue(claim)) => claim,
            Err(other) => panic!("{name}: {other:?}"),
        };
        assert_eq!(told, expected, "{name}");
    }
}

#[tokio::test]
async fn a_directory_tells_the_standing_of_software() {
    let peer = Peer::start(Script::Status(500)).await;
    let client = outbound(OutboundSettings {
        allow_private: vec!["localhost".parse().unwrap()],
        ca_files: vec![peer.ca_file.clone()],
    });
    let status = StatusSettings {
        url: peer.url("/software/{software_id}/status").replace("peer.example", "localhost"),
        member: "status".into(),
        active: vec!["Active".into()],
        period: Duration::from_secs(60),
        keep_max: Duration::from_secs(3600),
    };
    for (name, script, expected) in [
        ("active", Script::Body(json!({ "status": "ACTIVE" }).to_string()), Standing::Active),
        ("suspended", Script::Body(json!({ "status": "Suspended" }).to_string()), Standing::Inactive),
        ("unheard of", Script::Body(json!({ "status": "Pondering" }).to_string()), Standing::Inactive),
        ("gone", Script::Status(404), Standing::Inactive),
        ("no member", Script::Body("{}".into()), Standing::Unknown),
        ("not JSON", Script::Body("<html>".into()), Standing::Unknown),
        ("a fault", Script::Status(503), Standing::Unknown),
        ("a redirect", Script::Redirect("https://localhost/".into()), Standing::Unknown),
    ] {
        peer.script.send_replace(script);
        assert_eq!(status.ask("app-1", &client).await, expected, "{name}");
    }
    let hits = peer.hits();
    assert_eq!(status.ask("a/../b", &client).await, Standing::Unknown);
    assert_eq!(peer.hits(), hits, "nothing that is no name goes into a URL");
}

#[test]
fn a_mistake_in_the_settings_is_found_before_they_are_in_force() {
    let client = outbound(OutboundSettings::default());
    let url = |url: &str| settings(JwksSource::Url(url.into()));
    let status = |at: &str| {
        let status = StatusSettings {
            url: at.into(),
            member: "status".into(),
            active: vec![],
            period: Duration::ZERO,
            keep_max: Duration::ZERO,
        };
        DirectorySettings { status: Some(status), ..url("https://directory.example/jwks") }
    };
    for (name, settings, good) in [
        ("https", url("https://directory.example/jwks"), true),
        ("http", url("http://directory.example/jwks"), false),
        ("a private place", url("https://10.0.0.1/jwks"), false),
        ("no such file", settings(JwksSource::File("/nonexistent/jwks.json".into())), false),
        ("no algorithm", DirectorySettings { algorithms: vec![], ..url("https://directory.example/jwks") }, false),
        ("a status", status("https://directory.example/{software_id}"), true),
        ("a status of nobody", status("https://directory.example/"), false),
        ("a status over http", status("http://directory.example/{software_id}"), false),
    ] {
        assert_eq!(Directories::new(vec![settings], &client).is_ok(), good, "{name}");
    }
    let twice = vec![url("https://directory.example/jwks"), url("https://directory.example/jwks")];
    assert!(matches!(Directories::new(twice, &client).map(drop).unwrap_err()[..], [DirectoryError::Twice(_)]));
}
