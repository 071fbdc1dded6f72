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

/// How many slips lie between two words, letters compared without case: a letter too many, too few, or another one
/// (Levenshtein), and two neighbours that changed places.
fn distance(a: &str, b: &str) -> usize {
    let letters = |text: &str| text.chars().flat_map(char::to_lowercase).collect::<Vec<_>>();
    let (a, b) = (letters(a), letters(b));
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    let at = |row: &[usize], column: usize| row.get(column).copied().unwrap_or(usize::MAX / 2);
    for (i, from) in a.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, to) in b.iter().enumerate() {
            let replaced = at(&row, j) + usize::from(from != to);
            let mut least = replaced.min(at(&row, j + 1) + 1).min(at(&next, j) + 1);
            let earlier = i.checked_sub(1).and_then(|i| a.get(i)).zip(j.checked_sub(1).and_then(|j| b.get(j)));
            if earlier == Some((to, from)) {
                least = least.min(at(&before, j - 1) + 1);
            }
            next.push(least);
        }
        before = std::mem::replace(&mut row, next);
    }
    at(&row, b.len())
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
        assert_eq!(did_you_mean("brust", ["rate", "burst"]), Some("burst"), "neighbours that changed places");
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }
}
