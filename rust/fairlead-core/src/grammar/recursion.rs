//! Left recursion, taken out of rules exactly.
//!
//! Rules that come back to each other at their left edge form a group. The non-empty texts of each are
//! `A = N_A | B R_AB | ...`, where `B` runs over the group and `N_A` begins with nothing of it: a system of left-linear
//! equations. Its solution begins with some `N_B` and climbs from `B` to `A`, one `R` after another, which is written by
//! right-recursive rules (the left-corner transform: Rosenkrantz and Lewis 1970; Moore 2000). Rules that may be empty
//! are looked through, so hidden left recursion is found too, and rules that only rename each other are closed over.

use hashbrown::HashMap;

use super::lower::{Known, may_be_empty};
use super::{Item, Rule};
use crate::automata::{Store, UNBOUNDED};
use crate::error::Error;
use crate::limits::Limits;

/// The non-empty texts of an item by what they begin with.
#[derive(Default)]
pub(super) struct Split {
    /// Those that begin with no rule of the group.
    pub(super) others: Vec<Item>,
    /// Those that begin with a non-empty text of a rule of the group, by the rule: what follows it.
    after: HashMap<usize, Vec<Item>>,
}

impl Split {
    fn add(&mut self, more: Self, rest: &[Item]) {
        let then = |item: Item| {
            if rest.is_empty() {
                return item;
            }
            let mut parts = match item {
                Item::Sequence(parts) => parts,
                item => vec![item],
            };
            parts.extend_from_slice(rest);
            Item::Sequence(parts)
        };
        self.others.extend(more.others.into_iter().map(then));
        for (rule, items) in more.after {
            self.after.entry(rule).or_default().extend(items.into_iter().map(then));
        }
    }
}

/// The non-empty texts of an item, taken apart by what they begin with: a text, a class, an expression or a call, none of them
/// empty, alone or at the head of a sequence.
pub(super) fn split(store: &Store, item: &Item, empty: &[bool], group: &dyn Fn(usize) -> bool) -> Split {
    let mut out = Split::default();
    match item {
        Item::Text(text) if text.is_empty() => {}
        Item::Text(_) | Item::Class(_) => out.others.push(item.clone()),
        Item::Expr(e) => out.others.push(Item::Expr(store.non_empty(*e))),
        Item::Read(e, read) => out.others.push(Item::Read(store.non_empty(*e), read.clone())),
        Item::Rule(rule) | Item::Call(rule) if group(*rule) => {
            out.after.insert(*rule, vec![Item::Sequence(Vec::new())]);
        }
        Item::Rule(rule) | Item::Call(rule) => out.others.push(Item::Call(*rule)),
        Item::Sequence(items) => {
            for (i, inner) in items.iter().enumerate() {
                out.add(split(store, inner, empty, group), &items[i + 1..]);
                if !may_be_empty(store, inner, empty) {
                    break;
                }
            }
        }
        Item::Choice(items) => items.iter().for_each(|i| out.add(split(store, i, empty, group), &[])),
        Item::Repeat(_, _, 0) => {}
        Item::Repeat(inner, min, max) => {
            let again =
                Item::Repeat(inner.clone(), min.saturating_sub(1), if *max == UNBOUNDED { *max } else { *max - 1 });
            let rest = if *max == 1 { Vec::new() } else { vec![again] };
            out.add(split(store, inner, empty, group), &rest);
        }
    }
    out
}

/// The rules that can stand at the left edge of an item.
fn left_edge(store: &Store, item: &Item, empty: &[bool], out: &mut Vec<usize>) {
    match item {
        Item::Text(_) | Item::Class(_) | Item::Expr(_) | Item::Read(..) => {}
        Item::Rule(rule) | Item::Call(rule) => out.push(*rule),
        Item::Sequence(items) => {
            for inner in items {
                left_edge(store, inner, empty, out);
                if !may_be_empty(store, inner, empty) {
                    return;
                }
            }
        }
        Item::Choice(items) => items.iter().for_each(|i| left_edge(store, i, empty, out)),
        Item::Repeat(inner, _, max) => {
            if *max > 0 {
                left_edge(store, inner, empty, out);
            }
        }
    }
}

/// The groups of rules that reach each other, those that are not recursive left out (Tarjan 1972, without the call
/// stack).
fn groups(edges: &[Vec<usize>]) -> Vec<Vec<usize>> {
    const NEW: usize = usize::MAX;
    let (mut order, mut low, mut open) = (vec![NEW; edges.len()], vec![0; edges.len()], vec![false; edges.len()]);
    let (mut count, mut stack, mut found) = (0, Vec::new(), Vec::new());
    for start in 0..edges.len() {
        let mut path = if order[start] == NEW { vec![(start, 0)] } else { Vec::new() };
        while let Some((rule, next)) = path.pop() {
            if next == 0 {
                (order[rule], low[rule], open[rule]) = (count, count, true);
                count += 1;
                stack.push(rule);
            }
            if let Some(&to) = edges[rule].get(next) {
                path.push((rule, next + 1));
                if order[to] == NEW {
                    path.push((to, 0));
                } else if open[to] {
                    low[rule] = low[rule].min(order[to]);
                }
                continue;
            }
            if let Some(&(parent, _)) = path.last() {
                low[parent] = low[parent].min(low[rule]);
            }
            if low[rule] == order[rule] {
                let at = stack.iter().rposition(|&r| r == rule).unwrap_or(0);
                let group = stack.split_off(at);
                for &rule in &group {
                    open[rule] = false;
                }
                if group.len() > 1 || edges[rule].contains(&rule) {
                    found.push(group);
                }
            }
        }
    }
    found
}

fn one_of(mut items: Vec<Item>) -> Item {
    if items.len() == 1 { items.remove(0) } else { Item::Choice(items) }
}

/// `A = N (R | w A)*` is `N (R | w N)*`: a rule at both edges, as in `sum: sum "+" sum`, is ambiguous at each text and
/// needs no stack at all.
fn without_tail(item: Item, rule: usize, begin: &Item, empty: bool) -> Item {
    match item {
        Item::Call(r) if r == rule => begin.clone(),
        Item::Rule(r) if r == rule && empty => Item::Repeat(Box::new(begin.clone()), 0, 1),
        Item::Rule(r) if r == rule => begin.clone(),
        Item::Sequence(mut items) => {
            if let Some(last) = items.pop() {
                items.push(without_tail(last, rule, begin, empty));
            }
            Item::Sequence(items)
        }
        Item::Choice(items) => Item::Choice(items.into_iter().map(|i| without_tail(i, rule, begin, empty)).collect()),
        item => item,
    }
}

/// Rewrites rules so that none comes back to itself before it has written a byte; their texts stay the same.
pub(super) fn remove(store: &Store, rules: &mut Vec<Rule>, limits: &Limits) -> Result<(), Error> {
    let Known { empty, .. } = Known::of(store, rules);
    let edges: Vec<Vec<usize>> = rules
        .iter()
        .map(|rule| {
            let mut edge = Vec::new();
            left_edge(store, &rule.body, &empty, &mut edge);
            edge
        })
        .collect();
    for group in groups(&edges) {
        if group.len().pow(3) > limits.max_nodes {
            let Rule { name, line, .. } = &rules[group[0]];
            let what = format!("{} rules are left-recursive together with {name:?}", group.len());
            return Err(Error::limit(what).at_line(*line, 1));
        }
        rewrite(store, rules, &group, &empty);
    }
    Ok(())
}

fn rewrite(store: &Store, rules: &mut Vec<Rule>, group: &[usize], empty: &[bool]) {
    let position: HashMap<usize, usize> = group.iter().enumerate().map(|(i, &rule)| (rule, i)).collect();
    let size = group.len();
    let mut begins = Vec::with_capacity(size);
    // By the rule that has just ended: the rules that it begins, and what they write first; or nothing.
    let mut steps: Vec<Vec<(usize, Item)>> = vec![Vec::new(); size];
    let mut renames = vec![vec![false; size]; size];
    for (a, &rule) in group.iter().enumerate() {
        let Split { others, after } = split(store, &rules[rule].body, empty, &|r| position.contains_key(&r));
        begins.push(one_of(others));
        for (b, rests) in after {
            let b = position[&b];
            for rest in rests {
                renames[b][a] |= may_be_empty(store, &rest, empty);
                let writes = split(store, &rest, empty, &|_| false).others;
                steps[b].extend(writes.into_iter().map(|item| (a, item)));
            }
        }
    }
    let or_empty = |rule: usize, mut options: Vec<Item>| {
        if empty[rule] {
            options.push(Item::Text(Vec::new()));
        }
        one_of(options)
    };
    if let [rule] = *group {
        let begin = begins.remove(0);
        let again = steps.remove(0).into_iter().map(|(_, item)| without_tail(item, rule, &begin, empty[rule]));
        let again = Item::Repeat(Box::new(one_of(again.collect())), 0, UNBOUNDED);
        rules[rule].body = or_empty(rule, vec![Item::Sequence(vec![begin, again])]);
        return;
    }
    // Renaming as often as one likes, and not at all.
    for (i, row) in renames.iter_mut().enumerate() {
        row[i] = true;
    }
    for k in 0..size {
        for i in 0..size {
            for j in 0..size {
                renames[i][j] |= renames[i][k] && renames[k][j];
            }
        }
    }
    let first = rules.len();
    let climb = |from: usize, to: usize| Item::Rule(first + from * size + to);
    let mut climbs = Vec::with_capacity(size * size);
    for from in 0..size {
        for to in 0..size {
            let mut options = Vec::new();
            if renames[from][to] {
                options.push(Item::Text(Vec::new()));
            }
            for ended in (0..size).filter(|&ended| renames[from][ended]) {
                for (begun, writes) in &steps[ended] {
                    options.push(Item::Sequence(vec![writes.clone(), climb(*begun, to)]));
                }
            }
            let Rule { name, line, .. } = &rules[group[to]];
            let name = format!("{name} after {}", rules[group[from]].name);
            climbs.push(Rule { name, line: *line, capture: None, body: one_of(options) });
        }
    }
    for (to, &rule) in group.iter().enumerate() {
        let options = (0..size).map(|from| Item::Sequence(vec![begins[from].clone(), climb(from, to)])).collect();
        rules[rule].body = or_empty(rule, options);
    }
    rules.extend(climbs);
}
