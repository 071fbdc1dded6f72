//! Numbers within their bounds and in their steps.

use serde_json::{Number, Value};

use super::facts::Facts;

/// A number that suits, a likely one first; `variant` asks for another. `None` if the bounds leave none.
pub(super) fn number(facts: &Facts<'_>, integer: bool, variant: u64) -> Option<Value> {
    let (format_low, format_high) = format_bounds(facts);
    let edge = if integer { 1.0 } else { 0.01 };
    let low =
        facts.minimum.map(|bound| if bound.exclusive { bound.value + nudge(bound.value, edge) } else { bound.value });
    let high =
        facts.maximum.map(|bound| if bound.exclusive { bound.value - nudge(bound.value, edge) } else { bound.value });
    let (low, high) = match (low, high) {
        (Some(low), Some(high)) => (low.max(format_low), high.min(format_high)),
        // A bound beyond what is usual takes the other one along.
        (Some(low), None) => (low, format_high.max(low.abs().mul_add(2.0, low))),
        (None, Some(high)) => (format_low.min(high.abs().mul_add(-2.0, high)), high),
        (None, None) => (format_low, format_high),
    };
    let step = facts.multiples.iter().copied().fold(if integer { 1.0 } else { 0.0 }, lcm);
    #[expect(clippy::cast_precision_loss, reason = "variants are few")]
    let wanted = (if integer { 12.0 } else { 12.5 } + variant as f64).clamp(low.min(high), high.max(low));
    if low > high {
        // The nudge of an exclusive bound was too large for a narrow range.
        let middle = f64::midpoint(facts.minimum?.value, facts.maximum?.value);
        return (!integer).then(|| write(middle, step)).flatten();
    }
    if step == 0.0 {
        return write(wanted, 0.0);
    }
    let down = (wanted / step).floor() * step;
    let up = (wanted / step).ceil() * step;
    let within = |value: f64| value >= low && value <= high;
    [down, up].into_iter().find(|value| within(*value)).and_then(|value| write(value, step))
}

fn nudge(value: f64, edge: f64) -> f64 {
    // Large values need a larger step to differ at all.
    edge.max(value.abs() * 1e-12)
}

fn format_bounds(facts: &Facts<'_>) -> (f64, f64) {
    let has = |name: &str| facts.formats.contains(&name);
    if has("int32") { (f64::from(i32::MIN), f64::from(i32::MAX)) } else { (-9.0e15, 9.0e15) }
}

/// A step that is in step with both, for the steps that documents use (whole numbers and decimal fractions).
fn lcm(a: f64, b: f64) -> f64 {
    if a == 0.0 || b == 0.0 {
        return a.max(b);
    }
    let (mut multiple, larger, smaller) = (a.max(b), a.max(b), a.min(b));
    for _ in 0..10_000 {
        let ratio = multiple / smaller;
        if (ratio - ratio.round()).abs() < 1e-9 {
            return multiple;
        }
        multiple += larger;
    }
    larger
}

/// Writes the value with no more decimals than its step has, so that 0.1 times 3 is 0.3.
fn write(value: f64, step: f64) -> Option<Value> {
    if value.fract() == 0.0 && value.abs() < 9.1e15 && (step == 0.0 || step.fract() == 0.0) {
        #[expect(clippy::cast_possible_truncation, reason = "whole and within i64")]
        return Some(Value::from(value as i64));
    }
    let decimals = if step == 0.0 { 6 } else { decimals(step) };
    let rounded: f64 = format!("{value:.decimals$}").parse().ok()?;
    if rounded.fract() == 0.0 && rounded.abs() < 9.1e15 {
        #[expect(clippy::cast_possible_truncation, reason = "whole and within i64")]
        return Some(Value::from(rounded as i64));
    }
    Number::from_f64(rounded).map(Value::Number)
}

fn decimals(step: f64) -> usize {
    (0..12).find(|digits| format!("{step:.digits$}").parse() == Ok(step)).unwrap_or(12)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_keep_their_bounds_and_steps() {
        for schema in [
            json!({ "type": "integer" }),
            json!({ "type": "integer", "minimum": 25, "maximum": 1000 }),
            json!({ "type": "integer", "exclusiveMinimum": 5, "exclusiveMaximum": 7 }),
            json!({ "type": "integer", "maximum": -3 }),
            json!({ "type": "integer", "multipleOf": 100, "minimum": 1 }),
            json!({ "type": "integer", "minimum": 0.5, "maximum": 1.5 }),
            json!({ "type": "number", "multipleOf": 0.01, "minimum": 0.07, "maximum": 0.07 }),
            json!({ "type": "number", "multipleOf": 0.1, "minimum": 0.3, "maximum": 0.35 }),
            json!({ "type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.001 }),
            json!({ "type": "number", "minimum": 1e20 }),
            json!({ "type": "number", "allOf": [{ "multipleOf": 4 }, { "multipleOf": 6 }], "minimum": 13 }),
        ] {
            let facts = Facts::gather(&schema, &[&schema]).unwrap();
            let integer = schema["type"] == "integer";
            for variant in 0..3 {
                let made = number(&facts, integer, variant);
                let valid = made.as_ref().is_some_and(|made| jsonschema::is_valid(&schema, made));
                assert!(valid, "{schema}: {made:?}");
            }
        }
    }

    #[test]
    fn where_there_is_no_number_none_is_made() {
        for schema in [
            json!({ "type": "integer", "exclusiveMinimum": 5, "exclusiveMaximum": 6 }),
            json!({ "type": "integer", "multipleOf": 10, "minimum": 11, "maximum": 19 }),
        ] {
            let facts = Facts::gather(&schema, &[&schema]).unwrap();
            assert_eq!(number(&facts, true, 0), None, "{schema}");
        }
    }
}
