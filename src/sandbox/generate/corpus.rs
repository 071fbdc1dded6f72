//! Over every real document of the corpus: each operation gets a request and answers that the schema library and the
//! gateway's own contracts accept. `CORPUS_FULL=1` takes every operation, else it is a sample of each document;
//! `CORPUS_ONLY=text` takes the files with that text in their path.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::*;
use crate::catalogue::{ApiSource, ImportedApi, import};
use crate::contract::{Contract, Contracts, OperationSpec, parse_body};
use crate::domain::ApiId;
use crate::sandbox::testing::NOW;

fn corpus() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/specs");
    beside.is_dir().then_some(beside)
}

fn documents(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    // A document of many files is entered by its own file only.
    if folder.join("openapi.yaml").is_file() {
        found.push(folder.join("openapi.yaml"));
        return;
    }
    for path in entries {
        if path.is_dir() {
            documents(&path, found);
        } else if path
            .extension()
            .is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known))
        {
            found.push(path);
        }
    }
}

/// Requests that their own schemas forbid: two alternatives that are the same, and a text that is a number as well.
const IMPOSSIBLE: [&str; 3] = [
    "corpus.post-potentially-undefined-formData",
    "corpus.quirks_entirelyIncompatibleAllOf",
    "corpus.quirks_partiallyUsableIncompatibleAllOf",
];

#[derive(Default)]
struct Tally {
    requests: (usize, usize),
    answers: (usize, usize),
    replaced: usize,
    failures: Vec<String>,
}

fn measure(api: &ImportedApi, tally: &mut Tally) {
    let generator = Generator::new(&api.document, NOW).unwrap();
    let specs: Vec<_> = api.operations.iter().map(|operation| operation.spec.clone()).collect();
    let (contracts, _) = Contracts::compile(&api.document, &specs);
    // A large document repeats itself: a sample of it says as much, and much sooner.
    let every = if std::env::var_os("CORPUS_FULL").is_some() { 1 } else { specs.len().div_ceil(8) };
    let mut judged = HashSet::new();
    for (spec, contract) in specs.iter().zip(&contracts).step_by(every.max(1)) {
        tally.requests.1 += 1;
        match generator.request(spec, 1) {
            Ok(_) => tally.requests.0 += 1,
            Err(error) => tally.failures.push(format!("{} request: {error}", spec.id)),
        }
        for response in &spec.responses {
            for content in response.content.iter().filter(|content| wire::is_json(&content.media_type)) {
                let Some(schema) = content.schema.as_ref().filter(|schema| judged.insert((*schema).clone())) else {
                    continue;
                };
                tally.answers.1 += 1;
                match generator.example_or_value_for_test(schema) {
                    Ok(origin) => {
                        tally.answers.0 += 1;
                        tally.replaced += usize::from(origin == Origin::InPlaceOfExample);
                    }
                    Err(error) => tally.failures.push(format!("{} {:?}: {error}", spec.id, response.status)),
                }
            }
        }
        let complaints = complaints(&generator, spec, contract);
        tally.failures.extend(complaints.iter().map(|complaint| format!("{} contract: {complaint}", spec.id)));
    }
}

#[test]
fn real_documents_get_messages_that_both_judges_accept() {
    let Some(folder) = corpus() else {
        eprintln!("no corpus beside the project; skipped");
        return;
    };
    let mut files = Vec::new();
    documents(&folder, &mut files);
    let only = std::env::var("CORPUS_ONLY").unwrap_or_default();
    let mut total = Tally::default();
    for file in files.iter().filter(|file| file.to_string_lossy().contains(&only)) {
        let source = ApiSource { id: ApiId::parse("corpus").unwrap(), file: file.clone(), base_path: None };
        if let Ok(api) = import(&source) {
            measure(&api, &mut total);
        }
    }
    eprintln!(
        "requests {}/{}, answers {}/{}, examples replaced {}",
        total.requests.0, total.requests.1, total.answers.0, total.answers.1, total.replaced
    );
    let unexpected = |failure: &&String| !IMPOSSIBLE.iter().any(|known| failure.starts_with(known));
    let unexpected: Vec<_> = total.failures.iter().filter(unexpected).collect();
    assert!(unexpected.is_empty(), "{unexpected:#?}");
}

/// What stands in the path for each variable, raw. Variables that share a segment with other text are cut out of it.
fn captures<'p>(template: &'p str, path: &'p str) -> Vec<(&'p str, &'p str)> {
    let mut found = Vec::new();
    for (template, given) in template.split('/').zip(path.split('/')) {
        let (mut template, mut given) = (template, given);
        while let Some((before, rest)) = template.split_once('{') {
            let (name, after) = rest.split_once('}').unwrap();
            given = given.strip_prefix(before).unwrap();
            let literal = after.split('{').next().unwrap();
            let end = if literal.is_empty() { given.len() } else { given.rfind(literal).unwrap() };
            found.push((name, &given[..end]));
            (template, given) = (after, &given[end..]);
        }
    }
    found
}

/// The other judge: what the gateway itself would say of an operation's messages.
fn complaints(generator: &Generator<'_>, spec: &OperationSpec, contract: &Contract) -> Vec<String> {
    let mut found = Vec::new();
    let Ok(request) = generator.request(spec, 1) else { return found };
    let headers = request.headers.iter().map(|field| (field.name.clone(), field.value.clone())).collect();
    let captures = captures(&spec.path, &request.path);
    for error in contract.check_parameters(&captures, request.query.as_deref(), &headers) {
        found.push(format!("{} {}", error.pointer, error.detail));
    }
    let content_type = request.content_type.as_deref();
    let body = parse_body(content_type, request.body.as_deref().unwrap_or_default()).unwrap();
    if let Err(refusal) = contract.check_body(content_type, &body) {
        found.push(format!("body {refusal:?}"));
    }
    if let Ok(answer) = generator.response(spec, None, None, 1) {
        let status = http::StatusCode::from_u16(answer.status).unwrap();
        for error in contract.check_response(status, answer.content_type.as_deref(), &answer.body) {
            found.push(format!("answer {} {}", error.pointer, error.detail));
        }
    }
    found
}
