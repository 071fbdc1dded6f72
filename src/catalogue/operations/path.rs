//! Path templates and base paths: what a request line must look like to mean an operation.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Map, Value};

use super::super::report::{Finding, Findings};

/// The variables of a template, in order, or why no request can ever match it.
pub fn variables(template: &str) -> Result<Vec<&str>, String> {
    if !template.starts_with('/') {
        return Err("a path begins with `/`".to_owned());
    }
    if let Some(c) = template.chars().find(|c| matches!(c, '?' | '#')) {
        let part = if c == '?' { "query" } else { "fragment" };
        return Err(format!("a path has no {part}: a request with this path cannot exist (OpenAPI 3.1.1 §4.8.8)"));
    }
    let mut variables = Vec::new();
    let mut rest = template;
    while let Some((literal, after)) = rest.split_once('{') {
        check_literal(literal)?;
        let (name, after) = after.split_once('}').ok_or("a `{` is not closed")?;
        if name.is_empty() || name.contains(['{', '/']) {
            return Err("a template variable has no proper name".to_owned());
        }
        if variables.contains(&name) {
            return Err(format!("the variable {{{name}}} stands twice in the path"));
        }
        variables.push(name);
        rest = after;
    }
    check_literal(rest)?;
    Ok(variables)
}

fn check_literal(text: &str) -> Result<(), String> {
    // RFC 3986 §3.3: pchar and `/`. Anything else would arrive percent-encoded and never match.
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._~%!$&'()*+,;=:@/".contains(c);
    match text.chars().find(|c| !allowed(*c)) {
        Some('}') => Err("a `}` closes nothing".to_owned()),
        Some(c) => Err(format!("the character {c:?} cannot stand in a URL; write it percent-encoded")),
        None if text.split('/').any(|s| matches!(s, "." | "..")) => {
            Err("`.` and `..` cannot be path segments".to_owned())
        }
        None => Ok(()),
    }
}

/// The template with its variables' names taken out: what may stand only once (OAM-23).
pub fn shape(template: &str) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some((literal, after)) = rest.split_once('{') {
        out.push_str(literal);
        out.push_str("{}");
        rest = after.split_once('}').map_or("", |(_, after)| after);
    }
    out.push_str(rest);
    out
}

/// Templates by their segments, so that those which meet a given one are found without looking at all.
pub struct Templates<'t> {
    nodes: Vec<Node<'t>>, // Invariant: the root is at 0; child numbers are valid.
}

#[derive(Default)]
struct Node<'t> {
    literals: HashMap<&'t str, usize>,
    variable: Option<usize>,
    /// Positions of the templates that end here.
    ends: Vec<usize>,
}

impl<'t> Templates<'t> {
    pub fn new(templates: impl Iterator<Item = (usize, &'t str)>) -> Self {
        let mut all = Self { nodes: vec![Node::default()] };
        for (position, template) in templates {
            let end = template.split('/').fold(0, |at, segment| all.child(at, segment));
            if let Some(node) = all.nodes.get_mut(end) {
                node.ends.push(position);
            }
        }
        all
    }

    /// The child for a segment, made if missing.
    fn child(&mut self, parent: usize, segment: &'t str) -> usize {
        let fresh = self.nodes.len();
        let Some(node) = self.nodes.get_mut(parent) else { return 0 };
        let child = match segment.contains('{') {
            true => *node.variable.get_or_insert(fresh),
            false => *node.literals.entry(segment).or_insert(fresh),
        };
        if child == fresh {
            self.nodes.push(Node::default());
        }
        child
    }

    /// Positions of the templates, ascending, of which a request can match both it and this one while neither is more
    /// concrete: `/{a}/me` and `/books/{id}`.
    pub fn ambiguous_with(&self, template: &str) -> Vec<usize> {
        let segments: Vec<&str> = template.split('/').collect();
        let mut found = Vec::new();
        // Node, depth, and whether this template or the other one is somewhere more concrete.
        let mut open = vec![(0, 0, false, false)];
        while let Some((at, depth, wins, loses)) = open.pop() {
            let Some(node) = self.nodes.get(at) else { continue };
            let Some(segment) = segments.get(depth) else {
                found.extend(node.ends.iter().filter(|_| wins && loses));
                continue;
            };
            if segment.contains('{') {
                open.extend(node.variable.map(|child| (child, depth + 1, wins, loses)));
                open.extend(node.literals.values().map(|child| (*child, depth + 1, wins, true)));
            } else {
                open.extend(node.variable.map(|child| (child, depth + 1, true, loses)));
                open.extend(node.literals.get(segment).map(|child| (*child, depth + 1, wins, loses)));
            }
        }
        found.sort_unstable();
        found
    }
}

/// The path of a list of servers: the first one's, with its variables' defaults. `None` if there is no server.
pub fn base(servers: Option<&Value>, at: &str, findings: &mut Findings) -> Option<String> {
    let list = servers.and_then(Value::as_array)?;
    let mut bases = list.iter().filter_map(Value::as_object).map(server_path);
    let first = bases.next()?;
    let others: BTreeSet<String> = bases.filter(|other| *other != first).collect();
    if !others.is_empty() {
        let others: Vec<String> = others.into_iter().collect();
        findings.push(Finding::warning(
            at,
            format!(
                "the servers have different base paths; the first one's ({first:?}) counts, not {}",
                others.join(", ")
            ),
            "Put the server that is meant first, or set the base path where the API is declared.",
        ));
    }
    Some(first)
}

/// The path part of a server's URL: absolute, relative or only a path.
fn server_path(server: &Map<String, Value>) -> String {
    let mut url = server.get("url").and_then(Value::as_str).unwrap_or("/").trim().to_owned();
    for (name, variable) in server.get("variables").and_then(Value::as_object).into_iter().flatten() {
        let first = variable.get("enum").and_then(|e| e.get(0));
        if let Some(value) = variable.get("default").or(first).and_then(Value::as_str) {
            url = url.replace(&format!("{{{name}}}"), value);
        }
    }
    let path = match url.split_once("://") {
        Some((_, rest)) => rest.find('/').and_then(|slash| rest.get(slash..)).unwrap_or_default(),
        None if url.starts_with("//") => {
            url.trim_start_matches('/').find('/').and_then(|i| url.get(i + 2..)).unwrap_or_default()
        }
        None => &url,
    };
    normalise(path)
}

/// A base path as it is put before paths: empty, or beginning and not ending with `/`.
pub fn normalise(path: &str) -> String {
    let path = path.split(['?', '#']).next().unwrap_or_default().trim_matches('/');
    let path = path.strip_prefix("./").unwrap_or(path);
    if path.is_empty() || path == "." { String::new() } else { format!("/{path}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn templates_that_no_request_can_match_are_refused() {
        for (template, expected) in [
            ("/a/{b}/c", Ok(vec!["b"])),
            ("/Accounts/{Sid}.json", Ok(vec!["Sid"])),
            ("/a/{b}-{c}", Ok(vec!["b", "c"])),
            ("/", Ok(vec![])),
            ("/a/", Ok(vec![])),
            ("a", Err("begins with")),
            ("/a?b=c", Err("query")),
            ("/a#b", Err("fragment")),
            ("/a/{b", Err("not closed")),
            ("/a/b}", Err("closes nothing")),
            ("/a/{}", Err("proper name")),
            ("/a/{b}/{b}", Err("twice")),
            ("/a b", Err("percent-encoded")),
            ("/ä", Err("percent-encoded")),
            ("/a/../b", Err("segments")),
        ] {
            match (variables(template), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{template}"),
                (Err(e), Err(part)) => assert!(e.contains(part), "{template}: {e}"),
                (result, _) => panic!("{template}: {result:?}"),
            }
        }
        assert_eq!(shape("/a/{b}/{c}.json"), "/a/{}/{}.json");
        for (first, second, expected) in [
            ("/{a}/me", "/books/{id}", true),
            ("/a/{b}", "/a/me", false),
            ("/{a}/{b}", "/a/{b}", false),
            ("/{a}/x", "/b/y", false),
            ("/{a}", "/b/{c}", false),
            ("/a/{b}/c/{d}", "/{x}/b/c/{y}", true),
            ("/a/{b}/", "/{x}/b", false),
            ("/a/{b}", "/a/{c}", false),
        ] {
            for (first, second) in [(first, second), (second, first)] {
                let found = Templates::new([(7, first)].into_iter()).ambiguous_with(second);
                assert_eq!(found == [7], expected, "{first} {second}");
            }
        }
    }

    #[test]
    fn base_paths_come_from_the_first_server() {
        for (servers, expected) in [
            (json!([{"url": "https://a.example/v1/"}]), "/v1"),
            (json!([{"url": "https://a.example"}]), ""),
            (json!([{"url": "/open-banking/v4.0/aisp"}]), "/open-banking/v4.0/aisp"),
            (json!([{"url": "//a.example/v1"}]), "/v1"),
            (json!([{"url": "v1"}]), "/v1"),
            (json!([{"url": "protocol://hostname:<port>/switch/"}]), "/switch"),
            (
                json!([{"url": "https://{h}.example/{p}", "variables": {"h": {"default": "x/y"}, "p": {"default": "v2"}}}]),
                "/y.example/v2",
            ),
            (json!([{"url": "https://a.example/{version}/x"}]), "/{version}/x"),
        ] {
            assert_eq!(base(Some(&servers), "", &mut Findings::default()).as_deref(), Some(expected), "{servers}");
        }
        assert_eq!(base(None, "", &mut Findings::default()), None);
    }
}
