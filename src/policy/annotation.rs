//! The annotations of a policy: its name, what a refusal says, what a permit obliges to.

use super::header;
use super::lexer::{Token, TokenKind};
use super::obligation::Obligations;
use super::pattern::Pattern;
use super::suggest::closest;

const KNOWN: [&str; 7] = ["id", "reason", "regulation", "remedy", "redact", "mask", "header"];
/// Longest `@id`, and longest sentence, in bytes.
const ID_LEN_MAX: usize = 128;
const SENTENCE_LEN_MAX: usize = 1000;
/// Most patterns and headers of one policy.
const OBLIGATIONS_MAX: usize = 64;

/// What the gateway must know of a policy beside its Cedar text.
#[derive(Debug, Clone, Default)]
pub(super) struct Rule {
    pub id: String,
    pub forbids: bool,
    pub reason: Option<String>,
    pub regulation: Option<String>,
    pub remedy: Option<String>,
    pub obligations: Obligations,
}

/// A mistake in an annotation, and at which byte of the file.
pub(super) struct Complaint {
    pub offset: usize,
    pub message: String,
    pub suggestion: Option<String>,
}

/// Reads the annotations that Cedar parsed; `tokens` are the policy's, for the places of complaints.
pub(super) fn read<'p>(
    annotations: impl Iterator<Item = (&'p str, &'p str)>,
    forbids: bool,
    tokens: &[Token<'_>],
) -> (Rule, Vec<Complaint>) {
    let mut reader = Reader { tokens, rule: Rule { forbids, ..Rule::default() }, complaints: Vec::new() };
    let mut found: Vec<(&str, &str)> = annotations.collect();
    found.sort_unstable();
    let (mut masks, mut redactions, mut headers) = (Vec::new(), Vec::new(), Vec::new());
    for (name, value) in &found {
        match *name {
            "id" => reader.id(value),
            "reason" => reader.rule.reason = reader.sentence(name, value),
            "regulation" => reader.rule.regulation = reader.sentence(name, value),
            "remedy" => reader.rule.remedy = reader.sentence(name, value),
            "mask" => masks = reader.obligations(name, value.split_whitespace(), Pattern::parse),
            "redact" => redactions = reader.obligations(name, value.split_whitespace(), Pattern::parse),
            "header" => headers = reader.obligations(name, lines(value), header::parse),
            _ => reader.unknown(name),
        }
    }
    reader.rule.obligations = Obligations::new(masks, redactions, headers);
    reader.completeness(&found);
    (reader.rule, reader.complaints)
}

fn lines(value: &str) -> impl Iterator<Item = &str> {
    value.split('\n').map(str::trim).filter(|line| !line.is_empty())
}

struct Reader<'t> {
    tokens: &'t [Token<'t>],
    rule: Rule,
    complaints: Vec<Complaint>,
}

impl Reader<'_> {
    fn complain(&mut self, annotation: &str, message: String) {
        let offset = self.offset(annotation);
        self.complaints.push(Complaint { offset, message, suggestion: None });
    }

    /// Where `@annotation` stands, or else the policy itself.
    fn offset(&self, annotation: &str) -> usize {
        let start = self.tokens.first().map_or(0, |token| token.start);
        let places = self.tokens.windows(2).find_map(|window| match window {
            [at, name] if at.kind == TokenKind::Mark('@') && name.kind == TokenKind::Word(annotation) => Some(at.start),
            _ => None,
        });
        places.unwrap_or(start)
    }

    fn id(&mut self, value: &str) {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
        if value.is_empty() || value.len() > ID_LEN_MAX || !value.chars().all(allowed) {
            let message = format!("`@id` is 1 to {ID_LEN_MAX} letters, digits and `-`, `_`, `.`, `:`");
            self.complain("id", message);
        }
        value.clone_into(&mut self.rule.id);
    }

    /// A sentence for callers. It travels in problem documents, so it is short and has no control characters.
    fn sentence(&mut self, name: &str, value: &str) -> Option<String> {
        let text = value.split_whitespace().collect::<Vec<_>>().join(" ");
        if text.is_empty() || text.len() > SENTENCE_LEN_MAX || text.chars().any(char::is_control) {
            self.complain(
                name,
                format!("`@{name}` is a text of 1 to {SENTENCE_LEN_MAX} bytes without control characters"),
            );
        }
        Some(text)
    }

    fn obligations<'v, T, E: std::fmt::Display>(
        &mut self,
        name: &str,
        texts: impl Iterator<Item = &'v str>,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Vec<T> {
        let mut parsed = Vec::new();
        let mut count = 0;
        for text in texts.take(OBLIGATIONS_MAX + 1) {
            count += 1;
            match parse(text) {
                Ok(obligation) => parsed.push(obligation),
                Err(error) => self.complain(name, format!("`@{name}`: {error}")),
            }
        }
        if count == 0 {
            self.complain(name, format!("`@{name}` says nothing; name at least one"));
        } else if count > OBLIGATIONS_MAX {
            self.complain(name, format!("`@{name}` names more than {OBLIGATIONS_MAX}"));
        }
        parsed
    }

    fn unknown(&mut self, name: &str) {
        let suggestion = closest(name, KNOWN).map(|known| format!("did you mean `@{known}`?"));
        let offset = self.offset(name);
        let message = format!("there is no annotation `@{name}`; there are `@{}`", KNOWN.join("`, `@"));
        self.complaints.push(Complaint { offset, message, suggestion });
    }

    fn completeness(&mut self, found: &[(&str, &str)]) {
        let has = |name: &str| found.iter().any(|(known, _)| *known == name);
        if !has("id") {
            self.complain("", "every policy needs an `@id`, by which decisions are recorded".to_owned());
        }
        if self.rule.forbids {
            if !has("reason") {
                self.complain("", "a forbid policy needs a `@reason`, which tells the caller why".to_owned());
            }
            for name in ["redact", "mask", "header"].into_iter().filter(|name| has(name)) {
                self.complain(name, format!("`@{name}` is an obligation; only a permit policy carries obligations"));
            }
        } else if has("remedy") {
            self.complain("remedy", "`@remedy` says how to mend a refusal; only a forbid policy has one".to_owned());
        }
    }
}
