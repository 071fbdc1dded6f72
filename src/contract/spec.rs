//! What a document says of an operation's messages: the input from which a contract is compiled.
//!
//! Schemas are not copied: each is a JSON Pointer into the API's document, which is OpenAPI 3.1 with references inside
//! itself only.

use http::Method;
use serde::Deserialize;

use crate::domain::OperationId;

/// A JSON Pointer (RFC 6901) to a schema in the API's document, such as `/paths/~1a/get/parameters/0/schema`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SchemaPointer(pub String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ParameterPlace {
    Path,
    Query,
    Header,
    Cookie,
}

impl ParameterPlace {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Query => "query",
            Self::Header => "header",
            Self::Cookie => "cookie",
        }
    }
}

/// How a value that is not a scalar is written (OpenAPI 3.1.1 §4.8.12.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Style {
    Simple,
    Label,
    Matrix,
    Form,
    SpaceDelimited,
    PipeDelimited,
    DeepObject,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterSpec {
    pub name: String,
    pub place: ParameterPlace,
    pub required: bool,
    pub style: Style,
    pub explode: bool,
    pub schema: Option<SchemaPointer>,
    /// Set where the parameter has `content` instead of a style: its one media type.
    pub media_type: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaTypeSpec {
    /// As written: `application/json`, `application/*`, `text/plain; charset=utf-8`.
    pub media_type: String,
    pub schema: Option<SchemaPointer>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodySpec {
    pub required: bool,
    pub content: Vec<MediaTypeSpec>,
}

/// Which answers a response object describes: a code beats a class, a class beats the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StatusRange {
    Code(u16),
    /// `2XX` is `Class(2)`.
    Class(u8),
    Default,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseSpec {
    pub status: StatusRange,
    pub content: Vec<MediaTypeSpec>,
}

/// One operation's messages.
#[derive(Debug, Clone)]
pub struct OperationSpec {
    pub id: OperationId,
    pub method: Method,
    /// Path template as published by the gateway, base path included: `/open-banking/v4.0/aisp/accounts/{AccountId}`.
    pub path: String,
    /// JSON Pointer of the operation object in the API's document.
    pub pointer: String,
    pub parameters: Vec<ParameterSpec>,
    pub body: Option<BodySpec>,
    pub responses: Vec<ResponseSpec>,
}
