//! The insurer's book: quotes, policies and claims, and how a claim lives.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::price::{Price, money};
use crate::domain::Timestamp;
use crate::sandbox::dice::Dice;
use crate::sandbox::text::{date, midnight, parse_date};

/// Most quotes, policies and claims kept, each; the oldest goes first.
const KEPT_MAX: usize = 10_000;
const QUOTE_LIFE: Duration = Duration::from_hours(30 * 24);
const YEAR: Duration = Duration::from_hours(365 * 24);
const ASSESSING_AFTER: Duration = Duration::from_secs(2);
const DECIDED_AFTER: Duration = Duration::from_secs(5);
const SETTLED_AFTER: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    Motor,
    Home,
}

impl Line {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Motor => "motor",
            Self::Home => "home",
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Quote {
    pub id: String,
    pub line: Line,
    pub price: Price,
    pub start: Timestamp,
    pub created: Timestamp,
    pub accepted: bool,
}

impl Quote {
    pub fn valid_until(&self) -> Timestamp {
        self.created.plus(QUOTE_LIFE)
    }

    pub fn status(&self, now: Timestamp) -> &'static str {
        match self.accepted {
            true => "accepted",
            false if now >= self.valid_until() => "expired",
            false => "open",
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Policy {
    pub id: String,
    pub quote_id: Option<String>,
    pub line: Line,
    pub holder: Value,
    pub monthly: bool,
    pub price: Price,
    pub start: Timestamp,
    pub cancelled: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum PolicyStatus {
    Active,
    Cancelled,
    Expired,
}

impl PolicyStatus {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }
}

impl Policy {
    /// The first moment without cover.
    pub fn end(&self) -> Timestamp {
        self.start.plus(YEAR)
    }

    pub fn status(&self, now: Timestamp) -> PolicyStatus {
        match self.cancelled {
            Some(_) => PolicyStatus::Cancelled,
            None if now >= self.end() => PolicyStatus::Expired,
            None => PolicyStatus::Active,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClaimStatus {
    Notified,
    Assessing,
    Approved,
    Declined,
    Settled,
    Withdrawn,
}

impl ClaimStatus {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Notified => "notified",
            Self::Assessing => "assessing",
            Self::Approved => "approved",
            Self::Declined => "declined",
            Self::Settled => "settled",
            Self::Withdrawn => "withdrawn",
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Claim {
    pub id: String,
    pub policy_id: String,
    pub incident: Value,
    pub claimed_minor: i64,
    pub notified: Timestamp,
    pub withdrawn: Option<Timestamp>,
    /// What would be paid; absent if the policy does not cover as much.
    pub settlement_minor: Option<i64>,
}

impl Claim {
    /// Every status so far, oldest first.
    pub fn history(&self, now: Timestamp) -> Vec<(ClaimStatus, Timestamp)> {
        let after = |status, span| (status, self.notified.plus(span));
        let mut steps =
            vec![after(ClaimStatus::Notified, Duration::ZERO), after(ClaimStatus::Assessing, ASSESSING_AFTER)];
        if self.settlement_minor.is_some() {
            steps.push(after(ClaimStatus::Approved, DECIDED_AFTER));
            steps.push(after(ClaimStatus::Settled, SETTLED_AFTER));
        } else {
            steps.push(after(ClaimStatus::Declined, DECIDED_AFTER));
        }
        steps.retain(|(_, at)| *at <= self.withdrawn.unwrap_or(now));
        if let Some(at) = self.withdrawn {
            steps.push((ClaimStatus::Withdrawn, at));
        }
        steps
    }

    pub fn status(&self, now: Timestamp) -> ClaimStatus {
        self.history(now).pop().map_or(ClaimStatus::Notified, |(status, _)| status)
    }
}

/// Why the insurer refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum BookError {
    #[error("There is no quote with this id.")]
    NoQuote,
    #[error("There is no policy with this id.")]
    NoPolicy,
    #[error("There is no claim with this id.")]
    NoClaim,
    #[error("The quote has been accepted already.")]
    QuoteUsed,
    #[error("The quote does not hold any more.")]
    QuoteExpired,
    #[error("The policy is not active.")]
    PolicyNotActive,
    #[error("The claim has been decided.")]
    ClaimDecided,
}

#[derive(Debug, Default)]
pub(super) struct Book {
    quotes: BTreeMap<String, Quote>,
    policies: BTreeMap<String, Policy>,
    claims: BTreeMap<String, Claim>,
    made: [u32; 3],
}

/// Which of the three series an id is of.
#[derive(Debug, Clone, Copy)]
enum Series {
    Quote,
    Policy,
    Claim,
}

impl Book {
    /// Two dozen policies and a few claims.
    pub fn seeded(seed: u64, now: Timestamp) -> Self {
        let mut book = Self::default();
        let mut dice = Dice::named(seed, "insurer");
        for number in 0..24_u64 {
            book.seed_policy(number, now, &mut dice);
        }
        book
    }

    fn seed_policy(&mut self, number: u64, now: Timestamp, dice: &mut Dice) {
        const HOLDERS: [&str; 8] = [
            "Amara Okafor",
            "Rhys Bevan",
            "Priya Nair",
            "Tomasz Zielinski",
            "Eilidh Murray",
            "Yusuf Demir",
            "Grace Whitlock",
            "Ngozi Adeyemi",
        ];
        const TOWNS: [(&str, &str); 4] =
            [("Sparsholt", "GU31 2ZZ"), ("Ottery", "EX11 1ZZ"), ("Fernhill", "SN6 8TY"), ("Larkbeck", "LA9 4ZZ")];
        let name = dice.pick(&HOLDERS).copied().unwrap_or("Amara Okafor");
        let (town, postcode) = dice.pick(&TOWNS).copied().unwrap_or(("Sparsholt", "GU31 2ZZ"));
        let email = format!("{}@example.org", name.to_lowercase().replace(' ', "."));
        let holder = json!({
            "name": name,
            "email": email,
            "address": { "line1": format!("{} Acacia Avenue", number + 1), "town": town, "postcode": postcode },
        });
        let line = if dice.chance(600) { Line::Motor } else { Line::Home };
        let sum_insured_minor = dice.between(4_000, 30_000) * 100;
        let price = Price {
            annual_minor: 28_000 + sum_insured_minor / 50,
            sum_insured_minor,
            excess_minor: 25_000,
            factors: Vec::new(),
        };
        // Three in four are in their first year, the others have ended.
        let days_ago = if number % 4 == 3 { 400 + dice.below(300) } else { 10 + dice.below(300) };
        let start = midnight(now).minus(Duration::from_hours(24 * days_ago));
        let id = self.next_id(Series::Policy);
        let policy =
            Policy { id, quote_id: None, line, holder, monthly: dice.chance(500), price, start, cancelled: None };
        if number.is_multiple_of(3) {
            let occurred = start.plus(Duration::from_hours(24 * 5));
            let incident = json!({
                "kind": if line == Line::Motor { "accident" } else { "storm" },
                "occurredOn": date(occurred),
                "description": "Damage reported by telephone and documented with photographs.",
            });
            let claimed_minor = dice.between(200, 2_000) * 100;
            let notified = occurred.plus(Duration::from_hours(30));
            self.add_claim(&policy, incident, claimed_minor, notified);
        }
        keep(&mut self.policies, policy.id.clone(), policy);
    }

    pub fn add_quote(&mut self, line: Line, price: Price, start: Timestamp, now: Timestamp) -> Quote {
        let id = self.next_id(Series::Quote);
        let quote = Quote { id, line, price, start, created: now, accepted: false };
        keep(&mut self.quotes, quote.id.clone(), quote.clone());
        quote
    }

    pub fn quote(&self, id: &str) -> Result<&Quote, BookError> {
        self.quotes.get(id).ok_or(BookError::NoQuote)
    }

    /// Makes the policy of a quote, once.
    pub fn accept(
        &mut self,
        quote_id: &str,
        holder: Value,
        monthly: bool,
        now: Timestamp,
    ) -> Result<Policy, BookError> {
        let id = self.next_id(Series::Policy);
        let quote = self.quotes.get_mut(quote_id).ok_or(BookError::NoQuote)?;
        if quote.accepted {
            return Err(BookError::QuoteUsed);
        }
        if now >= quote.valid_until() {
            return Err(BookError::QuoteExpired);
        }
        quote.accepted = true;
        let policy = Policy {
            id,
            quote_id: Some(quote_id.to_owned()),
            line: quote.line,
            holder,
            monthly,
            price: quote.price.clone(),
            start: quote.start,
            cancelled: None,
        };
        keep(&mut self.policies, policy.id.clone(), policy.clone());
        Ok(policy)
    }

    pub fn policy(&self, id: &str) -> Result<&Policy, BookError> {
        self.policies.get(id).ok_or(BookError::NoPolicy)
    }

    pub fn cancel(&mut self, id: &str, now: Timestamp) -> Result<Policy, BookError> {
        let policy = self.policies.get_mut(id).ok_or(BookError::NoPolicy)?;
        if policy.status(now) != PolicyStatus::Active {
            return Err(BookError::PolicyNotActive);
        }
        policy.cancelled = Some(now);
        Ok(policy.clone())
    }

    /// Newest first, from below the cursor.
    pub fn policies<'a>(&'a self, below: Option<&str>) -> impl Iterator<Item = &'a Policy> + use<'a> {
        descending(&self.policies, below)
    }

    pub fn notify(&mut self, asked: &Value, now: Timestamp) -> Result<Claim, BookError> {
        let policy_id = asked.get("policyId").and_then(Value::as_str).unwrap_or_default();
        let policy = self.policy(policy_id)?.clone();
        if policy.status(now) != PolicyStatus::Active {
            return Err(BookError::PolicyNotActive);
        }
        let incident = asked.get("incident").cloned().unwrap_or_default();
        Ok(self.add_claim(&policy, incident, money(asked, "/claimed").unwrap_or(0), now))
    }

    fn add_claim(&mut self, policy: &Policy, incident: Value, claimed_minor: i64, notified: Timestamp) -> Claim {
        let covered = claimed_minor <= policy.price.sum_insured_minor;
        let claim = Claim {
            id: self.next_id(Series::Claim),
            policy_id: policy.id.clone(),
            incident,
            claimed_minor,
            notified,
            withdrawn: None,
            settlement_minor: covered.then(|| claimed_minor.saturating_sub(policy.price.excess_minor).max(0)),
        };
        keep(&mut self.claims, claim.id.clone(), claim.clone());
        claim
    }

    pub fn claim(&self, id: &str) -> Result<&Claim, BookError> {
        self.claims.get(id).ok_or(BookError::NoClaim)
    }

    pub fn withdraw(&mut self, id: &str, now: Timestamp) -> Result<Claim, BookError> {
        let claim = self.claims.get_mut(id).ok_or(BookError::NoClaim)?;
        match claim.status(now) {
            ClaimStatus::Notified | ClaimStatus::Assessing => claim.withdrawn = Some(now),
            ClaimStatus::Approved | ClaimStatus::Declined | ClaimStatus::Settled | ClaimStatus::Withdrawn => {
                return Err(BookError::ClaimDecided);
            }
        }
        Ok(claim.clone())
    }

    /// Newest first, from below the cursor.
    pub fn claims<'a>(&'a self, below: Option<&str>) -> impl Iterator<Item = &'a Claim> + use<'a> {
        descending(&self.claims, below)
    }

    fn next_id(&mut self, series: Series) -> String {
        let (at, prefix) = match series {
            Series::Quote => (0, "quo"),
            Series::Policy => (1, "pol"),
            Series::Claim => (2, "clm"),
        };
        let number = self.made.get_mut(at).map_or(0, |made| {
            *made = made.saturating_add(1);
            *made
        });
        format!("{prefix}-{number:08}")
    }
}

/// Reads a start date; absent means today.
pub(super) fn start_date(asked: &Value, now: Timestamp) -> Option<Timestamp> {
    let today = midnight(now);
    match asked.get("startDate").and_then(Value::as_str) {
        None => Some(today),
        Some(text) => parse_date(text).filter(|start| *start >= today),
    }
}

fn descending<'a, T>(map: &'a BTreeMap<String, T>, below: Option<&str>) -> impl Iterator<Item = &'a T> + use<'a, T> {
    let end = below.map_or(std::ops::Bound::Unbounded, |id| std::ops::Bound::Excluded(id.to_owned()));
    map.range::<String, _>((std::ops::Bound::Unbounded, end)).rev().map(|(_, value)| value)
}

fn keep<T>(map: &mut BTreeMap<String, T>, id: String, value: T) {
    if map.len() >= KEPT_MAX {
        map.pop_first();
    }
    map.insert(id, value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::testing::NOW;

    fn claim_of(policy: &Policy, amount: &str) -> Value {
        json!({
            "policyId": policy.id,
            "incident": { "kind": "theft" },
            "claimed": { "amount": amount, "currency": "GBP" },
        })
    }

    fn sold() -> (Book, Policy) {
        let mut book = Book::default();
        let price =
            Price { annual_minor: 30_000, sum_insured_minor: 500_000, excess_minor: 10_000, factors: Vec::new() };
        let quote = book.add_quote(Line::Motor, price, midnight(NOW), NOW);
        let policy = book.accept(&quote.id, json!({}), true, NOW).unwrap();
        (book, policy)
    }

    #[test]
    fn a_claim_lives_by_the_clock() {
        for (name, amount, after_secs, expected) in [
            ("at once", "640.00", 0, ClaimStatus::Notified),
            ("assessing", "640.00", 2, ClaimStatus::Assessing),
            ("approved", "640.00", 5, ClaimStatus::Approved),
            ("settled", "640.00", 10, ClaimStatus::Settled),
            ("the whole sum", "5000.00", 5, ClaimStatus::Approved),
            ("more than is covered", "5000.01", 5, ClaimStatus::Declined),
            ("declined for good", "5000.01", 60, ClaimStatus::Declined),
        ] {
            let (mut book, policy) = sold();
            let claim = book.notify(&claim_of(&policy, amount), NOW).unwrap();
            assert_eq!(claim.status(NOW.plus(Duration::from_secs(after_secs))), expected, "{name}");
        }
    }

    #[test]
    fn a_claim_can_be_withdrawn_until_it_is_decided() {
        for (after_secs, possible) in [(0, true), (4, true), (5, false), (20, false)] {
            let (mut book, policy) = sold();
            let id = book.notify(&claim_of(&policy, "640.00"), NOW).unwrap().id;
            let at = NOW.plus(Duration::from_secs(after_secs));
            assert_eq!(book.withdraw(&id, at).is_ok(), possible, "after {after_secs} s");
            if possible {
                let later = at.plus(Duration::from_mins(1));
                assert_eq!(book.claim(&id).unwrap().status(later), ClaimStatus::Withdrawn, "for good");
                assert_eq!(book.withdraw(&id, later).unwrap_err(), BookError::ClaimDecided);
            }
        }
    }

    #[test]
    fn a_quote_makes_one_policy_and_only_while_it_holds() {
        let (mut book, policy) = sold();
        let quote = policy.quote_id.clone().unwrap();
        assert_eq!(book.accept(&quote, json!({}), true, NOW).unwrap_err(), BookError::QuoteUsed);
        let late = book.add_quote(Line::Home, policy.price, midnight(NOW), NOW);
        assert_eq!(book.accept(&late.id, json!({}), true, NOW.plus(QUOTE_LIFE)).unwrap_err(), BookError::QuoteExpired);
        assert_eq!(book.accept("quo-99999999", json!({}), true, NOW).unwrap_err(), BookError::NoQuote);
    }

    #[test]
    fn without_cover_there_is_no_claim() {
        let (mut book, policy) = sold();
        assert_eq!(book.notify(&claim_of(&policy, "1.00"), policy.end()).unwrap_err(), BookError::PolicyNotActive);
        book.cancel(&policy.id, NOW).unwrap();
        assert_eq!(book.notify(&claim_of(&policy, "1.00"), NOW).unwrap_err(), BookError::PolicyNotActive);
        assert_eq!(book.cancel(&policy.id, NOW).unwrap_err(), BookError::PolicyNotActive);
    }

    #[test]
    fn the_seeded_book_has_all_sorts() {
        let book = Book::seeded(1, NOW);
        let statuses: std::collections::BTreeSet<_> = book.policies(None).map(|policy| policy.status(NOW)).collect();
        assert_eq!(statuses, [PolicyStatus::Active, PolicyStatus::Expired].into());
        assert!(book.claims(None).count() >= 8);
        let ids: Vec<_> = book.policies(None).map(|policy| policy.id.clone()).collect();
        let below: Vec<_> = book.policies(Some(&ids[9])).map(|policy| policy.id.clone()).collect();
        assert_eq!(below, ids[10..], "a cursor goes on where it stopped");
    }
}
