//! Compact JWS whose signer is somebody else, or whose bytes changed on the way.

/// Header and payload as the sender likes (a zero byte stands between them), under the signature of `genuine`. Also
/// both parts as they were before.
pub fn under_the_signature_of<'i>(genuine: &str, input: &'i [u8]) -> (String, &'i [u8], &'i [u8]) {
    let mut parts = input.splitn(2, |b| *b == 0);
    let (header, payload) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let signature = genuine.rsplit_once('.').map_or("", |(_, signature)| signature);
    (format!("{}.{}.{signature}", base64url(header), base64url(payload)), header, payload)
}

/// `genuine` with some bytes changed: three bytes of input for each. Nothing, if what comes of it is no text.
pub fn spoilt(genuine: &str, changes: &[u8]) -> Option<String> {
    let mut bytes = genuine.as_bytes().to_vec();
    for change in changes.chunks_exact(3) {
        let at = usize::from(u16::from_be_bytes([change[0], change[1]])) % bytes.len();
        bytes[at] = change[2];
    }
    String::from_utf8(bytes).ok()
}

pub fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::new();
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for digit in 0..=group.len() {
            out.push(char::from(DIGITS[(bits >> (18 - 6 * digit)) as usize & 63]));
        }
    }
    out
}
