//! Expressions made of others, brought into one form so that what is equal has one id more often.

use smallvec::SmallVec;

use super::byteset::ByteSet;
use super::expr::{ExprId, Node, Slice, Table, TableId, UNBOUNDED};
use super::store::{EMPTY, EPS, Store};
use crate::vocab::Vocabulary;

impl Store {
    /// Whether the vocabulary can write every character.
    pub(crate) fn writes_all(&self) -> bool {
        self.alphabet.is_none()
    }

    /// Whether the vocabulary can write a character.
    pub(crate) fn writes(&self, c: char) -> bool {
        let within = |ranges: &Vec<(char, char)>| {
            let at = ranges.partition_point(|&(_, hi)| hi < c);
            ranges.get(at).is_some_and(|&(lo, _)| lo <= c)
        };
        self.alphabet.as_ref().is_none_or(within)
    }

    fn writes_text(&self, text: &[u8]) -> bool {
        self.alphabet.is_none()
            || std::str::from_utf8(&Vocabulary::without_special(text))
                .is_ok_and(|text| text.chars().all(|c| self.writes(c)))
    }

    /// One byte of a set; ASCII ones only if the vocabulary can write them.
    pub fn byte_set(&self, mut set: ByteSet) -> ExprId {
        if self.alphabet.is_some() {
            let written: Vec<u8> = set
                .ranges()
                .flat_map(|(lo, hi)| lo..=hi)
                .filter(|&b| b >= 0x80 || self.writes(char::from(b)))
                .collect();
            set = ByteSet::of(&written);
        }
        if set.is_empty() { EMPTY } else { self.intern(Node::Bytes(set)) }
    }

    /// One byte.
    pub fn byte(&self, b: u8) -> ExprId {
        self.byte_set(ByteSet::of(&[b]))
    }

    /// One character of the given ranges, as UTF-8; surrogates cannot be named by a `char`.
    pub fn char_class(&self, ranges: &[(char, char)]) -> ExprId {
        let mut single = ByteSet::EMPTY;
        // Sequences that differ in their first byte only are one, so that a state has few edges.
        let mut longer: indexmap::IndexMap<Vec<(u8, u8)>, ByteSet> = indexmap::IndexMap::new();
        let written: Vec<(char, char)> = match &self.alphabet {
            None => ranges.to_vec(),
            Some(alphabet) => {
                let meet = |&(lo, hi): &(char, char)| {
                    let from = alphabet.partition_point(|&(_, last)| last < lo);
                    let part = alphabet[from..].iter().take_while(move |&&(first, _)| first <= hi);
                    part.map(move |&(first, last)| (first.max(lo), last.min(hi))).collect::<Vec<_>>()
                };
                ranges.iter().flat_map(meet).collect()
            }
        };
        for &(lo, hi) in &written {
            for sequence in regex_syntax::utf8::Utf8Sequences::new(lo, hi) {
                let parts: Vec<_> = sequence.as_slice().iter().map(|r| (r.start, r.end)).collect();
                let first = ByteSet::range(parts[0].0, parts[0].1);
                if parts.len() == 1 {
                    single = single.union(&first);
                } else {
                    let set = longer.entry(parts[1..].to_vec()).or_default();
                    *set = set.union(&first);
                }
            }
        }
        let mut options = vec![self.byte_set(single)];
        for (rest, first) in longer {
            let tail =
                rest.iter().rev().fold(EPS, |tail, &(lo, hi)| self.concat(self.byte_set(ByteSet::range(lo, hi)), tail));
            options.push(self.concat(self.byte_set(first), tail));
        }
        self.union(options)
    }

    /// A fixed text.
    pub fn literal(&self, text: &[u8]) -> ExprId {
        self.literal_then(text, EPS)
    }

    /// What is written for a text in which names of special tokens stand for them, and how much of it the shortest part takes
    /// that covers `least` bytes of the text.
    pub(crate) fn written(&self, text: &[u8], least: usize) -> (Box<[u8]>, usize) {
        self.vocab.as_ref().map_or_else(|| (text.into(), least), |vocab| vocab.written(text, least))
    }

    /// A fixed text and then `tail`.
    pub fn literal_then(&self, text: &[u8], tail: ExprId) -> ExprId {
        if tail == EMPTY {
            return EMPTY;
        }
        match text {
            [] => tail,
            [b] => self.concat(self.byte(*b), tail),
            _ => self.switch(vec![(text.into(), tail)]),
        }
    }

    /// One of several fixed texts, each with its tail; the same text twice has the union of both tails.
    pub fn switch(&self, entries: Vec<(Box<[u8]>, ExprId)>) -> ExprId {
        match self.intern_table(entries) {
            Some((table, len)) => self.slice(Slice { table, lo: 0, hi: len, depth: 0 }),
            None => EMPTY,
        }
    }

    /// Any bytes except exactly one of these texts.
    pub fn except(&self, texts: impl IntoIterator<Item = Box<[u8]>>) -> ExprId {
        match self.intern_table(texts.into_iter().map(|text| (text, EPS)).collect()) {
            Some((table, len)) => self.intern(Node::Except(Slice { table, lo: 0, hi: len, depth: 0 })),
            None => self.all,
        }
    }

    fn intern_table(&self, mut entries: Vec<(Box<[u8]>, ExprId)>) -> Option<(TableId, u32)> {
        entries.retain(|(_, tail)| *tail != EMPTY);
        entries.retain(|(text, _)| self.writes_text(text));
        entries.sort();
        entries.dedup();
        let mut merged: Vec<(Box<[u8]>, ExprId)> = Vec::with_capacity(entries.len());
        for (text, tail) in entries {
            match merged.last_mut() {
                Some((last, old)) if *last == text => *old = self.union([*old, tail]),
                _ => merged.push((text, tail)),
            }
        }
        if merged.is_empty() {
            return None;
        }
        let len = merged.len() as u32;
        let heap: usize = merged.iter().map(|(text, _)| text.len() + 24).sum();
        let make = |table| {
            self.charge(heap + 48);
            table
        };
        let index = self.tables.intern(Table::new(merged.into(), Box::default()), |a, b| a == b, make);
        Some((TableId(index), len))
    }

    pub(crate) fn slice(&self, slice: Slice) -> ExprId {
        if slice.lo + 1 == slice.hi {
            let (text, tail) = &self.table(slice.table).entries[slice.lo as usize];
            match text.len() - slice.depth as usize {
                0 => return *tail,
                1 => return self.concat(self.byte(text[text.len() - 1]), *tail),
                _ => {}
            }
        }
        if slice.lo >= slice.hi { EMPTY } else { self.intern(Node::Switch(slice)) }
    }

    /// A table of different literals, each with its rank.
    pub(crate) fn ranked_table(&self, mut entries: Vec<(Box<[u8]>, ExprId, u32)>) -> Slice {
        entries.retain(|(text, ..)| self.writes_text(text));
        entries.sort_unstable();
        let hi = entries.len() as u32;
        self.charge(48 + entries.iter().map(|(text, ..)| text.len() + 28).sum::<usize>());
        let ranks = entries.iter().map(|e| e.2).collect();
        let entries = entries.into_iter().map(|(text, tail, _)| (text, tail)).collect();
        let table = TableId(self.tables.intern(Table::new(entries, ranks), |a, b| a == b, |table| table));
        Slice { table, lo: 0, hi, depth: 0 }
    }

    /// The literals of a slice with a rank from `from` and below `to`. What comes out is the same however wide the
    /// slice and the range were, and a plain slice where all of its literals are in.
    pub(crate) fn ranked(&self, slice: Slice, from: u32, to: u32) -> ExprId {
        let ranks = &self.table(slice.table).ranks[slice.lo as usize..slice.hi as usize];
        let inside = ranks.iter().enumerate().filter(|(_, rank)| (from..to).contains(*rank));
        let Some((first, _)) = inside.clone().next() else { return EMPTY };
        let (mut last, mut count, mut low, mut high) = (first, 0, u32::MAX, 0);
        for (at, &rank) in inside {
            (last, count, low, high) = (at, count + 1, low.min(rank), high.max(rank));
        }
        let part = Slice { lo: slice.lo + first as u32, hi: slice.lo + last as u32 + 1, ..slice };
        if count == last + 1 - first {
            return self.slice(part);
        }
        self.intern(Node::Ranked(part, low, high + 1))
    }

    /// One after the other.
    pub fn concat(&self, a: ExprId, b: ExprId) -> ExprId {
        match (a, b) {
            (EMPTY, _) | (_, EMPTY) => EMPTY,
            (EPS, e) | (e, EPS) => e,
            _ => match *self.node(a) {
                Node::Concat(first, rest) => {
                    let rest = self.concat(rest, b);
                    self.concat(first, rest)
                }
                _ => self.intern(Node::Concat(a, b)),
            },
        }
    }

    /// All of a list, one after the other.
    pub fn sequence(&self, parts: &[ExprId]) -> ExprId {
        parts.iter().rev().fold(EPS, |tail, &part| self.concat(part, tail))
    }

    /// Any of several.
    pub fn union(&self, parts: impl IntoIterator<Item = ExprId>) -> ExprId {
        let mut flat: SmallVec<[ExprId; 16]> = SmallVec::new();
        let mut bytes = ByteSet::EMPTY;
        for part in parts {
            match self.node(part) {
                Node::Empty => {}
                Node::Union(inner) => {
                    for &e in inner {
                        if let Node::Bytes(set) = self.node(e) { bytes = bytes.union(set) } else { flat.push(e) }
                    }
                }
                Node::Bytes(set) => bytes = bytes.union(set),
                _ => flat.push(part),
            }
        }
        if !bytes.is_empty() {
            flat.push(self.byte_set(bytes));
        }
        flat.sort_unstable();
        flat.dedup();
        // Alternatives that all begin by telling of the same thing tell of it once.
        if let [first, others @ ..] = &flat[..]
            && !others.is_empty()
            && let Some(mark) = self.mark(*first)
            && others.iter().all(|&e| self.mark(e) == Some(mark))
        {
            let rests: Vec<ExprId> = flat.iter().map(|&e| self.after_mark(e)).collect();
            let rest = self.union(rests);
            return self.marked(mark, rest);
        }
        if flat.len() > 1 {
            if flat.contains(&self.all) {
                return self.all;
            }
            if flat.contains(&self.any) {
                // What has no special tokens is valid UTF-8 from a character's start, so any text takes regular members in.
                let own = |e: ExprId| self.flags(e).calls() || self.flags(e).tokens();
                flat.retain(|e| *e == self.any || own(*e));
            }
            if flat.contains(&EPS) && flat.iter().any(|&e| e != EPS && self.nullable(e)) {
                flat.retain(|e| *e != EPS);
            }
        }
        match flat[..] {
            [] => EMPTY,
            [one] => one,
            _ => self.intern(Node::Union(flat.into_vec().into())),
        }
    }

    /// All of several regular expressions at once.
    pub fn inter(&self, parts: impl IntoIterator<Item = ExprId>) -> ExprId {
        let mut flat: Vec<ExprId> = Vec::new();
        for part in parts {
            match self.node(part) {
                Node::Empty => return EMPTY,
                Node::Inter(inner) => flat.extend_from_slice(inner),
                _ if part == self.all => {}
                _ => flat.push(part),
            }
        }
        flat.sort_unstable();
        flat.dedup();
        // What is built of characters alone is valid UTF-8 by itself.
        let text = |&e: &ExprId| e != self.any && !self.flags(e).bytes() && !self.flags(e).tokens();
        if flat.contains(&self.any) && flat.iter().any(text) {
            flat.retain(|&e| e != self.any);
        }
        if flat.len() > 1 && flat.contains(&EPS) {
            return if flat.iter().all(|&e| self.nullable(e)) { EPS } else { EMPTY };
        }
        let bare = |&e: &ExprId| self.unlabelled(e);
        if flat.len() > 1 && flat.iter().any(|e| bare(e) != *e) {
            return self.inter(flat.iter().map(bare).collect::<Vec<_>>());
        }
        // Members that are bytes or counted classes meet in closed form as rows are computed; nothing to do here.
        match flat[..] {
            [] => self.all,
            [one] => one,
            _ => self.intern(Node::Inter(flat.into())),
        }
    }

    /// Whatever a regular expression is not, over all byte strings.
    pub fn not(&self, e: ExprId) -> ExprId {
        match *self.node(e) {
            Node::Not(inner) => inner,
            _ => self.intern(Node::Not(e)),
        }
    }

    /// Between `min` and `max` times; `max` may be [`UNBOUNDED`].
    pub fn repeat(&self, body: ExprId, min: u32, max: u32) -> ExprId {
        if min > max {
            return EMPTY;
        }
        match (body, max) {
            (EMPTY, _) => return if min == 0 { EPS } else { EMPTY },
            (EPS, _) | (_, 0) => return EPS,
            (_, 1) => return if min == 1 { body } else { self.union([body, EPS]) },
            _ => {}
        }
        if let Node::Repeat { min: 0, max: UNBOUNDED, .. } = self.node(body) {
            return body;
        }
        let min = if self.nullable(body) { 0 } else { min };
        self.intern(Node::Repeat { body, min, max })
    }

    /// `e` or nothing.
    pub fn optional(&self, e: ExprId) -> ExprId {
        self.union([e, EPS])
    }
}
