//! Numbers as they are written. A float holds some 15 digits; an amount may have more, and is judged by all of them.
//!
//! The tree of a message keeps floats; beside it, for the few numbers that a float would round, stands what was written.

use std::cmp::Ordering;
use std::collections::HashMap;

use serde_json::{Number, Value};

/// Longest number that is written out without an exponent.
const PLAIN_DIGITS_MAX: i64 = 64;
/// Largest divisor, in digits, so that ten times a remainder still fits.
const DIVISOR_DIGITS_MAX: i64 = 36;

/// A decimal number of any length: its digits, times ten to the exponent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Numeral {
    negative: bool,
    digits: Box<str>, // Invariant: no zero at either end, so that equal numbers are equal here; empty is zero.
    exponent: i64,
}

impl Numeral {
    /// Reads a number of JSON's grammar (RFC 8259 §6), which has been checked before.
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = format!("{whole}{fraction}");
        if all.is_empty() || !all.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let digits = all.trim_end_matches('0');
        let dropped = i64::try_from(all.len() - digits.len()).ok()?;
        let exponent = exponent.checked_sub(i64::try_from(fraction.len()).ok()?)?.checked_add(dropped)?;
        match digits.trim_start_matches('0') {
            "" => Some(Self { negative: false, digits: "".into(), exponent: 0 }),
            digits => Some(Self { negative, digits: digits.into(), exponent }),
        }
    }

    /// The shortest decimal that a number of the tree stands for.
    pub fn of(number: &Number) -> Option<Self> {
        Self::parse(&number.to_string())
    }

    pub const fn is_integer(&self) -> bool {
        self.exponent >= 0
    }

    /// The integer, if it is one and not larger than any format needs.
    pub fn as_integer(&self) -> Option<i128> {
        if self.is_integer() { self.plain()?.parse().ok() } else { None }
    }

    /// Written out without an exponent, if it is not too long for that.
    pub fn plain(&self) -> Option<String> {
        let length = i64::try_from(self.digits.len()).ok()?;
        if self.exponent.checked_abs()? > PLAIN_DIGITS_MAX || length > PLAIN_DIGITS_MAX {
            return None;
        }
        let sign = if self.negative { "-" } else { "" };
        if self.digits.is_empty() {
            return Some("0".to_owned());
        }
        if self.exponent >= 0 {
            return Some(format!("{sign}{}{}", self.digits, "0".repeat(usize::try_from(self.exponent).ok()?)));
        }
        let decimals = usize::try_from(-self.exponent).ok()?;
        let padded = format!("{:0>width$}", &*self.digits, width = decimals + 1);
        let (whole, fraction) = padded.split_at_checked(padded.len() - decimals)?;
        Some(format!("{sign}{whole}.{fraction}"))
    }

    /// The power of ten above the first digit.
    fn magnitude(&self) -> i64 {
        self.exponent.saturating_add(i64::try_from(self.digits.len()).unwrap_or(i64::MAX))
    }

    fn sign(&self) -> i8 {
        match (self.digits.is_empty(), self.negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        }
    }

    pub fn compare(&self, other: &Self) -> Ordering {
        self.sign().cmp(&other.sign()).then_with(|| {
            // Without zeros at the ends, digits of one magnitude are ordered as texts are.
            let absolute = self.magnitude().cmp(&other.magnitude()).then_with(|| self.digits.cmp(&other.digits));
            if self.negative { absolute.reverse() } else { absolute }
        })
    }

    /// Whether it is an integral multiple of `divisor`. What would need a divisor of more than 36 digits is not.
    pub fn is_multiple(&self, divisor: &Self) -> bool {
        if self.digits.is_empty() {
            return !divisor.digits.is_empty();
        }
        // Both as integers of the finer unit.
        let unit = self.exponent.min(divisor.exponent);
        let zeros = |number: &Self| number.exponent.saturating_sub(unit);
        let length = i64::try_from(divisor.digits.len()).unwrap_or(i64::MAX);
        if length.saturating_add(zeros(divisor)) > DIVISOR_DIGITS_MAX {
            return false;
        }
        let Some(divisor) = widened(&divisor.digits, zeros(divisor)).filter(|divisor| *divisor > 0) else {
            return false;
        };
        let step = |rest: u128, digit: u8| (rest * 10 + u128::from(digit - b'0')) % divisor;
        let mut rest = self.digits.bytes().fold(0, step);
        // A remainder of zero stays zero, and a float's exponent is below 400.
        for _ in 0..zeros(self).min(1000) {
            rest = step(rest, b'0');
        }
        rest == 0
    }
}

fn widened(digits: &str, zeros: i64) -> Option<u128> {
    digits.parse::<u128>().ok()?.checked_mul(10_u128.checked_pow(u32::try_from(zeros).ok()?)?)
}

/// What was written of the numbers in a value that their floats do not hold. There is an entry only on the way to one.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Exacts {
    own: Option<Numeral>,
    below: HashMap<String, Self>,
}

impl Exacts {
    pub fn number(numeral: Numeral) -> Self {
        Self { own: Some(numeral), below: HashMap::new() }
    }

    /// Those of a list or an object whose parts have these, if any has.
    pub fn container(below: HashMap<String, Self>) -> Option<Box<Self>> {
        if below.is_empty() { None } else { Some(Box::new(Self { own: None, below })) }
    }
}

/// A JSON text: its tree, and what was written where the tree is not exact.
#[derive(Debug, Clone, PartialEq)]
pub struct Json {
    pub(super) value: Value,
    pub(super) exact: Option<Box<Exacts>>,
}

/// A tree that was made, not read, is all there is.
impl From<Value> for Json {
    fn from(value: Value) -> Self {
        Self { value, exact: None }
    }
}

impl Json {
    pub const fn value(&self) -> &Value {
        &self.value
    }

    pub(super) fn instance(&self) -> Instance<'_> {
        Instance { value: &self.value, exact: self.exact.as_deref() }
    }

    /// The number at a JSON Pointer (RFC 6901), with every digit that was written, without an exponent.
    pub fn number(&self, pointer: &str) -> Option<String> {
        let mut at = self.instance();
        for step in pointer.strip_prefix('/')?.split('/') {
            let step = step.replace("~1", "/").replace("~0", "~");
            at = match at.value {
                Value::Object(members) => at.member(&step, members.get(&step)?),
                Value::Array(items) => at.item(step.parse().ok()?, items.get(step.parse::<usize>().ok()?)?),
                _ => return None,
            };
        }
        at.numeral()?.plain()
    }
}

/// A value under check, with what was written of its numbers.
#[derive(Clone, Copy)]
pub(super) struct Instance<'v> {
    pub value: &'v Value,
    exact: Option<&'v Exacts>,
}

impl<'v> Instance<'v> {
    /// A value whose numbers are what its tree says.
    pub const fn of(value: &'v Value) -> Self {
        Self { value, exact: None }
    }

    pub fn item(self, position: usize, value: &'v Value) -> Self {
        Self { value, exact: self.exact.and_then(|exact| exact.below.get(&position.to_string())) }
    }

    pub fn member(self, name: &str, value: &'v Value) -> Self {
        Self { value, exact: self.exact.and_then(|exact| exact.below.get(name)) }
    }

    /// What was written, if the tree does not hold it.
    pub fn written(self) -> Option<&'v Numeral> {
        self.exact?.own.as_ref()
    }

    /// Whether the tree holds it all.
    pub const fn is_plain(self) -> bool {
        self.exact.is_none()
    }

    /// The number, exactly.
    pub fn numeral(self) -> Option<Numeral> {
        match self.value {
            Value::Number(number) => self.written().cloned().or_else(|| Numeral::of(number)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numeral(text: &str) -> Numeral {
        Numeral::parse(text).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn a_number_has_one_form() {
        for (text, plain) in [
            ("0", Some("0")),
            ("-0.0e7", Some("0")),
            ("10.50", Some("10.5")),
            ("1e3", Some("1000")),
            ("-12.5E-1", Some("-1.25")),
            ("0.001", Some("0.001")),
            ("12345678901234567.89", Some("12345678901234567.89")),
            ("1e+2", Some("100")),
            ("1e65", None),
        ] {
            assert_eq!(numeral(text).plain().as_deref(), plain, "{text}");
        }
        assert_eq!(numeral("100e-2"), numeral("1.0"));
        assert_eq!(
            (numeral("9007199254740993.0").as_integer(), numeral("1.5").as_integer()),
            (Some(9007199254740993), None)
        );
        for text in ["", "-", ".", "1e", "e1", "1e99999999999999999999", "0x1", "1_0"] {
            assert_eq!(Numeral::parse(text), None, "{text}");
        }
    }

    #[test]
    fn order_and_multiples_have_no_last_digit() {
        for (left, right, expected) in [
            ("12345678901234567.89", "12345678901234567.88", Ordering::Greater),
            ("12345678901234567.89", "12345678901234567.9", Ordering::Less),
            ("-12345678901234567.89", "-12345678901234567.88", Ordering::Less),
            ("10000.0000000000000000000000000000000000000001", "10000", Ordering::Greater),
            ("9007199254740993", "9007199254740992.99999999999999999999", Ordering::Greater),
            ("-1", "0", Ordering::Less),
            ("0.1", "0", Ordering::Greater),
            ("1e300", "2", Ordering::Greater),
        ] {
            assert_eq!(numeral(left).compare(&numeral(right)), expected, "{left} {right}");
            assert_eq!(numeral(right).compare(&numeral(left)), expected.reverse(), "{right} {left}");
        }
        for (number, divisor, expected) in [
            ("12345678901234567.89", "0.01", true),
            ("12345678901234567.891", "0.01", false),
            ("123456789012345678901234567890123456789012345.5", "0.5", true),
            ("1e300", "3", false),
            ("9e300", "3", true),
            ("0", "7", true),
            ("5", "1e-30", true),
            ("5", "1e-40", true),
            ("1e-40", "5", false),
        ] {
            assert_eq!(numeral(number).is_multiple(&numeral(divisor)), expected, "{number} {divisor}");
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn integers_are_ordered_and_divided_as_integers_are(a in -1_000_000_i64..1_000_000, b in -1_000_000_i64..1_000_000, d in 1_i64..1000) {
            let (x, y) = (numeral(&a.to_string()), numeral(&format!("{b}.0")));
            proptest::prop_assert_eq!(x.compare(&y), a.cmp(&b));
            proptest::prop_assert_eq!(x.is_multiple(&numeral(&d.to_string())), a % d == 0);
            proptest::prop_assert_eq!(x.plain(), Some(a.to_string()));
        }
    }
}
