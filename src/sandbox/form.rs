//! What may a request's body say? The institutions read their own published documents, so neither can drift.

use jsonschema::error::ValidationErrorKind;
use jsonschema::{Draft, Registry, Validator};
use serde_json::{Value, json};

/// The published document of one institution.
pub(super) struct Document(Value);

/// One way in which a body is not as the document says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Violation {
    /// JSON Pointer into the body.
    pub pointer: String,
    pub kind: ViolationKind,
    /// In words that do not repeat the value.
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ViolationKind {
    Missing,
    Unexpected,
    Date,
    Invalid,
    /// Not JSON at all.
    Syntax,
}

/// A compiled request body schema.
#[derive(Debug)]
pub(super) struct Form(Validator);

const DOCUMENT_URI: &str = "urn:clearway:sandbox";
/// Most violations that are told at once.
const VIOLATIONS_MAX: usize = 20;

impl Document {
    /// Reads a document that is part of the binary.
    #[expect(clippy::expect_used, reason = "start-up; the documents are compiled in and a test reads each of them")]
    pub fn embedded(yaml: &str) -> Self {
        Self(serde_saphyr::from_str(yaml).expect("an embedded document is YAML"))
    }

    /// The form of the request bodies called `#/components/schemas/{name}`.
    #[expect(clippy::expect_used, reason = "start-up; the documents are compiled in and a test compiles each form")]
    pub fn form(&self, name: &str) -> Form {
        let registry = Registry::new()
            .add(DOCUMENT_URI, &self.0)
            .and_then(jsonschema::RegistryBuilder::prepare)
            .expect("an embedded document is a resource");
        let schema = json!({ "$ref": format!("{DOCUMENT_URI}#/components/schemas/{name}") });
        let validator = jsonschema::options()
            .with_draft(Draft::Draft202012)
            .with_registry(&registry)
            .should_validate_formats(true)
            .build(&schema)
            .expect("an embedded schema compiles");
        Form(validator)
    }
}

impl Form {
    /// Reads the body, or says all that is wrong with it.
    pub fn read(&self, body: &[u8]) -> Result<Value, Vec<Violation>> {
        let value: Value = serde_json::from_slice(body).map_err(|_| {
            let message = "The body is not JSON.".to_owned();
            vec![Violation { pointer: String::new(), kind: ViolationKind::Syntax, message }]
        })?;
        let violations: Vec<_> =
            self.0.iter_errors(&value).flat_map(|error| explain(&error)).take(VIOLATIONS_MAX).collect();
        if violations.is_empty() { Ok(value) } else { Err(violations) }
    }
}

fn explain(error: &jsonschema::ValidationError<'_>) -> Vec<Violation> {
    let at = error.instance_path().to_string();
    let one = |pointer: String, kind, message: &str| vec![Violation { pointer, kind, message: message.to_owned() }];
    match error.kind() {
        ValidationErrorKind::Required { property } => one(
            format!("{at}/{}", property.as_str().unwrap_or_default()),
            ViolationKind::Missing,
            "The field is missing.",
        ),
        ValidationErrorKind::AdditionalProperties { unexpected } => unexpected
            .iter()
            .flat_map(|name| one(format!("{at}/{name}"), ViolationKind::Unexpected, "The field is not known here."))
            .collect(),
        ValidationErrorKind::Format { format } if format.starts_with("date") => {
            one(at, ViolationKind::Date, "The value is not a date of this form.")
        }
        _ => one(at, ViolationKind::Invalid, &error.masked_with("the value").to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_mistakes_are_told_with_their_place_and_without_their_value() {
        let document = Document::embedded(super::super::BANK_DOCUMENT);
        let form = document.form("DomesticPaymentConsentRequest");
        let body = json!({
            "Data": { "Initiation": {
                "InstructionIdentification": "",
                "InstructedAmount": { "Amount": "geheim", "Currency": "GBP", "Rounded": true },
            }},
        });
        let found = form.read(body.to_string().as_bytes()).unwrap_err();
        let told: Vec<_> = found.iter().map(|violation| (violation.pointer.as_str(), violation.kind)).collect();
        for expected in [
            ("/Risk", ViolationKind::Missing),
            ("/Data/Initiation/CreditorAccount", ViolationKind::Missing),
            ("/Data/Initiation/InstructedAmount/Amount", ViolationKind::Invalid),
            ("/Data/Initiation/InstructedAmount/Rounded", ViolationKind::Unexpected),
            ("/Data/Initiation/InstructionIdentification", ViolationKind::Invalid),
        ] {
            assert!(told.contains(&expected), "{expected:?} in {told:?}");
        }
        assert!(!format!("{found:?}").contains("geheim"));
        assert_eq!(form.read(b"{").unwrap_err()[0].kind, ViolationKind::Syntax);
    }
}
