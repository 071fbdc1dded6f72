//! Texts that mean harm give an issue, never a panic or an overflow.

use super::*;

fn compiles(text: &str) -> Result<PolicySet, Vec<String>> {
    Owned::new().compile(text)
}

fn condition(text: &str) -> String {
    format!("@id(\"p\") permit (principal, action, resource) when {{ {text} }};")
}

#[test]
fn deep_and_long_texts_are_refused() {
    let deep = 100_000;
    for (name, text) in [
        ("brackets", condition(&format!("{}true{}", "(".repeat(deep), ")".repeat(deep)))),
        ("brackets that stay open", condition(&"(".repeat(deep))),
        ("sets", condition(&format!("{}1{} == 1", "[".repeat(deep), "]".repeat(deep)))),
        ("records", condition(&format!("{}1{} == 1", "{a:".repeat(deep / 2), "}".repeat(deep / 2)))),
        ("negations", condition(&format!("{}true", "!".repeat(deep)))),
        ("minus signs", condition(&format!("{}1 == 1", "-".repeat(deep)))),
        ("a chain of and", condition(&format!("true{}", " && true".repeat(20_000)))),
        ("a chain of or", condition(&format!("true{}", "||true".repeat(20_000)))),
        ("a tree that is just too deep", condition(&format!("true{}", " && true".repeat(24)))),
        ("a sum", condition(&format!("1{} == 1", "+1".repeat(deep)))),
        ("attributes", condition(&format!("context{}", ".a".repeat(deep)))),
        ("index attributes", condition(&format!("context{}", "[\"a\"]".repeat(40_000)))),
        ("conditionals", condition(&format!("{}true", "if true then true else ".repeat(5_000)))),
        ("a list", condition(&format!("[{}1].contains(1)", "1,".repeat(20_000)))),
        ("a large file", format!("//{}", " ".repeat(300_000))),
        ("only annotations", "@a ".repeat(10_000)),
        ("zeros", "\0".repeat(1000)),
        ("not Cedar", "🦀;".repeat(1000)),
        ("separators", ";".repeat(9_000)),
    ] {
        let issues = compiles(&text).expect_err(name);
        assert!((1..=501).contains(&issues.len()), "{name}: {}", issues.len());
        assert!(issues.iter().all(|issue| issue.len() < 2_000), "{name}: {:.300}", issues[0]);
    }
}

#[test]
fn too_many_policies_are_refused() {
    let source = source("many.cedar", &"permit(principal,action,resource);".repeat(5_100));
    let issues = Owned::new().compile_all(&[source.clone(), source]).unwrap_err();
    assert_eq!(issues, ["(policies):1:1: there are more than 10000 policies"]);
}

/// The largest that is let through evaluates on an ordinary thread.
#[test]
fn what_is_let_through_can_be_evaluated() {
    for (name, text) in [
        ("and", format!("context.sender_constrained{}", " && context.sender_constrained".repeat(22))),
        ("or", format!("!context.sender_constrained{}", " || context.sender_constrained".repeat(21))),
        ("brackets", format!("{}context.sender_constrained{}", "(".repeat(22), ")".repeat(22))),
        ("conditionals", format!("{}true", "if !context.sender_constrained then true else ".repeat(21))),
        ("sum", format!("0 < 1{}", " + 1".repeat(22))),
    ] {
        let set = compiles(&condition(&text)).unwrap_or_else(|issues| panic!("{name}: {issues:#?}"));
        assert!(matches!(Call::new(ACCOUNTS).ask(&set), Decision::Permit(_)), "{name}");
    }
}

#[test]
fn letters_that_only_look_alike_are_refused() {
    let cyrillic = condition("context.scopes.contains(\"раyments\")");
    let issues = compiles(&cyrillic).unwrap_err();
    assert!(issues[0].contains("mixed scripts"), "{issues:?}");
    let bidi = condition("context.scopes.contains(\"a\u{202e}b\")");
    let issues = compiles(&bidi).unwrap_err();
    assert!(issues[0].contains("BIDI"), "{issues:?}");
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(64))]

    #[test]
    fn no_text_panics(text in "(@id\\(\"[a-z]\"\\)|permit|forbid|\\(|\\)|principal|action|resource|,|;|when|\\{|\\}|context|\\.|risk|==|Risk::\"low\"|\"|\\[|\\]|has|in|\\?principal|//|\n| ){0,40}") {
        drop(compiles(&text));
    }
}
