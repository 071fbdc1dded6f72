//! From policy files to parsed policies, one by one, so that a mistake in one hides none in another.

use std::path::Path;

use cedar_policy::ffi::DetailedError;
use cedar_policy::{Effect, Policy, PolicyId, pst};

use super::annotation::{self, Rule};
use super::catalogue::Catalogue;
use super::issue::{PolicyIssue, PolicySource};
use super::lexer::{self, Token, TokenKind, Unterminated};
use super::mention::{self, Mentions};

/// Largest policy file and largest set, in bytes.
const FILE_BYTES_MAX: usize = 256 * 1024;
const TOTAL_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Most policies, and most files.
const POLICIES_MAX: usize = 10_000;
/// Most tokens of one policy.
const TOKENS_MAX: usize = 10_000;
/// Among this many issues a suggestion is looked for: it compares a name with every other.
const SUGGESTED_MAX: usize = 100;
/// Cedar's parser, checker and destructors recurse, so what nests is bounded before they see it: brackets within
/// brackets, and characters of operators (a chain of `&&` is a deep tree).
const BRACKETS_MAX: usize = 24;
const OPERATORS_MAX: usize = 512;
/// Deepest condition. Cedar recurses on the thread of the request: 50 kB a level without optimisation, of 2 MiB.
const DEPTH_MAX: usize = 24;

/// A policy that Cedar parsed.
pub(super) struct Parsed {
    /// Position among the sources.
    pub source: usize,
    /// Where it starts in the file, in bytes.
    pub offset: usize,
    /// Its Cedar id is its position in the list of all.
    pub policy: Policy,
    pub tree: pst::Template,
    pub rule: Rule,
    pub mentions: Mentions,
    /// Operations and groups that it names anywhere.
    pub actions: Vec<String>,
}

/// Reads all sources; every mistake that can be seen in a policy alone, or by comparing names with the catalogue.
pub(super) fn read(sources: &[PolicySource], catalogue: &Catalogue, issues: &mut Vec<PolicyIssue>) -> Vec<Parsed> {
    let mut parsed = Vec::new();
    let lexed = if bounded(sources, issues) { lex(sources, issues) } else { Vec::new() };
    if lexed.iter().map(|(_, _, tokens)| lexer::policies(tokens).count()).sum::<usize>() > POLICIES_MAX {
        let message = format!("there are more than {POLICIES_MAX} policies");
        issues.push(PolicyIssue::of_file(Path::new("(policies)"), message));
        return parsed;
    }
    for (position, source, tokens) in &lexed {
        for policy in lexer::policies(tokens) {
            let id = PolicyId::new(parsed.len().to_string());
            parsed.extend(Reader { source, tokens: policy, catalogue, issues }.read(*position, id));
        }
    }
    parsed
}

/// The tokens of each source, with its position.
fn lex<'s>(
    sources: &'s [PolicySource],
    issues: &mut Vec<PolicyIssue>,
) -> Vec<(usize, &'s PolicySource, Vec<Token<'s>>)> {
    let mut lexed = Vec::with_capacity(sources.len());
    for (position, source) in sources.iter().enumerate() {
        match lexer::tokens(&source.text) {
            Ok(tokens) => lexed.push((position, source, tokens)),
            Err(Unterminated(offset)) => {
                issues.push(PolicyIssue::at(source, offset, "this text has no closing `\"`"));
            }
        }
    }
    lexed
}

fn bounded(sources: &[PolicySource], issues: &mut Vec<PolicyIssue>) -> bool {
    let total: usize = sources.iter().map(|source| source.text.len()).sum();
    if sources.len() > POLICIES_MAX || total > TOTAL_BYTES_MAX {
        let message = format!("policies are at most {POLICIES_MAX} files with {TOTAL_BYTES_MAX} bytes together");
        issues.push(PolicyIssue::of_file(Path::new("(policies)"), message));
        return false;
    }
    let large: Vec<_> = sources.iter().filter(|source| source.text.len() > FILE_BYTES_MAX).collect();
    issues.extend(
        large.iter().map(|source| {
            PolicyIssue::of_file(&source.file, format!("a policy file has at most {FILE_BYTES_MAX} bytes"))
        }),
    );
    large.is_empty()
}

struct Reader<'r> {
    source: &'r PolicySource,
    /// Of one policy; never empty.
    tokens: &'r [Token<'r>],
    catalogue: &'r Catalogue,
    issues: &'r mut Vec<PolicyIssue>,
}

impl Reader<'_> {
    fn read(&mut self, source: usize, id: PolicyId) -> Option<Parsed> {
        let (offset, end) = (self.tokens.first()?.start, self.tokens.last()?.end);
        let text = self.source.text.get(offset..end)?;
        if let Err(message) = shallow(self.tokens) {
            self.issue(offset, message, None);
            return None;
        }
        let policy = match Policy::parse(Some(id), text) {
            Ok(policy) => policy,
            Err(errors) => {
                errors.iter().for_each(|error| self.refused(offset, end, &DetailedError::from(error)));
                return None;
            }
        };
        let tree = match policy.to_pst() {
            Ok(tree) => tree.body().clone(),
            Err(error) => {
                self.issue(offset, format!("this policy cannot be taken apart: {error}"), None);
                return None;
            }
        };
        if mention::depth(&tree) > DEPTH_MAX {
            let message = format!("this policy nests more than {DEPTH_MAX} operators; write several policies instead");
            self.issue(offset, message, None);
            return None;
        }
        let mentions = Mentions::of(&tree);
        let actions = self.literals();
        self.attributes(&mentions);
        let forbids = policy.effect() == Effect::Forbid;
        let (rule, complaints) = annotation::read(policy.annotations(), forbids, self.tokens);
        for complaint in complaints {
            self.issue(complaint.offset, complaint.message, complaint.suggestion);
        }
        Some(Parsed { source, offset, policy, tree, rule, mentions, actions })
    }

    fn issue(&mut self, offset: usize, message: impl Into<String>, suggestion: Option<String>) {
        self.issues.push(PolicyIssue::at(self.source, offset, message).suggest(suggestion));
    }

    /// A syntax error. Its place is relative to the policy.
    fn refused(&mut self, offset: usize, end: usize, error: &DetailedError) {
        let label = error.source_locations.first();
        let place = label.map_or(offset, |label| (offset + label.loc.start).min(end));
        let expected = label.and_then(|label| label.label.as_deref()).filter(|label| label.starts_with("expected"));
        let message = match expected {
            Some(expected) => format!("{}: {expected}", error.message),
            None => error.message.clone(),
        };
        self.issue(place, message, error.help.clone());
    }

    /// Compares the entities that the policy names with those that there are; gives the actions among them.
    fn literals(&mut self) -> Vec<String> {
        let mut actions = Vec::new();
        for literal in lexer::literals(self.tokens).filter(|literal| !literal.qualified) {
            let Some(id) = self.unescape(&literal) else { continue };
            if let Some((message, suggestion)) =
                self.catalogue.check(literal.kind, &id, self.issues.len() < SUGGESTED_MAX)
            {
                self.issue(literal.start, message, suggestion);
            }
            if literal.kind == "Action" {
                actions.push(id);
            }
        }
        actions.sort_unstable();
        actions.dedup();
        actions
    }

    /// The id that a literal means; Cedar itself reads the escapes.
    fn unescape(&self, literal: &lexer::Literal<'_>) -> Option<String> {
        if !literal.id.contains('\\') {
            return Some(literal.id.to_owned());
        }
        let text = self.source.text.get(literal.start..literal.end)?;
        let uid: cedar_policy::EntityUid = text.parse().ok()?;
        Some(uid.id().unescaped().to_owned())
    }

    /// Cedar takes an attribute behind `has` that no schema knows for absent; here it is a slip.
    fn attributes(&mut self, mentions: &Mentions) {
        for name in &mentions.unknown_attributes {
            let found = self
                .tokens
                .iter()
                .find(|token| matches!(token.kind, TokenKind::Word(w) | TokenKind::Text(w) if w == name));
            let offset = found.or(self.tokens.first()).map_or(0, |token| token.start);
            let known = mention::attribute_names();
            let suggestion = super::suggest::closest(name, known).map(|known| format!("did you mean `{known}`?"));
            self.issue(offset, format!("there is no attribute `{name}` here, so `has` is always false"), suggestion);
        }
    }
}

/// Whether a policy is within the bounds of what may nest.
fn shallow(tokens: &[Token<'_>]) -> Result<(), String> {
    let (mut open, mut operators) = (0_usize, 0_usize);
    for token in tokens {
        match token.kind {
            TokenKind::Mark('(' | '[' | '{') => open += 1,
            TokenKind::Mark(')' | ']' | '}') => open = open.saturating_sub(1),
            TokenKind::Mark('&' | '|' | '!' | '-' | '+' | '*' | '.' | '<' | '>' | '=') => operators += 1,
            TokenKind::Word("if") => operators += 4,
            _ => {}
        }
        if open > BRACKETS_MAX || operators > OPERATORS_MAX {
            return Err(format!(
                "this policy nests too deeply: at most {BRACKETS_MAX} brackets within brackets and {OPERATORS_MAX} \
                 characters of operators; write several policies instead"
            ));
        }
    }
    if tokens.len() > TOKENS_MAX {
        return Err(format!("this policy has more than {TOKENS_MAX} words and marks; use a group of operations"));
    }
    Ok(())
}
