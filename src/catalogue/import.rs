//! The steps of an import, in order.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::files::{FileError, Files};
use super::operations::Extraction;
use super::origin::{Location, Origins};
use super::position;
use super::recognise::{self, NotOpenApi};
use super::report::{Finding, Findings, ImportReport, Ledger, Severity};
use super::shape::Dialect;
use super::{ApiSource, ImportError, ImportedApi, bundle, census, convert, mend};
use crate::domain::ApiId;

/// Reads a document and accounts for every part of it.
pub fn import(source: &ApiSource) -> Result<ImportedApi, ImportError> {
    let files = Files::open(&source.file).map_err(|e| unreadable(&source.file, e))?;
    compile(&source.id, files, source.base_path.as_deref(), &source.file)
}

/// Imports a document that we made ourselves.
pub fn import_value(id: &ApiId, name: &str, document: Value) -> Result<ImportedApi, ImportError> {
    compile(id, Files::of_value(name, document), None, Path::new(name))
}

fn unreadable(file: &Path, error: FileError) -> ImportError {
    let file = file.to_path_buf();
    match error {
        FileError::Io(source) => ImportError::Unreadable { file, source },
        FileError::Syntax(mistake) => {
            ImportError::Syntax { file, line: mistake.line, column: mistake.column, what: mistake.what }
        }
        other => ImportError::TooLarge { file, what: format!("the file {other}") },
    }
}

fn compile(id: &ApiId, mut files: Files, base_path: Option<&str>, file: &Path) -> Result<ImportedApi, ImportError> {
    let mut findings = Findings::default();
    let entry = files.entry().to_owned();
    let value = files.get(&entry).map(|t| &t.value).unwrap_or(&Value::Null);
    let recognised = recognise::recognise(value, &mut findings)
        .map_err(|NotOpenApi { what, remedy }| ImportError::NotOpenApi { file: file.to_path_buf(), what, remedy })?;
    let bundle::Bundle { mut document, mut origins } = bundle::bundle(&mut files, recognised.dialect, &mut findings);
    files.forget_trees(); // A large document is large in memory; from here on only its text is needed.
    let mut ledger = Ledger::default();
    census::take(&document, recognised.dialect, &origins, &mut ledger);
    if recognised.dialect == Dialect::Swagger2 {
        document = convert::swagger2::convert(document, &mut origins, &mut findings);
    }
    if recognised.dialect != Dialect::V31 {
        convert::v30::convert(&mut document, &mut findings);
    } else if let Some(root) = document.as_object_mut() {
        root.insert("openapi".into(), convert::v30::OPENAPI.into());
    }
    let renames = mend::mend(&mut document, &entry, &mut origins, &mut findings);
    let written: HashMap<String, String> =
        renames.into_iter().filter(|((s, _), _)| *s == "schemas").map(|((_, old), new)| (new, old)).collect();
    let schema_names = |name: &str| written.get(name).map_or(name, String::as_str).to_owned();
    let extraction = Extraction {
        api: id,
        base_path,
        ledger: &mut ledger,
        findings: &mut findings,
        origins: &mut origins,
        schema_names: &schema_names,
    };
    let (operations, base_path) = extraction.run(&mut document);
    place(&mut findings, &origins, &files);
    let (findings, findings_left_out) = findings.into_sorted();
    let has_webhooks = document.get("webhooks").and_then(Value::as_object).is_some_and(|w| !w.is_empty());
    if operations.is_empty() && !has_webhooks && findings.iter().any(|f| f.severity == Severity::Error) {
        let errors = findings.into_iter().filter(|f| f.severity == Severity::Error).collect();
        return Err(ImportError::NothingUsable { file: file.to_path_buf(), findings: errors });
    }
    let text = |key: &str| {
        let value = document.get("info").and_then(|i| i.get(key)).and_then(Value::as_str);
        value.unwrap_or_default().to_owned()
    };
    let sha256 = files.sha256();
    let report = ImportReport {
        file: entry,
        format: recognised.format,
        title: text("title"),
        version: text("version"),
        sha256: hex(&sha256),
        files: files.iter().count(),
        counts: ledger.close(),
        findings,
        findings_left_out,
    };
    Ok(ImportedApi {
        id: id.clone(),
        title: report.title.clone(),
        version: report.version.clone(),
        base_path,
        document: Arc::new(document),
        operations,
        report,
        sha256,
        origins,
    })
}

/// Says of each finding in which file and line its author finds it.
fn place(findings: &mut Findings, origins: &Origins, files: &Files) {
    let mut by_file: BTreeMap<String, Vec<&mut Finding>> = BTreeMap::new();
    for finding in findings.iter_mut() {
        let location = origins.of(&finding.pointer);
        finding.file = location.file.clone();
        finding.pointer = location.pointer;
        by_file.entry(location.file).or_default().push(finding);
    }
    for (file, findings) in by_file {
        let Some(text) = files.get(&file) else { continue };
        let places = position::locate(text, findings.iter().map(|f| f.pointer.as_str()));
        for finding in findings {
            let place = places.get(&finding.pointer).copied();
            finding.line = place.map(|(line, _)| line);
            finding.column = place.map(|(_, column)| column);
        }
    }
}

/// A place in a file of a document's author. Line and column count from 1; 0 means the file as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    pub file: PathBuf,
    pub line: usize,
    pub column: usize,
}

/// Where the parts at these pointers of an imported document were written. Reads the files once more, which only those
/// do who have something to say of them; what is gone or changed since is placed as well as it still can be.
pub fn written<'p>(source: &ApiSource, api: &ImportedApi, pointers: impl Iterator<Item = &'p str>) -> Vec<Written> {
    let mut files = Files::open(&source.file).ok();
    let locations: Vec<Location> = pointers.map(|pointer| api.origins.of(pointer)).collect();
    let mut by_file: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for location in &locations {
        by_file.entry(&location.file).or_default().push(&location.pointer);
    }
    let mut places: HashMap<(&str, String), (usize, usize)> = HashMap::new();
    for (file, pointers) in by_file {
        let text = files.as_mut().and_then(|files| files.again(file));
        let found = text.map(|text| position::locate(text, pointers.into_iter())).unwrap_or_default();
        places.extend(found.into_iter().map(|(pointer, place)| ((file, pointer), place)));
    }
    let folder = source.file.parent().unwrap_or(Path::new(""));
    let place = |location: &Location| {
        let is_entry = location.file == api.origins.entry();
        let found = places.get(&(location.file.as_str(), location.pointer.clone()));
        let (line, column) = found.copied().unwrap_or_default();
        let file = if is_entry { source.file.clone() } else { folder.join(&location.file) };
        Written { file, line, column }
    };
    locations.iter().map(place).collect()
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
