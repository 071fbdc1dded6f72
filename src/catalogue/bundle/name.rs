//! Names for parts that become components: readable, and the same on every run.

use serde_json::Value;

use super::super::origin::Location;
use super::super::pointer;
use super::super::shape::{Kind, METHODS};

/// Longest name made here.
const NAME_LEN_MAX: usize = 80;

/// A name for what stands at `location`.
pub fn of(location: &Location, kind: Kind, value: &Value) -> String {
    let text = |key: &str| value.get(key).and_then(Value::as_str).filter(|t| !t.is_empty());
    let tokens: Vec<String> = pointer::tokens(&location.pointer).map(|t| t.into_owned()).collect();
    let name = match tokens.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        // A whole file is called by its name.
        [] => stem(&location.file).to_owned(),
        ["components", _, name] | ["definitions" | "$defs" | "parameters" | "responses", name] => (*name).to_owned(),
        path => match kind {
            Kind::Parameter => text("name").map_or_else(|| from_path(path), ToOwned::to_owned),
            Kind::Schema => text("title").map_or_else(|| from_path(path), ToOwned::to_owned),
            _ => from_path(path),
        },
    };
    let mut name = clean(&name);
    name.truncate(NAME_LEN_MAX);
    match kind {
        // Files of responses are often named by their code alone.
        Kind::Response if name.bytes().all(|b| b.is_ascii_digit()) => format!("Response{name}"),
        _ if name.is_empty() => kind.section().unwrap_or("part").to_owned(),
        _ => name,
    }
}

/// `name`, or `name_2`, `name_3` … if it is taken.
pub fn unique(name: &str, is_taken: impl Fn(&str) -> bool) -> String {
    if !is_taken(name) {
        return name.to_owned();
    }
    let numbered = (2..).map(|n: u32| format!("{name}_{n}"));
    numbered.into_iter().find(|candidate| !is_taken(candidate)).unwrap_or_else(|| name.to_owned())
}

/// Only what a component's key may have (OAM-6): `[A-Za-z0-9._-]`. Words that lose a separator get a capital instead.
pub fn clean(name: &str) -> String {
    let mut out = String::new();
    let mut gap = false;
    for c in name.chars() {
        if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') {
            out.push(if gap && !out.is_empty() { c.to_ascii_uppercase() } else { c });
            gap = false;
        } else {
            gap = true;
        }
    }
    out
}

fn stem(file: &str) -> &str {
    let name = file.rsplit('/').next().unwrap_or(file);
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

/// The last words of a pointer that mean something, such as `400` or `payerName`, with the operation where needed.
fn from_path(path: &[&str]) -> String {
    let structural = |t: &str| {
        matches!(
            t,
            "schema"
                | "items"
                | "properties"
                | "content"
                | "allOf"
                | "oneOf"
                | "anyOf"
                | "additionalProperties"
                | "not"
        ) || t.contains('/')
            || t.len() <= 2 && t.bytes().all(|b| b.is_ascii_digit())
    };
    let last = path.iter().rev().find(|t| !structural(t)).copied().unwrap_or("part");
    let operation = || {
        let route = path.iter().find(|t| t.starts_with('/')).copied().unwrap_or_default();
        let words: Vec<&str> = route.split('/').filter(|w| !w.is_empty() && !w.starts_with('{')).collect();
        let method = path.iter().find(|t| METHODS.contains(t)).copied().unwrap_or_default();
        format!("{method} {}", words.join(" "))
    };
    match last {
        "requestBody" => format!("{} request", operation()),
        "parameters" => format!("{} parameter", operation()),
        code if code.len() == 3 && code.bytes().all(|b| b.is_ascii_digit()) => {
            if path.last() == Some(&code) {
                format!("Response {code}")
            } else {
                format!("{} {code}", operation())
            }
        }
        "default" => format!("{} default", operation()),
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_are_readable() {
        let file = "components/schemas/Money.yaml";
        for (file, pointer, kind, value, expected) in [
            (file, "", Kind::Schema, json!({}), "Money"),
            ("components/responses/400.yaml", "", Kind::Response, json!({}), "Response400"),
            ("a.yaml", "/components/schemas/Pet Shop", Kind::Schema, json!({}), "PetShop"),
            (
                "a.yaml",
                "/paths/~1a~1{b}/get/parameters/0",
                Kind::Parameter,
                json!({"name": "FSPIOP-Source"}),
                "FSPIOP-Source",
            ),
            ("a.yaml", "/paths/~1a/get/responses/400", Kind::Response, json!({}), "Response400"),
            ("a.yaml", "/paths/~1a~1{b}~1c/get/responses/200/content/a~1b/schema", Kind::Schema, json!({}), "getAC200"),
            ("a.yaml", "/paths/~1a/put/requestBody/content/a~1b/schema", Kind::Schema, json!({}), "putARequest"),
            ("a.yaml", "/paths/~1a/get/parameters/0/schema", Kind::Schema, json!({"title": "My money"}), "MyMoney"),
            ("a.yaml", "/components/schemas/A/properties/owner/items", Kind::Schema, json!({}), "owner"),
        ] {
            let location = Location { file: file.into(), pointer: pointer.into() };
            assert_eq!(of(&location, kind, &value), expected, "{file}{pointer}");
        }
        assert_eq!(unique("a", |n| ["a", "a_2"].contains(&n)), "a_3");
    }
}
