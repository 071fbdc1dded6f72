//! The fintech's books: wallets, transfers, scores, offers.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use crate::domain::Timestamp;
use crate::sandbox::dice::Dice;
use crate::sandbox::text::midnight;

/// Most transfers, offers and idempotency keys kept, each; the oldest goes first.
const KEPT_MAX: usize = 10_000;
const KEY_LIFE: Duration = Duration::from_hours(24);
const OFFER_LIFE: Duration = Duration::from_hours(7 * 24);
const FIRST_CUSTOMER: u64 = 1001;
const FIRST_WALLET: u64 = 2001;
const CUSTOMERS: u64 = 8;

#[derive(Debug, Clone)]
pub(super) struct Wallet {
    pub id: String,
    pub customer_id: String,
    pub currency: &'static str,
    pub frozen: bool,
    pub label: Option<&'static str>,
    pub created: Timestamp,
    pub balance_minor: i64,
}

#[derive(Debug, Clone)]
pub(super) struct Transfer {
    pub id: String,
    pub from: String,
    pub to: String,
    pub minor_units: i64,
    pub currency: &'static str,
    pub note: Option<String>,
    pub created: Timestamp,
}

/// What shall be moved.
#[derive(Debug, Clone)]
pub(super) struct Order<'a> {
    pub from: &'a str,
    pub to: &'a str,
    pub minor_units: i64,
    pub currency: &'a str,
    pub note: Option<&'a str>,
    pub key: &'a str,
    /// Of the wallet and the body, so that a key cannot be used for something else.
    pub digest: [u8; 32],
}

#[derive(Debug, Clone)]
pub(super) struct Offer {
    pub id: String,
    pub customer_id: String,
    pub minor_units: i64,
    pub currency: &'static str,
    pub term_months: i64,
    /// Tenths of a per cent a year.
    pub apr_tenths: i64,
    pub created: Timestamp,
    pub wallet_id: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OfferStatus {
    Open,
    Accepted,
    Expired,
}

impl OfferStatus {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Accepted => "accepted",
            Self::Expired => "expired",
        }
    }
}

impl Offer {
    pub fn expires(&self) -> Timestamp {
        self.created.plus(OFFER_LIFE)
    }

    pub fn status(&self, now: Timestamp) -> OfferStatus {
        match self.wallet_id {
            Some(_) => OfferStatus::Accepted,
            None if now >= self.expires() => OfferStatus::Expired,
            None => OfferStatus::Open,
        }
    }

    /// Simple interest over the term, in equal parts rounded up.
    pub fn monthly_minor(&self) -> i64 {
        let interest = self.minor_units.saturating_mul(self.apr_tenths).saturating_mul(self.term_months) / 12_000;
        let months = self.term_months.max(1);
        (self.minor_units.saturating_add(interest) + months - 1).div_euclid(months)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoOffer {
    ScoreTooLow,
    AmountTooHigh,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum DeskError {
    #[error("There is no wallet with this id.")]
    NoWallet,
    #[error("There is no wallet with this id to move money to.")]
    NoTarget,
    #[error("There is no customer with this id.")]
    NoCustomer,
    #[error("There is no transfer with this id.")]
    NoTransfer,
    #[error("There is no offer with this id.")]
    NoOffer,
    #[error("The wallet is frozen.")]
    Frozen,
    #[error("The wallet holds another currency.")]
    Currency,
    #[error("A transfer needs an amount above zero and two different wallets.")]
    Nothing,
    #[error("The wallet does not hold enough.")]
    Funds,
    #[error("This key was used before for another transfer.")]
    KeyReused,
    #[error("The offer has been accepted already.")]
    Accepted,
    #[error("The offer does not hold any more.")]
    Expired,
    #[error("The wallet belongs to another customer.")]
    OtherCustomer,
}

#[derive(Debug)]
struct UsedKey {
    digest: [u8; 32],
    id: String,
    first_seen: Timestamp,
}

#[derive(Debug, Default)]
pub(super) struct Desk {
    wallets: BTreeMap<String, Wallet>,
    scores: BTreeMap<String, i64>,
    transfers: BTreeMap<String, Transfer>,
    offers: BTreeMap<String, Offer>,
    keys: HashMap<String, UsedKey>,
    transfers_made: u32,
    offers_made: u32,
}

impl Desk {
    /// Eight customers with two wallets each.
    pub fn seeded(seed: u64, now: Timestamp) -> Self {
        let mut desk = Self::default();
        let mut dice = Dice::named(seed, "fintech");
        // Every band is there, whatever the seed.
        let scores = [742, 905, 688, 421, 560, 830, 265, 777];
        for (at, score) in (0..CUSTOMERS).zip(scores) {
            let customer_id = format!("cus_{}", FIRST_CUSTOMER + at);
            for (half, currency, label) in [(0, "GBP", None), (CUSTOMERS, "EUR", Some("Holiday"))] {
                let id = format!("wal_{}", FIRST_WALLET + at + half);
                let days = 30 + dice.below(900);
                let wallet = Wallet {
                    id: id.clone(),
                    customer_id: customer_id.clone(),
                    currency,
                    frozen: at == 3 && half > 0,
                    label,
                    created: midnight(now).minus(Duration::from_hours(24 * days)),
                    balance_minor: dice.between(5_000, 250_000),
                };
                desk.wallets.insert(id, wallet);
            }
            desk.scores.insert(customer_id, score);
        }
        desk
    }

    pub fn wallet(&self, id: &str) -> Result<&Wallet, DeskError> {
        self.wallets.get(id).ok_or(DeskError::NoWallet)
    }

    pub fn wallets(&self) -> impl Iterator<Item = &Wallet> {
        self.wallets.values()
    }

    pub fn score(&self, customer_id: &str) -> Result<i64, DeskError> {
        self.scores.get(customer_id).copied().ok_or(DeskError::NoCustomer)
    }

    /// Moves money once for each key.
    pub fn transfer(&mut self, order: &Order<'_>, now: Timestamp) -> Result<Transfer, DeskError> {
        let from = self.wallet(order.from)?.clone();
        match self.keys.get(order.key) {
            Some(used) if now.since(used.first_seen) >= KEY_LIFE => (),
            Some(used) if used.digest != order.digest => return Err(DeskError::KeyReused),
            Some(used) => return self.read_transfer(&used.id).cloned(),
            None => (),
        }
        let to = self.wallets.get(order.to).ok_or(DeskError::NoTarget)?.clone();
        if order.minor_units <= 0 || from.id == to.id {
            return Err(DeskError::Nothing);
        }
        if from.frozen || to.frozen {
            return Err(DeskError::Frozen);
        }
        if from.currency != order.currency || to.currency != order.currency {
            return Err(DeskError::Currency);
        }
        if from.balance_minor < order.minor_units {
            return Err(DeskError::Funds);
        }
        self.credit(&from.id, order.minor_units.saturating_neg());
        self.credit(&to.id, order.minor_units);
        self.transfers_made = self.transfers_made.saturating_add(1);
        let transfer = Transfer {
            id: format!("trf_{:08}", self.transfers_made),
            from: from.id,
            to: to.id,
            minor_units: order.minor_units,
            currency: from.currency,
            note: order.note.map(str::to_owned),
            created: now,
        };
        self.remember(order, &transfer.id, now);
        keep(&mut self.transfers, transfer.id.clone(), transfer.clone());
        Ok(transfer)
    }

    pub fn read_transfer(&self, id: &str) -> Result<&Transfer, DeskError> {
        self.transfers.get(id).ok_or(DeskError::NoTransfer)
    }

    /// Newest first, in and out.
    pub fn transfers_of<'a>(&'a self, wallet_id: &'a str) -> impl Iterator<Item = &'a Transfer> {
        self.transfers.values().rev().filter(move |transfer| transfer.from == wallet_id || transfer.to == wallet_id)
    }

    /// Makes an offer from the customer's score, or says why there is none.
    pub fn offer(
        &mut self,
        customer_id: &str,
        minor_units: i64,
        currency: &'static str,
        term_months: i64,
        now: Timestamp,
    ) -> Result<Result<Offer, Vec<NoOffer>>, DeskError> {
        let score = self.score(customer_id)?;
        let mut against = Vec::new();
        if score < 450 {
            against.push(NoOffer::ScoreTooLow);
        }
        if minor_units > score.saturating_mul(2_000) {
            against.push(NoOffer::AmountTooHigh);
        }
        if !against.is_empty() {
            return Ok(Err(against));
        }
        self.offers_made = self.offers_made.saturating_add(1);
        let offer = Offer {
            id: format!("off_{:08}", self.offers_made),
            customer_id: customer_id.to_owned(),
            minor_units,
            currency,
            term_months,
            apr_tenths: 39 + (999 - score).max(0) / 3,
            created: now,
            wallet_id: None,
        };
        keep(&mut self.offers, offer.id.clone(), offer.clone());
        Ok(Ok(offer))
    }

    pub fn read_offer(&self, id: &str) -> Result<&Offer, DeskError> {
        self.offers.get(id).ok_or(DeskError::NoOffer)
    }

    /// Newest first.
    pub fn offers_to<'a>(&'a self, customer_id: &'a str) -> impl Iterator<Item = &'a Offer> {
        self.offers.values().rev().filter(move |offer| offer.customer_id == customer_id)
    }

    /// Pays the loan out, once.
    pub fn accept(&mut self, offer_id: &str, wallet_id: &str, now: Timestamp) -> Result<Offer, DeskError> {
        let wallet = self.wallet(wallet_id)?.clone();
        let offer = self.offers.get_mut(offer_id).ok_or(DeskError::NoOffer)?;
        match offer.status(now) {
            OfferStatus::Accepted => return Err(DeskError::Accepted),
            OfferStatus::Expired => return Err(DeskError::Expired),
            OfferStatus::Open => (),
        }
        if wallet.customer_id != offer.customer_id {
            return Err(DeskError::OtherCustomer);
        }
        if wallet.currency != offer.currency {
            return Err(DeskError::Currency);
        }
        offer.wallet_id = Some(wallet.id.clone());
        let paid = offer.clone();
        self.credit(&wallet.id, paid.minor_units);
        Ok(paid)
    }

    fn credit(&mut self, wallet_id: &str, minor_units: i64) {
        if let Some(wallet) = self.wallets.get_mut(wallet_id) {
            wallet.balance_minor = wallet.balance_minor.saturating_add(minor_units);
        }
    }

    fn remember(&mut self, order: &Order<'_>, id: &str, now: Timestamp) {
        if self.keys.len() >= KEPT_MAX {
            let oldest = self.keys.iter().min_by_key(|(_, used)| used.first_seen).map(|(key, _)| key.clone());
            oldest.map(|oldest| self.keys.remove(&oldest));
        }
        let used = UsedKey { digest: order.digest, id: id.to_owned(), first_seen: now };
        self.keys.insert(order.key.to_owned(), used);
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

    fn order<'a>(from: &'a str, to: &'a str, minor_units: i64, key: &'a str) -> Order<'a> {
        Order { from, to, minor_units, currency: "GBP", note: None, key, digest: [1; 32] }
    }

    #[test]
    fn money_moves_once_for_each_key_and_none_is_made() {
        let mut desk = Desk::seeded(1, NOW);
        let total = |desk: &Desk| desk.wallets().map(|wallet| wallet.balance_minor).sum::<i64>();
        let (before, all) = (desk.wallet("wal_2001").unwrap().balance_minor, total(&desk));
        let order = order("wal_2001", "wal_2002", 1_250, "key-0001");
        let first = desk.transfer(&order, NOW).unwrap();
        assert_eq!(desk.transfer(&order, NOW).unwrap().id, first.id);
        assert_eq!(desk.wallet("wal_2001").unwrap().balance_minor, before - 1_250);
        assert_eq!(total(&desk), all);
        let other = Order { digest: [2; 32], ..order.clone() };
        assert_eq!(desk.transfer(&other, NOW).unwrap_err(), DeskError::KeyReused);
        assert_ne!(desk.transfer(&order, NOW.plus(KEY_LIFE)).unwrap().id, first.id, "a day later the key is fresh");
    }

    #[test]
    fn what_cannot_be_moved_is_not() {
        for (name, from, to, minor_units, expected) in [
            ("no such wallet", "wal_9999", "wal_2002", 1, DeskError::NoWallet),
            ("no such target", "wal_2001", "wal_9999", 1, DeskError::NoTarget),
            ("to itself", "wal_2001", "wal_2001", 1, DeskError::Nothing),
            ("nothing", "wal_2001", "wal_2002", 0, DeskError::Nothing),
            ("backwards", "wal_2001", "wal_2002", -5, DeskError::Nothing),
            ("too much", "wal_2001", "wal_2002", 99_999_999, DeskError::Funds),
            ("another currency", "wal_2001", "wal_2010", 1, DeskError::Currency),
            ("frozen", "wal_2001", "wal_2012", 1, DeskError::Frozen),
        ] {
            let mut desk = Desk::seeded(1, NOW);
            assert_eq!(desk.transfer(&order(from, to, minor_units, "key-0001"), NOW).unwrap_err(), expected, "{name}");
        }
    }

    #[test]
    fn an_offer_follows_the_score_and_is_paid_once() {
        let mut desk = Desk::seeded(1, NOW);
        let mut ask = |customer: &str, minor| desk.offer(customer, minor, "GBP", 24, NOW).unwrap();
        let fair = ask("cus_1001", 250_000).unwrap();
        let better = ask("cus_1002", 250_000).unwrap();
        assert!(better.apr_tenths < fair.apr_tenths);
        assert!(fair.monthly_minor() * 24 > 250_000);
        assert_eq!(ask("cus_1004", 250_000).unwrap_err(), [NoOffer::ScoreTooLow]);
        assert_eq!(ask("cus_1001", 2_000_000).unwrap_err(), [NoOffer::AmountTooHigh]);
        let before = desk.wallet("wal_2001").unwrap().balance_minor;
        assert_eq!(desk.accept(&fair.id, "wal_2002", NOW).unwrap_err(), DeskError::OtherCustomer);
        desk.accept(&fair.id, "wal_2001", NOW).unwrap();
        assert_eq!(desk.accept(&fair.id, "wal_2001", NOW).unwrap_err(), DeskError::Accepted);
        assert_eq!(desk.wallet("wal_2001").unwrap().balance_minor, before + 250_000);
        let late = NOW.plus(OFFER_LIFE);
        assert_eq!(desk.accept(&better.id, "wal_2002", late).unwrap_err(), DeskError::Expired);
    }
}
