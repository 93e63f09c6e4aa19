//! Stop sequences: any sequences, any text, any chunks; the result must be that of a search on the whole text.
#![no_main]

use arbitrary::Arbitrary;
use fairlead_core::stop::{StopSequences, StopStream, unfinished_suffix_len};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    sequences: Vec<Vec<u8>>,
    chunks: Vec<Vec<u8>>,
    include_stop: bool,
}

fuzz_target!(|input: Input| {
    let Ok(compiled) = StopSequences::new(&input.sequences) else {
        assert!(input.sequences.iter().any(Vec::is_empty));
        return;
    };
    let text = input.chunks.concat();
    if text.len() > 400 {
        return; // the search below is slow on purpose
    }
    let mut stream = StopStream::new(compiled).include_stop(input.include_stop);
    let mut emitted = Vec::new();
    for chunk in &input.chunks {
        emitted.extend(stream.feed(chunk).to_vec());
    }
    let found = (0..=text.len()).find_map(|end| {
        let matching = input.sequences.iter().filter(|sequence| text[..end].ends_with(sequence));
        matching.map(|sequence| (end - sequence.len(), end)).min()
    });
    assert_eq!(stream.matched().map(|found| (found.start, found.end)), found);
    if let Some((start, end)) = found {
        assert_eq!(emitted, text[..if input.include_stop { end } else { start }]);
        assert!(stream.held_back().is_empty());
        return;
    }
    let prefix = (1..=text.len()).rev().find(|&len| {
        let suffix = &text[text.len() - len..];
        input.sequences.iter().any(|sequence| sequence.len() > len && sequence.starts_with(suffix))
    });
    let held = prefix.unwrap_or(0).max(unfinished_suffix_len(&text));
    assert_eq!(stream.held_back(), &text[text.len() - held..]);
    assert_eq!(emitted, text[..text.len() - held]);
});
