//! Strings whose counts are far from their bounds: without the bounds, and up to how many bytes that makes no difference.

use super::expr::{ExprId, Node, UNBOUNDED};
use super::store::Store;
use super::text::{Spelling, TextState};

impl Store {
    /// The same string, or whole text, with its upper bounds let go, and how many bytes can be written before one could be felt: a
    /// text of at most so many bytes leads to a residual that can be completed exactly if the other one can.
    pub(crate) fn loosened(&self, e: ExprId) -> Option<(ExprId, u32)> {
        let flags = self.flags(e);
        if !flags.calls() && !flags.nullable() && matches!(self.node(e), Node::Concat(..) | Node::Union(_)) {
            let (loose, safe) = self.loosen(e)?;
            return (loose != e).then_some((loose, safe));
        }
        let Node::Text(state) = self.node(e) else { return None };
        if state.spelling != Spelling::Raw || state.lo > 0 {
            return None;
        }
        let (content, mut safe) = self.loosen(state.content)?;
        if state.hi != UNBOUNDED {
            // Each character is at least a byte, and what is needed to come to an end must still fit.
            safe = safe.min(state.hi.checked_sub(self.needed(state.content)?)?);
        }
        let loose = self.intern(Node::Text(TextState { content, hi: UNBOUNDED, ..*state }));
        (loose != e).then_some((loose, safe))
    }

    /// A regular expression without the upper bounds of its repetitions; `None` where these decide what is alive.
    fn loosen(&self, e: ExprId) -> Option<(ExprId, u32)> {
        match self.node(e) {
            Node::Empty | Node::Eps | Node::Final | Node::Bytes(_) => Some((e, UNBOUNDED)),
            Node::Concat(a, b) => {
                let ((first, safe), (rest, too)) = (self.loosen(*a)?, self.loosen(*b)?);
                Some((self.concat(first, rest), safe.min(too)))
            }
            Node::Union(parts) => {
                let parts: Vec<_> = parts.iter().map(|&p| self.loosen(p)).collect::<Option<_>>()?;
                let safe = parts.iter().map(|p| p.1).min().unwrap_or(UNBOUNDED);
                Some((self.union(parts.into_iter().map(|p| p.0)), safe))
            }
            Node::Repeat { body, min, max } => {
                let (inner, safe) = self.loosen(*body)?;
                let shortest = self.lengths(*body)?.min();
                let here = if *max == UNBOUNDED { UNBOUNDED } else { max.saturating_mul(shortest) };
                Some((self.repeat(inner, *min, UNBOUNDED), safe.min(here)))
            }
            Node::Switch(_) => self.lengths(e).map(|_| (e, UNBOUNDED)),
            _ => None,
        }
    }
}
