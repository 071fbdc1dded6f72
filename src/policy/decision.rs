//! Answers to a question.

use std::sync::Arc;

use super::annotation::Rule;
use super::obligation::Obligations;

/// What the policies say. Cheap to clone.
#[derive(Debug, Clone)]
pub enum Decision {
    Permit(Arc<Permit>),
    Refuse(Arc<Refusal>),
}

/// At least one policy permits and none forbids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permit {
    /// Of all policies that permit, together.
    pub obligations: Obligations,
    /// Ids of the policies that determined it, sorted. The record of each request that it permits shares them.
    pub policies: Arc<[String]>,
}

/// A policy forbids, or none permits, or one failed to evaluate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Ids of the policies that determined it, sorted; empty if none permits.
    pub policies: Vec<String>,
    /// Sentences for the caller, those of all determining policies in the order of their ids.
    pub reason: String,
    pub regulation: Option<String>,
    pub remedy: Option<String>,
}

impl Decision {
    pub(super) fn permit(mut rules: Vec<&Rule>) -> Self {
        rules.sort_by(|a, b| a.id.cmp(&b.id));
        let mut obligations = Obligations::default();
        rules.iter().for_each(|rule| obligations.add(&rule.obligations));
        Self::Permit(Arc::new(Permit { obligations, policies: ids(&rules).into() }))
    }

    pub(super) fn forbid(mut rules: Vec<&Rule>) -> Self {
        rules.sort_by(|a, b| a.id.cmp(&b.id));
        let reason = joined(rules.iter().map(|rule| rule.reason.as_deref()), " ");
        Self::Refuse(Arc::new(Refusal {
            policies: ids(&rules),
            reason: reason.unwrap_or_else(|| "A compliance policy forbids this request.".to_owned()),
            regulation: joined(rules.iter().map(|rule| rule.regulation.as_deref()), "; "),
            remedy: joined(rules.iter().map(|rule| rule.remedy.as_deref()), " "),
        }))
    }

    /// No policy permits: the default.
    pub(super) fn unpermitted() -> Self {
        Self::refuse(
            Vec::new(),
            "No policy permits this operation to this caller.",
            "Ask the operator which product, licence or agreement the operation needs.",
        )
    }

    /// A policy failed, so nothing is known: not the caller's fault, and still no.
    pub(super) fn failed(mut rules: Vec<&Rule>) -> Self {
        rules.sort_by(|a, b| a.id.cmp(&b.id));
        Self::refuse(
            ids(&rules),
            "A compliance policy could not be evaluated, so the request is refused.",
            "Report the interaction id to the operator.",
        )
    }

    fn refuse(policies: Vec<String>, reason: &str, remedy: &str) -> Self {
        let (reason, remedy) = (reason.to_owned(), Some(remedy.to_owned()));
        Self::Refuse(Arc::new(Refusal { policies, reason, regulation: None, remedy }))
    }

    /// Roughly how much memory a remembered decision holds, in bytes.
    pub(super) fn weight(&self) -> usize {
        let ids = |policies: &[String]| policies.iter().map(|id| id.len() + 24).sum::<usize>();
        match self {
            Self::Permit(permit) => 96 + ids(&permit.policies),
            Self::Refuse(refusal) => {
                let texts = [Some(&refusal.reason), refusal.regulation.as_ref(), refusal.remedy.as_ref()];
                96 + ids(&refusal.policies) + texts.into_iter().flatten().map(String::len).sum::<usize>()
            }
        }
    }
}

fn ids(rules: &[&Rule]) -> Vec<String> {
    rules.iter().map(|rule| rule.id.clone()).collect()
}

/// Each text once, in order.
fn joined<'r>(texts: impl Iterator<Item = Option<&'r str>>, separator: &str) -> Option<String> {
    let mut once: Vec<&str> = Vec::new();
    for text in texts.flatten() {
        if !once.contains(&text) {
            once.push(text);
        }
    }
    if once.is_empty() { None } else { Some(once.join(separator)) }
}
