//! The Cedar schema, written from the catalogue in the form that people read.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::catalogue::{Catalogue, enumerations};

const HEAD: &str = r#"// Written by Clearway from its catalogue. What a policy may say of a call; see policies/README.md.

// Who calls: an application of a partner organisation.
entity Client in [Tenant] = { tenant: Tenant, status: Status, environment: Environment };
entity Tenant = { status: Status, jurisdiction: Jurisdiction, licences: Set<LicenceRole> };

// Whose back end is called, and where it lets data go.
entity Institution = { data_jurisdictions: Set<Jurisdiction> };

entity Product;
entity Jurisdiction; // ISO 3166-1 alpha-2
entity Currency; // ISO 4217
"#;

const CONTEXT: &str = r#"
// 2500000 minor units of GBP are GBP 25,000.00.
type Money = { minor_units: Long, currency: Currency };

type Call = {
  environment: Environment, // of the subscription, and so of the back end
  risk: Risk, // of the product
  product: Product,
  sender_constrained: Bool, // the token is bound to a key that the caller proved
  scopes: Set<String>, // of the token
  authorization_details_types: Set<String>, // of what the token was granted beyond scopes (RFC 9396)
  licence_role?: LicenceRole, // which the operation demands
  amount?: Money, // which the request moves
  amount_expected: Bool // the operation declares where its amount stands
};
"#;

/// One action of a schema: its name and its groups, sorted.
pub(super) type Entry<'c> = (&'c str, Vec<&'c str>);

/// The whole schema.
pub(super) fn whole(catalogue: &Catalogue) -> String {
    let entries = catalogue.actions.iter().map(|action| {
        let groups: Vec<&str> = action.kind.groups.iter().map(String::as_str).collect();
        (action.id.as_str(), groups)
    });
    write(catalogue.groups.keys().map(String::as_str), entries)
}

/// A schema of these groups and actions. Actions of the same groups share a declaration.
pub(super) fn write<'c>(groups: impl Iterator<Item = &'c str>, actions: impl Iterator<Item = Entry<'c>>) -> String {
    let mut text = String::from(HEAD);
    for (kind, names) in enumerations() {
        text.push_str(&format!("entity {kind} enum [{}];\n", quoted(&names)));
    }
    text.push_str(CONTEXT);
    let groups: Vec<&str> = groups.collect();
    if !groups.is_empty() {
        text.push_str("\n// Groups of operations.\naction\n  ");
        text.push_str(&groups.iter().map(|group| quote(group)).collect::<Vec<_>>().join(",\n  "));
        text.push_str(";\n");
    }
    let mut alike: BTreeMap<Vec<&str>, Vec<&str>> = BTreeMap::new();
    for (action, groups) in actions {
        alike.entry(groups).or_default().push(action);
    }
    for (groups, mut actions) in alike {
        actions.sort_unstable();
        let names = actions.iter().map(|action| quote(action)).collect::<Vec<_>>().join(",\n  ");
        let parents = if groups.is_empty() { String::new() } else { format!(" in [{}]", quoted(&groups)) };
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "\naction\n  {names}\n{parents} appliesTo {{ principal: [Client], resource: [Institution], context: Call }};\n"
        );
    }
    text
}

fn quote(name: &str) -> String {
    format!("\"{}\"", name.escape_debug())
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| quote(name)).collect::<Vec<_>>().join(", ")
}
