//! Context-free grammars.

mod captures;
mod common_terminals;
mod ebnf;
mod lark;
mod lazy;
mod lower;
mod recursion;
mod structural;
mod tokens;
mod until;

use std::ops::Range;

use crate::automata::{ExprId, Store};
use crate::error::Error;
use crate::limits::Limits;

/// What rules with names are read from.
#[derive(Clone, Debug)]
pub(crate) enum Source<'a> {
    Ebnf(&'a str),
    /// With grammars that it may name.
    Lark(&'a str, Vec<(&'a str, Source<'a>)>),
    /// Lowered already; nothing in it has a name.
    Lowered(ExprId),
    Either(Vec<Source<'a>>),
    Sequence(Vec<Source<'a>>),
}

/// One piece of a rule.
#[derive(Clone, Debug)]
enum Item {
    /// A fixed text.
    Text(Vec<u8>),
    /// One character of some ranges.
    Class(Vec<(char, char)>),
    /// Another rule, by its index.
    Rule(usize),
    /// The non-empty texts of another rule.
    Call(usize),
    /// What has been lowered already.
    Expr(ExprId),
    /// The texts of a regular expression, and how each of them is read for captures.
    Read(ExprId, Box<Item>),
    /// One after the other.
    Sequence(Vec<Item>),
    /// Any of several.
    Choice(Vec<Item>),
    /// Between two counts of times; the second may be unbounded.
    Repeat(Box<Item>, u32, u32),
}

/// A rule with the line that it begins on.
#[derive(Clone, Debug)]
struct Rule {
    name: String,
    line: usize,
    /// The name that the author wants what it stands for to be captured by.
    capture: Option<String>,
    body: Item,
}

/// The texts of the rule `root` of a grammar in EBNF, as `XGrammar` and `llama.cpp` (GBNF) write it.
pub(crate) fn ebnf(store: &Store, text: &str, limits: &Limits) -> Result<ExprId, Error> {
    check_length(text, limits)?;
    let (rules, root) = ebnf::parse(store, text, limits)?;
    lower::lower(store, rules, root, limits)
}

fn check_length(text: &str, limits: &Limits) -> Result<(), Error> {
    if text.len() > limits.max_source_bytes {
        return Err(Error::limit(format!("the grammar has more than {} bytes", limits.max_source_bytes)));
    }
    Ok(())
}

/// The texts of the rule `start` of a grammar in Lark's notation, given the grammars that it may name.
pub(crate) fn lark(store: &Store, text: &str, named: &[(&str, Source<'_>)], limits: &Limits) -> Result<ExprId, Error> {
    let (rules, root) = lark::parse(store, text, named, limits, false)?;
    lower::lower(store, rules, root, limits)
}

/// Where named rules stand in a text of a grammar, as [`captures`] finds them.
///
/// # Errors
/// An unknown name, a text that the grammar doesn't have, or a limit.
pub(crate) fn captured(
    store: &Store,
    source: &Source<'_>,
    names: &[&str],
    text: &[u8],
    limits: &Limits,
) -> Result<Vec<Vec<Range<usize>>>, Error> {
    let (rules, root) = rules_of(store, source, limits, true)?;
    if let Some(name) = names.iter().find(|name| name.is_empty() || !rules.iter().any(|rule| rule.name == **name)) {
        return Err(Error::grammar(format!("the grammar has no rule named {name:?}")));
    }
    let found = derivation(store, &rules, root, text, limits)?;
    let of = |name: &&str| found.iter().filter(|c| rules[c.rule].name == **name).map(|c| c.span.clone()).collect();
    Ok(names.iter().map(of).collect())
}

/// The captures that a grammar's author has marked: names with where they stand, in the order in which they end, inner ones
/// first; none where none is marked.
///
/// # Errors
/// A text that the grammar doesn't have, or a limit.
pub(crate) fn marked(
    store: &Store,
    source: &Source<'_>,
    text: &[u8],
    limits: &Limits,
) -> Result<Vec<(String, Range<usize>)>, Error> {
    let (rules, root) = rules_of(store, source, limits, true)?;
    if rules.iter().all(|rule| rule.capture.is_none()) {
        return Ok(Vec::new());
    }
    let mut found = derivation(store, &rules, root, text, limits)?;
    found.sort_by_key(|c| c.ended);
    Ok(found.into_iter().filter_map(|c| Some((rules[c.rule].capture.clone()?, c.span))).collect())
}

fn derivation(
    store: &Store,
    rules: &[Rule],
    root: usize,
    text: &[u8],
    limits: &Limits,
) -> Result<Vec<captures::Capture>, Error> {
    let found = captures::captures(store, rules, root, text, limits)?;
    found.ok_or_else(|| Error::grammar("the text has no derivation: it isn't complete"))
}

/// All rules of a source, and which of them is the whole; with `terminals` those of Lark are rules, too.
fn rules_of(store: &Store, source: &Source<'_>, limits: &Limits, terminals: bool) -> Result<(Vec<Rule>, usize), Error> {
    let all = |parts: &[Source<'_>]| {
        let mut rules = Vec::new();
        let mut roots = Vec::new();
        for part in parts {
            let (more, root) = rules_of(store, part, limits, terminals)?;
            roots.push(Item::Rule(rules.len() + root));
            append(&mut rules, more);
        }
        Ok((rules, roots))
    };
    let (mut rules, body) = match source {
        Source::Ebnf(text) => return ebnf::parse(store, text, limits),
        Source::Lark(text, named) => return lark::parse(store, text, named, limits, terminals),
        Source::Lowered(e) => (Vec::new(), Item::Expr(*e)),
        Source::Either(parts) => all(parts).map(|(rules, roots)| (rules, Item::Choice(roots)))?,
        Source::Sequence(parts) => all(parts).map(|(rules, roots)| (rules, Item::Sequence(roots)))?,
    };
    rules.push(Rule { name: String::new(), line: 0, capture: None, body });
    let root = rules.len() - 1;
    Ok((rules, root))
}

/// Adds rules of their own behind others.
fn append(rules: &mut Vec<Rule>, more: Vec<Rule>) {
    let first = rules.len();
    rules.extend(more.into_iter().map(|rule| Rule { body: renumbered(rule.body, first), ..rule }));
}

/// An item of rules that so many others now stand before.
fn renumbered(item: Item, before: usize) -> Item {
    let all = |items: Vec<Item>| items.into_iter().map(|item| renumbered(item, before)).collect();
    match item {
        Item::Rule(rule) => Item::Rule(rule + before),
        Item::Call(rule) => Item::Call(rule + before),
        Item::Sequence(items) => Item::Sequence(all(items)),
        Item::Choice(items) => Item::Choice(all(items)),
        Item::Repeat(inner, min, max) => Item::Repeat(Box::new(renumbered(*inner, before)), min, max),
        Item::Read(e, read) => Item::Read(e, Box::new(renumbered(*read, before))),
        Item::Text(_) | Item::Class(_) | Item::Expr(_) => item,
    }
}

/// The texts of a structural tag in `XGrammar`'s JSON form.
pub(crate) fn structural_tag(store: &Store, text: &str, limits: &Limits) -> Result<ExprId, Error> {
    check_length(text, limits)?;
    structural::lower(store, text, limits)
}

/// The length of what stands in the bracket or brace that a text begins with, both included: texts in quotes and patterns in
/// slashes are read over.
fn bracketed(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match (quote, c) {
            (_, '\n') => return None,
            _ if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '/') => quote = Some(c),
            (None, ']' | '}') => return Some(at + 1),
            _ => {}
        }
    }
    None
}
