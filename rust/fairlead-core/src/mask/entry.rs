//! Masks as they are remembered.

use std::sync::Arc;

/// The id of an interned set of exits.
pub(crate) type ExitsId = u32;

/// The exits of a mask that no frame can be left in.
pub(crate) const NO_EXITS: ExitsId = 0;

/// The tokens that a frame allows, reached from a set of trie nodes, and where the frame can be left inside a token.
#[derive(Debug)]
pub(crate) struct MaskEntry {
    /// Tokens shared with other masks.
    pub(crate) base: Option<Arc<[u32]>>,
    /// Tokens of `base` that are not allowed after all.
    pub(crate) removed: Box<[u32]>,
    /// Tokens besides `base`.
    pub(crate) tokens: Box<[u32]>,
    /// Where what lies below goes on.
    pub(crate) exits: ExitsId,
    /// Undeclared keys that tokens of this mask complete.
    pub(crate) events: Arc<[KeyEvent]>,
}

/// A token, or the beginning of one, that completes an undeclared key of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyEvent {
    /// The node of the vocabulary's trie at which the key's closing quote stands.
    pub(crate) node: u32,
    /// The key's raw text in the token, up to the closing quote; the whole key if `whole`.
    pub(crate) text: Box<[u8]>,
    /// Whether the key began in the token too.
    pub(crate) whole: bool,
    /// Whether the token has completed another key of the same object before.
    pub(crate) again: bool,
}

impl KeyEvent {
    /// The event of a text that ends with a key's closing quote.
    pub(crate) fn new(path: &[u8], node: u32, again: bool) -> Self {
        let text = path.strip_suffix(b"\"").unwrap_or(path);
        let start = opening_quote(text);
        let (text, whole) = start.map_or((text, false), |at| (&text[at + 1..], true));
        Self { node, text: text.into(), whole, again }
    }
}

/// The last quote of a text that no backslash escapes.
pub(crate) fn opening_quote(text: &[u8]) -> Option<usize> {
    (0..text.len())
        .rev()
        .find(|&at| text[at] == b'"' && text[..at].iter().rev().take_while(|&&b| b == b'\\').count() % 2 == 0)
}

/// Sets the bits of tokens in a mask.
pub(crate) fn set_bits(row: &mut [u32], tokens: &[u32]) {
    for &token in tokens {
        row[token as usize / 32] |= 1 << (token % 32);
    }
}

/// Clears the bits of tokens in a mask.
pub(crate) fn clear_bits(row: &mut [u32], tokens: &[u32]) {
    for &token in tokens {
        row[token as usize / 32] &= !(1 << (token % 32));
    }
}

/// A string's text, its JSON escapes decoded; as it stands if it isn't the inside of a JSON string.
pub(crate) fn decoded(raw: &[u8]) -> Box<[u8]> {
    if !raw.contains(&b'\\') {
        return raw.into();
    }
    let quoted = [b"\"", raw, b"\""].concat();
    serde_json::from_slice::<String>(&quoted).map_or_else(|_| raw.into(), |s| s.into_bytes().into())
}
