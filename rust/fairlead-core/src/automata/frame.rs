//! Frames: an expression on the stack, with where each byte leads through the rules that it may call.

use std::borrow::Cow;
use std::sync::OnceLock;

use foldhash::fast::FixedState;
use hashbrown::HashSet;
use smallvec::{SmallVec, smallvec};

use super::bulk::Bulk;
use super::expr::{ExprId, Mark, Node, RuleId, one_less};
use super::row::{ByteMap, Edge, overlay};
use super::store::{EMPTY, EPS, Store};

/// What one byte does to a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Target {
    /// The frame goes on as another residual.
    Replace(ExprId),
    /// One or several [`Move`]s, by their index in the store.
    Moves(u32),
}

/// The frame becomes what is pushed first, more may be pushed above it, and `top` is what goes on being written.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Move {
    /// What remains below, the lowest first; empty if `top` replaces the frame.
    pub(crate) push: Push,
    /// Whether the lowest of `push` is the frame itself going on, rather than having ended in a tail call.
    pub(crate) keeps: bool,
    /// The new top.
    pub(crate) top: ExprId,
}

/// What is known of an expression as a frame.
#[derive(Debug)]
pub(crate) struct Frame {
    moves: OnceLock<ByteMap<Target>>,
    /// The expression whose masks are shared by all that differ in far-away counters only.
    pub(crate) shared_by: ExprId,
    /// The mask at the start of a token, by its index; kept here for the layer above.
    pub(crate) mask: OnceLock<u32>,
    pub(crate) bulk: OnceLock<Option<Bulk>>,
    /// The same where it is returned to inside a token, for the first few places.
    pub(crate) masks: FirstFew,
}

/// A few pairs of key and value, written once each: what most frames need, and near them in memory.
#[derive(Debug, Default)]
pub(crate) struct FirstFew([OnceLock<(u32, u32)>; 3]);

impl FirstFew {
    /// The value of a key.
    pub(crate) fn get(&self, key: u32) -> Option<u32> {
        self.0.iter().map_while(OnceLock::get).find(|pair| pair.0 == key).map(|pair| pair.1)
    }

    /// Whether there is no room for more.
    pub(crate) fn is_full(&self) -> bool {
        self.0[self.0.len() - 1].get().is_some()
    }

    /// Adds a pair; `false` if there is no room.
    pub(crate) fn insert(&self, key: u32, value: u32) -> bool {
        self.0.iter().any(|place| place.get_or_init(|| (key, value)).0 == key)
    }
}

/// Rules with what remains after each.
pub(crate) type Calls = SmallVec<[(RuleId, ExprId); 4]>;

/// What is left on the stack, the lowest first.
type Push = SmallVec<[ExprId; 4]>;

type Source<'a> = (Cow<'a, [Edge<ExprId>]>, Push, bool);

/// The rules that are gone into and call others, each with what it would leave on the stack: by how many ways they are come to
/// doesn't matter, and may be exponentially many.
type Entered = HashSet<(RuleId, Push, bool), FixedState>;

impl Store {
    /// An expression as a frame.
    pub(crate) fn frame(&self, e: ExprId) -> &Frame {
        self.slot(e).frame.get_or_init(|| {
            self.charge(size_of::<Frame>());
            Box::new(Frame {
                moves: OnceLock::new(),
                shared_by: self.clamp(e),
                mask: OnceLock::new(),
                bulk: OnceLock::new(),
                masks: FirstFew::default(),
            })
        })
    }

    /// Where each byte leads a frame, through the rules that it may call.
    pub(crate) fn moves(&self, e: ExprId) -> &ByteMap<Target> {
        self.frame(e).moves.get_or_init(|| {
            let moves = self.moves_of(e);
            self.charge(moves.edges.len() * size_of::<Edge<Target>>());
            moves
        })
    }

    /// Whether some byte may be written that belongs to no rule that is called; told without looking at any.
    pub(crate) fn has_bytes(&self, e: ExprId) -> bool {
        match self.node(e) {
            Node::Empty | Node::Eps | Node::Final | Node::Mark(_) | Node::Call(_) => false,
            Node::Concat(a, b) => self.has_bytes(*a) || (self.nullable(*a) && self.has_bytes(*b)),
            Node::Union(parts) => parts.iter().any(|&part| self.has_bytes(part)),
            Node::Repeat { body, .. } => self.has_bytes(*body),
            _ => true,
        }
    }

    /// The rules that may be entered next, each with what remains after it.
    pub(crate) fn calls(&self, e: ExprId) -> Calls {
        if !self.flags(e).starts_calls() {
            return Calls::new();
        }
        match self.node(e) {
            Node::Call(rule) => smallvec![(*rule, EPS)],
            Node::Concat(a, b) => {
                let mut out = self.calls(*a);
                for (_, rest) in &mut out {
                    *rest = self.concat(*rest, *b);
                }
                if self.nullable(*a) {
                    out.extend(self.calls(*b));
                }
                self.merge_calls(out)
            }
            Node::Union(parts) => self.merge_calls(parts.iter().flat_map(|&p| self.calls(p)).collect()),
            Node::Repeat { body, min, max } => {
                let again = self.repeat(*body, min.saturating_sub(1), one_less(*max));
                let calls = self.calls(*body).into_iter();
                calls.map(|(rule, rest)| (rule, self.concat(rest, again))).collect()
            }
            Node::Switch(slice) => {
                self.table(slice.table).ended(*slice).map_or_else(Calls::new, |tail| self.calls(tail))
            }
            Node::Members(_) | Node::Value(..) | Node::Elements(_) | Node::Counted(_) | Node::Distinct(_) => {
                self.calls(self.unfold(e))
            }
            _ => Calls::new(),
        }
    }

    fn merge_calls(&self, calls: Calls) -> Calls {
        if calls.len() < 2 {
            return calls;
        }
        let mut out = Calls::with_capacity(calls.len());
        for (rule, rest) in calls {
            let mark = self.mark(rest);
            match out.iter_mut().find(|(r, old)| *r == rule && self.mark(*old) == mark) {
                Some((_, old)) => *old = self.union([*old, rest]),
                None => out.push((rule, rest)),
            }
        }
        out
    }

    /// Collects the rows of all rules that can begin here, each with what it would leave on the stack. Rules have no
    /// left recursion, so this ends.
    fn sources<'a>(
        &'a self,
        e: ExprId,
        push: &[ExprId],
        keeps: bool,
        entered: &mut Entered,
        out: &mut SmallVec<[Source<'a>; 4]>,
    ) {
        let mut edges = Cow::Borrowed(&*self.row(e).edges);
        if edges.iter().any(|edge| !self.alive(edge.to)) {
            edges.to_mut().retain(|edge| self.alive(edge.to));
        }
        if !edges.is_empty() {
            out.push((edges, push.into(), keeps));
        }
        for (rule, rest) in self.calls(e) {
            let body = self.body(rule);
            if rest == EMPTY || body == EMPTY {
                continue;
            }
            let mut below = Push::from_slice(push);
            // A frame with nothing left is not kept: tail calls don't grow the stack.
            let keeps_now = if push.is_empty() && keeps { rest != EPS } else { keeps };
            if rest != EPS {
                below.push(rest);
            }
            if !self.flags(body).starts_calls() || entered.insert((rule, below.clone(), keeps_now)) {
                self.sources(body, &below, keeps_now, entered, out);
            }
        }
    }

    fn moves_of(&self, e: ExprId) -> ByteMap<Target> {
        let mut sources = SmallVec::new();
        self.sources(e, &[], true, &mut Entered::default(), &mut sources);
        if let [(edges, push, true)] = &sources[..]
            && push.is_empty()
        {
            return ByteMap::new(
                edges.iter().map(|g| Edge { lo: g.lo, hi: g.hi, to: Target::Replace(g.to) }).collect(),
            );
        }
        let maps: SmallVec<[&[Edge<ExprId>]; 4]> = sources.iter().map(|(edges, _, _)| &**edges).collect();
        let mut known: Vec<(SmallVec<[Option<ExprId>; 4]>, Target)> = Vec::new();
        let mut out = Vec::new();
        overlay(&maps, |lo, hi, found| {
            if found.iter().all(Option::is_none) {
                return;
            }
            let make = || {
                let mut moves: Vec<Move> = Vec::new();
                for (to, (_, push, keeps)) in found.iter().zip(&sources) {
                    let Some(to) = *to else { continue };
                    let next = self.settled(to, push, *keeps);
                    // The same frame by two ways is one residual.
                    let twin = moves.iter_mut().find(|m| m.push == next.push && m.keeps == next.keeps);
                    match twin {
                        Some(m) if next.push.is_empty() == m.push.is_empty() => m.top = self.union([m.top, next.top]),
                        _ => moves.push(next),
                    }
                }
                if let [Move { push, keeps: true, top }] = &moves[..]
                    && push.is_empty()
                {
                    return Target::Replace(*top);
                }
                self.charge(moves.iter().map(|m| 32 + m.push.len() * 4).sum());
                Target::Moves(self.moves.push(moves.into()) as u32)
            };
            let to = known.iter().rev().find(|(same, _)| same[..] == *found).map(|&(_, to)| to);
            let to = to.unwrap_or_else(|| {
                let to = make();
                known.push((found.into(), to));
                to
            });
            out.push(Edge { lo, hi, to });
        });
        ByteMap::new(out)
    }

    /// A child that is complete already gives way to what lies below it.
    fn settled(&self, top: ExprId, push: &[ExprId], keeps: bool) -> Move {
        let (mut top, mut push) = (top, Push::from_slice(push));
        while top == EPS
            && let Some(&below) = push.last()
            && self.mark(below).is_none()
        {
            top = below;
            push.pop();
        }
        Move { push, keeps, top }
    }

    /// What is complete when this frame is returned to, if that matters.
    pub(crate) fn mark(&self, e: ExprId) -> Option<Mark> {
        match *self.node(e) {
            Node::Concat(first, _) => match *self.node(first) {
                Node::Mark(mark) => Some(mark),
                _ => None,
            },
            _ => None,
        }
    }

    /// A frame to which that matters, with what it goes on with.
    pub(super) fn marked(&self, mark: Mark, rest: ExprId) -> ExprId {
        self.concat(self.intern(Node::Mark(mark)), rest)
    }

    /// What follows the mark of a frame; the frame itself if it has none.
    pub(crate) fn after_mark(&self, e: ExprId) -> ExprId {
        match *self.node(e) {
            Node::Concat(_, rest) if self.mark(e).is_some() => rest,
            _ => e,
        }
    }
}
