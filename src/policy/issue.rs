//! Policy texts as they come in, and what is wrong with them.

use std::fmt;
use std::path::{Path, PathBuf};

/// One policy file.
#[derive(Debug, Clone)]
pub struct PolicySource {
    pub file: PathBuf,
    pub text: String,
}

/// One mistake in a policy file. All mistakes are reported in one run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PolicyIssue {
    pub file: PathBuf,
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
    pub message: String,
    /// A sentence such as ``did you mean `Action::"bank.GetAccounts"`?``.
    pub suggestion: Option<String>,
}

impl PolicyIssue {
    /// An issue at a byte offset of a source's text.
    pub(super) fn at(source: &PolicySource, offset: usize, message: impl Into<String>) -> Self {
        let (line, column) = position(&source.text, offset);
        Self { file: source.file.clone(), line, column, message: message.into(), suggestion: None }
    }

    /// An issue of a whole file.
    pub(super) fn of_file(file: &Path, message: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line: 1, column: 1, message: message.into(), suggestion: None }
    }

    pub(super) fn suggest(mut self, suggestion: Option<String>) -> Self {
        self.suggestion = suggestion;
        self
    }
}

impl fmt::Display for PolicyIssue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file.display(), self.line, self.column, self.message)?;
        match &self.suggestion {
            Some(suggestion) => write!(f, " ({suggestion})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for PolicyIssue {}

/// Line and column of a byte offset, both from 1; an offset past the end is the end.
fn position(text: &str, offset: usize) -> (u32, u32) {
    let mut end = offset.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let before = text.get(..end).unwrap_or_default();
    let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters_from_one() {
        let text = "ab\nä€c\n";
        for (name, offset, expected) in [
            ("start", 0, (1, 1)),
            ("end of line", 2, (1, 3)),
            ("next line", 3, (2, 1)),
            ("after two bytes of one character", 5, (2, 2)),
            ("inside a character", 6, (2, 2)),
            ("past the end", 99, (3, 1)),
        ] {
            assert_eq!(position(text, offset), expected, "{name}");
        }
    }
}
