//! "Did you mean …?": the nearest of the known words.

/// The candidate nearest to `word`, if it is near enough to be a slip.
pub(super) fn closest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let wanted: Vec<char> = word.chars().flat_map(char::to_lowercase).collect();
    // A third of the word may be wrong; more is another word.
    let limit = (wanted.len() / 3).max(2);
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let found = distance(&wanted, candidate, limit);
        if found <= limit && best.is_none_or(|(known, name)| (found, candidate) < (known, name)) {
            best = Some((found, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Levenshtein distance, case ignored; anything over `limit` may come back as any number over it.
fn distance(wanted: &[char], candidate: &str, limit: usize) -> usize {
    let other: Vec<char> = candidate.chars().flat_map(char::to_lowercase).collect();
    if wanted.len().abs_diff(other.len()) > limit {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (done, expected) in wanted.iter().enumerate() {
        let mut diagonal = done;
        let mut left = done + 1;
        let mut next = vec![left];
        for (found, above) in other.iter().zip(row.iter().skip(1)) {
            left = (diagonal + usize::from(found != expected)).min(left + 1).min(above + 1);
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_mended_and_other_words_are_not() {
        let known = ["bank.GetAccounts", "bank.GetAccount", "insurer.GetQuotes", "read"];
        for (name, word, expected) in [
            ("exact", "bank.GetAccounts", Some("bank.GetAccounts")),
            ("case", "bank.getaccounts", Some("bank.GetAccounts")),
            ("letter left out", "bank.GetAcounts", Some("bank.GetAccounts")),
            ("two letters swapped", "bank.GetAccuonts", Some("bank.GetAccounts")),
            ("short word", "raed", Some("read")),
            ("another word", "wallet.Transfer", None),
            ("empty", "", None),
        ] {
            assert_eq!(closest(word, known), expected, "{name}");
        }
    }
}
