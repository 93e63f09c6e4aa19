//! The engine's parts by themselves: `cargo bench --package fairlead-core`.
//!
//! The vocabulary is made up: all bytes, and 128,000 tokens of letters, digits and the joints of JSON, with the lengths of
//! real ones. Masks of 16 KB.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use fairlead_core::{Compiler, CompilerOptions, Grammar, GrammarMatcher, Vocabulary};

const TOKENS: usize = 128_000;

/// Numbers that are the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
}

fn vocabulary() -> Arc<Vocabulary> {
    let mut numbers = Numbers(7);
    let mut tokens: Vec<Option<Box<[u8]>>> = (0..=255u8).map(|b| Some([b].into())).collect();
    let joints = ["\"", "\":", "\": \"", "\",", "\"}", "{\"", "}", "],", "[", "\n    ", "  "];
    while tokens.len() < TOKENS {
        let mut text = Vec::new();
        match numbers.below(20) {
            0 => text.extend_from_slice(joints[numbers.below(joints.len())].as_bytes()),
            1 => text.extend((0..=numbers.below(3)).map(|_| b'0' + numbers.below(10) as u8)),
            2..=12 => text.push(b' '),
            _ => {}
        }
        // The letters of English, the frequent ones more often.
        text.extend((0..=numbers.below(10)).map(|_| b"eeeetttaaooiinnsshhrrdlucmwfgypbvk"[numbers.below(34)]));
        tokens.push(Some(text.into()));
    }
    let end = tokens.len() as u32;
    Arc::new(Vocabulary::new(tokens, vec![end], TOKENS + 1).expect("a vocabulary"))
}

fn schemas() -> Vec<String> {
    let text = include_str!("../data/schemas.json");
    let all: serde_json::Value = serde_json::from_str(text).expect("JSON");
    let each = all.as_array().expect("a list").iter();
    each.map(|entry| entry.get("schema").unwrap_or(entry).to_string()).collect()
}

const STRINGS: &str = r#"{"type": "object", "properties": {"name": {"type": "string"}, "size": {"type": "integer"}}}"#;

fn at(compiler: &Compiler, text: &[u8]) -> GrammarMatcher {
    let compiled = compiler.compile(&Grammar::json_schema(STRINGS)).expect("a schema");
    let mut matcher = GrammarMatcher::new(&compiled, None, false);
    assert!(matcher.accept_bytes(text));
    matcher
}

fn fill(criterion: &mut Criterion) {
    let vocabulary = vocabulary();
    let cached = Compiler::new(Arc::clone(&vocabulary), CompilerOptions::default());
    let uncached = Compiler::new(Arc::clone(&vocabulary), CompilerOptions { uncached: true, ..Default::default() });
    let mut row = vec![0u32; vocabulary.words()];
    let mut group = criterion.benchmark_group("fill");
    let whole = vec![u32::MAX; vocabulary.words()];
    group.bench_function("copy of a row", |b| b.iter(|| row.copy_from_slice(black_box(&whole))));
    for (name, text) in
        [("in a string", &b"{\"name\":\"some te"[..]), ("at a key", b"{"), ("in a number", b"{\"size\":1")]
    {
        let mut matcher = at(&cached, text);
        group.bench_function(format!("hit, {name}"), |b| b.iter(|| matcher.fill(black_box(&mut row))));
        let mut matcher = at(&uncached, text);
        group.bench_function(format!("miss, {name}"), |b| b.iter(|| matcher.fill(black_box(&mut row))));
    }
    group.finish();
}

fn walk(criterion: &mut Criterion) {
    let vocabulary = vocabulary();
    let uncached = Compiler::new(Arc::clone(&vocabulary), CompilerOptions { uncached: true, ..Default::default() });
    let mut row = vec![0u32; vocabulary.words()];
    let mut group = criterion.benchmark_group("walk of the trie");
    for (name, pattern) in
        [("letters and spaces", "[a-z ]*"), ("words", "( ?[a-z]+)*"), ("no e before t", "([^e]|e+[^et])*")]
    {
        let compiled = uncached.compile(&Grammar::Regex(pattern.to_owned())).expect("a pattern");
        let mut matcher = GrammarMatcher::new(&compiled, None, false);
        group.bench_function(name, |b| b.iter(|| matcher.fill(black_box(&mut row))));
    }
    group.finish();
}

fn compile(criterion: &mut Criterion) {
    let vocabulary = vocabulary();
    let compiler = Compiler::new(Arc::clone(&vocabulary), CompilerOptions::default());
    let schemas = schemas();
    let mut number = 0u64;
    criterion.bench_function("compile all schemas of benches/data", |b| {
        b.iter(|| {
            // An annotation that none had before: each is lowered again, over states that are known.
            number += 1;
            for schema in &schemas {
                let new = schema.replacen('{', &format!("{{\"$comment\":\"{number}\","), 1);
                let new = if schema.starts_with('{') && schema != "{}" { new } else { schema.clone() };
                let _ = black_box(compiler.compile(&Grammar::json_schema(new)));
            }
        });
    });
    criterion.bench_function("a compiler for a vocabulary", |b| {
        b.iter(|| Compiler::new(Arc::clone(&vocabulary), CompilerOptions::default()));
    });
}

fn step(criterion: &mut Criterion) {
    let vocabulary = vocabulary();
    let compiler = Compiler::new(Arc::clone(&vocabulary), CompilerOptions::default());
    let mut matcher = at(&compiler, b"{\"name\":\"");
    let token = u32::from(b'a');
    criterion.bench_function("accept and take back a token in a string", |b| {
        b.iter(|| assert!(matcher.accept_token(black_box(token)) && matcher.rollback(1)));
    });
}

criterion_group!(benches, fill, walk, compile, step);
criterion_main!(benches);
