//! Is this DER to the last byte? Lenient parsers stop within a structure and leave what follows unread.

/// Deepest nesting: a certificate needs about ten levels.
const DEPTH_MAX: usize = 32;

/// Whether the bytes are exactly one value, whose lengths are definite and as short as can be (X.690 §10.1), and whose
/// constructed values are filled by theirs.
pub(super) fn is_whole(bytes: &[u8]) -> bool {
    value(bytes, DEPTH_MAX).is_some_and(<[u8]>::is_empty)
}

/// What follows the first value.
fn value(bytes: &[u8], depth: usize) -> Option<&[u8]> {
    let [tag, rest @ ..] = bytes else { return None };
    // No tag of a certificate needs the long form.
    if tag & 0x1f == 0x1f || depth == 0 {
        return None;
    }
    let (length, rest) = length(rest)?;
    let (mut content, rest) = rest.split_at_checked(length)?;
    while tag & 0x20 != 0 && !content.is_empty() {
        content = value(content, depth - 1)?;
    }
    Some(rest)
}

fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    match bytes {
        [short @ 0..=0x7f, rest @ ..] => Some((usize::from(*short), rest)),
        [0x81, length @ 0x80..=0xff, rest @ ..] => Some((usize::from(*length), rest)),
        [0x82, high @ 1..=0xff, low, rest @ ..] => Some((usize::from(*high) << 8 | usize::from(*low), rest)),
        // A chain has at most 64 KiB.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::is_whole;

    #[test]
    fn only_what_is_filled_exactly_is_whole() {
        let deep = (0..40).fold(vec![5, 0], |inner: Vec<u8>, _| [vec![0x30, inner.len() as u8], inner].concat());
        for (name, bytes, whole) in [
            ("null", &[5, 0][..], true),
            ("sequence of two", &[0x30, 4, 5, 0, 5, 0], true),
            ("empty sequence", &[0x30, 0], true),
            ("nothing", &[], false),
            ("a byte behind it", &[5, 0, 0], false),
            ("cut", &[4, 2, 0], false),
            ("a child beyond its parent", &[0x30, 2, 4, 9], false),
            ("a byte left in its parent", &[0x30, 3, 5, 0, 5], false),
            ("an indefinite length", &[0x30, 0x80, 5, 0, 0, 0], false),
            ("a length longer than needed", &[0x04, 0x81, 1, 0], false),
            ("a tag in the long form", &[0x1f, 1, 0], false),
            ("nested too deeply", &deep, false),
        ] {
            assert_eq!(is_whole(bytes), whole, "{name}");
        }
        let long = [vec![4, 0x82, 1, 0], vec![0; 256]].concat();
        assert!(is_whole(&long) && !is_whole(&[vec![4, 0x82, 0, 255], vec![0; 255]].concat()));
    }
}
