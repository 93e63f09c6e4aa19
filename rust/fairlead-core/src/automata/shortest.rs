//! A short text that completes an expression: what it takes at least, more or less, to bring a text to its end.
//!
//! Texts are found from the structure of an expression, and by a breadth-first search through derivatives where there
//! are intersections, complements or bounds of length. They are not always the shortest ones: of the members of an object
//! the required ones are taken in order, of many literals a few are looked at.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use super::elements::ElementsState;
use super::expr::{ExprId, Mark, Node, RuleId, Slice};
use super::members::MembersState;
use super::store::{EMPTY, EPS, Store};
use super::text::Spelling;

/// Expressions that one question may look at, and bytes that its answer may have.
const FUEL: usize = 20_000;
const LONGEST: usize = 1 << 16;
/// Literals of a table that are looked at.
const SOME: usize = 4;

/// One question, with the rules that are open in it.
struct Question<'a> {
    store: &'a Store,
    open: Vec<RuleId>,
    busy: Vec<ExprId>,
    fuel: usize,
}

type Text = Option<Arc<[u8]>>;

fn join(parts: &[&[u8]]) -> Text {
    let whole = parts.concat();
    (whole.len() <= LONGEST).then(|| whole.into())
}

impl Store {
    /// A short text that completes an expression; `None` if none is found within a bound of steps and bytes.
    pub(crate) fn shortest(&self, e: ExprId) -> Text {
        self.short_texts.get(&e).unwrap_or_else(|| {
            let found = Question { store: self, open: Vec::new(), busy: Vec::new(), fuel: FUEL }.of(e);
            self.short_texts.insert(e, found)
        })
    }

    /// The same with a bound of its own; what isn't found within it isn't remembered.
    pub(super) fn shortest_within(&self, e: ExprId, fuel: usize) -> Text {
        let known = self.short_texts.get(&e).flatten();
        known.or_else(|| Question { store: self, open: Vec::new(), busy: Vec::new(), fuel }.of(e))
    }
}

impl Question<'_> {
    fn of(&mut self, e: ExprId) -> Text {
        if let Some(known) = self.store.short_texts.get(&e)
            && (known.is_some() || (self.open.is_empty() && self.busy.is_empty()))
        {
            return known;
        }
        self.fuel = self.fuel.checked_sub(1)?;
        let found = self.find(e);
        if found.is_some() {
            // What was found beside rules that are open is a text all the same.
            self.store.charge(48 + found.as_ref().map_or(0, |text| text.len()));
            self.store.short_texts.insert(e, found.clone());
        }
        found
    }

    fn find(&mut self, e: ExprId) -> Text {
        let store = self.store;
        if e == EMPTY {
            return None;
        }
        if store.nullable(e) {
            return Some([].into());
        }
        match store.node(e) {
            Node::Eps | Node::Final | Node::Mark(_) => Some([].into()),
            Node::Bytes(set) => set.ranges().next().map(|(lo, hi)| [b'0'.clamp(lo, hi)].into()),
            Node::Concat(a, b) => {
                let key = (store.mark(*b) == Some(Mark::Key))
                    .then(|| store.calls(*a))
                    .and_then(|calls| calls.first().copied());
                let a = match key {
                    // A free key that an object hardly has.
                    Some((rule, _)) if store.names_freely(store.body(rule)) => (*b"\"x0\"").into(),
                    _ => self.of(*a)?,
                };
                let b = self.of(*b)?;
                join(&[&a, &b])
            }
            Node::Union(parts) => parts.iter().filter_map(|&part| self.of(part)).min_by_key(|text| text.len()),
            Node::Repeat { body, min, .. } => {
                let once = self.of(*body)?;
                (once.len().saturating_mul(*min as usize) <= LONGEST).then(|| once.repeat(*min as usize).into())
            }
            Node::Call(rule) => self.call(*rule),
            Node::Timed { body, .. } => self.of(*body),
            Node::Switch(slice) => self.literal(*slice, None),
            Node::Ranked(slice, from, to) => self.literal(*slice, Some((*from, *to))),
            Node::Text(state) if state.spelling == Spelling::Raw && state.content == store.any => {
                (state.lo as usize <= LONGEST).then(|| [vec![b'0'; state.lo as usize], vec![b'"']].concat().into())
            }
            Node::Members(state) => self.members(state),
            Node::Value(rule, rest) => {
                let colon = self.of(store.body(store.after_key(*rule, rest)))?;
                let rest = self.members(rest)?;
                join(&[&colon, &rest])
            }
            Node::Elements(state) => self.elements(state),
            Node::Label(label) => label.rest().map(Into::into),
            Node::Counted(_) | Node::Distinct(_) => {
                // An item that counts for nothing leads back to the same state.
                if self.busy.contains(&e) {
                    return None;
                }
                self.busy.push(e);
                let found = self.of(store.unfold(e));
                self.busy.pop();
                found
            }
            Node::Empty | Node::Text(_) | Node::Number(_) | Node::Inter(_) | Node::Not(_) | Node::Except(_) => {
                self.search(e)
            }
        }
    }

    /// A rule's text, which isn't empty.
    fn call(&mut self, rule: RuleId) -> Text {
        if self.open.contains(&rule) {
            return None;
        }
        let store = self.store;
        let body = store.body(rule);
        self.open.push(rule);
        let found = if store.nullable(body) {
            let bytes: Vec<_> = store.row(body).edges.iter().filter(|edge| store.alive(edge.to)).copied().collect();
            let own = bytes.iter().filter_map(|edge| {
                let rest = self.of(edge.to)?;
                join(&[&[b'0'.clamp(edge.lo, edge.hi)], &rest])
            });
            let own = own.min_by_key(|text| text.len());
            let calls = store.calls(body).into_iter().filter_map(|(rule, rest)| {
                let (text, rest) = (self.call(rule)?, self.of(rest)?);
                join(&[&text, &rest])
            });
            own.into_iter().chain(calls.min_by_key(|text| text.len())).min_by_key(|text| text.len())
        } else {
            self.of(body)
        };
        self.open.pop();
        found
    }

    /// One of the literals of a slice, with what follows it: of those with a rank the last, after which the least is
    /// left, of others one of the shortest.
    fn literal(&mut self, slice: Slice, ranks: Option<(u32, u32)>) -> Text {
        let table = self.store.table(slice.table);
        let mut at: Vec<u32> = (slice.lo..slice.hi).collect();
        if let Some((from, to)) = ranks {
            at.retain(|&i| (from..to).contains(&table.ranks[i as usize]));
        }
        if table.ranks.is_empty() {
            at.sort_by_key(|&i| table.entries[i as usize].0.len());
        } else {
            at.sort_by_key(|&i| std::cmp::Reverse(table.ranks[i as usize]));
        }
        let texts = at.into_iter().take(SOME).filter_map(|i| {
            let (text, tail) = &table.entries[i as usize];
            let tail = self.of(*tail)?;
            join(&[&text[slice.depth as usize..], &tail])
        });
        texts.min_by_key(|text| text.len())
    }

    fn members(&mut self, state: &MembersState) -> Text {
        let store = self.store;
        let missing = store.members_missing(state)?;
        let layout = &missing.layout;
        let mut out = Vec::new();
        let mut first = missing.first;
        for (key, value) in &missing.members {
            if !first {
                out.extend_from_slice(&self.of(layout.before_comma)?);
                out.push(b',');
            }
            out.extend_from_slice(&self.of(if first { layout.open } else { layout.after_comma })?);
            first = false;
            match key {
                Key::Spelled(key) => out.extend_from_slice(key),
                Key::Any(key) => out.extend_from_slice(&self.of(*key)?),
            }
            out.extend_from_slice(&self.of(layout.before_colon)?);
            out.push(b':');
            out.extend_from_slice(&self.of(layout.after_colon)?);
            out.extend_from_slice(&self.value(*value)?);
            if out.len() > LONGEST {
                return None;
            }
        }
        out.extend_from_slice(&self.of(if first { layout.empty } else { layout.close })?);
        out.push(b'}');
        Some(out.into())
    }

    fn elements(&mut self, state: &ElementsState) -> Text {
        let store = self.store;
        let (layout, items) = store.elements_missing(state)?;
        let mut out = Vec::new();
        let mut first = state.is_first();
        for item in items {
            if !first {
                out.extend_from_slice(&self.of(layout.before_comma)?);
                out.push(b',');
            }
            out.extend_from_slice(&self.of(if first { layout.open } else { layout.after_comma })?);
            first = false;
            out.extend_from_slice(&self.value(item)?);
            if out.len() > LONGEST {
                return None;
            }
        }
        out.extend_from_slice(&self.of(if first { layout.empty } else { layout.close })?);
        out.push(b']');
        Some(out.into())
    }

    fn value(&mut self, rule: RuleId) -> Text {
        let body = self.store.body(rule);
        if self.open.contains(&rule) {
            return None;
        }
        self.open.push(rule);
        let found = self.of(body);
        self.open.pop();
        found
    }

    /// The rest of a string of which a label has begun, which has too many texts to look at each.
    fn labelled(&mut self, e: ExprId) -> Option<Vec<u8>> {
        let Node::Text(state) = self.store.node(e) else { return None };
        if state.spelling != Spelling::Raw || !self.store.begins_label(e) {
            return None;
        }
        let mut text = self.of(state.content)?.to_vec();
        text.push(b'"');
        // Other contents may have characters that are escaped.
        (text.iter().fold(e, |e, &b| self.store.after_byte(e, b)) == EPS).then_some(text)
    }

    /// The shortest text of what is regular, by a breadth-first search.
    fn search(&mut self, e: ExprId) -> Text {
        let store = self.store;
        if store.flags(e).calls() {
            return None;
        }
        let mut from: HashMap<ExprId, (ExprId, u8)> = HashMap::new();
        let mut seen: HashSet<ExprId> = HashSet::new();
        seen.insert(e);
        let mut level = vec![e];
        while !level.is_empty() {
            let mut next = Vec::new();
            for state in level {
                self.fuel = self.fuel.checked_sub(1)?;
                let labelled = self.labelled(state);
                if labelled.is_some() || store.nullable(state) || store.flags(state).ends() {
                    let mut text: Vec<u8> = labelled.into_iter().flatten().rev().collect();
                    let mut at = state;
                    while let Some(&(before, byte)) = from.get(&at) {
                        text.push(byte);
                        at = before;
                    }
                    text.reverse();
                    return Some(text.into());
                }
                for edge in store.row(state).edges.iter().filter(|edge| store.alive(edge.to)) {
                    if seen.insert(edge.to) {
                        from.insert(edge.to, (state, b'0'.clamp(edge.lo, edge.hi)));
                        next.push(edge.to);
                    }
                }
            }
            level = next;
        }
        None
    }
}

/// The members that an object lacks, as a short text would write them.
#[derive(Debug)]
pub(super) struct Missing {
    pub(super) layout: super::members::Layout,
    pub(super) first: bool,
    /// Keys with the rules of their values.
    pub(super) members: Vec<(Key, RuleId)>,
}

/// A key of such a text.
#[derive(Debug)]
pub(super) enum Key {
    /// As it is spelled, quotes included.
    Spelled(Box<[u8]>),
    /// Any that matches.
    Any(ExprId),
}

/// So many members or items that count for nothing else are written out at most.
pub(super) const MOST_EXTRA: u32 = 4096;
