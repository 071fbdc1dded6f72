//! The bank's books: accounts, what is on them, and what has moved.

use std::time::Duration;

use super::seed;
use crate::domain::Timestamp;

/// Most transactions kept of an account; the oldest goes first.
const TRANSACTIONS_MAX: usize = 2000;

#[derive(Debug, Clone)]
pub(super) struct Account {
    pub id: String,
    pub holder: &'static str,
    pub kind: AccountKind,
    pub business: bool,
    pub nickname: String,
    pub opened: Timestamp,
    /// Six digits of sort code and eight of account number.
    pub sort_code_account: String,
    pub iban: String,
    pub balance_minor: i64,
    pub overdraft_minor: i64,
    /// Oldest first.
    pub transactions: Vec<Transaction>,
    pub transactions_made: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AccountKind {
    Current,
    Savings,
    Card,
}

#[derive(Debug, Clone)]
pub(super) struct Transaction {
    pub id: String,
    pub reference: String,
    /// Positive is money in.
    pub minor_units: i64,
    pub booked: Timestamp,
    pub information: String,
    pub sub_code: &'static str,
    pub merchant: Option<Merchant>,
    pub balance_after_minor: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Merchant {
    pub name: &'static str,
    pub category: &'static str,
}

/// A movement before it is on the books.
#[derive(Debug, Clone)]
pub(super) struct Posting {
    pub minor_units: i64,
    pub at: Timestamp,
    pub information: String,
    pub sub_code: &'static str,
    pub merchant: Option<Merchant>,
}

#[derive(Debug)]
pub(super) struct Ledger {
    accounts: Vec<Account>,
}

impl Ledger {
    /// The test customers and half a year of their lives before `now`.
    pub fn seeded(seed: u64, now: Timestamp) -> Self {
        Self { accounts: seed::accounts(seed, now) }
    }

    pub fn accounts(&self) -> &[Account] {
        &self.accounts
    }

    pub fn account(&self, id: &str) -> Option<&Account> {
        self.accounts.iter().find(|account| account.id == id)
    }

    /// Finds an account by its sort code and number, or its IBAN.
    pub fn account_by_number(&self, identification: &str) -> Option<&Account> {
        self.accounts.iter().find(|account| account.is_numbered(identification))
    }

    /// Takes the money out if it is there.
    pub fn debit(&mut self, identification: &str, posting: Posting) -> bool {
        let found = self.accounts.iter_mut().find(|account| account.is_numbered(identification));
        let Some(account) = found else { return false };
        if account.available_minor() < posting.minor_units.abs() {
            return false;
        }
        account.post(posting);
        true
    }
}

impl Account {
    fn is_numbered(&self, identification: &str) -> bool {
        self.sort_code_account == identification || self.iban == identification
    }

    /// What can be spent, an arranged overdraft included.
    pub const fn available_minor(&self) -> i64 {
        self.balance_minor.saturating_add(self.overdraft_minor)
    }

    pub fn post(&mut self, posting: Posting) {
        self.transactions_made = self.transactions_made.saturating_add(1);
        self.balance_minor = self.balance_minor.saturating_add(posting.minor_units);
        if self.transactions.len() >= TRANSACTIONS_MAX {
            self.transactions.remove(0);
        }
        self.transactions.push(Transaction {
            id: format!("{}-{:06}", self.id, self.transactions_made),
            reference: format!("Ref {:04}", self.transactions_made),
            minor_units: posting.minor_units,
            booked: posting.at,
            information: posting.information,
            sub_code: posting.sub_code,
            merchant: posting.merchant,
            balance_after_minor: self.balance_minor,
        });
    }

    /// Newest first, within the two times.
    pub fn transactions_between(&self, from: Option<Timestamp>, to: Option<Timestamp>) -> Vec<&Transaction> {
        // A filter states whole seconds, so its last second counts in full.
        let to = to.map(|to| to.plus(Duration::from_micros(999_999)));
        let within = |t: &&Transaction| from.is_none_or(|from| t.booked >= from) && to.is_none_or(|to| t.booked <= to);
        self.transactions.iter().rev().filter(within).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::testing::NOW;

    fn spend(minor_units: i64) -> Posting {
        let information = "Test".to_owned();
        Posting { minor_units: -minor_units, at: NOW, information, sub_code: "ICDT", merchant: None }
    }

    #[test]
    fn the_books_add_up() {
        let ledger = Ledger::seeded(1, NOW);
        for account in ledger.accounts() {
            let moved: i64 = account.transactions.iter().map(|t| t.minor_units).sum();
            let first = account.transactions.first().unwrap();
            assert_eq!(first.balance_after_minor - first.minor_units + moved, account.balance_minor, "{}", account.id);
            assert!(account.transactions.is_sorted_by_key(|t| t.booked), "{}", account.id);
            assert!(account.transactions.iter().all(|t| t.booked < NOW), "{}", account.id);
        }
    }

    #[test]
    fn money_that_is_not_there_is_not_spent() {
        let mut ledger = Ledger::seeded(1, NOW);
        let number = ledger.accounts()[0].sort_code_account.clone();
        let available = ledger.accounts()[0].available_minor();
        assert!(!ledger.debit(&number, spend(available + 1)));
        assert!(!ledger.debit("00000000000000", spend(1)), "an account elsewhere");
        assert!(ledger.debit(&number, spend(available)));
        assert_eq!(ledger.accounts()[0].available_minor(), 0);
        assert!(!ledger.debit(&number, spend(1)));
    }

    #[test]
    fn filters_are_inclusive_and_the_newest_comes_first() {
        let ledger = Ledger::seeded(1, NOW);
        let account = &ledger.accounts()[0];
        let all = account.transactions_between(None, None);
        assert_eq!(all.len(), account.transactions.len());
        assert!(all.is_sorted_by(|a, b| a.booked >= b.booked));
        let one = all[3].booked;
        let same = account.transactions_between(Some(one), Some(one));
        assert!(!same.is_empty() && same.iter().all(|t| t.booked == one));
        assert!(account.transactions_between(Some(NOW), None).is_empty());
    }
}
