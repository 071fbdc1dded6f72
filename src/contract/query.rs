//! Query strings, cookies and forms as pairs of names and values (WHATWG URL §5.1).

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// Most pairs of one query, cookie or form.
pub(super) const PAIRS_MAX: usize = 1000;

/// What `+` stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plus {
    Space,
    Itself,
}

/// A name, decoded, and its value as received; `None` where there is no `=`.
#[derive(Debug)]
pub(super) struct Pair<'a> {
    pub name: Cow<'a, str>,
    pub value: Option<&'a str>,
}

impl<'a> Pair<'a> {
    pub fn raw(&self) -> &'a str {
        self.value.unwrap_or_default()
    }
}

/// Splits a query or form. `Err` where there are too many pairs or a name is not percent-encoded UTF-8.
pub(super) fn pairs(text: &str) -> Result<Vec<Pair<'_>>, &'static str> {
    let mut pairs = Vec::new();
    for part in text.split('&').filter(|part| !part.is_empty()) {
        if pairs.len() >= PAIRS_MAX {
            return Err("has too many parameters: at most 1000 are allowed");
        }
        let (name, value) = match part.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (part, None),
        };
        let name = decode(name, Plus::Space).ok_or("has a name that is not percent-encoded UTF-8")?;
        pairs.push(Pair { name, value });
    }
    Ok(pairs)
}

/// Splits the values of `Cookie` fields (RFC 6265 §4.2.1).
pub(super) fn cookies<'a>(fields: impl Iterator<Item = &'a str>) -> Vec<Pair<'a>> {
    let parts = fields.flat_map(|field| field.split(';')).map(str::trim).take(PAIRS_MAX);
    parts
        .filter_map(|part| part.split_once('='))
        .map(|(name, value)| Pair { name: name.into(), value: Some(value) })
        .collect()
}

/// The text that a raw value stands for; `None` if it is not percent-encoded UTF-8.
pub(super) fn decode(raw: &str, plus: Plus) -> Option<Cow<'_, str>> {
    let spaced = match plus {
        Plus::Space if raw.contains('+') => Cow::Owned(raw.replace('+', " ")),
        _ => Cow::Borrowed(raw),
    };
    if !spaced.contains('%') {
        return Some(spaced);
    }
    let mut escapes = spaced.split('%').skip(1);
    if !escapes.all(|rest| matches!(rest.as_bytes(), [a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit())) {
        return None;
    }
    percent_decode_str(&spaced).decode_utf8().ok().map(|text| Cow::Owned(text.into_owned()))
}
