//! What does a risk cost? A tariff that is simple enough to follow and moves with every answer.

use serde_json::Value;

use crate::domain::Timestamp;
use crate::sandbox::text::parse_date;

/// Pence of a pound, for rates written in pounds.
const POUND: i64 = 100;
const SECS_PER_YEAR: i64 = 31_556_952;

/// A change of the price in per cent, with its reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Factor {
    pub name: &'static str,
    pub percent: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Price {
    pub annual_minor: i64,
    pub sum_insured_minor: i64,
    pub excess_minor: i64,
    pub factors: Vec<Factor>,
}

/// The insurer does not want this risk; the reason is for the customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Decline {
    #[error("Drivers must be at least 17 years old.")]
    Driver,
    #[error("Cars worth more than 150000.00 GBP are not insured.")]
    CarValue,
    #[error("Houses built before 1700 are not insured.")]
    House,
}

/// Prices a car; the request has passed its schema.
pub(super) fn motor(asked: &Value, now: Timestamp) -> Result<Price, Decline> {
    let born = asked.pointer("/driver/dateOfBirth").and_then(Value::as_str).and_then(parse_date);
    let age_years = born.map_or(0, |born| (now.secs() - born.secs()).div_euclid(SECS_PER_YEAR));
    if age_years < 17 {
        return Err(Decline::Driver);
    }
    let value_minor = money(asked, "/vehicle/value").unwrap_or(0);
    if value_minor > 150_000 * POUND {
        return Err(Decline::CarValue);
    }
    let number = |pointer| asked.pointer(pointer).and_then(Value::as_i64);
    let mut factors = Vec::new();
    let mut factor = |applies: bool, name, percent| {
        if applies {
            factors.push(Factor { name, percent });
        }
    };
    factor(age_years < 25, "young driver", 45);
    factor(age_years > 75, "older driver", 20);
    factor(number("/driver/licenceYears").unwrap_or(0) < 2, "new licence", 30);
    factor(number("/driver/claimsLastFiveYears").unwrap_or(0) > 0, "earlier claims", 25);
    factor(number("/vehicle/annualMiles").unwrap_or(0) > 12_000, "high mileage", 15);
    factor(asked.get("cover").is_some_and(|cover| cover == "third-party"), "third party only", -35);
    let base_minor = 280 * POUND + value_minor / 50;
    Ok(priced(base_minor, value_minor, money(asked, "/excess").unwrap_or(250 * POUND), factors))
}

/// Prices a home; the request has passed its schema.
pub(super) fn home(asked: &Value) -> Result<Price, Decline> {
    let number = |pointer| asked.pointer(pointer).and_then(Value::as_i64);
    let built = number("/property/yearBuilt").unwrap_or(1960);
    if built < 1700 {
        return Err(Decline::House);
    }
    let covers = |what: &str| {
        let covers = asked.get("cover").and_then(Value::as_array);
        covers.is_some_and(|covers| covers.iter().any(|cover| cover == what))
    };
    let bedrooms = number("/property/bedrooms").unwrap_or(1);
    let rebuild_minor = money(asked, "/property/rebuildCost").unwrap_or(bedrooms.saturating_mul(80_000 * POUND));
    let contents_minor = money(asked, "/contentsValue").unwrap_or(25_000 * POUND);
    let buildings = if covers("buildings") { rebuild_minor } else { 0 };
    let contents = if covers("contents") { contents_minor } else { 0 };
    let mut factors = Vec::new();
    if built < 1900 {
        factors.push(Factor { name: "old house", percent: 20 });
    }
    if asked.pointer("/property/kind").is_some_and(|kind| kind == "flat") {
        factors.push(Factor { name: "flat", percent: -10 });
    }
    let base_minor = 45 * POUND + buildings / 1200 + contents / 350;
    let excess_minor = money(asked, "/excess").unwrap_or(100 * POUND);
    Ok(priced(base_minor, buildings.saturating_add(contents), excess_minor, factors))
}

fn priced(base_minor: i64, sum_insured_minor: i64, excess_minor: i64, mut factors: Vec<Factor>) -> Price {
    if excess_minor >= 500 * POUND {
        factors.push(Factor { name: "high excess", percent: -12 });
    }
    let apply = |price: i64, factor: &Factor| price.saturating_mul(100 + factor.percent) / 100;
    let annual_minor = factors.iter().fold(base_minor, apply);
    Price { annual_minor, sum_insured_minor, excess_minor, factors }
}

/// Pence of a money object; the schema has seen to two decimals.
pub(super) fn money(from: &Value, pointer: &str) -> Option<i64> {
    let text = from.pointer(pointer)?.get("amount")?.as_str()?;
    let currency = crate::domain::Currency::parse("GBP").ok()?;
    crate::domain::Money::parse(text, currency).ok().map(crate::domain::Money::minor_units)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::testing::NOW;
    use serde_json::json;

    fn car(born: &str, value: &str) -> Value {
        json!({
            "driver": { "dateOfBirth": born, "licenceYears": 12 },
            "vehicle": { "value": { "amount": value, "currency": "GBP" } },
            "cover": "comprehensive",
        })
    }

    #[test]
    fn a_car_costs_what_its_driver_and_value_say() {
        for (name, asked, expected) in [
            ("plain", car("1988-04-17", "9800.00"), Ok(28_000 + 19_600)),
            ("young", car("2004-04-17", "9800.00"), Ok((28_000 + 19_600) * 145 / 100)),
            ("too young", car("2010-04-17", "9800.00"), Err(Decline::Driver)),
            ("seventeen today", car("2009-03-02", "9800.00"), Ok((28_000 + 19_600) * 145 / 100)),
            ("too dear", car("1988-04-17", "150000.01"), Err(Decline::CarValue)),
        ] {
            assert_eq!(motor(&asked, NOW).map(|price| price.annual_minor), expected, "{name}");
        }
    }

    #[test]
    fn a_home_costs_what_is_covered() {
        let asked = |cover: Value, built: i64| json!({ "property": { "kind": "terraced", "bedrooms": 3, "yearBuilt": built }, "cover": cover });
        let price = |cover, built| home(&asked(cover, built)).map(|price| price.annual_minor);
        let both = price(json!(["buildings", "contents"]), 1931).unwrap();
        let contents = price(json!(["contents"]), 1931).unwrap();
        assert!(contents < both);
        assert!(price(json!(["contents"]), 1850).unwrap() > contents, "an old house costs more");
        assert_eq!(price(json!(["contents"]), 1699), Err(Decline::House));
    }
}
