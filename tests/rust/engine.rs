//! The matcher's contract: ends of sentences, stop ids, rollback, forced text, limits, and bad vocabularies.

mod common;

use std::sync::Arc;

use common::{compiler, ids, mask};
use fairlead_core::{Compiler, CompilerOptions, ErrorKind, Grammar, GrammarMatcher, Limits, Vocabulary};

const A: u32 = b'a' as u32;
const B: u32 = b'b' as u32;
const STOP: u32 = 256;

fn regex(pattern: &str) -> GrammarMatcher {
    let compiled = compiler(CompilerOptions::default()).compile(&Grammar::Regex(pattern.into())).expect("a pattern");
    GrammarMatcher::new(&compiled, None, false)
}

#[test]
fn a_stop_id_is_accepted_exactly_when_the_text_is_complete() {
    let mut matcher = regex("ab?");
    let stops = matcher.grammar().vocabulary().stop_ids().to_vec();
    assert_eq!(stops.len(), 2);
    for &stop in &stops {
        assert!(!matcher.accept_token(stop) && !matcher.allows(stop) && !matcher.is_completed());
    }
    assert!(matcher.accept_token(A));
    for &stop in &stops {
        let mut end = matcher.clone();
        assert!(ids(&mask(&mut end)).contains(&stop));
        assert!(end.accept_token(stop) && end.is_terminated() && end.is_completed());
        // After that a stop id changes nothing, and everything else is refused.
        assert_eq!(ids(&mask(&mut end)), stops);
        assert!(stops.iter().all(|&s| end.accept_token(s)) && end.accepted() == 2);
        assert!(
            !end.accept_token(B) && !end.accept_bytes(b"b") && !end.accept_bytes(b"") && end.forced_text().is_empty()
        );
        assert!(end.rollback(1) && !end.is_terminated() && end.accept_token(B));
        end.reset();
        assert!(!end.is_terminated() && end.text().is_empty() && end.accepted() == 0 && end.accept_token(A));
    }
}

#[test]
fn tokens_without_bytes_are_never_text() {
    let mut matcher = regex("(?s).*");
    let size = matcher.grammar().vocabulary().size() as u32;
    let allowed = ids(&mask(&mut matcher));
    for id in 0..size + 100 {
        let stop = id == STOP || id == size - 6;
        let bytes = matcher.grammar().vocabulary().bytes(id).map(<[u8]>::to_vec);
        let text = bytes.is_some_and(|b| !b.is_empty() && std::str::from_utf8(&b).is_ok());
        if text || stop {
            assert!(allowed.contains(&id) && matcher.allows(id), "{id}");
        } else if id >= size {
            assert!(!allowed.contains(&id) && !matcher.clone().accept_token(id), "{id}");
        }
    }
}

#[test]
fn a_refused_token_changes_nothing() {
    let mut matcher = regex("(abc|aab)d");
    assert!(matcher.accept_token(A));
    let (before, id) = (mask(&mut matcher), matcher.mask_id());
    assert!(!matcher.accept_bytes(b"bcx") && !matcher.accept_token(b'c'.into()) && !matcher.accept_token(STOP));
    assert_eq!((mask(&mut matcher), matcher.mask_id(), matcher.accepted()), (before, id, 1));
    assert_eq!(matcher.text(), b"a");
    assert_eq!(matcher.longest_prefix(b"bcdx"), 3);
    assert!(matcher.accept_bytes(b"bcd") && matcher.is_completed());
}

#[test]
fn rollback_is_bounded_by_what_was_asked_for() {
    let compiled = compiler(CompilerOptions::default()).compile(&Grammar::Regex("a*".into())).expect("a pattern");
    for most in [0usize, 1, 3] {
        let mut matcher = GrammarMatcher::new(&compiled, Some(most), false);
        for _ in 0..100 {
            assert!(matcher.accept_token(A));
        }
        assert!(!matcher.rollback(most + 1) && matcher.rollback(0) && matcher.text().len() == 100);
        assert!(matcher.rollback(most));
        assert_eq!(matcher.text().len(), 100 - most);
    }
    let mut matcher = GrammarMatcher::new(&compiled, None, false);
    for _ in 0..5000 {
        assert!(matcher.accept_token(A));
    }
    assert!(!matcher.rollback(5001) && matcher.rollback(5000) && matcher.text().is_empty());
}

#[test]
fn a_text_that_ends_by_itself() {
    let compiled = compiler(CompilerOptions::default()).compile(&Grammar::Regex("ab|abc+".into())).expect("a pattern");
    let mut matcher = GrammarMatcher::new(&compiled, None, true);
    assert!(matcher.accept_bytes(b"ab") && matcher.is_completed() && !matcher.is_terminated());
    let schema = Grammar::json_schema(r#"{"type": "array", "maxItems": 1}"#);
    let compiled = compiler(CompilerOptions::default()).compile(&schema).expect("a schema");
    let mut matcher = GrammarMatcher::new(&compiled, None, true);
    assert!(matcher.accept_bytes(b"[1") && !matcher.is_terminated());
    assert!(matcher.accept_bytes(b"]") && matcher.is_terminated() && !matcher.accept_bytes(b" "));
    assert!(matcher.rollback(1) && !matcher.is_terminated());
    // The empty text is a sentence, and the only one.
    let compiled = compiler(CompilerOptions::default()).compile(&Grammar::Regex(String::new())).expect("a pattern");
    assert!(GrammarMatcher::new(&compiled, None, true).is_terminated());
    let mut open = GrammarMatcher::new(&compiled, None, false);
    assert!(open.is_completed() && !open.is_terminated() && open.accept_token(STOP) && open.is_terminated());
}

#[test]
fn forced_text_stops_where_there_is_a_choice() {
    let schema = r#"{"type": "object", "properties": {"name": {"enum": ["alpha", "alps"]}}, "required": ["name"], "additionalProperties": false}"#;
    let options = fairlead_core::JsonOptions {
        whitespace: fairlead_core::json_schema::Whitespace::Compact,
        ..fairlead_core::JsonOptions::default()
    };
    let grammar = Grammar::JsonSchema { schema: schema.into(), options: Box::new(options) };
    let compiled = compiler(CompilerOptions::default()).compile(&grammar).expect("a schema");
    let mut matcher = GrammarMatcher::new(&compiled, None, false);
    assert_eq!(matcher.forced_text(), br#"{"name":"alp"#);
    assert!(matcher.accept_bytes(br#"{"name":"alph"#));
    assert_eq!(matcher.forced_text(), br#"a"}"#);
    assert_eq!(matcher.text(), br#"{"name":"alph"#);
    assert!(regex("abc?").forced_text() == b"ab" && regex("a|b").forced_text().is_empty());
    // A text of any length may be forced; what is told of it is bounded.
    assert!(!regex("a{2000000000}").forced_text().is_empty());
}

#[test]
fn fill_writes_every_word() {
    let mut matcher = regex("a");
    for garbage in [0, u32::MAX, 0x0F0F_0F0F] {
        let mut row = vec![garbage; matcher.grammar().vocabulary().words()];
        matcher.fill(&mut row);
        assert_eq!(ids(&row), [A]);
    }
}

#[test]
fn bad_vocabularies_are_refused() {
    let a = || Some(Box::from(b"a".as_slice()));
    for (tokens, stops, size) in
        [(vec![a()], vec![1], 1), (vec![a(), a()], vec![], 1), (vec![], vec![], (1 << 24) + 1), (vec![], vec![0], 0)]
    {
        let error = Vocabulary::new(tokens, stops, size).expect_err("a bad vocabulary");
        assert_eq!(error.kind(), ErrorKind::Vocabulary);
    }
    assert!(Vocabulary::new(vec![Some(vec![b'a'; 65_536].into())], vec![], 1).is_err());
    assert!(Vocabulary::new(vec![Some(vec![b'a'; 65_535].into())], vec![], 1).is_ok());
}

#[test]
fn a_vocabulary_without_any_token_masks_everything() {
    let empty = Arc::new(Vocabulary::new(vec![None; 40], vec![7], 40).expect("a vocabulary"));
    let compiled = Compiler::new(empty, CompilerOptions::default()).compile(&Grammar::Regex("a?".into())).expect("a?");
    let mut matcher = GrammarMatcher::new(&compiled, None, false);
    assert_eq!(ids(&mask(&mut matcher)), [7]);
    assert!(!matcher.accept_bytes(b"a") && matcher.accept_token(7));
}

#[test]
fn memory_stays_below_the_limit_and_matchers_live_on() {
    let limit = 1 << 20;
    let compiler = compiler(CompilerOptions { cache_limit_bytes: limit, ..CompilerOptions::default() });
    let first = compiler.compile(&Grammar::Regex("(a|b){3,}c".into())).expect("a pattern");
    let mut old = GrammarMatcher::new(&first, None, false);
    assert!(old.accept_bytes(b"abab"));
    let before = ids(&mask(&mut old));
    for i in 0..400 {
        let schema =
            format!(r#"{{"type": "object", "properties": {{"k{i}": {{"type": "string", "maxLength": {}}}}}}}"#, i + 3);
        let compiled = compiler.compile(&Grammar::json_schema(schema)).expect("a schema");
        let mut matcher = GrammarMatcher::new(&compiled, None, false);
        for piece in ["{\"", "k", &i.to_string(), "\":\"", "a", "b"] {
            mask(&mut matcher);
            assert!(matcher.accept_bytes(piece.as_bytes()));
        }
    }
    // A new epoch is begun by the first matcher after the limit, so one grammar's states may lie above it.
    assert!(compiler.cache_bytes() < 3 * limit, "{}", compiler.cache_bytes());
    assert_eq!(ids(&mask(&mut old)), before);
    assert_eq!(ids(&mask(&mut GrammarMatcher::new(&first, None, false))), ids(&mask(&mut regex("(a|b){3,}c"))));
}

#[test]
fn compiling_again_finds_the_same() {
    let compiler = compiler(CompilerOptions::default());
    let grammar = Grammar::json_schema(r#"{"type": "integer"}"#);
    let first = compiler.compile(&grammar).expect("a schema");
    assert!(Arc::ptr_eq(&first, &compiler.compile(&grammar).expect("a schema")));
    assert_eq!(first.grammar(), &grammar);
    assert_eq!(first.vocabulary().size(), compiler.vocabulary().size());
}

#[test]
fn closed_limits_end_in_limit_errors() {
    let closed = |limits: Limits| compiler(CompilerOptions { limits, ..CompilerOptions::default() });
    let object =
        r#"{"type": "object", "properties": {"a": {"type": "string", "maxLength": 30}, "b": {"enum": [1, 2, 3]}}}"#;
    for (limits, grammar) in [
        (Limits { max_source_bytes: 0, ..Limits::default() }, Grammar::json_schema(object)),
        (Limits { max_source_bytes: 0, ..Limits::default() }, Grammar::Regex("a".into())),
        (Limits { max_nodes: 0, ..Limits::default() }, Grammar::json_schema(object)),
        (Limits { max_repetition: 1, ..Limits::default() }, Grammar::Regex("a{2}".into())),
        (Limits { max_repetition: 1, ..Limits::default() }, Grammar::json_schema(object)),
        (
            Limits { max_states: 1, ..Limits::default() },
            Grammar::json_schema(r#"{"type": "string", "allOf": [{"pattern": "a.{9}$"}, {"pattern": "b.{7}$"}]}"#),
        ),
    ] {
        let error = closed(limits.clone()).compile(&grammar).expect_err("a closed limit");
        assert_eq!(error.kind(), ErrorKind::Limit, "{limits:?} {grammar:?}: {error}");
    }
}

#[test]
fn sequences_and_alternatives_of_grammars() {
    let compiler = compiler(CompilerOptions::default());
    let part = |pattern: &str| Grammar::Regex(pattern.into());
    let grammar = Grammar::Sequence(vec![
        Grammar::Either(vec![part("a+"), Grammar::Choice(vec!["ab".into(), "x".into()])]),
        part("b?"),
        Grammar::json_schema("true"),
    ]);
    let compiled = compiler.compile(&grammar).expect("a grammar");
    for (text, whole) in [
        ("ab1", true),
        ("abb1", true),
        ("aab[]", true),
        ("x\"y\"", true),
        ("aabb1", false),
        ("ab", false),
        ("1", false),
    ] {
        let mut matcher = GrammarMatcher::new(&compiled, None, false);
        assert_eq!(matcher.accept_bytes(text.as_bytes()) && matcher.is_completed(), whole, "{text}");
    }
    for empty in [Grammar::Choice(vec![]), Grammar::Choice(vec!["a".into(), String::new()]), Grammar::Either(vec![])] {
        assert_eq!(compiler.compile(&empty).expect_err("nothing").kind(), ErrorKind::Grammar);
    }
    let nothing = compiler.compile(&Grammar::Sequence(vec![])).expect("the empty text");
    assert!(GrammarMatcher::new(&nothing, None, false).is_completed());
}

/// A vocabulary without tokens for single bytes writes whole characters only: what it can't write is in no language.
#[test]
fn characters_without_a_token_leave_the_alphabet() {
    let mut tokens: Vec<Option<Box<[u8]>>> =
        (0x20..0x7Fu8).filter(|&b| b != b'q').map(|b| Some([b].as_slice().into())).collect();
    tokens.extend(["é", "né", "ab"].map(|t| Some(t.as_bytes().into())));
    let eos = tokens.len() as u32;
    tokens.push(None);
    let vocabulary = Arc::new(Vocabulary::new(tokens, vec![eos], eos as usize + 1).unwrap());
    let compiler = Compiler::new(Arc::clone(&vocabulary), CompilerOptions::default());
    let compile = |schema: &str| compiler.compile(&Grammar::json_schema(schema));
    for schema in [r#"{"const": "aŵ"}"#, r#"{"enum": ["q"]}"#, r#"{"type": "string", "pattern": "^ŵ$"}"#] {
        assert_eq!(compile(schema).unwrap_err().kind(), ErrorKind::Schema, "{schema}");
    }
    let choice = compiler.compile(&Grammar::Choice(vec!["aŵ".into(), "né".into()])).unwrap();
    assert!(GrammarMatcher::new(&choice, None, false).accept_bytes("né".as_bytes()));
    assert!(!GrammarMatcher::new(&choice, None, false).accept_bytes(b"a"));
    // No walk over what the masks allow ends anywhere but at the end.
    let schema = r#"{"type": "object", "properties": {"é": {"type": "string", "maxLength": 6}, "q": true}}"#;
    let compiled = compile(schema).unwrap();
    for seed in 0..200u32 {
        let mut matcher = GrammarMatcher::new(&compiled, None, false);
        let mut row = vec![0u32; vocabulary.words()];
        for step in 0..40u32 {
            matcher.fill(&mut row);
            let allowed: Vec<u32> = (0..=eos).filter(|t| row[*t as usize / 32] >> (t % 32) & 1 == 1).collect();
            assert!(!allowed.is_empty(), "{:?}", String::from_utf8_lossy(matcher.text()));
            let pick =
                allowed[(seed.wrapping_mul(2_654_435_761).wrapping_add(step * 40_503) >> 7) as usize % allowed.len()];
            assert!(matcher.accept_token(pick));
        }
    }
}
