//! Real documents: each imports or is refused with a reason, and all of them together become one document that an
//! independent validator accepts.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const BINARY: &str = env!("CARGO_BIN_EXE_clearway");

/// The entry documents of the corpus, if it lies beside the project.
fn documents() -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        let multi = folder.join("openapi.yaml");
        if folder.file_name().is_some_and(|name| name == "fspiop-v1_1-multifile") {
            found.push(multi); // The other files of this folder are its parts.
            return;
        }
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let document = path.extension().is_some_and(|e| e == "json" || e == "yaml" || e == "yml");
            if path.is_dir() {
                walk(&path, found);
            } else if document {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/specs"), &mut found);
    found.sort();
    found
}

#[test]
fn every_document_imports_or_is_refused_with_a_reason() {
    let documents = documents();
    if documents.is_empty() {
        println!("skipped: there is no corpus beside the project");
        return;
    }
    let output = Command::new(BINARY).args(["catalogue", "lint", "--json"]).args(&documents).output().unwrap();
    let reports: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(reports.len(), documents.len());
    let refused: Vec<_> = reports.iter().filter(|report| report["imported"] == false).collect();
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert!(refused[0]["reason"].as_str().unwrap().contains("Postman"), "{refused:?}");
}

#[test]
fn all_together_they_are_one_valid_document() {
    let documents: Vec<PathBuf> =
        documents().into_iter().filter(|path| !path.to_string_lossy().contains("postman")).collect();
    if documents.is_empty() {
        println!("skipped: there is no corpus beside the project");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let merged = folder.path().join("merged.json");
    let build = || Command::new(BINARY).args(["catalogue", "build"]).args(&documents).output().unwrap();
    let (first, second) = (build(), build());
    assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
    assert_eq!(first.stdout, second.stdout, "the same documents, the same bytes");
    fs::write(&merged, &first.stdout).unwrap();
    let Some(redocly) = redocly() else {
        println!("skipped: the validator cannot be installed (npm and its registry are needed)");
        return;
    };
    let lint = Command::new(redocly)
        .args(["lint", "--config", "tests/redocly.yaml"])
        .arg(&merged)
        .env("REDOCLY_TELEMETRY", "off")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&lint.stdout), String::from_utf8_lossy(&lint.stderr));
    assert!(lint.status.success(), "the validator refuses the merged document:\n{said}");
}

/// Redocly's command line tool, installed once below the target folder; a version that was tried.
fn redocly() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("redocly");
    let tool = folder.join("node_modules/.bin/redocly");
    if !tool.exists() {
        fs::create_dir_all(&folder).ok()?;
        let install = Command::new("npm")
            .args(["install", "--no-audit", "--no-fund", "--loglevel=error", "--prefix"])
            .arg(&folder)
            .arg("@redocly/cli@2.77.0")
            .output()
            .ok()?;
        if !install.status.success() {
            return None;
        }
    }
    tool.exists().then_some(tool)
}
