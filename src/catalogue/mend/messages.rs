//! Parameters, bodies, responses and the rest of an operation: members that must be there, and pairs that exclude each
//! other.

use serde_json::{Map, Value, json};

use super::super::bundle::UNRESOLVED;
use super::super::census::{response_code, text};
use super::super::shape::Kind;
use super::{Mender, SET_ASIDE, UNUSABLE};

/// `true` and `false` are schemas in 3.1, but many tools only take objects here.
pub(super) fn plain(schema: &mut Value) {
    match schema {
        Value::Bool(true) => *schema = json!({}),
        Value::Bool(false) => *schema = json!({ "not": {} }),
        _ => {}
    }
}

fn plain_schema(object: &mut Map<String, Value>, key: &str) {
    object.get_mut(key).into_iter().for_each(plain);
}

impl Mender<'_> {
    pub(super) fn message(&mut self, object: &mut Map<String, Value>, kind: Kind) {
        match kind {
            Kind::Parameter | Kind::Header => self.parameter(object, kind),
            Kind::MediaType => {
                plain_schema(object, "schema");
                self.examples(object);
            }
            Kind::RequestBody => self.content(object),
            Kind::Response => self.response(object),
            Kind::Operation => self.operation(object),
            Kind::Document => self.tags(object),
            Kind::Components => self.components(object),
            Kind::Callback => {
                let wrong: Vec<String> = object
                    .iter()
                    .filter(|(key, value)| !value.is_object() && !key.starts_with("x-"))
                    .map(|(key, _)| key.clone())
                    .collect();
                for key in wrong {
                    self.warn("an expression of a callback holds no path item; it has no effect", "Write a path item.");
                    self.set_aside(object, &key);
                }
            }
            Kind::Discriminator => self.mapping(object),
            Kind::Licence => self.licence(object),
            Kind::Link => self.exclude(object, "operationRef", "operationId"),
            Kind::Example => self.example(object),
            Kind::ServerVariable => drop(object.entry("default").or_insert_with(|| "".into())),
            Kind::OauthFlow => drop(object.entry("scopes").or_insert_with(|| json!({}))),
            _ => {}
        }
    }

    fn exclude(&mut self, object: &mut Map<String, Value>, weaker: &str, stronger: &str) {
        if object.contains_key(weaker) && object.contains_key(stronger) {
            self.warn(
                format!("`{weaker}` and `{stronger}` exclude each other; `{weaker}` is kept as x-invalid-{weaker}"),
                "Keep one of the two.",
            );
            self.set_aside(object, weaker);
        }
    }

    /// A parameter that names nothing cannot be used; it is made harmless, and its users leave it out.
    fn unusable(&mut self, object: &mut Map<String, Value>) {
        let is_place = matches!(text(object, "in"), "path" | "query" | "header" | "cookie");
        if is_place && !text(object, "name").is_empty() {
            return;
        }
        if !is_place {
            self.set_aside(object, "in");
            object.insert("in".into(), "query".into());
        }
        if text(object, "name").is_empty() {
            object.insert("name".into(), "unusable".into());
        }
        object.insert(UNUSABLE.into(), true.into());
    }

    fn parameter(&mut self, object: &mut Map<String, Value>, kind: Kind) {
        if kind == Kind::Parameter {
            self.unusable(object);
        }
        let single = object.get("content").and_then(Value::as_object).is_some_and(|c| c.len() == 1);
        if object.contains_key("content") && !single {
            self.warn(
                "`content` of a parameter or header has exactly one media type; it is kept as x-invalid-content",
                "Keep one media type.",
            );
            self.set_aside(object, "content");
        }
        self.exclude(object, "content", "schema");
        plain_schema(object, "schema");
        self.media_types(object);
        if !object.contains_key("content") && !object.contains_key("schema") {
            self.warn("there is neither `schema` nor `content`; any value is allowed", "Add a schema.");
            object.insert("schema".into(), json!({}));
        }
        self.examples(object);
        let place = if kind == Kind::Header { "header" } else { text(object, "in") }.to_owned();
        let place = place.as_str();
        let styles: &[&str] = match place {
            "path" => &["simple", "label", "matrix"],
            "query" => &["form", "spaceDelimited", "pipeDelimited", "deepObject"],
            "cookie" => &["form"],
            _ => &["simple"],
        };
        if object.contains_key("style") && !styles.contains(&text(object, "style")) {
            self.warn(
                format!(
                    "the style {:?} does not exist in a {place}; it is kept as x-invalid-style",
                    text(object, "style")
                ),
                "Use a style of that place.",
            );
            self.set_aside(object, "style");
        }
        if place != "query" && object.contains_key("allowEmptyValue") {
            self.set_aside(object, "allowEmptyValue");
        }
        if place == "path" && kind == Kind::Parameter && object.get("required") != Some(&Value::Bool(true)) {
            self.warn("a path parameter is always required; it was made so", "Write required: true.");
            object.insert("required".into(), true.into());
        }
    }

    /// OAM-32, and examples written as plain values or as a list.
    fn examples(&mut self, object: &mut Map<String, Value>) {
        self.exclude(object, "example", "examples");
        let named = match object.shift_remove("examples") {
            None => return,
            Some(Value::Object(map)) => map,
            Some(Value::Null) => return,
            Some(other) => {
                self.warn("`examples` is an object of named examples here; names were made up", "Name each example.");
                let values = if let Value::Array(list) = other { list } else { vec![other] };
                values.into_iter().enumerate().map(|(n, v)| (format!("example{}", n + 1), v)).collect()
            }
        };
        let is_example = |v: &Value| {
            let known = ["$ref", "value", "externalValue", "summary", "description"];
            v.as_object()
                .is_some_and(|o| !o.is_empty() && o.keys().all(|k| known.contains(&k.as_str()) || k.starts_with("x-")))
        };
        let mut plain = false;
        let named: Map<String, Value> = named
            .into_iter()
            .map(|(name, value)| {
                let wrap = !is_example(&value);
                plain |= wrap;
                (name, if wrap { json!({ "value": value }) } else { value })
            })
            .collect();
        if plain {
            self.warn("an example stands without its `value`; it was put there", "Write examples: {name: {value: …}}.");
        }
        if !named.is_empty() {
            object.insert("examples".into(), named.into());
        }
    }

    fn example(&mut self, object: &mut Map<String, Value>) {
        self.exclude(object, "externalValue", "value");
        if object.contains_key("externalValue") && !text(object, "externalValue").starts_with("http") {
            self.warn(
                "the example's file is not published; it is kept as x-invalid-externalValue",
                "Write the value itself.",
            );
            self.set_aside(object, "externalValue");
        }
    }

    fn content(&mut self, object: &mut Map<String, Value>) {
        if !object.contains_key("content") {
            self.warn("a request body without `content`; any media type is allowed", "Add the media types.");
            object.insert("content".into(), json!({ "*/*": {} }));
        }
        self.media_types(object);
    }

    /// A media type with nothing behind it is one without a schema.
    fn media_types(&mut self, object: &mut Map<String, Value>) {
        let Some(Value::Object(content)) = object.get_mut("content") else { return };
        for media in content.values_mut().filter(|m| !m.is_object()) {
            *media = json!({});
        }
    }

    fn response(&mut self, object: &mut Map<String, Value>) {
        if !object.contains_key("description") {
            let lost = object.contains_key(UNRESOLVED);
            if !lost {
                self.warn("a response has no description; an empty one was added", "Say what the response means.");
            }
            object.insert("description".into(), "".into());
        }
        if let Some(Value::Object(headers)) = object.get_mut("headers") {
            // OpenAPI 3.1.1 §4.8.17: a Content-Type header here is ignored.
            headers.retain(|name, value| value.is_object() && !name.eq_ignore_ascii_case("content-type"));
        }
        self.media_types(object);
    }

    fn operation(&mut self, object: &mut Map<String, Value>) {
        if let Some(Value::Array(tags)) = object.get_mut("tags") {
            let before = tags.len();
            let mut seen = Vec::new();
            tags.retain(|t| {
                t.is_string() && !seen.contains(t) && {
                    seen.push(t.clone());
                    true
                }
            });
            if tags.len() != before {
                self.warn("a tag stands twice or is no text; it was left out", "Name each tag once.");
            }
        }
        if let Some(Value::Array(parameters)) = object.get_mut("parameters") {
            parameters.retain(Value::is_object);
        }
        self.response_codes(object);
    }

    /// OAM-30: `default`, three digits, or a class such as `2XX`.
    fn response_codes(&mut self, object: &mut Map<String, Value>) {
        let Some(Value::Object(responses)) = object.get_mut("responses") else { return };
        let mut renamed = Vec::new();
        let mut set_aside = Map::new();
        let all = std::mem::take(responses);
        for (code, value) in all {
            let meant = response_code(&code);
            let key = meant.clone().unwrap_or_else(|| code.clone());
            let is_response = meant.is_some() && value.is_object() && !responses.contains_key(&key);
            if !is_response && !key.starts_with("x-") {
                set_aside.insert(format!("{SET_ASIDE}{code}"), value);
                continue;
            }
            if key != code {
                renamed.push((code, key.clone()));
            }
            responses.insert(key, value);
        }
        for (key, value) in &set_aside {
            responses.insert(key.clone(), value.clone());
        }
        for (old, new) in renamed {
            self.warn(
                format!("the response {old:?} was read as {new:?}"),
                "Write three digits, a class such as 2XX, or default.",
            );
        }
        for key in set_aside.keys() {
            let code = key.trim_start_matches(SET_ASIDE);
            self.warn(
                format!(
                    "the response {code:?} is no status code or no object; it is kept as {key} and describes nothing"
                ),
                "Write three digits, a class such as 2XX, or default.",
            );
        }
    }

    /// OAM-28: names are unique.
    fn tags(&mut self, object: &mut Map<String, Value>) {
        let Some(Value::Array(tags)) = object.get_mut("tags") else { return };
        let mut names: Vec<String> = Vec::new();
        let mut changed = false;
        tags.retain_mut(|tag| {
            if let Value::String(name) = tag {
                *tag = json!({ "name": name });
                changed = true;
            }
            let name = tag.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
            let keep = !name.is_empty() && !names.contains(&name);
            changed |= !keep;
            names.push(name);
            keep
        });
        if changed {
            self.warn(
                "a tag is declared twice, or without a name, or as plain text; it was mended",
                "Declare each tag once, as {name, description}.",
            );
        }
    }

    fn components(&mut self, object: &mut Map<String, Value>) {
        let Some(Value::Object(schemas)) = object.get_mut("schemas") else { return };
        let names: Vec<String> = schemas.iter().filter(|(_, v)| !v.is_object()).map(|(name, _)| name.clone()).collect();
        for name in names {
            plain_schema(schemas, &name);
            if schemas.get(&name).is_some_and(Value::is_object) {
                continue;
            }
            schemas.insert(name.clone(), json!({}));
            self.findings.push(super::Finding::warning(
                &format!("{}/schemas/{name}", self.at),
                "the component is no schema; it was taken as one that allows anything",
                "Write a schema, or remove it.",
            ));
        }
    }

    fn mapping(&mut self, object: &mut Map<String, Value>) {
        let Some(Value::Object(mapping)) = object.get_mut("mapping") else { return };
        let before = mapping.len();
        mapping.retain(|_, target| target.is_string());
        if mapping.len() != before {
            self.warn("a mapping of the discriminator names no schema; it was left out", "Map each value to a schema.");
        }
    }

    fn licence(&mut self, object: &mut Map<String, Value>) {
        self.exclude(object, "identifier", "url");
        if !object.contains_key("name") {
            object.insert("name".into(), "not stated".into());
            self.warn("the licence has no name; \"not stated\" was taken", "Add license.name.");
        }
    }
}
