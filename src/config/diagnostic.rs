//! A mistake, as an operator wants to read it: where, what, and how to mend it.

use std::cell::RefCell;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Hints;

/// A place in a file. Line and column count from 1; 0 means the file as a whole.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub file: Arc<Path>,
    pub line: u64,
    pub column: u64,
}

impl Place {
    pub fn file(file: impl Into<PathBuf>) -> Self {
        Self { file: file.into().into(), line: 0, column: 0 }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Diagnostic {
    pub place: Place,
    pub message: String,
    pub remedy: Option<String>,
}

impl Diagnostic {
    pub fn new(place: Place, message: impl Into<String>) -> Self {
        Self { place, message: message.into(), remedy: None }
    }

    pub fn remedy(mut self, text: impl Into<String>) -> Self {
        self.remedy = Some(text.into());
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)?;
        if let Some(remedy) = &self.remedy {
            write!(f, "\n    remedy: {remedy}")?;
        }
        Ok(())
    }
}

/// Collects mistakes while reading goes on.
#[derive(Debug, Default)]
pub struct Report {
    found: RefCell<Vec<Diagnostic>>,
    hints: Hints,
}

impl Report {
    pub fn add(&self, diagnostic: Diagnostic) {
        self.found.borrow_mut().push(diagnostic);
    }

    pub fn hints(&self) -> &Hints {
        &self.hints
    }

    pub fn into_diagnostics(self) -> Vec<Diagnostic> {
        self.found.into_inner()
    }
}
