//! Which texts a frame certainly takes without ending: what lets a walk take in whole subtries at once.

use super::expr::{ExprId, Node, Slice, UNBOUNDED};
use super::store::Store;
use super::text::{Spelling, TextState};

/// From this frame, any text of these characters, up to so many of them, can still be completed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Bulk {
    /// ASCII characters.
    pub(crate) ascii: u128,
    /// Whether all other characters too.
    pub(crate) beyond: bool,
    /// How many characters; `u32::MAX` without bound.
    pub(crate) chars: u32,
}

/// Which characters that are not ASCII lead to a place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Beyond {
    /// All of them.
    All,
    /// All but U+2028 and U+2029, which lead nowhere: what a dot means in a pattern.
    OfLines,
    /// Not even those.
    Some,
}

/// The rest of a JSON string whose length is free too.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FreeText {
    /// Of any text.
    Any,
    /// Of any text but the rests of some literals.
    But(Slice),
}

const ALL_ASCII: u128 = u128::MAX;
/// What JSON lets stand for itself inside a string.
const PLAIN: u128 = !0xFFFF_FFFF & !(1 << b'"') & !(1 << b'\\');

impl Store {
    /// The bulk of a frame, if it has one worth looking at.
    pub(crate) fn bulk(&self, e: ExprId) -> Option<Bulk> {
        match self.node(e) {
            Node::Text(state) => *self.frame(e).bulk.get_or_init(|| self.text_bulk(state)),
            Node::Repeat { .. } | Node::Concat(..) | Node::Union(_) | Node::Inter(_) => {
                *self.frame(e).bulk.get_or_init(|| {
                    let loops = self.self_loops(e).filter(|(ascii, _)| ascii.count_ones() >= 8);
                    let bulk = match loops {
                        Some((ascii, beyond)) => Bulk { ascii, beyond, chars: UNBOUNDED },
                        None => self.loop_class(e)?,
                    };
                    (bulk.chars >= 8 && bulk.ascii.count_ones() >= 8).then_some(bulk)
                })
            }
            _ => None,
        }
    }

    /// Whether every text is the beginning of one in `content`.
    pub(crate) fn takes_any_prefix(&self, content: ExprId) -> bool {
        content == self.any
            || content == self.all
            || match self.node(content) {
                Node::Except(_) => true,
                Node::Concat(first, rest) => *first == self.any && self.alive(*rest),
                Node::Union(parts) => parts.iter().any(|&p| self.takes_any_prefix(p)),
                // All strings but some whole ones: the exceptions never stop what is longer.
                Node::Inter(parts) => parts.iter().all(|&p| p == self.any || matches!(self.node(p), Node::Except(_))),
                _ => false,
            }
    }

    /// For a content that is any text but the rest of some literals: those.
    pub(crate) fn free_but(&self, content: ExprId) -> Option<Slice> {
        match self.node(content) {
            Node::Except(slice) => Some(*slice),
            Node::Inter(parts) => match parts[..] {
                [a, b] if a == self.any || b == self.any => self.free_but(if a == self.any { b } else { a }),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether an expression is the rest of a JSON string of any text, or of any but some.
    pub(crate) fn as_free_text(&self, e: ExprId) -> Option<FreeText> {
        match self.node(e) {
            _ if e == self.free_text => Some(FreeText::Any),
            Node::Text(state) if state.spelling == Spelling::Raw && state.lo == 0 && state.hi == UNBOUNDED => {
                self.free_but(state.content).map(FreeText::But)
            }
            _ => None,
        }
    }

    /// Whether a key's closing quote may follow, and keys of its kind may run out. Where one can be made longer and
    /// longer there always is another, also for each of its beginnings.
    pub(crate) fn ends_scarce_key(&self, text: ExprId) -> bool {
        match self.node(text) {
            Node::Text(state) => {
                state.spelling == Spelling::Raw && self.nullable(state.content) && self.is_scarce(text)
            }
            _ => false,
        }
    }

    /// Whether the text of a key is of a kind that may run out of new ones.
    pub(crate) fn is_scarce(&self, text: ExprId) -> bool {
        match self.node(text) {
            Node::Text(state) => {
                if self.takes_any_prefix(state.content) {
                    return false;
                }
                let plenty = || self.plenty.get_or_insert_with(state.content, || self.has_plenty(state.content));
                state.hi != UNBOUNDED || !plenty()
            }
            _ => false,
        }
    }

    /// Whether an expression surely has more words than an object can have keys.
    fn has_plenty(&self, e: ExprId) -> bool {
        const PLENTY: f64 = 4e9;
        match self.node(e) {
            Node::Repeat { body, max, .. } => {
                // Words of single characters are different if they differ anywhere.
                let chars = self.class_of(*body).map_or(1, |(ascii, _)| ascii.count_ones());
                *max == UNBOUNDED || f64::from(chars).powf(f64::from(*max)) > PLENTY || self.has_plenty(*body)
            }
            Node::Concat(a, b) => self.has_plenty(*a) || self.has_plenty(*b),
            Node::Union(parts) => parts.iter().any(|&p| self.has_plenty(p)),
            Node::Inter(_) => self.finds_loop(e),
            _ => false,
        }
    }

    /// Whether a state that leads to itself is found soon.
    fn finds_loop(&self, e: ExprId) -> bool {
        const SOON: usize = 64;
        let mut states = vec![e];
        let mut at = 0;
        while at < states.len() && states.len() < SOON {
            for edge in self.row(states[at]).edges.iter().filter(|edge| self.alive(edge.to)) {
                if edge.to == states[at] {
                    return true;
                }
                if !states.contains(&edge.to) {
                    states.push(edge.to);
                }
            }
            at += 1;
        }
        false
    }

    /// The rests of the literals of a slice.
    pub(crate) fn entries_of(&self, slice: Slice) -> Vec<&[u8]> {
        let entries = &self.table(slice.table).entries[slice.lo as usize..slice.hi as usize];
        entries.iter().map(|(text, _)| &text[slice.depth as usize..]).collect()
    }

    fn text_bulk(&self, state: &TextState) -> Option<Bulk> {
        if state.spelling != Spelling::Raw {
            return None;
        }
        if state.content == self.any || (state.hi == UNBOUNDED && self.takes_any_prefix(state.content)) {
            return Some(Bulk { ascii: PLAIN, beyond: true, chars: state.hi });
        }
        if state.hi == UNBOUNDED
            && let Some((ascii, beyond)) = self.self_loops(state.content)
            && ascii.count_ones() >= 8
        {
            return Some(Bulk { ascii: ascii & PLAIN, beyond, chars: UNBOUNDED });
        }
        let class = self.loop_class(state.content)?;
        let chars = if state.hi == UNBOUNDED {
            class.chars
        } else {
            // After the loop the rest must still fit.
            class.chars.min(state.hi.checked_sub(self.loop_rest(state.content)?)?)
        };
        Some(Bulk { ascii: class.ascii & PLAIN, beyond: class.beyond, chars })
    }

    /// The characters after which the same residual remains: ASCII ones, and whether all others do.
    fn self_loops(&self, e: ExprId) -> Option<(u128, bool)> {
        let mut ascii = 0u128;
        for edge in self.row(e).edges.iter().filter(|edge| edge.to == e && edge.lo < 0x80) {
            for b in edge.lo..=edge.hi.min(0x7F) {
                ascii |= 1 << b;
            }
        }
        (ascii != 0).then(|| (ascii, self.beyond(e, e) == Beyond::All))
    }

    /// Whether all characters that are not ASCII lead from `at` to `home`, or which of them do.
    pub(crate) fn beyond(&self, at: ExprId, home: ExprId) -> Beyond {
        self.loops_beyond(self.scalar, at, home, 0)
    }

    /// The same for the characters that remain in `scalar`, ASCII ones aside, after some bytes.
    fn loops_beyond(&self, scalar: ExprId, at: ExprId, home: ExprId, before: u32) -> Beyond {
        if scalar == super::EPS {
            return if at == home { Beyond::All } else { Beyond::Some };
        }
        let mut all = Beyond::All;
        for edge in self.row(scalar).edges.iter().filter(|edge| edge.lo >= 0x80) {
            let mut covered = u16::from(edge.lo);
            for next in self.row(at).edges.iter().filter(|n| n.lo <= edge.hi && edge.lo <= n.hi && self.alive(n.to)) {
                let (lo, hi) = (next.lo.max(edge.lo), next.hi.min(edge.hi));
                if before == 0xE280 && covered == 0xA8 && lo == 0xAA {
                    // U+2028 and U+2029: no character of a line.
                    (all, covered) = (Beyond::OfLines, 0xAA);
                }
                let path = if lo == hi { before << 8 | u32::from(lo) } else { 0 };
                let below = self.loops_beyond(edge.to, next.to, home, path);
                if u16::from(lo) != covered || below == Beyond::Some {
                    return Beyond::Some;
                }
                if below == Beyond::OfLines {
                    all = below;
                }
                covered = u16::from(hi) + 1;
            }
            if covered != u16::from(edge.hi) + 1 {
                return Beyond::Some;
            }
        }
        all
    }

    /// The least number of characters after the loop that `loop_class` found.
    fn loop_rest(&self, e: ExprId) -> Option<u32> {
        match self.node(e) {
            Node::Repeat { min: 0, .. } => Some(0),
            Node::Concat(first, rest) if matches!(self.node(*first), Node::Repeat { min: 0, .. }) => {
                Some(self.lengths(*rest)?.min())
            }
            _ => None,
        }
    }

    /// The characters that a repetition at the front takes, and how many.
    fn loop_class(&self, e: ExprId) -> Option<Bulk> {
        match self.node(e) {
            Node::Repeat { body, max, .. } => {
                let (ascii, beyond) = self.class_of(*body)?;
                Some(Bulk { ascii, beyond, chars: *max })
            }
            Node::Concat(first, _) => self.loop_class(*first),
            Node::Union(parts) => {
                let classes = parts.iter().filter_map(|&p| self.loop_class(p));
                classes.max_by_key(|b| (b.beyond, b.ascii.count_ones(), b.chars))
            }
            _ if self.takes_any_prefix(e) => Some(Bulk { ascii: ALL_ASCII, beyond: true, chars: UNBOUNDED }),
            _ => None,
        }
    }

    /// The ASCII characters of a class of single characters, and whether it has all others.
    fn class_of(&self, body: ExprId) -> Option<(u128, bool)> {
        match self.node(body) {
            Node::Bytes(set) => {
                set.intersection(&super::ByteSet::range(0x80, 0xFF)).is_empty().then(|| (set.ascii(), false))
            }
            Node::Union(parts) => {
                let Node::Union(full) = self.node(self.scalar) else { return None };
                let longer = |list: &[ExprId]| -> Vec<ExprId> {
                    list.iter().copied().filter(|&p| matches!(self.node(p), Node::Concat(..))).collect()
                };
                let single = parts.iter().find_map(|&p| match self.node(p) {
                    Node::Bytes(set) => Some(set.ascii()),
                    _ => None,
                });
                let plain = parts.iter().all(|&p| self.is_char(p));
                plain.then(|| (single.unwrap_or(0), longer(parts) == longer(full)))
            }
            _ => None,
        }
    }

    fn is_char(&self, e: ExprId) -> bool {
        match self.node(e) {
            Node::Bytes(set) => set.intersection(&super::ByteSet::range(0x80, 0xFF)).is_empty(),
            Node::Concat(first, _) => matches!(self.node(*first), Node::Bytes(lead) if lead.ascii() == 0),
            _ => false,
        }
    }
}
