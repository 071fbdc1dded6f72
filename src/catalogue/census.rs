//! What does the document hold? Counted on what its author wrote (bundled, not yet converted), so that the report's
//! other side, what is used, is measured against something independent of the conversions.

use serde_json::{Map, Value};

use super::bundle::UNRESOLVED;
use super::limits::REF_CHAIN_MAX;
use super::origin::Origins;
use super::pointer;
use super::report::{Ledger, Part};
use super::shape::{self, Dialect, METHODS};

/// The name of an operation in reports: `GET /accounts`.
pub fn operation_name(method: &str, path: &str) -> String {
    format!("{} {path}", method.to_ascii_uppercase())
}

/// Enters every part into the ledger.
pub fn take(document: &Value, dialect: Dialect, origins: &Origins, ledger: &mut Ledger) {
    let census = Census { document, dialect };
    for (path, item) in members(document.get("paths")).filter(|(p, _)| !p.starts_with("x-")) {
        ledger.find(Part::Paths, path);
        census.path(path, item, ledger);
    }
    for (name, _) in members(document.get("webhooks")) {
        ledger.find(Part::Webhooks, name);
    }
    let home = if dialect == Dialect::Swagger2 { "/definitions" } else { "/components/schemas" };
    for (name, _) in members(document.pointer(home)) {
        // A schema that was moved out of a path of the same file is a part of its operation, not one more schema.
        let place = pointer::child(home, name);
        let origin = origins.of(&place);
        if origin.pointer == place || origin.file != origins.entry() {
            ledger.find(Part::Schemas, name);
        }
    }
}

fn members(value: Option<&Value>) -> impl Iterator<Item = (&str, &Value)> {
    value.and_then(Value::as_object).into_iter().flatten().map(|(key, value)| (key.as_str(), value))
}

struct Census<'d> {
    document: &'d Value,
    dialect: Dialect,
}

impl<'d> Census<'d> {
    fn path(&self, path: &str, item: &'d Value, ledger: &mut Ledger) {
        for (key, operation) in members(Some(item)) {
            let name = operation_name(key, path);
            if METHODS.contains(&key) && operation.is_object() {
                self.operation(&name, item, operation, ledger);
            } else if METHODS.contains(&key) {
                ledger.find(Part::Operations, &name);
                ledger.leave(Part::Operations, &name, "what stands there is no object");
            } else if operation.get("responses").is_some() {
                ledger.find(Part::Operations, &name);
                ledger.leave(Part::Operations, &name, &format!("`{key}` is no method that OpenAPI 3.1 knows"));
            }
        }
    }

    fn operation(&self, name: &str, item: &'d Value, operation: &'d Value, ledger: &mut Ledger) {
        ledger.find(Part::Operations, name);
        let own = self.parameters(operation);
        let shared = self.parameters(item);
        let overridden = |p: &Map<String, Value>| own.iter().any(|o| same(o, p));
        let body = operation.get("requestBody");
        let mut has_body = body.is_some();
        if body.is_some_and(|b| !b.is_object()) {
            ledger.leave(Part::Bodies, name, "what stands there is no object");
        }
        let inherited = shared.iter().enumerate().filter(|(_, p)| !overridden(p));
        for (index, parameter) in own.iter().enumerate().chain(inherited) {
            match text(parameter, "in") {
                "body" if self.dialect == Dialect::Swagger2 => has_body = true,
                place => {
                    let is_unresolved = parameter.contains_key(UNRESOLVED);
                    let is_nameless = spelled(parameter, "name").is_empty() && !is_unresolved;
                    has_body |= place == "formData" && self.dialect == Dialect::Swagger2 && !is_nameless;
                    let parameter = parameter_name(name, parameter, index);
                    let is_place = matches!(place, "path" | "query" | "header")
                        || place == if self.dialect == Dialect::Swagger2 { "formData" } else { "cookie" }
                        || is_unresolved;
                    if is_nameless || !is_place {
                        ledger.leave(Part::Parameters, &parameter, "it has no name, or a place that does not exist");
                    }
                    ledger.find(Part::Parameters, parameter);
                }
            }
        }
        if has_body {
            ledger.find(Part::Bodies, name);
        }
        for (code, _) in members(operation.get("responses")).filter(|(code, _)| !code.starts_with("x-")) {
            ledger.find(Part::Responses, response_name(name, code));
        }
        for (callback, expressions) in members(operation.get("callbacks")) {
            let expressions = expressions.as_object().map(|e| follow(self.document, e).0);
            for (expression, item) in expressions.into_iter().flatten().filter(|(key, _)| !key.starts_with("x-")) {
                let callback = format!("{name} {callback} {expression}");
                if !item.is_object() {
                    ledger.leave(Part::Callbacks, &callback, "what stands there is no path item");
                }
                ledger.find(Part::Callbacks, callback);
            }
        }
    }

    fn parameters(&self, holder: &'d Value) -> Vec<&'d Map<String, Value>> {
        let list = holder.get("parameters").and_then(Value::as_array).into_iter().flatten();
        list.filter_map(Value::as_object).map(|p| follow(self.document, p).0).collect()
    }
}

fn same(a: &Map<String, Value>, b: &Map<String, Value>) -> bool {
    text(a, "in") == text(b, "in") && text(a, "name") == text(b, "name") && !text(a, "name").is_empty()
}

/// OAM-30: the status code, class or `default` that a response's key means, whatever its letters and spaces.
pub fn response_code(key: &str) -> Option<String> {
    let code = key.trim();
    if code.eq_ignore_ascii_case("default") {
        return Some("default".into());
    }
    let upper = code.to_ascii_uppercase();
    let is_code = upper.len() == 3
        && upper.starts_with(|c: char| ('1'..='5').contains(&c))
        && (upper.ends_with("XX") || upper.bytes().all(|b| b.is_ascii_digit()));
    is_code.then_some(upper)
}

/// A response's name in the account: the same one before and after its key was mended.
pub fn response_name(operation: &str, key: &str) -> String {
    format!("{operation} {}", response_code(key).as_deref().unwrap_or(key))
}

pub fn text<'v>(object: &'v Map<String, Value>, key: &str) -> &'v str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// A text that may have been written as a number: `name: 5` means the name "5".
pub fn spelled(object: &Map<String, Value>, key: &str) -> String {
    match object.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(other @ (Value::Number(_) | Value::Bool(_))) => other.to_string(),
        _ => String::new(),
    }
}

/// The name of a parameter in reports: `GET /accounts header Authorization`.
pub fn parameter_name(operation: &str, parameter: &Map<String, Value>, index: usize) -> String {
    match (parameter.get(UNRESOLVED).and_then(Value::as_str), spelled(parameter, "name")) {
        (Some(reference), _) => format!("{operation} {reference}"),
        (None, name) if name.is_empty() => format!("{operation} #{index}"),
        (None, name) => format!("{operation} {} {name}", spelled(parameter, "in")),
    }
}

/// The definition behind a reference inside the document, and the reference's pointer if it was one.
pub fn follow<'d>(document: &'d Value, object: &'d Map<String, Value>) -> (&'d Map<String, Value>, Option<String>) {
    let (mut object, mut place) = (object, None);
    for _ in 0..REF_CHAIN_MAX {
        let Some(target) = shape::reference(object).and_then(|r| r.strip_prefix('#')).and_then(pointer::from_fragment)
        else {
            break;
        };
        let Some(next) = document.pointer(&target).and_then(Value::as_object) else { break };
        object = next;
        place = Some(target);
    }
    (object, place)
}
