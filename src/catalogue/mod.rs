//! What can be called? OpenAPI documents: import, report, merge, publish.
