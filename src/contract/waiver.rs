//! Which members need not be there in which direction: `readOnly` and `writeOnly` (OAM-56).
//!
//! A `required` name is waived where the member's schema is found to be `readOnly` (or `writeOnly`) in the same schema, in
//! one it includes by `$ref` or `allOf`, or in one that includes it in place. Two components that know of each other
//! only through a third's `allOf` are read strictly.

use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::Value;

use super::compile::{Compiler, Resource};
use super::schema::Waiver;

/// How many references and `allOf` deep to look.
const LOOK_MAX: usize = 8;
/// Most schemas to look at for one schema's waivers.
const VISITS_MAX: usize = 500;

/// Waivers by member name.
pub(super) type Waivers = BTreeMap<String, Waiver>;

/// What a schema says of the directions of its members, added to what is said around it.
pub(super) fn waivers<'d>(
    compiler: &Compiler<'d>,
    schema: &'d Value,
    resource: &Rc<Resource<'d>>,
    around: &Rc<Waivers>,
) -> Rc<Waivers> {
    if !compiler.directed {
        return Rc::clone(around);
    }
    let mut found = Waivers::clone(around);
    let mut visits = VISITS_MAX;
    collect(compiler, schema, resource, LOOK_MAX, &mut visits, &mut found);
    Rc::new(found)
}

fn collect<'d>(
    compiler: &Compiler<'d>,
    schema: &'d Value,
    resource: &Rc<Resource<'d>>,
    left: usize,
    visits: &mut usize,
    found: &mut Waivers,
) {
    let Some(left) = spend(left, visits) else { return };
    if let Some(Value::Object(members)) = schema.get("properties") {
        for (name, member) in members {
            let waiver = flags(compiler, member, resource, left, visits);
            if waiver != Waiver::default() {
                let entry = found.entry(name.clone()).or_default();
                *entry = either(*entry, waiver);
            }
        }
    }
    for (part, resource) in included(compiler, schema, resource) {
        collect(compiler, part, &resource, left, visits, found);
    }
}

fn flags<'d>(
    compiler: &Compiler<'d>,
    schema: &'d Value,
    resource: &Rc<Resource<'d>>,
    left: usize,
    visits: &mut usize,
) -> Waiver {
    let says = |keyword: &str| schema.get(keyword).and_then(Value::as_bool).unwrap_or(false);
    let own = Waiver { request: says("readOnly"), response: says("writeOnly") };
    let Some(left) = spend(left, visits) else { return own };
    included(compiler, schema, resource)
        .into_iter()
        .fold(own, |waiver, (part, resource)| either(waiver, flags(compiler, part, &resource, left, visits)))
}

fn spend(left: usize, visits: &mut usize) -> Option<usize> {
    *visits = visits.checked_sub(1)?;
    left.checked_sub(1)
}

const fn either(a: Waiver, b: Waiver) -> Waiver {
    Waiver { request: a.request || b.request, response: a.response || b.response }
}

/// The schemas that always apply together with this one.
fn included<'d>(
    compiler: &Compiler<'d>,
    schema: &'d Value,
    resource: &Rc<Resource<'d>>,
) -> Vec<(&'d Value, Rc<Resource<'d>>)> {
    let mut parts = Vec::new();
    if let Some(Value::String(reference)) = schema.get("$ref")
        && let Some(target) = compiler.resolve(reference, resource)
    {
        parts.push((target.value, target.resource));
    }
    if let Some(Value::Array(all)) = schema.get("allOf") {
        parts.extend(all.iter().map(|part| (part, Rc::clone(resource))));
    }
    parts
}
