//! `idn-hostname`: host names with letters beyond ASCII, RFC 5890 to 5893.
//!
//! Three of the rules need more than an automaton of sensible size, so a part of what they allow is refused:
//! - Length: a label's ASCII form has at most 63 characters. For a label with other characters this is certain up to
//!   16 characters below U+0700 or 11 of any kind. Longer ones are looked at as a whole if their letters are of two bytes
//!   (Greek, Cyrillic, Armenian, Hebrew, Arabic, Latin beyond ASCII; digits and hyphens too), and refused otherwise.
//!   Such a name has at most three labels or 25 characters.
//! - Labels in Punycode (`xn--`) are looked at as a whole too, and admitted where they stand for a label of these
//!   characters by these rules, however long it is.
//! - Normal form: combining marks only where no two of them could change places or join a letter. The scripts are
//!   Latin, Greek, Cyrillic, Armenian, Georgian, Hebrew and Arabic (letters and digits), Devanagari without nukta,
//!   Thai, Tibetan (letters), Hangul, kana, bopomofo and Han.
//!
//! In names with a script from right to left, the labels from left to right are ASCII. Hyphens are not doubled, and a
//! katakana middle dot stands among kana and Han characters. Beside a pattern, another format or a bound of length, only
//! what an automaton can tell is left.

use super::Make;
use crate::automata::{ExprId, UNBOUNDED};
use crate::idna::{Form, Kind, Side};

impl Make<'_> {
    pub(super) fn idn_hostname(&self) -> ExprId {
        let dot =
            self.chars(&[('.', '.'), ('\u{3002}', '\u{3002}'), ('\u{FF0E}', '\u{FF0E}'), ('\u{FF61}', '\u{FF61}')]);
        let names = |label: ExprId, more: u32| {
            let next = self.seq([dot, label]);
            self.seq([label, self.store.repeat(next, 0, more)])
        };
        let ascii = self.ascii_label(true);
        let right = [self.a_label(Side::Rightward), self.store.label(Form::Unicode, Side::Rightward)];
        let left = [self.a_label(Side::Leftward), self.store.label(Form::Unicode, Side::Leftward)];
        let plain = self.alt([ascii, self.short_label(self.rightward_label()), right[0], right[1]]);
        let lettered = self.store.inter([ascii, self.seq([self.class("a-zA-Z"), self.star(self.class("a-zA-Z0-9-"))])]);
        let mixed = self.alt([lettered, self.short_label(self.leftward_label()), left[0], left[1]]);
        let any = self.chars(&[('\0', char::MAX)]);
        let short = self.alt([names(plain, UNBOUNDED), names(mixed, UNBOUNDED)]);
        self.alt([
            names(plain, 2),
            names(mixed, 2),
            self.store.inter([short, self.store.repeat(any, 1, 25)]),
            self.store.inter([names(ascii, UNBOUNDED), self.store.repeat(any, 1, 253)]),
        ])
    }

    fn chars(&self, ranges: &[(char, char)]) -> ExprId {
        self.store.char_class(ranges)
    }

    /// So short that its ASCII form is certainly not too long: a code point costs at most six digits, and the
    /// distances between code points bound how many of them can cost that much.
    fn short_label(&self, label: ExprId) -> ExprId {
        let low = self.store.repeat(self.chars(&[('\0', '\u{6FF}')]), 1, 16);
        let any = self.store.repeat(self.chars(&[('\0', char::MAX)]), 1, 11);
        self.store.inter([label, self.alt([low, any])])
    }

    /// One character of a kind.
    fn kind(&self, kind: Kind) -> ExprId {
        self.chars(kind.ranges())
    }

    /// A label of characters from left to right and digits, without upper case.
    fn rightward_label(&self) -> ExprId {
        let greek = self.kind(Kind::Greek);
        let single = [Kind::Letter, Kind::Digit, Kind::ExtendedDigit].map(|kind| self.kind(kind));
        let single = self.alt([self.alt(single), greek]);
        let catalan = self.then("l", self.star(self.seq([self.kind(Kind::MiddleDot), self.kind(Kind::L)])));
        let numeral = self.seq([self.kind(Kind::Keraia), greek]);
        let joiner = self.opt(self.alt([self.kind(Kind::NonJoiner), self.kind(Kind::Joiner)]));
        let virama = self.seq([self.kind(Kind::Virama), joiner]);
        let marks = self.star(self.alt([self.kind(Kind::DevanagariMark), virama]));
        let devanagari = self.seq([self.kind(Kind::Devanagari), marks]);
        let dot = self.kind(Kind::KatakanaDot);
        let kana = self.kind(Kind::Kana);
        let dotted = self.seq([self.star(dot), kana, self.star(self.alt([kana, dot]))]);
        self.joined(self.alt([single, catalan, numeral, devanagari, self.thai(), dotted]))
    }

    fn thai(&self) -> ExprId {
        let free = self.star(self.kind(Kind::ThaiMark));
        let below = self.opt(self.kind(Kind::ThaiBelow));
        let tone = self.opt(self.kind(Kind::ThaiTone));
        self.seq([self.kind(Kind::Thai), free, below, tone, free])
    }

    /// Parts with a hyphen between some of them.
    fn joined(&self, part: ExprId) -> ExprId {
        self.seq([part, self.star(self.seq([self.opt(self.lit("-")), part]))])
    }

    /// A label of Hebrew or Arabic letters with either kind of digits, but not both.
    fn leftward_label(&self) -> ExprId {
        let hebrew = self.seq([self.kind(Kind::Hebrew), self.star(self.kind(Kind::Geresh))]);
        let (dual, right) = (self.kind(Kind::ArabicDual), self.kind(Kind::ArabicRight));
        let apart = |letter: ExprId| self.seq([self.kind(Kind::NonJoiner), letter]);
        let arabic = self.seq([dual, self.star(apart(dual)), self.opt(apart(right))]);
        let letter = self.alt([hebrew, arabic, right, self.kind(Kind::Arabic)]);
        let with = |digit: ExprId| {
            let part = self.alt([letter, digit]);
            self.seq([letter, self.star(self.seq([self.opt(self.lit("-")), part]))])
        };
        let european = self.alt([self.kind(Kind::Digit), self.kind(Kind::ExtendedDigit)]);
        self.alt([with(european), with(self.kind(Kind::ArabicDigit))])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::automata::Store;
    use crate::idna::is_label;

    proptest! {
        /// What is looked at as a whole is held to the same rules as what the automaton tells.
        #[test]
        fn the_rules_are_those_of_the_automaton(places in prop::collection::vec((prop::sample::select(Kind::all().collect::<Vec<_>>()), any::<u32>()), 1..12)) {
            let store = Store::new(16);
            let make = Make { store: &store };
            let label: Vec<char> = places.into_iter().map(|(kind, at)| {
                let ranges = kind.ranges();
                let (lo, hi) = ranges[at as usize % ranges.len()];
                if at % 2 == 0 { lo } else { hi }
            }).collect();
            let text: String = label.iter().collect();
            for (side, automaton) in [(Side::Rightward, make.rightward_label()), (Side::Leftward, make.leftward_label())] {
                prop_assert_eq!(is_label(&label, side), store.matches(automaton, text.as_bytes()), "{:?} {}", side, text);
            }
        }
    }
}
