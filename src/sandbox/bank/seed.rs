//! The bank's test customers: the same for the same seed, their dates counted back from today.

use std::time::Duration;

use super::ledger::{Account, AccountKind, Merchant, Posting};
use crate::domain::Timestamp;
use crate::sandbox::dice::Dice;
use crate::sandbox::text::midnight;

const FIRST_ACCOUNT: u64 = 20_001;
const DAYS_OF_HISTORY: u64 = 180;
const OPENED_DAYS_AGO_MAX: u64 = 3_000;
const SORT_CODES: [&str; 3] = ["000010", "000014", "000017"];

struct Customer {
    name: &'static str,
    business: bool,
    /// Of salary or takings a month, in pence.
    income_minor: i64,
    accounts: &'static [(AccountKind, &'static str)],
}

const HOUSEHOLD: &[(AccountKind, &str)] =
    &[(AccountKind::Current, "Everyday"), (AccountKind::Savings, "Rainy day"), (AccountKind::Card, "Credit card")];
const SAVER: &[(AccountKind, &str)] = &[
    (AccountKind::Current, "Everyday"),
    (AccountKind::Current, "Bills"),
    (AccountKind::Savings, "House deposit"),
    (AccountKind::Savings, "Holiday"),
];
const COMPANY: &[(AccountKind, &str)] = &[
    (AccountKind::Current, "Takings"),
    (AccountKind::Current, "Payroll"),
    (AccountKind::Savings, "Tax reserve"),
    (AccountKind::Card, "Company card"),
];

const CUSTOMERS: [Customer; 10] = [
    Customer { name: "Amara Okafor", business: false, income_minor: 284_000, accounts: HOUSEHOLD },
    Customer { name: "Rhys Bevan", business: false, income_minor: 231_550, accounts: SAVER },
    Customer { name: "Priya Nair", business: false, income_minor: 412_075, accounts: SAVER },
    Customer { name: "Tomasz Zielinski", business: false, income_minor: 198_420, accounts: HOUSEHOLD },
    Customer { name: "Eilidh Murray", business: false, income_minor: 305_310, accounts: HOUSEHOLD },
    Customer { name: "Yusuf Demir", business: false, income_minor: 261_900, accounts: SAVER },
    Customer { name: "Grace Whitlock", business: false, income_minor: 223_700, accounts: HOUSEHOLD },
    Customer { name: "Ngozi & Tom Adeyemi-Hart", business: false, income_minor: 520_000, accounts: SAVER },
    Customer { name: "Larkspur Bakery Ltd", business: true, income_minor: 1_840_000, accounts: COMPANY },
    Customer { name: "Fernhill Cycles Ltd", business: true, income_minor: 2_615_000, accounts: COMPANY },
];

const MERCHANTS: [(Merchant, i64, i64); 12] = [
    (Merchant { name: "Bramble Grocers", category: "5411" }, 600, 9_500),
    (Merchant { name: "Corner Pantry", category: "5499" }, 150, 2_200),
    (Merchant { name: "Otter Street Coffee", category: "5814" }, 260, 1_250),
    (Merchant { name: "The Copper Kettle", category: "5812" }, 1_400, 8_600),
    (Merchant { name: "Northline Rail", category: "4112" }, 480, 7_400),
    (Merchant { name: "Harbour Fuels", category: "5541" }, 2_000, 8_200),
    (Merchant { name: "Meadow Pharmacy", category: "5912" }, 320, 3_400),
    (Merchant { name: "Inkwell Books", category: "5942" }, 700, 4_500),
    (Merchant { name: "Volt & Wire", category: "5732" }, 1_500, 32_000),
    (Merchant { name: "Threadneedle Lane Tailors", category: "5611" }, 1_900, 14_000),
    (Merchant { name: "Streamline Films", category: "4899" }, 799, 1_599),
    (Merchant { name: "Fit Barn", category: "7997" }, 1_900, 3_900),
];

pub(super) fn accounts(seed: u64, now: Timestamp) -> Vec<Account> {
    let today = midnight(now);
    let mut accounts = Vec::new();
    for customer in &CUSTOMERS {
        for (kind, nickname) in customer.accounts {
            let number = FIRST_ACCOUNT + accounts.len() as u64;
            accounts.push(account(seed, number, customer, *kind, nickname, today));
        }
    }
    accounts
}

fn account(
    seed: u64,
    number: u64,
    customer: &Customer,
    kind: AccountKind,
    nickname: &str,
    today: Timestamp,
) -> Account {
    let id = number.to_string();
    let mut dice = Dice::named(seed, &id);
    let sort_code = dice.pick(&SORT_CODES).copied().unwrap_or("000010");
    let sort_code_account = format!("{sort_code}{:08}", 10_000_000 + dice.below(80_000_000));
    let opened_days = DAYS_OF_HISTORY + 1 + dice.below(OPENED_DAYS_AGO_MAX);
    let mut account = Account {
        iban: iban(&sort_code_account),
        id,
        holder: customer.name,
        kind,
        business: customer.business,
        nickname: nickname.to_owned(),
        opened: days_before(today, opened_days),
        sort_code_account,
        balance_minor: 0,
        overdraft_minor: if kind == AccountKind::Current { 50_000 } else { 0 },
        transactions: Vec::new(),
        transactions_made: 0,
    };
    account.post(opening(customer, kind, today, &mut dice));
    for day in (1..DAYS_OF_HISTORY).rev() {
        live_a_day(&mut account, customer, days_before(today, day), day, &mut dice);
    }
    account
}

fn opening(customer: &Customer, kind: AccountKind, today: Timestamp, dice: &mut Dice) -> Posting {
    let times_income = match kind {
        AccountKind::Current => dice.between(2, 4),
        AccountKind::Savings => dice.between(4, 20),
        AccountKind::Card => 1,
    };
    Posting {
        minor_units: customer.income_minor.saturating_mul(times_income),
        at: days_before(today, DAYS_OF_HISTORY),
        information: "Balance carried forward".into(),
        sub_code: "ADJT",
        merchant: None,
    }
}

/// What happens on an account on one day; `day` counts back from today.
fn live_a_day(account: &mut Account, customer: &Customer, at: Timestamp, day: u64, dice: &mut Dice) {
    let month_day = day % 30;
    let morning = at.plus(Duration::from_hours(6));
    let standing = |minor_units, information: &str, sub_code| Posting {
        minor_units,
        at: morning,
        information: information.to_owned(),
        sub_code,
        merchant: None,
    };
    match account.kind {
        AccountKind::Savings if month_day == 2 => {
            let saved = customer.income_minor / 10;
            account.post(standing(saved, "Standing order to savings", "STDO"));
        }
        AccountKind::Current if month_day == 28 => {
            let income = if customer.business { "Card takings settlement" } else { "Salary" };
            account.post(standing(customer.income_minor, income, if customer.business { "RCDT" } else { "SALA" }));
        }
        AccountKind::Current if month_day == 1 => {
            let rent = customer.income_minor / 3;
            account.post(standing(-rent, "Rent to Marlow Lettings", "STDO"));
        }
        AccountKind::Card if month_day == 15 => {
            let repaid = customer.income_minor / 8;
            account.post(standing(repaid, "Payment received, thank you", "RCDT"));
        }
        AccountKind::Savings | AccountKind::Current | AccountKind::Card => (),
    }
    let shops = matches!(account.kind, AccountKind::Current | AccountKind::Card);
    if shops && dice.chance(180) {
        shop(account, at, dice);
    }
}

fn shop(account: &mut Account, day: Timestamp, dice: &mut Dice) {
    let Some((merchant, low, high)) = dice.pick(&MERCHANTS) else { return };
    let minor_units = dice.between(*low, *high);
    if account.available_minor() < minor_units {
        return;
    }
    let at = day.plus(Duration::from_secs(8 * 3600 + dice.below(12 * 3600)));
    account.post(Posting {
        minor_units: -minor_units,
        at,
        information: format!("Card payment at {}", merchant.name),
        sub_code: "POSD",
        merchant: Some(*merchant),
    });
}

fn days_before(today: Timestamp, days: u64) -> Timestamp {
    today.minus(Duration::from_secs(days * 86_400))
}

/// ISO 13616: the two check digits make the rearranged number leave 1 when divided by 97.
fn iban(sort_code_account: &str) -> String {
    let bban = format!("SNDB{sort_code_account}");
    let rearranged = format!("{bban}GB00");
    let remainder = rearranged.bytes().fold(0_u64, |remainder, byte| match byte {
        b'0'..=b'9' => (remainder * 10 + u64::from(byte - b'0')) % 97,
        _ => (remainder * 100 + u64::from(byte.to_ascii_uppercase().saturating_sub(b'A')) + 10) % 97,
    });
    format!("GB{:02}{bban}", 98 - remainder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::testing::NOW;

    #[test]
    fn the_same_seed_gives_the_same_bank() {
        let text = |seed| format!("{:?}", accounts(seed, NOW));
        assert_eq!(text(1), text(1));
        assert_ne!(text(1), text(2));
        assert_eq!(text(1), format!("{:?}", accounts(1, NOW.plus(Duration::from_hours(3)))), "all day");
    }

    #[test]
    fn there_is_enough_to_look_at() {
        let accounts = accounts(1, NOW);
        let transactions: usize = accounts.iter().map(|account| account.transactions.len()).sum();
        assert!(accounts.len() >= 36, "{}", accounts.len());
        assert!(transactions >= 800, "{transactions}");
        assert!(accounts.iter().any(|account| account.transactions.len() > 25), "some need a second page");
        assert!(accounts.iter().all(|account| account.available_minor() >= 0));
        let numbers: std::collections::BTreeSet<_> = accounts.iter().map(|a| &a.sort_code_account).collect();
        assert_eq!(numbers.len(), accounts.len());
    }

    #[test]
    fn an_iban_has_its_check_digits() {
        // The example of the UK in the IBAN registry is GB29NWBK60161331926819; ours differs in the bank code only.
        let iban = iban("60161331926819");
        let moved = format!("{}{}", &iban[4..], &iban[..4]);
        let digits: String = moved.chars().map(|c| c.to_digit(36).unwrap().to_string()).collect();
        let remainder = digits.bytes().fold(0_u64, |r, b| (r * 10 + u64::from(b - b'0')) % 97);
        assert_eq!(remainder, 1, "{iban}");
    }
}
