//! What texts are made of: by character where that is ASCII, else by kind; and in sixteen bits, by blocks of characters.

/// What the texts below a node are made of, counted from after the node's own byte or, where that begins a character of
/// several bytes, from that byte on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Shape {
    /// The ASCII bytes that occur.
    pub(crate) ascii: u128,
    /// The kinds of other characters that occur, as [`kind`] names them, and [`CUT`].
    pub(crate) beyond: u8,
    /// Whether some token below isn't characters.
    pub(crate) broken: bool,
    /// Whether this counts from the node's own byte on.
    pub(crate) led: bool,
    /// The most characters of any token below.
    pub(crate) chars: u8,
}

impl Shape {
    /// The shape of a text, where those after each of its bytes are known.
    pub(super) fn of(text: &[u8], after: &[Self]) -> Self {
        let (b, next) = (text[0], after[0]);
        let chars = next.chars.saturating_add(u8::from(b & 0xC0 != 0x80));
        if b < 0x80 {
            return Self { ascii: next.ascii | 1 << b, chars, ..next };
        }
        let length = b.leading_ones() as usize;
        if let Some(c) = first_char(text) {
            let next = after[length - 1];
            return Self { beyond: next.beyond | kind(c), chars, ..next };
        }
        let cut = text.len() < length && std::str::from_utf8(text).is_err_and(|e| e.error_len().is_none());
        if cut {
            return Self { beyond: OTHER | CUT, chars, ..Self::default() };
        }
        // Only a text that begins inside of a character ends here, and that is none of characters.
        Self { beyond: next.beyond | OTHER, broken: true, chars, ..next }
    }

    pub(super) fn blocks(&self) -> u16 {
        let beyond = if self.beyond & (OTHER | CUT) == 0 { 0 } else { BEYOND };
        let seldom = self.broken || self.beyond & (SEPARATOR | SPACE) != 0;
        blocks(|block| self.ascii & block != 0) | beyond | if seldom { SELDOM } else { 0 }
    }

    pub(super) fn join(&mut self, other: Self) {
        self.ascii |= other.ascii;
        self.beyond |= other.beyond;
        self.broken |= other.broken;
        self.led |= other.led;
        self.chars = self.chars.max(other.chars);
    }
}

/// ASCII characters that classes mostly have all or none of; what is in none of the first is in the last.
pub(super) const BLOCKS: [u128; 12] = [
    span(b'a', b'z'),
    span(b'A', b'Z'),
    span(b'0', b'9'),
    span(b'_', b'_'),
    span(b' ', b' '),
    span(b'"', b'"'),
    span(b'\\', b'\\'),
    span(b'<', b'<'),
    span(b'-', b'.'),
    span(b'\n', b'\n'),
    span(0, 9) | span(11, 31) | span(127, 127),
    span(b'!', b'~')
        & !(LETTERS_AND_DIGITS | span(b'"', b'"') | span(b'\\', b'\\') | span(b'<', b'<') | span(b'-', b'.')),
];
const LETTERS_AND_DIGITS: u128 = span(b'a', b'z') | span(b'A', b'Z') | span(b'0', b'9') | span(b'_', b'_');
/// Other characters of the largest kind, left unfinished or not; and what is seldom.
const BEYOND: u16 = 1 << 12;
const SELDOM: u16 = 1 << 13;

/// The ASCII characters from one to another.
pub(crate) const fn span(lo: u8, hi: u8) -> u128 {
    (u128::MAX >> (127 - (hi - lo))) << lo
}

/// Those of the blocks, one bit each, that `takes` says yes to.
fn blocks(takes: impl Fn(u128) -> bool) -> u16 {
    BLOCKS.iter().enumerate().fold(0, |all, (i, &block)| all | u16::from(takes(block)) << i)
}

/// A class of characters by blocks: what a look at two bytes can tell of all that is below a node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blocks {
    /// Blocks that the class has all of.
    all: u16,
    /// Blocks that it has none of.
    none: u16,
}

impl Blocks {
    /// Whether a shape is of the class, as far as its blocks tell.
    #[inline]
    pub(super) fn hold(self, shape: u16) -> Option<bool> {
        if shape & !self.all == 0 { Some(true) } else { (shape & self.none != 0).then_some(false) }
    }

    /// The blocks of ASCII characters and kinds of others.
    pub(crate) fn new(ascii: u128, beyond: u8) -> Self {
        let (all, none) = match beyond & (OTHER | CUT) {
            0 => (0, BEYOND),
            kinds if kinds == OTHER | CUT => (BEYOND, 0),
            _ => (0, 0),
        };
        Self { all: all | blocks(|block| block & !ascii == 0), none: none | blocks(|block| block & ascii == 0) }
    }
}

/// The first byte that begins a character of several.
pub(crate) const LEAD: u8 = 0xC2;

/// U+2028 and U+2029, which a dot in a pattern leaves out.
const SEPARATOR: u8 = 1;
/// Other characters beyond ASCII that some dialect counts as white space.
const SPACE: u8 = 2;
/// All others beyond ASCII.
pub(super) const OTHER: u8 = 4;
/// A character that a token leaves unfinished. Those of the last kind are so many that it can become one of them.
pub(crate) const CUT: u8 = 8;

/// The characters beyond ASCII by kind: each bit, and the ranges of characters that it stands for.
pub(crate) const KINDS: [(u8, &[(char, char)]); 3] = [
    (SEPARATOR, &[('\u{2028}', '\u{2029}')]),
    (
        SPACE,
        &[
            ('\u{85}', '\u{85}'),
            ('\u{A0}', '\u{A0}'),
            ('\u{1680}', '\u{1680}'),
            ('\u{2000}', '\u{200A}'),
            ('\u{202F}', '\u{202F}'),
            ('\u{205F}', '\u{205F}'),
            ('\u{3000}', '\u{3000}'),
            ('\u{FEFF}', '\u{FEFF}'),
        ],
    ),
    (
        OTHER,
        &[
            ('\u{80}', '\u{84}'),
            ('\u{86}', '\u{9F}'),
            ('\u{A1}', '\u{167F}'),
            ('\u{1681}', '\u{1FFF}'),
            ('\u{200B}', '\u{2027}'),
            ('\u{202A}', '\u{202E}'),
            ('\u{2030}', '\u{205E}'),
            ('\u{2060}', '\u{2FFF}'),
            ('\u{3001}', '\u{FEFE}'),
            ('\u{FF00}', char::MAX),
        ],
    ),
];

/// The kind of a character beyond ASCII.
pub(super) fn kind(c: char) -> u8 {
    let of = |(_, ranges): &&(u8, &[(char, char)])| ranges.iter().any(|&(lo, hi)| (lo..=hi).contains(&c));
    KINDS.iter().find(of).map_or(OTHER, |&(kind, _)| kind)
}

/// The character that some bytes begin with, if it is whole.
fn first_char(bytes: &[u8]) -> Option<char> {
    let length = (bytes.first()?.leading_ones() as usize).max(1);
    std::str::from_utf8(bytes.get(..length)?).ok()?.chars().next()
}
