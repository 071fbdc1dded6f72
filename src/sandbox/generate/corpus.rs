//! Over every real document of the corpus: how many operations get a valid request and a valid answer.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::*;
use crate::catalogue::{ApiSource, ImportedApi, import};
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
    // A large document repeats itself: a sample of it says as much, and much sooner.
    let every = if std::env::var_os("CORPUS_FULL").is_some() { 1 } else { api.operations.len().div_ceil(15) };
    let mut judged = HashSet::new();
    for operation in api.operations.iter().step_by(every.max(1)) {
        tally.requests.1 += 1;
        match generator.request(&operation.spec, 1) {
            Ok(_) => tally.requests.0 += 1,
            Err(error) => tally.failures.push(format!("{} request: {error}", operation.spec.id)),
        }
        for response in &operation.spec.responses {
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
                    Err(error) => tally.failures.push(format!("{} {:?}: {error}", operation.spec.id, response.status)),
                }
            }
        }
    }
}

#[test]
fn real_documents_get_valid_messages() {
    let Some(folder) = corpus() else {
        eprintln!("no corpus beside the project; skipped");
        return;
    };
    let mut files = Vec::new();
    documents(&folder, &mut files);
    let only = std::env::var("CORPUS_ONLY").unwrap_or_default();
    let mut total = Tally::default();
    for file in files.iter().filter(|file| file.to_string_lossy().contains(&only)) {
        let began = std::time::Instant::now();
        let source = ApiSource { id: ApiId::parse("corpus").unwrap(), file: file.clone(), base_path: None };
        let Ok(api) = import(&source) else {
            eprintln!("{}: not imported", file.display());
            continue;
        };
        let imported = began.elapsed();
        let before = (total.requests.0, total.requests.1, total.answers.0, total.answers.1);
        measure(&api, &mut total);
        eprintln!(
            "{}: requests {}/{}, answers {}/{}, import {imported:?}, generate {:?}",
            file.strip_prefix(&folder).unwrap().display(),
            total.requests.0 - before.0,
            total.requests.1 - before.1,
            total.answers.0 - before.2,
            total.answers.1 - before.3,
            began.elapsed() - imported,
        );
    }
    eprintln!(
        "requests {}/{}, answers {}/{}, examples replaced {}",
        total.requests.0, total.requests.1, total.answers.0, total.answers.1, total.replaced
    );
    let impossible = |failure: &&String| !IMPOSSIBLE.iter().any(|known| failure.starts_with(known));
    let unexpected: Vec<_> = total.failures.iter().filter(impossible).collect();
    assert!(unexpected.is_empty(), "{unexpected:#?}");
}
