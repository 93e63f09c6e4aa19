//! Lark's notation, as users of Lark itself, llguidance and `XGrammar` write it.
//!
//! Rules and terminals, texts with `i`, patterns with flags, ranges, groups, `[ ]`, `? * + ~n ~n..m {m,n}`, templates,
//! `%ignore`, `%import common.X`, `%json {...}`, `%lark {...}`, grammars by their names `@name`, special tokens `<|name|>`,
//! `&` and `~` in terminals, and the attributes `[capture]`, `[lazy]`, `[suffix]`, `[stop_capture]` and `[max_tokens]` of rules.
//! Aliases, priorities and the marks `?` and `!` only shape trees and are read over. There is no lexer: where a terminal ends is
//! as open as where a rule does.

mod attributes;
mod instances;
mod options;
mod parser;

use std::rc::Rc;

use super::{Item, Rule, Source, check_length};
use crate::automata::Store;
use crate::error::Error;
use crate::limits::Limits;
use attributes::Attributes;
use instances::Instances;
use options::Options;
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
    /// What all of several are, by its place; regular.
    Both(Vec<Term>, usize),
    /// Any text that another isn't, by its place; regular.
    Not(Box<Term>, usize),
    /// A grammar of its own, by its place: its rules, and which of them is the whole.
    Grammar(Rc<(Vec<Rule>, usize)>, usize),
}

struct Definition {
    at: usize,
    params: Vec<String>,
    attributes: Attributes,
    body: Term,
}

/// Grammars that a text may name, and those of them that are being read.
#[derive(Clone, Copy)]
struct Named<'a> {
    all: &'a [(&'a str, Source<'a>)],
    open: &'a [&'a str],
}

/// The rules, and which of them is the whole; with `terminals` those are rules too.
pub(super) fn parse(
    store: &Store,
    text: &str,
    named: &[(&str, Source<'_>)],
    limits: &Limits,
    terminals: bool,
) -> Result<(Vec<Rule>, usize), Error> {
    read(store, text, Named { all: named, open: &[] }, limits, terminals)
}

fn read(
    store: &Store,
    text: &str,
    named: Named<'_>,
    limits: &Limits,
    terminals: bool,
) -> Result<(Vec<Rule>, usize), Error> {
    check_length(text, limits)?;
    Instances::new(&Parser::new(store, text, named, limits, terminals).read()?).all()
}

fn is_terminal(name: &str) -> bool {
    name.trim_start_matches('_').starts_with(|c: char| c.is_uppercase())
}
