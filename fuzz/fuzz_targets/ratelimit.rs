//! The RateLimit fields: whatever the plan and its use, an independent parser of structured fields reads them back.
#![no_main]

use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;
use std::time::Duration;

use clearway::domain::{ClientId, PlanId, TenantId, Timestamp};
use clearway::quota::{CountedPer, Limit, LimitKind, Period, Plan, Quotas, RateLimitFields};
use clearway_fuzz::{NOW, Still};
use http::HeaderValue;
use libfuzzer_sys::fuzz_target;
use sfv::{BareItem, List, ListEntry, Parser};

// Ten bytes for each limit, then one for each step of time.
fuzz_target!(|input: &[u8]| {
    let Some((count, rest)) = input.split_first() else { return };
    let count = usize::from(count % 5);
    let limits: Vec<Limit> = rest.chunks_exact(10).take(count).enumerate().map(|(n, raw)| limit(n, raw)).collect();
    let plan = Plan { id: PlanId::parse("p").unwrap(), limits };
    let quotas = Quotas::new(Arc::new(Still));
    let Ok(compiled) = quotas.compile(&plan) else { return };
    let (tenant, client) = (TenantId::parse("t").unwrap(), ClientId::parse("c").unwrap());
    let mut now = Timestamp::from_secs(NOW);
    let mut held = Vec::new();
    for step in rest.iter().skip(count * 10).take(64) {
        now = now.plus(Duration::from_millis(u64::from(*step) * u64::from(*step)));
        let fields = match quotas.spend(&compiled, &tenant, &client, now) {
            Ok(spent) => {
                let fields = spent.fields.clone();
                if step % 2 == 0 {
                    held.push(spent);
                }
                fields
            }
            Err(exceeded) => {
                assert!(!exceeded.violated.is_empty() && exceeded.retry_after >= Duration::from_secs(1));
                let names: Vec<&str> = plan.limits.iter().map(|limit| limit.name.as_str()).collect();
                assert!(exceeded.violated.iter().all(|name| names.contains(&name.as_str())));
                exceeded.fields
            }
        };
        assert_eq!(fields.is_some(), !plan.limits.is_empty());
        if let Some(fields) = fields {
            reads_back(&fields, &plan);
        }
    }
});

fn limit(number: usize, raw: &[u8]) -> Limit {
    let word = |at: usize| u32::from_be_bytes([raw[at], raw[at + 1], raw[at + 2], raw[at + 3]]);
    let some = |word: u32| NonZeroU32::new(word).unwrap_or(NonZeroU32::MIN);
    let kind = match raw[0] % 3 {
        0 => LimitKind::Rate {
            requests: some(word(2)),
            per: Duration::from_millis(u64::from(word(6)) + 1),
            burst: some(u32::from(raw[9])),
        },
        1 => LimitKind::Window {
            requests: NonZeroU64::new(u64::from(word(2)) << (raw[9] % 32)).unwrap_or(NonZeroU64::MIN),
            period: [Period::Hour, Period::Day, Period::Month][usize::from(raw[8] % 3)],
            zone: ["UTC", "Europe/London", "America/New_York"][usize::from(raw[7] % 3)].to_owned(),
        },
        _ => LimitKind::Concurrency { max: some(u32::from(raw[9])) },
    };
    let per = if raw[1] % 2 == 0 { CountedPer::Client } else { CountedPer::Tenant };
    Limit { name: format!("limit-{number}.{}", raw[1]), per, kind }
}

fn list(value: &HeaderValue) -> List {
    Parser::new(value.as_bytes()).parse().unwrap_or_else(|e| panic!("{value:?}: {e}"))
}

fn reads_back(fields: &RateLimitFields, plan: &Plan) {
    let (policy, limit) = (list(&fields.policy), list(&fields.limit));
    assert_eq!((policy.len(), limit.len()), (plan.limits.len(), plan.limits.len()));
    for ((stated, standing), limit) in policy.iter().zip(&limit).zip(&plan.limits) {
        let (ListEntry::Item(stated), ListEntry::Item(standing)) = (stated, standing) else { panic!("inner lists") };
        for item in [stated, standing] {
            assert!(matches!(&item.bare_item, BareItem::String(name) if name.as_str() == limit.name), "{item:?}");
        }
        let number = |item: &sfv::Item, key: &str| -> Option<i64> {
            let (_, value) = item.params.iter().find(|(name, _)| name.as_str() == key)?;
            match value {
                BareItem::Integer(number) => Some(i64::from(*number)),
                other => panic!("{key} is {other:?}"),
            }
        };
        let (quota, left) = (number(stated, "q").expect("q"), number(standing, "r").expect("r"));
        assert!(quota > 0 && (0..=quota).contains(&left), "{left} of {quota}");
        assert!(number(stated, "w").is_none_or(|w| w > 0) && number(standing, "t").is_none_or(|t| t > 0));
    }
}
