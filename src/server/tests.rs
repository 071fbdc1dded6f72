//! The process on real sockets: what a reload keeps, what it changes, how it ends.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::reload::at_rest;
use super::testing::{APIS, Folder, GATEWAY, document};
use super::{Running, SystemClock};
use crate::domain::Clock;

fn address(running: &Running, name: &str) -> String {
    running.addresses().iter().find(|(own, _)| own == name).unwrap().1.to_string()
}

/// A token of our own for a client.
fn token(running: &Running, client: &str) -> String {
    let now = SystemClock.now().secs();
    let claims = json!({
        "iss": "http://127.0.0.1:8443", "aud": "http://127.0.0.1:8443", "sub": client, "client_id": client,
        "tenant": "acme", "jti": "t1", "scope": "bank", "iat": now, "exp": now + 300,
    });
    running.keys().current().sign("at+jwt", &claims).unwrap()
}

async fn get(running: &Running, path: &str, client: Option<&str>) -> reqwest::Response {
    let request = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = request.get(format!("http://{}{path}", address(running, "public")));
    let request = match client {
        Some(client) => request.bearer_auth(token(running, client)),
        None => request,
    };
    request.send().await.unwrap()
}

async fn revision(running: &Running) -> String {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let status = client.get(format!("http://{}/status", address(running, "operations"))).send().await.unwrap();
    status.json::<Value>().await.unwrap()["revision"].as_str().unwrap().to_owned()
}

/// Waits until the watch has taken a change.
async fn changed(running: &Running, from: &str) -> String {
    let wait = async {
        loop {
            let now = revision(running).await;
            if now != from {
                return now;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.expect("the change is noticed")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_needs_a_restart_keeps_its_value_at_a_reload() {
    let folder = Folder::new();
    let running = folder.start().await;
    assert_eq!(get(&running, "/usage", Some("app")).await.status(), 200);
    let moved = GATEWAY.replace("http://127.0.0.1:8443", "http://127.0.0.1:9443");
    folder.write("gateway.yaml", &format!("{moved}security_contact: mailto:a@b.example\n"));
    running.reload().await;
    assert_eq!(get(&running, "/usage", Some("app")).await.status(), 200, "tokens of the issuer in force are good");
    let metadata: Value = get(&running, "/.well-known/oauth-authorization-server", None).await.json().await.unwrap();
    assert_eq!(metadata["issuer"], "http://127.0.0.1:8443");
    assert_eq!(
        get(&running, "/.well-known/security.txt", None).await.status(),
        200,
        "the rest of the file is in force"
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_takes_partners_and_keeps_what_was_good_when_the_new_is_not() {
    let folder = Folder::new();
    let running = folder.start().await;
    assert_eq!(get(&running, "/usage", Some("new")).await.status(), 401);
    folder.clients(&["app", "new"]);
    running.reload().await;
    assert_eq!(get(&running, "/usage", Some("new")).await.status(), 200);
    folder.write("clients.yaml", "version: 1\nclients:\n  - { id: new, tenant: nobody }\n");
    running.reload().await;
    assert_eq!(get(&running, "/usage", Some("app")).await.status(), 200, "the last good one stays");
    folder.clients(&["new"]);
    folder.write("subscriptions.yaml", "version: 1\nsubscriptions: []\n");
    running.reload().await;
    assert_eq!(get(&running, "/usage", Some("app")).await.status(), 401, "and goes when a better one comes");
    running.stop().await;
}

/// A file or a policy folder that the configuration in force does not know can be half-written, too.
#[test]
fn new_files_are_read_again_until_they_rest() {
    const FORBID: &str = "@id(\"no\") @reason(\"r\") @remedy(\"m\") forbid (principal, action, resource);";
    let tenants = |ids: &[&str]| {
        let tenants = ids.iter().map(|id| format!("  - {{ id: {id}, jurisdiction: FR }}\n"));
        format!("version: 1\ntenants:\n{}", tenants.collect::<String>())
    };
    for (name, file, half, whole) in [
        ("a file of a kind", "tenants/more.yaml", tenants(&["one"]), tenants(&["one", "two"])),
        ("a file of a policy folder", "more/no.cedar", String::new(), FORBID.to_owned()),
    ] {
        let folder = Folder::new();
        let running = folder.load().foundation();
        folder.write(file, &half);
        if file.ends_with(".cedar") {
            folder.write("gateway.yaml", &GATEWAY.replace("[policies]", "[policies, more]"));
        }
        let mut readings = 0;
        let read = at_rest(&running, || {
            readings += 1;
            let text = std::fs::read_to_string(folder.path().join(file)).unwrap();
            let foundation = folder.load().foundation();
            folder.write(file, &whole);
            Ok::<_, ()>((foundation, text))
        });
        assert_eq!((read, readings), (Ok(whole), 2), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_are_noticed_wherever_they_are() {
    let folder = Folder::new();
    let reference = document(&[("/accounts", "accounts")], &json!({}))
        .replace(r#"{"description":"ok"}"#, r#"{"$ref":"parts/answers.json#/ok"}"#);
    folder.write("bank.json", &reference);
    folder.write("parts/answers.json", r#"{"ok":{"description":"one"}}"#);
    let running = folder.start().await;
    let mut last = revision(&running).await;
    // In the gateway's own state lies what it writes itself: no change.
    folder.write("state/audit.jsonl.1", "x");
    folder.write("tenants/more.yaml", "version: 1\ntenants:\n  - { id: other, jurisdiction: FR }\n");
    last = changed(&running, &last).await;
    let beside = folder.write("policies/new.cedar.tmp", "@id(\"two\") permit (principal, action, resource);");
    std::fs::rename(beside, folder.path().join("policies/new.cedar")).unwrap();
    last = changed(&running, &last).await;
    folder.write("tenants/more.yaml", "version: 1\ntenants:\n  - { id: another, jurisdiction: FR }\n");
    last = changed(&running, &last).await;
    // A referenced part lies in a folder that nothing else is in: a signal takes it.
    folder.write("parts/answers.json", r#"{"ok":{"description":"two"}}"#);
    running.reload().await;
    assert_ne!(revision(&running).await, last);
    folder.write("apis.yaml", APIS);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_client_of_the_operations_listener_does_not_hold_up_the_end() {
    let folder = Folder::new();
    let running = folder.start().await;
    let silent = TcpStream::connect(address(&running, "operations")).await.unwrap();
    let stopped = tokio::time::timeout(Duration::from_secs(10), running.stop()).await;
    assert!(stopped.is_ok());
    drop(silent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_own_paths_answer_in_problem_documents() {
    let folder = Folder::new();
    let running = folder.start().await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = |path: &str| format!("http://{}{path}", address(&running, "public"));
    for (name, request, status, code) in [
        ("an unknown document", client.get(url("/openapi/nothing.json")), 404, "no-such-resource"),
        ("an own path, longer", client.get(url("/oauth/token/")), 404, "no-such-resource"),
        ("an own path, encoded", client.get(url("/%6fauth/token")), 404, "no-such-resource"),
        ("an own path in capitals", client.get(url("/OAuth/token")), 404, "no-such-resource"),
        ("not UTF-8", client.get(url("/openapi/%ff.json")), 404, "no-such-resource"),
        ("a method", client.post(url("/usage")), 405, "method-not-allowed"),
        ("no token", client.get(url("/usage")), 401, "token-missing"),
        (
            "two media types",
            client.get(url("/usage")).header("content-type", "a/b").header("content-type", "c/d"),
            400,
            "malformed-request",
        ),
    ] {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), status, "{name}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json", "{name}");
        assert_eq!(answer.headers().contains_key("allow"), status == 405, "{name}");
        assert_eq!(answer.json::<Value>().await.unwrap()["code"], code, "{name}");
    }
    for path in [
        "/",
        "/apis/bank",
        "/problems/token-missing",
        "/openapi.json",
        "/openapi/bank.json",
        "/.well-known/api-catalog",
    ] {
        let answer = client.head(url(path)).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        assert!(answer.headers().contains_key("content-security-policy"), "{path}");
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff", "{path}");
        assert_eq!(answer.bytes().await.unwrap().len(), 0, "{path}");
        assert!(!client.get(url(path)).send().await.unwrap().bytes().await.unwrap().is_empty(), "{path}");
    }
    running.stop().await;
}
