//! `idn-hostname`: host names with letters beyond ASCII, RFC 5890 to 5893.
//!
//! Three of the rules need more than an automaton of sensible size, so a part of what they allow is refused:
//! - Labels that begin with `xn--`: whether one stands for a valid label is a question of decoding it.
//! - Length: a label's ASCII form has at most 63 characters. For a label with other characters this is certain up to
//!   16 characters below U+0700 or 11 of any kind, and longer ones are refused; likewise such a name has at most three
//!   labels or 25 characters.
//! - Normal form: combining marks only where no two of them could change places or join a letter. The scripts are
//!   Latin, Greek, Cyrillic, Armenian, Georgian, Hebrew and Arabic (letters and digits), Devanagari without nukta,
//!   Thai, Tibetan (letters), Hangul, kana, bopomofo and Han.
//!
//! In names with a script from right to left, the labels from left to right are ASCII. Hyphens are not doubled, and a
//! katakana middle dot stands among kana and Han characters.

use super::Make;
use crate::automata::{ExprId, UNBOUNDED};

/// Characters by what a rule says of them, as ranges.
type Ranges = &'static [(char, char)];

/// Lower case of Latin and its neighbours, less what is only a variant spelling of something else.
const CASED: Ranges = &[
    ('\u{DF}', '\u{24F}'),
    ('\u{1E00}', '\u{1E99}'),
    ('\u{1E9C}', '\u{1EFF}'),
    ('\u{430}', '\u{52F}'),
    ('\u{561}', '\u{586}'),
];
const VARIANTS: &str = "\u{133}\u{140}\u{149}\u{17F}\u{1C6}\u{1C9}\u{1CC}\u{1F3}";
const GREEK: Ranges = &[('\u{371}', '\u{373}'), ('\u{377}', '\u{377}'), ('\u{37B}', '\u{37D}'), ('\u{390}', '\u{3CE}')];
/// Georgian, Tibetan, bopomofo, the mark of long kana, Hangul, and extended Arabic-Indic digits.
const UNCASED: Ranges = &[
    ('\u{6F0}', '\u{6F9}'),
    ('\u{F0B}', '\u{F0B}'),
    ('\u{F40}', '\u{F42}'),
    ('\u{F44}', '\u{F47}'),
    ('\u{F49}', '\u{F4C}'),
    ('\u{F4E}', '\u{F51}'),
    ('\u{F53}', '\u{F56}'),
    ('\u{F58}', '\u{F5B}'),
    ('\u{F5D}', '\u{F68}'),
    ('\u{F6A}', '\u{F6C}'),
    ('\u{10D0}', '\u{10FA}'),
    ('\u{30FC}', '\u{30FC}'),
    ('\u{3105}', '\u{312F}'),
    ('\u{AC00}', '\u{D7A3}'),
];
const KANA_AND_HAN: Ranges = &[
    ('\u{3005}', '\u{3005}'),
    ('\u{3007}', '\u{3007}'),
    ('\u{3041}', '\u{3096}'),
    ('\u{309D}', '\u{309E}'),
    ('\u{30A1}', '\u{30FA}'),
    ('\u{30FD}', '\u{30FE}'),
    ('\u{3400}', '\u{4DBF}'),
    ('\u{4E00}', '\u{9FFF}'),
];
const DEVANAGARI: Ranges = &[
    ('\u{904}', '\u{939}'),
    ('\u{93D}', '\u{93D}'),
    ('\u{950}', '\u{950}'),
    ('\u{960}', '\u{961}'),
    ('\u{966}', '\u{96F}'),
    ('\u{971}', '\u{97F}'),
];
const DEVANAGARI_MARKS: Ranges = &[
    ('\u{900}', '\u{903}'),
    ('\u{93A}', '\u{93B}'),
    ('\u{93E}', '\u{94C}'),
    ('\u{94E}', '\u{94F}'),
    ('\u{955}', '\u{957}'),
    ('\u{962}', '\u{963}'),
];
const THAI: Ranges = &[('\u{E01}', '\u{E30}'), ('\u{E32}', '\u{E32}'), ('\u{E40}', '\u{E46}'), ('\u{E50}', '\u{E59}')];
/// Marks whose order doesn't matter for the normal form.
const THAI_MARKS: Ranges =
    &[('\u{E31}', '\u{E31}'), ('\u{E34}', '\u{E37}'), ('\u{E47}', '\u{E47}'), ('\u{E4C}', '\u{E4E}')];
const HEBREW: Ranges = &[('\u{5D0}', '\u{5EA}'), ('\u{5EF}', '\u{5F2}')];
/// Arabic letters that join on both sides, so that a non-joiner may follow or precede them.
const ARABIC_DUAL: Ranges = &[
    ('\u{626}', '\u{626}'),
    ('\u{628}', '\u{628}'),
    ('\u{62A}', '\u{62E}'),
    ('\u{633}', '\u{63F}'),
    ('\u{641}', '\u{647}'),
    ('\u{649}', '\u{64A}'),
    ('\u{679}', '\u{687}'),
    ('\u{69A}', '\u{6BF}'),
    ('\u{6CC}', '\u{6CC}'),
];
/// Arabic letters that join the letter before them only.
const ARABIC_RIGHT: Ranges = &[
    ('\u{622}', '\u{625}'),
    ('\u{627}', '\u{627}'),
    ('\u{629}', '\u{629}'),
    ('\u{62F}', '\u{632}'),
    ('\u{648}', '\u{648}'),
    ('\u{688}', '\u{699}'),
    ('\u{6D2}', '\u{6D3}'),
    ('\u{6D5}', '\u{6D5}'),
];
/// Arabic characters of which only the direction is known here.
const ARABIC_OTHER: Ranges = &[
    ('\u{620}', '\u{621}'),
    ('\u{66E}', '\u{66F}'),
    ('\u{671}', '\u{674}'),
    ('\u{6C0}', '\u{6CB}'),
    ('\u{6CD}', '\u{6D1}'),
    ('\u{6EE}', '\u{6EF}'),
    ('\u{6FA}', '\u{6FF}'),
    ('\u{750}', '\u{77F}'),
];

impl Make<'_> {
    pub(super) fn idn_hostname(&self) -> ExprId {
        let dot =
            self.chars(&[('.', '.'), ('\u{3002}', '\u{3002}'), ('\u{FF0E}', '\u{FF0E}'), ('\u{FF61}', '\u{FF61}')]);
        let names = |label: ExprId, more: u32| {
            let next = self.seq([dot, label]);
            self.seq([label, self.store.repeat(next, 0, more)])
        };
        let ascii = self.ascii_label(true);
        let plain = self.alt([ascii, self.short_label(self.rightward_label())]);
        let lettered = self.store.inter([ascii, self.seq([self.class("a-zA-Z"), self.star(self.class("a-zA-Z0-9-"))])]);
        let mixed = self.alt([lettered, self.short_label(self.leftward_label())]);
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

    /// A label of characters from left to right and digits, without upper case.
    fn rightward_label(&self) -> ExprId {
        let lower: Vec<_> = CASED
            .iter()
            .flat_map(|&(lo, hi)| lo..=hi)
            .filter(|&c| c.is_lowercase() && !VARIANTS.contains(c))
            .map(|c| (c, c))
            .collect();
        let greek: Vec<_> =
            GREEK.iter().flat_map(|&(lo, hi)| lo..=hi).filter(|c| c.is_lowercase()).map(|c| (c, c)).collect();
        let greek = self.chars(&greek);
        let single = self.alt([self.class("a-km-z0-9"), self.chars(&lower), self.chars(UNCASED), greek]);
        // A middle dot between two l, the Greek numeral sign before a Greek letter.
        let catalan = self.then("l", self.star(self.lit("\u{B7}l")));
        let numeral = self.seq([self.lit("\u{375}"), greek]);
        let joiner = self.opt(self.chars(&[('\u{200C}', '\u{200D}')]));
        let virama = self.seq([self.lit("\u{94D}"), joiner]);
        let marks = self.star(self.alt([self.chars(DEVANAGARI_MARKS), virama]));
        let devanagari = self.seq([self.chars(DEVANAGARI), marks]);
        let thai = self.thai();
        let katakana_dot = self.lit("\u{30FB}");
        let kana = self.chars(KANA_AND_HAN);
        let dotted = self.seq([self.star(katakana_dot), kana, self.star(self.alt([kana, katakana_dot]))]);
        self.joined(self.alt([single, catalan, numeral, devanagari, thai, dotted]))
    }

    fn thai(&self) -> ExprId {
        let free = self.star(self.chars(THAI_MARKS));
        let below = self.opt(self.chars(&[('\u{E38}', '\u{E39}')]));
        let tone = self.opt(self.chars(&[('\u{E48}', '\u{E4B}')]));
        self.seq([self.chars(THAI), free, below, tone, free])
    }

    /// Parts with a hyphen between some of them.
    fn joined(&self, part: ExprId) -> ExprId {
        self.seq([part, self.star(self.seq([self.opt(self.lit("-")), part]))])
    }

    /// A label of Hebrew or Arabic letters with either kind of digits, but not both.
    fn leftward_label(&self) -> ExprId {
        // Geresh and gershayim follow a Hebrew letter or each other.
        let hebrew = self.seq([self.chars(HEBREW), self.star(self.chars(&[('\u{5F3}', '\u{5F4}')]))]);
        let (dual, right) = (self.chars(ARABIC_DUAL), self.chars(ARABIC_RIGHT));
        let apart = |letter: ExprId| self.seq([self.lit("\u{200C}"), letter]);
        let arabic = self.seq([dual, self.star(apart(dual)), self.opt(apart(right))]);
        let letter = self.alt([hebrew, arabic, right, self.chars(ARABIC_OTHER)]);
        let with = |digit: ExprId| {
            let part = self.alt([letter, digit]);
            self.seq([letter, self.star(self.seq([self.opt(self.lit("-")), part]))])
        };
        let european = self.alt([self.digit(), self.chars(&[('\u{6F0}', '\u{6F9}')])]);
        self.alt([with(european), with(self.chars(&[('\u{660}', '\u{669}')]))])
    }
}
