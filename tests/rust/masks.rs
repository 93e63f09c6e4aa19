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
