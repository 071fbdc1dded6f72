//! JSON Pointers (RFC 6901), as plain text and as the URI fragments that `$ref` uses.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

/// What a fragment may not carry as is (RFC 3986 §3.5), `%` included.
const FRAGMENT: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// One token as it stands inside a pointer (RFC 6901 §3).
pub fn escape(token: &str) -> Cow<'_, str> {
    if token.contains(['~', '/']) { token.replace('~', "~0").replace('/', "~1").into() } else { token.into() }
}

/// The reverse of [`escape`].
pub fn unescape(token: &str) -> Cow<'_, str> {
    if token.contains('~') { token.replace("~1", "/").replace("~0", "~").into() } else { token.into() }
}

/// The unescaped tokens of a pointer.
pub fn tokens(pointer: &str) -> impl Iterator<Item = Cow<'_, str>> {
    pointer.split('/').skip(1).map(unescape)
}

/// The pointer of a member of what `parent` points to.
pub fn child(parent: &str, token: &str) -> String {
    format!("{parent}/{}", escape(token))
}

/// Runs `inner` with `at` extended by one token.
pub fn with<T>(at: &mut String, token: &str, inner: impl FnOnce(&mut String) -> T) -> T {
    let len = at.len();
    at.push('/');
    at.push_str(&escape(token));
    let result = inner(at);
    at.truncate(len);
    result
}

/// `#/paths/~1a~1%7Bid%7D`: the pointer as a reference inside the same document.
pub fn to_reference(pointer: &str) -> String {
    format!("#{}", utf8_percent_encode(pointer, FRAGMENT))
}

/// The pointer in a reference's fragment; `None` if the fragment is a plain name (an anchor) or not UTF-8.
pub fn from_fragment(fragment: &str) -> Option<String> {
    // RFC 6901 §6: percent-decode first, then read the escapes of the pointer.
    let decoded = percent_decode_str(fragment).decode_utf8().ok()?;
    (decoded.is_empty() || decoded.starts_with('/')).then(|| decoded.into_owned())
}

/// One token of a fragment, decoded; `None` if it is more than one.
pub fn from_fragment_token(token: &str) -> Option<String> {
    let decoded = percent_decode_str(token).decode_utf8().ok()?;
    (!decoded.contains('/')).then(|| unescape(&decoded).into_owned())
}

/// The name in `#/components/{section}/{name}`, if the reference points to exactly that.
pub fn component(reference: &str, section: &str) -> Option<String> {
    let rest = reference.strip_prefix("#/components/")?.strip_prefix(section)?.strip_prefix('/')?;
    from_fragment_token(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_and_pointers_are_told_apart() {
        for (name, fragment, expected) in [
            ("root", "", Some("")),
            ("braces", "/paths/~1users~1%7Bid%7D/get", Some("/paths/~1users~1{id}/get")),
            ("percent-encoded tilde", "/a/%7E1", Some("/a/~1")),
            ("anchor", "Pet", None),
            ("not UTF-8", "/%ff", None),
        ] {
            assert_eq!(from_fragment(fragment).as_deref(), expected, "{name}");
        }
        assert_eq!(to_reference("/paths/~1users~1{id}"), "#/paths/~1users~1%7Bid%7D");
        assert_eq!(tokens("/paths/~1a~0b/0").collect::<Vec<_>>(), ["paths", "/a~b", "0"]);
        assert_eq!(component("#/components/schemas/A%20b", "schemas").as_deref(), Some("A b"));
        assert_eq!(component("#/components/schemas/A/properties/b", "schemas"), None);
    }
}
