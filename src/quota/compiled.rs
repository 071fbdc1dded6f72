//! A plan that is in force, and the spending of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::concurrency::Lease;
use super::fields::{RateLimitFields, Template};
use super::meter::COUNTERS_MAX;
use super::meter::{Meter, Moment, Reading, Slot, Taken};
use super::shards::Shards;
use super::{CountedPer, LIMITS_MAX, Limit, LimitKind, LimitUnit, LimitUsage, Plan};
use crate::domain::{ClientId, PlanId, TenantId, Timestamp};

/// Most clients of one plan that are remembered between two calls of [`super::Quotas::retire_idle`].
pub const ACCOUNTS_MAX: usize = 250_000;

/// A plan bound to its counters. The snapshot holds it; the counters outlive the snapshot.
pub struct CompiledPlan {
    plan: Plan,
    /// Position by position as in `plan.limits`.
    meters: Vec<Meter>,
    /// Positions in the order of spending: what is cheap and exact to give back comes first.
    order: Vec<usize>,
    template: Option<Template>,
    /// What each client spends from, found once.
    accounts: Shards<Arc<Account>>,
}

/// The counters that one client spends from: its own and its tenant's.
struct Account {
    tenant: TenantId,
    /// Position by position as in `plan.limits`.
    slots: Box<[Slot]>,
    /// Used since the last time that idle accounts were looked for.
    touched: AtomicBool,
}

/// A request that its plan allows. Dropping it ends the request: concurrency is given back, the rest stays spent.
#[derive(Debug)]
#[must_use = "concurrency is counted for as long as this lives"]
pub struct Spent {
    /// `None` if the plan has no limits: there is nothing to say.
    pub fields: Option<RateLimitFields>,
    _leases: Vec<Lease>,
}

/// A request that its plan does not allow. Nothing was spent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exceeded {
    /// Names of the limits that are exhausted (`violated-policies` of the problem document). None: no limit is, but
    /// there is no room for another counter, as when an outside issuer names partners without end.
    pub violated: Vec<String>,
    /// Whole seconds, at least one, and never earlier than `t` of a violated limit.
    pub retry_after: Duration,
    pub fields: Option<RateLimitFields>,
}

impl CompiledPlan {
    /// `meters` are those of the plan's limits, in their order.
    pub(super) fn new(plan: Plan, meters: Vec<Meter>) -> Self {
        let pairs: Vec<(&Limit, &Meter)> = plan.limits.iter().zip(&meters).collect();
        let template = Template::new(&pairs);
        let mut order: Vec<usize> = (0..plan.limits.len()).collect();
        order.sort_by_key(|position| plan.limits.get(*position).map(|limit| cost_of_regret(&limit.kind)));
        Self { plan, meters, order, template, accounts: Shards::new() }
    }

    pub fn id(&self) -> &PlanId {
        &self.plan.id
    }

    /// The plan as it was written.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// `later` reads the clock anew, should something have to be given back.
    pub(super) fn spend(
        &self,
        tenant: &TenantId,
        client: &ClientId,
        moment: Moment,
        later: &dyn Fn() -> Moment,
    ) -> Result<Spent, Exceeded> {
        let account = self.account(tenant, client).ok_or_else(Exceeded::full)?;
        let mut leases = Vec::new();
        match account.reserve(&self.order, moment, later, &mut leases) {
            Ok(()) => {
                let fields = self.template.as_ref().map(|template| template.render(&account.read(moment)));
                Ok(Spent { fields, _leases: leases })
            }
            Err(refused) => {
                drop(leases);
                Err(self.exceeded(&account, refused, moment))
            }
        }
    }

    /// Says which limits stand in the way. `refused` is one, even if another caller has given something back since.
    fn exceeded(&self, account: &Account, refused: usize, moment: Moment) -> Exceeded {
        let mut readings = account.read(moment);
        if let Some(reading) = readings.get_mut(refused) {
            reading.remaining = 0;
        }
        let violated = || self.plan.limits.iter().zip(&readings).filter(|(_, reading)| reading.remaining == 0);
        Exceeded {
            violated: violated().map(|(limit, _)| limit.name.clone()).collect(),
            retry_after: violated().map(|(_, reading)| reading.retry_after()).max().unwrap_or(Duration::from_secs(1)),
            fields: self.template.as_ref().map(|template| template.render(&readings)),
        }
    }

    pub(super) fn usage(&self, tenant: &TenantId, client: &ClientId, moment: Moment) -> Vec<LimitUsage> {
        let Some(account) = self.account(tenant, client) else { return Vec::new() };
        let readings = account.read(moment);
        let limits = self.plan.limits.iter().zip(&self.meters).zip(&readings);
        limits.map(|((limit, meter), reading)| usage(limit, meter, reading)).collect()
    }

    /// `None`: there is no room for what this client would be counted by.
    fn account(&self, tenant: &TenantId, client: &ClientId) -> Option<Arc<Account>> {
        let account = match self.accounts.find(client.as_str()) {
            Some(account) if account.tenant == *tenant => account,
            // The client was registered anew under another tenant.
            Some(_) => {
                let account = Arc::new(self.open(tenant, client));
                self.accounts.put(client.as_str(), Arc::clone(&account));
                account
            }
            None if self.has_room(tenant, client) => {
                self.accounts.find_or_make(client.as_str(), || Arc::new(self.open(tenant, client)))
            }
            None => return None,
        };
        if !account.touched.load(Ordering::Relaxed) {
            account.touched.store(true, Ordering::Relaxed);
        }
        Some(account)
    }

    /// Asked once for a client that was idle. Whoever has a counter already keeps it.
    fn has_room(&self, tenant: &TenantId, client: &ClientId) -> bool {
        let fits = |(limit, meter): (&Limit, &Meter)| {
            meter.counters() < COUNTERS_MAX || meter.has(key_of(limit, tenant, client))
        };
        self.accounts.len() < ACCOUNTS_MAX && self.plan.limits.iter().zip(&self.meters).all(fits)
    }

    /// Clients that are remembered, and the counters of the plan's fullest limit.
    pub(super) fn counted(&self) -> (usize, usize) {
        (self.accounts.len(), self.meters.iter().map(Meter::counters).max().unwrap_or(0))
    }

    fn open(&self, tenant: &TenantId, client: &ClientId) -> Account {
        let slot = |(limit, meter): (&Limit, &Meter)| meter.slot(limit, key_of(limit, tenant, client));
        let slots = self.plan.limits.iter().zip(&self.meters).map(slot).collect();
        Account { tenant: tenant.clone(), slots, touched: AtomicBool::new(true) }
    }

    /// Forgets accounts that were not used since the last call. Their counters stay with the meters. Returns how many.
    pub(super) fn retire_idle(&self) -> usize {
        self.accounts.retain(|account| account.touched.swap(false, Ordering::Relaxed))
    }
}

fn key_of<'k>(limit: &Limit, tenant: &'k TenantId, client: &'k ClientId) -> &'k str {
    match limit.per {
        CountedPer::Tenant => tenant.as_str(),
        CountedPer::Client => client.as_str(),
    }
}

impl Exceeded {
    /// Idle accounts are retired about once a minute.
    const fn full() -> Self {
        Self { violated: Vec::new(), retry_after: Duration::from_secs(60), fields: None }
    }
}

/// Concurrency and windows take back exactly; a rate only as exactly as time stood still (see [`super::rate`]).
const fn cost_of_regret(kind: &LimitKind) -> u8 {
    match kind {
        LimitKind::Concurrency { .. } => 0,
        LimitKind::Window { .. } => 1,
        LimitKind::Rate { .. } => 2,
    }
}

impl Account {
    /// Takes one from each slot in `order`, or from none. `Err` is the position of the limit that refused.
    fn reserve(
        &self,
        order: &[usize],
        moment: Moment,
        later: &dyn Fn() -> Moment,
        leases: &mut Vec<Lease>,
    ) -> Result<(), usize> {
        let Some((&position, rest)) = order.split_first() else { return Ok(()) };
        let slot = self.slots.get(position).ok_or(position)?;
        match slot.take(moment).ok_or(position)? {
            // The caller drops the leases if a later limit refuses.
            Taken::Concurrency(lease) => {
                leases.push(lease);
                self.reserve(rest, moment, later, leases)
            }
            taken @ (Taken::Rate(_) | Taken::Window(_)) => {
                let outcome = self.reserve(rest, moment, later, leases);
                if outcome.is_err() {
                    slot.give_back(taken, later());
                }
                outcome
            }
        }
    }

    fn read(&self, moment: Moment) -> [Reading; LIMITS_MAX] {
        let mut readings = [Reading::default(); LIMITS_MAX];
        for (reading, slot) in readings.iter_mut().zip(&self.slots) {
            *reading = slot.read(moment);
        }
        readings
    }
}

fn usage(limit: &Limit, meter: &Meter, reading: &Reading) -> LimitUsage {
    let (unit, window_seconds) = match &limit.kind {
        LimitKind::Rate { .. } => (LimitUnit::Requests, Some(meter.refill().as_nanos().div_ceil(1_000_000_000))),
        LimitKind::Window { period, .. } => (LimitUnit::Requests, Some(u128::from(period.nominal_secs()))),
        LimitKind::Concurrency { .. } => (LimitUnit::ConcurrentRequests, None),
    };
    LimitUsage {
        name: limit.name.clone(),
        per: limit.per,
        unit,
        limit: reading.limit,
        used: reading.used,
        remaining: reading.remaining,
        window_seconds: window_seconds.and_then(|secs| u64::try_from(secs).ok()),
        resets_at: reading.whole_at.and_then(rfc3339),
    }
}

fn rfc3339(at: Timestamp) -> Option<String> {
    jiff::Timestamp::from_microsecond(at.micros()).ok().map(|at| at.to_string())
}
