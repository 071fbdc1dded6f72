//! The published catalogue: complete, valid, and served as HTTP wants it.

use std::collections::BTreeSet;
use std::io::Read;

use anyhow::{Context, bail, ensure};
use http::Method;
use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::outside::Outside;
use super::reply::{Reply, list, text};
use super::report::Report;
use crate::catalogue::{ApiSource, ImportedApi, import};
use crate::contract::OperationSpec;
use crate::domain::ApiId;

/// Path, and method in lower case.
type Route = (String, String);

const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];
const SHIPPED: [&str; 3] = ["bank", "insurer", "fintech"];
const OWN: [(&str, &str); 4] =
    [("/oauth/token", "post"), ("/oauth/introspect", "post"), ("/oauth/revoke", "post"), ("/usage", "get")];

pub(super) async fn walk(outside: &Outside<'_>, report: &mut Report) {
    report.theme("The catalogue");
    let expected = "valid OpenAPI 3.1 with every operation of every API";
    report.check("the unified document", expected, unified(outside)).await;
    report.check("a copy that is current", "304 to its ETag, 200 to another", not_modified(outside)).await;
    report.check("compressed", "gzip of the same bytes, and an ETag of its own", gzip(outside)).await;
    report.check("as YAML", "read by our own importer with the same operations", yaml(outside)).await;
    report.check("/.well-known/api-catalog", "RFC 9727 linkset whose links work", api_catalog(outside)).await;
    report.check("pages for people", "start page, viewer and problem page, no foreign scripts", pages(outside)).await;
}

async fn get(outside: &Outside<'_>, path: &str) -> anyhow::Result<Reply> {
    Reply::to(outside.public(Method::GET, path)).await
}

async fn unified(outside: &Outside<'_>) -> anyhow::Result<String> {
    let reply = get(outside, "/openapi.json").await?;
    reply.expect(200)?.expect_field("content-type", "application/json")?;
    let document = reply.json()?;
    let operations = check_document(&document)?;
    let mut counted = Vec::new();
    for (name, expected) in published(outside)? {
        for (path, method) in &expected {
            let known = operations.iter().any(|(p, m)| p == path && m == method);
            ensure!(known, "{method} {path} of {name} is not in the document");
        }
        counted.push(format!("{} {name}", expected.len()));
    }
    for (path, method) in OWN {
        ensure!(operations.iter().any(|(p, m)| p == path && m == method), "{method} {path} is not in the document");
    }
    let version = text(&document, "/openapi");
    Ok(format!("{version}, {} operations ({}), {} kB", operations.len(), counted.join(", "), reply.body.len() / 1024))
}

/// What each API's own document offers.
fn published(outside: &Outside<'_>) -> anyhow::Result<Vec<(String, Vec<Route>)>> {
    let mut apis = Vec::new();
    for name in SHIPPED {
        let file = outside.demo.state.join(format!("openapi/{name}.yaml"));
        let imported = import(&ApiSource { id: ApiId::parse(name)?, file, base_path: None })?;
        apis.push((name.to_owned(), routes(&imported)));
    }
    let mounted = outside.demo.mounted.iter();
    apis.extend(mounted.map(|mounted| (mounted.imported.id.to_string(), routes(&mounted.imported))));
    Ok(apis)
}

fn routes(api: &ImportedApi) -> Vec<Route> {
    let route = |spec: &OperationSpec| (spec.path.clone(), spec.method.as_str().to_ascii_lowercase());
    api.operations.iter().map(|operation| route(&operation.spec)).collect()
}

/// What an OpenAPI 3.1 document must be, and every operation in it.
fn check_document(document: &Value) -> anyhow::Result<Vec<Route>> {
    ensure!(text(document, "/openapi").starts_with("3.1."), "openapi is {}", text(document, "/openapi"));
    ensure!(!text(document, "/info/title").is_empty(), "info has no title");
    ensure!(!text(document, "/info/version").is_empty(), "info has no version");
    check_references(document, document)?;
    let schemes = document.pointer("/components/securitySchemes");
    let paths = document.get("paths").and_then(Value::as_object).context("there are no paths")?;
    let (mut operations, mut ids) = (Vec::new(), BTreeSet::new());
    for (path, item) in paths {
        for method in METHODS {
            let Some(operation) = item.get(method) else { continue };
            let name = format!("{method} {path}");
            let id = text(operation, "/operationId");
            ensure!(!id.is_empty() && ids.insert(id.to_owned()), "{name}: operationId {id:?} is absent or not unique");
            let responses = operation.get("responses").and_then(Value::as_object);
            ensure!(responses.is_some_and(|responses| !responses.is_empty()), "{name} has no responses");
            for scheme in list(operation, "/security").iter().filter_map(Value::as_object).flat_map(|s| s.keys()) {
                ensure!(schemes.and_then(|all| all.get(scheme)).is_some(), "{name}: no security scheme {scheme}");
            }
            operations.push((path.clone(), method.to_owned()));
        }
    }
    Ok(operations)
}

/// Every reference leads somewhere within the document. What is an example is data, not a reference.
fn check_references(document: &Value, part: &Value) -> anyhow::Result<()> {
    match part {
        Value::Array(items) => items.iter().try_for_each(|item| check_references(document, item)),
        Value::Object(members) => members.iter().try_for_each(|(name, value)| match (name.as_str(), value) {
            ("example" | "examples" | "default" | "const" | "enum", _) => Ok(()),
            ("$ref", Value::String(reference)) => {
                let Some(pointer) = reference.strip_prefix('#') else { bail!("{reference} leads out of the document") };
                let pointer = percent_decode_str(pointer).decode_utf8()?;
                ensure!(document.pointer(&pointer).is_some(), "{reference} leads nowhere");
                Ok(())
            }
            _ => check_references(document, value),
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

async fn not_modified(outside: &Outside<'_>) -> anyhow::Result<String> {
    let first = get(outside, "/openapi.json").await?;
    let tag = first.field("etag").to_owned();
    ensure!(!tag.is_empty(), "there is no ETag");
    let asked = |tag: &str| Reply::to(outside.public(Method::GET, "/openapi.json").header("if-none-match", tag));
    let again = asked(&tag).await?;
    again.expect(304)?.expect_field("etag", &tag)?;
    ensure!(again.body.is_empty(), "a 304 with a body");
    asked("\"another\"").await?.expect(200)?;
    Ok(format!("304 to {tag}"))
}

async fn gzip(outside: &Outside<'_>) -> anyhow::Result<String> {
    let plain = get(outside, "/openapi.json").await?;
    let request = outside.public(Method::GET, "/openapi.json").header("accept-encoding", "gzip");
    let packed = Reply::to(request).await?;
    packed.expect(200)?.expect_field("content-encoding", "gzip")?.expect_in_field("vary", "accept-encoding")?;
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(packed.body.as_slice()).read_to_end(&mut unpacked)?;
    ensure!(unpacked == plain.body, "the unpacked bytes differ");
    ensure!(packed.field("etag") != plain.field("etag"), "both forms have one ETag (RFC 9110 §8.8.3.3)");
    Ok(format!("{} kB instead of {} kB", packed.body.len() / 1024, plain.body.len() / 1024))
}

async fn yaml(outside: &Outside<'_>) -> anyhow::Result<String> {
    let document = get(outside, "/openapi.json").await?.json()?;
    let expected = check_document(&document)?.len();
    let reply = get(outside, "/openapi.yaml").await?;
    reply.expect(200)?.expect_field("content-type", "application/yaml")?;
    let folder = outside.demo.state.join("walk");
    std::fs::create_dir_all(&folder)?;
    let file = folder.join("openapi.yaml");
    std::fs::write(&file, &reply.body)?;
    let imported = import(&ApiSource { id: ApiId::parse("unified")?, file, base_path: None })?;
    let found = imported.operations.len();
    ensure!(found == expected, "{found} operations instead of {expected}");
    Ok(format!("{found} operations, {} kB", reply.body.len() / 1024))
}

async fn api_catalog(outside: &Outside<'_>) -> anyhow::Result<String> {
    let reply = get(outside, "/.well-known/api-catalog").await?;
    reply.expect(200)?.expect_in_field("content-type", "application/linkset+json")?;
    let linkset = reply.json()?;
    let (mut documents, mut pages) = (0, 0);
    for entry in list(&linkset, "/linkset") {
        for (relation, count) in [("service-desc", &mut documents), ("service-doc", &mut pages)] {
            for link in list(entry, &format!("/{relation}")) {
                let target = text(link, "/href");
                let path =
                    target.strip_prefix(&outside.demo.public_url).with_context(|| format!("{target} is not ours"))?;
                let found = get(outside, path).await?;
                found.expect(200).with_context(|| target.to_owned())?;
                if relation == "service-desc" {
                    check_document(&found.json()?).with_context(|| target.to_owned())?;
                }
                *count += 1;
            }
        }
    }
    let expected = SHIPPED.len() + outside.demo.mounted.len();
    ensure!(documents == expected && pages == expected, "{documents} documents and {pages} pages for {expected} APIs");
    Ok(format!("{documents} documents, {pages} pages"))
}

async fn pages(outside: &Outside<'_>) -> anyhow::Result<String> {
    let start = get(outside, "/").await?;
    start.expect(200)?.expect_in_field("content-type", "text/html")?;
    start.expect_in_field("content-security-policy", "script-src 'self'")?.expect_field("x-frame-options", "DENY")?;
    for part in ["bank.GetAccounts", "insurer.listPolicies", "fintech.listWallets"] {
        ensure!(start.text().contains(part), "{part} is not on the start page");
    }
    let viewer = get(outside, "/apis/bank").await?;
    viewer.expect(200)?.expect_in_field("content-type", "text/html")?;
    for (path, content) in [("/viewer/swagger-ui-bundle.js", "javascript"), ("/viewer/swagger-ui.css", "css")] {
        ensure!(viewer.text().contains(path), "the viewer page does not load {path}");
        let asset = get(outside, path).await?;
        asset.expect(200)?.expect_in_field("content-type", content)?;
        ensure!(asset.body.len() > 10_000, "{path} is too short to be it");
    }
    let problem = get(outside, "/problems/quota-exceeded").await?;
    ensure!(problem.expect(200)?.text().contains("Retry-After"), "the problem page does not tell the remedy");
    Ok(format!("{} kB start page; viewer and problem page work", start.body.len() / 1024))
}
