//! Parameters, bodies and responses of one operation, as pointers into the document.

use serde_json::{Map, Value};

use super::super::bundle::UNRESOLVED;
use super::super::census::{follow, parameter_name, response_name, text};
use super::super::mend::{SET_ASIDE, UNUSABLE};
use super::super::pointer;
use super::super::report::{Ledger, Part, Severity};
use crate::contract::{
    BodySpec, MediaTypeSpec, ParameterPlace, ParameterSpec, ResponseSpec, SchemaPointer, StatusRange, Style,
};

fn place(parameter: &Map<String, Value>) -> Option<ParameterPlace> {
    Some(match text(parameter, "in") {
        "path" => ParameterPlace::Path,
        "query" => ParameterPlace::Query,
        "header" => ParameterPlace::Header,
        "cookie" => ParameterPlace::Cookie,
        _ => return None,
    })
}

/// The parameters of one operation while they are settled.
pub struct Settled<'s> {
    document: &'s Value,
    operation: &'s str,
    ledger: &'s mut Ledger,
    list: Vec<Value>,
    names: Vec<(ParameterPlace, String, bool)>,
    problems: Vec<(Severity, String, String)>,
}

impl<'s> Settled<'s> {
    pub fn new(document: &'s Value, operation: &'s str, ledger: &'s mut Ledger) -> Self {
        Self { document, operation, ledger, list: Vec::new(), names: Vec::new(), problems: Vec::new() }
    }

    /// Takes a parameter if it means something; `own` tells the operation's from the path's. An error means that the
    /// operation cannot be used without it.
    pub fn add(&mut self, value: &Value, index: usize, own: bool, variables: &[String]) -> Result<(), String> {
        let Some(object) = value.as_object() else { return Ok(()) };
        let (parameter, _) = follow(self.document, object);
        let name = parameter_name(self.operation, parameter, index);
        if let Some(reference) = parameter.get(UNRESOLVED).and_then(Value::as_str) {
            return Err(format!("its parameter {reference} is not known, so a request could not be checked"));
        }
        if parameter.get("schema").is_some_and(|s| s.get(UNRESOLVED).is_some()) {
            return Err(format!("the schema of its parameter {} leads nowhere", text(parameter, "name")));
        }
        let Some(place) = place(parameter).filter(|_| !parameter.contains_key(UNUSABLE)) else {
            self.leave(&name, Severity::Error, "it has no name, or a place that does not exist");
            return Ok(());
        };
        // Header names are compared without regard to case (RFC 9110 §5.1).
        let key = match place {
            ParameterPlace::Header => text(parameter, "name").to_ascii_lowercase(),
            _ => text(parameter, "name").to_owned(),
        };
        match self.names.iter().find(|(p, k, _)| (*p, k) == (place, &key)) {
            // OAM-29: the operation's own overrides the path's.
            Some((.., other_own)) if *other_own != own => return Ok(()),
            Some(_) => {
                self.problem(
                    Severity::Warning,
                    format!("the {} parameter {key} stands twice; the first counts", place.as_str()),
                    "Remove one.",
                );
                return Ok(());
            }
            None => {}
        }
        if place == ParameterPlace::Header && matches!(key.as_str(), "accept" | "content-type" | "authorization") {
            // OpenAPI 3.1.1 §4.8.12.1: such a definition is ignored; media types and security say it.
            self.leave(
                &name,
                Severity::Note,
                "OpenAPI ignores header parameters of this name: media types and security schemes describe them",
            );
            return Ok(());
        }
        if place == ParameterPlace::Path && !variables.contains(&key) {
            self.leave(&name, Severity::Warning, "the path has no such variable");
            return Ok(());
        }
        self.names.push((place, key, own));
        self.list.push(value.clone());
        Ok(())
    }

    fn leave(&mut self, name: &str, severity: Severity, reason: &str) {
        self.ledger.leave(Part::Parameters, name, reason);
        if severity != Severity::Note {
            let parameter = name.strip_prefix(self.operation).unwrap_or(name);
            self.problem(severity, format!("the parameter{parameter} is not used: {reason}"), "Correct or remove it.");
        }
    }

    fn problem(&mut self, severity: Severity, what: String, remedy: &str) {
        self.problems.push((severity, what, remedy.to_owned()));
    }

    pub fn into_parts(self) -> (Vec<Value>, Vec<(Severity, String, String)>) {
        (self.list, self.problems)
    }
}

/// Names of the path parameters in a settled list.
pub fn path_names(document: &Value, list: &[Value]) -> Vec<String> {
    let objects = list.iter().filter_map(Value::as_object).map(|p| follow(document, p).0);
    objects.filter(|p| text(p, "in") == "path").map(|p| text(p, "name").to_owned()).collect()
}

/// Whether the body of a request is known well enough to let the request pass.
pub fn check_body(document: &Value, operation: &Map<String, Value>) -> Result<(), String> {
    let Some(body) = operation.get("requestBody").and_then(Value::as_object) else { return Ok(()) };
    let (body, _) = follow(document, body);
    if let Some(reference) = body.get(UNRESOLVED).and_then(Value::as_str) {
        return Err(format!("its request body {reference} is not known, so a request could not be checked"));
    }
    for (media_type, media) in body.get("content").and_then(Value::as_object).into_iter().flatten() {
        if let Some(reference) = media.get("schema").and_then(|s| s.get(UNRESOLVED)).and_then(Value::as_str) {
            return Err(format!("the schema of its {media_type} body, {reference}, is not known"));
        }
    }
    Ok(())
}

fn resolved<'d>(document: &'d Value, value: &'d Value, at: String) -> Option<(&'d Map<String, Value>, String)> {
    let (object, target) = follow(document, value.as_object()?);
    Some((object, target.unwrap_or(at)))
}

pub fn parameters(document: &Value, operation: &Map<String, Value>, at: &str) -> Vec<ParameterSpec> {
    let list = operation.get("parameters").and_then(Value::as_array).into_iter().flatten().enumerate();
    list.filter_map(|(index, value)| {
        let (object, at) = resolved(document, value, format!("{at}/parameters/{index}"))?;
        parameter(object, &at)
    })
    .collect()
}

fn parameter(object: &Map<String, Value>, at: &str) -> Option<ParameterSpec> {
    let place = place(object)?;
    let default = match place {
        ParameterPlace::Query | ParameterPlace::Cookie => Style::Form,
        ParameterPlace::Path | ParameterPlace::Header => Style::Simple,
    };
    let style = match text(object, "style") {
        "simple" => Style::Simple,
        "label" => Style::Label,
        "matrix" => Style::Matrix,
        "form" => Style::Form,
        "spaceDelimited" => Style::SpaceDelimited,
        "pipeDelimited" => Style::PipeDelimited,
        "deepObject" => Style::DeepObject,
        _ => default,
    };
    let content = object.get("content").and_then(Value::as_object).and_then(|c| c.iter().next());
    let media_type = content.map(|(media_type, _)| media_type.clone());
    let schema = match content {
        Some((name, media)) => media.get("schema").map(|_| format!("{at}/content/{}/schema", pointer::escape(name))),
        None => object.get("schema").map(|_| format!("{at}/schema")),
    };
    Some(ParameterSpec {
        name: text(object, "name").to_owned(),
        place,
        required: place == ParameterPlace::Path || object.get("required") == Some(&Value::Bool(true)),
        style,
        // OpenAPI 3.1.1 §4.8.12.2.1: true by default for `form`, false for every other style.
        explode: object.get("explode").and_then(Value::as_bool).unwrap_or(style == Style::Form),
        schema: schema.map(SchemaPointer),
        media_type,
    })
}

fn content(holder: &Map<String, Value>, at: &str) -> Vec<MediaTypeSpec> {
    let content = holder.get("content").and_then(Value::as_object).into_iter().flatten();
    content
        .map(|(media_type, media)| MediaTypeSpec {
            media_type: media_type.clone(),
            schema: media
                .get("schema")
                .map(|_| SchemaPointer(format!("{at}/content/{}/schema", pointer::escape(media_type)))),
        })
        .collect()
}

pub fn body(document: &Value, operation: &Map<String, Value>, at: &str) -> Option<BodySpec> {
    let (body, at) = resolved(document, operation.get("requestBody")?, format!("{at}/requestBody"))?;
    Some(BodySpec { required: body.get("required") == Some(&Value::Bool(true)), content: content(body, &at) })
}

pub fn responses(document: &Value, operation: &Map<String, Value>, at: &str) -> Vec<ResponseSpec> {
    let responses = operation.get("responses").and_then(Value::as_object).into_iter().flatten();
    responses
        .filter_map(|(code, value)| {
            let status = status(code)?;
            let (response, at) = resolved(document, value, format!("{at}/responses/{code}"))?;
            Some(ResponseSpec { status, content: content(response, &at) })
        })
        .collect()
}

fn status(code: &str) -> Option<StatusRange> {
    if code == "default" {
        return Some(StatusRange::Default);
    }
    if let Some(class) = code.strip_suffix("XX") {
        return class.parse().ok().filter(|c| (1..=5).contains(c)).map(StatusRange::Class);
    }
    code.parse().ok().filter(|c| (100..600).contains(c)).map(StatusRange::Code)
}

/// Enters into the ledger what the operation uses.
pub fn account(document: &Value, operation: &Map<String, Value>, name: &str, ledger: &mut Ledger) {
    let parameters = operation.get("parameters").and_then(Value::as_array).into_iter().flatten();
    for (index, parameter) in parameters.filter_map(Value::as_object).enumerate() {
        ledger.use_up(Part::Parameters, parameter_name(name, follow(document, parameter).0, index));
    }
    if let Some(body) = operation.get("requestBody").and_then(Value::as_object) {
        ledger.use_up(Part::Bodies, name);
        form_fields(follow(document, body).0, name, ledger);
    }
    for (code, response) in operation.get("responses").and_then(Value::as_object).into_iter().flatten() {
        match (response.get(UNRESOLVED).and_then(Value::as_str), code.strip_prefix(SET_ASIDE)) {
            (Some(reference), _) => {
                ledger.leave(
                    Part::Responses,
                    response_name(name, code),
                    &format!("its reference {reference} leads nowhere"),
                );
            }
            (None, Some(code)) => {
                ledger.leave(Part::Responses, response_name(name, code), "it is no status code, or no object")
            }
            (None, None) => ledger.use_up(Part::Responses, response_name(name, code)),
        }
    }
    for (callback, expressions) in operation.get("callbacks").and_then(Value::as_object).into_iter().flatten() {
        let expressions = expressions.as_object().map(|e| follow(document, e).0);
        for (expression, _) in expressions.into_iter().flatten() {
            ledger.use_up(Part::Callbacks, format!("{name} {callback} {expression}"));
        }
    }
}

/// Form fields of Swagger 2.0 were parameters; they are properties of the body now.
fn form_fields(body: &Map<String, Value>, name: &str, ledger: &mut Ledger) {
    let content = body.get("content").and_then(Value::as_object).into_iter().flatten();
    for (_, media) in content {
        let properties = media.get("schema").and_then(|s| s.get("properties")).and_then(Value::as_object);
        for field in properties.into_iter().flatten().map(|(field, _)| field) {
            ledger.use_up(Part::Parameters, format!("{name} formData {field}"));
        }
    }
}

/// The texts of a list.
pub fn texts(value: Option<&Value>) -> Vec<String> {
    let list = value.and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str).map(ToOwned::to_owned).collect()
}
