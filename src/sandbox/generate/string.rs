//! Strings that keep to their lengths, patterns and formats.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::facts::Facts;
use super::format;
use super::pattern::{Pattern, Wish};
use crate::domain::Timestamp;
use crate::sandbox::dice::Dice;

/// Tries for one string; past it the last try stands and the whole is judged.
const TRIES_MAX: u32 = 120;
/// Longest string that is made for a lower bound.
const LENGTH_MAX: usize = 100_000;
/// Most validators kept.
const KEPT_MAX: usize = 4_096;

/// Makes strings, and remembers what it takes to judge them.
#[derive(Default)]
pub(super) struct Strings {
    judges: HashMap<String, Option<jsonschema::Validator>>,
}

impl Strings {
    /// A string that suits, or the best that was found.
    pub fn make(&mut self, facts: &Facts<'_>, name: &str, now: Timestamp, variant: u64, dice: &mut Dice) -> String {
        let low = facts.length_min.map_or(0, |min| usize::try_from(min).unwrap_or(LENGTH_MAX).min(LENGTH_MAX));
        let high = facts.length_max.map_or(usize::MAX, |max| usize::try_from(max).unwrap_or(usize::MAX));
        let fits = |text: &str| (low..=high).contains(&text.chars().count());
        let formatted =
            facts.formats.iter().flat_map(|format| format::texts(format, now, variant, dice)).filter(|text| fits(text));
        let formatted: Vec<String> = formatted.collect();
        if facts.patterns.is_empty() {
            let named = format::by_name(name).filter(|text| fits(text) && formatted.is_empty() && variant == 0);
            let text = formatted.into_iter().next().or_else(|| named.map(str::to_owned));
            return text.unwrap_or_else(|| words(low, high, variant));
        }
        let named: Option<String> = format::by_name(name).map(str::to_owned).filter(|text| fits(text));
        let judge = self.judge(facts);
        let suits = |text: &String| judge.is_none_or(|judge| judge.is_valid(&text.as_str().into()));
        if variant == 0
            && let Some(text) = formatted.iter().chain(&named).find(|text| suits(text))
        {
            return text.clone();
        }
        let written = from_patterns(facts, low, high, dice);
        let found = written.iter().chain(&formatted).chain(&named).find(|text| suits(text));
        found.or(written.last()).cloned().unwrap_or_default()
    }

    /// What the schema library itself says of such strings; `None` if it cannot read one of the patterns.
    fn judge(&mut self, facts: &Facts<'_>) -> Option<&jsonschema::Validator> {
        let schema = judged(facts);
        let key = schema.to_string();
        if self.judges.len() >= KEPT_MAX {
            self.judges.clear();
        }
        let judge = self.judges.entry(key);
        judge.or_insert_with(|| jsonschema::options().should_validate_formats(true).build(&schema).ok()).as_ref()
    }
}

fn judged(facts: &Facts<'_>) -> Value {
    let patterns = facts.patterns.iter().map(|pattern| json!({ "pattern": pattern }));
    let formats = facts.formats.iter().map(|format| json!({ "format": format }));
    let mut schema = Map::new();
    schema.insert("allOf".into(), patterns.chain(formats).collect());
    facts.length_min.map(|min| schema.insert("minLength".into(), min.into()));
    facts.length_max.map(|max| schema.insert("maxLength".into(), max.into()));
    schema.into()
}

/// Texts of the patterns, from plain and short to anything.
fn from_patterns(facts: &Facts<'_>, low: usize, high: usize, dice: &mut Dice) -> Vec<String> {
    let patterns: Vec<Pattern> = facts.patterns.iter().filter_map(|pattern| Pattern::parse(pattern)).collect();
    let mut texts = Vec::new();
    for attempt in 0..TRIES_MAX {
        let Some(pattern) = patterns.get(attempt as usize % patterns.len().max(1)) else { break };
        let needed = low.saturating_sub(pattern.shortest());
        let more = match attempt / 4 {
            0 => 0,
            1 => 4,
            2 => 8,
            round => usize::try_from(dice.below(u64::from(round) * 2)).unwrap_or(0),
        };
        let room = high.saturating_sub(pattern.shortest());
        let wish = Wish { extra_chars: (needed + more).min(room), plain: attempt % 3 != 2 };
        let mut text = pattern.text(wish, dice);
        // A pattern without anchors matches within a longer text as well.
        let short = low.saturating_sub(text.chars().count());
        text.extend(std::iter::repeat_n('a', short));
        texts.push(text);
    }
    texts
}

/// Words without any demand but their length.
fn words(low: usize, high: usize, variant: u64) -> String {
    let mut text = if variant == 0 { "sandbox".to_owned() } else { format!("sandbox {variant}") };
    while text.chars().count() < low {
        text.push_str(" sandbox");
    }
    // Cut where it must be, and not in the middle of a needed length.
    text.chars().take(high.min(low.max(15))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::testing::NOW;

    #[test]
    fn strings_keep_their_lengths_patterns_and_formats() {
        for schema in [
            json!({ "type": "string" }),
            json!({ "type": "string", "maxLength": 3 }),
            json!({ "type": "string", "minLength": 40, "maxLength": 40 }),
            json!({ "type": "string", "minLength": 5, "maxLength": 2000, "pattern": "^(?!\\s)[\\w\\W\\s]*[^\\s]$" }),
            json!({ "type": "string", "format": "date-time", "maxLength": 20, "pattern": "^\\d{4}-\\d{2}-\\d{2}T\\d{2}:\\d{2}:\\d{2}Z$" }),
            json!({ "type": "string", "format": "uuid", "minLength": 36, "maxLength": 36 }),
            json!({ "type": "string", "format": "uri", "pattern": "^https://.*/end$" }),
            json!({ "type": "string", "minLength": 10, "pattern": "[a-z]" }),
            json!({ "type": "string", "allOf": [{ "pattern": "^a" }, { "pattern": "z$" }], "pattern": "^[az]+$" }),
            json!({ "type": "string", "minLength": 1, "maxLength": 50, "pattern": "\\w*\\W*" }),
            json!({ "type": "string", "format": "date", "pattern": "^\\d{4}-(1[0-2]|0[1-9])-(3[01]|[12][0-9]|0[1-9])$", "maxLength": 10 }),
        ] {
            let facts = Facts::gather(&schema, &[&schema]).unwrap();
            let judge = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
            for variant in 0..4 {
                let text = Strings::default().make(&facts, "x", NOW, variant, &mut Dice::new(variant));
                assert!(judge.is_valid(&text.as_str().into()), "{schema}: {text:?}");
            }
        }
    }

    #[test]
    fn a_telling_name_is_used_where_it_fits() {
        let schema = json!({ "type": "string", "maxLength": 3 });
        let facts = Facts::gather(&schema, &[&schema]).unwrap();
        let make = |name: &str| Strings::default().make(&facts, name, NOW, 0, &mut Dice::new(1));
        assert_eq!(make("currency"), "GBP");
        assert_eq!(make("city"), "san", "too long for three characters");
    }
}
