use std::time::Duration;

use serde_json::json;

use super::super::Services;
use super::super::testing::{APIS, Folder, GATEWAY, document};
use crate::admission::{Snapshot, StepUp};
use crate::contract::Mode;
use crate::domain::{ClientId, OperationIndex};
use crate::policy::{Decision, Question};

fn run<T>(work: impl FnOnce() -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { work() })
}

#[test]
fn a_sound_folder_compiles() {
    run(|| {
        let in_force = Folder::new().compile().unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
        let snapshot = &in_force.snapshot;
        let operation = snapshot.operation(OperationIndex(0)).unwrap();
        assert_eq!(operation.id.as_str(), "bank.accounts");
        assert_eq!(operation.upstream_path("/bank/accounts"), "/v1/accounts");
        assert_eq!(operation.upstream_path("/b%61nk/accounts"), "/v1/accounts", "an encoding moves no cut");
        assert_eq!(operation.terms.scopes.to_string(), "bank", "no scope in the document: the API's id is demanded");
        assert_eq!(operation.terms.request_contract, Mode::Enforce);
        let partner = snapshot.registry.partner(&ClientId::parse("app").unwrap()).unwrap();
        assert!(partner.subscription(OperationIndex(0)).is_some());
        assert!(partner.subscription(OperationIndex(1)).is_none());
    });
}

#[test]
fn every_mistake_is_found_in_one_run() {
    run(|| {
        let folder = Folder::new();
        folder.write(
            "apis.yaml",
            &format!("{APIS}  - {{ id: own, institution: bank, document: own.json, base_path: /oauth }}\n"),
        );
        folder.write(
            "apis/more.yaml",
            "version: 1\napis:\n  - id: named\n    institution: bank\n    document: bank.json\n    base_path: /named\n    operations:\n      acounts: { timeout: 1s }\n  - { id: twin, institution: bank, document: bank.json, base_path: /bank }\n",
        );
        folder.write("own.json", &document(&[("/token", "token"), ("/%74oken/x", "encoded")], &json!({})));
        folder.write(
            "products.yaml",
            "version: 1\nproducts:\n  - { id: banking, risk: low, operations: ['bank.*', bank.acounts] }\n",
        );
        folder.write("policies/bad.cedar", "@id(\"bad\") @reason(\"r\") @remedy(\"m\") forbid (principal, action == Action::\"bank.nothing\", resource);");
        folder.write("ca.pem", "no certificate");
        folder.write("gateway.yaml", &format!("{GATEWAY}partner_ca_files: [ca.pem]\n"));
        let found = folder.mistakes();
        for expected in [
            "apis.yaml:4:5: `own.token` would lie on a path of the gateway's own, /oauth/token on /oauth/…",
            "`own.encoded` would lie on a path of the gateway's own, /oauth/%74oken/x on /oauth/…",
            "the API has no operation `acounts`\n    remedy: did you mean `accounts`?",
            "bank and twin both claim GET /bank/accounts",
            "selects no operation: bank.acounts\n    remedy: did you mean `bank.accounts`?",
            "policies/bad.cedar:1:",
            "ca.pem: holds no PEM certificate",
        ] {
            assert!(found.iter().any(|mistake| mistake.contains(expected)), "{expected} is not in {found:#?}");
        }
    });
}

#[test]
fn what_looks_like_a_policy_and_is_not_in_force_is_a_mistake() {
    const FORBID: &str = "@id(\"no\") @reason(\"r\") @remedy(\"m\") forbid (principal, action, resource);";
    run(|| {
        for (file, expected) in [
            ("f.Cedar", "policies/f.Cedar: is no policy in force"),
            ("f.cedar.bak", "policies/f.cedar.bak: is no policy in force"),
            ("f.cedar.yaml", "policies/f.cedar.yaml: is no policy in force"),
            ("f.cedar.md", "policies/f.cedar.md: is no policy in force"),
            ("f.policy", "policies/f.policy: is no policy in force"),
            ("sub/f.cedar", "policies/sub: holds policies that are not in force"),
            ("sub/sub/f.Cedar", "policies/sub: holds policies that are not in force"),
        ] {
            let folder = Folder::new();
            folder.write(&format!("policies/{file}"), FORBID);
            let found = folder.mistakes();
            assert!(found.len() == 1 && found[0].starts_with(expected), "{file}: {found:?}");
            assert!(found[0].contains("remedy: "), "{file}: {found:?}");
        }
        let folder = Folder::new();
        for file in ["README.md", "LICENSE", ".f.cedar", ".f.cedar.swp", ".git/f.cedar", "pictures/f.svg"] {
            folder.write(&format!("policies/{file}"), FORBID);
        }
        let in_force = folder.compile().unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
        assert!(!is_refused(&in_force.snapshot), "what is hidden is not in force");
        folder.write("policies/own/f.cedar", FORBID);
        folder.write("gateway.yaml", &GATEWAY.replace("[policies]", "[policies, policies/own]"));
        let in_force = folder.compile().unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
        assert!(is_refused(&in_force.snapshot), "a folder with an entry of its own is in force");
    });
}

#[test]
fn a_policy_folder_that_cannot_be_read_is_not_taken_as_empty() {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    run(|| {
        let told = |folder: &Folder, change: &dyn Fn(&std::path::Path)| {
            let configuration = folder.load();
            change(&folder.path().join("policies"));
            let compiled = super::compile(&configuration, &Services::for_check(&configuration), None);
            compiled.map(drop).map_err(|mistakes| mistakes[0].to_string())
        };
        // They change after the configuration was read, which looks for the folder.
        for (expected, change) in [
            ("No such file", &(|at: &std::path::Path| fs::remove_dir_all(at).unwrap()) as &dyn Fn(&std::path::Path)),
            ("Not a directory", &|at: &std::path::Path| {
                fs::remove_dir_all(at).unwrap();
                fs::write(at, "").unwrap();
            }),
            ("No such file", &|at: &std::path::Path| {
                fs::remove_dir_all(at).unwrap();
                symlink("gone", at).unwrap();
            }),
        ] {
            let found = told(&Folder::new(), change).unwrap_err();
            assert!(found.contains(&format!("policies: cannot be read: {expected}")), "{found}");
        }
        let folder = Folder::new();
        let mode =
            |mode| fs::set_permissions(folder.path().join("policies"), fs::Permissions::from_mode(mode)).unwrap();
        let outcome = told(&folder, &|_| mode(0o000));
        let is_root = fs::read_dir(folder.path().join("policies")).is_ok(); // Whom no mode keeps out.
        mode(0o700);
        let expected = "policies: cannot be read: Permission denied";
        assert!(is_root || outcome.is_err_and(|found| found.contains(expected)));
    });
}

/// Whether the policies refuse the one client its one operation.
fn is_refused(snapshot: &Snapshot) -> bool {
    let partner = snapshot.registry.partner(&ClientId::parse("app").unwrap()).unwrap();
    let subscription = partner.subscription(OperationIndex(0)).unwrap();
    let operation = snapshot.operation(OperationIndex(0)).unwrap();
    let question = Question {
        operation: OperationIndex(0),
        client: &partner.client,
        product: &subscription.product.id,
        risk: subscription.product.risk,
        environment: subscription.environment,
        institution: &operation.institution.id,
        data_jurisdictions: &operation.institution.data_jurisdictions,
        sender_constrained: false,
        scopes: &operation.terms.scopes,
        detail_types: &[],
        amount: None,
        amount_expected: false,
    };
    matches!(snapshot.policies.decide(&question), Decision::Refuse(_))
}

#[test]
fn an_institutions_document_does_not_talk_the_operator_down() {
    run(|| {
        let said = json!({ "x-clearway-licence-role": "account-information",
            "x-clearway-amount": { "amount": "/fee", "currency": "/currency" } });
        let role = "@id(\"r\") @reason(\"r\") @remedy(\"m\") forbid (principal, action in Action::\"licence:payment-initiation\", resource);";
        let folder = Folder::new();
        folder.write("bank.json", &document(&[("/accounts", "accounts")], &said));
        folder.write("policies/role.cedar", role);
        let demanded = |more: &str| {
            folder.write("apis.yaml", &APIS.replace("base_path: /bank", &format!("base_path: /bank{more}")));
            let in_force = folder.compile().unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
            let amount = in_force.snapshot.operations[0].terms.amount.as_ref().map(|at| at.amount.clone());
            (is_refused(&in_force.snapshot), amount)
        };
        let amount = "operations: { accounts: { amount: { amount: /sum, currency: /currency } } }";
        for (name, more, expected) in [
            ("the document's word, where there is no other", String::new(), (false, "/fee")),
            ("the operator's on the API", ", licence_role: payment-initiation".to_owned(), (true, "/fee")),
            (
                "on the operation",
                ", operations: { accounts: { licence_role: payment-initiation } }".to_owned(),
                (true, "/fee"),
            ),
            ("on the amount", format!(", {amount}"), (false, "/sum")),
        ] {
            let (refused, amount) = demanded(&more);
            assert_eq!((refused, amount.as_deref()), (expected.0, Some(expected.1)), "{name}");
        }
    });
}

#[test]
fn a_step_up_is_demanded_by_the_operator_else_by_the_document() {
    run(|| {
        let folder = Folder::new();
        let said = json!({ "x-clearway-step-up": { "acr_values": ["theirs"], "max_age": 60 } });
        folder.write("bank.json", &document(&[("/accounts", "accounts")], &said));
        let step_up = |acr: &str, secs| StepUp::new(vec![acr.into()], Some(Duration::from_secs(secs))).unwrap();
        let ours = ", operations: { accounts: { step_up: { acr_values: [ours], max_age: 5m } } }";
        for (name, more, expected) in
            [("the document", "", step_up("theirs", 60)), ("the operator", ours, step_up("ours", 300))]
        {
            folder.write("apis.yaml", &APIS.replace("base_path: /bank", &format!("base_path: /bank{more}")));
            let in_force = folder.compile().unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
            assert_eq!(in_force.snapshot.operations[0].terms.step_up, Some(expected), "{name}");
        }
    });
}

#[test]
fn details_are_demanded_of_a_type_that_some_api_declares() {
    run(|| {
        let folder = Folder::new();
        let mut bank: serde_json::Value =
            serde_json::from_str(&document(&[("/accounts", "accounts")], &json!({}))).unwrap();
        bank["x-clearway-authorization-details"] = json!({ "payment": { "type": "object" } });
        folder.write("bank.json", &bank.to_string());
        let demand = |name: &str| {
            let more = format!(
                "base_path: /bank\n    operations:\n      accounts:\n        authorization_details_type: {name}"
            );
            let apis = APIS.replace(
                "{ id: bank, institution: bank, document: bank.json, base_path: /bank }",
                &format!("id: bank\n    institution: bank\n    document: bank.json\n    {more}"),
            );
            assert!(apis.contains(name), "{apis}");
            folder.write("apis.yaml", &apis);
        };
        demand("payment");
        let in_force = folder.compile().unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
        assert_eq!(in_force.snapshot.operations[0].terms.authorization_details_type.as_deref(), Some("payment"));
        demand("paymant");
        let found = folder.mistakes();
        let expected = "apis.yaml:9:37: no API declares the authorization details type `paymant`\n    remedy: did you mean `payment`?";
        assert!(found.iter().any(|mistake| mistake.contains(expected)), "{found:#?}");
    });
}

#[test]
fn what_a_document_demands_wrongly_is_a_mistake_and_not_no_demand() {
    run(|| {
        for (name, said, expected) in [
            ("a role with a slip", json!({ "x-clearway-licence-role": "payment-initation" }), "is not a licence role"),
            (
                "a role of another type",
                json!({ "x-clearway-licence-role": ["payment-initiation"] }),
                "is not a licence role",
            ),
            ("half an amount", json!({ "x-clearway-amount": { "amount": "/sum" } }), "needs `amount` and `currency`"),
            ("half a step-up", json!({ "x-clearway-step-up": {} }), "needs `acr_values`, `max_age` or both"),
            ("a step-up with a slip", json!({ "x-clearway-step-up": { "max_ages": 5 } }), "`max_ages` is not known"),
            ("a step-up at once", json!({ "x-clearway-step-up": { "max_age": 0 } }), "at least one second"),
            ("a step-up by nothing", json!({ "x-clearway-step-up": { "acr_values": [""] } }), "visible ASCII"),
            (
                "no pointer",
                json!({ "x-clearway-amount": { "amount": "sum", "currency": "/c" } }),
                "needs `amount` and `currency`",
            ),
        ] {
            let folder = Folder::new();
            folder.write("bank.json", &document(&[("/accounts", "accounts")], &said));
            let found = folder.mistakes();
            assert!(found.iter().any(|mistake| mistake.contains(expected)), "{name}: {found:#?}");
        }
    });
}

#[test]
fn scopes_are_the_operators_then_the_documents_then_the_defaults() {
    run(|| {
        let secured = json!({ "security": [{ "o": ["theirs"] }] });
        let mut document: serde_json::Value =
            serde_json::from_str(&document(&[("/accounts", "accounts")], &secured)).unwrap();
        let flow = json!({ "tokenUrl": "https://x.example/token", "scopes": { "theirs": "" } });
        document["components"] =
            json!({ "securitySchemes": { "o": { "type": "oauth2", "flows": { "clientCredentials": flow } } } });
        for (name, more, secured, expected) in [
            ("the document's", "", true, "theirs"),
            ("the API's id", "", false, "bank"),
            ("the API's default", ", default_scope: fallback", false, "fallback"),
            ("the document before the default", ", default_scope: fallback", true, "theirs"),
            ("the API's own", ", scopes: ours", true, "ours"),
            ("the operation's", ", scopes: ours, operations: { accounts: { scopes: finest } }", true, "finest"),
        ] {
            let folder = Folder::new();
            if secured {
                folder.write("bank.json", &document.to_string());
            }
            folder.write("apis.yaml", &APIS.replace("base_path: /bank", &format!("base_path: /bank{more}")));
            let in_force = folder.compile().unwrap_or_else(|mistakes| panic!("{name}: {mistakes:#?}"));
            assert_eq!(in_force.snapshot.operations[0].terms.scopes.to_string(), expected, "{name}");
        }
    });
}
