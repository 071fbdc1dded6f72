//! YAML 1.2 to a tree: string keys only, no duplicate keys, nothing typed but null, booleans and plain decimal numbers.
//!
//! Built on the parser's events rather than on its serde layer, because a document must not turn `2024-01-01`, `on`
//! or `1e3` into anything else (checklist OAM-4), and because every refusal names line and column.

use std::collections::HashMap;

use serde_json::{Map, Number, Value};
use serde_saphyr::granit_parser::{Event, Marker, Options, Parser, ScalarStyle, Tag};

use super::limits::{ALIASES_MAX, DEPTH_MAX, NODES_MAX};

/// Where and why a text is not the YAML we take.
#[derive(Debug)]
pub struct Mistake {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    pub what: String,
}

impl Mistake {
    fn at(marker: &Marker, what: impl Into<String>) -> Self {
        Self { line: marker.line(), column: marker.col() + 1, what: what.into() }
    }
}

/// The parser both readers of YAML use.
pub fn parser(text: &str) -> Parser<'_, serde_saphyr::granit_parser::StrInput<'_>> {
    let mut options = Options::default();
    options.set_emit_comments(false);
    options.flow_nesting_limit = DEPTH_MAX;
    options.block_nesting_limit = DEPTH_MAX;
    Parser::new_from_str_with_options(text, options)
}

/// Reads one document.
pub fn parse(text: &str) -> Result<Value, Mistake> {
    let mut composer = Composer::default();
    for event in parser(text) {
        let (event, span) = event.map_err(|e| Mistake::at(e.marker(), e.info()))?;
        composer.take(event, &span.start)?;
    }
    Ok(composer.root.unwrap_or(Value::Null))
}

enum Open {
    Sequence { items: Vec<Value>, anchor: usize },
    Mapping { members: Map<String, Value>, key: Option<String>, merged: Vec<Value>, anchor: usize },
}

#[derive(Default)]
struct Composer {
    open: Vec<Open>,
    root: Option<Value>,
    anchors: HashMap<usize, (Value, usize)>,
    documents: usize,
    nodes: usize,
    /// Weight of all anchored values: nested anchors hold the same text more than once.
    kept: usize,
    aliases: usize,
}

impl Composer {
    fn take(&mut self, event: Event<'_>, at: &Marker) -> Result<(), Mistake> {
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(Mistake::at(at, "a second YAML document begins here; one file holds one document"));
                }
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                if self.wants_key() {
                    return self.key(&text, at);
                }
                let value = scalar(&text, style, tag.as_deref()).map_err(|what| Mistake::at(at, what))?;
                self.finish(value, anchor, 1, at)
            }
            Event::SequenceStart(_, anchor, _) => self.start(Open::Sequence { items: Vec::new(), anchor }, at),
            Event::MappingStart(_, anchor, tag) => {
                if let Some(tag) = tag.filter(|t| !t.is_yaml_core_schema()) {
                    return Err(Mistake::at(at, format!("the tag {} means nothing here", tag.original())));
                }
                self.start(Open::Mapping { members: Map::new(), key: None, merged: Vec::new(), anchor }, at)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(at),
            Event::Alias(id) => self.alias(id, at),
            Event::UnresolvedAlias(name) => Err(Mistake::at(at, format!("no anchor &{name} stands before this alias"))),
            // Begin and end of the stream, and what only presents (the parser's enum may grow).
            _ => Ok(()),
        }
    }

    fn wants_key(&self) -> bool {
        matches!(self.open.last(), Some(Open::Mapping { key: None, .. }))
    }

    fn start(&mut self, open: Open, at: &Marker) -> Result<(), Mistake> {
        if self.wants_key() {
            return Err(Mistake::at(at, "a key is a list or an object; keys must be plain text"));
        }
        if self.open.len() >= DEPTH_MAX {
            return Err(Mistake::at(at, format!("nested more than {DEPTH_MAX} deep")));
        }
        self.open.push(open);
        Ok(())
    }

    /// Response codes and versions stand unquoted as keys: the text counts, not what it could be typed as.
    fn key(&mut self, text: &str, at: &Marker) -> Result<(), Mistake> {
        let Some(Open::Mapping { members, key, .. }) = self.open.last_mut() else { return Ok(()) };
        if members.contains_key(text) {
            return Err(Mistake::at(at, format!("the key {text:?} stands twice in this object")));
        }
        *key = Some(text.to_owned());
        Ok(())
    }

    fn close(&mut self, at: &Marker) -> Result<(), Mistake> {
        match self.open.pop() {
            Some(Open::Sequence { items, anchor }) => {
                let value = Value::Array(items);
                self.finish(value, anchor, 1, at)
            }
            Some(Open::Mapping { mut members, merged, anchor, .. }) => {
                // YAML 1.1 merge keys: what stands in the object itself wins.
                for source in merged {
                    merge(&mut members, source).map_err(|what| Mistake::at(at, what))?;
                }
                self.finish(Value::Object(members), anchor, 1, at)
            }
            None => Ok(()),
        }
    }

    fn alias(&mut self, id: usize, at: &Marker) -> Result<(), Mistake> {
        self.aliases += 1;
        if self.aliases > ALIASES_MAX {
            return Err(Mistake::at(at, format!("more than {ALIASES_MAX} aliases")));
        }
        let Some((value, size)) = self.anchors.get(&id) else {
            return Err(Mistake::at(at, "this alias stands inside the very node it repeats"));
        };
        let size = *size;
        // Counted before it is copied: an alias bomb is refused by its size, not by the memory it took.
        if self.nodes.saturating_add(size) > NODES_MAX {
            return Err(Mistake::at(at, format!("more than {NODES_MAX} values once the aliases are expanded")));
        }
        let value = value.clone();
        if self.wants_key() {
            let text = value.as_str().map(ToOwned::to_owned);
            return text.map_or_else(
                || Err(Mistake::at(at, "an alias to something else than text stands as a key")),
                |text| self.key(&text, at),
            );
        }
        self.finish(value, 0, size, at)
    }

    fn finish(&mut self, value: Value, anchor: usize, size: usize, at: &Marker) -> Result<(), Mistake> {
        self.nodes += size;
        if self.nodes > NODES_MAX {
            return Err(Mistake::at(at, format!("more than {NODES_MAX} values")));
        }
        if anchor != 0 {
            let size = weight(&value);
            self.kept += size;
            if self.kept > NODES_MAX {
                return Err(Mistake::at(at, "the anchors of this file hold too much"));
            }
            self.anchors.insert(anchor, (value.clone(), size));
        }
        match self.open.last_mut() {
            None => self.root = Some(value),
            Some(Open::Sequence { items, .. }) => items.push(value),
            Some(Open::Mapping { members, key, merged, .. }) => match key.take() {
                Some(name) if name == "<<" && (value.is_object() || value.is_array()) => merged.push(value),
                Some(name) => {
                    members.insert(name, value);
                }
                None => return Err(Mistake::at(at, "a value stands where a key must stand")),
            },
        }
        Ok(())
    }
}

fn merge(members: &mut Map<String, Value>, source: Value) -> Result<(), String> {
    match source {
        Value::Object(more) => {
            for (key, value) in more {
                members.entry(key).or_insert(value);
            }
            Ok(())
        }
        Value::Array(sources) => sources.into_iter().try_for_each(|source| merge(members, source)),
        _ => Err("the merge key << takes an object or a list of objects".into()),
    }
}

/// What a copy costs: its values, and its text in units of 64 bytes.
fn weight(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(weight).sum::<usize>(),
        Value::Object(members) => 1 + members.iter().map(|(key, v)| key.len() / 64 + weight(v)).sum::<usize>(),
        Value::String(text) => 1 + text.len() / 64,
        _ => 1,
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, String> {
    match tag.map(|t| (t.core_suffix(), t)) {
        None if style == ScalarStyle::Plain => Ok(plain(text)),
        None | Some((Some("str"), _)) => Ok(text.into()),
        Some((Some("int" | "float" | "bool" | "null"), _)) => Ok(plain(text)),
        Some((_, tag)) if tag.original() == "!" => Ok(text.into()),
        Some((_, tag)) => Err(format!("the tag {} means nothing here", tag.original())),
    }
}

fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => number(text).map_or_else(|| text.into(), Value::Number),
    }
}

/// Decimal numbers as JSON writes them. Leading zeros, hexadecimal and an exponent without a fraction stay text:
/// in these documents they are identifiers, versions and hashes.
fn number(text: &str) -> Option<Number> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, rest) = unsigned.split_at(unsigned.find(|c: char| !c.is_ascii_digit()).unwrap_or(unsigned.len()));
    if whole.is_empty() || (whole.len() > 1 && whole.starts_with('0')) {
        return None;
    }
    let text = text.strip_prefix('+').unwrap_or(text);
    if rest.is_empty() {
        let whole = text.parse::<i64>().map(Number::from).or_else(|_| text.parse::<u64>().map(Number::from));
        return whole.ok().or_else(|| Number::from_f64(text.parse().ok()?));
    }
    let fraction = rest.strip_prefix('.')?;
    fraction.starts_with(|c: char| c.is_ascii_digit()).then(|| Number::from_f64(text.parse().ok()?))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_null_booleans_and_decimal_numbers_are_typed() {
        for (text, expected) in [
            ("on", json!("on")),
            ("no", json!("no")),
            ("1e3", json!("1e3")),
            ("2024-01-01", json!("2024-01-01")),
            ("2024-01-01T00:00:00Z", json!("2024-01-01T00:00:00Z")),
            ("007", json!("007")),
            ("0x1f", json!("0x1f")),
            ("1_000", json!("1_000")),
            (".nan", json!(".nan")),
            ("1.2.3", json!("1.2.3")),
            ("12:30:45", json!("12:30:45")),
            ("0", json!(0)),
            ("-12", json!(-12)),
            ("18446744073709551615", json!(u64::MAX)),
            ("1.50", json!(1.5)),
            ("1.5e3", json!(1500.0)),
            ("true", json!(true)),
            ("~", json!(null)),
            ("'true'", json!("true")),
            ("!!str 12", json!("12")),
            ("! 12", json!("12")),
            ("!!int '12'", json!(12)),
        ] {
            assert_eq!(parse(&format!("a: {text}")).unwrap()["a"], expected, "{text}");
        }
    }

    #[test]
    fn keys_are_text_and_stand_once() {
        assert_eq!(
            parse("200: a\ntrue: b\n2024-01-01: c").unwrap(),
            json!({"200": "a", "true": "b", "2024-01-01": "c"})
        );
        for (name, text, line, column) in [
            ("duplicate", "a: 1\nb: 2\na: 3", 3, 1),
            ("duplicate by text", "200: 1\n'200': 2", 2, 1),
            ("duplicate in flow", "x: {a: 1, a: 2}", 1, 11),
            ("list as key", "? [a]\n: 1", 1, 3),
            ("two documents", "a: 1\n---\nb: 2", 2, 1),
            ("tag", "a: !include b.yaml", 1, 13),
            ("unknown anchor", "a: *b", 1, 4),
        ] {
            let mistake = parse(text).expect_err(name);
            assert_eq!((mistake.line, mistake.column), (line, column), "{name}: {}", mistake.what);
        }
    }

    #[test]
    fn aliases_and_merge_keys_are_expanded_within_a_budget() {
        let text = "base: &b {x: 1, y: 2}\nuse: {<<: *b, y: 3}\nagain: *b";
        assert_eq!(parse(text).unwrap()["use"], json!({"y": 3, "x": 1}));
        assert_eq!(parse(text).unwrap()["again"], json!({"x": 1, "y": 2}));
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for n in 1..12 {
            let list = vec![format!("*a{}", n - 1); 10].join(", ");
            bomb.push_str(&format!("a{n}: &a{n} [{list}]\n"));
        }
        assert!(parse(&bomb).unwrap_err().what.contains("aliases are expanded"));
        assert!(parse(&"[".repeat(500)).is_err());
    }
}
