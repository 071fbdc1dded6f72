//! JSON to a tree: strictly RFC 8259, and a member that stands twice is refused (RFC 8259 §4 leaves its meaning open).

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::limits::NODES_MAX;
use super::yaml::Mistake;

/// Reads one document; nesting is bounded by serde_json (128).
pub fn parse(text: &str) -> Result<Value, Mistake> {
    let nodes = Cell::new(0);
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = Tree(&nodes).deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    value.map_err(|e| {
        let text = e.to_string();
        let what = text.split(" at line ").next().unwrap_or(&text).to_owned();
        Mistake { line: e.line(), column: e.column().max(1), what }
    })
}

#[derive(Clone, Copy)]
struct Tree<'c>(&'c Cell<usize>);

impl Tree<'_> {
    fn count<E: Error>(self) -> Result<(), E> {
        self.0.set(self.0.get() + 1);
        if self.0.get() > NODES_MAX { Err(E::custom(format!("more than {NODES_MAX} values"))) } else { Ok(()) }
    }
}

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        self.count()?;
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = members.next_key::<String>()? {
            if map.contains_key(&key) {
                return Err(A::Error::custom(format!("the key {key:?} stands twice in this object")));
            }
            let value = members.next_value_seed(self)?;
            map.insert(key, value);
        }
        Ok(map.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_kept_and_duplicates_are_refused_with_their_place() {
        let value = parse(r#"{"b": 1, "a": [true, null, 1.5, 18446744073709551615]}"#).unwrap();
        assert_eq!(value.to_string(), r#"{"b":1,"a":[true,null,1.5,18446744073709551615]}"#);
        for (name, text, line) in [
            ("duplicate", "{\"a\": 1,\n\"a\": 2}", 2),
            ("escaped duplicate", "{\"a\": 1,\n\n\"\\u0061\": 2}", 3),
            ("trailing comma", "{\"a\": 1,}", 1),
            ("trailing text", "{}\n}", 2),
            ("single quotes", "{'a': 1}", 1),
        ] {
            let mistake = parse(text).expect_err(name);
            assert_eq!(mistake.line, line, "{name}: {}", mistake.what);
        }
        assert!(parse(&"[".repeat(200)).unwrap_err().what.contains("recursion"));
    }
}
