//! From rules to expressions.
//!
//! A call stands for the non-empty texts of its rule, and no rule may come back to itself before a byte is written:
//! which rules can be empty is worked out first, then what can stand at the left edge of each.

use super::{Item, Rule};
use crate::automata::{EMPTY, ExprId, RuleId, Store};
use crate::error::Error;

/// Repeats a pass over all rules until it changes nothing.
fn fixed_point(rules: &[Rule], holds: impl Fn(&Item, &[bool]) -> bool) -> Vec<bool> {
    let mut known = vec![false; rules.len()];
    loop {
        let next: Vec<bool> = rules.iter().map(|rule| holds(&rule.body, &known)).collect();
        if next == known {
            return known;
        }
        known = next;
    }
}

fn may_be_empty(item: &Item, rules: &[bool]) -> bool {
    match item {
        Item::Text(text) => text.is_empty(),
        Item::Class(_) => false,
        Item::Rule(rule) => rules[*rule],
        Item::Sequence(items) => items.iter().all(|i| may_be_empty(i, rules)),
        Item::Choice(items) => items.iter().any(|i| may_be_empty(i, rules)),
        Item::Repeat(inner, min, _) => *min == 0 || may_be_empty(inner, rules),
    }
}

fn has_text(item: &Item, rules: &[bool]) -> bool {
    match item {
        Item::Text(_) => true,
        Item::Class(ranges) => !ranges.is_empty(),
        Item::Rule(rule) => rules[*rule],
        Item::Sequence(items) => items.iter().all(|i| has_text(i, rules)),
        Item::Choice(items) => items.iter().any(|i| has_text(i, rules)),
        Item::Repeat(inner, min, _) => *min == 0 || has_text(inner, rules),
    }
}

/// The rules that can stand at the left edge of an item.
fn left_edge(item: &Item, empty: &[bool], out: &mut Vec<usize>) {
    match item {
        Item::Text(_) | Item::Class(_) => {}
        Item::Rule(rule) => out.push(*rule),
        Item::Sequence(items) => {
            for inner in items {
                left_edge(inner, empty, out);
                if !may_be_empty(inner, empty) {
                    return;
                }
            }
        }
        Item::Choice(items) => items.iter().for_each(|i| left_edge(i, empty, out)),
        Item::Repeat(inner, _, max) => {
            if *max > 0 {
                left_edge(inner, empty, out);
            }
        }
    }
}

/// A rule that comes back to itself at its left edge.
fn left_recursive(edges: &[Vec<usize>]) -> Option<usize> {
    // 0: not seen, 1: being followed, 2: free of cycles.
    let mut state = vec![0u8; edges.len()];
    for start in 0..edges.len() {
        let mut path = vec![(start, 0usize)];
        while let Some((rule, next)) = path.pop() {
            if next == 0 {
                if state[rule] != 0 {
                    continue;
                }
                state[rule] = 1;
            }
            match edges[rule].get(next) {
                Some(&to) if state[to] == 1 => return Some(to),
                Some(&to) => {
                    path.push((rule, next + 1));
                    path.push((to, 0));
                }
                None => state[rule] = 2,
            }
        }
    }
    None
}

struct Lowering<'a> {
    store: &'a Store,
    empty: Vec<bool>,
    alive: Vec<bool>,
    ids: Vec<RuleId>,
}

impl Lowering<'_> {
    fn item(&self, item: &Item) -> ExprId {
        let store = self.store;
        match item {
            Item::Text(text) => store.literal(text),
            Item::Class(ranges) => store.char_class(ranges),
            Item::Rule(rule) if !self.alive[*rule] => EMPTY,
            Item::Rule(rule) => {
                let call = store.call(self.ids[*rule]);
                if self.empty[*rule] { store.optional(call) } else { call }
            }
            Item::Sequence(items) => {
                let parts: Vec<ExprId> = items.iter().map(|i| self.item(i)).collect();
                store.sequence(&parts)
            }
            Item::Choice(items) => {
                let parts: Vec<ExprId> = items.iter().map(|i| self.item(i)).collect();
                store.union(parts)
            }
            Item::Repeat(inner, min, max) => store.repeat(self.item(inner), *min, *max),
        }
    }
}

/// The expression of the rule `root`.
///
/// # Errors
/// A rule that is left-recursive, also through others and through rules that may be empty.
pub(super) fn lower(store: &Store, rules: &[Rule], root: usize) -> Result<ExprId, Error> {
    let empty = fixed_point(rules, may_be_empty);
    let edges: Vec<Vec<usize>> = rules
        .iter()
        .map(|rule| {
            let mut edge = Vec::new();
            left_edge(&rule.body, &empty, &mut edge);
            edge
        })
        .collect();
    if let Some(rule) = left_recursive(&edges) {
        let Rule { name, line, .. } = &rules[rule];
        let what = format!(
            "the rule {name:?} comes back to itself before it writes anything: left recursion is not supported yet"
        );
        return Err(Error::grammar(what).at_line(*line, 1));
    }
    let alive = fixed_point(rules, has_text);
    let ids = rules.iter().map(|_| store.declare_rule()).collect();
    let lowering = Lowering { store, empty, alive, ids };
    for (rule, &id) in rules.iter().zip(&lowering.ids) {
        store.define_rule(id, lowering.item(&rule.body));
    }
    Ok(if lowering.alive[root] { store.body(lowering.ids[root]) } else { EMPTY })
}
