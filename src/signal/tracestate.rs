//! The `tracestate` field (W3C Trace Context §3.3): other vendors' notes, passed along unread.

use std::collections::HashSet;

use http::HeaderValue;

/// Most list-members (§3.3.1.1).
const MEMBERS_MAX: usize = 32;

/// What is passed on at most: as much as a vendor should (§3.3.1.5). Longer states lose members.
pub(super) const LEN_MAX: usize = 512;

/// Members longer than this go first when the state is too long (§3.3.1.5).
const MEMBER_LEN_KEPT: usize = 128;

/// What is looked at at all.
const LEN_READ_MAX: usize = 8_192;

/// Joins the fields in their order. `None` if there are none, or if any of it is malformed.
pub(super) fn parse<'h>(values: impl Iterator<Item = &'h HeaderValue>) -> Option<HeaderValue> {
    let mut members: Vec<&str> = Vec::new();
    let mut length = 0;
    for value in values {
        let text = value.to_str().ok()?;
        length += text.len();
        if length > LEN_READ_MAX {
            return None;
        }
        // Empty members are allowed and mean nothing (§3.3.1.1).
        members.extend(text.split(',').map(|member| member.trim_matches([' ', '\t'])).filter(|m| !m.is_empty()));
    }
    let mut keys = HashSet::new();
    let sound = members.len() <= MEMBERS_MAX
        && members.iter().all(|member| {
            member.split_once('=').is_some_and(|(key, value)| is_key(key) && is_value(value) && keys.insert(key))
        });
    if members.is_empty() || !sound {
        return None;
    }
    shorten(&mut members);
    HeaderValue::try_from(members.join(",")).ok().filter(|value| !value.is_empty())
}

fn shorten(members: &mut Vec<&str>) {
    let length = |members: &[&str]| members.iter().map(|member| member.len() + 1).sum::<usize>().saturating_sub(1);
    while length(members) > LEN_MAX {
        match members.iter().rposition(|member| member.len() > MEMBER_LEN_KEPT) {
            Some(long) => drop(members.remove(long)),
            None => drop(members.pop()),
        }
    }
}

/// `simple-key`, or `tenant-id "@" system-id` (§3.3.1.3.1).
fn is_key(key: &str) -> bool {
    let first_is = |text: &str, digit: bool| match text.as_bytes().first() {
        Some(b'a'..=b'z') => true,
        Some(b'0'..=b'9') => digit,
        Some(_) | None => false,
    };
    let rest = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/');
    let sound = |text: &str, len_max: usize| text.len() <= len_max && text.bytes().all(rest);
    match key.split_once('@') {
        None => first_is(key, false) && sound(key, 256),
        Some((tenant, system)) => {
            first_is(tenant, true) && sound(tenant, 241) && first_is(system, false) && sound(system, 14)
        }
    }
}

/// Up to 256 printable characters without `,` and `=`, not ending in a space (§3.3.1.3.2).
fn is_value(value: &str) -> bool {
    let allowed = |b: u8| matches!(b, 0x20..=0x2b | 0x2d..=0x3c | 0x3e..=0x7e);
    !value.is_empty() && value.len() <= 256 && value.bytes().all(allowed) && !value.ends_with(' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(fields: &[&str]) -> Option<String> {
        let values: Vec<HeaderValue> = fields.iter().map(|field| HeaderValue::from_str(field).unwrap()).collect();
        parse(values.iter()).map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn sound_states_are_passed_along_and_others_are_not() {
        let many = |count: usize| (0..count).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
        let thirty_two = many(32);
        for (name, fields, expected) in [
            ("one", vec!["congo=t61rcWkgMzE"], Some("congo=t61rcWkgMzE")),
            ("order is kept over fields", vec!["b=2, a=1", "c=3"], Some("b=2,a=1,c=3")),
            ("empty members", vec!["a=1,,\t, b=2"], Some("a=1,b=2")),
            ("tenants", vec!["1tenant@sys=x"], Some("1tenant@sys=x")),
            ("inner spaces", vec!["a=x y"], Some("a=x y")),
            ("as many as allowed", vec![&thirty_two], Some(&thirty_two)),
            ("none", vec![], None),
            ("nothing", vec![" , "], None),
            ("one too many", vec![&many(33)], None),
            ("twice the same", vec!["a=1,b=2", "a=3"], None),
            ("upper case", vec!["A=1"], None),
            ("begins with a digit", vec!["1a=1"], None),
            ("system begins with a digit", vec!["t@1=1"], None),
            ("two at-signs", vec!["a@b@c=1"], None),
            ("no value", vec!["a="], None),
            ("no equals sign", vec!["a"], None),
            ("equals sign in the value", vec!["a=b=c"], None),
            ("key too long", vec![&format!("{}=1", "k".repeat(257))], None),
            ("value too long", vec![&format!("k={}", "v".repeat(257))], None),
        ] {
            assert_eq!(parsed(&fields).as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn too_long_a_state_loses_its_long_members_first_and_then_its_last() {
        let long = format!("long={}", "x".repeat(200));
        let short: Vec<String> = (0..8).map(|n| format!("s{n}={}", "y".repeat(57))).collect();
        let state = format!("{},{long},{}", short[..2].join(","), short[2..].join(","));
        assert_eq!(parsed(&[&state]).unwrap(), short.join(","), "the long one goes");
        let eleven: Vec<String> = (0..11).map(|n| format!("s{n:02}={}", "y".repeat(56))).collect();
        let kept = parsed(&[&eleven.join(",")]).unwrap();
        assert!(kept.len() <= LEN_MAX && eleven.join(",").starts_with(&kept), "the last ones go");
    }
}
