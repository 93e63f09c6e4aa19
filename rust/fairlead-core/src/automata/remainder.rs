//! How much it takes at most to complete a string, whatever of it is written first: told by its structure or, where that
//! says nothing, by the states of its content, if these are few.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use foldhash::fast::FixedState;
use indexmap::IndexMap;

use super::expr::{ExprId, Node};
use super::store::Store;

/// Parts of a pattern that are looked at, and states.
const MOST_PARTS: usize = 2000;
const MOST_STATES: usize = 512;
/// Bytes that a character takes at most, spelled with an escape.
const ESCAPED: u32 = 6;
/// Bytes that it takes at most to write on from a text that is excluded to one that isn't.
const BESIDE: u32 = 8;
/// Bytes that complete the spelling of a character and the string: a pair of surrogates and the quote.
const CLOSING: u32 = 13;

/// What a text takes inside of a string.
fn spelled(text: &[u8]) -> u32 {
    let byte = |&b: &u8| if b < 0x20 || b == b'"' || b == b'\\' { ESCAPED } else { 1 };
    text.iter().map(byte).sum()
}

impl Store {
    /// A bound on the bytes that complete the rest of a JSON string after any of its beginnings; `None` where that isn't
    /// told.
    pub(crate) fn string_remainder(&self, e: ExprId) -> Option<u32> {
        let Node::Text(state) = self.node(e) else { return None };
        if !self.writes_all() || self.flags(e).labels() {
            return None;
        }
        let content = if let Some(content) = self.remainder_of_any(state.content) {
            content.saturating_add(state.lo)
        } else {
            // A text that is too short goes on as one that is long enough does, and is completed from there.
            let content = self.remainder(state.content).or_else(|| self.remainder_of_states(state.content))?;
            content.saturating_add(state.lo.saturating_mul(ESCAPED))
        };
        Some(content.saturating_add(CLOSING))
    }

    /// The same for contents that every text is a beginning of.
    fn remainder_of_any(&self, content: ExprId) -> Option<u32> {
        if !self.takes_any_prefix(content) {
            return None;
        }
        match self.node(content) {
            Node::Concat(_, rest) => self.spelled(*rest),
            // Whichever part takes everything can be completed.
            Node::Union(parts) => parts.iter().filter_map(|&part| self.remainder_of_any(part)).min(),
            Node::Except(_) | Node::Inter(_) => Some(BESIDE),
            _ => Some(0),
        }
    }

    /// What a short text of an expression takes inside of a string.
    fn spelled(&self, e: ExprId) -> Option<u32> {
        self.shortest(e).map(|text| spelled(&text))
    }

    /// A bound on what completes any residual of a regular expression.
    fn remainder(&self, e: ExprId) -> Option<u32> {
        let (mut most, mut parts) = (0, 0);
        // Expressions, each with what completes what follows it.
        let mut open = vec![(e, 0u32)];
        while let Some((e, after)) = open.pop() {
            parts += 1;
            if parts > MOST_PARTS {
                return None;
            }
            match self.node(e) {
                Node::Empty => {}
                Node::Eps | Node::Bytes(_) => most = most.max(after),
                Node::Concat(a, b) => open.extend([(*a, after.saturating_add(self.spelled(*b)?)), (*b, after)]),
                Node::Switch(slice) if slice.hi - slice.lo < MOST_PARTS as u32 => {
                    let table = self.table(slice.table);
                    for (text, tail) in &table.entries[slice.lo as usize..slice.hi as usize] {
                        let rest = spelled(&text[slice.depth as usize..]).saturating_add(self.spelled(*tail)?);
                        most = most.max(after.saturating_add(rest));
                        open.push((*tail, after));
                    }
                }
                Node::Union(all) => open.extend(all.iter().map(|&part| (part, after))),
                Node::Repeat { body, min, .. } => {
                    let others = self.spelled(*body)?.saturating_mul(min.saturating_sub(1));
                    open.push((*body, after.saturating_add(others)));
                }
                _ => return None,
            }
        }
        Some(most)
    }

    /// The same by a search of all residuals, which all have the bound that is found.
    fn remainder_of_states(&self, content: ExprId) -> Option<u32> {
        if let Some(known) = self.remainders.get(&content) {
            return known;
        }
        let mut states: IndexMap<ExprId, u32, FixedState> = IndexMap::default();
        states.insert(content, u32::MAX);
        // The edges that lead to a state, backwards.
        let mut into: Vec<Vec<(usize, u32)>> = vec![Vec::new()];
        let mut at = 0;
        while let Some((&state, _)) = states.get_index(at).filter(|_| states.len() <= MOST_STATES) {
            for edge in &self.row(state).edges {
                let (to, _) = states.insert_full(edge.to, u32::MAX);
                into.resize(states.len(), Vec::new());
                into[to].push((at, spelled(&[b'0'.clamp(edge.lo, edge.hi)])));
            }
            at += 1;
        }
        let all = at == states.len();
        if all {
            let mut open: BinaryHeap<_> = (0..at)
                .filter(|&i| self.nullable(states.get_index(i).map_or(content, |(&e, _)| e)))
                .map(|i| Reverse((0, i)))
                .collect();
            while let Some(Reverse((takes, state))) = open.pop() {
                if takes < states[state] {
                    states[state] = takes;
                    open.extend(into[state].iter().map(|&(from, more)| Reverse((takes + more, from))));
                }
            }
        }
        // States that nothing completes aren't in any text.
        let most = all.then(|| states.values().copied().filter(|&takes| takes != u32::MAX).max().unwrap_or(0));
        for &state in states.keys().take(if all { at } else { 1 }) {
            self.charge(16);
            self.remainders.insert(state, most);
        }
        most
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::automata::{EMPTY, UNBOUNDED};

    /// An expression by the digits of a number, over characters that are spelled in all sorts of ways.
    fn expression(store: &Store, digits: &mut u64, depth: u32) -> ExprId {
        let mut draw = |most: u64| {
            let digit = *digits % most;
            *digits /= most;
            digit
        };
        if depth == 0 {
            return store.literal(["a", "b", "\"", "\u{1}", "é", "ab\n"][draw(6) as usize].as_bytes());
        }
        match draw(4) {
            0 => {
                let parts = [expression(store, digits, depth - 1), expression(store, digits, depth - 1)];
                store.union(parts)
            }
            1 => {
                let (lo, more) = (draw(3) as u32, [0, 1, UNBOUNDED][draw(3) as usize]);
                store.repeat(expression(store, digits, depth - 1), lo, lo.saturating_add(more))
            }
            _ => store.concat(expression(store, digits, depth - 1), expression(store, digits, depth - 1)),
        }
    }

    /// Residuals of an expression, itself among them, and what a short text of each takes by a measure.
    fn residuals(store: &Store, e: ExprId, measure: impl Fn(ExprId) -> Option<u32>) -> Vec<u32> {
        let mut seen = HashSet::from([e]);
        let mut open = vec![e];
        let mut out = Vec::new();
        while let Some(e) = open.pop().filter(|_| seen.len() < 60) {
            out.extend(measure(e));
            let next = store.row(e).edges.iter().map(|edge| edge.to).filter(|&to| to != EMPTY && store.alive(to));
            open.extend(next.filter(|&to| seen.insert(to)));
        }
        out
    }

    #[test]
    fn no_residual_of_a_pattern_takes_more() {
        let (mut checked, mut tight) = (0, 0);
        for seed in 0..1000u64 {
            let store = Store::new(8);
            let pattern = expression(&store, &mut seed.wrapping_mul(0x9E37_79B9_7F4A_7C15), 3);
            let bound = store.remainder(pattern).expect("these have no more parts than that");
            // Of the pattern itself nothing is written yet.
            let all = residuals(&store, pattern, |e| store.spelled(e).filter(|_| e != pattern));
            assert!(all.iter().all(|&takes| takes <= bound), "{seed}: {all:?}, {bound}");
            checked += all.len();
            tight += usize::from(all.contains(&bound));
        }
        assert!(checked > 5000 && tight > 300, "{checked} {tight}");
    }

    #[test]
    fn no_residual_of_a_string_takes_more() {
        let (mut told, mut by_states, mut checked) = (0, 0, 0);
        for seed in 0..120u64 {
            let store = Store::new(8);
            let pattern = expression(&store, &mut seed.wrapping_mul(0x9E37_79B9_7F4A_7C15), 2);
            let any = store.any_text();
            let content = match seed % 5 {
                0 => store.concat(any, pattern),
                1 => store.union([store.concat(any, pattern), store.literal(b"x")]),
                2 => store.inter([any, store.except([(*b"a").into(), (*b"ab").into(), (*b"aba").into()])]),
                // Its structure says nothing, so its states are looked at.
                3 => store.inter([pattern, store.not(store.literal(b"ab"))]),
                _ => pattern,
            };
            let lo = [0, 0, 2, 3][(seed / 5 % 4) as usize];
            let text = store.text(content, lo, if seed % 3 == 0 { lo + 5 } else { UNBOUNDED });
            let begin = store.step(text, b'"');
            let Some(bound) = store.string_remainder(begin) else { continue };
            told += 1;
            by_states += usize::from(store.remainders.get(&content).is_some());
            let all = residuals(&store, begin, |e| store.shortest(e).map(|text| text.len() as u32));
            assert!(all.iter().all(|&takes| takes <= bound), "{seed}: {all:?}, {bound}");
            checked += all.len();
        }
        assert!(told > 60 && by_states > 10 && checked > 1000, "{told} {by_states} {checked}");
    }
}
