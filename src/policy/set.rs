//! The policies in force.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::digest::{Context, SHA256};
use branches::prefetch_read_data;
use cedar_policy::{Authorizer, Decision as Verdict, PolicyId};
use moka::sync::Cache;

use super::annotation::Rule;
use super::catalogue::{Action, ActionKind};
use super::compile;
use super::decision::Decision;
use super::issue::{PolicyIssue, PolicySource};
use super::mention::Facts;
use super::question::{Question, World};
use super::request::Vocabulary;
use super::slice::{Slice, Slices};
use crate::domain::OperationIndex;
use crate::signal::PolicyDecisions;

/// Most memory that remembered decisions take, in bytes. Callers choose some of the facts (an amount, their scopes), so
/// what they can fill has a bound; past it, decisions that are asked for rarely are forgotten.
pub const MEMORY_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// What a remembered decision takes beside its key and texts.
const ENTRY_BYTES: usize = 256;

type Key = Arc<[u8]>;

/// A compiled set of policies; immutable but for its memory of decisions.
pub struct PolicySet {
    hash: String,
    schema: String,
    /// Position = [`OperationIndex`].
    actions: Vec<Action>,
    /// Likewise: what an answer from memory needs.
    places: Vec<Place>,
    rules: Vec<Rule>,
    slices: Vec<Slice>,
    vocabulary: Vocabulary,
    authorizer: Authorizer,
    memory: Cache<Key, Decision>,
    evaluations: AtomicU64,
    decided: PolicyDecisions,
}

/// What policies see of an operation, and which of them can decide about it.
struct Place {
    kind: Arc<ActionKind>,
    slice: u32,
}

/// What can decide about one operation, for `explain`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SliceSummary {
    /// Ids of the policies that can apply, sorted.
    pub policies: Vec<String>,
    /// The facts that they read, such as `principal.tenant.licences`.
    pub reads: Vec<&'static str>,
}

impl PolicySet {
    /// Compiles policies against what they may name; on failure every mistake, in the order of files and lines.
    pub fn compile(sources: &[PolicySource], world: &World<'_>) -> Result<Self, Vec<PolicyIssue>> {
        compile::compile(sources, world)
    }

    pub(super) fn new(
        sources: &[PolicySource],
        schema: String,
        actions: Vec<Action>,
        rules: Vec<Rule>,
        slices: Slices,
    ) -> Self {
        let Slices { slices, of_action } = slices;
        let place = |(action, slice): (&Action, u32)| Place { kind: Arc::clone(&action.kind), slice };
        let places = actions.iter().zip(of_action).map(place).collect();
        let weigher = |key: &Key, decision: &Decision| {
            u32::try_from(key.len() + decision.weight() + ENTRY_BYTES).unwrap_or(u32::MAX)
        };
        Self {
            hash: hash(sources),
            schema,
            places,
            actions,
            rules,
            slices,
            vocabulary: Vocabulary::new(),
            authorizer: Authorizer::new(),
            memory: Cache::builder().max_capacity(MEMORY_BYTES_MAX).weigher(weigher).build(),
            evaluations: AtomicU64::new(0),
            decided: PolicyDecisions::default(),
        }
    }

    /// The same set, which counts its decisions here.
    pub fn counting(mut self, decided: PolicyDecisions) -> Self {
        self.decided = decided;
        self
    }

    /// SHA-256 over the sorted texts, in lower-case hexadecimal; where a file lies does not matter.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The schema that policies are checked against, in Cedar's own notation.
    pub fn schema_text(&self) -> &str {
        &self.schema
    }

    /// How often Cedar had to decide because the answer was not remembered.
    pub fn evaluations(&self) -> u64 {
        self.evaluations.load(Ordering::Relaxed)
    }

    /// What remembered decisions take now, as far as the memory's housekeeping has come.
    pub fn memory_bytes(&self) -> u64 {
        self.memory.run_pending_tasks();
        self.memory.weighted_size()
    }

    /// How many different slices the operations have.
    pub fn slices(&self) -> usize {
        self.slices.len()
    }

    /// Which policies can decide about an operation, and what they read.
    pub fn summary(&self, operation: OperationIndex) -> Option<SliceSummary> {
        let (_, slice) = self.slice(operation)?;
        let rules = slice.policies.iter().filter_map(|policy| self.rules.get(*policy as usize));
        let mut policies: Vec<String> = rules.map(|rule| rule.id.clone()).collect();
        policies.sort_unstable();
        Some(SliceSummary { policies, reads: slice.plan.facts.names().collect() })
    }

    /// Answers a question: from memory if one like it was answered before.
    pub fn decide(&self, question: &Question<'_>) -> Decision {
        let Some((kind, slice)) = self.slice(question.operation) else {
            return Decision::unpermitted(); // An index of another snapshot: nothing permits what nobody knows.
        };
        if kind.institution != *question.institution {
            let operation = question.operation.0;
            tracing::error!(operation, "a policy question names another institution than the catalogue");
            return Decision::failed(Vec::new());
        }
        let key = slice.plan.key(question, kind);
        if let Some(decision) = self.memory.get(key.as_slice()) {
            self.decided.hits.add();
            return decision;
        }
        self.decided.misses.add();
        self.evaluations.fetch_add(1, Ordering::Relaxed);
        match self.evaluate(question, slice, slice.plan.facts) {
            Ok(decision) => {
                self.memory.insert(key.into(), decision.clone());
                decision
            }
            // Not remembered: it may have been for want of stack, which the key does not know.
            Err(failed) => Decision::failed(failed),
        }
    }

    /// Decides without memory, with every fact shown, for comparison.
    #[cfg(test)]
    pub(super) fn forgetful(&self, question: &Question<'_>) -> Decision {
        match self.slice(question.operation) {
            Some((_, slice)) => self.evaluate(question, slice, Facts::all()).unwrap_or_else(Decision::failed),
            None => Decision::unpermitted(),
        }
    }

    /// Asks the memory for what a question about this operation will need.
    pub fn foresee(&self, operation: OperationIndex) {
        if let Some(place) = self.places.get(operation.0 as usize) {
            prefetch_read_data::<_, 0>(place);
        }
    }

    fn slice(&self, operation: OperationIndex) -> Option<(&ActionKind, &Slice)> {
        let Place { kind, slice } = self.places.get(operation.0 as usize)?;
        Some((kind, self.slices.get(*slice as usize)?))
    }

    /// Asks Cedar, showing it no more than these facts; gives the policies that failed, if any.
    fn evaluate<'s>(&'s self, question: &Question<'_>, slice: &Slice, facts: Facts) -> Result<Decision, Vec<&'s Rule>> {
        let action = self.actions.get(question.operation.0 as usize).ok_or_else(Vec::new)?;
        let (request, entities) = self.vocabulary.request(question, action, facts).map_err(|error| {
            tracing::error!(%error, operation = action.id.as_str(), "a policy question could not be asked");
            Vec::new()
        })?;
        let response = self.authorizer.is_authorized(&request, &slice.cedar, &entities);
        // Cedar skips a policy that fails, also a forbid. Here it denies.
        let failed = self.rules(response.diagnostics().errors().map(|error| match error {
            cedar_policy::AuthorizationError::PolicyEvaluationError(error) => error.policy_id(),
        }));
        if !failed.is_empty() {
            // Without Cedar's message, which quotes the values it stumbled over.
            let policies: Vec<&str> = failed.iter().map(|rule| rule.id.as_str()).collect();
            tracing::error!(?policies, operation = action.id.as_str(), "policies could not be evaluated");
            return Err(failed);
        }
        let determining = self.rules(response.diagnostics().reason());
        Ok(match response.decision() {
            Verdict::Allow => Decision::permit(determining),
            Verdict::Deny if determining.is_empty() => Decision::unpermitted(),
            Verdict::Deny => Decision::forbid(determining),
        })
    }

    /// The id that Cedar knows a policy by is its position.
    fn rules<'i>(&self, ids: impl Iterator<Item = &'i PolicyId>) -> Vec<&Rule> {
        ids.filter_map(|id| AsRef::<str>::as_ref(id).parse().ok().and_then(|position: usize| self.rules.get(position)))
            .collect()
    }
}

impl std::fmt::Debug for PolicySet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PolicySet")
            .field("hash", &self.hash)
            .field("policies", &self.rules.len())
            .finish_non_exhaustive()
    }
}

fn hash(sources: &[PolicySource]) -> String {
    let mut texts: Vec<&str> = sources.iter().map(|source| source.text.as_str()).collect();
    texts.sort_unstable();
    let mut context = Context::new(&SHA256);
    for text in texts {
        context.update(&(text.len() as u64).to_be_bytes()); // So that moving text from one file to another shows.
        context.update(text.as_bytes());
    }
    let mut hex = String::with_capacity(64);
    for byte in context.finish().as_ref() {
        let _ = write!(hex, "{byte:02x}"); // Writing to a String cannot fail.
    }
    hex
}
