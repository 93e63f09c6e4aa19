//! Golden cases of `format`: texts that each known format admits or refuses, as whole JSON strings.

use std::sync::Arc;

use fairlead_core::{Compiler, CompilerOptions, Grammar, GrammarMatcher, Vocabulary};
use serde::Deserialize;

/// A format with texts for it; a file may have several, of one kind.
#[derive(Deserialize)]
struct Golden {
    format: String,
    valid: Vec<String>,
    invalid: Vec<String>,
}

#[derive(Deserialize)]
struct File {
    case: Vec<Golden>,
}

/// Every byte is a token, and the last id ends the text.
fn compiler() -> Compiler {
    let bytes = (0..=255u8).map(|b| Some(vec![b].into_boxed_slice())).chain([None]).collect();
    Compiler::new(
        Arc::new(Vocabulary::new(bytes, vec![256], 257).expect("the ids are in range")),
        CompilerOptions::default(),
    )
}

fn admits(compiler: &Compiler, format: &str, text: &str) -> bool {
    let schema = serde_json::json!({"type": "string", "format": format}).to_string();
    let grammar = compiler.compile(&Grammar::json_schema(schema)).expect("a known format compiles");
    let mut matcher = GrammarMatcher::new(&grammar, None, false);
    let written = serde_json::to_string(text).expect("a text can be written");
    matcher.accept_bytes(written.as_bytes()) && matcher.is_completed()
}

fn check(source: &str) {
    let file: File = toml::from_str(source).expect("the golden cases are well-formed");
    let compiler = compiler();
    let mut wrong = Vec::new();
    for golden in &file.case {
        for (texts, expected) in [(&golden.valid, true), (&golden.invalid, false)] {
            for text in texts {
                if admits(&compiler, &golden.format, text) != expected {
                    wrong.push(format!(
                        "{} should {}admit {text:?}",
                        golden.format,
                        if expected { "" } else { "not " }
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn times() {
    check(include_str!("../data/format/times.toml"));
}

#[test]
fn hosts() {
    check(include_str!("../data/format/hosts.toml"));
}

#[test]
fn uris() {
    check(include_str!("../data/format/uris.toml"));
}

#[test]
fn others() {
    check(include_str!("../data/format/others.toml"));
}

#[test]
fn names_that_no_one_knows_only_annotate() {
    assert!(admits(&compiler(), "tabs", "anything"));
}
