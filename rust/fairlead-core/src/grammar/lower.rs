//! From rules to expressions.
//!
//! A call stands for the non-empty texts of its rule, and no rule may come back to itself before a byte is written:
//! which rules can be empty is worked out first, then what can stand at the left edge of each, and what is
//! left-recursive is rewritten (see [`recursion`](super::recursion)).

use super::{Item, Rule, recursion};
use crate::automata::{EMPTY, EPS, ExprId, RuleId, Store};
use crate::error::Error;
use crate::limits::Limits;

/// Repeats a pass over all rules until it changes nothing.
fn fixed_point(rules: &[Rule], holds: impl Fn(&Item, &[bool]) -> bool) -> Vec<bool> {
    let mut known = vec![false; rules.len()];
    loop {
        let mut changed = false;
        for (i, rule) in rules.iter().enumerate() {
            if !known[i] && holds(&rule.body, &known) {
                known[i] = true;
                changed = true;
            }
        }
        if !changed {
            return known;
        }
    }
}

/// Whether an item may be empty, given which rules may be.
pub(super) fn may_be_empty(store: &Store, item: &Item, rules: &[bool]) -> bool {
    match item {
        Item::Text(text) => text.is_empty(),
        Item::Class(_) | Item::Call(_) => false,
        Item::Expr(e) | Item::Read(e, _) => store.nullable(*e),
        Item::Rule(rule) => rules[*rule],
        Item::Sequence(items) => items.iter().all(|i| may_be_empty(store, i, rules)),
        Item::Choice(items) => items.iter().any(|i| may_be_empty(store, i, rules)),
        Item::Repeat(inner, min, _) => *min == 0 || may_be_empty(store, inner, rules),
    }
}

/// What is known of every rule.
#[derive(Debug)]
pub(super) struct Known {
    /// Rules that may be empty.
    pub(super) empty: Vec<bool>,
    /// Rules that have a text that is not empty.
    pub(super) long: Vec<bool>,
}

impl Known {
    pub(super) fn of(store: &Store, rules: &[Rule]) -> Self {
        let empty = fixed_point(rules, |item, known| may_be_empty(store, item, known));
        let long = fixed_point(rules, |item, known| has_text(store, item, &empty, known, true));
        Self { empty, long }
    }
}

/// Whether an item has a text; with `long`, one that is not empty.
fn has_text(store: &Store, item: &Item, empty: &[bool], known: &[bool], long: bool) -> bool {
    let some = |item: &Item, long: bool| has_text(store, item, empty, known, long);
    match item {
        Item::Text(text) => !long || !text.is_empty(),
        Item::Class(ranges) => !ranges.is_empty(),
        Item::Expr(e) | Item::Read(e, _) => store.alive(*e) && (!long || *e != EPS),
        Item::Call(rule) => known[*rule],
        Item::Rule(rule) => known[*rule] || (!long && empty[*rule]),
        Item::Sequence(items) => items.iter().all(|i| some(i, false)) && (!long || items.iter().any(|i| some(i, true))),
        Item::Choice(items) => items.iter().any(|i| some(i, long)),
        Item::Repeat(inner, min, max) => (!long && *min == 0) || (*max > 0 && some(inner, long)),
    }
}

struct Lowering<'a> {
    store: &'a Store,
    known: Known,
    ids: Vec<RuleId>,
}

impl Lowering<'_> {
    fn item(&self, item: &Item) -> ExprId {
        let store = self.store;
        match item {
            Item::Text(text) => store.literal(text),
            Item::Class(ranges) => store.char_class(ranges),
            // One that nothing completes isn't called, nor what it stands in.
            Item::Expr(e) | Item::Read(e, _) => Some(*e).filter(|&e| store.alive(e)).unwrap_or(EMPTY),
            Item::Call(rule) if self.known.long[*rule] => store.enter(self.ids[*rule]),
            Item::Rule(rule) if self.known.long[*rule] => {
                let call = store.enter(self.ids[*rule]);
                if self.known.empty[*rule] { store.optional(call) } else { call }
            }
            Item::Rule(rule) if self.known.empty[*rule] => EPS,
            Item::Call(_) | Item::Rule(_) => EMPTY,
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
/// Rules that are left-recursive together, and so many that they can't be taken apart within the limits.
pub(super) fn lower(store: &Store, mut rules: Vec<Rule>, root: usize, limits: &Limits) -> Result<ExprId, Error> {
    recursion::remove(store, &mut rules, limits)?;
    let known = Known::of(store, &rules);
    let ids = rules.iter().map(|_| store.declare_rule()).collect();
    let lowering = Lowering { store, known, ids };
    for (rule, &id) in rules.iter().zip(&lowering.ids) {
        store.define_rule(id, lowering.item(&rule.body));
    }
    Ok(store.body(lowering.ids[root]))
}
