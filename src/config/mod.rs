//! What did the operator write down? The files of the configuration folder, read whole, every mistake at once.
//!
//! Invariants: a [`Configuration`] holds together (each name it uses is declared in it); a key that no reader asked for
//! is a mistake; files and environment are read here and nowhere else; nothing is bound or started before it is read.

mod apis;
mod diagnostic;
pub mod folder;
mod gateway;
mod institutions;
mod issuers;
mod partners;
mod plans;
mod registered;
mod registrations;
mod scalar;
mod suggest;
mod tree;
mod users;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::authn::IssuerSettings;
use crate::domain::Tenant;
use crate::oauth::User;
use crate::quota::Plan;

pub use apis::{AmountPointers, ApiSettings, OperationSettings, ProductSettings, Selector, StepUpSettings};
pub use diagnostic::{Diagnostic, Place, Report};
pub use gateway::{AccessLogSettings, CatalogueSettings, DpopKeys, GatewaySettings, TokenSettings};
pub use institutions::InstitutionSettings;
pub use partners::{ClientSettings, SubscriptionSettings};
pub use registrations::RegistrationSettings;
pub use suggest::{Hints, did_you_mean};
pub use tree::KINDS;
use tree::{Context, Entry};

/// The JSON Schema (draft 2020-12) of every file here. It knows shapes; what names and files mean together, only [`load`] knows.
pub const SCHEMA: &str = include_str!("../../config/schema.json");

/// Everything that was written down, checked and cross-checked.
#[derive(Debug)]
pub struct Configuration {
    pub gateway: GatewaySettings,
    pub issuers: Vec<Located<IssuerSettings>>,
    pub tenants: Vec<Arc<Tenant>>,
    pub clients: Vec<Located<ClientSettings>>,
    pub institutions: Vec<Located<InstitutionSettings>>,
    pub apis: Vec<Located<ApiSettings>>,
    pub products: Vec<Located<ProductSettings>>,
    pub plans: Vec<Located<Plan>>,
    pub subscriptions: Vec<Located<SubscriptionSettings>>,
    /// Account holders who sign in with a password here.
    pub users: Vec<Located<Arc<User>>>,
    pub registrations: Vec<Located<RegistrationSettings>>,
    /// Every file that was read, for the watcher.
    pub files: Vec<PathBuf>,
}

/// What a running process remembers of its configuration: what tells the next change, and what only a restart applies.
/// The rest lives in the snapshot, and need not be held twice.
#[derive(Debug)]
pub struct Foundation {
    pub gateway: GatewaySettings,
    pub files: Vec<PathBuf>,
}

impl Configuration {
    pub fn foundation(&self) -> Foundation {
        Foundation { gateway: self.gateway.clone(), files: self.files.clone() }
    }
}

/// A value and where it was written.
#[derive(Debug, Clone)]
pub struct Located<T> {
    pub value: T,
    pub place: Place,
}

/// Values for `${NAME}` that take precedence over the environment.
pub type Variables = HashMap<String, String>;

/// Reads the folder. On any mistake: all of them, in order of file and line.
///
/// On a thread of its own: the trees of large files are many times what is kept of them, and the allocator gives back
/// to the system what a thread has left behind when it ends.
pub fn load(folder: &Path, variables: &Variables) -> Result<Configuration, Vec<Diagnostic>> {
    std::thread::scope(|scope| match scope.spawn(|| load_here(folder, variables)).join() {
        Ok(loaded) => loaded,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

fn load_here(folder: &Path, variables: &Variables) -> Result<Configuration, Vec<Diagnostic>> {
    let report = Report::default();
    let context = Context::new(folder, variables, &report);
    let configuration = read(&context);
    let mut mistakes = report.into_diagnostics();
    match configuration {
        Some(configuration) if mistakes.is_empty() => Ok(configuration),
        _ => {
            mistakes.sort();
            mistakes.dedup();
            Err(mistakes)
        }
    }
}

fn read(context: &Context<'_>) -> Option<Configuration> {
    let gateway = gateway::read(context);
    let tenants = partners::tenants(&context.entries("tenants"));
    let plans = plans::plans(&context.entries("plans"));
    let institutions = institutions::institutions(&context.entries("institutions"));
    let apis = apis::apis(&context.entries("apis"), &institutions);
    let products = apis::products(&context.entries("products"), &apis);
    let clients = partners::clients(&context.entries("clients"), &tenants);
    let declared = partners::Declared { clients: &clients, products: &products, plans: &plans };
    let subscriptions = partners::subscriptions(&context.entries("subscriptions"), &declared);
    let issuers = issuers::issuers(&context.entries("issuers"), &products, &plans);
    let users = users::users(&context.entries("users"), &clients);
    let registrations = registrations::registrations(&context.entries("registrations"), &tenants, &products, &plans);
    context.refuse_unknown_files();
    Some(Configuration {
        gateway: gateway?,
        issuers,
        tenants: tenants.into_iter().map(|located| located.value).collect(),
        clients,
        institutions,
        apis,
        products,
        plans,
        subscriptions,
        users,
        registrations,
        files: context.files(),
    })
}

/// Reads a list of entries with one reader, refusing a second entry of the same name.
fn each<T>(
    entries: &[Entry<'_>],
    kind: &str,
    name: impl Fn(&T) -> String,
    reader: impl Fn(&Entry<'_>) -> Option<T>,
) -> Vec<Located<T>> {
    let mut seen: HashMap<String, Place> = HashMap::new();
    let mut list = Vec::with_capacity(entries.len());
    for entry in entries {
        let Some(value) = reader(entry) else { continue };
        let place = entry.place();
        if let Some(first) = seen.insert(name(&value), place.clone()) {
            entry.report().add(
                Diagnostic::new(place.clone(), format!("{kind} `{}` is declared twice", name(&value)))
                    .remedy(format!("rename or remove one; the other is at {first}")),
            );
        }
        list.push(Located { value, place });
    }
    list
}

#[cfg(test)]
mod schema_tests;
#[cfg(test)]
mod tests;
