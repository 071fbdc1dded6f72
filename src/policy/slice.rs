//! Which policies can apply to which operation? Decided from their scopes when compiling, so that a question meets
//! only these.

use std::collections::HashMap;

use cedar_policy::pst::{ActionConstraint, EntityOrSlot, ResourceConstraint};
use cedar_policy::{PolicySet, PolicySetError};

use super::catalogue::{Action, Catalogue};
use super::key::KeyPlan;
use super::mention::Mentions;
use super::parse::Parsed;

/// The policies that can apply to some operations.
pub(super) struct Slice {
    pub cedar: PolicySet,
    pub plan: KeyPlan,
    /// Positions among all policies.
    pub policies: Vec<u32>,
}

/// The distinct slices, and for each operation the position of its own.
pub(super) struct Slices {
    pub slices: Vec<Slice>,
    pub of_action: Vec<u32>,
}

impl Slices {
    pub fn cut(parsed: &[Parsed], catalogue: &Catalogue) -> Result<Self, Box<PolicySetError>> {
        let index = Index::new(parsed);
        let mut known: HashMap<Vec<u32>, u32> = HashMap::new();
        let mut cut = Self { slices: Vec::new(), of_action: Vec::with_capacity(catalogue.actions.len()) };
        for action in &catalogue.actions {
            let policies = index.policies(action, parsed);
            let position = match known.get(&policies) {
                Some(position) => *position,
                None => {
                    let position = u32::try_from(cut.slices.len()).unwrap_or(u32::MAX);
                    cut.slices.push(Slice::new(position, policies.clone(), parsed)?);
                    known.insert(policies, position);
                    position
                }
            };
            cut.of_action.push(position);
        }
        Ok(cut)
    }
}

impl Slice {
    fn new(position: u32, policies: Vec<u32>, parsed: &[Parsed]) -> Result<Self, Box<PolicySetError>> {
        let mut mentions = Mentions::default();
        let mut cedar = PolicySet::new();
        for policy in policies.iter().filter_map(|policy| parsed.get(*policy as usize)) {
            mentions.add(&policy.mentions);
            cedar.add(policy.policy.clone())?;
        }
        Ok(Self { cedar, plan: KeyPlan::new(position, mentions), policies })
    }
}

/// Policies by the operation or group that their scope names.
struct Index<'p> {
    anywhere: Vec<u32>,
    named: HashMap<&'p str, Vec<u32>>,
}

impl<'p> Index<'p> {
    fn new(parsed: &'p [Parsed]) -> Self {
        let mut index = Self { anywhere: Vec::new(), named: HashMap::new() };
        for (policy, position) in parsed.iter().zip(0..) {
            let names = match &policy.tree.action {
                ActionConstraint::Any => {
                    index.anywhere.push(position);
                    continue;
                }
                ActionConstraint::Eq(uid) => std::slice::from_ref(uid),
                ActionConstraint::In(uids) => uids.as_slice(),
            };
            for uid in names {
                index.named.entry(uid.eid.as_str()).or_default().push(position);
            }
        }
        index
    }

    /// Positions of the policies that can apply, ascending.
    fn policies(&self, action: &Action, parsed: &[Parsed]) -> Vec<u32> {
        let names = action.kind.groups.iter().map(String::as_str).chain([action.id.as_str()]);
        let named = names.filter_map(|name| self.named.get(name)).flatten();
        let mut policies: Vec<u32> = self.anywhere.iter().chain(named).copied().collect();
        policies.sort_unstable();
        policies.dedup();
        policies.retain(|policy| {
            parsed
                .get(*policy as usize)
                .is_some_and(|policy| reaches(&policy.tree.resource, action.kind.institution.as_str()))
        });
        policies
    }
}

/// Institutions have no hierarchy, so `in` is `==`.
fn reaches(constraint: &ResourceConstraint, institution: &str) -> bool {
    match constraint {
        ResourceConstraint::Any | ResourceConstraint::Is(_) => true,
        ResourceConstraint::Eq(entity) | ResourceConstraint::In(entity) | ResourceConstraint::IsIn(_, entity) => {
            match entity {
                EntityOrSlot::Entity(uid) => uid.eid == institution,
                EntityOrSlot::Slot(_) => true, // Only templates have slots, and they are refused when parsing.
            }
        }
    }
}
