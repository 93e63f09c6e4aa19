//! What may be shared between threads, and that sharing changes no result.

mod common;

use std::sync::{Arc, Barrier};
use std::thread;

use common::{compiler, ids, mask};
use fairlead_core::json_schema::Whitespace;
use fairlead_core::stop::{StopSequences, StopStream};
use fairlead_core::{
    CompiledGrammar, Compiler, CompilerOptions, Error, Grammar, GrammarMatcher, JsonOptions, Limits, Vocabulary,
};

#[test]
fn public_types_can_be_sent_and_shared() {
    fn shareable<T: Send + Sync + 'static>() {}
    shareable::<Vocabulary>();
    shareable::<Grammar>();
    shareable::<JsonOptions>();
    shareable::<Whitespace>();
    shareable::<Limits>();
    shareable::<Error>();
    shareable::<CompilerOptions>();
    shareable::<Compiler>();
    shareable::<CompiledGrammar>();
    shareable::<Arc<CompiledGrammar>>();
    shareable::<GrammarMatcher>();
    shareable::<StopSequences>();
    shareable::<StopStream>();
}

const SCHEMA: &str = r##"{"$defs": {"t": {"type": "object", "properties": {"v": {"type": "number", "minimum": 0, "multipleOf": 0.5},
    "s": {"type": "string", "pattern": "^[a-z]{2,5}$"}, "l": {"type": "array", "items": {"$ref": "#/$defs/t"}}}}},
    "$ref": "#/$defs/t"}"##;

/// A walk that depends on nothing but its number; all masks on the way.
fn walk(compiled: &Arc<CompiledGrammar>, number: u64) -> Vec<Vec<u32>> {
    let mut matcher = GrammarMatcher::new(compiled, None, false);
    let mut random = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut rows = Vec::new();
    for _ in 0..60 {
        let row = mask(&mut matcher);
        let allowed = ids(&row);
        rows.push(row);
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        assert!(matcher.accept_token(allowed[(random % allowed.len() as u64) as usize]));
        if matcher.is_terminated() {
            break;
        }
    }
    rows
}

#[test]
fn threads_on_one_grammar_see_the_masks_of_one() {
    // A small limit makes new epochs begin while others are still in the old one.
    for cache_limit_bytes in [256 << 20, 200_000, 1] {
        let options = || CompilerOptions { cache_limit_bytes, ..CompilerOptions::default() };
        let alone = compiler(options()).compile(&Grammar::json_schema(SCHEMA)).expect("a schema");
        let expected: Vec<_> = (0..24).map(|n| walk(&alone, n)).collect();
        let shared = compiler(options());
        let barrier = Barrier::new(8);
        thread::scope(|scope| {
            for first in 0..8usize {
                let (shared, barrier, expected) = (&shared, &barrier, &expected);
                scope.spawn(move || {
                    barrier.wait();
                    let compiled = shared.compile(&Grammar::json_schema(SCHEMA)).expect("a schema");
                    for n in 0..24 {
                        let n = (n + 3 * first) % 24;
                        assert_eq!(walk(&compiled, n as u64), expected[n]);
                    }
                });
            }
        });
    }
}

#[test]
fn threads_compile_different_grammars_at_once() {
    let shared = compiler(CompilerOptions::default());
    let barrier = Barrier::new(8);
    let grammar = |n: usize| match n % 3 {
        0 => Grammar::Regex(format!("(a|b){{{n},}}[0-9]*x")),
        1 => Grammar::json_schema(format!(r#"{{"type": "object", "properties": {{"k{n}": {{"maxLength": {n}}}}}}}"#)),
        _ => Grammar::json_schema(format!(r#"{{"type": "array", "items": {{"minimum": {n}}}, "minItems": {n}}}"#)),
    };
    thread::scope(|scope| {
        for first in 0..8usize {
            let (shared, barrier, grammar) = (&shared, &barrier, &grammar);
            scope.spawn(move || {
                barrier.wait();
                for n in 0..30 {
                    let n = (n + 4 * first) % 30 + 1;
                    let compiled = shared.compile(&grammar(n)).expect("a grammar");
                    let alone = compiler(CompilerOptions::default()).compile(&grammar(n)).expect("a grammar");
                    assert_eq!(walk(&compiled, n as u64), walk(&alone, n as u64), "{:?}", grammar(n));
                }
            });
        }
    });
}
