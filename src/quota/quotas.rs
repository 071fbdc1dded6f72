//! All counters of this process, and what the rest of the gateway asks of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::compiled::{CompiledPlan, Exceeded, Spent};
use super::meter::{Meter, MeterId, Moment, WindowMeter};
use super::steady::Steady;
use super::window::{COUNT_MAX, Span, Unsaved, WindowCell};
use super::{LimitKind, LimitUsage, Plan, PlanError, WindowCount, WindowStore, WindowStoreError};
use crate::domain::{ClientId, Clock, TenantId, Timestamp};

/// Most counts that one call of the store is given, so that each stays well within the store's deadline.
const SAVED_AT_ONCE: usize = 1_000;

/// The counters. One per process; snapshots hold [`CompiledPlan`]s that count here, so a reload forgets nothing.
pub struct Quotas {
    clock: Arc<dyn Clock>,
    steady: Steady,
    /// Touched when plans are compiled, saved, loaded and tidied; never by a request.
    registry: Mutex<Registry>,
}

#[derive(Default)]
struct Registry {
    meters: HashMap<MeterId, Meter>,
    plans: Vec<Weak<CompiledPlan>>,
    /// Counts that were loaded before the plan that they belong to. Bounded by what the store holds; ended ones go.
    unclaimed: Vec<WindowCount>,
}

/// What [`Quotas::retire_idle`] has forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retired {
    pub accounts: usize,
    pub counters: usize,
}

/// A count on its way to the store.
struct Owed {
    cell: Arc<WindowCell>,
    unsaved: Unsaved,
}

impl Quotas {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, steady: Steady::default(), registry: Mutex::default() }
    }

    /// Puts a plan in force. An equal plan that is in force already is returned as it is; a limit that is equal to one
    /// in force, or was until a moment ago, goes on with its counters.
    pub fn compile(&self, plan: &Plan) -> Result<Arc<CompiledPlan>, PlanError> {
        plan.check_names()?;
        check_windows(plan)?;
        let now = self.clock.now();
        let mut registry = self.registry();
        registry.plans.retain(|known| known.strong_count() > 0);
        if let Some(same) = registry.plans.iter().filter_map(Weak::upgrade).find(|known| known.plan() == plan) {
            return Ok(same);
        }
        let meters = plan.limits.iter().map(|limit| {
            let id = MeterId::of(&plan.id, limit);
            if let Some(known) = registry.meters.get(&id) {
                return Ok((id, known.clone()));
            }
            Meter::new(plan, limit).map(|meter| (id, meter))
        });
        // All or nothing: a plan that is refused leaves no meter behind.
        let meters = meters.collect::<Result<Vec<_>, PlanError>>()?;
        for (id, meter) in &meters {
            registry.claim(id, meter, now);
            registry.meters.insert(id.clone(), meter.clone());
        }
        let meters = meters.into_iter().map(|(_, meter)| meter).collect();
        let compiled = Arc::new(CompiledPlan::new(plan.clone(), meters));
        registry.plans.push(Arc::downgrade(&compiled));
        Ok(compiled)
    }

    /// Spends one request of every limit of the plan, or none: concurrency first, then windows, then rates, and what
    /// was taken is given back if a later one refuses.
    pub fn spend(
        &self,
        plan: &CompiledPlan,
        tenant: &TenantId,
        client: &ClientId,
        now: Timestamp,
    ) -> Result<Spent, Exceeded> {
        plan.spend(tenant, client, self.moment(now), &|| self.moment(self.clock.now()))
    }

    /// Where the client stands, limit by limit in the plan's order. Spends nothing.
    pub fn usage(&self, plan: &CompiledPlan, tenant: &TenantId, client: &ClientId, now: Timestamp) -> Vec<LimitUsage> {
        plan.usage(tenant, client, self.moment(now))
    }

    /// Takes up what earlier runs counted in windows that still last. Call it before serving; plans may be compiled
    /// before or after. A count is only ever raised by it.
    pub async fn load(&self, store: &dyn WindowStore) -> Result<(), WindowStoreError> {
        let counts = store.load().await?;
        let now = self.clock.now();
        let mut registry = self.registry();
        registry.unclaimed.extend(counts.into_iter().filter(|count| count.ends_at > now));
        let meters: Vec<(MeterId, Meter)> = registry.meters.iter().map(|(id, m)| (id.clone(), m.clone())).collect();
        for (id, meter) in &meters {
            registry.claim(id, meter, now);
        }
        Ok(())
    }

    /// Writes every window count that the store lacks. Call it each second and once at shutdown: a kill then loses at
    /// most what was counted since. What could not be written stays owed. Returns how many counts were written.
    pub async fn flush(&self, store: &dyn WindowStore) -> Result<usize, WindowStoreError> {
        let (owed, counts) = self.owed();
        for (owed, counts) in owed.chunks(SAVED_AT_ONCE).zip(counts.chunks(SAVED_AT_ONCE)) {
            store.save(counts).await?;
            for each in owed {
                each.cell.saved(&each.unsaved);
            }
        }
        Ok(counts.len())
    }

    /// Forgets accounts that were not used since the last call, and counters that count nothing any more. Call it
    /// about once a minute. Windows that end after `sure` are kept, whatever the clock says: it may have jumped ahead,
    /// and may come back.
    pub fn retire_idle(&self, sure: Timestamp) -> Retired {
        let moment = self.moment(self.clock.now());
        let moment = Moment { wall: moment.wall.min(sure), ..moment };
        let mut registry = self.registry();
        registry.plans.retain(|plan| plan.strong_count() > 0);
        let accounts = registry.plans.iter().filter_map(Weak::upgrade).map(|plan| plan.retire_idle()).sum();
        let counters = registry.meters.values().map(|meter| meter.retire_idle(moment)).sum();
        registry.meters.retain(|_, meter| !meter.is_unused());
        registry.unclaimed.retain(|count| count.ends_at > moment.wall);
        Retired { accounts, counters }
    }

    /// Clients that the fullest plan remembers, and counters of the fullest limit.
    pub fn counted(&self) -> (usize, usize) {
        let plans: Vec<_> = self.registry().plans.iter().filter_map(Weak::upgrade).collect();
        let counted = plans.iter().map(|plan| plan.counted());
        counted.fold((0, 0), |most, one| (most.0.max(one.0), most.1.max(one.1)))
    }

    fn owed(&self) -> (Vec<Owed>, Vec<WindowCount>) {
        let now = self.clock.now();
        let (mut owed, mut counts) = (Vec::new(), Vec::new());
        for (id, meter) in self.windows() {
            let span = meter.schedule.current(now);
            meter.cells.for_each(|key, cell| {
                if let Some(unsaved) = cell.unsaved(span) {
                    counts.push(window_count(&id, key, span, unsaved.count));
                    owed.push(Owed { cell: Arc::clone(cell), unsaved });
                }
            });
        }
        (owed, counts)
    }

    fn windows(&self) -> Vec<(MeterId, Arc<WindowMeter>)> {
        let window = |(id, meter): (&MeterId, &Meter)| match meter {
            Meter::Window(meter) => Some((id.clone(), Arc::clone(meter))),
            Meter::Rate(_) | Meter::Concurrency(_) => None,
        };
        self.registry().meters.iter().filter_map(window).collect()
    }

    fn moment(&self, now: Timestamp) -> Moment {
        Moment { wall: now, steady: self.steady.read(now) }
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        // A panic while it was held leaves at worst a meter that no plan has yet.
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry {
    /// Gives a window limit the loaded counts that are of its present window.
    fn claim(&mut self, id: &MeterId, meter: &Meter, now: Timestamp) {
        let Meter::Window(meter) = meter else { return };
        let span = meter.schedule.current(now);
        self.unclaimed.retain(|count| {
            let same_limit = count.plan == id.plan && count.limit == id.limit && count.per == id.per;
            let same_window = count.starts_at.secs() == span.start && count.ends_at.secs() == span.end;
            let mine = same_limit && same_window;
            if mine {
                meter.cells.find_or_make(&count.key, Arc::default).merge(span, count.count);
            }
            !mine
        });
    }
}

fn window_count(id: &MeterId, key: &str, span: Span, count: u64) -> WindowCount {
    WindowCount {
        plan: id.plan.clone(),
        limit: id.limit.clone(),
        per: id.per,
        key: key.to_owned(),
        starts_at: Timestamp::from_secs(span.start),
        ends_at: Timestamp::from_secs(span.end),
        count,
    }
}

fn check_windows(plan: &Plan) -> Result<(), PlanError> {
    let too_large = |kind: &LimitKind| matches!(kind, LimitKind::Window { requests, .. } if requests.get() > COUNT_MAX);
    match plan.limits.iter().find(|limit| too_large(&limit.kind)) {
        Some(limit) => {
            let (plan, name) = (plan.id.clone(), limit.name.clone());
            Err(PlanError::WindowTooLarge { plan, name, max: COUNT_MAX })
        }
        None => Ok(()),
    }
}
