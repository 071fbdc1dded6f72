//! The files of one document: the entry and those below its folder that it refers to. Nothing else is ever opened,
//! and nothing is fetched (OAM-15).

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::limits::{FILE_BYTES_MAX, FILES_BYTES_MAX, FILES_MAX};
use super::yaml::Mistake;
use super::{json, yaml};

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Json,
    Yaml,
}

/// A file that was read.
#[derive(Debug)]
pub struct Text {
    pub format: Format,
    pub text: String,
    pub value: Value,
    /// Over the bytes as they are in the file.
    pub sha256: [u8; 32],
}

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("cannot be read: {0}")]
    Io(#[from] std::io::Error),
    #[error("has more than {FILE_BYTES_MAX} bytes")]
    TooLarge,
    #[error("is not UTF-8 (the first bad byte is byte {0})")]
    NotUtf8(usize),
    #[error("cannot be read at line {}, column {}: {}", .0.line, .0.column, .0.what)]
    Syntax(Mistake),
    #[error("lies outside the folder of the entry document")]
    Outside,
    #[error("is an absolute path")]
    Absolute,
    #[error("is at another place of the network, and nothing is fetched")]
    Remote,
    #[error("is one file too many: a document has at most {FILES_MAX} files and {FILES_BYTES_MAX} bytes")]
    TooMany,
}

/// Reads text as JSON or YAML by its name and, where that does not tell, by its first character.
pub fn parse(name: &Path, text: &str) -> Result<(Format, Value), Mistake> {
    let extension = name.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    let looks_like_json = text.trim_start().starts_with(['{', '[']);
    if extension == "json" || (looks_like_json && !matches!(extension.as_str(), "yaml" | "yml")) {
        return json::parse(text).map(|value| (Format::Json, value));
    }
    if text.trim_start().starts_with('<') {
        return Err(Mistake { line: 1, column: 1, what: "this is XML or HTML, not JSON or YAML".into() });
    }
    yaml::parse(text).map(|value| (Format::Yaml, value))
}

/// Every file of one document, by its path relative to the entry's folder, written with `/`.
#[derive(Debug)]
pub struct Files {
    root: PathBuf,
    entry: String,
    loaded: BTreeMap<String, Text>,
    bytes: u64,
}

impl Files {
    /// Reads the entry document.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let path = path.canonicalize()?;
        let root = path.parent().map(Path::to_path_buf).unwrap_or_default();
        let entry = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let mut files = Self { root, entry: entry.clone(), loaded: BTreeMap::new(), bytes: 0 };
        let text = files.read(&path)?;
        files.loaded.insert(entry, text);
        Ok(files)
    }

    /// A document that was made here rather than read, for instance our own.
    pub fn of_value(name: &str, value: Value) -> Self {
        let text = value.to_string();
        let sha256 = sha256(text.as_bytes());
        let entry = Text { format: Format::Json, text, value, sha256 };
        let loaded = BTreeMap::from([(name.to_owned(), entry)]);
        Self { root: PathBuf::new(), entry: name.to_owned(), loaded, bytes: 0 }
    }

    pub fn entry(&self) -> &str {
        &self.entry
    }

    pub fn get(&self, name: &str) -> Option<&Text> {
        self.loaded.get(name)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Text)> {
        self.loaded.iter().map(|(name, text)| (name.as_str(), text))
    }

    /// Leaves the texts and lets go of what was read in them.
    pub fn forget_trees(&mut self) {
        self.loaded.values_mut().for_each(|text| text.value = Value::Null);
    }

    /// Reads (once) the file that a reference in the file `base` names, and returns its name.
    pub fn load(&mut self, base: &str, reference: &str) -> Result<String, FileError> {
        let name = resolve(base, reference)?;
        self.load_named(&name)?;
        Ok(name)
    }

    /// The file of a name that [`Self::load`] returned for the same document before, as far as it is still there.
    pub fn again(&mut self, name: &str) -> Option<&Text> {
        self.load_named(name).ok()?;
        self.get(name)
    }

    fn load_named(&mut self, name: &str) -> Result<(), FileError> {
        if self.loaded.contains_key(name) {
            return Ok(());
        }
        if self.loaded.len() >= FILES_MAX || self.bytes > FILES_BYTES_MAX {
            return Err(FileError::TooMany);
        }
        // A symbolic link may lead out of the folder although the name does not.
        let path = self.root.join(name).canonicalize()?;
        if !path.starts_with(&self.root) {
            return Err(FileError::Outside);
        }
        let text = self.read(&path)?;
        self.loaded.insert(name.to_owned(), text);
        Ok(())
    }

    fn read(&mut self, path: &Path) -> Result<Text, FileError> {
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(FileError::TooLarge);
        }
        self.bytes += bytes.len() as u64;
        let sha256 = sha256(&bytes);
        let text = String::from_utf8(bytes).map_err(|e| FileError::NotUtf8(e.utf8_error().valid_up_to()))?;
        let text = text.strip_prefix('\u{feff}').map(ToOwned::to_owned).unwrap_or(text);
        let (format, value) = parse(path, &text).map_err(FileError::Syntax)?;
        Ok(Text { format, text, value, sha256 })
    }

    /// The digest of a document: its file's own, or for several files the digest of their names and digests.
    pub fn sha256(&self) -> [u8; 32] {
        let mut texts = self.loaded.values();
        if let (Some(only), None) = (texts.next(), texts.next()) {
            return only.sha256;
        }
        let mut all = Vec::new();
        for (name, text) in &self.loaded {
            all.extend_from_slice(name.as_bytes());
            all.push(0);
            all.extend_from_slice(&text.sha256);
        }
        sha256(&all)
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    digest.as_ref().try_into().unwrap_or_default()
}

/// RFC 3986 §5 for relative paths, without leaving the entry's folder on the way.
fn resolve(base: &str, reference: &str) -> Result<String, FileError> {
    let path = reference.split('?').next().unwrap_or_default();
    let scheme = path.split_once(':').map(|(s, _)| s).filter(|s| !s.is_empty() && !s.contains('/'));
    match scheme {
        Some(s) if s.len() > 1 && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)) => {
            return Err(if s.eq_ignore_ascii_case("file") { FileError::Absolute } else { FileError::Remote });
        }
        Some(_) => return Err(FileError::Absolute), // A drive letter.
        None if path.starts_with("//") => return Err(FileError::Remote),
        None => {}
    }
    let path = percent_decode_str(path).decode_utf8().map_err(|_| FileError::Outside)?;
    if path.starts_with(['/', '\\']) {
        return Err(FileError::Absolute);
    }
    if path.contains('\\') || path.contains('\0') {
        return Err(FileError::Outside);
    }
    let mut parts: Vec<&str> = base.split('/').collect();
    parts.pop();
    for component in Path::new(path.as_ref()).components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => drop(parts.pop().ok_or(FileError::Outside)?),
            Component::Normal(part) => parts.push(part.to_str().ok_or(FileError::Outside)?),
            Component::RootDir | Component::Prefix(_) => return Err(FileError::Absolute),
        }
    }
    Ok(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_stay_below_the_entry() {
        for (base, reference, expected) in [
            ("openapi.yaml", "paths/a.yaml", Ok("paths/a.yaml")),
            ("paths/a.yaml", "../components/x.yaml", Ok("components/x.yaml")),
            ("paths/a.yaml", "./b%20c.yaml", Ok("paths/b c.yaml")),
            ("a.yaml", "../b.yaml", Err("outside")),
            ("x/a.yaml", "../../b.yaml", Err("outside")),
            ("a.yaml", "x/../../b.yaml", Err("outside")),
            ("a.yaml", "%2e%2e/b.yaml", Err("outside")),
            ("a.yaml", "..\\b.yaml", Err("outside")),
            ("a.yaml", "/etc/passwd", Err("absolute")),
            ("a.yaml", "%2fetc/passwd", Err("absolute")),
            ("a.yaml", "file:///etc/passwd", Err("absolute")),
            ("a.yaml", "C:/b.yaml", Err("absolute")),
            ("a.yaml", "https://example.com/b.yaml", Err("network")),
            ("a.yaml", "//example.com/b.yaml", Err("network")),
        ] {
            match (resolve(base, reference), expected) {
                (Ok(name), Ok(expected)) => assert_eq!(name, expected, "{reference}"),
                (Err(e), Err(part)) => assert!(e.to_string().contains(part), "{reference}: {e}"),
                (result, _) => panic!("{reference}: {result:?}"),
            }
        }
    }

    #[test]
    fn a_link_out_of_the_folder_is_not_followed() {
        let outer = tempfile::tempdir().unwrap();
        let inner = outer.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        std::fs::write(outer.path().join("secret.yaml"), "a: 1").unwrap();
        std::fs::write(inner.join("api.yaml"), "\u{feff}openapi: 3.0.0").unwrap();
        std::os::unix::fs::symlink(outer.path().join("secret.yaml"), inner.join("link.yaml")).unwrap();
        let mut files = Files::open(&inner.join("api.yaml")).unwrap();
        assert_eq!(files.get("api.yaml").unwrap().value["openapi"], "3.0.0", "a byte order mark is no part of the key");
        assert!(matches!(files.load("api.yaml", "link.yaml"), Err(FileError::Outside)));
        assert!(matches!(files.load("api.yaml", "gone.yaml"), Err(FileError::Io(_))));
    }
}
