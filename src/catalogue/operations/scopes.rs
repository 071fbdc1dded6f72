//! Which scopes does an operation ask for?

use serde_json::{Map, Value};

use super::super::report::{Finding, Findings};
use crate::domain::{Scope, ScopeSet};

/// The scopes of the first alternative (OAM-40) that has an `oauth2` or `openIdConnect` requirement.
pub fn of(document: &Value, operation: &Map<String, Value>, at: &str, findings: &mut Findings) -> ScopeSet {
    let mut alternatives = Vec::new();
    let mut undefined = Vec::new();
    for requirement in operation.get("security").and_then(Value::as_array).into_iter().flatten() {
        let mut scopes: Option<Vec<&str>> = None;
        for (name, list) in requirement.as_object().into_iter().flatten() {
            let scheme = document.pointer("/components/securitySchemes").and_then(|s| s.get(name));
            match scheme.and_then(|s| s.get("type")).and_then(Value::as_str) {
                Some("oauth2" | "openIdConnect") => {
                    let list = list.as_array().into_iter().flatten().filter_map(Value::as_str);
                    scopes.get_or_insert_with(Vec::new).extend(list);
                }
                Some(_) => {}
                None => undefined.push(name.clone()),
            }
        }
        alternatives.extend(scopes);
    }
    undefined.dedup();
    for name in undefined {
        findings.push(Finding::warning(
            at,
            format!("the security requirement {name:?} names a scheme that is not defined; it asks for no scope"),
            "Define it below components.securitySchemes.",
        ));
    }
    let Some(first) = alternatives.first() else { return ScopeSet::default() };
    if alternatives.iter().any(|other| other != first) {
        findings.push(Finding::note(
            at,
            "the alternatives of `security` ask for different scopes; those of the first are enforced",
        ));
    }
    let mut parsed = Vec::new();
    for scope in first {
        match Scope::parse(scope) {
            Ok(scope) => parsed.push(scope),
            Err(e) => findings.push(Finding::error(
                at,
                format!("{scope:?} is no scope and cannot be asked for: {e}"),
                "Use the characters that RFC 6749 §3.3 allows, and no space.",
            )),
        }
    }
    parsed.into_iter().collect()
}
