//! Patterns, grammars and structural tags as any text at all: an error or exact masks that lead to an end, never a panic.
#![no_main]

use arbitrary::Arbitrary;
use fairlead_core::Grammar;
use fairlead_fuzz::walk_to_the_end;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Notation {
    Regex,
    Ebnf,
    Lark,
    StructuralTag,
    JsonSchema,
}

fuzz_target!(|input: (Notation, Vec<u8>, &str)| {
    let (notation, choices, source) = input;
    let source = source.to_owned();
    let grammar = match notation {
        Notation::Regex => Grammar::Regex(source),
        Notation::Ebnf => Grammar::Ebnf(source),
        Notation::Lark => Grammar::Lark(source),
        Notation::StructuralTag => Grammar::StructuralTag(source),
        Notation::JsonSchema => Grammar::json_schema(source),
    };
    walk_to_the_end(&grammar, &choices);
});
