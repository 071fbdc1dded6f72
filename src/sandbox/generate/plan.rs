//! What one try of growing a value decides, and what it meets: the next try decides otherwise at one place.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// What was decided otherwise than at first, by place (JSON Pointer).
#[derive(Debug, Clone, Default)]
pub(super) struct Plan {
    /// Which option of the nth choice at a place.
    pub chosen: BTreeMap<String, Vec<usize>>,
    /// How many of the document's examples at a place are no good.
    pub spent_examples: BTreeMap<String, usize>,
    /// Optional members to leave out.
    pub left_out: BTreeSet<String>,
    /// Members to put in although nothing seems to ask for them.
    pub put_in: BTreeSet<String>,
    /// Objects that carry only what is required.
    pub sparse: BTreeSet<String>,
    /// Members that tell the chosen branch from the others, by the object's place.
    pub marks: BTreeMap<String, Vec<(String, Value)>>,
}

impl Plan {
    /// Forgets what was decided below a place, whose shape changes.
    pub fn forget_below(&mut self, place: &str) {
        let below = format!("{place}/");
        let keep = |found: &String| !found.starts_with(&below);
        self.chosen.retain(|found, _| keep(found));
        self.spent_examples.retain(|found, _| keep(found));
        self.left_out.retain(keep);
        self.put_in.retain(keep);
        self.sparse.retain(keep);
        self.marks.retain(|found, _| keep(found));
    }
}

/// One choice as it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Choice {
    pub option: usize,
    pub options: usize,
    /// Position in the document of the branch that was taken.
    pub original: usize,
}

/// What one try has met.
#[derive(Debug, Clone, Default)]
pub(super) struct Trace<'d> {
    /// The choices at a place, in the order in which they came up.
    pub choices: BTreeMap<String, Vec<Choice>>,
    /// The schemas to choose from at a place, in the document's order, of each choice that is one of branches.
    pub branches: BTreeMap<String, Vec<Vec<&'d Value>>>,
    /// How many examples the document offers where one was taken.
    pub examples: BTreeMap<String, usize>,
    /// Optional members that were added.
    pub optional: BTreeSet<String>,
    /// Objects, and whether they carry only what is required.
    pub objects: BTreeSet<String>,
}
