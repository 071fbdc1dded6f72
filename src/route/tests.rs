use std::collections::BTreeSet;

use http::Method;
use proptest::prelude::*;

use super::*;
use crate::domain::OperationIndex;

fn specs(routes: &[(&str, &str)]) -> Vec<RouteSpec> {
    let spec = |(number, (method, path)): (usize, &(&str, &str))| RouteSpec {
        method: method.parse().unwrap(),
        path: (*path).to_owned(),
        index: OperationIndex(u32::try_from(number).unwrap()),
        source: format!("op{number}"),
    };
    routes.iter().enumerate().map(spec).collect()
}

fn table(routes: &[(&str, &str)]) -> RouteTable {
    RouteTable::compile(&specs(routes)).unwrap()
}

fn resolve<'p>(table: &RouteTable, method: &str, path: &'p str) -> Result<Match<'p>, RouteError> {
    table.resolve(&method.parse().unwrap(), CanonicalPath::parse(path).unwrap())
}

fn index(table: &RouteTable, method: &str, path: &str) -> Option<u32> {
    resolve(table, method, path).ok().map(|found| found.index.0)
}

#[test]
fn the_more_specific_template_wins_from_left_to_right() {
    let table = table(&[
        ("GET", "/books/{id}"),                // 0
        ("GET", "/books/mine"),                // 1
        ("GET", "/{shelf}/me"),                // 2
        ("GET", "/Accounts/{Sid}.json"),       // 3
        ("GET", "/Accounts/{Sid}"),            // 4
        ("GET", "/Accounts/{Sid}/Calls.json"), // 5
        ("GET", "/Accounts/{Sid}.json/deep"),  // 6
        ("GET", "/rates/{from}-{to}"),         // 7
        ("GET", "/rates/{pair}"),              // 8
        ("GET", "/"),                          // 9
        ("GET", "/books/"),                    // 10
        ("GET", "/{a}/{b}/{c}"),               // 11
        ("GET", "/v1/payments:batch"),         // 12
        ("GET", "/v1/{id}"),                   // 13
    ]);
    for (path, expected) in [
        ("/books/7", Some(0)),
        ("/books/mine", Some(1)),
        ("/books/min%65", Some(1)),
        ("/books/me", Some(0)),
        ("/other/me", Some(2)),
        ("/Accounts/AC1.json", Some(3)),
        ("/Accounts/AC1%2Ejson", Some(3)),
        ("/Accounts/.json", Some(4)),
        ("/Accounts/AC1", Some(4)),
        ("/Accounts/AC1/Calls.json", Some(5)),
        ("/Accounts/AC1.json/deep", Some(6)),
        ("/Accounts/AC1.json/Calls.json", Some(5)),
        ("/rates/EUR-GBP", Some(7)),
        ("/rates/EURGBP", Some(8)),
        ("/", Some(9)),
        ("/books/", Some(10)),
        ("/books", None),
        ("/other/", None),
        ("/books/mine/pages", Some(11)),
        ("/x/y/", None),
        ("/BOOKS/mine/", None),
        ("/v1/payments:batch", Some(12)),
        ("/v1/payments%3Abatch", Some(12)),
        ("/v1/payments%3Aother", Some(13)),
        ("/a/b/c/d", None),
    ] {
        assert_eq!(index(&table, "GET", path), expected, "{path}");
    }
}

#[test]
fn literals_of_every_length_are_found_among_many() {
    // Short ones lie in their map, long ones beside it.
    let paths: Vec<String> = (0..60).map(|length| format!("/many/{}", "x".repeat(length))).collect();
    let routes: Vec<(&str, &str)> = paths.iter().map(|path| ("GET", path.as_str())).collect();
    let table = table(&routes);
    for (number, path) in paths.iter().enumerate() {
        assert_eq!(index(&table, "GET", path), Some(u32::try_from(number).unwrap()), "{path}");
        let other = path.replace('x', "y");
        assert_eq!(index(&table, "GET", &other).is_some(), other == *path, "{other}");
    }
    assert_eq!(index(&table, "GET", &format!("/many/{}", "x".repeat(60))), None);
}

#[test]
fn methods_are_told_apart_however_many_there_are() {
    let methods: Vec<String> = (0..300).map(|number| format!("M{number}")).collect();
    let routes: Vec<(&str, &str)> = methods.iter().map(|method| (method.as_str(), "/a/{x}")).collect();
    let table = table(&routes);
    for (number, method) in methods.iter().enumerate() {
        assert_eq!(index(&table, method, "/a/1"), Some(u32::try_from(number).unwrap()), "{method}");
    }
    assert!(matches!(resolve(&table, "M300", "/a/1"), Err(RouteError::MethodNotAllowed { .. })));
}

#[test]
fn each_operation_keeps_its_own_parameter_names() {
    let table = table(&[("GET", "/a/{x}"), ("POST", "/a/{y}"), ("GET", "/c/{l}-{r}.{ext}/{z}")]);
    let pairs = |method, path| -> Vec<(String, String)> {
        let found = resolve(&table, method, path).unwrap();
        let spans = found.captures.spans(CanonicalPath::parse(path).unwrap());
        assert_eq!(spans.of(path), found.captures.iter().collect::<Vec<_>>(), "{path}");
        found.captures.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    assert_eq!(pairs("GET", "/a/1%202"), [("x".to_owned(), "1%202".to_owned())]);
    assert_eq!(pairs("POST", "/a/1"), [("y".to_owned(), "1".to_owned())]);
    let found = resolve(&table, "GET", "/c/a-b-c.d.e/f").unwrap();
    for (name, value) in [("l", Some("a")), ("r", Some("b-c")), ("ext", Some("d.e")), ("z", Some("f")), ("y", None)] {
        assert_eq!(found.captures.get(name), value, "{name}");
    }
    assert_eq!(pairs("GET", "/c/a-b-c.d.e/f").len(), 4);
}

#[test]
fn a_way_that_was_walked_back_leaves_no_captures() {
    let table = table(&[
        ("GET", "/x/{a}.j/p"),
        ("GET", "/x/{b}/{c}/q"),
        ("GET", "/{d}/{e}/{f}/r"),
        ("GET", "/y/{l}-{r}/{s}/t"),
        ("GET", "/y/{u}/{v}/w"),
    ]);
    for (path, expected) in [
        ("/x/1.j/p", vec![("a", "1")]),
        ("/x/1.j/2/q", vec![("b", "1.j"), ("c", "2")]),
        ("/x/1.j/2/r", vec![("d", "x"), ("e", "1.j"), ("f", "2")]),
        ("/y/1-2/3/w", vec![("u", "1-2"), ("v", "3")]),
        ("/y/1-2/3/r", vec![("d", "y"), ("e", "1-2"), ("f", "3")]),
    ] {
        let found = resolve(&table, "GET", path).unwrap();
        assert_eq!(found.captures.iter().collect::<Vec<_>>(), expected, "{path}");
    }
}

/// The template with the captured values in the places of its parameters.
fn filled(template: &str, captures: &Captures<'_>) -> String {
    captures.iter().fold(template.to_owned(), |text, (name, value)| text.replacen(&format!("{{{name}}}"), value, 1))
}

#[test]
fn the_method_comes_after_the_path() {
    let table = table(&[
        ("GET", "/a/{id}"),
        ("DELETE", "/a/{id}"),
        ("POST", "/a/me"),
        ("GET", "/b"),
        ("HEAD", "/b"),
        ("PURGE", "/c"),
    ]);
    let refused = |allow: &str| Err(RouteError::MethodNotAllowed { allow: allow.to_owned() });
    for (method, path, expected) in [
        ("GET", "/a/1", Ok(0)),
        ("HEAD", "/a/1", Ok(0)),
        ("DELETE", "/a/1", Ok(1)),
        ("PUT", "/a/1", refused("DELETE, GET, HEAD")),
        ("OPTIONS", "/a/1", refused("DELETE, GET, HEAD")),
        ("GET", "/a/me", refused("POST")),
        ("HEAD", "/a/me", refused("POST")),
        ("GET", "/b", Ok(3)),
        ("HEAD", "/b", Ok(4)),
        ("POST", "/b", refused("GET, HEAD")),
        ("PURGE", "/c", Ok(5)),
        ("get", "/b", refused("GET, HEAD")),
        ("GET", "/d", Err(RouteError::NotFound)),
    ] {
        let found = resolve(&table, method, path).map(|found| found.index.0);
        assert_eq!(found, expected, "{method} {path}");
    }
}

#[test]
fn what_cannot_be_decided_is_refused_and_names_both_sources() {
    let issues = |routes: &[(&str, &str)]| {
        RouteTable::compile(&specs(routes))
            .map(drop)
            .map_err(|issues| issues.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    for (name, routes, expected) in [
        ("same shape", &[("GET", "/a/{x}"), ("GET", "/a/{y}")][..], Err("GET /a/{y} (op1) repeats GET /a/{x} (op0)")),
        ("same text", &[("GET", "/a"), ("GET", "/a")], Err("GET /a (op1) repeats GET /a (op0)")),
        ("escaped text", &[("GET", "/a"), ("GET", "/%61")], Err("GET /%61 (op1) repeats GET /a (op0)")),
        ("other method", &[("GET", "/a/{x}"), ("PUT", "/a/{y}")], Ok(())),
        ("leftmost literal", &[("GET", "/{a}/me"), ("GET", "/books/{id}")], Ok(())),
        ("beginning beats end", &[("GET", "/{a}x"), ("PUT", "/x{a}")], Ok(())),
        ("tie that meets", &[("GET", "/{a}-{b}"), ("PUT", "/{a}.{b}")], Err("neither is more specific")),
        ("tie told apart later", &[("GET", "/{a}-{b}/p"), ("GET", "/{a}.{b}/q")], Ok(())),
        ("tie that meets later", &[("GET", "/{a}-{b}/p"), ("GET", "/{a}.{b}/{c}")], Err("neither is more specific")),
        ("tie that cannot meet", &[("GET", "/a{x}"), ("GET", "/b{x}")], Ok(())),
        ("disjoint suffixes", &[("GET", "/{a}.json"), ("GET", "/{a}.yaml")], Ok(())),
        ("longer suffix wins", &[("GET", "/{a}.json"), ("GET", "/{a}.b.json")], Ok(())),
    ] {
        match (issues(routes), expected) {
            (Ok(()), Ok(())) => {}
            (Err(issues), Err(text)) => {
                assert_eq!(issues.len(), 1, "{name}");
                assert!(issues[0].contains(text), "{name}: {issues:?}");
            }
            (got, _) => panic!("{name}: {got:?}"),
        }
    }
}

#[test]
fn bad_templates_are_all_reported() {
    for (path, expected) in [
        ("a", TemplateError::NotAbsolute),
        ("", TemplateError::NotAbsolute),
        ("/a?x=1", TemplateError::Query),
        ("/a#b", TemplateError::Query),
        ("/{a", TemplateError::Braces),
        ("/a}", TemplateError::Braces),
        ("/{a/b}", TemplateError::Braces),
        ("/{}", TemplateError::Name("".into())),
        ("/{a*}", TemplateError::Name("a*".into())),
        ("/{+a}", TemplateError::Name("+a".into())),
        ("/{a{b}}", TemplateError::Name("a{b".into())),
        ("/{a}/{a}", TemplateError::NameTwice("a".into())),
        ("/{a}{b}", TemplateError::Adjacent),
        ("/a//b", TemplateError::Unreachable(PathError::EmptySegment)),
        ("/a/../b", TemplateError::Unreachable(PathError::DotSegment)),
        ("/a;b", TemplateError::Unreachable(PathError::PathParameter)),
        ("/a%2fb", TemplateError::Unreachable(PathError::EncodedSeparator { at: 2 })),
    ] {
        let issues = RouteTable::compile(&specs(&[("GET", "/ok"), ("GET", path), ("GET", "/{")])).unwrap_err();
        assert_eq!(issues.len(), 2, "{path}");
        assert!(
            matches!(&issues[0], RouteIssue::Template { cause, at } if *cause == expected && at.source == "op1"),
            "{path}: {issues:?}"
        );
    }
    let deep = "/a".repeat(SEGMENTS_MAX + 1);
    assert!(RouteTable::compile(&specs(&[("GET", &deep)])).is_err());
    assert!(RouteTable::compile(&specs(&[("GET", &deep[2..])])).is_ok());
    let crowd: Vec<String> = (0..65).map(|n| format!("/a{n}{{x}}")).collect();
    let crowd: Vec<(&str, &str)> = crowd.iter().map(|path| ("GET", path.as_str())).collect();
    assert!(RouteTable::compile(&specs(&crowd[..64])).is_ok());
    assert!(matches!(RouteTable::compile(&specs(&crowd)).unwrap_err()[..], [RouteIssue::Crowded { .. }]));
}

#[test]
fn literals_that_travel_encoded_are_matched() {
    let table = table(&[("GET", "/a b/é"), ("GET", "/c%20d/{x}")]);
    assert_eq!(index(&table, "GET", "/a%20b/%C3%A9"), Some(0));
    assert_eq!(index(&table, "GET", "/c%20d/1"), Some(1));
}

#[test]
fn where_nothing_parts_and_nothing_ends_there_is_no_place() {
    let paths: Vec<String> =
        (0..100).map(|number| format!("/bank/v1/group{number}/accounts/{{id}}/balances")).collect();
    let mut routes: Vec<(&str, &str)> = paths.iter().map(|path| ("GET", path.as_str())).collect();
    let table = |routes: &[(&str, &str)]| {
        let table = table(routes);
        (table.nodes.len(), table.ways.len(), table.endings.len())
    };
    // `/bank/v1` leads to the root; all groups share the way to their end, and what there is of it.
    assert_eq!(table(&routes), (1, 2, 1));
    routes.push(("POST", "/bank/v1/group7/accounts"));
    assert_eq!(table(&routes), (3, 4, 1), "an operation ends between: `accounts`, then `{{id}}/balances`");
    routes.push(("GET", "/bank/v1/group8/accounts/{id}/parties"));
    assert_eq!(table(&routes), (6, 6, 1), "two ways part: `accounts/{{id}}`, then nothing twice");
    routes.push(("PUT", "/bank/v1/group9/accounts/{id}/balances"));
    assert_eq!(table(&routes), (7, 6, 1), "two methods end at one place");
    routes.push(("DELETE", "/bank/v1/consents/{id}"));
    assert_eq!(table(&routes), (7, 7, 2));
}

#[test]
fn ten_thousand_operations() {
    let methods = ["GET", "POST", "PUT", "DELETE"];
    let routes: Vec<(&str, String)> = (0..10_000)
        .map(|n| (methods[n % 4], format!("/api{}/v1/res{}/{{id}}/sub/{{key}}.json", n / 400, n / 4)))
        .collect();
    let borrowed: Vec<(&str, &str)> = routes.iter().map(|(method, path)| (*method, path.as_str())).collect();
    let started = std::time::Instant::now();
    let table = table(&borrowed);
    let built = started.elapsed();
    let started = std::time::Instant::now();
    for (n, (method, path)) in borrowed.iter().enumerate() {
        let path = path.replace("{id}", "42").replace("{key}", "k-1");
        let found = resolve(&table, method, &path).unwrap();
        assert_eq!(found.index.0 as usize, n);
        assert_eq!((found.captures.get("id"), found.captures.get("key")), (Some("42"), Some("k-1")));
    }
    eprintln!("10,000 operations: built in {built:?}, resolved in {:?} each", started.elapsed() / 10_000);
}

/// A second, slow reading of the rule: of all templates that match, the one whose segments compare best.
fn expected_winner(templates: &[&str], path: &str) -> Option<usize> {
    let key = |segment: &str| {
        let literal: usize = segment.split('{').map(|part| part.rsplit('}').next().unwrap_or("").len()).sum();
        let prefix = segment.find('{').unwrap_or(0);
        match (segment.contains('{'), literal) {
            (false, _) => (0, 0, 0),
            (true, 0) => (2, 0, 0),
            (true, literal) => (1, usize::MAX - literal, usize::MAX - prefix),
        }
    };
    let matches = |template: &str| {
        let parameter = regex::Regex::new(r"\\\{[a-z]\\\}").unwrap();
        let pattern = parameter.replace_all(&regex::escape(template), "[^/]+").into_owned();
        regex::Regex::new(&format!("^{pattern}$")).unwrap().is_match(path)
    };
    (0..templates.len())
        .filter(|n| matches(templates[*n]))
        .min_by_key(|n| templates[*n].split('/').map(key).collect::<Vec<_>>())
}

fn template_text() -> impl Strategy<Value = String> {
    let segment = prop_oneof![
        3 => Just("a"), 3 => Just("b"), 3 => Just("{p}"), 1 => Just("{p}.j"), 1 => Just("a{p}"), 1 => Just("{p}b"), 1 => Just("{p}a{q}"),
    ];
    proptest::collection::vec(segment, 1..4).prop_map(|segments| {
        // Parameter names must differ within one template.
        let mut names = 'a'..='z';
        let mut text = String::new();
        for character in segments.iter().flat_map(|segment| std::iter::once('/').chain(segment.chars())) {
            text.push(if matches!(character, 'p' | 'q') { names.next().unwrap() } else { character });
        }
        text
    })
}

/// Below which a crowd of literals may stand.
const CROWDS: [&str; 4] = ["", "/a", "/{w}", "/{w}/b"];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn precedence_is_the_rule_and_does_not_depend_on_order(
        templates in proptest::collection::vec(template_text(), 1..8),
        paths in proptest::collection::vec("(/[ab]{1,3}(\\.j)?){1,4}", 1..12),
        rotation in 0_usize..8,
        crowded in proptest::collection::vec(0..CROWDS.len(), 0..3),
    ) {
        // So many literals at some places that they lie in a fan.
        let crowds: BTreeSet<usize> = crowded.into_iter().collect();
        let crowd = |at: usize| ["aa", "ab", "ba", "bb", "aab"].map(|text| format!("{}/{text}", CROWDS[at]));
        let templates: Vec<String> = templates.into_iter().chain(crowds.into_iter().flat_map(crowd)).collect();
        let mut routes: Vec<(&str, &str)> = templates.iter().map(|path| ("GET", path.as_str())).collect();
        if let Ok(forward) = RouteTable::compile(&specs(&routes)) {
            let templates: Vec<&str> = templates.iter().map(String::as_str).collect();
            let length = routes.len();
            routes.rotate_left(rotation % length);
            routes.reverse();
            let backward = table(&routes);
            for path in &paths {
                let winner = index(&forward, "GET", path).map(|n| templates[n as usize]);
                prop_assert_eq!(winner, expected_winner(&templates, path).map(|n| templates[n]), "{}", path);
                if let (Some(winner), Ok(found)) = (winner, resolve(&forward, "GET", path)) {
                    prop_assert_eq!(&filled(winner, &found.captures), path, "captures of {}", winner);
                }
                prop_assert_eq!(winner, index(&backward, "GET", path).map(|n| routes[n as usize].1));
            }
        }
    }

    #[test]
    fn captures_round_trip(template in template_text(), seed in "[c-z0-9~%]{1,6}") {
        let routes = specs(&[("GET", &template)]);
        let table = RouteTable::compile(&routes).unwrap();
        // Values hold neither `a`, `b` nor `.`, so that each way of reading the segment is the same.
        let value = percent_encoding::utf8_percent_encode(&seed, percent_encoding::NON_ALPHANUMERIC).to_string();
        prop_assume!(CanonicalPath::parse(&format!("/{value}")).is_ok());
        let names: Vec<&str> = template.split('{').skip(1).filter_map(|part| part.split('}').next()).collect();
        let path = names.iter().enumerate().fold(template.clone(), |path, (n, name)| {
            path.replacen(&format!("{{{name}}}"), &format!("{value}z{n}"), 1)
        });
        let found = resolve(&table, "GET", &path).unwrap();
        let expected: Vec<String> = (0..names.len()).map(|n| format!("{value}z{n}")).collect();
        prop_assert_eq!(found.captures.iter().map(|(_, value)| value).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn any_text_is_parsed_or_refused(raw in "\\PC{0,40}", template in "[/a-c{}.%2-5;?]{0,24}") {
        let compiled = RouteTable::compile(&specs(&[("GET", &template)]));
        if let (Ok(table), Ok(path)) = (compiled, CanonicalPath::parse(&raw)) {
            let _ = table.resolve(&Method::GET, path);
        }
    }
}
