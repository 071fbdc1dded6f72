//! Texts that a pattern of ECMA-262 matches.
//!
//! The pattern is read into a small tree and written out again with every choice made. What the tree cannot promise
//! (look-arounds, boundaries) is left to luck: the caller tests each text and asks again.

use crate::sandbox::dice::Dice;

/// Longest pattern that is read.
const PATTERN_CHARS_MAX: usize = 8_192;
/// Deepest nesting of groups.
const DEPTH_MAX: usize = 64;
/// Longest text that is made, repeats included.
const TEXT_CHARS_MAX: usize = 100_000;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    /// One of these.
    Class(Vec<char>),
    Sequence(Vec<Self>),
    Either(Vec<Self>),
    Repeat {
        node: Box<Self>,
        min: usize,
        max: Option<usize>,
    },
    /// A capturing group and its number.
    Group(usize, Box<Self>),
    Backreference(usize),
    /// Anchors, boundaries and look-arounds: no characters of their own.
    Nothing,
}

/// A pattern that was understood.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    node: Node,
    shortest: usize,
}

/// How a text shall be chosen.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wish {
    /// Characters beyond the shortest text.
    pub extra_chars: usize,
    /// Letters and digits where a class allows them; else anything that it allows.
    pub plain: bool,
}

impl Pattern {
    /// `None` if the pattern is no pattern, or too large.
    pub fn parse(text: &str) -> Option<Self> {
        let chars: Vec<char> = text.chars().take(PATTERN_CHARS_MAX + 1).collect();
        if chars.len() > PATTERN_CHARS_MAX {
            return None;
        }
        let mut reader = Reader { chars, at: 0, groups: 0, depth: 0 };
        let node = reader.either()?;
        let shortest = node.shortest();
        (reader.at == reader.chars.len()).then_some(Self { node, shortest })
    }

    /// Characters of the shortest text.
    pub const fn shortest(&self) -> usize {
        self.shortest
    }

    /// One text; whether it matches is for the caller to test.
    pub fn text(&self, wish: Wish, dice: &mut Dice) -> String {
        let mut writer = Writer {
            out: String::new(),
            chars: 0,
            extra: wish.extra_chars,
            plain: wish.plain,
            groups: Vec::new(),
            dice,
        };
        writer.write(&self.node);
        writer.out
    }
}

impl Node {
    fn shortest(&self) -> usize {
        match self {
            Self::Class(_) => 1,
            Self::Sequence(nodes) => nodes.iter().map(Self::shortest).fold(0, usize::saturating_add),
            Self::Either(nodes) => nodes.iter().map(Self::shortest).min().unwrap_or(0),
            Self::Repeat { node, min, .. } => node.shortest().saturating_mul(*min),
            Self::Group(_, node) => node.shortest(),
            Self::Backreference(_) | Self::Nothing => 0,
        }
    }
}

struct Writer<'a> {
    out: String,
    chars: usize,
    extra: usize,
    plain: bool,
    groups: Vec<(usize, String)>,
    dice: &'a mut Dice,
}

impl Writer<'_> {
    fn write(&mut self, node: &Node) {
        if self.chars > TEXT_CHARS_MAX {
            return;
        }
        match node {
            Node::Class(chars) => self.write_one_of(chars),
            Node::Sequence(nodes) => nodes.iter().for_each(|node| self.write(node)),
            Node::Either(nodes) => self.write_either(nodes),
            Node::Repeat { node, min, max } => self.write_repeat(node, *min, *max),
            Node::Group(number, node) => {
                let begin = self.out.len();
                self.write(node);
                let text = self.out.get(begin..).unwrap_or_default().to_owned();
                self.groups.push((*number, text));
            }
            Node::Backreference(number) => {
                let found = self.groups.iter().rev().find(|(group, _)| group == number);
                let text = found.map(|(_, text)| text.clone()).unwrap_or_default();
                self.out.push_str(&text);
            }
            Node::Nothing => (),
        }
    }

    fn write_one_of(&mut self, chars: &[char]) {
        let plain: Vec<char> = chars.iter().copied().filter(char::is_ascii_alphanumeric).collect();
        let from = if self.plain && !plain.is_empty() { plain.as_slice() } else { chars };
        if let Some(char) = self.dice.pick(from) {
            self.out.push(*char);
            self.chars += 1;
        }
    }

    fn write_either(&mut self, nodes: &[Node]) {
        let shortest = nodes.iter().map(Node::shortest).min().unwrap_or(0);
        // An alternative that costs more than may be added is out of the question.
        let affordable: Vec<&Node> = nodes.iter().filter(|node| node.shortest() <= shortest + self.extra).collect();
        if let Some(node) = self.dice.pick(&affordable) {
            self.extra = self.extra.saturating_sub(node.shortest() - shortest);
            self.write(node);
        }
    }

    fn write_repeat(&mut self, node: &Node, min: usize, max: Option<usize>) {
        let unit = node.shortest().max(1);
        let room = max.map_or(usize::MAX, |max| max.saturating_sub(min));
        let more = room.min(self.extra / unit);
        self.extra = self.extra.saturating_sub(more.saturating_mul(unit));
        for _ in 0..min.saturating_add(more).min(TEXT_CHARS_MAX) {
            if self.chars > TEXT_CHARS_MAX {
                return;
            }
            self.write(node);
        }
    }
}

struct Reader {
    chars: Vec<char>,
    at: usize,
    groups: usize,
    depth: usize,
}

impl Reader {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn take(&mut self) -> Option<char> {
        let char = self.peek()?;
        self.at += 1;
        Some(char)
    }

    fn eat(&mut self, text: &str) -> bool {
        let found = text.chars().enumerate().all(|(offset, char)| self.chars.get(self.at + offset) == Some(&char));
        if found {
            self.at += text.chars().count();
        }
        found
    }

    fn either(&mut self) -> Option<Node> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return None;
        }
        let mut branches = vec![self.sequence()?];
        while self.eat("|") {
            branches.push(self.sequence()?);
        }
        self.depth -= 1;
        match branches.len() {
            1 => branches.pop(),
            _ => Some(Node::Either(branches)),
        }
    }

    fn sequence(&mut self) -> Option<Node> {
        let mut nodes = Vec::new();
        while let Some(char) = self.peek() {
            if char == '|' || char == ')' {
                break;
            }
            let atom = self.atom()?;
            nodes.push(self.repeated(atom)?);
        }
        Some(Node::Sequence(nodes))
    }

    fn atom(&mut self) -> Option<Node> {
        match self.take()? {
            '^' | '$' => Some(Node::Nothing),
            '.' => Some(Node::Class(printable().collect())),
            '(' => self.group(),
            '[' => self.class(),
            '\\' => self.escape(),
            '*' | '+' | '?' => None,
            char => Some(Node::Class(vec![char])),
        }
    }

    fn group(&mut self) -> Option<Node> {
        let look_around = ["?=", "?!", "?<=", "?<!"].iter().any(|mark| self.eat(mark));
        if look_around {
            self.either()?;
            return self.eat(")").then_some(Node::Nothing);
        }
        if self.eat("?:") {
            let node = self.either()?;
            return self.eat(")").then_some(node);
        }
        if self.eat("?<") || self.eat("?P<") {
            while self.take()? != '>' {}
        } else if self.eat("?") {
            // Inline flags, which ECMA-262 gained late: `(?i)` or `(?i:…)`. Their effect is left to the test.
            while self.peek().is_some_and(|char| char.is_ascii_alphabetic() || char == '-') {
                self.at += 1;
            }
            if self.eat(")") {
                return Some(Node::Nothing);
            }
            let node = self.eat(":").then(|| self.either()).flatten()?;
            return self.eat(")").then_some(node);
        }
        self.groups += 1;
        let number = self.groups;
        let node = self.either()?;
        self.eat(")").then(|| Node::Group(number, Box::new(node)))
    }

    fn repeated(&mut self, node: Node) -> Option<Node> {
        let mut node = node;
        while let Some((min, max)) = self.quantifier() {
            // Lazy or possessive: the same texts.
            self.at += usize::from(matches!(self.peek(), Some('?' | '+')));
            if max.is_some_and(|max| max < min) {
                return None;
            }
            node = Node::Repeat { node: Box::new(node), min, max };
        }
        Some(node)
    }

    /// Passes over a quantifier if one stands here. A brace that is none is a character (Annex B).
    fn quantifier(&mut self) -> Option<(usize, Option<usize>)> {
        let bounds = match self.peek()? {
            '*' => (0, None),
            '+' => (1, None),
            '?' => (0, Some(1)),
            '{' => return self.braces(),
            _ => return None,
        };
        self.at += 1;
        Some(bounds)
    }

    /// Reads `{n}`, `{n,}` or `{n,m}` and passes over it; leaves everything in place if it is none.
    fn braces(&mut self) -> Option<(usize, Option<usize>)> {
        let rest: String = self.chars.get(self.at + 1..)?.iter().take(24).take_while(|char| **char != '}').collect();
        let closed = self.chars.get(self.at + 1 + rest.chars().count()) == Some(&'}');
        let (min, max) = match rest.split_once(',') {
            None => (rest.parse().ok()?, Some(rest.parse().ok()?)),
            Some((min, "")) => (min.parse().ok()?, None),
            Some((min, max)) => (min.parse().ok()?, Some(max.trim().parse().ok()?)),
        };
        closed.then(|| {
            self.at += rest.chars().count() + 2;
            (min, max)
        })
    }

    fn escape(&mut self) -> Option<Node> {
        let char = self.take()?;
        Some(match char {
            'b' | 'B' | 'A' | 'z' | 'Z' => Node::Nothing,
            '1'..='9' => {
                let mut number = char.to_digit(10)? as usize;
                while let Some(digit) = self.peek().and_then(|char| char.to_digit(10)) {
                    number = number.saturating_mul(10).saturating_add(digit as usize);
                    self.at += 1;
                }
                Node::Backreference(number)
            }
            'k' => {
                // A named group; texts with it are left to luck.
                while self.take()? != '>' {}
                Node::Nothing
            }
            _ => Node::Class(self.escaped_class(char)?),
        })
    }

    /// What an escape stands for, in or out of a class.
    fn escaped_class(&mut self, char: char) -> Option<Vec<char>> {
        let all_but = |not: fn(&char) -> bool| printable().filter(|char| !not(char)).collect();
        let digit: fn(&char) -> bool = char::is_ascii_digit;
        let word: fn(&char) -> bool = |char| char.is_ascii_alphanumeric() || *char == '_';
        let space: fn(&char) -> bool = |char| char.is_ascii_whitespace();
        Some(match char {
            'd' => printable().filter(digit).collect(),
            'D' => all_but(digit),
            'w' => printable().filter(word).collect(),
            'W' => all_but(word),
            's' => vec![' '],
            'S' => all_but(space),
            'h' => vec![' '],
            'n' => vec!['\n'],
            'r' => vec!['\r'],
            't' => vec!['\t'],
            'f' => vec!['\u{c}'],
            'v' => vec!['\u{b}'],
            '0' => vec!['\0'],
            'x' => vec![self.code(2)?],
            'u' if self.eat("{") => {
                let mut hex = String::new();
                while self.peek()? != '}' {
                    hex.push(self.take()?);
                }
                self.at += 1;
                vec![char::from_u32(u32::from_str_radix(&hex, 16).ok()?)?]
            }
            'u' => vec![self.code(4)?],
            'p' | 'P' => self.property(char == 'P')?,
            other => vec![other],
        })
    }

    fn code(&mut self, digits: usize) -> Option<char> {
        let hex: String = self.chars.get(self.at..self.at + digits)?.iter().collect();
        self.at += digits;
        char::from_u32(u32::from_str_radix(&hex, 16).ok()?)
    }

    /// `\p{Lu}` and its kin, among the printable characters of ASCII.
    fn property(&mut self, negated: bool) -> Option<Vec<char>> {
        let mut name = String::new();
        if self.eat("{") {
            while self.peek()? != '}' {
                name.push(self.take()?);
            }
            self.at += 1;
        } else {
            name.push(self.take()?);
        }
        let name = name.rsplit('=').next().unwrap_or_default();
        let test: fn(&char) -> bool = match name {
            "L" | "Letter" | "Alphabetic" | "Alpha" | "L&" | "LC" | "Latin" | "Latn" => char::is_ascii_alphabetic,
            "Lu" | "Uppercase_Letter" | "Uppercase" => char::is_ascii_uppercase,
            "Ll" | "Lowercase_Letter" | "Lowercase" => char::is_ascii_lowercase,
            "N" | "Nd" | "Number" | "Digit" | "Decimal_Number" => char::is_ascii_digit,
            "P" | "Punctuation" | "S" | "Symbol" => char::is_ascii_punctuation,
            "Z" | "Zs" | "Space_Separator" | "Separator" => |char| *char == ' ',
            "ASCII" | "Any" => |_| true,
            _ => return None,
        };
        Some(printable().filter(|char| test(char) != negated).collect())
    }

    fn class(&mut self) -> Option<Node> {
        let negated = self.eat("^");
        let mut members: Vec<char> = Vec::new();
        let mut ranges: Vec<(char, char)> = Vec::new();
        loop {
            match self.take()? {
                ']' => break,
                first => {
                    let item = self.class_item(first)?;
                    let single = if let [single] = item.as_slice() { Some(*single) } else { None };
                    let range =
                        self.peek() == Some('-') && self.chars.get(self.at + 1).is_some_and(|char| *char != ']');
                    match single.filter(|_| range) {
                        Some(low) => {
                            self.at += 1;
                            let last = self.take()?;
                            match self.class_item(last)?.as_slice() {
                                [high] => ranges.push((low, *high)),
                                // Annex B: `[a-\d]` is three things.
                                others => members.extend(others.iter().copied().chain([low, '-'])),
                            }
                        }
                        None => members.extend(item),
                    }
                }
            }
        }
        Some(Node::Class(chosen(&members, &ranges, negated)))
    }

    fn class_item(&mut self, first: char) -> Option<Vec<char>> {
        if first != '\\' {
            return Some(vec![first]);
        }
        match self.take()? {
            'b' => Some(vec!['\u{8}']),
            char => self.escaped_class(char),
        }
    }
}

/// Members of a class that can be written: printable ASCII where there is some, else the first of each range.
fn chosen(members: &[char], ranges: &[(char, char)], negated: bool) -> Vec<char> {
    let within = |char: &char| members.contains(char) || ranges.iter().any(|(low, high)| (*low..=*high).contains(char));
    if negated {
        return printable().chain(['é', 'ß', '漢']).filter(|char| !within(char)).collect();
    }
    let printable: Vec<char> = printable().filter(within).collect();
    if !printable.is_empty() {
        return printable;
    }
    members.iter().copied().chain(ranges.iter().map(|(low, _)| *low)).collect()
}

fn printable() -> impl Iterator<Item = char> {
    (b' '..=b'~').map(char::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        let judge = jsonschema::validator_for(&serde_json::json!({ "pattern": pattern }));
        judge.is_ok_and(|judge| judge.is_valid(&text.into()))
    }

    /// Every one of these is written from the tree alone, at the first try.
    #[test]
    fn texts_match_their_patterns() {
        for pattern in [
            "^[A-Z]{3}$",
            "^\\d{1,13}$|^\\d{1,13}\\.\\d{1,5}$",
            "^[A-Z]{6,6}[A-Z2-9][A-NP-Z0-9]([A-Z0-9]{3,3}){0,1}$",
            "^(\\d{4})-(1[0-2]|0?[1-9])-(3[01]|[12][0-9]|0?[1-9])T(?:[01]\\d|2[0123]):(?:[012345]\\d)Z$",
            "^urn:[a-z0-9][a-z0-9-]{0,31}:[a-z0-9()+,\\-.:=@;$_!*'%\\/?#]+$",
            "^([0-9]{4}\\.[0-9]{2})$",
            "^[^\\s]+$",
            "[\\w\\W\\s]*",
            "^(true|false)$",
            "^[\\u00C0-\\u00FF]{2}$",
            "^\\p{Lu}\\p{Ll}+$",
            "^(a|b)\\1$",
            "^a{2,}b?c*?$",
            "^[-+]?[0-9]$",
            "^\\x41\\u{42}$",
            "",
            "^(?<year>\\d{4})$",
            "^[+-](.)[1-9]{0,1}$",
        ] {
            let parsed = Pattern::parse(pattern).unwrap_or_else(|| panic!("{pattern}"));
            for seed in 0..40 {
                for extra_chars in [0, 1, 7] {
                    let text = parsed.text(Wish { extra_chars, plain: seed % 2 == 0 }, &mut Dice::new(seed));
                    assert!(matches(pattern, &text), "{pattern}: {text:?}");
                }
            }
        }
    }

    #[test]
    fn look_arounds_are_found_by_trying() {
        for pattern in
            ["^(?!\\s)[\\w\\W\\s]*[^\\s]$", "^(?=.*\\d)(?=.*[a-z])(?=.*[A-Z]).{8,}$", "^(?!0+$)\\d{3}$", "\\bab\\b"]
        {
            let parsed = Pattern::parse(pattern).unwrap();
            let mut dice = Dice::new(1);
            let wish = Wish { extra_chars: 6, plain: true };
            assert!((0..60).any(|_| matches(pattern, &parsed.text(wish, &mut dice))), "{pattern}");
        }
    }

    #[test]
    fn lengths_are_met() {
        for (pattern, shortest, extra, expected) in [
            ("^[a-z]{3,10}$", 3, 4, 7),
            ("^[a-z]+$", 1, 19, 20),
            ("^(ab){2,}$", 4, 6, 10),
            ("^(abc|a)[0-9]*$", 1, 5, 6),
            ("^[a-z]{3}$", 3, 9, 3),
        ] {
            let parsed = Pattern::parse(pattern).unwrap();
            assert_eq!(parsed.shortest(), shortest, "{pattern}");
            let text = parsed.text(Wish { extra_chars: extra, plain: true }, &mut Dice::new(3));
            assert_eq!(text.chars().count(), expected, "{pattern}: {text}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        let deep = format!("{}a{}", "(".repeat(100), ")".repeat(100));
        for pattern in ["(", "a)", "[a", "*", "a{3,2}", "\\", "\\p{Klingon}", deep.as_str(), &"a".repeat(9000)] {
            assert!(Pattern::parse(pattern).is_none(), "{pattern:.20}");
        }
    }
}
