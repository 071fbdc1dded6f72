//! What became of a document: every part of it counted, and everything that could not be used named with its reason.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fmt::Write as _;

use serde::Serialize;

use super::limits::FINDINGS_MAX;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// A part of the document could not be used.
    Error,
    /// The part is used, but its author should look at it: it was mended, or its meaning is doubtful.
    Warning,
    /// Worth knowing.
    Note,
}

impl Severity {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// One thing to know about a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub severity: Severity,
    /// The file, relative to the folder of the entry document.
    pub file: String,
    /// JSON Pointer (RFC 6901) into that file.
    pub pointer: String,
    /// From 1, where the place could be found again in the text.
    pub line: Option<usize>,
    /// From 1, in characters.
    pub column: Option<usize>,
    /// What is the matter, and what was done about it.
    pub what: String,
    /// What the document's author can do.
    pub remedy: String,
}

impl Finding {
    pub fn new(severity: Severity, pointer: &str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            severity,
            file: String::new(),
            pointer: pointer.to_owned(),
            line: None,
            column: None,
            what: what.into(),
            remedy: remedy.into(),
        }
    }

    pub fn error(pointer: &str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Severity::Error, pointer, what, remedy)
    }

    pub fn warning(pointer: &str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Severity::Warning, pointer, what, remedy)
    }

    pub fn note(pointer: &str, what: impl Into<String>) -> Self {
        Self::new(Severity::Note, pointer, what, "")
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, " {}: {}", if self.pointer.is_empty() { "(whole document)" } else { &self.pointer }, self.what)
    }
}

/// The kinds of parts that a report accounts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    Paths,
    Operations,
    Parameters,
    Bodies,
    Responses,
    Schemas,
    Webhooks,
    Callbacks,
}

impl Part {
    pub const ALL: [Self; 8] = [
        Self::Paths,
        Self::Operations,
        Self::Parameters,
        Self::Bodies,
        Self::Responses,
        Self::Schemas,
        Self::Webhooks,
        Self::Callbacks,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Paths => "paths",
            Self::Operations => "operations",
            Self::Parameters => "parameters",
            Self::Bodies => "bodies",
            Self::Responses => "responses",
            Self::Schemas => "schemas",
            Self::Webhooks => "webhooks",
            Self::Callbacks => "callbacks",
        }
    }
}

/// A part that was found and is not used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unused {
    /// Which one, such as `GET /accounts header Authorization`.
    pub name: String,
    pub reason: String,
}

/// Invariant: `found == used + unused.len()`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    pub found: usize,
    pub used: usize,
    pub unused: Vec<Unused>,
}

/// The account of one import.
#[derive(Debug, Clone, Serialize)]
pub struct ImportReport {
    /// The entry document's file name.
    pub file: String,
    /// `OpenAPI 3.0.1`, `Swagger 2.0`.
    pub format: String,
    pub title: String,
    pub version: String,
    /// Over the bytes of all files, in hexadecimal.
    pub sha256: String,
    /// Files that were read.
    pub files: usize,
    pub counts: BTreeMap<Part, Count>,
    /// Worst first, then in the document's order.
    pub findings: Vec<Finding>,
    /// Findings beyond those listed.
    pub findings_left_out: usize,
}

impl ImportReport {
    pub fn count(&self, part: Part) -> &Count {
        static NONE: Count = Count { found: 0, used: 0, unused: Vec::new() };
        self.counts.get(&part).unwrap_or(&NONE)
    }

    /// How many findings have this severity.
    pub fn severity_count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|f| f.severity == severity).count()
    }

    /// The report for people: `clearway catalogue lint`.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = self.write_text(&mut text);
        text
    }

    fn write_text(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "{}: {}, \"{}\" {}", self.file, self.format, self.title, self.version)?;
        writeln!(out, "  {:<12}{:>7}{:>7}{:>10}", "", "found", "used", "not used")?;
        for part in Part::ALL {
            let count = self.count(part);
            if count.found > 0 || part < Part::Webhooks {
                writeln!(out, "  {:<12}{:>7}{:>7}{:>10}", part.as_str(), count.found, count.used, count.unused.len())?;
            }
        }
        self.write_unused(out)?;
        self.write_findings(out)
    }

    fn write_unused(&self, out: &mut String) -> fmt::Result {
        if self.counts.values().all(|c| c.unused.is_empty()) {
            return Ok(());
        }
        writeln!(out, "not used:")?;
        for (part, count) in &self.counts {
            let mut by_reason: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
            for unused in &count.unused {
                by_reason.entry(&unused.reason).or_default().push(&unused.name);
            }
            for (reason, names) in by_reason {
                writeln!(out, "  {}: {reason}", part.as_str())?;
                for name in names {
                    writeln!(out, "    {name}")?;
                }
            }
        }
        Ok(())
    }

    fn write_findings(&self, out: &mut String) -> fmt::Result {
        let of = |severity| self.severity_count(severity);
        let (errors, warnings, notes) = (of(Severity::Error), of(Severity::Warning), of(Severity::Note));
        writeln!(out, "findings: {errors} errors, {warnings} warnings, {notes} notes")?;
        // The same mistake in many places reads better once, with its places below it.
        let mut seen = BTreeSet::new();
        for finding in &self.findings {
            let key = (finding.severity, &finding.what, &finding.remedy);
            if !seen.insert(key) {
                continue;
            }
            writeln!(out, "  {}: {}", finding.severity.as_str(), finding.what)?;
            if !finding.remedy.is_empty() {
                writeln!(out, "    remedy: {}", finding.remedy)?;
            }
            let same = || self.findings.iter().filter(|f| (f.severity, &f.what, &f.remedy) == key);
            for place in same().take(PLACES_SHOWN) {
                write!(out, "    at {}", place.file)?;
                if let (Some(line), Some(column)) = (place.line, place.column) {
                    write!(out, ":{line}:{column}")?;
                }
                writeln!(out, " {}", place.pointer)?;
            }
            let more = same().count().saturating_sub(PLACES_SHOWN);
            if more > 0 {
                writeln!(out, "    and {more} more places")?;
            }
        }
        if self.findings_left_out > 0 {
            writeln!(out, "  and {} more findings", self.findings_left_out)?;
        }
        Ok(())
    }
}

/// Places shown of one and the same finding; the serialised report has them all.
const PLACES_SHOWN: usize = 3;

/// What was found, gathered before anything is converted, and what became of it, gathered afterwards.
///
/// Invariant: a part is used, or unused for a stated reason; what nobody accounted for shows up as [`UNEXPLAINED`].
#[derive(Debug, Default)]
pub struct Ledger {
    found: BTreeMap<Part, Vec<String>>,
    used: BTreeMap<Part, BTreeSet<String>>,
    unused: BTreeMap<(Part, String), String>,
}

/// The reason of a part that the importer lost without saying why: a defect of ours, never of the document.
pub const UNEXPLAINED: &str = "the importer did not account for it; please report this";

impl Ledger {
    pub fn find(&mut self, part: Part, name: impl Into<String>) {
        self.found.entry(part).or_default().push(name.into());
    }

    pub fn use_up(&mut self, part: Part, name: impl Into<String>) {
        self.used.entry(part).or_default().insert(name.into());
    }

    /// The first reason stays: it is the nearest to the cause.
    pub fn leave(&mut self, part: Part, name: impl Into<String>, reason: &str) {
        self.unused.entry((part, name.into())).or_insert_with(|| reason.to_owned());
    }

    /// Leaves an operation and all that belongs to it (names that begin with it).
    pub fn leave_operation(&mut self, operation: &str, reason: &str) {
        let prefix = format!("{operation} ");
        self.leave(Part::Operations, operation, reason);
        for part in [Part::Parameters, Part::Bodies, Part::Responses, Part::Callbacks] {
            let names: Vec<String> = self.found.get(&part).into_iter().flatten().cloned().collect();
            for name in names.into_iter().filter(|n| n == operation || n.starts_with(&prefix)) {
                self.leave(part, name, reason);
            }
        }
    }

    /// The balance. A name that stands twice is used once: the second is its own duplicate.
    pub fn close(self) -> BTreeMap<Part, Count> {
        let Self { found, used, unused } = self;
        let mut counts = BTreeMap::new();
        for (part, names) in found {
            let used = used.get(&part);
            let mut seen = BTreeSet::new();
            let mut count = Count { found: names.len(), ..Count::default() };
            for name in names {
                let is_used = used.is_some_and(|u| u.contains(&name));
                let is_first = seen.insert(name.clone());
                if is_used && is_first {
                    count.used += 1;
                    continue;
                }
                let reason = if is_used { Some("it stands twice") } else { None };
                let reason = reason.or_else(|| unused.get(&(part, name.clone())).map(String::as_str));
                count.unused.push(Unused { reason: reason.unwrap_or(UNEXPLAINED).to_owned(), name });
            }
            counts.insert(part, count);
        }
        counts
    }
}

/// Findings in the making, with their bound.
#[derive(Debug, Default)]
pub struct Findings {
    list: Vec<Finding>,
    left_out: usize,
}

impl Findings {
    pub fn push(&mut self, finding: Finding) {
        if self.list.len() < FINDINGS_MAX {
            self.list.push(finding);
        } else {
            self.left_out += 1;
        }
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Finding> {
        self.list.iter_mut()
    }

    /// The list, worst first, and how many it does not hold.
    pub fn into_sorted(mut self) -> (Vec<Finding>, usize) {
        self.list.sort_by_key(|f| f.severity);
        (self.list, self.left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_balance_holds_and_what_nobody_explained_shows() {
        let mut ledger = Ledger::default();
        for name in ["GET /a", "PUT /a", "GET /b"] {
            ledger.find(Part::Operations, name);
        }
        ledger.find(Part::Parameters, "GET /a query x");
        ledger.find(Part::Parameters, "GET /a query x");
        ledger.find(Part::Parameters, "PUT /a query x");
        ledger.use_up(Part::Operations, "GET /a");
        ledger.use_up(Part::Parameters, "GET /a query x");
        ledger.leave_operation("PUT /a", "no");
        let counts = ledger.close();
        let operations = &counts[&Part::Operations];
        assert_eq!((operations.found, operations.used), (3, 1));
        assert_eq!(operations.unused[0], Unused { name: "PUT /a".into(), reason: "no".into() });
        assert_eq!(operations.unused[1].reason, UNEXPLAINED);
        let parameters = &counts[&Part::Parameters];
        assert_eq!((parameters.found, parameters.used, parameters.unused.len()), (3, 1, 2));
        assert_eq!(parameters.unused[0].reason, "it stands twice");
        assert_eq!(parameters.unused[1].reason, "no");
    }
}
