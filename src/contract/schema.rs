//! Compiled schemas: one arena for one API document, in which each schema of the document exists once, however many
//! operations use it. A validator per use would hold the whole closure of references of each (measured on a real
//! document of 500 operations: 5 MiB per response); the arena grows with the document only.

use std::sync::Arc;

use serde_json::{Number, Value};

use super::exact::Instance;
use super::number::is_integral;

use super::text::{Format, Pattern};

/// Position in the arena.
pub(super) type NodeId = u32;
/// The schema `true`.
pub(super) const ANY: NodeId = 0;
/// The schema `false`.
pub(super) const NONE: NodeId = 1;

/// Which way a message travels: a required property that is `readOnly` may be missing in a request, a `writeOnly` one
/// in a response (OAM-56).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Request,
    Response,
}

/// A set of JSON types. Numbers are two: integers (`1.0` is one, JSON Schema 2020-12 §6.1.1) and all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Types(u8);

impl Types {
    pub const EMPTY: Self = Self(0);
    pub const NULL: Self = Self(1);
    pub const BOOLEAN: Self = Self(2);
    pub const INTEGER: Self = Self(4);
    const FRACTION: Self = Self(8);
    pub const NUMBER: Self = Self(4 | 8);
    pub const STRING: Self = Self(16);
    pub const ARRAY: Self = Self(32);
    pub const OBJECT: Self = Self(64);
    pub const ALL: Self = Self(127);

    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "null" => Self::NULL,
            "boolean" => Self::BOOLEAN,
            "integer" => Self::INTEGER,
            "number" => Self::NUMBER,
            "string" => Self::STRING,
            "array" => Self::ARRAY,
            "object" => Self::OBJECT,
            _ => return None,
        })
    }

    /// The one type of a value.
    pub fn of(instance: Instance<'_>) -> Self {
        match instance.value {
            Value::Null => Self::NULL,
            Value::Bool(_) => Self::BOOLEAN,
            Value::Number(number) if is_integral(instance, number) => Self::INTEGER,
            Value::Number(_) => Self::FRACTION,
            Value::String(_) => Self::STRING,
            Value::Array(_) => Self::ARRAY,
            Value::Object(_) => Self::OBJECT,
        }
    }

    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// For error details: `a string or null`.
    pub fn describe(self) -> String {
        let number = if self.meets(Self::FRACTION) { "a number" } else { "an integer" };
        let words = [
            (Self::BOOLEAN, "true or false"),
            (Self::NUMBER, number),
            (Self::STRING, "a string"),
            (Self::ARRAY, "an array"),
            (Self::OBJECT, "an object"),
            (Self::NULL, "null"),
        ];
        let words: Vec<&str> = words.iter().filter(|(types, _)| self.meets(*types)).map(|(_, word)| *word).collect();
        words.join(" or ")
    }
}

/// Member names.
pub(super) type Names = Box<[Box<str>]>;

/// One schema.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Node {
    pub types: Types,
    /// What a value must keep to beside its type. `unevaluated…` comes last.
    pub rules: Box<[Rule]>,
}

/// One keyword, or a group of keywords that only make sense together.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) enum Rule {
    Ref(NodeId),
    Enum(Box<[Value]>),
    Minimum(Number),
    Maximum(Number),
    Above(Number),
    Below(Number),
    MultipleOf(Number),
    MinLength(u64),
    MaxLength(u64),
    Pattern(Arc<Pattern>),
    Format(Arc<Format>),
    MinItems(u64),
    MaxItems(u64),
    UniqueItems,
    Items(Box<Items>),
    Contains(Box<Contains>),
    MinMembers(u64),
    MaxMembers(u64),
    Required(Box<[RequiredName]>),
    Members(Box<Members>),
    MemberNames(NodeId),
    DependentRequired(Box<[(Box<str>, Names)]>),
    DependentSchemas(Box<[(Box<str>, NodeId)]>),
    AllOf(Box<[NodeId]>),
    AnyOf(Box<[NodeId]>),
    OneOf(Box<[NodeId]>),
    Not(NodeId),
    If(Box<Condition>),
    UnevaluatedMembers(NodeId),
    UnevaluatedItems(NodeId),
}

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Items {
    pub prefix: Box<[NodeId]>,
    pub rest: Option<NodeId>,
}

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Contains {
    pub item: NodeId,
    pub min: u64,
    pub max: Option<u64>,
}

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Members {
    /// Sorted by name.
    pub named: Box<[(Box<str>, NodeId)]>,
    pub patterns: Box<[(Arc<Pattern>, NodeId)]>,
    pub additional: Option<NodeId>,
}

impl Members {
    pub fn named(&self, name: &str) -> Option<NodeId> {
        let found = self.named.binary_search_by(|(own, _)| (**own).cmp(name)).ok();
        found.and_then(|position| self.named.get(position)).map(|(_, node)| *node)
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Condition {
    pub when: NodeId,
    pub then: NodeId,
    pub otherwise: NodeId,
}

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct RequiredName {
    pub name: Box<str>,
    pub waiver: Waiver,
}

/// In which direction a required property may be missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct Waiver {
    pub request: bool,
    pub response: bool,
}

impl Waiver {
    pub const fn covers(self, direction: Direction) -> bool {
        match direction {
            Direction::Request => self.request,
            Direction::Response => self.response,
        }
    }
}

/// The schemas of one API document.
#[derive(Debug)]
pub(super) struct Schemas {
    pub nodes: Box<[Node]>, // Invariant: no cycle of in-place rules; every child number is valid.
}

/// Most schemas to look at when asking for a schema's types, items or members.
const VISITS_MAX: u32 = 500;

impl Schemas {
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id as usize)
    }

    fn rules(&self, id: NodeId) -> &[Rule] {
        self.node(id).map_or(&[], |node| &*node.rules)
    }

    /// The types that a valid value can have, as far as they can be told without the value.
    pub fn types(&self, id: NodeId) -> Types {
        self.types_within(id, &Visits::new())
    }

    fn types_within(&self, id: NodeId, visits: &Visits) -> Types {
        let Some(node) = self.node(id).filter(|_| visits.spend()) else { return Types::ALL };
        let any = |branches: &[NodeId]| {
            branches.iter().fold(Types::EMPTY, |types, branch| types.union(self.types_within(*branch, visits)))
        };
        node.rules.iter().fold(node.types, |types, rule| {
            types.intersection(match rule {
                Rule::Ref(target) => self.types_within(*target, visits),
                Rule::AllOf(all) => {
                    all.iter().fold(Types::ALL, |types, one| types.intersection(self.types_within(*one, visits)))
                }
                Rule::AnyOf(branches) | Rule::OneOf(branches) => any(branches),
                Rule::Enum(values) => {
                    values.iter().fold(Types::EMPTY, |types, value| types.union(Types::of(Instance::of(value))))
                }
                _ => Types::ALL,
            })
        })
    }

    /// Whether the schema enumerates its values.
    pub fn is_enumeration(&self, id: NodeId) -> bool {
        let own = |rules: &[Rule]| rules.iter().any(|rule| matches!(rule, Rule::Enum(_)));
        own(self.rules(id))
            || self.rules(id).iter().any(|rule| matches!(rule, Rule::Ref(target) if own(self.rules(*target))))
    }

    /// The schema of an array's items (of the first place for which one is stated).
    pub fn item(&self, id: NodeId, position: usize) -> Option<NodeId> {
        self.look(id, &Visits::new(), &|rule| match rule {
            Rule::Items(items) => items.prefix.get(position).copied().or(items.rest),
            _ => None,
        })
    }

    /// The schema of an object's member.
    pub fn member(&self, id: NodeId, name: &str) -> Option<NodeId> {
        let named = self.look(id, &Visits::new(), &|rule| match rule {
            Rule::Members(members) => members.named(name),
            _ => None,
        });
        named.or_else(|| {
            self.look(id, &Visits::new(), &|rule| match rule {
                Rule::Members(members) => members.additional,
                _ => None,
            })
        })
    }

    fn look(&self, id: NodeId, visits: &Visits, pick: &dyn Fn(&Rule) -> Option<NodeId>) -> Option<NodeId> {
        if !visits.spend() {
            return None;
        }
        self.rules(id).iter().find_map(|rule| match rule {
            Rule::Ref(target) => self.look(*target, visits, pick),
            Rule::AllOf(branches) | Rule::AnyOf(branches) | Rule::OneOf(branches) => {
                branches.iter().find_map(|branch| self.look(*branch, visits, pick))
            }
            _ => pick(rule),
        })
    }

    /// The member names that the schema states, and whether it also takes others.
    pub fn member_names(&self, id: NodeId) -> (Vec<Box<str>>, bool) {
        let mut names = Vec::new();
        let open = self.member_names_within(id, &Visits::new(), &mut names);
        names.sort();
        names.dedup();
        (names, open)
    }

    fn member_names_within(&self, id: NodeId, visits: &Visits, names: &mut Vec<Box<str>>) -> bool {
        if !visits.spend() {
            return true;
        }
        let mut open = true;
        for rule in self.rules(id) {
            match rule {
                Rule::Members(members) => {
                    names.extend(members.named.iter().map(|(name, _)| name.clone()));
                    open &= members.additional != Some(NONE);
                }
                Rule::UnevaluatedMembers(NONE) => open = false,
                Rule::Ref(target) => open &= self.member_names_within(*target, visits, names),
                Rule::AllOf(branches) | Rule::AnyOf(branches) | Rule::OneOf(branches) => {
                    for branch in branches {
                        open &= self.member_names_within(*branch, visits, names);
                    }
                }
                _ => {}
            }
        }
        open
    }
}

/// A budget of schemas to look at.
struct Visits(std::cell::Cell<u32>);

impl Visits {
    const fn new() -> Self {
        Self(std::cell::Cell::new(VISITS_MAX))
    }

    fn spend(&self) -> bool {
        let left = self.0.get();
        self.0.set(left.saturating_sub(1));
        left > 0
    }
}
