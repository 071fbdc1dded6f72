//! Texts of the formats that documents name, and texts that suit a property's name.

use std::time::Duration;

use crate::domain::Timestamp;
use crate::sandbox::dice::Dice;
use crate::sandbox::text;

/// Texts of a format, the most likely first. Empty for a format that says nothing about the text.
/// `variant` asks for other texts, where there are many.
pub(super) fn texts(format: &str, now: Timestamp, variant: u64, dice: &mut Dice) -> Vec<String> {
    let one = |text: &str| vec![text.to_owned()];
    let now = now.plus(Duration::from_secs(variant.saturating_mul(86_400)));
    let mark = if variant == 0 { String::new() } else { variant.to_string() };
    match format {
        "date" => vec![text::date(now)],
        "date-time" | "datetime" => {
            vec![utc(now), text::date_time(now), format!("{}.000Z", utc(now).trim_end_matches('Z'))]
        }
        "time" => vec!["09:30:00Z".into(), "09:30:00+00:00".into(), "09:30:00".into()],
        "duration" => vec!["P1D".into(), "PT1H".into(), "P30D".into()],
        "uuid" | "guid" => vec![uuid(dice)],
        "email" | "idn-email" => vec![format!("amara.okafor{mark}@example.org"), format!("a{mark}@b.co")],
        "uri" | "url" | "iri" => {
            vec![format!("https://example.org/resource{mark}"), "https://example.org".into(), format!("urn:a:b{mark}")]
        }
        "uri-reference" | "iri-reference" => {
            vec![format!("/resource{mark}"), format!("https://example.org/resource{mark}")]
        }
        "uri-template" => one("/resource/{id}"),
        "hostname" | "idn-hostname" => vec![format!("host{mark}.example.org"), format!("a{mark}.org")],
        "ipv4" | "ip" => one("203.0.113.24"),
        "ipv6" => one("2001:db8::24"),
        "byte" | "base64" | "base64url" => vec!["U2FuZGJveA==".into(), "U2FuZGJv".into(), "U2Fu".into()],
        "binary" => one("Sandbox"),
        "regex" => one("^[a-z]+$"),
        "json-pointer" => one("/a/b"),
        "relative-json-pointer" => one("0"),
        "phone" | "phone-number" => one("+441632960123"),
        "decimal" | "double" | "float" | "number" | "amount" => vec!["12.50".into(), "12.5".into(), "12".into()],
        "int32" | "int64" | "integer" => one("12"),
        "currency" => one("GBP"),
        "iban" => one("GB82WEST12345698765432"),
        _ => Vec::new(),
    }
}

fn utc(now: Timestamp) -> String {
    text::date_time(now).replace("+00:00", "Z")
}

fn uuid(dice: &mut Dice) -> String {
    let mut bytes = [0; 16];
    for half in bytes.chunks_mut(8) {
        half.copy_from_slice(&dice.draw().to_be_bytes());
    }
    uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
}

/// A text that a reader expects under this name. Only for texts without a pattern or format; its length is for the caller
/// to judge.
pub(super) fn by_name(name: &str) -> Option<&'static str> {
    const KNOWN: [(&str, &str); 24] = [
        ("currency", "GBP"),
        ("email", "amara.okafor@example.org"),
        ("phone", "+441632960123"),
        ("mobile", "+441632960123"),
        ("iban", "GB82WEST12345698765432"),
        ("bic", "SNDBGB2LXXX"),
        ("country", "GB"),
        ("postcode", "SN6 8TY"),
        ("postalcode", "SN6 8TY"),
        ("zip", "SN6 8TY"),
        ("city", "Fernhill"),
        ("town", "Fernhill"),
        ("street", "Acacia Avenue"),
        ("firstname", "Amara"),
        ("givenname", "Amara"),
        ("lastname", "Okafor"),
        ("familyname", "Okafor"),
        ("name", "Amara Okafor"),
        ("amount", "12.50"),
        ("balance", "1250.00"),
        ("language", "en"),
        ("timezone", "Europe/London"),
        ("description", "Made up for the sandbox"),
        ("url", "https://example.org/resource"),
    ];
    let folded: String = name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    KNOWN.iter().find(|(known, _)| folded.ends_with(known)).map(|(_, text)| *text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::testing::NOW;
    use serde_json::json;

    #[test]
    fn texts_are_of_their_format() {
        let mut dice = Dice::new(5);
        for format in [
            "date",
            "date-time",
            "duration",
            "uuid",
            "email",
            "idn-email",
            "uri",
            "iri",
            "uri-reference",
            "uri-template",
            "hostname",
            "ipv4",
            "ipv6",
            "regex",
            "json-pointer",
            "relative-json-pointer",
        ] {
            let schema =
                jsonschema::options().should_validate_formats(true).build(&json!({ "format": format })).unwrap();
            let texts = [texts(format, NOW, 0, &mut dice), texts(format, NOW, 3, &mut dice)].concat();
            assert!(!texts.is_empty(), "{format}");
            for text in texts {
                assert!(schema.is_valid(&text.as_str().into()), "{format}: {text}");
            }
        }
        assert!(texts("made-up", NOW, 0, &mut dice).is_empty());
    }

    #[test]
    fn names_suggest_texts() {
        for (name, expected) in [
            ("Currency", Some("GBP")),
            ("creditor_name", Some("Amara Okafor")),
            ("postCode", Some("SN6 8TY")),
            ("frobnication", None),
        ] {
            assert_eq!(by_name(name), expected, "{name}");
        }
    }
}
