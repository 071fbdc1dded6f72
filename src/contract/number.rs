//! JSON numbers and values compared by what they mean: `1`, `1.0` and `1e0` are one number.

use std::cmp::Ordering;
use std::hash::{BuildHasher, Hash, Hasher};

use serde_json::{Number, Value};

use super::exact::{Instance, Numeral};

#[derive(Clone, Copy)]
enum Exact {
    Integer(i128),
    Float(f64),
}

/// 2^100: beyond, a float is an integer anyway and is compared as a float.
const INTEGER_FLOAT_MAX: f64 = 1_267_650_600_228_229_401_496_703_205_376.0;

fn exact(number: &Number) -> Exact {
    if let Some(integer) = number.as_i64() {
        return Exact::Integer(i128::from(integer));
    }
    if let Some(integer) = number.as_u64() {
        return Exact::Integer(i128::from(integer));
    }
    let float = number.as_f64().unwrap_or(f64::NAN);
    if float.fract() == 0.0 && float.abs() < INTEGER_FLOAT_MAX {
        #[expect(clippy::cast_possible_truncation, reason = "integral and far inside the range of i128")]
        return Exact::Integer(float as i128);
    }
    Exact::Float(float)
}

/// Whether a number of a message is an integer in the mathematical sense.
pub(super) fn is_integral(instance: Instance<'_>, number: &Number) -> bool {
    instance.written().map_or_else(|| is_integer(number), Numeral::is_integer)
}

/// The integer that a number of a message is, if it is one and not larger than any format needs.
pub(super) fn integral(instance: Instance<'_>, number: &Number) -> Option<i128> {
    instance.written().map_or_else(|| as_integer(number), Numeral::as_integer)
}

/// Whether the number is an integer in the mathematical sense.
fn is_integer(number: &Number) -> bool {
    match exact(number) {
        Exact::Integer(_) => true,
        Exact::Float(float) => float.fract() == 0.0,
    }
}

/// The integer, if it is one and not larger than any format needs.
pub(super) fn as_integer(number: &Number) -> Option<i128> {
    match exact(number) {
        Exact::Integer(integer) => Some(integer),
        Exact::Float(_) => None,
    }
}

/// Compares exactly, without rounding an integer to a float.
pub(super) fn compare(left: &Number, right: &Number) -> Ordering {
    match (exact(left), exact(right)) {
        (Exact::Integer(a), Exact::Integer(b)) => a.cmp(&b),
        (Exact::Float(a), Exact::Float(b)) => a.total_cmp(&b),
        (Exact::Float(a), Exact::Integer(b)) => compare_mixed(a, b),
        (Exact::Integer(a), Exact::Float(b)) => compare_mixed(b, a).reverse(),
    }
}

fn compare_mixed(float: f64, integer: i128) -> Ordering {
    if float.abs() >= INTEGER_FLOAT_MAX {
        return if float < 0.0 { Ordering::Less } else { Ordering::Greater };
    }
    #[expect(clippy::cast_possible_truncation, reason = "the floor is inside the range of i128")]
    let floor = float.floor() as i128;
    // A float that stays a float has a fraction, so it lies strictly above its floor.
    if floor < integer { Ordering::Less } else { Ordering::Greater }
}

/// Orders a number of a message against one of a schema.
pub(super) fn compare_instance(instance: Instance<'_>, number: &Number, bound: &Number) -> Ordering {
    let written = instance.written().and_then(|written| Some(written.compare(&Numeral::of(bound)?)));
    written.unwrap_or_else(|| compare(number, bound))
}

/// Whether a number of a message is an integral multiple of one of a schema, in decimal: 19.99 is a multiple of 0.01.
pub(super) fn is_multiple(instance: Instance<'_>, number: &Number, divisor: &Number) -> bool {
    if let (true, Exact::Integer(number), Exact::Integer(divisor)) =
        (instance.is_plain(), exact(number), exact(divisor))
    {
        return divisor != 0 && number % divisor == 0;
    }
    instance.numeral().zip(Numeral::of(divisor)).is_some_and(|(number, divisor)| number.is_multiple(&divisor))
}

/// Equality of JSON Schema 2020-12 core §4.2.2: numbers by value, objects without regard to order.
pub(super) fn same(left: Instance<'_>, right: Instance<'_>) -> bool {
    match (left.value, right.value) {
        (Value::Number(a), Value::Number(b)) if left.is_plain() && right.is_plain() => compare(a, b).is_eq(),
        (Value::Number(_), Value::Number(_)) => left.numeral() == right.numeral(),
        (Value::Array(a), Value::Array(b)) => {
            let mut pairs = a.iter().zip(b).enumerate();
            a.len() == b.len() && pairs.all(|(index, (a, b))| same(left.item(index, a), right.item(index, b)))
        }
        (Value::Object(a), Value::Object(b)) => {
            let mut members = a.iter();
            let found = |(name, value): (&String, &Value)| {
                b.get(name).is_some_and(|other| same(left.member(name, value), right.member(name, other)))
            };
            a.len() == b.len() && members.all(found)
        }
        (left, right) => left == right,
    }
}

/// Whether no two of a list's items are the same; linear in their size.
pub(super) fn all_different(list: Instance<'_>, items: &[Value]) -> bool {
    let state = std::collections::hash_map::RandomState::new();
    let mut buckets: std::collections::HashMap<u64, Vec<Instance<'_>>> = std::collections::HashMap::new();
    let exactly = !list.is_plain();
    items.iter().enumerate().all(|(index, item)| {
        let item = list.item(index, item);
        let mut hasher = state.build_hasher();
        digest(item, exactly, &state, &mut hasher);
        let bucket = buckets.entry(hasher.finish()).or_default();
        let fresh = !bucket.iter().any(|other| same(*other, item));
        bucket.push(item);
        fresh
    })
}

/// `exactly`: some number in the list is more than its float, so all are hashed by what was written.
fn digest<S: BuildHasher>(instance: Instance<'_>, exactly: bool, state: &S, hasher: &mut impl Hasher) {
    match instance.value {
        Value::Null => 0_u8.hash(hasher),
        Value::Bool(flag) => flag.hash(hasher),
        Value::Number(_) if exactly => instance.numeral().hash(hasher),
        Value::Number(number) => match exact(number) {
            Exact::Integer(integer) => integer.hash(hasher),
            Exact::Float(float) => float.to_bits().hash(hasher),
        },
        Value::String(text) => text.hash(hasher),
        Value::Array(items) => {
            items.len().hash(hasher);
            let items = items.iter().enumerate();
            items.for_each(|(index, item)| digest(instance.item(index, item), exactly, state, hasher));
        }
        Value::Object(members) => {
            // Order must not matter, so members are summed.
            let sum = members.iter().fold(0_u64, |sum, (name, value)| {
                let mut member = state.build_hasher();
                name.hash(&mut member);
                digest(instance.member(name, value), exactly, state, &mut member);
                sum.wrapping_add(member.finish())
            });
            sum.hash(hasher);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn number(value: &Value) -> Number {
        value.as_number().unwrap().clone()
    }

    #[test]
    fn numbers_compare_exactly() {
        for (left, right, expected) in [
            (json!(1), json!(1.0), Ordering::Equal),
            (json!(9_007_199_254_740_993_i64), json!(9_007_199_254_740_992.0), Ordering::Greater),
            (json!(u64::MAX), json!(i64::MAX), Ordering::Greater),
            (json!(1.5), json!(1), Ordering::Greater),
            (json!(-1.5), json!(-1), Ordering::Less),
            (json!(1e300), json!(u64::MAX), Ordering::Greater),
            (json!(-1e300), json!(0), Ordering::Less),
            (json!(0.0), json!(-0.0), Ordering::Equal),
        ] {
            assert_eq!(compare(&number(&left), &number(&right)), expected, "{left} {right}");
            assert_eq!(compare(&number(&right), &number(&left)), expected.reverse(), "{right} {left}");
        }
    }

    #[test]
    fn multiples_are_decimal() {
        for (value, divisor, expected) in [
            (json!(19.99), json!(0.01), true),
            (json!(0.3), json!(0.1), true),
            (json!(19.995), json!(0.01), false),
            (json!(10), json!(2.5), true),
            (json!(7), json!(2), false),
            (json!(4.0), json!(2), true),
            (json!(1e300), json!(2), true),
            (json!(1), json!(1e-7), true),
        ] {
            assert_eq!(
                is_multiple(Instance::of(&value), &number(&value), &number(&divisor)),
                expected,
                "{value} {divisor}"
            );
        }
    }

    #[test]
    fn equal_values_are_found_whatever_their_spelling() {
        for (values, expected) in [
            (json!([1, 2, 3]), true),
            (json!([1, 1.0]), false),
            (json!([{ "a": 1, "b": 2 }, { "b": 2, "a": 1.0 }]), false),
            (json!([{ "a": 1, "b": 2 }, { "b": 1, "a": 2 }]), true),
            (json!([[1, 2], [2, 1]]), true),
            (json!(["1", 1, true, null, false, 0]), true),
        ] {
            assert_eq!(all_different(Instance::of(&values), values.as_array().unwrap()), expected, "{values}");
        }
    }
}
