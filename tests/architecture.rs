//! Holds the line of the rooms: no room reaches to its right, none of a group knows its neighbour, and each dangerous
//! name is spoken only where it belongs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The order of rooms. A room uses only rooms of earlier groups.
const GROUPS: &[&[&str]] = &[
    &["domain"],
    &["disk"],
    &["problem", "jose", "audit", "signal", "outbound"],
    &["authn", "route", "contract", "quota", "upstream"],
    &["catalogue"],
    &["policy", "hub", "oauth"],
    &["admission"],
    &["front", "proxy", "endpoint", "sandbox", "store", "config"],
    &["server"],
    &["cli"],
];

/// Steps inside a group that are wanted, each with its reason.
const NEIGHBOURS: &[(&str, &str, &str)] = &[
    ("proxy", "front", "the gateway asks the front door for the facts of its connection"),
    ("proxy", "endpoint", "failed client authentication is told to the flood guard by the endpoint's marker"),
    ("config", "front", "a room owns its settings, configuration fills them"),
];

/// Names that only certain rooms may speak.
const NAMES: &[(&str, &[&str])] = &[
    ("pingora", &["front", "proxy", "upstream", "server"]),
    ("sqlx", &["store"]),
    ("jsonwebtoken", &["jose"]),
    ("cedar_policy", &["policy"]),
    ("HttpPeer::new", &["upstream"]),
    ("SystemTime::now", &["server", "cli"]),
];

/// Every file of a room.
fn sources(room: &str) -> Vec<(PathBuf, String)> {
    fn walk(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    let mut found = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(room), &mut found);
    found
}

/// The files of a room as the product is built from them: what only tests are built from may know more, and is left
/// out. A line keeps its number.
fn product(room: &str) -> Vec<(PathBuf, String)> {
    let files = sources(room);
    let only_tests: Vec<PathBuf> = files.iter().flat_map(|(path, text)| test_modules(path, text)).collect();
    let is_test =
        |path: &Path| only_tests.iter().any(|module| path.starts_with(module) || path == module.with_extension("rs"));
    let files = files.into_iter().filter(|(path, _)| !is_test(path));
    files.map(|(path, text)| (path, text.split(INLINE_TESTS).next().unwrap_or_default().to_owned())).collect()
}

/// By custom the last thing in a file.
const INLINE_TESTS: &str = "#[cfg(test)]\nmod tests {";

/// Folders (or, with `.rs`, files) of the modules that a file declares for tests only.
fn test_modules(path: &Path, text: &str) -> Vec<PathBuf> {
    let children = if path.file_name().is_some_and(|name| name == "mod.rs") {
        path.parent().unwrap().to_owned()
    } else {
        path.with_extension("")
    };
    let lines: Vec<&str> = text.lines().collect();
    let declared = lines.windows(2).filter(|pair| pair[0].trim() == "#[cfg(test)]").filter_map(|pair| {
        let (_, name) = pair[1].trim().strip_suffix(';')?.rsplit_once("mod ")?;
        Some(children.join(name))
    });
    declared.collect()
}

fn group_of(room: &str) -> Option<usize> {
    GROUPS.iter().position(|group| group.contains(&room))
}

/// The rooms that a text names after `crate::`, with line numbers; comments left out.
fn mentions(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        for part in code.split("crate::").skip(1) {
            let room: String = part.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            found.push((number + 1, room));
        }
    }
    found
}

#[test]
fn rooms_use_only_rooms_to_their_left() {
    let mut steps = Vec::new();
    let mut seen = BTreeMap::new();
    for group in GROUPS {
        for room in *group {
            for (path, text) in product(room) {
                for (line, other) in mentions(&text) {
                    let Some(theirs) = group_of(&other) else { continue };
                    let ours = group_of(room).unwrap();
                    *seen.entry(*room).or_insert(0) += 1;
                    let allowed = theirs < ours
                        || other == *room
                        || NEIGHBOURS.iter().any(|(from, to, _)| from == room && *to == other);
                    if !allowed {
                        steps.push(format!("{}:{line}: `{room}` uses `{other}`", path.display()));
                    }
                }
            }
        }
    }
    assert!(steps.is_empty(), "steps to the right:\n{}", steps.join("\n"));
    assert!(seen.len() > GROUPS.len(), "the test found almost no `crate::` lines: {seen:?}");
}

#[test]
fn every_room_is_in_the_order_and_opens_with_its_question() {
    let lib = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let declared: Vec<&str> = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    for room in &declared {
        assert!(group_of(room).is_some(), "`{room}` is in lib.rs but not in the order of rooms");
        let text =
            fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/{room}/mod.rs"))).unwrap();
        let first = text.lines().next().unwrap_or_default();
        assert!(first.starts_with("//!") && first.contains('?'), "`{room}` does not open with the question it answers");
    }
    assert_eq!(declared.len(), GROUPS.iter().map(|group| group.len()).sum::<usize>(), "a room is missing from lib.rs");
}

#[test]
fn dangerous_names_are_spoken_where_they_belong() {
    let mut found = Vec::new();
    for room in GROUPS.iter().flat_map(|group| group.iter()) {
        for (path, text) in product(room) {
            for (number, line) in text.lines().enumerate() {
                let code = line.split("//").next().unwrap_or_default();
                for (name, rooms) in NAMES {
                    if code.contains(name) && !rooms.contains(room) {
                        found.push(format!("{}:{}: `{room}` names `{name}`", path.display(), number + 1));
                    }
                }
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn files_are_one_idea_each() {
    let mut long = Vec::new();
    let mut measure = |files: Vec<(PathBuf, String)>, max: usize| {
        let lines = files.into_iter().map(|(path, text)| (path, text.lines().count()));
        long.extend(
            lines.filter(|(_, lines)| *lines > max).map(|(path, lines)| format!("{}: {lines}", path.display())),
        );
    };
    for room in GROUPS.iter().flat_map(|group| group.iter()) {
        measure(product(room), 500);
    }
    // What tests say is mostly tables.
    for folder in ["src", "tests", "benches", "fuzz/fuzz_targets", "fuzz/src"] {
        measure(sources(&format!("../{folder}")), 600);
    }
    assert!(long.is_empty(), "look for the second idea in these files:\n{}", long.join("\n"));
}

#[test]
fn functions_fit_on_a_screen() {
    let mut long = Vec::new();
    let mut count = 0;
    for folder in ["src", "tests", "benches", "fuzz/fuzz_targets", "fuzz/src"] {
        for (path, text) in sources(&format!("../{folder}")) {
            for (name, lines) in functions(&text) {
                count += 1;
                if lines > 70 {
                    long.push(format!("{}: {name} has {lines} lines", path.display()));
                }
            }
        }
    }
    assert!(long.is_empty(), "functions past seventy lines:\n{}", long.join("\n"));
    assert!(count > 2_000, "the test found almost no functions: {count}");
}

/// Names and lengths of functions, in rustfmt's layout. The rows of a table do not count: they are data.
fn functions(text: &str) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    let mut open: Vec<(usize, String, usize)> = Vec::new(); // Indentation, name, lines so far.
    let mut table = None;
    for line in text.lines() {
        let indentation = line.len() - line.trim_start().len();
        let code = line.trim();
        if let Some(at) = table {
            if indentation != at || !code.starts_with(']') {
                continue;
            }
            table = None;
        }
        let signature = code.split_once("fn ").filter(|(before, _)| {
            before.split(' ').all(|word| {
                ["", "const", "async", "unsafe", "extern", "\"C\""].contains(&word) || word.starts_with("pub")
            })
        });
        if let Some((_, name)) = signature.filter(|_| !code.ends_with('}') && !code.ends_with(';')) {
            let name = name.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            open.push((indentation, name, 0));
        }
        open.iter_mut().for_each(|(.., lines)| *lines += 1);
        if code.ends_with('[') {
            table = Some(indentation);
        }
        let ends = code == "}" || code.ends_with(';') && open.last().is_some_and(|(_, _, lines)| *lines > 1);
        if ends && open.last().is_some_and(|(at, ..)| *at == indentation) {
            found.extend(open.pop().map(|(_, name, lines)| (name, lines)));
        }
    }
    found
}

#[test]
fn functions_are_measured() {
    let table = "    for a in [\n".to_owned() + &"        (1, 2),\n".repeat(90) + "    ] {\n        go(a);\n    }\n";
    let text = format!(
        "impl A {{\n    pub const fn b(\n        self,\n    ) -> C {{\n        self.0\n    }}\n}}\n\nfn c() {{\n{table}}}\nfn d() {{}}\n"
    );
    assert_eq!(functions(&text), [("b".to_owned(), 5), ("c".to_owned(), 6)]);
}

#[test]
fn test_only_files_are_told_from_the_product() {
    let text = "mod a;\n#[cfg(test)]\nmod testing;\n#[cfg(test)]\npub(crate) mod tests;\n#[cfg(test)]\nmod tests {\n";
    let found = test_modules(Path::new("src/room/mod.rs"), text);
    assert_eq!(found, [PathBuf::from("src/room/testing"), PathBuf::from("src/room/tests")]);
    assert_eq!(test_modules(Path::new("src/room/part.rs"), text)[0], PathBuf::from("src/room/part/testing"));
    let product: Vec<PathBuf> = product("front").into_iter().map(|(path, _)| path).collect();
    assert!(product.iter().any(|path| path.ends_with("front/mod.rs")));
    assert!(!product.iter().any(|path| path.components().any(|part| part.as_os_str() == "tests")));
}
