//! Policies: a set either names its mistakes, each with a place, or decides every question, the same way twice.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use clearway::domain::{
    ApiId, Client, ClientId, Currency, Environment, InstitutionId, Jurisdiction, LicenceRole, Money, OperationId,
    OperationIndex, ProductId, Risk, ScopeSet, TenantId,
};
use clearway::policy::{ActionFacts, Decision, PolicySet, PolicySource, Question, World};
use clearway_fuzz::partner;
use libfuzzer_sys::fuzz_target;

struct Facts {
    actions: Vec<ActionFacts>,
    tenants: Vec<TenantId>,
    clients: Vec<ClientId>,
    products: Vec<ProductId>,
    institutions: Vec<InstitutionId>,
    client: Client,
}

fn action(id: &str, method: &str, licence_role: Option<LicenceRole>) -> ActionFacts {
    ActionFacts {
        operation: OperationId::parse(id).unwrap(),
        api: ApiId::parse("bank").unwrap(),
        institution: InstitutionId::parse("northbank").unwrap(),
        method: method.into(),
        tags: vec!["Accounts".into()],
        licence_role,
    }
}

static FACTS: LazyLock<Facts> = LazyLock::new(|| Facts {
    actions: vec![
        action("bank.GetAccounts", "GET", Some(LicenceRole::AccountInformation)),
        action("bank.CreatePayment", "POST", None),
    ],
    tenants: vec![TenantId::parse("acme").unwrap()],
    clients: vec![ClientId::parse("app").unwrap()],
    products: vec![ProductId::parse("accounts").unwrap()],
    institutions: vec![InstitutionId::parse("northbank").unwrap()],
    client: partner::client("app"),
});

fuzz_target!(|text: &str| {
    let facts = &*FACTS;
    let world = World {
        actions: &facts.actions,
        tenants: &facts.tenants,
        clients: &facts.clients,
        products: &facts.products,
        institutions: &facts.institutions,
    };
    let source = PolicySource { file: PathBuf::from("a.cedar"), text: text.to_owned() };
    match PolicySet::compile(std::slice::from_ref(&source), &world) {
        Err(issues) => {
            assert!(!issues.is_empty(), "a refusal without a reason");
            for issue in issues {
                let lines = text.split('\n').count();
                assert!(issue.line as usize <= lines && issue.column >= 1, "{issue} of {lines} lines");
            }
        }
        Ok(set) => {
            let same = PolicySet::compile(&[source], &world).expect("it compiled before");
            assert_eq!(set.hash(), same.hash());
            (0..2).for_each(|operation| decides(&set, &same, operation));
        }
    }
});

fn decides(set: &PolicySet, same: &PolicySet, operation: u32) {
    let facts = &*FACTS;
    let (data, scopes) = ([Jurisdiction::parse("GB").unwrap()], ScopeSet::parse("accounts").unwrap());
    let question = Question {
        operation: OperationIndex(operation),
        client: &facts.client,
        product: &facts.products[0],
        risk: Risk::Regulated,
        environment: Environment::Sandbox,
        institution: &facts.institutions[0],
        data_jurisdictions: &data,
        sender_constrained: true,
        scopes: &scopes,
        detail_types: &[],
        amount: Some(Money::new(100, Currency::parse("GBP").unwrap())),
        amount_expected: operation == 1,
    };
    let decisions = [set.decide(&question), set.decide(&question), same.decide(&question)];
    for decision in &decisions {
        match (decision, &decisions[0]) {
            (Decision::Permit(one), Decision::Permit(other)) => {
                assert_eq!(one, other);
                assert!(!one.policies.is_empty(), "permitted by nobody");
            }
            (Decision::Refuse(one), Decision::Refuse(other)) => {
                assert_eq!(one, other);
                assert!(!one.reason.is_empty());
            }
            (one, other) => panic!("{one:?} and {other:?}"),
        }
    }
}
