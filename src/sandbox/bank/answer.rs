//! How the bank writes: its error shape, its links and pages, its resources as JSON.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use serde_json::{Map, Value, json};

use super::desk::{Consent, DeskError, Payment};
use super::ledger::{Account, AccountKind, Transaction};
use crate::domain::Timestamp;
use crate::sandbox::form::{Violation, ViolationKind};
use crate::sandbox::text::{date_time, two_decimals};

/// One entry of `Errors[]`.
#[derive(Debug, Clone)]
pub(super) struct BankError {
    /// Of the list OBExternalStatusReason1Code.
    pub code: &'static str,
    pub message: String,
    /// Dotted path of the field, or name of the header or parameter.
    pub path: Option<String>,
}

impl BankError {
    pub fn new(code: &'static str, message: &str, path: &str) -> Self {
        let path = (!path.is_empty()).then(|| path.to_owned());
        Self { code, message: message.to_owned(), path }
    }
}

impl From<Violation> for BankError {
    fn from(violation: Violation) -> Self {
        let code = match violation.kind {
            ViolationKind::Missing => "U004",
            ViolationKind::Unexpected => "U005",
            ViolationKind::Date => "U003",
            ViolationKind::Invalid => "U002",
            ViolationKind::Syntax => "U010",
        };
        let path = violation.pointer.trim_start_matches('/').replace('/', ".");
        Self::new(code, &violation.message, &path)
    }
}

impl From<DeskError> for BankError {
    fn from(error: DeskError) -> Self {
        let (code, path) = match error {
            DeskError::NoConsent => ("U011", "ConsentId"),
            DeskError::NoPayment => ("U011", "DomesticPaymentId"),
            DeskError::ConsentStatus => ("U009", "Data.ConsentId"),
            DeskError::ConsentMismatch => ("U008", "Data.Initiation"),
            DeskError::KeyReused => ("U006", "x-idempotency-key"),
            DeskError::Currency => ("U023", "Data.Initiation.InstructedAmount.Currency"),
            DeskError::Amount => ("U002", "Data.Initiation.InstructedAmount.Amount"),
        };
        Self::new(code, &error.to_string(), path)
    }
}

/// A refusal: 400 unless said otherwise.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub status: StatusCode,
    pub errors: Vec<BankError>,
}

impl Refusal {
    pub fn bad_request(errors: Vec<BankError>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, errors }
    }

    pub fn one(status: StatusCode, code: &'static str, message: &str, path: &str) -> Self {
        Self { status, errors: vec![BankError::new(code, message, path)] }
    }
}

impl<E: Into<BankError>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self::bad_request(vec![error.into()])
    }
}

impl IntoResponse for Refusal {
    /// The interaction id is added by the layer that knows it.
    fn into_response(self) -> Response {
        let errors: Vec<Value> = self
            .errors
            .iter()
            .map(|error| {
                let mut entry = json!({ "ErrorCode": error.code, "Message": error.message });
                if let (Value::Object(members), Some(path)) = (&mut entry, &error.path) {
                    members.insert("Path".into(), path.as_str().into());
                }
                entry
            })
            .collect();
        let reason: String = self.status.canonical_reason().unwrap_or_default().split(' ').collect();
        let count = errors.len();
        let body = json!({
            "Code": format!("{} {reason}", self.status.as_u16()),
            "Message": format!("The request has {count} error{}.", if count == 1 { "" } else { "s" }),
            "Errors": errors,
        });
        (self.status, Json(body)).into_response()
    }
}

/// Where a request came in, for links.
#[derive(Debug, Clone)]
pub(super) struct Address {
    /// `https://host` without a path.
    pub origin: String,
    pub path: String,
    /// Pairs of the query but for `page`, encoded as they came.
    pub filters: String,
}

impl Address {
    pub fn page(&self, page: usize) -> String {
        let Self { origin, path, filters } = self;
        let separator = if filters.is_empty() { "" } else { "&" };
        format!("{origin}{path}?{filters}{separator}page={page}")
    }

    pub fn itself(&self) -> String {
        format!("{}{}", self.origin, self.path)
    }
}

/// One page of a list.
pub(super) struct Page<T> {
    pub records: Vec<T>,
    pub number: usize,
    pub pages: usize,
}

impl<T> Page<T> {
    /// Cuts page `number` (from 1) out of the whole; `None` if there is no such page. An empty whole has one empty page.
    pub fn cut(whole: Vec<T>, number: usize, size: usize) -> Option<Self> {
        let size = size.max(1);
        let pages = whole.len().div_ceil(size).max(1);
        let first = number.checked_sub(1)?.checked_mul(size)?;
        let records = whole.into_iter().skip(first).take(size).collect();
        (number <= pages).then_some(Self { records, number, pages })
    }
}

/// `{Data: {member: records}, Links, Meta}`.
pub(super) fn list(member: &str, page: Page<Value>, address: &Address) -> Value {
    let Page { records, number, pages } = page;
    let mut links = json!({ "Self": address.page(number) });
    if let Value::Object(links) = &mut links
        && pages > 1
    {
        links.insert("First".into(), address.page(1).into());
        if number > 1 {
            links.insert("Prev".into(), address.page(number - 1).into());
        }
        if number < pages {
            links.insert("Next".into(), address.page(number + 1).into());
        }
        links.insert("Last".into(), address.page(pages).into());
    }
    json!({ "Data": { member: records }, "Links": links, "Meta": { "TotalPages": pages } })
}

/// `{Data, Risk?, Links: {Self}, Meta}` of one resource.
pub(super) fn one(data: Value, risk: Option<Value>, own_link: String) -> Value {
    let mut body = Map::new();
    body.insert("Data".into(), data);
    risk.map(|risk| body.insert("Risk".into(), risk));
    body.insert("Links".into(), json!({ "Self": own_link }));
    body.insert("Meta".into(), json!({}));
    body.into()
}

fn signed(minor_units: i64) -> (Value, &'static str) {
    let amount = json!({ "Amount": two_decimals(minor_units), "Currency": "GBP" });
    (amount, if minor_units < 0 { "Debit" } else { "Credit" })
}

pub(super) fn account(account: &Account) -> Value {
    let (code, description) = match account.kind {
        AccountKind::Current => ("CACC", "Current account"),
        AccountKind::Savings => ("SVGS", "Savings account"),
        AccountKind::Card => ("CARD", "Card account"),
    };
    json!({
        "AccountId": account.id,
        "Status": "Enabled",
        "StatusUpdateDateTime": date_time(account.opened),
        "Currency": "GBP",
        "AccountCategory": if account.business { "Business" } else { "Personal" },
        "AccountTypeCode": code,
        "Description": description,
        "Nickname": account.nickname,
        "OpeningDate": date_time(account.opened),
        "Account": [
            { "SchemeName": "UK.OBIE.SortCodeAccountNumber", "Identification": account.sort_code_account, "Name": account.holder },
            { "SchemeName": "UK.OBIE.IBAN", "Identification": account.iban, "Name": account.holder },
        ],
        "Servicer": { "SchemeName": "UK.OBIE.BICFI", "Identification": "SNDBGB2LXXX", "Name": "Sandbox Bank plc" },
    })
}

/// The booked and the available balance.
pub(super) fn balances(account: &Account, now: Timestamp) -> [Value; 2] {
    let at = date_time(now);
    let balance = |kind: &str, minor_units: i64| {
        let (amount, indicator) = signed(minor_units);
        json!({
            "AccountId": account.id,
            "CreditDebitIndicator": indicator,
            "Type": kind,
            "DateTime": at,
            "Amount": amount,
        })
    };
    let booked = balance("ITBD", account.balance_minor);
    let mut available = balance("ITAV", account.available_minor());
    if let Value::Object(members) = &mut available
        && account.overdraft_minor > 0
    {
        let (limit, _) = signed(account.overdraft_minor);
        members.insert("CreditLine".into(), json!([{ "Included": true, "Type": "Pre-Agreed", "Amount": limit }]));
    }
    [booked, available]
}

pub(super) fn transaction(account: &Account, transaction: &Transaction) -> Value {
    let (amount, indicator) = signed(transaction.minor_units);
    let (balance, balance_indicator) = signed(transaction.balance_after_minor);
    let mut body = json!({
        "AccountId": account.id,
        "TransactionId": transaction.id,
        "TransactionReference": transaction.reference,
        "CreditDebitIndicator": indicator,
        "Status": "BOOK",
        "TransactionMutability": "Immutable",
        "BookingDateTime": date_time(transaction.booked),
        "ValueDateTime": date_time(transaction.booked),
        "TransactionInformation": transaction.information,
        "Amount": amount,
        "BankTransactionCode": { "Code": "PMNT", "SubCode": transaction.sub_code },
        "Balance": { "CreditDebitIndicator": balance_indicator, "Type": "ITBD", "Amount": balance },
    });
    if let (Value::Object(members), Some(merchant)) = (&mut body, transaction.merchant) {
        let details = json!({ "MerchantName": merchant.name, "MerchantCategoryCode": merchant.category });
        members.insert("MerchantDetails".into(), details);
    }
    body
}

/// A consent's `Data`: what was asked, and what has become of it.
pub(super) fn consent(consent: &Consent) -> Value {
    let mut data = consent.asked.get("Data").cloned().unwrap_or_default();
    if let Value::Object(members) = &mut data {
        members.insert("ConsentId".into(), consent.id.as_str().into());
        members.insert("CreationDateTime".into(), date_time(consent.created).into());
        members.insert("Status".into(), consent.status.as_str().into());
        members.insert("StatusUpdateDateTime".into(), date_time(consent.updated).into());
    }
    data
}

pub(super) fn payment(payment: &Payment, now: Timestamp) -> Value {
    let (status, since) = payment.status(now);
    let mut data = json!({
        "DomesticPaymentId": payment.id,
        "ConsentId": payment.consent_id,
        "CreationDateTime": date_time(payment.created),
        "Status": status.as_str(),
        "StatusUpdateDateTime": date_time(since),
        "ExpectedSettlementDateTime": date_time(payment.settles_at()),
        "Initiation": payment.initiation,
    });
    if let Value::Object(members) = &mut data
        && payment.rejected
    {
        let reason =
            json!([{ "StatusReasonCode": "U014", "StatusReasonDescription": "The account does not hold enough." }]);
        members.insert("StatusReason".into(), reason);
        members.remove("ExpectedSettlementDateTime");
    }
    data
}

pub(super) fn payment_details(payment: &Payment, now: Timestamp) -> Value {
    let history = payment.history(now);
    let step = |(at, (status, since)): (usize, &(super::desk::PaymentStatus, Timestamp))| {
        json!({
            "PaymentTransactionId": format!("{}-{}", payment.id, at + 1),
            "Status": status.as_str(),
            "StatusUpdateDateTime": date_time(*since),
        })
    };
    json!({ "PaymentStatus": history.iter().enumerate().map(step).collect::<Vec<_>>() })
}

/// Whether a Content-Type is JSON, parameters aside.
pub(super) fn is_json(headers: &http::HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}
