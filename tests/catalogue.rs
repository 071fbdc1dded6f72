//! The published catalogue: that it is the router, that machines can read it, and that real documents get into it.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::gateway::check;
use crate::harness::token::{outside_claims, outside_key, outside_token, with};
use crate::harness::wire::Wire;
use crate::harness::{Backend, Gateway, Site, field, json as read_json, problem, refused, run};

async fn document(gateway: &Gateway, path: &str) -> Value {
    let (status, document) = read_json(reqwest::get(gateway.url(path)).await.unwrap()).await;
    assert_eq!(status, 200, "{path}");
    document
}

const METHODS: [&str; 7] = ["get", "put", "post", "delete", "options", "head", "patch"];

/// Method and path of every operation, templates filled in.
fn operations(document: &Value) -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let filled: Vec<&str> = path.split('/').map(|part| if part.starts_with('{') { "1" } else { part }).collect();
        for method in METHODS.iter().filter(|method| item.get(*method).is_some()) {
            found.insert((method.to_uppercase(), filled.join("/")));
        }
    }
    found
}

#[tokio::test]
async fn the_catalogue_is_the_router() {
    let backend = Backend::agreeable().await;
    let site = Site::plain(&[&backend]);
    let gateway = site.start().await;
    let unified = document(&gateway, "/openapi.json").await;
    assert!(unified["openapi"].as_str().unwrap().starts_with("3.1."));
    let listed = operations(&unified);
    let shop: Vec<_> = listed.iter().filter(|(_, path)| path.starts_with("/shop/")).collect();
    assert_eq!(shop.len(), 10, "{shop:?}");
    let client = reqwest::Client::new();
    let ask = async |method: &str, path: &str| {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        client.request(method, gateway.url(path)).send().await.unwrap().status().as_u16()
    };
    for (method, path) in &listed {
        // An API's metadata is there for APIs that are.
        let path = &path.replace("/oauth-protected-resource/1", "/oauth-protected-resource/shop");
        let status = ask(method, path).await;
        assert!(!matches!(status, 404 | 405 | 500), "{method} {path} is listed and answers {status}");
    }
    // What is not listed is not there, of operations and of what we answer ourselves.
    let paths: BTreeSet<&String> = listed.iter().map(|(_, path)| path).collect();
    for path in paths {
        for method in METHODS.map(str::to_uppercase) {
            let known = listed.contains(&(method.clone(), path.clone()));
            if method != "HEAD" {
                assert_eq!(ask(&method, path).await == 405, !known, "{method} {path}");
            }
        }
    }
    assert_eq!(ask("GET", "/shop/hidden").await, 404);
    // Found by schemathesis: every 404 is a problem document.
    for path in ["/.well-known/oauth-protected-resource/0", "/.well-known/none", "/oauth/none", "/shop/none"] {
        let answer = client.get(gateway.url(path)).send().await.unwrap();
        assert_eq!(answer.status(), 404, "{path}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json", "{path}");
        assert!(!answer.json::<Value>().await.unwrap()["code"].as_str().unwrap().is_empty(), "{path}");
    }
    assert_eq!(backend.total(), 0, "nobody showed a token");
}

#[tokio::test]
async fn every_form_says_the_same() {
    let backend = Backend::agreeable().await;
    let site = Site::secure(&backend);
    let gateway = site.start().await;
    let client = crate::harness::certificates::http(None);
    let read = async |path: &str| client.get(gateway.https("public", path)).send().await.unwrap();
    let unified: Value = read("/openapi.json").await.json().await.unwrap();
    let yaml = read("/openapi.yaml").await;
    assert!(field(&yaml, "content-type").contains("yaml"), "{}", field(&yaml, "content-type"));
    let yaml: Value = serde_saphyr::from_str(&yaml.text().await.unwrap()).unwrap();
    assert_eq!(yaml, unified);
    for api in ["shop", "vault"] {
        let single: Value = read(&format!("/openapi/{api}.json")).await.json().await.unwrap();
        let own = operations(&single);
        let part: BTreeSet<_> =
            operations(&unified).into_iter().filter(|(_, path)| path.starts_with(&format!("/{api}/"))).collect();
        let stripped: BTreeSet<_> =
            part.iter().map(|(method, path)| (method.clone(), path[api.len() + 1..].to_owned())).collect();
        assert!(own == part || own == stripped, "{api}: {own:?} and {part:?}");
    }
    assert_eq!(problem(read("/openapi/none.json").await).await, refused(404, "no-such-resource"));
    // Operation ids are those that policies and records use, and each states the scopes that it demands.
    let item = &unified["paths"]["/shop/items"]["get"];
    assert_eq!(item["operationId"], "shop.listItems");
    assert!(serde_json::to_string(&item["security"]).unwrap().contains("\"shop\""), "{item}");
    let servers = serde_json::to_string(&unified["servers"]).unwrap();
    assert!(servers.contains("https://localhost") && !unified.to_string().contains("store.example"), "{servers}");
}

#[tokio::test]
async fn copies_are_validated_compressed_and_headed() {
    let backend = Backend::agreeable().await;
    let site = Site::plain(&[&backend]);
    let gateway = site.start().await;
    let client = reqwest::Client::new();
    for path in ["/openapi.json", "/openapi.yaml", "/openapi/shop.json"] {
        let get = || client.get(gateway.url(path));
        let plain = get().send().await.unwrap();
        let tag = field(&plain, "etag").to_owned();
        assert!(tag.starts_with('"'), "{path}: {tag}");
        assert!(field(&plain, "vary").contains("accept-encoding"));
        let plain = plain.bytes().await.unwrap();

        let zipped = get().header("accept-encoding", "gzip").send().await.unwrap();
        assert_eq!(field(&zipped, "content-encoding"), "gzip", "{path}");
        assert_ne!(field(&zipped, "etag"), tag, "another representation, another tag");
        let zipped = zipped.bytes().await.unwrap();
        assert!(zipped.len() < plain.len());
        let mut unzipped = Vec::new();
        flate2::read::GzDecoder::new(&zipped[..]).read_to_end(&mut unzipped).unwrap();
        assert_eq!(unzipped, plain, "{path}");

        for candidate in [tag.clone(), format!("W/{tag}"), format!("\"x\", {tag}"), "*".to_owned()] {
            let same = get().header("if-none-match", &candidate).send().await.unwrap();
            assert_eq!(same.status(), 304, "{path}: {candidate}");
            assert_eq!(field(&same, "etag"), tag);
        }
        let other = get().header("if-none-match", "\"other\"").send().await.unwrap();
        assert_eq!(other.status(), 200);

        let mut wire = Wire::connect(gateway.address("public")).await;
        wire.send(format!("HEAD {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
        let head = wire.head().await.unwrap();
        assert_eq!((head.status, head.field("etag")), (200, Some(tag.as_str())), "{path}");
        assert_eq!(head.field("content-length"), Some(plain.len().to_string().as_str()), "{path}");
        let next = wire.ask("GET /robots.txt HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        assert_eq!(next.status, 200, "{path}: no body followed the HEAD");
    }
    let before = field(&client.get(gateway.url("/openapi.json")).send().await.unwrap(), "etag").to_owned();
    site.edit("openapi/shop.yaml", "summary: List", "summary: List them all");
    gateway.reload().await;
    let after = client.get(gateway.url("/openapi.json")).header("if-none-match", &before).send().await.unwrap();
    assert_eq!(after.status(), 200, "a changed document is a new one");
    assert!(after.text().await.unwrap().contains("List them all"));
}

#[tokio::test]
async fn what_cannot_stand_side_by_side_is_refused_by_check() {
    let backend = Backend::agreeable().await;
    let site = Site::plain(&[&backend]);
    let second = |base: &str| {
        format!("  - {{ id: second, institution: store, document: ../openapi/shop.yaml, base_path: {base} }}\n")
    };
    let apis = site.read("config/apis.yaml");
    for (name, base, words) in [
        ("the same paths", "/shop", "second"),
        ("our own token endpoint", "/oauth", "/oauth/"),
        ("our own documents", "/.well-known", "/.well-known/"),
    ] {
        site.write("config/apis.yaml", &format!("{apis}{}", second(base)));
        let (code, printed) = check(&site.config());
        let said = printed.to_string();
        assert_eq!(code, 1, "{name}: {said}");
        assert!(said.contains("apis.yaml") && said.contains(words), "{name}: {printed:#}");
        assert!(printed["mistakes"].as_array().unwrap().iter().any(|m| m["remedy"].is_string()), "{name}: {printed:#}");
    }
    site.write("config/apis.yaml", &format!("{apis}{}", second("/second")));
    assert_eq!(check(&site.config()).0, 0, "with a base path of its own it may stand there");
}

#[tokio::test]
async fn a_broken_document_is_refused_with_its_place() {
    let backend = Backend::agreeable().await;
    let site = Site::plain(&[&backend]);
    let document = site.read("openapi/shop.yaml");
    for (name, from, to) in [
        ("not YAML", "paths:", "paths: {"),
        ("not OpenAPI", "openapi: 3.1.0", "openapi: 7.0.0"),
        ("a reference to nothing", "#/components/schemas/Item", "#/components/schemas/Itme"),
    ] {
        site.write("openapi/shop.yaml", &document.replace(from, to));
        let (code, printed) = check(&site.config());
        let file = site.path("openapi/shop.yaml");
        let lint = run(&["catalogue", "lint", file.to_str().unwrap()]);
        let said = String::from_utf8_lossy(&lint.stdout).into_owned();
        if name == "a reference to nothing" {
            // Usable in its other parts: then it is said, and not passed over.
            assert!(code == 1 || said.contains("Itme"), "{name}: {printed:#}\n{said}");
        } else {
            assert_eq!((code, lint.status.code()), (1, Some(1)), "{name}: {printed:#}\n{said}");
            assert!(said.contains("refused"), "{name}: {said}");
        }
    }
}

#[tokio::test]
async fn machines_and_people_find_their_way() {
    let backend = Backend::agreeable().await;
    let site = Site::plain(&[&backend]);
    site.append("config/gateway.yaml", "security_contact: mailto:security@example.test\n");
    let gateway = site.start().await;
    let linkset = reqwest::get(gateway.url("/.well-known/api-catalog")).await.unwrap();
    assert!(field(&linkset, "content-type").starts_with("application/linkset+json"));
    let linkset: Value = linkset.json().await.unwrap();
    assert!(linkset.to_string().contains("/openapi/shop.json"), "{linkset}");
    let contact = reqwest::get(gateway.url("/.well-known/security.txt")).await.unwrap().text().await.unwrap();
    assert!(contact.contains("Contact: mailto:security@example.test\n") && contact.contains("Expires: "), "{contact}");
    for path in ["/", "/apis/shop"] {
        let page = reqwest::get(gateway.url(path)).await.unwrap();
        assert_eq!(page.status(), 200, "{path}");
        assert!(field(&page, "content-security-policy").contains("default-src 'none'"), "{path}");
        assert_eq!(field(&page, "x-frame-options"), "DENY");
        let html = page.text().await.unwrap();
        assert!(!html.contains("http://") && !html.contains("src=\"https://"), "{path} loads nothing from elsewhere");
    }
    // The type of a problem is a page that explains it.
    let refusal = reqwest::get(gateway.url("/shop/none")).await.unwrap();
    let (_, said) = read_json(refusal).await;
    let page = said["type"].as_str().unwrap().strip_prefix("https://localhost").unwrap().to_owned();
    let page = reqwest::get(gateway.url(&page)).await.unwrap();
    assert_eq!(page.status(), 200);
    assert!(page.text().await.unwrap().contains("No such resource"));
    assert_eq!(reqwest::get(gateway.url("/problems/made-up")).await.unwrap().status(), 404);
    assert_eq!(reqwest::get(gateway.url("/apis/made-up")).await.unwrap().status(), 404);
}

#[tokio::test]
async fn a_hundred_operations_of_another_world_can_be_called_too() {
    let Some(folder) = corpus() else { return };
    let backend = Backend::agreeable().await;
    let site = Site::plain(&[&backend]);
    let file = folder.join("uk-obie-3.1.11/account-info-openapi.yaml");
    site.append(
        "config/apis.yaml",
        &format!(
            "  - {{ id: aisp, institution: store, document: {}, base_path: /aisp, scopes: [shop] }}\n",
            file.display()
        ),
    );
    site.edit("config/products.yaml", "'shop.*'", "'shop.*', 'aisp.*'");
    let gateway = site.start().await;
    let token = outside_token("acme", "app");
    let response = reqwest::Client::new().get(gateway.url("/aisp/accounts")).bearer_auth(token);
    let response =
        response.header("x-fapi-interaction-id", "93bac548-d2de-4546-b106-880a5018460d").send().await.unwrap();
    let status = response.status();
    assert_eq!(status, 200, "{}", response.text().await.unwrap());
    assert!(backend.last().target.ends_with("/accounts"), "{}", backend.last().target);
}

/// Real documents, where they are at hand: `CLEARWAY_SPECS`, or the folder beside the repository.
fn corpus() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/specs");
    let folder = std::env::var_os("CLEARWAY_SPECS").map_or(beside, PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: there is no corpus of documents at {}", folder.display());
    None
}

/// The documents of the corpus, without the parts of documents that lie in several files.
fn documents(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            let whole = path.join("openapi.yaml");
            found.extend(if whole.is_file() { vec![whole] } else { documents(&path) });
        } else if [".json", ".yaml", ".yml"].iter().any(|end| name.ends_with(end)) && !name.contains("postman") {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[test]
fn the_whole_corpus_is_imported_and_published_as_one_valid_document() {
    let Some(folder) = corpus() else { return };
    let files = documents(&folder);
    let files: Vec<&str> = files.iter().map(|file| file.to_str().unwrap()).collect();
    let lint = run(&[&["catalogue", "lint", "--json"], &files[..]].concat());
    let reports: Value = serde_json::from_slice(&lint.stdout).unwrap();
    for report in reports.as_array().unwrap() {
        assert_eq!(report["imported"], true, "{report:#}");
    }
    assert_eq!(reports.as_array().unwrap().len(), files.len());
    assert_eq!(lint.status.code(), Some(0));

    let build = run(&[&["catalogue", "build"], &files[..]].concat());
    assert_eq!(build.status.code(), Some(0), "{}", String::from_utf8_lossy(&build.stderr));
    let unified: Value = serde_json::from_slice(&build.stdout).unwrap();
    let count = operations(&unified).len();
    assert!(count > 1_000, "{count} operations of {} documents", files.len());
    let again = run(&[&["catalogue", "build"], &files[..]].concat());
    assert!(again.stdout == build.stdout, "the same input gives the same bytes");

    let Some(redocly) = redocly() else { return };
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("corpus.json");
    std::fs::write(&file, &build.stdout).unwrap();
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/redocly.yaml");
    let output = Command::new(redocly)
        .args(["lint", "--format=summary", "--config", rules.to_str().unwrap(), file.to_str().unwrap()])
        .env("REDOCLY_TELEMETRY", "off")
        .env("CI", "true")
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "an independent validator disagrees:\n{said}");
}

/// The validator, installed once below the target folder. None where there is no npm, or no registry to ask.
fn redocly() -> Option<PathBuf> {
    let prefix = Path::new(env!("CARGO_TARGET_TMPDIR")).join("redocly");
    let program = prefix.join("node_modules/.bin/redocly");
    let lock = std::fs::File::create(prefix.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    if !program.is_file() {
        let install = ["install", "--no-audit", "--no-fund", "--loglevel=error", "--fetch-retries=0", "--prefix"];
        let installed = Command::new("npm").args(install).arg(&prefix).arg("@redocly/cli@2").output();
        if !installed.as_ref().is_ok_and(|output| output.status.success()) {
            eprintln!("skipped: @redocly/cli cannot be installed: {installed:?}");
            return None;
        }
    }
    Some(program)
}

#[test]
fn lint_says_what_it_could_not_use() {
    let site = Site::empty();
    let document = json!({
        "openapi": "3.0.3",
        "info": { "title": "T", "version": "1" },
        "paths": { "/a": { "get": { "responses": { "200": { "description": "ok" } } } } },
    });
    site.write("openapi/small.json", &document.to_string());
    let file = site.path("openapi/small.json");
    let output = run(&["catalogue", "lint", "--json", file.to_str().unwrap()]);
    let reports: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &reports[0]["imported"]), (Some(0), &json!(true)), "{reports:#}");
    let missing = run(&["catalogue", "lint", site.path("openapi/none.json").to_str().unwrap()]);
    assert_eq!(missing.status.code(), Some(1));
    assert_eq!(run(&["catalogue", "lint"]).status.code(), Some(2), "no file: wrong usage");
}

const ROOT: &str = "
openapi: 3.1.0
info: { title: Root, version: '1' }
paths:
  /{a}:
    parameters: [{ $ref: '#/components/parameters/A' }]
    get: { operationId: one, responses: { '200': { description: One } } }
  /{a}/{b}:
    parameters: [{ $ref: '#/components/parameters/A' }, { $ref: '#/components/parameters/B' }]
    get: { operationId: two, responses: { '200': { description: Two } } }
    post: { operationId: make, responses: { '200': { description: Made } } }
components:
  parameters:
    A: { name: a, in: path, required: true, schema: { type: string } }
    B: { name: b, in: path, required: true, schema: { type: string } }
";

#[tokio::test]
async fn a_template_at_the_root_takes_only_what_our_own_paths_leave() {
    let backend = Backend::agreeable().await;
    let site = Site::plain(&[&backend]);
    site.write("openapi/root.yaml", ROOT);
    site.append("config/apis.yaml", "  - { id: root, institution: store, document: ../openapi/root.yaml }\n");
    site.edit("config/products.yaml", "'shop.*'", "'shop.*', 'root.*'");
    let gateway = site.start().await;
    let claims = with(outside_claims("acme", "app"), json!({ "scope": "shop root" }));
    let token = outside_key().jwt("at+jwt", &claims);
    let ask = async |method: &str, path: &str| {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let request = reqwest::Client::new().request(method, gateway.url(path)).bearer_auth(&token);
        request.send().await.unwrap().status().as_u16()
    };
    for (method, path, expected) in [("GET", "/one", 200), ("GET", "/one/two", 200), ("POST", "/oauth2/token", 200)] {
        let before = backend.total();
        assert_eq!(ask(method, path).await, expected, "{method} {path}");
        assert_eq!(backend.total(), before + 1, "{method} {path}");
    }
    let before = backend.total();
    for (method, path, expected) in [
        ("GET", "/", 200),
        ("GET", "/usage", 200),
        ("GET", "/openapi.json", 200),
        ("GET", "/openapi/root.json", 200),
        ("GET", "/openapi/nothing.json", 404),
        ("GET", "/.well-known/oauth-authorization-server", 200),
        ("GET", "/.well-known/nothing", 404),
        ("GET", "/problems/token-missing", 200),
        ("POST", "/oauth/token", 400),
        ("POST", "/oauth/nothing", 404),
        ("POST", "/%6fauth/token", 404),
        ("GET", "/%75sage", 404),
        ("GET", "/openapi%2ejson", 404),
        ("GET", "/%2ewell-known/openid-configuration", 404),
    ] {
        assert_eq!(ask(method, path).await, expected, "{method} {path}");
    }
    assert_eq!(backend.total(), before, "none of these is a back end's");

    site.edit(
        "openapi/root.yaml",
        "  /{a}:\n",
        "  /oauth/jwks:\n    get: { operationId: own, responses: { '200': { description: Ours } } }\n  /{a}:\n",
    );
    let (code, printed) = check(&site.config());
    assert_eq!(code, 1);
    let said = printed.to_string();
    assert!(said.contains("`root.own`") && said.contains("/oauth/jwks on /oauth/…"), "{said}");
}
