//! What compiling accepts, and how it says what it does not.

use super::*;

const OK: &str = r#"@id("p") permit (principal, action, resource);"#;

/// The only issue of a text.
fn issue(text: &str) -> String {
    let issues = Owned::new().compile(text).expect_err(text);
    assert_eq!(issues.len(), 1, "{issues:#?}");
    issues.into_iter().next().unwrap()
}

#[test]
fn mistakes_have_a_place_a_message_and_a_suggestion() {
    for (name, text, expected) in [
        (
            "unknown operation",
            "@id(\"p\")\npermit (principal, action == Action::\"bank.GetAcounts\", resource);",
            r#"test.cedar:2:30: there is no operation or group of operations "bank.GetAcounts" (did you mean `Action::"bank.GetAccounts"`?)"#,
        ),
        (
            "unknown group",
            "@id(\"p\")\npermit (principal, action in [Action::\"tag:payment\"], resource);",
            r#"test.cedar:2:31: there is no operation or group of operations "tag:payment" (did you mean `Action::"tag:payments"`?)"#,
        ),
        (
            "unknown attribute",
            "@id(\"p\") permit (principal, action, resource)\nwhen { context.sendr_constrained };",
            r#"test.cedar:2:8: attribute `sendr_constrained` in context for Action::"bank.GetAccounts" not found (did you mean `sender_constrained`?)"#,
        ),
        (
            "unknown attribute of the principal",
            "@id(\"p\") permit (principal, action, resource)\nwhen { principal.tenant.stats == Status::\"active\" };",
            "test.cedar:2:8: attribute `stats` on entity type `Tenant` not found (did you mean `status`?)",
        ),
        (
            "unknown attribute behind has",
            "@id(\"p\") permit (principal, action, resource)\nunless { context has amout };",
            "test.cedar:2:22: there is no attribute `amout` here, so `has` is always false (did you mean `amount`?)",
        ),
        (
            "unknown entity type",
            "@id(\"p\") permit (principal, action, resource)\nwhen { principal in Tenants::\"acme\" };",
            "test.cedar:2:21: unrecognized entity type `Tenants` (did you mean `Tenant`?)",
        ),
        (
            "unknown value of an enumeration",
            "@id(\"p\") permit (principal, action, resource)\nwhen { context.risk == Risk::\"regulatd\" };",
            "test.cedar:2:24: there is no risk \"regulatd\" (did you mean `Risk::\"regulated\"`?)",
        ),
        (
            "unknown tenant",
            "@id(\"p\") permit (principal in Tenant::\"acne\", action, resource);",
            "test.cedar:1:31: there is no tenant \"acne\" (did you mean `Tenant::\"acme\"`?)",
        ),
        (
            "unknown institution",
            "@id(\"p\") permit (principal, action, resource == Institution::\"southbank\");",
            "test.cedar:1:49: there is no institution \"southbank\" (did you mean `Institution::\"northbank\"`?)",
        ),
        (
            "unknown product",
            "@id(\"p\") permit (principal, action, resource) when { context.product == Product::\"zzz\" };",
            "test.cedar:1:73: there is no product \"zzz\"",
        ),
        (
            "a jurisdiction that is none",
            "@id(\"p\") permit (principal, action, resource) when { principal.tenant.jurisdiction == Jurisdiction::\"UK\" };",
            "test.cedar:1:87: \"UK\" is not a code of ISO 3166-1 alpha-2 (did you mean `Jurisdiction::\"GB\"`?)",
        ),
        (
            "a currency that is none",
            "@id(\"p\") permit (principal, action, resource) when { context has amount && context.amount.currency == Currency::\"GPB\" };",
            "test.cedar:1:103: \"GPB\" is not a currency of ISO 4217",
        ),
        (
            "unknown annotation",
            "@id(\"p\")\n@raeson(\"x\")\npermit (principal, action, resource);",
            "test.cedar:2:1: there is no annotation `@raeson`; there are `@id`, `@reason`, `@regulation`, `@remedy`, `@redact`, `@mask`, `@header` (did you mean `@reason`?)",
        ),
        (
            "optional attribute without a guard",
            "@id(\"p\") permit (principal, action, resource)\nwhen { context.amount.minor_units < 5 };",
            r#"test.cedar:2:8: unable to guarantee safety of access to optional attribute `amount` in context for Action::"bank.GetAccounts" (try testing for the attribute's presence with `context has amount && ..`)"#,
        ),
        (
            "types that cannot be equal",
            "@id(\"p\") permit (principal, action, resource)\nwhen { context.risk == \"low\" };",
            "test.cedar:2:8: the types String and Risk are not compatible (both operands to a `==` expression must have compatible types. Types must be exactly equal to be compatible)",
        ),
        (
            "never applies",
            "@id(\"p\") permit (principal, action == Action::\"bank.GetAccounts\", resource) when { action == Action::\"insurer.GetQuotes\" };",
            "test.cedar:1:1: policy is impossible: the policy expression evaluates to false for all valid requests",
        ),
        (
            "syntax",
            "@id(\"p\")\npermit (principal, action resource);",
            "test.cedar:2:27: unexpected token `resource`: expected `!=`, `)`, `,`, `:`, `<`, `<=`, `==`, `>`, `>=`, `in`, or `is`",
        ),
        ("a text without end", "@id(\"p) permit (principal);", "test.cedar:1:5: this text has no closing `\"`"),
    ] {
        assert_eq!(issue(text), expected, "{name}");
    }
}

#[test]
fn annotations_are_checked() {
    for (name, annotations, effect, expected) in [
        ("no id", "", "permit", "every policy needs an `@id`"),
        ("empty id", "@id(\"\")", "permit", "`@id` is 1 to 128"),
        ("odd id", "@id(\"a b\")", "permit", "`@id` is 1 to 128"),
        ("no reason", "@id(\"p\")", "forbid", "a forbid policy needs a `@reason`"),
        ("empty reason", "@id(\"p\") @reason(\"\")", "forbid", "`@reason` is a text of 1 to 1000 bytes"),
        ("control character", "@id(\"p\") @reason(\"a\\u{7}\")", "forbid", "`@reason` is a text of 1 to 1000 bytes"),
        ("remedy of a permit", "@id(\"p\") @remedy(\"x\")", "permit", "only a forbid policy has one"),
        (
            "obligation of a forbid",
            "@id(\"p\") @reason(\"x\") @redact(\"/a\")",
            "forbid",
            "only a permit policy carries",
        ),
        ("malformed pattern", "@id(\"p\") @redact(\"/a b\")", "permit", "`@redact`: a pointer pattern begins with `/`"),
        ("no pattern", "@id(\"p\") @mask(\" \")", "permit", "`@mask` says nothing"),
        ("no value", "@id(\"p\") @mask", "permit", "`@mask` says nothing"),
        ("part of a step", "@id(\"p\") @mask(\"/a/b*\")", "permit", "`*` stands for a whole step"),
        ("hop by hop", "@id(\"p\") @header(\"Connection: close\")", "permit", "`connection` belongs to the gateway"),
        ("framing", "@id(\"p\") @header(\"Content-Length: 3\")", "permit", "`content-length` belongs to the gateway"),
        ("cookie", "@id(\"p\") @header(\"X-A: b\nSet-Cookie: a=b\")", "permit", "`set-cookie` belongs to the gateway"),
        ("no value of a header", "@id(\"p\") @header(\"X-A\")", "permit", "a header is written `Name: value`"),
    ] {
        let text = format!("{annotations} {effect} (principal, action, resource);");
        let issue = issue(&text);
        assert!(issue.contains(expected), "{name}: {issue}");
    }
    let twice = issue("@id(\"p\") @id(\"q\") permit (principal, action, resource);");
    assert!(twice.contains("duplicate annotation"), "{twice}");
}

#[test]
fn an_id_names_one_policy() {
    let set = Owned::new().compile_all(&[source("a.cedar", OK), source("b.cedar", &format!("// again\n{OK}"))]);
    assert_eq!(set.unwrap_err(), [r#"b.cedar:2:1: `@id("p")` also names the policy at a.cedar:1:1"#]);
}

#[test]
fn all_mistakes_come_at_once_and_in_order() {
    let issues = Owned::new()
        .compile_all(&[
            source("b.cedar", "@id(\"b\") permit (principal, action == Action::\"nothing.like.it\", resource)\nwhen { context.nothing };"),
            source("a.cedar", "permit (principal, action, resource) when { ;\n@id(\"a\") forbid (principal, action, resource);"),
        ])
        .unwrap_err();
    let places: Vec<_> = issues.iter().map(|issue| issue.split(' ').next().unwrap()).collect();
    assert_eq!(places, ["a.cedar:1:45:", "a.cedar:2:1:", "b.cedar:1:39:", "b.cedar:2:8:"], "{issues:#?}");
}

#[test]
fn templates_are_refused() {
    let issue = issue("@id(\"p\") permit (principal == ?principal, action, resource);");
    assert!(issue.contains("expected a static policy"), "{issue}");
}

#[test]
fn an_operation_must_not_be_named_like_a_group() {
    let mut owned = Owned::new();
    owned.actions.push(action("api:bank", "northbank", "GET", "t", None));
    owned.actions.push(action("bank.GetAccounts", "northbank", "GET", "t", None));
    let issues = owned.compile(OK).unwrap_err();
    assert_eq!(
        issues,
        [
            "(catalogue):1:1: the operation `api:bank` has the name of a group of operations",
            "(catalogue):1:1: two operations are named `bank.GetAccounts`",
        ]
    );
}

#[test]
fn groups_of_the_shipped_kind_exist_without_members() {
    let mut owned = Owned::new();
    let text =
        r#"@id("p") permit (principal, action in [Action::"write", Action::"licence:wealth-management"], resource);"#;
    assert!(owned.compile(text).is_ok());
    owned.actions.clear();
    assert!(owned.compile(text).is_ok());
    assert!(owned.compile(OK).is_ok());
    assert!(owned.compile("").is_ok());
}

#[test]
fn the_schema_is_valid_cedar_and_names_every_operation() {
    let owned = Owned::new();
    let set = owned.compile(OK).unwrap();
    let (schema, mut warnings) = cedar_policy::Schema::from_cedarschema_str(set.schema_text()).unwrap();
    assert!(warnings.next().is_none());
    for facts in &owned.actions {
        let uid = format!("Action::\"{}\"", facts.operation).parse().unwrap();
        assert!(schema.actions().any(|action| *action == uid), "{uid}");
    }
    insta::assert_snapshot!(set.schema_text());
}

#[test]
fn any_tag_can_be_named() {
    let mut owned = Owned::new();
    let tag = "a \"b\" \\c 'd' \u{7}\n\u{301}é 账户 🦀";
    owned.actions[0].tags = vec![tag.to_owned()];
    let text = format!("@id(\"p\") permit (principal, action in Action::\"tag:{}\", resource);", tag.escape_debug());
    let set = owned.compile(&text).unwrap();
    assert!(cedar_policy::Schema::from_cedarschema_str(set.schema_text()).is_ok());
    permitted(&Call::new(ACCOUNTS).ask(&set));
    refused(&Call::new(PAYMENT).ask(&set));
}

#[test]
fn the_hash_is_of_the_texts() {
    let owned = Owned::new();
    let (p, q) = (OK, "@id(\"q\") permit (principal, action, resource);");
    let hash = |sources: &[PolicySource]| owned.compile_all(sources).unwrap().hash().to_owned();
    let both = hash(&[source("a", p), source("b", q)]);
    assert_eq!(both, hash(&[source("z", q), source("y", p)]), "order and names do not matter");
    assert_ne!(both, hash(&[source("a", p)]));
    assert_ne!(both, hash(&[source("a", &format!("{p}{q}"))]));
    assert_eq!(both.len(), 64);
    // SHA-256 of nothing.
    assert_eq!(hash(&[]), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}
