//! Which texts a frame certainly takes without ending: what lets a walk take in whole subtries at once.

use foldhash::fast::FixedState;
use hashbrown::HashSet;

use super::expr::{ExprId, Node, Slice, UNBOUNDED};
use super::store::{EPS, Store};
use super::text::{Spelling, TextState};
use crate::vocab::{CUT, KINDS};

/// From this frame, any text of these characters, up to so many of them, can still be completed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Bulk {
    /// ASCII characters.
    pub(crate) ascii: u128,
    /// The kinds of other characters, of all of which that holds, and [`CUT`] if one may be left unfinished.
    pub(crate) beyond: u8,
    /// How many characters; `u32::MAX` without bound.
    pub(crate) chars: u32,
    /// Whether each of them leads back to the frame itself.
    pub(crate) loops: bool,
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
const ALL_KINDS: u8 = KINDS[0].0 | KINDS[1].0 | KINDS[2].0;
/// The kind that every unfinished character can become one of.
const LARGEST: u8 = KINDS[2].0;
/// What JSON lets stand for itself inside a string.
const PLAIN: u128 = !0xFFFF_FFFF & !(1 << b'"') & !(1 << b'\\');

impl Store {
    /// The bulk of a frame, if it has one worth looking at.
    pub(crate) fn bulk(&self, e: ExprId) -> Option<Bulk> {
        match self.node(e) {
            _ if self.flags(e).labels() => None,
            Node::Text(state) => *self.frame(e).bulk.get_or_init(|| self.text_bulk(state)),
            Node::Repeat { .. } | Node::Concat(..) | Node::Union(_) | Node::Inter(_) => {
                *self.frame(e).bulk.get_or_init(|| {
                    let loops = self.self_loops(e).filter(|(ascii, _)| ascii.count_ones() >= 8);
                    let bulk = match loops {
                        Some((ascii, beyond)) => Bulk { ascii, beyond, chars: UNBOUNDED, loops: true },
                        None => self.loop_class(e)?,
                    };
                    (bulk.chars >= 8 && bulk.ascii.count_ones() >= 8).then_some(bulk)
                })
            }
            _ => None,
        }
    }

    /// For a frame that goes on with one and the same loop after most characters: what is certain of texts that begin with
    /// a character beyond ASCII.
    pub(crate) fn bulk_behind(&self, e: ExprId) -> Option<Bulk> {
        let ascii = self.row(e).edges.iter().filter(|edge| edge.hi < 0x80);
        let behind = ascii.max_by_key(|edge| edge.hi - edge.lo)?.to;
        let bulk = self.bulk(behind).filter(|bulk| bulk.loops && bulk.beyond != 0)?;
        let beyond = bulk.beyond & self.kinds_beyond(e, behind);
        (beyond != 0).then_some(Bulk { beyond, ..bulk })
    }

    /// Whether the rest of a string begins with characters that it may have more or less of, and takes no more for it.
    pub(crate) fn is_steady_text(&self, e: ExprId) -> bool {
        let Node::Text(state) = self.node(e) else { return false };
        state.content == self.any
            || match self.node(state.content) {
                Node::Repeat { .. } => true,
                Node::Concat(first, _) => matches!(self.node(*first), Node::Repeat { .. }),
                _ => false,
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
                Node::Inter(parts)
                    if parts.iter().all(|&p| p == self.any || matches!(self.node(p), Node::Except(_))) =>
                {
                    true
                }
                // What is not to be matched has no text with some character: one more of it, and all is well.
                Node::Inter(parts) if self.spares_a_char(parts) => true,
                // Substrings to be found, patterns not to be matched.
                Node::Inter(_) => self.takes_any.get(&content).unwrap_or_else(|| self.never_stuck(content)),
                _ => false,
            }
    }

    /// Whether some strings are any but those of languages in none of which a certain character occurs.
    fn spares_a_char(&self, parts: &[ExprId]) -> bool {
        const MOST: usize = 400;
        let (mut left, mut used) = (MOST, 0);
        let fine = parts.iter().all(|&part| match self.node(part) {
            _ if part == self.any => true,
            Node::Except(_) => true,
            Node::Not(inner) => self.add_ascii(*inner, &mut used, &mut left),
            _ => false,
        });
        fine && self.writes_all() && PLAIN & !used & !(1 << 0x7F) != 0
    }

    /// Adds the ASCII characters that occur in an expression; `false` if it is too large, or of another kind.
    fn add_ascii(&self, e: ExprId, used: &mut u128, left: &mut usize) -> bool {
        *left = left.saturating_sub(1);
        *left > 0
            && match self.node(e) {
                Node::Empty | Node::Eps => true,
                Node::Bytes(set) => {
                    *used |= set.ascii();
                    true
                }
                Node::Concat(a, b) => self.add_ascii(*a, used, left) && self.add_ascii(*b, used, left),
                Node::Union(parts) => parts.iter().all(|&part| self.add_ascii(part, used, left)),
                Node::Repeat { body, .. } => self.add_ascii(*body, used, left),
                _ => false,
            }
    }

    /// Whether characters of any kind lead on from all states, as far as a search of few states can tell.
    fn never_stuck(&self, content: ExprId) -> bool {
        const FEW: usize = 160;
        // States of one more character, and of the content.
        let mut found = vec![(self.scalar, content)];
        let mut known: HashSet<(ExprId, ExprId), FixedState> = found.iter().copied().collect();
        let mut at = 0;
        while let Some(&(scalar, state)) = found.get(at) {
            at += 1;
            for edge in &self.row(scalar).edges {
                let mut next = u16::from(edge.lo);
                for to in self.row(state).edges.iter().filter(|to| to.hi >= edge.lo && to.lo <= edge.hi) {
                    if u16::from(to.lo) > next || !self.alive(to.to) {
                        break;
                    }
                    next = u16::from(to.hi) + 1;
                    let pair = (if edge.to == EPS { self.scalar } else { edge.to }, to.to);
                    if known.insert(pair) {
                        found.push(pair);
                    }
                }
                if next <= u16::from(edge.hi) || found.len() > FEW {
                    return self.takes_any.insert(content, false);
                }
            }
        }
        for (_, state) in found.into_iter().filter(|&(scalar, _)| scalar == self.scalar) {
            self.takes_any.insert(state, true);
        }
        true
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
            return Some(Bulk { ascii: PLAIN, beyond: self.with_cut(ALL_KINDS), chars: state.hi, loops: false });
        }
        if state.hi == UNBOUNDED
            && let Some((ascii, beyond)) = self.self_loops(state.content)
            && ascii.count_ones() >= 8
        {
            return Some(Bulk { ascii: ascii & PLAIN, beyond, chars: UNBOUNDED, loops: false });
        }
        let class = self.loop_class(state.content)?;
        let chars = if state.hi == UNBOUNDED {
            class.chars
        } else {
            // After the loop the rest must still fit.
            class.chars.min(state.hi.checked_sub(self.loop_rest(state.content)?)?)
        };
        Some(Bulk { ascii: class.ascii & PLAIN, beyond: class.beyond, chars, loops: false })
    }

    /// The characters after which the same residual remains: ASCII ones, and kinds of others.
    fn self_loops(&self, e: ExprId) -> Option<(u128, u8)> {
        let mut ascii = 0u128;
        for edge in self.row(e).edges.iter().filter(|edge| edge.to == e && edge.lo < 0x80) {
            for b in edge.lo..=edge.hi.min(0x7F) {
                ascii |= 1 << b;
            }
        }
        (ascii != 0).then(|| (ascii, self.kinds_beyond(e, e)))
    }

    /// The kinds of characters beyond ASCII that all lead from `at` to `home`.
    fn kinds_beyond(&self, at: ExprId, home: ExprId) -> u8 {
        if self.row(at).edges.last().is_none_or(|edge| edge.hi < 0x80) {
            return 0;
        }
        let leads = |i: usize| self.loops_beyond(self.kinds[i], at, home, 0) == Beyond::All;
        self.with_cut(KINDS.iter().enumerate().filter(|&(i, _)| leads(i)).fold(0, |all, (_, (kind, _))| all | kind))
    }

    /// Kinds of characters, and whether one of them may be left unfinished: it is, unless the vocabulary lacks characters.
    fn with_cut(&self, kinds: u8) -> u8 {
        if kinds & LARGEST != 0 && self.writes_all() { kinds | CUT } else { kinds }
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
                Some(Bulk { ascii, beyond, chars: *max, loops: false })
            }
            Node::Concat(first, _) => self.loop_class(*first),
            Node::Union(parts) => {
                let classes = parts.iter().filter_map(|&p| self.loop_class(p));
                classes.max_by_key(|b| (b.beyond.count_ones(), b.ascii.count_ones(), b.chars))
            }
            _ if self.takes_any_prefix(e) => {
                Some(Bulk { ascii: ALL_ASCII, beyond: self.with_cut(ALL_KINDS), chars: UNBOUNDED, loops: false })
            }
            _ => None,
        }
    }

    /// The ASCII characters of a class of single characters, and the kinds of others that it has.
    fn class_of(&self, body: ExprId) -> Option<(u128, u8)> {
        match self.node(body) {
            Node::Bytes(set) => {
                set.intersection(&super::ByteSet::range(0x80, 0xFF)).is_empty().then(|| (set.ascii(), 0))
            }
            Node::Union(parts) => {
                let single = parts.iter().find_map(|&p| match self.node(p) {
                    Node::Bytes(set) => Some(set.ascii()),
                    _ => None,
                });
                let plain = parts.iter().all(|&p| self.is_char(p));
                plain.then(|| (single.unwrap_or(0), self.kinds_beyond(body, EPS)))
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
