//! Just enough of Cedar's tokens to cut a file into policies, to find the place of a name, and to bound a policy's
//! nesting before Cedar's recursive parser sees it.

/// One token and where it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token<'t> {
    pub kind: TokenKind<'t>,
    /// Byte offset in the file.
    pub start: usize,
    /// Byte offset behind it.
    pub end: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind<'t> {
    /// A name, a keyword or a number.
    Word(&'t str),
    /// What stands between the quotes, escapes as written.
    Text(&'t str),
    /// `::`
    PathSeparator,
    /// Any other character.
    Mark(char),
}

/// A string that does not end: its byte offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unterminated(pub usize);

/// The tokens of a whole file; comments and blanks are left out.
pub(super) fn tokens(text: &str) -> Result<Vec<Token<'_>>, Unterminated> {
    let mut tokens = Vec::new();
    let mut start = 0;
    while let Some(rest) = text.get(start..) {
        let Some(first) = rest.chars().next() else { break };
        let (length, kind) = match first {
            c if c.is_whitespace() => (c.len_utf8(), None),
            '/' if rest.starts_with("//") => (rest.find('\n').unwrap_or(rest.len()), None),
            '"' => {
                let inner = quoted(rest).ok_or(Unterminated(start))?;
                (inner.len() + 2, Some(TokenKind::Text(inner)))
            }
            ':' if rest.starts_with("::") => (2, Some(TokenKind::PathSeparator)),
            c if is_word(c) => {
                let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                (length, rest.get(..length).map(TokenKind::Word))
            }
            c => (c.len_utf8(), Some(TokenKind::Mark(c))),
        };
        tokens.extend(kind.map(|kind| Token { kind, start, end: start + length }));
        start += length;
    }
    Ok(tokens)
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// What stands between the quote that `rest` begins with and the next one that is not escaped.
fn quoted(rest: &str) -> Option<&str> {
    let mut escaped = false;
    for (position, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return rest.get(1..position),
            _ => {}
        }
    }
    None
}

/// Cuts the tokens of a file into policies, each up to and including its `;`.
pub(super) fn policies<'a, 't>(tokens: &'a [Token<'t>]) -> impl Iterator<Item = &'a [Token<'t>]> {
    tokens.split_inclusive(|token| token.kind == TokenKind::Mark(';'))
}

/// An entity literal such as `Action::"bank.GetAccounts"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Literal<'t> {
    /// The last name before the text; with a namespace in front, `qualified`.
    pub kind: &'t str,
    pub qualified: bool,
    /// The text, escapes as written.
    pub id: &'t str,
    pub start: usize,
    pub end: usize,
}

/// Every entity literal among the tokens.
pub(super) fn literals<'a, 't>(tokens: &'a [Token<'t>]) -> impl Iterator<Item = Literal<'t>> + use<'a, 't> {
    tokens.windows(3).enumerate().filter_map(|(position, window)| match window {
        [name, separator, text] => match (name.kind, separator.kind, text.kind) {
            (TokenKind::Word(kind), TokenKind::PathSeparator, TokenKind::Text(id)) => {
                let before = position.checked_sub(1).and_then(|before| tokens.get(before));
                let qualified = before.is_some_and(|token| token.kind == TokenKind::PathSeparator);
                Some(Literal { kind, qualified, id, start: name.start, end: text.end })
            }
            _ => None,
        },
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn semicolons_in_texts_and_comments_end_no_policy() {
        let text = "// a; \"b\npermit(a, \";\\\";\"); forbid (x);\n // end;";
        let tokens = tokens(text).unwrap();
        let cut: Vec<_> =
            policies(&tokens).map(|policy| &text[policy.first().unwrap().start..policy.last().unwrap().end]).collect();
        assert_eq!(cut, ["permit(a, \";\\\";\");", "forbid (x);"]);
    }

    #[test]
    fn a_text_that_does_not_end_is_found() {
        assert_eq!(tokens("permit \"abc"), Err(Unterminated(7)));
        assert_eq!(tokens("permit \"abc\\\""), Err(Unterminated(7)));
        assert_eq!(tokens("\""), Err(Unterminated(0)));
    }

    #[test]
    fn literals_are_found_with_their_place() {
        let text = "action in [Action::\"a\", X::Y::\"b\"] && \"c\"";
        let tokens = tokens(text).unwrap();
        let found: Vec<_> = literals(&tokens).map(|l| (l.kind, l.qualified, l.id, l.start)).collect();
        assert_eq!(found, [("Action", false, "a", 11), ("Y", true, "b", 27)]);
    }
}
