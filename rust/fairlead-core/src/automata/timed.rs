//! Parts of a text that may take so many tokens.
//!
//! Bytes don't say where tokens end, so what is left is counted where a matcher has accepted one: within a token such a part is
//! what it would be without a bound. A token counts if the part has some of it and could end behind it; one that ends inside of a
//! character counts with the one that completes this. So a bound leaves no text that can't be completed.

use super::expr::{ExprId, Node};
use super::row::Edge;
use super::store::{EMPTY, EPS, Store};

impl Store {
    /// The texts of a regular expression that take so many tokens at most; one if none is asked for and it can't be empty. It is
    /// never under a complement.
    pub(crate) fn timed(&self, body: ExprId, tokens: u32) -> ExprId {
        self.timed_rest(body, if self.nullable(body) { tokens } else { tokens.max(1) }, false)
    }

    /// What is left of it where so many more may follow; with `begun` the token that is being written has some of it.
    fn timed_rest(&self, body: ExprId, left: u32, begun: bool) -> ExprId {
        match body {
            EMPTY | EPS => body,
            _ if left == 0 && self.nullable(body) => EPS,
            _ => self.intern(Node::Timed { body, left, begun }),
        }
    }

    pub(super) fn derive_timed(&self, body: ExprId, left: u32) -> Vec<Edge<ExprId>> {
        let edges = self.row(body).edges.iter();
        edges.map(|edge| Edge { to: self.timed_rest(edge.to, left, true), ..*edge }).collect()
    }

    /// Where one byte leads, without the row of all: each count is a state of its own, which one text passes once.
    pub(super) fn after_timed(&self, e: ExprId, b: u8) -> ExprId {
        if !self.flags(e).timed() {
            return self.step(e, b);
        }
        match self.node(e) {
            &Node::Timed { body, left, .. } => self.timed_rest(self.step(body, b), left, true),
            Node::Concat(first, rest) => {
                let inside = self.concat(self.after_timed(*first, b), *rest);
                let behind = if self.nullable(*first) { self.after_timed(*rest, b) } else { EMPTY };
                self.union([inside, behind])
            }
            Node::Union(parts) => self.union(parts.iter().map(|&part| self.after_timed(part, b)).collect::<Vec<_>>()),
            Node::Inter(parts) => self.inter(parts.iter().map(|&part| self.after_timed(part, b)).collect::<Vec<_>>()),
            _ => self.step(e, b),
        }
    }

    /// What may still be written once a token has ended.
    pub(crate) fn after_token(&self, e: ExprId) -> ExprId {
        let counted = self.counted_token(e, 0);
        if counted == e || self.alive(counted) {
            return counted;
        }
        // What follows can't begin here, as where a text that is excluded would come of it: the last token goes on.
        self.counted_token(e, 1)
    }

    /// One token less for what has some of it, down to `least`.
    fn counted_token(&self, e: ExprId, least: u32) -> ExprId {
        if !self.flags(e).timed() {
            return e;
        }
        let all = |parts: &[ExprId]| parts.iter().map(|&part| self.counted_token(part, least)).collect::<Vec<_>>();
        match self.node(e) {
            &Node::Timed { body, left, begun: true } => {
                let ends = self.nullable(body);
                self.timed_rest(body, if ends { left.saturating_sub(1).max(least) } else { left }, false)
            }
            // Only what stands first has been begun.
            Node::Concat(a, b) => self.concat(self.counted_token(*a, least), *b),
            Node::Union(parts) => self.union(all(parts)),
            Node::Inter(parts) => self.inter(all(parts)),
            _ => e,
        }
    }

    /// The same texts, however many tokens they take.
    pub(crate) fn untimed(&self, e: ExprId) -> ExprId {
        if !self.flags(e).timed() {
            return e;
        }
        match self.node(e) {
            Node::Timed { body, .. } => *body,
            Node::Concat(a, b) => self.concat(self.untimed(*a), self.untimed(*b)),
            Node::Union(parts) => self.union(parts.iter().map(|&part| self.untimed(part))),
            Node::Inter(parts) => self.inter(parts.iter().map(|&part| self.untimed(part))),
            &Node::Repeat { body, min, max } => self.repeat(self.untimed(body), min, max),
            _ => e,
        }
    }
}
