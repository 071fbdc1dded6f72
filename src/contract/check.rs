//! Does a value keep to a schema? One walk over the value, bounded in work and depth, that lists what is wrong.

use serde_json::{Map, Value};

use super::exact::Instance;
use super::number::{all_different, compare_instance, is_multiple, same};
use super::schema::{Contains, Direction, Items, Members, NONE, Node, NodeId, RequiredName, Rule, Schemas, Types};
use crate::problem::FieldError;

/// Most errors listed for one message.
pub(super) const ERRORS_MAX: usize = 20;
/// Most schema applications for one message: far above what a document of several megabytes needs, and a bound on
/// schemas whose alternatives multiply.
const STEPS_MAX: u32 = 4_000_000;
/// Deepest nesting of schema applications, so that the stack has a bound.
const DEPTH_MAX: u32 = 256;
/// Longest pointer in an error, in bytes: it can hold names that the sender chose.
const POINTER_BYTES_MAX: usize = 256;
/// Most characters of a schema's own text (a pattern, an enumeration) that an error repeats.
const QUOTE_MAX: usize = 160;

/// Where in the message a value is. `Quiet` marks a check whose errors nobody wants, within `anyOf` say.
#[derive(Clone, Copy)]
pub(super) enum At<'a> {
    Quiet,
    Root(&'a str),
    Member(&'a At<'a>, &'a str),
    Item(&'a At<'a>, usize),
}

impl<'a> At<'a> {
    fn member(&'a self, name: &'a str) -> Self {
        if matches!(self, Self::Quiet) { Self::Quiet } else { Self::Member(self, name) }
    }

    fn item(&'a self, index: usize) -> Self {
        if matches!(self, Self::Quiet) { Self::Quiet } else { Self::Item(self, index) }
    }

    fn pointer(&self) -> String {
        let mut text = match self {
            Self::Quiet => String::new(),
            Self::Root(root) => (*root).to_owned(),
            Self::Member(parent, name) => {
                let cut: String = name.chars().take(POINTER_BYTES_MAX).collect();
                super::compile::join(&parent.pointer(), &cut)
            }
            Self::Item(parent, index) => format!("{}/{index}", parent.pointer()),
        };
        if text.len() > POINTER_BYTES_MAX {
            let cut = (0..=POINTER_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            text.truncate(cut);
            text.push('…');
        }
        text
    }
}

/// One check of one value.
pub(super) struct Checker<'s> {
    pub schemas: &'s Schemas,
    direction: Direction,
    errors: Vec<FieldError>,
    steps: u32,
    depth: u32,
    exhausted: bool,
}

/// What is wrong with a value, at most [`ERRORS_MAX`] errors; pointers start with `root`.
pub(super) fn errors(
    schemas: &Schemas,
    direction: Direction,
    id: NodeId,
    value: Instance<'_>,
    root: &str,
) -> Vec<FieldError> {
    let mut checker = Checker::new(schemas, direction);
    let kept = checker.check(id, value, At::Root(root));
    checker.verdict(kept, root)
}

/// Whether a value keeps to a schema.
pub(super) fn accepts(schemas: &Schemas, direction: Direction, id: NodeId, value: &Value) -> bool {
    let mut checker = Checker::new(schemas, direction);
    checker.check(id, Instance::of(value), At::Quiet) && !checker.exhausted
}

impl<'s> Checker<'s> {
    fn new(schemas: &'s Schemas, direction: Direction) -> Self {
        Self { schemas, direction, errors: Vec::new(), steps: STEPS_MAX, depth: 0, exhausted: false }
    }

    fn verdict(mut self, kept: bool, root: &str) -> Vec<FieldError> {
        if self.exhausted {
            // When in doubt, refuse: what could not be checked to the end counts as wrong.
            return vec![error(root.to_owned(), "is too deep or too large to be checked")];
        }
        if !kept && self.errors.is_empty() {
            self.errors.push(error(root.to_owned(), "does not match its schema"));
        }
        self.errors
    }

    pub fn check(&mut self, id: NodeId, value: Instance<'_>, at: At<'_>) -> bool {
        if self.steps == 0 || self.depth >= DEPTH_MAX {
            self.exhausted = true;
        }
        if self.exhausted {
            return false;
        }
        let schemas = self.schemas;
        let Some(node) = schemas.node(id) else { return true };
        self.steps -= 1;
        self.depth += 1;
        let kept = self.node(node, value, at);
        self.depth -= 1;
        kept
    }

    fn node(&mut self, node: &'s Node, value: Instance<'_>, at: At<'_>) -> bool {
        if !node.types.meets(Types::of(value)) {
            return match node.types {
                Types::EMPTY => self.fail(at, || "is not allowed here".to_owned()),
                types => self.fail(at, || format!("must be {}", types.describe())),
            };
        }
        let mut kept = true;
        for rule in &node.rules {
            if !self.rule(rule, node, value, at) {
                kept = false;
                if matches!(at, At::Quiet) || self.errors.len() >= ERRORS_MAX {
                    break;
                }
            }
        }
        kept
    }

    fn rule(&mut self, rule: &'s Rule, node: &'s Node, value: Instance<'_>, at: At<'_>) -> bool {
        match (rule, value.value) {
            (Rule::Ref(id), _) => self.check(*id, value, at),
            (Rule::Enum(values), _) => {
                values.iter().any(|allowed| same(Instance::of(allowed), value)) || self.fail(at, || one_of(values))
            }
            (_, Value::Number(_)) if rule.is_about_number() => self.number(rule, value, at),
            (_, Value::String(text)) if rule.is_about_text() => self.text(rule, value, text, at),
            (Rule::Format(format), _) => {
                format.matches(value) || self.fail(at, || format!("must be {}", format.expected()))
            }
            (_, Value::Array(items)) if rule.is_about_array() => self.array(rule, node, value, items, at),
            (_, Value::Object(members)) if rule.is_about_object() => self.object(rule, node, value, members, at),
            _ => self.combination(rule, value, at),
        }
    }

    fn number(&mut self, rule: &Rule, value: Instance<'_>, at: At<'_>) -> bool {
        let Value::Number(number) = value.value else { return true };
        let (kept, words, bound) = match rule {
            Rule::Minimum(bound) => (compare_instance(value, number, bound).is_ge(), "at least", bound),
            Rule::Maximum(bound) => (compare_instance(value, number, bound).is_le(), "at most", bound),
            Rule::Above(bound) => (compare_instance(value, number, bound).is_gt(), "greater than", bound),
            Rule::Below(bound) => (compare_instance(value, number, bound).is_lt(), "less than", bound),
            Rule::MultipleOf(bound) => (is_multiple(value, number, bound), "a multiple of", bound),
            _ => return true,
        };
        kept || self.fail(at, || format!("must be {words} {bound}"))
    }

    fn text(&mut self, rule: &Rule, value: Instance<'_>, text: &str, at: At<'_>) -> bool {
        // JSON Schema counts characters (RFC 8259 code points), not bytes.
        let within = |count: u64| text.chars().take(usize::try_from(count).unwrap_or(usize::MAX)).count() as u64;
        match rule {
            Rule::MinLength(min) => {
                within(*min) >= *min || self.fail(at, || format!("must have at least {min} characters"))
            }
            Rule::MaxLength(max) => {
                text.len() as u64 <= *max
                    || within(max.saturating_add(1)) <= *max
                    || self.fail(at, || format!("must have at most {max} characters"))
            }
            Rule::Pattern(pattern) => {
                pattern.matches(value.value)
                    || self.fail(at, || format!("must match the pattern {}", quote(&pattern.source)))
            }
            _ => true,
        }
    }

    fn array(&mut self, rule: &'s Rule, node: &'s Node, value: Instance<'_>, items: &[Value], at: At<'_>) -> bool {
        let count = items.len() as u64;
        match rule {
            Rule::MinItems(min) => count >= *min || self.fail(at, || format!("must have at least {min} items")),
            Rule::MaxItems(max) => count <= *max || self.fail(at, || format!("must have at most {max} items")),
            Rule::UniqueItems => all_different(value, items) || self.fail(at, || "must not repeat an item".to_owned()),
            Rule::Items(rule) => self.items(rule, value, items, at),
            Rule::Contains(rule) => self.contains(rule, value, items, at),
            Rule::UnevaluatedItems(id) => self.unevaluated_items(*id, node, value, items, at),
            _ => true,
        }
    }

    fn items(&mut self, rule: &Items, value: Instance<'_>, items: &[Value], at: At<'_>) -> bool {
        let mut kept = true;
        for (index, item) in items.iter().enumerate() {
            let Some(id) = rule.prefix.get(index).copied().or(rule.rest) else { break };
            kept &= self.check(id, value.item(index, item), at.item(index));
            if !kept && self.is_done(at) {
                break;
            }
        }
        kept
    }

    fn contains(&mut self, rule: &Contains, value: Instance<'_>, items: &[Value], at: At<'_>) -> bool {
        let items = items.iter().enumerate().map(|(index, item)| value.item(index, item));
        let matches = items.filter(|item| self.check(rule.item, *item, At::Quiet)).count() as u64;
        let (min, max) = (rule.min, rule.max.unwrap_or(u64::MAX));
        if matches < min {
            return self.fail(at, || format!("must contain at least {min} items of the described form"));
        }
        matches <= max || self.fail(at, || format!("must contain at most {max} items of the described form"))
    }

    fn object(
        &mut self,
        rule: &'s Rule,
        node: &'s Node,
        value: Instance<'_>,
        members: &Map<String, Value>,
        at: At<'_>,
    ) -> bool {
        let count = members.len() as u64;
        match rule {
            Rule::MinMembers(min) => count >= *min || self.fail(at, || format!("must have at least {min} members")),
            Rule::MaxMembers(max) => count <= *max || self.fail(at, || format!("must have at most {max} members")),
            Rule::Required(names) => self.required(names, members, at),
            Rule::Members(rule) => self.members(rule, value, members, at),
            Rule::MemberNames(id) => self.member_names(*id, members, at),
            Rule::DependentRequired(dependent) => {
                let missing = dependent.iter().filter(|(name, _)| members.contains_key(&**name));
                let missing = missing.flat_map(|(_, names)| names.iter());
                let missing: Vec<&str> =
                    missing.map(|name| &**name).filter(|name| !members.contains_key(*name)).collect();
                missing.iter().fold(true, |_, name| self.fail(at.member(name), || "is missing".to_owned()))
            }
            Rule::DependentSchemas(dependent) => dependent
                .iter()
                .filter(|(name, _)| members.contains_key(&**name))
                .fold(true, |kept, (_, id)| self.check(*id, value, at) && kept),
            Rule::UnevaluatedMembers(id) => self.unevaluated_members(*id, node, value, members, at),
            _ => true,
        }
    }

    fn required(&mut self, names: &[RequiredName], members: &Map<String, Value>, at: At<'_>) -> bool {
        let mut kept = true;
        for required in names {
            if !required.waiver.covers(self.direction) && !members.contains_key(&*required.name) {
                kept = self.fail(at.member(&required.name), || "is missing".to_owned());
            }
        }
        kept
    }

    fn members(&mut self, rule: &Members, value: Instance<'_>, members: &Map<String, Value>, at: At<'_>) -> bool {
        let mut kept = true;
        for (name, member) in members {
            let (value, at) = (value.member(name, member), at.member(name));
            let named = rule.named(name);
            if let Some(id) = named {
                kept &= self.check(id, value, at);
            }
            let mut matched = named.is_some();
            for (pattern, id) in &rule.patterns {
                if pattern.matches_name(name) {
                    matched = true;
                    kept &= self.check(*id, value, at);
                }
            }
            if let (false, Some(id)) = (matched, rule.additional) {
                kept &= self.check(id, value, at);
            }
            if !kept && self.is_done(at) {
                break;
            }
        }
        kept
    }

    fn member_names(&mut self, id: NodeId, members: &Map<String, Value>, at: At<'_>) -> bool {
        let mut kept = true;
        for name in members.keys() {
            if !self.check(id, Instance::of(&Value::String(name.clone())), At::Quiet) {
                kept = self.fail(at.member(name), || "has a name that is not allowed here".to_owned());
            }
        }
        kept
    }

    fn combination(&mut self, rule: &Rule, value: Instance<'_>, at: At<'_>) -> bool {
        match rule {
            Rule::AllOf(all) => {
                let mut kept = true;
                for id in all {
                    kept &= self.check(*id, value, at);
                    if !kept && self.is_done(at) {
                        break;
                    }
                }
                kept
            }
            Rule::AnyOf(branches) => {
                branches.iter().any(|id| self.check(*id, value, At::Quiet)) || self.explain(branches, value, at)
            }
            Rule::OneOf(branches) => match self.count_matches(branches, value) {
                0 => self.explain(branches, value, at),
                1 => true,
                _ => {
                    self.fail(at, || "matches more than one of the alternatives, of which it must match one".to_owned())
                }
            },
            Rule::Not(id) => {
                !self.check(*id, value, At::Quiet) || self.fail(at, || "has a form that is not allowed".to_owned())
            }
            Rule::If(condition) => {
                let branch =
                    if self.check(condition.when, value, At::Quiet) { condition.then } else { condition.otherwise };
                self.check(branch, value, at)
            }
            _ => true,
        }
    }

    /// Two matches are as many as anybody needs to know of.
    fn count_matches(&mut self, branches: &[NodeId], value: Instance<'_>) -> usize {
        branches.iter().filter(|id| self.check(**id, value, At::Quiet)).take(2).count()
    }

    /// Says what is wrong where no alternative matches: if only one could be meant, by the value's type or by members
    /// that tell the alternatives apart, then in terms of that one.
    fn explain(&mut self, branches: &[NodeId], value: Instance<'_>, at: At<'_>) -> bool {
        if matches!(at, At::Quiet) {
            return false;
        }
        let types = Types::of(value);
        let schemas = self.schemas;
        let mut meant: Vec<NodeId> = branches.iter().copied().filter(|id| schemas.types(*id).meets(types)).collect();
        if let (true, Value::Object(members)) = (meant.len() > 1, value.value) {
            meant.retain(|id| self.tagged(*id, members));
        }
        match (meant.as_slice(), branches) {
            ([], _) => {
                let types = branches.iter().fold(Types::EMPTY, |types, id| types.union(schemas.types(*id)));
                self.fail(at, || match types {
                    Types::EMPTY | Types::ALL => "matches none of the alternatives".to_owned(),
                    types if types.meets(Types::of(value)) => "matches none of the alternatives".to_owned(),
                    types => format!("must be {}", types.describe()),
                })
            }
            ([only], _) | (_, [only]) => self.check(*only, value, at),
            _ => self.fail(at, || format!("matches none of the {} alternatives", branches.len())),
        }
    }

    /// Whether no member with a fixed value (a discriminator, OpenAPI 3.1.1 §4.8.25) rules this alternative out.
    fn tagged(&mut self, id: NodeId, members: &Map<String, Value>) -> bool {
        let schemas = self.schemas;
        members.iter().filter(|(_, value)| value.is_string()).all(|(name, value)| {
            let member = schemas.member(id, name);
            let fixed = member.is_some_and(|member| schemas.is_enumeration(member));
            !fixed || member.is_none_or(|member| self.check(member, Instance::of(value), At::Quiet))
        })
    }

    fn is_done(&self, at: At<'_>) -> bool {
        matches!(at, At::Quiet) || self.errors.len() >= ERRORS_MAX
    }

    fn fail(&mut self, at: At<'_>, detail: impl FnOnce() -> String) -> bool {
        if !self.is_done(at) && !self.exhausted {
            self.errors.push(FieldError { pointer: at.pointer(), detail: detail() });
        }
        false
    }

    fn unevaluated_members(
        &mut self,
        id: NodeId,
        node: &'s Node,
        value: Instance<'_>,
        members: &Map<String, Value>,
        at: At<'_>,
    ) -> bool {
        let left = self.left_members(node, value, members);
        let mut kept = true;
        for (name, member) in members.iter().filter(|(name, _)| left.contains(name.as_str())) {
            kept &= match id {
                NONE => self.fail(at.member(name), || "is not allowed here".to_owned()),
                id => self.check(id, value.member(name, member), at.member(name)),
            };
        }
        kept
    }

    fn unevaluated_items(
        &mut self,
        id: NodeId,
        node: &'s Node,
        value: Instance<'_>,
        items: &[Value],
        at: At<'_>,
    ) -> bool {
        let seen = self.seen_items(node, value, items);
        let mut kept = true;
        for (index, (item, _)) in items.iter().zip(seen).enumerate().filter(|(_, (_, seen))| !seen) {
            kept &= self.check(id, value.item(index, item), at.item(index));
        }
        kept
    }
}

impl Rule {
    const fn is_about_number(&self) -> bool {
        matches!(self, Self::Minimum(_) | Self::Maximum(_) | Self::Above(_) | Self::Below(_) | Self::MultipleOf(_))
    }

    const fn is_about_text(&self) -> bool {
        matches!(self, Self::MinLength(_) | Self::MaxLength(_) | Self::Pattern(_))
    }

    const fn is_about_array(&self) -> bool {
        matches!(self, Self::MinItems(_) | Self::MaxItems(_) | Self::UniqueItems | Self::Items(_))
            || matches!(self, Self::Contains(_) | Self::UnevaluatedItems(_))
    }

    const fn is_about_object(&self) -> bool {
        matches!(self, Self::MinMembers(_) | Self::MaxMembers(_) | Self::Required(_) | Self::Members(_))
            || matches!(self, Self::MemberNames(_) | Self::DependentRequired(_) | Self::DependentSchemas(_))
            || matches!(self, Self::UnevaluatedMembers(_))
    }
}

pub(super) fn error(pointer: String, detail: impl Into<String>) -> FieldError {
    FieldError { pointer, detail: detail.into() }
}

/// The schema's own text, shortened; never the sender's.
fn quote(text: &str) -> String {
    let mut quoted: String = text.chars().take(QUOTE_MAX).collect();
    if quoted.len() < text.len() {
        quoted.push('…');
    }
    quoted
}

fn one_of(values: &[Value]) -> String {
    let mut list = String::new();
    for value in values {
        if list.len() > QUOTE_MAX {
            list.push_str(", …");
            break;
        }
        if !list.is_empty() {
            list.push_str(", ");
        }
        list.push_str(&quote(&value.to_string()));
    }
    if values.len() == 1 { format!("must be {list}") } else { format!("must be one of {list}") }
}
