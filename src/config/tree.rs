//! Configuration files as trees that know where each value was written, and readers that notice what nobody asked for.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use super::{Diagnostic, Place, Report, Variables, did_you_mean, folder};

/// Largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// The kinds of entry, each with a file or a folder of that name.
pub const KINDS: [&str; 10] = [
    "tenants",
    "clients",
    "institutions",
    "apis",
    "products",
    "plans",
    "subscriptions",
    "issuers",
    "users",
    "registrations",
];

/// A value and its place.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub value: Value,
    pub line: u64,
    pub column: u64,
}

#[derive(Debug, Clone)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

impl Value {
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "a truth value",
            Self::Number(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        let at = spanned.referenced;
        Ok(Self { value: spanned.value, line: at.line(), column: at.column() })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Number(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element::<Node>()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut map = Vec::new();
        while let Some((key, value)) = members.next_entry::<String, Node>()? {
            map.push((key, value));
        }
        Ok(Value::Map(map))
    }
}

/// What every reader needs: where files are, what `${NAME}` means, where mistakes go.
pub(super) struct Context<'c> {
    folder: PathBuf,
    variables: &'c Variables,
    pub report: &'c Report,
    files: RefCell<Vec<PathBuf>>,
}

impl<'c> Context<'c> {
    pub fn new(folder: &Path, variables: &'c Variables, report: &'c Report) -> Self {
        Self { folder: folder.to_owned(), variables, report, files: RefCell::default() }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn files(&self) -> Vec<PathBuf> {
        self.files.borrow().clone()
    }

    /// Notes a file that the configuration refers to, so that a change of it reloads.
    pub fn note_file(&self, file: PathBuf) {
        self.files.borrow_mut().push(file);
    }

    /// A variable's value: ours first, then the environment's.
    pub fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned().or_else(|| std::env::var(name).ok())
    }

    /// The one mapping of a file, its `version` checked. None: it is missing or a mistake was reported.
    pub fn file(&self, name: &str) -> Option<Entry<'_>> {
        let path = self.folder.join(name);
        let file: Arc<Path> = path.clone().into();
        self.note_file(path.clone());
        let node = match parse(&path) {
            Ok(node) => node,
            Err(diagnostic) => {
                self.report.add(diagnostic);
                return None;
            }
        };
        let entry = self.entry(file, node)?;
        entry.check_version();
        Some(entry)
    }

    /// All entries of one kind: from `{kind}.yaml`, then from every `{kind}/*.yaml` in order of their names.
    pub fn entries(&self, kind: &'static str) -> Vec<Entry<'_>> {
        let mut files = Vec::new();
        let single = format!("{kind}.yaml");
        if !folder::is_absent(&self.folder.join(&single)) {
            files.push(single);
        }
        match folder::list_if_there(&self.folder.join(kind)) {
            Ok(items) => {
                let names = items.iter().map(|item| &item.name).filter(|name| folder::is_yaml(name));
                files.extend(names.map(|name| format!("{kind}/{name}")));
            }
            Err(mistake) => self.report.add(mistake),
        }
        files.iter().filter_map(|file| self.file(file)).flat_map(|file| self.listed(&file, kind)).collect()
    }

    fn listed(&self, file: &Entry<'_>, kind: &'static str) -> Vec<Entry<'_>> {
        if file.node(kind).is_none() {
            let missing = Diagnostic::new(file.place(), format!("`{kind}` is missing"));
            self.report.add(missing.remedy(format!("write `{kind}: []` if there are none")));
        }
        let nodes = file.list(kind);
        file.finish();
        nodes.into_iter().filter_map(|node| self.entry(file.file.clone(), node)).collect()
    }

    fn entry(&self, file: Arc<Path>, node: Node) -> Option<Entry<'_>> {
        let place = Place { file: file.clone(), line: node.line, column: node.column };
        match node.value {
            Value::Map(members) => Some(Entry::new(self, file, place, members)),
            other => {
                self.report.add(Diagnostic::new(place, format!("expected a mapping, found {}", other.kind())));
                None
            }
        }
    }

    /// A file that no reader opens would be configuration that is believed and not in force.
    pub fn refuse_unknown_files(&self) {
        for mistake in folder::strange(&self.folder, &self.files.borrow()) {
            self.report.add(mistake);
        }
    }
}

fn parse(path: &Path) -> Result<Node, Diagnostic> {
    let whole = |message: String| Diagnostic::new(Place::file(path), message);
    let size = std::fs::metadata(path).map_err(|error| whole(format!("cannot be read: {error}")))?.len();
    if size > FILE_BYTES_MAX {
        return Err(whole(format!("has {size} bytes, at most {FILE_BYTES_MAX} are read")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| whole(format!("cannot be read: {error}")))?;
    serde_saphyr::from_str_with_options(&text, options(text.len())).map_err(|error| {
        let at = error.location();
        let place =
            Place { file: path.into(), line: at.map_or(0, |at| at.line()), column: at.map_or(0, |at| at.column()) };
        Diagnostic::new(place, format!("is not valid YAML: {}", first_line(&error.to_string())))
    })
}

/// Budgets that grow with the file: an operator's own large file is read, a small bomb is not.
fn options(bytes: usize) -> serde_saphyr::Options {
    let mut budget = serde_saphyr::Budget::default();
    budget.max_events = bytes.saturating_mul(2).max(10_000);
    budget.max_nodes = bytes.max(10_000);
    budget.max_total_scalar_bytes = bytes.saturating_mul(2).max(10_000);
    let mut options = serde_saphyr::Options::default();
    options.budget = Some(budget);
    options.strict_booleans = true;
    options.with_snippet = false;
    options
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

/// One mapping under reading: remembers which keys were asked for.
pub(super) struct Entry<'c> {
    pub context: &'c Context<'c>,
    pub file: Arc<Path>,
    place: Place,
    members: Vec<(String, Node)>,
    asked: RefCell<Vec<&'static str>>,
    finished: Cell<bool>,
}

impl<'c> Entry<'c> {
    fn new(context: &'c Context<'c>, file: Arc<Path>, place: Place, members: Vec<(String, Node)>) -> Self {
        Self { context, file, place, members, asked: RefCell::default(), finished: Cell::new(false) }
    }

    pub fn place(&self) -> Place {
        self.place.clone()
    }

    pub fn report(&self) -> &Report {
        self.context.report
    }

    pub fn place_of(&self, node: &Node) -> Place {
        Place { file: self.file.clone(), line: node.line, column: node.column }
    }

    pub fn mistake(&self, node: &Node, message: impl Into<String>) {
        self.report().add(Diagnostic::new(self.place_of(node), message));
    }

    /// A key's node, if it is written and not null.
    pub fn node(&self, key: &'static str) -> Option<&Node> {
        let mut asked = self.asked.borrow_mut();
        if !asked.contains(&key) {
            asked.push(key);
        }
        let found = self.members.iter().find(|(name, _)| name == key).map(|(_, node)| node);
        found.filter(|node| !matches!(node.value, Value::Null))
    }

    /// A key's value, read by `read`; a mistake is reported.
    pub fn optional<T>(&self, key: &'static str, read: impl Fn(&Self, &Node) -> Result<T, String>) -> Option<T> {
        let node = self.node(key)?;
        match read(self, node) {
            Ok(value) => Some(value),
            Err(message) => {
                self.mistake(node, format!("`{key}`: {message}"));
                None
            }
        }
    }

    /// Like [`Self::optional`], but its absence is a mistake as well.
    pub fn required<T>(&self, key: &'static str, read: impl Fn(&Self, &Node) -> Result<T, String>) -> Option<T> {
        if self.node(key).is_none() {
            self.report().add(Diagnostic::new(self.place(), format!("`{key}` is missing")));
            return None;
        }
        self.optional(key, read)
    }

    pub fn or<T>(&self, key: &'static str, default: T, read: impl Fn(&Self, &Node) -> Result<T, String>) -> T {
        self.optional(key, read).unwrap_or(default)
    }

    /// The items of a list; a scalar is not a list of one.
    pub fn list(&self, key: &'static str) -> Vec<Node> {
        let Some(node) = self.node(key) else { return Vec::new() };
        match &node.value {
            Value::List(items) => items.clone(),
            other => {
                self.mistake(node, format!("`{key}`: expected a list, found {}", other.kind()));
                Vec::new()
            }
        }
    }

    /// Each item of a list through `read`.
    pub fn each<T>(&self, key: &'static str, read: impl Fn(&Self, &Node) -> Result<T, String>) -> Vec<T> {
        let mut values = Vec::new();
        for node in self.list(key) {
            match read(self, &node) {
                Ok(value) => values.push(value),
                Err(message) => self.mistake(&node, format!("`{key}`: {message}")),
            }
        }
        values
    }

    /// A nested mapping, to be read and then finished by the caller.
    pub fn section(&self, key: &'static str) -> Option<Entry<'c>> {
        let node = self.node(key)?.clone();
        self.context.entry(self.file.clone(), node)
    }

    pub fn sections(&self, key: &'static str) -> Vec<Entry<'c>> {
        self.list(key).into_iter().filter_map(|node| self.context.entry(self.file.clone(), node)).collect()
    }

    /// A mapping whose keys are names that the operator chose.
    pub fn named_sections(&self, key: &'static str) -> Vec<(String, Entry<'c>)> {
        let Some(node) = self.node(key) else { return Vec::new() };
        let Value::Map(members) = &node.value else {
            self.mistake(node, format!("`{key}`: expected a mapping, found {}", node.value.kind()));
            return Vec::new();
        };
        let entry = |node: &Node| self.context.entry(self.file.clone(), node.clone());
        members.iter().filter_map(|(name, node)| Some((name.clone(), entry(node)?))).collect()
    }

    fn check_version(&self) {
        self.required("version", |_, node| match &node.value {
            Value::Number(text) if text == "1" => Ok(()),
            other => Err(format!("this release reads version 1, found {}", other.kind())),
        });
    }

    /// Reports every key that nobody asked for.
    pub fn finish(&self) {
        if self.finished.replace(true) {
            return;
        }
        let asked = self.asked.borrow();
        for (key, node) in self.members.iter().filter(|(key, _)| !asked.contains(&key.as_str())) {
            let message = format!("unknown key `{key}`");
            let diagnostic = Diagnostic::new(self.place_of(node), message);
            let diagnostic = match did_you_mean(key, asked.iter().copied()) {
                Some(near) => diagnostic.remedy(format!("did you mean `{near}`?")),
                None => diagnostic.remedy(format!("the keys here are {}", distinct(&asked).join(", "))),
            };
            self.report().add(diagnostic);
        }
    }
}

/// In the order of their first occurrence: a reader may ask for a key more than once.
fn distinct<'a>(keys: &[&'a str]) -> Vec<&'a str> {
    let mut distinct: Vec<&str> = Vec::new();
    for key in keys {
        if !distinct.contains(key) {
            distinct.push(key);
        }
    }
    distinct
}

impl Drop for Entry<'_> {
    /// A reader that forgets to finish still reports: an unknown key never goes unnoticed.
    fn drop(&mut self) {
        self.finish();
    }
}
