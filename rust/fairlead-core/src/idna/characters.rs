//! The characters of labels, by what the rules say of them: RFC 5892 and 5893, less what would need normal forms.

use std::sync::LazyLock;

/// What a character may do in a label.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Kind {
    Hyphen,
    /// 0 to 9.
    Digit,
    /// Extended Arabic-Indic digits, in scripts of either direction.
    ExtendedDigit,
    /// A letter from left to right, or a sign like one, of which nothing else matters.
    Letter,
    /// The letter that a middle dot stands between.
    L,
    MiddleDot,
    Greek,
    /// The Greek numeral sign before a Greek letter.
    Keraia,
    Devanagari,
    DevanagariMark,
    Virama,
    NonJoiner,
    Joiner,
    Thai,
    /// Marks whose order doesn't matter for the normal form.
    ThaiMark,
    ThaiBelow,
    ThaiTone,
    KatakanaDot,
    /// Kana and Han characters, among which a katakana middle dot stands.
    Kana,
    Hebrew,
    /// Geresh and gershayim, which follow a Hebrew letter or each other.
    Geresh,
    /// Arabic letters that join on both sides, so that a non-joiner may follow or precede them.
    ArabicDual,
    /// Arabic letters that join the letter before them only.
    ArabicRight,
    /// Arabic characters of which only the direction is known here.
    Arabic,
    ArabicDigit,
}

/// What is only a variant spelling of something else.
const VARIANTS: &str = "\u{133}\u{140}\u{149}\u{17F}\u{1C6}\u{1C9}\u{1CC}\u{1F3}";

/// Characters by kinds; of `Letter` and `Greek` beyond ASCII, lower case only where there is a case.
const RANGES: &[(Kind, &[(char, char)])] = &[
    (Kind::Hyphen, &[('-', '-')]),
    (Kind::Digit, &[('0', '9')]),
    (Kind::ExtendedDigit, &[('\u{6F0}', '\u{6F9}')]),
    (Kind::L, &[('l', 'l')]),
    (
        Kind::Letter,
        &[
            ('a', 'k'),
            ('m', 'z'),
            // Latin and its neighbours, Cyrillic, Armenian.
            ('\u{DF}', '\u{24F}'),
            ('\u{1E00}', '\u{1E99}'),
            ('\u{1E9C}', '\u{1EFF}'),
            ('\u{430}', '\u{52F}'),
            ('\u{561}', '\u{586}'),
            // Tibetan, Georgian, the mark of long kana, bopomofo, Hangul.
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
        ],
    ),
    (Kind::MiddleDot, &[('\u{B7}', '\u{B7}')]),
    (Kind::Greek, &[('\u{371}', '\u{373}'), ('\u{377}', '\u{377}'), ('\u{37B}', '\u{37D}'), ('\u{390}', '\u{3CE}')]),
    (Kind::Keraia, &[('\u{375}', '\u{375}')]),
    (
        Kind::Devanagari,
        &[
            ('\u{904}', '\u{939}'),
            ('\u{93D}', '\u{93D}'),
            ('\u{950}', '\u{950}'),
            ('\u{960}', '\u{961}'),
            ('\u{966}', '\u{96F}'),
            ('\u{971}', '\u{97F}'),
        ],
    ),
    (
        Kind::DevanagariMark,
        &[
            ('\u{900}', '\u{903}'),
            ('\u{93A}', '\u{93B}'),
            ('\u{93E}', '\u{94C}'),
            ('\u{94E}', '\u{94F}'),
            ('\u{955}', '\u{957}'),
            ('\u{962}', '\u{963}'),
        ],
    ),
    (Kind::Virama, &[('\u{94D}', '\u{94D}')]),
    (Kind::NonJoiner, &[('\u{200C}', '\u{200C}')]),
    (Kind::Joiner, &[('\u{200D}', '\u{200D}')]),
    (Kind::Thai, &[('\u{E01}', '\u{E30}'), ('\u{E32}', '\u{E32}'), ('\u{E40}', '\u{E46}'), ('\u{E50}', '\u{E59}')]),
    (Kind::ThaiMark, &[('\u{E31}', '\u{E31}'), ('\u{E34}', '\u{E37}'), ('\u{E47}', '\u{E47}'), ('\u{E4C}', '\u{E4E}')]),
    (Kind::ThaiBelow, &[('\u{E38}', '\u{E39}')]),
    (Kind::ThaiTone, &[('\u{E48}', '\u{E4B}')]),
    (Kind::KatakanaDot, &[('\u{30FB}', '\u{30FB}')]),
    (
        Kind::Kana,
        &[
            ('\u{3005}', '\u{3005}'),
            ('\u{3007}', '\u{3007}'),
            ('\u{3041}', '\u{3096}'),
            ('\u{309D}', '\u{309E}'),
            ('\u{30A1}', '\u{30FA}'),
            ('\u{30FD}', '\u{30FE}'),
            ('\u{3400}', '\u{4DBF}'),
            ('\u{4E00}', '\u{9FFF}'),
        ],
    ),
    (Kind::Hebrew, &[('\u{5D0}', '\u{5EA}'), ('\u{5EF}', '\u{5F2}')]),
    (Kind::Geresh, &[('\u{5F3}', '\u{5F4}')]),
    (
        Kind::ArabicDual,
        &[
            ('\u{626}', '\u{626}'),
            ('\u{628}', '\u{628}'),
            ('\u{62A}', '\u{62E}'),
            ('\u{633}', '\u{63F}'),
            ('\u{641}', '\u{647}'),
            ('\u{649}', '\u{64A}'),
            ('\u{679}', '\u{687}'),
            ('\u{69A}', '\u{6BF}'),
            ('\u{6CC}', '\u{6CC}'),
        ],
    ),
    (
        Kind::ArabicRight,
        &[
            ('\u{622}', '\u{625}'),
            ('\u{627}', '\u{627}'),
            ('\u{629}', '\u{629}'),
            ('\u{62F}', '\u{632}'),
            ('\u{648}', '\u{648}'),
            ('\u{688}', '\u{699}'),
            ('\u{6D2}', '\u{6D3}'),
            ('\u{6D5}', '\u{6D5}'),
        ],
    ),
    (
        Kind::Arabic,
        &[
            ('\u{620}', '\u{621}'),
            ('\u{66E}', '\u{66F}'),
            ('\u{671}', '\u{674}'),
            ('\u{6C0}', '\u{6CB}'),
            ('\u{6CD}', '\u{6D1}'),
            ('\u{6EE}', '\u{6EF}'),
            ('\u{6FA}', '\u{6FF}'),
            ('\u{750}', '\u{77F}'),
        ],
    ),
    (Kind::ArabicDigit, &[('\u{660}', '\u{669}')]),
];

/// The ranges of all characters, ascending, and for each kind where its own are.
struct Table {
    all: Vec<(u32, u32, Kind)>,
    of: [Vec<(char, char)>; RANGES.len()],
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let mut table = Table { all: Vec::new(), of: std::array::from_fn(|_| Vec::new()) };
    for &(kind, ranges) in RANGES {
        let cased = |c: char| {
            kind == Kind::Greek
                || kind == Kind::Letter
                    && matches!(c, '\u{80}'..='\u{24F}' | '\u{400}'..='\u{5FF}' | '\u{1E00}'..='\u{1EFF}')
        };
        let kept = |c: char| !cased(c) || (c.is_lowercase() && !VARIANTS.contains(c));
        let of = &mut table.of[kind as usize];
        for c in ranges.iter().flat_map(|&(lo, hi)| lo..=hi).filter(|&c| kept(c)) {
            match of.last_mut() {
                Some((_, hi)) if u32::from(*hi) + 1 == u32::from(c) => *hi = c,
                _ => of.push((c, c)),
            }
        }
        table.all.extend(of.iter().map(|&(lo, hi)| (u32::from(lo), u32::from(hi), kind)));
    }
    table.all.sort_unstable();
    table
});

impl Kind {
    /// All kinds.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        RANGES.iter().map(|&(kind, _)| kind)
    }

    /// The kind of a character; `None` of one that no label has.
    pub(crate) fn of(c: char) -> Option<Self> {
        let all = &TABLE.all;
        let (lo, _, kind) = *all.get(all.partition_point(|&(_, hi, _)| hi < u32::from(c)))?;
        (lo <= u32::from(c)).then_some(kind)
    }

    /// The characters of a kind, as ascending ranges.
    pub(crate) fn ranges(self) -> &'static [(char, char)] {
        &TABLE.of[self as usize]
    }

    /// The first character of a kind from a code point on.
    pub(crate) fn first_from(self, least: u32) -> Option<char> {
        let ranges = self.ranges();
        let (lo, _) = *ranges.get(ranges.partition_point(|&(_, hi)| u32::from(hi) < least))?;
        char::from_u32(least.max(u32::from(lo)))
    }
}

/// The first code point from one on that a label may have.
pub(crate) fn first_known_from(least: u32) -> Option<u32> {
    let (lo, ..) = *TABLE.all.get(TABLE.all.partition_point(|&(_, hi, _)| hi < least))?;
    Some(least.max(lo))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_has_one_kind() {
        assert!(TABLE.all.windows(2).all(|pair| pair[0].1 < pair[1].0));
        let mut indices: Vec<usize> = Kind::all().map(|kind| kind as usize).collect();
        indices.sort_unstable();
        assert_eq!(indices, (0..RANGES.len()).collect::<Vec<_>>());
        for kind in Kind::all() {
            assert!(!kind.ranges().is_empty());
            for &(lo, hi) in kind.ranges() {
                assert_eq!((Kind::of(lo), Kind::of(hi)), (Some(kind), Some(kind)));
            }
        }
        assert_eq!([Kind::of('A'), Kind::of('_'), Kind::of('É'), Kind::of('\u{302E}')], [None; 4]);
        assert_eq!(Kind::Letter.first_from(0x80), Some('ß'));
        assert_eq!(Kind::Greek.first_from(0x3A3), Some('ά'));
        assert_eq!(first_known_from(0xB8), Some(0xDF));
    }
}
