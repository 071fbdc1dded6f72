//! Schemas: keywords with values that JSON Schema 2020-12 does not allow.

use serde_json::{Map, Number, Value, json};

use super::Mender;
use super::members::Is;

const TYPES: [&str; 7] = ["null", "boolean", "object", "array", "number", "string", "integer"];

/// What a keyword's value must be.
enum Takes {
    Plain(Is),
    /// A whole number, not negative.
    Size,
    Number,
    /// A list of schemas, not empty.
    Schemas,
    /// An object of schemas.
    Named,
    Special,
}

fn takes(keyword: &str) -> Option<Takes> {
    use Takes::{Named, Number, Plain, Schemas, Size, Special};
    Some(match keyword {
        "title" | "description" | "pattern" | "format" | "contentEncoding" | "contentMediaType" | "$comment"
        | "$schema" | "$id" | "$anchor" | "$dynamicAnchor" | "$dynamicRef" | "$ref" => Plain(Is::Text),
        "uniqueItems" | "readOnly" | "writeOnly" | "deprecated" => Plain(Is::Bool),
        "items"
        | "additionalProperties"
        | "unevaluatedProperties"
        | "unevaluatedItems"
        | "contains"
        | "propertyNames"
        | "not"
        | "if"
        | "then"
        | "else"
        | "contentSchema" => Plain(Is::Schema),
        "dependentRequired" | "externalDocs" | "xml" => Plain(Is::Object),
        "default" | "const" | "example" => Plain(Is::Any),
        "maxLength" | "minLength" | "maxItems" | "minItems" | "maxProperties" | "minProperties" | "minContains"
        | "maxContains" => Size,
        "maximum" | "minimum" | "exclusiveMaximum" | "exclusiveMinimum" | "multipleOf" => Number,
        "allOf" | "anyOf" | "oneOf" | "prefixItems" => Schemas,
        "properties" | "patternProperties" | "$defs" | "dependentSchemas" => Named,
        "type" | "required" | "enum" | "discriminator" | "examples" => Special,
        _ => return None,
    })
}

impl Mender<'_> {
    pub(super) fn schema(&mut self, object: &mut Map<String, Value>) {
        let keywords: Vec<String> = object.keys().filter(|k| !k.starts_with("x-")).cloned().collect();
        for keyword in keywords {
            match takes(&keyword) {
                Some(Takes::Plain(is)) => {
                    self.list_of_items(object, &keyword);
                    self.typed(object, &keyword, is);
                }
                Some(Takes::Size) => self.number(object, &keyword, true),
                Some(Takes::Number) => self.number(object, &keyword, false),
                Some(Takes::Schemas) => self.schemas(object, &keyword),
                Some(Takes::Named) => self.named(object, &keyword),
                Some(Takes::Special) => self.special(object, &keyword),
                None => self.unknown_keyword(object, &keyword),
            }
        }
    }

    fn unknown_keyword(&mut self, object: &mut Map<String, Value>, keyword: &str) {
        let remedy = match keyword {
            "nullable" => "In OpenAPI 3.1 nullable has no effect: write type: [\"string\", \"null\"].",
            _ => "Correct its name, or begin it with x- if it is meant as an extension.",
        };
        self.warn(
            format!("`{keyword}` is no keyword of JSON Schema; it is kept as x-invalid-{keyword} and has no effect"),
            remedy,
        );
        self.set_aside(object, keyword);
    }

    /// `items: [ … ]` of older drafts is `prefixItems` now.
    fn list_of_items(&mut self, object: &mut Map<String, Value>, keyword: &str) {
        if keyword == "items" && object.get("items").is_some_and(Value::is_array) {
            if let Some(items) = object.shift_remove("items") {
                object.entry("prefixItems").or_insert(items);
            }
            self.schemas(object, "prefixItems");
            self.warn("a list of `items` is written prefixItems in this version; it was renamed", "Use prefixItems.");
        }
    }

    fn number(&mut self, object: &mut Map<String, Value>, keyword: &str, is_size: bool) {
        let Some(value) = object.get(keyword) else { return };
        let parsed = match value {
            Value::Number(number) => Some(number.clone()),
            Value::String(text) => text
                .trim()
                .parse::<i64>()
                .map(Number::from)
                .ok()
                .or_else(|| Number::from_f64(text.trim().parse().ok()?)),
            _ => None,
        };
        let allowed = parsed.and_then(|number| match number.as_f64() {
            Some(f) if is_size && (f < 0.0 || f.fract() != 0.0) => None,
            // 2020-12 takes 3.0 as whole, some validators do not.
            Some(f) if is_size && !number.is_u64() && f < 9e15 => Some(Number::from(f as u64)),
            Some(f) if keyword == "multipleOf" && f <= 0.0 => None,
            _ => Some(number),
        });
        match allowed {
            Some(number) if *value == Value::Number(number.clone()) => {}
            Some(number) => {
                self.warn(
                    format!("`{keyword}` is not written as a number of the right kind; it was converted"),
                    "Write a plain number.",
                );
                object.insert(keyword.to_owned(), number.into());
            }
            None => {
                self.warn(
                    format!("`{keyword}` is not a number that it allows; it is kept as x-invalid-{keyword} and has no effect"),
                    "Write a plain number.",
                );
                self.set_aside(object, keyword);
            }
        }
    }

    fn schemas(&mut self, object: &mut Map<String, Value>, keyword: &str) {
        if object.get(keyword).is_some_and(Value::is_object) {
            let single = object.get(keyword).cloned().unwrap_or_default();
            object.insert(keyword.to_owned(), json!([single]));
            self.warn(
                format!("`{keyword}` is not a list; its one schema was put into one"),
                "Write a list of schemas.",
            );
        }
        match object.get_mut(keyword) {
            Some(Value::Array(members)) if members.iter().any(is_schema) => {
                let before = members.len();
                members.retain(is_schema);
                members.iter_mut().for_each(super::messages::plain);
                if members.len() != before {
                    self.warn(
                        format!("`{keyword}` has members that are no schemas; they were left out"),
                        "Remove them.",
                    );
                }
            }
            Some(_) => {
                self.warn(
                    format!("`{keyword}` is not a list of at least one schema; it is kept as x-invalid-{keyword}"),
                    "Add a schema or remove it.",
                );
                self.set_aside(object, keyword);
            }
            None => {}
        }
    }

    fn named(&mut self, object: &mut Map<String, Value>, keyword: &str) {
        self.typed(object, keyword, Is::Object);
        let Some(Value::Object(entries)) = object.get_mut(keyword) else { return };
        let wrong: Vec<String> = entries.iter().filter(|(_, v)| !is_schema(v)).map(|(k, _)| k.clone()).collect();
        for name in wrong {
            let value = entries.insert(name.clone(), json!({}));
            // `description:` with nothing behind it, and properties without a schema, are the usual cases.
            if !value.as_ref().is_some_and(Value::is_null) {
                entries.insert(name.clone(), json!({ "x-invalid-schema": value }));
            }
            self.warn(
                format!("`{keyword}` holds something that is no schema; it was taken as one that allows anything"),
                "Write a schema.",
            );
        }
    }

    fn special(&mut self, object: &mut Map<String, Value>, keyword: &str) {
        match keyword {
            "type" => self.schema_type(object),
            "required" => self.required(object),
            "enum" => {
                if object.get("enum").and_then(Value::as_array).is_none_or(Vec::is_empty) {
                    self.warn(
                        "`enum` is not a list of at least one value; it is kept as x-invalid-enum",
                        "List the values.",
                    );
                    self.set_aside(object, "enum");
                }
            }
            "examples" => match object.shift_remove("examples") {
                Some(Value::Array(list)) => drop(object.insert("examples".into(), list.into())),
                Some(other) => {
                    self.warn("`examples` of a schema is a list; it was converted", "Write a list of values.");
                    let values = match other {
                        Value::Object(map) => {
                            map.into_iter().map(|(_, v)| v.get("value").cloned().unwrap_or(v)).collect()
                        }
                        single => vec![single],
                    };
                    object.insert("examples".into(), values.into());
                }
                None => {}
            },
            _ => self.discriminator(object),
        }
    }

    fn schema_type(&mut self, object: &mut Map<String, Value>) {
        let names: Vec<String> = match object.get("type") {
            Some(Value::String(name)) => vec![name.clone()],
            Some(Value::Array(names)) => names.iter().map(|n| n.as_str().unwrap_or_default().to_owned()).collect(),
            Some(Value::Null) => vec!["null".to_owned()],
            _ => Vec::new(),
        };
        let is_right = object.get("type").is_some_and(|t| t.is_string() || t.is_array())
            && !names.is_empty()
            && names.iter().all(|n| TYPES.contains(&n.as_str()));
        if is_right {
            return;
        }
        let mut known: Vec<Value> = Vec::new();
        for name in &names {
            let (real, format) = closest(name);
            if let (Some(format), false) = (format, object.contains_key("format")) {
                object.insert("format".into(), format.into());
            }
            if let Some(real) = real.filter(|r| !known.iter().any(|k| k == r)) {
                known.push(real.into());
            }
        }
        let written = object.get("type").cloned().unwrap_or_default();
        let new = if known.len() > 1 { Some(Value::Array(known)) } else { known.pop() };
        match new {
            Some(new) => {
                self.warn(
                    format!("the type {written} does not exist; it was read as {new}"),
                    "Use the types of JSON Schema; put the rest into format.",
                );
                object.insert("type".into(), new);
            }
            None => {
                self.warn(
                    format!("the type {written} does not exist; it is kept as x-invalid-type and any value is allowed"),
                    "Use the types of JSON Schema, or leave type out to allow any value.",
                );
                self.set_aside(object, "type");
            }
        }
    }

    fn required(&mut self, object: &mut Map<String, Value>) {
        let Some(Value::Array(names)) = object.get_mut("required") else {
            self.warn(
                "`required` is not a list; it is kept as x-invalid-required and has no effect",
                "List the required properties' names in the object that holds them.",
            );
            self.set_aside(object, "required");
            return;
        };
        let mut seen = Vec::new();
        names.retain(|name| {
            let keep = name.is_string() && !seen.contains(name);
            seen.push(name.clone());
            keep
        });
        let changed = names.len() != seen.len();
        if changed {
            self.warn(
                "`required` names a property twice, or something that is no name; it was left out",
                "List each name once.",
            );
        }
    }

    fn discriminator(&mut self, object: &mut Map<String, Value>) {
        if let Some(name) = object.get("discriminator").and_then(Value::as_str).map(ToOwned::to_owned) {
            self.warn(
                "`discriminator` is not an object; its text was taken as the property's name",
                "Write discriminator: {propertyName: …}.",
            );
            object.insert("discriminator".into(), json!({ "propertyName": name }));
        }
        let has_name = object.get("discriminator").and_then(|d| d.get("propertyName")).is_some_and(Value::is_string);
        if !has_name {
            self.warn("`discriminator` names no property; it is kept as x-invalid-discriminator", "Add propertyName.");
            self.set_aside(object, "discriminator");
        }
    }
}

fn is_schema(value: &Value) -> bool {
    value.is_object() || value.is_boolean()
}

/// The type and format that a made-up type means.
fn closest(name: &str) -> (Option<&'static str>, Option<&'static str>) {
    let lower = name.to_ascii_lowercase();
    if let Some(real) = TYPES.iter().find(|t| **t == lower) {
        return (Some(real), None);
    }
    match lower.as_str() {
        "float" => (Some("number"), Some("float")),
        "double" => (Some("number"), Some("double")),
        "decimal" | "numeric" => (Some("number"), None),
        "int" => (Some("integer"), None),
        "int32" => (Some("integer"), Some("int32")),
        "long" | "int64" => (Some("integer"), Some("int64")),
        "bool" => (Some("boolean"), None),
        "date" => (Some("string"), Some("date")),
        "datetime" | "date-time" | "timestamp" => (Some("string"), Some("date-time")),
        "uuid" => (Some("string"), Some("uuid")),
        "file" | "binary" => (Some("string"), Some("binary")),
        "text" | "str" | "char" | "enum" => (Some("string"), None),
        "map" | "dict" => (Some("object"), None),
        "list" | "set" => (Some("array"), None),
        _ => (None, None),
    }
}
