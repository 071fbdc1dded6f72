//! What may a caller learn of a refusal or a failure? Problem documents (RFC 9457), each of a published kind.
//!
//! Invariants: every status of the data plane is chosen here; a `detail` never carries a token, a secret, a body or
//! the name of an internal host; each [`Kind`] has a page that says what happened and how to mend it.

mod kind;

use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

use crate::domain::InteractionId;
pub use kind::Kind;

/// One violation of a request contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// Where: a JSON Pointer into the body (`/Data/Amount`), or `#` followed by the parameter's place and name
    /// (`#query/page-size`).
    pub pointer: String,
    /// What is wrong, in words that do not repeat the value.
    pub detail: String,
}

/// A refusal or failure as the caller sees it.
#[derive(Debug, Clone)]
pub struct Problem {
    pub kind: Kind,
    pub detail: Option<String>,
    pub errors: Vec<FieldError>,
    /// Extension members (RFC 9457 §3.2), for instance `regulation` and `remedy` of a policy.
    pub members: Map<String, Value>,
    /// Fields that the answer must carry, for instance `WWW-Authenticate` or `Retry-After`.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    pub fn new(kind: Kind) -> Self {
        Self { kind, detail: None, errors: Vec::new(), members: Map::new(), headers: Vec::new() }
    }

    pub fn detail(mut self, text: impl Into<String>) -> Self {
        self.detail = Some(text.into());
        self
    }

    pub fn errors(mut self, errors: Vec<FieldError>) -> Self {
        self.errors = errors;
        self
    }

    pub fn member(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    pub const fn status(&self) -> StatusCode {
        self.kind.status()
    }

    /// The body: `application/problem+json`. `type` is a page below `public_url`.
    pub fn to_json(&self, public_url: &str, interaction: InteractionId) -> Vec<u8> {
        let mut body = json!({
            "type": format!("{public_url}/problems/{}", self.kind.code()),
            "title": self.kind.title(),
            "status": self.status().as_u16(),
            "code": self.kind.code(),
            "interaction_id": interaction.to_string(),
        });
        if let Value::Object(members) = &mut body {
            if let Some(detail) = &self.detail {
                members.insert("detail".into(), detail.as_str().into());
            }
            if !self.errors.is_empty() {
                let errors = self.errors.iter().map(|e| json!({ "pointer": e.pointer, "detail": e.detail }));
                members.insert("errors".into(), errors.collect());
            }
            for (name, value) in &self.members {
                members.entry(name).or_insert_with(|| value.clone());
            }
        }
        body.to_string().into_bytes()
    }
}

/// The schema of every problem document (JSON Schema 2020-12), for the catalogue.
pub fn schema() -> Value {
    json!({
        "type": "object",
        "description": "A problem document (RFC 9457). Kinds of problem have further members.",
        "required": ["type", "title", "status", "code", "interaction_id"],
        "properties": {
            "type": { "type": "string", "format": "uri", "description": "A page on what happened and how to mend it." },
            "title": { "type": "string" },
            "status": { "type": "integer", "minimum": 400, "maximum": 599 },
            "code": { "type": "string", "description": "The kind, for programs. There will be more.", "examples": codes() },
            "detail": { "type": "string" },
            "interaction_id": { "type": "string", "description": "Names this request to whoever operates the gateway." },
            "errors": {
                "type": "array",
                "description": "Where the request breaks the operation's contract.",
                "items": {
                    "type": "object",
                    "required": ["pointer", "detail"],
                    "properties": {
                        "pointer": {
                            "type": "string",
                            "description": "Into the body, or `#` followed by a parameter's place and name.",
                        },
                        "detail": { "type": "string" },
                    },
                },
            },
        },
    })
}

fn codes() -> Value {
    Kind::ALL.iter().map(|kind| kind.code()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_names_its_page_its_code_and_its_interaction() {
        let id = InteractionId::from_random([7; 16]);
        let problem = Problem::new(Kind::ContractViolated)
            .detail("The body does not match.")
            .errors(vec![FieldError { pointer: "/a".into(), detail: "is missing".into() }])
            .member("status", 200);
        let body: Value = serde_json::from_slice(&problem.to_json("https://api.example", id)).unwrap();
        assert_eq!(body["type"], "https://api.example/problems/contract-violated");
        assert_eq!(body["status"], 400, "an extension member cannot displace a member of the standard");
        assert_eq!(body["interaction_id"], id.to_string());
        assert_eq!(body["errors"][0], json!({ "pointer": "/a", "detail": "is missing" }));
    }
}
