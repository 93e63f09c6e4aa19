//! Parts of a text that may take so many tokens, see [`Store::timed`](crate::automata::Store).

use super::GrammarMatcher;
use crate::automata::{Top, Tops};
use crate::mask::Parts;

impl GrammarMatcher {
    /// What the next mask is put together of.
    pub(super) fn parts(&self) -> Parts {
        let store = &self.space.store;
        if !self.is_timed() {
            return self.space.parts(&self.stack, &self.tops);
        }
        // A bound says nothing of the next token, so that all of its counts have one mask.
        let tops: Tops = self.tops.iter().map(|top| Top { frame: store.untimed(top.frame), ..*top }).collect();
        self.space.parts(&self.stack, &tops)
    }

    /// Whether some part of the text that could go on here may take so many tokens only.
    fn is_timed(&self) -> bool {
        self.tops.iter().any(|top| self.space.store.flags(top.frame).timed())
    }

    /// Counts a token that has just been written.
    pub(super) fn end_token(&mut self) {
        if self.is_timed() {
            let store = &self.space.store;
            let mut tops = Tops::new();
            for top in &self.tops {
                let top = Top { frame: store.after_token(top.frame), ..*top };
                if !tops.contains(&top) {
                    tops.push(top);
                }
            }
            self.tops = tops;
        }
    }
}
