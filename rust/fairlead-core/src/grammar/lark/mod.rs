//! Lark's notation, as users of Lark itself, llguidance and `XGrammar` write it.
//!
//! Rules and terminals, texts with `i`, patterns with flags, ranges, groups, `[ ]`, `? * + ~n ~n..m {m,n}`, templates,
//! `%ignore`, `%import common.X`, `%json {...}`, special tokens `<|name|>` and the attribute `[capture]` of rules. Aliases,
//! priorities and the marks `?` and `!` only shape trees and are read over. There is no lexer: where a terminal ends is as open
//! as where a rule does.

mod instances;
mod parser;

use super::{Item, Rule};
use crate::automata::Store;
use crate::error::Error;
use crate::limits::Limits;
use instances::Instances;
use parser::Parser;

/// What a rule is written with.
#[derive(Clone, Debug)]
enum Term {
    /// Something with texts of its own.
    Fixed(Item),
    /// A rule or a terminal, perhaps of a template, by its place.
    Name(String, Vec<Term>, usize),
    Sequence(Vec<Term>),
    Choice(Vec<Term>),
    Repeat(Box<Term>, u32, u32),
}

struct Definition {
    at: usize,
    params: Vec<String>,
    /// The name that what it stands for is captured by.
    capture: Option<String>,
    body: Term,
}

/// The rules, and which of them is `start`; with `terminals` those are rules too.
pub(super) fn parse(store: &Store, text: &str, limits: &Limits, terminals: bool) -> Result<(Vec<Rule>, usize), Error> {
    let parser = Parser::read(store, text, limits)?;
    Instances::new(&parser, terminals).all()
}

fn is_terminal(name: &str) -> bool {
    name.trim_start_matches('_').starts_with(|c: char| c.is_uppercase())
}
