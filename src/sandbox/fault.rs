//! How shall an institution misbehave? Rules that a test or an operator sets while it runs.

use std::sync::Mutex;
use std::time::Duration;

use http::Method;
use serde::{Deserialize, Serialize};

use super::dice::Dice;

/// Most rules in force at once.
pub const RULES_MAX: usize = 64;
/// Longest delay, and longest hang: after it the connection is closed, so that a forgotten rule holds nothing for ever.
pub const DELAY_MAX: Duration = Duration::from_mins(10);
/// Path of the health check. A rule reaches it only if its own prefix names it.
pub const HEALTH_PATH: &str = "/healthz";

/// The JSON of `PUT /_sandbox/faults`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultSet {
    /// The first rule that matches a request applies; the others do not.
    pub faults: Vec<Fault>,
    /// Seed of the draws for `probability`: the same seed, the same faults.
    #[serde(default)]
    pub seed: u64,
}

/// One rule.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fault {
    pub only: Only,
    /// Applies this often, then never again; absent: always.
    pub times: Option<u32>,
    /// Share of the matching requests that are hit, 0 to 1; absent: all.
    pub probability: Option<f64>,
    /// Waits before anything else.
    pub latency_ms: u64,
    /// Whether the institution carries the request out before it hangs, fails or closes. What cuts or spoils an
    /// answer carries it out in any case.
    pub process: bool,
    /// What it does then; absent: it answers properly, only late.
    pub action: Option<Action>,
}

/// Which requests a rule is for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Only {
    /// `POST`; absent: every method.
    pub method: Option<String>,
    /// Every path that begins so; absent: every path but the health check.
    pub path_prefix: Option<String>,
}

/// A way to misbehave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Answers with this status, as a load balancer in front of a dead application does.
    Status(u16),
    /// Takes the request and never answers.
    Hang,
    Close(Close),
    WrongContent(WrongContent),
    /// Sends the proper answer in small pieces.
    Drip {
        bytes: usize,
        every_ms: u64,
    },
}

/// When the connection ends, without any farewell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Close {
    /// Instead of an answer. With `process: true` the request has been carried out: the caller cannot know.
    BeforeHeaders,
    /// After the header section and a part of the body.
    AfterHeaders,
}

/// An answer that is not what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WrongContent {
    /// 200 with an HTML maintenance page.
    Html,
    /// Proper HTTP, half of the JSON.
    TruncatedJson,
    /// The proper body, called `text/plain`.
    ContentType,
    /// Content-Length says more than comes.
    ContentLengthLong,
    /// Content-Length says less than comes: the rest looks like the next answer (HTTP/1.1 only).
    ContentLengthShort,
    /// Bytes that are not HTTP.
    Garbage,
}

/// Why a set of rules is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FaultError {
    #[error("at most {RULES_MAX} rules can be in force, these are {0}")]
    TooMany(usize),
    #[error("rule {0}: probability must lie between 0 and 1")]
    Probability(usize),
    #[error("rule {0}: a delay is at most ten minutes")]
    Delay(usize),
    #[error("rule {0}: status must lie between 400 and 599")]
    Status(usize),
    #[error("rule {0}: a drip needs at least one byte")]
    Drip(usize),
    #[error("rule {0}: {1:?} is not a method")]
    Method(usize, String),
}

/// What one request shall meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Meeting {
    pub latency: Duration,
    pub process: bool,
    pub action: Option<Action>,
}

/// The rules in force at one back end.
#[derive(Debug, Default)]
pub struct Faults(Mutex<InForce>);

#[derive(Debug)]
struct InForce {
    set: FaultSet,
    dice: Dice,
}

impl Default for InForce {
    fn default() -> Self {
        Self { set: FaultSet::default(), dice: Dice::new(0) }
    }
}

impl Faults {
    /// Puts these rules in the place of the former ones, or refuses them whole.
    pub fn set(&self, set: FaultSet) -> Result<(), FaultError> {
        check(&set)?;
        let dice = Dice::new(set.seed);
        *self.lock() = InForce { set, dice };
        Ok(())
    }

    /// One rule for every request.
    pub fn set_one(&self, fault: Fault) -> Result<(), FaultError> {
        self.set(FaultSet { faults: vec![fault], seed: 0 })
    }

    /// Behave.
    pub fn clear(&self) {
        *self.lock() = InForce::default();
    }

    /// The rules as they stand, `times` counted down.
    pub fn current(&self) -> FaultSet {
        self.lock().set.clone()
    }

    pub(super) fn meet(&self, method: &Method, path: &str) -> Option<Meeting> {
        let mut in_force = self.lock();
        let InForce { set, dice } = &mut *in_force;
        let fault = set.faults.iter_mut().find(|fault| fault.only.covers(method, path) && fault.times != Some(0))?;
        if fault.probability.is_some_and(|share| !hits(share, dice)) {
            return None;
        }
        if let Some(times) = &mut fault.times {
            *times = times.saturating_sub(1);
        }
        let latency = Duration::from_millis(fault.latency_ms);
        Some(Meeting { latency, process: fault.process, action: fault.action.clone() })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, InForce> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Only {
    fn covers(&self, method: &Method, path: &str) -> bool {
        let path_covered = match &self.path_prefix {
            Some(prefix) => path.starts_with(prefix.as_str()),
            None => path != HEALTH_PATH,
        };
        path_covered && self.method.as_ref().is_none_or(|only| only == method.as_str())
    }
}

fn hits(share: f64, dice: &mut Dice) -> bool {
    let draw = dice.below(1_000_000);
    #[expect(clippy::cast_precision_loss, reason = "below a million every integer is exact")]
    let draw = draw as f64;
    draw < share * 1_000_000.0
}

fn check(set: &FaultSet) -> Result<(), FaultError> {
    if set.faults.len() > RULES_MAX {
        return Err(FaultError::TooMany(set.faults.len()));
    }
    let too_long = |millis: u64| Duration::from_millis(millis) > DELAY_MAX;
    for (at, fault) in set.faults.iter().enumerate() {
        if fault.probability.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
            return Err(FaultError::Probability(at));
        }
        if let Some(method) = &fault.only.method
            && Method::from_bytes(method.as_bytes()).is_err()
        {
            return Err(FaultError::Method(at, method.chars().take(20).collect()));
        }
        match fault.action {
            Some(Action::Status(status)) if !(400..=599).contains(&status) => return Err(FaultError::Status(at)),
            Some(Action::Drip { bytes: 0, .. }) => return Err(FaultError::Drip(at)),
            Some(Action::Drip { every_ms, .. }) if too_long(every_ms) => return Err(FaultError::Delay(at)),
            _ if too_long(fault.latency_ms) => return Err(FaultError::Delay(at)),
            _ => (),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn faults(json: serde_json::Value) -> Faults {
        let faults = Faults::default();
        faults.set(serde_json::from_value(json).unwrap()).unwrap();
        faults
    }

    #[test]
    fn every_way_to_misbehave_can_be_written_in_json() {
        for (action, expected) in [
            (json!({"status": 503}), Action::Status(503)),
            (json!("hang"), Action::Hang),
            (json!({"close": "before-headers"}), Action::Close(Close::BeforeHeaders)),
            (json!({"close": "after-headers"}), Action::Close(Close::AfterHeaders)),
            (json!({"wrong-content": "html"}), Action::WrongContent(WrongContent::Html)),
            (json!({"wrong-content": "content-length-short"}), Action::WrongContent(WrongContent::ContentLengthShort)),
            (json!({"drip": {"bytes": 1, "every_ms": 50}}), Action::Drip { bytes: 1, every_ms: 50 }),
        ] {
            let faults = faults(json!({"faults": [{"action": action}]}));
            let met = faults.meet(&Method::GET, "/x").unwrap();
            assert_eq!(met.action, Some(expected), "{action}");
        }
    }

    #[test]
    fn a_rule_keeps_to_its_method_path_and_times() {
        let faults = faults(json!({"faults": [
            {"only": {"method": "POST", "path_prefix": "/pay"}, "times": 2, "action": "hang"},
            {"only": {"path_prefix": "/slow"}, "latency_ms": 20},
        ]}));
        let meet = |method: &Method, path: &str| faults.meet(method, path).is_some();
        assert!(!meet(&Method::GET, "/pay/1"), "another method");
        assert!(!meet(&Method::POST, "/other"), "another path");
        assert!(meet(&Method::POST, "/pay/1") && meet(&Method::POST, "/pay/2"));
        assert!(!meet(&Method::POST, "/pay/3"), "used up");
        assert_eq!(faults.meet(&Method::GET, "/slow").unwrap().latency, Duration::from_millis(20));
    }

    #[test]
    fn health_checks_are_spared_unless_named() {
        let all = faults(json!({"faults": [{"action": "hang"}]}));
        assert!(all.meet(&Method::GET, HEALTH_PATH).is_none() && all.meet(&Method::GET, "/x").is_some());
        let health = faults(json!({"faults": [{"only": {"path_prefix": "/healthz"}, "action": "hang"}]}));
        assert!(health.meet(&Method::GET, HEALTH_PATH).is_some() && health.meet(&Method::GET, "/x").is_none());
    }

    #[test]
    fn the_same_seed_gives_the_same_faults() {
        let run = |seed: u64| {
            let faults = faults(json!({"seed": seed, "faults": [{"probability": 0.3, "action": "hang"}]}));
            (0..1000).map(|_| faults.meet(&Method::GET, "/").is_some()).collect::<Vec<_>>()
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
        let hit = run(7).iter().filter(|hit| **hit).count();
        assert!((250..350).contains(&hit), "{hit} of 1000");
    }

    #[test]
    fn what_makes_no_sense_is_refused_and_changes_nothing() {
        for (name, set) in [
            ("unknown member", json!({"faults": [{"delay": 1}]})),
            ("unknown action", json!({"faults": [{"action": "explode"}]})),
            ("probability", json!({"faults": [{"probability": 1.5}]})),
            ("no fault", json!({"faults": [{"action": {"status": 200}}]})),
            ("delay", json!({"faults": [{"latency_ms": 700_000}]})),
            ("drip of nothing", json!({"faults": [{"action": {"drip": {"bytes": 0, "every_ms": 1}}}]})),
            ("method", json!({"faults": [{"only": {"method": "a b"}}]})),
            ("too many", json!({"faults": vec![json!({}); 65]})),
        ] {
            let faults = faults(json!({"faults": [{"action": "hang"}]}));
            let outcome = serde_json::from_value(set).map(|set| faults.set(set));
            assert!(!matches!(outcome, Ok(Ok(()))), "{name}");
            assert!(faults.meet(&Method::GET, "/").is_some(), "{name}: the former rule stands");
        }
    }
}
