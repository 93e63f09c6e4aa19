//! Masks as they are remembered.

use std::sync::Arc;

use smallvec::SmallVec;

use super::events::KeyEvents;
use super::exits::{ExitsId, NO_EXITS};

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
    /// What tokens of this mask complete that must not come again.
    pub(crate) events: SmallVec<[Arc<KeyEvents>; 1]>,
}

impl MaskEntry {
    /// Whether no token begins with anything that the frame takes.
    pub(super) fn is_empty(&self) -> bool {
        self.base.is_none() && self.tokens.is_empty() && self.exits == NO_EXITS && self.events.is_empty()
    }

    /// Whether a token may complete a key that its object has already, or another token's own; `seen`: whether the object has any.
    pub(crate) fn may_repeat(&self, seen: bool) -> bool {
        self.events.iter().any(|events| (seen && !events.list.is_empty()) || events.again)
    }

    /// The nodes at which a token may complete an item that no other one of its array may equal.
    pub(crate) fn item_ends(&self) -> impl Iterator<Item = u32> {
        self.events.iter().flat_map(|events| &events.items).copied()
    }
}

/// Sets the bits of tokens in a mask.
pub(crate) fn set_bits(row: &mut [u32], tokens: &[u32]) {
    for &token in tokens {
        row[token as usize / 32] |= 1 << (token % 32);
    }
}

/// More tokens than this are kept as a bitmask of their own.
pub(super) const DENSE: usize = 1500;

/// Tokens that are being collected: a list or, once they are many, a bitmask.
#[derive(Debug, Default)]
pub(super) struct TokenSet {
    pub(super) list: Vec<u32>,
    /// Empty as long as there are few.
    pub(super) row: Vec<u32>,
    /// How long the bitmask is; without it, there is none.
    words: usize,
}

impl TokenSet {
    /// A set that becomes a bitmask of so many words.
    pub(super) fn new(words: usize) -> Self {
        Self { words, ..Self::default() }
    }

    pub(super) fn from_row(row: Vec<u32>) -> Self {
        Self { row, ..Self::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty() && self.row.is_empty()
    }

    #[inline]
    pub(super) fn extend(&mut self, tokens: &[u32]) {
        if self.row.is_empty() {
            self.list.extend_from_slice(tokens);
            if self.list.len() > DENSE && self.words > 0 {
                self.row.resize(self.words, 0);
                set_bits(&mut self.row, &self.list);
                self.list.clear();
            }
        } else {
            set_bits(&mut self.row, tokens);
        }
    }
}

impl From<Vec<u32>> for TokenSet {
    fn from(list: Vec<u32>) -> Self {
        Self { list, ..Self::default() }
    }
}

/// Clears the bits of tokens in a mask.
pub(crate) fn clear_bits(row: &mut [u32], tokens: &[u32]) {
    for &token in tokens {
        row[token as usize / 32] &= !(1 << (token % 32));
    }
}
