//! Frames of which there is no end of values: more than are ever written into one text.

use foldhash::fast::FixedState;
use hashbrown::HashSet;

use super::expr::{ExprId, Node, RuleId, UNBOUNDED};
use super::store::Store;
use super::text::{Spelling, TextState};

/// Strings of so many characters are more than are ever written.
const LONG: u32 = 4;

impl Store {
    /// Whether a frame surely can be completed to more different values than are ever written. It has to stand at the
    /// beginning of numbers that it may write, or behind: see [`Store::endless_number`].
    pub(crate) fn endless(&self, e: ExprId) -> bool {
        if let Some(known) = self.known_endless.get(&e) {
            return known;
        }
        let mut looked_at = HashSet::default();
        let endless = self.finds_endless(e, &mut looked_at);
        self.charge(16 * looked_at.len());
        if endless {
            self.known_endless.insert(e, true);
        } else {
            // All that can be come to has been.
            for e in looked_at {
                self.known_endless.insert(e, false);
            }
        }
        endless
    }

    /// Whether something without an end is found in what a frame may write.
    fn finds_endless(&self, e: ExprId, looked_at: &mut HashSet<ExprId, FixedState>) -> bool {
        let mut e = e;
        loop {
            if let Some(known) = self.known_endless.get(&e) {
                return known;
            }
            if !looked_at.insert(e) {
                return false;
            }
            // Texts may be long.
            let Node::Concat(first, rest) = *self.node(e) else { break };
            if self.finds_endless(first, looked_at) {
                return true;
            }
            e = rest;
        }
        let mut rule = |rule: RuleId| self.finds_endless(self.body(rule), looked_at);
        match self.node(e) {
            Node::Text(state) => self.endless_text(e, state),
            Node::Call(of) => rule(*of),
            Node::Repeat { body, max: UNBOUNDED, .. } => self.is_digit(*body),
            Node::Value(of, rest) => rule(*of) || self.members_endless(rest, rule),
            Node::Members(state) => self.members_endless(state, rule),
            Node::Elements(state) => self.elements_endless(state, rule),
            Node::Union(parts) => parts.iter().any(|&part| self.finds_endless(part, looked_at)),
            _ => false,
        }
    }

    fn endless_text(&self, e: ExprId, state: &TextState) -> bool {
        state.spelling == Spelling::Raw
            && (state.hi == UNBOUNDED || state.hi >= state.lo.saturating_add(LONG))
            && !self.is_scarce(e)
    }

    fn is_digit(&self, e: ExprId) -> bool {
        matches!(self.node(e), Node::Bytes(set) if set.contains(b'1') && set.contains(b'9'))
    }

    /// Whether a frame inside of a number can be completed to more numbers than are ever written, if they don't all have the
    /// same value, as those do that begin with `0e`.
    pub(crate) fn endless_number(&self, e: ExprId) -> bool {
        let mut e = e;
        // A number has few parts.
        for _ in 0..8 {
            match self.node(e) {
                Node::Concat(first, rest) => {
                    if self.endless_number(*first) {
                        return true;
                    }
                    e = *rest;
                }
                Node::Repeat { body, max: UNBOUNDED, .. } => return self.is_digit(*body),
                Node::Union(parts) => return parts.iter().any(|&part| self.endless_number(part)),
                _ => return false,
            }
        }
        false
    }
}
