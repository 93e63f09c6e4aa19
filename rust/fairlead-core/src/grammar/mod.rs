//! Context-free grammars.

mod captures;
mod common_terminals;
mod ebnf;
mod lark;
mod lower;
mod recursion;
mod structural;
mod tokens;

use std::ops::Range;

use crate::automata::{ExprId, Store};
use crate::error::Error;
use crate::limits::Limits;

/// A grammar whose rules have names.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Notation<'a> {
    Ebnf(&'a str),
    Lark(&'a str),
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

/// The texts of the rule `start` of a grammar in Lark's notation.
pub(crate) fn lark(store: &Store, text: &str, limits: &Limits) -> Result<ExprId, Error> {
    check_length(text, limits)?;
    let (rules, root) = lark::parse(store, text, limits, false)?;
    lower::lower(store, rules, root, limits)
}

/// Where named rules stand in a text of a grammar, as [`captures`] finds them.
///
/// # Errors
/// An unknown name, a text that the grammar doesn't have, or a limit.
pub(crate) fn captured(
    store: &Store,
    notation: Notation<'_>,
    names: &[&str],
    text: &[u8],
    limits: &Limits,
) -> Result<Vec<Vec<Range<usize>>>, Error> {
    let (rules, root) = match notation {
        Notation::Ebnf(source) => ebnf::parse(store, source, limits)?,
        Notation::Lark(source) => lark::parse(store, source, limits, true)?,
    };
    if let Some(name) = names.iter().find(|name| name.is_empty() || !rules.iter().any(|rule| rule.name == **name)) {
        return Err(Error::grammar(format!("the grammar has no rule named {name:?}")));
    }
    let Some(found) = captures::captures(store, &rules, root, text, limits)? else {
        return Err(Error::grammar("the text has no derivation: it isn't complete"));
    };
    let of = |name: &&str| found.iter().filter(|c| rules[c.rule].name == **name).map(|c| c.span.clone()).collect();
    Ok(names.iter().map(of).collect())
}

/// The texts of a structural tag in `XGrammar`'s JSON form.
pub(crate) fn structural_tag(store: &Store, text: &str, limits: &Limits) -> Result<ExprId, Error> {
    check_length(text, limits)?;
    structural::lower(store, text, limits)
}
