//! What lies in a folder that is read as a whole. What an operator may believe in force and no reader opens is a
//! mistake: files whose names are nearly right, folders that nobody looks into, folders that cannot be read.
//!
//! What is hidden (its name begins with a dot) is left alone in every folder, and so is plain documentation.

use std::cell::OnceCell;
use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::tree::KINDS;
use super::{Diagnostic, Place, did_you_mean};

/// One thing in a folder.
#[derive(Debug)]
pub struct Item {
    pub path: PathBuf,
    /// Its last part, for rules and messages; not UTF-8 it matches no file that is there.
    pub name: String,
}

impl Item {
    /// Whether it is documentation for people, and no copy of a file that would be read: `README.md`, not `a.yaml.txt`.
    pub fn is_documentation(&self) -> bool {
        let name = self.name.to_lowercase();
        let (stem, suffix) = name.rsplit_once('.').unwrap_or((&name, ""));
        match suffix {
            "md" | "txt" | "adoc" | "rst" => ![".yaml", ".yml", ".cedar"].iter().any(|read| stem.contains(read)),
            "" => ["readme", "license", "licence", "notice"].contains(&stem),
            _ => false,
        }
    }

    /// Whether its name holds one of these suffixes, in any letters and whatever follows: `a.YAML`, `a.yaml.bak`.
    fn has_suffix_within(&self, suffixes: &[&str]) -> bool {
        let name = self.name.to_lowercase();
        suffixes.iter().any(|suffix| name.contains(suffix))
    }

    pub fn mistake(&self, message: &str) -> Diagnostic {
        Diagnostic::new(Place::file(&self.path), message)
    }
}

/// Everything in a folder that is not hidden, in order of name. A folder that cannot be read whole is no empty folder.
pub fn list(folder: &Path) -> Result<Vec<Item>, Diagnostic> {
    let read = || -> io::Result<Vec<Item>> {
        let mut items = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.starts_with('.') {
                items.push(Item { path: entry.path(), name });
            }
        }
        items.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(items)
    };
    read().map_err(|error| Diagnostic::new(Place::file(folder), format!("cannot be read: {error}")))
}

/// Like [`list`], but of a folder that need not be there. A symlink that leads nowhere is there.
pub(super) fn list_if_there(folder: &Path) -> Result<Vec<Item>, Diagnostic> {
    if is_absent(folder) { Ok(Vec::new()) } else { list(folder) }
}

/// Whether nothing has this name. What cannot be looked at may be there.
pub(super) fn is_absent(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

pub(super) fn is_yaml(name: &str) -> bool {
    name.ends_with(".yaml") || name.ends_with(".yml")
}

/// Whether a file whose name holds such a suffix lies in a folder or below it. Symlinks are not followed below it.
pub fn holds(folder: &Path, suffixes: &[&str]) -> Result<bool, Diagnostic> {
    for item in list(folder)? {
        let below = fs::symlink_metadata(&item.path).is_ok_and(|found| found.is_dir());
        if item.has_suffix_within(suffixes) || below && holds(&item.path, suffixes)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The files that a configuration read or refers to, and the folders of them. Looked up only when one is asked for.
#[derive(Debug)]
pub struct Known<'f> {
    files: &'f [PathBuf],
    paths: OnceCell<HashSet<PathBuf>>,
}

impl<'f> Known<'f> {
    pub const fn new(files: &'f [PathBuf]) -> Self {
        Self { files, paths: OnceCell::new() }
    }

    pub fn has(&self, path: &Path) -> bool {
        let paths = self.paths.get_or_init(|| {
            let files = self.files.iter().filter_map(|file| file.canonicalize().ok());
            files.flat_map(|file| [file.parent().map(Path::to_owned), Some(file)]).flatten().collect()
        });
        path.canonicalize().is_ok_and(|path| paths.contains(&path))
    }
}

/// What lies in the configuration folder and in those of the kinds that looks like configuration and is none.
pub(super) fn strange(folder: &Path, files: &[PathBuf]) -> Vec<Diagnostic> {
    let known = Known::new(files);
    let (mut mistakes, mut items) = (Vec::new(), Vec::new());
    match list_if_there(folder) {
        Ok(found) => mistakes.extend(found.iter().filter_map(|item| strange_at_the_top(item, &known))),
        Err(mistake) => mistakes.push(mistake),
    }
    // What kept a kind's folder from being read was said when it was.
    items.extend(KINDS.iter().flat_map(|kind| list_if_there(&folder.join(kind)).unwrap_or_default()));
    mistakes.extend(items.iter().filter_map(|item| strange_in_a_kind(item, &known)));
    mistakes
}

fn strange_at_the_top(item: &Item, known: &Known<'_>) -> Option<Diagnostic> {
    let stem = item.name.split('.').next().unwrap_or_default();
    let none = || item.mistake("no part of the configuration has this name");
    if item.path.is_dir() && !is_yaml(&item.name) {
        let is_kind = |name: &str| KINDS.contains(&name);
        if is_kind(&item.name) || known.has(&item.path) && !is_kind(&item.name.to_lowercase()) {
            return None;
        }
        let near = did_you_mean(&item.name, KINDS)?;
        return match holds(&item.path, &[".yaml", ".yml"]) {
            Ok(false) => None,
            Ok(true) => Some(none().remedy(format!("did you mean {near}/?"))),
            Err(mistake) => Some(mistake),
        };
    }
    let is_read = item.name.strip_suffix(".yaml").is_some_and(|stem| stem == "gateway" || KINDS.contains(&stem));
    let of_a_kind = KINDS.into_iter().chain(["gateway"]).any(|kind| stem.eq_ignore_ascii_case(kind));
    let is_json = of_a_kind && item.has_suffix_within(&[".json"]) && !known.has(&item.path);
    if is_read || !(is_json || item.has_suffix_within(&[".yaml", ".yml"])) {
        return None;
    }
    let remedy = match did_you_mean(stem, KINDS.into_iter().chain(["gateway"])) {
        Some(near) => format!("did you mean {near}.yaml?"),
        None => format!("the files are gateway.yaml and {}.yaml", KINDS.join(".yaml, ")),
    };
    Some(none().remedy(remedy))
}

fn strange_in_a_kind(item: &Item, known: &Known<'_>) -> Option<Diagnostic> {
    if is_yaml(&item.name) || item.is_documentation() || known.has(&item.path) {
        return None;
    }
    let (message, remedy) = if item.path.is_dir() {
        ("is not read: nothing below the folder of a kind is", "move its files up, or it elsewhere")
    } else {
        (
            "is not read: no entry refers to it, and its name does not end in .yaml",
            "let it end in .yaml, or move it elsewhere",
        )
    };
    Some(item.mistake(message).remedy(remedy))
}
