//! The pairs of a query, decoded.

use percent_encoding::percent_decode_str;

/// Most pairs that are looked at.
const PAIRS_MAX: usize = 64;

pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub fn parse(query: Option<&str>) -> Self {
        let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()).take(PAIRS_MAX);
        Self(
            pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(k, v)| (decode(k), decode(v))).collect(),
        )
    }

    pub fn first(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

pub(super) fn decode(text: &str) -> String {
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_decoded_and_the_first_counts() {
        let query = Query::parse(Some("a=1&b=x%20y+z&a=2&c&=d"));
        for (name, expected) in [("a", Some("1")), ("b", Some("x y z")), ("c", Some("")), ("e", None)] {
            assert_eq!(query.first(name), expected, "{name}");
        }
        assert_eq!(Query::parse(None).first("a"), None);
    }
}
