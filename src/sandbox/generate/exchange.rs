//! Whole messages of an operation: a request that keeps to its contract, an answer that does.

use http::{HeaderName, HeaderValue};
use serde_json::Value;

use super::facts::resolve;
use super::wire;
use super::{Direction, GenerateError, Generator};
use crate::catalogue::pointer;
use crate::contract::{OperationSpec, ParameterPlace, ParameterSpec, SchemaPointer, StatusRange};
use crate::domain::Timestamp;

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The document's own example, valid.
    Example,
    /// The document has an example, but its own schema does not allow it: this was made instead.
    InPlaceOfExample,
    /// Made to the schema.
    Made,
    /// There is nothing to keep to.
    Free,
}

/// A field of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneratedHeader {
    pub name: HeaderName,
    pub value: HeaderValue,
}

/// A request as a caller would send it: what is required is there, nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneratedRequest {
    /// The operation's path as published, its variables filled in and encoded.
    pub path: String,
    /// Without `?`.
    pub query: Option<String>,
    /// Without Content-Type and without credentials.
    pub headers: Vec<GeneratedHeader>,
    pub content_type: Option<String>,
    pub body: Option<Vec<u8>>,
}

/// An answer as the institution would give it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneratedResponse {
    pub status: u16,
    pub headers: Vec<GeneratedHeader>,
    pub content_type: Option<String>,
    pub body: Vec<u8>,
    pub origin: Origin,
}

/// One request; for many of one document make a [`Generator`].
pub fn request(
    document: &Value,
    operation: &OperationSpec,
    seed: u64,
    now: Timestamp,
) -> Result<GeneratedRequest, GenerateError> {
    Generator::new(document, now)?.request(operation, seed)
}

/// A part of the document and its pointer.
struct Part<'d> {
    pointer: String,
    value: &'d Value,
}

impl<'d> Part<'d> {
    fn member(&self, document: &'d Value, name: &str) -> Option<Self> {
        let pointer = format!("{}/{}", self.pointer, name.replace('~', "~0").replace('/', "~1"));
        let value = self.value.get(name)?;
        Self { pointer, value }.followed(document)
    }

    /// Behind its `$ref`, if it is one.
    fn followed(self, document: &'d Value) -> Option<Self> {
        let Some(reference) = self.value.get("$ref").and_then(Value::as_str) else { return Some(self) };
        let pointer = pointer::from_fragment(reference.strip_prefix('#')?)?;
        Some(Self { value: resolve(document, reference)?, pointer })
    }
}

impl<'d> Generator<'d> {
    /// A request that the operation's contract allows.
    pub fn request(&self, operation: &OperationSpec, seed: u64) -> Result<GeneratedRequest, GenerateError> {
        let mut path = operation.path.clone();
        let (mut query, mut headers, mut cookies) = (Vec::new(), Vec::new(), Vec::new());
        for parameter in &operation.parameters {
            if !parameter.required && parameter.place != ParameterPlace::Path {
                continue;
            }
            let value = self.parameter(parameter, seed)?;
            match parameter.place {
                ParameterPlace::Path => {
                    let text = wire::path_segment(parameter, &value);
                    path = path.replace(&format!("{{{}}}", parameter.name), &text);
                }
                ParameterPlace::Query => query.push(wire::query_pairs(parameter, &value)),
                ParameterPlace::Header if is_set_elsewhere(&parameter.name) => (),
                ParameterPlace::Header => {
                    headers.extend(header(&parameter.name, &wire::header_value(parameter, &value)))
                }
                ParameterPlace::Cookie => {
                    cookies.push(format!("{}={}", parameter.name, wire::encode(&wire::scalar(&value))))
                }
            }
        }
        if !cookies.is_empty() {
            headers.extend(header("cookie", &cookies.join("; ")));
        }
        query.retain(|pairs| !pairs.is_empty());
        let (content_type, body) = self.request_body(operation, seed)?.unzip();
        let query = (!query.is_empty()).then(|| query.join("&"));
        Ok(GeneratedRequest { path, query, headers, content_type, body })
    }

    /// A value for a parameter: an example of its own, or one made to its schema.
    pub fn parameter(&self, parameter: &ParameterSpec, seed: u64) -> Result<Value, GenerateError> {
        let Some(schema) = &parameter.schema else { return Ok("sandbox".into()) };
        let is_segment = parameter.place == ParameterPlace::Path;
        let value = self.example_or_value(schema, Direction::Request, seed)?.0;
        // An empty segment is another path (RFC 3986 §3.3).
        let unfit = |value: &Value| is_segment && matches!(wire::scalar(value).as_str(), "" | "." | "..");
        if !unfit(&value) {
            return Ok(value);
        }
        let others = (1..8).filter_map(|more| self.value(schema, Direction::Request, seed.wrapping_add(more)).ok());
        let other = others.chain(["sandbox".into(), "a".into(), "1".into()]);
        let mut fit = other.filter(|value| !unfit(value) && self.allows(schema, value).unwrap_or(false));
        Ok(fit.next().unwrap_or(value))
    }

    fn request_body(&self, operation: &OperationSpec, seed: u64) -> Result<Option<(String, Vec<u8>)>, GenerateError> {
        let Some(spec) = &operation.body else { return Ok(None) };
        let readable = |media_type: &str| {
            wire::is_json(media_type) || wire::essence(media_type) == "application/x-www-form-urlencoded"
        };
        let content = spec.content.iter().find(|content| wire::is_json(&content.media_type));
        let content = content.or_else(|| spec.content.iter().find(|content| readable(&content.media_type)));
        let Some(content) = content.or_else(|| spec.content.first()) else { return Ok(None) };
        let value = match &content.schema {
            Some(schema) => self.example_or_value(schema, Direction::Request, seed)?.0,
            None => {
                self.body_example(operation, &content.media_type).unwrap_or_else(|| Value::Object(Default::default()))
            }
        };
        Ok(Some((wire::concrete(&content.media_type), wire::body(&content.media_type, &value))))
    }

    fn body_example(&self, operation: &OperationSpec, media_type: &str) -> Option<Value> {
        let part = self.part(&operation.pointer)?.member(self.document, "requestBody")?;
        let media = part.member(self.document, "content")?.member(self.document, media_type)?;
        self.offered(media.value).into_iter().next().cloned()
    }

    /// An answer of the operation. `status` asks for one, otherwise it is the first success. `accept` is the caller's
    /// Accept field.
    pub fn response(
        &self,
        operation: &OperationSpec,
        status: Option<u16>,
        accept: Option<&str>,
        seed: u64,
    ) -> Result<GeneratedResponse, GenerateError> {
        let missing = || GenerateError::NoSchema { pointer: format!("{}/responses", operation.pointer) };
        let (key, status) = pick_status(operation, status).ok_or_else(missing)?;
        let responses = self.part(&operation.pointer).and_then(|part| part.member(self.document, "responses"));
        let response = responses.and_then(|part| part.member(self.document, &key)).ok_or_else(missing)?;
        let headers = self.response_headers(&response, seed);
        // RFC 9110 §15.3.5, §15.4.5: these have no content whatever a document says.
        let bodiless = matches!(status, 100..=199 | 204 | 205 | 304);
        let media = if bodiless { None } else { self.pick_media(&response, accept) };
        let Some((media_type, media)) = media else {
            return Ok(GeneratedResponse {
                status,
                headers,
                content_type: None,
                body: Vec::new(),
                origin: Origin::Free,
            });
        };
        let schema = media.value.get("schema").map(|_| SchemaPointer(format!("{}/schema", media.pointer)));
        let (value, origin) = match schema {
            Some(schema) => self.example_or_value(&schema, Direction::Response, seed)?,
            None => match self.offered(media.value).first() {
                Some(example) => ((*example).clone(), Origin::Example),
                None => (Value::Object(Default::default()), Origin::Free),
            },
        };
        let content_type = Some(wire::concrete(&media_type));
        Ok(GeneratedResponse { status, headers, content_type, body: wire::body(&media_type, &value), origin })
    }

    fn pick_media(&self, response: &Part<'d>, accept: Option<&str>) -> Option<(String, Part<'d>)> {
        let content = response.member(self.document, "content")?;
        let names: Vec<&String> = content.value.as_object()?.keys().collect();
        let ranges: Vec<String> = accept.unwrap_or("*/*").split(',').map(wire::essence).collect();
        let acceptable = |name: &&&String| {
            let essence = wire::essence(&wire::concrete(name));
            let (kind, _) = essence.split_once('/').unwrap_or((&essence, ""));
            ranges.iter().any(|range| *range == essence || range == "*/*" || *range == format!("{kind}/*"))
        };
        let json = |name: &&&String| wire::is_json(name) || wire::essence(name) == "*/*";
        let name = names.iter().filter(acceptable).find(json);
        let name = name
            .or_else(|| names.iter().find(acceptable))
            .or_else(|| names.iter().find(json))
            .or_else(|| names.first())?;
        Some(((*name).clone(), content.member(self.document, name)?))
    }

    fn response_headers(&self, response: &Part<'d>, seed: u64) -> Vec<GeneratedHeader> {
        let Some(headers) = response.member(self.document, "headers") else { return Vec::new() };
        let names = headers.value.as_object().into_iter().flat_map(serde_json::Map::keys);
        let field = |name: &String| {
            if is_framing(name) {
                return None;
            }
            let part = headers.member(self.document, name)?;
            let schema = part.value.get("schema").map(|_| SchemaPointer(format!("{}/schema", part.pointer)))?;
            let (value, _) = self.example_or_value(&schema, Direction::Response, seed).ok()?;
            let text: String = wire::scalar(&value).chars().filter(|char| (' '..='~').contains(char)).collect();
            header(name, &text)
        };
        names.filter_map(field).collect()
    }

    /// The first valid example beside or in the schema, or else a value made to it.
    fn example_or_value(
        &self,
        schema: &SchemaPointer,
        direction: Direction,
        seed: u64,
    ) -> Result<(Value, Origin), GenerateError> {
        let holder = schema.0.strip_suffix("/schema").and_then(|holder| self.document.pointer(holder));
        let offered = holder.map(|holder| self.offered(holder)).unwrap_or_default();
        let judge = self.judge(schema)?;
        if let Some(example) = offered.iter().find(|example| judge.is_valid(example)) {
            return Ok(((*example).clone(), Origin::Example));
        }
        let value = self.value(schema, direction, seed)?;
        Ok((value, if offered.is_empty() { Origin::Made } else { Origin::InPlaceOfExample }))
    }

    /// The examples of a parameter, header or media type object (OpenAPI 3.1.1 §4.8.12, §4.8.14).
    fn offered(&self, holder: &'d Value) -> Vec<&'d Value> {
        let named = holder.get("examples").and_then(Value::as_object).into_iter().flatten();
        let value = |(_, example): (&String, &'d Value)| {
            let part = Part { pointer: String::new(), value: example }.followed(self.document)?;
            part.value.get("value")
        };
        holder.get("example").into_iter().chain(named.filter_map(value)).collect()
    }

    fn part(&self, pointer: &str) -> Option<Part<'d>> {
        Some(Part { pointer: pointer.to_owned(), value: self.document.pointer(pointer)? })
    }
}

/// The document's key of a response, and the status that it is sent with.
fn pick_status(operation: &OperationSpec, wanted: Option<u16>) -> Option<(String, u16)> {
    let ranges: Vec<StatusRange> = operation.responses.iter().map(|response| response.status).collect();
    let has = |range: StatusRange| ranges.contains(&range);
    if let Some(wanted) = wanted {
        let class = u8::try_from(wanted / 100).unwrap_or(0);
        let range = [StatusRange::Code(wanted), StatusRange::Class(class), StatusRange::Default]
            .into_iter()
            .find(|r| has(*r))?;
        return Some((key_of(range), wanted));
    }
    let lowest = |class: u16| {
        let codes = ranges.iter().filter_map(|range| match range {
            StatusRange::Code(code) if code / 100 == class => Some(*code),
            StatusRange::Code(_) | StatusRange::Class(_) | StatusRange::Default => None,
        });
        codes.min().map(|code| (key_of(StatusRange::Code(code)), code))
    };
    let class_or_default = || {
        let range = [StatusRange::Class(2), StatusRange::Default].into_iter().find(|range| has(*range))?;
        Some((key_of(range), 200))
    };
    lowest(2).or_else(class_or_default).or_else(|| lowest(3)).or_else(|| lowest(4)).or_else(|| lowest(5))
}

fn key_of(range: StatusRange) -> String {
    match range {
        StatusRange::Code(code) => code.to_string(),
        StatusRange::Class(class) => format!("{class}XX"),
        StatusRange::Default => "default".to_owned(),
    }
}

fn header(name: &str, value: &str) -> Option<GeneratedHeader> {
    let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
    Some(GeneratedHeader { name, value: HeaderValue::from_str(value).ok()? })
}

/// OpenAPI 3.1.1 §4.8.12: parameters of these names are ignored; the transport sets the others.
fn is_set_elsewhere(name: &str) -> bool {
    ["accept", "content-type", "authorization", "host", "content-length", "connection"]
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known))
}

/// Fields that describe this very transfer, which the server knows better than a document.
fn is_framing(name: &str) -> bool {
    const FRAMING: [&str; 12] = [
        "content-type",
        "content-length",
        "content-encoding",
        "content-range",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "upgrade",
        "trailer",
        "te",
        "date",
        "content-md5",
    ];
    FRAMING.iter().any(|known| name.eq_ignore_ascii_case(known))
}

#[cfg(test)]
impl Generator<'_> {
    pub(super) fn example_or_value_for_test(&self, schema: &SchemaPointer) -> Result<Origin, GenerateError> {
        self.example_or_value(schema, Direction::Response, 1).map(|(_, origin)| origin)
    }
}
