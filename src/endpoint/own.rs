//! Our own operations as an OpenAPI document, to be merged into the catalogue like any other source.

use utoipa::OpenApi;

/// OAuth, catalogue, usage: everything a third-party developer may call of ours.
#[derive(OpenApi)]
#[openapi(
    info(title = "Clearway", description = "The gateway's own operations."),
    paths(super::catalogue::unified_json, super::usage::usage),
    tags((name = "Catalogue", description = "What can be called."), (name = "Usage", description = "What is left of a plan."))
)]
struct Own;

/// The document, or nothing if it could not be written, which `server` treats as a defect at start.
pub fn own_document() -> Option<serde_json::Value> {
    let mut own = Own::openapi();
    own.merge(super::oauth::openapi());
    own.merge(super::userinfo::openapi());
    serde_json::to_value(own).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_operations_are_described() {
        let document = own_document().unwrap();
        for path in ["/openapi.json", "/usage", "/oauth/token", "/oauth/revoke", "/oauth/introspect", "/oauth/userinfo"]
        {
            assert!(document["paths"].get(path).is_some(), "{path} is not described");
        }
    }
}
