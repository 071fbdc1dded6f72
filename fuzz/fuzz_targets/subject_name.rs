//! Distinguished names, as text and as DER.
#![no_main]

use clearway::oauth::DistinguishedName;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((mode, rest)) = input.split_first() else { return };
    if mode % 2 == 0 {
        let _ = DistinguishedName::from_der(rest);
        return;
    }
    let Ok(text) = std::str::from_utf8(rest) else { return };
    if text.len() > 2_000 {
        return; // Spaces more would make it too long.
    }
    let Ok(name) = DistinguishedName::parse(text) else { return };
    assert_eq!(text.parse(), Ok(name.clone()));
    // RFC 8705 §2.1.2: neither case nor spaces around separators tell names apart.
    assert_eq!(DistinguishedName::parse(&format!("  {text}  ")), Ok(name.clone()), "{text:?} with spaces");
    if text.is_ascii() && !text.contains(['#', '\\']) {
        assert_eq!(DistinguishedName::parse(&text.to_ascii_uppercase()), Ok(name), "{text:?} in capitals");
    }
});
