//! Stacks of frames, many at once: a graph-structured stack (Tomita 1985) whose nodes are shared and merged, so that a
//! step makes as many nodes as the grammar has ways to go on, and a text costs at worst the third power of its length.
//! A single stack, which is what JSON has, is the fast path.

use hashbrown::HashSet;
use smallvec::{SmallVec, smallvec};

use super::expr::{ExprId, Mark};
use super::frame::Target;
use super::store::{EMPTY, EPS, Store};

/// What lies below a frame: one node, or a set of them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Link(u32);

const SET: u32 = 1 << 31;

impl Link {
    /// The bottom of the stack.
    pub(crate) const BASE: Self = Self(0);
}

/// A frame below the top.
#[derive(Clone, Copy, Debug)]
struct Below {
    frame: ExprId,
    /// What the owner of the stack remembers of this frame; 0 is nothing.
    extra: u32,
    link: Link,
}

/// A frame on top.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Top {
    pub(crate) frame: ExprId,
    pub(crate) extra: u32,
    pub(crate) link: Link,
}

/// All stacks that the text so far may have led to; none: the text is refused.
pub(crate) type Tops = SmallVec<[Top; 1]>;

/// Something that must not come again, where it is complete.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Completed {
    pub(crate) mark: Mark,
    /// What is remembered of the object or array that it is a part of.
    pub(crate) extra: u32,
    /// What lies below that.
    pub(crate) below: Link,
    /// Whether it ends right before the byte of the step, as a number does; if not, with that byte.
    pub(crate) before: bool,
}

/// What the owner of a stack does when something is complete that must not come again.
pub(crate) trait Keys {
    /// Returns what to remember of the object or array from now on, or `None` to refuse what is complete.
    fn completed(&mut self, what: Completed) -> Option<u32>;
}

/// The frames below the tops, append-only; truncating it is a rollback.
#[derive(Clone, Debug)]
pub(crate) struct Stack {
    below: Vec<Below>,
    sets: Vec<Box<[u32]>>,
    /// Where the nodes and sets of this step begin.
    fresh: usize,
    fresh_sets: usize,
}

/// How far a stack had grown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Height {
    below: usize,
    sets: usize,
}

/// Nodes, each once.
#[derive(Debug, Default)]
struct NodeSet {
    few: SmallVec<[u32; 16]>,
    /// Bits, once there are more.
    many: Vec<u64>,
}

impl NodeSet {
    /// Whether the node is new.
    fn insert(&mut self, node: u32) -> bool {
        if self.many.is_empty() {
            if self.few.contains(&node) {
                return false;
            }
            if self.few.len() < self.few.inline_size() {
                self.few.push(node);
                return true;
            }
            for node in std::mem::take(&mut self.few) {
                self.insert_bit(node);
            }
        }
        self.insert_bit(node)
    }

    fn insert_bit(&mut self, node: u32) -> bool {
        let (word, bit) = (node as usize / 64, 1 << (node % 64));
        if self.many.len() <= word {
            self.many.resize((word + 1).next_power_of_two(), 0);
        }
        let new = self.many[word] & bit == 0;
        self.many[word] |= bit;
        new
    }
}

/// What a byte makes of the stacks, before it is put on one: equal frames over different stacks are one outcome, so
/// that they become the same nodes over all of these. That bounds the nodes of a step by the grammar.
#[derive(Debug, Default)]
struct Results<'a> {
    list: SmallVec<[Outcome<'a>; 4]>,
    /// Nodes that were returned to.
    returned: NodeSet,
}

#[derive(Debug)]
struct Outcome<'a> {
    push: &'a [ExprId],
    top: ExprId,
    /// Of the lowest frame that is put on the stack.
    extra: u32,
    links: SmallVec<[Link; 2]>,
}

impl<'a> Results<'a> {
    /// `push` over the top's link, and the top's frame over that.
    fn add(&mut self, push: &'a [ExprId], top: Top) {
        let Top { frame: top, extra, link } = top;
        match self.list.iter_mut().find(|o| o.top == top && o.extra == extra && o.push == push) {
            Some(outcome) => outcome.links.push(link),
            None => self.list.push(Outcome { push, top, extra, links: smallvec![link] }),
        }
    }
}

impl Stack {
    pub(crate) fn new() -> Self {
        let base = Below { frame: EPS, extra: 0, link: Link::BASE };
        Self { below: vec![base], sets: Vec::new(), fresh: 1, fresh_sets: 0 }
    }

    pub(crate) fn height(&self) -> Height {
        Height { below: self.below.len(), sets: self.sets.len() }
    }

    /// How many frames and how many links of sets are kept.
    #[cfg(test)]
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.below.len(), self.sets.iter().map(|set| set.len()).sum())
    }

    pub(crate) fn truncate(&mut self, height: Height) {
        self.below.truncate(height.below);
        self.sets.truncate(height.sets);
    }

    /// The frames right below; the bottom itself is left out, and told by the second value.
    pub(crate) fn under(&self, link: Link) -> (SmallVec<[Top; 1]>, bool) {
        let mut based = false;
        let mut out = SmallVec::new();
        for &node in self.nodes(&link) {
            if node == 0 {
                based = true;
            } else {
                out.push(self.top_of(node));
            }
        }
        (out, based)
    }

    fn nodes<'a>(&'a self, link: &'a Link) -> &'a [u32] {
        if link.0 & SET == 0 { std::slice::from_ref(&link.0) } else { &self.sets[(link.0 ^ SET) as usize] }
    }

    fn push(&mut self, frame: ExprId, extra: u32, link: Link) -> Link {
        let same = |b: &Below| b.frame == frame && b.extra == extra && b.link == link;
        let found = self.below[self.fresh..].iter().position(same);
        Link(found.map_or_else(
            || {
                self.below.push(Below { frame, extra, link });
                self.below.len() as u32 - 1
            },
            |i| (self.fresh + i) as u32,
        ))
    }

    /// All of some links as one.
    fn join(&mut self, links: &[Link]) -> Link {
        let [first, others @ ..] = links else { return Link::BASE };
        if others.iter().all(|link| link == first) {
            return *first;
        }
        let mut all = NodeSet::default();
        let mut nodes: Vec<u32> =
            links.iter().flat_map(|link| self.nodes(link)).copied().filter(|&node| all.insert(node)).collect();
        nodes.sort_unstable();
        // The first link has all the others if it is as long.
        if nodes.len() == self.nodes(first).len() {
            return *first;
        }
        let found = self.sets[self.fresh_sets..].iter().position(|set| **set == nodes[..]);
        let at = found.map_or(self.sets.len(), |i| self.fresh_sets + i);
        if at == self.sets.len() {
            self.sets.push(nodes.into());
        }
        Link(at as u32 | SET)
    }

    /// Adds a top. A frame that is complete gives way to those below it at once.
    fn add(&mut self, store: &Store, top: Top, keys: &mut dyn Keys, out: &mut Tops) {
        let mut open: SmallVec<[Top; 4]> = smallvec![top];
        while let Some(top) = open.pop() {
            if top.frame == EPS && top.link != Link::BASE {
                let (under, based) = self.under(top.link);
                if based {
                    open.push(Top { frame: EPS, extra: 0, link: Link::BASE });
                }
                open.extend(under.into_iter().filter_map(|below| Self::returned(store, below, false, keys)));
                continue;
            }
            match out.iter().position(|t| t.frame == top.frame && t.extra == top.extra) {
                Some(i) => out[i].link = self.join(&[out[i].link, top.link]),
                None => out.push(top),
            }
        }
    }

    /// A frame that is returned to, before or after the byte of the step: what is marked is reported to the owner.
    fn returned(store: &Store, below: Top, before: bool, keys: &mut dyn Keys) -> Option<Top> {
        let Some(mark) = store.mark(below.frame) else { return Some(below) };
        let extra = keys.completed(Completed { mark, extra: below.extra, below: below.link, before })?;
        Some(Top { frame: store.after_mark(below.frame), extra, link: below.link })
    }

    /// All stacks after several bytes that stand for themselves in JSON strings; `None` if they have to be taken one by
    /// one.
    pub(crate) fn pass(store: &Store, tops: &[Top], bytes: &[u8]) -> Option<Tops> {
        let mut out = Tops::new();
        for top in tops {
            let frame = store.after_plain(top.frame, bytes)?;
            if out.iter().any(|other| other.frame == frame) {
                return None;
            }
            if frame != EMPTY {
                out.push(Top { frame, ..*top });
            }
        }
        Some(out)
    }

    /// All stacks after one more byte; empty if there is none.
    pub(crate) fn step(&mut self, store: &Store, tops: &[Top], b: u8, keys: &mut dyn Keys) -> Tops {
        if let [top] = tops {
            let flags = store.flags(top.frame);
            if !flags.nullable() && !flags.starts_calls() {
                let next = store.after(top.frame, b).filter(|&to| !flags.boolean() || store.alive(to));
                match next {
                    None => return Tops::new(),
                    Some(EPS) => {}
                    Some(next) => return smallvec![Top { frame: next, ..*top }],
                }
            }
            if !flags.nullable()
                && let Some(Target::Replace(next)) = store.moves(top.frame).get(b)
                && next != EPS
            {
                return smallvec![Top { frame: next, ..*top }];
            }
        }
        self.fresh = self.below.len();
        self.fresh_sets = self.sets.len();
        let mut results = Results::default();
        let mut popped = NodeSet::default();
        let mut open: SmallVec<[Top; 4]> = tops.into();
        while let Some(top) = open.pop() {
            self.step_one(store, top, b, keys, &mut results);
            if store.flags(top.frame).nullable() {
                for &node in self.nodes(&top.link) {
                    if node != 0 && popped.insert(node) {
                        open.extend(Self::returned(store, self.top_of(node), true, keys));
                    }
                }
            }
        }
        let mut out = Tops::new();
        for Outcome { push, top, mut extra, links } in results.list {
            let mut link = self.join(&links);
            for &frame in push {
                link = self.push(frame, extra, link);
                extra = 0;
            }
            self.add(store, Top { frame: top, extra, link }, keys, &mut out);
        }
        out
    }

    /// What a byte makes of one top, whatever is below it.
    fn step_one<'a>(&self, store: &'a Store, top: Top, b: u8, keys: &mut dyn Keys, results: &mut Results<'a>) {
        let flags = store.flags(top.frame);
        let target = if flags.starts_calls() {
            store.moves(top.frame).get(b)
        } else {
            let next = store.after(top.frame, b);
            next.filter(|&to| !flags.boolean() || store.alive(to)).map(Target::Replace)
        };
        match target {
            None => {}
            Some(Target::Replace(EPS)) => self.end(store, top.link, keys, results),
            Some(Target::Replace(next)) => results.add(&[], Top { frame: next, ..top }),
            Some(Target::Moves(index)) => {
                for m in &store.moves[index as usize] {
                    if m.top == EPS && m.push.is_empty() {
                        self.end(store, top.link, keys, results);
                        continue;
                    }
                    let extra = if m.keeps { top.extra } else { 0 };
                    results.add(&m.push, Top { frame: m.top, extra, link: top.link });
                }
            }
        }
    }

    /// Nothing is left on top: the frames below go on, each once however often it is returned to.
    fn end<'a>(&self, store: &'a Store, link: Link, keys: &mut dyn Keys, results: &mut Results<'a>) {
        let mut open: SmallVec<[Link; 4]> = smallvec![link];
        while let Some(link) = open.pop() {
            for &node in self.nodes(&link) {
                if !results.returned.insert(node) {
                    continue;
                }
                let below = self.top_of(node);
                let below = if node == 0 { Some(below) } else { Self::returned(store, below, false, keys) };
                match below {
                    None => {}
                    Some(top) if top.frame == EPS && top.link != Link::BASE => open.push(top.link),
                    Some(top) => results.add(&[], top),
                }
            }
        }
    }

    /// A node as what it is once nothing is above it.
    fn top_of(&self, node: u32) -> Top {
        let Below { frame, extra, link } = self.below[node as usize];
        Top { frame, extra, link }
    }

    /// Whether the stacks may end here: all frames of one of them are complete.
    pub(crate) fn may_end(&self, store: &Store, tops: &[Top]) -> bool {
        self.reaches_end(store, tops, false)
    }

    /// Whether the whole text may end here.
    pub(crate) fn is_complete(&self, store: &Store, tops: &[Top]) -> bool {
        self.reaches_end(store, tops, true)
    }

    fn reaches_end(&self, store: &Store, tops: &[Top], whole: bool) -> bool {
        let ends = |frame: ExprId| whole && store.flags(frame).ends();
        if tops.iter().any(|top| ends(top.frame)) {
            return true;
        }
        // Each node is looked at once, however many ways lead to it.
        let mut seen = HashSet::new();
        let mut open: SmallVec<[Link; 4]> =
            tops.iter().filter(|top| store.nullable(top.frame)).map(|top| top.link).collect();
        while let Some(link) = open.pop() {
            for &node in self.nodes(&link) {
                if node == 0 {
                    return true;
                }
                let below = self.below[node as usize];
                if ends(below.frame) {
                    return true;
                }
                if store.nullable(below.frame) && seen.insert(node) {
                    open.push(below.link);
                }
            }
        }
        false
    }
}
