//! An institution for any document: each operation is answered from the document's examples where they are valid, and
//! from values made to its schemas where they are not or are missing.
//!
//! A caller can ask for another answer of the document with `Prefer: code=404` (RFC 7240).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::generate::{GenerateError, GeneratedResponse, Generator, Origin};
use crate::catalogue::ImportedOperation;
use crate::contract::OperationSpec;
use crate::domain::{Clock, OperationId};

/// One operation as the back end knows it.
#[derive(Debug, Clone)]
pub struct MockOperation {
    pub spec: OperationSpec,
    /// The path template at the back end, which may differ from the published one.
    pub upstream_path: String,
}

impl From<&ImportedOperation> for MockOperation {
    fn from(operation: &ImportedOperation) -> Self {
        Self { spec: operation.spec.clone(), upstream_path: operation.upstream_path.clone() }
    }
}

/// What the answers of a document are made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MockReport {
    /// Operations whose first success could be made.
    pub answered: usize,
    /// Answers that are the document's own example.
    pub examples: usize,
    /// Answers made because the document's example breaks its own schema.
    pub examples_replaced: usize,
    /// Operations for which nothing valid was found, and why.
    pub failed: Vec<(OperationId, GenerateError)>,
}

/// The operations of one document. Clones share what was made.
#[derive(Clone)]
pub struct Mock(Arc<Inner>);

struct Inner {
    document: Arc<Value>,
    operations: Vec<Entry>,
    clock: Arc<dyn Clock>,
    made: Mutex<Made>,
}

/// By operation and wanted status: no more than the document has responses.
type Made = HashMap<(usize, Option<u16>), Arc<GeneratedResponse>>;

struct Entry {
    operation: MockOperation,
    template: Template,
}

impl Mock {
    /// `document` is OpenAPI 3.1 with references inside itself only, as the catalogue imports it.
    pub fn from_document(
        document: Arc<Value>,
        operations: impl IntoIterator<Item = MockOperation>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let entry = |operation: MockOperation| Entry { template: Template::parse(&operation.upstream_path), operation };
        let operations = operations.into_iter().map(entry).collect();
        Self(Arc::new(Inner { document, operations, clock, made: Mutex::default() }))
    }

    /// Makes the first success of every operation now. Takes time on large documents: seconds for hundreds.
    pub fn check(&self) -> MockReport {
        let mut report = MockReport::default();
        for (at, entry) in self.0.operations.iter().enumerate() {
            match self.make(at, None, None) {
                Ok(made) => {
                    report.answered += 1;
                    report.examples += usize::from(made.origin == Origin::Example);
                    report.examples_replaced += usize::from(made.origin == Origin::InPlaceOfExample);
                }
                Err(error) => report.failed.push((entry.operation.spec.id.clone(), error)),
            }
        }
        report
    }

    fn make(
        &self,
        at: usize,
        status: Option<u16>,
        accept: Option<&str>,
    ) -> Result<Arc<GeneratedResponse>, GenerateError> {
        let made = || self.0.made.lock().unwrap_or_else(PoisonError::into_inner);
        // What depends on the caller's Accept field is not worth keeping.
        let plain = accept.is_none_or(|accept| accept.contains("*/*") || accept.contains("json"));
        if let Some(kept) = made().get(&(at, status)).filter(|_| plain) {
            return Ok(kept.clone());
        }
        let missing = || GenerateError::NoSchema { pointer: String::new() };
        let entry = self.0.operations.get(at).ok_or_else(missing)?;
        let generator = Generator::new(&self.0.document, self.0.clock.now())?;
        let response = Arc::new(generator.response(&entry.operation.spec, status, accept, 0)?);
        if plain {
            made().insert((at, status), response.clone());
        }
        Ok(response)
    }

    /// The operation with this method and the most literal path, or the methods that the path has.
    fn find(&self, method: &Method, path: &str) -> Result<usize, Vec<Method>> {
        let segments = decoded(path);
        let matching = self.0.operations.iter().enumerate().filter(|(_, entry)| entry.template.matches(&segments));
        let matching: Vec<_> = matching.collect();
        let asked = if method == Method::HEAD { &Method::GET } else { method };
        let own = matching
            .iter()
            .filter(|(_, entry)| entry.operation.spec.method == *asked || entry.operation.spec.method == *method);
        own.max_by_key(|(_, entry)| entry.template.literal_segments())
            .map(|(at, _)| *at)
            .ok_or_else(|| matching.iter().map(|(_, entry)| entry.operation.spec.method.clone()).collect())
    }
}

pub(super) fn router(mock: &Mock) -> Router {
    Router::new().fallback(answer).with_state(mock.clone())
}

async fn answer(State(mock): State<Mock>, request: Request) -> Response {
    let at = match mock.find(request.method(), request.uri().path()) {
        Ok(at) => at,
        Err(methods) if methods.is_empty() => {
            return refuse(StatusCode::NOT_FOUND, "The document has no such path.", None);
        }
        Err(methods) => return not_allowed(&methods),
    };
    let status = preferred_status(request.headers());
    let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).map(str::to_owned);
    // Making a value is work, not waiting.
    let made = tokio::task::spawn_blocking(move || mock.make(at, status, accept.as_deref())).await;
    match made {
        Ok(Ok(made)) => write(&made),
        Ok(Err(error)) => {
            let message = "No answer that the document's own schema allows could be made.";
            refuse(StatusCode::NOT_IMPLEMENTED, message, Some(&error.to_string()))
        }
        Err(_) => refuse(StatusCode::INTERNAL_SERVER_ERROR, "The answer could not be made.", None),
    }
}

fn write(made: &GeneratedResponse) -> Response {
    let mut response = Response::new(Body::from(made.body.clone()));
    *response.status_mut() = StatusCode::from_u16(made.status).unwrap_or(StatusCode::OK);
    for field in &made.headers {
        response.headers_mut().insert(field.name.clone(), field.value.clone());
    }
    let content_type = made.content_type.as_deref().and_then(|text| HeaderValue::from_str(text).ok());
    if let Some(content_type) = content_type {
        response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    }
    response
}

fn refuse(status: StatusCode, message: &str, reason: Option<&str>) -> Response {
    (status, Json(json!({ "message": message, "reason": reason }))).into_response()
}

fn not_allowed(methods: &[Method]) -> Response {
    let allow = methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
    let mut response = refuse(StatusCode::METHOD_NOT_ALLOWED, "The document's path has no such method.", None);
    if let Ok(allow) = HeaderValue::from_str(&allow) {
        response.headers_mut().insert(header::ALLOW, allow);
    }
    response
}

fn preferred_status(headers: &HeaderMap) -> Option<u16> {
    let preferences = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let code = preferences.flat_map(|value| value.split([',', ';'])).find_map(|part| part.trim().strip_prefix("code="));
    code?.trim_matches('"').parse().ok().filter(|code| (200..=599).contains(code))
}

/// A path template, cut at its slashes.
#[derive(Debug, Clone)]
struct Template(Vec<Segment>);

#[derive(Debug, Clone)]
enum Segment {
    Literal(String),
    /// Text around and between variables: `{a}.{b}` has three pieces, the first and last empty.
    Variable(Vec<String>),
}

impl Template {
    fn parse(path: &str) -> Self {
        let segment = |text: &str| {
            if !text.contains('{') {
                return Segment::Literal(decode(text));
            }
            let pieces = text.split('{').map(|piece| piece.split_once('}').map_or(piece, |(_, after)| after));
            Segment::Variable(pieces.map(decode).collect())
        };
        Self(path.split('/').map(segment).collect())
    }

    fn matches(&self, segments: &[String]) -> bool {
        self.0.len() == segments.len() && self.0.iter().zip(segments).all(|(own, given)| own.matches(given))
    }

    /// For comparing: a literal beats a variable, the earlier the more.
    fn literal_segments(&self) -> Vec<bool> {
        self.0.iter().map(|segment| matches!(segment, Segment::Literal(_))).collect()
    }
}

impl Segment {
    fn matches(&self, given: &str) -> bool {
        match self {
            Self::Literal(text) => text == given,
            Self::Variable(pieces) => between(pieces, given),
        }
    }
}

/// Whether the text is the pieces with at least one character between each two.
fn between(pieces: &[String], given: &str) -> bool {
    let Some(((first, rest), (last, middle))) = pieces.split_first().zip(pieces.get(1..).and_then(<[_]>::split_last))
    else {
        return pieces.first().is_some_and(|only| only == given);
    };
    debug_assert!(!rest.is_empty(), "split_last has found one");
    let Some(mut text) = given.strip_prefix(first.as_str()).and_then(|text| text.strip_suffix(last.as_str())) else {
        return false;
    };
    for piece in middle {
        let after_one = text.char_indices().nth(1).map_or(text.len(), |(at, _)| at);
        let Some(found) = text.get(after_one..).and_then(|tail| tail.find(piece.as_str())) else { return false };
        text = text.get(after_one + found + piece.len()..).unwrap_or_default();
    }
    !text.is_empty()
}

fn decoded(path: &str) -> Vec<String> {
    path.split('/').map(decode).collect()
}

fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::{ApiSource, import};
    use crate::domain::ApiId;
    use crate::sandbox::testing::{client, world};
    use crate::sandbox::{Institution, Running, SandboxSettings, start};

    fn mock(yaml: &str) -> Mock {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("api.yaml");
        std::fs::write(&file, yaml).unwrap();
        let api = import(&ApiSource { id: ApiId::parse("api").unwrap(), file, base_path: None }).unwrap();
        Mock::from_document(api.document.clone(), api.operations.iter().map(MockOperation::from), world().0.clock)
    }

    const DOCUMENT: &str = r##"
openapi: 3.1.0
info: { title: Pets, version: '1' }
servers: [{ url: 'https://pets.example/v1' }]
paths:
  /pets/{id}:
    get:
      operationId: getPet
      parameters: [{ name: id, in: path, required: true, schema: { type: string } }]
      responses:
        '200':
          description: ok
          headers: { X-Rate: { required: true, schema: { type: integer, minimum: 3, maximum: 3 } } }
          content:
            application/json:
              schema: { $ref: '#/components/schemas/Pet' }
              examples: { wrong: { value: { name: 5 } }, right: { value: { name: Rex } } }
        '404':
          description: none
          content: { application/problem+json: { schema: { type: object, required: [title], properties: { title: { const: None } } } } }
  /pets/mine:
    get:
      operationId: getMine
      responses: { '200': { description: ok, content: { application/json: { schema: { $ref: '#/components/schemas/Pet' }, example: { name: 5 } } } } }
  /pets:
    post:
      operationId: addPet
      responses: { '204': { description: done } }
    get:
      operationId: broken
      responses: { '200': { description: ok, content: { application/json: { schema: { allOf: [{ type: string }, { type: integer }] } } } } }
components:
  schemas:
    Pet: { type: object, required: [name], properties: { name: { type: string, maxLength: 4 } } }
"##;

    async fn started() -> (Running, reqwest::Client) {
        let institution = Institution::mock("pets", &mock(DOCUMENT));
        (start(SandboxSettings::plain(institution)).await.unwrap(), client(None).build().unwrap())
    }

    #[tokio::test]
    async fn operations_are_answered_as_the_document_says() {
        let (running, http) = started().await;
        let get = |path: &str| http.get(format!("{}/v1{path}", running.url()));
        let answer = get("/pets/7").send().await.unwrap();
        assert_eq!(answer.headers()["x-rate"], "3");
        assert_eq!(answer.json::<Value>().await.unwrap(), json!({ "name": "Rex" }), "the valid example");
        let mine: Value = get("/pets/mine").send().await.unwrap().json().await.unwrap();
        assert!(mine["name"].is_string(), "an example that breaks its schema is replaced: {mine}");
        let none = get("/pets/7").header("prefer", "code=404").send().await.unwrap();
        assert_eq!(
            (none.status(), none.headers()["content-type"].as_bytes()),
            (StatusCode::NOT_FOUND, &b"application/problem+json"[..])
        );
        assert_eq!(none.json::<Value>().await.unwrap(), json!({ "title": "None" }));
        let done = http.post(format!("{}/v1/pets", running.url())).send().await.unwrap();
        assert_eq!(done.status(), StatusCode::NO_CONTENT);
    }

    #[tokio::test]
    async fn what_the_document_lacks_is_refused() {
        let (running, http) = started().await;
        for (method, path, expected) in [
            (Method::GET, "/v1/cats", StatusCode::NOT_FOUND),
            (Method::GET, "/pets/7", StatusCode::NOT_FOUND),
            (Method::DELETE, "/v1/pets", StatusCode::METHOD_NOT_ALLOWED),
            (Method::GET, "/v1/pets", StatusCode::NOT_IMPLEMENTED),
        ] {
            let answer = http.request(method.clone(), format!("{}{path}", running.url())).send().await.unwrap();
            assert_eq!(answer.status(), expected, "{method} {path}");
            if expected == StatusCode::METHOD_NOT_ALLOWED {
                assert_eq!(answer.headers()["allow"], "POST, GET");
            }
        }
    }

    #[test]
    fn a_report_says_what_the_answers_are_made_of() {
        let report = mock(DOCUMENT).check();
        assert_eq!((report.answered, report.examples, report.examples_replaced), (3, 1, 1));
        assert_eq!(report.failed.len(), 1);
        assert_eq!(report.failed[0].0.as_str(), "api.broken");
    }

    #[test]
    fn templates_match_what_they_describe() {
        for (template, path, expected) in [
            ("/a/{id}", "/a/1", true),
            ("/a/{id}", "/a/", false),
            ("/a/{id}", "/a/1/2", false),
            ("/a/{id}", "/a/x%2Fy", true),
            ("/a/{id}.json", "/a/1.json", true),
            ("/a/{id}.json", "/a/.json", false),
            ("/a/{x}-{y}", "/a/1-2", true),
            ("/a/{x}-{y}", "/a/12", false),
            ("/a/b", "/a/b", true),
        ] {
            assert_eq!(Template::parse(template).matches(&decoded(path)), expected, "{template} {path}");
        }
    }
}
