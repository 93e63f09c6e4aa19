//! Derivatives: where each byte leads, computed for all bytes at once and remembered.

use std::sync::atomic::Ordering;

use smallvec::{SmallVec, smallvec};

use super::bulk::FreeText;
use super::expr::{ExprId, Node, Slice, Slot, one_less};
use super::store::{EMPTY, EPS, Store};
use super::text::Spelling;

/// So many bytes are looked up in a table of literals before its row is made.
const OFTEN: u8 = 6;

/// Bytes from `lo` to `hi` lead to `to`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Edge<T> {
    pub(crate) lo: u8,
    pub(crate) hi: u8,
    pub(crate) to: T,
}

/// A partial map from bytes, as sorted ranges.
#[derive(Debug)]
pub(crate) struct ByteMap<T> {
    pub(crate) edges: Box<[Edge<T>]>,
}

/// The derivatives of an expression by each byte; dead bytes have no edge.
pub(crate) type Row = ByteMap<ExprId>;

impl<T: Copy + PartialEq> ByteMap<T> {
    pub(crate) fn new(mut edges: Vec<Edge<T>>) -> Self {
        if !edges.is_sorted_by_key(|e| e.lo) {
            edges.sort_unstable_by_key(|e| e.lo);
        }
        edges.dedup_by(|next, last| {
            let adjoins = last.to == next.to && u16::from(last.hi) + 1 == u16::from(next.lo);
            if adjoins {
                last.hi = next.hi;
            }
            adjoins
        });
        Self { edges: edges.into() }
    }

    /// Where `b` leads.
    #[inline]
    pub(crate) fn get(&self, b: u8) -> Option<T> {
        let at = self.edges.partition_point(|e| e.hi < b);
        self.edges.get(at).filter(|e| e.lo <= b).map(|e| e.to)
    }
}

/// Splits several maps at all their boundaries; calls `each` with the range and what each map has there.
pub(crate) fn overlay<T: Copy>(maps: &[&[Edge<T>]], mut each: impl FnMut(u8, u8, &[Option<T>])) {
    if let [map] = maps {
        // Nothing to split; the gaps are told too.
        let mut next = 0u16;
        for edge in *map {
            if u16::from(edge.lo) > next {
                each(next as u8, edge.lo - 1, &[None]);
            }
            each(edge.lo, edge.hi, &[Some(edge.to)]);
            next = u16::from(edge.hi) + 1;
        }
        if next < 256 {
            each(next as u8, 0xFF, &[None]);
        }
        return;
    }
    let mut cuts: SmallVec<[u16; 64]> = smallvec![0, 256];
    for map in maps {
        for edge in *map {
            cuts.push(u16::from(edge.lo));
            cuts.push(u16::from(edge.hi) + 1);
        }
    }
    cuts.sort_unstable();
    cuts.dedup();
    let mut at: SmallVec<[usize; 4]> = smallvec![0; maps.len()];
    let mut found: SmallVec<[Option<T>; 4]> = smallvec![None; maps.len()];
    for pair in cuts.windows(2) {
        let (lo, hi) = (pair[0] as u8, (pair[1] - 1) as u8);
        for (k, map) in maps.iter().enumerate() {
            while at[k] < map.len() && map[at[k]].hi < lo {
                at[k] += 1;
            }
            found[k] = map.get(at[k]).filter(|e| e.lo <= lo).map(|e| e.to);
        }
        each(lo, hi, &found);
    }
}

impl Store {
    /// The derivatives of an expression. Those of `BOOLEAN` expressions may be dead; callers ask [`Store::alive`].
    pub(crate) fn row(&self, e: ExprId) -> &Row {
        self.slot(e).row.get_or_init(|| {
            let row = ByteMap::new(self.derive(e));
            self.charge(16 + row.edges.len() * size_of::<Edge<ExprId>>());
            row
        })
    }

    /// Where one byte leads, for one text that is written rather than for all tokens: labels of host names and parts of so many
    /// tokens are asked for that byte alone, and tables of literals and strings of any characters the first few times, since
    /// most of their states are passed no more often.
    pub(crate) fn after(&self, e: ExprId, b: u8) -> Option<ExprId> {
        let slot = self.slot(e);
        if slot.flags.labels() && self.begins_label(e) {
            let to = self.after_byte(e, b);
            return (to != EMPTY).then_some(to);
        }
        if slot.flags.timed() && slot.row.get().is_none() {
            let to = self.after_timed(e, b);
            return (to != EMPTY).then_some(to);
        }
        let row = slot.row.get().or_else(|| Self::wears_out(slot).then(|| self.row(e)));
        if let Some(row) = row {
            return row.get(b);
        }
        let branch = |slice: Slice| self.table(slice.table).branch(slice, b);
        let to = match &slot.node {
            Node::Switch(slice) if self.table(slice.table).ended(*slice).is_none() => self.slice(branch(*slice)?),
            Node::Ranked(slice, from, to) => self.ranked(branch(*slice)?, *from, *to),
            Node::Text(state) if (0x20..0x80).contains(&b) && b != b'"' && b != b'\\' && self.writes_all() => {
                match self.as_free_text(e) {
                    Some(FreeText::But(slice)) => match branch(slice) {
                        Some(part) => self.all_but(part, state),
                        None => self.free_text,
                    },
                    _ if state.content == self.any && state.spelling == Spelling::Raw => self.fewer(state, 1),
                    _ => return self.row(e).get(b),
                }
            }
            _ => return self.row(e).get(b),
        };
        (to != EMPTY).then_some(to)
    }

    /// Counts the bytes written from a state; whether they are so many that its row is worth making.
    fn wears_out(slot: &Slot) -> bool {
        slot.stepped.fetch_add(1, Ordering::Relaxed) >= OFTEN
    }

    /// Where several bytes lead that stand for themselves in JSON strings, if the expression is one that they can only
    /// pass through: literals, a string of so many characters, or one of any text but some. No state in between is made.
    pub(crate) fn after_plain(&self, e: ExprId, bytes: &[u8]) -> Option<ExprId> {
        let through = |mut slice: Slice| {
            for &b in bytes {
                match self.table(slice.table).branch(slice, b) {
                    Some(part) => slice = part,
                    None => return None,
                }
            }
            Some(slice)
        };
        match self.node(e) {
            Node::Text(state) => match self.as_free_text(e) {
                Some(FreeText::Any) => Some(e),
                Some(FreeText::But(slice)) => {
                    Some(through(slice).map_or(self.free_text, |part| self.all_but(part, state)))
                }
                None if state.content == self.any && state.spelling == Spelling::Raw && self.writes_all() => {
                    Some(self.fewer(state, bytes.len() as u32))
                }
                None => None,
            },
            Node::Switch(slice) => {
                let table = self.table(slice.table);
                let ends = |(text, _): &(Box<[u8]>, ExprId)| text.len() < slice.depth as usize + bytes.len();
                if table.entries[slice.lo as usize..slice.hi as usize].iter().any(ends) {
                    return None;
                }
                Some(through(*slice).map_or(EMPTY, |part| self.slice(part)))
            }
            Node::Ranked(slice, from, to) => Some(through(*slice).map_or(EMPTY, |part| self.ranked(part, *from, *to))),
            _ => None,
        }
    }

    /// The derivative of an expression by one byte.
    pub(crate) fn step(&self, e: ExprId, b: u8) -> ExprId {
        self.row(e).get(b).unwrap_or(EMPTY)
    }

    fn derive(&self, e: ExprId) -> Vec<Edge<ExprId>> {
        match self.node(e) {
            Node::Empty | Node::Eps | Node::Final | Node::Call(_) | Node::Mark(_) => Vec::new(),
            Node::Bytes(set) => set.ranges().map(|(lo, hi)| Edge { lo, hi, to: EPS }).collect(),
            Node::Concat(a, b) => {
                let first = self.row(*a).edges.iter().map(|edge| Edge { to: self.concat(edge.to, *b), ..*edge });
                let first: Vec<_> = first.collect();
                if !self.nullable(*a) {
                    return first;
                }
                self.overlay_union(&[&first, &self.row(*b).edges])
            }
            Node::Union(parts) => {
                let rows: Vec<_> = parts.iter().map(|&p| &*self.row(p).edges).collect();
                self.overlay_union(&rows)
            }
            Node::Inter(parts) => {
                let rows: Vec<_> = parts.iter().map(|&p| &*self.row(p).edges).collect();
                let mut out = Vec::new();
                overlay(&rows, |lo, hi, found| {
                    if found.iter().all(Option::is_some) {
                        out.push(Edge { lo, hi, to: self.inter(found.iter().flatten().copied()) });
                    }
                });
                out.retain(|edge| edge.to != EMPTY);
                out
            }
            Node::Not(inner) => {
                let mut out = Vec::new();
                overlay(&[&self.row(*inner).edges], |lo, hi, found| {
                    out.push(Edge { lo, hi, to: found[0].map_or(self.all, |to| self.not(to)) });
                });
                out.retain(|edge| edge.to != EMPTY);
                out
            }
            Node::Repeat { body, min, max } => {
                let (body, max) = (*body, *max);
                let rest = self.repeat(body, min.saturating_sub(1), one_less(max));
                self.row(body).edges.iter().map(|edge| Edge { to: self.concat(edge.to, rest), ..*edge }).collect()
            }
            Node::Switch(slice) => {
                let table = self.table(slice.table);
                let branches: Vec<_> = table
                    .branches(*slice)
                    .into_iter()
                    .map(|(b, part)| Edge { lo: b, hi: b, to: self.slice(part) })
                    .collect();
                match table.ended(*slice) {
                    Some(tail) => self.overlay_union(&[&branches, &self.row(tail).edges]),
                    None => branches,
                }
            }
            // A literal that ends here would be the first of the slice; keys are quoted, so that none does.
            Node::Ranked(slice, from, to) => self
                .table(slice.table)
                .branches(*slice)
                .into_iter()
                .map(|(b, part)| Edge { lo: b, hi: b, to: self.ranked(part, *from, *to) })
                .filter(|edge| edge.to != EMPTY)
                .collect(),
            Node::Except(slice) => {
                let branches: Vec<_> = self
                    .table(slice.table)
                    .branches(*slice)
                    .into_iter()
                    .map(|(b, part)| Edge { lo: b, hi: b, to: self.intern(Node::Except(part)) })
                    .collect();
                let mut out = Vec::new();
                overlay(&[&branches], |lo, hi, found| out.push(Edge { lo, hi, to: found[0].unwrap_or(self.all) }));
                out
            }
            Node::Text(state) => self.derive_text(state),
            Node::Number(state) => self.derive_number(state),
            Node::Label(label) => self.derive_label(label),
            Node::Timed { body, left, .. } => self.derive_timed(*body, *left),
            Node::Members(_) | Node::Value(..) | Node::Elements(_) | Node::Counted(_) | Node::Distinct(_) => {
                self.row(self.unfold(e)).edges.to_vec()
            }
        }
    }

    fn overlay_union(&self, rows: &[&[Edge<ExprId>]]) -> Vec<Edge<ExprId>> {
        let mut out = Vec::new();
        overlay(rows, |lo, hi, found| {
            let to = self.union(found.iter().flatten().copied());
            if to != EMPTY {
                out.push(Edge { lo, hi, to });
            }
        });
        out
    }

    /// Whether some text completes an expression: at once for most, by a search through the derivatives of those
    /// with intersections or complements.
    pub(crate) fn alive(&self, e: ExprId) -> bool {
        self.alive_within(e, usize::MAX).unwrap_or(true)
    }

    /// [`Store::alive`] within a number of states; `None` when they don't suffice.
    pub(crate) fn alive_within(&self, e: ExprId, max_states: usize) -> Option<bool> {
        if !self.flags(e).boolean() {
            return Some(e != EMPTY);
        }
        match self.slot(e).alive.load(Ordering::Relaxed) {
            1 => return Some(true),
            2 => return Some(false),
            _ => {}
        }
        let plain = self.untimed(e);
        if plain != e {
            let found = self.alive_within(plain, max_states);
            if let Some(alive) = found {
                self.slot(e).alive.store(if alive { 1 } else { 2 }, Ordering::Relaxed);
            }
            return found;
        }
        let boolean = matches!(self.node(e), Node::Inter(_) | Node::Not(_));
        if self.flags(e).calls() || (self.flags(e).labels() && !boolean) {
            return self.parts_alive(e, max_states);
        }
        let mut from: indexmap::IndexMap<ExprId, usize> = indexmap::IndexMap::new();
        from.insert(e, 0);
        let mut todo = vec![0usize];
        let mut goal = None;
        while let Some(at) = todo.pop() {
            let state = *from.get_index(at)?.0;
            let known = self.slot(state).alive.load(Ordering::Relaxed);
            let flags = self.flags(state);
            if flags.nullable() || flags.ends() || known == 1 || (!self.flags(state).boolean() && state != EMPTY) {
                goal = Some(at);
                break;
            }
            if known == 2 {
                continue;
            }
            if from.len() > max_states {
                return None;
            }
            for edge in &self.row(state).edges {
                let (index, old) = from.insert_full(edge.to, at);
                if old.is_none() {
                    todo.push(index);
                } else if let Some((_, parent)) = from.get_index_mut(index) {
                    *parent = old.unwrap_or(at);
                }
            }
        }
        if let Some(mut at) = goal {
            loop {
                let (state, parent) = from.get_index(at)?;
                self.slot(*state).alive.store(1, Ordering::Relaxed);
                if at == *parent || at == 0 {
                    return Some(true);
                }
                at = *parent;
            }
        }
        for state in from.keys() {
            self.slot(*state).alive.store(2, Ordering::Relaxed);
        }
        Some(false)
    }

    /// [`Store::alive_within`] for what is put together of calls and of regular parts: rules that nothing completes are
    /// never called, so that only the latter may be dead.
    fn parts_alive(&self, e: ExprId, max_states: usize) -> Option<bool> {
        let any = |parts: &mut dyn Iterator<Item = ExprId>| {
            let mut found = Some(false);
            for part in parts {
                match self.alive_within(part, max_states) {
                    Some(true) => return Some(true),
                    Some(false) => {}
                    None => found = None,
                }
            }
            found
        };
        let found = match self.node(e) {
            Node::Concat(a, b) => match self.alive_within(*a, max_states) {
                Some(true) => self.alive_within(*b, max_states),
                dead_or_unknown => dead_or_unknown,
            },
            Node::Union(parts) => any(&mut parts.iter().copied()),
            Node::Switch(slice) => {
                let entries = &self.table(slice.table).entries[slice.lo as usize..slice.hi as usize];
                any(&mut entries.iter().map(|(_, tail)| *tail))
            }
            Node::Repeat { body, min, .. } if *min > 0 => self.alive_within(*body, max_states),
            _ => Some(true),
        };
        if let Some(alive) = found {
            self.slot(e).alive.store(if alive { 1 } else { 2 }, Ordering::Relaxed);
        }
        found
    }

    /// All words of a regular expression if there are at most `most`, in no particular order.
    ///
    /// Every live path ends in a word of its own, so that either the paths become too many or they all come to an end.
    pub(crate) fn few_words(&self, e: ExprId, most: usize) -> Option<Vec<Vec<u8>>> {
        // What takes any text as a beginning has no end of words.
        if self.takes_any_prefix(e) {
            return None;
        }
        let mut words = Vec::new();
        let mut paths = vec![(Vec::new(), e)];
        while !paths.is_empty() {
            let mut next = Vec::new();
            for (word, state) in paths {
                if self.nullable(state) {
                    words.push(word.clone());
                }
                let edges = || self.row(state).edges.iter().filter(|edge| self.alive(edge.to));
                let many: usize = edges().map(|edge| usize::from(edge.hi - edge.lo) + 1).sum();
                if words.len() + next.len() + many > most {
                    return None;
                }
                for edge in edges() {
                    for b in edge.lo..=edge.hi {
                        let mut longer = word.clone();
                        longer.push(b);
                        next.push((longer, edge.to));
                    }
                }
            }
            if words.len() + next.len() > most {
                return None;
            }
            paths = next;
        }
        Some(words)
    }
}
