//! Consents and payments: what was asked for, what was allowed, what became of it.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use serde_json::Value;

use super::ledger::{Ledger, Posting};
use crate::domain::{Currency, Money, Timestamp};

/// Most consents, payments and idempotency keys kept, each; the oldest goes first.
const KEPT_MAX: usize = 10_000;
/// UK Read/Write API, idempotency: a key holds for 24 hours.
const KEY_LIFE: Duration = Duration::from_hours(24);
/// A payment is in settlement after this, and settled after five times this.
const SETTLEMENT_STEP: Duration = Duration::from_secs(1);

/// v4.0 statuses of consents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConsentStatus {
    Awau,
    Auth,
    Rjct,
    Cond,
}

impl ConsentStatus {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Awau => "AWAU",
            Self::Auth => "AUTH",
            Self::Rjct => "RJCT",
            Self::Cond => "COND",
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Consent {
    pub id: String,
    /// `Data` and `Risk` as they were sent.
    pub asked: Value,
    pub status: ConsentStatus,
    pub created: Timestamp,
    pub updated: Timestamp,
}

#[derive(Debug, Clone)]
pub(super) struct Payment {
    pub id: String,
    pub consent_id: String,
    pub initiation: Value,
    pub created: Timestamp,
    /// The debtor's bank had not the money.
    pub rejected: bool,
}

/// v4.0 statuses that a payment passes here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PaymentStatus {
    Rcvd,
    Acsp,
    Acsc,
    Rjct,
}

impl PaymentStatus {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rcvd => "RCVD",
            Self::Acsp => "ACSP",
            Self::Acsc => "ACSC",
            Self::Rjct => "RJCT",
        }
    }
}

impl Payment {
    /// Every status so far, oldest first.
    pub fn history(&self, now: Timestamp) -> Vec<(PaymentStatus, Timestamp)> {
        if self.rejected {
            return vec![(PaymentStatus::Rjct, self.created)];
        }
        let steps = [
            (PaymentStatus::Rcvd, self.created),
            (PaymentStatus::Acsp, self.created.plus(SETTLEMENT_STEP)),
            (PaymentStatus::Acsc, self.created.plus(SETTLEMENT_STEP * 5)),
        ];
        steps.into_iter().filter(|(_, at)| *at <= now).collect()
    }

    /// The present status and since when.
    pub fn status(&self, now: Timestamp) -> (PaymentStatus, Timestamp) {
        self.history(now).pop().unwrap_or((PaymentStatus::Rcvd, self.created))
    }

    pub fn settles_at(&self) -> Timestamp {
        self.created.plus(SETTLEMENT_STEP * 5)
    }
}

/// Why the desk refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum DeskError {
    #[error("There is no consent with this id.")]
    NoConsent,
    #[error("There is no payment with this id.")]
    NoPayment,
    #[error("The consent's status does not allow this.")]
    ConsentStatus,
    #[error("Initiation or Risk differs from the consent's.")]
    ConsentMismatch,
    #[error("This key was used before with another body.")]
    KeyReused,
    #[error("Payments are made in GBP only.")]
    Currency,
    #[error("The amount must be above zero and have at most two decimals.")]
    Amount,
}

/// Which request an idempotency key came with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Endpoint {
    Consents,
    Payments,
}

#[derive(Debug)]
struct UsedKey {
    digest: [u8; 32],
    id: String,
    first_seen: Timestamp,
}

/// An idempotency key with the digest of the body that it came with.
#[derive(Debug, Clone)]
pub(super) struct Key {
    pub text: String,
    pub digest: [u8; 32],
}

#[derive(Debug, Default)]
pub(super) struct Desk {
    account_consents: BTreeMap<String, Consent>,
    payment_consents: BTreeMap<String, Consent>,
    payments: BTreeMap<String, Payment>,
    keys: HashMap<(Endpoint, String), UsedKey>,
    made: u64,
}

impl Desk {
    pub fn ask_account_access(&mut self, asked: Value, now: Timestamp) -> Consent {
        let id = self.next_id("acon");
        let consent = Consent { id, asked, status: ConsentStatus::Awau, created: now, updated: now };
        keep(&mut self.account_consents, consent.id.clone(), consent.clone());
        consent
    }

    pub fn account_consent(&self, id: &str) -> Result<&Consent, DeskError> {
        self.account_consents.get(id).ok_or(DeskError::NoConsent)
    }

    pub fn delete_account_consent(&mut self, id: &str) -> Result<(), DeskError> {
        self.account_consents.remove(id).map(drop).ok_or(DeskError::NoConsent)
    }

    /// Registers a payment consent, or finds the one that this key has registered.
    pub fn ask_payment(&mut self, asked: Value, key: &Key, now: Timestamp) -> Result<Consent, DeskError> {
        if let Some(id) = self.replayed(Endpoint::Consents, key, now)? {
            return self.payment_consent(&id).cloned();
        }
        let amount = amount(asked.pointer("/Data/Initiation"))?;
        let created =
            Consent { id: self.next_id("pcon"), asked, status: ConsentStatus::Awau, created: now, updated: now };
        let decided = Consent { status: decide(amount), ..created.clone() };
        self.remember(Endpoint::Consents, key, &created.id, now);
        keep(&mut self.payment_consents, created.id.clone(), decided);
        Ok(created)
    }

    pub fn payment_consent(&self, id: &str) -> Result<&Consent, DeskError> {
        self.payment_consents.get(id).ok_or(DeskError::NoConsent)
    }

    /// Whether the money is there. The consent must be authorised and stays as it is.
    pub fn funds_available(&self, id: &str, ledger: &Ledger) -> Result<bool, DeskError> {
        let consent = self.payment_consent(id)?;
        if consent.status != ConsentStatus::Auth {
            return Err(DeskError::ConsentStatus);
        }
        let initiation = consent.asked.pointer("/Data/Initiation");
        let amount = amount(initiation)?;
        let Some(debtor) = debtor(initiation) else { return Ok(true) };
        let account = ledger.account_by_number(debtor);
        Ok(account.is_some_and(|account| account.available_minor() >= amount.minor_units()))
    }

    /// Carries a consent out, once; with a known key it finds the payment instead.
    pub fn pay(&mut self, asked: &Value, key: &Key, ledger: &mut Ledger, now: Timestamp) -> Result<Payment, DeskError> {
        if let Some(id) = self.replayed(Endpoint::Payments, key, now)? {
            return self.payment(&id).cloned();
        }
        let consent_id = asked.pointer("/Data/ConsentId").and_then(Value::as_str).unwrap_or_default();
        let consent = self.payment_consents.get_mut(consent_id).ok_or(DeskError::NoConsent)?;
        if consent.status != ConsentStatus::Auth {
            return Err(DeskError::ConsentStatus);
        }
        let same = |pointer: &str| asked.pointer(pointer) == consent.asked.pointer(pointer);
        if !same("/Data/Initiation") || !same("/Risk") {
            return Err(DeskError::ConsentMismatch);
        }
        let initiation = asked.pointer("/Data/Initiation").cloned().unwrap_or_default();
        let amount = amount(Some(&initiation))?;
        consent.status = ConsentStatus::Cond;
        consent.updated = now;
        let rejected = debtor(Some(&initiation)).is_some_and(|debtor| {
            let posting = posting(&initiation, amount, now);
            !ledger.debit(debtor, posting)
        });
        let id = self.next_id("pay");
        let payment = Payment { id, consent_id: consent_id.to_owned(), initiation, created: now, rejected };
        self.remember(Endpoint::Payments, key, &payment.id, now);
        keep(&mut self.payments, payment.id.clone(), payment.clone());
        Ok(payment)
    }

    pub fn payment(&self, id: &str) -> Result<&Payment, DeskError> {
        self.payments.get(id).ok_or(DeskError::NoPayment)
    }

    /// Ids grow, so that the first in a map is the oldest.
    fn next_id(&mut self, prefix: &str) -> String {
        self.made = self.made.saturating_add(1);
        format!("{prefix}-{:08}", self.made)
    }

    fn replayed(&self, endpoint: Endpoint, key: &Key, now: Timestamp) -> Result<Option<String>, DeskError> {
        match self.keys.get(&(endpoint, key.text.clone())) {
            Some(used) if now.since(used.first_seen) >= KEY_LIFE => Ok(None),
            Some(used) if used.digest != key.digest => Err(DeskError::KeyReused),
            Some(used) => Ok(Some(used.id.clone())),
            None => Ok(None),
        }
    }

    fn remember(&mut self, endpoint: Endpoint, key: &Key, id: &str, now: Timestamp) {
        if self.keys.len() >= KEPT_MAX {
            self.keys.retain(|_, used| now.since(used.first_seen) < KEY_LIFE);
        }
        if self.keys.len() >= KEPT_MAX {
            let oldest = self.keys.iter().min_by_key(|(_, used)| used.first_seen).map(|(key, _)| key.clone());
            oldest.map(|oldest| self.keys.remove(&oldest));
        }
        let used = UsedKey { digest: key.digest, id: id.to_owned(), first_seen: now };
        self.keys.insert((endpoint, key.text.clone()), used);
    }
}

/// The test customer's mood, read from the pence.
fn decide(amount: Money) -> ConsentStatus {
    match amount.minor_units() % 100 {
        66 => ConsentStatus::Rjct,
        77 => ConsentStatus::Awau,
        _ => ConsentStatus::Auth,
    }
}

fn amount(initiation: Option<&Value>) -> Result<Money, DeskError> {
    let text = |pointer| initiation.and_then(|initiation| initiation.pointer(pointer)).and_then(Value::as_str);
    let currency = text("/InstructedAmount/Currency").unwrap_or_default();
    if currency != "GBP" {
        return Err(DeskError::Currency);
    }
    let currency = Currency::parse(currency).map_err(|_| DeskError::Currency)?;
    let amount = Money::parse(text("/InstructedAmount/Amount").unwrap_or_default(), currency);
    amount.ok().filter(|amount| amount.minor_units() > 0).ok_or(DeskError::Amount)
}

fn debtor(initiation: Option<&Value>) -> Option<&str> {
    initiation?.pointer("/DebtorAccount/Identification")?.as_str()
}

fn posting(initiation: &Value, amount: Money, now: Timestamp) -> Posting {
    let payee = initiation.pointer("/CreditorAccount/Name").and_then(Value::as_str).unwrap_or("another account");
    Posting {
        minor_units: amount.minor_units().saturating_neg(),
        at: now,
        information: format!("Payment to {payee}"),
        sub_code: "ICDT",
        merchant: None,
    }
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
    use serde_json::json;

    fn key(text: &str, body: &Value) -> Key {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, body.to_string().as_bytes());
        Key { text: text.into(), digest: digest.as_ref().try_into().unwrap() }
    }

    fn asked(amount: &str, debtor: Option<&str>) -> Value {
        let mut initiation = json!({
            "InstructionIdentification": "i",
            "InstructedAmount": { "Amount": amount, "Currency": "GBP" },
            "CreditorAccount": { "SchemeName": "UK.OBIE.SortCodeAccountNumber", "Identification": "00001012345678" },
        });
        if let Some(debtor) = debtor {
            initiation["DebtorAccount"] =
                json!({ "SchemeName": "UK.OBIE.SortCodeAccountNumber", "Identification": debtor });
        }
        json!({ "Data": { "Initiation": initiation }, "Risk": {} })
    }

    fn payment_of(consent: &Consent) -> Value {
        let mut body = consent.asked.clone();
        body["Data"]["ConsentId"] = consent.id.as_str().into();
        body
    }

    struct Scene {
        desk: Desk,
        ledger: Ledger,
    }

    impl Scene {
        fn new() -> Self {
            Self { desk: Desk::default(), ledger: Ledger::seeded(1, NOW) }
        }

        fn consent(&mut self, asked: Value) -> Consent {
            let key = key(&format!("consent of {asked}"), &asked);
            let created = self.desk.ask_payment(asked, &key, NOW).unwrap();
            self.desk.payment_consent(&created.id).unwrap().clone()
        }

        fn pay(&mut self, text: &str, body: &Value, now: Timestamp) -> Result<Payment, DeskError> {
            self.desk.pay(body, &key(text, body), &mut self.ledger, now)
        }
    }

    #[test]
    fn the_pence_decide_what_the_customer_does() {
        for (amount, expected) in [
            ("10.00", ConsentStatus::Auth),
            ("10", ConsentStatus::Auth),
            ("10.66", ConsentStatus::Rjct),
            ("10.77", ConsentStatus::Awau),
        ] {
            assert_eq!(Scene::new().consent(asked(amount, None)).status, expected, "{amount}");
        }
        for (name, amount) in [("nothing", "0.00"), ("a third decimal", "1.005")] {
            let body = asked(amount, None);
            assert_eq!(
                Desk::default().ask_payment(body.clone(), &key("k", &body), NOW).unwrap_err(),
                DeskError::Amount,
                "{name}"
            );
        }
    }

    #[test]
    fn a_consent_is_carried_out_once() {
        let mut scene = Scene::new();
        let consent = scene.consent(asked("10.00", None));
        let body = payment_of(&consent);
        let payment = scene.pay("first", &body, NOW).unwrap();
        assert_eq!(scene.desk.payment_consent(&consent.id).unwrap().status, ConsentStatus::Cond);
        assert_eq!(scene.pay("second", &body, NOW).unwrap_err(), DeskError::ConsentStatus);
        let again = scene.pay("first", &body, NOW.plus(KEY_LIFE - Duration::from_secs(1))).unwrap();
        assert_eq!(again.id, payment.id, "a replay finds the payment");
        let late = scene.pay("first", &body, NOW.plus(KEY_LIFE));
        assert_eq!(late.unwrap_err(), DeskError::ConsentStatus, "a day later the key is fresh");
        let mut other = body;
        other["Risk"] = json!({ "ContractPresentIndicator": true });
        assert_eq!(scene.pay("first", &other, NOW).unwrap_err(), DeskError::KeyReused);
    }

    #[test]
    fn a_payment_differs_in_nothing_from_its_consent() {
        for (name, pointer, value) in [
            ("amount", "/Data/Initiation/InstructedAmount/Amount", json!("10.01")),
            ("creditor", "/Data/Initiation/CreditorAccount/Identification", json!("00001087654321")),
            ("risk", "/Risk", json!({ "ContractPresentIndicator": true })),
        ] {
            let mut scene = Scene::new();
            let mut body = payment_of(&scene.consent(asked("10.00", None)));
            *body.pointer_mut(pointer).unwrap() = value;
            assert_eq!(scene.pay("k", &body, NOW).unwrap_err(), DeskError::ConsentMismatch, "{name}");
        }
    }

    #[test]
    fn without_an_authorised_consent_nothing_is_paid() {
        let mut scene = Scene::new();
        for amount in ["10.66", "10.77"] {
            let consent = scene.consent(asked(amount, None));
            assert_eq!(scene.pay(amount, &payment_of(&consent), NOW).unwrap_err(), DeskError::ConsentStatus);
            assert_eq!(scene.desk.funds_available(&consent.id, &scene.ledger), Err(DeskError::ConsentStatus));
        }
        let mut body = asked("1.00", None);
        body["Data"]["ConsentId"] = "pcon-99999999".into();
        assert_eq!(scene.pay("none", &body, NOW).unwrap_err(), DeskError::NoConsent);
    }

    #[test]
    fn money_leaves_the_debtor_once_and_only_if_it_is_there() {
        let mut scene = Scene::new();
        let account = scene.ledger.accounts()[0].clone();
        let number = account.sort_code_account.as_str();
        let rich = scene.consent(asked("1.00", Some(number)));
        assert_eq!(scene.desk.funds_available(&rich.id, &scene.ledger), Ok(true));
        let paid = scene.pay("rich", &payment_of(&rich), NOW).unwrap();
        scene.pay("rich", &payment_of(&rich), NOW).unwrap();
        assert!(!paid.rejected);
        assert_eq!(scene.ledger.accounts()[0].balance_minor, account.balance_minor - 100);
        let poor = scene.consent(asked("99999999.00", Some(number)));
        assert_eq!(scene.desk.funds_available(&poor.id, &scene.ledger), Ok(false));
        assert!(scene.pay("poor", &payment_of(&poor), NOW).unwrap().rejected);
        assert_eq!(scene.ledger.accounts()[0].balance_minor, account.balance_minor - 100);
    }

    #[test]
    fn a_payment_settles_with_time() {
        let mut scene = Scene::new();
        let consent = scene.consent(asked("1.00", None));
        let payment = scene.pay("k", &payment_of(&consent), NOW).unwrap();
        for (after_secs, expected) in [(0, PaymentStatus::Rcvd), (1, PaymentStatus::Acsp), (5, PaymentStatus::Acsc)] {
            let now = NOW.plus(Duration::from_secs(after_secs));
            assert_eq!(payment.status(now).0, expected, "after {after_secs} s");
        }
        assert_eq!(payment.history(NOW.plus(Duration::from_mins(1))).len(), 3);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut desk = Desk::default();
        for n in 0..KEPT_MAX + 5 {
            let body = asked("1.00", None);
            desk.ask_payment(body.clone(), &key(&n.to_string(), &body), NOW).unwrap();
        }
        assert_eq!((desk.payment_consents.len(), desk.keys.len()), (KEPT_MAX, KEPT_MAX));
        assert_eq!(desk.payment_consent("pcon-00000001").unwrap_err(), DeskError::NoConsent, "the oldest has gone");
    }
}
