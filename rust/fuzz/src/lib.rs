//! What the targets share: a small vocabulary, and a walk that holds every mask to single tokens.

use std::ops::RangeInclusive;
use std::sync::{Arc, LazyLock};

use arbitrary::{Result, Unstructured};
use fairlead_core::{Compiler, CompilerOptions, ErrorKind, Grammar, GrammarMatcher, Limits, Vocabulary};

/// Every byte, tokens that cross the joints of grammars, special tokens, and the end.
pub static VOCABULARY: LazyLock<Arc<Vocabulary>> = LazyLock::new(|| {
    let longer = [
        "ab", "abc", "aa", "{\"", "\":", "\": \"", "\",\"", "\"}", "}}", "]]", "],[", "true", "12", "-0.", "\\\"",
        "\\u00",
    ];
    let texts = (0..=255u8)
        .map(|b| vec![b])
        .chain(longer.map(|text| text.as_bytes().to_vec()))
        .chain(["é", "日本", "😀"].map(Into::into));
    let mut tokens: Vec<Option<Box<[u8]>>> = texts.map(|bytes| Some(bytes.into())).collect();
    tokens.push(Some([0xE6, 0x97].into()));
    let first = tokens.len() as u32;
    let special = ["<|x|>", "<|y|>"].into_iter().enumerate().map(|(i, name)| (first + i as u32, Box::from(name)));
    let size = tokens.len() + 3;
    Arc::new(Vocabulary::with_special(tokens, vec![first + 2], size, special).expect("a vocabulary"))
});

/// A compiler whose limits keep one input short.
pub fn compiler(uncached: bool) -> Compiler {
    let limits =
        Limits { max_source_bytes: 2_000, max_depth: 32, max_nodes: 2_000, max_repetition: 200, max_states: 2_000 };
    Compiler::new(Arc::clone(&VOCABULARY), CompilerOptions { limits, uncached, ..CompilerOptions::default() })
}

/// One of some texts.
pub fn pick<'a>(u: &mut Unstructured<'_>, from: &[&'a str]) -> Result<&'a str> {
    u.choose(from).copied()
}

/// So many of what `each` makes, with commas between them.
pub fn list(
    u: &mut Unstructured<'_>,
    count: RangeInclusive<usize>,
    each: impl Fn(&mut Unstructured<'_>) -> Result<String>,
) -> Result<String> {
    let n = u.int_in_range(count)?;
    Ok((0..n).map(|_| each(u)).collect::<Result<Vec<_>>>()?.join(","))
}

/// Follows one text that `choices` pick out of the masks; each mask is that of the tokens one by one, with caches and
/// without, and no state is without a way on.
pub fn walk(grammar: &Grammar, choices: &[u8]) {
    walk_with(grammar, choices, false);
}

/// The same, where the text can be completed at each step.
pub fn walk_to_the_end(grammar: &Grammar, choices: &[u8]) {
    walk_with(grammar, choices, true);
}

fn walk_with(grammar: &Grammar, choices: &[u8], completes: bool) {
    let (cached, uncached) = (compiler(false), compiler(true));
    let compiled = match cached.compile(grammar) {
        Ok(compiled) => compiled,
        Err(error) => {
            let kind = error.kind();
            let again = uncached.compile(grammar).map(|_| ()).expect_err("the same without caches");
            assert_eq!(kind, again.kind());
            assert!(kind != ErrorKind::Vocabulary, "{error}");
            return;
        }
    };
    let plain = uncached.compile(grammar).expect("the same without caches");
    let mut matcher = GrammarMatcher::new(&compiled, None, false);
    let mut other = GrammarMatcher::new(&plain, None, false);
    let size = VOCABULARY.size() as u32;
    let (mut row, mut same) = (vec![u32::MAX; VOCABULARY.words()], vec![0; VOCABULARY.words()]);
    for &choice in choices.iter().take(24) {
        matcher.fill(&mut row);
        other.fill(&mut same);
        assert_eq!(row, same, "after {:?}", matcher.text().escape_ascii().to_string());
        let allowed: Vec<u32> = (0..size).filter(|&id| row[id as usize / 32] >> (id % 32) & 1 == 1).collect();
        for id in 0..size {
            let fine = allowed.binary_search(&id).is_ok();
            assert_eq!(matcher.allows(id), fine, "token {id} after {:?}", matcher.text().escape_ascii().to_string());
        }
        assert!(!allowed.is_empty(), "no way on after {:?}", matcher.text().escape_ascii().to_string());
        if completes {
            let rest = matcher.completion();
            assert!(rest.is_some(), "no end after {:?}", matcher.text().escape_ascii().to_string());
        }
        let id = allowed[usize::from(choice) % allowed.len()];
        let forced = matcher.forced_text();
        assert!(forced.is_empty() || matcher.longest_prefix(&forced) == forced.len());
        assert!(matcher.accept_token(id) && matcher.rollback(1) && matcher.accept_token(id));
        assert!(other.accept_token(id));
        if matcher.is_terminated() {
            break;
        }
    }
}
