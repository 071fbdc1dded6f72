//! Exact amounts. There is no floating point here and no `Add`: a sum can fail, and `checked_add` says how.

use std::cmp::Ordering;
use std::fmt;

use rust_decimal::Decimal;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    #[error("{0:?} is not a currency of ISO 4217")]
    Currency(String),
    #[error("{0:?} is not a decimal amount")]
    Amount(String),
    #[error("the amount has more decimals than {0} knows")]
    Precision(Currency),
    #[error("the amount is out of range")]
    Range,
    #[error("{0} and {1} cannot be compared")]
    Mismatch(Currency, Currency),
}

/// A currency of ISO 4217.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Currency(iso_currency::Currency);

impl Currency {
    /// Reads the three upper-case letters.
    pub fn parse(code: &str) -> Result<Self, MoneyError> {
        iso_currency::Currency::from_code(code).map(Self).ok_or_else(|| MoneyError::Currency(code.to_owned()))
    }

    pub fn code(self) -> &'static str {
        self.0.code()
    }

    /// Number of decimals of the minor unit; zero where the standard names none.
    fn exponent(self) -> u32 {
        u32::from(self.0.exponent().unwrap_or(0))
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// An exact amount: 1050 minor units of GBP is £10.50.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Money {
    minor_units: i64,
    currency: Currency,
}

impl Money {
    pub const fn new(minor_units: i64, currency: Currency) -> Self {
        Self { minor_units, currency }
    }

    /// Reads a plain decimal text such as `10.50`; exponents, signs other than `-`, and excess decimals are refused.
    pub fn parse(amount: &str, currency: Currency) -> Result<Self, MoneyError> {
        let bad = || MoneyError::Amount(amount.chars().take(40).collect());
        let plain = !amount.is_empty() && amount.bytes().all(|b| b.is_ascii_digit() || b == b'.' || b == b'-');
        if !plain {
            return Err(bad());
        }
        let decimal = Decimal::from_str_exact(amount).map_err(|_| bad())?;
        let scale = Decimal::from(10_u64.pow(currency.exponent()));
        let minor = decimal.checked_mul(scale).ok_or(MoneyError::Range)?;
        if !minor.fract().is_zero() {
            return Err(MoneyError::Precision(currency));
        }
        let minor_units = i64::try_from(minor.trunc()).map_err(|_| MoneyError::Range)?;
        Ok(Self { minor_units, currency })
    }

    pub const fn minor_units(self) -> i64 {
        self.minor_units
    }

    pub const fn is_positive(self) -> bool {
        self.minor_units > 0
    }

    pub const fn currency(self) -> Currency {
        self.currency
    }

    pub fn checked_add(self, other: Self) -> Result<Self, MoneyError> {
        self.same_currency(other)?;
        let minor_units = self.minor_units.checked_add(other.minor_units).ok_or(MoneyError::Range)?;
        Ok(Self { minor_units, currency: self.currency })
    }

    /// Orders two amounts of one currency.
    pub fn compare(self, other: Self) -> Result<Ordering, MoneyError> {
        self.same_currency(other)?;
        Ok(self.minor_units.cmp(&other.minor_units))
    }

    fn same_currency(self, other: Self) -> Result<(), MoneyError> {
        if self.currency == other.currency { Ok(()) } else { Err(MoneyError::Mismatch(self.currency, other.currency)) }
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let amount = Decimal::from_i128_with_scale(i128::from(self.minor_units), self.currency.exponent());
        write!(f, "{amount} {}", self.currency)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn gbp() -> Currency {
        Currency::parse("GBP").unwrap()
    }

    #[test]
    fn amounts_are_read_exactly_or_not_at_all() {
        let jpy = Currency::parse("JPY").unwrap();
        for (name, text, currency, expected) in [
            ("two decimals", "10.50", gbp(), Ok(1050)),
            ("none", "10", gbp(), Ok(1000)),
            ("trailing zeros", "10.5000", gbp(), Ok(1050)),
            ("yen have none", "10", jpy, Ok(10)),
            ("yen with decimals", "10.5", jpy, Err(MoneyError::Precision(jpy))),
            ("a third decimal", "0.001", gbp(), Err(MoneyError::Precision(gbp()))),
            ("exponent", "1e3", gbp(), Err(MoneyError::Amount("1e3".into()))),
            ("empty", "", gbp(), Err(MoneyError::Amount(String::new()))),
            ("words", "ten", gbp(), Err(MoneyError::Amount("ten".into()))),
            ("space", " 1", gbp(), Err(MoneyError::Amount(" 1".into()))),
            ("too large", "99999999999999999999", gbp(), Err(MoneyError::Range)),
        ] {
            assert_eq!(Money::parse(text, currency).map(Money::minor_units), expected, "{name}");
        }
    }

    #[test]
    fn currencies_do_not_mix() {
        let pound = Money::new(100, gbp());
        let euro = Money::new(100, Currency::parse("EUR").unwrap());
        assert_eq!(pound.compare(euro), Err(MoneyError::Mismatch(pound.currency(), euro.currency())));
        assert_eq!(Money::new(i64::MAX, gbp()).checked_add(pound), Err(MoneyError::Range));
        assert!(Currency::parse("gbp").is_err());
    }

    proptest! {
        #[test]
        fn text_round_trips(minor in any::<i64>()) {
            let money = Money::new(minor, gbp());
            let text = money.to_string();
            let amount = text.strip_suffix(" GBP").unwrap();
            prop_assert_eq!(Money::parse(amount, gbp()), Ok(money));
        }
    }
}
