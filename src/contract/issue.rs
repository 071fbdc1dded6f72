//! What a document says that cannot be checked: found when compiling, reported, never silently dropped.

/// A place in the API's document that a contract does not enforce, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContractIssue {
    /// JSON Pointer into the API's document.
    pub pointer: String,
    pub cause: IssueCause,
}

impl std::fmt::Display for ContractIssue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.pointer, self.cause)
    }
}

/// Each cause leaves exactly the named keyword or schema unchecked; everything around it stays in force.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IssueCause {
    #[error("there is no schema at this pointer; what it should describe is not checked")]
    Missing,
    #[error("a schema is an object or a boolean; this one is not checked")]
    NotASchema,
    #[error("`{keyword}` must be {expected}; the keyword is not checked")]
    Keyword { keyword: &'static str, expected: &'static str },
    #[error("the pattern is not a regular expression (ECMA-262) that can be used; it is not checked")]
    Pattern,
    #[error("the reference {0:?} leads nowhere in this document; it is not checked")]
    Reference(String),
    #[error("the dynamic reference {0:?} has several targets; it is not checked")]
    DynamicReference(String),
    #[error("the dialect {0:?} is not known; the schema is not checked")]
    Dialect(String),
    #[error("the schema refers to itself without end; this use of it is not checked")]
    Endless,
    #[error("the document has more schemas than the {0} allowed; this one is not checked")]
    TooManySchemas(usize),
    #[error("a {place} parameter cannot have the style {style}; its value is not checked")]
    Style { place: &'static str, style: &'static str },
    #[error("values of media type {0:?} in a parameter are not checked")]
    ParameterMediaType(String),
    #[error("{0:?} is not a header name; the parameter is not checked")]
    HeaderName(String),
    #[error("{0:?} is not a media type; messages of it are not accepted")]
    MediaType(String),
}
