//! Stacks of frames, many at once: a graph-structured stack (Tomita 1985) whose nodes are shared and merged, so that
//! ambiguity stays polynomial. A single stack, which is what JSON has, is the fast path.

use hashbrown::HashSet;
use smallvec::{SmallVec, smallvec};

use super::expr::ExprId;
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

/// What the owner of a stack does when an undeclared key is complete.
pub(crate) trait Keys {
    /// The key just completed belongs to the object that remembers `extra` and lies over `below`; returns what to
    /// remember from now on, or `None` to refuse the key.
    fn key(&mut self, extra: u32, below: Link) -> Option<u32>;
}

/// The frames below the tops, append-only; truncating it is a rollback.
#[derive(Clone, Debug)]
pub(crate) struct Stack {
    below: Vec<Below>,
    sets: Vec<Box<[u32]>>,
    /// Nodes popped in this step, against repetition; nodes pushed in this step begin at `fresh`.
    popped: Vec<u32>,
    fresh: usize,
}

/// How far a stack had grown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Height {
    below: usize,
    sets: usize,
}

impl Stack {
    pub(crate) fn new() -> Self {
        let base = Below { frame: EPS, extra: 0, link: Link::BASE };
        Self { below: vec![base], sets: Vec::new(), popped: Vec::new(), fresh: 1 }
    }

    pub(crate) fn height(&self) -> Height {
        Height { below: self.below.len(), sets: self.sets.len() }
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
                let Below { frame, extra, link } = self.below[node as usize];
                out.push(Top { frame, extra, link });
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

    fn join(&mut self, a: Link, b: Link) -> Link {
        if a == b {
            return a;
        }
        let mut nodes: Vec<u32> = self.nodes(&a).iter().chain(self.nodes(&b)).copied().collect();
        nodes.sort_unstable();
        nodes.dedup();
        if nodes.len() == self.nodes(&a).len() {
            return a;
        }
        self.sets.push(nodes.into());
        Link((self.sets.len() as u32 - 1) | SET)
    }

    /// Adds a top. A frame that is complete gives way to those below it at once.
    fn add(&mut self, store: &Store, top: Top, keys: &mut dyn Keys, out: &mut Tops) {
        if top.frame == EPS && top.link != Link::BASE {
            let (under, based) = self.under(top.link);
            if based {
                self.add(store, Top { frame: EPS, extra: 0, link: Link::BASE }, keys, out);
            }
            for below in under {
                if let Some(below) = Self::returned(store, below, keys) {
                    self.add(store, below, keys, out);
                }
            }
            return;
        }
        match out.iter().position(|t| t.frame == top.frame && t.extra == top.extra) {
            Some(i) => out[i].link = self.join(out[i].link, top.link),
            None => out.push(top),
        }
    }

    /// A frame that is returned to: a completed key is reported to the owner.
    fn returned(store: &Store, below: Top, keys: &mut dyn Keys) -> Option<Top> {
        if !store.marks_key(below.frame) {
            return Some(below);
        }
        let extra = keys.key(below.extra, below.link)?;
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
        self.popped.clear();
        self.fresh = self.below.len();
        let mut out = Tops::new();
        for top in tops {
            self.step_one(store, *top, b, keys, &mut out);
        }
        out
    }

    fn step_one(&mut self, store: &Store, top: Top, b: u8, keys: &mut dyn Keys, out: &mut Tops) {
        let flags = store.flags(top.frame);
        let target = if flags.starts_calls() {
            store.moves(top.frame).get(b)
        } else {
            let next = store.after(top.frame, b);
            next.filter(|&to| !flags.boolean() || store.alive(to)).map(Target::Replace)
        };
        match target {
            None => {}
            Some(Target::Replace(next)) => self.add(store, Top { frame: next, ..top }, keys, out),
            Some(Target::Moves(index)) => {
                for m in &store.moves[index as usize] {
                    let mut link = top.link;
                    let mut extra = if m.keeps { top.extra } else { 0 };
                    for &frame in &m.push {
                        link = self.push(frame, extra, link);
                        extra = 0;
                    }
                    self.add(store, Top { frame: m.top, extra, link }, keys, out);
                }
            }
        }
        if flags.nullable() {
            let nodes: SmallVec<[u32; 4]> = self.nodes(&top.link).into();
            for node in nodes {
                if node == 0 || self.popped.contains(&node) {
                    continue;
                }
                self.popped.push(node);
                let Below { frame, extra, link } = self.below[node as usize];
                if let Some(below) = Self::returned(store, Top { frame, extra, link }, keys) {
                    self.step_one(store, below, b, keys, out);
                }
            }
        }
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
