//! How decisions come about, and that remembering them changes none.

use super::*;
use proptest::prelude::*;
use serde_json::json;

const PERMIT: &str = r#"@id("permit") permit (principal, action, resource);"#;

fn set(text: &str) -> PolicySet {
    Owned::new().compile(text).unwrap_or_else(|issues| panic!("{issues:#?}"))
}

#[test]
fn nothing_permits_by_default() {
    let set = set(r#"@id("p") permit (principal, action == Action::"bank.GetAccounts", resource);"#);
    assert_eq!(*permitted(&Call::new(ACCOUNTS).ask(&set)).policies, ["p"]);
    let decision = Call::new(PAYMENT).ask(&set);
    let refusal = refused(&decision);
    assert!(refusal.policies.is_empty());
    assert_eq!(refusal.reason, "No policy permits this operation to this caller.");
    assert!(refusal.remedy.is_some());
}

#[test]
fn an_operation_that_nobody_knows_is_refused() {
    let set = set(PERMIT);
    refused(&Call::new(OperationIndex(99)).ask(&set));
    let elsewhere = Call::new(ACCOUNTS).with(|call| call.institution = InstitutionId::parse("harbour").unwrap());
    refused(&elsewhere.ask(&set));
}

#[test]
fn a_forbid_wins_and_says_why() {
    let set = set(&format!(
        r#"{PERMIT}
        @id("z") @reason("Last.") @regulation("R2") @remedy("Do this.") forbid (principal, action, resource);
        @id("a") @reason("First.") @regulation("R1") @remedy("Do that.") forbid (principal, action, resource);
        @id("m") @reason("First.") forbid (principal, action, resource);
        @id("n") @reason("Never.") forbid (principal, action == Action::"insurer.GetQuotes", resource);"#
    ));
    assert_eq!(
        *refused(&Call::new(ACCOUNTS).ask(&set)),
        Refusal {
            policies: vec!["a".into(), "m".into(), "z".into()],
            reason: "First. Last.".into(),
            regulation: Some("R1; R2".into()),
            remedy: Some("Do that. Do this.".into()),
        }
    );
}

#[test]
fn an_evaluation_error_denies_even_where_cedar_would_permit() {
    // Strict validation cannot see an overflow. Cedar skips the forbid and permits; here it denies.
    let set = set(&format!(
        r#"{PERMIT}
        @id("overflows") @reason("x") forbid (principal, action, resource)
        when {{ context has amount && context.amount.minor_units * 4611686018427387904 > 0 }};"#
    ));
    let decision = Call::new(PAYMENT).ask(&set);
    assert_eq!(refused(&decision).policies, ["overflows"]);
    assert!(refused(&decision).reason.contains("could not be evaluated"));
    // The twin that does not overflow.
    permitted(&Call::new(PAYMENT).with(|call| call.amount = Some(money(0, "GBP"))).ask(&set));
}

#[test]
fn scopes_of_policies_select_operations() {
    for (name, scope, expected) in [
        ("one", r#"principal, action == Action::"bank.GetAccounts", resource"#, [true, false, false]),
        (
            "list",
            r#"principal, action in [Action::"bank.GetAccounts", Action::"insurer.GetQuotes"], resource"#,
            [true, false, true],
        ),
        ("api", r#"principal, action in Action::"api:bank", resource"#, [true, true, false]),
        (
            "institution as a group",
            r#"principal, action in Action::"institution:harbour", resource"#,
            [false, false, true],
        ),
        ("institution", r#"principal, action, resource == Institution::"northbank""#, [true, true, false]),
        ("tag", r#"principal, action in Action::"tag:payments", resource"#, [false, true, false]),
        ("tag with quotes", r#"principal, action in Action::"tag:Quotes \"new\"", resource"#, [false, false, true]),
        ("reads", r#"principal, action in Action::"read", resource"#, [true, false, true]),
        ("writes", r#"principal, action in Action::"write", resource"#, [false, true, false]),
        ("licence", r#"principal, action in Action::"licence:payment-initiation", resource"#, [false, true, false]),
        ("tenant", r#"principal in Tenant::"acme", action, resource"#, [true, true, true]),
        ("other tenant", r#"principal in Tenant::"umbrella", action, resource"#, [false, false, false]),
        ("client", r#"principal == Client::"acme-app", action, resource"#, [true, true, true]),
        ("other client", r#"principal == Client::"acme-batch", action, resource"#, [false, false, false]),
        ("types", r#"principal is Client in Tenant::"acme", action, resource is Institution"#, [true, true, true]),
    ] {
        let set = set(&format!("@id(\"p\") permit ({scope});"));
        let found = [ACCOUNTS, PAYMENT, QUOTES].map(|index| matches!(Call::new(index).ask(&set), Decision::Permit(_)));
        assert_eq!(found, expected, "{name}");
        // And again, from memory.
        let found = [ACCOUNTS, PAYMENT, QUOTES].map(|index| matches!(Call::new(index).ask(&set), Decision::Permit(_)));
        assert_eq!(found, expected, "{name}, remembered");
    }
}

#[test]
fn a_slice_knows_its_policies_and_what_they_read() {
    let set = set(&format!(
        r#"{PERMIT}
        @id("pay") @reason("x") forbid (principal, action in Action::"tag:payments", resource)
        when {{ context has amount && context.amount.minor_units > 5 }} unless {{ principal.tenant.status == Status::"active" }};"#
    ));
    assert_eq!(set.slices(), 2);
    let summary = set.summary(PAYMENT).unwrap();
    assert_eq!(summary.policies, ["pay", "permit"]);
    assert_eq!(
        summary.reads,
        ["principal.tenant", "principal.tenant.status", "context.amount", "context.amount.minor_units"]
    );
    assert_eq!(set.summary(ACCOUNTS).unwrap(), SliceSummary { policies: vec!["permit".into()], reads: vec![] });
    assert_eq!(set.summary(OperationIndex(3)), None);
}

#[test]
fn obligations_of_all_permits_add_up() {
    let set = set(r#"@id("b") @redact("/Data/*/Secret /Meta") @header("X-B: 2
X-A: 1") permit (principal, action, resource);
        @id("a") @mask("/Data/*/Number") @header("X-A: 1") permit (principal, action, resource) when { context.sender_constrained };
        @id("c") @redact("/Links") permit (principal, action, resource) when { !context.sender_constrained };"#);
    let decision = Call::new(ACCOUNTS).ask(&set);
    let permit = permitted(&decision);
    assert_eq!(*permit.policies, ["a", "b"]);
    assert!(permit.obligations.rewrites_body());
    let headers: Vec<_> =
        permit.obligations.headers().iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    assert_eq!(headers, [("x-a", "1"), ("x-b", "2")]);
    let mut body = json!({"Data": [{"Number": "12345678", "Secret": 1}], "Meta": {}, "Links": {}});
    permit.obligations.apply(&mut body);
    assert_eq!(body, json!({"Data": [{"Number": "****5678"}], "Links": {}}));
}

#[test]
fn what_no_policy_reads_costs_no_evaluation() {
    let set = set(&format!(
        r#"{PERMIT}
        @id("risk") @reason("x") forbid (principal, action, resource) when {{ context.risk == Risk::"regulated" && !context.sender_constrained }};"#
    ));
    let call = Call::new(ACCOUNTS);
    permitted(&call.ask(&set));
    for changed in [
        call.clone(),
        call.clone().with(|call| call.client.id = ClientId::parse("someone-else").unwrap()),
        call.clone().with(|call| call.scopes = ScopeSet::parse("x y z").unwrap()),
        call.clone().with(|call| call.amount = Some(money(7, "EUR"))),
        call.clone().with(|call| call.data_jurisdictions.clear()),
        call.clone().tenant(|tenant| tenant.id = TenantId::parse("other").unwrap()),
        call.clone().tenant(|tenant| tenant.status = PartnerStatus::Suspended),
        Call::new(PAYMENT), // Another operation of the same slice.
    ] {
        permitted(&changed.ask(&set));
    }
    assert_eq!(set.evaluations(), 1);
    refused(&call.clone().with(|call| call.sender_constrained = false).ask(&set));
    assert_eq!(set.evaluations(), 2);
    permitted(&call.with(|call| call.risk = Risk::Low).ask(&set));
    assert_eq!(set.evaluations(), 3);
}

#[test]
fn amounts_are_remembered_by_their_side_of_a_threshold() {
    let set = set(&format!(
        r#"{PERMIT}
        @id("many") @reason("x") forbid (principal, action, resource) when {{ context has amount && context.amount.minor_units > 1000 }};
        @id("zero") @reason("x") forbid (principal, action, resource) when {{ context has amount && 1 > context.amount.minor_units }};"#
    ));
    for minor_units in [0, -1, -100, 1, 2, 999, 1000, 1001, 1002, i64::MAX, i64::MIN, 500] {
        let call = Call::new(PAYMENT).with(|call| call.amount = Some(money(minor_units, "GBP")));
        let expected = (1..=1000).contains(&minor_units);
        assert_eq!(matches!(call.ask(&set), Decision::Permit(_)), expected, "{minor_units}");
    }
    assert_eq!(set.evaluations(), 5, "below 1, 1, between, 1000, above");
}

#[test]
fn ids_are_remembered_by_what_policies_call_them() {
    let set = set(&format!(
        r#"{PERMIT}
        @id("acme") @reason("x") forbid (principal in Tenant::"acme", action, resource);
        @id("batch") @reason("x") forbid (principal, action, resource) when {{ principal == Client::"acme-batch" }};
        @id("product") @reason("x") forbid (principal, action, resource) when {{ [Product::"payments"].contains(context.product) }};
        @id("quotes") @reason("x") forbid (principal, action, resource) unless {{ resource != Institution::"harbour" }};"#
    ));
    let call = Call::new(ACCOUNTS).tenant(|tenant| tenant.id = TenantId::parse("umbrella").unwrap());
    permitted(&call.ask(&set));
    for number in 0..100 {
        let id = ClientId::parse(&format!("client-{number}")).unwrap();
        permitted(&call.clone().with(|call| call.client.id = id).ask(&set));
    }
    assert_eq!(set.evaluations(), 1);
    refused(&Call::new(ACCOUNTS).ask(&set));
    refused(&call.clone().with(|call| call.client.id = ClientId::parse("acme-batch").unwrap()).ask(&set));
    refused(&call.clone().with(|call| call.product = ProductId::parse("payments").unwrap()).ask(&set));
    refused(&Call::new(QUOTES).tenant(|tenant| tenant.id = TenantId::parse("umbrella").unwrap()).ask(&set));
}

/// Conditions that read facts in every way that the language has.
const CONDITIONS: [&str; 17] = [
    r#"context.risk == Risk::"low""#,
    r#"(if context.sender_constrained then principal.tenant else principal.tenant).status == Status::"active""#,
    r#"context has amount && context.amount.minor_units + 1 > 100"#,
    r#"context has amount.currency && context.amount.currency == Currency::"GBP""#,
    r#"context has amount && context.amount == {minor_units: 50, currency: Currency::"GBP"}"#,
    r#"context has amount && context.amount has currency && 50 <= context.amount.minor_units"#,
    r#"context.scopes.containsAny(["payments", "x"])"#,
    r#"resource.data_jurisdictions.contains(principal.tenant.jurisdiction)"#,
    r#"principal.tenant.licences.containsAll([LicenceRole::"payment-initiation"])"#,
    r#"context has licence_role && context.licence_role == LicenceRole::"payment-initiation""#,
    r#"principal in [Tenant::"acme", Tenant::"umbrella"] && context.environment == Environment::"live""#,
    r#"principal.tenant == Tenant::"umbrella" || principal == Client::"acme-batch""#,
    r#"action in [Action::"bank.GetAccounts"] || context.amount_expected"#,
    r#"context.authorization_details_types.contains("payment") && !context.authorization_details_types.contains("pay")"#,
    r#"{who: principal, what: context.product}.what == Product::"accounts""#,
    r#"principal has tenant.licences && principal.tenant.licences.isEmpty()"#,
    r#"principal.environment == Environment::"sandbox" && context.scopes.contains("accounts")"#,
];

prop_compose! {
    fn any_call()(
        operation in 0..3_u32,
        flags in any::<[bool; 8]>(),
        amount in proptest::option::of((prop_oneof![Just(49_i64), Just(50), Just(51), Just(99), Just(100), Just(0)], prop_oneof![Just("GBP"), Just("EUR")])),
        tenant in prop_oneof![Just("acme"), Just("umbrella"), Just("other")],
        client in prop_oneof![Just("acme-app"), Just("acme-batch"), Just("other")],
        product in prop_oneof![Just("accounts"), Just("payments")],
        scopes in prop_oneof![Just(""), Just("accounts"), Just("payments"), Just("accounts payments"), Just("x")],
        details in prop_oneof![Just(""), Just("payment"), Just("pay"), Just("pay payment"), Just("payment x")],
    ) -> Call {
        Call::new(OperationIndex(operation))
            .tenant(|it| {
                it.id = TenantId::parse(tenant).unwrap();
                if flags[0] { it.status = PartnerStatus::Suspended }
                if flags[1] { it.jurisdiction = Jurisdiction::parse("FR").unwrap() }
                if flags[2] { it.licences.clear() }
            })
            .with(|call| {
                call.client.id = ClientId::parse(client).unwrap();
                if flags[3] { call.client.environment = Environment::Sandbox }
                if flags[4] { call.environment = Environment::Sandbox }
                if flags[5] { call.risk = Risk::Low }
                call.sender_constrained = flags[6];
                call.amount_expected = flags[7];
                call.amount = amount.map(|(units, currency)| money(units, currency));
                call.product = ProductId::parse(product).unwrap();
                call.scopes = ScopeSet::parse(scopes).unwrap();
                call.detail_types = details.split_whitespace().map(Box::from).collect();
            })
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// What is remembered is what a set without any memory says, in whatever order the questions come.
    #[test]
    fn memory_changes_no_decision(
        calls in proptest::collection::vec(any_call(), 1..40),
        chosen in proptest::sample::subsequence(&CONDITIONS[..], 1..4),
    ) {
        let forbids: String = chosen
            .iter()
            .enumerate()
            .map(|(number, condition)| format!("@id(\"f{number}\") @reason(\"x\") forbid (principal, action, resource) when {{ {condition} }};\n"))
            .collect();
        let warm = set(&format!("{PERMIT}\n{forbids}"));
        for call in &calls {
            let remembered = call.ask(&warm);
            let fresh = warm.forgetful(&call.question());
            prop_assert_eq!(format!("{remembered:?}"), format!("{fresh:?}"), "{:?}", chosen);
        }
    }
}

#[test]
fn every_condition_is_read_without_an_error() {
    for condition in CONDITIONS {
        let set = set(&format!("@id(\"p\") permit (principal, action, resource) when {{ {condition} }};"));
        for operation in [ACCOUNTS, PAYMENT, QUOTES] {
            if let Decision::Refuse(refusal) = Call::new(operation).ask(&set) {
                assert!(!refusal.reason.contains("evaluated"), "{condition}: {refusal:?}");
            }
        }
    }
}
