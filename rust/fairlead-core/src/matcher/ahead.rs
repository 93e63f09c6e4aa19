//! The states that a text comes through first, worked out when a grammar is compiled.

use std::sync::Arc;

use super::GrammarMatcher;
use crate::compile::CompiledGrammar;
use crate::vocab::{ROOT, Trie};

/// Bytes that the mask behind a token takes at least, on average: where nearly all is known already, walking on finds little.
const LEAST: usize = 64;
/// Bytes that tokens have at most, on average.
const LONG: usize = 8;

/// Works out the mask that every text begins with, and those of a sample text as long as they take no more memory than `most`
/// bytes.
pub(crate) fn walk_ahead(grammar: &Arc<CompiledGrammar>, most: usize) {
    let mut matcher = GrammarMatcher::new(grammar, Some(0), false);
    let space = Arc::clone(&matcher.space);
    space.parts(&matcher.stack, &matcher.tops);
    if most == 0 {
        return;
    }
    let steps = most / LEAST;
    let sample = space.store.sample(matcher.root, steps.saturating_mul(LONG));
    let end = space.store.bytes() + most;
    let mut rest = &sample[..];
    for _ in 0..steps {
        if rest.is_empty() || space.store.bytes() >= end {
            return;
        }
        let (token, behind) = rest.split_at(longest_token(&space.vocab.trie, rest));
        if token.is_empty() || !matcher.advance(token) {
            return;
        }
        // Of a label of which each text is a state of its own nothing is remembered that would serve the next one.
        if !matcher.tops.iter().any(|top| space.store.begins_label(top.frame)) {
            space.parts(&matcher.stack, &matcher.tops);
        }
        rest = behind;
    }
}

/// How many bytes the longest token has that a text begins with.
fn longest_token(trie: &Trie, text: &[u8]) -> usize {
    let (mut node, mut longest) = (ROOT, 0);
    for (i, &b) in text.iter().enumerate() {
        match trie.child(node, b) {
            Some(next) => node = next,
            None => break,
        }
        if !trie.own_tokens(node).is_empty() {
            longest = i + 1;
        }
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::{Compiler, CompilerOptions, Grammar};
    use crate::vocab::Vocabulary;

    const SCHEMAS: [&str; 10] = [
        r#"{"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": ["null", "integer"]}, "c": {"enum": [1, "x"]}}}"#,
        r#"{"type": "array", "items": {"anyOf": [{"type": "null"}, {"type": "object", "properties": {"n": {"type": "number"}}}]}}"#,
        r##"{"$ref": "#/$defs/t", "$defs": {"t": {"type": "object", "properties": {"v": {}, "l": {"$ref": "#/$defs/t"}, "r": {"$ref": "#/$defs/t"}}}}}"##,
        r#"{"type": "object", "additionalProperties": {"type": "string", "format": "date"}, "minProperties": 1}"#,
        r#"{"type": "object", "properties": {"a": {}, "b": {}, "c": {}}, "required": ["c"], "maxProperties": 2}"#,
        r#"{"prefixItems": [{"const": 1}, {"type": "string", "maxLength": 3}], "items": {"type": "boolean"}, "minItems": 4, "type": "array"}"#,
        r#"{"type": "object", "properties": {"e": {"type": "string", "pattern": "^[a-z]+@[a-z]+$"}, "h": {"type": "string", "format": "hostname"}}}"#,
        r#"{"type": "string", "minLength": 3}"#,
        r#"{"type": "object", "patternProperties": {"^k[0-9]$": {"type": "integer"}}, "additionalProperties": false}"#,
        r##"{"type": "object", "properties": {"few": {"items": {"required": ["b", "h"], "$ref": "#/$defs/t"}, "type": "array"},
            "some": {"items": {"required": ["c"], "minProperties": 3, "$ref": "#/$defs/t"}, "type": "array"},
            "first": {"items": {"$ref": "#/$defs/t"}, "type": "array"}}, "$defs": {"t": {"type": "object", "properties":
            {"a": true, "b": true, "c": true, "d": true, "e": true, "f": true, "g": true, "h": true},
            "patternProperties": {"": {"type": "boolean"}}}}}"##,
    ];

    fn compiler(walk_ahead: bool) -> Compiler {
        let words = ["{\"", "\":", " \"", "\",", "aa", "null", "}}", ", "];
        let tokens =
            (0..=255u8).map(|b| Some([b].into())).chain(words.map(|w| Some(w.as_bytes().into()))).chain([None]);
        let tokens: Vec<Option<Box<[u8]>>> = tokens.collect();
        let (stop, size) = (tokens.len() as u32 - 1, tokens.len());
        let vocabulary = Arc::new(Vocabulary::new(tokens, vec![stop], size).expect("a vocabulary"));
        Compiler::new(vocabulary, CompilerOptions { walk_ahead, ..CompilerOptions::default() })
    }

    #[test]
    fn samples_are_texts_with_every_member() {
        let compiler = compiler(false);
        let mut written = Vec::new();
        for schema in SCHEMAS {
            let compiled = compiler.compile(&Grammar::json_schema(schema)).expect("a schema");
            let mut matcher = GrammarMatcher::new(&compiled, None, false);
            let sample = matcher.space.store.sample(matcher.root, usize::MAX);
            let text = String::from_utf8(sample).expect("text");
            let begun = matcher.space.store.sample(matcher.root, 8);
            assert!(text.as_bytes().starts_with(&begun) && (8.min(text.len())..24).contains(&begun.len()));
            assert!(matcher.accept_bytes(text.as_bytes()) && matcher.is_completed(), "{schema}: {text}");
            written.push(text);
        }
        assert_eq!(written[0], r#"{"a": "a", "b": 0, "c": 1}"#);
        assert_eq!(written[1], r#"[{"n": 0}]"#);
        assert_eq!(written[4], r#"{"a": {"x0": 0}, "c": {"x0": 0}}"#);
        let first = r#"{"a": true, "b": true, "c": true, "d": true, "e": true, "f": true}"#;
        let nested = format!(
            r#"{{"few": [{{"b": true, "h": true}}], "some": [{{"a": true, "b": true, "c": true}}], "first": [{first}]}}"#
        );
        assert_eq!(written[9], nested);
    }

    /// By how much the masks of a schema's sample text make memory grow, token by token.
    fn grown(compiler: &Compiler, schema: &str) -> Vec<usize> {
        let compiled = compiler.compile(&Grammar::json_schema(schema)).expect("a schema");
        let mut matcher = GrammarMatcher::new(&compiled, None, false);
        let mut row = vec![0; compiler.vocabulary().words()];
        let sample = matcher.space.store.sample(matcher.root, usize::MAX);
        let (mut rest, mut out) = (&sample[..], Vec::new());
        while !rest.is_empty() {
            let before = compiler.cache_bytes();
            matcher.fill(&mut row);
            out.push(compiler.cache_bytes() - before);
            let (token, behind) = rest.split_at(longest_token(&compiler.vocabulary().trie, rest));
            assert!(matcher.advance(token));
            rest = behind;
        }
        out
    }

    #[test]
    fn what_a_sample_comes_through_is_known_when_it_comes() {
        let (ahead, lazy) = (compiler(true), compiler(false));
        assert!(grown(&ahead, SCHEMAS[0]).iter().all(|&bytes| bytes == 0));
        assert!(grown(&lazy, SCHEMAS[0])[1..].iter().any(|&bytes| bytes > 0));
        // Of one that brings little new only the beginning, further than the first mask.
        let small = SCHEMAS[0].replace(r#""a":"#, r#""aab":"#);
        let ahead = grown(&ahead, &small);
        assert!(ahead[..2] == [0, 0] && ahead[2] > 0, "{ahead:?}");
    }

    #[test]
    fn walking_ahead_is_bounded() {
        // Many members, each of a kind of its own, and rules that lead to ever new ones.
        let wide: Vec<String> =
            (0..3000).map(|i| format!(r#""k{i}": {{"type": "string", "maxLength": {i}}}"#)).collect();
        let wide = format!(r#"{{"type": "object", "properties": {{{}}}}}"#, wide.join(","));
        let deep: Vec<String> = (0..3000)
            .map(|i| {
                format!(
                    r##""d{i}": {{"type": "object", "properties": {{"x": {{"$ref": "#/$defs/d{}"}}}}}}"##,
                    (i + 1) % 3000
                )
            })
            .collect();
        let deep = format!(r##"{{"$ref": "#/$defs/d0", "$defs": {{{}}}}}"##, deep.join(","));
        // Alternatives of alternatives: of 12^10 ways not one in a million is looked at.
        let names = |n: usize| (0..12).map(|i| format!("l{}", n * 12 + i)).collect::<Vec<_>>().join(" | ");
        let inner = (0..120).map(|i| format!("l{i} ::= {}", names(i / 12 + 1)));
        let last = (120..132).map(|i| format!("l{i} ::= \"[{i}]\""));
        let bushy =
            std::iter::once("root ::= \"<\" l0".to_owned()).chain(inner).chain(last).collect::<Vec<_>>().join("\n");
        let grammars = [Grammar::json_schema(wide), Grammar::json_schema(deep.as_str()), Grammar::Ebnf(bushy)];
        for grammar in grammars {
            let compiler = compiler(false);
            let compiled = compiler.compile(&grammar).expect("a grammar");
            // The first mask, the sample and what the last step makes aren't bounded by it.
            walk_ahead(&compiled, 0);
            let matcher = GrammarMatcher::new(&compiled, None, false);
            matcher.space.store.sample(matcher.root, usize::MAX);
            for most in [1 << 12, 1 << 14] {
                let before = compiler.cache_bytes();
                walk_ahead(&compiled, most);
                let grown = compiler.cache_bytes() - before;
                assert!((most / 2..most + (1 << 13)).contains(&grown), "{grown} of {most}");
            }
        }
        let compiled = compiler(false).compile(&Grammar::json_schema(deep)).expect("a schema");
        let matcher = GrammarMatcher::new(&compiled, None, false);
        let sample = matcher.space.store.sample(matcher.root, usize::MAX);
        let text = String::from_utf8(sample).expect("text");
        assert_eq!(text.matches('{').count(), 65);
    }
}
