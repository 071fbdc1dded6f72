//! What any operation may be answered by the gateway itself: a problem document (RFC 9457). An institution's document
//! cannot know of it, and a catalogue that keeps silent about it would tell its readers less than the truth.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::super::bundle::unique_name;
use super::super::pointer;
use super::super::shape::METHODS;
use crate::problem;

/// The wanted name of the response and of its schema.
const NAME: &str = "GatewayProblem";
const MEDIA_TYPE: &str = "application/problem+json";

/// Adds it to every operation of these paths: beside what is said of a status that the gateway answers with too, and
/// as `default` where nothing is said.
pub fn tell(paths: &mut Map<String, Value>, components: &mut Map<String, Value>) {
    let name = |components: &Map<String, Value>, section: &str| {
        let entries = components.get(section).and_then(Value::as_object);
        unique_name(NAME, |name| entries.is_some_and(|entries| entries.contains_key(name)))
    };
    let (schema, response) = (name(components, "schemas"), name(components, "responses"));
    let to_schema = json!({ "$ref": format!("#/components/schemas/{schema}") });
    let to_response = json!({ "$ref": format!("#/components/responses/{response}") });
    let mut shared = BTreeSet::new();
    let items = paths.values_mut().filter_map(Value::as_object_mut);
    let operations = items.flatten().filter(|(method, _)| METHODS.contains(&method.as_str()));
    for responses in operations.filter_map(|(_, operation)| operation.get_mut("responses")?.as_object_mut()) {
        for (_, answer) in responses.iter_mut().filter(|(status, _)| is_ours_too(status)) {
            match referred(answer) {
                Some(name) => drop(shared.insert(name)),
                None => join(answer, &to_schema),
            }
        }
        responses.entry("default").or_insert_with(|| to_response.clone());
    }
    let mut section =
        |name: &str| components.entry(name).or_insert_with(|| json!({})).as_object_mut().map(std::mem::take);
    let (Some(mut schemas), Some(mut responses)) = (section("schemas"), section("responses")) else { return };
    let mut seen = BTreeSet::new();
    while let Some(name) = shared.pop_first() {
        let Some(answer) = responses.get_mut(&name) else { continue };
        match referred(answer) {
            // References may lead in a circle.
            Some(other) if seen.insert(name) => drop(shared.insert(other)),
            Some(_) => {}
            None => join(answer, &to_schema),
        }
    }
    schemas.insert(schema, problem::schema());
    responses.insert(
        response,
        json!({
            "description": "The gateway refuses the request, or could not carry it out. The page that `type` leads to \
                says what happened and how to mend it.",
            "content": { MEDIA_TYPE: { "schema": to_schema } },
        }),
    );
    components.insert("schemas".into(), schemas.into());
    components.insert("responses".into(), responses.into());
}

/// Whether the gateway has answers of its own with this status, or within this range (OpenAPI 3.1.1 §4.8.16.2).
fn is_ours_too(status: &str) -> bool {
    let is_it = |kind: &problem::Kind| match status.as_bytes() {
        [class, b'X', b'X'] => kind.status().as_str().as_bytes().first() == Some(class),
        _ => kind.status().as_str() == status,
    };
    status == "default" || problem::Kind::ALL.iter().any(is_it)
}

/// The name of the component that an answer refers to.
fn referred(answer: &Value) -> Option<String> {
    pointer::component(answer.get("$ref")?.as_str()?, "responses")
}

/// An institution's own problem documents stay what they are; ours may come in their place.
fn join(answer: &mut Value, ours: &Value) {
    let Some(answer) = answer.as_object_mut() else { return };
    let Some(content) = answer.entry("content").or_insert_with(|| json!({})).as_object_mut() else { return };
    let Some(theirs) = content.entry(MEDIA_TYPE).or_insert_with(|| json!({})).as_object_mut() else { return };
    match theirs.shift_remove("schema") {
        Some(schema) if schema == *ours => drop(theirs.insert("schema".into(), schema)),
        Some(schema) => drop(theirs.insert("schema".into(), json!({ "anyOf": [schema, ours] }))),
        None => drop(theirs.insert("schema".into(), ours.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answers of one operation, after it was told.
    fn told(responses: Value, components: Value) -> (Value, Value) {
        let mut paths = json!({ "/a": { "summary": "A", "get": { "responses": responses } } });
        let mut components = components;
        tell(paths.as_object_mut().unwrap(), components.as_object_mut().unwrap());
        (paths["/a"]["get"]["responses"].take(), components)
    }

    #[test]
    fn every_operation_says_what_the_gateway_answers() {
        let problem = json!({ "schema": { "$ref": "#/components/schemas/GatewayProblem" } });
        let json_error = json!({ "description": "No", "content": { "application/json": {} } });
        let own = json!({ "description": "No", "content": { MEDIA_TYPE: { "schema": { "type": "object" } } } });
        let joined =
            json!({ "schema": { "anyOf": [{ "type": "object" }, { "$ref": "#/components/schemas/GatewayProblem" }] } });
        for (name, status, answer, expected) in [
            ("a status of ours", "400", &json_error, Some(&problem)),
            ("a range of ours", "4XX", &json_error, Some(&problem)),
            ("whatever else", "default", &json_error, Some(&problem)),
            ("an answer without a body", "503", &json!({ "description": "No" }), Some(&problem)),
            ("a problem document of theirs", "403", &own, Some(&joined)),
            ("success", "200", &json_error, None),
            ("a range without us", "3XX", &json_error, None),
            ("a status that is theirs alone", "409", &json_error, None),
        ] {
            let (told, _) = told(json!({ status: answer }), json!({}));
            assert_eq!(told[status]["content"].get(MEDIA_TYPE), expected, "{name}");
            assert_eq!(told[status]["content"].get("application/json").is_some(), answer == &json_error, "{name}");
            assert!(told.get("default").is_some(), "{name}");
        }
    }

    #[test]
    fn shared_answers_are_told_once_and_names_stay_free() {
        let components = json!({
            "schemas": { "GatewayProblem": { "type": "string" } },
            "responses": {
                "Refused": { "description": "No", "content": { "application/json": {} } },
                "Other": { "$ref": "#/components/responses/Refused" },
                "Loop": { "$ref": "#/components/responses/Loop" }
            }
        });
        let reference = |name: &str| json!({ "$ref": format!("#/components/responses/{name}") });
        let responses = json!({ "400": reference("Other"), "401": reference("Loop"), "403": reference("Gone") });
        let (told, components) = told(responses, components);
        assert_eq!(told["400"], reference("Other"));
        assert_eq!(told["default"], reference("GatewayProblem"));
        assert_eq!(components["schemas"]["GatewayProblem"], json!({ "type": "string" }), "theirs");
        let schema = components["responses"]["Refused"]["content"][MEDIA_TYPE]["schema"]["$ref"].as_str().unwrap();
        let ours = schema.strip_prefix("#/components/schemas/").unwrap();
        assert_eq!(components["schemas"][ours], problem::schema());
    }
}
