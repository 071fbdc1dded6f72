//! "Did you mean …?"

use std::cell::Cell;

/// Candidates that are looked at for one report. Every mistake is listed; the hints end when they would take longer
/// than the reading.
const CANDIDATES_MAX: usize = 1_000_000;

/// The hints of one report.
#[derive(Debug)]
pub struct Hints(Cell<usize>);

impl Default for Hints {
    fn default() -> Self {
        Self(Cell::new(CANDIDATES_MAX))
    }
}

impl Hints {
    /// Like [`did_you_mean`], as long as the budget lasts.
    pub fn near<'a>(&self, written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
        let mut left = self.0.get();
        let affordable = candidates.into_iter().take_while(|_| {
            left = left.saturating_sub(1);
            left > 0
        });
        let near = did_you_mean(written, affordable);
        self.0.set(left);
        near.filter(|_| left > 0)
    }
}

/// The candidate nearest to what was written, if any is near enough to be a slip.
pub fn did_you_mean<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (written.chars().count() / 3).clamp(1, 4);
    candidates
        .into_iter()
        .filter(|candidate| candidate.len().abs_diff(written.len()) <= 4 * allowed)
        .map(|candidate| (distance(written, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, candidate)| (*distance, *candidate))
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance, letters compared without case.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().flat_map(char::to_lowercase).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().flat_map(char::to_lowercase).enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, to) in row.iter_mut().skip(1).zip(&b) {
            let above = *cell;
            left = (diagonal + usize::from(from != *to)).min(above + 1).min(left + 1);
            diagonal = above;
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_end_before_they_cost_more_than_the_reading() {
        let hints = Hints(Cell::new(10));
        assert_eq!(hints.near("banc", ["bank", "insurer"]), Some("bank"));
        assert_eq!(hints.near("banc", vec!["x"; 100]), None);
        assert_eq!(hints.near("banc", ["bank"]), None, "the budget is spent");
    }

    #[test]
    fn slips_are_recognised_and_strangers_are_not() {
        let keys = ["jurisdiction", "licences", "status"];
        assert_eq!(did_you_mean("jurisdicton", keys), Some("jurisdiction"));
        assert_eq!(did_you_mean("Licenses", keys), Some("licences"));
        assert_eq!(did_you_mean("colour", keys), None);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }
}
