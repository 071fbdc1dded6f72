//! From the document's tree to the arena: every schema that an operation reaches, each once.
//!
//! The walk keeps a list of schemas to do instead of recursing, so no document can overflow the stack.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::rc::Rc;

use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::issue::{ContractIssue, IssueCause};
use super::keyword::Keywords;
use super::merge::merge;
use super::schema::{ANY, NONE, Node, NodeId, Rule, Schemas, Types};
use super::text::Texts;
use super::waiver::Waivers;

/// Most schemas of one document. The largest real document we know has 60,000.
const SCHEMAS_MAX: usize = 1_000_000;
/// Dialects that are read as JSON Schema 2020-12 (OAM-61).
const DIALECTS: &[&str] = &[
    "https://json-schema.org/draft/2020-12/schema",
    "https://spec.openapis.org/oas/3.1/dialect/base",
    "https://spec.openapis.org/oas/3.1/dialect/2024-10-25",
    "https://spec.openapis.org/oas/3.1/dialect/2024-11-10",
];

/// What references that start with `#` count from: the document, or the schema with the nearest `$id`.
#[derive(Debug)]
pub(super) struct Resource<'d> {
    pointer: String,
    value: &'d Value,
}

/// A schema that is yet to be read.
pub(super) struct Pending<'d> {
    id: NodeId,
    pub value: &'d Value,
    pub pointer: String,
    pub resource: Rc<Resource<'d>>,
    /// What the schemas around an in-place subschema say of member directions.
    pub waivers: Rc<Waivers>,
}

/// Where a reference leads.
pub(super) struct Target<'d> {
    pub pointer: String,
    pub value: &'d Value,
    pub resource: Rc<Resource<'d>>,
}

pub(super) struct Compiler<'d> {
    document: Rc<Resource<'d>>,
    nodes: Vec<Node>,
    pointers: Vec<String>,
    known: HashMap<String, NodeId>,
    queue: Vec<Pending<'d>>,
    names: OnceCell<Names>,
    /// Whether the document says `readOnly` or `writeOnly` anywhere.
    pub directed: bool,
    pub texts: Texts,
    pub issues: Vec<ContractIssue>,
}

/// Where the document's anchors and ids are.
#[derive(Default)]
struct Names {
    anchors: HashMap<String, Vec<String>>,
    ids: HashMap<String, String>,
}

impl<'d> Compiler<'d> {
    pub fn new(document: &'d Value) -> Self {
        let any = Node { types: Types::ALL, rules: Box::default() };
        let none = Node { types: Types::EMPTY, rules: Box::default() };
        let mut compiler = Self {
            document: Rc::new(Resource { pointer: String::new(), value: document }),
            nodes: vec![any, none], // ANY and NONE
            pointers: vec![String::new(); 2],
            known: HashMap::new(),
            queue: Vec::new(),
            names: OnceCell::new(),
            directed: false,
            texts: Texts::default(),
            issues: Vec::new(),
        };
        walk(document, |_, members| {
            compiler.directed |= members.contains_key("readOnly") || members.contains_key("writeOnly");
        });
        if let Some(dialect) = document.get("jsonSchemaDialect") {
            compiler.check_dialect("/jsonSchemaDialect", dialect);
        }
        compiler
    }

    /// The schema at a pointer of the document; what is missing is reported and takes anything.
    pub fn root(&mut self, pointer: &str) -> NodeId {
        match self.document.value.pointer(pointer) {
            Some(value) => {
                let resource = Rc::clone(&self.document);
                self.enqueue(value, pointer.to_owned(), resource, Rc::default())
            }
            None => {
                self.report(pointer, IssueCause::Missing);
                ANY
            }
        }
    }

    /// The schema that a reference leads to.
    pub fn target(&mut self, target: Target<'d>) -> NodeId {
        self.enqueue(target.value, target.pointer, target.resource, Rc::default())
    }

    pub fn enqueue(
        &mut self,
        value: &'d Value,
        pointer: String,
        resource: Rc<Resource<'d>>,
        waivers: Rc<Waivers>,
    ) -> NodeId {
        match value {
            Value::Bool(true) => return ANY,
            Value::Bool(false) => return NONE,
            Value::Object(members) if members.is_empty() => return ANY,
            Value::Object(_) => {}
            _ => {
                self.report(&pointer, IssueCause::NotASchema);
                return ANY;
            }
        }
        if let Some(id) = self.known.get(&pointer) {
            return *id;
        }
        let Some(id) = NodeId::try_from(self.nodes.len()).ok().filter(|id| (*id as usize) < SCHEMAS_MAX) else {
            self.report(&pointer, IssueCause::TooManySchemas(SCHEMAS_MAX));
            return ANY;
        };
        self.nodes.push(Node { types: Types::ALL, rules: Box::default() });
        self.pointers.push(pointer.clone());
        self.known.insert(pointer.clone(), id);
        self.queue.push(Pending { id, value, pointer, resource, waivers });
        id
    }

    pub fn report(&mut self, pointer: &str, cause: IssueCause) {
        let issue = ContractIssue { pointer: pointer.to_owned(), cause };
        if !self.issues.contains(&issue) {
            self.issues.push(issue);
        }
    }

    /// Reads everything that is pending. Also answers where each schema is now: those that say the same are one.
    pub fn finish(mut self) -> (Schemas, Vec<NodeId>, Vec<ContractIssue>) {
        while let Some(mut pending) = self.queue.pop() {
            let Value::Object(members) = pending.value else { continue };
            if let Some(dialect) = members.get("$schema")
                && !self.check_dialect(&format!("{}/$schema", pending.pointer), dialect)
            {
                continue;
            }
            if members.get("$id").and_then(Value::as_str).is_some_and(|id| !id.starts_with('#')) {
                pending.resource = Rc::new(Resource { pointer: pending.pointer.clone(), value: pending.value });
            }
            let id = pending.id as usize;
            let node = Keywords::new(&mut self, &pending, members).read();
            if let Some(slot) = self.nodes.get_mut(id) {
                *slot = node;
            }
        }
        self.cut_endless();
        self.issues.sort_by(|a, b| a.pointer.cmp(&b.pointer));
        let (nodes, places) = merge(self.nodes);
        (Schemas { nodes }, places, self.issues)
    }

    fn check_dialect(&mut self, pointer: &str, dialect: &Value) -> bool {
        let name = dialect.as_str().unwrap_or_default().trim_end_matches('#');
        let known = DIALECTS.contains(&name);
        if !known {
            self.report(pointer, IssueCause::Dialect(name.to_owned()));
        }
        known
    }

    /// RFC 6901 §6 and RFC 3986 §5: `#/pointer`, `#anchor`, or either below an `$id` of this document.
    pub fn resolve(&self, reference: &str, resource: &Rc<Resource<'d>>) -> Option<Target<'d>> {
        let (uri, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let resource = if uri.is_empty() { Rc::clone(resource) } else { self.identified(uri)? };
        let fragment = percent_decode_str(fragment).decode_utf8().ok()?;
        if fragment.is_empty() || fragment.starts_with('/') {
            let value = resource.value.pointer(&fragment)?;
            return Some(Target { pointer: format!("{}{fragment}", resource.pointer), value, resource });
        }
        match self.names().anchors.get(&*fragment)?.as_slice() {
            [pointer] => {
                let value = self.document.value.pointer(pointer)?;
                Some(Target { pointer: pointer.clone(), value, resource })
            }
            _ => None,
        }
    }

    fn identified(&self, uri: &str) -> Option<Rc<Resource<'d>>> {
        let pointer = self.names().ids.get(uri)?;
        let value = self.document.value.pointer(pointer)?;
        Some(Rc::new(Resource { pointer: pointer.clone(), value }))
    }

    fn names(&self) -> &Names {
        self.names.get_or_init(|| {
            let mut names = Names::default();
            walk(self.document.value, |pointer, members| {
                for keyword in ["$anchor", "$dynamicAnchor"] {
                    if let Some(Value::String(anchor)) = members.get(keyword) {
                        names.anchors.entry(anchor.clone()).or_default().push(pointer());
                    }
                }
                if let Some(Value::String(id)) = members.get("$id") {
                    names.ids.entry(id.trim_end_matches('#').to_owned()).or_insert_with(pointer);
                }
            });
            names
        })
    }

    /// Cuts each use of a schema that would check a value against itself without ever going into the value.
    fn cut_endless(&mut self) {
        #[derive(Clone, Copy, PartialEq)]
        enum Mark {
            New,
            Open,
            Done,
        }
        let mut marks = vec![Mark::New; self.nodes.len()];
        for start in 0..self.nodes.len() {
            let mut path: Vec<(usize, usize)> = vec![(start, 0)];
            if marks.get(start) != Some(&Mark::New) {
                continue;
            }
            while let Some((at, next)) = path.last_mut() {
                let (at, position) = (*at, *next);
                *next += 1;
                if let Some(mark) = marks.get_mut(at) {
                    *mark = Mark::Open;
                }
                let child = self.nodes.get(at).and_then(|node| in_place(node).nth(position));
                match child.map(|child| (child, marks.get(child as usize).copied())) {
                    None => {
                        if let Some(mark) = marks.get_mut(at) {
                            *mark = Mark::Done;
                        }
                        path.pop();
                    }
                    Some((child, Some(Mark::New))) => path.push((child as usize, 0)),
                    Some((child, Some(Mark::Open))) => {
                        self.cut(at, child);
                        path.pop();
                        path.push((at, 0)); // The rules have changed: count them anew.
                    }
                    Some((_, Some(Mark::Done) | None)) => {}
                }
            }
        }
    }

    fn cut(&mut self, parent: usize, child: NodeId) {
        if let Some(node) = self.nodes.get_mut(parent) {
            node.rules.iter_mut().for_each(|rule| replace(rule, child));
        }
        let pointer = self.pointers.get(parent).cloned().unwrap_or_default();
        self.report(&pointer, IssueCause::Endless);
    }
}

/// The schemas that are checked against the same value as the node itself.
fn in_place(node: &Node) -> impl Iterator<Item = NodeId> {
    node.rules.iter().flat_map(|rule| -> Vec<NodeId> {
        match rule {
            Rule::Ref(id) | Rule::Not(id) => vec![*id],
            Rule::AllOf(ids) | Rule::AnyOf(ids) | Rule::OneOf(ids) => ids.to_vec(),
            Rule::If(condition) => vec![condition.when, condition.then, condition.otherwise],
            Rule::DependentSchemas(named) => named.iter().map(|(_, id)| *id).collect(),
            _ => Vec::new(),
        }
    })
}

/// Takes the child out of a rule in the way that leaves the rest of the schema in force.
fn replace(rule: &mut Rule, child: NodeId) {
    let names_child = match rule {
        Rule::Ref(id) | Rule::Not(id) => *id == child,
        Rule::AllOf(ids) => {
            ids.iter_mut().filter(|id| **id == child).for_each(|id| *id = ANY);
            false
        }
        Rule::AnyOf(ids) | Rule::OneOf(ids) => ids.contains(&child),
        Rule::If(condition) => [condition.when, condition.then, condition.otherwise].contains(&child),
        Rule::DependentSchemas(named) => named.iter().any(|(_, id)| *id == child),
        _ => false,
    };
    if names_child {
        *rule = Rule::Ref(ANY);
    }
}

/// Appends an unescaped name to a pointer (RFC 6901 §3).
pub(super) fn join(pointer: &str, name: &str) -> String {
    format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// Visits every object of the tree; the pointer is made only if asked for.
fn walk<'d>(root: &'d Value, mut visit: impl FnMut(&dyn Fn() -> String, &serde_json::Map<String, Value>)) {
    enum Step<'d> {
        Name(&'d str),
        Index(usize),
    }
    let mut trail: Vec<(Option<usize>, Step<'d>)> = Vec::new();
    let mut open: Vec<(Option<usize>, &'d Value)> = vec![(None, root)];
    while let Some((origin, value)) = open.pop() {
        let pointer = || {
            let mut steps = Vec::new();
            let mut at = origin;
            while let Some((parent, step)) = at.and_then(|position| trail.get(position)) {
                steps.push(match step {
                    Step::Name(name) => join("", name),
                    Step::Index(index) => format!("/{index}"),
                });
                at = *parent;
            }
            steps.reverse();
            steps.concat()
        };
        let mut below: Vec<(Step<'d>, &'d Value)> = Vec::new();
        match value {
            Value::Object(members) => {
                visit(&pointer, members);
                below.extend(members.iter().map(|(name, value)| (Step::Name(name), value)));
            }
            Value::Array(items) => below.extend(items.iter().enumerate().map(|(n, item)| (Step::Index(n), item))),
            _ => {}
        }
        for (step, value) in below {
            if value.is_object() || value.is_array() {
                trail.push((origin, step));
                open.push((Some(trail.len() - 1), value));
            }
        }
    }
}
