//! Masks against brute force, with caches, without them, and with a cache that begins anew for every matcher.

mod common;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use common::{brute_force, compiler, grammars, ids, mask};
use fairlead_core::{Compiler, CompilerOptions, ErrorKind, Grammar, GrammarMatcher};
use proptest::prelude::*;

// Shared by all cases, so that their caches hold what many grammars left there.
static CACHED: LazyLock<Compiler> = LazyLock::new(|| compiler(CompilerOptions::default()));
static UNCACHED: LazyLock<Compiler> =
    LazyLock::new(|| compiler(CompilerOptions { uncached: true, ..CompilerOptions::default() }));
static EPOCHS: LazyLock<Compiler> =
    LazyLock::new(|| compiler(CompilerOptions { cache_limit_bytes: 1, ..CompilerOptions::default() }));

fn matcher(compiler: &Compiler, grammar: &Grammar) -> Result<GrammarMatcher, TestCaseError> {
    match compiler.compile(grammar) {
        Ok(compiled) => Ok(GrammarMatcher::new(&compiled, None, false)),
        Err(error) => {
            prop_assert!(error.kind() != ErrorKind::Limit, "{:?} {}", grammar, error);
            Err(TestCaseError::reject("nothing to compile"))
        }
    }
}

/// One of the allowed ids; more often than not one that gets on with the structure.
fn choose(vocabulary: &fairlead_core::Vocabulary, allowed: &[u32], pick: u16) -> u32 {
    let near: Vec<u32> = allowed
        .iter()
        .copied()
        .filter(|&t| vocabulary.bytes(t).is_some_and(|b| b.first().is_some_and(|b| b"\"{}[],:".contains(b))))
        .collect();
    let from = if pick.is_multiple_of(2) && !near.is_empty() { &near } else { allowed };
    from[usize::from(pick / 2) % from.len()]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2500, max_global_rejects: 25_000, ..ProptestConfig::default() })]

    #[test]
    fn equal_brute_force_whatever_is_cached(grammar in grammars(), picks in proptest::collection::vec(any::<u16>(), 1..24)) {
        let mut cached = matcher(&CACHED, &grammar)?;
        let mut uncached = matcher(&UNCACHED, &grammar)?;
        let mut epochs = matcher(&EPOCHS, &grammar)?;
        let vocabulary = Arc::clone(cached.grammar().vocabulary());
        let mut by_id: HashMap<u64, Vec<u32>> = HashMap::new();
        for (step, pick) in picks.into_iter().enumerate() {
            let row = mask(&mut cached);
            let allowed = ids(&row);
            let text = cached.text().escape_ascii().to_string();
            prop_assert!(!allowed.is_empty(), "nothing may follow {} in {:?}", text, grammar);
            if pick % 3 == 0 || step == 0 {
                let expected = brute_force(uncached.grammar(), cached.text());
                prop_assert_eq!(&allowed, &expected, "after {} in {:?}", text, grammar);
                prop_assert_eq!(&row, &mask(&mut uncached), "uncached, after {}", text);
                prop_assert_eq!(&row, &mask(&mut epochs), "a new epoch, after {}", text);
            }
            let same = by_id.entry(cached.mask_id()).or_insert_with(|| row.clone());
            prop_assert_eq!(&*same, &row, "one id, two masks; after {}", text);
            let token = choose(&vocabulary, &allowed, pick);
            prop_assert!(cached.allows(token) && cached.accept_token(token), "{} after {}", token, text);
            prop_assert!(uncached.accept_token(token) && epochs.accept_token(token));
            if cached.is_terminated() {
                prop_assert_eq!(ids(&mask(&mut cached)), vocabulary.stop_ids());
                break;
            }
        }
    }

    #[test]
    fn rollback_and_clones_equal_a_fresh_matcher(
        grammar in grammars(),
        picks in proptest::collection::vec((any::<u16>(), 0..8u8), 1..20),
    ) {
        let mut here = matcher(&CACHED, &grammar)?;
        let vocabulary = Arc::clone(here.grammar().vocabulary());
        let mut path: Vec<u32> = Vec::new();
        for (pick, what) in picks {
            match what {
                0 => {
                    let n = usize::from(pick) % (path.len() + 2);
                    prop_assert_eq!(here.rollback(n), n <= path.len());
                    path.truncate(if n <= path.len() { path.len() - n } else { path.len() });
                }
                1 => {
                    let mut twin = here.clone();
                    let allowed = ids(&mask(&mut twin));
                    twin.accept_token(allowed[usize::from(pick) % allowed.len()]);
                }
                2 => {
                    let id = u32::from(pick) % vocabulary.size() as u32;
                    let allowed = here.allows(id);
                    prop_assert_eq!(here.explain(id).starts_with("allowed"), allowed && !here.is_terminated());
                    prop_assert_eq!(here.clone().accept_token(id), allowed);
                }
                _ if here.is_terminated() => {}
                _ => {
                    let allowed = ids(&mask(&mut here));
                    prop_assert!(!allowed.is_empty(), "after {}", here.text().escape_ascii());
                    let token = choose(&vocabulary, &allowed, pick);
                    prop_assert!(here.accept_token(token));
                    path.push(token);
                }
            }
            let mut fresh = matcher(&CACHED, &grammar)?;
            for &token in &path {
                prop_assert!(fresh.accept_token(token));
            }
            prop_assert_eq!(here.text(), fresh.text());
            prop_assert_eq!(here.accepted(), path.len());
            prop_assert_eq!(mask(&mut here), mask(&mut fresh));
            prop_assert_eq!(here.mask_id(), fresh.mask_id());
            prop_assert_eq!((here.is_completed(), here.is_terminated()), (fresh.is_completed(), fresh.is_terminated()));
            prop_assert_eq!(here.forced_text(), fresh.forced_text());
        }
    }
}

/// Patterns whose counts are far from their bounds, or over one class of characters, with texts that come near them.
const COUNTED: [(&str, &str); 9] = [
    (r#"{"pattern": "^(?:\\S+\\s+){0,9}\\S+$", "maxLength": 60}"#, "\"a bc  def gh i j k l mn opqrstu\""),
    (r#"{"pattern": "^(?:\\S+\\s+){0,99}\\S+$"}"#, "\"the first of the words and the second of them\""),
    (r#"{"pattern": "^[A-Za-z0-9_-]{1,255}$"}"#, "\"some-name_that_is-long0\""),
    (r#"{"pattern": "^[a-z]{3,40}$"}"#, "\"abcdefghijklmnopqrstuvwxyzabcdefghijklmn\""),
    (r#"{"pattern": "^[a-z]{12}-[0-9]{8}é*$"}"#, "\"abcdefghijkl-01234567éé\""),
    (r#"{"pattern": "^[A-Za-z][A-Za-z0-9]*$"}"#, "\"Name1then2\""),
    (r#"{"pattern": "^[^/]{2,30}/[^0-9]*$"}"#, "\"naïve thing/and \\u00e9, the rest\""),
    (r#"{"pattern": "^([a-m]{8,12}|[a-z]{0,40}!)$"}"#, "\"abcdefghijklmnop!\""),
    (
        r#"{"patternProperties": {"^[a-f0-9]{8,20}$": {}}, "additionalProperties": false}"#,
        "{\"0123456789ab\":1,\"0123456789abcdef0123\":2}",
    ),
];

#[test]
fn counts_and_classes_equal_brute_force() {
    let words =
        ["the", " the", " first", "abcdefgh", "ijklmnop", "abcdefghijklmnopqrstuvwxyz", "012345", "name", "-long"];
    let others = [
        " of the",
        "  ",
        "          ",
        "\u{e9}",
        "\u{e9}t\u{e9}",
        "\"}",
        "\":",
        "ab\"",
        "abcdefgh\"",
        "_",
        "a/b",
        "\\n",
        "\\u00",
        "a\\\"",
    ];
    let mut tokens: Vec<Option<Box<[u8]>>> = (0..=255u8).map(|b| Some(vec![b].into())).collect();
    tokens.extend(words.iter().chain(&others).map(|text| Some(text.as_bytes().into())));
    tokens.extend([Some(b"a\xc3".as_slice().into()), Some(b"\xa9 b".as_slice().into()), None]);
    let last = tokens.len() as u32 - 1;
    let vocabulary =
        Arc::new(fairlead_core::Vocabulary::new(tokens, vec![last], last as usize + 1).expect("a vocabulary"));
    let compiler = Compiler::new(Arc::clone(&vocabulary), CompilerOptions::default());
    for (schema, text) in COUNTED {
        let compiled = compiler.compile(&Grammar::json_schema(schema)).expect(schema);
        let mut matcher = GrammarMatcher::new(&compiled, None, false);
        for at in 0..=text.len() {
            assert_eq!(
                ids(&mask(&mut matcher)),
                brute_force(&compiled, &text.as_bytes()[..at]),
                "{schema} after {}",
                &text.as_bytes()[..at].escape_ascii()
            );
            let Some(next) = text.as_bytes().get(at) else { break };
            assert!(matcher.accept_bytes(&[*next]), "{schema} refuses {}", text.as_bytes()[..=at].escape_ascii());
        }
    }
}
