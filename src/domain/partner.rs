//! Partner organisations and their applications, as business facts. How a client authenticates is `oauth`'s affair.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;

use super::{ClientId, ScopeSet, TenantId};

/// Whether a partner may act at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartnerStatus {
    Active,
    Suspended,
}

impl PartnerStatus {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
        }
    }
}

/// Which world a client, a subscription or a back end belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Environment {
    Sandbox,
    Live,
}

impl Environment {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sandbox => "sandbox",
            Self::Live => "live",
        }
    }
}

/// How much harm a product's operations can do. Bearer tokens without a binding are for `Low` only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Risk {
    Low,
    Regulated,
}

impl Risk {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Regulated => "regulated",
        }
    }
}

/// What a licence allows a tenant to do. The first four are the roles of ETSI TS 119 495 §5.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LicenceRole {
    /// PSP_AI
    AccountInformation,
    /// PSP_PI
    PaymentInitiation,
    /// PSP_IC
    CardBasedPaymentInstrument,
    /// PSP_AS
    AccountServicing,
    InsuranceDistribution,
    CreditIntermediation,
    WealthManagement,
}

impl LicenceRole {
    pub const ALL: [Self; 7] = [
        Self::AccountInformation,
        Self::PaymentInitiation,
        Self::CardBasedPaymentInstrument,
        Self::AccountServicing,
        Self::InsuranceDistribution,
        Self::CreditIntermediation,
        Self::WealthManagement,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AccountInformation => "account-information",
            Self::PaymentInitiation => "payment-initiation",
            Self::CardBasedPaymentInstrument => "card-based-payment-instrument",
            Self::AccountServicing => "account-servicing",
            Self::InsuranceDistribution => "insurance-distribution",
            Self::CreditIntermediation => "credit-intermediation",
            Self::WealthManagement => "wealth-management",
        }
    }
}

/// Why a text is not a jurisdiction.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not two upper-case letters (ISO 3166-1 alpha-2)")]
pub struct JurisdictionError(pub String);

/// A country code of ISO 3166-1 alpha-2. `EU` is allowed for bodies that act in the Union as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Jurisdiction([u8; 2]);

impl Jurisdiction {
    pub fn parse(code: &str) -> Result<Self, JurisdictionError> {
        match code.as_bytes() {
            [a @ b'A'..=b'Z', b @ b'A'..=b'Z'] => Ok(Self([*a, *b])),
            _ => Err(JurisdictionError(code.chars().take(20).collect())),
        }
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("??") // Invariant: two ASCII letters.
    }
}

impl fmt::Display for Jurisdiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Jurisdiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A partner organisation.
#[derive(Debug, Clone)]
pub struct Tenant {
    pub id: TenantId,
    pub name: String,
    pub status: PartnerStatus,
    /// Where it is established, and so where data given to it goes.
    pub jurisdiction: Jurisdiction,
    pub licences: BTreeSet<LicenceRole>,
}

/// An application registered by a tenant.
#[derive(Debug, Clone)]
pub struct Client {
    pub id: ClientId,
    pub tenant: Arc<Tenant>,
    pub name: String,
    pub status: PartnerStatus,
    pub environment: Environment,
    /// The most it may ever be granted.
    pub scopes: ScopeSet,
}
