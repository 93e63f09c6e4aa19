//! JSON Schemas: golden cases that Python reads too, and malformed schemas of every kind.

mod common;

use common::{compiler, ids, mask, run_golden};
use fairlead_core::{CompilerOptions, ErrorKind, Grammar, GrammarMatcher};
use proptest::prelude::*;

#[test]
fn golden_strings() {
    run_golden(include_str!("../data/json_schema/strings.toml"));
}

#[test]
fn golden_numbers() {
    run_golden(include_str!("../data/json_schema/numbers.toml"));
}

#[test]
fn golden_arrays() {
    run_golden(include_str!("../data/json_schema/arrays.toml"));
}

#[test]
fn golden_objects() {
    run_golden(include_str!("../data/json_schema/objects.toml"));
}

#[test]
fn golden_combined() {
    run_golden(include_str!("../data/json_schema/combined.toml"));
}

#[test]
fn golden_negation() {
    run_golden(include_str!("../data/json_schema/negation.toml"));
}

#[test]
fn golden_searching() {
    run_golden(include_str!("../data/json_schema/searching.toml"));
}

#[test]
fn golden_unevaluated() {
    run_golden(include_str!("../data/json_schema/unevaluated.toml"));
}

#[test]
fn golden_unique() {
    run_golden(include_str!("../data/json_schema/unique.toml"));
}

#[test]
fn golden_references() {
    run_golden(include_str!("../data/json_schema/references.toml"));
}

#[test]
fn golden_whitespace() {
    run_golden(include_str!("../data/json_schema/whitespace.toml"));
}

#[test]
fn golden_errors() {
    run_golden(include_str!("../data/json_schema/errors.toml"));
}

const KEYWORDS: [&str; 36] = [
    "type",
    "enum",
    "const",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "multipleOf",
    "minLength",
    "maxLength",
    "pattern",
    "minItems",
    "maxItems",
    "items",
    "prefixItems",
    "properties",
    "required",
    "additionalProperties",
    "patternProperties",
    "propertyNames",
    "minProperties",
    "maxProperties",
    "$ref",
    "allOf",
    "anyOf",
    "oneOf",
    "format",
    "not",
    "if",
    "then",
    "else",
    "contains",
    "minContains",
    "maxContains",
    "unevaluatedItems",
    "unevaluatedProperties",
    "$dynamicRef",
];

fn values() -> impl Strategy<Value = String> {
    proptest::sample::select(vec![
        "true",
        "false",
        "null",
        "0",
        "-1",
        "1.5",
        "3",
        "1e400",
        "1e-400",
        "99999999999999999999",
        "\"\"",
        "\"a\"",
        "\"[\"",
        "\"string\"",
        "\"object\"",
        "\"#\"",
        "\"#/x\"",
        "\"date\"",
        "[]",
        "[1]",
        "[\"a\",\"a\"]",
        "[{}]",
        "[false]",
        "[[]]",
        "{}",
        "{\"a\":1}",
        "{\"a\":{}}",
        "{\"(\":{}}",
        "{\"type\":3}",
        "{\"a\":false}",
        "{\"$ref\":\"#\"}",
    ])
    .prop_map(str::to_owned)
}

#[test]
fn schemas_nest_as_deep_as_the_limit_says() {
    let nested = |depth: usize| format!("{}{{}}{}", r#"{"items":"#.repeat(depth), "}".repeat(depth));
    let compile = |depth| compiler(CompilerOptions::default()).compile(&Grammar::json_schema(&*nested(depth)));
    assert!(compile(200).is_ok());
    assert!(compile(500).is_ok());
    assert_eq!(compile(600).map(|_| ()).map_err(|e| e.kind()), Err(ErrorKind::Limit));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn any_keywords_with_any_values_compile_or_are_a_typed_error(
        pairs in proptest::collection::vec((proptest::sample::select(KEYWORDS.to_vec()), values()), 1..5),
        depth in 0..3usize,
    ) {
        let inner: Vec<String> = pairs.iter().map(|(k, v)| format!("\"{k}\":{v}")).collect();
        let mut schema = format!("{{{}}}", inner.join(","));
        for _ in 0..depth {
            schema = format!(r#"{{"properties":{{"a":{schema}}},"required":["a"]}}"#);
        }
        match compiler(CompilerOptions::default()).compile(&Grammar::json_schema(&*schema)) {
            Ok(compiled) => {
                let mut matcher = GrammarMatcher::new(&compiled, None, false);
                prop_assert!(!ids(&mask(&mut matcher)).is_empty(), "{}", schema);
            }
            Err(error) => {
                let typed = [ErrorKind::Schema, ErrorKind::UnsupportedSchema, ErrorKind::Limit];
                prop_assert!(typed.contains(&error.kind()), "{} {:?}", schema, error);
                if error.kind() == ErrorKind::UnsupportedSchema {
                    prop_assert!(error.pointer().is_some() && error.keyword().is_some(), "{} {:?}", schema, error);
                }
            }
        }
    }

    #[test]
    fn any_bytes_are_a_schema_or_an_error(text in "[\\[\\]{}\",:0-9a-z\\\\ ]{0,20}") {
        if let Err(error) = compiler(CompilerOptions::default()).compile(&Grammar::json_schema(&*text)) {
            prop_assert!(!matches!(error.kind(), ErrorKind::Grammar | ErrorKind::Vocabulary), "{} {:?}", text, error);
        }
    }
}
