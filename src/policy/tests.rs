//! Tests of the room as a whole, and of the policies that are shipped.

mod base;
mod compiling;
mod cost;
mod deciding;
mod hostile;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::*;
use crate::domain::{
    ApiId, Client, ClientId, Currency, Environment, InstitutionId, Jurisdiction, LicenceRole, Money, OperationId,
    OperationIndex, PartnerStatus, ProductId, Risk, ScopeSet, Tenant, TenantId,
};

/// A small world that owns what [`World`] borrows.
struct Owned {
    actions: Vec<ActionFacts>,
    tenants: Vec<TenantId>,
    clients: Vec<ClientId>,
    products: Vec<ProductId>,
    institutions: Vec<InstitutionId>,
}

const ACCOUNTS: OperationIndex = OperationIndex(0);
const PAYMENT: OperationIndex = OperationIndex(1);
const QUOTES: OperationIndex = OperationIndex(2);

fn action(id: &str, institution: &str, method: &str, tag: &str, licence_role: Option<LicenceRole>) -> ActionFacts {
    ActionFacts {
        operation: OperationId::parse(id).unwrap(),
        api: ApiId::parse(id.split('.').next().unwrap()).unwrap(),
        institution: InstitutionId::parse(institution).unwrap(),
        method: method.into(),
        tags: vec![tag.into()],
        licence_role,
    }
}

impl Owned {
    fn new() -> Self {
        Self {
            actions: vec![
                action("bank.GetAccounts", "northbank", "GET", "Accounts", Some(LicenceRole::AccountInformation)),
                action(
                    "bank.CreateDomesticPayment",
                    "northbank",
                    "POST",
                    "payments",
                    Some(LicenceRole::PaymentInitiation),
                ),
                action("insurer.GetQuotes", "harbour", "GET", "Quotes \"new\"", None),
            ],
            tenants: ["acme", "umbrella"].map(|id| TenantId::parse(id).unwrap()).into(),
            clients: ["acme-app", "acme-batch"].map(|id| ClientId::parse(id).unwrap()).into(),
            products: ["accounts", "payments"].map(|id| ProductId::parse(id).unwrap()).into(),
            institutions: ["northbank", "harbour"].map(|id| InstitutionId::parse(id).unwrap()).into(),
        }
    }

    fn world(&self) -> World<'_> {
        World {
            actions: &self.actions,
            tenants: &self.tenants,
            clients: &self.clients,
            products: &self.products,
            institutions: &self.institutions,
        }
    }

    fn compile(&self, text: &str) -> Result<PolicySet, Vec<String>> {
        self.compile_all(&[source("test.cedar", text)])
    }

    fn compile_all(&self, sources: &[PolicySource]) -> Result<PolicySet, Vec<String>> {
        PolicySet::compile(sources, &self.world()).map_err(|issues| issues.iter().map(ToString::to_string).collect())
    }
}

fn source(file: &str, text: &str) -> PolicySource {
    PolicySource { file: PathBuf::from(file), text: text.to_owned() }
}

/// Every policy file of a folder of `policies/`.
fn shipped(folder: &str) -> Vec<PolicySource> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies").join(folder);
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "cedar"))
        .collect();
    files.sort();
    let name = |file: &Path| PathBuf::from(file.file_name().unwrap());
    files.iter().map(|file| PolicySource { file: name(file), text: std::fs::read_to_string(file).unwrap() }).collect()
}

fn money(minor_units: i64, currency: &str) -> Money {
    Money::new(minor_units, Currency::parse(currency).unwrap())
}

/// A call that owns what [`Question`] borrows. As made, everything about it is in order.
#[derive(Debug, Clone)]
struct Call {
    operation: OperationIndex,
    client: Client,
    product: ProductId,
    risk: Risk,
    environment: Environment,
    institution: InstitutionId,
    data_jurisdictions: Vec<Jurisdiction>,
    sender_constrained: bool,
    scopes: ScopeSet,
    detail_types: Vec<Box<str>>,
    amount: Option<Money>,
    amount_expected: bool,
}

impl Call {
    fn new(operation: OperationIndex) -> Self {
        let tenant = Tenant {
            id: TenantId::parse("acme").unwrap(),
            name: "Acme".into(),
            status: PartnerStatus::Active,
            jurisdiction: Jurisdiction::parse("GB").unwrap(),
            licences: [LicenceRole::AccountInformation, LicenceRole::PaymentInitiation].into(),
        };
        let client = Client {
            id: ClientId::parse("acme-app").unwrap(),
            tenant: Arc::new(tenant),
            name: "Acme app".into(),
            status: PartnerStatus::Active,
            environment: Environment::Live,
            scopes: ScopeSet::parse("accounts payments").unwrap(),
        };
        let pays = operation == PAYMENT;
        Self {
            operation,
            client,
            product: ProductId::parse(if pays { "payments" } else { "accounts" }).unwrap(),
            risk: Risk::Regulated,
            environment: Environment::Live,
            institution: InstitutionId::parse(if operation == QUOTES { "harbour" } else { "northbank" }).unwrap(),
            data_jurisdictions: ["GB", "IE"].map(|code| Jurisdiction::parse(code).unwrap()).into(),
            sender_constrained: true,
            scopes: ScopeSet::parse("accounts").unwrap(),
            detail_types: Vec::new(),
            amount: pays.then(|| money(10_000, "GBP")),
            amount_expected: pays,
        }
    }

    fn tenant(mut self, change: impl FnOnce(&mut Tenant)) -> Self {
        change(Arc::make_mut(&mut self.client.tenant));
        self
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn question(&self) -> Question<'_> {
        Question {
            operation: self.operation,
            client: &self.client,
            product: &self.product,
            risk: self.risk,
            environment: self.environment,
            institution: &self.institution,
            data_jurisdictions: &self.data_jurisdictions,
            sender_constrained: self.sender_constrained,
            scopes: &self.scopes,
            detail_types: &self.detail_types,
            amount: self.amount,
            amount_expected: self.amount_expected,
        }
    }

    fn ask(&self, set: &PolicySet) -> Decision {
        set.decide(&self.question())
    }
}

fn permitted(decision: &Decision) -> &Permit {
    match decision {
        Decision::Permit(permit) => permit,
        Decision::Refuse(refusal) => panic!("refused: {refusal:?}"),
    }
}

fn refused(decision: &Decision) -> &Refusal {
    match decision {
        Decision::Refuse(refusal) => refusal,
        Decision::Permit(permit) => panic!("permitted: {permit:?}"),
    }
}
