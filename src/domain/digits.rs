//! Numbers and addresses as text. Each request writes a dozen, and the machinery of formatting costs more than the digits.

use std::io::Write;
use std::net::IpAddr;

/// Decimal digits, with zeros before them up to `width`.
pub fn push_number(to: &mut Vec<u8>, value: u64, width: usize) {
    let mut digits = [b'0'; 20];
    let (mut rest, mut used) = (value, 0);
    for digit in digits.iter_mut().rev() {
        if rest == 0 {
            break;
        }
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or_default();
        rest /= 10;
        used += 1;
    }
    let start = digits.len() - usize::max(used, width.min(digits.len()));
    to.extend_from_slice(digits.get(start..).unwrap_or_default());
}

/// Lower-case hexadecimal.
pub fn push_hex(to: &mut Vec<u8>, bytes: &[u8]) {
    let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
    for part in bytes.chunks(16) {
        let mut text = [[0; 2]; 16];
        for (pair, byte) in text.iter_mut().zip(part) {
            *pair = [digit(byte >> 4), digit(byte & 15)];
        }
        to.extend_from_slice(text.as_flattened().get(..2 * part.len()).unwrap_or_default());
    }
}

/// An address as its `Display` writes it.
pub fn push_address(to: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            let [first, rest @ ..] = address.octets();
            push_number(to, first.into(), 1);
            for octet in rest {
                to.push(b'.');
                push_number(to, octet.into(), 1);
            }
        }
        // RFC 5952 shortens the longest run of zeros; they are rarer, and the library knows how.
        IpAddr::V6(address) => {
            let _infallible = write!(to, "{address}");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_and_addresses_read_as_the_library_writes_them(value: u64, width in 0..25_usize, address: IpAddr) {
            let (mut number, mut text) = (Vec::new(), Vec::new());
            push_number(&mut number, value, width);
            let expected = format!("{value:0width$}", width = width.min(20));
            prop_assert_eq!(String::from_utf8(number).unwrap(), expected);
            push_address(&mut text, address);
            prop_assert_eq!(String::from_utf8(text).unwrap(), address.to_string());
        }
    }

    proptest! {
        #[test]
        fn bytes_are_two_digits_each(bytes: Vec<u8>) {
            let mut text = Vec::new();
            push_hex(&mut text, &bytes);
            let expected: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            prop_assert_eq!(String::from_utf8(text).unwrap(), expected);
        }
    }

    #[test]
    fn nothing_is_written_as_a_digit() {
        let mut text = Vec::new();
        push_number(&mut text, 0, 1);
        assert_eq!(text, b"0");
    }
}
