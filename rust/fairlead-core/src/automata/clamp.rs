//! Counts that no token can reach are let go, so that what differs in them only has its masks in common.

use super::expr::{ExprId, Node, UNBOUNDED};
use super::store::Store;
use super::text::TextState;

impl Store {
    /// The same masks as `e`, in fewer variants: counters that no token can reach are let go.
    pub(crate) fn clamp(&self, e: ExprId) -> ExprId {
        let far = |count: u32| if count > self.horizon { UNBOUNDED } else { count };
        match self.node(e) {
            Node::Concat(a, b) => {
                let clamped = self.clamp(*a);
                if clamped == *a { e } else { self.concat(clamped, *b) }
            }
            Node::Repeat { body, min, max } => {
                // An unfinished body counts for nothing here: each further repetition takes at least one byte.
                let (min, max) = ((*min).min(self.horizon + 1), far(*max));
                self.repeat(*body, min, max)
            }
            Node::Inter(parts) => self.clamp_inter(e, parts),
            Node::Text(state) => self.clamp_text(state),
            Node::Elements(state) => self.clamp_elements(e, state),
            Node::Counted(state) => self.clamp_counted(e, state),
            _ => e,
        }
    }

    /// A bound on the length is let go only where the content can be completed within it whatever token comes next: it may
    /// have ways that are too long.
    fn clamp_text(&self, state: &TextState) -> ExprId {
        let free = state.content == self.any;
        let hi = self.near_bound(state.hi, || if free { Some(0) } else { self.needed(state.content) });
        let lo = if free { state.lo.min(self.horizon + 1) } else { state.lo };
        let content = if lo == 0 && hi == UNBOUNDED { self.clamp(state.content) } else { state.content };
        self.intern(Node::Text(TextState { content, lo, hi, ..*state }))
    }

    /// The same for a text that has so many characters at most and is something else besides.
    fn clamp_inter(&self, e: ExprId, parts: &[ExprId]) -> ExprId {
        let counted = parts.iter().enumerate().find_map(|(i, &part)| self.at_most(part).map(|max| (i, part, max)));
        let Some((at, part, max)) = counted.filter(|&(.., max)| max != UNBOUNDED && max > self.horizon) else {
            return e;
        };
        let others: Vec<ExprId> = parts.iter().enumerate().filter(|&(i, _)| i != at).map(|(_, &part)| part).collect();
        let needed = || self.needed(self.inter(others.iter().copied()));
        if self.near_bound(max, needed) != UNBOUNDED {
            return e;
        }
        let looser = match self.node(part) {
            Node::Concat(begun, _) => self.concat(*begun, self.repeat(self.scalar, 0, UNBOUNDED)),
            _ => self.repeat(self.scalar, 0, UNBOUNDED),
        };
        self.inter(others.into_iter().chain([looser]))
    }

    /// The most characters of a text of which nothing else is asked, perhaps behind the rest of one.
    fn at_most(&self, e: ExprId) -> Option<u32> {
        match self.node(e) {
            Node::Repeat { body, min: 0, max } if *body == self.scalar => Some(*max),
            Node::Concat(begun, rest) if self.is_begun(*begun) => match self.node(*rest) {
                Node::Repeat { body, min: 0, max } if *body == self.scalar => Some(*max),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether this is what may be left of a character.
    fn is_begun(&self, e: ExprId) -> bool {
        match self.node(e) {
            Node::Bytes(set) => set.ranges().all(|(lo, hi)| lo >= 0x80 && hi < 0xC0),
            Node::Repeat { body, max, .. } => *max <= 3 && self.is_begun(*body),
            Node::Concat(a, b) => self.is_begun(*a) && self.is_begun(*b),
            Node::Union(parts) => parts.iter().all(|&part| self.is_begun(part)),
            _ => false,
        }
    }

    /// A greatest count, or none where it is so far away that it matters to no token.
    fn near_bound(&self, most: u32, needed: impl FnOnce() -> Option<u32>) -> u32 {
        let far = most > self.horizon
            && (most == UNBOUNDED || needed().is_some_and(|needed| most > needed.saturating_add(self.horizon)));
        if far { UNBOUNDED } else { most }
    }
}
