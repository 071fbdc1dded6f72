//! The demo's configuration: the shipped folders, embedded, so that the binary needs nothing beside it.

use std::fs;
use std::io;
use std::path::Path;

/// Path below the state folder, and content.
const FILES: &[(&str, &str)] = &[
    ("config/gateway.yaml", include_str!("../../../config/gateway.yaml")),
    ("config/tenants.yaml", include_str!("../../../config/tenants.yaml")),
    ("config/clients.yaml", include_str!("../../../config/clients.yaml")),
    ("config/institutions.yaml", include_str!("../../../config/institutions.yaml")),
    ("config/apis.yaml", include_str!("../../../config/apis.yaml")),
    ("config/products.yaml", include_str!("../../../config/products.yaml")),
    ("config/plans.yaml", include_str!("../../../config/plans.yaml")),
    ("config/subscriptions.yaml", include_str!("../../../config/subscriptions.yaml")),
    ("openapi/bank.yaml", include_str!("../../../openapi/bank.yaml")),
    ("openapi/insurer.yaml", include_str!("../../../openapi/insurer.yaml")),
    ("openapi/fintech.yaml", include_str!("../../../openapi/fintech.yaml")),
    ("policies/base/data-residency.cedar", include_str!("../../../policies/base/data-residency.cedar")),
    ("policies/base/environments.cedar", include_str!("../../../policies/base/environments.cedar")),
    ("policies/base/licences.cedar", include_str!("../../../policies/base/licences.cedar")),
    ("policies/base/partners.cedar", include_str!("../../../policies/base/partners.cedar")),
    ("policies/base/payments.cedar", include_str!("../../../policies/base/payments.cedar")),
    ("policies/base/tokens.cedar", include_str!("../../../policies/base/tokens.cedar")),
    ("policies/demo/account-data.cedar", include_str!("../../../policies/demo/account-data.cedar")),
];

/// Writes what is missing or differs from the shipped text: edits of a running demo's files last until its next start.
pub(super) fn write(state: &Path) -> io::Result<()> {
    for (name, text) in FILES {
        let path = state.join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        if fs::read_to_string(&path).is_ok_and(|present| present == *text) {
            continue;
        }
        fs::write(&path, text)?;
    }
    Ok(())
}
