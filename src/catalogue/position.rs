//! Where in the text does a JSON Pointer lead? A second, lazy reading that is only made when there are findings.

use std::collections::{HashMap, HashSet};

use serde_saphyr::granit_parser::Event;

use super::files::{Format, Text};
use super::pointer;
use super::yaml;

/// Line and column (both from 1) of every pointer that was asked for, or of its nearest ancestor.
pub fn locate<'p>(text: &Text, pointers: impl Iterator<Item = &'p str>) -> HashMap<String, (usize, usize)> {
    let mut wanted = HashSet::new();
    let asked: Vec<&str> = pointers.collect();
    for pointer in &asked {
        wanted.insert("");
        for (index, _) in pointer.match_indices('/').skip(1) {
            wanted.extend(pointer.get(..index));
        }
        wanted.insert(pointer);
    }
    let found = match text.format {
        Format::Json => json(&text.text, &wanted),
        Format::Yaml => yaml(&text.text, &wanted),
    };
    let nearest = |mut pointer: &str| {
        loop {
            if let Some(place) = found.get(pointer) {
                return Some(*place);
            }
            pointer = pointer.rsplit_once('/')?.0;
        }
    };
    asked.into_iter().filter_map(|p| Some((p.to_owned(), nearest(p)?))).collect()
}

/// The path to the value that comes next.
#[derive(Default)]
struct Trail {
    at: String,
    /// Length of `at` before the container's current token, the next index if it is a list, and (for objects)
    /// whether a key comes next.
    open: Vec<(usize, Option<usize>, bool)>,
    found: HashMap<String, (usize, usize)>,
}

impl Trail {
    /// A value begins at this place.
    fn value(&mut self, place: (usize, usize), wanted: &HashSet<&str>) {
        if let Some((len, Some(index), _)) = self.open.last_mut() {
            self.at.truncate(*len);
            self.at.push('/');
            self.at.push_str(&index.to_string());
            *index += 1;
        }
        if wanted.contains(self.at.as_str()) {
            self.found.entry(self.at.clone()).or_insert(place);
        }
    }

    fn wants_key(&self) -> bool {
        matches!(self.open.last(), Some((_, None, true)))
    }

    fn key(&mut self, key: &str, place: (usize, usize), wanted: &HashSet<&str>) {
        if let Some((len, _, wants_key)) = self.open.last_mut() {
            *wants_key = false;
            self.at.truncate(*len);
            self.at.push('/');
            self.at.push_str(&pointer::escape(key));
        }
        // A member is shown by its key: that is where the eye looks.
        if wanted.contains(self.at.as_str()) {
            self.found.entry(self.at.clone()).or_insert(place);
        }
    }

    fn start(&mut self, list: bool) {
        self.open.push((self.at.len(), list.then_some(0), !list));
    }

    fn end(&mut self) {
        if let Some((len, ..)) = self.open.pop() {
            self.at.truncate(len);
        }
        self.done();
    }

    /// A value is complete: in an object, a key comes next.
    fn done(&mut self) {
        if let Some((_, None, wants_key)) = self.open.last_mut() {
            *wants_key = true;
        }
    }
}

fn yaml(text: &str, wanted: &HashSet<&str>) -> HashMap<String, (usize, usize)> {
    let mut trail = Trail::default();
    for event in yaml::parser(text) {
        let Ok((event, span)) = event else { break };
        let place = (span.start.line(), span.start.col() + 1);
        match event {
            Event::Scalar(key, ..) if trail.wants_key() => trail.key(&key, place, wanted),
            Event::Alias(_) if trail.wants_key() => trail.key("", place, wanted),
            Event::Scalar(..) | Event::Alias(_) => {
                trail.value(place, wanted);
                trail.done();
            }
            Event::SequenceStart(..) | Event::MappingStart(..) => {
                trail.value(place, wanted);
                trail.start(matches!(event, Event::SequenceStart(..)));
            }
            Event::SequenceEnd | Event::MappingEnd => trail.end(),
            _ => {}
        }
    }
    trail.found
}

/// The text parsed before, so only its structure is looked at.
fn json(text: &str, wanted: &HashSet<&str>) -> HashMap<String, (usize, usize)> {
    let mut trail = Trail::default();
    let (mut line, mut line_start) = (1, 0);
    let mut chars = text.char_indices().enumerate().peekable();
    while let Some((count, (byte, c))) = chars.next() {
        let place = (line, count - line_start + 1);
        match c {
            '\n' => {
                line += 1;
                line_start = count + 1;
            }
            '"' => {
                let mut end = byte + 1;
                let mut escaped = false;
                for (_, (index, c)) in chars.by_ref() {
                    end = index;
                    match c {
                        _ if escaped => escaped = false,
                        '\\' => escaped = true,
                        '"' => break,
                        _ => {}
                    }
                }
                if trail.wants_key() {
                    let key: String =
                        text.get(byte..=end).and_then(|t| serde_json::from_str(t).ok()).unwrap_or_default();
                    trail.key(&key, place, wanted);
                } else {
                    trail.value(place, wanted);
                    trail.done();
                }
            }
            '{' | '[' => {
                trail.value(place, wanted);
                trail.start(c == '[');
            }
            '}' | ']' => trail.end(),
            ':' | ',' => {}
            c if c.is_whitespace() => {}
            _ => {
                while chars.peek().is_some_and(|(_, (_, c))| c.is_alphanumeric() || "+-.".contains(*c)) {
                    chars.next();
                }
                trail.value(place, wanted);
                trail.done();
            }
        }
    }
    trail.found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn places(name: &str, text: &str, pointers: &[&str]) -> Vec<(usize, usize)> {
        let (format, value) = crate::catalogue::files::parse(Path::new(name), text).unwrap();
        let text = Text { format, text: text.to_owned(), value, sha256: [0; 32] };
        let found = locate(&text, pointers.iter().copied());
        pointers.iter().map(|p| found[*p]).collect()
    }

    #[test]
    fn pointers_lead_to_lines_and_columns() {
        let pointers =
            ["", "/paths", "/paths/~1a", "/paths/~1a/list/1", "/paths/~1a/list/1/deep", "/z", "/paths/gone/x"];
        let yaml = "paths:\n  /a:\n    list:\n      - 1\n      - deep: é\n  /b: {}\nz: 2\n";
        assert_eq!(places("a.yaml", yaml, &pointers), [(1, 1), (1, 1), (2, 3), (5, 9), (5, 9), (7, 1), (1, 1)]);
        let json = "{\"paths\": {\n \"/a\": {\"list\": [-1.5e3,\n  {\"de\\u0065p\": \"\\\"}\"}], \"t\": true},\n \"/b\": {}},\n\"z\": 2}";
        assert_eq!(places("a.json", json, &pointers), [(1, 1), (1, 2), (2, 2), (3, 3), (3, 4), (5, 1), (1, 2)]);
    }
}
