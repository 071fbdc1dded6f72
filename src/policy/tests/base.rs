//! The shipped policies: what they decide, caller by operation.

use std::fmt::Write;

use super::*;
use serde_json::json;

fn base() -> PolicySet {
    Owned::new().compile_all(&shipped("base")).unwrap_or_else(|issues| panic!("{issues:#?}"))
}

type Change = fn(Call) -> Call;

/// Callers and circumstances; each is in order but for what its name says.
fn circumstances() -> Vec<(&'static str, Change)> {
    vec![
        ("in order", |call| call),
        ("tenant suspended", |call| call.tenant(|tenant| tenant.status = PartnerStatus::Suspended)),
        ("client suspended", |call| call.with(|call| call.client.status = PartnerStatus::Suspended)),
        ("bearer token", |call| call.with(|call| call.sender_constrained = false)),
        ("bearer token, low risk", |call| call.with(|call| (call.sender_constrained, call.risk) = (false, Risk::Low))),
        ("sandbox client, live back end", |call| call.with(|call| call.client.environment = Environment::Sandbox)),
        ("sandbox client, sandbox back end", |call| {
            call.with(|call| (call.client.environment, call.environment) = (Environment::Sandbox, Environment::Sandbox))
        }),
        ("live client, sandbox back end", |call| call.with(|call| call.environment = Environment::Sandbox)),
        ("tenant in Ireland", |call| call.tenant(|tenant| tenant.jurisdiction = Jurisdiction::parse("IE").unwrap())),
        ("tenant in the United States", |call| {
            call.tenant(|tenant| tenant.jurisdiction = Jurisdiction::parse("US").unwrap())
        }),
        ("institution names no jurisdiction", |call| call.with(|call| call.data_jurisdictions.clear())),
        ("no licence", |call| call.tenant(|tenant| tenant.licences.clear())),
        ("licensed for accounts only", |call| {
            call.tenant(|tenant| tenant.licences = [LicenceRole::AccountInformation].into())
        }),
        ("amount missing", |call| call.with(|call| call.amount = None)),
        ("GBP 25,000.00", |call| call.with(|call| call.amount = Some(money(2_500_000, "GBP")))),
        ("GBP 25,000.01", |call| call.with(|call| call.amount = Some(money(2_500_001, "GBP")))),
        ("EUR 30,000.00", |call| call.with(|call| call.amount = Some(money(3_000_000, "EUR")))),
        ("EUR 30,000.01", |call| call.with(|call| call.amount = Some(money(3_000_001, "EUR")))),
        ("USD 30,000.01", |call| call.with(|call| call.amount = Some(money(3_000_001, "USD")))),
        ("JPY 1", |call| call.with(|call| call.amount = Some(money(1, "JPY")))),
        ("GBP 0.00", |call| call.with(|call| call.amount = Some(money(0, "GBP")))),
        ("GBP -1.00", |call| call.with(|call| call.amount = Some(money(-100, "GBP")))),
        ("suspended, sandbox, bearer and abroad", |call| {
            call.tenant(|tenant| {
                tenant.status = PartnerStatus::Suspended;
                tenant.jurisdiction = Jurisdiction::parse("US").unwrap();
            })
            .with(|call| (call.client.environment, call.sender_constrained) = (Environment::Sandbox, false))
        }),
    ]
}

#[test]
fn decision_matrix() {
    let set = base();
    let mut matrix = String::new();
    for (name, change) in circumstances() {
        writeln!(matrix, "{name}").unwrap();
        for (operation, index) in
            [("bank.GetAccounts", ACCOUNTS), ("bank.CreateDomesticPayment", PAYMENT), ("insurer.GetQuotes", QUOTES)]
        {
            let (answer, policies) = match change(Call::new(index)).ask(&set) {
                Decision::Permit(permit) => ("permit", permit.policies.join(", ")),
                Decision::Refuse(refusal) => ("refuse", refusal.policies.join(", ")),
            };
            writeln!(matrix, "  {operation:<28} {answer}  {policies}").unwrap();
        }
    }
    insta::assert_snapshot!(matrix);
}

#[test]
fn every_refusal_says_why_and_how_to_mend_it() {
    let set = base();
    for (name, change) in circumstances() {
        for index in [ACCOUNTS, PAYMENT, QUOTES] {
            if let Decision::Refuse(refusal) = change(Call::new(index)).ask(&set) {
                assert!(!refusal.policies.is_empty() && !refusal.reason.is_empty(), "{name}");
                assert!(refusal.remedy.as_ref().is_some_and(|remedy| !remedy.is_empty()), "{name}");
            }
        }
    }
}

/// A shipped set must compile against any catalogue, an empty one included.
#[test]
fn the_base_set_names_nothing_of_a_catalogue() {
    let nothing = World { actions: &[], tenants: &[], clients: &[], products: &[], institutions: &[] };
    PolicySet::compile(&shipped("base"), &nothing).unwrap();
}

#[test]
fn the_demo_masks_account_numbers_in_the_list() {
    let mut sources = shipped("base");
    sources.extend(shipped("demo"));
    let set = Owned::new().compile_all(&sources).unwrap();
    let decision = Call::new(ACCOUNTS).ask(&set);
    let permit = permitted(&decision);
    assert_eq!(*permit.policies, ["base.subscribed-caller", "demo.account-numbers-masked"]);
    let mut body = json!({"Data": {"Account": [
        {"AccountId": "22289", "Account": [{"SchemeName": "UK.OBIE.SortCodeAccountNumber", "Identification": "80200110203345", "SecondaryIdentification": "00021"}]},
        {"AccountId": "31820"},
    ]}});
    permit.obligations.apply(&mut body);
    assert_eq!(
        body,
        json!({"Data": {"Account": [
            {"AccountId": "22289", "Account": [{"SchemeName": "UK.OBIE.SortCodeAccountNumber", "Identification": "**********3345"}]},
            {"AccountId": "31820"},
        ]}})
    );
    assert_eq!(permit.obligations.headers()[0].0, "clearway-data-class");
    assert!(permitted(&Call::new(QUOTES).ask(&set)).obligations.is_empty());
    // A forbid of the base set still wins over the demo's permit.
    refused(&Call::new(ACCOUNTS).tenant(|tenant| tenant.licences.clear()).ask(&set));
}
