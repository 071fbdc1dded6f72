//! Starting, checking, reloading, draining, dying and coming back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::harness::gateway::check;
use crate::harness::token::{outside_claims, outside_key, outside_token, with};
use crate::harness::wire::Wire;
use crate::harness::{Backend, Gateway, Reply, Site, field, problem, refused, run, within};

#[tokio::test]
async fn it_starts_and_tells_how_it_is() {
    let backend = Backend::agreeable().await;
    let site = Site::plain(&[&backend]);
    let gateway = site.start().await;
    for (path, expected) in [("/livez", "alive\n"), ("/readyz", "ready\n")] {
        let response = reqwest::get(gateway.operations(path)).await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(response.text().await.unwrap(), expected, "{path}");
    }
    let status = gateway.status().await;
    assert_eq!(status["ready"], true);
    assert_eq!(status["audit"]["healthy"], true, "{status}");
    assert_eq!(status["institutions"][0]["institution"], "store", "{status}");
    assert!(!status["revision"].as_str().unwrap().is_empty());

    let called = reqwest::Client::new().get(gateway.url("/shop/items")).bearer_auth(outside_token("t", "c"));
    assert_eq!(called.send().await.unwrap().status(), 200);
    let metrics = reqwest::get(gateway.operations("/metrics")).await.unwrap();
    assert!(field(&metrics, "content-type").starts_with("application/openmetrics-text"));
    let metrics = metrics.text().await.unwrap();
    assert!(metrics.ends_with("# EOF\n"), "OpenMetrics ends with its end");
    let counted = metrics.lines().any(|line| line.contains("shop.listItems") && line.ends_with(" 1"));
    assert!(counted, "the call is counted under its operation:\n{metrics}");
}

#[tokio::test]
async fn the_operations_listener_answers_to_loopback_names_and_the_public_one_does_not_serve_it() {
    let backend = Backend::agreeable().await;
    let site = Site::plain(&[&backend]);
    let gateway = site.start().await;
    let mut wire = Wire::connect(gateway.address("operations")).await;
    let rebound = wire.ask("GET /status HTTP/1.1\r\nHost: evil.example\r\n\r\n").await;
    assert_eq!(rebound.status, 421, "DNS rebinding");
    for path in ["/status", "/metrics", "/livez", "/readyz"] {
        let response = reqwest::get(gateway.url(path)).await.unwrap();
        assert_eq!(problem(response).await, refused(404, "no-such-resource"), "{path}");
    }
}

#[tokio::test]
async fn check_finds_every_mistake_at_once_and_says_where() {
    let backend = Backend::agreeable().await;
    let site = Site::plain(&[&backend]);
    assert_eq!(check(&site.config()).0, 0, "{}", check(&site.config()).1);
    let human = run(&["check", "--config", site.config().to_str().unwrap()]);
    assert!(String::from_utf8_lossy(&human.stdout).contains("is sound: 1 APIs"), "{human:?}");

    site.edit("config/gateway.yaml", "workers: 2", "wrokers: 2");
    site.edit("config/plans.yaml", "per: 1s", "per: 1");
    site.edit("config/products.yaml", "'shop.*'", "'shop.*', 'shop.listItmes'");
    site.edit("config/issuers.yaml", "product: goods", "product: good");
    let (code, printed) = check(&site.config());
    assert_eq!((code, &printed["ok"]), (1, &json!(false)));
    let mistakes = printed["mistakes"].as_array().unwrap();
    for (file, line, words) in
        [("gateway.yaml", 7, "workers"), ("plans.yaml", 6, "unit"), ("issuers.yaml", 8, "did you mean `goods`?")]
    {
        let here = |mistake: &&Value| {
            let said = format!("{} {}", mistake["message"], mistake["remedy"]);
            mistake["file"].as_str().unwrap().ends_with(file) && said.contains(words)
        };
        let found = mistakes.iter().find(here).unwrap_or_else(|| panic!("no {words:?} in {file}: {printed:#}"));
        assert_eq!(found["line"], line, "{file}: {found}");
        assert!(found["column"].as_u64().unwrap() > 0, "{file}");
    }
    let human = run(&["check", "--config", site.config().to_str().unwrap()]);
    let said = String::from_utf8_lossy(&human.stderr).into_owned();
    assert_eq!(human.status.code(), Some(1));
    assert!(said.contains("gateway.yaml:7:"), "file:line:column\n{said}");
    assert!(said.contains("nothing was started"), "{said}");
}

#[tokio::test]
async fn what_no_contract_can_hold_is_a_warning_with_its_place() {
    let backend = Backend::agreeable().await;
    let site = Site::plain(&[&backend]);
    assert_eq!(check(&site.config()).1["warnings"], json!([]));
    let sound = "quantity: { type: integer, minimum: 1 }";
    site.edit("openapi/shop.yaml", sound, "quantity: { $ref: 'parts/quantity.yaml#/it' }");
    site.edit("openapi/shop.yaml", "maxLength: 40", "maxLength: 40, pattern: '('");
    std::fs::create_dir(site.path("openapi/parts")).unwrap();
    site.write("openapi/parts/quantity.yaml", "it:\n  type: integer\n  pattern: '['\n");
    let (code, printed) = check(&site.config());
    assert_eq!((code, &printed["ok"], &printed["mistakes"]), (0, &json!(true), &json!([])), "{printed:#}");
    let warnings = printed["warnings"].as_array().unwrap();
    let line = |name: &str, words: &str| {
        let lines = site.read(name);
        1 + lines.lines().position(|line| line.contains(words)).unwrap()
    };
    for (file, line, words) in [
        ("openapi/shop.yaml", line("openapi/shop.yaml", "pattern: '('"), "name/pattern: the pattern is not a regular"),
        ("openapi/parts/quantity.yaml", 3, "pattern: the pattern is not a regular expression"),
    ] {
        let here = |warning: &&Value| warning["file"].as_str().unwrap().ends_with(file);
        let found = warnings.iter().find(here).unwrap_or_else(|| panic!("nothing in {file}: {printed:#}"));
        assert!(found["message"].as_str().unwrap().contains(words), "{found}");
        assert_eq!(found["line"], line, "{found}");
        assert!(found["column"].as_u64().unwrap() > 0 && found["remedy"].is_string(), "{found}");
    }
    let human = run(&["check", "--config", site.config().to_str().unwrap()]);
    let said = String::from_utf8_lossy(&human.stderr).into_owned();
    assert_eq!(human.status.code(), Some(0));
    assert!(said.contains("warning: ") && said.contains("quantity.yaml:3:"), "{said}");
    assert!(String::from_utf8_lossy(&human.stdout).contains("2 warnings."), "{human:?}");
    let gateway = site.start().await;
    gateway.says("quantity.yaml:3:", 1).await;
}

#[tokio::test]
async fn mistakes_that_only_compiling_finds_are_found_together_too() {
    let backend = Backend::agreeable().await;
    let site = Site::plain(&[&backend]);
    site.edit("config/products.yaml", "'shop.*'", "'shop.*', 'shop.listItmes'");
    site.edit("config/apis.yaml", "upload:", "uplaod:");
    site.write(
        "policies/own.cedar",
        "@id(\"x\")\npermit (principal, action == Action::\"shop.listItem\", resource);\n",
    );
    let (code, printed) = check(&site.config());
    assert_eq!(code, 1);
    let said = printed.to_string();
    for words in ["did you mean `shop.listItems`?", "did you mean `upload`?", "own.cedar"] {
        assert!(said.contains(words), "{words}: {printed:#}");
    }
}

#[tokio::test]
async fn a_broken_configuration_does_not_start_and_binds_nothing() {
    let port = free_port();
    let site = Site::plain_urls(&["http://127.0.0.1:9".to_owned()]);
    site.edit("config/gateway.yaml", "'127.0.0.1:0'", &format!("'127.0.0.1:{port}'"));
    // While somebody else holds the port, a process that bound before it compiled would complain about the port.
    let held = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    for (name, file, from, to, words) in [
        ("unreadable", "config/plans.yaml", "per: 1s", "per: soon", "unit"),
        ("does not compile", "config/products.yaml", "'shop.*'", "'shop.nothing'", "selects no operation"),
    ] {
        site.edit(file, from, to);
        let output = run(&["serve", "--json", "--config", site.config().to_str().unwrap()]);
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(1), "{name}: {said}");
        assert!(said.contains(words), "{name}: {said}");
        assert!(!said.contains("\"ready\":true"), "{name}: {said}");
        assert!(!said.contains("listener cannot be opened"), "{name}: {said}");
        site.edit(file, to, from);
    }
    let taken = run(&["serve", "--json", "--config", site.config().to_str().unwrap()]);
    assert_eq!(taken.status.code(), Some(1), "a taken port is an error, not a hang");
    assert!(String::from_utf8_lossy(&taken.stderr).contains("listener"), "{taken:?}");
    drop(held);
}

#[tokio::test]
async fn a_missing_folder_is_a_mistake_not_a_crash() {
    let site = Site::empty();
    for folder in [site.path("nowhere"), site.config()] {
        let output = run(&["serve", "--config", folder.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&output.stderr).contains("gateway.yaml"), "{output:?}");
    }
}

#[tokio::test]
async fn a_broken_reload_leaves_the_old_configuration_in_force() {
    let backend = Backend::agreeable().await;
    let site = Site::plain(&[&backend]);
    let gateway = site.start().await;
    let before = gateway.revision().await;
    site.edit("config/apis.yaml", "base_path: /shop", "base_path: /market\n    basepath: /x");
    gateway.reload_refused().await;
    assert_eq!(gateway.revision().await, before);
    assert!(gateway.said("apis.yaml:8:15: unknown key `basepath`") > 0, "{}", gateway.log());
    assert!(gateway.said("did you mean `base_path`?") > 0, "{}", gateway.log());
    assert_eq!(call(&gateway, "/shop/items").await, 200, "the old one serves on");
    assert_eq!(call(&gateway, "/market/items").await, 404);

    site.edit("config/apis.yaml", "\n    basepath: /x", "");
    gateway.reload().await;
    assert_ne!(gateway.revision().await, before);
    assert_eq!(call(&gateway, "/shop/items").await, 404);
    assert_eq!(call(&gateway, "/market/items").await, 200);
}

#[tokio::test]
async fn a_changed_file_is_noticed_without_a_signal() {
    let backend = Backend::agreeable().await;
    let site = Site::plain(&[&backend]);
    let gateway = site.start().await;
    // Two files in one go, an API document among them: a half-way state would not compile, or not route.
    site.edit("openapi/shop.yaml", "/items:", "/things:");
    site.edit("config/apis.yaml", "base_path: /shop", "base_path: /market");
    let followed = async { while call(&gateway, "/market/things").await != 200 {} };
    crate::harness::within("the change in force", followed).await;
    assert_eq!(call(&gateway, "/shop/items").await, 404);
}

#[tokio::test]
async fn what_changes_while_a_reload_reads_is_in_force_in_the_end() {
    let backend = Backend::agreeable().await;
    let site = Site::plain(&[&backend]);
    let gateway = site.start().await;
    // Each file is written while the reload for the former is under way. Whatever is read when: the last one counts.
    for n in 0..30 {
        site.write(
            "policies/own.cedar",
            &format!("@id(\"own.{n}\")\n@header(\"X-Nth: {n}\")\npermit (principal, action, resource);\n"),
        );
        gateway.signal("HUP");
        call(&gateway, "/shop/items").await;
    }
    let last = async {
        loop {
            let request =
                reqwest::Client::new().get(gateway.url("/shop/items")).bearer_auth(outside_token("acme", "app"));
            if field(&request.send().await.unwrap(), "x-nth") == "29" {
                return;
            }
        }
    };
    crate::harness::within("the last policy in force", last).await;
}

#[tokio::test]
async fn a_key_that_needs_a_restart_is_named_and_not_believed() {
    let backend = Backend::agreeable().await;
    let site = Site::plain(&[&backend]);
    let gateway = site.start().await;
    site.edit("config/gateway.yaml", "workers: 2", "workers: 3");
    gateway.reload().await;
    assert!(gateway.said("a restart is needed") > 0, "{}", gateway.log());
    assert!(gateway.said("workers") > 0, "{}", gateway.log());
}

#[tokio::test]
async fn reloads_under_load_fail_no_request() {
    const CONNECTIONS: usize = 8;
    const REQUESTS_MIN: usize = 400;
    let backend = Backend::start(|_| Reply::json(r#"{"a":1}"#)).await;
    let site = Site::plain(&[&backend]);
    let gateway = Arc::new(site.start().await);
    let answered = Arc::new(AtomicUsize::new(0));
    let reloaded = Arc::new(AtomicUsize::new(0));
    let mut workers = Vec::new();
    for _ in 0..CONNECTIONS {
        let (gateway, answered, reloaded) = (Arc::clone(&gateway), Arc::clone(&answered), Arc::clone(&reloaded));
        workers.push(tokio::spawn(async move {
            let token = outside_token("acme", "loader");
            let mut wire = Wire::connect(gateway.address("public")).await;
            let get = format!("GET /shop/items HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n");
            let mut on_this_connection = 0;
            while reloaded.load(Ordering::Relaxed) < 5 || answered.load(Ordering::Relaxed) < REQUESTS_MIN {
                let answer = wire.ask(&get).await;
                assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
                answered.fetch_add(1, Ordering::Relaxed);
                on_this_connection += 1;
            }
            on_this_connection
        }));
    }
    let mut revisions = std::collections::HashSet::from([gateway.revision().await]);
    for n in 0..5 {
        // Policies, plans and back ends' settings change, so that every part is swapped.
        site.write("policies/own.cedar", &format!("@id(\"own.{n}\")\npermit (principal, action, resource);\n"));
        site.edit("config/plans.yaml", &format!("requests: 10000{n}"), &format!("requests: 10000{}", n + 1));
        site.backends(&[backend.url()], &format!("in_flight_max: {}", 900 + n));
        gateway.reload().await;
        revisions.insert(gateway.revision().await);
        reloaded.fetch_add(1, Ordering::Relaxed);
    }
    for worker in workers {
        assert!(worker.await.unwrap() > 0, "every connection was kept through the reloads");
    }
    let total = answered.load(Ordering::Relaxed);
    assert!(total >= REQUESTS_MIN, "{total}");
    assert_eq!(backend.total(), total, "none was sent twice");
    assert!(revisions.len() >= 6, "{revisions:?}");
}

#[tokio::test]
async fn sigterm_lets_the_request_under_way_finish_and_takes_no_more() {
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let backend =
        Backend::start(move |_| Reply::Wait(Arc::clone(&held), Box::new(Reply::json(r#"{"late":true}"#)))).await;
    let site = Site::plain(&[&backend]);
    let gateway = site.start().await;
    let address = gateway.address("public");
    let slow = tokio::spawn({
        let request = reqwest::Client::new().get(gateway.url("/shop/items")).bearer_auth(outside_token("t", "c"));
        request.send()
    });
    backend.arrived(1).await;
    gateway.signal("TERM");
    gateway.says("draining", 1).await;
    // The listener closes as part of draining: connect until it is refused. Whoever gets in before is not served.
    let refused = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    crate::harness::within("connections to be refused", refused).await;
    gate.add_permits(1);
    let response = slow.await.unwrap().unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.text().await.unwrap(), r#"{"late":true}"#);
    let mut gateway = gateway;
    let status = gateway.ended().await;
    assert_eq!(status.code(), Some(0), "{}", gateway.log());
    assert_eq!(gateway.said("cut=0"), 1, "{}", gateway.log());
}

#[tokio::test]
async fn sigterm_does_not_wait_for_a_reload() {
    let backend = Backend::agreeable().await;
    let site = Site::plain(&[&backend]);
    let gateway = site.start().await;
    // A pipe that nobody writes to: who reads the document waits for ever.
    let pipe = site.path("openapi/shop.yaml");
    std::fs::remove_file(&pipe).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    gateway.signal("HUP");
    let (opened, reads) = tokio::sync::oneshot::channel();
    // Opening it for writing returns when somebody has opened it for reading.
    std::thread::spawn(move || opened.send(std::fs::OpenOptions::new().write(true).open(pipe)));
    let held = within("the reload to read", reads).await.unwrap().unwrap();
    assert!(gateway.stop().await.success());
    drop(held);
}

#[tokio::test]
async fn an_idle_gateway_stops_at_once_and_keeps_its_counters() {
    let backend = Backend::agreeable().await;
    let site = Site::plain(&[&backend]);
    daily(&site, 3);
    let gateway = site.start().await;
    assert_eq!(call(&gateway, "/shop/items").await, 200);
    assert_eq!(gateway.stop().await.code(), Some(0));
    let gateway = site.start().await;
    let left: Vec<u16> = [call(&gateway, "/shop/items").await, call(&gateway, "/shop/items").await].into();
    assert_eq!(left, [200, 200]);
    assert_eq!(call(&gateway, "/shop/items").await, 429, "one was spent before the restart");
}

#[tokio::test]
async fn a_killed_gateway_comes_back_with_its_window_counters() {
    let backend = Backend::agreeable().await;
    let site = Site::plain(&[&backend]);
    daily(&site, 6);
    let gateway = site.start().await;
    for _ in 0..3 {
        assert_eq!(call(&gateway, "/shop/items").await, 200);
    }
    // Counters go to disk each second; a kill after that loses nothing of before.
    counters_on_disk(&site, 3).await;
    gateway.kill();
    let gateway = site.start().await;
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(call(&gateway, "/shop/items").await);
    }
    assert_eq!(statuses, [200, 200, 200, 429], "three of six were spent before the kill");
}

#[tokio::test]
async fn a_second_gateway_on_the_same_state_is_told_apart() {
    // Two processes on one audit file would interleave; whoever comes second must not start, or must not harm.
    let backend = Backend::agreeable().await;
    let site = Site::plain(&[&backend]);
    let gateway = site.start().await;
    let second = run_for_ending(&site);
    assert_eq!(second.status.code(), Some(1), "{second:?}");
    assert_eq!(call(&gateway, "/shop/items").await, 200);
}

/// Runs `serve` expecting it to end by itself; it is killed when it says that it is ready.
fn run_for_ending(site: &Site) -> std::process::Output {
    use std::io::{BufRead, BufReader, Read};
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_clearway"))
        .args(["serve", "--json", "--config", site.config().to_str().unwrap()])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut first).unwrap();
    if first.contains("\"ready\":true") {
        child.kill().unwrap();
    }
    let mut stderr = Vec::new();
    child.stderr.take().unwrap().read_to_end(&mut stderr).unwrap();
    std::process::Output { status: child.wait().unwrap(), stdout: first.into_bytes(), stderr }
}

/// A status of one call as the same client.
async fn call(gateway: &Gateway, path: &str) -> u16 {
    let token = outside_key().jwt("at+jwt", &with(outside_claims("acme", "app"), json!({})));
    reqwest::Client::new().get(gateway.url(path)).bearer_auth(token).send().await.unwrap().status().as_u16()
}

fn daily(site: &Site, requests: u32) {
    let limit = format!("\n      - {{ name: daily, per: tenant, window: {{ requests: {requests}, period: day }} }}\n");
    site.append("config/plans.yaml", limit.trim_start_matches('\n'));
}

/// Waits until the store has so many requests of a window counted.
async fn counters_on_disk(site: &Site, count: u64) {
    let store = clearway::store::Store::open(&site.path("state/clearway.db")).await.unwrap();
    let spent = async {
        while !clearway::quota::WindowStore::load(&store).await.unwrap().iter().any(|window| window.count == count) {
            tokio::task::yield_now().await;
        }
    };
    crate::harness::within("the counters on disk", spent).await;
    store.close().await;
}

fn free_port() -> u16 {
    // Below the range from which the system gives ports away, so that nobody else gets this one.
    let start = 20_000 + u16::try_from(std::process::id() % 5_000).unwrap();
    let free = (start..30_000).find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.unwrap()
}
