//! Makes values that a document's schemas allow: answers for a mock, requests for a trial.
//!
//! A value is grown from the schema, judged by the schema library with the whole document at hand, and mended where it is
//! wrong, until it is valid or nothing is left to try. The document's own examples come first wherever they are valid.
//!
//! Invariants: the same document, seed and time give the same value; a value that is handed out as valid was judged
//! valid, formats included; work is bounded for every document.

mod exchange;
mod facts;
mod format;
mod grow;
mod number;
mod pattern;
mod plan;
mod repair;
mod string;
mod wire;

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use jsonschema::{Draft, Registry, Validator};
use serde_json::{Value, json};

pub use exchange::{GeneratedHeader, GeneratedRequest, GeneratedResponse, Origin, request};

use crate::catalogue::pointer;
use crate::contract::SchemaPointer;
use crate::domain::Timestamp;
use grow::{Grower, Stuck};
use plan::{Plan, Trace};
use repair::{Fault, faults};
use string::Strings;

/// Which way a value goes: what is marked `readOnly` is not sent, what is marked `writeOnly` is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    Request,
    Response,
}

/// Why no valid value can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GenerateError {
    #[error("{pointer}: there is no schema here")]
    NoSchema { pointer: String },
    #[error("{pointer}: the schema cannot be compiled: {reason}")]
    Schema { pointer: String, reason: String },
    #[error("{pointer}: no value was found that the schema allows; last at {place:?}: {reason}")]
    NotFound { pointer: String, place: String, reason: String },
    #[error("{pointer}: the schema allows no finite value")]
    Endless { pointer: String },
    #[error("the document cannot be indexed: {reason}")]
    Document { reason: String },
}

/// Rounds of growing and mending before it is given up.
const ROUNDS_MAX: usize = 160;
const DOCUMENT_URI: &str = "urn:clearway:document";

type Judge = Result<Rc<Validator>, String>;

/// Makes values for one document. Keeps what it compiled for as long as it lives.
pub struct Generator<'d> {
    document: &'d Value,
    registry: Registry<'d>,
    /// The document without the patterns that the schema library cannot read; made when one is met.
    readable: OnceCell<Option<Registry<'static>>>,
    judges: RefCell<HashMap<String, Judge>>,
    strings: RefCell<Strings>,
    now: Timestamp,
}

impl<'d> Generator<'d> {
    /// `document` is OpenAPI 3.1 with references inside itself only. `now` dates what is made.
    pub fn new(document: &'d Value, now: Timestamp) -> Result<Self, GenerateError> {
        let registry = Registry::new()
            .draft(Draft::Draft202012)
            .add(DOCUMENT_URI, document)
            .and_then(jsonschema::RegistryBuilder::prepare)
            .map_err(|error| GenerateError::Document { reason: error.to_string() })?;
        let (judges, strings) = (RefCell::default(), RefCell::default());
        Ok(Self { document, registry, readable: OnceCell::new(), judges, strings, now })
    }

    /// A valid value of the schema.
    pub fn value(&self, schema: &SchemaPointer, direction: Direction, seed: u64) -> Result<Value, GenerateError> {
        let pointer = &schema.0;
        let root =
            self.document.pointer(pointer).ok_or_else(|| GenerateError::NoSchema { pointer: pointer.clone() })?;
        let judge = self.judge(schema)?;
        let mut plan = Plan::default();
        let mut last: Option<Fault> = None;
        for round in 0..ROUNDS_MAX {
            // Another seed now and then: what no decision can mend may be bad luck.
            let seed = seed.wrapping_add(round as u64 / 40);
            let (grown, trace) = self.grow(root, direction, seed, &plan);
            let Ok(value) = grown else {
                if plan.sparse.insert(String::new()) {
                    continue;
                }
                return Err(GenerateError::Endless { pointer: pointer.clone() });
            };
            let found = faults(judge.iter_errors(&value), &trace);
            if found.is_empty() {
                return Ok(value);
            }
            last = found.first().cloned();
            if !plan.revise(self.document, &found, &trace) {
                break;
            }
        }
        let (place, reason) = last.map(|fault| (fault.place, fault.message)).unwrap_or_default();
        Err(GenerateError::NotFound { pointer: pointer.clone(), place, reason })
    }

    /// Whether the schema allows the value; formats count.
    pub fn allows(&self, schema: &SchemaPointer, value: &Value) -> Result<bool, GenerateError> {
        Ok(self.judge(schema)?.is_valid(value))
    }

    fn grow(&self, root: &'d Value, direction: Direction, seed: u64, plan: &Plan) -> (Result<Value, Stuck>, Trace<'d>) {
        let mut strings = self.strings.borrow_mut();
        let mut grower = Grower {
            document: self.document,
            direction,
            now: self.now,
            seed,
            variant: 0,
            plan,
            strings: &mut strings,
            trace: Trace::default(),
            made: 0,
        };
        let grown = grower.grow(root);
        (grown, grower.trace)
    }

    fn judge(&self, schema: &SchemaPointer) -> Result<Rc<Validator>, GenerateError> {
        let judge = self.judges.borrow().get(&schema.0).cloned();
        let judge = judge.unwrap_or_else(|| {
            let compiled = self.compile(schema);
            self.judges.borrow_mut().insert(schema.0.clone(), compiled.clone());
            compiled
        });
        judge.map_err(|reason| GenerateError::Schema { pointer: schema.0.clone(), reason })
    }

    /// A pattern that is none takes nothing else with it: the schema is judged without it then.
    fn compile(&self, schema: &SchemaPointer) -> Judge {
        let reference = json!({ "$ref": format!("{DOCUMENT_URI}{}", pointer::to_reference(&schema.0)) });
        build(&reference, &self.registry).or_else(|reason| {
            let readable = self.readable.get_or_init(|| readable(self.document));
            readable.as_ref().ok_or(reason).and_then(|registry| build(&reference, registry))
        })
    }
}

fn build(schema: &Value, registry: &Registry<'_>) -> Judge {
    let options = jsonschema::options().with_draft(Draft::Draft202012).with_registry(registry);
    let built = options.should_validate_formats(true).build(schema);
    built.map(Rc::new).map_err(|error| error.to_string())
}

fn readable(document: &Value) -> Option<Registry<'static>> {
    let mut copy = document.clone();
    drop_unreadable_patterns(&mut copy);
    let resource = jsonschema::Resource::from_contents(copy);
    let builder = Registry::new().draft(Draft::Draft202012).add(DOCUMENT_URI, resource).ok()?;
    builder.prepare().ok()
}

fn drop_unreadable_patterns(value: &mut Value) {
    let is_readable = |pattern: &str| jsonschema::validator_for(&json!({ "pattern": pattern })).is_ok();
    let mut open = vec![value];
    while let Some(value) = open.pop() {
        match value {
            Value::Array(items) => open.extend(items),
            Value::Object(members) => {
                if members.get("pattern").and_then(Value::as_str).is_some_and(|pattern| !is_readable(pattern)) {
                    members.shift_remove("pattern");
                }
                if let Some(Value::Object(patterns)) = members.get_mut("patternProperties") {
                    patterns.retain(|pattern, _| is_readable(pattern));
                }
                open.extend(members.values_mut());
            }
            _ => (),
        }
    }
}

/// One valid value; for many of one document make a [`Generator`].
pub fn value(
    document: &Value,
    schema: &SchemaPointer,
    direction: Direction,
    seed: u64,
    now: Timestamp,
) -> Result<Value, GenerateError> {
    Generator::new(document, now)?.value(schema, direction, seed)
}

#[cfg(test)]
mod corpus;
#[cfg(test)]
mod tests;
