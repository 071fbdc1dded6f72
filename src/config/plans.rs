//! `plans.yaml`.

use std::num::{NonZeroU32, NonZeroU64};

use crate::quota::{CountedPer, Limit, LimitKind, Period, Plan};

use super::tree::Entry;
use super::{Diagnostic, Located, each, scalar};

pub(super) fn plans(entries: &[Entry<'_>]) -> Vec<Located<Plan>> {
    each(entries, "plan", |plan: &Plan| plan.id.to_string(), plan)
}

fn plan(entry: &Entry<'_>) -> Option<Plan> {
    let id = entry.required("id", scalar::parsed);
    let limits: Vec<Limit> = entry.sections("limits").iter().filter_map(limit).collect();
    entry.finish();
    for (position, limit) in limits.iter().enumerate() {
        if limits.iter().take(position).any(|earlier| earlier.name == limit.name) {
            let message = format!("the limit `{}` is named twice in one plan", limit.name);
            entry.report().add(Diagnostic::new(entry.place(), message));
        }
    }
    Some(Plan { id: id?, limits })
}

fn limit(entry: &Entry<'_>) -> Option<Limit> {
    let name = entry.required("name", |entry, node| {
        let name = scalar::text(entry, node)?;
        let plain = !name.is_empty() && name.len() <= 32;
        let plain = plain && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if plain { Ok(name) } else { Err("expected 1 to 32 letters, digits, - or _".to_owned()) }
    });
    let words = &[("tenant", CountedPer::Tenant), ("client", CountedPer::Client)];
    let per = entry.required("per", scalar::one_of(words));
    let mut kinds: Vec<LimitKind> = Vec::new();
    kinds.extend(entry.section("rate").as_ref().and_then(rate));
    kinds.extend(entry.section("window").as_ref().and_then(window));
    kinds.extend(entry.optional("concurrency", |e, n| Ok(LimitKind::Concurrency { max: scalar::parsed(e, n)? })));
    entry.finish();
    if kinds.len() > 1 {
        let message = "a limit is one of `rate`, `window` and `concurrency`";
        entry.report().add(Diagnostic::new(entry.place(), message).remedy("write one entry of `limits` for each"));
        return None;
    }
    let Some(kind) = kinds.pop() else {
        let message = "a limit needs a valid `rate`, `window` or `concurrency`";
        entry.report().add(Diagnostic::new(entry.place(), message));
        return None;
    };
    Some(Limit { name: name?, per: per?, kind })
}

fn rate(entry: &Entry<'_>) -> Option<LimitKind> {
    let requests: Option<NonZeroU32> = entry.required("requests", scalar::parsed);
    let per = entry.required("per", scalar::duration);
    let burst = entry.optional("burst", scalar::parsed);
    entry.finish();
    Some(LimitKind::Rate { requests: requests?, per: per?, burst: burst.or(requests)? })
}

fn window(entry: &Entry<'_>) -> Option<LimitKind> {
    let requests: Option<NonZeroU64> = entry.required("requests", scalar::parsed);
    let words = &[("hour", Period::Hour), ("day", Period::Day), ("month", Period::Month)];
    let period = entry.required("period", scalar::one_of(words));
    let zone = entry.or("zone", "UTC".to_owned(), |entry, node| {
        let zone = scalar::text(entry, node)?;
        jiff::tz::TimeZone::get(&zone).map_err(|_| "not a name of the time zone database".to_owned())?;
        Ok(zone)
    });
    entry.finish();
    Some(LimitKind::Window { requests: requests?, period: period?, zone })
}
