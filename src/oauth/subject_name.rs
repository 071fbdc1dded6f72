//! Distinguished names, compared as names (RFC 8705 §2.1.2): never as text, where order, spaces, case, escapes and the
//! spelling of attribute types differ from tool to tool.
//!
//! Divergence: values are compared without the Unicode compatibility mapping of RFC 4518 §2.3. The comparison can then
//! only refuse a name that the RFC would accept.

use x509_parser::prelude::{FromDer, X509Name};
use x509_parser::x509::AttributeTypeAndValue;

/// Longest RFC 4514 text, in bytes, and most attributes of one name.
const TEXT_BYTES_MAX: usize = 2048;
const ATTRIBUTES_MAX: usize = 32;

/// Why a text is not a distinguished name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("a distinguished name is not empty and has at most {TEXT_BYTES_MAX} bytes and {ATTRIBUTES_MAX} attributes")]
    Length,
    #[error("{0:?} is not `type=value` (RFC 4514 §3)")]
    Attribute(String),
    #[error("the attribute type {0:?} is unknown here; write it as an object identifier, for instance 2.5.4.97")]
    Type(String),
    #[error("the value of {0:?} has a wrong escape or an unescaped special character")]
    Value(String),
    #[error("the certificate's subject is not a well-formed name")]
    Der,
}

/// A sequence of relative distinguished names, in the order of the certificate: the most significant first. It is only
/// ever compared, so it is held as one text of bytes: a hundred thousand clients have one each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DistinguishedName(Box<[u8]>); // Invariant: made by `pack`, so equal names are equal bytes and no others are.

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Attribute {
    /// Dotted object identifier.
    oid: String,
    value: AttributeValue,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum AttributeValue {
    /// Prepared for caseIgnoreMatch (RFC 4518 §2): folded, spaces collapsed.
    Text(String),
    /// Not a character string: compared byte by byte.
    Der(Vec<u8>),
}

/// Keywords of RFC 4514 §3, RFC 4519, and those of certificates under PSD2 and EV rules.
const TYPES: [(&str, &str); 38] = [
    ("CN", "2.5.4.3"),
    ("commonName", "2.5.4.3"),
    ("SN", "2.5.4.4"),
    ("surname", "2.5.4.4"),
    ("serialNumber", "2.5.4.5"),
    ("C", "2.5.4.6"),
    ("countryName", "2.5.4.6"),
    ("L", "2.5.4.7"),
    ("localityName", "2.5.4.7"),
    ("ST", "2.5.4.8"),
    ("S", "2.5.4.8"),
    ("stateOrProvinceName", "2.5.4.8"),
    ("STREET", "2.5.4.9"),
    ("streetAddress", "2.5.4.9"),
    ("O", "2.5.4.10"),
    ("organizationName", "2.5.4.10"),
    ("OU", "2.5.4.11"),
    ("organizationalUnitName", "2.5.4.11"),
    ("title", "2.5.4.12"),
    ("description", "2.5.4.13"),
    ("businessCategory", "2.5.4.15"),
    ("postalCode", "2.5.4.17"),
    ("name", "2.5.4.41"),
    ("GN", "2.5.4.42"),
    ("givenName", "2.5.4.42"),
    ("initials", "2.5.4.43"),
    ("dnQualifier", "2.5.4.46"),
    ("pseudonym", "2.5.4.65"),
    ("organizationIdentifier", "2.5.4.97"), // ETSI TS 119 495 §5.1
    ("UID", "0.9.2342.19200300.100.1.1"),
    ("userId", "0.9.2342.19200300.100.1.1"),
    ("DC", "0.9.2342.19200300.100.1.25"),
    ("domainComponent", "0.9.2342.19200300.100.1.25"),
    ("emailAddress", "1.2.840.113549.1.9.1"),
    ("E", "1.2.840.113549.1.9.1"),
    ("jurisdictionLocalityName", "1.3.6.1.4.1.311.60.2.1.1"),
    ("jurisdictionStateOrProvinceName", "1.3.6.1.4.1.311.60.2.1.2"),
    ("jurisdictionCountryName", "1.3.6.1.4.1.311.60.2.1.3"),
];

impl DistinguishedName {
    /// Reads RFC 4514 text, in which the most significant name comes last. Spaces around separators, which older
    /// tools write, are not significant.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.trim().is_empty() || text.len() > TEXT_BYTES_MAX {
            return Err(NameError::Length);
        }
        let mut names = Vec::new();
        for rdn in split(text, ',') {
            let mut attributes = split(rdn, '+').into_iter().map(parse_attribute).collect::<Result<Vec<_>, _>>()?;
            attributes.sort();
            names.push(attributes);
        }
        if names.iter().map(Vec::len).sum::<usize>() > ATTRIBUTES_MAX {
            return Err(NameError::Length);
        }
        names.reverse();
        Ok(Self::pack(&names))
    }

    /// Reads the DER of an X.501 `Name`.
    pub fn from_der(der: &[u8]) -> Result<Self, NameError> {
        let (rest, name) = X509Name::from_der(der).map_err(|_| NameError::Der)?;
        if !rest.is_empty() || name.iter_attributes().count() > ATTRIBUTES_MAX {
            return Err(NameError::Der);
        }
        let set = |rdn: &x509_parser::x509::RelativeDistinguishedName<'_>| {
            let mut attributes: Vec<_> = rdn.iter().map(read_attribute).collect();
            attributes.sort();
            attributes
        };
        Ok(Self::pack(&name.iter_rdn().map(set).collect::<Vec<_>>()))
    }

    /// Whether the name has one attribute of this type (a dotted object identifier), and it is `text` (caseIgnoreMatch).
    pub fn has(&self, oid: &str, text: &str) -> bool {
        let mut values = self.attributes().into_iter().filter(|(other, ..)| *other == oid.as_bytes());
        match (values.next(), values.next()) {
            (Some((_, 0, value)), None) => value == prepare(text).as_bytes(),
            (Some(_) | None, _) => false,
        }
    }

    /// Type, kind and value of each attribute: the reverse of `pack`.
    fn attributes(&self) -> Vec<(&[u8], u8, &[u8])> {
        let mut rest = &*self.0;
        let mut take = |bytes: usize| -> &[u8] {
            let (taken, left) = rest.split_at_checked(bytes).unwrap_or_default();
            rest = left;
            taken
        };
        let number = |bytes: &[u8]| bytes.iter().fold(0_usize, |number, byte| number << 8 | usize::from(*byte));
        let mut attributes = Vec::new();
        let mut left = number(take(4));
        while left > 0 {
            let bytes = number(take(4));
            let oid = take(bytes);
            let kind = number(take(1)) as u8;
            let bytes = number(take(4));
            attributes.push((oid, kind, take(bytes)));
            left -= 1;
            if left == 0 {
                left = number(take(4)); // Of the next set; none follows the last.
            }
        }
        attributes
    }

    /// Every part with its length or number in front, so that no two names have the same bytes. The attributes within
    /// one set are sorted.
    fn pack(names: &[Vec<Attribute>]) -> Self {
        let mut bytes = Vec::new();
        for set in names {
            bytes.extend((set.len() as u32).to_be_bytes());
            for Attribute { oid, value } in set {
                let (kind, value) = match value {
                    AttributeValue::Text(text) => (0, text.as_bytes()),
                    AttributeValue::Der(der) => (1, der.as_slice()),
                };
                bytes.extend((oid.len() as u32).to_be_bytes());
                bytes.extend(oid.as_bytes());
                bytes.push(kind);
                bytes.extend((value.len() as u32).to_be_bytes());
                bytes.extend(value);
            }
        }
        Self(bytes.into())
    }
}

impl std::str::FromStr for DistinguishedName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse(text)
    }
}

/// Splits at separators that are not escaped.
fn split(text: &str, separator: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut start = 0;
    let mut escaped = false;
    for (position, c) in text.char_indices() {
        if c == separator && !escaped {
            parts.push(text.get(start..position).unwrap_or_default());
            start = position + separator.len_utf8();
        }
        escaped = c == '\\' && !escaped;
    }
    parts.push(text.get(start..).unwrap_or_default());
    parts
}

fn parse_attribute(text: &str) -> Result<Attribute, NameError> {
    let (name, value) = text.split_once('=').ok_or_else(|| NameError::Attribute(text.trim().to_owned()))?;
    let name = name.trim();
    let oid = oid(name).ok_or_else(|| NameError::Type(name.to_owned()))?;
    let value = parse_value(value).ok_or_else(|| NameError::Value(name.to_owned()))?;
    Ok(Attribute { oid, value })
}

fn oid(name: &str) -> Option<String> {
    if let Some((_, oid)) = TYPES.iter().find(|(keyword, _)| keyword.eq_ignore_ascii_case(name)) {
        return Some((*oid).to_owned());
    }
    // RFC 4514 §3: numericoid. The prefix is RFC 1779's; national specifications still write it.
    let dotted = match name.split_at_checked(4) {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case("OID.") => rest,
        Some(_) | None => name,
    };
    let arc = |part: &str| {
        let canonical = part == "0" || !part.starts_with('0');
        !part.is_empty() && canonical && part.bytes().all(|b| b.is_ascii_digit())
    };
    (dotted.contains('.') && dotted.split('.').all(arc)).then(|| dotted.to_owned())
}

fn parse_value(text: &str) -> Option<AttributeValue> {
    if let Some(hex) = text.trim().strip_prefix('#') {
        return value_from_der(&unhex(hex)?);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => bytes.extend(unescape(&mut chars)?),
            // RFC 4514 §2.4: these must be escaped. A bare semicolon separated names in RFC 1779.
            '"' | '+' | ',' | ';' | '<' | '>' | '\0' => return None,
            plain => bytes.extend(plain.encode_utf8(&mut [0; 4]).bytes()),
        }
    }
    String::from_utf8(bytes).ok().map(|text| AttributeValue::Text(prepare(&text)))
}

/// What follows a backslash: a special character, or two hex digits that make one byte of UTF-8 (RFC 4514 §3).
fn unescape(chars: &mut std::str::Chars<'_>) -> Option<Vec<u8>> {
    match chars.next()? {
        special @ (' ' | '"' | '#' | '+' | ',' | ';' | '<' | '=' | '>' | '\\') => Some(vec![special as u8]),
        high => {
            let pair = [high, chars.next()?].iter().collect::<String>();
            unhex(&pair)
        }
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if text.is_empty() || !text.len().is_multiple_of(2) || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    text.as_bytes().chunks(2).map(byte).collect()
}

/// The DER of one value, as the `#` form gives it.
fn value_from_der(der: &[u8]) -> Option<AttributeValue> {
    use x509_parser::der_parser::asn1_rs::Any;
    let (rest, any) = Any::from_der(der).ok()?;
    rest.is_empty().then(|| value_of(any.header.tag().0, any.data))
}

fn read_attribute(attribute: &AttributeTypeAndValue<'_>) -> Attribute {
    let any = attribute.attr_value();
    Attribute { oid: attribute.attr_type().to_id_string(), value: value_of(any.header.tag().0, any.data) }
}

/// Reads the character string types of X.520 `DirectoryString`, NumericString and IA5String.
fn value_of(tag: u32, content: &[u8]) -> AttributeValue {
    let text = match tag {
        // UTF8String, NumericString, PrintableString, IA5String
        12 | 18 | 19 | 22 => String::from_utf8(content.to_vec()).ok(),
        // TeletexString: read as Latin-1, as everybody does.
        20 => Some(content.iter().map(|byte| char::from(*byte)).collect()),
        // UniversalString
        28 => wide(content, 4),
        // BMPString
        30 => wide(content, 2),
        _ => None,
    };
    match text {
        Some(text) => AttributeValue::Text(prepare(&text)),
        None => AttributeValue::Der([&tag.to_be_bytes(), content].concat()),
    }
}

fn wide(content: &[u8], width: usize) -> Option<String> {
    if !content.len().is_multiple_of(width) {
        return None;
    }
    let scalar = |unit: &[u8]| char::from_u32(unit.iter().fold(0, |sum, byte| (sum << 8) | u32::from(*byte)));
    content.chunks(width).map(scalar).collect()
}

/// RFC 4518 §2.2, §2.6.1: case folded, spaces at the ends dropped, inner runs made one.
fn prepare(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_attribute_counts_if_it_stands_once() {
        const UID: &str = "0.9.2342.19200300.100.1.1";
        for (name, text, oid, value, expected) in [
            ("as written", "CN=a,UID=App-1,C=BR", UID, "App-1", true),
            ("in any case", "CN=a,UID=App-1,C=BR", UID, "aPP-1", true),
            ("beside another in one set", "UID=app-1+CN=a,C=BR", UID, "app-1", true),
            ("the last", "C=BR,O=o,UID=app-1", UID, "app-1", true),
            ("the only one", "UID=app-1", UID, "app-1", true),
            ("twice", "UID=app-1,UID=app-2", UID, "app-1", false),
            ("another", "CN=a,UID=app-2", UID, "app-1", false),
            ("a longer one", "UID=app-11", UID, "app-1", false),
            ("under another type", "CN=app-1", UID, "app-1", false),
            ("none", "CN=a", UID, "", false),
            ("no text", "UID=#0203010203", UID, "", false),
            ("a longer type", "0.9.2342.19200300.100.1.11=app-1", UID, "app-1", false),
        ] {
            assert_eq!(DistinguishedName::parse(text).unwrap().has(oid, value), expected, "{name}");
        }
    }

    use super::*;
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DistinguishedName as Dn, DnType, DnValue, KeyPair};
    use x509_parser::prelude::X509Certificate;

    /// The subject of a real certificate, made by another library.
    fn subject(attributes: Vec<(DnType, DnValue)>) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = Dn::new();
        for (kind, value) in attributes {
            params.distinguished_name.push(kind, value);
        }
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let (_, parsed) = X509Certificate::from_der(certificate.der()).unwrap();
        parsed.subject().as_raw().to_vec()
    }

    fn utf8(text: &str) -> DnValue {
        DnValue::Utf8String(text.into())
    }

    fn acme() -> Vec<u8> {
        subject(vec![
            (DnType::CountryName, DnValue::PrintableString("GB".try_into().unwrap())),
            (DnType::OrganizationName, utf8("Acme, Ltd.")),
            (DnType::CustomDnType(vec![2, 5, 4, 97]), utf8("PSDGB-FCA-123456")),
            (DnType::CommonName, utf8("tpp one")),
        ])
    }

    #[test]
    fn one_name_in_many_spellings_is_one_name() {
        let der = DistinguishedName::from_der(&acme()).unwrap();
        for (name, text, same) in [
            ("RFC 4514", r"CN=tpp one,organizationIdentifier=PSDGB-FCA-123456,O=Acme\, Ltd.,C=GB", true),
            ("spaces after commas", r"CN=tpp one, organizationIdentifier=PSDGB-FCA-123456, O=Acme\, Ltd., C=GB", true),
            ("another case", r"cn=TPP One,ORGANIZATIONIDENTIFIER=psdgb-fca-123456,o=ACME\, LTD.,c=gb", true),
            ("numeric types", r"2.5.4.3=tpp one,2.5.4.97=PSDGB-FCA-123456,2.5.4.10=Acme\, Ltd.,2.5.4.6=GB", true),
            ("old prefix", r"CN=tpp one,OID.2.5.4.97=PSDGB-FCA-123456,O=Acme\, Ltd.,C=GB", true),
            ("hex escapes", r"CN=tpp\20one,2.5.4.97=PSDGB-FCA-123456,O=Acme\2C Ltd.,C=GB", true),
            ("DER in hex", r"CN=#0c0774707020 6f6e65".replace(' ', "").as_str(), false),
            (
                "DER in hex, whole name",
                r"CN=#0c07747070206f6e65,2.5.4.97=PSDGB-FCA-123456,O=Acme\, Ltd.,C=#13024742",
                true,
            ),
            ("inner spaces", r"CN=tpp    one,2.5.4.97=PSDGB-FCA-123456,O=Acme\, Ltd.,C=GB", true),
            ("the other order", r"C=GB,O=Acme\, Ltd.,organizationIdentifier=PSDGB-FCA-123456,CN=tpp one", false),
            ("a name missing", r"CN=tpp one,O=Acme\, Ltd.,C=GB", false),
            ("a name more", r"CN=tpp one,OU=x,2.5.4.97=PSDGB-FCA-123456,O=Acme\, Ltd.,C=GB", false),
            ("another value", r"CN=tpp two,2.5.4.97=PSDGB-FCA-123456,O=Acme\, Ltd.,C=GB", false),
            ("another type", r"OU=tpp one,2.5.4.97=PSDGB-FCA-123456,O=Acme\, Ltd.,C=GB", false),
            ("joined instead of listed", r"CN=tpp one+2.5.4.97=PSDGB-FCA-123456,O=Acme\, Ltd.,C=GB", false),
            ("spaces removed", r"CN=tppone,2.5.4.97=PSDGB-FCA-123456,O=Acme\, Ltd.,C=GB", false),
        ] {
            assert_eq!(DistinguishedName::parse(text).unwrap() == der, same, "{name}");
        }
    }

    #[test]
    fn one_value_in_many_string_types_is_one_value() {
        let expected = DistinguishedName::parse("CN=Zürich").unwrap();
        for (name, der) in [
            ("UTF8String", subject(vec![(DnType::CommonName, utf8("zürich"))])),
            ("BMPString", subject(vec![(DnType::CommonName, DnValue::BmpString("Zürich".try_into().unwrap()))])),
            (
                "UniversalString",
                subject(vec![(DnType::CommonName, DnValue::UniversalString("ZÜRICH".try_into().unwrap()))]),
            ),
        ] {
            assert_eq!(DistinguishedName::from_der(&der), Ok(expected.clone()), "{name}");
        }
        let teletex = [0x30, 0x11, 0x31, 0x0f, 0x30, 0x0d, 6, 3, 0x55, 4, 3, 20, 6, b'z', 0xfc, b'r', b'i', b'c', b'h'];
        assert_eq!(DistinguishedName::from_der(&teletex), Ok(expected), "TeletexString");
    }

    #[test]
    fn a_set_of_attributes_has_no_order_but_is_whole() {
        // SEQUENCE { SET { CN=a (UTF8), OU=b (UTF8) } }
        let pair = |last: u8, value: u8| [0x30, 8, 6, 3, 0x55, 4, last, 12, 1, value];
        let der = [&[0x30, 22, 0x31, 20], &pair(3, b'a')[..], &pair(11, b'b')[..]].concat();
        let name = DistinguishedName::from_der(&der).unwrap();
        for (label, text, same) in [
            ("in order", "CN=a+OU=b", true),
            ("in the other order", "OU=b+CN=a", true),
            ("with spaces", "OU=b + CN=a", true),
            ("half of it", "CN=a", false),
            ("as two names", "OU=b,CN=a", false),
        ] {
            assert_eq!(DistinguishedName::parse(text).unwrap() == name, same, "{label}");
        }
    }

    #[test]
    fn a_value_that_is_no_text_is_compared_by_its_bytes() {
        // x500UniqueIdentifier (2.5.4.45) as BIT STRING.
        let der = [0x30, 13, 0x31, 11, 0x30, 9, 6, 3, 0x55, 4, 45, 3, 2, 0, 0xaa];
        let name = DistinguishedName::from_der(&der).unwrap();
        assert_eq!(DistinguishedName::parse("2.5.4.45=#030200aa"), Ok(name.clone()));
        assert_ne!(DistinguishedName::parse("2.5.4.45=#030200ab"), Ok(name.clone()));
        assert_ne!(DistinguishedName::parse("2.5.4.45=030200aa"), Ok(name));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long = format!("CN={}", "a".repeat(2048));
        let many = vec!["CN=a"; 33].join(",");
        for (name, text) in [
            ("empty", ""),
            ("blank", "  "),
            ("no type", "acme"),
            ("an empty part", "CN=a,,C=GB"),
            ("trailing comma", "CN=a,"),
            ("unknown type", "FOO=a"),
            ("no OID", "2.5.x=a"),
            ("leading zero", "2.05.4.3=a"),
            ("a lone backslash", r"CN=a\"),
            ("an unknown escape", r"CN=a\zz"),
            ("half a hex escape", r"CN=a\4"),
            ("hex escapes that are no UTF-8", r"CN=\ff"),
            ("unescaped semicolon", "CN=a;C=GB"),
            ("unescaped quote", "CN=\"a\""),
            ("odd hex", "CN=#0c0"),
            ("hex that is no DER", "CN=#0c05aa"),
            ("hex with something after", "CN=#0c0161ff"),
            ("too long", &long),
            ("too many", &many),
        ] {
            assert!(DistinguishedName::parse(text).is_err(), "{name}");
        }
        assert_eq!(DistinguishedName::from_der(&[0x30, 0x05, 1]), Err(NameError::Der));
        let mut trailing = acme();
        trailing.push(0);
        assert_eq!(DistinguishedName::from_der(&trailing), Err(NameError::Der));
    }

    #[test]
    fn escaped_separators_belong_to_the_value() {
        let der = subject(vec![(DnType::OrganizationName, utf8(r"a+b=c;d\e")), (DnType::CommonName, utf8("#1"))]);
        let name = DistinguishedName::from_der(&der).unwrap();
        assert_eq!(DistinguishedName::parse(r"CN=\#1,O=a\+b=c\;d\\e"), Ok(name));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[CNO=,+\\\\#a-f0-9 .;\"]{0,40}") {
            let _ = DistinguishedName::parse(&text);
        }

        #[test]
        fn no_der_makes_it_panic(der in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = DistinguishedName::from_der(&der);
        }

        #[test]
        fn an_escaped_value_is_found_again(value in "[a-zA-Z0-9 ,+\"\\\\<>;=#äß]{1,20}[a-z]") {
            let escaped: String = value.chars().map(|c| {
                if c.is_ascii_alphanumeric() || !c.is_ascii() { c.to_string() } else { format!("\\{:02x}", c as u32) }
            }).collect();
            let der = subject(vec![(DnType::CommonName, utf8(&value))]);
            prop_assert_eq!(DistinguishedName::parse(&format!("CN={escaped}")), DistinguishedName::from_der(&der));
        }
    }
}
