//! The names that policies may use: operations, their groups, and the entities of the world.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use super::issue::PolicyIssue;
use super::question::{ActionFacts, World};
use super::suggest::closest;
use crate::domain::{
    Currency, Environment, InstitutionId, Jurisdiction, LicenceRole, OperationId, PartnerStatus, Risk, once,
};

/// Groups that exist whether or not the catalogue has a member for them, so that a set of policies can be shipped.
const READ: &str = "read";
const WRITE: &str = "write";
/// What a group's name may begin with; an operation's must not.
const PREFIXES: [&str; 4] = ["api:", "institution:", "tag:", "licence:"];

/// An operation, as policies see it.
#[derive(Debug, Clone)]
pub(super) struct Action {
    pub id: OperationId,
    pub kind: Arc<ActionKind>,
}

/// What policies see of an operation beside its id; shared by all of which they see the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct ActionKind {
    /// Sorted.
    pub groups: Box<[String]>,
    pub institution: InstitutionId,
    pub licence_role: Option<LicenceRole>,
}

/// Every name, indexed.
pub(super) struct Catalogue {
    pub actions: Vec<Action>,
    /// Position of each action.
    pub positions: HashMap<String, u32>,
    /// Positions of each group's members, ascending.
    pub groups: BTreeMap<String, Vec<u32>>,
    entities: HashMap<&'static str, BTreeSet<String>>,
}

impl Catalogue {
    pub fn new(world: &World<'_>) -> (Self, Vec<PolicyIssue>) {
        let mut catalogue = Self {
            actions: actions(world),
            positions: HashMap::with_capacity(world.actions.len()),
            groups: always().map(|group| (group, Vec::new())).collect(),
            entities: entities(world),
        };
        let mut issues = Vec::new();
        for (action, position) in catalogue.actions.iter().zip(0_u32..) {
            if catalogue.positions.insert(action.id.to_string(), position).is_some() {
                issues.push(of_catalogue(format!("two operations are named `{}`", action.id)));
            }
            let id = action.id.as_str();
            if PREFIXES.iter().any(|prefix| id.starts_with(prefix)) || id == READ || id == WRITE {
                issues
                    .push(of_catalogue(format!("the operation `{}` has the name of a group of operations", action.id)));
            }
            for group in &action.kind.groups {
                catalogue.groups.entry(group.clone()).or_default().push(position);
            }
        }
        (catalogue, issues)
    }

    /// What is wrong with an entity literal, if anything: the message, and a suggestion if one is wanted.
    /// Names of unknown types are Cedar's to refuse.
    pub fn check(&self, kind: &str, id: &str, suggest: bool) -> Option<(String, Option<String>)> {
        match kind {
            "Action" => {
                let known = self.positions.contains_key(id) || self.groups.contains_key(id);
                (!known).then(|| {
                    let names = self.positions.keys().chain(self.groups.keys()).map(String::as_str);
                    (
                        format!("there is no operation or group of operations {id:?}"),
                        mend(kind, suggest.then(|| closest(id, names)).flatten()),
                    )
                })
            }
            "Jurisdiction" => match Jurisdiction::parse(id) {
                Ok(code) if code.as_str() == "UK" => {
                    Some(("\"UK\" is not a code of ISO 3166-1 alpha-2".to_owned(), mend(kind, Some("GB"))))
                }
                Ok(_) => None,
                Err(error) => Some((error.to_string(), None)),
            },
            "Currency" => Currency::parse(id).err().map(|error| (error.to_string(), None)),
            _ => {
                let known = self.entities.get(kind)?;
                let missing = !known.contains(id);
                missing.then(|| {
                    let near = closest(id, known.iter().map(String::as_str));
                    (format!("there is no {} {id:?}", spoken(kind)), mend(kind, near))
                })
            }
        }
    }
}

fn actions(world: &World<'_>) -> Vec<Action> {
    let mut known = HashSet::new();
    world.actions.iter().map(|facts| Action::new(facts, &mut known)).collect()
}

impl Action {
    fn new(facts: &ActionFacts, known: &mut HashSet<Arc<ActionKind>>) -> Self {
        let reads = matches!(facts.method.as_str(), "GET" | "HEAD" | "OPTIONS" | "TRACE"); // RFC 9110 §9.2.1
        let mut groups = vec![
            format!("api:{}", facts.api),
            format!("institution:{}", facts.institution),
            if reads { READ } else { WRITE }.to_owned(),
        ];
        groups.extend(facts.tags.iter().map(|tag| format!("tag:{tag}")));
        groups.extend(facts.licence_role.map(|role| format!("licence:{}", role.as_str())));
        groups.sort_unstable();
        groups.dedup();
        let (groups, institution) = (groups.into(), facts.institution.clone());
        let kind = ActionKind { groups, institution, licence_role: facts.licence_role };
        Self { id: facts.operation.clone(), kind: once(known, &kind, |kind| Arc::new(kind.clone())) }
    }
}

fn always() -> impl Iterator<Item = String> {
    let roles = LicenceRole::ALL.into_iter().map(|role| format!("licence:{}", role.as_str()));
    [READ.to_owned(), WRITE.to_owned()].into_iter().chain(roles)
}

/// The enumerated types, by the names that they have in policies.
pub(super) fn enumerations() -> [(&'static str, Vec<&'static str>); 4] {
    [
        ("Status", vec![PartnerStatus::Active.as_str(), PartnerStatus::Suspended.as_str()]),
        ("Environment", vec![Environment::Sandbox.as_str(), Environment::Live.as_str()]),
        ("Risk", vec![Risk::Low.as_str(), Risk::Regulated.as_str()]),
        ("LicenceRole", LicenceRole::ALL.iter().map(|role| role.as_str()).collect()),
    ]
}

fn entities(world: &World<'_>) -> HashMap<&'static str, BTreeSet<String>> {
    let enumerated =
        enumerations().into_iter().map(|(kind, names)| (kind, names.into_iter().map(str::to_owned).collect()));
    let named = [
        ("Tenant", world.tenants.iter().map(ToString::to_string).collect()),
        ("Client", world.clients.iter().map(ToString::to_string).collect()),
        ("Product", world.products.iter().map(ToString::to_string).collect()),
        ("Institution", world.institutions.iter().map(ToString::to_string).collect()),
    ];
    enumerated.chain(named).collect()
}

fn spoken(kind: &str) -> &str {
    match kind {
        "Tenant" => "tenant",
        "Client" => "client",
        "Product" => "product",
        "Institution" => "institution",
        "Status" => "status",
        "Environment" => "environment",
        "Risk" => "risk",
        "LicenceRole" => "licence role",
        other => other,
    }
}

fn mend(kind: &str, id: Option<&str>) -> Option<String> {
    id.map(|id| format!("did you mean `{kind}::\"{}\"`?", id.escape_debug()))
}

fn of_catalogue(message: String) -> PolicyIssue {
    PolicyIssue::of_file(Path::new("(catalogue)"), message)
}
