//! Frames of which there is no end of values: more than are ever written into one text.

use super::expr::{ExprId, Node, UNBOUNDED};
use super::store::Store;
use super::text::{Spelling, TextState};

/// Strings of so many characters are more than are ever written.
const LONG: u32 = 4;
/// Values inside of values that are looked at.
const DEEP: usize = 16;

impl Store {
    /// Whether a frame surely can be completed to more different values than are ever written. It has to stand at the
    /// beginning of numbers that it may write, or behind: see [`Store::endless_number`].
    pub(crate) fn endless(&self, e: ExprId) -> bool {
        self.endless_within(e, DEEP)
    }

    fn endless_within(&self, e: ExprId, depth: usize) -> bool {
        if let Some(known) = self.known_endless.get(&e) {
            return known;
        }
        let Some(depth) = depth.checked_sub(1) else { return false };
        let rule = |rule| self.endless_within(self.body(rule), depth);
        let endless = match self.node(e) {
            Node::Text(state) => self.endless_text(e, state),
            Node::Concat(a, b) => self.endless_within(*a, depth) || self.endless_within(*b, depth),
            Node::Union(parts) => parts.iter().any(|&part| self.endless_within(part, depth)),
            Node::Call(of) => rule(*of),
            Node::Repeat { body, max: UNBOUNDED, .. } => self.is_digit(*body),
            Node::Value(of, rest) => rule(*of) || self.members_endless(rest, rule),
            Node::Members(state) => self.members_endless(state, rule),
            Node::Elements(state) => self.elements_endless(state, rule),
            _ => false,
        };
        // What was cut off below is looked at again from its own place.
        if endless || depth + 1 == DEEP {
            self.charge(16);
            self.known_endless.insert(e, endless);
        }
        endless
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
        match self.node(e) {
            Node::Repeat { body, max: UNBOUNDED, .. } => self.is_digit(*body),
            Node::Concat(a, b) => self.endless_number(*a) || self.endless_number(*b),
            Node::Union(parts) => parts.iter().any(|&part| self.endless_number(part)),
            _ => false,
        }
    }
}
