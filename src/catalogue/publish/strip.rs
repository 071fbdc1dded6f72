//! What a document says to its own tools is no partner's business (OAM-5): vendors' extensions are taken off.

use serde_json::{Map, Value};

use super::super::shape::{self, Dialect, Kind};

/// Beginnings of extensions that configure somebody's gateway, generator or documentation site.
const INTERNAL: [&str; 34] = [
    "x-3scale-",
    "x-amazon-",
    "x-ambassador",
    "x-amples",
    "x-apigee-",
    "x-auth-type",
    "x-aws-",
    "x-azure-",
    "x-backend",
    "x-class-extra-annotation",
    "x-codegen-",
    "x-field-extra-annotation",
    "x-getter-extra-annotation",
    "x-google-",
    "x-gravitee",
    "x-group-parameters",
    "x-ibm-",
    "x-internal",
    "x-java-",
    "x-kong-",
    "x-kusk",
    "x-methodName",
    "x-ms-",
    "x-mule",
    "x-readme",
    "x-setter-extra-annotation",
    "x-sortIndex",
    "x-speakeasy-",
    "x-stripeBypassValidation",
    "x-throttling-tier",
    "x-twilio",
    "x-tyk-",
    "x-upstream",
    "x-wso2-",
];

/// Whether an extension is meant for its vendor's tools only.
pub fn is_internal(key: &str) -> bool {
    INTERNAL.iter().any(|beginning| key.starts_with(beginning))
}

/// Takes internal extensions off every object of the document, and servers with them: only ours are published.
pub fn strip(document: &mut Value) {
    shape::walk_mut(Dialect::V31, document, Kind::Document, &mut String::new(), &mut |object, kind, _| {
        object.retain(|key, _| !is_internal(key));
        match kind {
            Kind::Document | Kind::PathItem | Kind::Operation => drop(object.shift_remove("servers")),
            Kind::Link => drop(object.shift_remove("server")),
            _ => {}
        }
    });
}

/// The members of an operation that stands in a webhook or callback: it is the partner who is called there, so neither
/// our security nor the back end's means anything.
pub fn called_back(operation: &mut Map<String, Value>) {
    operation.insert("security".into(), Value::Array(Vec::new()));
}
