//! Mistakes in files, and where they are said to be.

use std::fs;
use std::path::Path;

use super::*;

const GATEWAY: &str = "\
version: 1
public_url: https://localhost:8443
listeners:
  - { name: public, address: 127.0.0.1:0 }
store_file: state/clearway.db
audit_file: state/audit.jsonl
";

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

/// Each mistake as `file:line:column: message`, the folder left out.
fn mistakes(files: &[(&str, &str)]) -> Vec<String> {
    let folder = folder(files);
    let found = load(folder.path(), &Variables::new()).map(drop).unwrap_err();
    found.iter().map(|d| relative(folder.path(), d)).collect()
}

fn relative(folder: &Path, diagnostic: &Diagnostic) -> String {
    diagnostic.to_string().replace(&format!("{}/", folder.display()), "")
}

#[test]
fn a_minimal_configuration_is_enough() {
    let folder = folder(&[("gateway.yaml", GATEWAY)]);
    let configuration = load(folder.path(), &Variables::new()).unwrap();
    assert_eq!(configuration.gateway.issuer, "https://localhost:8443", "the issuer is the public URL by default");
    assert_eq!(configuration.gateway.store, folder.path().join("state/clearway.db"));
    assert!(configuration.apis.is_empty());
}

#[test]
fn every_mistake_is_reported_at_once_with_its_place() {
    let found = mistakes(&[
        ("gateway.yaml", &format!("{GATEWAY}worker: 4\nlimits: {{ idle_timeout: 30 }}\n")),
        (
            "tenants.yaml",
            "version: 1\ntenants:\n  - id: acme\n    jurisdicton: GB\n  - id: acme\n    jurisdiction: gb\n  - id: other\n    jurisdiction: FR\n    licences: [payment-initation]\n",
        ),
        ("clients.yaml", "version: 1\nclients:\n  - { id: app, tenant: acm, issuer: 'https://idp.example' }\n"),
        ("tenant.yaml", "version: 1\n"),
    ]);
    let expected = [
        "clients.yaml:3:24: `tenant`: there is no tenant `acm`",
        "gateway.yaml:7:9: unknown key `worker`\n    remedy: did you mean `workers`?",
        "gateway.yaml:8:25: `idle_timeout`: expected a number with its unit: ms, s, m, h or d, such as 30s",
        "tenant.yaml: no part of the configuration has this name\n    remedy: did you mean tenants.yaml?",
        "tenants.yaml:3:5: `jurisdiction` is missing",
        "tenants.yaml:4:18: unknown key `jurisdicton`\n    remedy: did you mean `jurisdiction`?",
        "tenants.yaml:6:19: `jurisdiction`: \"gb\" is not two upper-case letters (ISO 3166-1 alpha-2)",
        "tenants.yaml:9:16: `licences`: expected one of account-information, payment-initiation, card-based-payment-instrument, account-servicing, insurance-distribution, credit-intermediation, wealth-management; did you mean `payment-initiation`?",
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_name_that_is_declared_nowhere_is_found_and_the_nearest_is_offered() {
    let found = mistakes(&[
        ("gateway.yaml", GATEWAY),
        ("plans.yaml", "version: 1\nplans: [{ id: standard, limits: [] }]\n"),
        ("tenants.yaml", "version: 1\ntenants: [{ id: acme, jurisdiction: GB }]\n"),
        ("clients.yaml", "version: 1\nclients: [{ id: app, tenant: acme, issuer: 'https://idp.example' }]\n"),
        ("subscriptions.yaml", "version: 1\nsubscriptions:\n  - { client: app, product: banking, plan: standrad }\n"),
    ]);
    assert_eq!(
        found,
        [
            "subscriptions.yaml:3:29: `product`: there is no product `banking`",
            "subscriptions.yaml:3:44: `plan`: there is no plan `standrad`; did you mean `standard`?",
        ]
    );
}

#[test]
fn broken_yaml_duplicate_keys_and_other_versions_are_refused_with_their_place() {
    for (name, text, expected) in [
        ("broken", "version: 1\ntenants: [", "tenants.yaml:2:"),
        ("duplicate key", "version: 1\nversion: 1\n", "tenants.yaml:2:1: is not valid YAML"),
        ("another version", "version: 2\ntenants: []\n", "tenants.yaml:1:10: `version`: this release reads version 1"),
        ("no version", "tenants: []\n", "tenants.yaml:1:1: `version` is missing"),
        ("a list", "- a\n", "tenants.yaml:1:1: expected a mapping, found a list"),
        ("not a list", "version: 1\ntenants: x\n", "tenants.yaml:2:10: `tenants`: expected a list, found a text"),
    ] {
        let found = mistakes(&[("gateway.yaml", GATEWAY), ("tenants.yaml", text)]);
        assert!(found.iter().any(|mistake| mistake.starts_with(expected)), "{name}: {found:?}");
    }
}

#[test]
fn plain_http_and_operations_stay_on_loopback() {
    let open = GATEWAY.replace("127.0.0.1:0", "0.0.0.0:80") + "operations_address: 0.0.0.0:9080\n";
    let found = mistakes(&[("gateway.yaml", &open)]);
    assert!(found.iter().any(|m| m.contains("a listener without `tls` is for loopback addresses only")), "{found:?}");
    assert!(found.iter().any(|m| m.contains("operations listener")), "{found:?}");
    let http = GATEWAY.replace("https://localhost:8443", "http://api.example");
    let found = mistakes(&[("gateway.yaml", &http)]);
    assert!(found.iter().any(|m| m.contains("http:// is for loopback only")), "{found:?}");
}

#[test]
fn secrets_are_never_written_out_and_never_shown() {
    let institution = |credential: &str| {
        format!(
            "version: 1\ninstitutions:\n  - id: bank\n    backends:\n      - environment: sandbox\n        urls: [\"http://127.0.0.1:1\"]\n        credential: {{ kind: api_key, header: x-api-key, {credential} }}\n"
        )
    };
    let written = institution("secret: hunter2hunter2");
    let found = mistakes(&[("gateway.yaml", GATEWAY), ("institutions.yaml", &written)]);
    assert!(found.iter().any(|m| m.contains("a secret is never written out")), "{found:?}");
    assert!(!found.iter().any(|m| m.contains("hunter2")), "the secret is in a message");
    let folder = folder(&[
        ("gateway.yaml", GATEWAY),
        ("institutions.yaml", &institution("secret_file: key.txt")),
        ("key.txt", "hunter2hunter2\n"),
    ]);
    let configuration = load(folder.path(), &Variables::new()).unwrap();
    assert!(!format!("{configuration:?}").contains("hunter2"), "the secret is in Debug");
}

#[test]
fn variables_have_defaults_and_missing_ones_are_mistakes() {
    let text = GATEWAY.replace("https://localhost:8443", "${A_URL:-https://a.example}");
    let files = folder(&[("gateway.yaml", &text)]);
    assert_eq!(load(files.path(), &Variables::new()).unwrap().gateway.public_url, "https://a.example");
    let variables = Variables::from([("A_URL".to_owned(), "https://b.example".to_owned())]);
    assert_eq!(load(files.path(), &variables).unwrap().gateway.public_url, "https://b.example");
    let missing = GATEWAY.replace("https://localhost:8443", "${NOT_SET_ANYWHERE_123}");
    let found = mistakes(&[("gateway.yaml", &missing)]);
    assert!(found[0].contains("the environment variable NOT_SET_ANYWHERE_123 is not set"), "{found:?}");
}

#[test]
fn a_limit_is_exactly_one_kind() {
    let plans = |limit: &str| format!("version: 1\nplans:\n  - id: p\n    limits:\n      - {limit}\n");
    for (name, limit, expected) in [
        ("two kinds", "{ name: a, per: client, concurrency: 1, rate: { requests: 1, per: 1s } }", "a limit is one of"),
        ("none", "{ name: a, per: client }", "a limit needs a valid"),
        ("zero", "{ name: a, per: client, concurrency: 0 }", "`concurrency`"),
        ("zero time", "{ name: a, per: client, rate: { requests: 1, per: 0s } }", "expected more than nothing"),
        ("no zone", "{ name: a, per: client, window: { requests: 1, period: day, zone: Mars } }", "time zone database"),
        ("bad name", "{ name: 'a b', per: client, concurrency: 1 }", "1 to 32 letters"),
    ] {
        let found = mistakes(&[("gateway.yaml", GATEWAY), ("plans.yaml", &plans(limit))]);
        assert!(found.iter().any(|m| m.contains(expected)), "{name}: {found:?}");
    }
}

#[test]
fn many_files_in_a_folder_are_one_list() {
    let folder = folder(&[
        ("gateway.yaml", GATEWAY),
        ("tenants/a.yaml", "version: 1\ntenants: [{ id: a, jurisdiction: GB }]\n"),
        ("tenants/b.yaml", "version: 1\ntenants: [{ id: b, jurisdiction: FR }]\n"),
    ]);
    assert_eq!(load(folder.path(), &Variables::new()).unwrap().tenants.len(), 2);
}

#[test]
fn what_looks_like_configuration_and_is_none_is_a_mistake() {
    const NONE: &str = "no part of the configuration has this name\n    remedy: did you mean";
    const TENANTS: &str = "version: 1\ntenants: [{ id: a, jurisdiction: GB }]\n";
    for (file, expected) in [
        ("clients.YAML", format!("clients.YAML: {NONE} clients.yaml?")),
        ("clients.yaml.bak", format!("clients.yaml.bak: {NONE} clients.yaml?")),
        ("clients.json", format!("clients.json: {NONE} clients.yaml?")),
        ("Gateway.yml", format!("Gateway.yml: {NONE} gateway.yaml?")),
        ("cleints/a.yaml", format!("cleints: {NONE} clients/?")),
        ("Clients/a.yaml", format!("Clients: {NONE} clients/?")),
        ("clients/a.YAML", "clients/a.YAML: is not read".to_owned()),
        ("clients/a.yaml.txt", "clients/a.yaml.txt: is not read".to_owned()),
        ("clients/a.json", "clients/a.json: is not read".to_owned()),
        ("clients/more/a.yaml", "clients/more: is not read".to_owned()),
    ] {
        let found = mistakes(&[("gateway.yaml", GATEWAY), (file, TENANTS)]);
        assert!(found.len() == 1 && found[0].starts_with(&expected), "{file}: {found:?}");
        assert!(found[0].contains("remedy: "), "{file}: {found:?}");
    }
    let user = "version: 1\nusers: [{ subject: psu-2, username: bob, password_hash_file: users/keys/bob.phc }]\n";
    let folder = folder(&[
        ("gateway.yaml", GATEWAY),
        ("tenants.yaml", TENANTS),
        ("users/bob.yaml", user),
        ("users/keys/bob.phc", HASH),
        ("users/README.md", "Who they are."),
        ("README.md", ""),
        ("schema.json", ""),
        (".tenants.yaml.swp", ""),
        ("tenants/.more.yaml", "not read"),
        (".git/clients.yaml", ""),
        ("client/logo.svg", ""),
        ("keys/parts.yaml", ""),
    ]);
    load(folder.path(), &Variables::new()).unwrap();
}

#[test]
fn a_folder_or_file_that_cannot_be_read_is_not_taken_as_absent() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let unreadable = |make: &dyn Fn(&Path)| {
        let folder = folder(&[("gateway.yaml", GATEWAY)]);
        make(folder.path());
        let found = load(folder.path(), &Variables::new()).map(drop).unwrap_err();
        found.iter().map(|mistake| relative(folder.path(), mistake)).collect::<Vec<_>>()
    };
    for (name, make, expected) in [
        (
            "a file in place of a folder",
            &(|at: &Path| fs::write(at.join("tenants"), "").unwrap()) as &dyn Fn(&Path),
            "tenants: cannot be read: Not a directory",
        ),
        (
            "a folder that has moved",
            &|at: &Path| symlink("gone", at.join("tenants")).unwrap(),
            "tenants: cannot be read: No such file",
        ),
        (
            "a file that has moved",
            &|at: &Path| symlink("gone", at.join("tenants.yaml")).unwrap(),
            "tenants.yaml: cannot be read: No such file",
        ),
        (
            "a folder in place of a file",
            &|at: &Path| fs::create_dir(at.join("tenants.yaml")).unwrap(),
            "tenants.yaml: cannot be read: Is a directory",
        ),
    ] {
        let found = unreadable(make);
        assert!(found.len() == 1 && found[0].starts_with(expected), "{name}: {found:?}");
    }
    for name in ["tenants", "cleints"] {
        let folder = folder(&[("gateway.yaml", GATEWAY), (&format!("{name}/a.txt"), "")]);
        let closed = folder.path().join(name);
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
        let is_root = fs::read_dir(&closed).is_ok(); // Whom no mode keeps out.
        let outcome = load(folder.path(), &Variables::new()).map(drop);
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
        let told = outcome.is_err_and(|found| found[0].to_string().contains("cannot be read: Permission denied"));
        assert!(told || is_root, "{name}");
    }
}

const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

#[test]
fn a_user_has_a_name_a_subject_and_the_hash_of_a_password() {
    let users = |users: &str| format!("version: 1\nusers:\n{users}");
    let alice = format!("  - {{ subject: psu-1, username: Alice, password_hash: '{HASH}' }}\n");
    let folder = folder(&[
        ("gateway.yaml", GATEWAY),
        (
            "users.yaml",
            &users(&format!(
                "{alice}  - {{ subject: psu-2, username: bob, password_hash_file: bob.phc, acr: 'urn:one' }}\n{}",
                alice
                    .replace("psu-1", "psu-3")
                    .replace("Alice", "carol")
                    .replace(" }", ", acr: ['urn:one', 'urn:two'] }")
            )),
        ),
        ("bob.phc", &format!("{HASH}\n")),
    ]);
    let configuration = load(folder.path(), &Variables::new()).unwrap();
    assert_eq!(configuration.users.len(), 3);
    let acr = |user: usize| configuration.users[user].value.acr.iter().collect::<Vec<_>>();
    assert_eq!(
        [acr(0), acr(1), acr(2)],
        [vec!["urn:clearway:acr:password"], vec!["urn:one"], vec!["urn:one", "urn:two"]]
    );
    assert!(configuration.files.contains(&folder.path().join("bob.phc")), "a change of it reloads");
    assert!(!format!("{configuration:?}").contains("argon2id"), "a guess can be tried on a hash");

    let client = "version: 1\nclients: [{ id: app, tenant: acme, issuer: 'https://idp.example' }]\n";
    let tenant = "version: 1\ntenants: [{ id: acme, jurisdiction: GB }]\n";
    for (name, text, expected) in [
        ("a password", "  - { subject: a, username: a, password: hunter2 }\n".to_owned(), "unknown key `password`"),
        ("none", "  - { subject: a, username: a }\n".to_owned(), "exactly one of `password_hash`"),
        ("both", alice.replace(" }", ", password_hash_file: bob.phc }"), "exactly one of `password_hash`"),
        ("no hash", alice.replace(HASH, "hunter2"), "no PHC string of Argon2id"),
        ("dear", alice.replace("m=19456", "m=9999999"), "out of bounds"),
        ("a client's id", alice.replace("psu-1", "app"), "a client has the id `app`"),
        ("not ASCII", alice.replace("psu-1", "psü"), "visible ASCII"),
        ("spaces", alice.replace("psu-1", "p s"), "visible ASCII"),
        (
            "the same name",
            format!("{alice}{}", alice.replace("psu-1", "p").replace("Alice", "alice")),
            "declared twice",
        ),
        ("the same subject", format!("{alice}{}", alice.replace("Alice", "bob")), "another user has the subject"),
        ("no subject", alice.replace("subject: psu-1, ", ""), "`subject` is missing"),
        ("no class", alice.replace(" }", ", acr: [] }"), "1 to 16 classes"),
        ("a class twice", alice.replace(" }", ", acr: [a, a] }"), "each named once"),
        ("a class with a blank", alice.replace(" }", ", acr: a b }"), "visible ASCII"),
    ] {
        let files = [
            ("gateway.yaml", GATEWAY),
            ("tenants.yaml", tenant),
            ("clients.yaml", client),
            ("bob.phc", HASH),
            ("users.yaml", &users(&text)),
        ];
        let found = mistakes(&files);
        assert!(found.iter().any(|mistake| mistake.contains(expected)), "{name}: {found:?}");
        assert!(!found.iter().any(|mistake| mistake.contains("hunter2")), "{name}: the secret is in a message");
    }
}

#[test]
fn sessions_have_an_end() {
    for (name, value, good) in [
        ("as they are", "sessions: { idle_timeout: 1m, lifetime: 8h }\n", true),
        ("less than a second", "sessions: { idle_timeout: 999ms }\n", false),
        ("days", "sessions: { lifetime: 2d }\n", false),
        ("unknown", "sessions: { lifetimes: 1h }\n", false),
    ] {
        let folder = folder(&[("gateway.yaml", &format!("{GATEWAY}{value}"))]);
        assert_eq!(load(folder.path(), &Variables::new()).is_ok(), good, "{name}");
    }
}

#[test]
fn whatever_lasts_for_a_time_has_bounds() {
    for (key, least, most, beyond, expected) in [
        ("access_token_lifetime", "1s", "1h", "3601s", "1s to 1h in whole seconds"),
        ("key_rotation_period", "1h", "366d", "59m", "1h to 366d"),
        ("assertion_lifetime_max", "10s", "1h", "61m", "10s to 1h"),
        ("clock_skew_max", "10s", "60s", "61s", "10s to 60s"),
        ("request_uri_lifetime", "1s", "599s", "10m", "1s to 599s"),
        ("visit_lifetime", "1s", "1h", "2h", "1s to 1h"),
        ("backchannel_lifetime", "1s", "30m", "31m", "1s to 30m"),
        ("grant_lifetime", "1s", "3650d", "999ms", "1s to 3650d"),
    ] {
        let with = |value: &str| format!("{GATEWAY}tokens: {{ {key}: {value} }}\n");
        for good in [least, most] {
            let folder = folder(&[("gateway.yaml", &with(good))]);
            assert!(load(folder.path(), &Variables::new()).is_ok(), "{key}: {good}");
        }
        let column = "tokens: { ".len() + key.len() + ": ".len() + 1;
        let told = format!("gateway.yaml:7:{column}: `{key}`: expected {expected}");
        assert_eq!(mistakes(&[("gateway.yaml", &with(beyond))]), [told], "{key}");
    }
}

#[test]
fn a_clients_own_tokens_last_whole_seconds_up_to_an_hour() {
    for (written, good) in [("1s", true), ("3s", true), ("1h", true), ("0s", false), ("1500ms", false), ("61m", false)]
    {
        let client = format!(
            "version: 1\nclients: [{{ id: c, tenant: a, access_token_lifetime: {written}, authentication: {{ method: \
             tls_client_auth, san_dns: c.example }} }}]\n"
        );
        let tenants = "version: 1\ntenants: [{ id: a, jurisdiction: GB }]\n";
        let folder = folder(&[("gateway.yaml", GATEWAY), ("tenants.yaml", tenants), ("clients.yaml", &client)]);
        let outcome = load(folder.path(), &Variables::new()).map(drop);
        assert_eq!(outcome.is_ok(), good, "{written}: {outcome:?}");
    }
}
