//! A mask while it is put together of entries and of a frame's own tokens.

use std::sync::Arc;

use smallvec::SmallVec;

use super::entry::{MaskEntry, TokenSet, clear_bits};
use super::events::{KeyEvent, KeyEvents};
use super::exits::{ExitsId, NO_EXITS};
use crate::vocab::Child;

/// A mask being put together.
#[derive(Default)]
pub(super) struct Mask {
    pub(super) base: Option<Arc<[u32]>>,
    pub(super) removed: Vec<u32>,
    pub(super) tokens: Vec<u32>,
    pub(super) exits: Vec<u32>,
    /// The children of those, if they are known.
    pub(super) heads: Option<Vec<Child>>,
    /// Further exits, as sets that are known: mostly one, and then it is all of them.
    pub(super) left_at: SmallVec<[ExitsId; 2]>,
    /// Events shared with other masks, and further ones.
    pub(super) shared_events: SmallVec<[Arc<KeyEvents>; 1]>,
    pub(super) events: Vec<KeyEvent>,
    /// The first entry that was added and isn't empty.
    pub(super) first: Option<u32>,
    /// Whether there is anything beside the tokens of that.
    pub(super) more: bool,
}

impl Mask {
    /// Adds an entry's tokens, and its events.
    pub(super) fn add(&mut self, entry: &MaskEntry, words: usize, of: Events) {
        match (&self.base, &entry.base) {
            (_, None) => {}
            (None, Some(base)) => {
                self.removed = entry.removed.to_vec();
                self.base = Some(Arc::clone(base));
            }
            (Some(mine), Some(base)) => {
                let (mut row, mut other) = (mine.to_vec(), base.to_vec());
                row.resize(words, 0);
                clear_bits(&mut row, &self.removed);
                clear_bits(&mut other, &entry.removed);
                row.iter_mut().zip(&other).for_each(|(a, b)| *a |= b);
                (self.base, self.removed) = (Some(row.into()), Vec::new());
            }
        }
        self.tokens.extend_from_slice(&entry.tokens);
        for shared in &entry.events {
            match of {
                // Another item may begin in the token.
                _ if !shared.items.is_empty() => self.share(shared),
                Events::Own => self.share(shared),
                Events::OwnAgain => {
                    self.events.extend(shared.list.iter().map(|e| KeyEvent { again: true, ..e.clone() }));
                }
                Events::Inner if shared.again => self.events.extend(shared.list.iter().filter(|e| e.again).cloned()),
                Events::Inner => {}
            }
        }
    }

    fn share(&mut self, events: &Arc<KeyEvents>) {
        if !self.shared_events.iter().any(|e| Arc::ptr_eq(e, events)) {
            self.shared_events.push(Arc::clone(events));
        }
    }

    /// Adds tokens of the frame itself that are known as a bitmask.
    pub(super) fn add_base(&mut self, base: Option<Arc<[u32]>>) {
        match base {
            Some(base) if self.base.is_none() => self.base = Some(base),
            Some(base) => self.add_tokens(TokenSet::from_row(base.to_vec())),
            None => {}
        }
    }

    /// Adds tokens of the frame itself.
    pub(super) fn add_tokens(&mut self, TokenSet { list, mut row, .. }: TokenSet) {
        if self.tokens.is_empty() {
            self.tokens = list;
        } else {
            self.tokens.extend(list);
        }
        if row.is_empty() {
            return;
        }
        if let Some(base) = &self.base {
            let kept = |&&token: &&u32| row[token as usize / 32] >> (token % 32) & 1 == 0;
            let removed: Vec<u32> = self.removed.iter().filter(kept).copied().collect();
            row.iter_mut().zip(&**base).for_each(|(word, more)| *word |= more);
            clear_bits(&mut row, &removed);
            self.removed.clear();
        }
        self.base = Some(row.into());
    }

    /// Adds a set of exits.
    pub(super) fn leave(&mut self, exits: ExitsId) {
        if exits != NO_EXITS && !self.left_at.contains(&exits) {
            self.left_at.push(exits);
        }
    }
}

/// Whose keys the events of an entry are about, for the mask that it is added to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Events {
    /// Those of the same object.
    Own,
    /// The same, after the token has completed one of its keys.
    OwnAgain,
    /// Those of an object that begins in the token: only those count whose token has completed a key of it before.
    Inner,
}
