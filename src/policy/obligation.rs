//! What the gateway must do to an answer that policies permit.

use http::{HeaderName, HeaderValue};
use serde_json::Value;

use super::pattern::Pattern;

/// Texts shorter than this are masked whole: the last four of six digits would be most of a sort code.
const SHOWN_FROM: usize = 8;
/// How many characters at the end of a masked text stay readable.
const SHOWN: usize = 4;

/// Obligations of one permit, or of all permits that determined a decision together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Obligations {
    masks: Vec<Pattern>,
    redactions: Vec<Pattern>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Obligations {
    pub(super) fn new(masks: Vec<Pattern>, redactions: Vec<Pattern>, headers: Vec<(HeaderName, HeaderValue)>) -> Self {
        let mut all = Self::default();
        all.add(&Self { masks, redactions, headers });
        all
    }

    /// Adds what is not there yet.
    pub(super) fn add(&mut self, other: &Self) {
        extend(&mut self.masks, &other.masks);
        extend(&mut self.redactions, &other.redactions);
        extend(&mut self.headers, &other.headers);
    }

    /// Whether an answer must be read whole and rewritten: an answer that is not JSON cannot be passed on then.
    pub fn rewrites_body(&self) -> bool {
        !self.masks.is_empty() || !self.redactions.is_empty()
    }

    /// Masks and redacts an answer. Redaction comes last, so it wins where both match.
    pub fn apply(&self, body: &mut Value) {
        for pattern in &self.masks {
            pattern.replace(body, mask);
        }
        for pattern in &self.redactions {
            pattern.remove(body);
        }
    }

    /// Fields to set on the answer. A name can occur twice with different values; both are sent.
    pub fn headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.headers
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        !self.rewrites_body() && self.headers.is_empty()
    }
}

fn extend<T: Clone + PartialEq>(all: &mut Vec<T>, more: &[T]) {
    for item in more {
        if !all.contains(item) {
            all.push(item.clone());
        }
    }
}

/// A text keeps its length and its last four characters; what is not a text has no end to show and becomes null.
fn mask(value: &mut Value) {
    let Value::String(text) = value else {
        *value = Value::Null;
        return;
    };
    let length = text.chars().count();
    let hidden = if length < SHOWN_FROM { length } else { length - SHOWN };
    let masked = text.chars().enumerate().map(|(place, c)| if place < hidden { '*' } else { c }).collect();
    *text = masked;
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn masks(pattern: &str) -> Obligations {
        Obligations::new(vec![Pattern::parse(pattern).unwrap()], Vec::new(), Vec::new())
    }

    #[test]
    fn masked_texts_keep_four_characters_and_other_values_nothing() {
        for (name, value, expected) in [
            ("iban", json!("GB29NWBK60161331926819"), json!("******************6819")),
            ("eight characters", json!("12345678"), json!("****5678")),
            ("too short to show any", json!("1234567"), json!("*******")),
            ("empty", json!(""), json!("")),
            ("characters, not bytes", json!("äöüäöüäöü"), json!("*****öüäöü"[..5].to_owned() + "üäöü")),
            ("number", json!(12345678), json!(null)),
            ("truth value", json!(true), json!(null)),
            ("object", json!({"a": "12345678"}), json!(null)),
            ("array", json!(["12345678"]), json!(null)),
        ] {
            let mut body = json!({ "v": value });
            masks("/v").apply(&mut body);
            assert_eq!(body["v"], expected, "{name}");
        }
    }

    #[test]
    fn redaction_wins_over_masking() {
        let pattern = Pattern::parse("/*/Identification").unwrap();
        let both = Obligations::new(vec![pattern.clone()], vec![pattern], Vec::new());
        let mut body = json!([{"Identification": "12345678", "Name": "A"}]);
        both.apply(&mut body);
        assert_eq!(body, json!([{"Name": "A"}]));
        assert!(both.rewrites_body());
    }

    #[test]
    fn adding_twice_changes_nothing() {
        let header = super::super::header::parse("a: b").unwrap();
        let one = Obligations::new(vec![Pattern::parse("/a").unwrap()], Vec::new(), vec![header]);
        let mut two = one.clone();
        two.add(&one);
        assert_eq!(one, two);
        assert!(Obligations::default().is_empty() && !one.is_empty());
    }
}
