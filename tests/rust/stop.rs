//! Stop sequences against a naive search on the whole text, and the golden cases that Python reads too.

use fairlead_core::ErrorKind;
use fairlead_core::stop::{StopSequences, StopStream, unfinished_suffix_len};
use proptest::collection::vec;
use proptest::prelude::*;

/// What the rule says, by trying everything: the match, the emitted text, and what is withheld if there is no match.
struct Naive {
    matched: Option<(usize, usize, usize)>,
    emitted: Vec<u8>,
    held: Vec<u8>,
}

fn naive(sequences: &[Vec<u8>], text: &[u8], include_stop: bool) -> Naive {
    for end in 0..=text.len() {
        let found = sequences.iter().enumerate().filter(|(_, sequence)| text[..end].ends_with(sequence));
        // max_by_key takes the last of equals, the rule the first.
        if let Some((index, sequence)) = found.rev().max_by_key(|(_, sequence)| sequence.len()) {
            let start = end - sequence.len();
            let emitted = text[..if include_stop { end } else { start }].to_vec();
            return Naive { matched: Some((index, start, end)), emitted, held: Vec::new() };
        }
    }
    let prefix = (0..=text.len())
        .rev()
        .find(|&len| {
            let suffix = &text[text.len() - len..];
            len == 0 || sequences.iter().any(|sequence| sequence.len() > len && sequence.starts_with(suffix))
        })
        .unwrap_or(0);
    let cut = text.len() - prefix.max(unfinished_suffix_len(text));
    Naive { matched: None, emitted: text[..cut].to_vec(), held: text[cut..].to_vec() }
}

fn stream(sequences: &[Vec<u8>], include_stop: bool) -> StopStream {
    StopStream::new(StopSequences::new(sequences).expect("no sequence is empty")).include_stop(include_stop)
}

fn check(sequences: &[Vec<u8>], chunks: &[Vec<u8>], include_stop: bool) -> Result<(), TestCaseError> {
    let mut stream = stream(sequences, include_stop);
    let (mut text, mut emitted) = (Vec::new(), Vec::new());
    for chunk in chunks {
        let before = stream.clone();
        text.extend_from_slice(chunk);
        emitted.extend(stream.feed(chunk).to_vec());
        let expected = naive(sequences, &text, include_stop);
        prop_assert_eq!(&emitted, &expected.emitted);
        prop_assert_eq!(stream.held_back(), &expected.held[..]);
        let matched = stream.matched().map(|found| (found.sequence, found.start, found.end));
        prop_assert_eq!(matched, expected.matched);
        prop_assert_eq!(stream.position(), expected.matched.map_or(text.len(), |found| found.2));
        if let Some(found) = stream.matched() {
            let chars = text[..found.start].iter().filter(|byte| *byte & 0xC0 != 0x80).count();
            prop_assert_eq!(found.start_char, chars);
        }
        // A clone goes its own way.
        let mut twin = before;
        twin.feed(chunk);
        prop_assert_eq!(twin.held_back(), stream.held_back());
    }
    let expected = naive(sequences, &text, include_stop);
    let rest = stream.finish().to_vec();
    prop_assert_eq!(rest, expected.held);
    prop_assert!(stream.held_back().is_empty());
    if expected.matched.is_none() {
        stream.reset();
        let again: Vec<u8> = chunks.iter().flat_map(|chunk| stream.feed(chunk).to_vec()).collect();
        prop_assert_eq!(again, expected.emitted);
    }
    Ok(())
}

fn bytes_of(alphabet: &'static [u8], len: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    vec(proptest::sample::select(alphabet), len)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn equals_a_naive_search_whatever_the_chunks(
        sequences in vec(bytes_of(b"ab", 1..6), 0..5),
        chunks in vec(bytes_of(b"aab", 0..6), 0..8),
        include_stop: bool,
    ) {
        check(&sequences, &chunks, include_stop)?;
    }

    #[test]
    fn equals_a_naive_search_with_cut_characters(
        sequences in vec(bytes_of(b"a\xE2\x82\xAC\xF0\x9F", 1..5), 0..4),
        chunks in vec(bytes_of(b"aa\xE2\x82\xAC\xF0\x9F\x99", 0..5), 0..8),
        include_stop: bool,
    ) {
        check(&sequences, &chunks, include_stop)?;
    }

    #[test]
    fn text_comes_out_in_whole_characters(
        sequences in vec("[a€🙂]{1,3}", 0..4),
        text in "[ab€🙂]{0,12}",
        cuts in vec(0..48_usize, 0..6),
    ) {
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        let mut stream = StopStream::new(StopSequences::new(&sequences).expect("no sequence is empty"));
        for pair in cuts.windows(2) {
            let emitted = stream.feed(&text.as_bytes()[pair[0]..pair[1]]).to_vec();
            prop_assert!(std::str::from_utf8(&emitted).is_ok());
        }
    }
}

#[derive(serde::Deserialize)]
struct Cases {
    case: Vec<Case>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    stop: Vec<String>,
    #[serde(default)]
    include_stop: bool,
    chunks: Vec<String>,
    emitted: Vec<String>,
    held: Vec<String>,
    #[serde(default)]
    finish: String,
    matched: Option<usize>,
    span: Option<(usize, usize)>,
    start_char: Option<usize>,
}

fn run_golden(file: &str, decode: fn(&str) -> Vec<u8>) {
    let cases: Cases = toml::from_str(file).expect("the file is well-formed");
    assert!(!cases.case.is_empty());
    for case in cases.case {
        let name = &case.name;
        let sequences: Vec<Vec<u8>> = case.stop.iter().map(|text| decode(text)).collect();
        let mut stream = stream(&sequences, case.include_stop);
        assert_eq!((case.chunks.len(), case.chunks.len()), (case.emitted.len(), case.held.len()), "{name}");
        for ((chunk, emitted), held) in case.chunks.iter().zip(&case.emitted).zip(&case.held) {
            assert_eq!(stream.feed(&decode(chunk)).to_vec(), decode(emitted), "{name}: {chunk}");
            assert_eq!(stream.held_back(), decode(held), "{name}: {chunk}");
        }
        assert_eq!(stream.matched().map(|found| found.sequence), case.matched, "{name}");
        assert_eq!(stream.matched().map(|found| (found.start, found.end)), case.span, "{name}");
        assert_eq!(stream.matched().map(|found| found.start_char), case.start_char, "{name}");
        assert_eq!(stream.finish().to_vec(), decode(&case.finish), "{name}");
    }
}

#[test]
fn golden_text() {
    run_golden(include_str!("../data/stop/text.toml"), |text| text.as_bytes().to_vec());
}

#[test]
fn golden_bytes() {
    run_golden(include_str!("../data/stop/bytes.toml"), |hex| {
        hex.split_whitespace().map(|pair| u8::from_str_radix(pair, 16).expect("a pair of hex digits")).collect()
    });
}

#[test]
fn an_empty_sequence_is_refused() {
    let error = StopSequences::new(["a", ""]).expect_err("the second one is empty");
    assert_eq!(error.kind(), ErrorKind::StopSequence);
    assert!(error.message().contains("sequence 1"), "{error}");
}

#[test]
fn many_sequences_cost_memory_linear_in_their_bytes() {
    let sequences: Vec<String> = (0..20_000).map(|i| format!("<|special_{i}|>")).collect();
    let compiled = StopSequences::new(&sequences).expect("none is empty");
    assert_eq!((compiled.len(), compiled.max_len()), (20_000, 17));
    let mut stream = StopStream::new(compiled);
    assert_eq!(stream.feed(b"text <|special_12345|> more").to_vec(), b"text ");
    // `<|special_1` .. `_1234` are no sequences by themselves: each needs its own end.
    assert_eq!(stream.matched().map(|found| found.sequence), Some(12_345));
}

#[test]
fn after_finish_a_new_piece_begins() {
    let mut stream = stream(&[b"ab".to_vec()], false);
    assert_eq!(stream.feed(b"xa").to_vec(), b"x");
    assert_eq!(stream.finish().to_vec(), b"a");
    assert_eq!(stream.feed(b"b").to_vec(), b"b");
    assert!(stream.matched().is_none());
    assert_eq!(stream.position(), 3);
}

#[test]
fn can_be_shared_between_threads() {
    fn shareable<T: Send + Sync + std::panic::UnwindSafe>() {}
    shareable::<StopSequences>();
    shareable::<StopStream>();
}
