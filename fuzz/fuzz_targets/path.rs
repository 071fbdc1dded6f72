//! Paths and routes: what is accepted is what any normalisation leaves as it is, and routes as a naive reader would.
#![no_main]

use std::sync::LazyLock;

use clearway::domain::OperationIndex;
use clearway::route::{CanonicalPath, PATH_BYTES_MAX, RouteError, RouteSpec, RouteTable};
use http::Method;
use libfuzzer_sys::fuzz_target;
use percent_encoding::percent_decode_str;

const TEMPLATES: [&str; 8] = ["/", "/a", "/a/", "/a/{x}", "/a/{x}/b", "/a/{x}.json", "/a/{x}:{y}", "/{p}/{q}/c"];

static TABLE: LazyLock<RouteTable> = LazyLock::new(|| {
    let spec = |(index, path): (usize, &&str)| RouteSpec {
        method: Method::GET,
        path: (*path).to_owned(),
        index: OperationIndex(index as u32),
        source: (*path).to_owned(),
    };
    let specs: Vec<RouteSpec> = TEMPLATES.iter().enumerate().map(spec).collect();
    RouteTable::compile(&specs).unwrap()
});

fuzz_target!(|raw: &str| {
    let Ok(path) = CanonicalPath::parse(raw) else { return };
    assert_eq!(path.as_str(), raw, "a path was repaired");
    assert!(raw.len() <= PATH_BYTES_MAX);
    assert_eq!(without_dots(raw), raw, "RFC 3986 §5.2.4 changes it");
    let decoded = percent_decode_str(raw).decode_utf8().expect("UTF-8");
    assert_eq!(decoded.matches('/').count(), raw.matches('/').count(), "an escape hides a separator");
    assert!(decoded.split('/').all(|segment| segment != "." && segment != ".."), "an escape hides a dot segment");
    assert!(!decoded.contains(|c: char| c == '\\' || c.is_ascii_control()), "an escape hides a control character");
    let twice = percent_decode_str(&decoded).decode_utf8_lossy();
    assert_eq!(twice, decoded, "it is encoded twice");
    let uri: http::Uri = raw.parse().expect("a URI");
    assert_eq!((uri.path(), uri.query(), uri.host()), (raw, None, None));
    routes(path);
});

/// RFC 3986 §5.2.4, on plain segments.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/').skip(1) {
        match segment {
            "." => {}
            ".." => drop(kept.pop()),
            segment => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}

fn routes(path: CanonicalPath<'_>) {
    match TABLE.resolve(&Method::GET, path) {
        Ok(found) => {
            let template = TEMPLATES[found.index.0 as usize];
            let mut filled = template.to_owned();
            for (name, value) in found.captures.iter() {
                assert!(!value.is_empty() && !value.contains('/'), "{template}: {name} is {value:?}");
                filled = filled.replacen(&format!("{{{name}}}"), value, 1);
            }
            // A capture may itself contain what looks like a variable only if braces were let through: they are not.
            let plain = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
            assert_eq!(plain(&filled), plain(path.as_str()), "{template} does not lead back");
        }
        Err(RouteError::NotFound) => {
            let segments: Vec<&str> = path.as_str().split('/').skip(1).collect();
            let simple = matches!(segments.as_slice(), [""] | ["a"] | ["a", ""]);
            let three = segments.len() == 3 && segments[2] == "c" && !segments[0].is_empty() && !segments[1].is_empty();
            let one = segments.len() == 2 && segments[0] == "a" && !segments[1].is_empty();
            assert!(!simple && !three && !one, "{:?} has a template", path.as_str());
        }
        Err(RouteError::MethodNotAllowed { allow }) => panic!("GET is allowed everywhere, not {allow}"),
    }
}
