//! What policies cost. These print; only counts are asserted.

use std::time::{Duration, Instant};

use super::*;

/// `actions` operations of 20 APIs, and the base set with so many policies more that it has `policies`, which name
/// about `scopes` different operations or groups.
fn grown(actions: usize, policies: usize, scopes: usize) -> (Owned, Vec<PolicySource>) {
    let mut owned = Owned::new();
    for number in owned.actions.len()..actions {
        let method = if number % 3 == 0 { "POST" } else { "GET" };
        let id = format!("api{}.Operation{number}", number % 20);
        owned.actions.push(action(&id, "northbank", method, &format!("tag{}", number % 50), None));
    }
    let mut sources = shipped("base");
    let base: usize = sources.iter().map(|source| source.text.matches("@id").count()).sum();
    for number in base..policies {
        let which = number % scopes;
        let scope = match number % 4 {
            0 => format!("action in Action::\"api:api{}\"", which % 20),
            1 => format!("action == Action::\"{}\"", owned.actions[which % actions].operation),
            2 => format!("action in [Action::\"tag:tag{}\", Action::\"write\"]", which % 50),
            _ => "action".to_owned(),
        };
        let text = format!(
            "@id(\"more.{number}\") @reason(\"x\") forbid (principal, {scope}, resource)\n\
             when {{ context has amount && context.amount.currency == Currency::\"JPY\" && context.amount.minor_units == {number} }};"
        );
        sources.push(source(&format!("{number}.cedar"), &text));
    }
    (owned, sources)
}

/// Mean time of one decision that is remembered.
fn hit(set: &PolicySet, calls: &[Call], rounds: u32) -> Duration {
    let before = set.evaluations();
    calls.iter().for_each(|call| drop(call.ask(set)));
    let cold = set.evaluations();
    assert!(cold - before <= calls.len() as u64);
    let start = Instant::now();
    for _ in 0..rounds {
        for call in calls {
            drop(std::hint::black_box(set.decide(&call.question())));
        }
    }
    let spent = start.elapsed();
    assert_eq!(set.evaluations(), cold, "every one of these was remembered");
    spent / (rounds * calls.len() as u32)
}

#[test]
fn two_hundred_policies_cost_what_two_do() {
    let calls = [Call::new(ACCOUNTS), Call::new(PAYMENT)];
    let two = r#"@id("a") permit (principal, action, resource); @id("b") @reason("x") forbid (principal, action, resource) unless { principal.tenant.status == Status::"active" };"#;
    let few = Owned::new().compile(two).unwrap();
    let (owned, sources) = grown(200, 200, 8);
    let start = Instant::now();
    let many = owned.compile_all(&sources).unwrap();
    println!("compiled 200 policies for 200 operations in {:?}: {} slices", start.elapsed(), many.slices());
    let start = Instant::now();
    permitted(&calls[0].ask(&many));
    println!("not remembered, 200 policies: {:?}", start.elapsed());
    println!("remembered: 2 policies {:?}, 200 policies {:?}", hit(&few, &calls, 2_000), hit(&many, &calls, 2_000));
}
