//! As much of HTTP/1.1 as a load generator needs.

/// Where the head ends, its empty line included.
pub fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}

/// A whole response at the start of `bytes`.
pub struct Whole {
    pub status: u16,
    /// Where its body begins and where it ends.
    pub body: std::ops::Range<usize>,
}

/// The response at the start of `bytes`; `None` until all of it is there. Only `Content-Length` is understood.
pub fn response(bytes: &[u8]) -> Option<Whole> {
    let head_end = head_end(bytes)?;
    let head = bytes.get(..head_end)?;
    let status = std::str::from_utf8(head.get(9..12)?).ok()?.parse().ok()?;
    let length = content_length(head).unwrap_or(0);
    let end = head_end + length;
    (bytes.len() >= end).then_some(Whole { status, body: head_end..end })
}

fn content_length(head: &[u8]) -> Option<usize> {
    let name = b"content-length:";
    let at = head.windows(name.len()).position(|window| window.eq_ignore_ascii_case(name))?;
    let rest = head.get(at + name.len()..)?;
    let end = rest.iter().position(|byte| *byte == b'\r')?;
    std::str::from_utf8(rest.get(..end)?).ok()?.trim().parse().ok()
}
