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
    /// Undeclared keys that tokens of this mask complete.
    pub(crate) events: SmallVec<[Arc<KeyEvents>; 1]>,
}

impl MaskEntry {
    /// Whether no token begins with anything that the frame takes.
    pub(super) fn is_empty(&self) -> bool {
        self.base.is_none() && self.tokens.is_empty() && self.exits == NO_EXITS && self.events.is_empty()
    }

    /// Whether a token may complete a key that its object has already, or another token's own; `seen`: whether the object has any.
    pub(crate) fn may_repeat(&self, seen: bool) -> bool {
        self.events.iter().any(|events| seen || events.again)
    }
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
