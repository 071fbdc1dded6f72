//! A partner and its connection.

use std::sync::Arc;

use clearway::domain::{
    Client, ClientId, Connection, Environment, Jurisdiction, LicenceRole, PartnerStatus, ScopeSet, Tenant, TenantId,
};

pub fn client(id: &str) -> Client {
    let tenant = Tenant {
        id: TenantId::parse("acme").unwrap(),
        name: "Acme".to_owned(),
        status: PartnerStatus::Active,
        jurisdiction: Jurisdiction::parse("GB").unwrap(),
        licences: [LicenceRole::AccountInformation].into(),
    };
    Client {
        id: ClientId::parse(id).unwrap(),
        tenant: Arc::new(tenant),
        name: id.to_owned(),
        status: PartnerStatus::Active,
        environment: Environment::Sandbox,
        scopes: ScopeSet::parse("accounts payments").unwrap(),
    }
}

pub fn connection() -> Connection {
    Connection { listener: "public".into(), peer: ([127, 0, 0, 1], 9).into(), tls: None, certificate: None }
}
