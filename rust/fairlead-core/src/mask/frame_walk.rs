//! Walking the vocabulary's trie with one frame's own bytes: which tokens stay inside of it, where it can be left, and
//! where a rule may begin. What follows there is for the layer above to put in, which remembers it.

use smallvec::SmallVec;

use super::entry::TokenSet;
use super::walk::{WORTH_A_BULK, covers, holds, within};
use crate::automata::{BegunLabels, Bulk, ByteSet, EMPTY, EPS, ExprId, Node, Slice, Store};
use crate::vocab::{Blocks, Child, LEAD, Sibling, Trie};

/// What a walk with a frame's own bytes finds.
#[derive(Debug, Default)]
pub(super) struct OwnBytes {
    /// Tokens that the frame allows whatever lies below it.
    pub(super) tokens: TokenSet,
    /// Nodes of the vocabulary's trie at which the frame may be complete.
    pub(super) exits: Vec<u32>,
    /// The children of all exits, in any order, where the vocabulary's trie was walked.
    pub(super) heads: Option<Vec<Child>>,
    /// Residuals that go on in parts.
    pub(super) parts: Vec<Part>,
}

/// A residual that is remembered by itself, and where it begins.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) frame: ExprId,
    /// In the vocabulary's trie.
    pub(super) nodes: Vec<u32>,
    /// In the trie that was walked.
    pub(super) walked: Vec<u32>,
}

/// A frame that many characters lead back to.
struct Loop {
    frame: ExprId,
    bulk: Bulk,
    /// The characters, by blocks.
    class: Blocks,
    /// The bytes that lead elsewhere, or begin a character of several.
    leaving: ByteSet,
    nullable: bool,
}

/// A walk of a trie: the vocabulary's, or one derived of it.
pub(super) struct FrameWalk<'a> {
    store: &'a Store,
    trie: &'a Trie,
    /// Strings are gone through rather than left as parts.
    regular: bool,
    /// The bulk that was asked for last: small subtries mostly go on with the same frame.
    bulk: (ExprId, Option<Bulk>),
    /// The same of the bulk behind a frame's first character.
    behind: (ExprId, Option<Bulk>),
    found: OwnBytes,
}

impl<'a> FrameWalk<'a> {
    pub(super) fn new(store: &'a Store, trie: &'a Trie) -> Self {
        let words = store.vocab.as_ref().map_or(0, |vocab| vocab.words());
        let heads = (!trie.is_derived()).then(Vec::new);
        let found = OwnBytes { tokens: TokenSet::new(words), heads, ..OwnBytes::default() };
        Self { store, trie, regular: false, bulk: (EMPTY, None), behind: (EMPTY, None), found }
    }

    /// A walk that leaves no parts, with what calls no rules.
    pub(super) fn regular(store: &'a Store, trie: &'a Trie) -> Self {
        Self { regular: true, ..Self::new(store, trie) }
    }

    /// All that was found.
    pub(super) fn finish(mut self) -> OwnBytes {
        let count = self.found.exits.len();
        self.found.exits.sort_unstable();
        self.found.exits.dedup();
        // Those of an exit that was found twice are there twice.
        self.found.heads = self.found.heads.filter(|_| self.found.exits.len() == count);
        for part in &mut self.found.parts {
            if !part.nodes.is_sorted() {
                part.nodes.sort_unstable();
            }
            part.nodes.dedup();
        }
        self.found
    }

    /// Adds what a node stands for in the vocabulary's trie.
    fn origins(trie: &Trie, node: u32, to: &mut Vec<u32>) {
        if trie.is_derived() {
            to.extend_from_slice(trie.origins(node));
        } else {
            to.push(node);
        }
    }

    /// Looks at what follows a node while a frame is written. Rules that begin right there are left out, and so is
    /// that the frame may end there.
    pub(super) fn visit(&mut self, node: u32, frame: ExprId) {
        self.visit_all(self.trie.children(node), frame);
    }

    /// The same for the children of one node or of many, ordered by their bytes.
    pub(super) fn visit_all(&mut self, children: &[Child], frame: ExprId) {
        match *self.store.node(frame) {
            Node::Switch(slice) if self.store.table(slice.table).ended(slice).is_none() => {
                return self.literals(children, slice, None);
            }
            Node::Ranked(slice, from, to) => return self.literals(children, slice, Some((from, to))),
            _ => {}
        }
        let store = self.store;
        if store.flags(frame).labels()
            && let Some((begun, other)) = store.labels(frame)
        {
            self.labels(children, &begun);
            if other != EMPTY {
                self.visit_all(children, other);
            }
            return;
        }
        let boolean = store.flags(frame).boolean();
        let row = store.row(frame);
        let left = self.characters(children, frame);
        let children = left.as_deref().unwrap_or(children);
        if children.len() * 2 < row.edges.len() {
            for child in children {
                if let Some(to) = row.get(child.byte()).filter(|&to| !boolean || store.alive(to)) {
                    self.enter(to, std::slice::from_ref(child));
                }
            }
            return;
        }
        for edge in row.edges.iter().filter(|edge| !boolean || store.alive(edge.to)) {
            let found = within(children, edge.lo, edge.hi);
            if !found.is_empty() {
                self.enter(edge.to, found);
            }
        }
    }

    /// The children of a node where labels go on of which each text is a state of its own: no states are made inside of
    /// them.
    fn labels(&mut self, children: &[Child], begun: &BegunLabels) {
        let (store, trie) = (self.store, self.trie);
        for child in children {
            let (next, left) = store.after_labels(begun, child.byte());
            if left != EMPTY && store.alive(left) {
                self.enter(left, std::slice::from_ref(child));
            }
            if !next.is_empty() {
                self.found.tokens.extend(trie.own_tokens(child.node()));
                self.labels(trie.children(child.node()), &next);
            }
        }
    }

    /// What is known of whole subtries, which is only asked for where there are some.
    fn bulk(&mut self, frame: ExprId, nodes: &[Child]) -> Option<Bulk> {
        if self.bulk.0 != frame {
            let mut below = 0;
            if !nodes.iter().any(|child| {
                below += self.trie.below(child.node());
                below >= WORTH_A_BULK
            }) {
                return None;
            }
            self.bulk = (frame, self.store.bulk(frame));
        }
        self.bulk.1
    }

    /// The same for nodes that begin characters of several bytes: it may be that of the frame behind them.
    fn bulk_of_led(&mut self, frame: ExprId, led: &[Child]) -> Option<Bulk> {
        let own = self.bulk(frame, led).filter(|bulk| bulk.beyond != 0);
        // Where the bulk wasn't asked for, the nodes are too few.
        if own.is_some() || self.bulk.0 != frame {
            return own;
        }
        if self.behind.0 != frame {
            self.behind = (frame, self.store.bulk_behind(frame));
        }
        self.behind.1
    }

    /// Takes in the characters of several bytes that a frame takes whatever follows them, and returns the other children if
    /// there were some.
    fn characters(&mut self, children: &[Child], frame: ExprId) -> Option<SmallVec<[Child; 64]>> {
        if children.last().is_none_or(|last| last.byte() < LEAD) {
            return None;
        }
        let trie = self.trie;
        let (single, led) = children.split_at(children.partition_point(|child| child.byte() < LEAD));
        let bulk = self.bulk_of_led(frame, led)?;
        let mut left = SmallVec::from_slice(single);
        for child in led {
            if holds(bulk, trie.shape(child.node())) {
                self.found.tokens.extend(trie.all_tokens(child.node()));
            } else {
                left.push(*child);
            }
        }
        Some(left)
    }

    /// Some nodes whose last bytes all lead to one residual.
    pub(super) fn enter(&mut self, frame: ExprId, nodes: &[Child]) {
        let (store, trie) = (self.store, self.trie);
        let free_text = !self.regular && store.as_free_text(frame).is_some();
        if free_text || goes_on_in_parts(store, frame) {
            for node in nodes.iter().map(|child| child.node()) {
                self.found.tokens.extend(trie.own_tokens(node));
                // Nothing follows a leaf.
                match trie.below(node) {
                    0 => {}
                    1..WORTH_A_BULK if free_text => self.visit(node, frame),
                    _ => self.part(frame, node),
                }
            }
            return;
        }
        let bulk = self.bulk(frame, nodes);
        if let Some(bulk) = bulk.filter(|bulk| bulk.loops) {
            let class = Blocks::new(bulk.ascii, bulk.beyond);
            let mut leaving = ByteSet::EMPTY;
            for edge in &store.row(frame).edges {
                leaving = leaving.union(&ByteSet::range(edge.lo, edge.hi));
            }
            let of = Loop { frame, bulk, class, leaving, nullable: store.nullable(frame) };
            for child in nodes {
                self.scan(child.node(), &of);
            }
            return;
        }
        let nullable = store.nullable(frame);
        let class = bulk.map(|bulk| (bulk, Blocks::new(bulk.ascii, bulk.beyond)));
        for node in nodes.iter().map(|child| child.node()) {
            let leaf = trie.below(node) == 0;
            // Most shapes needn't be looked at.
            let covered = |(bulk, class)| trie.is_of(node, class) != Some(false) && covers(bulk, trie.shape(node));
            if !leaf && class.is_some_and(covered) {
                self.found.tokens.extend(trie.all_tokens(node));
                continue;
            }
            self.found.tokens.extend(trie.own_tokens(node));
            // Leaves matter only to what has ended for good: it may have been a key.
            if nullable && (!leaf || frame == EPS) {
                self.leave_at(node);
            }
            if !leaf && frame != EPS {
                self.visit(node, frame);
            }
        }
    }

    /// Notes that the frame may be complete at a node.
    pub(super) fn leave_at(&mut self, node: u32) {
        Self::origins(self.trie, node, &mut self.found.exits);
        if let Some(heads) = &mut self.found.heads {
            heads.extend_from_slice(self.trie.children(node));
        }
    }

    /// What a node and all below it are to a frame that goes on there, and that many characters lead back to.
    fn scan(&mut self, node: u32, of: &Loop) {
        let trie = self.trie;
        let places = trie.token_range(node);
        let mut run = places.start;
        if !covers(of.bulk, trie.shape(node)) {
            self.scan_below(&trie.sibling(node), places.end, of, &mut run);
        }
        self.found.tokens.extend(trie.tokens_at(run..places.end));
    }

    /// Goes through the children of a node at which the frame goes on, the tokens of which end before the place `end`. Most
    /// of them are told by a look at two bytes: they are taken as they are, in runs of tokens, of which one has begun at the
    /// place `run`.
    fn scan_below(&mut self, node: &Sibling, end: u32, of: &Loop, run: &mut u32) {
        let (store, trie) = (self.store, self.trie);
        let mut only = Sibling::default();
        let siblings = trie.siblings_below(node, &mut only);
        if of.nullable {
            Self::origins(trie, node.child.node(), &mut self.found.exits);
            if let Some(heads) = &mut self.found.heads {
                heads.extend(siblings.iter().map(|sibling| sibling.child));
            }
        }
        for (i, sibling) in siblings.iter().enumerate() {
            let (b, at) = (sibling.child.byte(), sibling.child.node());
            let end = siblings.get(i + 1).map_or(end, |next| next.tokens);
            let loops = b < 0x80 && of.bulk.ascii >> b & 1 == 1;
            if loops || b >= LEAD {
                if sibling.is_of(of.class).unwrap_or_else(|| holds(of.bulk, trie.shape(at))) {
                    continue;
                }
                if loops {
                    self.scan_below(sibling, end, of, run);
                    continue;
                }
            }
            self.found.tokens.extend(trie.tokens_at(*run..sibling.tokens));
            *run = end;
            if of.leaving.contains(b)
                && let Some(to) = store.row(of.frame).get(b).filter(|&to| store.alive(to))
            {
                self.enter(to, std::slice::from_ref(&sibling.child));
            }
        }
    }

    fn part(&mut self, frame: ExprId, node: u32) {
        let parts = &mut self.found.parts;
        if let Some(part) = parts.iter_mut().rev().find(|part| part.frame == frame) {
            Self::origins(self.trie, node, &mut part.nodes);
            part.walked.push(node);
        } else {
            let mut nodes = Vec::new();
            Self::origins(self.trie, node, &mut nodes);
            parts.push(Part { frame, nodes, walked: vec![node] });
        }
    }

    /// The literals of a slice that are longer than its depth, those with a rank in a range: trie and table side by
    /// side, without a residual for each beginning.
    fn literals(&mut self, children: &[Child], slice: Slice, ranks: Option<(u32, u32)>) {
        let (store, trie) = (self.store, self.trie);
        let table = store.table(slice.table);
        let (entries, depth) = (&table.entries, slice.depth as usize);
        let inside = |i: u32| ranks.is_none_or(|(from, to)| (from..to).contains(&table.ranks[i as usize]));
        let mut lo = slice.lo;
        while lo < slice.hi {
            let b = entries[lo as usize].0[depth];
            let same = entries[lo as usize..slice.hi as usize].partition_point(|(text, _)| text[depth] == b);
            let part = Slice { lo, hi: lo + same as u32, depth: slice.depth + 1, ..slice };
            lo = part.hi;
            let found = within(children, b, b);
            if found.is_empty() || (ranks.is_some() && !(part.lo..part.hi).any(inside)) {
                continue;
            }
            match table.ended(part) {
                None => {
                    for node in found.iter().map(|child| child.node()) {
                        self.found.tokens.extend(trie.own_tokens(node));
                        if trie.below(node) > 0 {
                            self.literals(trie.children(node), part, ranks);
                        }
                    }
                }
                Some(tail) if part.lo + 1 == part.hi => self.enter(tail, found),
                Some(_) => {
                    let frame = match ranks {
                        Some((from, to)) => store.ranked(part, from, to),
                        None => store.slice(part),
                    };
                    self.enter(frame, found);
                }
            }
        }
    }
}

/// Whether the rest of a frame is put together of parts that are remembered by themselves: where a rule may begin, and
/// where whitespace or the like stands before what isn't regular.
fn goes_on_in_parts(store: &Store, frame: ExprId) -> bool {
    let flags = store.flags(frame);
    flags.starts_calls() || (flags.calls() && leading(store, store.unfold(frame)).is_some())
}

/// What a frame begins with, if that may be empty but what follows isn't regular; and what follows.
pub(super) fn leading(store: &Store, frame: ExprId) -> Option<(ExprId, ExprId)> {
    match *store.node(frame) {
        Node::Concat(a, b) if store.nullable(a) && store.flags(b).calls() => Some((a, b)),
        _ => None,
    }
}
