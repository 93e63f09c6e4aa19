//! Grammars in EBNF.

mod common;

use common::{compiler, ids, mask};
use fairlead_core::{CompilerOptions, ErrorKind, Grammar, GrammarMatcher};

fn accepts(grammar: &str, text: &str) -> bool {
    let compiled = compiler(CompilerOptions::default()).compile(&Grammar::Ebnf(grammar.into())).expect(grammar);
    let mut matcher = GrammarMatcher::new(&compiled, None, false);
    matcher.accept_bytes(text.as_bytes()) && matcher.is_completed()
}

const SUM: &str = r#"
# Sums of products, with blanks.
root    ::= term (ws ("+" | "-") ws term)*
term    ::= factor (ws [*/] ws factor)*
factor  ::= number | "(" ws root ws ")"   # a rule that comes back to itself inside brackets
number  ::= "-"? [0-9]{1,3} ("." [0-9]+)?
ws      ::= " "{0,2}
"#;

#[test]
fn texts_of_a_recursive_grammar() {
    for (text, whole) in [
        ("1", true),
        ("1 + 22*(3 -  4.50)", true),
        ("((((7))))", true),
        ("-1--1", true),
        ("1 +", false),
        ("1234", false),
        ("(1", false),
        ("1   + 2", false),
        ("", false),
    ] {
        assert_eq!(accepts(SUM, text), whole, "{text}");
    }
}

#[test]
fn ambiguous_and_empty_rules() {
    let palindromes = r#"root ::= "a" root "a" | "b" root "b" | "a" | "b" | "" "#;
    for (text, whole) in [("", true), ("abba", true), ("ababa", true), ("ab", false), ("aabbaab", false)] {
        assert_eq!(accepts(palindromes, text), whole, "{text}");
    }
    // No maximal munch: what one rule could take, another may need.
    let munch = r#"root ::= stem "ed"
stem ::= "list" | "listen""#;
    assert!(accepts(munch, "listed") && accepts(munch, "listened") && !accepts(munch, "listeed"));
    let twice = "root ::= some some\nsome ::= [a-b]*";
    assert!(accepts(twice, "abba") && accepts(twice, "") && !accepts(twice, "abc"));
    assert!(accepts("root ::= [^\"\\n]+ '\\u00e9' .", "xyé!") && !accepts("root ::= [^\"\\n]+", "\""));
}

#[test]
fn left_recursion_of_every_kind() {
    let sum = "root ::= root [+-] term | term\nterm ::= term \"*\" atom | atom\natom ::= [0-9] | \"(\" root \")\"";
    for (grammar, texts) in [
        (sum, [("1+2*3-4", true), ("(1-2)*(3)", true), ("1+", false), ("*1", false)]),
        // Through others.
        (
            "root ::= a\na ::= b \"x\" | \"p\"\nb ::= a \"y\" | \"q\"",
            [("pyx", true), ("qxyx", true), ("px", false), ("p", true)],
        ),
        // Hidden behind what may be empty, and that by itself.
        (
            "root ::= no root \"a\" | \"b\"\nno ::= \"\" | \"n\"",
            [("baa", true), ("nbaa", true), ("nnba", false), ("nnbaa", true)],
        ),
        // Rules that are only other names of each other, and empty.
        (
            "root ::= a\na ::= root | a a | \"x\" | b\nb ::= a | \"\"",
            [("", true), ("x", true), ("xxxx", true), ("xy", false)],
        ),
        ("root ::= root root \"x\" | \"\" | \"y\"", [("", true), ("xx", true), ("yyx", true), ("yy", false)]),
    ] {
        for (text, whole) in texts {
            assert_eq!(accepts(grammar, text), whole, "{grammar}: {text}");
        }
    }
}

#[test]
fn ambiguous_left_recursion() {
    for grammar in [
        r#"root ::= root root | "a""#,
        r#"root ::= root "" root root | root root | "a" | """#,
        r#"root ::= "a" | "a" root root | root "#,
        "root ::= one root two | \"a\"\none ::= root | \"\"\ntwo ::= \"\" | one root",
    ] {
        let text = "a".repeat(21);
        assert!(accepts(grammar, &text), "{grammar}");
        assert!(!accepts(grammar, &format!("{text}b")), "{grammar}");
    }
}

#[test]
fn masks_are_those_of_brute_force() {
    for (grammar, texts) in [
        (SUM, vec!["", "1", "1 +", "(", "12.", "((1) "]),
        (r#"root ::= "a" root "a" | "b" root "b" | """#, vec!["", "a", "ab", "abb", "abba"]),
        ("root ::= root root | root \"(\" root \")\" | \"1\" | \"12\"", vec!["", "1", "12(1", "11(1(12"]),
        ("root ::= some some \",\"\nsome ::= (\"x\" | \"xy\" | \"1\")*", vec!["", "x", "xy", "xyx"]),
    ] {
        let grammar = Grammar::Ebnf(grammar.into());
        let cached = compiler(CompilerOptions::default()).compile(&grammar).expect("a grammar");
        let plain = compiler(CompilerOptions { uncached: true, ..CompilerOptions::default() });
        let plain = plain.compile(&grammar).expect("a grammar");
        for text in texts {
            let mut matchers = [&cached, &plain].map(|g| GrammarMatcher::new(g, None, false));
            assert!(matchers.iter_mut().all(|m| m.accept_bytes(text.as_bytes())), "{text}");
            let [fast, slow] = &mut matchers;
            assert_eq!(ids(&mask(fast)), ids(&mask(slow)), "{text}");
            assert_eq!(ids(&mask(fast)), common::brute_force(&cached, text.as_bytes()), "{text}");
        }
    }
}

#[test]
fn mistakes_are_told_with_their_place() {
    for (grammar, place, message) in [
        ("root ::= \"a\" other", Some((1, 14)), "not defined"),
        ("start ::= \"a\"", None, "root"),
        ("root ::= \"a", Some((1, 10)), "not closed"),
        ("root ::= (\"a\"", Some((1, 10)), "not closed"),
        ("root ::= [a", Some((1, 10)), "not closed"),
        ("root ::= \"a\"\n\n  ) x", Some((3, 3)), "cannot stand here"),
        ("root ::= \"a\"{3,1}", Some((1, 13)), "below"),
        ("root ::= \"\\q\"", Some((1, 11)), "escape"),
        ("root ::= a\na ::= \"x\"\na ::= \"y\"", Some((3, 1)), "twice"),
        ("root ::= root \"a\"", None, "no text"),
        ("root ::= <[1000]>", Some((1, 10)), "no token 1000"),
        ("root ::= !<[65]>", Some((1, 10)), "only special tokens"),
        ("root ::= \"a\" (=root) \"b\"", Some((1, 14)), "at the end of a rule"),
        ("root ::= !<[65]>*", Some((1, 10)), "only special tokens"),
        ("root ::= !<[1000]>*", Some((1, 10)), "no token 1000"),
        ("root ::= \"a\" root", None, "no text"),
    ] {
        let error = compiler(CompilerOptions::default()).compile(&Grammar::Ebnf(grammar.into())).expect_err(grammar);
        assert_eq!((error.kind(), error.line_column()), (ErrorKind::Grammar, place), "{grammar}: {error}");
        assert!(error.to_string().contains(message), "{grammar}: {error}");
    }
}
