//! Names in certificates, as text for people and as addresses.

use std::fmt::Write;
use std::net::IpAddr;

use x509_parser::asn1_rs::ToDer;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// The string representation of RFC 4514: last RDN first, special characters escaped, the unknown in hexadecimal.
pub(super) fn rfc4514(name: &X509Name<'_>) -> String {
    let rdns: Vec<String> =
        name.iter_rdn().map(|rdn| rdn.iter().map(attribute).collect::<Vec<_>>().join("+")).collect();
    rdns.into_iter().rev().collect::<Vec<_>>().join(",")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let oid = attribute.attr_type().to_id_string();
    let kind = match oid.as_str() {
        "2.5.4.3" => "CN",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "STREET",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "0.9.2342.19200300.100.1.25" => "DC",
        "0.9.2342.19200300.100.1.1" => "UID",
        _ => "",
    };
    match attribute.as_str() {
        Ok(text) if !kind.is_empty() => format!("{kind}={}", escape(text)),
        Ok(text) => format!("{oid}={}", escape(text)),
        Err(_) => format!("{oid}=#{}", hex(attribute)),
    }
}

/// RFC 4514 §2.4: the DER of the value, its tag included; without it two kinds of values would read alike.
fn hex(attribute: &AttributeTypeAndValue<'_>) -> String {
    let der = attribute.attr_value().to_der_vec().unwrap_or_default();
    der.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// RFC 4514 §2.4; control characters in hexadecimal so that a name cannot break a log line.
fn escape(text: &str) -> String {
    let last = text.chars().count().saturating_sub(1);
    let mut out = String::with_capacity(text.len());
    for (position, c) in text.chars().enumerate() {
        match c {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => out.extend(['\\', c]),
            ' ' if position == 0 || position == last => out.push_str("\\ "),
            '#' if position == 0 => out.push_str("\\#"),
            c if c.is_control() => {
                for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                    let _ = write!(out, "\\{byte:02x}");
                }
            }
            c => out.push(c),
        }
    }
    out
}

/// RFC 5280 §4.2.1.6: four or sixteen bytes.
pub(super) fn ip(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes).map(IpAddr::from).or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

#[cfg(test)]
mod tests {
    use x509_parser::prelude::{FromDer, X509Name};

    use super::{escape, rfc4514};

    #[test]
    fn a_value_that_is_no_text_is_shown_with_its_tag() {
        // 2.5.4.3 as an OCTET STRING that holds the DER of a text. Found by fuzzing: it read like that text.
        let der = [0x30, 14, 0x31, 12, 0x30, 10, 6, 3, 0x55, 4, 3, 4, 3, 0x0c, 1, b'a'];
        let (_, name) = X509Name::from_der(&der).unwrap();
        assert_eq!(rfc4514(&name), "2.5.4.3=#04030c0161");
    }

    #[test]
    fn special_characters_are_escaped() {
        for (text, escaped) in [
            ("plain", "plain"),
            (" a b ", "\\ a b\\ "),
            ("#1 #2", "\\#1 #2"),
            ("a,b+c", "a\\,b\\+c"),
            ("line\nbreak", "line\\0abreak"),
        ] {
            assert_eq!(escape(text), escaped);
        }
    }
}
