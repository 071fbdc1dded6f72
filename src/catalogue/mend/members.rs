//! Which members an object may have, and of what type (OpenAPI 3.1.1 §4.8).

use serde_json::{Map, Value};

use super::super::shape::{self, Dialect, Kind, METHODS, Shape};
use super::{Mender, SET_ASIDE};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Is {
    Text,
    Bool,
    Object,
    List,
    /// An object, or a boolean: a schema of 2020-12.
    Schema,
    Any,
}

use Is::{Any, Bool, List, Object, Schema, Text};

/// The members of a kind; `None` where any member is allowed (schemas have a table of their own).
fn table(kind: Kind) -> Option<&'static [(&'static str, Is)]> {
    structure(kind).or_else(|| message(kind)).or_else(|| security(kind))
}

/// The members of what gives a document its structure.
fn structure(kind: Kind) -> Option<&'static [(&'static str, Is)]> {
    Some(match kind {
        Kind::Document => &[
            ("openapi", Text),
            ("info", Object),
            ("servers", List),
            ("paths", Object),
            ("webhooks", Object),
            ("components", Object),
            ("security", List),
            ("tags", List),
            ("externalDocs", Object),
        ],
        Kind::Info => &[
            ("title", Text),
            ("summary", Text),
            ("description", Text),
            ("termsOfService", Text),
            ("contact", Object),
            ("license", Object),
            ("version", Text),
        ],
        Kind::Contact => &[("name", Text), ("url", Text), ("email", Text)],
        Kind::Licence => &[("name", Text), ("identifier", Text), ("url", Text)],
        Kind::Server => &[("url", Text), ("description", Text), ("variables", Object)],
        Kind::ServerVariable => &[("enum", List), ("default", Text), ("description", Text)],
        Kind::Components => &[
            ("schemas", Object),
            ("responses", Object),
            ("parameters", Object),
            ("examples", Object),
            ("requestBodies", Object),
            ("headers", Object),
            ("securitySchemes", Object),
            ("links", Object),
            ("callbacks", Object),
            ("pathItems", Object),
        ],
        Kind::PathItem => &[("summary", Text), ("description", Text), ("servers", List), ("parameters", List)],
        Kind::Operation => &[
            ("tags", List),
            ("summary", Text),
            ("description", Text),
            ("externalDocs", Object),
            ("operationId", Text),
            ("parameters", List),
            ("requestBody", Object),
            ("responses", Object),
            ("callbacks", Object),
            ("deprecated", Bool),
            ("security", List),
            ("servers", List),
        ],
        _ => return None,
    })
}

/// The members of what describes requests and answers.
fn message(kind: Kind) -> Option<&'static [(&'static str, Is)]> {
    Some(match kind {
        Kind::ExternalDocs => &[("description", Text), ("url", Text)],
        Kind::Parameter => &[
            ("name", Text),
            ("in", Text),
            ("description", Text),
            ("required", Bool),
            ("deprecated", Bool),
            ("allowEmptyValue", Bool),
            ("style", Text),
            ("explode", Bool),
            ("allowReserved", Bool),
            ("schema", Schema),
            ("example", Any),
            ("examples", Any),
            ("content", Object),
        ],
        Kind::Header => &[
            ("description", Text),
            ("required", Bool),
            ("deprecated", Bool),
            ("style", Text),
            ("explode", Bool),
            ("schema", Schema),
            ("example", Any),
            ("examples", Any),
            ("content", Object),
        ],
        Kind::RequestBody => &[("description", Text), ("content", Object), ("required", Bool)],
        Kind::MediaType => &[("schema", Schema), ("example", Any), ("examples", Any), ("encoding", Object)],
        Kind::Encoding => {
            &[("contentType", Text), ("headers", Object), ("style", Text), ("explode", Bool), ("allowReserved", Bool)]
        }
        Kind::Response => &[("description", Text), ("headers", Object), ("content", Object), ("links", Object)],
        Kind::Example => &[("summary", Text), ("description", Text), ("value", Any), ("externalValue", Text)],
        Kind::Link => &[
            ("operationRef", Text),
            ("operationId", Text),
            ("parameters", Object),
            ("requestBody", Any),
            ("description", Text),
            ("server", Object),
        ],
        Kind::Tag => &[("name", Text), ("description", Text), ("externalDocs", Object)],
        Kind::Discriminator => &[("propertyName", Text), ("mapping", Object)],
        Kind::Xml => &[("name", Text), ("namespace", Text), ("prefix", Text), ("attribute", Bool), ("wrapped", Bool)],
        _ => return None,
    })
}

/// The members of what describes security.
fn security(kind: Kind) -> Option<&'static [(&'static str, Is)]> {
    Some(match kind {
        Kind::SecurityScheme => &[
            ("type", Text),
            ("description", Text),
            ("name", Text),
            ("in", Text),
            ("scheme", Text),
            ("bearerFormat", Text),
            ("flows", Object),
            ("openIdConnectUrl", Text),
        ],
        Kind::OauthFlows => {
            &[("implicit", Object), ("password", Object), ("clientCredentials", Object), ("authorizationCode", Object)]
        }
        Kind::OauthFlow => &[("authorizationUrl", Text), ("tokenUrl", Text), ("refreshUrl", Text), ("scopes", Object)],
        _ => return None,
    })
}

impl Mender<'_> {
    /// Sets aside members that the grammar does not know and gives the others their type.
    pub(super) fn members(&mut self, object: &mut Map<String, Value>, kind: Kind) {
        let Some(table) = table(kind) else { return };
        let keys: Vec<String> = object.keys().filter(|k| !k.starts_with("x-")).cloned().collect();
        for key in keys {
            match table.iter().find(|(name, _)| *name == key) {
                Some((_, is)) => self.typed(object, &key, *is),
                None if kind == Kind::PathItem && METHODS.contains(&key.as_str()) => self.typed(object, &key, Object),
                None => {
                    self.warn(
                        format!("`{key}` is no member of this object; it is kept as x-invalid-{key}"),
                        "Correct its name, or begin it with x- if it is meant as an extension.",
                    );
                    self.set_aside(object, &key);
                }
            }
        }
    }

    /// What is named among parts of one kind and is no object is left out, and kept beside them.
    pub(super) fn entries(&mut self, object: &mut Map<String, Value>, kind: Kind) {
        let maps: Vec<String> = object
            .keys()
            .filter(|key| matches!(shape::member(Dialect::V31, kind, key), Shape::Map(of) if of != Kind::Schema))
            .filter(|key| {
                kind == Kind::Components
                    || !matches!(key.as_str(), "paths" | "webhooks" | "responses" | "content" | "examples")
            })
            .cloned()
            .collect();
        for map in maps {
            let Some(Value::Object(entries)) = object.get_mut(&map) else { continue };
            let (right, wrong): (Map<_, _>, Map<_, _>) =
                std::mem::take(entries).into_iter().partition(|(_, v)| v.is_object());
            *entries = right;
            for (name, value) in wrong {
                let kept = format!("{SET_ASIDE}{map}");
                self.warn(
                    format!("{name:?} below `{map}` is no object; it is kept as {kept} and has no effect"),
                    "Write what it is, or remove it.",
                );
                let beside = object.entry(kept).or_insert_with(|| Map::new().into());
                if let Some(beside) = beside.as_object_mut() {
                    beside.insert(name, value);
                }
            }
        }
    }

    /// Gives a member the type it must have, or sets it aside.
    pub(super) fn typed(&mut self, object: &mut Map<String, Value>, key: &str, is: Is) {
        let Some(value) = object.get_mut(key) else { return };
        let fits = match is {
            Text => value.is_string(),
            Bool => value.is_boolean(),
            Object => value.is_object(),
            List => value.is_array(),
            Schema => value.is_object() || value.is_boolean(),
            Any => true,
        };
        if fits {
            if key == "externalDocs" && !value.get("url").is_some_and(Value::is_string) {
                self.warn("`externalDocs` has no url; it is kept as x-invalid-externalDocs", "Add the url.");
                self.set_aside(object, key);
            }
            return;
        }
        let mended = match (is, &*value) {
            (Text, Value::Number(_) | Value::Bool(_)) => Some(Value::String(value.to_string())),
            (Bool, Value::String(text)) if text == "true" || text == "false" => Some(Value::Bool(text == "true")),
            (List, Value::String(_)) => Some(Value::Array(vec![value.clone()])),
            _ => None,
        };
        match mended {
            Some(mended) => {
                *value = mended;
                self.warn(
                    format!("`{key}` has the wrong type; it was converted"),
                    "Write it with the type that OpenAPI asks for.",
                );
            }
            None if value.is_null() => {
                object.shift_remove(key);
                self.findings.push(super::Finding::note(self.at, format!("`{key}` is empty; it was left out")));
            }
            None => {
                self.warn(
                    format!("`{key}` has the wrong type; it is kept as x-invalid-{key} and has no effect"),
                    "Write it with the type that OpenAPI asks for.",
                );
                self.set_aside(object, key);
            }
        }
    }
}
