//! Walking the vocabulary's trie with a frame and a stack above it: which tokens stay alive, and where the frame can be
//! left. Nothing is remembered: this is what masks are held against that are put together.

use super::events::KeyEvent;
use crate::automata::{Bulk, Completed, EPS, ExprId, Keys, Link, Mark, Stack, Store, Target, Top, Tops};
use crate::vocab::{Child, Shape, Trie};

/// What a walk finds.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Tokens that the frame allows whatever lies below it.
    pub(super) tokens: Vec<u32>,
    /// Nodes of the vocabulary's trie at which all that was on top is complete.
    pub(super) exits: Vec<u32>,
    pub(super) events: Vec<KeyEvent>,
    /// Nodes at which an item ends, or may end.
    pub(super) items: Vec<u32>,
}

/// Nodes below which it is worth while to ask for a frame's bulk.
pub(super) const WORTH_A_BULK: usize = 24;

struct Walk<'a> {
    store: &'a Store,
    trie: &'a Trie,
    stack: Stack,
    found: Found,
}

/// Reports what is completed as events at a node.
struct Reporter<'a> {
    trie: &'a Trie,
    node: u32,
    found: &'a mut Found,
}

impl Keys for Reporter<'_> {
    /// In a walk, `extra` counts the undeclared keys, or items, that the token itself has completed in this object or array.
    fn completed(&mut self, what: Completed) -> Option<u32> {
        let again = what.extra > 0;
        match what.mark {
            Mark::Item => self.found.items.push(self.node),
            Mark::Key if again || what.below == Link::BASE => {
                self.found.events.push(KeyEvent::new(&self.trie.path(self.node), self.node, again));
            }
            Mark::Key => {}
        }
        Some(what.extra + 1)
    }
}

impl Walk<'_> {
    /// Visits the children of a node. A single frame that is not complete, which is by far the most frequent case,
    /// only looks at the bytes that it has edges for, and goes from residual to residual without touching the stack.
    fn visit(&mut self, node: u32, tops: &Tops) {
        let trie = self.trie;
        let children = trie.children(node);
        if let [top] = tops[..] {
            let flags = self.store.flags(top.frame);
            if !flags.nullable() && !flags.starts_calls() {
                let store = self.store;
                let row = store.row(top.frame);
                if children.len() * 2 < row.edges.len() {
                    for child in children {
                        match row.get(child.byte()).filter(|&to| !flags.boolean() || store.alive(to)) {
                            None => {}
                            Some(EPS) => self.descend(*child, tops),
                            Some(to) => self.replace(Top { frame: to, ..top }, std::slice::from_ref(child)),
                        }
                    }
                    return;
                }
                for edge in row.edges.iter().filter(|edge| !flags.boolean() || store.alive(edge.to)) {
                    let found = within(children, edge.lo, edge.hi);
                    if edge.to == EPS {
                        self.descend_all(found, tops);
                    } else {
                        self.replace(Top { frame: edge.to, ..top }, found);
                    }
                }
                return;
            }
            if !flags.nullable() {
                for edge in &self.store.moves(top.frame).edges {
                    let found = within(children, edge.lo, edge.hi);
                    match edge.to {
                        Target::Replace(next) if next != EPS => self.replace(Top { frame: next, ..top }, found),
                        _ => self.descend_all(found, tops),
                    }
                }
                return;
            }
        }
        self.descend_all(children, tops);
    }

    /// Some children that all lead to one residual.
    fn replace(&mut self, top: Top, children: &[Child]) {
        if children.is_empty() {
            return;
        }
        let trie = self.trie;
        // What is known of whole subtries is only asked for where there are some.
        let below = children.iter().map(|child| trie.below(child.node())).sum::<usize>();
        let bulk = if below >= WORTH_A_BULK { self.store.bulk(top.frame) } else { None };
        let nullable = self.store.nullable(top.frame);
        let mut tops = Tops::new();
        tops.push(top);
        let ends = nullable && self.stack.may_end(self.store, &tops);
        for child in children.iter().map(|child| child.node()) {
            let leaf = trie.below(child) == 0;
            if !leaf && bulk.is_some_and(|bulk| covers(bulk, trie.shape(child))) {
                self.found.tokens.extend_from_slice(trie.all_tokens(child));
                continue;
            }
            self.found.tokens.extend_from_slice(trie.own_tokens(child));
            // Nothing follows a leaf, and only what has ended for good can be a key.
            if ends && (!leaf || top.frame == EPS) {
                self.found.exits.push(child);
            }
            if !leaf && top.frame != EPS {
                self.visit(child, &tops);
            }
        }
    }

    fn descend_all(&mut self, children: &[Child], tops: &Tops) {
        for child in children {
            self.descend(*child, tops);
        }
    }

    fn descend(&mut self, child: Child, tops: &Tops) {
        let (trie, b, child) = (self.trie, child.byte(), child.node());
        let height = self.stack.height();
        let mut keys = Reporter { trie, node: child, found: &mut self.found };
        let next = self.stack.step(self.store, tops, b, &mut keys);
        if next.is_empty() {
            self.stack.truncate(height);
            return;
        }
        let leaf = trie.below(child) == 0;
        let covered = |t: &Top| self.store.bulk(t.frame).is_some_and(|bulk| covers(bulk, trie.shape(child)));
        if !leaf && next.iter().any(covered) {
            self.found.tokens.extend_from_slice(trie.all_tokens(child));
        } else {
            self.found.tokens.extend_from_slice(trie.own_tokens(child));
            if self.stack.may_end(self.store, &next) {
                // Leaves too: a key that ends there may have to be refused.
                self.found.exits.push(child);
            }
            if !leaf && !matches!(next[..], [Top { frame: EPS, link: Link::BASE, .. }]) {
                self.visit(child, &next);
            }
        }
        self.stack.truncate(height);
    }
}

/// The children whose bytes lie in a range.
pub(super) fn within(children: &[Child], lo: u8, hi: u8) -> &[Child] {
    let children = &children[children.partition_point(|child| child.byte() < lo)..];
    &children[..children.partition_point(|child| child.byte() <= hi)]
}

/// Whether a frame takes all texts below a node, after the node's own byte.
pub(crate) fn covers(bulk: Bulk, shape: &Shape) -> bool {
    !shape.led && holds(bulk, shape)
}

/// Whether a frame takes all texts of a shape.
pub(super) fn holds(bulk: Bulk, shape: &Shape) -> bool {
    shape.ascii & !bulk.ascii == 0
        && shape.beyond & !bulk.beyond == 0
        && (shape.beyond == 0 || !shape.broken)
        && u32::from(shape.chars) <= bulk.chars
        && (shape.chars < 255 || bulk.chars == u32::MAX)
}

/// Walks the vocabulary's trie from `starts` with `frame` on top of an unknown stack, through all that it may call.
pub(super) fn walk(store: &Store, trie: &Trie, starts: &[u32], frame: ExprId) -> Found {
    let mut walk = Walk { store, trie, stack: Stack::new(), found: Found::default() };
    let mark = store.mark(frame);
    let inner = store.after_mark(frame);
    let top = Top { frame: inner, extra: u32::from(mark.is_some()), link: Link::BASE };
    for &start in starts {
        match mark {
            Some(Mark::Key) => walk.found.events.push(KeyEvent::new(&trie.path(start), start, false)),
            Some(Mark::Item) => walk.found.items.push(start),
            None => {}
        }
        if store.nullable(inner) {
            walk.found.exits.push(start);
        }
        if inner != EPS {
            let mut tops = Tops::new();
            tops.push(top);
            walk.visit(start, &tops);
        }
    }
    let mut found = walk.found;
    found.exits.sort_unstable();
    found.exits.dedup();
    found
}
