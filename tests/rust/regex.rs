//! Patterns: golden cases that Python reads too, and random patterns against a naive matcher.

mod common;

use common::{compiler, patterns, taken, texts};
use fairlead_core::{CompilerOptions, ErrorKind, Grammar, GrammarMatcher};
use proptest::prelude::*;

#[test]
fn golden_matching() {
    common::run_golden(include_str!("../data/regex/matching.toml"));
}

#[test]
fn golden_errors() {
    common::run_golden(include_str!("../data/regex/errors.toml"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn equals_a_naive_matcher(re in patterns(true), texts in texts()) {
        let pattern = re.to_string();
        let compiled = match compiler(CompilerOptions::default()).compile(&Grammar::Regex(pattern.clone())) {
            Ok(compiled) => compiled,
            Err(error) => {
                prop_assert_eq!(error.kind(), ErrorKind::Grammar);
                prop_assert!(error.message().contains("no text"), "{} {}", pattern, error);
                for text in &texts {
                    prop_assert!(!re.matches(text), "{} is said to match nothing, but {:?}", pattern, text);
                }
                return Ok(());
            }
        };
        for text in &texts {
            let mut matcher = GrammarMatcher::new(&compiled, None, false);
            let whole = taken(&mut matcher, text.as_bytes()) == text.len() && matcher.is_completed();
            prop_assert_eq!(whole, re.matches(text), "{} on {:?}", pattern, text);
        }
    }

    #[test]
    fn what_can_be_begun_can_be_finished(re in patterns(true), picks in proptest::collection::vec(any::<u8>(), 0..12)) {
        let pattern = re.to_string();
        let Ok(compiled) = compiler(CompilerOptions::default()).compile(&Grammar::Regex(pattern.clone())) else {
            return Ok(());
        };
        let mut matcher = GrammarMatcher::new(&compiled, None, false);
        // At random first, then what comes soonest, until the text is complete.
        for step in 0..2000 {
            let pick = picks.get(step).copied();
            if pick.is_none() && matcher.is_completed() {
                break;
            }
            let options: Vec<u8> = (0..=255).filter(|&b| matcher.longest_prefix(&[b]) == 1).collect();
            if options.is_empty() {
                prop_assert!(matcher.is_completed(), "{} stuck at {:?}", pattern, matcher.text());
                break;
            }
            let b = options[pick.map_or(step * 7, usize::from) % options.len()];
            prop_assert!(matcher.accept_bytes(&[b]));
        }
        if matcher.is_completed() {
            let text = String::from_utf8(matcher.text().to_vec()).expect("whole characters");
            prop_assert!(re.matches(&text), "{} wrote {:?}", pattern, text);
        }
    }

    #[test]
    fn any_text_is_a_pattern_or_an_error(pattern in "[ab(){}\\[\\]|*+?\\\\^$.,0-9:=!<>Pdxu\"é-]{0,12}") {
        match compiler(CompilerOptions::default()).compile(&Grammar::Regex(pattern.clone())) {
            Ok(compiled) => {
                let mut matcher = GrammarMatcher::new(&compiled, None, false);
                prop_assert!(!common::ids(&common::mask(&mut matcher)).is_empty());
            }
            Err(error) => {
                prop_assert!(matches!(error.kind(), ErrorKind::Grammar | ErrorKind::Limit));
                prop_assert!(error.offset().is_none_or(|at| pattern.is_char_boundary(at)), "{} {:?}", pattern, error);
            }
        }
    }
}
